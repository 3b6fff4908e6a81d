//! One WebSocket: bytes → frame → message, which `commands` carries out; and its close.
//!
//! The task keeps no buffer while nothing comes: it reads into its worker's buffer and keeps only what is incomplete.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use super::header::Fault;
use super::messages::{Messages, Received};
use crate::hub::{Ending, Peer};
use crate::limits::Admission;
use crate::net::Socket;
use crate::node::{FrameRate, Node, Session};
use crate::protocol::CloseCode;
use crate::transport::commands::{Commands, read};
use crate::transport::lifecycle;
use crate::transport::plain::Start;

/// The whole life of an accepted connection. Not an `async fn`, whose future has room for its arguments twice.
pub(super) fn serve(
    node: Arc<Node>,
    peer: Rc<Peer>,
    buffered: BytesMut,
    admission: Admission,
    start: Option<Box<Start>>,
) -> impl Future<Output = ()> {
    lifecycle::connected(&node, &peer);
    if !buffered.is_empty() {
        peer.on_read(buffered.len());
    }
    let mut connection = Connection {
        commands: Commands {
            session: Session::new(Rc::clone(&peer)),
            node,
        },
        messages: Messages::default(),
        rest: buffered,
    };
    async move {
        let ending = {
            let reading = pin!(connection.read(start));
            lifecycle::until_ended(&peer, reading).await
        };
        let Commands { session, node } = connection.commands;
        lifecycle::disconnected(&node, session, &ending);
        // Boxed, as all that a connection does not need while it is idle: its task is the larger part of its memory.
        Box::pin(lifecycle::close(&peer, &ending)).await;
        drop(admission);
    }
}

/// What one connection owns.
struct Connection {
    commands: Commands,
    messages: Messages,
    /// Bytes of an incomplete frame; at the start, what came with the upgrade.
    rest: BytesMut,
}

impl Connection {
    /// Does what the request asked for, and reads until the connection ends from this side.
    async fn read(&mut self, start: Option<Box<Start>>) -> Ending {
        if let Some(start) = start
            && let Err(ending) = Box::pin(start.run(&mut self.commands)).await
        {
            return ending;
        }
        let peer = Rc::clone(&self.commands.session.peer);
        let Some(socket) = peer.socket() else {
            return Ending::Gone;
        };
        let mut buffer = std::mem::take(&mut self.rest);
        let mut length = buffer.len();
        if length == 0 {
            // What is given back is the worker's, and not the request's.
            buffer = peer.hub().take_buffer();
        }
        loop {
            // Boxed so that an idle connection's task has no room for a command's state.
            if !buffer.is_empty()
                && let Err(ending) = Box::pin(self.take_frames(&mut buffer)).await
            {
                return ending;
            }
            self.put_away(buffer, length);
            if self.readable(socket).await.is_err() {
                return Ending::Gone;
            }
            buffer = peer.hub().take_buffer();
            if read(&peer, socket, &mut buffer).is_err() {
                return Ending::Gone;
            }
            (buffer, length) = self.behind_rest(buffer);
        }
    }

    /// Waits for bytes, and meanwhile looks after what waits for something else.
    async fn readable(&mut self, socket: &Socket) -> io::Result<()> {
        loop {
            match self.commands.readable(socket).await {
                Some(readable) => return readable,
                None => Box::pin(self.commands.review()).await,
            }
        }
    }

    /// What has just been read behind what was incomplete, and how long that is now; 0 if nothing was. A long frame in
    /// many pieces is so not copied for each of them.
    fn behind_rest(&mut self, mut read: BytesMut) -> (BytesMut, usize) {
        if self.rest.is_empty() {
            return (read, 0);
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(&read);
        read.clear();
        self.commands.session.peer.hub().return_buffer(read);
        let length = rest.len();
        (rest, length)
    }

    /// Keeps what is incomplete in an allocation of its own, and gives the worker's buffer back. `length` is how long
    /// the buffer was, if it is what was incomplete or came with the upgrade.
    fn put_away(&mut self, mut buffer: BytesMut, length: usize) {
        if length > 0 && buffer.len() == length {
            self.rest = buffer;
            return;
        }
        // Behind a frame there is a part of the last read at most, in the allocation of all that was before it.
        if !buffer.is_empty() {
            self.rest = BytesMut::from(&buffer[..]);
            buffer.clear();
        }
        if length == 0 {
            self.commands.session.peer.hub().return_buffer(buffer);
        }
    }

    async fn take_frames(&mut self, buffer: &mut BytesMut) -> Result<(), Ending> {
        loop {
            // As of now: a reload may have changed it.
            let app = self.commands.session.peer.app();
            let max = app.limits.message_bytes();
            let received = self.messages.next(buffer, max);
            let Some(received) = received.map_err(|fault| refused(fault, max))? else {
                return Ok(());
            };
            let rate = self.commands.rate()?;
            if let (FrameRate::Over(limit), Received::Ping(_)) = (rate, &received) {
                self.commands.refuse_fast(limit);
                continue;
            }
            match received {
                Received::Message(message) => self.commands.take(&message, rate).await?,
                Received::Part => {}
                Received::Ping(payload) => self.commands.session.peer.answer_ping(&payload),
                Received::Pong(payload) => {
                    let Commands { node, session } = &self.commands;
                    node.confirm(session, Some(&payload));
                }
                Received::Close(code) => return Err(Ending::Answered(code)),
            }
        }
    }
}

fn refused(fault: Fault, max: usize) -> Ending {
    let (code, text) = match fault {
        Fault::Binary => return Ending::close(CloseCode::Binary),
        Fault::Close => return Ending::close(CloseCode::ProtocolViolation),
        Fault::Forbidden(why) => (
            CloseCode::ProtocolViolation,
            format!("Frames must follow RFC 6455: {why}"),
        ),
        Fault::TooBig => (
            CloseCode::TooBig,
            format!("Message too big: the limit is {max} bytes"),
        ),
    };
    Ending::Close { code, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<A, B, C, D, E, F>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_needs_little() {
        // The runtime adds 104 bytes and takes a multiple of 128.
        let bytes = future_bytes(serve);
        assert!(bytes <= 408, "{bytes}");
    }
}
