//! What connections with a token have proved to have received.
//!
//! Frames leave a connection in their order, so the answer to a ping confirms all that was written before it. For each
//! subscription it is remembered up to which entry of its channel's log that was; the walk of a delivery knows nothing
//! of it, since the channel itself knows which of its slots a delivery has passed.

use std::cell::Cell;
use std::rc::Rc;

use smallvec::SmallVec;

use super::channel::LocalChannel;
use super::{Hub, Peer, Slot};
use crate::channel_log::LogId;
use crate::protocol::{ChannelName, ResumeToken, ServerFrame, SocketId};

/// How many turns of a drain wait for the answer to a connection's last ping.
const FAREWELL_TURNS: u8 = 20;

/// What a connection with a token has beside its peer. Its size counts for each of them.
pub(super) struct Resumable {
    token: ResumeToken,
    tracked: Cell<SmallVec<[Tracked; 1]>>,
    earlier: Cell<Box<[SocketId]>>,
    /// The second from which it may be pinged.
    next_ping: Cell<u32>,
    /// The second from which it is pinged although nothing was delivered, so that its positions are not forgotten.
    next_refresh: Cell<u32>,
    /// The number of the last round in which it was looked at.
    checked: Cell<u32>,
    /// The number of its last ping, and whether the answer is awaited.
    pings: Cell<u16>,
    awaits: Cell<bool>,
    /// Turns of the drain since its last ping of all; 0: none yet.
    farewell: Cell<u8>,
}

/// One subscription.
struct Tracked {
    channel: Rc<LocalChannel>,
    /// The last entry of the log that was written before the last ping.
    written: LogId,
    index: u32,
    progress: Progress,
    /// Whether the client has not yet confirmed that it is subscribed, and so the token has no position of its own here.
    is_first: bool,
}

/// What has become of a position.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The next ping confirms it.
    Written,
    /// The answer to the last ping confirms it.
    Pinged,
    /// The store knows it.
    Confirmed,
}

/// A position that a client has confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// Where.
    pub channel: ChannelName,
    /// The last entry of the channel's log that the client has received.
    pub log_id: LogId,
    /// Whether it is the first that the connection confirms there.
    pub is_first: bool,
}

impl Resumable {
    pub(super) fn new(token: ResumeToken, now: u32) -> Self {
        Self {
            token,
            tracked: Cell::default(),
            earlier: Cell::default(),
            next_ping: Cell::new(now),
            next_refresh: Cell::new(u32::MAX),
            checked: Cell::new(0),
            pings: Cell::new(0),
            awaits: Cell::new(false),
            farewell: Cell::new(0),
        }
    }

    /// Works on the subscriptions, which nothing else can reach meanwhile.
    fn with_tracked<T>(&self, work: impl FnOnce(&mut SmallVec<[Tracked; 1]>) -> T) -> T {
        let mut tracked = self.tracked.take();
        let result = work(&mut tracked);
        self.tracked.set(tracked);
        result
    }

    /// Brings the positions up to what has been written. Returns whether a ping has anything to confirm.
    fn advance(&self, all: bool) -> bool {
        self.with_tracked(|tracked| {
            let mut any = false;
            for subscription in tracked {
                let written = subscription.channel.written(subscription.index);
                let is_new = written > subscription.written;
                subscription.written = subscription.written.max(written);
                if all || is_new || subscription.progress == Progress::Written {
                    subscription.progress = Progress::Pinged;
                }
                any |= subscription.progress == Progress::Pinged;
            }
            any
        })
    }
}

impl Peer {
    /// The token of a resumable connection.
    #[must_use]
    pub fn resume_token(&self) -> Option<ResumeToken> {
        self.resumable.as_ref().map(|resumable| resumable.token)
    }

    /// The socket ids of the token's earlier connections, the latest first.
    #[must_use]
    pub fn earlier_connections(&self) -> Box<[SocketId]> {
        let Some(resumable) = &self.resumable else {
            return Box::default();
        };
        let earlier = resumable.earlier.take();
        resumable.earlier.set(earlier.clone());
        earlier
    }

    /// Adds what is known of earlier connections.
    pub fn continues(&self, earlier: &[SocketId]) {
        const MOST: usize = 8;
        if let Some(resumable) = &self.resumable {
            let mut all = resumable.earlier.take().into_vec();
            for id in earlier {
                if all.len() < MOST && !all.contains(id) && *id != self.socket_id() {
                    all.push(*id);
                }
            }
            resumable.earlier.set(all.into());
        }
    }

    /// Follows a subscription, of whose log everything up to `written` has been written. `known`: what the store knows of
    /// it; if that is nothing, the client is pinged at once, so that it can be resumed as soon as it knows to be subscribed.
    pub fn track(&self, slot: &Slot, written: LogId, known: Option<LogId>) {
        let Some(resumable) = &self.resumable else {
            return;
        };
        resumable.with_tracked(|tracked| {
            tracked.reserve_exact(1);
            tracked.push(Tracked {
                channel: Rc::clone(&slot.channel),
                written,
                index: slot.index,
                progress: match known == Some(written) {
                    true => Progress::Confirmed,
                    false => Progress::Written,
                },
                is_first: known.is_none(),
            });
        });
        if resumable.next_refresh.get() == u32::MAX {
            resumable.next_refresh.set(self.next_refresh());
        }
        self.ping_for_first(resumable);
    }

