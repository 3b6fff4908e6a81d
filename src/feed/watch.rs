//! One who watches an app, and what all who watch it share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::budget::Budget;
use super::{Feed, Filter, Kind};
use crate::app::AppId;

/// How many entries a watcher may be behind; beyond it loses the oldest.
const MAX_BEHIND: usize = 512;

/// An app that is watched, and by how many.
pub(super) struct WatchedApp {
    pub(super) app_feed: Arc<AppFeed>,
    /// By the number of a [`Reader`].
    pub(super) readers: [usize; 2],
    /// What they look for.
    pub(super) sought: Vec<Arc<SoughtFilter>>,
}

/// Who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Console,
    Relay,
}

/// A watcher's filter. As many entries are made for it as for everybody, and in addition to those.
pub(super) struct SoughtFilter {
    pub(super) filter: Filter,
    pub(super) reader: Reader,
    budget: Budget,
}

pub(super) struct AppFeed {
    pub(super) app: AppId,
    budget: Budget,
    /// How many entries were not made here.
    skipped: AtomicU64,
    /// How many were not made on other nodes.
    elsewhere: AtomicU64,
    entries: broadcast::Sender<BroadcastEntry>,
}

#[derive(Clone)]
struct BroadcastEntry {
    json: Arc<str>,
    /// Whether this node says it.
    own: bool,
}

impl WatchedApp {
    pub(super) fn new(app: AppId) -> Self {
        let app_feed = Arc::new(AppFeed {
            app,
            budget: Budget::default(),
            skipped: AtomicU64::new(0),
            elsewhere: AtomicU64::new(0),
            entries: broadcast::Sender::new(MAX_BEHIND),
        });
        Self {
            app_feed,
            readers: [0, 0],
            sought: Vec::new(),
        }
    }

    /// Whether one more entry may be made: as one of the sample, or because it fits what a watcher looks for. Counted if
    /// not.
    pub(super) fn admits(&self, kind: Kind, second: u64, fits: impl Fn(&Filter) -> bool) -> bool {
        let is_sought =
            |sought: &Arc<SoughtFilter>| fits(&sought.filter) && sought.budget.admits(kind, second);
        let takes = self.app_feed.budget.admits(kind, second) || self.sought.iter().any(is_sought);
        if !takes {
            self.app_feed.skipped.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }
}

impl AppFeed {
    pub(super) fn is_of(&self, app: &AppId) -> bool {
        self.app == *app
    }

    pub(super) fn send(&self, json: Arc<str>, own: bool) {
        // Whoever watched may have gone in this moment.
        let _ = self.entries.send(BroadcastEntry { json, own });
    }

    pub(super) fn skip_elsewhere(&self, count: u64) {
        self.elsewhere.fetch_add(count, Ordering::Relaxed);
    }
}

/// What a watcher is handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// An entry, as a JSON object.
    Entry(Arc<str>),
    /// The watcher was too slow: this many entries were dropped.
    Lost(u64),
}

/// A watcher of one app. Dropping it ends the watching.
pub struct Watch {
    feed: Feed,
    app_feed: Arc<AppFeed>,
    entries: broadcast::Receiver<BroadcastEntry>,
    reader: Reader,
    /// What it looks for.
    sought: Vec<Arc<SoughtFilter>>,
    /// What has been told of those that were not made.
    skipped: u64,
    elsewhere: u64,
}

impl Watch {
    pub(super) fn new(feed: Feed, app_feed: Arc<AppFeed>, reader: Reader) -> Self {
        Self {
            entries: app_feed.entries.subscribe(),
            skipped: app_feed.skipped.load(Ordering::Relaxed),
            elsewhere: app_feed.elsewhere.load(Ordering::Relaxed),
            feed,
            app_feed,
            reader,
            sought: Vec::new(),
        }
    }

    /// Replaces the filters. An entry that fits a filter is made even if the budget for samples is spent. The caller
    /// bounds the number of filters.
    pub fn look_for(&mut self, filters: Vec<Filter>) {
        let known = |sought: &&Arc<SoughtFilter>, filter: &Filter| sought.filter == *filter;
        let sought = filters.into_iter().map(|filter| {
            let same = self.sought.iter().find(|sought| known(sought, &filter));
            same.cloned().unwrap_or_else(|| {
                Arc::new(SoughtFilter {
                    filter,
                    reader: self.reader,
                    budget: Budget::default(),
                })
            })
        });
        let sought: Vec<_> = sought.collect();
        let is_same = |(new, old): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(new, old);
        if sought.len() == self.sought.len() && sought.iter().zip(&self.sought).all(is_same) {
            return;
        }
        self.feed.replace(&self.app_feed, &self.sought, &sought);
        self.sought = sought;
    }

    /// The id of the watched app.
    pub fn app(&self) -> &AppId {
        &self.app_feed.app
    }

