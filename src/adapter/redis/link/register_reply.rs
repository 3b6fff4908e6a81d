//! Handles the reply to a registration: delivers missed events, sends clients the differences, answers waiters.

use std::rc::Rc;
use std::time::Instant;

use redis::Value;
use tracing::{info, warn};

use super::catch_up::LogTail;
use super::commands::millis;
use super::in_flight::Registration;
use super::local_delivery::{KnownPast, LocalDelivery};
use super::topic::{Members, Topic, Turn};
use super::{Link, Resync};
use crate::adapter::redis::connection::{Connection, ConnectionError, ValueExt as _};
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::redis::wire::last_event_codec;
use crate::adapter::redis::wire::message::{Logged, Message, Position, Run, info_of};
use crate::channel_log::{LastEvent, LogBounds, LogId};
use crate::protocol::{ChannelName, SocketId, UserId, WebhookEvent};

/// The reply to a registration; see `scripts/register.lua`.
pub(in crate::adapter::redis) struct Registered {
    log_tail: LogTail,
    pub(super) count: usize,
    /// Sign-ins that Redis has not counted.
    refused: usize,
    occupied: bool,
    pub(super) count_published: bool,
    cache_miss: bool,
    /// The number of what only this reply says: occupied, count published, cache miss, appeared.
    pub(super) told: u64,
    appeared: Vec<String>,
    members: Option<Members>,
    /// The last event of a cache channel, and its place.
    last_event: Option<(LogId, LastEvent)>,
}

impl Link {
    pub(super) fn on_registered(
        &mut self,
        registration: Registration,
        reply: Vec<Value>,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let mut reply = reply.into_iter();
        let status = reply.next().unwrap_or(Value::Nil).text()?;
        let name = &registration.topic;
        let Some(topic) = self.topics.get_mut(name) else {
            return Ok(());
        };
        topic.turn = Turn::Idle;
        if status != "OK" {
            // The lease had ended, and Redis has dropped what this node held. The next heartbeat renews the lease, and
            // everything is registered again.
            topic.full_resync = true;
            topic.waiters.splice(0..0, registration.waiters);
            self.enqueue(name);
            if !std::mem::replace(&mut self.paused, true) {
                self.heartbeat(connection);
            }
            return Ok(());
        }
        let registered = Registered::read(&mut reply, connection.run)?;
        self.told = self.told.max(registered.told);
        if registration.releases {
            return self.on_released(name, &registered);
        }
        self.apply_registered(registration, registered);
        Ok(())
    }

    fn apply_registered(&mut self, registration: Registration, registered: Registered) {
        let name = &registration.topic;
        let Some(topic) = self.topics.get_mut(name) else {
            return;
        };
        let delivery = &self.deps.delivery;
        let source = registration.waiters.iter().find_map(|waiter| waiter.source);
        registered.post_webhooks(delivery, topic, source);
        let is_too_late = registration.after.is_none() && !registration.asks_log;
        if topic.degraded_since.is_some() && !topic.synced && is_too_late {
            // A waiter timed out while this registration was in flight, so the log is needed: register once more.
            topic.dirty = true;
            topic.waiters.splice(0..0, registration.waiters);
            self.enqueue(name);
            return;
        }
        if !topic.synced {
            let log_tail = &registered.log_tail;
            let mut missed = match registration.after {
                Some(last) => log_tail.after(last),
                None => log_tail.within(
                    topic
                        .degraded_since
                        .map_or(0, |since| millis(since.elapsed())),
                ),
            };
            // The loss of Redis' memory has already counted the gap.
            missed.is_complete |= registration.restores;
            self.resync.recovered += missed.events.len();
            self.resync.gaps += usize::from(!missed.is_complete);
            delivery.deliver_missed(topic, &missed);
        }
        topic.position = Some(registered.log_tail.at);
        (topic.synced, topic.degraded_since) = (true, None);
        topic.restored &= !registration.restores;
        let count = registered.count;
        let known = registered.known_past(registration.asks_past);
        if let Some(members) = registered.members {
            if registration.whole {
                delivery.refuse_displaced(topic, &members);
            }
            delivery.sync_members(topic, members, !registration.restores);
            topic.members_complete = true;
        }
        if matches!(topic.subject, Subject::User(_)) && !(registration.restores && count == 0) {
            delivery.set_online(topic, count > 0);
        }
        let mut waiters = registration.waiters;
        if matches!(topic.subject, Subject::User(_)) {
            delivery.refuse_sign_ins(topic, &mut waiters, registered.refused);
        }
        delivery.answer_waiters(topic, waiters, &known);
        // Others may have changed it while this node was away.
        let is_another = registration.whole && !registration.restores && topic.count_sent != count;
        if registered.count_published || (is_another && topic.local.sends_count) {
            delivery.send_count(topic, count);
        }
        if topic.needs_registration() {
            self.enqueue(name);
        }
        self.count_resynced();
    }

