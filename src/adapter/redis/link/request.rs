//! What workers ask of a link, and what they hear.
//!
//! Requests are posted without waiting, so that a change can be posted while the registry has its channel locked: a
//! link hears of the changes of a channel in the order in which they happened. The queue is bounded by who posts:
//! every connection awaits the answer to its command before the next, publishes hold a share of [`BUDGET_KIB`](crate::adapter::redis::BUDGET_KIB), and
//! what ends was there before.

use std::sync::Arc;
use std::time::Instant;

use redis::Value;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::adapter::Error;
use crate::adapter::redis::wire::keys::{Subject, TopicKeys};
use crate::adapter::redis::wire::message::{Content, EventId};
use crate::app::AppId;
use crate::protocol::{ChannelName, Encoded, Member, SocketId, UserId};
use crate::registry::LastEvent;

/// One request.
#[derive(Debug)]
pub(crate) enum Request {
    LocalChange(LocalChange),
    Publish(Publish),
    Query(Query),
    LocalOnlyEvent(LocalOnlyEvent),
    /// Everything that is held is given up, and the answer comes when Redis knows.
    Shutdown(oneshot::Sender<()>),
}

/// What this node holds of a topic has changed.
#[derive(Debug)]
pub(crate) struct LocalChange {
    pub(crate) app: AppId,
    pub(crate) subject: Subject,
    pub(crate) local: LocalState,
    pub(crate) change: Option<MemberChange>,
    pub(crate) waiter: Option<Waiter>,
}

/// What a node holds of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalState {
    /// Subscriptions, or a user's signed-in connections.
    pub(crate) count: usize,
    /// Whether the topic's messages are of interest.
    pub(crate) interested: bool,
    /// Whether changes of the count are told.
    pub(crate) tells_count: bool,
    /// Members that a presence channel may have.
    pub(crate) max_members: usize,
}

/// A member of a presence channel came to this node, or left it.
#[derive(Debug, Clone)]
pub(crate) enum MemberChange {
    Joined(Member),
    Left(UserId),
}

/// Somebody waits until the cluster knows of a change.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Who must be among the members then.
    pub(crate) member: Option<UserId>,
    /// Which connection.
    pub(crate) source: Option<SocketId>,
    /// Since when; the link's patience is the same for all.
    pub(crate) since: Instant,
    pub(crate) answer: oneshot::Sender<Result<TopicSnapshot, Error>>,
}

/// What a waiter learns.
#[derive(Debug, Clone)]
pub(crate) struct TopicSnapshot {
    /// Deliveries up to this number came before.
    pub(crate) since: u64,
    pub(crate) members: Vec<Member>,
    pub(crate) last_event: Option<LastEvent>,
    /// Whether the user of a user's topic is signed in anywhere.
    pub(crate) online: bool,
}

/// An event for a topic.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic_keys: TopicKeys,
    pub(crate) id: EventId,
    pub(crate) content: Content,
    /// What a cache channel keeps, as [`last_event_codec`](crate::adapter::redis::wire::last_event_codec) writes it.
    pub(crate) keep: Option<Vec<u8>>,
    /// Whether it has been sent on a connection that then broke: Redis may have taken it.
    pub(crate) again: bool,
    /// How many subscriptions there are, if that is known; or why Redis refuses it.
    pub(crate) answer: oneshot::Sender<Result<Option<usize>, Arc<str>>>,
    /// Its share of what may wait; given back with it.
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// A question: commands that only read, and their replies.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) commands: Vec<redis::Cmd>,
    pub(crate) replies: Vec<Value>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Value>, Arc<str>>>,
}

/// An event that Redis did not take in time, for this node's subscribers alone.
#[derive(Debug)]
pub(crate) struct LocalOnlyEvent {
    pub(crate) app: AppId,
    pub(crate) channel: ChannelName,
    pub(crate) frame: Encoded,
    pub(crate) except: Option<SocketId>,
    /// So that it is not delivered again if Redis took it after all.
    pub(crate) id: EventId,
}
