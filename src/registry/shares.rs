//! This node's shares of the limits that all nodes have together (`limits_scope = "cluster"`). The adapter leases them
//! in the background; who connects or publishes finds here what this node may have at that moment, and waits for nobody.
//!
//! There is a share for each such limit of the apps, and none on a node that is alone.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{AppRate, Registry, lock};
use crate::app::{App, AppId, Apps, LimitsScope};
use crate::limits::{Ask, Share, Usage};

/// How long a node that had no lease asks for its even part at most: the others may not be back yet.
const REJOIN: Duration = Duration::from_secs(5);

/// A limit that nodes may have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedLimit {
    /// Connections at a time.
    Connections,
    /// Events per second.
    Events,
}

/// An app's limit, and what this node asks for.
#[derive(Debug)]
pub struct ShareAsk {
    /// Whose.
    pub app: AppId,
    /// Which.
    pub limit: SharedLimit,
    /// What for.
    pub ask: Ask,
}

/// What this node was given for a [`ShareAsk`].
#[derive(Debug, Clone, Copy)]
pub struct ShareGrant {
    /// Its share.
    pub share: u32,
    /// What the other nodes have to do with the limit.
    pub others: Usage,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectRefused {
    /// The limit is reached.
    Limit,
    /// This node's share of it is, but not the limit, as far as this node knows.
    Share,
}

/// All shares of this node.
#[derive(Debug)]
pub(super) struct Shares {
    /// The end of this node's lease. From then on others may have its shares.
    until: Instant,
    /// Live nodes at the last heartbeat.
    nodes: u32,
    /// Until when this node asks for no more than its even part, and of how many nodes.
    rejoins: (Instant, u32),
    /// Whose limits the shares are of.
    apps: Arc<Apps>,
    /// By [`SharedLimit`].
    of: [HashMap<AppId, Share>; SharedLimit::ALL.len()],
}

impl SharedLimit {
    /// Both, each at its index.
    pub const ALL: [Self; 2] = [Self::Connections, Self::Events];

    /// Its key in `[apps.limits]`.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Events => "events_per_second",
        }
    }

    fn of(self, app: &App) -> Option<NonZeroU32> {
        let limit = match self {
            Self::Connections => app.limits.connections,
            Self::Events => app.limits.events_per_second,
        };
        limit.filter(|_| app.limits_scope == LimitsScope::Cluster)
    }
}

impl Shares {
    /// What this node may have of a limit now. Without a lease each node has an even part: then none can ask the others.
    fn room(&self, limit: SharedLimit, app: &AppId, all: NonZeroU32, now: Instant) -> u32 {
        if now >= self.until {
            return all.get() / self.nodes.max(1);
        }
        let share = self.of[limit as usize].get(app);
        share.map_or(0, Share::get).min(all.get())
    }

    fn note(&mut self, limit: SharedLimit, app: &AppId, count: u32) {
        if let Some(share) = self.of[limit as usize].get_mut(app) {
            share.note(count);
        }
    }

    /// Follows a reload. What is limited no more is given back.
    fn follow(&mut self, apps: &Arc<Apps>) {
        if Arc::ptr_eq(apps, &self.apps) {
            return;
        }
        self.apps = Arc::clone(apps);
        for limit in SharedLimit::ALL {
            let shares = &mut self.of[limit as usize];
            for (app, share) in shares.iter_mut() {
                let app = apps.by_id(app.as_str());
                let all = app.and_then(|app| limit.of(app));
                share.set_limit(all.map_or(0, NonZeroU32::get));
            }
            for app in apps.iter() {
                if let Some(all) = limit.of(app) {
                    let share = shares.entry(app.id.clone()).or_default();
                    share.set_limit(all.get());
                }
            }
        }
    }
}

impl Registry {
    /// From now on this node has a share of the limits of clusters only, and none until it is given one. Its first lease
    /// is waited for until `until`.
    pub fn share_limits(&self, until: Instant) {
        *lock(&self.shares) = Some(Shares {
            until,
            nodes: 0,
            rejoins: (until, 1),
            apps: Arc::default(),
            of: Default::default(),
        });
    }

