//! `Sessions`: which sessions of pusher-js over HTTP this process has, whichever worker a request for one comes to.
//!
//! A session lives on the worker that it was opened on; all others reach it through two bounded queues: what its
//! receivers ask, and what its client sends. The table is locked to look a name up, never across an await.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::protocol::Line;
use crate::slack::Slack as _;

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;

/// How many questions of receivers wait for a session. Each receiver has one at a time.
const ASKS: usize = 32;

/// How many requests with messages wait for a session.
const SENDS: usize = 16;

#[expect(
    clippy::disallowed_types,
    reason = "locked to look up or change one entry; never held across an await"
)]
type Lock<T> = std::sync::Mutex<T>;

type Shard = Lock<HashMap<Box<str>, Handle>>;

/// The sessions of this process, by `{key}/{n}/{session}`.
pub struct Sessions {
    shards: Box<[Shard]>,
    hasher: RandomState,
}

/// The way to a session.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) asks: mpsc::Sender<Box<Ask>>,
    pub(super) sends: mpsc::Sender<Box<Sent>>,
}

/// The session's ends of the ways to it, and its entry in the table.
pub(super) struct Opening {
    pub(super) asks: mpsc::Receiver<Box<Ask>>,
    pub(super) sends: mpsc::Receiver<Box<Sent>>,
    pub(super) entry: Entry,
}

/// A session that is in the table for as long as this is kept.
pub(super) struct Entry {
    sessions: Arc<Sessions>,
    name: Box<str>,
}

/// Whether a session is known.
pub(super) enum Found {
    Known(Handle),
    New(Handle, Opening),
}

/// Who writes the lines of a session to its client. One that comes replaces the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReceiverId(pub(super) u64);

/// What a receiver says to a session.
pub(super) enum Ask {
    /// It wants the lines that wait, or the next ones.
    Fetch {
        /// Who.
        receiver: ReceiverId,
        /// There at its first question: dropped when another receiver has replaced it, or the session has ended.
        attach: Option<oneshot::Sender<()>>,
        /// The number of its last batch, of which all has been written. While that is another than the session's last
        /// one, the same batch is the answer again.
        acknowledged: u32,
        /// For how many UTF-16 units there is room. The line that crosses it is the last.
        room: usize,
        /// Dropped without an answer if the receiver was replaced or the session has ended.
        answer: oneshot::Sender<Batch>,
    },
    /// So many lines of its last batch have been written, and no more will be.
    Written {
        /// Who.
        receiver: ReceiverId,
        /// How many.
        lines: usize,
        /// How its client's request ended.
        parting: Parting,
    },
}

/// How a receiver leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// It stays, but there is no room left in its request.
    Stays,
    /// The request was answered; its client may come with another.
    Back,
    /// Its client has hung up, and does not come back.
    ForGood,
}

/// Lines for a client.
#[derive(Debug)]
pub(super) struct Batch {
    /// What acknowledges it.
    pub(super) number: u32,
    pub(super) lines: Vec<Line>,
    /// Whether the session ends with it.
    pub(super) is_last: bool,
}

/// A request of the page, by its number.
pub(super) struct Sent {
    pub(super) number: Option<u64>,
    pub(super) content: Content,
}

/// What a request of the page holds.
pub(super) enum Content {
    /// Nothing: it was for a receiver, and its number is missed by nobody.
    Number,
    /// The messages of an `xhr_send` of so many bytes; none answer a heartbeat.
    Messages(Vec<String>, usize),
    /// More than may be sent at once.
    TooBig,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Sessions {
    /// The session of that name.
    pub(super) fn find(&self, name: &str) -> Option<Handle> {
        self.with(name, |sessions| sessions.get(name).cloned())
    }

    /// The session of that name, which is new if there was none.
    pub(super) fn find_or_open(self: &Arc<Self>, name: &str) -> Found {
        self.with(name, |sessions| {
            if let Some(known) = sessions.get(name) {
                return Found::Known(known.clone());
            }
            let (asks, session_asks) = mpsc::channel(ASKS);
            let (sends, session_sends) = mpsc::channel(SENDS);
            let handle = Handle { asks, sends };
            sessions.insert(name.into(), handle.clone());
            let opening = Opening {
                asks: session_asks,
                sends: session_sends,
                entry: Entry {
                    sessions: Arc::clone(self),
                    name: name.into(),
                },
            };
            Found::New(handle, opening)
        })
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut HashMap<Box<str>, Handle>) -> T) -> T {
        let at = self.hasher.hash_one(name) as usize % SHARDS;
        let shard = &self.shards[at];
        act(&mut shard
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.sessions.with(&self.name, |sessions| {
            sessions.remove(&self.name);
            sessions.give_back();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Box<Sent> {
        Box::new(Sent {
            number: None,
            content: Content::Number,
        })
    }

    fn asked() -> Box<Ask> {
        Box::new(Ask::Written {
            receiver: ReceiverId(1),
            lines: 0,
            parting: Parting::Stays,
        })
    }

    #[test]
    fn so_many_requests_wait_for_a_session() {
        let sessions = Arc::new(Sessions::default());
        let Found::New(handle, opening) = sessions.find_or_open("k/1/a") else {
            panic!("it is new");
        };
        for _ in 0..SENDS {
            handle.sends.try_send(sent()).unwrap();
        }
        for _ in 0..ASKS {
            handle.asks.try_send(asked()).unwrap();
        }
        assert!(handle.asks.try_send(asked()).is_err());
        let found = sessions.find("k/1/a").unwrap();
        assert!(found.sends.try_send(sent()).is_err());
        assert!(matches!(sessions.find_or_open("k/1/a"), Found::Known(_)));
        assert!(sessions.find("k/1/b").is_none());
        drop(opening);
        assert!(sessions.find("k/1/a").is_none());
        assert!(handle.sends.try_send(sent()).is_err());
    }
}
