//! Connections that come and go on a channel while others listen to it: those that stay must not notice.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Bench, Load, measure, need_connections, needs_channels, push_delivery};
use crate::Result;
use crate::client::{Client, Schedule, Spec, Stream};
use crate::figures::Figures;
use crate::requests::Signer;
use crate::target::Target;

/// The groups.
const STAYING: usize = 0;
const PASSING: usize = 1;

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Churn {
    /// Subscribers that stay
    #[arg(long, default_value_t = 500)]
    subscribers: usize,
    /// Events in a second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Connections that come in a second
    #[arg(long, default_value_t = 200.0)]
    arrivals: f64,
    /// How many seconds each of them stays
    #[arg(long, default_value_t = 1.0)]
    stay: f64,
    /// Seconds of all that
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Bytes of each event's data
    #[arg(long, default_value_t = 100, value_parser = super::parse_bytes)]
    bytes: usize,
}

impl Load for Churn {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        needs_channels(target)?;
        let passing = (self.arrivals * self.stay * 2.0) as usize;
        need_connections(self.subscribers + passing)?;
        let server = bench.start(target, Bench::config())?;
        let mut client = Client::new(&[&server], 1, 2)?;
        client.groups[PASSING].stays = false;
        client.subscribe(self.subscribers, STAYING)?;
        client.add_publishers(0, 1)?;
        let signer = Signer::new(&server);
        let stream = Stream::of_one(self.rate, self.bytes);
        let spent = measure(&mut client, &[&server], |client| {
            let schedule = Schedule::new(client, &signer, &[stream], self.seconds);
            client.publish(schedule);
            self.come_and_go(client)?;
            client.settle()
        })?;

        let mut figures = Figures::default();
        figures.times("latency", &client.groups[STAYING].latency);
        figures.times("connect", &client.counts.opening);
        figures.count("arrived", client.counts.opened);
        figures.count("passing_deliveries", client.groups[PASSING].deliveries);
        push_delivery(&mut figures, &client, &spent);
        Ok(figures)
    }
}

impl Churn {
    /// Opens connections by the clock and closes each in its time, until the schedule ends.
    fn come_and_go(&self, client: &mut Client) -> Result<()> {
        let (stay, begun) = (Duration::from_secs_f64(self.stay), Instant::now());
        let mut there: VecDeque<(usize, Instant)> = VecDeque::new();
        let mut arrived = 0.0;
        while begun.elapsed().as_secs_f64() < self.seconds || !there.is_empty() {
            let elapsed = begun.elapsed().as_secs_f64();
            while elapsed < self.seconds && arrived <= elapsed * self.arrivals {
                there.push_back((client.open(Spec::of(0, PASSING))?, Instant::now()));
                arrived += 1.0;
            }
            while let Some((socket, since)) = there.front().copied()
                && since.elapsed() >= stay
            {
                client.leave(socket);
                there.pop_front();
            }
            client.turn(Duration::from_millis(1))?;
        }
        Ok(())
    }
}
