//! The queues and deadlines of a link: requests that came in, topics that wait for a registration, waiters that time
//! out.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::in_flight::Call;
use super::request::{LocalChange, Request, Waiter};
use super::shutdown::Shutdown;
use super::topic::{Topic, Turn};
use super::{Link, Resync};
use crate::adapter::redis::connection::Connection;
use crate::adapter::redis::wire::keys::Subject;
use crate::slack::Slack as _;

/// How long a topic stays subscribed after the last client here lost interest, so that reloading a page does not
/// subscribe and unsubscribe it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Topics that may stay subscribed without interest. The oldest goes first.
const MAX_IDLE: usize = 10_000;

impl Link {
    /// Queues all topics for a full registration.
    pub(super) fn resync_all(&mut self) {
        self.resync = Resync {
            left: self.topics.len(),
            topics: self.topics.len(),
            ..Resync::default()
        };
        for (name, topic) in &mut self.topics {
            topic.full_resync = true;
            if !topic.local.interested {
                topic.released = true;
            }
            if topic.turn == Turn::Idle {
                topic.turn = Turn::Queued;
                self.register_queue.push_back(Rc::clone(name));
            }
        }
        self.down_since = None;
    }

    /// Whether this node serves its clients without Redis.
    pub(super) fn is_degraded(&self) -> bool {
        self.down_since.is_some()
    }

    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::LocalChange(change) => self.apply_local_change(change),
            Request::Publish(publish) => self
                .waiting_calls
                .push_back(Call::Publish(Box::new(publish))),
            Request::Query(query) => self.waiting_calls.push_back(Call::Query(query)),
            Request::Remember(key, change) => {
                let metrics = &self.deps.delivery.metrics;
                self.positions.add(key, change, metrics);
            }
            Request::Ask(ask) => self.asking.ask(ask),
            Request::Withdraw(node, number) => self.asking.withdraw(node, number),
            Request::LocalOnlyEvent(event) => self.deps.delivery.deliver_local_only(&event),
            Request::Shutdown(answer) => {
                self.shutdown = Shutdown::Releasing(answer);
                for topic in self.topics.values_mut() {
                    topic.local.interested = false;
                    topic.released = true;
                }
                let names: Vec<Rc<str>> = self.topics.keys().cloned().collect();
                for name in names {
                    self.enqueue(&name);
                }
            }
        }
    }

    pub(super) fn apply_local_change(&mut self, local_change: LocalChange) {
        let now = Instant::now();
        let topic_id = local_change.subject.topic_id(&local_change.app);
        let name: Rc<str> = self.deps.bucket.topic(&topic_id).into();
        let (is_degraded, timeout) = (self.is_degraded(), self.deps.settings.publish_timeout);
        let (change, deadline) = (
            local_change.change.clone(),
            local_change
                .waiter
                .as_ref()
                .map(|waiter| waiter.since + timeout),
        );
        let topic = match self.topics.get_mut(&name) {
            Some(topic) => topic,
            // The topic was dropped before Redis knew of it, so there is nothing to release.
            None if !local_change.local.interested => return,
            None => {
                let topic = Topic::new(
                    local_change.app.clone(),
                    local_change.subject.clone(),
                    local_change.local,
                );
                self.topics.entry(Rc::clone(&name)).or_insert(topic)
            }
        };
        topic.apply(local_change, now);
        if is_degraded {
            self.deps.delivery.apply_degraded(topic, change.as_ref());
        }
        if !topic.local.interested {
            if !topic.registered && topic.turn != Turn::InFlight && topic.waiters.is_empty() {
                self.topics.remove(&name);
                return;
            }
            self.idle_topics.push_back((now, Rc::clone(&name)));
        }
        if let Some(deadline) = deadline {
            self.waiter_deadlines
                .push_back((deadline, Rc::clone(&name)));
        }
        self.enqueue(&name);
    }

    /// Queues a topic for a registration, unless it is queued or one is in flight.
    pub(super) fn enqueue(&mut self, name: &Rc<str>) {
        if let Some(topic) = self.topics.get_mut(name)
            && topic.turn == Turn::Idle
        {
            topic.turn = Turn::Queued;
            self.register_queue.push_back(Rc::clone(name));
        }
    }

    /// Sends queued registrations and calls, as far as the bounds allow.
    pub(super) fn send_waiting(&mut self, connection: &mut Connection) {
        if self.paused {
            return;
        }
        self.send_positions(connection);
        self.send_to_peers(connection);
        let log_bytes = self.deps.settings.log.bytes;
        while !connection.is_full() && self.in_flight.takes_registrations(log_bytes) {
            let Some(name) = self.register_queue.pop_front() else {
                break;
            };
            self.register(&name, connection);
        }
        while !connection.is_full() && self.in_flight.takes_calls() {
            match self.waiting_calls.pop_front() {
                Some(call) if call.is_wanted() => self.send_call(call, connection),
                Some(_) => {}
                None => break,
            }
        }
    }

    /// Applies all deadlines, and gives back memory that queues no longer need.
    pub(super) fn expire(&mut self, now: Instant) {
        self.expire_waiters(now);
        self.release_idle(now);
        self.topics.give_back();
        self.register_queue.give_back();
        self.idle_topics.give_back();
        self.waiter_deadlines.give_back();
        self.waiting_calls.give_back();
        // All calls time out after the same time, so those whose callers have gone are at the front.
        while self
            .waiting_calls
            .front()
            .is_some_and(|call| !call.is_wanted())
        {
            self.waiting_calls.pop_front();
        }
    }

    fn release_idle(&mut self, now: Instant) {
        while let Some((since, name)) = self.idle_topics.front() {
            let is_over = now.saturating_duration_since(*since) >= IDLE_TIMEOUT;
            if !is_over && self.idle_topics.len() <= MAX_IDLE {
                break;
            }
            let (since, name) = (*since, Rc::clone(name));
            self.idle_topics.pop_front();
            if let Some(topic) = self.topics.get_mut(&name)
                && topic.idle_since == Some(since)
            {
                topic.released = true;
                self.enqueue(&name);
            }
        }
    }

    /// Fetches all members and states once more after a loss of Redis' memory. Members whose nodes have not come back by
    /// now are gone.
    pub(super) fn recheck_members(&mut self, now: Instant) {
        if self.recheck_at.is_none_or(|at| now < at) {
            return;
        }
        self.recheck_at = None;
        let states: Vec<Rc<str>> = self
            .topics
            .iter_mut()
            .filter(|(_, topic)| {
                topic.subject.is_presence() || matches!(topic.subject, Subject::User(_))
            })
            .map(|(name, topic)| {
                (topic.members_complete, topic.dirty) = (false, true);
                Rc::clone(name)
            })
            .collect();
        for name in &states {
            self.enqueue(name);
        }
    }

    /// Answers waiters that have timed out with what this node knows. If Redis has been away for longer than the time-out,
    /// they are answered at once.
    fn expire_waiters(&mut self, now: Instant) {
        let timeout = self.deps.settings.publish_timeout;
        let away = |since: Instant| now.saturating_duration_since(since) >= timeout;
        let is_away = self.down_since.is_some_and(away);
        while let Some((deadline, name)) = self.waiter_deadlines.front() {
            if *deadline > now && !is_away {
                break;
            }
            let name = Rc::clone(name);
            self.waiter_deadlines.pop_front();
            let Some(topic) = self.topics.get_mut(&name) else {
                continue;
            };
            let overdue = |waiter: &mut Waiter| is_away || waiter.since + timeout <= now;
            let mut waiters: Vec<Waiter> = topic.waiters.extract_if(.., overdue).collect();
            let registrations = self.in_flight.registrations_mut();
            for registration in registrations.filter(|registration| registration.topic == name) {
                waiters.extend(registration.waiters.extract_if(.., overdue));
            }
            self.deps.delivery.answer_waiters_degraded(topic, waiters);
        }
    }
}
