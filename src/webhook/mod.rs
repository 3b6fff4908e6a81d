//! Webhooks: HTTP requests that notify an app's backend of events on its channels (docs: `server_api/webhooks`).
//!
//! [`Webhooks::post`] is called from any worker and never waits: it queues an event for each of the app's endpoints that
//! want it. Every endpoint has one task with its own queue, retries and dead letters, so a slow or dead endpoint delays
//! no other, and no request carries events of two apps. All tasks run on the thread that called [`Webhooks::start`]. A
//! reload keeps the queues of endpoints that stay. A removed endpoint still gets its queued events, and no new ones.

mod aside;
mod dead_letters;
mod delivery_task;
mod drop_log;
mod endpoint;
mod feed_entry;
mod queue;
mod request;
mod sender;
mod tag;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize as _, Deserializer};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

pub use dead_letters::{DeadLetter, DeadLetters, LettersCommand, ask};

use crate::app::{AppId, Apps};
use crate::bounded::{Milliseconds, Seconds, Whole, section};
use crate::feed::{Entry, Feed, Kind};
use crate::metrics::Metrics;
use crate::protocol::{ChannelName, SocketId, WebhookEvent, WebhookKind};
use crate::spool::{self, Folder};
use delivery_task::DeliveryContext;
use endpoint::{Endpoint, EndpointCommand};
use queue::QueuedEvent;
use sender::Sender;
use tag::Tagger;

/// Webhooks cannot be started or reloaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder `spool` cannot be used.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// The TLS library and its cryptography do not fit.
    #[error("cannot speak TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// How often a shutdown checks whether the queues are empty.
const FINISH_TICK: Duration = Duration::from_millis(20);

section! {
    /// `[webhooks]`, for all apps.
    pub struct Settings {
        /// The folder in which undelivered events survive a restart.
        #[serde(deserialize_with = "folder")]
        pub spool: Option<PathBuf> = None,
        /// How long a channel or member must be gone before a webhook says so.
        #[serde(rename = "linger_seconds")]
        pub linger: Duration as "Seconds::<0, 3600>" = Duration::from_secs(3),
        /// How long one exchange with an endpoint may take.
        #[serde(rename = "timeout_seconds")]
        pub timeout: Duration as "Seconds::<1, 300>" = Duration::from_secs(10),
        /// How long a request is retried, from its first attempt.
        #[serde(rename = "retry_seconds")]
        pub retry: Duration as "Seconds::<0, 86_400>" = Duration::from_secs(300),
        /// Events that may wait for one endpoint. Beyond it the longest line loses its newest event.
        pub queue_events: usize as "Whole::<1, 1_000_000>" = 10_000,
        /// Dead letters of one endpoint. Beyond it the oldest is dropped.
        pub dead_letters: usize as "Whole::<1, 1_000_000>" = 1000,
        /// Events in one request, for endpoints that take batches.
        pub batch_size: usize as "Whole::<1, 10_000>" = 100,
        /// How long the first event of a batch waits for others.
        #[serde(rename = "batch_ms")]
        pub batch_window: Duration as "Milliseconds::<0, 60_000>" = Duration::from_millis(200),
    }
}

/// An empty path names no folder.
fn folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = String::deserialize(deserializer)?;
    Ok((!path.is_empty()).then(|| path.into()))
}

/// All endpoints of all apps. Cheap to clone and shared by all workers.
#[derive(Clone)]
pub struct Webhooks(Arc<Shared>);

struct Shared {
    table: watch::Sender<Table>,
    settings: Settings,
    metrics: Metrics,
    feed: Feed,
    letters: Arc<AtomicU64>,
    folder: Option<Arc<Folder>>,
    tagger: Tagger,
    tls: Arc<rustls::ClientConfig>,
}

/// Apps of a database may come and go every day.
const RETIRED: usize = 1000;

/// All endpoints since the start. A reload replaces the table.
#[derive(Clone, Default)]
struct Table {
    active: HashMap<AppId, Vec<Arc<Endpoint>>>,
    /// Endpoints that were removed from the configuration. Their queues are still delivered, and they may return. Of more
    /// than [`RETIRED`], those that have nothing to deliver end, and their dead letters with them.
    retired: Vec<Arc<Endpoint>>,
}

impl Table {
    fn all(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.active.values().flatten().chain(&self.retired)
    }
}

