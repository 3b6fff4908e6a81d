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
//! | `feed_relay` | the console's feed between nodes |
//!
//! Invariant: all deliveries of a bucket are made here, in the order in which Redis took the events; a subscription is
//! answered between the event before it and the event after it.

mod catch_up;
mod commands;
mod feed_relay;
mod in_flight;
pub(crate) mod local_delivery;
pub(crate) mod node_directory;
mod reap;
pub(crate) mod register_reply;
mod replies;
pub(crate) mod request;
mod scheduler;
mod shutdown;
mod topic;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::cluster_state::LinkState;
use super::connection::connector::Connector;
use super::connection::{Connection, ConnectionError};
use super::settings::Settings;
use super::wire::keys::Bucket;
use crate::app::CurrentApps;
use crate::feed::Feed;
use feed_relay::FeedRelay;
use in_flight::{Call, InFlight, PendingReply};
use local_delivery::LocalDelivery;
use node_directory::NodeDirectory;
use request::Request;
use shutdown::Shutdown;
use topic::Topic;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often a node says that it lives, in ticks.
const HEARTBEAT_TICKS: u32 = 5;

/// How often a node says who it is, in ticks.
const INTRODUCTION_TICKS: u32 = 50;

/// How often other nodes' consoles are told what has happened, in ticks.
const FEED_TICKS: u32 = 2;

/// How long a reply may take until the connection is given up.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many requests are taken at once.
const REQUEST_BATCH: usize = 256;

/// Waits before the first, the second, … attempt to connect; the last one is for all further ones.
const BACKOFF: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
];

/// What a link is made of.
pub(super) struct LinkDeps {
    pub(super) settings: Arc<Settings>,
    pub(super) node: String,
    pub(super) linger: Duration,
    pub(super) bucket: Bucket,
    pub(super) delivery: LocalDelivery,
    /// Who watches what happens, for the one link that tells other nodes.
    pub(super) feed: Option<Feed>,
    /// The apps, for the same link, which tells how they can be recognised.
    pub(super) apps: Option<Arc<CurrentApps>>,
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) state: watch::Sender<LinkState>,
}

/// A link. The files beside this one see its fields, each for its own part.
pub(super) struct Link {
    deps: LinkDeps,
    connector: Rc<Connector>,
    topics: HashMap<Rc<str>, Topic>,
    /// Topics of which something is to be said.
    register_queue: VecDeque<Rc<str>>,
    /// Topics that wait for another attempt, as Redis refused the last one.
    refused_topics: Vec<Rc<str>>,
    /// Publishes and questions that have not been sent.
    waiting_calls: VecDeque<Call>,
    in_flight: InFlight,
    feed_relay: Option<FeedRelay>,
    directory: Option<NodeDirectory>,
    waiter_deadlines: VecDeque<(Instant, Rc<str>)>,
    idle_topics: VecDeque<(Instant, Rc<str>)>,
    /// Since when there is no connection.
    down_since: Option<Instant>,
    /// Whether nothing but a tick may be sent: it is not known what Redis remembers.
    paused: bool,
    /// The life of Redis' memory that this node has registered in.
    epoch: Option<String>,
    resync: Resync,
    /// When to ask once more who is there, after others have had their time to come back.
    recheck_at: Option<Instant>,
    shutdown: Shutdown,
    /// Connections in a row that broke soon.
    failures: usize,
}

/// How far the saying of everything has come.
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
            in_flight: InFlight::default(),
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

    /// Serves for as long as the process.
    pub(super) async fn run(mut self) {
        loop {
            let mut connection = self.connect().await;
            let begun = Instant::now();
            let ConnectionError(reason) = self.serve(&mut connection).await;
            drop(connection);
            // A server that takes connections and then breaks them is not asked more often than one that is away.
            self.failures = match begun.elapsed() < TICK {
                true => self.failures + 1,
                false => 0,
            };
            self.on_disconnected(&reason);
        }
    }

    /// Connects, and looks after requests and waiters meanwhile.
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
                _ = self.deps.requests.recv_many(&mut requests, REQUEST_BATCH) => {}
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

    /// A new connection knows nothing: everything is said again, once Redis has said what it remembers.
    fn on_connected(&mut self, connection: &mut Connection) {
        self.paused = true;
        self.heartbeat(connection);
        self.introduce(connection);
    }

    fn on_disconnected(&mut self, reason: &str) {
        // Where each one breaks soon, now and then is enough.
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
                PendingReply::Heartbeat { .. }
                | PendingReply::FeedMessage
                | PendingReply::Introduce
                | PendingReply::Subscribe
                | PendingReply::Unsubscribe
                | PendingReply::OwnedTopics(_)
                | PendingReply::DropTopic(_)
                | PendingReply::FlushCount(_)
                | PendingReply::RemoveNode(_) => {}
            }
        }
        calls.append(&mut self.waiting_calls);
        self.waiting_calls = calls;
        self.register_queue.clear();
        self.refused_topics.clear();
        self.topics.values_mut().for_each(Topic::on_disconnected);
        self.resync = Resync::default();
        if let Some(feed_relay) = &mut self.feed_relay {
            feed_relay.on_disconnected();
        }
    }

    /// Looks at deadlines; says that this node lives.
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

/// Tries until there is a connection.
async fn attempts(
    connector: &Connector,
    bucket: &Bucket,
    state: &watch::Sender<LinkState>,
    mut failures: usize,
) -> Connection {
    loop {
        let wait = BACKOFF.get(failures).or(BACKOFF.last()).copied();
        // Half of it at least: nodes that lost Redis together do not come back in step.
        let jitter = 0.5 + rand::random::<f64>() / 2.0;
        tokio::time::sleep(wait.unwrap_or_default().mul_f64(jitter)).await;
        match connector.connect(bucket).await {
            Ok(connection) => {
                info!(slot = bucket.slot, "connected to Redis");
                return connection;
            }
            Err(ConnectionError(reason)) => {
                // Once when it begins and then now and then: an outage must not fill the disk.
                if failures.is_multiple_of(30) {
                    warn!(reason, attempt = failures + 1, "Redis cannot be reached");
                }
                failures += 1;
                state.send_modify(|state| state.goes_down(&reason));
            }
        }
    }
}
