//! Slack: the room that a map or a queue keeps of the time when it was fuller. What was large once and is nearly empty
//! gives it back.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

/// Room for so few is not worth the trouble.
const LEAST: usize = 256;

/// How many times more room than elements is too much.
const TOO_MUCH: usize = 8;

/// A collection that keeps its room until it is told otherwise.
pub trait Slack {
    /// Elements, and for how many there is room.
    fn fill(&self) -> (usize, usize);

    /// Moves everything into room for so many.
    fn shrink(&mut self, room: usize);

    /// To be called after something was taken out. Moves what is left only after several times as many were taken
    /// out, so that one removal costs as much as ever, all in all.
    fn give_back(&mut self) {
        let (elements, room) = self.fill();
        if room > LEAST && elements < room / TOO_MUCH {
            self.shrink(2 * elements);
        }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> Slack for HashMap<K, V, S> {
    fn fill(&self) -> (usize, usize) {
        (self.len(), self.capacity())
    }

    fn shrink(&mut self, room: usize) {
        self.shrink_to(room);
    }
}

impl<T> Slack for VecDeque<T> {
    fn fill(&self) -> (usize, usize) {
        (self.len(), self.capacity())
    }

    fn shrink(&mut self, room: usize) {
        self.shrink_to(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_and_a_queue_are_small_again_after_they_were_large() {
        let mut map: HashMap<u32, u32> = (0..100_000).map(|n| (n, n)).collect();
        let mut queue: VecDeque<u32> = (0..100_000).collect();
        for n in 0..99_990 {
            map.remove(&n);
            map.give_back();
            queue.pop_front();
            queue.give_back();
            assert_eq!(
                (map.len(), queue.len()),
                (99_999 - n as usize, 99_999 - n as usize)
            );
        }
        assert!(map.capacity() <= 2 * LEAST, "{}", map.capacity());
        assert!(queue.capacity() <= 2 * LEAST, "{}", queue.capacity());
        assert!((99_990..100_000).all(|n| map.get(&n) == Some(&n) && queue.contains(&n)));
    }

    #[test]
    fn what_is_moved_is_a_fraction_of_what_was_taken_out() {
        let mut map: HashMap<u32, u32> = (0..100_000).map(|n| (n, n)).collect();
        let mut moved = 0;
        for n in 0..100_000 {
            map.remove(&n);
            let room = map.capacity();
            map.give_back();
            moved += if map.capacity() < room { map.len() } else { 0 };
        }
        assert!(moved < 50_000, "{moved} moved");
    }
}
