//! Questions from node to node: those of this node, whose answers are awaited, and those of others, each of which a task
//! answers.
//!
//! A question that is under way when the connection breaks is given back to who asked, who asks again under the same
//! number. Whoever answers recognises it: an answer that changed something is short, and the last ones are kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use redis::Value;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::debug;

use super::Link;
use super::in_flight::PendingReply;
use crate::adapter::redis::connection::{Connection, ConnectionError, ValueExt as _};
use crate::adapter::redis::wire::peer_message::{Content, PeerMessage};
use crate::adapter::{Answerer, NodeId};
use crate::slack::Slack as _;
use crate::supervise;

/// Questions of other nodes that are being answered at once. Further ones are told that they are too many.
const MAX_ANSWERING: usize = 10_000;

/// Bytes of messages that wait to be sent. Beyond it answers wait where they were made.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// Answers that are kept for questions that come again.
const MAX_KEPT: usize = 4096;

/// The bytes of the longest answer that is kept.
const KEPT_BYTES: usize = 64;

/// A question of this node.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) node: NodeId,
    /// This node uses it once, and again for the same question.
    pub(crate) number: u64,
    pub(crate) text: Bytes,
    pub(crate) again: bool,
    pub(crate) answer: oneshot::Sender<Result<Bytes, NotAnswered>>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAnswered {
    /// No node of that id listens.
    NobodyThere,
    /// The node answers no more questions now.
    Busy,
    /// The connection to Redis broke, or there is none.
    Broken,
}

/// A question of another node: who asks, and the number.
type Asked = (NodeId, u64);

/// The questions of one link.
pub(super) struct Asking {
    /// Where this node gets messages.
    topic: String,
    node: NodeId,
    answerer: Arc<OnceLock<Answerer>>,
    is_connected: bool,
    waiting: VecDeque<(NodeId, PeerMessage)>,
    waiting_bytes: usize,
    /// The questions of this node.
    questions: HashMap<u64, oneshot::Sender<Result<Bytes, NotAnswered>>>,
    /// Those of others.
    answering: HashMap<Asked, AbortHandle>,
    tasks: JoinSet<(Asked, Bytes)>,
    kept: VecDeque<(Asked, Bytes)>,
}

impl Asking {
    pub(super) fn new(node: NodeId, topic: String, answerer: Arc<OnceLock<Answerer>>) -> Self {
        Self {
            topic,
            node,
            answerer,
            is_connected: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            questions: HashMap::new(),
            answering: HashMap::new(),
            tasks: JoinSet::new(),
            kept: VecDeque::new(),
        }
    }

    /// Takes a question of this node.
    pub(super) fn ask(&mut self, ask: Ask) {
        if !self.is_connected {
            let _ = ask.answer.send(Err(NotAnswered::Broken));
            return;
        }
        self.questions.insert(ask.number, ask.answer);
        let (text, again) = (ask.text, ask.again);
        self.put(ask.node, ask.number, Content::Question { text, again });
    }

    /// Nobody waits for the answer any more.
    pub(super) fn withdraw(&mut self, node: NodeId, number: u64) {
        if self.questions.remove(&number).is_some() {
            self.questions.give_back();
            self.put(node, number, Content::Withdrawn);
        }
    }

    fn put(&mut self, to: NodeId, number: u64, content: Content) {
        let message = PeerMessage {
            from: self.node,
            number,
            content,
        };
        self.waiting_bytes += message.text_bytes();
        self.waiting.push_back((to, message));
    }

