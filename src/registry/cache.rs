//! The last events of cache channels: bounded in bytes and in time. One [`Cache`] per registry shard, under its lock;
//! one [`Budget`] for all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Registry, lock};
use crate::app::{AppId, LAST_EVENT_OVERHEAD};
use crate::protocol::ChannelName;
use crate::slack::Slack as _;

/// How long a cache channel keeps its last event (docs: cache channels).
pub const LAST_EVENT_TTL: Duration = Duration::from_secs(30 * 60);

/// What a cache channel repeats to a newcomer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEvent {
    /// Its name.
    pub event: Arc<str>,
    /// The publisher's string.
    pub data: Arc<str>,
    /// When it is forgotten.
    pub expires: Instant,
}

impl LastEvent {
    pub(super) fn kept_at(&self) -> Instant {
        let kept = self.expires.checked_sub(LAST_EVENT_TTL);
        kept.unwrap_or(self.expires)
    }
}

type Key = (AppId, ChannelName);

/// The bytes of all caches together, and how old the oldest event of each is: enough to find the oldest of all
/// without a lock. A cache's entry is written while its lock is held.
#[derive(Debug)]
pub(super) struct Budget {
    max_bytes: usize,
    bytes: AtomicUsize,
    /// For each cache the serial of its oldest event; `u64::MAX` where there is none.
    oldest: Box<[AtomicU64]>,
}

impl Budget {
    /// For so many empty caches.
    pub(super) fn new(max_bytes: usize, caches: usize) -> Self {
        Self {
            max_bytes,
            bytes: AtomicUsize::new(0),
            oldest: (0..caches).map(|_| AtomicU64::new(u64::MAX)).collect(),
        }
    }

    /// Whether something has to go.
    fn is_exceeded(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > self.max_bytes
    }

    /// If something has to go: the cache that holds the oldest event.
    fn exceeded_at(&self) -> Option<usize> {
        if !self.is_exceeded() {
            return None;
        }
        let oldest = self.oldest.iter().enumerate();
        let oldest = oldest.map(|(cache, serial)| (serial.load(Ordering::Acquire), cache));
        let (serial, cache) = oldest.min()?;
        (serial != u64::MAX).then_some(cache)
    }

    /// Changes a cache, whose lock the caller holds, and notes what became of it. The bytes come first: who finds another oldest event
    /// finds the bytes without the one that went.
    fn change<T>(&self, at: usize, cache: &mut Cache, change: impl FnOnce(&mut Cache) -> T) -> T {
        let before = cache.bytes;
        let result = change(cache);
        if cache.bytes >= before {
            self.bytes.fetch_add(cache.bytes - before, Ordering::AcqRel);
        } else {
            self.bytes.fetch_sub(before - cache.bytes, Ordering::AcqRel);
        }
        let oldest = cache.order.keys().next().copied().unwrap_or(u64::MAX);
        self.oldest[at].store(oldest, Ordering::Release);
        result
    }
}

/// The last events of a shard's cache channels. All live equally long, so the order of keeping is the order of
/// expiry and of eviction.
#[derive(Debug, Default)]
pub(super) struct Cache {
    events: HashMap<Key, Kept>,
    /// The same by their serials.
    order: BTreeMap<u64, Key>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    serial: u64,
    event: LastEvent,
}

impl Cache {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(
        &self,
        app: &AppId,
        channel: &ChannelName,
        now: Instant,
    ) -> Option<LastEvent> {
        let kept = self.events.get(&(app.clone(), channel.clone()))?;
        (kept.event.expires > now).then(|| kept.event.clone())
    }

    /// Keeps an event, whose serial is above those of all events before it, in the place of its channel's last one.
    fn put(&mut self, key: Key, serial: u64, event: LastEvent) {
        self.bytes += size(&key, &event);
        self.order.insert(serial, key.clone());
        let kept = Kept { serial, event };
        if let Some(old) = self.events.insert(key.clone(), kept) {
            self.order.remove(&old.serial);
            self.bytes -= size(&key, &old.event);
        }
    }

    /// Drops the oldest event. Whether that was before its time.
    fn drop_oldest(&mut self, now: Instant) -> bool {
        let Some((_, key)) = self.order.pop_first() else {
            return false;
        };
        let Some(kept) = self.events.remove(&key) else {
            return false;
        };
        self.events.give_back();
        self.bytes -= size(&key, &kept.event);
        kept.event.expires > now
    }

    /// Drops what has expired.
    fn expire(&mut self, now: Instant) {
        while let Some((_, key)) = self.order.first_key_value()
            && self
                .events
                .get(key)
                .is_none_or(|kept| kept.event.expires <= now)
        {
            self.drop_oldest(now);
        }
    }
}

/// What an event costs: its texts and the fixed parts around them.
fn size(key: &Key, event: &LastEvent) -> usize {
    LAST_EVENT_OVERHEAD + key.1.as_str().len() + event.event.len() + event.data.len()
}

impl Registry {
    /// Keeps a channel's last event in its shard, which the caller has locked. [`Registry::make_room`] must follow
    /// when the lock is gone.
    pub(super) fn keep(&self, at: usize, cache: &mut Cache, key: Key, event: LastEvent) {
        let serial = self.next_sequence();
        self.budget
            .change(at, cache, |cache| cache.put(key, serial, event));
    }