impl Webhooks {
    /// Starts a task for every webhook of every app, on this thread.
    ///
    /// # Errors
    /// The spool cannot be used.
    pub async fn start(
        apps: &Apps,
        settings: &Settings,
        metrics: &Metrics,
        feed: &Feed,
    ) -> Result<Self, Error> {
        let folder = settings.spool.as_deref().map(Folder::open);
        let webhooks = Self(Arc::new(Shared {
            table: watch::Sender::new(Table::default()),
            settings: settings.clone(),
            metrics: metrics.clone(),
            feed: feed.clone(),
            letters: Arc::new(AtomicU64::new(1)),
            folder: folder.transpose()?.map(Arc::new),
            tagger: Tagger::default(),
            tls: sender::tls()?,
        }));
        webhooks.reload(apps).await?;
        Ok(webhooks)
    }

    /// Replaces the webhooks by those of `apps`, on the thread of [`Webhooks::start`]. An endpoint that stays keeps its
    /// queue and gets its new headers and secrets.
    ///
    /// # Errors
    /// The spool cannot be used for a new endpoint. The webhooks stay as they were.
    pub async fn reload(&self, apps: &Apps) -> Result<(), Error> {
        let mut former: HashMap<AppId, Vec<Arc<Endpoint>>> = HashMap::new();
        for endpoint in self.all() {
            former
                .entry(endpoint.app.clone())
                .or_default()
                .push(endpoint);
        }
        let mut table = Table::default();
        for app in apps.iter() {
            for webhook in &app.webhooks {
                let known = former.get_mut(&app.id).and_then(|former| {
                    let at = former.iter().position(|endpoint| endpoint.is_of(webhook))?;
                    Some(former.swap_remove(at))
                });
                let (app, webhook) = (Arc::clone(app), webhook.clone());
                let id = app.id.clone();
                let endpoint = match known {
                    Some(endpoint) => {
                        endpoint
                            .send(EndpointCommand::Reconfigure(app, webhook.into()))
                            .await;
                        endpoint
                    }
                    None => {
                        let timeout = self.0.settings.timeout;
                        let sender = Sender::new(Arc::clone(&self.0.tls), app, webhook, timeout);
                        self.start_endpoint(sender)?.into()
                    }
                };
                table.active.entry(id).or_default().push(endpoint);
            }
        }
        table.retired = former.into_values().flatten().collect();
        let mut over = table.retired.len().saturating_sub(RETIRED);
        table.retired.retain(|endpoint| {
            let ends = over > 0 && endpoint.unfinished() == 0;
            over -= usize::from(ends);
            !ends
        });
        self.0.table.send_replace(table);
        Ok(())
    }

    fn start_endpoint(&self, sender: Sender) -> Result<Endpoint, Error> {
        let shared = &self.0;
        let folder = shared.folder.as_ref();
        let spool = folder
            .map(|folder| folder.spool(sender.app().id.as_str(), &sender.webhook().identity()));
        let spool = spool.transpose()?.map(|(spool, left)| {
            let tagged = left.into_iter().filter_map(|spooled| {
                let tag = shared.tagger.read(&spooled.json);
                if tag.is_none() {
                    warn!(event = %spooled.json, "the spool holds an event that is none: it is passed over");
                }
                Some(QueuedEvent::new(spooled, tag?))
            });
            (spool, tagged.collect())
        });
        let context = DeliveryContext {
            metrics: shared.metrics.clone(),
            feed: shared.feed.clone(),
            letters: Arc::clone(&shared.letters),
        };
        Ok(Endpoint::start(sender, &shared.settings, spool, context))
    }

    /// Queues an event for the endpoints that want it. Never waits, so it may be called under the registry's locks, which
    /// give events their order. `source` is the connection that caused the event, if known.
    pub fn post(
        &self,
        app: &AppId,
        channel: &ChannelName,
        event: &WebhookEvent<'_>,
        source: Option<SocketId>,
    ) {
        self.record_in_feed(app, channel, event);
        let table = self.0.table.borrow();
        let Some(endpoints) = table.active.get(app) else {
            return;
        };
        let mut written = None;
        for endpoint in endpoints {
            if endpoint.wants(event.kind(), channel) {
                let (json, tag) = written.get_or_insert_with(|| {
                    let json: Arc<str> = event.to_json(channel).into();
                    (json, self.0.tagger.tag(channel, event, source))
                });
                endpoint.post(Arc::clone(json), *tag);
            }
        }
    }

