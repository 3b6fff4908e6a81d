//! The commands that other threads send to a worker: one queue per worker, bounded in bytes.
//!
//! Posting never waits and never fails, so that it can happen under a registry lock and in the order of the changes.
//! Callers keep the bound: before they cause deliveries they await [`Inboxes::wait_for_capacity`], which refuses them
//! after two seconds. So a queue exceeds its bound by at most the deliveries of the calls under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::listing::{ConnectionList, ConnectionQuery};
use crate::app::{AppId, CurrentApps};
use crate::channel_log::LogId;
use crate::metrics::{Metrics, Observed};
use crate::protocol::{ChannelName, CloseCode, Encoded, SocketId, Transport, UserId};

/// How long a publisher waits for capacity before it is refused.
const CAPACITY_TIMEOUT: Duration = Duration::from_secs(2);

/// The cost of a command beside its frame, in bytes.
const COMMAND_BYTES: usize = 128;

/// One event for the subscribers of one channel.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Rises within a channel. Subscriptions with a `since` at or above it do not get the delivery.
    pub number: u64,
    /// The event's place in the log of its channel; none if it is not logged.
    pub log_id: Option<LogId>,
    /// The encoded event.
    pub frame: Encoded,
    /// The connection that does not get it.
    pub except: Option<SocketId>,
    /// When this node accepted the publication. None for the server's own events, whose latency is not measured.
    pub accepted: Option<Instant>,
}

/// A command to a worker.
#[derive(Debug)]
pub enum WorkerCommand {
    /// Send to a channel's subscribers.
    Deliver {
        /// Whose channel.
        app: AppId,
        /// Which.
        channel: ChannelName,
        /// What.
        delivery: Delivery,
    },
    /// Close the connections of a channel's subscribers.
    CloseSubscribers {
        /// Whose channel.
        app: AppId,
        /// Which.
        channel: ChannelName,
        /// How.
        code: CloseCode,
    },
    /// End the subscriptions of members for whom a channel has no place any more, but not those whose `since` is at or above
    /// the number.
    RefuseMembers(AppId, ChannelName, Arc<[UserId]>, u64),
    /// Close up to `per_tick` connections, and every new one.
    Drain {
        /// How.
        code: CloseCode,
        /// How many.
        per_tick: usize,
    },
    /// Give every connection the newest snapshot of its app.
    ReloadApps(Arc<CurrentApps>),
    /// Report the worker's counts.
    Report(oneshot::Sender<WorkerReport>),
    /// Report the publish latencies observed so far.
    ReportLatency(oneshot::Sender<Observed>),
    /// List connections.
    ListConnections(Box<ConnectionQuery>, oneshot::Sender<ConnectionList>),
    /// Close one connection with a code that makes its client reconnect. Answers whether this worker has it.
    CloseConnection {
        /// Whose.
        app: AppId,
        /// Which.
        socket_id: SocketId,
        /// Who asks.
        answer: oneshot::Sender<bool>,
    },
}

/// A worker's counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// Live connections, by transport, in the order of [`Transport::ALL`].
    pub connections: [usize; Transport::ALL.len()],
    /// Channels with a local subscriber, internal ones included.
    pub channels: usize,
    /// Subscriptions of these channels.
    pub subscriptions: usize,
    /// Bytes in all outboxes.
    pub outbox_bytes: usize,
    /// CPU time of its thread.
    pub cpu: Duration,
    /// The sum of its clock's delays.
    pub lag: Duration,
    /// Latencies from a publication's acceptance to the last write to a socket.
    pub publish_to_socket: Observed,
}

/// The length of a worker's queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InboxDepth {
    /// Commands, including deliveries in progress.
    pub commands: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// The receiving end of one worker's queue.
#[derive(Debug)]
pub struct Inbox {
    commands: mpsc::UnboundedReceiver<WorkerCommand>,
    level: Arc<FillLevel>,
}

/// The sending ends of all workers.
#[derive(Debug, Clone)]
pub struct Inboxes {
    workers: Arc<[Sender]>,
    max_bytes: usize,
    metrics: Metrics,
}

#[derive(Debug)]
struct Sender {
    commands: mpsc::UnboundedSender<WorkerCommand>,
    level: Arc<FillLevel>,
}

