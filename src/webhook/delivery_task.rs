//! The task of an endpoint: queues posted events, delivers them, and keeps failed requests.
//!
//! A request that is not answered with 2xx is retried with the same bytes until it succeeds, or until its time is over
//! and it becomes a dead letter. Meanwhile later events wait. If the endpoint refuses one request again and again, the
//! request is cut down to one channel and steps aside: only events of that channel wait behind it.

use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::Settings;
use super::aside::{Aside, Attempted, WaitingBehind};
use super::dead_letters::{DeadLetter, DeadLetters};
use super::drop_log::DropLog;
use super::endpoint::{Backlog, EndpointCommand, Posted, QUEUE_BYTES};
use super::feed_entry::Attempt;
use super::queue::{Queue, QueuedEvent};
use super::request::Request;
use super::sender::{Failure, Sender};
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::spool::{Spool, SpooledEvent};

/// The longest pause of a server that is about to end.
const LONGEST_LAST_PAUSE: Duration = Duration::from_millis(250);
/// Bytes of events in one request; a larger one goes alone.
const BATCH_BYTES: usize = 256 * 1024;

/// Handles that all endpoints share.
pub(super) struct DeliveryContext {
    pub(super) metrics: Metrics,
    pub(super) feed: Feed,
    /// The id of the next dead letter.
    pub(super) letters: Arc<AtomicU64>,
}

/// The task's receivers: events by their class, and commands.
type Incoming = ([mpsc::Receiver<Posted>; 2], mpsc::Receiver<EndpointCommand>);

/// The task of one endpoint.
pub(super) struct DeliveryTask {
    sender: Rc<Sender>,
    settings: Settings,
    context: DeliveryContext,
    backlog: Arc<Backlog>,
    incoming: Incoming,
    queue: Queue,
    /// Undelivered events and their bytes, in the queue and outside it.
    held: (usize, usize),
    /// Events that were taken and put back. They do not wait for a batch again.
    put_back_events: usize,
    /// The request in progress.
    current: Option<Request>,
    aside: Aside,
    dead: DeadLetters<QueuedEvent>,
    drops: DropLog,
    spool: Option<Spool>,
    flush_now: Rc<Notify>,
    flushing: bool,
}

/// What the task reacts to.
enum TaskEvent {
    Posted(Posted),
    Command(EndpointCommand),
    Attempted(Attempted),
    TimerDue,
    Closed,
}

impl DeliveryTask {
    pub(super) fn new(
        sender: Rc<Sender>,
        settings: Settings,
        spool: Option<Spool>,
        context: DeliveryContext,
        (backlog, incoming): (Arc<Backlog>, Incoming),
    ) -> Self {
        Self {
            queue: Queue::new(settings.queue_events, QUEUE_BYTES),
            sender,
            settings,
            context,
            backlog,
            incoming,
            held: (0, 0),
            put_back_events: 0,
            current: None,
            aside: Aside::default(),
            dead: DeadLetters::default(),
            drops: DropLog::default(),
            spool,
            flush_now: Rc::default(),
            flushing: false,
        }
    }

    /// Queues events of the spool or of dead letters.
    pub(super) fn restore(&mut self, events: impl Iterator<Item = QueuedEvent>) {
        for event in events {
            self.backlog.add(0, event.spooled.json.len());
            self.enqueue(event);
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.queue.is_empty() {
                if !self.handle_next(std::future::pending()).await {
                    return;
                }
                continue;
            }
            self.fill_batch().await;
            let batch = self.sender.webhook().batch;
            let max = if batch { self.settings.batch_size } else { 1 };
            let events = self.queue.take(max, BATCH_BYTES);
            self.put_back_events = self.put_back_events.saturating_sub(events.len());
            if !events.is_empty() {
                self.deliver(Request::new(events)).await;
            }
        }
    }

