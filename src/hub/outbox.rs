//! The bytes of one connection that the kernel has not taken yet, up to a limit.
//!
//! An empty outbox owns no allocation. Frames are kept as shares of the encoded bytes, not as copies.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};

use crate::net::Socket;
use crate::protocol::Line;

/// The cost of an entry beside its bytes: its place in the queue, whose capacity may be twice its length, and the
/// allocation of a frame for this connection alone. For small frames it is most of the cost.
const ENTRY_BYTES: usize = 128;

/// The frames that wait for one socket.
#[derive(Debug, Default)]
pub(super) struct Outbox(Option<Box<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    /// Their cost: the bytes not sent yet, and [`ENTRY_BYTES`] for each frame.
    cost: usize,
    /// How many of the first frames stay in front: one that was sent in part, or those that are lent.
    begun: usize,
    /// The index of the waiting pong.
    pong: Option<usize>,
}

/// What happened to a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendOutcome {
    /// The kernel has all of it.
    Complete,
    /// It is the first that waits, wholly or in part, here or in TLS: the connection's task must wait for the socket.
    Pending,
    /// It waits behind other frames.
    Queued,
    /// It waits in place of another frame, which is dropped.
    Replaced,
    /// The outbox is full.
    Refused,
    /// The connection is broken.
    Broken,
}

impl Outbox {
    /// The cost of all frames, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.cost)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Writes a frame or queues it, where there is no socket always. Refuses it if the queue would cost more than `most`
    /// bytes.
    pub(super) fn send(
        &mut self,
        bytes: &Bytes,
        socket: Option<&Socket>,
        most: usize,
    ) -> SendOutcome {
        if let Some(queue) = &mut self.0 {
            if queue.cost + cost(bytes) > most {
                return SendOutcome::Refused;
            }
            queue.push(bytes.clone());
            return SendOutcome::Queued;
        }
        let written = match socket.map(|socket| (socket, socket.try_write(bytes))) {
            Some((socket, Ok(n))) if n == bytes.len() => {
                return match socket.is_flushed() {
                    true => SendOutcome::Complete,
                    false => SendOutcome::Pending,
                };
            }
            Some((_, Ok(n))) => n,
            Some((_, Err(e))) if e.kind() != io::ErrorKind::WouldBlock => {
                return SendOutcome::Broken;
            }
            Some(_) | None => 0,
        };
        let mut queue = Box::new(Queue {
            begun: usize::from(written > 0),
            ..Queue::default()
        });
        queue.push(bytes.slice(written..));
        self.0 = Some(queue);
        SendOutcome::Pending
    }

    /// Writes a pong or queues it in place of a waiting one: RFC 6455 §5.5.3 asks for an answer to the latest ping only,
    /// so a connection owes one pong for any number of pings.
    pub(super) fn send_pong(
        &mut self,
        pong: &Bytes,
        socket: Option<&Socket>,
        most: usize,
    ) -> SendOutcome {
        if let Some(queue) = &mut self.0
            && queue.replace_pong(pong)
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

    /// Writes what the kernel takes now. The allocation is freed with the last byte.
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
            queue.begun = usize::from(frame.has_remaining());
            if queue.begun == 0 {
                queue.pop();
            }
        }
        self.0 = None;
        Ok(())
    }

    /// Lends the first lines to who writes them: up to the one with which they are longer than `room`, in UTF-16 units.
    /// They stay in front until they are settled; lent again, they are the same ones.
    pub(super) fn lend(&mut self, room: usize) -> Vec<Line> {
        let Some(queue) = &mut self.0 else {
            return Vec::new();
        };
        let (again, mut units) = (queue.begun, 0);
        let lines = queue.frames.iter().cloned().map(Line::from_bytes);
        let fits = |(at, line): &(usize, Line)| {
            let is_lent = if again > 0 {
                *at < again
            } else {
                units <= room
            };
            units += line.units();
            is_lent
        };
        let lent: Vec<Line> = lines
            .enumerate()
            .take_while(fits)
            .map(|(_, line)| line)
            .collect();
        queue.begun = lent.len();
        lent
    }

    /// Ends a loan, of which so many lines have been written.
    pub(super) fn settle(&mut self, written: usize) {
        let Some(queue) = &mut self.0 else { return };
        for _ in 0..written.min(queue.begun) {
            queue.cost -= queue.frames.front().map_or(0, Bytes::len);
            queue.pop();
        }
        queue.begun = 0;
        if queue.frames.is_empty() {
            self.0 = None;
        }
    }

    /// Whether nothing waits that is not lent.
    pub(super) fn is_all_lent(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|queue| queue.begun == queue.frames.len())
    }

    /// Drops all frames but one sent in part, or what is lent, so that a close frame can follow.
    pub(super) fn discard_unsent(&mut self) {
        let Some(queue) = &mut self.0 else { return };
        queue.frames.truncate(queue.begun);
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

    /// Removes the first frame, which has been sent.
    fn pop(&mut self) {
        self.frames.pop_front();
        self.cost -= ENTRY_BYTES;
        self.pong = self.pong.and_then(|at| at.checked_sub(1));
    }

    /// Replaces a waiting pong of which nothing was sent. Returns whether there was one.
    fn replace_pong(&mut self, bytes: &Bytes) -> bool {
        let untouched = self.pong.filter(|&at| at >= self.begun);
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
