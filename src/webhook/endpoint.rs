//! One endpoint: the queue that everyone may put events into, and the task that delivers them in order.
//!
//! The first request that is not answered with 2xx holds up those behind it, and only those: it is retried with the
//! same bytes until it succeeds or its time is over and it becomes a dead letter.

use std::collections::VecDeque;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::Settings;
use super::dead::{DeadLetters, Letter};
use super::sender::{Failure, Sender};
use super::shown::Attempt;
use super::spool::{Kept, Spool};
use crate::app::{App, AppId, Webhook};
use crate::clock::epoch_ms;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::protocol::{ChannelName, WebhookKind, webhook};
use crate::supervise::indispensable;

/// The first pause after a failure; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause; the longest also of a server that is about to end.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// See [`LONGEST_PAUSE`].
const LONGEST_LAST_PAUSE: Duration = Duration::from_millis(250);
/// A full queue is told in the log at most this often.
const WARN_INTERVAL_MS: u64 = 10_000;
/// Bytes of events that may wait for one endpoint.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of events in one request; a larger one goes alone.
const BATCH_BYTES: usize = 256 * 1024;

/// What the task is asked for.
pub(super) enum Order {
    /// Send in another way from now on: the next request, or the next attempt.
    Renew(Arc<App>, Box<Webhook>),
    /// Pause no longer: the server is about to end.
    Hurry,
    /// The dead letters.
    Letters(oneshot::Sender<Vec<Letter>>),
    /// Queue dead letters again, one or all; how many that were.
    Redeliver(Option<u64>, oneshot::Sender<usize>),
}

/// What all endpoints share.
pub(super) struct Outside {
    pub(super) metrics: Metrics,
    pub(super) feed: Feed,
    /// The id of the next dead letter.
    pub(super) letters: Arc<AtomicU64>,
}

/// The queue's end for everyone.
pub(super) struct Endpoint {
    app: AppId,
    webhook: Webhook,
    spool: Option<PathBuf>,
    events: mpsc::Sender<Arc<str>>,
    orders: mpsc::Sender<Order>,
    backlog: Arc<Backlog>,
    queue_events: usize,
    metrics: Metrics,
    name: String,
}

/// What waits, from the posting until it is delivered or dead.
struct Backlog {
    events: AtomicUsize,
    bytes: AtomicUsize,
    started: Instant,
    /// Since when the oldest waits, in milliseconds after `started`; the greatest number: nothing waits.
    oldest_ms: AtomicU64,
    /// When a full queue may be told again.
    quiet_until_ms: AtomicU64,
}

impl Backlog {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn add(&self, json: &str) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(json.len(), Ordering::Relaxed);
    }

    fn remove(&self, json: &str) {
        self.events.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(json.len(), Ordering::Relaxed);
    }

    /// Whether the caller is the one who may tell now that the queue is full.
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
    /// Starts the task on this thread. What is left in the spool goes first.
    pub(super) fn start(
        sender: Sender,
        settings: &Settings,
        spool: Option<(Spool, Vec<Kept>)>,
        outside: Outside,
    ) -> Self {
        let Outside {
            metrics,
            feed,
            letters,
        } = outside;
        let (events, incoming) = mpsc::channel(settings.queue_events);
        let (orders, asked) = mpsc::channel(4);
        let backlog = Arc::new(Backlog {
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            started: Instant::now(),
            oldest_ms: AtomicU64::new(u64::MAX),
            quiet_until_ms: AtomicU64::new(0),
        });
        let (spool, left) = spool.unzip();
        let endpoint = Self {
            app: sender.app().id.clone(),
            webhook: sender.webhook().clone(),
            spool: spool.as_ref().map(|spool| spool.path().to_owned()),
            events,
            orders,
            backlog: Arc::clone(&backlog),
            queue_events: settings.queue_events,
            metrics: metrics.clone(),
            name: format!("app {}: {}", sender.app().id, sender.place()),
        };
        let mut courier = Courier {
            sender: Rc::new(sender),
            settings: settings.clone(),
            metrics,
            feed,
            backlog,
            incoming,
            asked,
            waiting: VecDeque::new(),
            dead: DeadLetters::default(),
            letters,
            spool,
            hurried: Rc::default(),
            hurries: false,
        };
        for kept in left.into_iter().flatten() {
            courier.backlog.add(&kept.json);
            courier.wait(kept);
        }
        let sender = Rc::clone(&courier.sender);
        tokio::task::spawn_local(async move { sender.note_private().await });
        indispensable("webhook", courier.run());
        endpoint
    }

    /// Whether it is the one of this webhook, apart from what [`Order::Renew`] changes.
    pub(super) fn is_of(&self, app: &AppId, webhook: &Webhook) -> bool {
        self.app == *app && self.webhook.identity() == webhook.identity()
    }

    /// Its file.
    pub(super) fn spool(&self) -> Option<PathBuf> {
        self.spool.clone()
    }

    pub(super) fn wants(&self, kind: WebhookKind, channel: &ChannelName) -> bool {
        self.webhook.wants(kind, channel)
    }

    /// Queues an event, or drops it if the queue is full: the oldest are what a backend must know first.
    pub(super) fn post(&self, json: Arc<str>) {
        let full = self.queued() >= self.queue_events
            || self.backlog.bytes.load(Ordering::Relaxed) + json.len() > QUEUE_BYTES;
        self.backlog.add(&json);
        let unsent = if full {
            Some(json)
        } else {
            self.events.try_send(json).err().map(|e| e.into_inner())
        };
        if let Some(json) = unsent {
            self.backlog.remove(&json);
            self.metrics.webhook_dropped.inc();
            if self.backlog.may_warn() {
                warn!(
                    endpoint = self.name,
                    "a webhook's queue is full: events are dropped"
                );
            }
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.backlog.events.load(Ordering::Relaxed)
    }

    pub(super) fn lag(&self) -> Duration {
        let oldest = self.backlog.oldest_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.backlog.now_ms().saturating_sub(oldest))
    }

    pub(super) async fn order(&self, order: Order) {
        // The task ends only with the process.
        let _ = self.orders.send(order).await;
    }

    pub(super) async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.order(order(sender)).await;
        answer.await.ok()
    }
}

