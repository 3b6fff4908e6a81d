//! A session of another node, as its receivers and senders on this one see it.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::wire::{Answer, Attaches, Content, Question};
use super::{HERE_EVERY, WAIT};
use crate::node::{AskError, Node, NodeId, Owner, PeerQuestion, Unavailable};
use crate::protocol::{CloseCode, Line};
use crate::transport::spawn;
use crate::transport::xhr::sessions::{
    self, Ask, Batch, Fetch, Handle, NotSent, Parting, ROOM_PATIENCE, ReceiverId, Sent, Written,
};

/// Questions of a receiver that wait; it has one at a time.
const ASKS: usize = 4;

/// A session that another node owns.
pub(in crate::transport::xhr) struct Remote {
    node: Arc<Node>,
    owner: NodeId,
    session: Box<str>,
}

/// What came of a question for lines.
enum Fetched {
    Batch(Batch),
    /// Another receiver has taken the place, or the session has ended.
    Over,
    /// Its node is gone, or does not know it any more.
    Lost,
    /// The receiver does not wait any more; what it says next.
    Left(Option<Box<Ask>>),
    /// This node shuts down.
    Draining,
}

impl Remote {
    /// The session of that name if another node owns it. If `takes`, this node owns one that nobody does.
    ///
    /// # Errors
    /// It cannot be told now.
    pub(in crate::transport::xhr) async fn find(
        node: &Arc<Node>,
        session: &str,
        takes: bool,
    ) -> Result<Option<Self>, Unavailable> {
        let Some(peers) = node.peers() else {
            return Ok(None);
        };
        let owner = match takes {
            true => Some(peers.own(session).await?),
            false => peers.owner(session).await?,
        };
        Ok(match owner {
            Some(Owner::Other(owner)) => Some(Self {
                node: Arc::clone(node),
                owner,
                session: session.into(),
            }),
            Some(Owner::ThisNode) | None => None,
        })
    }

    /// The way to the session for one receiver, whose request has that number. It is told to come again, to another node,
    /// when `draining` ends.
    pub(in crate::transport::xhr) fn receiver(
        self,
        number: Option<u64>,
        draining: impl Future<Output = ()> + 'static,
    ) -> Handle {
        let (asks, of_receiver) = mpsc::channel(ASKS);
        // Its number goes with its first question.
        let (sends, _) = mpsc::channel(1);
        spawn(self.carry(of_receiver, number, draining));
        Handle { asks, sends }
    }

    /// Sends what a request of the page holds.
    ///
    /// # Errors
    /// It was not taken.
    pub(in crate::transport::xhr) async fn send(&self, sent: Sent) -> Result<(), NotSent> {
        let (messages, bytes) = match sent.content {
            sessions::Content::Messages(messages, bytes) => (Some(messages), bytes),
            sessions::Content::TooBig => (None, 0),
            sessions::Content::Number => (Some(Vec::new()), 0),
        };
        let number = sent.number;
        match self
            .ask(Content::Send {
                number,
                messages,
                bytes,
            })
            .await
        {
            Ok(Answer::Done) => Ok(()),
            Ok(Answer::Full) => Err(NotSent::Full),
            Ok(_) | Err(AskError::Gone) => Err(NotSent::Unknown),
            Err(error @ (AskError::Busy | AskError::Unreachable(_))) => {
                Err(NotSent::Unreachable(error.to_string()))
            }
        }
    }

    async fn ask(&self, content: Content) -> Result<Answer, AskError> {
        let Some(peers) = self.node.peers() else {
            return Err(AskError::Gone);
        };
        let takes = match content {
            Content::Fetch { .. } => WAIT,
            Content::Send { .. } => ROOM_PATIENCE,
            Content::Written { .. } | Content::Here { .. } => std::time::Duration::ZERO,
        };
        let question = Question {
            session: self.session.to_string(),
            content,
        };
        let answer = peers.ask(PeerQuestion {
            session: &self.session,
            node: self.owner,
            text: question.encode(),
            takes,
        });
        let answer = answer.await;
        if answer == Err(AskError::Gone) {
            peers.give_up(&self.session, Owner::Other(self.owner));
        }
        Ok(Answer::decode(&answer?).unwrap_or(Answer::Unknown))
    }

