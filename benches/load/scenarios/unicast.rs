//! Many channels with one subscriber each, events over all of them in turn: what a publish with its one delivery
//! costs.

use serde::Serialize;

use super::{AT_A_TIME, Bench, Load, need_connections, needs_channels, push_delivery, steady};
use crate::Result;
use crate::client::{Client, Spec, Stream};
use crate::figures::Figures;
use crate::target::Target;

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Unicast {
    /// Channels, each with one subscriber
    #[arg(long, default_value_t = 1000)]
    channels: u32,
    /// Events in a second, over all channels
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Seconds of them
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of each event's data
    #[arg(long, default_value_t = 100, value_parser = super::parse_bytes)]
    bytes: usize,
    /// HTTP connections that they come over
    #[arg(long, default_value_t = 4)]
    publishers: usize,
}

impl Load for Unicast {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        needs_channels(target)?;
        need_connections(self.channels as usize)?;
        let server = bench.start(target, Bench::config())?;
        let mut client = Client::new(&[&server], self.channels as usize, 1)?;
        client.open_all(
            (0..self.channels).map(|channel| Spec::of(channel, 0)),
            AT_A_TIME,
        )?;
        client.add_publishers(0, self.publishers)?;
        let stream = Stream {
            rate: self.rate,
            channels: 0..self.channels,
            publishers: 0..self.publishers,
            bytes: self.bytes,
        };
        let spent = steady(&mut client, &[&server], &[stream], self.seconds)?;

        let mut figures = Figures::default();
        let group = &client.groups[0];
        figures.cpu_each("publish_and_delivery", spent.server, group.deliveries);
        figures.times("latency", &group.latency);
        push_delivery(&mut figures, &client, &spent);
        Ok(figures)
    }
}