    /// Drops the oldest events of all shards until the rest is within the budget. Returns how many went before their
    /// time. Locks one shard at a time: meanwhile others may make room as well, so each looks again under the lock.
    pub(super) fn make_room(&self, now: Instant) -> usize {
        let mut evicted = 0;
        while let Some(at) = self.budget.exceeded_at() {
            let cache = &mut lock(&self.shards[at]).cache;
            if self.budget.is_exceeded() {
                let was_early = self
                    .budget
                    .change(at, cache, |cache| cache.drop_oldest(now));
                evicted += usize::from(was_early);
            }
        }
        evicted
    }

    /// Drops the last events that have expired.
    pub fn expire_last_events(&self, now: Instant) {
        for (at, shard) in self.shards.iter().enumerate() {
            let cache = &mut lock(shard).cache;
            self.budget.change(at, cache, |cache| cache.expire(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> AppId {
        AppId::new("1")
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text, 200).unwrap()
    }

    /// Publishes; how many kept events had to go for it.
    fn put(registry: &Registry, channel: &str, data: &str, now: Instant) -> usize {
        let event = LastEvent {
            event: "e".into(),
            data: data.into(),
            expires: now + LAST_EVENT_TTL,
        };
        registry.publish(&app(), &name(channel), Some(event), |_| {})
    }

    fn got(registry: &Registry, channel: &str, now: Instant) -> Option<String> {
        let event = registry.last_event(&app(), &name(channel), now);
        event.map(|event| event.data.to_string())
    }

    #[test]
    fn keeps_the_last_event_until_it_expires() {
        let (registry, now) = (Registry::new(10_000), Instant::now());
        put(&registry, "cache-a", "1", now);
        put(&registry, "cache-a", "2", now);
        let second = Duration::from_secs(1);
        assert_eq!(got(&registry, "cache-a", now).as_deref(), Some("2"));
        let last = now + LAST_EVENT_TTL - second;
        assert_eq!(got(&registry, "cache-a", last).as_deref(), Some("2"));
        assert_eq!(got(&registry, "cache-a", last + second), None);
        put(&registry, "cache-b", "3", last);
        registry.expire_last_events(last + second);
        assert_eq!(registry.totals().last_events, 1);
        assert_eq!(
            got(&registry, "cache-b", last + second).as_deref(),
            Some("3")
        );
    }

    #[test]
    fn stays_within_its_bytes_by_dropping_the_oldest_of_all_shards() {
        let (registry, now) = (Registry::new(30_000), Instant::now());
        let name_of = |i: usize| format!("cache-{i}");
        let evicted: usize = (0..1000)
            .map(|i| put(&registry, &name_of(i), "x", now))
            .sum();
        let totals = registry.totals();
        assert!(totals.last_event_bytes <= 30_000 && totals.last_events > 50);
        assert_eq!(evicted + totals.last_events, 1000);
        for i in 0..1000 {
            let is_kept = got(&registry, &name_of(i), now).is_some();
            assert_eq!(is_kept, i >= evicted, "{i} of which {evicted} went");
        }
    }

    #[test]
    fn one_event_may_be_as_large_as_the_budget() {
        let (registry, now) = (Registry::new(10_000), Instant::now());
        let data = "x".repeat(10_000 - LAST_EVENT_OVERHEAD - "cache-a".len() - "e".len());
        for channel in ["cache-a", "cache-b", "cache-c"] {
            put(&registry, channel, &data, now);
            assert_eq!(got(&registry, channel, now).as_ref(), Some(&data));
            assert_eq!(registry.totals().last_events, 1);
        }
    }

    #[test]
    fn what_has_expired_goes_first_and_is_no_eviction() {
        let (registry, now) = (Registry::new(4_000), Instant::now());
        put(&registry, "cache-a", "1", now);
        let later = now + LAST_EVENT_TTL;
        let evicted: usize = (0..1000)
            .map(|i| put(&registry, &format!("cache-b-{i}"), "x", later))
            .sum();
        assert_eq!(evicted + registry.totals().last_events, 1000);
    }

    #[test]
    fn one_channel_published_to_for_ever_does_not_grow() {
        let (registry, now) = (Registry::new(10_000), Instant::now());
        for i in 0..10_000 {
            put(&registry, "cache-a", "x", now + Duration::from_millis(i));
            put(&registry, "cache-b", "x", now);
        }
        let index = registry.index((&app(), &name("cache-a")));
        let cache = &lock(&registry.shards[index]).cache;
        assert!(cache.order.len() == cache.events.len() && cache.len() <= 2);
    }

    #[test]
    fn many_at_once_keep_what_the_budget_has_room_for() {
        const EACH: usize = 2_000;
        let (registry, now) = (Registry::new(50_000), Instant::now());
        let evicted: usize = std::thread::scope(|scope| {
            let thread = |thread: usize| {
                let registry = &registry;
                scope.spawn(move || {
                    let names = (0..EACH).map(|i| format!("cache-{thread}-{i}"));
                    names
                        .map(|name| put(registry, &name, "x", now))
                        .sum::<usize>()
                })
            };
            let threads: Vec<_> = (0..4).map(thread).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        let totals = registry.totals();
        assert_eq!(evicted + totals.last_events, 4 * EACH);
        let one = totals.last_event_bytes.div_ceil(totals.last_events);
        let room = 50_000 - totals.last_event_bytes;
        assert!(
            room <= 2 * one,
            "no more went than had to: {room} bytes are free"
        );
    }
}
