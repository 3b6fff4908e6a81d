//! `Sessions`: which sessions of pusher-js over HTTP this process has, whichever worker a request for one comes to.
//!
//! A session lives on the worker that it was opened on; all others reach it through two bounded queues: what its
//! receivers ask, and what its client sends. The table is locked to look a name up, never across an await.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::DerefMut;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::protocol::Line;
use crate::slack::Slack as _;

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 16;

/// How many questions of receivers wait for a session. Each receiver has one at a time.
const ASKS: usize = 32;

/// How many requests with messages wait for a session.
const SENDS: usize = 16;

/// How long a request waits until its session has taken those before it.
pub(super) const ROOM_PATIENCE: Duration = Duration::from_secs(10);

#[expect(
    clippy::disallowed_types,
    reason = "locked to look up or change one entry; never held across an await"
)]
type Lock<T> = std::sync::Mutex<T>;

type Shard = Lock<HashMap<Arc<str>, Known>>;

/// The sessions of this process, by `{key}/{n}/{session}`.
pub struct Sessions {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// The host that clients are told to send a session's further requests to.
    hostname: Option<Box<str>>,
}

/// A session of the table.
struct Known {
    handle: Handle,
    /// Its receiver on another node, if that was its last one, and when it was last heard.
    remote: Option<(ReceiverId, Instant)>,
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
    pub(super) name: Arc<str>,
}

/// Whether a session is known.
pub(super) enum Found {
    Known(Handle),
    New(Handle, Opening),
}

/// Who writes the lines of a session to its client. One that comes replaces the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReceiverId(pub(super) u64);

/// What a receiver says to a session.
pub(super) enum Ask {
    Fetch {
        fetch: Fetch,
        /// There at its first question: dropped when another receiver has replaced it, or the session has ended.
        attach: Option<oneshot::Sender<()>>,
        /// Dropped without an answer if the receiver was replaced or the session has ended.
        answer: oneshot::Sender<Batch>,
    },
    Written(Written),
}

/// A receiver wants the lines that wait, or the next ones. Nodes tell each other the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fetch {
    pub(super) receiver: ReceiverId,
    /// The number of its last batch, of which all has been written. While that is another than the session's last
    /// one, the same batch is the answer again.
    pub(super) acknowledged: u32,
    /// For how many UTF-16 units there is room. The line that crosses it is the last.
    pub(super) room: usize,
}

/// So many lines of a receiver's last batch have been written, and no more will be. Nodes tell each other the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) receiver: ReceiverId,
    pub(super) lines: usize,
    /// How its client's request ended.
    pub(super) parting: Parting,
}

/// How a receiver leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// Why what a request of the page holds was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotSent {
    /// There is no such session.
    Unknown,
    /// Too much waits for the session.
    Full,
    /// It is another node's, which cannot be asked.
    Unreachable(String),
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

