//! What this process knows beyond one worker: per channel the subscription count, the presence members, the last
//! event of a cache channel, the log, and which workers are concerned; per user the same; per app its connections.
//!
//! The only shared locks of the server. They are sharded, held for a map operation and the posting of what follows
//! from it, never across an `.await`. Written on subscribe and unsubscribe, locked once per publish and channel, never per
//! subscriber. Knows neither hubs nor sockets: what must be told to workers in the order of the changes is posted by
//! the caller's closure while the lock is held ([`Audience`]).

mod channel;
mod counts;
mod kept;
mod once;
mod positions;
mod rates;
mod shares;
mod shelf;
#[cfg(test)]
mod tests;
mod users;
mod vacate_delay;

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::app::AppId;
use crate::channel_log::{LastEvent, LogEvent, LogId, Past, PastWanted};
use crate::clock;
use crate::protocol::{ChannelName, Member, PositionKey, SocketId, UserId};
use crate::slack::Slack as _;
use channel::{COUNT_INTERVAL, Channel, Workers};
pub use counts::{Counts, OfKind, Totals};
pub use kept::{Evicted, ToKeep};
use once::Keys;
pub use once::{KeyRefused, Once, Taken};
use positions::Positions;
pub use positions::{Position, PositionChange};
pub use rates::AppRate;
use rates::Rates;
use shares::Shares;
pub use shares::{ConnectRefused, ShareAsk, ShareGrant, SharedLimit};
use shelf::{Budget, Shelf};
pub use users::UserState;
use users::Users;
use vacate_delay::VacateDelay;
pub use vacate_delay::Vacated;

#[expect(clippy::disallowed_types, reason = "the one home of shared locks")]
type Lock<T> = std::sync::Mutex<T>;

const SHARDS: usize = 64;

/// The process-wide maps. All methods are short and synchronous.
#[derive(Debug)]
pub struct Registry {
    shards: Box<[Lock<Shard>]>,
    users: Box<[Lock<Users>]>,
    keys: Box<[Keys]>,
    connections: Lock<HashMap<AppId, usize>>,
    rates: Rates,
    /// Locked before connections and rates; none on a node that is alone.
    shares: Lock<Option<Shares>>,
    positions: Positions,
    hasher: std::hash::RandomState,
    /// The number of the last delivery. It begins at the time of day in microseconds: the places of a log in a later
    /// life of the process are then above those of an earlier one.
    sequence: AtomicU64,
    cache_budget: Budget,
    log_budget: Budget,
}

#[derive(Debug, Default)]
struct Shard {
    channels: HashMap<AppId, HashMap<ChannelName, Channel>>,
    cache: Shelf<LastEvent>,
    log: Shelf<LogEvent>,
    due_counts: VecDeque<(Instant, AppId, ChannelName)>,
    vacate_delay: VacateDelay,
}

/// Whom a change concerns, handed to the caller's closure while the channel is locked: what is posted to these
/// workers with [`Audience::next_sequence`] as its number is in the order in which the changes happened.
pub struct Audience<'a> {
    workers: &'a Workers,
    sequence: &'a AtomicU64,
    logged: Option<LogId>,
}

impl Audience<'_> {
    /// The workers that hold at least one subscriber.
    pub fn workers(&self) -> impl Iterator<Item = u16> {
        self.workers.0.iter().map(|(worker, _)| *worker)
    }

    /// How many subscriptions they hold.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.workers.total()
    }

    /// Whether there is nobody to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workers.0.is_empty()
    }

    /// The event's place in the log, if it is logged.
    #[must_use]
    pub fn logged(&self) -> Option<LogId> {
        self.logged
    }

    /// A number greater than all that were given for this channel before, and than the `since` of every
    /// subscription that exists. That of an event which is logged is its place.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        match self.logged {
            Some(LogId(number)) => number,
            None => self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }
}

