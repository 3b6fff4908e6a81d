//! What workers ask of a link, and what they hear.
//!
//! Requests are posted without waiting, so that a change can be posted while the registry has its channel locked: a
//! link hears of the changes of a channel in the order in which they happened. The queue is bounded by who posts:
//! every connection awaits the answer to its command before the next, publishes hold a share of [`super::BUDGET`], and
//! what ends was there before.

use std::sync::Arc;
use std::time::Instant;

use redis::Value;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::message::{Content, Id};
use super::names::{Names, Subject};
use crate::adapter::Error;
use crate::app::AppId;
use crate::protocol::{ChannelName, Encoded, Member, SocketId, UserId};
use crate::registry::LastEvent;

/// One request.
#[derive(Debug)]
pub(super) enum Request {
    Touch(Touch),
    Publish(Publish),
    Ask(Ask),
    Alone(Alone),
    /// Everything that is held is given up, and the answer comes when Redis knows.
    Finish(oneshot::Sender<()>),
}

/// What this node holds of a topic has changed.
#[derive(Debug)]
pub(super) struct Touch {
    pub(super) app: AppId,
    pub(super) subject: Subject,
    pub(super) held: Held,
    pub(super) change: Option<Change>,
    pub(super) waiter: Option<Waiter>,
}

/// What a node holds of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Subscriptions, or a user's signed-in connections.
    pub(super) count: usize,
    /// Whether the topic's messages are of interest.
    pub(super) interested: bool,
    /// Whether changes of the count are told.
    pub(super) tells_count: bool,
    /// Members that a presence channel may have.
    pub(super) max_members: usize,
}

/// A member of a presence channel came to this node, or left it.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Here(Member),
    Gone(UserId),
}

/// Somebody waits until the cluster knows of a change.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Who must be among the members then.
    pub(super) member: Option<UserId>,
    /// Which connection.
    pub(super) source: Option<SocketId>,
    /// Since when; the link's patience is the same for all.
    pub(super) since: Instant,
    pub(super) answer: oneshot::Sender<Result<Answered, Error>>,
}

/// What a waiter learns.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    /// Deliveries up to this number came before.
    pub(super) since: u64,
    pub(super) members: Vec<Member>,
    pub(super) last_event: Option<LastEvent>,
    /// Whether the user of a user's topic is signed in anywhere.
    pub(super) online: bool,
}

/// An event for a topic.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) names: Names,
    pub(super) id: Id,
    pub(super) content: Content,
    /// What a cache channel keeps, as [`super::kept`] writes it.
    pub(super) keep: Option<Vec<u8>>,
    /// Whether it has been sent on a connection that then broke: Redis may have taken it.
    pub(super) again: bool,
    /// How many subscriptions there are, if that is known; or why Redis refuses it.
    pub(super) answer: oneshot::Sender<Result<Option<usize>, Arc<str>>>,
    /// Its share of what may wait; given back with it.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

/// A question: commands that only read, and their replies.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) commands: Vec<redis::Cmd>,
    pub(super) replies: Vec<Value>,
    pub(super) answer: oneshot::Sender<Result<Vec<Value>, Arc<str>>>,
}

/// An event that Redis did not take in time, for this node's subscribers alone.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) app: AppId,
    pub(super) channel: ChannelName,
    pub(super) frame: Encoded,
    pub(super) except: Option<SocketId>,
    /// So that it is not delivered again if Redis took it after all.
    pub(super) id: Id,
}
