//! Everything at once for a long time, on two nodes over Redis: connections that come back with their tokens, members that
//! come and go, events, webhooks. Then all leave, and what the nodes and Redis hold must be what they held before.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::cluster::Redis;
use super::{
    AT_A_TIME, Bench, Load, measure, need_connections, needs_channels, push_delivery, wait,
};
use crate::client::{Client, Schedule, Spec, Stream};
use crate::figures::Figures;
use crate::requests::Signer;
use crate::target::{Config, Dialect, Server, Source, Target};
use crate::{Result, note};

/// The groups.
const STAYING: usize = 0;
const PASSING: usize = 1;

/// Events are signed for so many seconds at a time.
const CHUNK_SECONDS: f64 = 5.0;

/// How long what was left may take to be gone.
const PATIENCE: Duration = Duration::from_secs(90);

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Soak {
    /// Connections, of which a quarter comes and goes
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// Channels; every fourth of them is a presence channel, on which connections come and go
    #[arg(long, default_value_t = 200)]
    channels: u32,
    /// Events in a second
    #[arg(long, default_value_t = 300.0)]
    rate: f64,
    /// Connections that go and come back in a second
    #[arg(long, default_value_t = 60.0)]
    returns: f64,
    /// Seconds of all that
    #[arg(long, default_value_t = 1800.0)]
    seconds: f64,
    /// Bytes of each event's data
    #[arg(long, default_value_t = 200, value_parser = super::parse_bytes)]
    bytes: usize,
}

/// What the nodes hold, and Redis until it is told otherwise: the rest expires.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: u64,
    threads: u64,
    tasks: u64,
    keys: u64,
    connections: u64,
    webhooks: u64,
}

impl Held {
    fn now(nodes: &[&Server], redis: &Redis) -> Result<Self> {
        let sum = |name: &str| nodes.iter().filter_map(|node| node.metric(name)).sum();
        let mut held = Self {
            descriptors: 0,
            threads: 0,
            tasks: sum("tasks"),
            keys: redis.lasting_keys()?,
            connections: sum("connections"),
            webhooks: sum("webhook_queue"),
        };
        for node in nodes {
            held.descriptors += node.descriptors()?;
            held.threads += node.threads()?;
        }
        Ok(held)
    }

    fn is_back_at(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.tasks <= before.tasks
            && self.keys <= before.keys
            && self.connections == 0
            && self.webhooks == 0
    }
}

impl Load for Soak {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        needs_channels(target)?;
        if let Source::Running { .. } = target.source {
            return Err("the nodes are started here: name their binary with --server".into());
        }
        need_connections(self.connections)?;
        let receiver = Target {
            source: Source::Bare,
            ..target.clone()
        };
        let receiver = bench.start(&receiver, Config::default())?;
        let redis = Redis::start(&bench.cpus)?;
        let node = Target {
            dialect: Dialect::Resumable,
            ..target.clone()
        };
        let config = || {
            let hooks = format!(
                "[[apps.webhooks]]\nurl = \"http://{}/\"\nevents = [\"channel_occupied\", \"channel_vacated\", \
                 \"member_added\", \"member_removed\"]\n\n",
                receiver.host
            );
            // What is kept for those who come back goes soon when they do not.
            let redis = redis.section() + "log_seconds = 5\n";
            let config = Bench::config().app("resume_seconds = 5");
            config.more(&hooks).more(&redis)
        };
        let (first, second) = (bench.start(&node, config())?, bench.start(&node, config())?);
        let nodes = [&first, &second];
        let new = self.quiet(&nodes, &redis, None)?;
        // What the first connections make the nodes take, they keep; in Redis nothing is.
        self.occupy(&nodes, 0.0)?;
        let taken = Held {
            descriptors: u64::MAX,
            threads: u64::MAX,
            tasks: u64::MAX,
            ..new
        };
        let before = self.quiet(&nodes, &redis, Some(&taken))?;
        let mut figures = self.occupy(&nodes, self.seconds)?;
        let after = self.quiet(&nodes, &redis, Some(&before))?;
        let left = |of: fn(&Held) -> u64| of(&after) as f64 - of(&before) as f64;
        figures.push("descriptors_left", left(|held| held.descriptors));
        figures.push("threads_left", left(|held| held.threads));
        figures.push("tasks_left", left(|held| held.tasks));
        figures.push("redis_keys_left", left(|held| held.keys));
        let hooks = nodes
            .iter()
            .filter_map(|node| node.counter("webhook_deliveries"));
        figures.count("webhooks_delivered", hooks.sum());
        figures.count("connections_left", after.connections);
        figures.count("webhooks_left", after.webhooks);
        Ok(figures)
    }
}