    /// Asks until there are lines.
    async fn fetch(&self, fetch: Fetch, mut attaches: Option<Attaches>) -> Fetched {
        loop {
            let attaches = attaches.take();
            let answer = self.ask(Content::Fetch { fetch, attaches });
            match answer.await {
                Ok(Answer::NotYet) => {}
                Ok(Answer::Batch(batch)) => return Fetched::Batch(batch),
                Ok(Answer::Over) => return Fetched::Over,
                Ok(Answer::Done | Answer::Unknown | Answer::Full) | Err(_) => return Fetched::Lost,
            }
        }
    }

    /// Says what a receiver has written. If that gets lost, the owner takes back after a while what it lent.
    async fn say_written(&self, written: Written) {
        let _ = self.ask(Content::Written(written)).await;
    }

    /// Carries what one receiver asks to the session's node, until it leaves.
    async fn carry(
        self,
        mut asks: mpsc::Receiver<Box<Ask>>,
        number: Option<u64>,
        draining: impl Future<Output = ()>,
    ) {
        let mut draining = pin!(draining);
        // Dropped to tell the receiver that it is over.
        let mut until: Option<oneshot::Sender<()>> = None;
        let mut next = asks.recv().await;
        let mut who = None;
        while let Some(ask) = next.take() {
            match *ask {
                Ask::Fetch {
                    fetch,
                    attach,
                    answer,
                } => {
                    let receiver = fetch.receiver;
                    who = Some(receiver);
                    let attaches = attach.is_some().then_some(Attaches { number });
                    until = attach.or(until);
                    let fetched = tokio::select! {
                        fetched = self.fetch(fetch, attaches) => fetched,
                        () = &mut draining => Fetched::Draining,
                        later = asks.recv() => Fetched::Left(later),
                    };
                    match fetched {
                        // A receiver that has gone says so itself.
                        Fetched::Batch(batch) => drop(answer.send(batch)),
                        Fetched::Over => return,
                        Fetched::Left(later) => {
                            next = later;
                            continue;
                        }
                        Fetched::Lost => return last(Line::open(None), answer, asks).await,
                        Fetched::Draining => {
                            // Before the client is told, since this node may be gone soon after.
                            let (lines, parting) = (0, Parting::Back);
                            self.say_written(Written {
                                receiver,
                                lines,
                                parting,
                            })
                            .await;
                            let code = CloseCode::ShuttingDown;
                            let line = Line::close(code.number(), code.text());
                            return last(line, answer, asks).await;
                        }
                    }
                }
                Ask::Written(written) => {
                    self.say_written(written).await;
                    if written.parting != Parting::Stays {
                        return;
                    }
                }
            }
            next = match self.next(&mut asks, who).await {
                ControlFlow::Continue(ask) => ask,
                ControlFlow::Break(()) => return,
            };
        }
        drop(until);
    }

    /// The receiver's next question. Until it comes the owner is told that the receiver is there.
    async fn next(
        &self,
        asks: &mut mpsc::Receiver<Box<Ask>>,
        who: Option<ReceiverId>,
    ) -> ControlFlow<(), Option<Box<Ask>>> {
        loop {
            if let Ok(ask) = timeout(HERE_EVERY, asks.recv()).await {
                return ControlFlow::Continue(ask);
            }
            let Some(receiver) = who else {
                continue;
            };
            match self.ask(Content::Here { receiver }).await {
                Ok(Answer::Over | Answer::Unknown) | Err(AskError::Gone) => {
                    return ControlFlow::Break(());
                }
                // It will be seen when it asks.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// Sends a receiver its last line, and lets it write that to its end.
async fn last(line: Line, answer: oneshot::Sender<Batch>, mut asks: mpsc::Receiver<Box<Ask>>) {
    let _ = answer.send(Batch {
        number: 0,
        lines: vec![line],
        is_last: true,
    });
    while asks.recv().await.is_some() {}
}
