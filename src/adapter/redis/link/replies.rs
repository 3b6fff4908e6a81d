//! Dispatches what Redis sends, replies and pushed messages, in the order in which it arrives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{PushKind, ServerError, Value};
use tracing::{debug, error, warn};

use super::Link;
use super::commands::HEARTBEAT_BATCH;
use super::in_flight::{Call, PendingReply};
use super::request::PublishReply;
use super::shutdown::Shutdown;
use super::topic::Turn;
use crate::adapter::redis::connection::{Connection, ConnectionError, ValueExt as _, error_text};
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::redis::wire::message::{Message, Position, WIRE_VERSION};
use crate::adapter::{Counts, Taken};
use crate::protocol::{ChannelName, UserId, WebhookEvent};

/// How long other nodes have to register again after a loss of Redis' memory.
const REJOIN_GRACE: Duration = Duration::from_secs(5);

impl Link {
    /// Handles one value that Redis sent.
    pub(super) fn on_value(
        &mut self,
        value: Value,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        match value {
            Value::Push { kind, data } => self.on_push(&kind, data),
            // This server does not serve the bucket, or not now. A new connection sends the commands again.
            Value::ServerError(error) if must_reconnect(&error) => {
                Err(ConnectionError(error_text(&error)))
            }
            value => self.on_reply(value, connection),
        }
    }

    fn on_push(&mut self, kind: &PushKind, data: Vec<Value>) -> Result<(), ConnectionError> {
        match kind {
            PushKind::Message | PushKind::SMessage => {
                let mut data = data.into_iter();
                if let (Some(Value::BulkString(topic)), Some(Value::BulkString(message))) =
                    (data.next(), data.next())
                {
                    self.on_message(&topic, message.into());
                }
                Ok(())
            }
            PushKind::Subscribe
            | PushKind::SSubscribe
            | PushKind::Unsubscribe
            | PushKind::SUnsubscribe => match self.in_flight.oldest().map(|sent| &sent.reply) {
                Some(PendingReply::Subscribe | PendingReply::Unsubscribe) => {
                    self.in_flight.pop();
                    Ok(())
                }
                // Redis sends it unasked when a slot has moved to another server.
                _ => Err(ConnectionError("Redis has ended a subscription".to_owned())),
            },
            _ => Ok(()),
        }
    }

    fn on_message(&mut self, topic: &[u8], bytes: Bytes) {
        let topic = std::str::from_utf8(topic).ok();
        if topic == Some(&self.deps.bucket.feed) {
            return self.on_feed_message(&bytes);
        }
        if topic.is_some_and(|topic| self.on_peer_message(topic, &bytes)) {
            return;
        }
        self.deps.delivery.metrics.cluster_messages_received.inc();
        let Some(topic) = topic.and_then(|name| self.topics.get_mut(name)) else {
            return;
        };
        let delivery = &self.deps.delivery;
        // Until then the reply in flight contains the event.
        if !topic.synced {
            return;
        }
        match Message::decode(bytes) {
            Some(Message::Logged(logged)) => {
                let is_double = |at: Position| at.run == logged.at.run && at.seq >= logged.at.seq;
                if topic.position.is_some_and(is_double) {
                    return;
                }
                topic.position = Some(logged.at);
                delivery.deliver(topic, &logged);
            }
            Some(Message::MemberAdded(member)) => delivery.member_added(topic, &member),
            Some(Message::MemberRemoved(user)) => delivery.member_removed(topic, &user),
            Some(Message::Count(node, _)) if node == self.deps.node => {}
            Some(Message::Count(_, count)) => delivery.send_count(topic, count),
            Some(Message::Online(online)) => delivery.set_online(topic, online),
            None => {
                delivery.metrics.cluster_messages_refused.inc();
                debug!(
                    topic = topic.subject.topic_id(&topic.app),
                    "a message that no node of ours sent"
                );
            }
        }
    }