/// How full an inbox is.
#[derive(Debug, Default)]
struct FillLevel {
    bytes: AtomicUsize,
    commands: AtomicUsize,
    drained: Notify,
}

/// A worker's inbox stayed full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is overloaded: a worker's inbox stayed full for {} s", CAPACITY_TIMEOUT.as_secs())]
pub struct InboxFull;

/// Makes `workers` inboxes of `max_bytes` each, and the receiving ends in the order of the workers.
#[must_use]
pub fn inboxes(workers: u16, max_bytes: usize, metrics: Metrics) -> (Inboxes, Vec<Inbox>) {
    let mut receivers = Vec::new();
    let senders: Arc<[Sender]> = (0..workers)
        .map(|_| {
            #[expect(
                clippy::disallowed_methods,
                reason = "bounded in bytes by `wait_for_capacity`, see the module's head"
            )]
            let (sender, receiver) = mpsc::unbounded_channel();
            let level = Arc::new(FillLevel::default());
            receivers.push(Inbox {
                commands: receiver,
                level: Arc::clone(&level),
            });
            Sender {
                commands: sender,
                level,
            }
        })
        .collect();
    let inboxes = Inboxes {
        workers: senders,
        max_bytes,
        metrics,
    };
    (inboxes, receivers)
}

impl Inboxes {
    /// Waits until no inbox is over its bound.
    ///
    /// # Errors
    /// One stayed over it for two seconds.
    pub async fn wait_for_capacity(&self) -> Result<(), InboxFull> {
        for worker in self
            .workers
            .iter()
            .filter(|w| !w.has_capacity(self.max_bytes))
        {
            if tokio::time::timeout(CAPACITY_TIMEOUT, worker.drained(self.max_bytes))
                .await
                .is_err()
            {
                self.metrics.inbox_overflows.inc();
                return Err(InboxFull);
            }
        }
        Ok(())
    }

    /// Posts a command. It is lost if the worker is gone, which happens only at the end of the process.
    pub fn post(&self, worker: u16, command: WorkerCommand) {
        let Some(worker) = self.workers.get(usize::from(worker)) else {
            return;
        };
        worker.level.rise(command.cost());
        let _ = worker.commands.send(command);
    }

    /// Posts a command to every worker.
    pub fn post_all(&self, command: impl Fn() -> WorkerCommand) {
        for worker in self.indexes() {
            self.post(worker, command());
        }
    }

    /// The reports of all workers.
    pub async fn reports(&self) -> Vec<WorkerReport> {
        let mut reports = Vec::new();
        for report in self.ask(WorkerCommand::Report) {
            reports.push(report.await.unwrap_or_default());
        }
        reports
    }

    /// Asks every worker and waits up to `timeout`. None for each worker that does not answer in time.
    pub async fn ask_within<T>(
        &self,
        timeout: Duration,
        command: impl Fn(oneshot::Sender<T>) -> WorkerCommand,
    ) -> Vec<Option<T>> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut answers = Vec::new();
        for answer in self.ask(command) {
            let answer = tokio::time::timeout_at(deadline, answer).await;
            answers.push(answer.ok().and_then(Result::ok));
        }
        answers
    }

    fn ask<T>(
        &self,
        command: impl Fn(oneshot::Sender<T>) -> WorkerCommand,
    ) -> Vec<oneshot::Receiver<T>> {
        let ask = |worker| {
            let (answer, answered) = oneshot::channel();
            self.post(worker, command(answer));
            answered
        };
        self.indexes().map(ask).collect()
    }

    /// The queue length of each worker.
    #[must_use]
    pub fn depths(&self) -> Vec<InboxDepth> {
        self.workers.iter().map(|w| w.level.depth()).collect()
    }

    /// Bytes in all inboxes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.depths().iter().map(|depth| depth.bytes).sum()
    }

    fn indexes(&self) -> impl Iterator<Item = u16> + use<> {
        // Made from a u16 count.
        0..u16::try_from(self.workers.len()).unwrap_or(u16::MAX)
    }
}

impl Sender {
    fn has_capacity(&self, max_bytes: usize) -> bool {
        self.level.bytes.load(Ordering::Relaxed) < max_bytes
    }

