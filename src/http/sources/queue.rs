//! Deliveries that were answered before they were published: for providers that do not try again. Each source has one
//! task with a queue in the order of arrival, in memory and in the spool if there is one.
//!
//! A delivery that cannot be published is tried again until its time is over; then it is a dead letter. Later ones wait
//! behind it, because order is kept. All tasks run on the thread that called [`SourceQueues::reload`].

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, warn};

use super::{Identity, publish};
use crate::app::{App, AppId, Apps};
use crate::clock;
use crate::http::ApiError;
use crate::node::Node;
use crate::source::{Routed, Source};
use crate::spool::{self, Spool, SpooledEvent};
use crate::supervise::spawn_critical;
use crate::webhook::{DeadLetter, DeadLetters, LettersCommand, ask};

/// Bytes of deliveries that may wait for one source.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Deliveries on their way to a task; whoever brings another waits for a moment.
const INTAKE: usize = 64;
/// How long a delivery that could not be published waits.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a shutdown looks whether the queues are empty.
const FINISH_TICK: Duration = Duration::from_millis(20);

type Key = (AppId, String);

/// The queues of all sources that store their deliveries. Cheap to clone.
#[derive(Clone)]
pub struct SourceQueues(Arc<Shared>);

struct Shared {
    node: Arc<Node>,
    /// A source that is not configured any more keeps its queue: what waits is still published.
    queues: watch::Sender<HashMap<Key, mpsc::Sender<Command>>>,
    waiting: AtomicUsize,
}

enum Command {
    /// Keep this, and say whether there was room.
    Keep(Stored, oneshot::Sender<bool>),
    Letters(LettersCommand),
}

/// A delivery as the spool has it.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// When it was taken, in milliseconds since 1970.
    time_ms: u64,
    retry_seconds: u64,
    dedupe_seconds: u64,
    #[serde(flatten)]
    routed: Routed,
}

