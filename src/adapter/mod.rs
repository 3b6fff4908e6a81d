//! The seam between this node and its cluster: [`Adapter`] answers for all nodes together. Code above it does not know
//! how many nodes there are.
//!
//! The adapter itself posts to the workers' inboxes everything that subscribers receive because of a call here (events,
//! members, counts, watchlists), in the order in which the changes happened.

mod fanout;
mod local;
mod peers;
pub mod redis;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::registry::{Counts, KeyRefused, Once, Position, PositionChange, Taken};
pub use local::Local;
pub use peers::{Answerer, AskError, NodeId, Owner, Question};
/// The other nodes, one by one.
pub use redis::Redis as Peers;

use crate::app::{App, CurrentApps};
use crate::channel_log::{HistoryPage, HistoryQuery, LastEvent, LogId, Past, PastWanted};
use crate::feed::Feed;
use crate::hub::inbox::Inboxes;
use crate::metrics::Metrics;
use crate::protocol::{
    ChannelKind, ChannelName, Encoded, Member, ResumeToken, ServerFrame, SocketId, User, UserId,
};
use crate::registry::Registry;
use crate::rules::Retention;
use crate::supervise::spawn_critical;
use crate::webhook::Webhooks;
use redis::{ClusterState, Redis};

/// Why the adapter refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The presence channel has as many members as the app allows.
    #[error("the presence channel is full")]
    PresenceFull,
    /// This node's workers cannot keep up.
    #[error(transparent)]
    Overloaded(#[from] crate::hub::inbox::InboxFull),
    /// Redis refused the command or did not answer in time.
    #[error("{0}")]
    Unreachable(Arc<str>),
    /// The key of the publication with this index is refused.
    #[error("{1}")]
    Key(usize, KeyRefused),
}

/// The result of [`Adapter::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Which nodes deliver the event.
    pub scope: DeliveryScope,
    /// The channel's subscriptions at that moment; `None` if they are not known.
    pub subscriptions: Option<usize>,
    /// What came of an event with a key: of the first one with it.
    pub taken: Option<Taken>,
}

/// The keys of publications that are published together.
#[derive(Debug)]
pub struct Claims<'a> {
    /// A random number, which tells apart those who claim one key.
    pub attempt: u64,
    /// Each key once, with the index of the first publication that has it.
    pub keys: Vec<(usize, &'a Once)>,
}

/// Which nodes deliver an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryScope {
    /// Only this node, because Redis did not take the event.
    ThisNode,
    /// All nodes.
    Everywhere,
}

/// A connection that subscribes or unsubscribes.
#[derive(Debug, Clone, Copy)]
pub struct Subscriber<'a> {
    /// The worker that owns the connection.
    pub worker: u16,
    /// Excludes the connection from the `member_added` that it causes, and identifies it in webhooks.
    pub socket_id: SocketId,
    /// The member that it joins as; `None` unless the channel is a presence channel.
    pub member: Option<&'a Member>,
    /// What the subscription is sent of the channel's past. It does not count when the subscription ends.
    pub past: PastWanted,
    /// How long after the subscription's end everything that it misses is kept, for whoever resumes it; none if nobody
    /// may. The same when it ends.
    pub resumable: Option<NonZeroU32>,
}

/// The result of [`Adapter::subscribe`].
#[derive(Debug, Default)]
pub struct Subscribed {
    /// Deliveries up to this sequence number preceded the subscription.
    pub since: u64,
    /// The place in the channel's log as of the subscription: later events are delivered to it, those up to here are not.
    pub at: LogId,
    /// All members of a presence channel, the new one included.
    pub members: Vec<Member>,
    /// What it is sent of the channel's past.
    pub past: Past,
}

/// An event for one channel.
#[derive(Debug)]
pub struct Event<'a> {
    /// The channel that it is published on.
    pub channel: &'a ChannelName,
    /// The frame that every subscriber receives.
    pub frame: Encoded,
    /// The connection that does not receive it.
    pub except: Option<SocketId>,
    /// What a cache channel keeps; `None` for client events, which are not kept.
    pub keep: Option<LastEvent>,
    /// How much of the channel is kept in its log by a rule. What a connection may resume is kept without one.
    pub kept: Option<Retention>,
    /// When this node accepted it.
    pub accepted: Instant,
    /// Its key, if repeats of it are to be recognised.
    pub once: Option<&'a Once>,
}

/// The state of a watched user at the watcher's sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Deliveries up to this sequence number preceded the watch.
    pub since: u64,
    /// Whether the user has a signed-in connection.
    pub online: bool,
}

