//! Finds the events of a topic's log that this node has missed, and those that new subscriptions want. Pure functions.

use std::time::Instant;

use crate::adapter::redis::wire::message::{Logged, Position};
use crate::channel_log::{LogBounds, LogEvent, LogId};

/// The end of a topic's log, as a registration returns it.
pub(super) struct LogTail {
    /// The last event that Redis took.
    pub(super) at: Position,
    /// The events that were asked for and are still kept, the oldest first.
    pub(super) log: Vec<Logged>,
    /// The time of Redis' clock, in ms.
    pub(super) now: u64,
}

/// The events that were missed.
pub(super) struct Missed<'a> {
    pub(super) events: Vec<&'a Logged>,
    /// Whether `events` is complete: the log reaches back to the last delivered event.
    pub(super) is_complete: bool,
}

impl LogTail {
    /// Returns the events after `last`, the last delivered one.
    pub(super) fn after(&self, last: Position) -> Missed<'_> {
        let is_missed = |logged: &&Logged| {
            let Position { run, seq } = logged.at;
            // An event with a higher number was missed. So was every event of the present run, if `last` is of another
            // run: the present one may have begun below its number, because a promoted replica had lagged. Events of
            // older runs with lower numbers preceded `last`.
            seq > last.seq || (run != last.run && run == self.at.run)
        };
        let missed: Vec<&Logged> = self.log.iter().filter(is_missed).collect();
        let is_complete = match missed.first() {
            Some(first) => first.at.seq <= last.seq + 1,
            None => self.at.seq <= last.seq,
        };
        Missed {
            events: missed,
            is_complete,
        }
    }

    /// Returns the events that were asked for, and how far they reach back.
    pub(super) fn events(&self, now: Instant) -> (Vec<LogEvent>, LogBounds) {
        let end = LogId(self.at.seq);
        let begins = self.at.seq.saturating_sub(self.log.len() as u64);
        // Numbers rise by one from entry to entry. A log that is not so is none.
        let is_whole = self
            .log
            .first()
            .is_none_or(|first| first.at.seq == begins + 1);
        if !is_whole {
            return (Vec::new(), LogBounds { begins: end, end });
        }
        let events = self
            .log
            .iter()
            .filter_map(|logged| logged.event(now, self.now));
        let begins = LogId(begins);
        (events.collect(), LogBounds { begins, end })
    }

    /// Returns the events of the last `waited` milliseconds, where nothing was delivered yet.
    pub(super) fn within(&self, waited: u64) -> Missed<'_> {
        let since = self.now.saturating_sub(waited);
        let is_missed = |logged: &&Logged| waited > 0 && logged.time >= since;
        Missed {
            events: self.log.iter().filter(is_missed).collect(),
            is_complete: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::redis::wire::message::Content;

    const NOW: u64 = 1000;

    fn at(run: u8, seq: u64) -> Position {
        Position { run: [run; 8], seq }
    }

    /// A log of events, each one ms after the one before.
    fn found(last: Position, log: &[Position]) -> LogTail {
        let logged = |(at, time): (&Position, u64)| Logged {
            at: *at,
            time,
            id: [0; 16],
            content: Content::Terminate,
        };
        let first = NOW - log.len() as u64;
        LogTail {
            at: last,
            log: log.iter().zip(first..).map(logged).collect(),
            now: NOW,
        }
    }

    fn missed(found: &Missed<'_>) -> (Vec<Position>, bool) {
        let missed = found.events.iter().map(|logged| logged.at).collect();
        (missed, found.is_complete)
    }

    #[test]
    fn what_follows_upon_the_last_event_is_missed() {
        let (a, b, c) = (1, 2, 3);
        for (last, now, log, expected, is_complete) in [
            // Nothing came.
            (at(a, 5), at(a, 5), vec![], vec![], true),
            (
                at(a, 5),
                at(a, 7),
                vec![at(a, 6), at(a, 7)],
                vec![at(a, 6), at(a, 7)],
                true,
            ),
            // The log is too short, or there is none.
            (
                at(a, 5),
                at(a, 8),
                vec![at(a, 7), at(a, 8)],
                vec![at(a, 7), at(a, 8)],
                false,
            ),
            (at(a, 5), at(a, 8), vec![], vec![], false),
            // Redis came back with its memory: numbers go on in another run.
            (
                at(a, 5),
                at(b, 6),
                vec![at(a, 4), at(a, 5), at(b, 6)],
                vec![at(b, 6)],
                true,
            ),
            // A replica had not got the last two; they were delivered.
            (at(a, 5), at(a, 3), vec![], vec![], true),
            (
                at(a, 5),
                at(b, 5),
                vec![at(a, 3), at(b, 4), at(b, 5)],
                vec![at(b, 4), at(b, 5)],
                true,
            ),
            // Two runs later; what came before ours is known.
            (
                at(b, 5),
                at(c, 8),
                vec![at(a, 4), at(b, 5), at(b, 6), at(c, 7), at(c, 8)],
                vec![at(b, 6), at(c, 7), at(c, 8)],
                true,
            ),
            // Redis lost its memory: the numbers of the new life are far above.
            (
                at(a, 5),
                at(b, 1001),
                vec![at(b, 1001)],
                vec![at(b, 1001)],
                false,
            ),
        ] {
            let found = found(now, &log);
            assert_eq!(
                missed(&found.after(last)),
                (expected, is_complete),
                "{last:?} {log:?}"
            );
        }
    }

    #[test]
    fn who_waited_gets_what_came_since() {
        let found = found(at(1, 3), &[at(1, 1), at(1, 2), at(1, 3)]);
        assert_eq!(missed(&found.within(0)).0, []);
        assert_eq!(missed(&found.within(2)).0, [at(1, 2), at(1, 3)]);
        assert_eq!(missed(&found.within(5000)).0.len(), 3);
    }
}
