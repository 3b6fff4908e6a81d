//! Events that are kept by channel, bounded in bytes and in time: the last events of cache channels, and the logs. One
//! [`Shelf`] for each of the two in a registry shard, under its lock; one [`Budget`] for all shelves of a kind.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Lock, Shard, lock};
use crate::app::AppId;
use crate::protocol::ChannelName;
use crate::slack::Slack as _;

pub(super) type Key = (AppId, ChannelName);

/// The bytes of all shelves of a kind together, and how old the oldest event of each is: enough to find the oldest of all
/// without a lock. A shelf's entry is written while its lock is held.
#[derive(Debug)]
pub(super) struct Budget {
    max_bytes: usize,
    bytes: AtomicUsize,
    /// For each shelf the serial of its oldest event; `u64::MAX` where there is none.
    oldest: Box<[AtomicU64]>,
}

impl Budget {
    /// For so many empty shelves.
    pub(super) fn new(max_bytes: usize, shelves: usize) -> Self {
        Self {
            max_bytes,
            bytes: AtomicUsize::new(0),
            oldest: (0..shelves).map(|_| AtomicU64::new(u64::MAX)).collect(),
        }
    }

    /// Whether something has to go.
    fn is_exceeded(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > self.max_bytes
    }

    /// If something has to go: the shelf that holds the oldest event.
    fn exceeded_at(&self) -> Option<usize> {
        if !self.is_exceeded() {
            return None;
        }
        let oldest = self.oldest.iter().enumerate();
        let oldest = oldest.map(|(shelf, serial)| (serial.load(Ordering::Acquire), shelf));
        let (serial, shelf) = oldest.min()?;
        (serial != u64::MAX).then_some(shelf)
    }

    /// Changes a shelf, whose lock the caller holds, and notes what became of it. The bytes come first: who finds another
    /// oldest event finds the bytes without the one that went.
    pub(super) fn change<T, R>(
        &self,
        at: usize,
        shelf: &mut Shelf<T>,
        change: impl FnOnce(&mut Shelf<T>) -> R,
    ) -> R {
        let before = shelf.bytes;
        let result = change(shelf);
        if shelf.bytes >= before {
            self.bytes.fetch_add(shelf.bytes - before, Ordering::AcqRel);
        } else {
            self.bytes.fetch_sub(before - shelf.bytes, Ordering::AcqRel);
        }
        let oldest = shelf.order.keys().next().copied().unwrap_or(u64::MAX);
        self.oldest[at].store(oldest, Ordering::Release);
        result
    }

    /// Drops the oldest events of all shards until the rest is within the budget. Returns how many went before their
    /// time. Locks one shard at a time: meanwhile others may make room as well, so each looks again under the lock.
    pub(super) fn make_room<T>(
        &self,
        shards: &[Lock<Shard>],
        shelf: fn(&mut Shard) -> &mut Shelf<T>,
        now: Instant,
    ) -> usize {
        let mut evicted = 0;
        while let Some(at) = self.exceeded_at() {
            let shard = &mut *lock(&shards[at]);
            let shelf = shelf(shard);
            if self.is_exceeded() {
                evicted += usize::from(self.change(at, shelf, |shelf| shelf.drop_oldest(now)));
            }
        }
        evicted
    }
}

/// What a shard keeps, by channel.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    lines: HashMap<Key, Line<T>>,
    /// Whose is the oldest: the channels by the serials of their events, and an empty line by its mark.
    order: BTreeMap<u64, Key>,
    bytes: usize,
}

/// What is kept of one channel.
#[derive(Debug)]
pub(super) struct Line<T> {
    events: VecDeque<Kept<T>>,
    /// All events of the channel with a serial above it are here.
    mark: u64,
    /// How long an event is kept.
    life: Duration,
    /// Until when the line is remembered when it is empty.
    until: Instant,
    /// Until when everything is kept that is not too old, however much.
    whole_until: Option<Instant>,
    /// What the line costs beside its events.
    own_bytes: usize,
}

/// One event.
#[derive(Debug)]
pub(super) struct Kept<T> {
    /// Above those of all events that were kept before it.
    pub(super) serial: u64,
    /// When it was kept.
    pub(super) at: Instant,
    /// What it costs.
    pub(super) bytes: usize,
    pub(super) event: T,
}

/// How much of a channel is kept from now on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// The most events, unless everything is kept.
    pub(super) events: usize,
    /// How long each is kept.
    pub(super) life: Duration,
    /// Until when at least the empty line is remembered.
    pub(super) until: Instant,
    /// Until when everything is kept.
    pub(super) whole_until: Option<Instant>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
        }
    }
}

impl<T> Line<T> {
    fn new(mark: u64, own_bytes: usize, room: Room) -> Self {
        Self {
            events: VecDeque::new(),
            mark,
            life: room.life,
            until: room.until,
            whole_until: room.whole_until,
            own_bytes,
        }
    }

    /// What has not expired, the oldest first.
    pub(super) fn events(
        &self,
        now: Instant,
    ) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator + Clone {
        let expired = self.expired(now);
        self.events.range(expired..).map(|kept| &kept.event)
    }

    /// The newest event and its serial, unless it has expired.
    pub(super) fn newest(&self, now: Instant) -> Option<(u64, &T)> {
        let kept = self.events.back()?;
        self.is_alive(kept, now)
            .then_some((kept.serial, &kept.event))
    }