    /// Whether an endpoint wants such events of the channel.
    pub fn are_wanted(&self, app: &AppId, channel: &ChannelName, kind: WebhookKind) -> bool {
        let table = self.0.table.borrow();
        let mut endpoints = table.active.get(app).into_iter().flatten();
        endpoints.any(|endpoint| endpoint.wants(kind, channel))
    }

    /// Records the event in the feed, whether the app has webhooks or not: exactly one node posts each event. Client
    /// events are recorded where they are relayed.
    fn record_in_feed(&self, app: &AppId, channel: &ChannelName, event: &WebhookEvent<'_>) {
        let (kind, user) = match event {
            WebhookEvent::ChannelOccupied => (Kind::Occupied, None),
            WebhookEvent::ChannelVacated => (Kind::Vacated, None),
            WebhookEvent::MemberAdded(user) => (Kind::MemberAdded, Some(user)),
            WebhookEvent::MemberRemoved(user) => (Kind::MemberRemoved, Some(user)),
            WebhookEvent::ClientEvent { .. }
            | WebhookEvent::CacheMiss
            | WebhookEvent::SubscriptionCount(_) => return,
        };
        self.0.feed.record(Some(app), kind, || Entry {
            user_id: user.map(|user| user.as_str()),
            ..Entry::on(channel.as_str())
        });
    }

    /// The number of events that wait for endpoints.
    pub fn queued(&self) -> usize {
        self.all().iter().map(|endpoint| endpoint.queued()).sum()
    }

    /// The number of refused requests that have stepped aside.
    pub fn aside(&self) -> usize {
        self.all().iter().map(|endpoint| endpoint.aside()).sum()
    }

    /// The spool files of all webhooks.
    pub fn spools(&self) -> Vec<PathBuf> {
        self.all()
            .iter()
            .filter_map(|endpoint| endpoint.spool())
            .collect()
    }

    /// The folder of the spool, if one is configured.
    pub fn folder(&self) -> Option<&Arc<Folder>> {
        self.0.folder.as_ref()
    }

    /// What is configured.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// A number for a dead letter that no other has.
    pub fn next_letter(&self) -> u64 {
        self.0.letters.fetch_add(1, Ordering::Relaxed)
    }

    /// Why the configured spool cannot be written at present. None if it can, or if there is none.
    pub fn spool_problem(&self) -> Option<String> {
        self.0.folder.as_ref()?.problem()
    }

    /// The age of the oldest undelivered event.
    pub fn lag(&self) -> Duration {
        let lags = self.all();
        let lags = lags.iter().map(|endpoint| endpoint.lag());
        lags.max().unwrap_or_default()
    }

    /// Delivers what waits without further pauses, until nothing is left or `timeout` is over. Called before the end.
    pub async fn finish(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        for endpoint in self.all() {
            endpoint.send(EndpointCommand::FlushNow).await;
        }
        let unfinished = || -> usize {
            self.all()
                .iter()
                .map(|endpoint| endpoint.unfinished())
                .sum()
        };
        while unfinished() > 0 && Instant::now() < deadline {
            tokio::time::sleep(FINISH_TICK).await;
        }
        let events = unfinished();
        let folder = self.0.folder.as_ref();
        match (events, folder, folder.and_then(|folder| folder.problem())) {
            (0, ..) => {}
            (_, Some(_), None) => {
                info!(events, "undelivered webhook events are left in the spool");
            }
            (_, Some(_), Some(problem)) => warn!(
                events,
                problem, "undelivered webhook events may be lost: the spool cannot be written"
            ),
            (_, None, _) => warn!(
                events,
                "undelivered webhook events are lost: there is no spool"
            ),
        }
    }

    /// The dead letters of all endpoints.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        for endpoint in self.all() {
            let listed = endpoint.ask(LettersCommand::List).await;
            letters.extend(listed.unwrap_or_default());
        }
        letters.sort_by_key(|letter| letter.id);
        letters
    }

    /// Queues the events of one dead letter again, or of all. Returns the number of letters.
    pub async fn redeliver(&self, id: Option<u64>) -> usize {
        let mut letters = 0;
        for endpoint in self.all() {
            let command = |answer| LettersCommand::Redeliver(id, answer);
            letters += endpoint.ask(command).await.unwrap_or_default();
        }
        letters
    }

    fn all(&self) -> Vec<Arc<Endpoint>> {
        self.0.table.borrow().all().cloned().collect()
    }
}