/// The task behind an endpoint.
struct Courier {
    sender: Rc<Sender>,
    settings: Settings,
    metrics: Metrics,
    feed: Feed,
    backlog: Arc<Backlog>,
    incoming: mpsc::Receiver<Arc<str>>,
    asked: mpsc::Receiver<Order>,
    waiting: VecDeque<Waiting>,
    dead: DeadLetters,
    letters: Arc<AtomicU64>,
    spool: Option<Spool>,
    hurried: Rc<Notify>,
    hurries: bool,
}

struct Waiting {
    kept: Kept,
    since: Instant,
}

/// How the attempts at a request ended.
struct GivenUp {
    first_attempt: SystemTime,
    error: Failure,
}

impl Courier {
    async fn run(mut self) {
        loop {
            if self.waiting.is_empty() {
                if !self.more(std::future::pending()).await {
                    return;
                }
                continue;
            }
            self.gather().await;
            let count = self.next_count();
            match self.deliver(count).await {
                Ok(()) => {
                    self.metrics.webhook_deliveries.inc();
                    let delivered = self.take_out(count);
                    self.settle(&delivered);
                }
                Err(given_up) => self.bury(count, given_up),
            }
        }
    }

    /// Lets a batch fill up.
    async fn gather(&mut self) {
        let Some(first) = self.waiting.front() else {
            return;
        };
        let end = first.since + self.settings.batch_window;
        let batch = self.sender.webhook().batch;
        while batch
            && !self.hurries
            && self.waiting.len() < self.settings.batch_size
            && Instant::now() < end
        {
            self.more(sleep_until(end)).await;
        }
    }

    /// How many events the next request carries.
    fn next_count(&self) -> usize {
        let max = if self.sender.webhook().batch {
            self.settings.batch_size
        } else {
            1
        };
        let mut bytes = 0;
        let fitting = self.waiting.iter().take(max).take_while(|waiting| {
            bytes += waiting.kept.json.len();
            bytes <= BATCH_BYTES
        });
        fitting.count().max(1)
    }