    /// Waits until a batch is full or its window is over.
    async fn fill_batch(&mut self) {
        let Some(oldest) = self.queue.oldest() else {
            return;
        };
        let end = oldest + self.settings.batch_window;
        let batch = self.sender.webhook().batch;
        while batch
            && !self.flushing
            && self.put_back_events == 0
            && self.queue.size().0 < self.settings.batch_size
            && Instant::now() < end
        {
            self.handle_next(sleep_until(end)).await;
        }
    }

    /// Sends a request until it succeeds, is given up, or steps aside.
    async fn deliver(&mut self, request: Request) {
        let mut next = Some(request);
        while let Some(request) = next.take() {
            let (sender, body) = (Rc::clone(&self.sender), request.body.clone());
            self.current = Some(request);
            let begun = Instant::now();
            let result = self
                .handle_events_during(async move { sender.send(body).await })
                .await;
            let Some(request) = self.current.take() else {
                return;
            };
            let again = self.finish_attempt(request, result, begun.elapsed());
            let Some((request, pause)) = again.and_then(|again| self.split_or_set_aside(again))
            else {
                break;
            };
            self.current = Some(request);
            self.pause(pause).await;
            next = self.current.take();
        }
        self.update_gauges();
    }

    /// Handles the result of an attempt. Returns the request and the pause before its next attempt, unless it is over.
    fn finish_attempt(
        &mut self,
        mut request: Request,
        result: Result<u16, Failure>,
        took: Duration,
    ) -> Option<(Request, Duration)> {
        request.attempts += 1;
        let attempt = Attempt {
            body: &request.body,
            number: request.attempts,
            answer: result.as_ref().copied(),
            took,
        };
        attempt.record(&self.context.feed, &self.sender);
        let (app, url) = (&self.sender.app().id, self.sender.url());
        let Err(error) = result else {
            if request.attempts > 1 {
                info!(app.id = %app, url, "a webhook is delivered again");
            }
            self.context.metrics.webhook_deliveries.inc();
            self.finish(&request.events);
            return None;
        };
        self.context.metrics.webhook_failures.inc();
        if request.attempts == 1 {
            warn!(app.id = %app, url, %error, "a webhook failed and is retried");
        }
        let Some(pause) = request.failed(&error, self.settings.retry) else {
            self.dead_letter(request, &error);
            return None;
        };
        Some((request, pause))
    }

    /// Lets others go on if it is this request that the endpoint refuses: of several channels, one half is tried without
    /// the other at once; of one channel, it steps aside.
    fn split_or_set_aside(
        &mut self,
        (request, pause): (Request, Duration),
    ) -> Option<(Request, Duration)> {
        if !request.is_refused() {
            return Some((request, pause));
        }
        let Some(channel) = request.channel() else {
            let (half, rest) = request.halved();
            self.put_back(rest);
            return Some((half, Duration::ZERO));
        };
        if !self.aside.has_room() {
            return Some((request, pause));
        }
        let behind = WaitingBehind {
            events: self.queue.take_channel(channel).into(),
            channel,
        };
        warn!(
            app.id = %self.sender.app().id,
            url = self.sender.url(),
            waiting_behind = behind.events.len(),
            "a webhook is refused again and again: those of other channels go on, it is retried beside them"
        );
        self.aside.add(request, behind, pause);
        None
    }

    /// An attempt at a request that had stepped aside is over.
    fn finish_aside_attempt(&mut self, tried: Attempted) {
        let Attempted {
            request,
            behind,
            result,
            took,
        } = tried;
        match self.finish_attempt(request, result, took) {
            Some((request, pause)) => {
                let pause = self.shorten_pause(pause);
                self.aside.add(request, behind, pause);
            }
            None => self.put_back(behind.events.into()),
        }
        self.update_gauges();
    }

    fn put_back(&mut self, events: Vec<QueuedEvent>) {
        self.put_back_events += events.len();
        self.queue.put_back(events.into_iter());
    }

