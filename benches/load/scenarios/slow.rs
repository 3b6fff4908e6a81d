//! A flood over a channel on which some stop reading: memory stays bounded, the slow ones are closed and say so, and
//! those that keep up lose nothing.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    AT_A_TIME, Bench, Load, measure, need_connections, needs_channels, push_health, ring, wait,
};
use crate::Result;
use crate::client::{Client, Cycle, Spec};
use crate::figures::Figures;
use crate::requests::Signer;
use crate::target::{Server, Target};

/// The groups.
const READING: usize = 0;
const STALLING: usize = 1;

/// Different events; after them the numbers start again, which a gap shows all the same.
const EVENTS: u32 = 997;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Slow {
    /// Subscribers that stop reading
    #[arg(long, default_value_t = 100)]
    stalling: usize,
    /// Subscribers that keep up
    #[arg(long, default_value_t = 10)]
    reading: usize,
    /// Seconds of the flood
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// For how many of them a slow one does not read at a time
    #[arg(long, default_value_t = 3.0)]
    stall: f64,
    /// Bytes of each event's data
    #[arg(long, default_value_t = 10_000, value_parser = super::parse_bytes)]
    bytes: usize,
    /// What may wait for one connection in servers started here
    #[arg(long, default_value_t = 1_048_576)]
    outbox_bytes: usize,
    /// HTTP connections, each with one publish on its way; with more than one, events overtake each other
    #[arg(long, default_value_t = 1)]
    publishers: usize,
}

/// A subscriber that does not read until then, then reads all there is for as long again.
struct Stalling {
    socket: usize,
    is_reading: bool,
    until: Instant,
}

impl Load for Slow {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        needs_channels(target)?;
        need_connections(self.stalling + self.reading)?;
        let outbox = format!("outbox_bytes = {}", self.outbox_bytes);
        let server = bench.start(target, Bench::config().server(&outbox))?;
        let mut client = Client::new(&[&server], 1, 2)?;
        client.groups[READING].cycle = Some(EVENTS);
        client.groups[STALLING].stays = false;
        client.subscribe(self.reading, READING)?;
        client.open_all((0..self.stalling).map(|_| self.spec()), AT_A_TIME)?;
        client.add_publishers(0, self.publishers)?;
        let signer = Signer::new(&server);
        let channels = std::iter::repeat_n(0, EVENTS as usize);
        let (requests, _) = ring(&mut client, &signer, channels, self.bytes);

        let before = server.resident_kib()?;
        let mut most = before;
        let spent = measure(&mut client, &[&server], |client| {
            let time = Duration::from_secs_f64(self.seconds);
            client.publish_on_answer(Cycle::new(client, requests, u64::MAX, time))?;
            most = self.flood(client, &server)?.max(before);
            client.settle()?;
            // Numbers that go round do not tell when the last one is there.
            wait(client, Duration::from_secs(2))
        })?;
        Ok(self.figures(&client, &server, &spent, most - before))
    }
}

impl Slow {
    /// Little room in its own system, so that it is the server where things pile up.
    fn spec(&self) -> Spec {
        Spec {
            receive_bytes: Some(16 * 1024),
            ..Spec::of(0, STALLING)
        }
    }

    /// Stalls, reads and replaces connections until the flood is over; the most memory that was seen.
    fn flood(&self, client: &mut Client, server: &Server) -> Result<f64> {
        let (stall, begun) = (Duration::from_secs_f64(self.stall), Instant::now());
        let mut stalling = Vec::new();
        for socket in self.reading..self.reading + self.stalling {
            client.set_reading(socket, false)?;
            stalling.push(Stalling {
                socket,
                is_reading: false,
                until: begun + stall,
            });
        }
        let (mut most, mut looked) = (0.0_f64, begun);
        while begun.elapsed().as_secs_f64() < self.seconds {
            client.turn(Duration::from_millis(5))?;
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            most = most.max(server.resident_kib()?);
            for slow in stalling.iter_mut().filter(|slow| looked >= slow.until) {
                if !client.is_open(slow.socket) {
                    // It was closed as it should be; another one takes its place.
                    slow.socket = client.open(self.spec())?;
                    slow.is_reading = true;
                    slow.until = looked + Duration::from_millis(500);
                    continue;
                }
                slow.is_reading = !slow.is_reading;
                client.set_reading(slow.socket, slow.is_reading)?;
                slow.until = looked + stall;
            }
        }
        // Those that wait are to be told, too.
        for slow in &stalling {
            client.set_reading(slow.socket, true)?;
        }
        Ok(most)
    }

    fn figures(
        &self,
        client: &Client,
        server: &Server,
        spent: &super::Spent,
        grown_kib: f64,
    ) -> Figures {
        let mut figures = Figures::default();
        let bound = (self.stalling + self.reading) * self.outbox_bytes;
        figures.push("grown_mib", grown_kib / 1024.0);
        figures.push("bound_mib", bound as f64 / 1_048_576.0);
        let (reading, counts) = (&client.groups[READING], &client.counts);
        figures.count("published", counts.published);
        figures.count("refused", counts.refused);
        figures.count("reading_deliveries", reading.deliveries);
        let expected = (counts.published - counts.refused) * self.reading as u64;
        figures.count("reading_lost", expected.saturating_sub(reading.deliveries));
        figures.count("reading_gaps", reading.gaps);
        for (code, count) in &counts.closed {
            figures.count(format!("closed_{code}"), *count);
        }
        if let Some(count) = server.counter("slow_consumers") {
            figures.count("slow_consumers", count);
        }
        push_health(&mut figures, client, spent);
        figures
    }
}