    /// Counts a connection against its app, unless there are as many as there may be.
    ///
    /// # Errors
    /// What is used up.
    pub fn connect(
        &self,
        app: &AppId,
        limit: Option<NonZeroU32>,
        scope: LimitsScope,
    ) -> Result<(), ConnectRefused> {
        const KIND: SharedLimit = SharedLimit::Connections;
        // Locked until the connection is counted: its share is not lowered in between.
        let mut shares = (scope == LimitsScope::Cluster).then(|| lock(&self.shares));
        let mut shares = shares.as_mut().and_then(|shares| shares.as_mut());
        let (mut room, now) = (limit.map(NonZeroU32::get), Instant::now());
        if let (Some(shares), Some(limit)) = (&mut shares, limit) {
            shares.note(KIND, app, 1);
            room = Some(shares.room(KIND, app, limit, now));
        }
        let mut connections = lock(&self.connections);
        let count = connections.get(app).copied().unwrap_or_default();
        if room.is_none_or(|room| count < room as usize) {
            *connections.entry(app.clone()).or_default() += 1;
            return Ok(());
        }
        let share = shares.and_then(|shares| shares.of[KIND as usize].get(app));
        match share.is_none_or(|share| share.is_exhausted(narrow(count), now)) {
            true => Err(ConnectRefused::Limit),
            false => Err(ConnectRefused::Share),
        }
    }

    /// How many of `all` events per second are this node's, `count` of which come now; `None`: all are.
    pub fn share_of_events(&self, app: &AppId, all: NonZeroU32, count: u32) -> Option<u32> {
        const KIND: SharedLimit = SharedLimit::Events;
        let mut shares = lock(&self.shares);
        let shares = shares.as_mut()?;
        shares.note(KIND, app, count);
        Some(shares.room(KIND, app, all, Instant::now()))
    }

