//! Publishes that nobody listens to, over keep-alive connections, each after the answer to the one before: what a
//! signed request costs.

use std::time::Duration;

use serde::Serialize;

use super::{Bench, Load, measure, push_health, ring, wait};
use crate::Result;
use crate::client::{Client, Cycle};
use crate::figures::Figures;
use crate::requests::Signer;
use crate::target::Target;

/// Different requests; after them they come again.
const REQUESTS: usize = 1000;

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Http {
    /// Connections, each with one request on its way
    #[arg(long, default_value_t = 8)]
    publishers: usize,
    /// Seconds of them
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of each event's data
    #[arg(long, default_value_t = 100, value_parser = super::parse_bytes)]
    bytes: usize,
}

impl Load for Http {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        let server = bench.start(target, Bench::config())?;
        let mut client = Client::new(&[&server], 1, 1)?;
        client.add_publishers(0, self.publishers)?;
        let signer = Signer::new(&server);
        let publish = |client: &mut Client, seconds| {
            let channels = std::iter::repeat_n(0, REQUESTS);
            let (requests, _) = ring(client, &signer, channels, self.bytes);
            let time = Duration::from_secs_f64(seconds);
            let cycle = Cycle::new(client, requests, u64::MAX, time);
            client.publish_on_answer(cycle)?;
            wait(client, time)?;
            client.settle()
        };
        publish(&mut client, 0.5)?;
        let spent = measure(&mut client, &[&server], |client| {
            publish(client, self.seconds)
        })?;

        let mut figures = Figures::default();
        let counts = &client.counts;
        figures.cpu_each("publish", spent.server, counts.answers);
        figures.times("answer", &counts.answering);
        figures.count("published", counts.answers);
        figures.count("refused", counts.refused);
        figures.per_second("published", counts.answers, spent.wall);
        push_health(&mut figures, &client, &spent);
        Ok(figures)
    }
}
