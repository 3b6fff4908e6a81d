//! Publishes with a key, on one node: which keys were used a moment ago, for what, and what came of it.
//!
//! A key is decided under the lock of its shard, and its event is posted while that lock is held. So of two publishes
//! with one key, on whichever workers, one delivers to a channel and the other returns what the first one found there.
//! The locks of channels are taken within those of keys, never the other way around.
//!
//! Bounded by [`ROOM`]. Beyond it new keys are refused: to forget an old one would let its repeat through.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{Counts, Lock, Registry, lock};
use crate::app::AppId;
use crate::protocol::ChannelName;
use crate::slack::Slack as _;

/// Bytes of one app's keys in a shard: 128 MiB for an app.
const ROOM: usize = 2 << 20;

/// What a key costs beside its text: its place in the map, and one channel.
const KEY_OVERHEAD: usize = 320;

/// What each further channel costs.
const CHANNEL_OVERHEAD: usize = 40;

/// What makes the repeat of a publication recognisable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// A text that is the app's own. Keys of the HTTP API have no space; a key of another origin begins with the
    /// origin's name and a space.
    pub key: Arc<str>,
    /// Tells publications apart that share a key, such as the events of a batch.
    pub part: u16,
    /// The hash of everything that is published under the key. Another content is refused. `None`: it is not compared.
    pub content: Option<[u8; 32]>,
    /// For how long repeats are recognised.
    pub window: Duration,
    /// A byte that the publisher chooses, and that repeats get back.
    pub note: u8,
}

/// What came of an event with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether an earlier publication with the key had delivered it. The rest is then that of the earlier one.
    pub is_repeat: bool,
    /// [`Once::note`].
    pub note: u8,
    /// The channel's counts at that moment.
    pub counts: Counts,
}

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// It was used for another content.
    #[error("the key was used with another content")]
    Reused,
    /// The app has used as many keys as are remembered.
    #[error(
        "this app uses more keys than a node remembers: shorten idempotency_seconds, or use fewer of them"
    )]
    Full,
}

/// The keys of a shard.
pub(super) type Keys = Lock<HashMap<AppId, OfApp>>;

#[derive(Debug, Default)]
pub(super) struct OfApp {
    records: HashMap<Arc<str>, Record>,
    bytes: usize,
}

#[derive(Debug)]
struct Record {
    content: Option<[u8; 32]>,
    expires: Instant,
    /// What came of it, by part and channel.
    taken: SmallVec<[(u64, Taken); 1]>,
}

impl Record {
    fn bytes(&self, key: &str) -> usize {
        KEY_OVERHEAD + key.len() + self.taken.len().saturating_sub(1) * CHANNEL_OVERHEAD
    }
}

impl OfApp {
    /// Refuses a key that has no room, or another content.
    fn check(&self, once: &Once, now: Instant) -> Result<(), KeyRefused> {
        match self.records.get(&once.key) {
            Some(record) if record.expires > now => {
                let both = record.content.zip(once.content);
                match both.is_none_or(|(known, given)| known == given) {
                    true => Ok(()),
                    false => Err(KeyRefused::Reused),
                }
            }
            _ if self.bytes >= ROOM => Err(KeyRefused::Full),
            _ => Ok(()),
        }
    }

    /// Changes the record of a key, a new one if it has none.
    fn change(&mut self, once: &Once, now: Instant, change: impl FnOnce(&mut Record)) {
        let mut record = self.records.remove(&once.key);
        if let Some(record) = &record {
            self.bytes -= record.bytes(&once.key);
        }
        let mut record = record
            .take_if(|record| record.expires > now)
            .unwrap_or_else(|| Record {
                content: once.content,
                expires: now + once.window,
                taken: SmallVec::new(),
            });
        change(&mut record);
        self.bytes += record.bytes(&once.key);
        self.records.insert(Arc::clone(&once.key), record);
    }
}

impl Registry {
    /// Binds keys to their contents, all or none.
    ///
    /// # Errors
    /// The number of the first key that is refused, as given with it, and why.
    pub fn claim_keys(
        &self,
        app: &AppId,
        keys: &[(usize, &Once)],
        now: Instant,
    ) -> Result<(), (usize, KeyRefused)> {
        let shard_of = |once: &Once| self.index((app, &once.key));
        // In their order: whoever locks several of them does so too.
        let shards: BTreeSet<usize> = keys.iter().map(|(_, once)| shard_of(once)).collect();
        let shards = shards.into_iter().map(|at| (at, lock(&self.keys[at])));
        let mut shards: BTreeMap<usize, _> = shards.collect();
        for (number, once) in keys {
            let of_app = shards.get(&shard_of(once)).and_then(|shard| shard.get(app));
            if let Some(of_app) = of_app {
                of_app.check(once, now).map_err(|why| (*number, why))?;
            }
        }
        for (_, once) in keys {
            if let Some(shard) = shards.get_mut(&shard_of(once)) {
                let of_app = shard.entry(app.clone()).or_default();
                of_app.change(once, now, |_| {});
            }
        }
        Ok(())
    }