    /// Removes a released topic, unless a client has become interested again.
    pub(super) fn on_released(
        &mut self,
        name: &Rc<str>,
        registered: &Registered,
    ) -> Result<(), ConnectionError> {
        let Some(topic) = self.topics.get_mut(name) else {
            return Ok(());
        };
        topic.registered = false;
        registered.post_webhooks(&self.deps.delivery, topic, None);
        if topic.local.interested {
            topic.position = None;
            self.enqueue(name);
        } else {
            self.topics.remove(name);
        }
        self.count_resynced();
        Ok(())
    }

    /// Counts a topic that was registered again after a reconnection, and logs when it is the last one.
    fn count_resynced(&mut self) {
        if self.resync.left == 0 {
            return;
        }
        self.resync.left -= 1;
        if self.resync.left > 0 {
            return;
        }
        let Resync {
            topics,
            recovered,
            gaps,
            ..
        } = self.resync;
        if gaps > 0 {
            warn!(
                channels = gaps,
                recovered,
                "back in the cluster, but the logs did not reach far enough: events of these channels may be lost"
            );
        } else {
            info!(channels = topics, recovered, "back in the cluster");
        }
    }
}

impl Registered {
    /// What it returned of the channel's past; the events only where they were asked for.
    fn known_past(&self, is_asked: bool) -> KnownPast {
        let end = LogId(self.log_tail.at.seq);
        let (events, bounds) = match is_asked {
            true => self.log_tail.events(Instant::now()),
            false => (Vec::new(), LogBounds { begins: end, end }),
        };
        KnownPast {
            last_event: self.last_event.clone(),
            events,
            bounds,
        }
    }

    /// Posts the webhooks of the changes that this registration caused in the cluster.
    fn post_webhooks(&self, delivery: &LocalDelivery, topic: &Topic, source: Option<SocketId>) {
        if self.occupied {
            delivery.post_webhook(topic, &WebhookEvent::ChannelOccupied, source);
        }
        for user in self.appeared.iter().filter_map(|id| UserId::new(id)) {
            delivery.post_webhook(topic, &WebhookEvent::MemberAdded(&user), source);
        }
        // A rule that keeps the last event reports no misses.
        let is_cache = topic.subject.channel().is_some_and(ChannelName::is_cache);
        if self.cache_miss && is_cache {
            delivery.post_webhook(topic, &WebhookEvent::CacheMiss, source);
        }
        if self.count_published {
            let event = WebhookEvent::SubscriptionCount(self.count);
            delivery.post_webhook(topic, &event, source);
        }
    }

    pub(in crate::adapter::redis) fn read(
        reply: &mut impl Iterator<Item = Value>,
        present: Run,
    ) -> Result<Self, ConnectionError> {
        let mut next = || reply.next().unwrap_or(Value::Nil);
        let run = next().bytes()?.unwrap_or_default();
        let seq = next().text()?.parse().unwrap_or_default();
        let (count, refused) = (next().number()?, next().number()?);
        let (occupied, count_published, cache_miss) =
            (next().number()?, next().number()?, next().number()?);
        let appeared = next().texts()?;
        let members = match next() {
            Value::Array(entries) => Some(read_members(entries)?),
            _ => None,
        };
        let log = next().list()?;
        let last_event = next()
            .bytes()?
            .and_then(|bytes| last_event_codec::read(&bytes));
        let log_tail = LogTail {
            // A topic without any event has no run yet.
            at: Position {
                run: run.try_into().unwrap_or(present),
                seq,
            },
            log: log.into_iter().filter_map(read_logged).collect(),
            now: next().text()?.parse().unwrap_or_default(),
        };
        let last_place = LogId(next().text()?.parse().unwrap_or_default());
        let told = next().text()?.parse().unwrap_or_default();
        Ok(Self {
            log_tail,
            count: usize::try_from(count).unwrap_or_default(),
            refused: usize::try_from(refused).unwrap_or_default(),
            occupied: occupied == 1,
            count_published: count_published == 1,
            cache_miss: cache_miss == 1,
            told,
            appeared,
            members,
            last_event: last_event.map(|event| (last_place, event)),
        })
    }
}

pub(crate) fn read_logged(entry: Value) -> Option<Logged> {
    match Message::decode(entry.bytes().ok()??.into())? {
        Message::Logged(logged) => Some(logged),
        _ => None,
    }
}

/// Reads members: user ids, each followed by an entry of the nodes that hold it, a bar and the `user_info`.
pub(crate) fn read_members(entries: Vec<Value>) -> Result<Members, ConnectionError> {
    let mut members = Members::new();
    let mut entries = entries.into_iter();
    while let (Some(user), Some(entry)) = (entries.next(), entries.next()) {
        let (user, entry) = (user.text()?, entry.text()?);
        let info = entry.split_once('|').map_or("", |(_, info)| info);
        if let Some(user) = UserId::new(&user) {
            members.insert(user, info_of(info));
        }
    }
    Ok(members)
}
