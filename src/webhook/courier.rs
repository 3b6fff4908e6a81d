//! The task behind an endpoint: takes in what is posted, delivers it, and keeps what failed.
//!
//! A request that is not answered with 2xx is retried with the same bytes until it succeeds or its time is over and it
//! becomes a dead letter. Meanwhile it holds up what comes after it, unless the endpoint refuses it again and again:
//! then it steps aside, cut down to one channel first, and only its own channel waits behind it.

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
use super::aside::{Aside, Behind, Tried};
use super::dead::{DeadLetters, Letter};
use super::drops::Drops;
use super::endpoint::{Backlog, Order, Posted, QUEUE_BYTES};
use super::queue::{Queue, Waiting};
use super::request::Request;
use super::sender::{Failure, Sender};
use super::shown::Attempt;
use super::spool::{Kept, Spool};
use crate::feed::Feed;
use crate::metrics::Metrics;

/// The longest pause of a server that is about to end.
const LONGEST_LAST_PAUSE: Duration = Duration::from_millis(250);
/// Bytes of events in one request; a larger one goes alone.
const BATCH_BYTES: usize = 256 * 1024;

/// What all endpoints share.
pub(super) struct Outside {
    pub(super) metrics: Metrics,
    pub(super) feed: Feed,
    /// The id of the next dead letter.
    pub(super) letters: Arc<AtomicU64>,
}

/// What an endpoint's task gets: events by their class, and orders.
type Incoming = ([mpsc::Receiver<Posted>; 2], mpsc::Receiver<Order>);

/// The task.
pub(super) struct Courier {
    sender: Rc<Sender>,
    settings: Settings,
    outside: Outside,
    backlog: Arc<Backlog>,
    incoming: Incoming,
    queue: Queue,
    /// Events and their bytes, in the queue and out of it.
    held: (usize, usize),
    /// Events that were taken and put back: they have waited for others already.
    gathered: usize,
    /// The one under way.
    current: Option<Request>,
    aside: Aside,
    dead: DeadLetters,
    drops: Drops,
    spool: Option<Spool>,
    hurried: Rc<Notify>,
    hurries: bool,
}

/// What comes from outside, or is due.
enum Happened {
    Posted(Posted),
    Asked(Order),
    Tried(Tried),
    Due,
    Closed,
}

impl Courier {
    pub(super) fn new(
        sender: Rc<Sender>,
        settings: Settings,
        spool: Option<Spool>,
        outside: Outside,
        (backlog, incoming): (Arc<Backlog>, Incoming),
    ) -> Self {
        Self {
            queue: Queue::new(settings.queue_events, QUEUE_BYTES),
            sender,
            settings,
            outside,
            backlog,
            incoming,
            held: (0, 0),
            gathered: 0,
            current: None,
            aside: Aside::default(),
            dead: DeadLetters::default(),
            drops: Drops::default(),
            spool,
            hurried: Rc::default(),
            hurries: false,
        }
    }

    /// Queues what was left, or given up, before.
    pub(super) fn restore(&mut self, events: impl Iterator<Item = Waiting>) {
        for event in events {
            self.backlog.add(0, event.kept.json.len());
            self.wait(event);
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            if self.queue.is_empty() {
                if !self.more(std::future::pending()).await {
                    return;
                }
                continue;
            }
            self.gather().await;
            let batch = self.sender.webhook().batch;
            let max = if batch { self.settings.batch_size } else { 1 };
            let events = self.queue.take(max, BATCH_BYTES);
            self.gathered = self.gathered.saturating_sub(events.len());
            if !events.is_empty() {
                self.deliver(Request::new(events)).await;
            }
        }
    }

    /// Lets a batch fill up.
    async fn gather(&mut self) {
        let Some(oldest) = self.queue.oldest() else {
            return;
        };
        let end = oldest + self.settings.batch_window;
        let batch = self.sender.webhook().batch;
        while batch
            && !self.hurries
            && self.gathered == 0
            && self.queue.size().0 < self.settings.batch_size
            && Instant::now() < end
        {
            self.more(sleep_until(end)).await;
        }
    }

    /// Tries until it succeeds, is given up, or steps aside.
    async fn deliver(&mut self, request: Request) {
        let mut next = Some(request);
        while let Some(request) = next.take() {
            let (sender, body) = (Rc::clone(&self.sender), request.body.clone());
            self.current = Some(request);
            let begun = Instant::now();
            let result = self.meanwhile(async move { sender.send(body).await }).await;
            let Some(request) = self.current.take() else {
                return;
            };
            let again = self.tried(request, result, begun.elapsed());
            let Some((request, pause)) = again.and_then(|again| self.give_way(again)) else {
                break;
            };
            self.current = Some(request);
            self.pause(pause).await;
            next = self.current.take();
        }
        self.note();
    }

