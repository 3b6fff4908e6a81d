//! What the registry answers when it is asked: the counts and members of a channel, the channels of an
//! app, and the sums over all of them. Nothing here changes anything.

use std::collections::HashMap;

use super::channel::Channel;
use super::{Registry, lock};
use crate::app::AppId;
use crate::protocol::{ChannelKind, ChannelName, Member};

/// How many are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections subscribed.
    pub subscriptions: usize,
    /// Distinct users, on a presence channel.
    pub users: usize,
}

/// Channels of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfKind {
    /// With a subscription.
    pub channels: usize,
    /// These.
    pub subscriptions: usize,
}

/// Sums over all apps, for the admin port. Kinds are in the order of [`ChannelKind::LISTED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Connections counted against their apps.
    pub connections: usize,
    /// Channels with a subscription that applications know of.
    pub channels: usize,
    /// The same by kind.
    pub by_kind: [OfKind; ChannelKind::LISTED.len()],
    /// Subscriptions, those of a user's own channel included.
    pub subscriptions: usize,
    /// Presence members.
    pub members: usize,
    /// Users signed in or watched.
    pub users: usize,
    /// Last events kept for cache channels.
    pub last_events: usize,
    /// Their bytes.
    pub last_event_bytes: usize,
    /// Events in the logs of channels.
    pub log_events: usize,
    /// Their bytes.
    pub log_bytes: usize,
    /// Keys of publishes that are remembered.
    pub idempotency_keys: usize,
    /// Their bytes.
    pub idempotency_key_bytes: usize,
}

impl Registry {
    /// One channel's counts; zeros when nobody is there.
    #[must_use]
    pub fn counts(&self, app: &AppId, channel: &ChannelName) -> Counts {
        lock(self.shard(app, channel))
            .channel(app, channel)
            .map_or_else(Counts::default, Channel::counts)
    }

    /// The occupied channels of an app whose names start with `prefix`, in no order.
    #[must_use]
    pub fn channels(&self, app: &AppId, prefix: &str) -> Vec<(ChannelName, Counts)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let channels = shard.channels.get(app).into_iter().flatten();
            let matching = channels
                .filter(|(name, _)| name.kind().is_listed() && name.as_str().starts_with(prefix));
            found.extend(matching.map(|(name, channel)| (name.clone(), channel.counts())));
        }
        found
    }

    /// The users on a presence channel, by their ids.
    #[must_use]
    pub fn members(&self, app: &AppId, channel: &ChannelName) -> Vec<Member> {
        lock(self.shard(app, channel))
            .channel(app, channel)
            .map_or_else(Vec::new, Channel::snapshot)
    }

    /// How many connections each app has that has any.
    #[must_use]
    pub fn connections(&self) -> HashMap<AppId, usize> {
        lock(&self.connections).clone()
    }

    /// Sums over everything, by counting: for people and tests, not for a hot path.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            connections: lock(&self.connections).values().sum(),
            ..Totals::default()
        };
        for shard in &self.shards {
            let shard = lock(shard);
            for (name, channel) in shard.channels.values().flatten() {
                let counts = channel.counts();
                let listed = ChannelKind::LISTED.iter();
                let of_kind = listed.zip(&mut totals.by_kind);
                if let Some((_, of_kind)) =
                    of_kind.into_iter().find(|(kind, _)| **kind == name.kind())
                {
                    of_kind.channels += 1;
                    of_kind.subscriptions += counts.subscriptions;
                    totals.channels += 1;
                }
                totals.subscriptions += counts.subscriptions;
                totals.members += counts.users;
            }
            totals.last_events += shard.cache.len();
            totals.last_event_bytes += shard.cache.bytes();
            totals.log_events += shard.log.len();
            totals.log_bytes += shard.log.bytes();
        }
        (totals.idempotency_keys, totals.idempotency_key_bytes) = self.remembered_keys();
        totals.users = self
            .users
            .iter()
            .map(|users| lock(users).values().map(HashMap::len).sum::<usize>())
            .sum();
        totals
    }
}