    /// Calls `take`, which delivers an event to a channel and returns its counts, unless that was done for the key.
    ///
    /// # Errors
    /// The key is refused; `take` was not called.
    pub fn take_once(
        &self,
        app: &AppId,
        (once, channel): (&Once, &ChannelName),
        now: Instant,
        take: impl FnOnce() -> Counts,
    ) -> Result<Taken, KeyRefused> {
        let place = self.hasher.hash_one((once.part, channel));
        let mut shard = lock(&self.keys[self.index((app, &once.key))]);
        let of_app = match shard.get_mut(app) {
            Some(of_app) => of_app,
            None => shard.entry(app.clone()).or_default(),
        };
        of_app.check(once, now)?;
        let known = of_app.records.get(&once.key);
        let known = known.filter(|record| record.expires > now);
        let known = known.and_then(|record| record.taken.iter().find(|(at, _)| *at == place));
        if let Some((_, taken)) = known {
            return Ok(*taken);
        }
        let taken = Taken {
            is_repeat: false,
            note: once.note,
            counts: take(),
        };
        of_app.change(once, now, |record| {
            let is_repeat = true;
            record.expires = now + once.window;
            record.taken.push((place, Taken { is_repeat, ..taken }));
        });
        Ok(taken)
    }

    /// Forgets the keys whose time is over.
    pub fn expire_keys(&self, now: Instant) {
        for shard in &self.keys {
            let mut shard = lock(shard);
            shard.retain(|_, of_app| {
                let OfApp { records, bytes } = of_app;
                records.retain(|key, record| {
                    let is_live = record.expires > now;
                    *bytes -= if is_live { 0 } else { record.bytes(key) };
                    is_live
                });
                records.give_back();
                !records.is_empty()
            });
            shard.give_back();
        }
    }

    /// How many keys are remembered, and their bytes.
    pub(super) fn remembered_keys(&self) -> (usize, usize) {
        self.keys.iter().fold((0, 0), |sum, shard| {
            lock(shard).values().fold(sum, |(keys, bytes), of_app| {
                (keys + of_app.records.len(), bytes + of_app.bytes)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::SHARDS;

    const WINDOW: Duration = Duration::from_secs(10);

    fn once(key: &str, content: u8) -> Once {
        Once {
            key: key.into(),
            part: 0,
            content: Some([content; 32]),
            window: WINDOW,
            note: content,
        }
    }

    fn take(registry: &Registry, once: &Once, now: Instant) -> Result<Taken, KeyRefused> {
        let channel = ChannelName::parse("x", 200).unwrap();
        registry.take_once(&AppId::new("1"), (once, &channel), now, Counts::default)
    }

    #[test]
    fn beyond_their_room_new_keys_are_refused_and_old_ones_known() {
        let (registry, now) = (Registry::new(0, 0), Instant::now());
        let key = |n: usize| once(&format!("{n:0100}"), 1);
        let refused = (0..)
            .find(|n| take(&registry, &key(*n), now).is_err())
            .unwrap();
        assert_eq!(take(&registry, &key(refused), now), Err(KeyRefused::Full));
        let claimed = registry.claim_keys(&AppId::new("1"), &[(7, &key(refused))], now);
        assert_eq!(claimed, Err((7, KeyRefused::Full)));
        assert!((0..refused).all(|n| take(&registry, &key(n), now).unwrap().is_repeat));
        let (keys, bytes) = registry.remembered_keys();
        assert_eq!(keys, refused);
        assert!(bytes <= SHARDS * (ROOM + KEY_OVERHEAD + 100));
        // Another app has room of its own.
        let channel = ChannelName::parse("x", 200).unwrap();
        let other = registry.take_once(
            &AppId::new("2"),
            (&key(refused), &channel),
            now,
            Counts::default,
        );
        assert!(other.is_ok());
        registry.expire_keys(now + WINDOW);
        assert_eq!(registry.remembered_keys(), (0, 0));
        assert!(take(&registry, &key(refused), now + WINDOW).is_ok());
    }

    #[test]
    fn claims_are_all_or_none_and_bind_the_content() {
        let (registry, now) = (Registry::new(0, 0), Instant::now());
        let app = AppId::new("1");
        let (a, b, other) = (once("a", 1), once("b", 1), once("b", 2));
        assert_eq!(registry.claim_keys(&app, &[(0, &other)], now), Ok(()));
        let refused = registry.claim_keys(&app, &[(0, &a), (1, &b)], now);
        assert_eq!(refused, Err((1, KeyRefused::Reused)));
        assert_eq!(registry.remembered_keys().0, 1);
        assert_eq!(take(&registry, &b, now), Err(KeyRefused::Reused));
        assert!(!take(&registry, &other, now).unwrap().is_repeat);
        assert!(take(&registry, &other, now).unwrap().is_repeat);
        let any = Once {
            content: None,
            ..b.clone()
        };
        assert!(take(&registry, &any, now).unwrap().is_repeat);
        assert!(!take(&registry, &b, now + WINDOW).unwrap().is_repeat);
    }
}
