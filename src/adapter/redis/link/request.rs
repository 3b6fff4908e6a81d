//! The requests that `ops` posts to a link, and their answers.
//!
//! Posting never waits, so a change can be posted while the registry has its channel locked, and a link receives the
//! changes of a channel in the order in which they happened. The callers bound the queue: every connection awaits the
//! answer to its command before the next one, publishes hold a share of `BUDGET_KIB`, and a leaving follows a joining
//! that was answered.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::asking::Ask;
use crate::adapter::redis::wire::keys::{Subject, TopicKeys};
use crate::adapter::redis::wire::message::{Content, EventId};
use crate::adapter::{Error, NodeId, PositionChange, Subscribed, Taken};
use crate::app::AppId;
use crate::channel_log::PastWanted;
use crate::protocol::{ChannelName, Encoded, Member, PositionKey, SocketId, UserId};
use crate::rules::Retention;

/// A request to a link.
#[derive(Debug)]
pub(crate) enum Request {
    LocalChange(LocalChange),
    Publish(Publish),
    Query(Query),
    LocalOnlyEvent(LocalOnlyEvent),
    /// What a resumable connection says of its position.
    Remember(PositionKey, PositionChange),
    /// A question to another node.
    Ask(Ask),
    /// Nobody waits for the answer to a question with this number any more.
    Withdraw(NodeId, u64),
    /// Releases all topics and removes the node. The answer comes when Redis has done it.
    Shutdown(oneshot::Sender<()>),
}

/// A change of what this node holds of a topic.
#[derive(Debug)]
pub(crate) struct LocalChange {
    pub(crate) app: AppId,
    pub(crate) subject: Subject,
    pub(crate) local: LocalState,
    pub(crate) change: Option<MemberChange>,
    /// How long an event is kept for a subscription that may be resumed, if it is one.
    pub(crate) resumable: Option<NonZeroU32>,
    pub(crate) waiter: Option<Waiter>,
}

/// What this node holds of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalState {
    /// Subscriptions, or a user's signed-in connections.
    pub(crate) count: usize,
    /// Whether clients here need the topic's messages.
    pub(crate) interested: bool,
    /// Whether subscribers receive changes of the count.
    pub(crate) sends_count: bool,
    /// The limit for the members of a presence channel, or for a user's signed-in connections, where 0 is none.
    pub(crate) max_members: usize,
}

/// A user's first connection to a presence channel on this node, or the end of the last one.
#[derive(Debug, Clone)]
pub(crate) enum MemberChange {
    Joined(Member),
    Left(UserId),
}

/// A caller that waits until Redis has registered its change.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// The user that must be a member then; if not, the channel is full.
    pub(crate) member: Option<UserId>,
    /// The connection that caused the change, for webhooks.
    pub(crate) source: Option<SocketId>,
    /// What it is sent of the channel's past.
    pub(crate) past: PastWanted,
    /// Whether a connection signs in, which Redis refuses beyond the limit.
    pub(crate) signs_in: bool,
    /// When the wait began. It ends after `publish_timeout`.
    pub(crate) since: Instant,
    pub(crate) answer: oneshot::Sender<Result<TopicSnapshot, Error>>,
}

/// The topic at the moment of the registration.
#[derive(Debug, Default)]
pub(crate) struct TopicSnapshot {
    pub(crate) subscribed: Subscribed,
    /// Whether the user of a user's topic is signed in anywhere.
    pub(crate) online: bool,
    /// Whether the sign-in is refused, as the user has as many connections as the app allows.
    pub(crate) refused: bool,
}

/// An event to publish.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) topic_keys: TopicKeys,
    pub(crate) id: EventId,
    pub(crate) content: Content,
    /// What a cache channel keeps, encoded by `wire::last_event_codec`.
    pub(crate) keep: Option<Vec<u8>>,
    /// What a rule keeps of the channel.
    pub(crate) kept: Option<Retention>,
    /// Whether it was sent on a connection that broke before the reply, so that Redis may have taken it.
    pub(crate) again: bool,
    /// The record of its key, if repeats are to be recognised.
    pub(crate) once: Option<OnceRecord>,
    /// Receives what came of it, or why Redis refused the event.
    pub(crate) answer: oneshot::Sender<Result<PublishReply, Arc<str>>>,
    /// The event's share of the budget, which it gives back when it is dropped.
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// The record of a key, as `scripts/publish_once.lua` uses it.
#[derive(Debug)]
pub(crate) struct OnceRecord {
    pub(crate) key: String,
    pub(crate) field: String,
    /// A hash in hex; empty if it is not compared.
    pub(crate) content: String,
    pub(crate) window: Duration,
    pub(crate) note: u8,
}

/// What came of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PublishReply {
    /// Redis took it. The topic's subscriptions, if Redis counted them.
    Taken(Option<usize>),
    /// Redis took it, or had taken it before for the same key.
    Once(Taken),
    /// The key is bound to another content.
    OtherContent,
}

/// Commands that may be sent twice, and their replies so far.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) commands: Vec<redis::Cmd>,
    pub(crate) replies: Vec<Value>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Value>, Arc<str>>>,
}

/// An event that Redis did not take in time, and that only this node's subscribers receive.
#[derive(Debug)]
pub(crate) struct LocalOnlyEvent {
    pub(crate) app: AppId,
    pub(crate) channel: ChannelName,
    pub(crate) frame: Encoded,
    pub(crate) except: Option<SocketId>,
    /// Prevents a second delivery if Redis took the event after all.
    pub(crate) id: EventId,
}
