//! One channel's subscribers on one worker, and its backlog of deliveries.
//!
//! Subscribers live in numbered slots that do not move, so a walk may pause between slices while subscribers come and
//! go. A subscriber that comes during a walk has a `since` above the delivery's number and does not get it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::inbox::Delivery;
use super::peer::Peer;
use crate::app::{App, AppId};
use crate::channel_log::LogId;
use crate::metrics::AppCounters;
use crate::protocol::{ChannelName, Encoded, Forms, UserId};

/// The `since` of a subscription whose acceptance is still awaited: no delivery has a number above it.
const PENDING: u64 = u64::MAX;

/// The `since` of a subscription that rules forbid, until its connection has ended it: no delivery has a number above it.
const MUTED: u64 = PENDING - 1;

/// How many deliveries are held for one channel's pending subscriptions. A connection that needs more is closed as a
/// slow consumer and reconnects.
const MAX_HELD: usize = 1024;

/// How many members that lost their places are remembered: as many as a reply of Redis may name at once, by default.
const MAX_REFUSED: usize = 1024;

pub(super) struct LocalChannel {
    app: AppId,
    counters: Arc<AppCounters>,
    name: ChannelName,
    slots: RefCell<Vec<Option<LocalSubscriber>>>,
    free: RefCell<Vec<u32>>,
    held: RefCell<Vec<(u32, Delivery)>>,
    /// Members that lost their places, and since when. Their connections end the subscriptions in their next turns.
    refused_members: RefCell<Vec<(UserId, u64)>>,
    backlog: RefCell<VecDeque<Delivery>>,
    /// Of the delivery that is being walked.
    forms: Forms,
    position: Cell<usize>,
    /// The last entry of the channel's log that all slots have been sent.
    written: Cell<LogId>,
}

/// Sixteen bytes, all that a walk reads for a subscriber before it touches the connection.
struct LocalSubscriber {
    peer: Rc<Peer>,
    since: u64,
}

impl LocalChannel {
    pub(super) fn new(app: &App, name: ChannelName) -> Self {
        Self {
            app: app.id.clone(),
            counters: Arc::clone(app.metrics.shared()),
            name,
            slots: RefCell::default(),
            free: RefCell::default(),
            held: RefCell::default(),
            refused_members: RefCell::default(),
            backlog: RefCell::default(),
            forms: Forms::default(),
            position: Cell::new(0),
            written: Cell::default(),
        }
    }

    pub(super) fn app(&self) -> &AppId {
        &self.app
    }

    pub(super) fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The number of slots, including free ones: the length of a walk.
    pub(super) fn slots(&self) -> usize {
        self.slots.borrow().len()
    }

    /// The number of subscribers.
    pub(super) fn len(&self) -> usize {
        self.slots.borrow().len() - self.free.borrow().len()
    }

    /// Adds a pending subscriber. Returns the number of its slot.
    pub(super) fn subscribe(&self, peer: Rc<Peer>) -> u32 {
        let mut slots = self.slots.borrow_mut();
        let subscriber = Some(LocalSubscriber {
            peer,
            since: PENDING,
        });
        if let Some(index) = self.free.borrow_mut().pop() {
            slots[index as usize] = subscriber;
            return index;
        }
        // A worker has far fewer connections than 2^32: file descriptors are 31-bit.
        let index = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        slots.push(subscriber);
        index
    }

    pub(super) fn activate(&self, index: u32, since: u64, first: &[Encoded]) {
        let mut slots = self.slots.borrow_mut();
        let Some(Some(subscriber)) = slots.get_mut(index as usize) else {
            return;
        };
        subscriber.since = since;
        for frame in first {
            subscriber.peer.send(frame);
        }
        self.held.borrow_mut().retain(|(slot, delivery)| {
            if *slot == index && subscriber.deliver_if_due(self, delivery, &Forms::default()) {
                self.counters.sent(1, delivery.frame.bytes().len());
            }
            *slot != index
        });
    }

    /// Frees a slot. Returns how many subscribers are left.
    pub(super) fn unsubscribe(&self, index: u32) -> usize {
        let mut slots = self.slots.borrow_mut();
        let mut free = self.free.borrow_mut();
        if let Some(slot) = slots.get_mut(index as usize)
            && slot.take().is_some()
        {
            free.push(index);
            self.held.borrow_mut().retain(|(slot, _)| *slot != index);
        }
        slots.len() - free.len()
    }

    /// Walks up to `most` slots from `from`. Returns how many subscribers were sent to. Allocates nothing, and counts
    /// once for all of them.
    pub(super) fn deliver(&self, delivery: &Delivery, from: usize, most: usize) -> usize {
        let slots = self.slots.borrow();
        let mut sent = 0;
        for (offset, slot) in slots.iter().skip(from).take(most).enumerate() {
            let Some(subscriber) = slot else { continue };
            if subscriber.since == PENDING {
                self.hold(from + offset, subscriber, delivery);
            } else if subscriber.deliver_if_due(self, delivery, &self.forms) {
                sent += 1;
            }
        }
        self.counters
            .sent(sent as u64, delivery.frame.bytes().len());
        sent
    }