    /// Tries until it succeeds or the time is over; the body is the same in every attempt.
    async fn deliver(&mut self, count: usize) -> Result<(), GivenUp> {
        let events = self.waiting.iter().take(count).map(|w| &*w.kept.json);
        let body = Bytes::from(webhook::body(epoch_ms(SystemTime::now()), events));
        let (started, first_attempt) = (Instant::now(), SystemTime::now());
        let mut pause = FIRST_PAUSE;
        let mut number = 0;
        loop {
            let (sender, sent) = (Rc::clone(&self.sender), body.clone());
            let begun = Instant::now();
            let attempt = self.meanwhile(async move { sender.send(sent).await }).await;
            number += 1;
            let shown = Attempt {
                body: &body,
                number,
                answer: attempt.as_ref().copied(),
                took: begun.elapsed(),
            };
            shown.tell(&self.feed, &self.sender);
            let Err(error) = attempt else {
                if pause > FIRST_PAUSE {
                    info!(app.id = %self.sender.app().id, url = self.sender.place(), "a webhook is delivered again");
                }
                return Ok(());
            };
            self.metrics.webhook_failures.inc();
            if pause == FIRST_PAUSE {
                warn!(app.id = %self.sender.app().id, url = self.sender.place(), %error, "a webhook failed and is retried");
            }
            let jittered = pause.mul_f64(rand::random_range(0.5..1.0));
            if started.elapsed() + jittered >= self.settings.retry {
                return Err(GivenUp {
                    first_attempt,
                    error,
                });
            }
            self.pause(jittered).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn pause(&mut self, pause: Duration) {
        let hurried = Rc::clone(&self.hurried);
        let pause = if self.hurries {
            pause.min(LONGEST_LAST_PAUSE)
        } else {
            pause
        };
        self.meanwhile(async move {
            tokio::select! {
                () = sleep(pause) => {}
                () = hurried.notified() => {}
            }
        })
        .await;
    }

    /// Takes in whatever comes until `work` is done.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(json) = self.incoming.recv() => self.receive(json),
                Some(order) = self.asked.recv() => self.obey(order),
            }
        }
    }

    /// Takes in one thing, or lets `end` come. Whether there can be more.
    async fn more(&mut self, end: impl Future<Output = ()>) -> bool {
        tokio::select! {
            () = end => {}
            json = self.incoming.recv() => match json {
                Some(json) => self.receive(json),
                None => return false,
            },
            Some(order) = self.asked.recv() => self.obey(order),
        }
        true
    }

    fn receive(&mut self, json: Arc<str>) {
        let kept = match &mut self.spool {
            Some(spool) => spool.append(json),
            None => Kept { id: 0, json },
        };
        self.wait(kept);
    }

    fn wait(&mut self, kept: Kept) {
        let since = Instant::now();
        self.waiting.push_back(Waiting { kept, since });
        self.note_oldest();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Renew(app, webhook) => {
                self.sender = Rc::new(self.sender.renewed(app, *webhook));
            }
            Order::Hurry => {
                self.hurries = true;
                self.hurried.notify_one();
            }
            // Whoever asked may have gone.
            Order::Letters(answer) => drop(answer.send(self.dead.list())),
            Order::Redeliver(id, answer) => {
                let letters = self.dead.take(id);
                let count = letters.len();
                for kept in letters.into_iter().flatten() {
                    self.backlog.add(&kept.json);
                    self.wait(kept);
                }
                let _ = answer.send(count);
            }
        }
    }

    fn take_out(&mut self, count: usize) -> Vec<Kept> {
        let taken: Vec<Kept> = self.waiting.drain(..count).map(|w| w.kept).collect();
        for kept in &taken {
            self.backlog.remove(&kept.json);
        }
        self.note_oldest();
        taken
    }

    fn note_oldest(&self) {
        let oldest = self.waiting.front().map_or(u64::MAX, |waiting| {
            let since = waiting
                .since
                .saturating_duration_since(self.backlog.started);
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        self.backlog.oldest_ms.store(oldest, Ordering::Relaxed);
    }

    /// Dead letters stay in the spool: after a restart they are tried again.
    fn bury(&mut self, count: usize, given_up: GivenUp) {
        let GivenUp {
            first_attempt,
            error,
        } = given_up;
        let place = self.sender.place();
        error!(app.id = %self.sender.app().id, url = place, %error, events = count, "a webhook is given up");
        self.metrics.webhook_dead.inc_by(count as u64);
        let events = self.take_out(count);
        let letter = Letter {
            id: self.letters.fetch_add(1, Ordering::Relaxed),
            app: self.sender.app().id.as_str().into(),
            url: place.into(),
            events: events.iter().map(|kept| Arc::clone(&kept.json)).collect(),
            first_attempt,
            last_attempt: SystemTime::now(),
            error: error.to_string(),
        };
        let dropped = self.dead.push(letter, events, self.settings.dead_letters);
        if let Some(dropped) = dropped {
            self.metrics.webhook_dead_dropped.inc();
            self.settle(&dropped);
        }
    }

    fn settle(&mut self, events: &[Kept]) {
        if let Some(spool) = &mut self.spool {
            let waiting = self.waiting.iter().map(|waiting| &waiting.kept);
            spool.settle(events, self.dead.events().chain(waiting));
        }
    }
}
