//! Very many connections that all stay up: those that ping get their pongs, those that are silent are pinged and
//! answer, and at the end an event reaches every one of them.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Bench, Load, measure, need_connections, needs_channels, push_delivery};
use crate::Result;
use crate::client::{Client, Schedule, Stream};
use crate::figures::Figures;
use crate::requests::Signer;
use crate::target::Target;

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Many {
    /// Connections; half of them ping, half are silent
    #[arg(long, default_value_t = 19_000)]
    connections: usize,
    /// How long they stay
    #[arg(long, default_value_t = 90.0)]
    seconds: f64,
    /// Seconds between the pings of a connection; servers started here ping the silent ones as often
    #[arg(long, default_value_t = 20)]
    activity_timeout: u32,
}

impl Load for Many {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        needs_channels(target)?;
        need_connections(self.connections)?;
        let timeout = format!("activity_timeout = {}", self.activity_timeout);
        let server = bench.start(target, Bench::config().server(&timeout))?;
        let before = server.resident_kib()?;
        let mut client = Client::new(&[&server], 1, 1)?;
        let begun = Instant::now();
        client.subscribe(self.connections, 0)?;
        let opening = begun.elapsed();
        client.add_publishers(0, 1)?;
        let mut pings = 0;
        let spent = measure(&mut client, &[&server], |client| {
            pings = self.ping(client)?;
            self.publish(client, &Signer::new(&server))
        })?;

        let mut figures = Figures::default();
        figures.count("connections", client.connections() as u64);
        figures.push("opening_seconds", opening.as_secs_f64());
        figures.count("pings", pings);
        figures.count("pongs_missing", pings.saturating_sub(client.counts.pongs));
        figures.count("server_pings", client.counts.server_pings);
        figures.times("latency", &client.groups[0].latency);
        push_delivery(&mut figures, &client, &spent);
        figures.push("grown_mib", (server.resident_kib()? - before) / 1024.0);
        Ok(figures)
    }
}

impl Many {
    /// Every other connection pings in its turn, evenly over each interval; how many pings that were.
    fn ping(&self, client: &mut Client) -> Result<u64> {
        let interval = f64::from(self.activity_timeout);
        let per_second = self.connections as f64 / 2.0 / interval;
        let (begun, mut pings) = (Instant::now(), 0_u64);
        while begun.elapsed().as_secs_f64() < self.seconds {
            while (pings as f64) < begun.elapsed().as_secs_f64() * per_second {
                let socket = (2 * pings as usize) % self.connections;
                client.ping(socket);
                pings += 1;
            }
            client.turn(Duration::from_millis(5))?;
        }
        // The last answers are on their way.
        super::wait(client, Duration::from_secs(2))?;
        Ok(pings)
    }

    /// One event for all.
    fn publish(&self, client: &mut Client, signer: &Signer) -> Result<()> {
        let schedule = Schedule::new(client, signer, &[Stream::of_one(1.0, 100)], 1.0);
        client.publish(schedule);
        client.settle()
    }
}
