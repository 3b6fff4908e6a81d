//! What the registry keeps of a channel's past: the last event of a cache channel, and the log of a channel that somebody
//! may read back, by a rule or because a connection of it may be resumed. Each kind has its [`Shelf`] in a shard and its
//! budget.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::shelf::{Kept, Key, Room, Shelf};
use super::{NewSubscription, Registry, Shard, lock};
use crate::app::{AppId, LAST_EVENT_OVERHEAD};
use crate::channel_log::{
    HistoryPage, HistoryQuery, LAST_EVENT_TTL, LastEvent, LogBounds, LogEvent, LogId, Past,
};
use crate::clock;
use crate::protocol::{ChannelName, Encoded, SocketId};
use crate::rules::Retention;

/// What an event of a log costs beside its frame, in bytes.
const LOG_EVENT_OVERHEAD: usize = 256;

/// What a log costs beside its events and its channel's name.
const LOG_OVERHEAD: usize = 384;

/// Longer than any process lives.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// An event that may have to be kept.
#[derive(Debug, Clone, Copy)]
pub struct ToKeep<'a> {
    /// Whose.
    pub app: &'a AppId,
    /// Where.
    pub channel: &'a ChannelName,
    /// When it was accepted.
    pub accepted: Instant,
    /// What a cache channel repeats from now on.
    pub last_event: Option<&'a LastEvent>,
    /// How much of its channel is kept by a rule.
    pub kept: Option<Retention>,
    /// What subscribers get.
    pub frame: &'a Encoded,
    /// The connection that does not.
    pub except: Option<SocketId>,
}

#[cfg(test)]
impl<'a> ToKeep<'a> {
    /// An event that a cache channel repeats, and no log.
    pub(super) fn last_event(
        app: &'a AppId,
        channel: &'a ChannelName,
        event: &'a LastEvent,
    ) -> Self {
        static FRAME: std::sync::LazyLock<Encoded> =
            std::sync::LazyLock::new(|| Encoded::ping(b""));
        Self {
            app,
            channel,
            accepted: event.kept_at(),
            last_event: Some(event),
            kept: None,
            frame: &FRAME,
            except: None,
        }
    }
}

/// How many events had to go before their time, to stay within their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Last events of cache channels.
    pub last_events: usize,
    /// Events of logs.
    pub log_events: usize,
}

impl Shard {
    /// How much of a channel is kept; none if nobody may read it back.
    fn room(&self, key: &Key, kept: Option<Retention>, now: Instant) -> Option<Room> {
        let by_rule = kept.map(|kept| Room {
            events: kept.events.get() as usize,
            life: life(kept.seconds),
            // An empty log is remembered for as long again: a reader who has all of it is still told so.
            until: now + 2 * life(kept.seconds),
            whole_until: None,
        });
        let live = self.channel(&key.0, &key.1);
        let live = live.and_then(|channel| channel.resumable.seconds);
        let live = live.map(|seconds| (life(seconds), now + FOR_EVER));
        let left = || self.log.line_of(key)?.whole(now);
        let Some((life, until)) = live.or_else(left) else {
            return by_rule;
        };
        Some(Room {
            events: usize::MAX,
            life: by_rule.map_or(life, |room| room.life.max(life)),
            until: by_rule.map_or(until, |room| room.until.max(until)),
            whole_until: Some(until),
        })
    }
}

/// What a new subscription is sent. It is made at `since`, the newest place of all logs.
pub(super) fn past(
    cache: &Shelf<LastEvent>,
    log: &Shelf<LogEvent>,
    new: &NewSubscription<'_>,
    since: u64,
    now: Instant,
) -> Past {
    let (wanted, end) = (&new.past, LogId(since));
    let cache = if wanted.cache {
        cache.line(new.app, new.channel)
    } else {
        None
    };
    let last = cache.and_then(|line| line.newest(now));
    let last = last.map(|(serial, event)| (LogId(serial), event.clone()));
    let log = if wanted.needs_log() {
        log.line(new.app, new.channel)
    } else {
        None
    };
    let begins = log.map_or(end, |line| LogId(line.begins(now)));
    let events = log.into_iter().flat_map(|line| line.events(now).rev());
    Past::select(wanted, events, LogBounds { begins, end }, last, now)
}