/// What the adapter needs of the server.
pub struct Deps {
    /// This node's counts and members.
    pub registry: Arc<Registry>,
    /// The inboxes of this node's workers.
    pub inboxes: Inboxes,
    /// Receives the webhook events that this node is the one to report.
    pub webhooks: Webhooks,
    /// The process's metrics.
    pub metrics: Metrics,
    /// How long a leaving waits for a return before webhooks report it.
    pub linger: Duration,
    /// The console's feed.
    pub feed: Feed,
    /// The configured apps, which nodes compare with each other.
    pub apps: Arc<CurrentApps>,
}

/// The seam: a node that is alone, or one of several.
#[derive(Clone)]
pub enum Adapter {
    /// The registry answers everything at once.
    Local(Arc<Local>),
    /// Redis answers for all nodes. Its futures are boxed, so that those who await them stay small.
    Redis(Arc<Redis>),
}

impl Adapter {
    /// Starts the adapter of one node of a cluster, or of a node that is alone.
    ///
    /// # Errors
    /// Live nodes speak another wire version, or the system refused a thread.
    pub async fn start(
        settings: Option<redis::Settings>,
        deps: Deps,
    ) -> Result<Self, redis::Error> {
        if let Some(settings) = settings {
            return Ok(Self::Redis(Redis::start(settings, deps).await?));
        }
        let linger = deps.linger;
        let local = Arc::new(Local::new(deps));
        spawn_critical("counts", Arc::clone(&local).send_due_counts());
        spawn_critical("lingering", Arc::clone(&local).post_vacated(linger));
        Ok(Self::Local(local))
    }

    /// Posts the webhooks that still wait, and leaves the cluster.
    pub async fn finish(&self) {
        match self {
            Self::Local(local) => local.post_left(Duration::ZERO),
            Self::Redis(redis) => redis.finish().await,
        }
    }