    /// A heartbeat says how many nodes live, and that this node's lease holds until `until`; `None`: it had ended, and
    /// the others may have what this node had. Returns what to ask for.
    pub fn ask_for_shares(
        &self,
        apps: &Arc<Apps>,
        nodes: usize,
        until: Option<Instant>,
        now: Instant,
    ) -> Vec<ShareAsk> {
        let mut shares = lock(&self.shares);
        let Some(shares) = shares.as_mut() else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut shares.nodes, narrow(nodes));
        match until {
            Some(until) => shares.until = until,
            None => {
                shares.rejoins = (now + REJOIN, before.max(shares.nodes).max(1));
                let all = shares.of.iter_mut().flatten();
                all.for_each(|(_, share)| share.lose());
            }
        }
        shares.follow(apps);
        let connections = lock(&self.connections);
        let mut asks = Vec::new();
        for limit in SharedLimit::ALL {
            for (app, share) in &mut shares.of[limit as usize] {
                let used = match limit {
                    SharedLimit::Connections => connections.get(app).copied(),
                    SharedLimit::Events => None,
                };
                let used = narrow(used.unwrap_or_default());
                let Some(mut ask) = share.ask(used, shares.nodes, now) else {
                    continue;
                };
                let (rejoined, of) = shares.rejoins;
                if now < rejoined {
                    ask.share = ask.share.min((ask.limit / of).max(used));
                }
                asks.push(ShareAsk {
                    app: app.clone(),
                    limit,
                    ask,
                });
            }
        }
        asks
    }

    /// Takes what was given, for as long as the lease holds that it was given under.
    pub fn take_shares(&self, until: Instant, grants: &[(ShareAsk, Option<ShareGrant>)]) {
        let mut shares = lock(&self.shares);
        let Some(shares) = shares.as_mut() else {
            return;
        };
        shares.until = shares.until.max(until);
        let now = Instant::now();
        for (ShareAsk { app, limit, .. }, grant) in grants {
            let of_limit = &mut shares.of[*limit as usize];
            let Some(share) = of_limit.get_mut(app) else {
                continue;
            };
            let Some(grant) = grant else {
                share.ask_again();
                continue;
            };
            // What came before this moment came at the former rate.
            let mut events = lock(&self.rates[AppRate::Events as usize]);
            if let (SharedLimit::Events, Some(bucket)) = (limit, events.get_mut(app)) {
                let _ = bucket.take(0, share.get().max(1), now);
            }
            drop(events);
            share.grant(grant.share, grant.others);
            if share.is_over() {
                of_limit.remove(app);
            }
        }
    }

    /// This node's part of each limit that nodes have together.
    #[must_use]
    pub fn shares(&self) -> Vec<(AppId, SharedLimit, u32)> {
        let shares = lock(&self.shares);
        let Some(shares) = shares.as_ref() else {
            return Vec::new();
        };
        let now = Instant::now();
        let room = |limit: SharedLimit, app: &App| {
            let all = limit.of(app)?;
            Some((app.id.clone(), limit, shares.room(limit, &app.id, all, now)))
        };
        let of_app = |app| {
            SharedLimit::ALL
                .iter()
                .filter_map(move |limit| room(*limit, app))
        };
        shares.apps.iter().flat_map(|app| of_app(app)).collect()
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RATE: NonZeroU32 = NonZeroU32::new(1000).unwrap();

    /// A registry whose app has this share of [`RATE`].
    fn with_share(share: u32, until: Instant) -> (Registry, Arc<Apps>, AppId) {
        let mut app = App::plain();
        app.limits_scope = LimitsScope::Cluster;
        app.limits.events_per_second = Some(RATE);
        let (registry, id) = (Registry::new(0, 0), app.id.clone());
        let apps = Arc::new(Apps::new([app]));
        registry.share_limits(until);
        give(&registry, &apps, share, until);
        (registry, apps, id)
    }

    fn give(registry: &Registry, apps: &Arc<Apps>, share: u32, until: Instant) {
        let asks = registry.ask_for_shares(apps, 4, Some(until), Instant::now());
        let others = Usage::default();
        let grant = |ask| (ask, Some(ShareGrant { share, others }));
        let grants: Vec<_> = asks.into_iter().map(grant).collect();
        assert_eq!(grants.len(), 1);
        registry.take_shares(until, &grants);
    }

    #[test]
    fn a_share_that_grows_is_not_the_rate_of_the_past() {
        let now = Instant::now();
        let (registry, apps, app) = with_share(10, now + Duration::from_secs(60));
        let ten = NonZeroU32::new(10).unwrap();
        let long_ago = now - Duration::from_secs(5);
        let take = |count, rate, at| registry.take(AppRate::Events, &app, (count, rate), at);
        assert_eq!(take(10, ten, long_ago), Ok(()));
        give(&registry, &apps, 900, now + Duration::from_secs(60));
        assert!(take(100, RATE, now).is_err());
        assert_eq!(take(10, RATE, now), Ok(()));
    }

    #[test]
    fn a_share_is_none_without_a_lease_and_an_even_part_after_one() {
        let (now, lease) = (Instant::now(), Duration::from_secs(60));
        let (registry, apps, app) = with_share(10, now + lease);
        let share = || registry.share_of_events(&app, RATE, 1);
        assert_eq!(share(), Some(10));
        // The others may have it.
        assert!(!registry.ask_for_shares(&apps, 4, None, now).is_empty());
        assert_eq!(share(), Some(0));
        let (registry, apps, app) = with_share(10, now);
        assert_eq!(
            registry.share_of_events(&app, RATE, 1),
            Some(RATE.get() / 4)
        );
        // What has no limit any more is asked for once more, and then forgotten.
        assert_eq!(registry.shares().len(), apps.iter().count());
        let none = Arc::new(Apps::default());
        give(&registry, &none, 0, now + lease);
        assert!(registry.shares().is_empty());
        assert!(registry.ask_for_shares(&none, 4, None, now).is_empty());
    }
}