/// Keeps everything of a channel from a subscription on, made at `since`, that may be resumed for so many seconds.
pub(super) fn keep_whole(
    log: &mut Shelf<LogEvent>,
    new: &NewSubscription<'_>,
    seconds: NonZeroU32,
    (since, now): (u64, Instant),
) {
    let until = now + FOR_EVER;
    let room = Room {
        events: usize::MAX,
        life: life(seconds),
        until,
        whole_until: Some(until),
    };
    let key = (new.app.clone(), new.channel.clone());
    let own_bytes = log_bytes(&key);
    log.keep_whole(key, since, own_bytes, room);
}

impl Registry {
    /// Keeps an event of a channel in its shard, which the caller has locked. Returns its place in the log, if it is
    /// logged. [`Registry::make_room`] must follow when the lock is gone.
    pub(super) fn keep(&self, at: usize, shard: &mut Shard, event: &ToKeep<'_>) -> Option<LogId> {
        let (app, channel, now) = (event.app, event.channel, event.accepted);
        let is_remembered = !shard.log.is_empty()
            || shard
                .channel(app, channel)
                .is_some_and(|channel| channel.resumable.seconds.is_some());
        if event.last_event.is_none() && event.kept.is_none() && !is_remembered {
            return None;
        }
        let key = (app.clone(), channel.clone());
        let serial = self.next_sequence();
        if let Some(last) = event.last_event {
            shard.filled(app, channel);
            let kept = Kept {
                serial,
                at: last.kept_at(),
                bytes: last_event_bytes(&key, last),
                event: last.clone(),
            };
            let room = Room {
                events: 1,
                life: LAST_EVENT_TTL,
                until: kept.at,
                whole_until: None,
            };
            let (key, cache) = (key.clone(), &mut shard.cache);
            self.cache_budget
                .change(at, cache, |cache| cache.push(key, 0, kept, room));
        }
        let room = shard.room(&key, event.kept, now);
        let log = &mut shard.log;
        let Some(room) = room else {
            // Whatever was kept no longer reaches up to the newest event.
            if !log.is_empty() {
                self.log_budget.change(at, log, |log| log.forget(&key));
            }
            return None;
        };
        let id = LogId(serial);
        let kept = Kept {
            serial,
            at: now,
            bytes: LOG_EVENT_OVERHEAD + event.frame.bytes().len(),
            event: LogEvent {
                id,
                at: now,
                time_ms: clock::epoch_ms(SystemTime::now()),
                except: event.except,
                frame: event.frame.clone(),
            },
        };
        let own_bytes = log_bytes(&key);
        self.log_budget
            .change(at, log, |log| log.push(key, own_bytes, kept, room));
        Some(id)
    }

    /// Drops what is over the budgets.
    pub(super) fn make_room(&self, now: Instant) -> Evicted {
        let shards = &self.shards;
        Evicted {
            last_events: self
                .cache_budget
                .make_room(shards, |shard| &mut shard.cache, now),
            log_events: self
                .log_budget
                .make_room(shards, |shard| &mut shard.log, now),
        }
    }

    /// Drops what has expired.
    pub fn expire_kept(&self, now: Instant) {
        for (at, shard) in self.shards.iter().enumerate() {
            let shard = &mut *lock(shard);
            self.cache_budget
                .change(at, &mut shard.cache, |cache| cache.expire(now));
            self.log_budget
                .change(at, &mut shard.log, |log| log.expire(now));
        }
    }

    /// A cache channel's last event, unless it has expired.
    #[must_use]
    pub fn last_event(
        &self,
        app: &AppId,
        channel: &ChannelName,
        now: Instant,
    ) -> Option<LastEvent> {
        let shard = lock(self.shard(app, channel));
        let (_, event) = shard.cache.line(app, channel)?.newest(now)?;
        Some(event.clone())
    }

