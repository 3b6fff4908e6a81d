//! Connections that are subscribed to one channel and wait: the memory of each.

use std::time::Duration;

use serde::Serialize;

use super::{Bench, Load, measure, need_connections, push_health, wait};
use crate::Result;
use crate::client::Client;
use crate::figures::{Figures, share};
use crate::target::Target;

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Idle {
    /// Connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How long they wait
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

impl Load for Idle {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        need_connections(self.connections)?;
        let server = bench.start(target, Bench::config())?;
        let before = server.resident_kib()?;
        let mut client = Client::new(&[&server], 1, 1)?;
        client.subscribe(self.connections, 0)?;
        // What was needed for the handshakes only has its time to go.
        wait(&mut client, Duration::from_secs(1))?;
        let spent = measure(&mut client, &[&server], |client| {
            wait(client, Duration::from_secs_f64(self.seconds))
        })?;
        let after = server.resident_kib()?;

        let mut figures = Figures::default();
        figures.push(
            "kib_per_connection",
            share(after - before, self.connections as u64),
        );
        figures.push("idle_server_mib", before / 1024.0);
        figures.push("full_server_mib", after / 1024.0);
        figures.count("connections", client.connections() as u64);
        push_health(&mut figures, &client, &spent);
        Ok(figures)
    }
}
