//! Webhooks: telling an app's backend over HTTP what happens on its channels (docs: `server_api/webhooks`).
//!
//! [`Webhooks::post`] is called from any worker and never waits: it picks the app's endpoints that want the event and
//! puts it into the queue of each. Behind every endpoint is one task with its own queue, retries and dead letters, so
//! that a slow or dead one holds up nobody else, and nothing of one app travels with another's. All tasks live on the
//! thread that called [`Webhooks::start`].

mod dead;
mod endpoint;
mod sender;
mod spool;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

pub use dead::Letter;
pub use endpoint::epoch_ms;
pub use spool::Error;

use crate::app::{AppId, Apps};
use crate::metrics::Metrics;
use crate::protocol::{ChannelName, WebhookEvent};
use endpoint::{Endpoint, Order};
use spool::Folder;

/// How often a shutdown looks whether the queues are empty.
const FINISH_TICK: Duration = Duration::from_millis(20);

/// `[webhooks]`, for all apps.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a return cancels a leaving.
    pub linger: Duration,
    /// How long one exchange with an endpoint may take.
    pub timeout: Duration,
    /// How long after its first attempt a request is retried.
    pub retry: Duration,
    /// Events that may wait for one endpoint. Beyond it the newest is dropped.
    pub queue_events: usize,
    /// Failed requests that are kept for one endpoint. Beyond it the oldest is dropped.
    pub dead_letters: usize,
    /// Events in one request, where an endpoint takes several.
    pub batch_size: usize,
    /// How long the first of them waits for the others.
    pub batch_window: Duration,
    /// Where undelivered events survive a restart.
    pub spool: Option<PathBuf>,
}

/// The way to all endpoints. Cheap to clone and shared by all workers.
#[derive(Clone)]
pub struct Webhooks {
    endpoints: Arc<HashMap<AppId, Vec<Endpoint>>>,
    /// Holds the spool's lock.
    folder: Option<Arc<Folder>>,
}

impl Webhooks {
    /// Starts a task for every webhook of every app, on this thread.
    ///
    /// # Errors
    /// The spool cannot be used.
    pub fn start(apps: &Apps, settings: &Settings, metrics: &Metrics) -> Result<Self, Error> {
        let folder = settings.spool.as_deref().map(Folder::open).transpose()?;
        let folder = folder.map(Arc::new);
        let client = sender::client();
        let letters = Arc::new(AtomicU64::new(1));
        let mut endpoints: HashMap<AppId, Vec<Endpoint>> = HashMap::new();
        let mut spools = Vec::new();
        for app in apps.iter() {
            for webhook in &app.webhooks {
                let spool = folder.as_deref().map(|folder| folder.spool(app, webhook));
                let spool = spool.transpose()?;
                spools.extend(spool.as_ref().map(|(spool, _)| spool.path().to_owned()));
                let sender = sender::Sender::new(
                    client.clone(),
                    Arc::clone(app),
                    webhook.clone(),
                    settings.timeout,
                );
                let endpoint = Endpoint::start(
                    sender,
                    settings,
                    metrics.clone(),
                    spool,
                    Arc::clone(&letters),
                );
                endpoints.entry(app.id.clone()).or_default().push(endpoint);
            }
        }
        if let Some(folder) = &folder {
            folder.warn_of_others(&spools);
        }
        Ok(Self {
            endpoints: Arc::new(endpoints),
            folder,
        })
    }

    /// Queues an event for the endpoints that want it. Never waits, so it may be called where order is made: under
    /// the registry's locks.
    pub fn post(&self, app: &AppId, channel: &ChannelName, event: &WebhookEvent<'_>) {
        let Some(endpoints) = self.endpoints.get(app) else {
            return;
        };
        let mut json: Option<Arc<str>> = None;
        for endpoint in endpoints {
            if endpoint.wants(event.kind(), channel) {
                let json = json.get_or_insert_with(|| event.to_json(channel).into());
                endpoint.post(Arc::clone(json));
            }
        }
    }

    /// Events that wait for endpoints.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.all().map(Endpoint::queued).sum()
    }

    /// How long the longest-waiting event has been waiting.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.all().map(Endpoint::lag).max().unwrap_or_default()
    }

    /// Before the end: everything that waits is tried now, until nothing is left or the time is over.
    pub async fn finish(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        for endpoint in self.all() {
            endpoint.order(Order::Hurry).await;
        }
        while self.queued() > 0 && Instant::now() < deadline {
            tokio::time::sleep(FINISH_TICK).await;
        }
        let events = self.queued();
        match (events, self.folder.is_some()) {
            (0, _) => {}
            (_, true) => info!(events, "undelivered webhook events are left in the spool"),
            (_, false) => warn!(
                events,
                "undelivered webhook events are lost: there is no spool"
            ),
        }
    }

    /// The requests that were given up.
    pub async fn dead_letters(&self) -> Vec<Letter> {
        let mut letters = Vec::new();
        for endpoint in self.all() {
            letters.extend(endpoint.ask(Order::Letters).await.unwrap_or_default());
        }
        letters.sort_by_key(|letter| letter.id);
        letters
    }

    /// Queues the events of dead letters again, of all or of one. Returns how many letters that were.
    pub async fn redeliver(&self, id: Option<u64>) -> usize {
        let mut letters = 0;
        for endpoint in self.all() {
            let redelivered = endpoint.ask(|answer| Order::Redeliver(id, answer)).await;
            letters += redelivered.unwrap_or_default();
        }
        letters
    }

    fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().flatten()
    }
}
