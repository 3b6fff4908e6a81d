//! One worker's connections, their subscriptions, and the delivery of events to them.
//!
//! Single-threaded by ownership: plain `Rc`/`RefCell`, no locks, no atomics per subscriber. Knows no HTTP, no Redis
//! and no registry. Invariants: the subscribers of one channel get its deliveries in the inbox's order; a subscription
//! gets exactly the deliveries numbered above its `since`; a walk over a large channel is cut into slices, between
//! which other channels and sockets are served.

mod channel;
mod client_info;
mod ending;
mod heartbeat;
pub mod inbox;
pub mod listing;
mod outbox;
mod outlet;
mod peer;
mod resume;
mod stream;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use slab::Slab;

use crate::app::{AppId, Apps};
use crate::metrics::{Histogram, Metrics};
use crate::protocol::{ChannelName, CloseCode, Encoded, SocketId, Transport, UserId};
use crate::rules::{Admission, WhoMaySubscribe};
use crate::slack::Slack as _;
use channel::LocalChannel;
pub use client_info::ClientInfo;
use client_info::ClientInfoInterner;
pub use ending::Ending;
use heartbeat::Heartbeat;
use inbox::{Delivery, Inbox, WorkerCommand, WorkerReport};
pub use outlet::{EventStream, Outlet};
pub use peer::{Identity, Peer};
pub use resume::Confirmed;

/// How many sockets one turn of a worker writes to before it looks after everything else. `(measured)` 128 keeps a
/// neighbour's p99 low beside a channel of thousands at the same CPU per delivery.
pub const SLICE: usize = 128;

/// What a worker starts reading into when no buffer is at hand.
const SCRATCH_BYTES: usize = 16 * 1024;

/// One worker's connections and subscriptions.
pub struct Hub {
    index: u16,
    settings: HubSettings,
    metrics: Metrics,
    channels: RefCell<HashMap<AppId, HashMap<ChannelName, Rc<LocalChannel>>>>,
    peers: RefCell<Slab<Rc<Peer>>>,
    backlogged: RefCell<VecDeque<Rc<LocalChannel>>>,
    /// The keys of the resumable connections, and of some that have gone.
    resumables: RefCell<Vec<u32>>,
    /// How often these were looked at.
    resumable_rounds: Cell<u32>,
    client_infos: RefCell<ClientInfoInterner>,
    heartbeat: Heartbeat,
    scratch: RefCell<BytesMut>,
    closing: Cell<Option<CloseCode>>,
    lag: Cell<Duration>,
    publish_to_socket: Histogram,
}

/// The settings that a worker needs.
#[derive(Debug, Clone, Copy)]
pub struct HubSettings {
    /// Bytes that may wait for one socket, 128 for each frame included; more close the connection with 4100.
    pub outbox_bytes: usize,
    /// Seconds of silence after which a connection is pinged.
    pub activity_timeout: u32,
}

/// One connection's subscriber slot on one channel. [`Hub::subscribe`] gives it out, [`Hub::unsubscribe`] frees it.
pub struct Slot {
    channel: Rc<LocalChannel>,
    index: u32,
}

impl Slot {
    /// The channel of the subscription.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        self.channel.name()
    }
}

impl Hub {
    /// An empty hub for the worker with that index.
    #[must_use]
    pub fn new(index: u16, settings: HubSettings, metrics: Metrics) -> Rc<Self> {
        Rc::new(Self {
            index,
            settings,
            metrics,
            channels: RefCell::default(),
            peers: RefCell::default(),
            backlogged: RefCell::default(),
            resumables: RefCell::default(),
            resumable_rounds: Cell::default(),
            client_infos: RefCell::default(),
            heartbeat: Heartbeat::default(),
            scratch: RefCell::default(),
            closing: Cell::new(None),
            lag: Cell::default(),
            publish_to_socket: Histogram::default(),
        })
    }

