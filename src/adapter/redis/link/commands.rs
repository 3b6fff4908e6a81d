//! The commands that a link sends. Each method builds one command and queues it on the connection.

use std::rc::Rc;
use std::time::Duration;

use super::in_flight::{Call, PendingReply, Registration};
use super::register::RegisterCommand;
use super::request::Publish;
use super::shutdown::Shutdown;
use super::topic::Turn;
use super::{Link, LinkDeps};
use crate::adapter::redis::Topology;
use crate::adapter::redis::connection::Connection;
use crate::adapter::redis::settings::Settings;
use crate::adapter::redis::wire::message::WIRE_VERSION;
use crate::adapter::redis::wire::scripts::Script;
use crate::channel_log::LAST_EVENT_TTL;

/// Dead nodes, due counts and vacated channels that the reply to one heartbeat lists, each.
pub(super) const HEARTBEAT_BATCH: usize = 100;

impl Link {
    pub(super) fn heartbeat(&mut self, connection: &mut Connection) {
        let last = matches!(self.shutdown, Shutdown::Flushing(_));
        let bucket = &self.deps.bucket;
        let untold = bucket.untold(&self.deps.node);
        let number = bucket.connection(&self.deps.node);
        let mut keys = vec![
            &bucket.nodes,
            &bucket.wire,
            &bucket.epoch,
            &bucket.due,
            &bucket.linger,
            &untold,
            &number,
        ];
        if self.feed_relay.is_some() {
            keys.push(&bucket.watch);
        }
        let mut command = connection.script(Script::Heartbeat, &keys);
        command
            .arg(&self.deps.node)
            .arg(millis(self.deps.settings.lease))
            .arg(WIRE_VERSION)
            .arg(format!("{:016x}", rand::random::<u64>()))
            .arg(HEARTBEAT_BATCH)
            .arg(u8::from(last))
            .arg(self.told)
            .arg(connection.number);
        if let Some(feed_relay) = &self.feed_relay {
            command.arg(feed_relay.watched(&self.deps.node));
        }
        connection.queue(&command);
        self.in_flight.push(PendingReply::Heartbeat { last });
    }

    pub(super) fn register(&mut self, name: &Rc<str>, connection: &mut Connection) {
        let Some(topic) = self.topics.get_mut(name) else {
            return;
        };
        topic.turn = Turn::Idle;
        if topic.released && !topic.registered && topic.waiters.is_empty() {
            self.topics.remove(name);
            return;
        }
        let releases = topic.released;
        if !releases && !topic.subscribed {
            connection.queue(&self.deps.pubsub("SUBSCRIBE", name));
            self.in_flight.push(PendingReply::Subscribe);
            topic.subscribed = true;
        }
        let after = topic.position.filter(|_| !topic.synced && !releases);
        let (restores, asks_log) = (topic.restored, topic.degraded_since.is_some());
        let asks_past = topic.past_wanted() != (0, None);
        let changes = topic.take_changes();
        let registration =
            RegisterCommand::of(topic, &self.deps.node, &changes, restores, after.as_ref());
        connection.queue(&registration.build(&self.deps, connection));
        self.in_flight.push(PendingReply::Register(Registration {
            topic: Rc::clone(name),
            waiters: std::mem::take(&mut topic.waiters),
            releases,
            after,
            asks_log,
            asks_past,
            whole: changes.whole,
            restores,
        }));
        topic.turn = Turn::InFlight;
        // Redis may have the registration from now on, even if the reply is lost.
        topic.registered = true;
        if releases && topic.subscribed {
            connection.queue(&self.deps.pubsub("UNSUBSCRIBE", name));
            self.in_flight.push(PendingReply::Unsubscribe);
            (topic.subscribed, topic.synced, topic.members_complete) = (false, false, false);
        }
    }

    pub(super) fn send_call(&mut self, call: Call, connection: &mut Connection) {
        match &call {
            Call::Publish(publish) => {
                let command = self.publish_command(publish, connection);
                connection.queue(&command);
            }
            Call::Query(query) => query
                .commands
                .iter()
                .for_each(|command| connection.queue(command)),
        }
        self.in_flight.push(PendingReply::Call(call));
    }

    fn publish_command(&self, publish: &Publish, connection: &Connection) -> redis::Cmd {
        let Publish {
            topic_keys,
            keep,
            once,
            ..
        } = publish;
        let mut keys = vec![
            topic_keys.state.as_str(),
            &topic_keys.log,
            &self.deps.bucket.epoch,
        ];
        if keep.is_some() {
            keys.push(&topic_keys.event);
        }
        let script = match once {
            Some(once) => {
                keys.push(&once.key);
                Script::PublishOnce
            }
            None => Script::Publish,
        };
        let log = self.deps.settings.log;
        let mut command = connection.script(script, &keys);
        command
            .arg(&connection.run)
            .arg(&topic_keys.topic)
            .arg(self.publish_verb())
            .arg(publish.content.kind())
            .arg(publish.content.body(&publish.id))
            .arg(log.events)
            .arg(log.bytes)
            .arg(log.seconds)
            // An event with a key is found in the key's record.
            .arg(u8::from(publish.again && once.is_none()))
            .arg(publish.kept.map_or(0, |kept| kept.events.get()))
            .arg(publish.kept.map_or(0, |kept| kept.seconds.get()));
        if let Some(keep) = keep {
            command.arg(&keep[..]).arg(millis(LAST_EVENT_TTL));
        }
        if let Some(once) = once {
            command
                .arg(&once.content)
                .arg(&once.field)
                .arg(millis(once.window))
                .arg(once.note)
                .arg(&publish.id);
        }
        command
    }

    pub(super) fn publish_verb(&self) -> &'static str {
        publish_verb(&self.deps.settings)
    }

    pub(super) fn flush_count(&mut self, topic_id: String, connection: &mut Connection) {
        let bucket = &self.deps.bucket;
        let keys = [
            bucket.state(&topic_id),
            bucket.due.clone(),
            bucket.untold(&self.deps.node),
        ];
        let mut command = connection.script(Script::FlushCount, &keys);
        command
            .arg(bucket.topic(&topic_id))
            .arg(self.publish_verb())
            .arg(&topic_id);
        connection.queue(&command);
        self.in_flight.push(PendingReply::FlushCount(topic_id));
    }
}

impl LinkDeps {
    /// A command of pub/sub about a topic; in a Redis Cluster the sharded one.
    pub(super) fn pubsub(&self, verb: &str, topic: &str) -> redis::Cmd {
        let is_sharded = matches!(self.settings.topology, Topology::Cluster(_));
        let shard = if is_sharded { "S" } else { "" };
        redis::cmd(&format!("{shard}{verb}")).arg(topic).clone()
    }
}

pub(super) fn publish_verb(settings: &Settings) -> &'static str {
    if matches!(settings.topology, Topology::Cluster(_)) {
        "SPUBLISH"
    } else {
        "PUBLISH"
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
