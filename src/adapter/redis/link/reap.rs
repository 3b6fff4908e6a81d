//! Reaps dead nodes: any node that sees a lease end drops what the dead node has registered, and removes it.

use redis::Value;
use tracing::info;

use super::Link;
use super::in_flight::PendingReply;
use super::register::RegisterCommand;
use super::register_reply::Registered;
use super::shutdown::Shutdown;
use crate::adapter::redis::connection::{Connection, ConnectionError, ValueExt as _};
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::redis::wire::message::Run;
use crate::adapter::redis::wire::scripts::Script;
use crate::protocol::WebhookEvent;

/// Topics of a dead node that are dropped in one go.
const REAP_BATCH: usize = 1000;

impl Link {
    /// Requests some of the topics that a dead node has registered.
    pub(super) fn request_owned_topics(&mut self, node: String, connection: &mut Connection) {
        let is_asked = |reply: &PendingReply| matches!(reply, PendingReply::OwnedTopics(known) | PendingReply::RemoveNode(known) if *known == node);
        if self.in_flight.has(is_asked) {
            return;
        }
        let mut command = redis::cmd("SRANDMEMBER");
        command
            .arg(self.deps.bucket.owned_topics(&node))
            .arg(REAP_BATCH);
        connection.queue(&command);
        self.in_flight.push(PendingReply::OwnedTopics(node));
    }

    /// Drops what a dead node held. Other nodes may do the same at the same time: the scripts apply each step once.
    pub(super) fn reap(
        &mut self,
        node: &str,
        topic_ids: Vec<String>,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        info!(
            dead_node = node,
            topics = topic_ids.len(),
            "a node's lease has ended"
        );
        for topic_id in topic_ids {
            self.drop_topic(node, &topic_id, connection);
        }
        self.remove_node(node.to_owned(), false, connection);
        Ok(())
    }

    fn drop_topic(&mut self, node: &str, topic_id: &str, connection: &mut Connection) {
        let Some((app, subject)) = Subject::parse(topic_id) else {
            return;
        };
        let registration = RegisterCommand::dropping(node, &app, &subject);
        connection.queue(&registration.build(&self.deps, connection));
        self.in_flight
            .push(PendingReply::DropTopic(topic_id.to_owned()));
    }

    pub(super) fn on_dropped(
        &mut self,
        topic_id: &str,
        reply: Vec<Value>,
    ) -> Result<(), ConnectionError> {
        let mut reply = reply.into_iter();
        if reply.next().unwrap_or(Value::Nil).text()? != "OK" {
            return Ok(());
        }
        let registered = Registered::read(&mut reply, Run::default())?;
        self.told = self.told.max(registered.told);
        self.deps.delivery.metrics.cluster_reaped.inc();
        if registered.count_published {
            self.post_webhook(topic_id, &WebhookEvent::SubscriptionCount(registered.count));
        }
        Ok(())
    }

    pub(super) fn remove_node(&mut self, node: String, itself: bool, connection: &mut Connection) {
        let bucket = &self.deps.bucket;
        let mut command = connection.script(
            Script::RemoveNode,
            &[
                bucket.nodes.clone(),
                bucket.owned_topics(&node),
                bucket.untold(&node),
            ],
        );
        command.arg(&node).arg(u8::from(itself));
        connection.queue(&command);
        self.in_flight.push(PendingReply::RemoveNode(node));
    }

    pub(super) fn on_node_removed(
        &mut self,
        node: String,
        left: i64,
        connection: &mut Connection,
    ) -> Result<(), ConnectionError> {
        if node != self.deps.node {
            if left > 0 {
                self.request_owned_topics(node, connection);
            }
            return Ok(());
        }
        match std::mem::replace(&mut self.shutdown, Shutdown::Done) {
            Shutdown::RemovingNode(answer) => {
                let _ = answer.send(());
            }
            other => self.shutdown = other,
        }
        Ok(())
    }
}