    /// A page of a channel's log; none if nobody may read it back.
    #[must_use]
    pub fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        query: &HistoryQuery,
        now: Instant,
    ) -> Option<HistoryPage> {
        let mut shard = lock(self.shard(app, channel));
        let end = LogId(self.sequence.load(Ordering::Relaxed));
        let Some(line) = shard.log.line_mut(&(app.clone(), channel.clone())) else {
            // What is not kept begins now.
            let bounds = LogBounds { begins: end, end };
            let page = HistoryPage::select(query, [].iter(), bounds, now);
            return query.kept.map(|_| page);
        };
        match query.kept {
            // Whoever follows it is told that nothing was missed, however long nothing happens.
            Some(kept) => line.remember(now + 2 * life(kept.seconds)),
            None => drop(line.whole(now)?),
        }
        let begins = LogId(line.begins(now));
        Some(HistoryPage::select(
            query,
            line.events(now),
            LogBounds { begins, end },
            now,
        ))
    }
}

pub(super) fn life(seconds: NonZeroU32) -> Duration {
    Duration::from_secs(seconds.get().into())
}

/// What a last event costs: its texts and the fixed parts around them.
fn last_event_bytes(key: &Key, event: &LastEvent) -> usize {
    LAST_EVENT_OVERHEAD + key.1.as_str().len() + event.event.len() + event.data.len()
}