    fn shorten_pause(&self, pause: Duration) -> Duration {
        if self.flushing {
            pause.min(LONGEST_LAST_PAUSE)
        } else {
            pause
        }
    }

    async fn pause(&mut self, pause: Duration) {
        let flush_now = Rc::clone(&self.flush_now);
        let pause = self.shorten_pause(pause);
        self.handle_events_during(async move {
            tokio::select! {
                () = sleep(pause) => {}
                () = flush_now.notified() => {}
            }
        })
        .await;
    }

    /// Handles events until `work` is done.
    async fn handle_events_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                event = self.next() => {
                    if matches!(event, TaskEvent::Closed) {
                        return work.await;
                    }
                    self.handle_event(event);
                }
            }
        }
    }

    /// Handles the next event, or waits for `end` if that comes first. Returns whether there can be more events.
    async fn handle_next(&mut self, end: impl Future<Output = ()>) -> bool {
        let event = tokio::select! {
            () = end => return true,
            event = self.next() => event,
        };
        self.handle_event(event)
    }

    /// The next event. Cancel-safe.
    async fn next(&mut self) -> TaskEvent {
        let retry = self.spool.as_ref().and_then(Spool::retry);
        let due = retry.into_iter().chain(self.drops.due()).min();
        let ([guarded, public], commands) = &mut self.incoming;
        tokio::select! {
            posted = guarded.recv() => posted.map_or(TaskEvent::Closed, TaskEvent::Posted),
            posted = public.recv() => posted.map_or(TaskEvent::Closed, TaskEvent::Posted),
            Some(command) = commands.recv() => TaskEvent::Command(command),
            tried = self.aside.next(&self.sender) => TaskEvent::Attempted(tried),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => TaskEvent::TimerDue,
        }
    }

    /// Handles an event. Returns whether there can be more.
    fn handle_event(&mut self, event: TaskEvent) -> bool {
        match event {
            TaskEvent::Posted(posted) => self.receive(posted),
            TaskEvent::Command(command) => self.handle_command(command),
            TaskEvent::Attempted(tried) => self.finish_aside_attempt(tried),
            TaskEvent::TimerDue => self.run_due_timers(),
            TaskEvent::Closed => return false,
        }
        true
    }

    /// Logs dropped events and retries a broken spool, each if it is due.
    fn run_due_timers(&mut self) {
        let now = Instant::now();
        if self.drops.due().is_some_and(|due| due <= now) {
            self.drops.log(&self.name());
        }
        if let Some(mut spool) = self
            .spool
            .take_if(|spool| spool.retry().is_some_and(|at| at <= now))
        {
            spool.retry_write(self.undelivered());
            self.spool = Some(spool);
        }
    }

    fn name(&self) -> String {
        format!("app {}: {}", self.sender.app().id, self.sender.url())
    }

    fn receive(&mut self, posted: Posted) {
        let spooled = SpooledEvent {
            id: 0,
            json: posted.json,
        };
        self.enqueue(QueuedEvent::new(spooled, posted.tag));
    }

    /// Queues an event, or puts it behind a request of its channel that has stepped aside. Only an event that is not
    /// dropped goes to the spool.
    fn enqueue(&mut self, event: QueuedEvent) {
        let size = self.queue.size();
        let elsewhere = (self.held.0 - size.0, self.held.1 - size.1);
        let (channel, json) = (event.tag.channel, Arc::clone(&event.spooled.json));
        let is_new = event.spooled.id == 0;
        self.held = (self.held.0 + 1, self.held.1 + json.len());
        let is_full = self.held.0 > self.settings.queue_events || self.held.1 > QUEUE_BYTES;
        let dropped = match self.aside.line(channel) {
            Some(_) if is_full => vec![event],
            Some(line) => {
                line.push_back(event);
                Vec::new()
            }
            None => self.queue.push(event, elsewhere),
        };
        let stays = !dropped
            .iter()
            .any(|dropped| Arc::ptr_eq(&dropped.spooled.json, &json));
        if stays
            && is_new
            && let Some(spool) = &mut self.spool
        {
            let id = spool.append(&json);
            match self.aside.line(channel).and_then(VecDeque::back_mut) {
                Some(newest) => newest.spooled.id = id,
                None => self.queue.name_newest(id),
            }
        }
        self.backlog.add(1, 0);
        if !dropped.is_empty() {
            self.drop_all(&dropped);
        }
        if self.held.0 == 1 {
            self.update_gauges();
        }
    }

    fn drop_all(&mut self, dropped: &[QueuedEvent]) {
        let name = self.name();
        for event in dropped {
            let metrics = &self.context.metrics;
            self.drops.record(&event.tag, metrics, &name);
        }
        self.finish(dropped);
    }

    fn handle_command(&mut self, command: EndpointCommand) {
        match command {
            EndpointCommand::Reconfigure(app, webhook) => {
                self.sender = Rc::new(self.sender.renewed(app, *webhook));
            }
            EndpointCommand::FlushNow => {
                self.flushing = true;
                self.flush_now.notify_one();
                self.aside.retry_now();
            }
            EndpointCommand::Letters(command) => {
                let events = self.dead.handle(command).into_iter();
                self.restore(events.map(|event| QueuedEvent::new(event.spooled, event.tag)));
            }
        }
    }

    /// Updates the age of the oldest event and the number of requests aside.
    fn update_gauges(&self) {
        let current = self.current.iter().flat_map(|request| &request.events);
        let taken = current.chain(self.aside.iter()).map(|event| event.since);
        self.backlog
            .note_oldest(taken.chain(self.queue.oldest()).min());
        self.backlog.note_aside(self.aside.len());
    }

    /// Gives a request up. Dead letters stay in the spool, so a restart tries them again.
    fn dead_letter(&mut self, request: Request, error: &Failure) {
        let place = self.sender.url();
        let count = request.events.len();
        let (app, metrics) = (&self.sender.app().id, &self.context.metrics);
        error!(app.id = %app, url = place, %error, events = count, "a webhook is given up");
        metrics.webhook_dead.inc_by(count as u64);
        let jsons = request.events.iter();
        let letter = DeadLetter {
            id: self.context.letters.fetch_add(1, Ordering::Relaxed),
            app: app.as_str().into(),
            url: place.into(),
            events: jsons.map(|event| Arc::clone(&event.spooled.json)).collect(),
            first_attempt: request.first_attempt,
            last_attempt: SystemTime::now(),
            error: error.to_string(),
        };
        self.forget(&request.events);
        let max = self.settings.dead_letters;
        if let Some(dropped) = self.dead.push(letter, request.events, max) {
            self.context.metrics.webhook_dead_dropped.inc();
            self.settle(&dropped);
        }
    }

    /// Ends delivered or dropped events.
    fn finish(&mut self, events: &[QueuedEvent]) {
        self.forget(events);
        self.settle(events);
    }

    fn forget(&mut self, events: &[QueuedEvent]) {
        for event in events {
            self.backlog.remove(1, event.spooled.json.len());
            self.held = (self.held.0 - 1, self.held.1 - event.spooled.json.len());
        }
    }

    fn settle(&mut self, events: &[QueuedEvent]) {
        let Some(mut spool) = self.spool.take() else {
            return;
        };
        let written = events.iter().map(|event| &event.spooled);
        spool.settle(written.filter(|e| e.id != 0), self.undelivered());
        self.spool = Some(spool);
    }

    /// All events that must survive a restart.
    fn undelivered(&self) -> impl Iterator<Item = &SpooledEvent> {
        let current = self.current.iter().flat_map(|request| &request.events);
        current
            .chain(self.aside.iter())
            .chain(self.queue.iter())
            .chain(self.dead.events())
            .map(|event| &event.spooled)
    }
}
