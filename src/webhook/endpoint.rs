//! One endpoint as the rest of the server sees it. Posting never waits; delivery is one task, in `delivery_task`.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::warn;

use super::Settings;
use super::dead_letters::{LettersCommand, ask};
use super::delivery_task::{DeliveryContext, DeliveryTask};
use super::queue::QueuedEvent;
use super::sender::Sender;
use super::tag::Tag;
use crate::app::{App, AppId, Webhook};
use crate::metrics::Metrics;
use crate::protocol::{ChannelName, WebhookKind};
use crate::spool::Spool;
use crate::supervise::{self, spawn_critical};

/// How often at most the log warns that a task does not keep up.
const WARN_INTERVAL_MS: u64 = 10_000;
/// Events of public channels, and of others, that may be on their way to the task's queue, whose bound is the real one.
const INTAKE_EVENTS: usize = 64 * 1024;
/// Bytes of events that may wait for one endpoint, on their way or in the queue.
pub(super) const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// A command to an endpoint's task.
pub(super) enum EndpointCommand {
    /// Use a new configuration from the next attempt on.
    Reconfigure(Arc<App>, Box<Webhook>),
    /// Send without pauses: the server is about to end.
    FlushNow,
    /// Look after the dead letters.
    Letters(LettersCommand),
}

/// An event on its way to the task.
pub(super) struct Posted {
    pub(super) json: Arc<str>,
    pub(super) tag: Tag,
}

/// The sending end of an endpoint's queue.
pub(super) struct Endpoint {
    pub(super) app: AppId,
    webhook: Webhook,
    spool: Option<PathBuf>,
    /// One for channels that need an authorization and one for public channels, so that a flood of public ones cannot
    /// fill both.
    intakes: [mpsc::Sender<Posted>; 2],
    commands: mpsc::Sender<EndpointCommand>,
    backlog: Arc<Backlog>,
    metrics: Metrics,
    name: String,
}

/// Counts of the events that are not yet delivered, dropped or dead.
pub(super) struct Backlog {
    /// Events that the task has, and so the spool.
    events: AtomicUsize,
    /// Bytes of all posted events.
    bytes: AtomicUsize,
    started: Instant,
    /// When the oldest was posted, in milliseconds after `started`. `u64::MAX`: nothing waits.
    oldest_ms: AtomicU64,
    /// When the next warning of a full intake may be logged.
    quiet_until_ms: AtomicU64,
    /// Requests that have stepped aside.
    aside: AtomicUsize,
}

impl Backlog {
    fn new() -> Self {
        Self {
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            started: Instant::now(),
            oldest_ms: AtomicU64::new(u64::MAX),
            quiet_until_ms: AtomicU64::new(0),
            aside: AtomicUsize::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn add(&self, events: usize, bytes: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, events: usize, bytes: usize) {
        self.events.fetch_sub(events, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn note_aside(&self, requests: usize) {
        self.aside.store(requests, Ordering::Relaxed);
    }

    pub(super) fn note_oldest(&self, since: Option<Instant>) {
        let oldest = since.map_or(u64::MAX, |since| {
            let since = since.saturating_duration_since(self.started);
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        self.oldest_ms.store(oldest, Ordering::Relaxed);
    }

    /// Whether the caller may log a warning of a full intake now. True for one caller in each interval.
    fn may_warn(&self) -> bool {
        let now = self.now_ms();
        let until = self.quiet_until_ms.load(Ordering::Relaxed);
        let next = now + WARN_INTERVAL_MS;
        now >= until
            && self
                .quiet_until_ms
                .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Endpoint {
    /// Starts the task on this thread. Events left in the spool go first.
    pub(super) fn start(
        sender: Sender,
        settings: &Settings,
        spool: Option<(Spool, Vec<QueuedEvent>)>,
        context: DeliveryContext,
    ) -> Self {
        let (guarded, from_guarded) = mpsc::channel(INTAKE_EVENTS);
        let (public, from_public) = mpsc::channel(INTAKE_EVENTS);
        let (commands, command_receiver) = mpsc::channel(4);
        let backlog = Arc::new(Backlog::new());
        let (spool, left) = spool.unzip();
        let endpoint = Self {
            app: sender.app().id.clone(),
            webhook: sender.webhook().clone(),
            spool: spool.as_ref().map(|spool| spool.path().to_owned()),
            intakes: [guarded, public],
            commands,
            backlog: Arc::clone(&backlog),
            metrics: context.metrics.clone(),
            name: format!("app {}: {}", sender.app().id, sender.url()),
        };
        let sender = Rc::new(sender);
        let incoming = ([from_guarded, from_public], command_receiver);
        let mut task = DeliveryTask::new(
            Rc::clone(&sender),
            settings.clone(),
            spool,
            context,
            (backlog, incoming),
        );
        task.restore(left.into_iter().flatten());
        // Ends by itself.
        supervise::spawn(async move { sender.note_private().await });
        spawn_critical("webhook", task.run());
        endpoint
    }

    /// Whether it is the endpoint of this webhook. What [`EndpointCommand::Reconfigure`] can change is not compared.
    pub(super) fn is_of(&self, webhook: &Webhook) -> bool {
        self.webhook.identity() == webhook.identity()
    }

    /// Its spool file.
    pub(super) fn spool(&self) -> Option<PathBuf> {
        self.spool.clone()
    }

    pub(super) fn wants(&self, kind: WebhookKind, channel: &ChannelName) -> bool {
        self.webhook.wants(kind, channel)
    }

    /// Sends an event to the task, or drops it if the task does not keep up.
    pub(super) fn post(&self, json: Arc<str>, tag: Tag) {
        let is_full = self.backlog.bytes.load(Ordering::Relaxed) > 2 * QUEUE_BYTES;
        self.backlog.add(0, json.len());
        let posted = Posted { json, tag };
        let unsent = if is_full {
            Some(posted)
        } else {
            let intake = &self.intakes[usize::from(tag.is_public)];
            intake.try_send(posted).err().map(|e| e.into_inner())
        };
        if let Some(unsent) = unsent {
            self.backlog.remove(0, unsent.json.len());
            self.metrics.webhook_dropped.inc();
            if tag.is_public {
                self.metrics.webhook_dropped_public.inc();
            }
            if self.backlog.may_warn() {
                warn!(
                    endpoint = self.name,
                    of_public_channels = tag.is_public,
                    "webhook events come faster than they can be queued: the newest are dropped"
                );
            }
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.backlog.events.load(Ordering::Relaxed)
    }

    /// Undelivered events, including those on their way to the task.
    pub(super) fn unfinished(&self) -> usize {
        let on_their_way = |intake: &mpsc::Sender<_>| intake.max_capacity() - intake.capacity();
        // In this order none is missed that arrives meanwhile.
        let coming: usize = self.intakes.iter().map(on_their_way).sum();
        coming + self.queued()
    }

    pub(super) fn aside(&self) -> usize {
        self.backlog.aside.load(Ordering::Relaxed)
    }

    pub(super) fn lag(&self) -> Duration {
        let oldest = self.backlog.oldest_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.backlog.now_ms().saturating_sub(oldest))
    }

    pub(super) async fn send(&self, command: EndpointCommand) {
        // The task ends with the last who has this.
        let _ = self.commands.send(command).await;
    }

    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> LettersCommand,
    ) -> Option<T> {
        ask(&self.commands, |answer| {
            EndpointCommand::Letters(command(answer))
        })
        .await
    }
}
