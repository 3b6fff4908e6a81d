//! What a load will be for the nodes and for Redis, before there are any. Puts the subscribers of each channel on nodes
//! at random, has some of them leave and come, and counts what the tables of docs/sizing.md say that each thing costs.
//! Starts no server and measures nothing.

use std::fmt::Write as _;

/// CPU of a node in µs, from the figures of benches/README.md, rounded up: a delivery, a publish, a connection that
/// comes, subscribes twice and goes, a message from Redis.
const DELIVERY: f64 = 10.0;
const PUBLISH: f64 = 40.0;
const CONNECTION: f64 = 150.0;
const MESSAGE: f64 = 5.0;

/// CPU of Redis in µs: a command, nearly all of which are scripts, and a message that goes out.
const REDIS_COMMAND: f64 = 15.0;
const REDIS_MESSAGE: f64 = 2.0;

/// The share of a core that Redis shall use: above it, its channels are spread over a Redis Cluster.
const REDIS_SHARE: f64 = 0.5;

/// Memory of a node in KiB: an idle one, and a connection with its two subscriptions.
const IDLE_KIB: f64 = 12.0 * 1024.0;
const CONNECTION_KIB: f64 = 4.0;

/// Commands to Redis: a subscription and its end, and what the first of a channel on a node and the last one add.
const JOIN: u64 = 1;
const FIRST: u64 = 1;
const LEAVE: u64 = 1;
const LAST: u64 = 2;

/// Heartbeats of a node in a second for each bucket, and the buckets of a Redis Cluster.
const HEARTBEATS: u64 = 2;
const BUCKETS: u64 = 16;

/// See the module's head.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Plan {
    /// Connections of the whole cluster; a row for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000, 10_000_000])]
    connections: Vec<u64>,
    /// Nodes; default: as many as carry the connections, and one that may fail
    #[arg(long)]
    nodes: Option<usize>,
    /// Connections that a node of two cores shall have
    #[arg(long, default_value_t = 40_000)]
    per_node: u64,
    /// Subscribers of a shared channel. Each connection is on one of them, and on a channel of its own
    #[arg(long, default_value_t = 100)]
    shared: u64,
    /// Seconds between two events of a shared channel
    #[arg(long, default_value_t = 10.0)]
    shared_seconds: f64,
    /// Seconds between two events of a connection's own channel
    #[arg(long, default_value_t = 100.0)]
    own_seconds: f64,
    /// Seconds that a connection lasts
    #[arg(long, default_value_t = 600.0)]
    session_seconds: f64,
    /// Shared channels tell their subscribers how many they are (`subscription_count`)
    #[arg(long)]
    counts: bool,
}

/// What was counted of the shared channels.
#[derive(Default)]
struct Placed {
    channels: u64,
    /// Nodes that have subscribers, summed over the channels.
    interested: u64,
    /// Of one connection that leaves and one that comes in each channel: how often it was the last of its node, and the
    /// first.
    last: u64,
    first: u64,
}

/// A generator whose numbers are the same everywhere and always (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

impl Placed {
    /// Puts the subscribers of so many channels on so many nodes.
    fn at_random(channels: u64, subscribers: u64, nodes: usize) -> Self {
        let mut numbers = Numbers(1);
        let mut node = || numbers.below(nodes as u64) as usize;
        let mut placed = Self {
            channels,
            ..Self::default()
        };
        for _ in 0..channels {
            let mut here = vec![0_u32; nodes];
            // The last one to be placed is as good as any to leave.
            let mut leaves = 0;
            for _ in 0..subscribers {
                leaves = node();
                here[leaves] += 1;
            }
            placed.interested += here.iter().filter(|count| **count > 0).count() as u64;
            here[leaves] -= 1;
            placed.last += u64::from(here[leaves] == 0);
            placed.first += u64::from(here[node()] == 0);
        }
        placed
    }

    /// A sum as what it is for one channel.
    fn each(&self, sum: u64) -> f64 {
        sum as f64 / self.channels as f64
    }
}

/// A row of the table.
struct Row {
    connections: u64,
    nodes: usize,
    events: f64,
    deliveries: f64,
    /// Nodes that an event of a shared channel goes to.
    interested: f64,
    commands: f64,
    messages: f64,
    masters: u64,
    redis_cores: f64,
    node_cores: f64,
    node_mib: f64,
}

impl Plan {
    /// The table, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| connections | nodes | events/s | deliveries/s | nodes of a shared channel | commands to Redis/s | messages from Redis/s | cores of Redis | Redis | cores of a node | MiB of a node |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for connections in &self.connections {
            let row = self.row(*connections);
            let redis = match row.masters {
                1 => "one".to_owned(),
                2..=BUCKETS => format!("Cluster, {} masters", row.masters),
                _ => "more than one Cluster".to_owned(),
            };
            // A String takes everything.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {:.1} | {} | {} | {:.2} | {redis} | {:.2} | {} |",
                grouped(row.connections as f64),
                row.nodes,
                grouped(row.events),
                grouped(row.deliveries),
                row.interested,
                grouped(row.commands),
                grouped(row.messages),
                row.redis_cores,
                row.node_cores,
                grouped(row.node_mib),
            );
        }
        text
    }

    fn row(&self, connections: u64) -> Row {
        let carrying = connections.div_ceil(self.per_node);
        let nodes = self.nodes.unwrap_or(carrying as usize + 1);
        let placed = Placed::at_random((connections / self.shared).max(1), self.shared, nodes);
        let interested = placed.each(placed.interested);

        let shared_events = placed.channels as f64 / self.shared_seconds;
        let own_events = connections as f64 / self.own_seconds;
        let events = shared_events + own_events;
        let deliveries = shared_events * self.shared as f64 + own_events;

        let comes = connections as f64 / self.session_seconds;
        let own = (JOIN + FIRST + LEAVE + LAST) as f64;
        let shared = (JOIN + LEAVE) as f64
            + placed.each(placed.first) * FIRST as f64
            + placed.each(placed.last) * LAST as f64;
        let commands = events + comes * (own + shared);
        let mut messages = shared_events * interested + own_events;
        if self.counts {
            // Who comes and who goes changes the count of the shared channel, and of the own one who comes.
            messages += comes * (2.0 * interested + 1.0);
        }

        let cores = |commands: f64| (commands * REDIS_COMMAND + messages * REDIS_MESSAGE) / 1e6;
        let heartbeats = |buckets: u64| (nodes as u64 * HEARTBEATS * buckets) as f64;
        let (mut commands, rest) = (commands + heartbeats(1), commands);
        let mut masters = 1;
        if cores(commands) > REDIS_SHARE {
            commands = rest + heartbeats(BUCKETS);
            masters = ((cores(commands) / REDIS_SHARE).ceil() as u64).max(3);
        }
        let node_us =
            deliveries * DELIVERY + events * PUBLISH + comes * CONNECTION + messages * MESSAGE;
        Row {
            connections,
            nodes,
            events,
            deliveries,
            interested,
            commands,
            messages,
            masters,
            redis_cores: cores(commands),
            node_cores: node_us / 1e6 / nodes as f64,
            node_mib: (IDLE_KIB + connections as f64 / nodes as f64 * CONNECTION_KIB) / 1024.0,
        }
    }
}

/// A whole number in groups of three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
