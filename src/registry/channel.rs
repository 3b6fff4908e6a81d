//! One channel's state under its shard's lock: which workers hold how many subscribers, who is there, and when its
//! count was last told.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Counts;
use crate::protocol::{Member, UserId};

/// Up to this many subscriptions every change of the count is told; above it at most every [`COUNT_INTERVAL`].
const COUNT_ALWAYS: usize = 100;
/// See [`COUNT_ALWAYS`].
pub(super) const COUNT_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) workers: Workers,
    pub(super) members: BTreeMap<UserId, Present>,
    pub(super) count_told: Option<Instant>,
    pub(super) count_due: bool,
    /// Whether a cache channel's miss has been told since its last value.
    pub(super) missed: bool,
    pub(super) resumable: Resumable,
}

/// The subscriptions of a channel that may be resumed after their end.
#[derive(Debug, Default)]
pub(super) struct Resumable {
    subscriptions: u32,
    /// How long what they miss is kept after their end.
    pub(super) seconds: Option<NonZeroU32>,
}

impl Resumable {
    /// Adds a subscription if it may be resumed. Returns for how long then.
    pub(super) fn begins(&mut self, seconds: Option<NonZeroU32>) -> Option<NonZeroU32> {
        self.subscriptions += u32::from(seconds.is_some());
        self.seconds = self.seconds.max(seconds);
        seconds
    }

    /// Removes one. Returns for how long the channel is kept after it, if it was the last one.
    pub(super) fn ends(&mut self, seconds: Option<NonZeroU32>) -> Option<NonZeroU32> {
        self.subscriptions = self
            .subscriptions
            .checked_sub(u32::from(seconds.is_some()))?;
        if seconds.is_none() || self.subscriptions > 0 {
            return None;
        }
        self.seconds.take()
    }
}

#[derive(Debug)]
pub(super) struct Present {
    connections: usize,
    info: Option<Arc<str>>,
}

/// Which workers hold how many of something.
#[derive(Debug, Default)]
pub(super) struct Workers(pub(super) SmallVec<[(u16, u32); 2]>);

impl Workers {
    pub(super) fn add(&mut self, worker: u16) {
        match self.0.iter_mut().find(|(w, _)| *w == worker) {
            Some((_, n)) => *n += 1,
            None => self.0.push((worker, 1)),
        }
    }

    pub(super) fn remove(&mut self, worker: u16) {
        if let Some(at) = self.0.iter().position(|(w, _)| *w == worker) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.swap_remove(at);
            }
        }
    }

    pub(super) fn total(&self) -> usize {
        self.0.iter().map(|(_, n)| *n as usize).sum()
    }
}

impl Channel {
    /// Adds a connection of a user; a later one's `info` replaces the earlier one's. Whether the user is new.
    pub(super) fn add_member(&mut self, member: &Member) -> bool {
        let present = self.members.entry(member.id.clone()).or_insert(Present {
            connections: 0,
            info: None,
        });
        present.connections += 1;
        present.info.clone_from(&member.info);
        present.connections == 1
    }

    pub(super) fn remove_member(&mut self, user: &UserId) -> bool {
        let Some(present) = self.members.get_mut(user) else {
            return false;
        };
        present.connections -= 1;
        if present.connections > 0 {
            return false;
        }
        self.members.remove(user);
        true
    }

    pub(super) fn snapshot(&self) -> Vec<Member> {
        self.members
            .iter()
            .map(|(id, present)| Member {
                id: id.clone(),
                info: present.info.clone(),
            })
            .collect()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            subscriptions: self.workers.total(),
            users: self.members.len(),
        }
    }

    /// Whether a changed count may be told now.
    pub(super) fn tells_count(&mut self, now: Instant) -> bool {
        let told = self.workers.total() <= COUNT_ALWAYS
            || self
                .count_told
                .is_none_or(|at| now.saturating_duration_since(at) >= COUNT_INTERVAL);
        if told {
            self.count_told = Some(now);
        }
        told
    }

    /// Whether a change that was not told must be put on the list of those told later: once.
    pub(super) fn becomes_due(&mut self, told: bool) -> bool {
        !told && !std::mem::replace(&mut self.count_due, true)
    }
}