    fn on_reply(
        &mut self,
        value: Value,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        if let Some(sent) = self.in_flight.oldest_mut()
            && let PendingReply::Call(Call::Query(query)) = &mut sent.reply
        {
            query.replies.push(value);
            if query.replies.len() == query.commands.len()
                && let Some(PendingReply::Call(Call::Query(query))) =
                    self.in_flight.pop().map(|sent| sent.reply)
            {
                let refusal = query.replies.iter().find_map(|reply| match reply {
                    Value::ServerError(error) => Some(error_text(error).into()),
                    _ => None,
                });
                // The caller may have stopped waiting.
                let _ = query.answer.send(refusal.map_or(Ok(query.replies), Err));
            }
            return Ok(());
        }
        let Some(sent) = self.in_flight.pop() else {
            return Err(ConnectionError("Redis replied to nothing".to_owned()));
        };
        if let Value::ServerError(error) = value {
            return self.on_refused(sent.reply, &error);
        }
        match sent.reply {
            PendingReply::Heartbeat { last } => {
                self.on_heartbeat(value.list()?, last, sent.at, connection)
            }
            PendingReply::Register(registration) => {
                self.on_registered(registration, value.list()?, connection)
            }
            PendingReply::Call(Call::Publish(publish)) => {
                let reply = match publish.once {
                    Some(_) => read_once(value)?,
                    // A negative number says that Redis had taken the event before, and did not count.
                    None => PublishReply::Taken(usize::try_from(value.number()?).ok()),
                };
                let _ = publish.answer.send(Ok(reply));
                Ok(())
            }
            PendingReply::OwnedTopics(node) => self.reap(&node, value.texts()?, connection),
            PendingReply::DropTopic(topic_id) => self.on_dropped(&topic_id, value.list()?),
            PendingReply::FlushCount(topic_id) => self.on_count_flushed(&topic_id, value.list()?),
            PendingReply::RemoveNode(node) => {
                self.on_node_removed(node, value.number()?, connection)
            }
            PendingReply::Introduce => self.on_introduced(value.list()?),
            PendingReply::Shares(asked) => self.on_shares(asked, value.list()?),
            PendingReply::PeerMessage(question) => self.on_peer_message_sent(question, value),
            // The number of receivers, or that it was done.
            PendingReply::FeedMessage | PendingReply::Remember(_) => Ok(()),
            // Subscriptions are confirmed by pushed messages, and queries were handled above.
            PendingReply::Subscribe
            | PendingReply::Unsubscribe
            | PendingReply::Call(Call::Query(_)) => {
                Err(ConnectionError("Redis replied out of turn".to_owned()))
            }
        }
    }

    fn on_count_flushed(
        &mut self,
        topic_id: &str,
        reply: Vec<Value>,
    ) -> Result<(), ConnectionError> {
        let mut reply = reply.into_iter();
        let mut next = || reply.next().unwrap_or(Value::Nil);
        let (count, told) = (next().number()?, next().text()?);
        self.told = self.told.max(told.parse().unwrap_or_default());
        if let Ok(count @ 1..) = usize::try_from(count) {
            self.post_webhook(topic_id, &WebhookEvent::SubscriptionCount(count));
        }
        Ok(())
    }

    /// Handles an error reply: Redis is out of memory, or its ACL forbids the command.
    fn on_refused(
        &mut self,
        reply: PendingReply,
        error: &ServerError,
    ) -> Result<(), ConnectionError> {
        let text = error_text(error);
        match reply {
            PendingReply::Call(Call::Publish(publish)) => {
                let _ = publish.answer.send(Err(text.into()));
                Ok(())
            }
            PendingReply::Register(registration) => {
                warn!(
                    reason = text,
                    "Redis refuses a registration, it is tried again"
                );
                if let Some(topic) = self.topics.get_mut(&registration.topic) {
                    topic.turn = Turn::Idle;
                    topic.full_resync = true;
                    topic.waiters.splice(0..0, registration.waiters);
                    self.refused_topics.push(registration.topic);
                }
                Ok(())
            }
            PendingReply::PeerMessage(question) => {
                warn!(reason = text, "Redis refuses a message to another node");
                self.asking.on_not_sent(question);
                Ok(())
            }
            PendingReply::FlushCount(_)
            | PendingReply::DropTopic(_)
            | PendingReply::OwnedTopics(_)
            | PendingReply::RemoveNode(_)
            | PendingReply::FeedMessage
            | PendingReply::Introduce
            | PendingReply::Shares(_)
            | PendingReply::Remember(_) => {
                warn!(
                    reason = text,
                    "Redis refuses housekeeping, it is tried again"
                );
                Ok(())
            }
            PendingReply::Heartbeat { .. }
            | PendingReply::Subscribe
            | PendingReply::Unsubscribe
            | PendingReply::Call(Call::Query(_)) => Err(ConnectionError(text)),
        }
    }

    fn on_heartbeat(
        &mut self,
        reply: Vec<Value>,
        last: bool,
        asked: Instant,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        let mut reply = reply.into_iter();
        let mut next = || reply.next().unwrap_or(Value::Nil);
        let (status, epoch) = (next().text()?, next().text()?);
        if status == "WIRE" {
            return Err(self.wire_mismatch(&epoch));
        }
        let has_lapsed = next().number()? == 1;
        let (dead, counts, told) = (next().texts()?, next().texts()?, next().texts()?);
        let nodes = usize::try_from(next().number()?).unwrap_or_default();
        let watched = next().texts()?;

        let round_trip = asked.elapsed();
        self.deps
            .state
            .send_modify(|state| state.goes_up(round_trip, nodes));
        let has_forgotten = self.epoch.as_ref().is_some_and(|known| *known != epoch);
        self.epoch = Some(epoch);
        if has_forgotten {
            self.on_memory_loss();
        }
        let has_lost = has_lapsed || has_forgotten;
        if self.paused || has_lost {
            self.paused = false;
            self.resync_all();
        }
        self.lease_shares((nodes, asked), has_lost, connection);
        self.update_feed_watches(&watched, connection);
        for node in dead {
            self.request_owned_topics(node, connection);
        }
        let counts_due = counts.len();
        for topic_id in counts {
            self.flush_count(topic_id, connection);
        }
        let posted = self.on_told(&told);
        if counts_due >= HEARTBEAT_BATCH || posted >= HEARTBEAT_BATCH {
            self.heartbeat(connection);
        } else if last && matches!(self.shutdown, Shutdown::Flushing(_)) {
            self.remove_self(connection);
        }
        Ok(())
    }