    /// Whether answers may be taken from their tasks.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_bytes < MAX_WAITING_BYTES && !self.tasks.is_empty()
    }

    /// Waits for the next answer to a question of another node.
    pub(super) async fn next_answer(&mut self) -> Option<Result<(Asked, Bytes), JoinError>> {
        self.tasks.join_next().await
    }

    /// Sends an answer; nothing if its question was withdrawn.
    pub(super) fn on_answer(&mut self, answer: Result<(Asked, Bytes), JoinError>) {
        let Ok((asked, text)) = answer else {
            return;
        };
        if self.answering.remove(&asked).is_none() {
            return;
        }
        self.answering.give_back();
        if text.len() <= KEPT_BYTES {
            if self.kept.len() >= MAX_KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back((asked, text.clone()));
        }
        self.put(asked.0, asked.1, Content::Answer(text));
    }

    fn on_question(&mut self, asked: Asked, text: Bytes, again: bool) {
        if self.answering.contains_key(&asked) {
            return;
        }
        if again && let Some((_, text)) = self.kept.iter().rev().find(|(known, _)| *known == asked)
        {
            let text = text.clone();
            return self.put(asked.0, asked.1, Content::Answer(text));
        }
        match self.answerer.get() {
            Some(answerer) if self.answering.len() < MAX_ANSWERING => {
                let answer = answerer(text);
                let task = async move { (asked, answer.await) };
                let task = self.tasks.spawn_local(supervise::counted(task));
                self.answering.insert(asked, task);
            }
            _ => self.put(asked.0, asked.1, Content::Busy),
        }
    }

    fn on_message(&mut self, message: PeerMessage) {
        let PeerMessage {
            from,
            number,
            content,
        } = message;
        let answer = match content {
            Content::Question { text, again } => {
                return self.on_question((from, number), text, again);
            }
            Content::Withdrawn => {
                if let Some(task) = self.answering.remove(&(from, number)) {
                    task.abort();
                }
                return;
            }
            Content::Answer(text) => Ok(text),
            Content::Busy => Err(NotAnswered::Busy),
        };
        self.settle(number, answer);
    }

    /// Gives a question its answer, if somebody waits for it.
    fn settle(&mut self, number: u64, answer: Result<Bytes, NotAnswered>) {
        if let Some(waiting) = self.questions.remove(&number) {
            self.questions.give_back();
            let _ = waiting.send(answer);
        }
    }

    /// A message has reached nobody.
    pub(super) fn on_not_sent(&mut self, question: Option<u64>) {
        if let Some(number) = question {
            self.settle(number, Err(NotAnswered::NobodyThere));
        }
    }

    pub(super) fn on_disconnected(&mut self) {
        self.is_connected = false;
        (self.waiting, self.waiting_bytes) = (VecDeque::new(), 0);
        for (_, waiting) in std::mem::take(&mut self.questions) {
            let _ = waiting.send(Err(NotAnswered::Broken));
        }
    }
}

impl Link {
    /// Listens to what other nodes ask and answer.
    pub(super) fn listen_to_peers(&mut self, connection: &mut Connection) {
        connection.queue(&self.deps.pubsub("SUBSCRIBE", &self.asking.topic));
        self.in_flight.push(PendingReply::Subscribe);
        self.asking.is_connected = true;
    }

    /// Sends questions and answers, as far as there is room.
    pub(super) fn send_to_peers(&mut self, connection: &mut Connection) {
        while !connection.is_full()
            && let Some((to, message)) = self.asking.waiting.pop_front()
        {
            self.asking.waiting_bytes -= message.text_bytes();
            let mut command = redis::cmd(self.publish_verb());
            command.arg(self.deps.bucket.node_topic(to));
            connection.queue(command.arg(&message.encode()[..]));
            let is_question = matches!(message.content, Content::Question { .. });
            let number = is_question.then_some(message.number);
            self.in_flight.push(PendingReply::PeerMessage(number));
        }
        self.asking.waiting.give_back();
    }

    /// Handles how many nodes got a message: if it was a question, and none, nobody will answer it.
    pub(super) fn on_peer_message_sent(
        &mut self,
        question: Option<u64>,
        receivers: Value,
    ) -> Result<(), ConnectionError> {
        if receivers.number()? == 0 {
            self.asking.on_not_sent(question);
        }
        Ok(())
    }

    /// Handles a message on `topic`. Returns whether it was for this node alone.
    pub(super) fn on_peer_message(&mut self, topic: &str, bytes: &Bytes) -> bool {
        if topic != self.asking.topic {
            return false;
        }
        match PeerMessage::decode(bytes.clone()) {
            Some(message) => self.asking.on_message(message),
            None => {
                self.deps.delivery.metrics.cluster_messages_refused.inc();
                debug!("a message that no node of ours sent to this one");
            }
        }
        true
    }
}
