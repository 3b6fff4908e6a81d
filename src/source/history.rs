//! What was delivered to a source last, for people: bounded, of this node, since its start.

use std::collections::VecDeque;

use serde::Serialize;
use tokio::sync::watch;

/// How many are kept.
const ATTEMPTS: usize = 20;

/// The last deliveries of one source, the newest first.
#[derive(Debug, Default)]
pub struct History(watch::Sender<VecDeque<Attempt>>);

/// One delivery.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Attempt {
    /// When it came, in milliseconds since 1970.
    pub time_ms: u64,
    /// What it was answered with.
    pub status: u16,
    /// What became of it, or why nothing did.
    pub outcome: String,
    /// Its id, if it was verified and has one.
    pub id: Option<String>,
    /// Where its events went to: `event → channel`.
    pub events: Vec<String>,
    /// The beginning of its body, without what looks like a secret; none of what was not verified.
    pub excerpt: Option<String>,
}

impl History {
    /// Adds one, and forgets the oldest if there are too many.
    pub fn push(&self, attempt: Attempt) {
        self.0.send_modify(|attempts| {
            attempts.push_front(attempt);
            attempts.truncate(ATTEMPTS);
        });
    }

    /// All that are kept.
    #[must_use]
    pub fn list(&self) -> Vec<Attempt> {
        self.0.borrow().iter().cloned().collect()
    }

    /// Goes on from the same source in an earlier snapshot.
    pub fn continue_from(&self, former: &Self) {
        let former = former.0.borrow().clone();
        self.0.send_replace(former);
    }
}
