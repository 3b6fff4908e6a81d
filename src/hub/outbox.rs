//! Try the socket; keep what the kernel did not take; say when that is too much.
//!
//! An empty outbox owns no allocation. Frames are kept as shares of the encoded bytes, not as copies.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};

use crate::net::Socket;
use crate::protocol::Encoded;

/// What an entry costs beside its bytes: its place in the queue, which may be twice as large as it need be, and the
/// allocation of a frame that is for this connection alone. For small frames it is most of the cost.
const ENTRY_BYTES: usize = 128;

/// What waits for one socket.
#[derive(Debug, Default)]
pub(super) struct Outbox(Option<Box<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    /// What they cost: their bytes that were not sent yet, and [`ENTRY_BYTES`] for each.
    cost: usize,
    /// Whether the first one has been sent in part: it must be finished before anything else can follow.
    partial: bool,
    /// Which one is a pong.
    pong: Option<usize>,
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendOutcome {
    /// The kernel has all of it.
    Complete,
    /// (Part of) it waits behind nothing else, here or in TLS: the connection's task must wait for the socket.
    Pending,
    /// It waits behind others.
    Queued,
    /// It waits in the place of another, which is not sent.
    Replaced,
    /// There was no room for it.
    Refused,
    /// The connection is broken.
    Broken,
}

impl Outbox {
    /// What it costs, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.cost)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Writes a frame or keeps it; when what waits costs `most` there is no room for more.
    pub(super) fn send(&mut self, frame: &Encoded, socket: &Socket, most: usize) -> SendOutcome {
        let bytes = frame.bytes();
        if let Some(queue) = &mut self.0 {
            if queue.cost + cost(bytes) > most {
                return SendOutcome::Refused;
            }
            queue.push(bytes.clone());
            return SendOutcome::Queued;
        }
        let written = match socket.try_write(bytes) {
            Ok(n) if n == bytes.len() && socket.is_flushed() => return SendOutcome::Complete,
            Ok(n) if n == bytes.len() => return SendOutcome::Pending,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return SendOutcome::Broken,
        };
        let mut queue = Box::new(Queue {
            partial: written > 0,
            ..Queue::default()
        });
        queue.push(bytes.slice(written..));
        self.0 = Some(queue);
        SendOutcome::Pending
    }

    /// Writes a pong or keeps it, instead of one that waits already: RFC 6455 §5.5.3 asks for an answer to the latest
    /// ping only, so a connection owes one pong however many pings it was sent.
    pub(super) fn send_pong(
        &mut self,
        pong: &Encoded,
        socket: &Socket,
        most: usize,
    ) -> SendOutcome {
        if let Some(queue) = &mut self.0
            && queue.replace_pong(pong.bytes())
        {
            return SendOutcome::Replaced;
        }
        let sent = self.send(pong, socket, most);
        if let Some(queue) = &mut self.0
            && matches!(sent, SendOutcome::Pending | SendOutcome::Queued)
        {
            queue.pong = queue.frames.len().checked_sub(1);
        }
        sent
    }

    /// Writes what the kernel takes now. The allocation goes with the last byte.
    ///
    /// # Errors
    /// `WouldBlock` when something is left, else the connection is broken.
    pub(super) fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        let Some(queue) = &mut self.0 else {
            return Ok(());
        };
        while let Some(frame) = queue.frames.front_mut() {
            let n = socket.try_write(frame)?;
            queue.cost -= n;
            frame.advance(n);
            queue.partial = frame.has_remaining();
            if !queue.partial {
                queue.pop();
            }
        }
        self.0 = None;
        Ok(())
    }

    /// Forgets what was not begun, so that a close frame can still follow: for a connection that is being given up.
    pub(super) fn discard_unsent(&mut self) {
        let Some(queue) = &mut self.0 else { return };
        queue.frames.truncate(usize::from(queue.partial));
        queue.cost = queue.frames.iter().map(cost).sum();
        queue.pong = None;
        if queue.frames.is_empty() {
            self.0 = None;
        }
    }
}

impl Queue {
    fn push(&mut self, bytes: Bytes) {
        self.cost += cost(&bytes);
        self.frames.push_back(bytes);
    }

    /// Forgets the first one, which has been sent.
    fn pop(&mut self) {
        self.frames.pop_front();
        self.cost -= ENTRY_BYTES;
        self.pong = self.pong.and_then(|at| at.checked_sub(1));
    }

    /// Puts a pong in the place of one of which nothing has been sent; whether there is one.
    fn replace_pong(&mut self, bytes: &Bytes) -> bool {
        let untouched = self.pong.filter(|&at| at > 0 || !self.partial);
        let Some(waiting) = untouched.and_then(|at| self.frames.get_mut(at)) else {
            return false;
        };
        self.cost = self.cost - waiting.len() + bytes.len();
        *waiting = bytes.clone();
        true
    }
}

fn cost(frame: &Bytes) -> usize {
    ENTRY_BYTES + frame.len()
}
