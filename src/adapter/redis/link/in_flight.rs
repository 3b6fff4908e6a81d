//! What has been sent to Redis and is not answered yet: a reply is to the oldest of it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::request::{Publish, Query, Waiter};
use crate::adapter::redis::wire::message::Position;

/// How many registrations may be under way.
const MAX_REGISTRATIONS: usize = 256;

/// Bytes of logs that may be on their way, one log in any case: Redis ends a connection for which too much waits
/// (`client-output-buffer-limit`, by default 8 MiB for a minute), and would end the next one for the same.
const MAX_LOG_BYTES: usize = 4 << 20;

/// How many publishes and questions may be under way.
const MAX_CALLS: usize = 1024;

/// Something that may be asked again.
pub(super) enum Call {
    Publish(Box<Publish>),
    Query(Query),
}

/// Something whose reply is awaited.
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) reply: PendingReply,
}

pub(super) enum PendingReply {
    /// Whether nothing lingers any longer if this is the last node.
    Heartbeat {
        last: bool,
    },
    /// Entries for other nodes' consoles.
    FeedMessage,
    /// Who this node is, and who the others are.
    Introduce,
    Subscribe,
    Unsubscribe,
    Register(Registration),
    Call(Call),
    /// Topics of a dead node.
    OwnedTopics(String),
    /// One of them, given up for it.
    DropTopic(String),
    FlushCount(String),
    /// Whether of this node itself.
    RemoveNode(String),
}

/// One saying of what this node holds of a topic.
pub(super) struct Registration {
    pub(super) topic: Rc<str>,
    pub(super) waiters: Vec<Waiter>,
    pub(super) releases: bool,
    /// What was delivered last, if the log was asked for what follows.
    pub(super) after: Option<Position>,
    /// Whether the log was asked for though nothing was delivered yet.
    pub(super) asks_log: bool,
    /// Whether Redis had forgotten what was registered.
    pub(super) restores: bool,
}

impl Registration {
    fn asks_for_log(&self) -> bool {
        self.after.is_some() || self.asks_log
    }
}

impl Call {
    /// The same call for another connection, if anybody still wants it.
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

    /// A publish that was refused for its lateness must not be delivered later.
    pub(super) fn is_wanted(&self) -> bool {
        match self {
            Self::Publish(publish) => !publish.answer.is_closed(),
            Self::Query(query) => !query.answer.is_closed(),
        }
    }
}

/// All of it, in the order in which it was sent.
#[derive(Default)]
pub(super) struct InFlight {
    sent: VecDeque<Sent>,
    registrations: usize,
    /// Those of them that ask for a log.
    logs: usize,
    calls: usize,
}

impl InFlight {
    pub(super) fn push(&mut self, reply: PendingReply) {
        let at = Instant::now();
        self.count(&reply, 1);
        self.sent.push_back(Sent { at, reply });
    }

    /// The oldest, which has been answered.
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

    /// Whether another registration may be sent, which may ask for a log of so many bytes.
    pub(super) fn takes_registrations(&self, log_bytes: u32) -> bool {
        let logs = MAX_LOG_BYTES / (log_bytes as usize).max(1);
        self.registrations < MAX_REGISTRATIONS && self.logs < logs.max(1)
    }

    /// Whether another publish or question may be sent.
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

    /// Everything, when nothing of it will be answered any more.
    pub(super) fn take(&mut self) -> VecDeque<Sent> {
        std::mem::take(self).sent
    }
}