    /// What an attempt comes to: the request and the pause before the next one, unless it is over.
    fn tried(
        &mut self,
        mut request: Request,
        result: Result<u16, Failure>,
        took: Duration,
    ) -> Option<(Request, Duration)> {
        request.attempts += 1;
        let shown = Attempt {
            body: &request.body,
            number: request.attempts,
            answer: result.as_ref().copied(),
            took,
        };
        shown.tell(&self.outside.feed, &self.sender);
        let (app, url) = (&self.sender.app().id, self.sender.place());
        let Err(error) = result else {
            if request.attempts > 1 {
                info!(app.id = %app, url, "a webhook is delivered again");
            }
            self.outside.metrics.webhook_deliveries.inc();
            self.end(&request.events);
            return None;
        };
        self.outside.metrics.webhook_failures.inc();
        if request.attempts == 1 {
            warn!(app.id = %app, url, %error, "a webhook failed and is retried");
        }
        let Some(pause) = request.failed(&error, self.settings.retry) else {
            self.bury(request, &error);
            return None;
        };
        Some((request, pause))
    }

    /// Lets others go on if it is this request that the endpoint refuses: of several channels, one half is tried without
    /// the other at once; of one channel, it steps aside.
    fn give_way(&mut self, (request, pause): (Request, Duration)) -> Option<(Request, Duration)> {
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
        let behind = Behind {
            events: self.queue.take_channel(channel).into(),
            channel,
        };
        warn!(
            app.id = %self.sender.app().id,
            url = self.sender.place(),
            waiting_behind = behind.events.len(),
            "a webhook is refused again and again: those of other channels go on, it is retried beside them"
        );
        self.aside.add(request, behind, pause);
        None
    }

    /// An attempt at a request that had stepped aside is over.
    fn tried_aside(&mut self, tried: Tried) {
        let Tried {
            request,
            behind,
            result,
            took,
        } = tried;
        match self.tried(request, result, took) {
            Some((request, pause)) => {
                let pause = self.in_a_hurry(pause);
                self.aside.add(request, behind, pause);
            }
            None => self.put_back(behind.events.into()),
        }
        self.note();
    }

    fn put_back(&mut self, events: Vec<Waiting>) {
        self.gathered += events.len();
        self.queue.put_back(events.into_iter());
    }

    fn in_a_hurry(&self, pause: Duration) -> Duration {
        if self.hurries {
            pause.min(LONGEST_LAST_PAUSE)
        } else {
            pause
        }
    }

