//! Who owns a session, and questions to single nodes. Everything about one session goes over the link of its bucket.
//!
//! A question is asked again, under the same number, for as long as its answer may come: after a lost connection at once,
//! and for a moment even if nobody listens, since the other node's connection may be the lost one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::Value;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout_at};

use crate::adapter::redis::connection::ValueExt as _;
use crate::adapter::redis::link::asking::{Ask, NotAnswered};
use crate::adapter::redis::link::commands::millis;
use crate::adapter::redis::link::request::Request;
use crate::adapter::redis::{Handle, Redis};
use crate::adapter::{Answerer, AskError, Error, NodeId, Owner, Question};

/// See the script's head.
const OWN: &str = include_str!("../wire/scripts/own_sessions.lua");

/// Questions of this node that are under way at once. Further ones are refused.
pub(in crate::adapter::redis) const MAX_QUESTIONS: usize = 10_000;

/// How long a session's owner is known without being renewed.
const SESSION_LEASE: Duration = Duration::from_secs(90);

/// Sessions that one call renews, so that no call holds up Redis.
const BATCH: usize = 256;

/// For how long nobody may be there before a node counts as gone.
const GONE_AFTER: Duration = Duration::from_secs(2);

/// How soon a question is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A question that is withdrawn if its answer is not awaited to the end.
struct UnderWay<'a> {
    link: &'a Handle,
    node: NodeId,
    number: u64,
    ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.link.post(Request::Withdraw(self.node, self.number));
        }
    }
}

impl Redis {
    /// The call for sessions of one bucket.
    fn own_command(&self, sessions: &[&str], owner: NodeId, lease: Duration) -> redis::Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(OWN).arg(sessions.len());
        for session in sessions {
            command.arg(self.link(session).bucket.session(session));
        }
        command.arg(owner.as_bytes()).arg(millis(lease));
        command
    }

    fn id(&self) -> NodeId {
        NodeId::of(self.node)
    }

    fn owner_of(&self, id: &str) -> Option<Owner> {
        let node = NodeId::parse(id.as_bytes())?;
        Some(match node == self.id() {
            true => Owner::ThisNode,
            false => Owner::Other(node),
        })
    }

    /// Sends a command about a session's owner. If Redis has been away for longer than it is waited for, nobody waits again.
    async fn query_owner(&self, session: &str, command: redis::Cmd) -> Result<Value, Error> {
        self.check_here(session)?;
        self.query(session, command).await
    }

    async fn ask_node(&self, question: Question<'_>) -> Result<bytes::Bytes, AskError> {
        let Question {
            session,
            node,
            text,
            takes,
        } = question;
        let unreachable = || AskError::Unreachable(self.outage(session).into());
        if self.is_away(session) {
            return Err(unreachable());
        }
        let _one = self.questions.try_acquire().map_err(|_| AskError::Busy)?;
        let begun = Instant::now();
        let deadline = begun + takes + self.settings.publish_timeout;
        let budget = timeout_at(deadline.into(), self.acquire_budget(text.len()));
        let _share = budget.await.map_err(|_| unreachable())?;
        let mut under_way = UnderWay {
            link: self.link(session),
            node,
            number: self.events.fetch_add(1, Ordering::Relaxed),
            ended: false,
        };
        let (mut again, mut alone_since) = (false, None);
        loop {
            let (answer, answered) = oneshot::channel();
            under_way.link.post(Request::Ask(Ask {
                node,
                number: under_way.number,
                text: text.clone(),
                again,
                answer,
            }));
            match timeout_at(deadline.into(), answered).await {
                Ok(Ok(Ok(answer))) => {
                    under_way.ended = true;
                    return Ok(answer);
                }
                Ok(Ok(Err(NotAnswered::Busy))) => {
                    under_way.ended = true;
                    return Err(AskError::Busy);
                }
                Ok(Ok(Err(NotAnswered::NobodyThere))) => {
                    let since = *alone_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= GONE_AFTER {
                        under_way.ended = true;
                        return Err(AskError::Gone);
                    }
                }
                Ok(Ok(Err(NotAnswered::Broken)) | Err(_)) => alone_since = None,
                Err(_) => {}
            }
            if Instant::now() + ASK_AGAIN >= deadline {
                return Err(unreachable());
            }
            again = true;
            sleep(ASK_AGAIN).await;
        }
    }
}

/// The other nodes, one by one.
impl Redis {
    /// Makes this node the owner of a session that has none. Returns who owns it now.
    ///
    /// # Errors
    /// Redis did not answer in time.
    pub async fn own(&self, session: &str) -> Result<Owner, Error> {
        let command = self.own_command(&[session], self.id(), SESSION_LEASE);
        let owners = self.query_owner(session, command).await?.texts()?;
        let owner = owners.first().and_then(|id| self.owner_of(id));
        Ok(owner.unwrap_or(Owner::ThisNode))
    }

    /// Returns who owns a session; `None` if nobody does.
    ///
    /// # Errors
    /// Redis did not answer in time.
    pub async fn owner(&self, session: &str) -> Result<Option<Owner>, Error> {
        let mut command = redis::cmd("GET");
        command.arg(self.link(session).bucket.session(session));
        let id = self.query_owner(session, command).await?.text()?;
        Ok(self.owner_of(&id))
    }

    /// Renews the leases of sessions of this node, many in one call, and tells again what Redis has forgotten.
    ///
    /// # Errors
    /// Redis did not answer in time.
    pub async fn renew(&self, sessions: &[Arc<str>]) -> Result<(), Error> {
        for link in &self.links {
            let of_link = |session: &&str| std::ptr::eq(self.link(session), link);
            let sessions = sessions.iter().map(|session| &**session);
            let sessions: Vec<&str> = sessions.filter(of_link).collect();
            for batch in sessions.chunks(BATCH) {
                let command = self.own_command(batch, self.id(), SESSION_LEASE);
                self.query_link(link, batch[0], vec![command]).await?;
            }
        }
        Ok(())
    }

    /// Says that a session has ended with its owner, or that its owner has. It does not wait: if it is lost, the lease
    /// ends by itself.
    pub fn give_up(&self, session: &str, owner: Owner) {
        let owner = match owner {
            Owner::ThisNode => self.id(),
            Owner::Other(node) => node,
        };
        let command = self.own_command(&[session], owner, Duration::ZERO);
        self.send(session, command);
    }

    /// Asks another node. A question that may not have arrived is sent again, and answered once.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, question: Question<'_>) -> Result<bytes::Bytes, AskError> {
        self.metrics.cluster_questions.inc();
        let answered = self.ask_node(question).await;
        if answered.is_err() {
            self.metrics.cluster_questions_unanswered.inc();
        }
        answered
    }

    /// Answers the questions of other nodes from now on. Only the first call counts.
    pub fn answer_with(&self, answerer: Answerer) {
        let _ = self.answerer.set(answerer);
    }
}