    /// Posts what only this node is told, as `heartbeat.lua` writes it, and no reply has said before; how much.
    fn on_told(&mut self, told: &[String]) -> usize {
        let (known, mut posted) = (self.told, 0);
        for text in told {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = text.split_at(digits);
            let number = number.parse().unwrap_or_default();
            self.told = self.told.max(number);
            if number <= known {
                continue;
            }
            let kind = rest.bytes().next();
            let subject = rest.get(1..).unwrap_or_default();
            let (topic_id, more) = subject.split_once('\0').unwrap_or((subject, ""));
            let user = UserId::new(more);
            let event = match (kind, &user) {
                (Some(b'C'), _) => WebhookEvent::ChannelOccupied,
                (Some(b'M'), Some(user)) => WebhookEvent::MemberAdded(user),
                // A rule that keeps the last event reports no misses.
                (Some(b'N'), _) if is_cache(topic_id) => WebhookEvent::CacheMiss,
                (Some(b'S'), _) => {
                    WebhookEvent::SubscriptionCount(more.parse().unwrap_or_default())
                }
                (Some(b'G'), None) => WebhookEvent::ChannelVacated,
                (Some(b'G'), Some(user)) => WebhookEvent::MemberRemoved(user),
                _ => continue,
            };
            self.post_webhook(topic_id, &event);
            posted += 1;
        }
        posted
    }

    /// Reports that the live nodes speak another wire version.
    fn wire_mismatch(&mut self, version: &str) -> ConnectionError {
        let problem = format!(
            "the nodes under the prefix {:?} speak wire version {version}, this one {WIRE_VERSION}: run nodes of one \
             version, or give this one another prefix",
            self.deps.settings.prefix
        );
        error!("{problem}");
        let refused: Arc<str> = problem.as_str().into();
        self.deps
            .state
            .send_modify(|state| state.refused = Some(refused));
        ConnectionError(problem)
    }

    /// Handles a loss of Redis' memory. Registrations are restored without notifying clients or webhooks, and members of
    /// other nodes stay until those nodes have had [`REJOIN_GRACE`] to come back.
    fn on_memory_loss(&mut self) {
        let mut channels = 0;
        for topic in self.topics.values_mut().filter(|topic| topic.registered) {
            topic.restored = true;
            channels += 1;
        }
        self.deps.delivery.metrics.cluster_gaps.inc_by(channels);
        warn!(
            channels,
            "Redis has lost its memory: everything is registered again; events that it took last may not have arrived"
        );
        self.recheck_at = Some(Instant::now() + REJOIN_GRACE);
    }

    /// Posts a webhook of a channel that may have no subscribers here.
    pub(super) fn post_webhook(&self, topic_id: &str, event: &WebhookEvent<'_>) {
        if let Some((app, Subject::Channel(channel))) = Subject::parse(topic_id) {
            let webhooks = &self.deps.delivery.webhooks;
            webhooks.post(&app, &channel, event, None);
        }
    }
}

fn is_cache(topic_id: &str) -> bool {
    let subject = Subject::parse(topic_id).map(|(_, subject)| subject);
    subject.is_some_and(|subject| subject.channel().is_some_and(ChannelName::is_cache))
}

/// The reply of `scripts/publish_once.lua`.
fn read_once(value: Value) -> Result<PublishReply, ConnectionError> {
    let mut numbers = value.list()?.into_iter();
    let mut next = || numbers.next().unwrap_or(Value::Nil).number();
    let (status, subscriptions, users, note) = (next()?, next()?, next()?, next()?);
    if status == 2 {
        return Ok(PublishReply::OtherContent);
    }
    Ok(PublishReply::Once(Taken {
        is_repeat: status == 1,
        note: u8::try_from(note).unwrap_or_default(),
        counts: Counts {
            subscriptions: usize::try_from(subscriptions).unwrap_or_default(),
            users: usize::try_from(users).unwrap_or_default(),
        },
    }))
}

/// Whether the command must be sent to another server, or to this one later.
fn must_reconnect(error: &ServerError) -> bool {
    const CODES: [&str; 8] = [
        "MOVED",
        "ASK",
        "TRYAGAIN",
        "CLUSTERDOWN",
        "MASTERDOWN",
        "READONLY",
        "LOADING",
        "NOSCRIPT",
    ];
    CODES.contains(&error.code())
}
