//! The link to one bucket: the task that owns its connection and its topics.
//!
//! It registers in Redis what this node holds, always in absolute terms and one registration at a time for each topic,
//! so that whatever was under way when a connection broke is simply sent again.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mod` | the life of the task: connecting, the loop, what happens at a disconnection |
//! | `request` | what `ops` posts to a link |
//! | `topic` | one topic: what is held here, what Redis was told of it, what clients here know of the others |
//! | `scheduler` | what waits to be sent, and deadlines |
//! | `commands` | the commands that are sent: heartbeat, registration, publish |
//! | `in_flight` | what was sent and has not been answered |
//! | `replies` | replies and pushed messages, in the order in which Redis sent them |
//! | `register_reply`, `catch_up` | what follows from a registration; which events of the log were missed |
//! | `local_delivery` | frames for this node's clients, and events for its webhooks |
//! | `reap`, `shutdown` | the end of another node, and of this one |
//! | `node_directory` | who the nodes are, and whether they have the same apps |
//! | `shares` | this node's shares of the limits that all nodes have together |
//! | `positions` | what resumable connections have confirmed |
//! | `asking` | questions to single nodes, and the answers to theirs |
//! | `feed_relay` | the console's feed between nodes |
//!
//! Invariant: the link makes all deliveries of its bucket, in the order in which Redis took the events, and answers a
//! subscription between the event before it and the event after it.

pub(crate) mod asking;
mod catch_up;
pub(crate) mod commands;
mod feed_relay;
mod in_flight;
pub(crate) mod local_delivery;
pub(crate) mod node_directory;
pub(crate) mod positions;
mod reap;
mod register;
pub(crate) mod register_reply;
mod replies;
pub(crate) mod request;
mod scheduler;
mod shares;
mod shutdown;
mod topic;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::cluster_state::LinkState;
use super::connection::connector::Connector;
use super::connection::{Connection, ConnectionError};
use super::settings::Settings;
use super::wire::keys::Bucket;
use crate::adapter::{Answerer, NodeId};
use crate::app::CurrentApps;
use crate::feed::Feed;
use asking::Asking;
use feed_relay::FeedRelay;
use in_flight::{Call, InFlight, PendingReply};
use local_delivery::LocalDelivery;
use node_directory::NodeDirectory;
use positions::WaitingPositions;
use request::Request;
use shutdown::Shutdown;
use topic::Topic;

/// The interval of the link's timer, which checks deadlines.
const TICK: Duration = Duration::from_millis(100);

/// Ticks between two heartbeats.
const HEARTBEAT_TICKS: u32 = 5;

/// Ticks between two introductions of this node.
const INTRODUCTION_TICKS: u32 = 50;

/// Ticks between two messages to other nodes' consoles.
const FEED_TICKS: u32 = 2;

/// How long a reply may take before the link closes the connection.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that the link takes in one turn of its loop.
const REQUEST_BATCH: usize = 256;

/// Waits before the first, the second, … attempt to connect. The last one is for all further attempts.
const BACKOFF: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
];

/// What a link needs of the adapter.
pub(super) struct LinkDeps {
    pub(super) settings: Arc<Settings>,
    pub(super) node: String,
    /// The same.
    pub(super) id: NodeId,
    /// Answers what other nodes ask, from when it is there.
    pub(super) answerer: Arc<OnceLock<Answerer>>,
    pub(super) linger: Duration,
    pub(super) bucket: Bucket,
    pub(super) delivery: LocalDelivery,
    /// The console's feed, for the one link that relays it.
    pub(super) feed: Option<Feed>,
    /// The configured apps, for the same link, which compares them with those of other nodes and leases shares of their
    /// limits.
    pub(super) apps: Option<Arc<CurrentApps>>,
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) state: watch::Sender<LinkState>,
}