    async fn pause(&mut self, pause: Duration) {
        let hurried = Rc::clone(&self.hurried);
        let pause = self.in_a_hurry(pause);
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
                happened = self.next() => {
                    if matches!(happened, Happened::Closed) {
                        return work.await;
                    }
                    self.handle(happened);
                }
            }
        }
    }

    /// Takes in one thing, or lets `end` come. Whether there can be more.
    async fn more(&mut self, end: impl Future<Output = ()>) -> bool {
        let happened = tokio::select! {
            () = end => return true,
            happened = self.next() => happened,
        };
        self.handle(happened)
    }

    /// May be dropped and called again at any time.
    async fn next(&mut self) -> Happened {
        let retry = self.spool.as_ref().and_then(Spool::retry);
        let due = retry.into_iter().chain(self.drops.due()).min();
        let ([guarded, public], asked) = &mut self.incoming;
        tokio::select! {
            posted = guarded.recv() => posted.map_or(Happened::Closed, Happened::Posted),
            posted = public.recv() => posted.map_or(Happened::Closed, Happened::Posted),
            Some(order) = asked.recv() => Happened::Asked(order),
            tried = self.aside.next(&self.sender) => Happened::Tried(tried),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Happened::Due,
        }
    }

    /// Whether there can be more.
    fn handle(&mut self, happened: Happened) -> bool {
        match happened {
            Happened::Posted(posted) => self.receive(posted),
            Happened::Asked(order) => self.obey(order),
            Happened::Tried(tried) => self.tried_aside(tried),
            Happened::Due => self.look_after(),
            Happened::Closed => return false,
        }
        true
    }

    /// What was dropped is told, a spool that cannot be written is tried again, each if it is due.
    fn look_after(&mut self) {
        let now = Instant::now();
        if self.drops.due().is_some_and(|due| due <= now) {
            self.drops.tell(&self.name());
        }
        if let Some(mut spool) = self
            .spool
            .take_if(|spool| spool.retry().is_some_and(|at| at <= now))
        {
            spool.mend(self.live());
            self.spool = Some(spool);
        }
    }

    fn name(&self) -> String {
        format!("app {}: {}", self.sender.app().id, self.sender.place())
    }

    fn receive(&mut self, posted: Posted) {
        let kept = Kept {
            id: 0,
            json: posted.json,
        };
        self.wait(Waiting::new(kept, posted.tag));
    }

    /// Queues an event, behind a request of its channel that has stepped aside if there is one. Only what stays is
    /// written down.
    fn wait(&mut self, event: Waiting) {
        let size = self.queue.size();
        let outside = (self.held.0 - size.0, self.held.1 - size.1);
        let (channel, json) = (event.tag.channel, Arc::clone(&event.kept.json));
        let is_new = event.kept.id == 0;
        self.held = (self.held.0 + 1, self.held.1 + json.len());
        let is_full = self.held.0 > self.settings.queue_events || self.held.1 > QUEUE_BYTES;
        let dropped = match self.aside.line(channel) {
            Some(_) if is_full => vec![event],
            Some(line) => {
                line.push_back(event);
                Vec::new()
            }
            None => self.queue.push(event, outside),
        };
        let stays = !dropped
            .iter()
            .any(|dropped| Arc::ptr_eq(&dropped.kept.json, &json));
        if stays
            && is_new
            && let Some(spool) = &mut self.spool
        {
            let id = spool.append(&json);
            match self.aside.line(channel).and_then(VecDeque::back_mut) {
                Some(newest) => newest.kept.id = id,
                None => self.queue.name_newest(id),
            }
        }
        self.backlog.add(1, 0);
        if !dropped.is_empty() {
            self.drop_all(&dropped);
        }
        if self.held.0 == 1 {
            self.note();
        }
    }

    fn drop_all(&mut self, dropped: &[Waiting]) {
        let name = self.name();
        for event in dropped {
            let metrics = &self.outside.metrics;
            self.drops.note(&event.tag, metrics, &name);
        }
        self.end(dropped);
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Renew(app, webhook) => {
                self.sender = Rc::new(self.sender.renewed(app, *webhook));
            }
            Order::Hurry => {
                self.hurries = true;
                self.hurried.notify_one();
                self.aside.hurry();
            }
            // Whoever asked may have gone.
            Order::Letters(answer) => drop(answer.send(self.dead.list())),
            Order::Redeliver(id, answer) => {
                let letters = self.dead.take(id);
                let count = letters.len();
                let events = letters.into_iter().flatten();
                self.restore(events.map(|event| Waiting::new(event.kept, event.tag)));
                let _ = answer.send(count);
            }
        }
    }

    /// Says since when the oldest waits, and how many have stepped aside.
    fn note(&self) {
        let current = self.current.iter().flat_map(|request| &request.events);
        let taken = current.chain(self.aside.iter()).map(|event| event.since);
        self.backlog
            .note_oldest(taken.chain(self.queue.oldest()).min());
        self.backlog.note_aside(self.aside.len());
    }

    /// Dead letters stay in the spool: after a restart they are tried again.
    fn bury(&mut self, request: Request, error: &Failure) {
        let place = self.sender.place();
        let count = request.events.len();
        let (app, metrics) = (&self.sender.app().id, &self.outside.metrics);
        error!(app.id = %app, url = place, %error, events = count, "a webhook is given up");
        metrics.webhook_dead.inc_by(count as u64);
        let jsons = request.events.iter();
        let letter = Letter {
            id: self.outside.letters.fetch_add(1, Ordering::Relaxed),
            app: app.as_str().into(),
            url: place.into(),
            events: jsons.map(|event| Arc::clone(&event.kept.json)).collect(),
            first_attempt: request.first_attempt,
            last_attempt: SystemTime::now(),
            error: error.to_string(),
        };
        self.forget(&request.events);
        let max = self.settings.dead_letters;
        if let Some(dropped) = self.dead.push(letter, request.events, max) {
            self.outside.metrics.webhook_dead_dropped.inc();
            self.settle(&dropped);
        }
    }

    /// These are delivered, or dropped.
    fn end(&mut self, events: &[Waiting]) {
        self.forget(events);
        self.settle(events);
    }

    fn forget(&mut self, events: &[Waiting]) {
        for event in events {
            self.backlog.remove(1, event.kept.json.len());
            self.held = (self.held.0 - 1, self.held.1 - event.kept.json.len());
        }
    }

    fn settle(&mut self, events: &[Waiting]) {
        let Some(mut spool) = self.spool.take() else {
            return;
        };
        let written = events.iter().map(|event| &event.kept);
        spool.settle(written.filter(|kept| kept.id != 0), self.live());
        self.spool = Some(spool);
    }

    /// All that is to survive a restart.
    fn live(&self) -> impl Iterator<Item = &Kept> {
        let current = self.current.iter().flat_map(|request| &request.events);
        current
            .chain(self.aside.iter())
            .chain(self.queue.iter())
            .chain(self.dead.events())
            .map(|event| &event.kept)
    }
}