    /// Waits for the next entry, or for the number of lost ones. Cancel-safe.
    pub async fn next(&mut self) -> Seen {
        match self.entries.recv().await {
            Ok(told) => Seen::Entry(told.json),
            Err(RecvError::Lagged(count)) => Seen::Lost(count),
            // This watch keeps the sender.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    /// The next entry that this node made, or the number of lost ones. None if nothing is queued.
    pub fn next_own(&mut self) -> Option<Seen> {
        loop {
            match self.entries.try_recv() {
                Ok(told) if told.own => return Some(Seen::Entry(told.json)),
                Ok(_) => {}
                Err(TryRecvError::Lagged(count)) => return Some(Seen::Lost(count)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// How many entries this node has not made since the last call.
    pub fn skipped_own(&mut self) -> u64 {
        let skipped = self.app_feed.skipped.load(Ordering::Relaxed);
        skipped - std::mem::replace(&mut self.skipped, skipped)
    }

    /// How many entries this node and others have not made since the last call.
    pub fn skipped(&mut self) -> u64 {
        let elsewhere = self.app_feed.elsewhere.load(Ordering::Relaxed);
        self.skipped_own() + (elsewhere - std::mem::replace(&mut self.elsewhere, elsewhere))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.feed.replace(&self.app_feed, &self.sought, &[]);
        self.feed.stop_watch(&self.app_feed, self.reader);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Entry;
    use crate::metrics::Metrics;

    fn apps() -> (AppId, AppId) {
        (AppId::new("1"), AppId::new("2"))
    }

    /// Tells something; whether an entry was made of it.
    fn tells(feed: &Feed, app: Option<&AppId>) -> bool {
        let mut made = false;
        feed.record(app, Kind::Published, || {
            made = true;
            Entry::on("x")
        });
        made
    }

    #[tokio::test]
    async fn nothing_is_made_unless_somebody_watches_that_app() {
        let metrics = Metrics::default();
        let feed = Feed::new("n", metrics.clone());
        let (one, other) = apps();
        assert!(!tells(&feed, Some(&one)) && !tells(&feed, None));
        let mut watch = feed.watch(&one);
        assert!(tells(&feed, Some(&one)) && tells(&feed, None));
        assert!(!tells(&feed, Some(&other)));
        for n in [1, 2] {
            let Seen::Entry(json) = watch.next().await else {
                panic!("nothing was lost");
            };
            assert!(json.starts_with(&format!("{{\"n\":{n},")), "{json}");
        }
        let second = feed.watch(&one);
        drop(watch);
        assert!(tells(&feed, Some(&one)), "another one still watches");
        drop(second);
        assert!(!tells(&feed, Some(&one)));
        assert_eq!(metrics.feed_entries.get(), 3);
    }

    #[tokio::test]
    async fn what_is_not_made_is_counted_for_each_watcher() {
        let feed = Feed::new("n", Metrics::default());
        let (app, _) = apps();
        let (mut first, mut second) = (feed.watch(&app), feed.watch(&app));
        let made = (0..1000).filter(|_| tells(&feed, Some(&app))).count() as u64;
        assert!((150..=300).contains(&made), "{made}");
        assert_eq!(first.skipped(), 1000 - made);
        assert_eq!((first.skipped(), second.skipped_own()), (0, 1000 - made));
        assert_eq!(feed.watch(&app).skipped(), 0, "it was not there");
    }

    #[tokio::test]
    async fn what_somebody_looks_for_has_room_of_its_own() {
        let feed = Feed::new("n", Metrics::default());
        let (app, _) = apps();
        let tells = |channel: &'static str| {
            let mut made = false;
            feed.record(Some(&app), Kind::Published, || {
                made = true;
                Entry::on(channel)
            });
            made
        };
        let mut looking = feed.watch(&app);
        let mut beside = feed.watch(&app);
        let filter = |json| Filter::parse(json).unwrap().unwrap();
        looking.look_for(vec![filter(r#"{"channel":"rare"}"#)]);
        assert_eq!(feed.sought_by_consoles().len(), 1);
        let flood = |count| (0..count).filter(|_| tells("flood")).count();
        // Beyond the sample entries are looked at, but those which do not fit are not told.
        for _ in 0..3 {
            flood(1000);
            while beside.next_own().is_some() {}
            tells("rare");
            let told = std::iter::from_fn(|| beside.next_own());
            let told: Vec<Seen> = told.collect();
            let is_rare = |seen: &Seen| matches!(seen, Seen::Entry(json) if json.contains("rare"));
            assert_eq!(
                told.iter().filter(|seen| is_rare(seen)).count(),
                1,
                "{told:?}"
            );
        }
        assert!(looking.skipped() > 2000);
        looking.look_for(Vec::new());
        assert_eq!(feed.sought_by_consoles().len(), 0);
        looking.look_for(vec![filter(r#"{"text":"x"}"#)]);
        drop(looking);
        assert_eq!(
            feed.sought_by_consoles().len(),
            0,
            "it goes with its watcher"
        );
    }

    #[tokio::test]
    async fn a_slow_watcher_loses_the_oldest_and_learns_how_many() {
        let feed = Feed::new("n", Metrics::default());
        let (app, _) = apps();
        let mut watch = feed.watch(&app);
        let entries = (0..MAX_BEHIND + 10).map(|n| Arc::from(n.to_string()));
        feed.arrived("1", entries, 3);
        assert_eq!(watch.next().await, Seen::Lost(10));
        assert_eq!(watch.next().await, Seen::Entry("10".into()));
        assert_eq!(watch.next_own(), None, "none of it is this node's");
        assert_eq!((watch.skipped_own(), watch.skipped()), (0, 3));
    }
}
