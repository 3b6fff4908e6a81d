//! Connections that come all at once: what the handshake and one subscription cost, and how many there can be in a
//! second.

use serde::Serialize;

use super::{Bench, Load, measure, need_connections, push_health};
use crate::Result;
use crate::client::{Client, Spec};
use crate::figures::Figures;
use crate::target::Target;

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Connect {
    /// Connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How many are on their way at a time
    #[arg(long, default_value_t = 64)]
    at_a_time: usize,
}

impl Load for Connect {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        need_connections(self.connections)?;
        let server = bench.start(target, Bench::config())?;
        let mut client = Client::new(&[&server], 1, 1)?;
        let spent = measure(&mut client, &[&server], |client| {
            client.open_all(
                (0..self.connections).map(|_| Spec::of(0, 0)),
                self.at_a_time,
            )
        })?;

        let mut figures = Figures::default();
        let opened = client.counts.opened;
        figures.cpu_each("connect", spent.server, opened);
        figures.per_second("connects", opened, spent.wall);
        figures.times("connect", &client.counts.opening);
        figures.count("connections", opened);
        push_health(&mut figures, &client, &spent);
        Ok(figures)
    }
}
