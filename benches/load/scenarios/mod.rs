//! The loads. Each starts its server, brings it to where it is to be measured, and measures.

mod apps;
mod burst;
mod channels;
mod churn;
mod cluster;
mod connect;
mod fanout;
mod http;
mod idle;
mod many;
mod mixed;
mod slow;
mod soak;
mod unicast;

use std::time::{Duration, Instant};

pub(crate) use apps::Apps;
pub(crate) use burst::Burst;
pub(crate) use channels::Channels;
pub(crate) use churn::Churn;
pub(crate) use cluster::Cluster;
pub(crate) use connect::Connect;
pub(crate) use fanout::Fanout;
pub(crate) use http::Http;
pub(crate) use idle::Idle;
pub(crate) use many::Many;
pub(crate) use mixed::Mixed;
pub(crate) use slow::Slow;
pub(crate) use soak::Soak;
pub(crate) use unicast::Unicast;

use crate::client::{AT_A_TIME, Client, Schedule, Stream};
use crate::figures::{Figures, millis};
use crate::machine::need_connections;
use crate::payload::{LEAST_BYTES, Stamp, data};
use crate::process::{Cpus, Usage};
use crate::requests::{Requests, Signer};
use crate::target::{Config, Dialect, Server, Target};
use crate::{Result, note};

/// How much of a steady load goes before the measurement: caches, allocators and schedulers settle.
const WARM_UP_SECONDS: f64 = 1.0;

/// A load with its parameters.
pub(crate) trait Load {
    /// Puts it on a target and tells what came of it.
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures>;
}

/// What all runs have in common.
pub(crate) struct Bench {
    pub(crate) cpus: Cpus,
    pub(crate) log: String,
    pub(crate) server_lines: Vec<String>,
    pub(crate) app_lines: Vec<String>,
}

impl Bench {
    /// What a server that is started here is told, before what the command line says.
    fn config() -> Config {
        Config::default()
            .server("host = \"127.0.0.1\"")
            .server("port = 0")
            // The others do not tell it, and it would add frames that nobody asked for.
            .app("subscription_count = false")
    }

    /// Starts a target, or takes it as it runs.
    fn start(&self, target: &Target, config: Config) -> Result<Server> {
        let config = self
            .server_lines
            .iter()
            .fold(config, |config, line| config.server(line));
        let config = self
            .app_lines
            .iter()
            .fold(config, |config, line| config.app(line));
        Server::start(target, &config, &self.log, &self.cpus)
    }
}

/// The floor has no channels, no signatures and no limits.
fn needs_channels(target: &Target) -> Result<()> {
    match target.dialect {
        Dialect::Pusher | Dialect::Resumable | Dialect::Tls => Ok(()),
        Dialect::Floor => Err("the floor has no channels: leave it out of this scenario".into()),
    }
}

/// What a measured stretch has cost.
struct Spent {
    server: Usage,
    client: Usage,
    wall: Duration,
}

/// Counts anew, does something, and reads what it has cost the servers and this client.
fn measure(
    client: &mut Client,
    servers: &[&Server],
    work: impl FnOnce(&mut Client) -> Result<()>,
) -> Result<Spent> {
    let usage = || -> Result<Usage> {
        let mut sum = Usage::default();
        for server in servers {
            let usage = server.usage()?;
            sum.user += usage.user;
            sum.system += usage.system;
        }
        Ok(sum)
    };
    let own = || Usage::of(&[std::process::id()]);
    client.reset()?;
    let (server_before, own_before, begun) = (usage()?, own()?, Instant::now());
    work(client)?;
    Ok(Spent {
        wall: begun.elapsed(),
        server: usage()?.since(server_before),
        client: own()?.since(own_before),
    })
}

/// Publishes by a schedule at the first server until all of it is delivered: a moment of it to warm up, then what is
/// measured.
fn steady(
    client: &mut Client,
    servers: &[&Server],
    streams: &[Stream],
    seconds: f64,
) -> Result<Spent> {
    let signer = Signer::new(servers[0]);
    let publish = |client: &mut Client, seconds| {
        let schedule = Schedule::new(client, &signer, streams, seconds);
        client.publish(schedule);
        client.settle()
    };
    publish(client, WARM_UP_SECONDS)?;
    measure(client, servers, |client| publish(client, seconds))
}

/// Lets a client turn for so long.
fn wait(client: &mut Client, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        client.turn(left)?;
    }
    Ok(())
}

/// Events for a channel in a ring: `count` requests, numbered from 0.
fn ring(
    client: &mut Client,
    signer: &Signer,
    channels: impl Iterator<Item = u32>,
    bytes: usize,
) -> (Requests, Vec<u32>) {
    let mut requests = Requests::default();
    let mut to = Vec::new();
    for channel in channels {
        let stamp = Stamp {
            due: client.clock(),
            number: client.next_number(channel),
        };
        let name = client.channel_name(channel);
        requests.push(&signer.publish(&name, &data(stamp, bytes), 0));
        to.push(channel);
    }
    (requests, to)
}

/// What every load on subscribers is asked: did everything come, and was anybody too busy to tell?
fn push_delivery(figures: &mut Figures, client: &Client, spent: &Spent) {
    let sum = |of: fn(&crate::client::Group) -> u64| client.groups.iter().map(of).sum();
    figures.count("published", client.counts.published);
    figures.count("deliveries", sum(|group| group.deliveries));
    figures.count("lost", client.missing());
    figures.count("duplicates", sum(|group| group.duplicates));
    figures.count("overtaken", sum(|group| group.overtaken));
    figures.count("refused", client.counts.refused);
    push_health(figures, client, spent);
}

/// Connections that did not last, and how busy both sides were.
fn push_health(figures: &mut Figures, client: &Client, spent: &Spent) {
    figures.count("closed", client.counts.closed());
    figures.count("failed", client.counts.failed);
    figures.push("seconds", spent.wall.as_secs_f64());
    figures.push("server_cpu_percent", spent.server.percent(spent.wall));
    figures.push("client_cpu_percent", spent.client.percent(spent.wall));
    let late = client.counts.lateness.value_at_quantile(0.99);
    if !client.counts.lateness.is_empty() {
        figures.push("late_p99_ms", millis(late));
    }
    if let Some(problem) = &client.counts.problem {
        note(&format!("the first thing that went wrong: {problem}"));
    }
}

/// Bytes of data in which there is room for a stamp, and which every server takes with its default limits.
fn parse_bytes(text: &str) -> std::result::Result<usize, String> {
    let bytes: usize = text.parse().map_err(|error| format!("{error}"))?;
    if (LEAST_BYTES..=10_000).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("expected {LEAST_BYTES} to 10000"))
}