    /// All events with a serial above it are in [`Line::events`].
    pub(super) fn begins(&self, now: Instant) -> u64 {
        let expired = self.expired(now).checked_sub(1);
        let last_expired = expired.and_then(|at| self.events.get(at));
        last_expired.map_or(self.mark, |kept| kept.serial)
    }

    /// Remembers the line for longer.
    pub(super) fn remember(&mut self, until: Instant) {
        self.until = self.until.max(until);
    }

    /// How long each event is kept, and until when all of them are, if everything is kept at present.
    pub(super) fn whole(&self, now: Instant) -> Option<(Duration, Instant)> {
        let until = self.whole_until.filter(|until| *until > now)?;
        Some((self.life, until))
    }

    fn expired(&self, now: Instant) -> usize {
        self.events
            .partition_point(|kept| !self.is_alive(kept, now))
    }

    fn is_alive(&self, kept: &Kept<T>, now: Instant) -> bool {
        now.saturating_duration_since(kept.at) < self.life
    }
}

impl<T> Shelf<T> {
    pub(super) fn len(&self) -> usize {
        self.lines.values().map(|line| line.events.len()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn line(&self, app: &AppId, channel: &ChannelName) -> Option<&Line<T>> {
        self.lines.get(&(app.clone(), channel.clone()))
    }

    pub(super) fn line_of(&self, key: &Key) -> Option<&Line<T>> {
        self.lines.get(key)
    }

    pub(super) fn line_mut(&mut self, key: &Key) -> Option<&mut Line<T>> {
        self.lines.get_mut(key)
    }

    /// Begins an empty line at a mark, or keeps everything of the line that there is, until a moment.
    pub(super) fn keep_whole(&mut self, key: Key, mark: u64, own_bytes: usize, room: Room) {
        if let Some(line) = self.lines.get_mut(&key) {
            (line.life, line.whole_until) = (line.life.max(room.life), room.whole_until);
            return line.remember(room.until);
        }
        self.bytes += own_bytes;
        self.order.insert(mark, key.clone());
        self.lines.insert(key, Line::new(mark, own_bytes, room));
    }

    /// Keeps an event at the end of its channel's line, which begins with it if there is none, and drops those for which
    /// there is no room.
    pub(super) fn push(&mut self, key: Key, own_bytes: usize, kept: Kept<T>, room: Room) {
        let now = kept.at;
        let line = self.lines.entry(key.clone()).or_insert_with(|| {
            self.bytes += own_bytes;
            Line::new(kept.serial.saturating_sub(1), own_bytes, room)
        });
        // An empty line stood there with its mark.
        if line.events.is_empty() && self.order.get(&line.mark) == Some(&key) {
            self.order.remove(&line.mark);
        }
        self.bytes += kept.bytes;
        self.order.insert(kept.serial, key);
        line.events.push_back(kept);
        (line.life, line.whole_until) = (room.life, room.whole_until);
        line.remember(room.until);
        let too_many = line.events.len().saturating_sub(room.events);
        for _ in 0..line.expired(now).max(too_many) {
            drop_front(line, &mut self.order, &mut self.bytes);
        }
        line.events.give_back();
    }

    /// Keeps everything of a channel for so long from now on, and its line a while longer, for whoever has all of it.
    pub(super) fn end_whole(&mut self, key: &Key, now: Instant, life: Duration) {
        if let Some(line) = self.lines.get_mut(key) {
            line.whole_until = Some(now + life);
            line.until = now + 2 * line.life.max(life);
        }
    }

    /// Drops a channel's line with all its events.
    pub(super) fn forget(&mut self, key: &Key) {
        let Some(mut line) = self.lines.remove(key) else {
            return;
        };
        while drop_front(&mut line, &mut self.order, &mut self.bytes).is_some() {}
        self.order.remove(&line.mark);
        self.bytes -= line.own_bytes;
        self.lines.give_back();
    }

    /// Drops the oldest event, or an empty line that is older. Whether an event went before its time.
    fn drop_oldest(&mut self, now: Instant) -> bool {
        let Some((&serial, key)) = self.order.first_key_value() else {
            return false;
        };
        let key = key.clone();
        let Some(line) = self.lines.get_mut(&key) else {
            self.order.remove(&serial);
            return false;
        };
        let dropped = drop_front(line, &mut self.order, &mut self.bytes);
        let was_early = dropped.is_some_and(|kept| line.is_alive(&kept, now));
        // The line goes with its last event: its mark would cost as much as an event, and is nearly as old.
        if line.events.is_empty() {
            self.forget(&key);
        }
        was_early
    }

    /// Drops what has expired. Looks at every line.
    pub(super) fn expire(&mut self, now: Instant) {
        let Self {
            lines,
            order,
            bytes,
        } = self;
        lines.retain(|key, line| {
            let expired = line.expired(now);
            for _ in 0..expired {
                drop_front(line, order, bytes);
            }
            line.events.give_back();
            let is_empty = line.events.is_empty();
            if is_empty && line.until <= now {
                order.remove(&line.mark);
                *bytes -= line.own_bytes;
                return false;
            }
            if is_empty && expired > 0 {
                order.insert(line.mark, key.clone());
            }
            true
        });
        lines.give_back();
    }
}

/// Drops a line's oldest event, behind which the line begins from then on.
fn drop_front<T>(
    line: &mut Line<T>,
    order: &mut BTreeMap<u64, Key>,
    bytes: &mut usize,
) -> Option<Kept<T>> {
    let kept = line.events.pop_front()?;
    order.remove(&kept.serial);
    *bytes -= kept.bytes;
    line.mark = kept.serial;
    Some(kept)
}
