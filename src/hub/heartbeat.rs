//! Pings and time-outs of a worker's connections, in buckets of one second: one timer per worker, not per connection.
//!
//! Only received bytes prove that a client is alive; a successful write does not. Each connection is in exactly one
//! bucket, that of its next check. Knows no timers: the worker calls [`Heartbeat::tick`] with the current second.
//!
//! Whoever only listens (Server-Sent Events) answers nothing: it is sent a comment now and then, and TCP notices where
//! nobody takes it. Over pusher-js' HTTP transports a line is the ping, and the next request the answer.
//!
//! One rule for all protocol versions: the ping is a WebSocket's, which RFC 6455 obliges every client to answer and
//! whose WebSocket stack does it, however old the library above it is. `pusher:ping` would be answered from version 5 on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::ending::Ending;
use super::peer::Peer;
use crate::protocol::{CloseCode, SocketId, Transport};

/// How long a pinged connection has to answer (protocol §2.6), in seconds.
const PONG_SECONDS: u32 = 30;

/// How long an answer of HTTP may be silent, in seconds: proxies end what is silent for a minute.
const QUIET_SECONDS: u32 = 25;

/// After a tick that comes later than this, in seconds, silence is no proof: the process (or the machine) was stopped,
/// and the answers may lie unread.
const LATE_SECONDS: u32 = 5;

/// The buckets.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    now: Cell<u32>,
    buckets: RefCell<BTreeMap<u32, Vec<BucketEntry>>>,
}

/// A connection in a bucket. Its key may belong to another connection by then; the socket id tells them apart.
#[derive(Debug, Clone, Copy)]
struct BucketEntry {
    key: usize,
    socket_id: SocketId,
}

/// When a connection began, last read, and was pinged, in seconds of its worker's clock.
#[derive(Debug)]
pub(super) struct Pulse {
    since: u32,
    last_read: Cell<u32>,
    /// When something was last put into an outbox that is fetched.
    last_put: Cell<u32>,
    pinged: Cell<Option<u32>>,
}

impl Pulse {
    pub(super) fn new(now: u32) -> Self {
        Self {
            since: now,
            last_read: Cell::new(now),
            last_put: Cell::new(now),
            pinged: Cell::new(None),
        }
    }

    /// When the connection began.
    pub(super) fn since(&self) -> u32 {
        self.since
    }

    pub(super) fn on_put(&self, now: u32) {
        self.last_put.set(now);
    }

    pub(super) fn on_read(&self, now: u32) {
        self.last_read.set(now);
        self.pinged.set(None);
    }
}

/// What to do about a connection.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    Nothing,
    Ping,
    /// As a ping, but nothing answers it.
    Comment,
    Close(CloseCode),
}

impl Heartbeat {
    pub(super) fn now(&self) -> u32 {
        self.now.get()
    }

    /// Puts a connection under watch, from the next second on.
    pub(super) fn watch(&self, peer: &Rc<Peer>) {
        self.put(
            self.now.get() + 1,
            BucketEntry {
                key: peer.key(),
                socket_id: peer.socket_id(),
            },
        );
    }

    fn put(&self, second: u32, entry: BucketEntry) {
        self.buckets
            .borrow_mut()
            .entry(second)
            .or_default()
            .push(entry);
    }

    /// Checks every connection whose bucket is due. Returns how many were closed for silence.
    pub(super) fn tick(
        &self,
        now: u32,
        activity_timeout: u32,
        find: impl Fn(usize) -> Option<Rc<Peer>>,
    ) -> usize {
        let late = now > self.now.replace(now) + LATE_SECONDS;
        let later = self.buckets.borrow_mut().split_off(&(now + 1));
        let due = std::mem::replace(&mut *self.buckets.borrow_mut(), later);
        let mut silent = 0;
        for entry in due.into_values().flatten() {
            let Some(peer) = find(entry.key).filter(|p| p.socket_id() == entry.socket_id) else {
                continue;
            };
            let (due, next) = match next_action(&peer, now, activity_timeout) {
                (Action::Close(CloseCode::NoPong), _) if late => (Action::Ping, now + PONG_SECONDS),
                looked => looked,
            };
            match due {
                Action::Nothing => {}
                Action::Comment => peer.probe(b""),
                Action::Ping => {
                    peer.pulse.pinged.set(Some(now));
                    peer.probe(b"");
                }
                Action::Close(code) => {
                    silent += usize::from(code != CloseCode::Unauthorized);
                    peer.end(Ending::close(code));
                    continue;
                }
            }
            self.put(next.max(now + 1), entry);
        }
        silent
    }
}

/// What to do about a connection now, and the second of its next check.
fn next_action(peer: &Peer, now: u32, activity_timeout: u32) -> (Action, u32) {
    let pulse = &peer.pulse;
    let last_read = pulse.last_read.get();
    let (due, next) = if peer.transport() == Transport::Sse {
        match now < pulse.since + QUIET_SECONDS {
            true => (Action::Nothing, pulse.since + QUIET_SECONDS),
            false => (Action::Comment, now + QUIET_SECONDS),
        }
    } else if let Some(pinged) = pulse.pinged.get() {
        let end = pinged + PONG_SECONDS;
        (
            if now >= end {
                Action::Close(CloseCode::NoPong)
            } else {
                Action::Nothing
            },
            end,
        )
    } else {
        let (mut due, mut next) = (last_read + activity_timeout, now + PONG_SECONDS);
        if peer.transport().is_xhr() {
            due = due.min(last_read.max(pulse.last_put.get()) + QUIET_SECONDS);
            next = now + QUIET_SECONDS;
        }
        match now >= due {
            true => (Action::Ping, next),
            false => (Action::Nothing, due),
        }
    };
    match peer.app().authorize_within {
        Some(within) if !peer.is_authorized() => {
            let end = pulse
                .since
                .saturating_add(u32::try_from(within.as_secs()).unwrap_or(u32::MAX));
            let due = if now >= end {
                Action::Close(CloseCode::Unauthorized)
            } else {
                due
            };
            (due, next.min(end))
        }
        _ => (due, next),
    }
}
