//! Answers to other nodes' questions about sessions of this one, and what keeps these sessions known to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::wire::{Answer, Attaches, Content, Question};
use super::{SILENCE, WAIT};
use crate::node::Node;
use crate::transport::xhr::sessions::{self, Ask, Fetch, Handle, NotSent, Parting, Sent, Sessions};

/// How often receivers of other nodes are looked after.
const TICK: Duration = Duration::from_secs(1);

/// Ticks between two renewals. A session that was opened while Redis was away is known after one.
const RENEWAL_TICKS: u32 = 10;

/// UTF-16 units of lines in one answer, which the last of them may cross.
const ANSWER_UNITS: usize = 32 * 1024;

/// Answers other nodes and renews the leases of this node's sessions, as long as the process lives. Only where there may
/// be other nodes.
pub(in crate::transport) async fn keep(node: Arc<Node>, sessions: Arc<Sessions>) {
    let Some(peers) = node.peers() else {
        return;
    };
    let answering = Arc::clone(&sessions);
    peers.answer_with(Arc::new(move |text| {
        let sessions = Arc::clone(&answering);
        Box::pin(async move { answer(&sessions, &text).await.encode() })
    }));
    let mut timer = interval(TICK);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0_u32;
    loop {
        timer.tick().await;
        ticks = ticks.wrapping_add(1);
        sessions.end_silent(Instant::now(), SILENCE);
        if ticks.is_multiple_of(RENEWAL_TICKS) {
            let names = sessions.names();
            // What was not renewed now is renewed next time; the lease is longer than that.
            let _ = peers.renew(&names).await;
        }
    }
}

async fn answer(sessions: &Sessions, text: &Bytes) -> Answer {
    let Some(Question { session, content }) = Question::decode(text) else {
        return Answer::Unknown;
    };
    let Some(handle) = sessions.find(&session) else {
        return Answer::Unknown;
    };
    match content {
        Content::Fetch { fetch, attaches } => {
            let is_new = attaches.is_some();
            if !sessions.heard(&session, fetch.receiver, is_new, Instant::now()) {
                return Answer::Over;
            }
            if let Some(Attaches { number }) = attaches {
                handle.skip(number);
            }
            lines(&handle, fetch, is_new).await
        }
        Content::Written(written) => {
            if written.parting != Parting::Stays {
                sessions.leaves(&session, written.receiver);
            }
            told(handle.asks.try_send(Box::new(Ask::Written(written))))
        }
        Content::Here { receiver } => {
            match sessions.heard(&session, receiver, false, Instant::now()) {
                true => Answer::Done,
                false => Answer::Over,
            }
        }
        Content::Send {
            number,
            messages,
            bytes,
        } => {
            let content = match messages {
                Some(messages) => sessions::Content::Messages(messages, bytes),
                None => sessions::Content::TooBig,
            };
            send(&handle, Sent { number, content }).await
        }
    }
}

async fn send(handle: &Handle, sent: Sent) -> Answer {
    match handle.send(sent).await {
        Ok(()) => Answer::Done,
        Err(NotSent::Full) => Answer::Full,
        Err(NotSent::Unknown | NotSent::Unreachable(_)) => Answer::Unknown,
    }
}

async fn lines(handle: &Handle, mut fetch: Fetch, is_new: bool) -> Answer {
    let (answer, answered) = oneshot::channel();
    fetch.room = fetch.room.min(ANSWER_UNITS);
    let ask = Ask::Fetch {
        fetch,
        // Whoever replaces it is seen when it asks again.
        attach: is_new.then(|| oneshot::channel().0),
        answer,
    };
    match told(handle.asks.try_send(Box::new(ask))) {
        Answer::Done => {}
        refused => return refused,
    }
    match timeout(WAIT, answered).await {
        Ok(Ok(batch)) => Answer::Batch(batch),
        Ok(Err(_)) => Answer::Over,
        Err(_) => Answer::NotYet,
    }
}

fn told<T>(sent: Result<(), TrySendError<T>>) -> Answer {
    match sent {
        Ok(()) => Answer::Done,
        Err(TrySendError::Full(_)) => Answer::Full,
        Err(TrySendError::Closed(_)) => Answer::Unknown,
    }
}