/// A link. Each file of this folder implements a part of it.
pub(super) struct Link {
    deps: LinkDeps,
    connector: Rc<Connector>,
    topics: HashMap<Rc<str>, Topic>,
    /// Topics that wait for a registration.
    register_queue: VecDeque<Rc<str>>,
    /// Topics whose registration Redis refused. The next heartbeat puts them back into the queue.
    refused_topics: Vec<Rc<str>>,
    /// Publishes and queries that wait to be sent.
    waiting_calls: VecDeque<Call>,
    /// What resumable connections have confirmed and Redis has not been told.
    positions: WaitingPositions,
    in_flight: InFlight,
    /// The number up to which this node knows what only it is told. Heartbeats say so, and Redis forgets it.
    told: u64,
    /// Connections so far. Redis carries out no registration of an earlier one any more once it has a heartbeat of a later
    /// one. So nothing is told below what replies have said, and nothing older overwrites what is registered.
    connections: u64,
    asking: Asking,
    feed_relay: Option<FeedRelay>,
    directory: Option<NodeDirectory>,
    /// Calls for shares so far.
    share_calls: u64,
    waiter_deadlines: VecDeque<(Instant, Rc<str>)>,
    idle_topics: VecDeque<(Instant, Rc<str>)>,
    /// When the connection broke; `None` once everything is being registered again.
    down_since: Option<Instant>,
    /// Whether only heartbeats may be sent, because it is not known what Redis remembers.
    paused: bool,
    /// The epoch of Redis' memory at the last heartbeat.
    epoch: Option<String>,
    resync: Resync,
    /// When to fetch all members again, after a loss of Redis' memory.
    recheck_at: Option<Instant>,
    shutdown: Shutdown,
    /// Connections in a row that broke within a tick.
    failures: usize,
}

/// The progress of registering everything again after a reconnection.
#[derive(Debug, Default)]
struct Resync {
    left: usize,
    topics: usize,
    recovered: usize,
    gaps: usize,
}

impl Link {
    pub(super) fn new(deps: LinkDeps) -> Self {
        let connector = Connector::new(Arc::clone(&deps.settings), &deps.node);
        let topic = deps.bucket.node_topic(deps.id);
        let asking = Asking::new(deps.id, topic, Arc::clone(&deps.answerer));
        let feed_relay = deps.feed.clone().map(FeedRelay::new);
        let directory = deps.feed.as_ref().zip(deps.apps.clone());
        let directory = directory.map(|(feed, apps)| NodeDirectory::new(feed.node(), apps));
        Self {
            deps,
            feed_relay,
            directory,
            connector: Rc::new(connector),
            topics: HashMap::new(),
            register_queue: VecDeque::new(),
            refused_topics: Vec::new(),
            waiting_calls: VecDeque::new(),
            positions: WaitingPositions::default(),
            in_flight: InFlight::default(),
            told: 0,
            connections: 0,
            asking,
            share_calls: 0,
            waiter_deadlines: VecDeque::new(),
            idle_topics: VecDeque::new(),
            down_since: Some(Instant::now()),
            paused: true,
            epoch: None,
            resync: Resync::default(),
            recheck_at: None,
            shutdown: Shutdown::NotStarted,
            failures: 0,
        }
    }

    /// Runs as long as the process.
    pub(super) async fn run(mut self) {
        loop {
            let mut connection = self.connect().await;
            let begun = Instant::now();
            let ConnectionError(reason) = self.serve(&mut connection).await;
            drop(connection);
            // A server that accepts connections and then breaks them is not tried more often than one that is away.
            self.failures = match begun.elapsed() < TICK {
                true => self.failures + 1,
                false => 0,
            };
            self.on_disconnected(&reason);
        }
    }

