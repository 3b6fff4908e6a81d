//! How many entries are made for one app in a second: so many that people see what goes on, so few that nobody notices.
//!
//! Atomics without a lock: at the turn of a second a few entries more or less may pass.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Kind;

/// In all.
const A_SECOND: u32 = 200;

/// Of one kind: a flood of one leaves room for the others, which are what explains it.
const OF_A_KIND: u32 = 150;

#[derive(Debug, Default)]
pub(super) struct Budget {
    second: AtomicU64,
    all: AtomicU32,
    of_kind: [AtomicU32; Kind::ALL.len()],
}

impl Budget {
    /// Whether one more may be made in the second that it is.
    pub(super) fn admits(&self, kind: Kind, now: u64) -> bool {
        let second = self.second.load(Ordering::Relaxed);
        let turns = second != now
            && self
                .second
                .compare_exchange(second, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if turns {
            self.all.store(0, Ordering::Relaxed);
            for count in &self.of_kind {
                count.store(0, Ordering::Relaxed);
            }
        }
        self.of_kind[kind as usize].fetch_add(1, Ordering::Relaxed) < OF_A_KIND
            && self.all.fetch_add(1, Ordering::Relaxed) < A_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_leaves_room_for_the_others() {
        let budget = Budget::default();
        let taken = |kind, now| (0..10_000).filter(|_| budget.admits(kind, now)).count();
        assert_eq!(taken(Kind::Published, 1), 150);
        assert_eq!(taken(Kind::Refused, 1), 50);
        assert_eq!(taken(Kind::Connected, 1), 0);
        assert_eq!(taken(Kind::Refused, 2), 150, "the next second");
    }
}
