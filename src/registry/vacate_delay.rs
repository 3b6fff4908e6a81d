//! Delays the webhooks `channel_vacated` and `member_removed`. A return within the delay cancels them, and the
//! `channel_occupied` or `member_added` of the return too.
//!
//! Each registry shard has one [`VacateDelay`] under its lock, so the webhooks of one channel or member alternate
//! strictly. Every entry ends after the delay, whether its channel still exists or not.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::{EndedSubscription, NewSubscription};
use crate::app::AppId;
use crate::protocol::{ChannelName, SocketId, UserId};
use crate::slack::Slack as _;

/// A channel, or one of its members if there is a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    app: AppId,
    channel: ChannelName,
    user: Option<UserId>,
}

/// What webhooks report after the delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vacated<'a> {
    /// The channel's last subscription ended.
    Channel,
    /// The member's last connection left.
    Member(&'a UserId),
}

#[derive(Debug, Default)]
pub(super) struct VacateDelay {
    gone: HashMap<Key, Gone>,
    /// All leavings in their order, with their serials. An entry is stale if `gone` has no such serial. The delay is the
    /// same for all, so this is also the order in which they are due.
    due: VecDeque<(Instant, u64, Key)>,
    serial: u64,
}

#[derive(Debug)]
struct Gone {
    serial: u64,
    /// The last connection that left.
    last: Option<SocketId>,
    /// Whether a miss of this cache channel was reported since its last event.
    missed: bool,
}

impl VacateDelay {
    /// Handles a new subscription. Returns whether webhooks report `channel_occupied`, and `member_added`.
    pub(super) fn on_subscribe(
        &mut self,
        new: &NewSubscription<'_>,
        channel: &mut Channel,
        member_added: bool,
    ) -> (bool, bool) {
        let mut occupied = channel.workers.total() == 1 && new.channel.kind().is_listed();
        if occupied && let Some(gone) = self.returns(new.app, new.channel, None) {
            channel.missed = gone.missed;
            occupied = false;
        }
        let user = new.member.map(|member| &member.id);
        let appeared = member_added && self.returns(new.app, new.channel, user).is_none();
        (occupied, appeared)
    }

    /// Handles the end of a subscription. `channel` is the channel without it.
    pub(super) fn on_unsubscribe(
        &mut self,
        ended: &EndedSubscription<'_>,
        channel: &Channel,
        member_removed: bool,
        now: Instant,
    ) {
        if member_removed {
            let key = key(ended.app, ended.channel, ended.user);
            self.leaves(key, ended.lingers, false, now);
        }
        if channel.workers.total() == 0 && ended.channel.kind().is_listed() {
            let missed = channel.missed;
            let key = key(ended.app, ended.channel, None);
            self.leaves(key, ended.lingers, missed, now);
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
        // Most of the time nothing is delayed, and no key need be allocated.
        if self.gone.is_empty() {
            return None;
        }
        let gone = self.gone.remove(&key(app, channel, user));
        self.gone.give_back();
        gone
    }

    /// Handles an event of a cache channel, which has a last event again.
    pub(super) fn filled(&mut self, app: &AppId, channel: &ChannelName) {
        if self.gone.is_empty() {
            return;
        }
        if let Some(gone) = self.gone.get_mut(&key(app, channel, None)) {
            gone.missed = false;
        }
    }

    /// Calls `tell` for each channel and member that left at least `delay` ago and has not returned.
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
