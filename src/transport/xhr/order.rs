//! `Order`: the requests of a page overtake each other; their numbers put them right.
//!
//! Numbers are the page's, not the session's: what is missing may belong to another session, so it is waited for only a
//! moment. Knows a given `now` only.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a missing number is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// How many items are held; more are let through without what is missing. A client without a browser's six connections
/// sends everything at once, and on several nodes each may overtake all others.
const MOST: usize = 64;

/// What came, in the order of its numbers.
pub(super) struct Order<T> {
    /// The number that follows what was let through; none before the first.
    next: Option<u64>,
    ready: VecDeque<T>,
    /// What came too early, and until when it is held.
    held: BTreeMap<u64, (T, Instant)>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self {
            next: None,
            ready: VecDeque::new(),
            held: BTreeMap::new(),
        }
    }
}

impl<T> Order<T> {
    /// Takes an item. One without a number, or whose number was given up, goes on at once.
    pub(super) fn put(&mut self, number: Option<u64>, item: T, now: Instant) {
        match (number, self.next) {
            (Some(number), Some(next)) if number > next => {
                self.held.entry(number).or_insert((item, now + PATIENCE));
            }
            (Some(number), next) if next.is_none_or(|next| next == number) => {
                self.ready.push_back(item);
                self.next = Some(number.saturating_add(1));
                self.release();
            }
            _ => self.ready.push_back(item),
        }
        if self.held.len() > MOST {
            self.give_up();
        }
    }

    /// The next item that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<T> {
        if self.ready.is_empty() && self.held.values().any(|(_, until)| *until <= now) {
            self.give_up();
        }
        self.ready.pop_front()
    }

    /// When the next item goes on without what is missing, if nothing else comes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.values().map(|(_, until)| *until).min()
    }

    /// Goes on behind the first gap.
    fn give_up(&mut self) {
        if let Some(&first) = self.held.keys().next() {
            self.next = Some(first);
            self.release();
        }
    }

    /// Lets through what follows without a gap.
    fn release(&mut self) {
        while let Some(next) = self.next
            && let Some((item, _)) = self.held.remove(&next)
        {
            self.ready.push_back(item);
            self.next = Some(next.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(order: &mut Order<u64>, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| order.take(now)).collect()
    }

    #[test]
    fn what_overtakes_waits_for_what_it_overtook_and_not_for_long() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut order = Order::default();
        order.put(Some(7), 7, start);
        assert_eq!(all(&mut order, start), [7]);
        order.put(Some(10), 10, at(10));
        order.put(Some(9), 9, at(100));
        assert!(all(&mut order, at(100)).is_empty());
        order.put(Some(8), 8, at(150));
        assert_eq!(all(&mut order, at(150)), [8, 9, 10]);
        order.put(Some(13), 13, at(200));
        order.put(None, 0, at(300));
        assert_eq!(all(&mut order, at(399)), [0]);
        assert_eq!(order.due(), Some(at(400)));
        assert_eq!(all(&mut order, at(400)), [13]);
        order.put(Some(12), 12, at(500));
        assert_eq!(all(&mut order, at(500)), [12], "late, and not lost");
        assert_eq!(order.due(), None);
    }

    #[test]
    fn so_many_are_held_at_most() {
        let now = Instant::now();
        let mut order = Order::default();
        order.put(Some(0), 0, now);
        for number in (2..).take(MOST) {
            order.put(Some(number), number, now);
        }
        assert_eq!(all(&mut order, now), [0]);
        order.put(Some(u64::MAX), u64::MAX, now);
        assert_eq!(all(&mut order, now).len(), MOST);
        assert_eq!(order.held.len(), 1);
    }

    proptest! {
        /// In whatever order they come, all come through, once, and in order if they are close together.
        #[test]
        fn nothing_is_lost_and_nothing_doubled(moves in proptest::collection::vec(0..8_usize, 60)) {
            let now = Instant::now();
            let mut order = Order::default();
            order.put(Some(0), 0, now);
            let mut numbers: Vec<u64> = (1..=60).collect();
            for (at, by) in moves.into_iter().enumerate() {
                numbers.swap(at, (at + by).min(59));
            }
            let mut got = Vec::new();
            for number in numbers {
                order.put(Some(number), number, now);
                got.extend(all(&mut order, now));
            }
            got.extend(all(&mut order, now + PATIENCE));
            let mut sorted = got.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..=60).collect::<Vec<_>>());
        }
    }
}