    /// The worker's index, for the registry.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Adds a connection and puts it under the heartbeat. While the worker drains, the connection is closed at once.
    #[must_use]
    pub fn admit(self: &Rc<Self>, identity: Identity, outlet: Outlet) -> Rc<Peer> {
        let mut peers = self.peers.borrow_mut();
        let entry = peers.vacant_entry();
        let peer = Rc::new(Peer::new(Rc::clone(self), entry.key(), identity, outlet));
        entry.insert(Rc::clone(&peer));
        self.heartbeat.watch(&peer);
        if peer.resume_token().is_some() {
            // A worker has far fewer connections than 2^32: file descriptors are 31-bit.
            let key = u32::try_from(peer.key()).unwrap_or(u32::MAX);
            self.resumables.borrow_mut().push(key);
        }
        if let Some(code) = self.closing.get() {
            peer.end(Ending::close(code));
        }
        peer
    }

    /// Removes a connection. Its slots must have been unsubscribed.
    pub fn dismiss(&self, peer: &Peer) {
        let mut peers = self.peers.borrow_mut();
        if peers
            .get(peer.key())
            .is_some_and(|p| p.socket_id() == peer.socket_id())
        {
            peers.remove(peer.key());
            if peers.is_empty() {
                // Keys do not move, so there is room for the highest of them until nobody is left.
                peers.shrink_to_fit();
            }
        }
    }

    /// Subscribes a connection to a channel, *pending*: its deliveries are held until [`Hub::activate`].
    #[must_use]
    pub fn subscribe(&self, channel: &ChannelName, peer: &Rc<Peer>) -> Slot {
        let mut apps = self.channels.borrow_mut();
        let app = peer.app();
        let channels = match apps.get_mut(&app.id) {
            Some(channels) => channels,
            None => apps.entry(app.id.clone()).or_default(),
        };
        let local = channels
            .entry(channel.clone())
            .or_insert_with(|| Rc::new(LocalChannel::new(&app, channel.clone())));
        let index = local.subscribe(Rc::clone(peer));
        Slot {
            channel: Rc::clone(local),
            index,
        }
    }

    /// Ends the pending state in one step: sends the frames of `first`, then the held deliveries above `since`. Later
    /// deliveries above `since` follow as they come.
    pub fn activate(&self, slot: &Slot, since: u64, first: &[Encoded]) {
        slot.channel.activate(slot.index, since, first);
    }

    /// Unsubscribes a connection. The channel is removed with its last subscriber.
    pub fn unsubscribe(&self, slot: &Slot) {
        let channel = &slot.channel;
        if channel.unsubscribe(slot.index) > 0 {
            return;
        }
        let mut apps = self.channels.borrow_mut();
        if let Some(channels) = apps.get_mut(channel.app()) {
            channels.remove(channel.name());
            channels.give_back();
            if channels.is_empty() {
                apps.remove(channel.app());
            }
        }
    }

    /// Delivers nothing more to a subscription.
    pub fn mute(&self, slot: &Slot) {
        slot.channel.mute_slot(slot.index);
    }

    /// Whether a subscription gets nothing any more, because the rules forbid it: its connection has to end it.
    #[must_use]
    pub fn is_muted(&self, slot: &Slot) -> bool {
        slot.channel.is_muted(slot.index)
    }

    /// Whether the channel has no place any more for the member that a subscription is of: its connection has to end it.
    #[must_use]
    pub fn has_lost_place(&self, slot: &Slot, user: &UserId) -> bool {
        slot.channel.has_lost_place(slot.index, user)
    }

    /// A buffer to read into: the worker's, or a new one while another connection uses it.
    #[must_use]
    pub fn take_buffer(&self) -> BytesMut {
        let mut buffer = std::mem::take(&mut *self.scratch.borrow_mut());
        buffer.reserve(SCRATCH_BYTES);
        buffer
    }

    /// Returns a buffer. It must be empty.
    pub fn return_buffer(&self, buffer: BytesMut) {
        debug_assert!(buffer.is_empty());
        *self.scratch.borrow_mut() = buffer;
    }

    fn find(&self, app: &AppId, channel: &ChannelName) -> Option<Rc<LocalChannel>> {
        self.channels.borrow().get(app)?.get(channel).cloned()
    }