impl SourceQueues {
    pub(in crate::http) fn new(node: Arc<Node>) -> Self {
        Self(Arc::new(Shared {
            node,
            queues: watch::Sender::default(),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Starts a task for each source that stores and has none, on this thread, which must be that of every call. What is in
    /// its spool is published first.
    ///
    /// # Errors
    /// The spool cannot be used for a source.
    pub fn reload(&self, apps: &Apps) -> Result<(), spool::Error> {
        let folder = self.0.node.webhooks().folder();
        let mut spools: Vec<PathBuf> = Vec::new();
        for app in apps.iter() {
            for source in app.sources.iter().filter(|source| source.store.is_some()) {
                let key = (app.id.clone(), source.name.clone());
                if self.0.queues.borrow().contains_key(&key) {
                    continue;
                }
                let name = format!("source {}", source.name);
                let spool = folder.map(|folder| folder.spool(app.id.as_str(), &name));
                let spool = spool.transpose()?;
                spools.extend(spool.iter().map(|(spool, _)| spool.path().to_owned()));
                let (sender, commands) = mpsc::channel(INTAKE);
                let task = Task::new(Arc::clone(&self.0), key.clone(), commands, spool);
                spawn_critical("source", task.run());
                self.0.queues.send_modify(|queues| {
                    queues.insert(key, sender);
                });
            }
        }
        if let Some(folder) = folder {
            spools.extend(self.0.node.webhooks().spools());
            folder.warn_of_others(&spools);
        }
        Ok(())
    }

    /// Keeps a delivery, which will be published. Says whether there was room for it.
    pub(super) async fn keep(
        &self,
        app: &App,
        source: &Source,
        routed: Routed,
        time_ms: u64,
    ) -> bool {
        let key = (app.id.clone(), source.name.clone());
        let queue = self.0.queues.borrow().get(&key).cloned();
        let Some(queue) = queue else { return false };
        let stored = Stored {
            time_ms,
            retry_seconds: source.store.unwrap_or_default().as_secs(),
            dedupe_seconds: source.dedupe.as_secs(),
            routed,
        };
        let kept = ask(&queue, |answer| Command::Keep(stored, answer)).await;
        // The task ends only with the process.
        kept.unwrap_or(false)
    }

    /// How many deliveries wait to be published.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    pub(in crate::http) async fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        for queue in self.all() {
            let command = |answer| Command::Letters(LettersCommand::List(answer));
            letters.extend(ask(&queue, command).await.unwrap_or_default());
        }
        letters
    }

    pub(in crate::http) async fn redeliver(&self, id: Option<u64>) -> usize {
        let mut letters = 0;
        for queue in self.all() {
            let command = |answer| Command::Letters(LettersCommand::Redeliver(id, answer));
            letters += ask(&queue, command).await.unwrap_or_default();
        }
        letters
    }

    /// Waits until nothing waits, or `timeout` is over. Called before the end.
    pub async fn finish(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while self.waiting() > 0 && Instant::now() < deadline {
            sleep(FINISH_TICK).await;
        }
        let deliveries = self.waiting();
        if deliveries > 0 && self.0.node.webhooks().folder().is_none() {
            warn!(
                deliveries,
                "deliveries of sources are lost: there is no spool"
            );
        }
    }

    fn all(&self) -> Vec<mpsc::Sender<Command>> {
        self.0.queues.borrow().values().cloned().collect()
    }
}

/// The queue of one source.
struct Task {
    shared: Arc<Shared>,
    app: AppId,
    source: String,
    commands: mpsc::Receiver<Command>,
    queue: VecDeque<SpooledEvent>,
    bytes: usize,
    dead: DeadLetters<SpooledEvent>,
    spool: Option<Spool>,
    /// When the first of the queue is tried next.
    due: Instant,
}

impl Task {
    fn new(
        shared: Arc<Shared>,
        (app, source): Key,
        commands: mpsc::Receiver<Command>,
        spool: Option<(Spool, Vec<SpooledEvent>)>,
    ) -> Self {
        let (spool, left) = spool.unzip();
        let mut task = Self {
            shared,
            app,
            source,
            commands,
            queue: VecDeque::new(),
            bytes: 0,
            dead: DeadLetters::default(),
            spool,
            due: Instant::now(),
        };
        for event in left.into_iter().flatten() {
            task.push(event);
        }
        task
    }

    async fn run(mut self) {
        loop {
            let retry = self.spool.as_ref().and_then(Spool::retry);
            let (due, has_work) = (self.due, !self.queue.is_empty());
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                () = sleep_until(due), if has_work => self.publish_first().await,
                () = sleep_until(retry.unwrap_or(due)), if retry.is_some() => self.with_spool(Spool::retry_write),
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Keep(stored, answer) => {
                let _ = answer.send(self.keep(&stored));
            }
            Command::Letters(command) => {
                for event in self.dead.handle(command) {
                    self.push(renewed(event));
                }
            }
        }
    }

    fn keep(&mut self, stored: &Stored) -> bool {
        // Numbers and texts have a JSON.
        let json: Arc<str> = serde_json::to_string(stored).unwrap_or_default().into();
        let most = self.shared.node.webhooks().settings().queue_events;
        if self.queue.len() >= most || self.bytes + json.len() > QUEUE_BYTES {
            return false;
        }
        let id = self.spool.as_mut().map_or(0, |spool| spool.append(&json));
        self.push(SpooledEvent { id, json });
        true
    }

    fn push(&mut self, event: SpooledEvent) {
        self.bytes += event.json.len();
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.push_back(event);
    }

    /// Publishes the first of the queue; if it cannot be, it stays the first until its time is over.
    async fn publish_first(&mut self) {
        let Some(event) = self.queue.front().cloned() else {
            return;
        };
        let Ok(stored) = serde_json::from_str::<Stored>(&event.json) else {
            warn!(app.id = %self.app, source = self.source, "the spool holds a delivery that is none: it is passed over");
            self.pop();
            return self.settle(event);
        };
        let (problem, is_final) = match self.try_publish(&stored).await {
            Ok(()) => {
                self.pop();
                return self.settle(event);
            }
            Err(error) => (error.to_string(), !error.is_temporary()),
        };
        let age = clock::epoch_ms(SystemTime::now()).saturating_sub(stored.time_ms);
        if is_final || age > stored.retry_seconds * 1000 {
            self.pop();
            self.dead_letter(event, &stored, problem);
        } else {
            self.due = Instant::now() + PAUSE;
        }
    }

    async fn try_publish(&self, stored: &Stored) -> Result<(), ApiError> {
        let apps = self.shared.node.apps();
        let app = apps.by_id(self.app.as_str());
        let app = app.ok_or_else(|| ApiError::UnknownApp(self.app.as_str().to_owned()))?;
        let identity = Identity {
            source: &self.source,
            window: Duration::from_secs(stored.dedupe_seconds),
        };
        publish(&self.shared.node, app, &identity, &stored.routed).await?;
        Ok(())
    }

    fn pop(&mut self) {
        if let Some(event) = self.queue.pop_front() {
            self.bytes -= event.json.len();
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn dead_letter(&mut self, event: SpooledEvent, stored: &Stored, error: String) {
        let (node, app, source) = (&self.shared.node, &self.app, &self.source);
        error!(app.id = %app, source, error, "a delivery of a source is given up");
        node.metrics().source_dead.inc();
        let events = stored.routed.events.iter().map(|event| {
            let event =
                json!({ "name": event.event, "channels": event.channels, "data": event.data });
            event.to_string().into()
        });
        let letter = DeadLetter {
            id: node.webhooks().next_letter(),
            app: app.as_str().into(),
            url: format!("/apps/{app}/sources/{source}").into(),
            events: events.collect(),
            first_attempt: SystemTime::UNIX_EPOCH + Duration::from_millis(stored.time_ms),
            last_attempt: SystemTime::now(),
            error,
        };
        let most = node.webhooks().settings().dead_letters;
        for dropped in self
            .dead
            .push(letter, vec![event], most)
            .into_iter()
            .flatten()
        {
            self.shared.node.metrics().source_dead_dropped.inc();
            self.settle(dropped);
        }
    }

    fn settle(&mut self, event: SpooledEvent) {
        let written = [event];
        let written = written.iter().filter(|event| event.id != 0);
        self.with_spool(|spool, undelivered| spool.settle(written, undelivered));
    }

    fn with_spool<'a>(
        &'a mut self,
        act: impl FnOnce(&mut Spool, Box<dyn Iterator<Item = &'a SpooledEvent> + 'a>),
    ) {
        let undelivered = self.queue.iter().chain(self.dead.events());
        if let Some(spool) = &mut self.spool {
            act(spool, Box::new(undelivered));
        }
    }
}

/// A dead letter's delivery, as if it came now. In the spool it is as old as it was.
fn renewed(event: SpooledEvent) -> SpooledEvent {
    let Ok(mut stored) = serde_json::from_str::<Stored>(&event.json) else {
        return event;
    };
    stored.time_ms = clock::epoch_ms(SystemTime::now());
    let json = serde_json::to_string(&stored).unwrap_or_default();
    SpooledEvent {
        json: json.into(),
        ..event
    }
}
