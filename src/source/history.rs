//! What was delivered to a source last, for people: bounded, of this node, since its start.

use std::collections::VecDeque;

use serde::Serialize;
use tokio::sync::watch;

/// How many are kept.
const ATTEMPTS: usize = 20;

/// The last deliveries of one source, the newest first.
#[derive(Debug, Default)]
pub struct History(watch::Sender<VecDeque<Attempt>>);

/// One delivery and what came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Attempt {
    /// When it came, in milliseconds since 1970.
    pub time_ms: u64,
    /// The status of the answer.
    pub status: u16,
    /// What happened to it, or why it was refused.
    pub outcome: String,
    /// Its id, if it was verified and has one.
    pub id: Option<String>,
    /// The events that were published for it, each as `event → channel`.
    pub events: Vec<String>,
    /// The beginning of its body with secrets masked; none if it was not verified.
    pub excerpt: Option<String>,
}

impl History {
    /// Adds a delivery and drops the oldest beyond the bound.
    pub fn push(&self, attempt: Attempt) {
        self.0.send_modify(|attempts| {
            attempts.push_front(attempt);
            attempts.truncate(ATTEMPTS);
        });
    }

    /// Copies of all deliveries that are kept, the newest first.
    pub fn list(&self) -> Vec<Attempt> {
        self.0.borrow().iter().cloned().collect()
    }

    /// Takes over the deliveries of the same source in an earlier snapshot.
    pub fn continue_from(&self, former: &Self) {
        let former = former.0.borrow().clone();
        self.0.send_replace(former);
    }
}