impl Sessions {
    /// None. Clients are told to send a session's further requests to `hostname`, if there is one.
    #[must_use]
    pub fn new(hostname: Option<&str>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            hostname: hostname.map(Into::into),
        }
    }

    /// The host that clients are told.
    pub(super) fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    /// The session of that name.
    pub(super) fn find(&self, name: &str) -> Option<Handle> {
        self.with(name, |sessions| Some(sessions.get(name)?.handle.clone()))
    }

    /// The session of that name, which is new if there was none.
    pub(super) fn find_or_open(self: &Arc<Self>, name: &str) -> Found {
        self.with(name, |sessions| {
            if let Some(known) = sessions.get(name) {
                return Found::Known(known.handle.clone());
            }
            let (asks, session_asks) = mpsc::channel(ASKS);
            let (sends, session_sends) = mpsc::channel(SENDS);
            let handle = Handle { asks, sends };
            let name: Arc<str> = name.into();
            let known = Known {
                handle: handle.clone(),
                remote: None,
            };
            sessions.insert(Arc::clone(&name), known);
            let opening = Opening {
                asks: session_asks,
                sends: session_sends,
                entry: Entry {
                    sessions: Arc::clone(self),
                    name,
                },
            };
            Found::New(handle, opening)
        })
    }

    /// The names of all sessions.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let names = |shard| lock(shard).keys().cloned().collect::<Vec<_>>();
        self.shards.iter().flat_map(names).collect()
    }

    /// A receiver on another node was heard, which replaces the one before if it is new. Returns whether it is the one that
    /// counts.
    pub(super) fn heard(
        &self,
        name: &str,
        receiver: ReceiverId,
        is_new: bool,
        now: Instant,
    ) -> bool {
        self.with(name, |sessions| {
            let Some(known) = sessions.get_mut(name) else {
                return false;
            };
            let counts = is_new || known.remote.is_some_and(|(id, _)| id == receiver);
            if counts {
                known.remote = Some((receiver, now));
            }
            counts
        })
    }

    /// A receiver on another node has left.
    pub(super) fn leaves(&self, name: &str, receiver: ReceiverId) {
        self.with(name, |sessions| {
            if let Some(known) = sessions.get_mut(name) {
                known.remote.take_if(|(id, _)| *id == receiver);
            }
        });
    }

    /// Tells sessions that their receivers on other nodes have gone, if these were not heard for so long.
    pub(super) fn end_silent(&self, now: Instant, time: Duration) {
        for shard in &self.shards {
            for known in lock(shard).values_mut() {
                let Some((receiver, heard)) = known.remote else {
                    continue;
                };
                let gone = Ask::Written(Written {
                    receiver,
                    lines: 0,
                    parting: Parting::Back,
                });
                // If there is no room for it now, it is said again.
                if now.saturating_duration_since(heard) >= time
                    && known.handle.asks.try_send(Box::new(gone)).is_ok()
                {
                    known.remote = None;
                }
            }
        }
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut HashMap<Arc<str>, Known>) -> T) -> T {
        let at = self.hasher.hash_one(name) as usize % SHARDS;
        act(&mut lock(&self.shards[at]))
    }
}

fn lock(shard: &Shard) -> impl DerefMut<Target = HashMap<Arc<str>, Known>> + '_ {
    shard
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Handle {
    /// Says that a request with this number was for a receiver, so that nobody waits for it. If there is no room for it,
    /// what follows waits a moment for it.
    pub(super) fn skip(&self, number: Option<u64>) {
        let content = Content::Number;
        let _ = self.sends.try_send(Box::new(Sent { number, content }));
    }

    /// Sends what a request of the page holds.
    ///
    /// # Errors
    /// It was not taken in time.
    pub(super) async fn send(&self, sent: Sent) -> Result<(), NotSent> {
        match timeout(ROOM_PATIENCE, self.sends.send(Box::new(sent))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(NotSent::Unknown),
            Err(_) => Err(NotSent::Full),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.sessions.with(&self.name, |sessions| {
            sessions.remove(&*self.name);
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
        Box::new(Ask::Written(Written {
            receiver: ReceiverId(1),
            lines: 0,
            parting: Parting::Stays,
        }))
    }

    #[test]
    fn so_many_requests_wait_for_a_session() {
        let sessions = Arc::new(Sessions::new(None));
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

    #[test]
    fn a_receiver_on_another_node_counts_until_it_is_replaced_or_leaves() {
        let sessions = Arc::new(Sessions::new(None));
        let (a, b) = (ReceiverId(1), ReceiverId(2));
        let (now, time) = (Instant::now(), Duration::from_secs(20));
        assert!(!sessions.heard("k/1/a", a, true, now));
        let Found::New(_, mut opening) = sessions.find_or_open("k/1/a") else {
            panic!("it is new");
        };
        assert_eq!(sessions.names(), [Arc::<str>::from("k/1/a")]);
        assert!(!sessions.heard("k/1/a", a, false, now));
        assert!(sessions.heard("k/1/a", a, true, now));
        assert!(sessions.heard("k/1/a", a, false, now));
        assert!(sessions.heard("k/1/a", b, true, now));
        assert!(!sessions.heard("k/1/a", a, false, now));
        sessions.leaves("k/1/a", a);
        sessions.end_silent(now, time);
        assert!(opening.asks.try_recv().is_err());
        sessions.end_silent(now + time, time);
        let Ok(Ask::Written(written)) = opening.asks.try_recv().map(|ask| *ask) else {
            panic!("it is told that its receiver has gone");
        };
        assert_eq!(written.receiver, b);
        // Once.
        sessions.end_silent(now + time, time);
        assert!(opening.asks.try_recv().is_err());
        assert!(!sessions.heard("k/1/a", b, false, now));
        drop(opening);
        assert!(sessions.names().is_empty());
    }
}
