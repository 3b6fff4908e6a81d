//! Many subscribers of one channel, events at a steady rate: what a delivery costs.

use serde::Serialize;

use super::{AT_A_TIME, Bench, Load, need_connections, push_delivery, steady};
use crate::Result;
use crate::client::{Client, Spec, Stream};
use crate::figures::{Figures, share};
use crate::target::{Server, Target};

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Fanout {
    /// Subscribers of the channel
    #[arg(long, default_value_t = 1000)]
    pub(crate) subscribers: usize,
    /// Events in a second
    #[arg(long, default_value_t = 20.0)]
    pub(crate) rate: f64,
    /// Seconds of them
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Bytes of each event's data
    #[arg(long, default_value_t = 100, value_parser = super::parse_bytes)]
    pub(crate) bytes: usize,
}

impl Load for Fanout {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        need_connections(self.subscribers)?;
        let server = bench.start(target, Bench::config())?;
        self.over(&[&server])
    }
}

impl Fanout {
    /// Spreads the subscribers evenly over nodes and publishes at the first.
    pub(super) fn over(&self, nodes: &[&Server]) -> Result<Figures> {
        let mut figures = Figures::default();
        let resident = || {
            nodes
                .iter()
                .map(|node| node.resident_kib())
                .sum::<Result<f64>>()
        };
        let idle = resident()?;
        figures.push("idle_server_mib", idle / 1024.0);

        let mut client = Client::new(nodes, 1, 1)?;
        let specs = (0..self.subscribers).map(|index| Spec {
            endpoint: index % nodes.len(),
            ..Spec::of(0, 0)
        });
        client.open_all(specs, AT_A_TIME)?;
        client.add_publishers(0, 1)?;
        let stream = Stream::of_one(self.rate, self.bytes);
        let spent = steady(&mut client, nodes, &[stream], self.seconds)?;

        let group = &client.groups[0];
        figures.cpu_each("delivery", spent.server, group.deliveries);
        figures.times("latency", &group.latency);
        push_delivery(&mut figures, &client, &spent);
        let grown = resident()? - idle;
        figures.push("kib_per_connection", share(grown, self.subscribers as u64));
        Ok(figures)
    }
}