    /// The worker's main loop: executes the inbox's commands until its senders are gone.
    pub async fn serve(self: Rc<Self>, mut inbox: Inbox) {
        let mut next: Option<WorkerCommand> = None;
        loop {
            if next.is_none() && self.backlogged.borrow().is_empty() {
                match inbox.receive().await {
                    Some(command) => next = Some(command),
                    None => return,
                }
            }
            let mut writes = 0;
            while writes < SLICE
                && let Some(command) = next.take().or_else(|| inbox.receive_now())
            {
                writes += self.execute(command, &inbox).max(1);
            }
            self.deliver_slice(&inbox);
            // Lets the sockets, the timers and the HTTP requests of this worker have their turn.
            tokio::task::yield_now().await;
        }
    }

    /// Executes one command. A delivery that is too large for one turn joins the backlog. Returns how many sockets were
    /// written to.
    fn execute(self: &Rc<Self>, command: WorkerCommand, inbox: &Inbox) -> usize {
        match command {
            WorkerCommand::Deliver {
                app,
                channel,
                delivery,
            } => {
                let Some(channel) = self.find(&app, &channel) else {
                    return 0;
                };
                if channel.has_backlog() || channel.slots() > SLICE {
                    inbox.count_deferred(&delivery);
                    if channel.push_backlog(delivery) {
                        self.backlogged.borrow_mut().push_back(channel);
                    }
                    return 0;
                }
                let sent = self.deliver(&channel, &delivery, 0, SLICE);
                self.record_delivered(&channel, &delivery);
                sent
            }
            WorkerCommand::CloseSubscribers { app, channel, code } => {
                let Some(channel) = self.find(&app, &channel) else {
                    return 0;
                };
                channel.for_each(|peer| peer.end(Ending::close(code)));
                channel.slots()
            }
            WorkerCommand::RefuseMembers(app, channel, users, number) => {
                if let Some(channel) = self.find(&app, &channel) {
                    channel.refuse_members(&users, number);
                }
                0
            }
            WorkerCommand::Drain { code, per_tick } => self.drain(code, per_tick),
            WorkerCommand::ReloadApps(apps) => {
                // As of now, not of when the command was posted: a peer that was admitted since may be of a newer app.
                self.reload_apps(&apps.get());
                0
            }
            WorkerCommand::Report(answer) => {
                // The receiver may be gone; then nobody needs the report.
                let _ = answer.send(self.report());
                0
            }
            WorkerCommand::ReportLatency(answer) => {
                let _ = answer.send(self.publish_to_socket.observed());
                0
            }
            WorkerCommand::ListConnections(query, answer) => {
                // A walk over all of them, which others need not wait for.
                crate::supervise::spawn(listing::list(Rc::clone(self), *query, answer));
                0
            }
            WorkerCommand::CloseConnection {
                app,
                socket_id,
                answer,
            } => {
                let _ = answer.send(self.close_connection(&app, socket_id));
                0
            }
        }
    }

    /// Delivers one slice of the oldest delivery in the backlog. Its channel moves to the end if more is left.
    fn deliver_slice(&self, inbox: &Inbox) {
        let Some(channel) = self.backlogged.borrow_mut().pop_front() else {
            return;
        };
        if let Some((delivery, from)) = channel.current() {
            self.deliver(&channel, &delivery, from, SLICE);
            if channel.advance(SLICE) {
                self.record_delivered(&channel, &delivery);
                inbox.uncount_deferred(&delivery);
            }
        }
        if channel.has_backlog() {
            self.backlogged.borrow_mut().push_back(channel);
        }
    }

    fn deliver(
        &self,
        channel: &LocalChannel,
        delivery: &Delivery,
        from: usize,
        most: usize,
    ) -> usize {
        let sent = channel.deliver(delivery, from, most);
        self.metrics.deliveries.inc_by(sent as u64);
        sent
    }

    /// Records a delivery and its latency. Called once, after its last subscriber of this worker.
    fn record_delivered(&self, channel: &LocalChannel, delivery: &Delivery) {
        channel.record_delivered(delivery);
        if let Some(accepted) = delivery.accepted {
            self.publish_to_socket.observe(accepted.elapsed());
        }
    }