    /// Pings at once if a subscription waits for its first confirmation.
    fn ping_for_first(&self, resumable: &Resumable) {
        let waits = |one: &Tracked| one.is_first && one.progress == Progress::Written;
        if !resumable.awaits.get() && resumable.with_tracked(|tracked| tracked.iter().any(waits)) {
            resumable.advance(false);
            self.ping(resumable);
        }
    }

    /// Follows a subscription no longer.
    pub fn untrack(&self, slot: &Slot) {
        if let Some(resumable) = &self.resumable {
            resumable.with_tracked(|tracked| {
                tracked.retain(|known| {
                    known.index != slot.index || !Rc::ptr_eq(&known.channel, &slot.channel)
                });
                tracked.shrink_to_fit();
            });
        }
    }

    /// Takes the answer to a ping: what a WebSocket's pong repeats, or none of a `pusher:pong`, which says nothing on a
    /// WebSocket. Returns the positions that it has confirmed.
    pub fn confirm(&self, payload: Option<&[u8]>) -> Vec<Confirmed> {
        let Some(resumable) = &self.resumable else {
            return Vec::new();
        };
        let number = resumable.pings.get().to_be_bytes();
        let is_answer = match payload {
            Some(payload) => payload == number,
            None => self.transport().is_xhr(),
        };
        if !resumable.awaits.get() || !is_answer {
            return Vec::new();
        }
        resumable.awaits.set(false);
        let confirmed = resumable.with_tracked(|tracked| {
            let pinged = tracked.iter_mut();
            let pinged = pinged.filter(|known| known.progress == Progress::Pinged);
            pinged
                .map(|known| {
                    known.progress = Progress::Confirmed;
                    Confirmed {
                        channel: known.channel.name().clone(),
                        log_id: known.written,
                        is_first: std::mem::take(&mut known.is_first),
                    }
                })
                .collect()
        });
        self.ping_for_first(resumable);
        confirmed
    }

    /// Half the time for which the store remembers a position, from now on.
    fn next_refresh(&self) -> u32 {
        self.hub().now() + (self.app().resume.seconds / 2).max(1)
    }

    /// Pings a resumable connection if something was delivered since the last ping, or its positions would be forgotten.
    /// Returns whether it is one, and is looked at for the first time in this round.
    fn check_resumable(&self, round: u32, now: u32) -> bool {
        let Some(resumable) = &self.resumable else {
            return false;
        };
        // Keys are used again, so a connection may be found twice.
        if resumable.checked.replace(round) == round {
            return false;
        }
        let settings = self.app().resume;
        if settings.seconds > 0 && now >= resumable.next_ping.get() && !resumable.awaits.get() {
            let refreshes = now >= resumable.next_refresh.get();
            if resumable.advance(refreshes) {
                self.ping(resumable);
            }
            if refreshes {
                resumable.next_refresh.set(self.next_refresh());
            }
        }
        true
    }

    fn ping(&self, resumable: &Resumable) {
        let number = resumable.pings.get().wrapping_add(1);
        resumable.pings.set(number);
        // Not in the same second as all others that got the same event.
        let pause = self.app().resume.ping_seconds.max(1);
        let phase = self.key() as u32 % pause;
        let earliest = self.hub().now() + pause + phase;
        resumable
            .next_ping
            .set(earliest.next_multiple_of(pause) - phase);
        resumable.awaits.set(true);
        // Over HTTP no other answer comes in the order in which the client reads, and at no other time.
        match self.transport().is_xhr() {
            true => self.send(&ServerFrame::Ping.encode()),
            false => self.probe(&number.to_be_bytes()),
        }
    }

    /// Whether a drain may close the connection now. A resumable one is pinged once more before, and its answer is
    /// awaited for a while.
    pub(super) fn may_leave(&self) -> bool {
        let Some(resumable) = self.resumable.as_ref() else {
            return true;
        };
        let turns = resumable.farewell.get();
        resumable.farewell.set(turns.saturating_add(1));
        if turns == 0 {
            if self.app().resume.seconds == 0 || !resumable.advance(false) {
                return true;
            }
            self.ping(resumable);
        }
        turns > 0 && (!resumable.awaits.get() || turns > FAREWELL_TURNS)
    }

    /// Whether a drain has begun to take leave of it.
    pub(super) fn is_leaving(&self) -> bool {
        let resumable = self.resumable.as_ref();
        resumable.is_some_and(|resumable| resumable.farewell.get() > 0)
    }
}

impl Hub {
    /// Pings the resumable connections that are due.
    pub(super) fn check_resumables(&self, now: u32) {
        let mut keys = self.resumables.borrow_mut();
        if keys.is_empty() {
            return;
        }
        let round = self.resumable_rounds.get().wrapping_add(1);
        self.resumable_rounds.set(round);
        let peers = self.peers.borrow();
        keys.retain(|&key| {
            let peer = peers.get(key as usize);
            peer.is_some_and(|peer| peer.check_resumable(round, now))
        });
        if keys.is_empty() {
            keys.shrink_to_fit();
        }
    }
}