    fn hold(&self, index: usize, subscriber: &LocalSubscriber, delivery: &Delivery) {
        let mut held = self.held.borrow_mut();
        if held.len() >= MAX_HELD {
            subscriber.peer.end_as_slow();
            return;
        }
        // Slot numbers are made from u32.
        held.push((u32::try_from(index).unwrap_or(u32::MAX), delivery.clone()));
    }

    /// Delivers nothing more to the subscribers of whom `is_forbidden` says so. Those that are pending are decided when
    /// they are activated.
    pub(super) fn mute(&self, is_forbidden: impl Fn(&Peer) -> bool) {
        for subscriber in self.slots.borrow_mut().iter_mut().flatten() {
            if subscriber.since != PENDING && is_forbidden(&subscriber.peer) {
                subscriber.since = MUTED;
            }
        }
    }

    pub(super) fn mute_slot(&self, index: u32) {
        if let Some(Some(subscriber)) = self.slots.borrow_mut().get_mut(index as usize) {
            subscriber.since = MUTED;
        }
    }

    /// Whether a slot's subscriber was muted.
    pub(super) fn is_muted(&self, index: u32) -> bool {
        let slots = self.slots.borrow();
        let slot = slots.get(index as usize).and_then(Option::as_ref);
        slot.is_some_and(|subscriber| subscriber.since == MUTED)
    }

    /// Has the connections of some members end their subscriptions, as far as those are older than `number`.
    pub(super) fn refuse_members(&self, users: &[UserId], number: u64) {
        let mut refused = self.refused_members.borrow_mut();
        // All who were refused before have been looked at since.
        let excess = (refused.len() + users.len()).saturating_sub(MAX_REFUSED);
        let forgotten = excess.min(refused.len());
        refused.drain(..forgotten);
        refused.extend(users.iter().map(|user| (user.clone(), number)));
        self.for_each(Peer::set_to_be_reviewed);
    }

    /// Whether a slot is of a member that lost its place. One whose acceptance is still awaited has not had it.
    pub(super) fn has_lost_place(&self, index: u32, user: &UserId) -> bool {
        let slots = self.slots.borrow();
        let slot = slots.get(index as usize).and_then(Option::as_ref);
        let refused = self.refused_members.borrow();
        slot.is_some_and(|subscriber| {
            let is_it =
                |(refused, number): &(UserId, u64)| refused == user && subscriber.since < *number;
            refused.iter().any(is_it)
        })
    }

    pub(super) fn for_each(&self, mut act: impl FnMut(&Peer)) {
        for subscriber in self.slots.borrow().iter().flatten() {
            act(&subscriber.peer);
        }
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.borrow().is_empty()
    }

    /// Adds a delivery to the backlog. Returns whether it is the first.
    pub(super) fn push_backlog(&self, delivery: Delivery) -> bool {
        let mut backlog = self.backlog.borrow_mut();
        backlog.push_back(delivery);
        backlog.len() == 1
    }

    /// The delivery in progress and the slot where it continues.
    pub(super) fn current(&self) -> Option<(Delivery, usize)> {
        self.backlog
            .borrow()
            .front()
            .map(|delivery| (delivery.clone(), self.position.get()))
    }

    /// Records a delivery that all slots have been sent.
    pub(super) fn record_delivered(&self, delivery: &Delivery) {
        self.forms.clear();
        if let Some(id) = delivery.log_id {
            self.written.set(id);
        }
    }

    /// The last entry of the channel's log that a slot has been sent.
    pub(super) fn written(&self, index: u32) -> LogId {
        let backlog = self.backlog.borrow();
        let current = backlog.front().and_then(|delivery| delivery.log_id);
        let current = current.filter(|_| (index as usize) < self.position.get());
        current.unwrap_or(self.written.get())
    }

    /// Advances the walk by `slots`. Returns whether the delivery is finished.
    pub(super) fn advance(&self, slots: usize) -> bool {
        let position = self.position.get() + slots;
        let finished = position >= self.slots();
        self.position.set(if finished { 0 } else { position });
        if finished {
            self.backlog.borrow_mut().pop_front();
        }
        finished
    }
}

impl LocalSubscriber {
    /// Sends a delivery unless it is older than the subscription or excludes this connection. Returns whether it was
    /// sent. Counts nothing: the caller counts for many at once. `forms` are of this delivery.
    fn deliver_if_due(&self, channel: &LocalChannel, delivery: &Delivery, forms: &Forms) -> bool {
        if delivery.number <= self.since || delivery.except == Some(self.peer.socket_id()) {
            return false;
        }
        self.peer.deliver(channel, delivery, forms)
    }
}