impl Soak {
    /// All of the load for so long; at the end every connection has gone.
    fn occupy(&self, nodes: &[&Server], seconds: f64) -> Result<Figures> {
        let presence = self.channels - self.channels / 4..self.channels;
        let plain = 0..presence.start;
        let mut client = Client::new(nodes, self.channels as usize, 2)?.with_presence(presence);
        client.groups[PASSING].stays = false;
        let staying = self.connections - self.connections / 4;
        let spec = |number: usize, channels: u32, first: u32, group| Spec {
            endpoint: number % 2,
            ..Spec::of(first + number as u32 % channels, group)
        };
        let stay = (0..staying).map(|number| spec(number, plain.end, 0, STAYING));
        client.open_all(stay, AT_A_TIME)?;
        let passing = |number| spec(number, self.channels - plain.end, plain.end, PASSING);
        client.open_all((staying..self.connections).map(passing), AT_A_TIME)?;
        client.add_publishers(0, 2)?;
        let signer = Signer::new(nodes[0]);
        let stream = Stream {
            rate: self.rate,
            channels: 0..self.channels,
            publishers: 0..2,
            bytes: self.bytes,
        };

        let mut memory = Vec::new();
        let spent = measure(&mut client, nodes, |client| {
            let begun = Instant::now();
            let (mut returned, mut next, mut endpoint) = (0.0, staying, 0);
            while begun.elapsed().as_secs_f64() < seconds {
                let schedule = Schedule::new(
                    client,
                    &signer,
                    std::slice::from_ref(&stream),
                    CHUNK_SECONDS,
                );
                client.publish(schedule);
                while !client.is_done() {
                    while returned < begun.elapsed().as_secs_f64() * self.returns {
                        client.leave(next);
                        next = staying + (next + 1 - staying) % (self.connections - staying);
                        returned += 1.0;
                    }
                    // Whoever has gone comes back with the token that it had, to the one node and the other.
                    while client.connections() + client.opening() < self.connections {
                        let mut comes = passing(client.next_connection());
                        endpoint += 1;
                        comes.endpoint = endpoint % 2;
                        client.open(comes)?;
                    }
                    client.turn(Duration::from_millis(2))?;
                }
                memory.push((operations(client), resident(nodes)?));
            }
            client.settle()
        })?;
        let mut figures = Figures::default();
        figures.times("latency", &client.groups[STAYING].latency);
        figures.count("operations", operations(&client));
        figures.count("returned", client.counts.opened);
        figures.push("rss_mib", resident(nodes)? / 1024.0);
        figures.push("rss_kib_per_million_operations", slope(&memory) * 1e6);
        push_delivery(&mut figures, &client, &spent);
        self.all_leave(&mut client)?;
        Ok(figures)
    }

    fn all_leave(&self, client: &mut Client) -> Result<()> {
        for socket in 0..self.connections {
            client.leave(socket);
        }
        wait(client, Duration::from_millis(500))
    }

    /// Waits until nothing is left, or until what is left is what there was before, and tells what there is.
    fn quiet(&self, nodes: &[&Server], redis: &Redis, before: Option<&Held>) -> Result<Held> {
        let end = Instant::now() + PATIENCE;
        let mut known = Held::now(nodes, redis)?;
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let held = Held::now(nodes, redis)?;
            let is_quiet = match before {
                Some(before) => held.is_back_at(before),
                None => held.connections == 0 && held.webhooks == 0 && held.keys == known.keys,
            };
            if is_quiet {
                return Ok(held);
            }
            if Instant::now() > end {
                note(&format!("still there: {held:?}, before: {before:?}"));
                return Ok(held);
            }
            known = held;
        }
    }
}

/// Whatever a node had to do: deliveries, events, connections.
fn operations(client: &Client) -> u64 {
    let deliveries: u64 = client.groups.iter().map(|group| group.deliveries).sum();
    deliveries + client.counts.published + client.counts.opened
}

fn resident(nodes: &[&Server]) -> Result<f64> {
    nodes.iter().map(|node| node.resident_kib()).sum()
}

/// How much the second value grows with the first, by least squares over the later half, when caches are full.
fn slope(points: &[(u64, f64)]) -> f64 {
    let later = &points[points.len() / 2..];
    let count = later.len() as f64;
    let mean = |of: fn(&(u64, f64)) -> f64| later.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0 as f64), mean(|point| point.1));
    let by: f64 = later.iter().map(|point| (point.0 as f64 - x).powi(2)).sum();
    let up = later
        .iter()
        .map(|point| (point.0 as f64 - x) * (point.1 - y));
    if by == 0.0 { 0.0 } else { up.sum::<f64>() / by }
}