/// A subscription about to be counted.
#[derive(Debug, Clone, Copy)]
pub struct NewSubscription<'a> {
    /// Whose.
    pub app: &'a AppId,
    /// Where.
    pub channel: &'a ChannelName,
    /// The worker that owns the connection.
    pub worker: u16,
    /// Who, on a presence channel.
    pub member: Option<&'a Member>,
    /// The app's `presence_members`.
    pub max_members: usize,
    /// Whether count changes are told.
    pub tell_count: bool,
    /// What it wants of the channel's past.
    pub past: PastWanted,
    /// How long what it misses is kept after its end; none if it cannot be resumed.
    pub resumable: Option<NonZeroU32>,
}

/// What a [`NewSubscription`] led to.
#[derive(Debug)]
pub struct SubscribeOutcome {
    /// Deliveries up to this number came before the subscription.
    pub since: u64,
    /// Subscriptions now.
    pub subscriptions: usize,
    /// Whether the member was not there before.
    pub member_added: bool,
    /// Whether webhooks say that the channel is occupied: nobody was there, nor had just left.
    pub occupied: bool,
    /// Whether webhooks say that the member was added: it was not there, nor had it just left.
    pub member_appeared: bool,
    /// Whether webhooks say that a cache channel had nothing for the subscriber: once for each gap, as long as
    /// somebody is there.
    pub cache_miss: bool,
    /// Whether the count is to be told now.
    pub tell_count: bool,
    /// Everybody on a presence channel, the joiner included.
    pub members: Vec<Member>,
    /// What it is sent of the channel's past.
    pub past: Past,
}

/// A presence channel has as many members as the app allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceFull;

/// A subscription that ends.
#[derive(Debug, Clone, Copy)]
pub struct EndedSubscription<'a> {
    /// Whose.
    pub app: &'a AppId,
    /// Where.
    pub channel: &'a ChannelName,
    /// The worker that owns the connection.
    pub worker: u16,
    /// Who, on a presence channel.
    pub user: Option<&'a UserId>,
    /// Whether count changes are told.
    pub tell_count: bool,
    /// Whose leaving is remembered here for webhooks; nobody's in a cluster, where it is not this node's to say.
    pub lingers: Option<SocketId>,
    /// As it was when it began.
    pub resumable: Option<NonZeroU32>,
}

/// What an [`EndedSubscription`] led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsubscribeOutcome {
    /// Subscriptions now.
    pub subscriptions: usize,
    /// Whether that was the member's last connection.
    pub member_removed: bool,
    /// Whether the count is to be told now.
    pub tell_count: bool,
}

