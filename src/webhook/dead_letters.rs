//! Requests that were given up: kept for people to look at and to send again, bounded for each endpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use super::queue::QueuedEvent;

/// A request that was given up.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Names it, among all endpoints, as long as the process runs.
    pub id: u64,
    /// The app's id.
    pub app: Arc<str>,
    /// Where it should have gone, without the query, which may hold a token.
    pub url: Arc<str>,
    /// The events, each a JSON object.
    pub events: Vec<Arc<str>>,
    /// When it was tried first.
    pub first_attempt: SystemTime,
    /// When it was tried last.
    pub last_attempt: SystemTime,
    /// How that ended.
    pub error: String,
}

/// One endpoint's.
#[derive(Debug, Default)]
pub(super) struct DeadLetters(VecDeque<(DeadLetter, Vec<QueuedEvent>)>);

impl DeadLetters {
    /// Adds a letter. The oldest goes if there are more than `max` then.
    pub(super) fn push(
        &mut self,
        letter: DeadLetter,
        events: Vec<QueuedEvent>,
        max: usize,
    ) -> Option<Vec<QueuedEvent>> {
        self.0.push_back((letter, events));
        let dropped = self.0.len() > max;
        dropped
            .then(|| self.0.pop_front())
            .flatten()
            .map(|(_, events)| events)
    }

    /// A copy of all, the oldest first.
    pub(super) fn list(&self) -> Vec<DeadLetter> {
        self.0.iter().map(|(letter, _)| letter.clone()).collect()
    }

    /// Takes one out, or all: their events in order, letter by letter.
    pub(super) fn take(&mut self, id: Option<u64>) -> Vec<Vec<QueuedEvent>> {
        let all = std::mem::take(&mut self.0);
        let mut taken = Vec::new();
        for (letter, events) in all {
            if id.is_none_or(|id| id == letter.id) {
                taken.push(events);
            } else {
                self.0.push_back((letter, events));
            }
        }
        taken
    }

    /// The events of all, the oldest first.
    pub(super) fn events(&self) -> impl Iterator<Item = &QueuedEvent> {
        self.0.iter().flat_map(|(_, events)| events)
    }
}
