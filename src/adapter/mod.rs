//! The seam between this node and its cluster: [`Adapter`] answers for all nodes together. Code above it does not know
//! how many nodes there are.
//!
//! The adapter itself posts to the workers' inboxes everything that subscribers receive because of a call here (events,
//! members, counts, watchlists), in the order in which the changes happened.

mod fanout;
mod local;
mod peers;
pub mod redis;

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

pub use crate::registry::{Counts, KeyRefused, Once, Position, PositionChange, Taken};
pub use local::Local;
pub use peers::{Answerer, AskError, AskFuture, NodeId, Owner, Peers, Question, SESSION_LEASE};

use crate::app::App;
use crate::channel_log::{HistoryPage, HistoryQuery, LastEvent, LogId, Past, PastWanted};
use crate::protocol::{
    ChannelKind, ChannelName, Encoded, Member, ResumeToken, ServerFrame, SocketId, User, UserId,
};
use crate::rules::Retention;

/// The future that each method of [`Adapter`] returns. Those of [`Local`] are ready at once.
pub type AdapterFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

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
#[derive(Debug)]
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

/// The seam. It has two implementations: [`Local`] for one node, [`redis::Redis`] for several.
pub trait Adapter: Send + Sync {
    /// Counts a subscription and notifies the channel's other subscribers.
    ///
    /// # Errors
    /// The presence channel is full, or the server stops. The subscription is not counted then.
    fn subscribe<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        subscriber: Subscriber<'a>,
    ) -> AdapterFuture<'a, Subscribed>;

    /// Uncounts a subscription and notifies the channel's other subscribers.
    fn unsubscribe<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        subscriber: Subscriber<'a>,
    ) -> AdapterFuture<'a, ()>;

    /// Delivers an event to all subscribers of its channel, once for its key, if it has one.
    ///
    /// # Errors
    /// Redis did not take the event in time. Its key was used for another content, or is one too many; it is not
    /// delivered then.
    fn publish<'a>(&'a self, app: &'a App, event: Event<'a>) -> AdapterFuture<'a, Published>;

    /// Decides before the first of several publications whether all their keys may be used, and keeps others from using
    /// them for another content. All or none are claimed.
    ///
    /// # Errors
    /// A key was used for another content, or is one too many; Redis did not answer in time.
    fn claim<'a>(&'a self, app: &'a App, claims: &'a Claims<'a>) -> AdapterFuture<'a, ()>;

    /// Gives back claims under which nothing was published, as far as that is possible now. It does not wait.
    fn release(&self, app: &App, claims: &Claims<'_>);

    /// Counts the subscriptions and users of one channel.
    fn counts<'a>(&'a self, app: &'a App, channel: &'a ChannelName) -> AdapterFuture<'a, Counts>;

    /// Lists the occupied channels whose names start with `prefix`, with their counts.
    fn channels<'a>(
        &'a self,
        app: &'a App,
        prefix: &'a str,
    ) -> AdapterFuture<'a, Vec<(ChannelName, Counts)>>;

    /// Lists the members of a presence channel, in no order, with their `user_info` only if `with_info` is set.
    fn members<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        with_info: bool,
    ) -> AdapterFuture<'a, Vec<Member>>;

    /// Returns the event that a cache channel would repeat to a new subscriber.
    fn last_event<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
    ) -> AdapterFuture<'a, Option<LastEvent>>;

    /// Returns a page of the channel's log; none if neither a rule nor a connection that may be resumed keeps anything.
    fn history<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        query: HistoryQuery,
    ) -> AdapterFuture<'a, Option<HistoryPage>>;

    /// Counts a signed-in connection and its watches, and notifies the user's watchers. The answer has the order of
    /// the watchlist. `None`: the user has `connections_per_user` connections, and nothing is counted.
    fn sign_in<'a>(
        &'a self,
        app: &'a App,
        user: &'a User,
        worker: u16,
    ) -> AdapterFuture<'a, Option<Vec<Watched>>>;

    /// Undoes [`Adapter::sign_in`].
    fn sign_out<'a>(&'a self, app: &'a App, user: &'a User, worker: u16) -> AdapterFuture<'a, ()>;

    /// Returns what a token has confirmed of a channel; `None` if it is new or forgotten.
    fn recall<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        token: ResumeToken,
    ) -> AdapterFuture<'a, Option<Position>>;

    /// Takes what a connection says of its token's position. Nobody waits for it: if it is lost, the position is an older
    /// one.
    fn remember(
        &self,
        app: &App,
        channel: &ChannelName,
        token: ResumeToken,
        change: PositionChange,
    );

    /// Closes all connections that are signed in as the user.
    fn terminate<'a>(&'a self, app: &'a App, user: &'a UserId) -> AdapterFuture<'a, ()>;

    /// The other nodes, one by one; `None` if there can be none.
    fn peers(&self) -> Option<&dyn Peers> {
        None
    }
}

/// The `subscription_count` frame; `None` for an encrypted channel: the Java client decrypts every event that has
/// data, and a plain count ends its event thread (protocol §3.6).
fn count_frame(channel: &ChannelName, count: usize) -> Option<Encoded> {
    (channel.kind() != ChannelKind::Encrypted)
        .then(|| ServerFrame::SubscriptionCount { channel, count }.encode())
}
