//! `Tally`: how often for each reason of a closed set, and whether another line may be logged for it.
//!
//! The numbers are exact, the lines are bounded: a flood of refusals must not fill a disk. Memory is bounded by the
//! number of reasons. Without a clock: somebody ends the window.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use super::{Counter, Reason};

/// Counts events by their reason, and bounds the log lines for each reason.
#[derive(Debug)]
pub struct Tally<R> {
    counts: Box<[ReasonCount]>,
    suppressed: Counter,
    reasons: PhantomData<R>,
}

#[derive(Debug, Default)]
struct ReasonCount {
    count: AtomicU64,
    /// Since the window began, those included that were not logged.
    lines: AtomicU64,
}

impl<R: Reason> Default for Tally<R> {
    fn default() -> Self {
        Self {
            counts: R::ALL.iter().map(|_| ReasonCount::default()).collect(),
            suppressed: Counter::default(),
            reasons: PhantomData,
        }
    }
}

/// A [`Tally`] of any set of reasons.
pub trait AnyTally {
    /// The label of each reason, and its count.
    fn counts(&self) -> Vec<(&'static str, u64)>;
    /// The label and count of each reason that is a failed authentication.
    fn authentication_failures(&self) -> Vec<(&'static str, u64)>;
    /// The number of lines that were not logged.
    fn suppressed(&self) -> u64;
    /// Logs one line for each reason whose lines were suppressed, and starts the next window.
    fn end_window(&self);
}

impl<R: Reason> AnyTally for Tally<R> {
    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counts_of(|_| true)
    }

    fn authentication_failures(&self) -> Vec<(&'static str, u64)> {
        self.counts_of(R::is_authentication)
    }

    fn suppressed(&self) -> u64 {
        self.suppressed.get()
    }

    fn end_window(&self) {
        for (reason, more) in self.take_suppressed() {
            warn!(
                reason = reason.label(),
                suppressed = more,
                "{}: more of the same were not logged",
                R::WHAT
            );
        }
    }
}

impl<R: Reason> Tally<R> {
    /// Counts an event that is not logged.
    pub fn count(&self, reason: R) {
        self.counts[reason.index()]
            .count
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an event. Returns whether a line may be logged for it.
    #[must_use]
    pub fn count_and_allow_log(&self, reason: R) -> bool {
        self.count(reason);
        let lines = &self.counts[reason.index()].lines;
        let logged = lines.fetch_add(1, Ordering::Relaxed) < R::LINES;
        if !logged {
            self.suppressed.inc();
        }
        logged
    }

    /// The count of one reason.
    pub fn get(&self, reason: R) -> u64 {
        self.counts[reason.index()].count.load(Ordering::Relaxed)
    }

    fn counts_of(&self, are_meant: fn(R) -> bool) -> Vec<(&'static str, u64)> {
        let reasons = R::ALL.iter().filter(|reason| are_meant(**reason));
        reasons
            .map(|reason| (reason.label(), self.get(*reason)))
            .collect()
    }

    fn take_suppressed(&self) -> impl Iterator<Item = (R, u64)> {
        R::ALL.iter().filter_map(|reason| {
            let lines = self.counts[reason.index()].lines.swap(0, Ordering::Relaxed);
            let more = lines.saturating_sub(R::LINES);
            (more > 0).then_some((*reason, more))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::UpgradeRefused;

    #[test]
    fn a_flood_is_counted_and_not_logged() {
        let tally = Tally::default();
        let flood = |count| {
            let allowed = (0..count).map(|_| tally.count_and_allow_log(UpgradeRefused::Handshake));
            allowed.filter(|logged| *logged).count() as u64
        };
        assert_eq!(flood(100), UpgradeRefused::LINES);
        assert!(tally.count_and_allow_log(UpgradeRefused::ShuttingDown));
        let suppressed: Vec<_> = tally.take_suppressed().collect();
        assert_eq!(
            suppressed,
            [(UpgradeRefused::Handshake, 100 - UpgradeRefused::LINES)]
        );
        assert_eq!(flood(1), 1, "a new window");
        assert_eq!(tally.take_suppressed().count(), 0);
        assert_eq!(tally.get(UpgradeRefused::Handshake), 101);
        assert_eq!(tally.suppressed(), 100 - UpgradeRefused::LINES);
    }
}
