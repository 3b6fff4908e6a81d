//! Who left a moment ago: webhooks say that a channel was vacated or a member removed only after a delay, and a
//! return within it cancels both what was to be said of the leaving and what would be said of the return.
//!
//! One instance per registry shard, under its lock, so what is told of one channel or member alternates strictly.
//! Everything in here goes after the delay, whether its channel still exists or not.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::{Join, Leave};
use crate::app::AppId;
use crate::protocol::{ChannelName, SocketId, UserId};
use crate::slack::Slack as _;

/// A channel, or with a user one of its members.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    app: AppId,
    channel: ChannelName,
    user: Option<UserId>,
}

/// What is told once somebody has stayed away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vacated<'a> {
    /// The channel's last subscription.
    Channel,
    /// The member's last connection.
    Member(&'a UserId),
}

#[derive(Debug, Default)]
pub(super) struct VacateDelay {
    gone: HashMap<Key, Gone>,
    /// Every leaving as it came, by its serial; stale where there was a return. All linger equally long, so the
    /// order of leaving is the order of what is due.
    due: VecDeque<(Instant, u64, Key)>,
    serial: u64,
}

#[derive(Debug)]
struct Gone {
    serial: u64,
    /// The connection that left last.
    last: Option<SocketId>,
    /// Whether a miss of this cache channel has been told since its last value.
    missed: bool,
}

impl VacateDelay {
    /// A subscription was counted. Whether webhooks say that the channel is occupied, and that the member was added.
    pub(super) fn arrives(
        &mut self,
        join: &Join<'_>,
        channel: &mut Channel,
        member_added: bool,
    ) -> (bool, bool) {
        let mut occupied = channel.workers.total() == 1 && join.channel.kind().is_listed();
        if occupied && let Some(gone) = self.returns(join.app, join.channel, None) {
            channel.missed = gone.missed;
            occupied = false;
        }
        let user = join.member.map(|member| &member.id);
        let appeared = member_added && self.returns(join.app, join.channel, user).is_none();
        (occupied, appeared)
    }

    /// A subscription was uncounted, `channel` being what is left.
    pub(super) fn departs(
        &mut self,
        leave: &Leave<'_>,
        channel: &Channel,
        member_removed: bool,
        now: Instant,
    ) {
        if member_removed {
            let key = key(leave.app, leave.channel, leave.user);
            self.leaves(key, leave.lingers, false, now);
        }
        if channel.workers.total() == 0 && leave.channel.kind().is_listed() {
            let missed = channel.missed;
            let key = key(leave.app, leave.channel, None);
            self.leaves(key, leave.lingers, missed, now);
        }
    }

    fn leaves(&mut self, key: Key, last: Option<SocketId>, missed: bool, now: Instant) {
        self.serial += 1;
        let serial = self.serial;
        self.due.push_back((now, serial, key.clone()));
        let gone = Gone {
            serial,
            last,
            missed,
        };
        self.gone.insert(key, gone);
    }

    fn returns(
        &mut self,
        app: &AppId,
        channel: &ChannelName,
        user: Option<&UserId>,
    ) -> Option<Gone> {
        // Most of the time nobody lingers, and no key need be made.
        if self.gone.is_empty() {
            return None;
        }
        let gone = self.gone.remove(&key(app, channel, user));
        self.gone.give_back();
        gone
    }

    /// A cache channel has a value again.
    pub(super) fn filled(&mut self, app: &AppId, channel: &ChannelName) {
        if self.gone.is_empty() {
            return;
        }
        if let Some(gone) = self.gone.get_mut(&key(app, channel, None)) {
            gone.missed = false;
        }
    }

    /// Tells of those who left at least `delay` ago and have not returned.
    pub(super) fn due(
        &mut self,
        delay: Duration,
        now: Instant,
        tell: &mut impl FnMut(&AppId, &ChannelName, Vacated<'_>, Option<SocketId>),
    ) {
        while self
            .due
            .front()
            .is_some_and(|(at, ..)| now.saturating_duration_since(*at) >= delay)
        {
            let Some((_, serial, key)) = self.due.pop_front() else {
                break;
            };
            self.due.give_back();
            if self.gone.get(&key).is_none_or(|gone| gone.serial != serial) {
                continue;
            }
            let last = self.gone.remove(&key).and_then(|gone| gone.last);
            self.gone.give_back();
            let vacated = key.user.as_ref().map_or(Vacated::Channel, Vacated::Member);
            tell(&key.app, &key.channel, vacated, last);
        }
    }
}

fn key(app: &AppId, channel: &ChannelName, user: Option<&UserId>) -> Key {
    Key {
        app: app.clone(),
        channel: channel.clone(),
        user: user.cloned(),
    }
}
