//! Many events at once for many subscribers: every one of them is counted.

use std::time::Duration;

use serde::Serialize;

use super::{Bench, Load, measure, need_connections, push_delivery, ring};
use crate::Result;
use crate::client::{Client, Cycle};
use crate::figures::Figures;
use crate::requests::Signer;
use crate::target::Target;

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Burst {
    /// Subscribers of the channel
    #[arg(long, default_value_t = 500)]
    subscribers: usize,
    /// Events
    #[arg(long, default_value_t = 3000)]
    events: usize,
    /// HTTP connections, each with one publish on its way
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Bytes of each event's data
    #[arg(long, default_value_t = 100, value_parser = super::parse_bytes)]
    bytes: usize,
}

impl Load for Burst {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        const LONGEST: Duration = Duration::from_secs(300);
        need_connections(self.subscribers + self.concurrency)?;
        let server = bench.start(target, Bench::config())?;
        let before = server.resident_kib()?;
        let mut client = Client::new(&[&server], 1, 1)?;
        client.subscribe(self.subscribers, 0)?;
        client.add_publishers(0, self.concurrency)?;
        let signer = Signer::new(&server);
        let channels = std::iter::repeat_n(0, self.events);
        let (requests, to) = ring(&mut client, &signer, channels, self.bytes);
        let spent = measure(&mut client, &[&server], |client| {
            let cycle = Cycle::new(client, requests, self.events as u64, LONGEST).to(to);
            client.publish_on_answer(cycle)?;
            client.settle()
        })?;

        let mut figures = Figures::default();
        let deliveries = client.groups[0].deliveries;
        figures.count("expected", (self.subscribers * self.events) as u64);
        push_delivery(&mut figures, &client, &spent);
        figures.per_second("deliveries", deliveries, spent.wall);
        figures.cpu_each("delivery", spent.server, deliveries);
        figures.times("answer", &client.counts.answering);
        figures.push("grown_mib", (server.resident_kib()? - before) / 1024.0);
        Ok(figures)
    }
}
