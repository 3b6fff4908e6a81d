//! Try the socket; keep what the kernel did not take; say when that is too much.
//!
//! An empty outbox owns no allocation. Frames are kept as shares of the encoded bytes, not as copies.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, Bytes};

use crate::net::Socket;
use crate::protocol::Encoded;

/// The bytes that wait for one socket.
#[derive(Debug, Default)]
pub(super) struct Outbox(Option<Box<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Whether the first one has been sent in part: it must be finished before anything else can follow.
    begun: bool,
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The kernel has all of it.
    Whole,
    /// (Part of) it waits behind nothing else, here or in TLS: the connection's task must wait for the socket.
    Begun,
    /// It waits behind others.
    Queued,
    /// There was no room for it.
    Refused,
    /// The connection is broken.
    Broken,
}

impl Outbox {
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Writes a frame or keeps it; with `max_bytes` waiting there is no room for more.
    pub(super) fn send(&mut self, frame: &Encoded, socket: &Socket, max_bytes: usize) -> Sent {
        let bytes = frame.bytes();
        if let Some(queue) = &mut self.0 {
            if queue.bytes + bytes.len() > max_bytes {
                return Sent::Refused;
            }
            queue.push(bytes.clone());
            return Sent::Queued;
        }
        let written = match socket.try_write(bytes) {
            Ok(n) if n == bytes.len() && socket.is_flushed() => return Sent::Whole,
            Ok(n) if n == bytes.len() => return Sent::Begun,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Sent::Broken,
        };
        let mut queue = Box::new(Queue {
            begun: written > 0,
            ..Queue::default()
        });
        queue.push(bytes.slice(written..));
        self.0 = Some(queue);
        Sent::Begun
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
            queue.bytes -= n;
            frame.advance(n);
            queue.begun = frame.has_remaining();
            if !queue.begun {
                queue.frames.pop_front();
            }
        }
        self.0 = None;
        Ok(())
    }

    /// Forgets what was not begun, so that a close frame can still follow: for a connection that is being given up.
    pub(super) fn cut(&mut self) {
        let Some(queue) = &mut self.0 else { return };
        queue.frames.truncate(usize::from(queue.begun));
        queue.bytes = queue.frames.iter().map(Bytes::len).sum();
        if queue.frames.is_empty() {
            self.0 = None;
        }
    }
}

impl Queue {
    fn push(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.frames.push_back(bytes);
    }
}
