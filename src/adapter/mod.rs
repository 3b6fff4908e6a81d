//! The seam to the rest of a cluster: what the server may ask of "all nodes together". Nobody above it knows how many
//! nodes there are.
//!
//! Everything that subscribers are told because of an answer here (events, members, counts, watchlists) is posted to
//! the workers' inboxes by the adapter itself, in the order in which the changes happened.

mod fanout;
mod local;
pub mod redis;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

pub use crate::registry::{Counts, LastEvent};
pub use local::Local;

use crate::app::App;
use crate::protocol::{
    ChannelKind, ChannelName, Encoded, Member, ServerFrame, SocketId, User, UserId,
};

/// An answer that may have to be awaited. The local adapter's are ready at once.
pub type AdapterFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Why the adapter could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A presence channel has as many members as the app allows.
    #[error("the presence channel is full")]
    PresenceFull,
    /// This node's workers cannot keep up.
    #[error(transparent)]
    Overloaded(#[from] crate::hub::inbox::Full),
    /// The cluster did not take it or answer it in time.
    #[error("{0}")]
    Unreachable(Arc<str>),
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishOutcome {
    /// How far it got.
    pub scope: DeliveryScope,
    /// How many subscriptions its channel had; none where that is not known.
    pub subscriptions: Option<usize>,
}

/// How far an event got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryScope {
    /// To the subscribers of this node alone: the cluster cannot be told.
    ThisNode,
    /// To the subscribers of all nodes.
    Everywhere,
}

/// A connection that subscribes or leaves.
#[derive(Debug, Clone, Copy)]
pub struct Subscriber<'a> {
    /// Its worker on this node.
    pub worker: u16,
    /// Its name, so that it is not told of its own joining.
    pub socket_id: SocketId,
    /// Who it is, on a presence channel.
    pub member: Option<&'a Member>,
}

/// What a new subscriber learns.
#[derive(Debug)]
pub struct Subscribed {
    /// Deliveries up to this number came before the subscription.
    pub since: u64,
    /// Everybody on a presence channel, the joiner included.
    pub members: Vec<Member>,
    /// A cache channel's last event.
    pub last_event: Option<LastEvent>,
}

/// An event for one channel.
#[derive(Debug)]
pub struct Event<'a> {
    /// Where.
    pub channel: &'a ChannelName,
    /// The frame for every subscriber.
    pub frame: Encoded,
    /// The connection that is passed over.
    pub except: Option<SocketId>,
    /// What a cache channel keeps of it; client events are not kept.
    pub keep: Option<LastEvent>,
    /// Since when this node has it.
    pub accepted: Instant,
}

/// A watched user, as of the sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Deliveries up to this number came before the watching.
    pub since: u64,
    /// Whether the user has a signed-in connection.
    pub online: bool,
}

/// The seam. Two implementations: [`Local`], and one over Redis.
pub trait Adapter: Send + Sync {
    /// Counts a subscription and tells the others.
    fn subscribe<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        subscriber: Subscriber<'a>,
    ) -> AdapterFuture<'a, Subscribed>;

    /// Uncounts a subscription and tells the others.
    fn unsubscribe<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        subscriber: Subscriber<'a>,
    ) -> AdapterFuture<'a, ()>;

    /// Delivers an event to all subscribers of its channel.
    fn publish<'a>(&'a self, app: &'a App, event: Event<'a>) -> AdapterFuture<'a, PublishOutcome>;

    /// One channel's counts.
    fn counts<'a>(&'a self, app: &'a App, channel: &'a ChannelName) -> AdapterFuture<'a, Counts>;

    /// The occupied channels whose names start with `prefix`.
    fn channels<'a>(
        &'a self,
        app: &'a App,
        prefix: &'a str,
    ) -> AdapterFuture<'a, Vec<(ChannelName, Counts)>>;

    /// The users on a presence channel, in no order; with their `user_info` only if it is asked for.
    fn members<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        with_info: bool,
    ) -> AdapterFuture<'a, Vec<Member>>;

    /// What a cache channel would repeat.
    fn last_event<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
    ) -> AdapterFuture<'a, Option<LastEvent>>;

    /// Counts a signed-in connection and its watches; tells the user's watchers. The answer is in the order of the
    /// watchlist.
    fn sign_in<'a>(
        &'a self,
        app: &'a App,
        user: &'a User,
        worker: u16,
    ) -> AdapterFuture<'a, Vec<Watched>>;

    /// Undoes [`Adapter::sign_in`].
    fn sign_out<'a>(&'a self, app: &'a App, user: &'a User, worker: u16) -> AdapterFuture<'a, ()>;

    /// Ends the connections signed in as a user.
    fn terminate<'a>(&'a self, app: &'a App, user: &'a UserId) -> AdapterFuture<'a, ()>;
}

/// Presence channels have members instead, and plumbing is not counted (protocol §3.9, §3.11).
fn tells_count(app: &App, channel: &ChannelName) -> bool {
    app.subscription_count && channel.kind().is_listed() && channel.kind() != ChannelKind::Presence
}

/// What subscribers are told of their number. Those of an encrypted channel are told nothing that is not encrypted:
/// the Java client decrypts whatever has data, and its event thread ends with a count (protocol §3.6).
fn count_frame(channel: &ChannelName, count: usize) -> Option<Encoded> {
    (channel.kind() != ChannelKind::Encrypted)
        .then(|| ServerFrame::SubscriptionCount { channel, count }.encode())
}
