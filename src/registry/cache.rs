//! The last events of cache channels: bounded in bytes and in time. One instance per registry shard, under its lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::AppId;
use crate::protocol::ChannelName;

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

type Key = (AppId, ChannelName);

/// The last events of a shard's cache channels. All live equally long, so the order of keeping is the order of
/// expiry and of eviction.
#[derive(Debug, Default)]
pub(super) struct Cache {
    events: HashMap<Key, Kept>,
    /// Every event as it came, by its serial; stale where a later one has taken its channel's place.
    order: VecDeque<(u64, Key)>,
    serial: u64,
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

    /// Keeps an event and drops the oldest until it fits. Returns how many went before their time.
    pub(super) fn put(
        &mut self,
        app: &AppId,
        channel: &ChannelName,
        event: LastEvent,
        max_bytes: usize,
    ) -> usize {
        let now = event
            .expires
            .checked_sub(LAST_EVENT_TTL)
            .unwrap_or(event.expires);
        let key = (app.clone(), channel.clone());
        self.serial += 1;
        let serial = self.serial;
        self.bytes += size(&key, &event);
        self.order.push_back((serial, key.clone()));
        if let Some(old) = self.events.insert(key.clone(), Kept { serial, event }) {
            self.bytes -= size(&key, &old.event);
        }
        let evicted = self.make_room(now, max_bytes);
        // A channel published to again and again leaves stale entries behind its neighbours' live ones.
        if self.order.len() > 2 * self.events.len() + 64 {
            let events = &self.events;
            self.order
                .retain(|(serial, key)| events.get(key).is_some_and(|kept| kept.serial == *serial));
        }
        evicted
    }

    fn make_room(&mut self, now: Instant, max_bytes: usize) -> usize {
        let mut evicted = 0;
        while let Some((serial, key)) = self.order.front() {
            let kept = self.events.get(key).filter(|kept| kept.serial == *serial);
            let expired = kept.is_none_or(|kept| kept.event.expires <= now);
            if !expired && self.bytes <= max_bytes {
                break;
            }
            if kept.is_some()
                && let Some(kept) = self.events.remove(key)
            {
                self.bytes -= size(key, &kept.event);
                evicted += usize::from(!expired);
            }
            self.order.pop_front();
        }
        evicted
    }
}

/// What an event costs: its texts and the fixed parts around them.
fn size(key: &Key, event: &LastEvent) -> usize {
    const FIXED: usize = 256;
    FIXED + key.1.as_str().len() + event.event.len() + event.data.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text, 200).unwrap()
    }

    fn event(data: &str, now: Instant) -> LastEvent {
        LastEvent {
            event: "e".into(),
            data: data.into(),
            expires: now + LAST_EVENT_TTL,
        }
    }

    #[test]
    fn keeps_the_last_event_until_it_expires() {
        let (mut cache, app, now) = (Cache::default(), AppId::new("1"), Instant::now());
        cache.put(&app, &name("cache-a"), event("1", now), 10_000);
        cache.put(&app, &name("cache-a"), event("2", now), 10_000);
        let got = |cache: &Cache, at| {
            cache
                .get(&app, &name("cache-a"), at)
                .map(|e| e.data.to_string())
        };
        assert_eq!(got(&cache, now).as_deref(), Some("2"));
        assert_eq!(
            got(&cache, now + LAST_EVENT_TTL - Duration::from_secs(1)).as_deref(),
            Some("2")
        );
        assert_eq!(got(&cache, now + LAST_EVENT_TTL), None);
        cache.put(
            &app,
            &name("cache-b"),
            event("3", now + LAST_EVENT_TTL),
            10_000,
        );
        assert_eq!(cache.len(), 1, "expired events make room");
    }

    #[test]
    fn stays_within_its_bytes_by_dropping_the_oldest() {
        let (mut cache, app, now) = (Cache::default(), AppId::new("1"), Instant::now());
        let evicted: usize = (0..100)
            .map(|i| cache.put(&app, &name(&format!("cache-{i}")), event("x", now), 3000))
            .sum();
        assert!(cache.bytes() <= 3000 && cache.len() > 5);
        assert_eq!(evicted + cache.len(), 100);
        assert!(cache.get(&app, &name("cache-99"), now).is_some());
        assert!(cache.get(&app, &name("cache-0"), now).is_none());
    }

    #[test]
    fn one_channel_published_to_for_ever_does_not_grow() {
        let (mut cache, app, now) = (Cache::default(), AppId::new("1"), Instant::now());
        for i in 0..10_000 {
            cache.put(
                &app,
                &name("cache-a"),
                event("x", now + Duration::from_millis(i)),
                10_000,
            );
            cache.put(&app, &name("cache-b"), event("x", now), 10_000);
        }
        assert_eq!(cache.len(), 2);
        assert!(cache.order.len() < 100, "{}", cache.order.len());
    }
}