    /// Connects, and serves requests and deadlines meanwhile.
    async fn connect(&mut self) -> Connection {
        let connector = Rc::clone(&self.connector);
        let (bucket, state) = (self.deps.bucket.clone(), self.deps.state.clone());
        let mut attempts = pin!(attempts(&connector, &bucket, &state, self.failures));
        let mut timer = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                connection = &mut attempts => return connection,
                Some(request) = self.deps.requests.recv() => self.on_request(request),
                _ = timer.tick() => self.expire(Instant::now()),
            }
        }
    }

    async fn serve(&mut self, connection: &mut Connection) -> ConnectionError {
        self.on_connected(connection);
        let mut timer = tokio::time::interval(TICK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ticks = 0;
        let (mut values, mut requests) = (Vec::new(), Vec::new());
        loop {
            self.send_waiting(connection);
            let mut broken = None;
            tokio::select! {
                exchanged = connection.exchange(&mut values) => broken = exchanged.err(),
                // None at all: whoever sent them is gone, and the link goes on for what it has.
                1.. = self.deps.requests.recv_many(&mut requests, REQUEST_BATCH) => {}
                Some(answer) = self.asking.next_answer(), if self.asking.has_room() => {
                    self.asking.on_answer(answer);
                }
                _ = timer.tick() => {
                    ticks += 1;
                    broken = self.on_tick(connection, ticks).err();
                }
            }
            if !values.is_empty() {
                self.deps.delivery.wait_for_capacity().await;
            }
            for value in values.drain(..) {
                if let Err(reason) = self.on_value(value, connection) {
                    return reason;
                }
            }
            for request in requests.drain(..) {
                self.on_request(request);
            }
            if let Some(reason) = broken {
                return reason;
            }
        }
    }

    /// Sends a heartbeat, whose reply says what Redis remembers. Everything is registered again after it.
    fn on_connected(&mut self, connection: &mut Connection) {
        self.connections += 1;
        connection.number = self.connections;
        self.paused = true;
        self.listen_to_peers(connection);
        self.heartbeat(connection);
        self.introduce(connection);
    }

    fn on_disconnected(&mut self, reason: &str) {
        // If each connection breaks soon, a line for every thirtieth is enough.
        if self.failures.is_multiple_of(30) || self.failures == 1 {
            let node = &self.deps.node;
            warn!(node, reason, "the connection to Redis is gone");
        }
        self.deps.delivery.metrics.cluster_reconnects.inc();
        self.deps.state.send_modify(|state| state.goes_down(reason));
        self.down_since.get_or_insert_with(Instant::now);
        let mut calls = VecDeque::new();
        for sent in self.in_flight.take() {
            match sent.reply {
                PendingReply::Register(registration) => {
                    if let Some(topic) = self.topics.get_mut(&registration.topic) {
                        topic.waiters.splice(0..0, registration.waiters);
                    }
                }
                PendingReply::Call(Call::Publish(publish))
                    if self.deps.settings.log.events == 0 =>
                {
                    let why =
                        format!("{reason}; without a log it cannot be told whether Redis took it");
                    let _ = publish.answer.send(Err(why.into()));
                }
                PendingReply::Call(call) => calls.extend(call.again()),
                PendingReply::Remember(changes) => self.positions.take_back(changes),
                PendingReply::Heartbeat { .. }
                | PendingReply::FeedMessage
                | PendingReply::Introduce
                | PendingReply::Shares(_)
                | PendingReply::Subscribe
                | PendingReply::Unsubscribe
                | PendingReply::OwnedTopics(_)
                | PendingReply::DropTopic(_)
                | PendingReply::FlushCount(_)
                | PendingReply::RemoveNode(_)
                | PendingReply::PeerMessage(_) => {}
            }
        }
        calls.append(&mut self.waiting_calls);
        self.waiting_calls = calls;
        self.register_queue.clear();
        self.refused_topics.clear();
        self.topics.values_mut().for_each(Topic::on_disconnected);
        self.resync = Resync::default();
        self.asking.on_disconnected();
        if let Some(feed_relay) = &mut self.feed_relay {
            feed_relay.on_disconnected();
        }
    }

    /// Checks deadlines, and sends what is due.
    fn on_tick(&mut self, connection: &mut Connection, ticks: u32) -> Result<(), ConnectionError> {
        let now = Instant::now();
        if let Some(oldest) = self.in_flight.oldest()
            && now.saturating_duration_since(oldest.at) > REPLY_TIMEOUT
        {
            return Err(ConnectionError(format!(
                "no reply for {} s",
                REPLY_TIMEOUT.as_secs()
            )));
        }
        self.expire(now);
        self.recheck_members(now);
        if ticks.is_multiple_of(HEARTBEAT_TICKS) {
            for name in std::mem::take(&mut self.refused_topics) {
                self.enqueue(&name);
            }
            let is_ticking = self
                .in_flight
                .has(|reply| matches!(reply, PendingReply::Heartbeat { .. }));
            if !is_ticking && !matches!(self.shutdown, Shutdown::RemovingNode(_) | Shutdown::Done) {
                self.heartbeat(connection);
            }
        }
        if ticks.is_multiple_of(INTRODUCTION_TICKS) && !self.paused {
            self.introduce(connection);
        }
        if ticks.is_multiple_of(FEED_TICKS) {
            self.send_feed(connection);
        }
        self.advance_shutdown(connection);
        Ok(())
    }
}

/// Tries to connect until it succeeds.
async fn attempts(
    connector: &Connector,
    bucket: &Bucket,
    state: &watch::Sender<LinkState>,
    mut failures: usize,
) -> Connection {
    loop {
        let wait = BACKOFF.get(failures).or(BACKOFF.last()).copied();
        // The jitter keeps nodes that lost Redis together from coming back in step.
        let jitter = 0.5 + rand::random::<f64>() / 2.0;
        tokio::time::sleep(wait.unwrap_or_default().mul_f64(jitter)).await;
        match connector.connect(bucket).await {
            Ok(connection) => {
                info!(slot = bucket.slot, "connected to Redis");
                return connection;
            }
            Err(ConnectionError(reason)) => {
                // One line at the start and one for every thirtieth attempt: an outage must not fill the disk.
                if failures.is_multiple_of(30) {
                    warn!(reason, attempt = failures + 1, "Redis cannot be reached");
                }
                failures += 1;
                state.send_modify(|state| state.goes_down(&reason));
            }
        }
    }
}
