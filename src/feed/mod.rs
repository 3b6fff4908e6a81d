//! What happens on this server, for those who watch it: entries about the apps that somebody watches, made only for as
//! long as somebody does.
//!
//! Whoever does something that can be watched calls [`Feed::tell`]. While nobody watches, that is one relaxed load and
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
use watch::{Reader, Seat, Sought, Watched};

/// The way in for those who tell, and to a [`Watch`] for those who want to know. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Shared>);

struct Shared {
    /// Whether anything is watched: all that is looked at while it is not.
    is_watched: AtomicBool,
    /// What is. As many as there are watchers at most.
    seats: tokio::sync::watch::Sender<Vec<Seat>>,
    node: Arc<str>,
    started: Instant,
    serial: AtomicU64,
    metrics: Metrics,
}

impl Feed {
    /// Nobody watches yet. `node` says in every entry where it comes from.
    #[must_use]
    pub fn new(node: &str, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            is_watched: AtomicBool::new(false),
            seats: tokio::sync::watch::Sender::default(),
            node: node.into(),
            started: Instant::now(),
            serial: AtomicU64::new(0),
            metrics,
        }))
    }

    /// The name of this node in its entries.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// Whether anybody watches anything; for those to whom it is dear to say what an entry is about.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        // Whoever begins to watch misses what happens in this moment, and nothing else.
        self.0.is_watched.load(Ordering::Relaxed)
    }

    /// Tells those who watch the app; of what concerns no app that is known, all who watch. The entry is made only if
    /// somebody does, and if there is room for it.
    pub fn tell<'a>(&self, app: Option<&AppId>, kind: Kind, entry: impl FnOnce() -> Entry<'a>) {
        if self.is_watched() {
            self.make(app, kind, entry);
        }
    }

    #[cold]
    fn make<'a>(&self, app: Option<&AppId>, kind: Kind, entry: impl FnOnce() -> Entry<'a>) {
        let shared = &self.0;
        let second = shared.started.elapsed().as_secs();
        let seats = shared.seats.borrow();
        let concerned = seats
            .iter()
            .filter(|seat| app.is_none_or(|app| seat.watched.is_of(app)));
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
        for seat in concerned {
            if seat.takes(kind, second, |filter| {
                filter.fits(kind, &entry, &shared.node)
            }) {
                seat.watched.send(Arc::clone(&json), true);
            } else {
                shared.metrics.feed_skipped.inc();
            }
        }
    }

    /// Tells of an app what another node says: entries, and how many more there were.
    pub fn arrived(&self, app: &str, entries: impl Iterator<Item = Arc<str>>, skipped: u64) {
        let seats = self.0.seats.borrow();
        let Some(seat) = seats.iter().find(|seat| seat.watched.app.as_str() == app) else {
            return;
        };
        for entry in entries {
            seat.watched.send(entry, false);
        }
        seat.watched.skip_elsewhere(skipped);
    }

    /// Begins to watch an app for a console. Whoever begins bounds how many there may be.
    #[must_use]
    pub fn watch(&self, app: &AppId) -> Watch {
        self.begin(app, Reader::Console)
    }

    /// Begins to watch an app for other nodes.
    #[must_use]
    pub fn relay(&self, app: &AppId) -> Watch {
        self.begin(app, Reader::Relay)
    }

    /// The apps that are watched by consoles of this node.
    #[must_use]
    pub fn watched_by_consoles(&self) -> Vec<AppId> {
        let seats = self.0.seats.borrow();
        let by_consoles = seats
            .iter()
            .filter(|seat| seat.readers[Reader::Console as usize] > 0);
        by_consoles.map(|seat| seat.watched.app.clone()).collect()
    }

    /// What consoles of this node look for, with the app of each.
    #[must_use]
    pub fn sought_by_consoles(&self) -> Vec<(AppId, Filter)> {
        let seats = self.0.seats.borrow();
        let of_seat = |seat: &Seat| {
            let sought = seat.sought.iter();
            let by_consoles = sought.filter(|sought| sought.reader == Reader::Console);
            let filters = by_consoles.map(|sought| sought.filter.clone());
            filters
                .map(|filter| (seat.watched.app.clone(), filter))
                .collect::<Vec<_>>()
        };
        seats.iter().flat_map(of_seat).collect()
    }

    fn begin(&self, app: &AppId, reader: Reader) -> Watch {
        let fresh = Seat::new(app.clone());
        let mut watched = Arc::clone(&fresh.watched);
        self.0.seats.send_modify(|seats| {
            let at = seats.iter().position(|seat| seat.watched.is_of(app));
            let at = at.unwrap_or_else(|| {
                seats.push(fresh);
                seats.len() - 1
            });
            seats[at].readers[reader as usize] += 1;
            watched = Arc::clone(&seats[at].watched);
            self.0.is_watched.store(true, Ordering::Relaxed);
        });
        Watch::new(self.clone(), watched, reader)
    }

    /// Puts what a watcher looks for in the place of what it has looked for.
    fn replace(&self, watched: &Arc<Watched>, old: &[Arc<Sought>], new: &[Arc<Sought>]) {
        if old.is_empty() && new.is_empty() {
            return;
        }
        self.0.seats.send_modify(|seats| {
            let seat = seats
                .iter_mut()
                .find(|seat| Arc::ptr_eq(&seat.watched, watched));
            if let Some(seat) = seat {
                let is_old = |one: &Arc<Sought>| old.iter().any(|old| Arc::ptr_eq(old, one));
                seat.sought.retain(|one| !is_old(one));
                seat.sought.extend(new.iter().cloned());
            }
        });
    }

    fn leave(&self, left: &Arc<Watched>, reader: Reader) {
        self.0.seats.send_modify(|seats| {
            let at = seats.iter().position(|s| Arc::ptr_eq(&s.watched, left));
            if let Some(at) = at {
                seats[at].readers[reader as usize] -= 1;
                if seats[at].readers == [0, 0] {
                    seats.swap_remove(at);
                }
            }
            let is_watched = !seats.is_empty();
            self.0.is_watched.store(is_watched, Ordering::Relaxed);
        });
    }
}
