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
//! | `nodes` | who the nodes are, and whether they have the same apps |
//! | `feed_relay` | the console's feed between nodes |
//!
//! Invariant: all deliveries of a bucket are made here, in the order in which Redis took the events; a subscription is
//! answered between the event before it and the event after it.

mod catch_up;
mod commands;
mod feed_relay;
mod in_flight;
pub(crate) mod local_delivery;
pub(crate) mod nodes;
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

use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::cluster_state::LinkState;
use super::connection::connector::Connector;
use super::connection::{Connection, ConnectionError};
use super::settings::Settings;
use super::wire::keys::Bucket;
use crate::app::CurrentApps;
use crate::feed::Feed;
use feed_relay::Showing;
use in_flight::{Call, InFlight, PendingReply};
use local_delivery::LocalDelivery;
use nodes::Nodes;
use request::Request;
use topic::Topic;

/// How often deadlines are looked at.
const BEAT: Duration = Duration::from_millis(100);

/// How often a node says that it lives, in beats.
const TICK_BEATS: u32 = 5;

/// How often a node says who it is, in beats.
const INTRODUCTION_BEATS: u32 = 50;

/// How often other nodes' consoles are told what has happened, in beats.
const SHOW_BEATS: u32 = 2;

/// How long a reply may take until the connection is given up.
const SILENCE: Duration = Duration::from_secs(5);

/// How many requests are taken at once.
const REQUESTS: usize = 256;

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
    queue: VecDeque<Rc<str>>,
    /// Topics that wait for another attempt, as Redis refused the last one.
    refused: Vec<Rc<str>>,
    /// Publishes and questions that have not been sent.
    waiting: VecDeque<Call>,
    in_flight: InFlight,
    showing: Option<Showing>,
    nodes: Option<Nodes>,
    deadlines: VecDeque<(Instant, Rc<str>)>,
    idle: VecDeque<(Instant, Rc<str>)>,
    /// Since when there is no connection.
    down_since: Option<Instant>,
    /// Whether nothing but a tick may be sent: it is not known what Redis remembers.
    paused: bool,
    /// The life of Redis' memory that this node has registered in.
    epoch: Option<String>,
    resync: Resync,
    /// When to ask once more who is there, after others have had their time to come back.
    recheck: Option<Instant>,
    finishing: Finishing,
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

/// The steps of the end.
enum Finishing {
    No,
    Releasing(oneshot::Sender<()>),
    Flushing(oneshot::Sender<()>),
    Retiring(oneshot::Sender<()>),
    Done,
}

impl Link {
    pub(super) fn new(deps: LinkDeps) -> Self {
        let connector = Connector::new(Arc::clone(&deps.settings), &deps.node);
        let showing = deps.feed.clone().map(Showing::new);
        let nodes = deps.feed.as_ref().zip(deps.apps.clone());
        let nodes = nodes.map(|(feed, apps)| Nodes::new(feed.node(), apps));
        Self {
            deps,
            showing,
            nodes,
            connector: Rc::new(connector),
            topics: HashMap::new(),
            queue: VecDeque::new(),
            refused: Vec::new(),
            waiting: VecDeque::new(),
            in_flight: InFlight::default(),
            deadlines: VecDeque::new(),
            idle: VecDeque::new(),
            down_since: Some(Instant::now()),
            paused: true,
            epoch: None,
            resync: Resync::default(),
            recheck: None,
            finishing: Finishing::No,
            failures: 0,
        }
    }

    /// Serves for as long as the process.
    pub(super) async fn run(mut self) {
        loop {
            let mut connection = self.connected().await;
            let begun = Instant::now();
            let ConnectionError(reason) = self.serve(&mut connection).await;
            drop(connection);
            // A server that takes connections and then breaks them is not asked more often than one that is away.
            self.failures = match begun.elapsed() < BEAT {
                true => self.failures + 1,
                false => 0,
            };
            self.disconnected(&reason);
        }
    }

    /// Connects, and looks after requests and waiters meanwhile.
    async fn connected(&mut self) -> Connection {
        let connector = Rc::clone(&self.connector);
        let (bucket, state) = (self.deps.bucket.clone(), self.deps.state.clone());
        let mut attempts = pin!(attempts(&connector, &bucket, &state, self.failures));
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                connection = &mut attempts => return connection,
                Some(request) = self.deps.requests.recv() => self.note(request),
                _ = beat.tick() => self.look_after(Instant::now()),
            }
        }
    }

    async fn serve(&mut self, connection: &mut Connection) -> ConnectionError {
        self.begin(connection);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut beats = 0;
        let (mut values, mut requests) = (Vec::new(), Vec::new());
        loop {
            self.fill(connection);
            let mut broken = None;
            tokio::select! {
                exchanged = connection.exchange(&mut values) => broken = exchanged.err(),
                _ = self.deps.requests.recv_many(&mut requests, REQUESTS) => {}
                _ = beat.tick() => {
                    beats += 1;
                    broken = self.beat(connection, beats).err();
                }
            }
            if !values.is_empty() {
                self.deps.delivery.wait_for_capacity().await;
            }
            for value in values.drain(..) {
                if let Err(reason) = self.take(value, connection) {
                    return reason;
                }
            }
            for request in requests.drain(..) {
                self.note(request);
            }
            if let Some(reason) = broken {
                return reason;
            }
        }
    }

    /// A new connection knows nothing: everything is said again, once Redis has said what it remembers.
    fn begin(&mut self, connection: &mut Connection) {
        self.paused = true;
        self.tick(connection);
        self.introduce(connection);
    }

    fn disconnected(&mut self, reason: &str) {
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
        calls.append(&mut self.waiting);
        self.waiting = calls;
        self.queue.clear();
        self.refused.clear();
        self.topics.values_mut().for_each(Topic::disconnected);
        self.resync = Resync::default();
        if let Some(showing) = &mut self.showing {
            showing.disconnected();
        }
    }

    /// Looks at deadlines; says that this node lives.
    fn beat(&mut self, connection: &mut Connection, beats: u32) -> Result<(), ConnectionError> {
        let now = Instant::now();
        if let Some(oldest) = self.in_flight.oldest()
            && now.saturating_duration_since(oldest.at) > SILENCE
        {
            return Err(ConnectionError(format!(
                "no reply for {} s",
                SILENCE.as_secs()
            )));
        }
        self.look_after(now);
        self.recheck(now);
        if beats.is_multiple_of(TICK_BEATS) {
            for name in std::mem::take(&mut self.refused) {
                self.enqueue(&name);
            }
            let is_ticking = self
                .in_flight
                .has(|reply| matches!(reply, PendingReply::Heartbeat { .. }));
            if !is_ticking && !matches!(self.finishing, Finishing::Retiring(_) | Finishing::Done) {
                self.tick(connection);
            }
        }
        if beats.is_multiple_of(INTRODUCTION_BEATS) && !self.paused {
            self.introduce(connection);
        }
        if beats.is_multiple_of(SHOW_BEATS) {
            self.show(connection);
        }
        self.finish(connection);
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