fn log_bytes(key: &Key) -> usize {
    LOG_OVERHEAD + key.1.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel_log::{Order, PastWanted};
    use crate::protocol::ServerFrame;
    use crate::registry::EndedSubscription;
    use proptest::prelude::*;

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
        let (app, channel) = (app(), name(channel));
        let to_keep = ToKeep::last_event(&app, &channel, &event);
        registry.publish(&to_keep, |_| {}).last_events
    }

    fn got(registry: &Registry, channel: &str, now: Instant) -> Option<String> {
        let event = registry.last_event(&app(), &name(channel), now);
        event.map(|event| event.data.to_string())
    }

    #[test]
    fn keeps_the_last_event_until_it_expires() {
        let (registry, now) = (Registry::new(10_000, 0), Instant::now());
        put(&registry, "cache-a", "1", now);
        put(&registry, "cache-a", "2", now);
        let second = Duration::from_secs(1);
        assert_eq!(got(&registry, "cache-a", now).as_deref(), Some("2"));
        let last = now + LAST_EVENT_TTL - second;
        assert_eq!(got(&registry, "cache-a", last).as_deref(), Some("2"));
        assert_eq!(got(&registry, "cache-a", last + second), None);
        put(&registry, "cache-b", "3", last);
        registry.expire_kept(last + second);
        assert_eq!(registry.totals().last_events, 1);
        assert_eq!(
            got(&registry, "cache-b", last + second).as_deref(),
            Some("3")
        );
    }

    #[test]
    fn stays_within_its_bytes_by_dropping_the_oldest_of_all_shards() {
        let (registry, now) = (Registry::new(30_000, 0), Instant::now());
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
        let (registry, now) = (Registry::new(10_000, 0), Instant::now());
        let data = "x".repeat(10_000 - LAST_EVENT_OVERHEAD - "cache-a".len() - "e".len());
        for channel in ["cache-a", "cache-b", "cache-c"] {
            put(&registry, channel, &data, now);
            assert_eq!(got(&registry, channel, now).as_ref(), Some(&data));
            assert_eq!(registry.totals().last_events, 1);
        }
    }

    #[test]
    fn what_has_expired_goes_first_and_is_no_eviction() {
        let (registry, now) = (Registry::new(4_000, 0), Instant::now());
        put(&registry, "cache-a", "1", now);
        let later = now + LAST_EVENT_TTL;
        let evicted: usize = (0..1000)
            .map(|i| put(&registry, &format!("cache-b-{i}"), "x", later))
            .sum();
        assert_eq!(evicted + registry.totals().last_events, 1000);
    }

    #[test]
    fn one_channel_published_to_for_ever_does_not_grow() {
        let (registry, now) = (Registry::new(10_000, 0), Instant::now());
        for i in 0..10_000 {
            put(&registry, "cache-a", "x", now + Duration::from_millis(i));
            put(&registry, "cache-b", "x", now);
        }
        let index = registry.index((&app(), &name("cache-a")));
        assert!(lock(&registry.shards[index]).cache.len() <= 2);
        assert_eq!(registry.totals().last_events, 2);
    }

    #[test]
    fn many_at_once_keep_what_the_budget_has_room_for() {
        const EACH: usize = 2_000;
        let (registry, now) = (Registry::new(50_000, 0), Instant::now());
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

    const KEPT: Retention = Retention {
        events: NonZeroU32::new(4).unwrap(),
        seconds: NonZeroU32::new(10).unwrap(),
    };

    /// Publishes an event that is logged, if anything of its channel is.
    fn log(
        registry: &Registry,
        channel: &str,
        kept: Option<Retention>,
        now: Instant,
    ) -> Option<LogId> {
        let channel = name(channel);
        let data = "x".repeat(100);
        let frame = ServerFrame::Event {
            channel: &channel,
            event: "e",
            data: &data,
            user_id: None,
        };
        let to_keep = ToKeep {
            app: &app(),
            channel: &channel,
            accepted: now,
            last_event: None,
            kept,
            frame: &frame.encode(),
            except: None,
        };
        let mut logged = None;
        let _ = registry.publish(&to_keep, |audience| {
            logged = audience.logged();
        });
        logged
    }

    fn query(kept: Option<Retention>, after: Option<LogId>) -> HistoryQuery {
        HistoryQuery {
            kept,
            limit: 3,
            order: Order::Ascending,
            after,
        }
    }

    fn subscribed(
        registry: &Registry,
        channel: &str,
        after: Option<LogId>,
        resumable: Option<NonZeroU32>,
        now: Instant,
    ) -> (LogId, Past) {
        let new = NewSubscription {
            app: &app(),
            channel: &name(channel),
            worker: 0,
            member: None,
            max_members: 0,
            tell_count: false,
            past: PastWanted {
                cache: false,
                rewind: Some(KEPT),
                after,
                most_bytes: 100_000,
            },
            resumable,
        };
        let outcome = registry.subscribe(&new, now, |_, _| ()).unwrap();
        (LogId(outcome.since), outcome.past)
    }

    fn unsubscribe(
        registry: &Registry,
        channel: &str,
        resumable: Option<NonZeroU32>,
        now: Instant,
    ) {
        let ended = EndedSubscription {
            app: &app(),
            channel: &name(channel),
            worker: 0,
            user: None,
            tell_count: false,
            lingers: None,
            resumable,
        };
        registry.unsubscribe(&ended, now, |_, _| ());
    }

    fn ids(events: &[LogEvent]) -> Vec<LogId> {
        events.iter().map(|event| event.id).collect()
    }

    proptest! {
        #[test]
        fn a_log_is_read_in_order_and_once(
            operations in proptest::collection::vec((0..3_u8, 0..6_u64, any::<prop::sample::Index>()), 1..80)
        ) {
            let (registry, mut now) = (Registry::new(0, 1_000_000), Instant::now());
            let mut all: Vec<(LogId, Instant)> = Vec::new();
            for (operation, seconds, index) in operations {
                let is_kept = |(_, at): &&(LogId, Instant)| now - *at < Duration::from_secs(10);
                let latest = all.iter().rev().take(4).take_while(is_kept).map(|(id, _)| *id);
                let mut kept: Vec<LogId> = latest.collect();
                kept.reverse();
                let gone = all.len() - kept.len();
                match operation {
                    0 => all.push((log(&registry, "a", Some(KEPT), now).unwrap(), now)),
                    1 => now += Duration::from_secs(seconds),
                    _ => {}
                }
                if operation < 2 || all.is_empty() {
                    continue;
                }
                // Read from anywhere: all that is behind it and kept, and whether that is all there was.
                let at = index.index(all.len());
                let (mut after, mut read, mut is_whole) = (Some(all[at].0), Vec::new(), None);
                loop {
                    let page = registry.history(&app(), &name("a"), &query(Some(KEPT), after), now).unwrap();
                    is_whole.get_or_insert(page.is_complete);
                    let Some(last) = page.events.last() else { break };
                    after = Some(last.id);
                    read.extend(ids(&page.events));
                }
                let behind: Vec<LogId> = kept.iter().copied().filter(|id| *id > all[at].0).collect();
                prop_assert_eq!(&read, &behind);
                let is_known = !kept.is_empty() || now - all[all.len() - 1].1 < Duration::from_secs(20);
                prop_assert!(is_whole == Some(at + 1 >= gone) || !is_known, "{:?}", is_whole);
                let (_, rewound) = subscribed(&registry, "a", None, None, now);
                prop_assert_eq!(ids(&rewound.events), kept);
            }
        }
    }

    #[test]
    fn a_channel_that_may_be_resumed_is_kept_whole_and_not_for_ever() {
        let (registry, now) = (Registry::new(0, 1_000_000), Instant::now());
        let (seconds, second) = (NonZeroU32::new(60), Duration::from_secs(1));
        assert_eq!(log(&registry, "a", None, now), None);
        let (at, _) = subscribed(&registry, "a", None, seconds, now);
        let later = now + 1000 * second;
        registry.expire_kept(later);
        let missed: Vec<LogId> = (0..20)
            .map(|_| log(&registry, "a", None, later).unwrap())
            .collect();
        unsubscribe(&registry, "a", seconds, later);
        let missed_too = log(&registry, "a", None, later + 30 * second).unwrap();
        let (_, past) = subscribed(&registry, "a", Some(at), None, later + 59 * second);
        assert!(past.is_complete);
        assert_eq!(ids(&past.events), [&missed[..], &[missed_too]].concat());
        // What it has got is not sent again.
        let (_, past) = subscribed(&registry, "a", Some(missed_too), None, later + 59 * second);
        assert!(past.is_complete && past.events.is_empty());
        // Nor is anything kept when nobody may resume any more.
        let over = later + 61 * second;
        assert_eq!(log(&registry, "a", None, over), None);
        let (_, past) = subscribed(&registry, "a", Some(missed_too), None, over);
        assert!(!past.is_complete);
        registry.expire_kept(over);
        assert_eq!(registry.totals().log_bytes, 0);
    }

    #[test]
    fn logs_stay_within_their_bytes_and_say_what_is_missing() {
        let (registry, now) = (Registry::new(0, 50_000), Instant::now());
        let kept = Some(Retention {
            events: NonZeroU32::new(1000).unwrap(),
            seconds: NonZeroU32::new(10).unwrap(),
        });
        let first: Vec<LogId> = (0..5)
            .map(|_| log(&registry, "first", kept, now).unwrap())
            .collect();
        for i in 0..1000 {
            log(&registry, &format!("channel-{}", i % 20), kept, now);
            assert!(registry.totals().log_bytes <= 50_000);
        }
        assert!(registry.totals().log_events > 50);
        let page = registry.history(&app(), &name("first"), &query(kept, Some(first[0])), now);
        let page = page.unwrap();
        assert!(page.events.is_empty() && !page.is_complete);
        // An empty log goes after a while, as its events did.
        registry.expire_kept(now + Duration::from_secs(10));
        assert!(registry.totals().log_events == 0 && registry.totals().log_bytes > 0);
        registry.expire_kept(now + Duration::from_secs(20));
        assert_eq!(registry.totals().log_bytes, 0);
    }
}
