//! Small channels beside a large one: how long an event for one subscriber waits while a broadcast is under way.

use serde::Serialize;

use super::{AT_A_TIME, Bench, Load, need_connections, needs_channels, push_delivery, steady};
use crate::Result;
use crate::client::{Client, Spec, Stream};
use crate::figures::Figures;
use crate::target::Target;

/// The groups.
const SMALL: usize = 0;
const LARGE: usize = 1;

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Mixed {
    /// Subscribers of the large channel
    #[arg(long, default_value_t = 4500)]
    subscribers: usize,
    /// Its events in a second
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    /// Small channels, each with one subscriber
    #[arg(long, default_value_t = 100)]
    channels: u32,
    /// Their events in a second, all together
    #[arg(long, default_value_t = 200.0)]
    unicast_rate: f64,
    /// Seconds of both
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of each event's data
    #[arg(long, default_value_t = 100, value_parser = super::parse_bytes)]
    bytes: usize,
}

impl Load for Mixed {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        needs_channels(target)?;
        need_connections(self.subscribers + self.channels as usize)?;
        let server = bench.start(target, Bench::config())?;
        // The large channel is the last one.
        let large = self.channels;
        let mut client = Client::new(&[&server], large as usize + 1, 2)?;
        let small = (0..large).map(|channel| Spec::of(channel, SMALL));
        let others = (0..self.subscribers).map(|_| Spec::of(large, LARGE));
        client.open_all(small.chain(others), AT_A_TIME)?;
        client.add_publishers(0, 5)?;
        let streams = [
            Stream {
                rate: self.unicast_rate,
                channels: 0..large,
                publishers: 0..4,
                bytes: self.bytes,
            },
            // Over a connection of its own: its answer may take longer.
            Stream {
                rate: self.rate,
                channels: large..large + 1,
                publishers: 4..5,
                bytes: self.bytes,
            },
        ];
        let spent = steady(&mut client, &[&server], &streams, self.seconds)?;

        let mut figures = Figures::default();
        figures.times("unicast", &client.groups[SMALL].latency);
        figures.times("broadcast", &client.groups[LARGE].latency);
        let deliveries = client.groups[SMALL].deliveries + client.groups[LARGE].deliveries;
        figures.cpu_each("delivery", spent.server, deliveries);
        push_delivery(&mut figures, &client, &spent);
        Ok(figures)
    }
}
