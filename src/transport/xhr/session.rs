//! One session of pusher-js over HTTP, on the worker that it was opened on: messages → commands, lines → the desk.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};

use super::desk::Desk;
use super::order::Order;
use super::sessions::{Content, Opening, Sent};
use crate::hub::{Ending, Peer};
use crate::limits::Admission;
use crate::node::{Node, Owner, Session};
use crate::protocol::{CloseCode, Line};
use crate::transport::commands::Commands;
use crate::transport::{CLOSE_TIMEOUT, lifecycle};

/// The whole life of a session that was let in.
pub(super) async fn serve(node: Arc<Node>, peer: Rc<Peer>, opening: Opening, admission: Admission) {
    lifecycle::connected(&node, &peer);
    let mut desk = Desk::new(Rc::clone(&peer), opening.asks);
    let mut reader = Reader {
        commands: Commands {
            session: Session::new(Rc::clone(&peer)),
            node: Arc::clone(&node),
        },
        sends: opening.sends,
        order: Order::default(),
        timer: None,
    };
    let ending = {
        let mut reading = pin!(reader.read());
        poll_fn(|cx| {
            if let Poll::Ready(ending) = peer.poll(cx) {
                return Poll::Ready(ending);
            }
            if desk.poll(cx, false).is_ready() {
                return Poll::Ready(Ending::Gone);
            }
            let read = reading.as_mut().poll(cx);
            desk.answer(false);
            read
        })
        .await
    };
    lifecycle::disconnected(&node, reader.commands.session, &ending);
    let closing = async {
        let mut closing = pin!(peer.send_close(&ending));
        poll_fn(|cx| {
            if let Poll::Ready(closed) = closing.as_mut().poll(cx) {
                return Poll::Ready(closed);
            }
            let _ = desk.poll(cx, true);
            closing.as_mut().poll(cx)
        })
        .await
    };
    // Whoever does not come for its last lines in time does not get them.
    let _ = Box::pin(tokio::time::timeout(CLOSE_TIMEOUT, closing)).await;
    // Before the table forgets it, so that whoever opens another one of that name tells so after this.
    if let Some(peers) = node.peers() {
        peers.give_up(&opening.entry.name, Owner::ThisNode);
    }
    drop((opening.entry, admission));
}

/// What the client sends.
struct Reader {
    commands: Commands,
    sends: mpsc::Receiver<Box<Sent>>,
    order: Order<Content>,
    /// Until what came too early goes on.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    /// Carries out what is sent until the session ends from this side.
    async fn read(&mut self) -> Ending {
        loop {
            match poll_fn(|cx| self.poll_next(cx)).await {
                Some(content) => {
                    if let Err(ending) = self.carry_out(content).await {
                        return ending;
                    }
                }
                None => Box::pin(self.commands.review()).await,
            }
        }
    }

    /// What is due; none: what waits for something else is to be looked after.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Content>> {
        if self.commands.session.poll_review(cx).is_ready() {
            return Poll::Ready(None);
        }
        loop {
            let now = Instant::now();
            if let Some(content) = self.order.take(now) {
                return Poll::Ready(Some(content));
            }
            if let Poll::Ready(Some(sent)) = self.sends.poll_recv(cx) {
                self.order.put(sent.number, sent.content, now);
                continue;
            }
            let Some(due) = self.order.due() else {
                self.timer = None;
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(due.into())));
            if timer.deadline() != due.into() {
                timer.as_mut().reset(due.into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    async fn carry_out(&mut self, content: Content) -> Result<(), Ending> {
        let peer = Rc::clone(&self.commands.session.peer);
        let messages = match content {
            Content::Number => return Ok(()),
            Content::TooBig => return Err(too_big(&peer)),
            Content::Messages(messages, bytes) => {
                peer.on_read(bytes);
                messages
            }
        };
        if messages.is_empty() {
            self.commands.rate()?;
            peer.send_line(Line::pong());
        }
        for message in messages {
            if message.len() > peer.app().limits.message_bytes() {
                return Err(too_big(&peer));
            }
            let rate = self.commands.rate()?;
            // Boxed so that an idle session's task has no room for a command's state.
            Box::pin(self.commands.take(message.as_bytes(), rate)).await?;
        }
        Ok(())
    }
}

fn too_big(peer: &Peer) -> Ending {
    let max = peer.app().limits.message_bytes();
    Ending::Close {
        code: CloseCode::TooBig,
        text: format!("Message too big: the limit is {max} bytes"),
    }
}