impl Registry {
    /// Empty maps; all cache channels together keep up to `cache_bytes`, all logs up to `history_bytes`.
    #[must_use]
    pub fn new(cache_bytes: usize, history_bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Lock::default()).collect(),
            users: (0..SHARDS).map(|_| Lock::default()).collect(),
            keys: (0..SHARDS).map(|_| Keys::default()).collect(),
            connections: Lock::default(),
            rates: Rates::default(),
            shares: Lock::default(),
            positions: Positions::default(),
            hasher: std::hash::RandomState::new(),
            sequence: AtomicU64::new(clock::now_micros()),
            cache_budget: Budget::new(cache_bytes, SHARDS),
            log_budget: Budget::new(history_bytes, SHARDS),
        }
    }

    /// Undoes [`Registry::connect`].
    pub fn disconnect(&self, app: &AppId) {
        let mut connections = lock(&self.connections);
        if let Some(count) = connections.get_mut(app) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                connections.remove(app);
            }
        }
    }

    /// Counts a subscription. `tell` runs while the channel is locked.
    ///
    /// # Errors
    /// A new member finds no room; nothing has changed then.
    pub fn subscribe(
        &self,
        new: &NewSubscription<'_>,
        now: Instant,
        tell: impl FnOnce(&SubscribeOutcome, &Audience<'_>),
    ) -> Result<SubscribeOutcome, PresenceFull> {
        let at = self.index((new.app, new.channel));
        let mut shard = lock(&self.shards[at]);
        let shard = &mut *shard;
        // The common case finds the app's map; only an app's first channel in a shard clones the id.
        let channels = match shard.channels.get_mut(new.app) {
            Some(channels) => channels,
            None => shard.channels.entry(new.app.clone()).or_default(),
        };
        if let Some(member) = new.member {
            let known = channels.get(new.channel);
            let members = known.map_or(0, |c| c.members.len());
            if members >= new.max_members
                && !known.is_some_and(|c| c.members.contains_key(&member.id))
            {
                return Err(PresenceFull);
            }
        }
        let channel = channels.entry(new.channel.clone()).or_default();
        let since = self.next_sequence();
        channel.workers.add(new.worker);
        let subscriptions = channel.workers.total();
        let member_added = new.member.is_some_and(|member| channel.add_member(member));
        let (occupied, member_appeared) =
            shard.vacate_delay.on_subscribe(new, channel, member_added);
        let past = kept::past(&shard.cache, &shard.log, new, since, now);
        if let Some(seconds) = channel.resumable.begins(new.resumable) {
            let keep =
                |log: &mut Shelf<LogEvent>| kept::keep_whole(log, new, seconds, (since, now));
            self.log_budget.change(at, &mut shard.log, keep);
        }
        let is_miss = new.channel.is_cache() && past.is_cache_miss;
        let tell_count = new.tell_count && channel.tells_count(now);
        let outcome = SubscribeOutcome {
            since,
            subscriptions,
            member_added,
            occupied,
            member_appeared,
            cache_miss: is_miss && !std::mem::replace(&mut channel.missed, true),
            tell_count,
            members: channel.snapshot(),
            past,
        };
        if new.tell_count && channel.becomes_due(tell_count) {
            shard.due_counts.push_back((
                now + COUNT_INTERVAL,
                new.app.clone(),
                new.channel.clone(),
            ));
        }
        tell(&outcome, &self.audience(&channel.workers, None));
        Ok(outcome)
    }

    /// Uncounts a subscription that [`Registry::subscribe`] counted. `tell` runs while the channel is locked.
    pub fn unsubscribe(
        &self,
        ended: &EndedSubscription<'_>,
        now: Instant,
        tell: impl FnOnce(&UnsubscribeOutcome, &Audience<'_>),
    ) {
        let mut shard = lock(self.shard(ended.app, ended.channel));
        let shard = &mut *shard;
        let Some(channels) = shard.channels.get_mut(ended.app) else {
            return;
        };
        let Some(channel) = channels.get_mut(ended.channel) else {
            return;
        };
        channel.workers.remove(ended.worker);
        let member_removed = ended.user.is_some_and(|user| channel.remove_member(user));
        let subscriptions = channel.workers.total();
        let tell_count = ended.tell_count && subscriptions > 0 && channel.tells_count(now);
        if ended.tell_count && channel.becomes_due(tell_count) && subscriptions > 0 {
            shard.due_counts.push_back((
                now + COUNT_INTERVAL,
                ended.app.clone(),
                ended.channel.clone(),
            ));
        }
        let outcome = UnsubscribeOutcome {
            subscriptions,
            member_removed,
            tell_count,
        };
        tell(&outcome, &self.audience(&channel.workers, None));
        if ended.lingers.is_some() {
            shard
                .vacate_delay
                .on_unsubscribe(ended, channel, member_removed, now);
        }
        if let Some(seconds) = channel.resumable.ends(ended.resumable) {
            let key = (ended.app.clone(), ended.channel.clone());
            shard.log.end_whole(&key, now, kept::life(seconds));
        }
        if subscriptions == 0 {
            channels.remove(ended.channel);
            channels.give_back();
            if channels.is_empty() {
                shard.channels.remove(ended.app);
            }
        }
    }

    /// Keeps what is to be kept of an event, and lets `tell` post it, in one step: a concurrent subscriber gets it either
    /// way and once. Returns how many kept events had to go for it.
    pub fn publish(&self, event: &ToKeep<'_>, tell: impl FnOnce(&Audience<'_>)) -> Evicted {
        let at = self.index((event.app, event.channel));
        let mut shard = lock(&self.shards[at]);
        let logged = self.keep(at, &mut shard, event);
        self.tell(shard.channel(event.app, event.channel), logged, tell);
        drop(shard);
        self.make_room(event.accepted)
    }

    /// Lets `tell` post something about a channel, with its channel locked. Nothing of it is kept.
    pub fn with_audience(
        &self,
        app: &AppId,
        channel: &ChannelName,
        tell: impl FnOnce(&Audience<'_>),
    ) {
        let shard = lock(self.shard(app, channel));
        self.tell(shard.channel(app, channel), None, tell);
    }

    fn tell(
        &self,
        channel: Option<&Channel>,
        logged: Option<LogId>,
        tell: impl FnOnce(&Audience<'_>),
    ) {
        let nobody = Workers::default();
        let workers = channel.map_or(&nobody, |channel| &channel.workers);
        tell(&self.audience(workers, logged));
    }

    fn audience<'a>(&'a self, workers: &'a Workers, logged: Option<LogId>) -> Audience<'a> {
        Audience {
            workers,
            sequence: &self.sequence,
            logged,
        }
    }

    /// A number above all that were given to deliveries so far, and below all that will be.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The counts that were held back and are due: calls `tell` for each, with its channel locked.
    pub fn due_counts(
        &self,
        now: Instant,
        mut tell: impl FnMut(&AppId, &ChannelName, usize, &Audience<'_>),
    ) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let shard = &mut *shard;
            while shard
                .due_counts
                .front()
                .is_some_and(|(due, ..)| *due <= now)
            {
                let Some((_, app, name)) = shard.due_counts.pop_front() else {
                    break;
                };
                shard.due_counts.give_back();
                let Some(channel) = shard.channels.get_mut(&app).and_then(|c| c.get_mut(&name))
                else {
                    continue;
                };
                channel.count_due = false;
                channel.count_told = Some(now);
                let audience = self.audience(&channel.workers, None);
                tell(&app, &name, channel.workers.total(), &audience);
            }
        }
    }

    /// Calls `tell`, with its channel locked, for each channel and member that was left at least `delay` before
    /// `now` and has stayed so, and who left last. The delay is the same at every call, but that a last one may be
    /// shorter.
    pub fn due_vacated(
        &self,
        delay: Duration,
        now: Instant,
        mut tell: impl FnMut(&AppId, &ChannelName, Vacated<'_>, Option<SocketId>),
    ) {
        for shard in &self.shards {
            lock(shard).vacate_delay.due(delay, now, &mut tell);
        }
    }

    /// What a token has confirmed of a channel.
    pub fn recall(&self, key: &PositionKey, now: Instant) -> Option<Position> {
        self.positions.recall(key, now)
    }

    /// Takes what a connection says of its token's position. Returns how many positions had to go for it.
    pub fn remember(&self, key: PositionKey, change: PositionChange, now: Instant) -> usize {
        self.positions.remember(key, change, now)
    }

    /// Drops some of the positions that have expired.
    pub fn expire_positions(&self, now: Instant) {
        self.positions.expire(now);
    }

    fn shard(&self, app: &AppId, channel: &ChannelName) -> &Lock<Shard> {
        &self.shards[self.index((app, channel))]
    }

    fn index(&self, key: impl std::hash::Hash) -> usize {
        // The remainder is below SHARDS, so the narrowing loses nothing.
        (self.hasher.hash_one(key) % SHARDS as u64) as usize
    }
}

/// A panic while a lock was held would have been a bug of ours in one of the short methods above; the maps are
/// changed in single steps, so going on with them beats taking every worker down.
fn lock<T>(lock: &Lock<T>) -> impl std::ops::DerefMut<Target = T> {
    lock.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shard {
    /// A cache channel has a value: the next miss is told again.
    fn filled(&mut self, app: &AppId, name: &ChannelName) {
        self.vacate_delay.filled(app, name);
        if let Some(channel) = self.channels.get_mut(app).and_then(|c| c.get_mut(name)) {
            channel.missed = false;
        }
    }

    fn channel(&self, app: &AppId, channel: &ChannelName) -> Option<&Channel> {
        self.channels.get(app)?.get(channel)
    }
}
