//! `Desk`: hands a session's lines to its receivers, one at a time, so that each line is written once and in order.
//!
//! Lines are lent: they stay in the outbox until their receiver has said how many of them the kernel took. A receiver
//! that replaces another gets nothing before the other has said so.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Sleep, sleep};

use super::sessions::{Ask, Batch, Parting, ReceiverId, Written};
use crate::hub::Peer;

/// How long a session lives without a receiver when its client may come back.
const ABSENCE: Duration = Duration::from_secs(5);

/// How long a receiver that was replaced may take to say what it wrote. One of this process says it at once.
const RECALL: Duration = Duration::from_secs(2);

pub(super) struct Desk {
    peer: Rc<Peer>,
    asks: mpsc::Receiver<Box<Ask>>,
    receiver: Option<Attached>,
    waiting: Option<Waiting>,
    lent: Option<Lent>,
    /// The number of the last batch.
    number: u32,
    /// Of the absence of a receiver, or until what a replaced one holds is taken back.
    timer: Option<Pin<Box<Sleep>>>,
}

struct Attached {
    id: ReceiverId,
    /// Dropped to tell it that it was replaced.
    _until: Option<oneshot::Sender<()>>,
}

struct Waiting {
    room: usize,
    answer: oneshot::Sender<Batch>,
}

struct Lent {
    receiver: ReceiverId,
    lines: usize,
}

impl Desk {
    pub(super) fn new(peer: Rc<Peer>, asks: mpsc::Receiver<Box<Ask>>) -> Self {
        Self {
            peer,
            asks,
            receiver: None,
            waiting: None,
            lent: None,
            number: 0,
            timer: Some(Box::pin(sleep(ABSENCE))),
        }
    }

    /// Serves receivers. `is_last`: nothing will come after what waits. Ready when nobody has come for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, is_last: bool) -> Poll<()> {
        while let Poll::Ready(Some(ask)) = self.asks.poll_recv(cx) {
            self.take(*ask);
        }
        self.answer(is_last);
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.timer = None;
        if self.receiver.is_none() {
            return Poll::Ready(());
        }
        // Whoever held them will not say any more what it wrote.
        self.settle(0);
        self.answer(is_last);
        Poll::Pending
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Fetch {
                fetch,
                attach,
                answer,
            } => {
                let receiver = fetch.receiver;
                if attach.is_some() || self.receiver.is_none() {
                    self.attach(receiver, attach);
                }
                let holds = self.lent.as_ref().filter(|lent| lent.receiver == receiver);
                if let Some(lines) = holds.map(|lent| lent.lines)
                    && fetch.acknowledged == self.number
                {
                    self.settle(lines);
                }
                if self.receiver.as_ref().is_some_and(|now| now.id == receiver) {
                    let room = fetch.room;
                    self.waiting = Some(Waiting { room, answer });
                }
            }
            Ask::Written(Written {
                receiver,
                lines,
                parting,
            }) => {
                if self
                    .lent
                    .as_ref()
                    .is_some_and(|lent| lent.receiver == receiver)
                {
                    self.settle(lines);
                }
                let grace = match parting {
                    Parting::Stays => return,
                    Parting::Back => ABSENCE,
                    Parting::ForGood => Duration::ZERO,
                };
                if self.receiver.as_ref().is_some_and(|now| now.id == receiver) {
                    self.receiver = None;
                    self.waiting = None;
                    self.timer = Some(Box::pin(sleep(grace)));
                }
            }
        }
    }

    /// A new receiver, in place of the one before, if there was one.
    fn attach(&mut self, id: ReceiverId, until: Option<oneshot::Sender<()>>) {
        // A request of its own, which proves that the client is alive.
        self.peer.on_read(0);
        self.receiver = Some(Attached { id, _until: until });
        self.waiting = None;
        let others = self.lent.as_ref().is_some_and(|lent| lent.receiver != id);
        self.timer = others.then(|| Box::pin(sleep(RECALL)));
    }

    fn settle(&mut self, lines: usize) {
        if self.lent.take().is_some() {
            self.peer.settle(lines);
            if self.receiver.is_some() {
                self.timer = None;
            }
        }
    }

    /// Gives the waiting receiver what there is.
    pub(super) fn answer(&mut self, is_last: bool) {
        let Some(receiver) = self.receiver.as_ref().map(|receiver| receiver.id) else {
            return;
        };
        let is_free = self
            .lent
            .as_ref()
            .is_none_or(|lent| lent.receiver == receiver);
        let Some(waiting) = self.waiting.take_if(|_| is_free) else {
            return;
        };
        let lines = self.peer.lend(waiting.room);
        if lines.is_empty() {
            self.waiting = Some(waiting);
            return;
        }
        if self.lent.is_none() {
            self.number = self.number.wrapping_add(1);
        }
        self.lent = Some(Lent {
            receiver,
            lines: lines.len(),
        });
        let batch = Batch {
            number: self.number,
            lines,
            is_last: is_last && self.peer.is_all_lent(),
        };
        if waiting.answer.send(batch).is_err() {
            // It has gone without having got anything, and says so.
            self.settle(0);
        }
    }
}
