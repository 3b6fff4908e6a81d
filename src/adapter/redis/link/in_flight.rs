//! Commands that were sent to Redis and are not answered yet. A reply belongs to the oldest of them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::positions::PositionChanges;
use super::request::{Publish, Query, Waiter};
use super::shares::AskedShares;
use crate::adapter::redis::wire::message::Position;

/// Registrations that may be in flight.
const MAX_REGISTRATIONS: usize = 256;

/// Bytes of logs that registrations in flight may fetch; one log is always allowed. Redis ends a connection whose output
/// buffer is too full (`client-output-buffer-limit`, by default 8 MiB for a minute), and would end the next one for the
/// same reason.
const MAX_LOG_BYTES: usize = 4 << 20;

/// Publishes and queries that may be in flight.
const MAX_CALLS: usize = 1024;

/// A command that may be sent again on another connection.
pub(super) enum Call {
    Publish(Box<Publish>),
    Query(Query),
}

/// A command that was sent.
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) reply: PendingReply,
}

/// The reply that a command awaits.
pub(super) enum PendingReply {
    /// With `last`, nothing lingers any longer if this is the last node.
    Heartbeat {
        last: bool,
    },
    /// Feed entries for other nodes' consoles.
    FeedMessage,
    /// This node introduces itself and asks for the others.
    Introduce,
    Subscribe,
    Unsubscribe,
    Register(Registration),
    Call(Call),
    /// Some topics that a dead node, named here, has registered.
    OwnedTopics(String),
    /// A topic, named here, is dropped for a dead node.
    DropTopic(String),
    /// The count of the topic named here.
    FlushCount(String),
    /// The node named here, which may be this one.
    RemoveNode(String),
    /// Shares of limits.
    Shares(AskedShares),
    /// What resumable connections have confirmed.
    Remember(PositionChanges),
    /// A message to another node, with its number if it is a question.
    PeerMessage(Option<u64>),
}

/// A registration of what this node holds of a topic.
pub(super) struct Registration {
    pub(super) topic: Rc<str>,
    pub(super) waiters: Vec<Waiter>,
    /// Whether it releases the topic.
    pub(super) releases: bool,
    /// The last delivered event, if the log after it was asked for.
    pub(super) after: Option<Position>,
    /// Whether the whole log was asked for, because nothing was delivered yet.
    pub(super) asks_log: bool,
    /// Whether some of the log was asked for, for new subscriptions.
    pub(super) asks_past: bool,
    /// Whether it contains all members of this node.
    pub(super) whole: bool,
    /// Whether it follows a loss of Redis' memory.
    pub(super) restores: bool,
}

impl Registration {
    fn asks_for_log(&self) -> bool {
        self.after.is_some() || self.asks_log || self.asks_past
    }
}

impl Call {
    /// Returns the call for another connection, unless its caller has gone.
    pub(super) fn again(self) -> Option<Self> {
        if !self.is_wanted() {
            return None;
        }
        Some(match self {
            Self::Publish(mut publish) => {
                publish.again = true;
                Self::Publish(publish)
            }
            Self::Query(mut query) => {
                query.replies.clear();
                Self::Query(query)
            }
        })
    }

    /// Whether the caller still waits. A publish that timed out must not be delivered later.
    pub(super) fn is_wanted(&self) -> bool {
        match self {
            Self::Publish(publish) => !publish.answer.is_closed(),
            Self::Query(query) => !query.answer.is_closed(),
        }
    }
}

/// All commands in flight, in the order in which they were sent.
#[derive(Default)]
pub(super) struct InFlight {
    sent: VecDeque<Sent>,
    registrations: usize,
    /// Registrations that fetch a log.
    logs: usize,
    calls: usize,
}

impl InFlight {
    pub(super) fn push(&mut self, reply: PendingReply) {
        let at = Instant::now();
        self.count(&reply, 1);
        self.sent.push_back(Sent { at, reply });
    }

    /// Removes the oldest command, which was answered.
    pub(super) fn pop(&mut self) -> Option<Sent> {
        let sent = self.sent.pop_front()?;
        self.count(&sent.reply, -1);
        Some(sent)
    }

    fn count(&mut self, reply: &PendingReply, by: isize) {
        if matches!(reply, PendingReply::Register(registration) if registration.asks_for_log()) {
            self.logs = self.logs.saturating_add_signed(by);
        }
        let number = match reply {
            PendingReply::Register(_) => &mut self.registrations,
            PendingReply::Call(_) => &mut self.calls,
            _ => return,
        };
        *number = number.saturating_add_signed(by);
    }

    pub(super) fn oldest(&self) -> Option<&Sent> {
        self.sent.front()
    }

    pub(super) fn oldest_mut(&mut self) -> Option<&mut Sent> {
        self.sent.front_mut()
    }

    pub(super) fn has(&self, is_it: impl Fn(&PendingReply) -> bool) -> bool {
        self.sent.iter().any(|sent| is_it(&sent.reply))
    }

    /// Whether another registration may be sent, which may fetch a log of up to `log_bytes`.
    pub(super) fn takes_registrations(&self, log_bytes: u32) -> bool {
        let logs = MAX_LOG_BYTES / (log_bytes as usize).max(1);
        self.registrations < MAX_REGISTRATIONS && self.logs < logs.max(1)
    }

    /// Whether another publish or query may be sent.
    pub(super) fn takes_calls(&self) -> bool {
        self.calls < MAX_CALLS
    }

    pub(super) fn registrations_mut(&mut self) -> impl Iterator<Item = &mut Registration> {
        self.sent
            .iter_mut()
            .filter_map(|sent| match &mut sent.reply {
                PendingReply::Register(registration) => Some(registration),
                _ => None,
            })
    }

    /// Takes all commands, after the connection broke.
    pub(super) fn take(&mut self) -> VecDeque<Sent> {
        std::mem::take(self).sent
    }
}