    /// The state of the cluster; `None` if there can be no other nodes.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterState> {
        self.peers().map(Redis::state)
    }

    /// The other nodes, one by one; `None` if there can be none.
    #[must_use]
    pub fn peers(&self) -> Option<&Peers> {
        match self {
            Self::Local(_) => None,
            Self::Redis(redis) => Some(redis),
        }
    }

    /// Counts a subscription and notifies the channel's other subscribers.
    ///
    /// # Errors
    /// The presence channel is full, or the server stops. The subscription is not counted then.
    pub async fn subscribe(
        &self,
        app: &App,
        channel: &ChannelName,
        subscriber: Subscriber<'_>,
    ) -> Result<Subscribed, Error> {
        match self {
            Self::Local(local) => local.subscribe(app, channel, subscriber),
            Self::Redis(redis) => Box::pin(redis.subscribe(app, channel, subscriber)).await,
        }
    }

    /// Uncounts a subscription and notifies the channel's other subscribers.
    pub fn unsubscribe(&self, app: &App, channel: &ChannelName, subscriber: Subscriber<'_>) {
        match self {
            Self::Local(local) => local.unsubscribe(app, channel, subscriber),
            Self::Redis(redis) => redis.unsubscribe(app, channel, subscriber),
        }
    }

    /// Delivers an event to all subscribers of its channel, once for its key, if it has one.
    ///
    /// # Errors
    /// Redis did not take the event in time. Its key was used for another content, or is one too many; it is not
    /// delivered then.
    pub async fn publish(&self, app: &App, event: Event<'_>) -> Result<Published, Error> {
        match self {
            Self::Local(local) => local.publish(app, &event),
            Self::Redis(redis) => Box::pin(redis.publish(app, event)).await,
        }
    }

    /// Decides before the first of several publications whether all their keys may be used, and keeps others from using
    /// them for another content. All or none are claimed.
    ///
    /// # Errors
    /// A key was used for another content, or is one too many; Redis did not answer in time.
    pub async fn claim(&self, app: &App, claims: &Claims<'_>) -> Result<(), Error> {
        match self {
            Self::Local(local) => local.claim(app, claims),
            Self::Redis(redis) => Box::pin(redis.claim(&app.id, claims)).await,
        }
    }

    /// Gives back claims under which nothing was published, as far as that is possible now. It does not wait.
    pub fn release(&self, app: &App, claims: &Claims<'_>) {
        match self {
            // Nothing comes between a claim and its publications: none of them waits.
            Self::Local(_) => {}
            Self::Redis(redis) => redis.release(&app.id, claims),
        }
    }

    /// Counts the subscriptions and users of one channel.
    ///
    /// # Errors
    /// Redis did not answer in time.
    pub async fn counts(&self, app: &App, channel: &ChannelName) -> Result<Counts, Error> {
        match self {
            Self::Local(local) => Ok(local.registry.counts(&app.id, channel)),
            Self::Redis(redis) => Box::pin(redis.counts(&app.id, channel)).await,
        }
    }

    /// Lists the occupied channels whose names start with `prefix`, with their counts.
    ///
    /// # Errors
    /// Redis did not answer in time.
    pub async fn channels(
        &self,
        app: &App,
        prefix: &str,
    ) -> Result<Vec<(ChannelName, Counts)>, Error> {
        match self {
            Self::Local(local) => Ok(local.registry.channels(&app.id, prefix)),
            Self::Redis(redis) => Box::pin(redis.channels(&app.id, prefix)).await,
        }
    }

    /// Lists the members of a presence channel, in no order, with their `user_info` only if `with_info` is set.
    ///
    /// # Errors
    /// Redis did not answer in time.
    pub async fn members(
        &self,
        app: &App,
        channel: &ChannelName,
        with_info: bool,
    ) -> Result<Vec<Member>, Error> {
        match self {
            Self::Local(local) => Ok(local.registry.members(&app.id, channel)),
            Self::Redis(redis) => Box::pin(redis.members(&app.id, channel, with_info)).await,
        }
    }

    /// Returns the event that a cache channel would repeat to a new subscriber.
    ///
    /// # Errors
    /// Redis did not answer in time.
    pub async fn last_event(
        &self,
        app: &App,
        channel: &ChannelName,
    ) -> Result<Option<LastEvent>, Error> {
        match self {
            Self::Local(local) => {
                let now = Instant::now();
                Ok(local.registry.last_event(&app.id, channel, now))
            }
            Self::Redis(redis) => Box::pin(redis.last_event(&app.id, channel)).await,
        }
    }

    /// Returns a page of the channel's log; none if neither a rule nor a connection that may be resumed keeps anything.
    ///
    /// # Errors
    /// Redis did not answer in time.
    pub async fn history(
        &self,
        app: &App,
        channel: &ChannelName,
        query: HistoryQuery,
    ) -> Result<Option<HistoryPage>, Error> {
        match self {
            Self::Local(local) => {
                let now = Instant::now();
                Ok(local.registry.history(&app.id, channel, &query, now))
            }
            Self::Redis(redis) => Box::pin(redis.history(&app.id, channel, query)).await,
        }
    }

    /// Counts a signed-in connection and its watches, and notifies the user's watchers. The answer has the order of
    /// the watchlist. `None`: the user has `connections_per_user` connections, and nothing is counted.
    pub async fn sign_in(&self, app: &App, user: &User, worker: u16) -> Option<Vec<Watched>> {
        match self {
            Self::Local(local) => local.sign_in(app, user, worker),
            Self::Redis(redis) => Box::pin(redis.sign_in(app, user, worker)).await,
        }
    }

    /// Undoes [`Adapter::sign_in`].
    pub fn sign_out(&self, app: &App, user: &User, worker: u16) {
        match self {
            Self::Local(local) => local.sign_out(app, user, worker),
            Self::Redis(redis) => redis.sign_out(app, user, worker),
        }
    }

    /// Returns what a token has confirmed of a channel; `None` if it is new or forgotten.
    ///
    /// # Errors
    /// Redis did not answer in time.
    pub async fn recall(
        &self,
        app: &App,
        channel: &ChannelName,
        token: ResumeToken,
    ) -> Result<Option<Position>, Error> {
        match self {
            Self::Local(local) => {
                let key = token.position_key(app.id.as_str(), channel);
                Ok(local.registry.recall(&key, Instant::now()))
            }
            Self::Redis(redis) => Box::pin(redis.recall(&app.id, channel, token)).await,
        }
    }

    /// Takes what a connection says of its token's position. Nobody waits for it: if it is lost, the position is an older
    /// one.
    pub fn remember(
        &self,
        app: &App,
        channel: &ChannelName,
        token: ResumeToken,
        change: PositionChange,
    ) {
        let key = token.position_key(app.id.as_str(), channel);
        match self {
            Self::Local(local) => local.remember(key, change),
            Self::Redis(redis) => redis.remember(&app.id, channel, key, change),
        }
    }

    /// Closes all connections that are signed in as the user.
    ///
    /// # Errors
    /// Redis did not take it in time.
    pub async fn terminate(&self, app: &App, user: &UserId) -> Result<(), Error> {
        match self {
            Self::Local(local) => {
                local.terminate(app, user);
                Ok(())
            }
            Self::Redis(redis) => Box::pin(redis.terminate(&app.id, user)).await,
        }
    }
}

/// The `subscription_count` frame; `None` for an encrypted channel: the Java client decrypts every event that has
/// data, and a plain count ends its event thread (protocol §3.6).
fn count_frame(channel: &ChannelName, count: usize) -> Option<Encoded> {
    (channel.kind() != ChannelKind::Encrypted)
        .then(|| ServerFrame::SubscriptionCount { channel, count }.encode())
}