    async fn drained(&self, max_bytes: usize) {
        loop {
            let drained = self.level.drained.notified();
            tokio::pin!(drained);
            // Registered before the look at the level: a drain in between is not missed.
            drained.as_mut().enable();
            if self.has_capacity(max_bytes) {
                return;
            }
            drained.await;
        }
    }
}

impl Inbox {
    /// The next command; none when all senders are gone.
    pub async fn receive(&mut self) -> Option<WorkerCommand> {
        let command = self.commands.recv().await;
        self.uncount(command)
    }

    /// The next command, if there is one.
    pub fn receive_now(&mut self) -> Option<WorkerCommand> {
        let command = self.commands.try_recv().ok();
        self.uncount(command)
    }

    fn uncount(&self, command: Option<WorkerCommand>) -> Option<WorkerCommand> {
        if let Some(command) = &command {
            self.level.fall(command.cost());
        }
        command
    }

    /// Counts a delivery that left the queue for its channel's backlog.
    pub(super) fn count_deferred(&self, delivery: &Delivery) {
        self.level.rise(delivery.cost());
    }

    /// Uncounts a delivery of the backlog.
    pub(super) fn uncount_deferred(&self, delivery: &Delivery) {
        self.level.fall(delivery.cost());
    }
}

impl FillLevel {
    fn depth(&self) -> InboxDepth {
        InboxDepth {
            commands: self.commands.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn rise(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    fn fall(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.commands.fetch_sub(1, Ordering::Relaxed);
        self.drained.notify_waiters();
    }
}

impl Delivery {
    fn cost(&self) -> usize {
        COMMAND_BYTES + self.frame.bytes().len()
    }
}

impl WorkerCommand {
    fn cost(&self) -> usize {
        match self {
            Self::Deliver { delivery, .. } => delivery.cost(),
            Self::CloseSubscribers { .. }
            | Self::Drain { .. }
            | Self::ReloadApps(_)
            | Self::Report(_)
            | Self::ReportLatency(_)
            | Self::ListConnections(..)
            | Self::RefuseMembers(..)
            | Self::CloseConnection { .. } => COMMAND_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ServerFrame;

    fn command() -> WorkerCommand {
        WorkerCommand::Deliver {
            app: AppId::new("1"),
            channel: ChannelName::parse("c", 200).unwrap(),
            delivery: Delivery {
                number: 1,
                log_id: None,
                frame: ServerFrame::Pong.encode(),
                except: None,
                accepted: None,
            },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_publisher_waits_for_room_and_is_refused_in_time() {
        let metrics = Metrics::default();
        let (inboxes, mut receiving) = inboxes(2, 100, metrics.clone());
        let (worker, inbox) = (1, &mut receiving[1]);
        assert_eq!(inboxes.wait_for_capacity().await, Ok(()));
        inboxes.post(worker, command());
        let depth = inboxes.depths()[usize::from(worker)];
        assert_eq!((depth.commands, depth.bytes), (1, command().cost()));
        assert_eq!(inboxes.wait_for_capacity().await, Err(InboxFull));
        assert_eq!(metrics.inbox_overflows.get(), 1);
        let waiting = tokio::spawn({
            let inboxes = inboxes.clone();
            async move { inboxes.wait_for_capacity().await }
        });
        tokio::task::yield_now().await;
        assert!(inbox.receive_now().is_some());
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!(inboxes.depths(), [InboxDepth::default(); 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_answer_holds_nobody_up_for_long() {
        let (inboxes, mut receiving) = inboxes(2, 100, Metrics::default());
        let (answering, mut inbox) = (1_usize, receiving.remove(1));
        tokio::spawn(async move {
            while let Some(command) = inbox.receive().await {
                if let WorkerCommand::Report(answer) = command {
                    let report = WorkerReport {
                        connections: [7, 0, 0, 0, 0],
                        ..WorkerReport::default()
                    };
                    answer.send(report).unwrap();
                }
            }
        });
        let reports = inboxes
            .ask_within(Duration::from_secs(2), WorkerCommand::Report)
            .await;
        for (worker, report) in reports.iter().enumerate() {
            let connections = report.map(|report| report.connections[0]);
            let expected = (worker == answering).then_some(7);
            assert_eq!(connections, expected);
        }
    }
}
