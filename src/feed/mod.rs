//! What happens on this server, for those who watch it: entries about the apps that somebody watches, made only for as
//! long as somebody does.
//!
//! Whoever does something that can be watched calls [`Feed::record`]. While nobody watches, that is one relaxed load and
//! nothing else; nothing is ever told per subscriber. While somebody watches, a bounded number of entries is made in a
//! second (`budget`), and as many more for each [`Filter`] that they fit; the others are counted. A watcher that reads slowly loses the oldest and learns how many. So a
//! flood costs little, and delivery never waits for a watcher.
//!
//! What other nodes tell comes in through [`Feed::arrived`], and the way to them is a [`Watch`] like any other. Knows no
//! socket, no HTTP and no Redis.

mod budget;
mod entry;
mod filter;
mod watch;

use std::cell::LazyCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

pub use entry::{Entry, Kind};
pub use filter::{Filter, InvalidFilter};
pub use watch::{Seen, Watch};

use crate::app::AppId;
use crate::clock;
use crate::metrics::Metrics;
use entry::Origin;
use watch::{AppFeed, Reader, SoughtFilter, WatchedApp};

/// Collects entries about apps and hands them to the watchers of each app ([`Watch`]). Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    /// Whether anything is watched: all that is looked at while it is not.
    is_watched: AtomicBool,
    /// What is. As many as there are watchers at most.
    apps: tokio::sync::watch::Sender<Vec<WatchedApp>>,
    node: Arc<str>,
    started: Instant,
    serial: AtomicU64,
    metrics: Metrics,
}

impl Feed {
    /// A feed that nobody watches yet. `node` is the name of this node in every entry.
    pub fn new(node: &str, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            is_watched: AtomicBool::new(false),
            apps: tokio::sync::watch::Sender::default(),
            node: node.into(),
            started: Instant::now(),
            serial: AtomicU64::new(0),
            metrics,
        }))
    }

    /// The name of this node in its entries.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// Whether anybody watches any app. Callers whose entries are costly to make ask first.
    pub fn is_watched(&self) -> bool {
        // Whoever begins to watch misses what happens in this moment, and nothing else.
        self.0.is_watched.load(Ordering::Relaxed)
    }

    /// Records an entry for the watchers of the app, or for all watchers if no known app is concerned. `entry` is
    /// called only if somebody watches and the budget has room.
    pub fn record<'a>(&self, app: Option<&AppId>, kind: Kind, entry: impl FnOnce() -> Entry<'a>) {
        if self.is_watched() {
            self.make_entry(app, kind, entry);
        }
    }

    #[cold]
    fn make_entry<'a>(&self, app: Option<&AppId>, kind: Kind, entry: impl FnOnce() -> Entry<'a>) {
        let shared = &self.0;
        let second = shared.started.elapsed().as_secs();
        let apps = shared.apps.borrow();
        let concerned = apps
            .iter()
            .filter(|watched_app| app.is_none_or(|app| watched_app.app_feed.is_of(app)));
        let entry = LazyCell::new(entry);
        let json = LazyCell::new(|| {
            let origin = Origin {
                serial: shared.serial.fetch_add(1, Ordering::Relaxed) + 1,
                time_ms: clock::epoch_ms(SystemTime::now()),
                node: &shared.node,
                app: app.map(AppId::as_str),
            };
            shared.metrics.feed_entries.inc();
            Arc::from(entry.json(kind, &origin))
        });
        for watched_app in concerned {
            if watched_app.admits(kind, second, |filter| {
                filter.fits(kind, &entry, &shared.node)
            }) {
                watched_app.app_feed.send(Arc::clone(&json), true);
            } else {
                shared.metrics.feed_skipped.inc();
            }
        }
    }

    /// Records the entries that another node made for an app, and how many it left out.
    pub fn arrived(&self, app: &str, entries: impl Iterator<Item = Arc<str>>, skipped: u64) {
        let apps = self.0.apps.borrow();
        let Some(watched_app) = apps
            .iter()
            .find(|watched_app| watched_app.app_feed.app.as_str() == app)
        else {
            return;
        };
        for entry in entries {
            watched_app.app_feed.send(entry, false);
        }
        watched_app.app_feed.skip_elsewhere(skipped);
    }

    /// Starts to watch an app for a console. The caller bounds the number of watchers.
    pub fn watch(&self, app: &AppId) -> Watch {
        self.start_watch(app, Reader::Console)
    }

    /// Starts to watch an app on behalf of other nodes.
    pub fn relay(&self, app: &AppId) -> Watch {
        self.start_watch(app, Reader::Relay)
    }

    /// The apps that this node's consoles watch.
    pub fn watched_by_consoles(&self) -> Vec<AppId> {
        let apps = self.0.apps.borrow();
        let by_consoles = apps
            .iter()
            .filter(|watched_app| watched_app.readers[Reader::Console as usize] > 0);
        by_consoles
            .map(|watched_app| watched_app.app_feed.app.clone())
            .collect()
    }

    /// The filters of this node's consoles, each with its app.
    pub fn sought_by_consoles(&self) -> Vec<(AppId, Filter)> {
        let apps = self.0.apps.borrow();
        let of_app = |watched_app: &WatchedApp| {
            let sought = watched_app.sought.iter();
            let by_consoles = sought.filter(|sought| sought.reader == Reader::Console);
            let filters = by_consoles.map(|sought| sought.filter.clone());
            filters
                .map(|filter| (watched_app.app_feed.app.clone(), filter))
                .collect::<Vec<_>>()
        };
        apps.iter().flat_map(of_app).collect()
    }

    fn start_watch(&self, app: &AppId, reader: Reader) -> Watch {
        let fresh = WatchedApp::new(app.clone());
        let mut app_feed = Arc::clone(&fresh.app_feed);
        self.0.apps.send_modify(|apps| {
            let at = apps
                .iter()
                .position(|watched_app| watched_app.app_feed.is_of(app));
            let at = at.unwrap_or_else(|| {
                apps.push(fresh);
                apps.len() - 1
            });
            apps[at].readers[reader as usize] += 1;
            app_feed = Arc::clone(&apps[at].app_feed);
            self.0.is_watched.store(true, Ordering::Relaxed);
        });
        Watch::new(self.clone(), app_feed, reader)
    }

    /// Puts what a watcher looks for in the place of what it has looked for.
    fn replace(
        &self,
        app_feed: &Arc<AppFeed>,
        old: &[Arc<SoughtFilter>],
        new: &[Arc<SoughtFilter>],
    ) {
        if old.is_empty() && new.is_empty() {
            return;
        }
        self.0.apps.send_modify(|apps| {
            let watched_app = apps
                .iter_mut()
                .find(|watched_app| Arc::ptr_eq(&watched_app.app_feed, app_feed));
            if let Some(watched_app) = watched_app {
                let is_old = |one: &Arc<SoughtFilter>| old.iter().any(|old| Arc::ptr_eq(old, one));
                watched_app.sought.retain(|one| !is_old(one));
                watched_app.sought.extend(new.iter().cloned());
            }
        });
    }

    fn stop_watch(&self, left: &Arc<AppFeed>, reader: Reader) {
        self.0.apps.send_modify(|apps| {
            let at = apps.iter().position(|s| Arc::ptr_eq(&s.app_feed, left));
            if let Some(at) = at {
                apps[at].readers[reader as usize] -= 1;
                if apps[at].readers == [0, 0] {
                    apps.swap_remove(at);
                }
            }
            let is_watched = !apps.is_empty();
            self.0.is_watched.store(is_watched, Ordering::Relaxed);
        });
    }
}