    /// Closes up to `most` connections now, and every new one at once. Called once per tick until none is left.
    fn drain(&self, code: CloseCode, mut most: usize) -> usize {
        self.closing.set(Some(code));
        let open: Vec<Rc<Peer>> = self
            .peers
            .borrow()
            .iter()
            .map(|(_, p)| p)
            .filter(|p| !p.is_ending())
            .filter(|p| {
                let takes = p.is_leaving() || most > 0;
                most -= usize::from(takes && !p.is_leaving());
                takes
            })
            .cloned()
            .collect();
        for peer in &open {
            if peer.may_leave() {
                peer.end(Ending::close(code));
            }
        }
        open.len()
    }

    /// Closes one connection. Returns whether it belongs to this worker.
    fn close_connection(&self, app: &AppId, socket_id: SocketId) -> bool {
        let peers = self.peers.borrow();
        let mut peers = peers.iter().map(|(_, peer)| peer);
        let found = peers.find(|peer| peer.socket_id() == socket_id && peer.is_of(app));
        if let Some(peer) = found {
            peer.end(Ending::close(CloseCode::Operator));
        }
        found.is_some()
    }

    /// Shares equal values between connections.
    fn intern(&self, client_info: ClientInfo) -> Option<Rc<ClientInfo>> {
        self.client_infos.borrow_mut().intern(client_info)
    }

    /// Gives each connection the newest snapshot of its app, and closes those whose app is gone or disabled. One pass
    /// without a pause: a few milliseconds for tens of thousands of connections.
    ///
    /// Where an app's rules have changed, the subscriptions that they forbid are muted in the same turn, so that nothing
    /// that is delivered later reaches them; their connections are woken to end them.
    fn reload_apps(&self, apps: &Apps) {
        let peers = self.peers.borrow();
        // By the former snapshots, of which most connections share one.
        let mut differ = HashMap::new();
        let mut changed = HashMap::new();
        for (_, peer) in peers.iter() {
            let former = peer.app();
            let Some(now) = apps.by_id(former.id.as_str()) else {
                continue;
            };
            let differs = differ.entry(Arc::as_ptr(&former));
            if *differs.or_insert_with(|| former.rules != now.rules) {
                peer.set_to_be_reviewed();
                changed.insert(former.id.clone(), now);
            }
        }
        for (id, now) in changed {
            for channel in self.channels_of(&id) {
                let policy = now.policy(channel.name());
                if policy.subscribe != WhoMaySubscribe::Anyone {
                    let name = channel.name();
                    channel
                        .mute(|peer| peer.admission(name, &policy, false) != Admission::Admitted);
                }
            }
        }
        for (_, peer) in peers.iter() {
            peer.reload_app(apps);
        }
    }

    /// Adds the delay of a tick of the worker's clock: for that long other work held the thread.
    pub fn record_lag(&self, by: Duration) {
        self.lag.set(self.lag.get() + by);
    }

    /// Advances the worker's clock by a second: pings and closes silent connections.
    pub fn tick(&self, second: u32) {
        let silent = self
            .heartbeat
            .tick(second, self.settings.activity_timeout, |key| {
                self.peers.borrow().get(key).cloned()
            });
        self.metrics.silent_connections.inc_by(silent as u64);
        self.check_resumables(second);
    }

    fn report(&self) -> WorkerReport {
        let peers = self.peers.borrow();
        let channels = self.channels.borrow();
        let mut connections = [0; Transport::ALL.len()];
        for (_, peer) in peers.iter() {
            connections[peer.transport() as usize] += 1;
        }
        WorkerReport {
            connections,
            channels: channels.values().map(HashMap::len).sum(),
            subscriptions: channels
                .values()
                .flat_map(HashMap::values)
                .map(|c| c.len())
                .sum(),
            outbox_bytes: peers.iter().map(|(_, p)| p.outbox_bytes()).sum(),
            cpu: thread_time(),
            lag: self.lag.get(),
            publish_to_socket: self.publish_to_socket.observed(),
        }
    }

    /// Whether the worker has neither a connection nor a channel. For assertions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.borrow().is_empty() && self.peers.borrow().is_empty()
    }

    /// Bytes that may wait for one socket.
    #[must_use]
    pub fn outbox_limit(&self) -> usize {
        self.settings.outbox_bytes
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn now(&self) -> u32 {
        self.heartbeat.now()
    }
}

/// The CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // The clock begins at zero.
    Duration::try_from(time).unwrap_or_default()
}
