//! One WebSocket: bytes → frame → `ClientFrame` → verb → reply; and its close.
//!
//! The task keeps no buffer while nothing comes: it reads into its worker's buffer and keeps only what is incomplete.

use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZeroU32;
use std::pin::pin;
use std::rc::Rc;
use std::str::Utf8Error;
use std::sync::Arc;
use std::task::Poll;

use actix_codec::Decoder as _;
use actix_http::ws;
use bytes::{Bytes, BytesMut};
use tracing::field::display;
use tracing::{debug, info, warn};

use super::CLOSE_TIMEOUT;
use super::header::{self, Fault};
use crate::feed::{Entry, Kind};
use crate::hub::{Ending, Peer};
use crate::limits::Admission;
use crate::metrics::{Closed, Lifecycle, MessageRefused, Reason, Tallies, Tally};
use crate::node::{ClientEventError, FrameRate, Node, Session, SubscribeError};
use crate::protocol::client::InvalidClientFrame;
use crate::protocol::{ClientFrame, CloseCode, ErrorCode, ServerFrame};

/// The whole life of an accepted connection.
pub(super) async fn serve(
    node: Arc<Node>,
    peer: Rc<Peer>,
    buffered: BytesMut,
    admission: Admission,
) {
    let app = peer.app().id.clone();
    let socket_id = peer.socket_id();
    let lifecycle = &node.metrics().by_reason().lifecycle;
    if lifecycle.count_and_allow_log(Lifecycle::Connected) {
        let address = peer.address().map(display);
        info!(app.id = %app, socket.id = %socket_id, address, "connected");
    }
    node.feed().record(Some(&app), Kind::Connected, || Entry {
        socket_id: Some(socket_id),
        address: peer.address(),
        ..Entry::default()
    });
    if !buffered.is_empty() {
        peer.on_read(buffered.len());
    }

    let mut connection = Connection {
        session: Session::new(Rc::clone(&peer)),
        node: Arc::clone(&node),
        codec: ws::Codec::new(),
        rest: buffered,
        text: None,
    };
    let ending = {
        let mut reader = pin!(connection.read());
        poll_fn(|cx| match peer.poll(cx) {
            Poll::Ready(ending) => Poll::Ready(ending),
            Poll::Pending => reader.as_mut().poll(cx),
        })
        .await
    };
    // Nothing more is sent to it by others, and what they still try is in vain.
    peer.end(ending.clone());
    if lifecycle.count_and_allow_log(Lifecycle::Disconnected) {
        info!(app.id = %app, socket.id = %socket_id, reason = %ending, "disconnected");
    }
    node.feed().record(Some(&app), Kind::Disconnected, || {
        disconnected(&connection.session, &ending)
    });
    // Boxed, as all that a connection does not need while it is idle: its task is the larger part of its memory.
    Box::pin(node.disconnect(connection.session)).await;
    let closing = async {
        if peer.send_close(&ending).await.is_ok() && ending != Ending::Gone {
            peer.socket().discard().await;
        }
    };
    let _ = Box::pin(tokio::time::timeout(CLOSE_TIMEOUT, closing)).await;
    drop(admission);
}

fn disconnected<'a>(session: &'a Session, ending: &'a Ending) -> Entry<'a> {
    let (code, reason) = match ending {
        Ending::Gone => (None, Closed::Gone.text()),
        Ending::Answered(code) => (*code, Closed::Client.text()),
        Ending::Close { code, text } => (Some(code.number()), text.as_str()),
    };
    Entry {
        socket_id: Some(session.peer.socket_id()),
        user_id: session.user_id().map(|user| user.as_str()),
        address: session.peer.address(),
        reason: Some(reason.into()),
        code,
        ..Entry::default()
    }
}

/// What one connection owns.
struct Connection {
    session: Session,
    node: Arc<Node>,
    codec: ws::Codec,
    /// Bytes of an incomplete frame; at the start, what came with the upgrade.
    rest: BytesMut,
    /// The fragments of an unfinished text message.
    text: Option<Box<BytesMut>>,
}

impl Connection {
    /// Reads until the connection ends from this side.
    async fn read(&mut self) -> Ending {
        let peer = Rc::clone(&self.session.peer);
        let (mut buffer, mut length) = (std::mem::take(&mut self.rest), 0);
        loop {
            if let Err(ending) = self.take_frames(&mut buffer).await {
                return ending;
            }
            self.put_away(buffer, length);
            if self.readable(&peer).await.is_err() {
                return Ending::Gone;
            }
            buffer = peer.hub().take_buffer();
            match peer.socket().try_read(&mut buffer) {
                Ok(0) => return Ending::Gone,
                Ok(bytes) => peer.on_read(bytes),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ending::Gone,
            }
            (buffer, length) = self.behind_rest(buffer);
        }
    }

    /// Waits for bytes, and meanwhile looks after what waits for something else.
    async fn readable(&mut self, peer: &Peer) -> io::Result<()> {
        loop {
            let readable = poll_fn(|cx| match self.session.poll_review(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => peer.socket().poll_readable(cx).map(Some),
            });
            match readable.await {
                Some(readable) => return readable,
                None => Box::pin(self.review()).await,
            }
        }
    }

    /// Decides what waited for a sign-in or is ruled otherwise now, and ends what rested on a token that has ended.
    async fn review(&mut self) {
        for (channel, error) in self.node.end_tokens(&mut self.session).await {
            self.refuse_subscription(channel.as_str(), &error);
        }
        while let Some((channel, error)) = self.node.review(&mut self.session).await {
            self.refuse_subscription(channel.as_str(), &error);
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
        self.session.peer.hub().return_buffer(read);
        let length = rest.len();
        (rest, length)
    }

    /// Keeps what is incomplete in an allocation of its own, and gives the worker's buffer back. `length` is how long
    /// the buffer was, if it is what was incomplete.
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
            self.session.peer.hub().return_buffer(buffer);
        }
    }

    async fn take_frames(&mut self, buffer: &mut BytesMut) -> Result<(), Ending> {
        loop {
            // As of now: a reload may have changed it.
            let app = self.session.peer.app();
            let max = app.limits.message_bytes();
            let begun = self.text.as_ref().map(|text| text.len());
            header::judge(buffer, begun, max).map_err(|fault| refused(fault, max))?;
            self.codec = self.codec.clone().max_size(max);
            let frame = match self.codec.decode(buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                // Only the payload of a close frame is left to be wrong.
                Err(error) => {
                    debug!(%error, "frame refused");
                    return Err(Ending::close(CloseCode::ProtocolViolation));
                }
            };
            let rate = self.session.take_frame(&app.limits);
            if rate == FrameRate::Flood {
                return Err(Ending::close(CloseCode::TooFast));
            }
            if let (FrameRate::Over(limit), ws::Frame::Ping(_)) = (rate, &frame) {
                self.refuse_fast(limit);
                continue;
            }
            if let Some(message) = self.assemble(frame)? {
                app.metrics.messages_received.inc();
                if self.session.peer.is_to_be_reviewed() {
                    Box::pin(self.review()).await;
                }
                match rate {
                    FrameRate::Over(limit) => self.refuse_fast(limit),
                    // Boxed so that an idle connection's task has no room for a command's state.
                    _ => Box::pin(self.command(&message)).await?,
                }
            }
        }
    }

    /// Answers control frames; the text of a message once it is whole.
    fn assemble(&mut self, frame: ws::Frame) -> Result<Option<Bytes>, Ending> {
        match frame {
            ws::Frame::Text(text) => return Ok(Some(text)),
            ws::Frame::Ping(payload) => self.session.peer.answer_ping(&payload),
            ws::Frame::Pong(payload) => self.node.confirm(&self.session, &payload),
            ws::Frame::Close(reason) => {
                return Err(Ending::Answered(reason.map(|r| r.code.into())));
            }
            ws::Frame::Binary(_) | ws::Frame::Continuation(ws::Item::FirstBinary(_)) => {
                return Err(Ending::close(CloseCode::Binary));
            }
            ws::Frame::Continuation(ws::Item::FirstText(part)) => {
                self.text = Some(Box::new(BytesMut::from(&part[..])));
            }
            ws::Frame::Continuation(ws::Item::Continue(part)) => self.append(&part),
            ws::Frame::Continuation(ws::Item::Last(part)) => {
                self.append(&part);
                return Ok(self.text.take().map(|text| text.freeze()));
            }
        }
        Ok(None)
    }

    /// There is room for it: its header has been judged.
    fn append(&mut self, part: &[u8]) {
        if let Some(text) = &mut self.text {
            text.extend_from_slice(part);
        }
    }

    /// Carries one command out and answers it.
    async fn command(&mut self, message: &[u8]) -> Result<(), Ending> {
        let text = std::str::from_utf8(message).map_err(not_utf8)?;
        let frame = match ClientFrame::parse(text) {
            Ok(frame) => frame,
            Err(error) => {
                self.refuse_command(ErrorCode::None, &error.to_string());
                self.log(
                    |tallies| &tallies.messages,
                    reason(&error),
                    ErrorCode::None,
                    None,
                );
                return Ok(());
            }
        };
        let session = &mut self.session;
        match frame {
            ClientFrame::Ping => session.peer.send(&ServerFrame::Pong.encode()),
            ClientFrame::Pong => {}
            ClientFrame::Subscribe(command) => {
                if let Err(error) = self.node.subscribe(session, &command).await {
                    self.refuse_subscription(&command.channel, &error);
                }
            }
            ClientFrame::Unsubscribe { channel } => {
                if let Err(error) = self.node.unsubscribe(session, &channel).await {
                    self.refuse_command(ErrorCode::None, &error.to_string());
                    self.log_subscription(&channel, &error);
                }
            }
            ClientFrame::Signin { auth, user_data } => {
                if let Err(error) = self.node.sign_in(session, &auth, user_data).await {
                    self.refuse_command(ErrorCode::None, &error.to_string());
                    self.log(
                        |tallies| &tallies.signins,
                        error.reason(),
                        ErrorCode::None,
                        None,
                    );
                } else {
                    self.review().await;
                }
            }
            ClientFrame::ClientEvent(command) => {
                let relayed: Result<(), ClientEventError> =
                    self.node.relay(session, &command).await;
                if let Err(error) = relayed {
                    self.refuse_command(error.code(), &error.to_string());
                    let channel = Some(command.channel.as_str());
                    self.log(
                        |tallies| &tallies.client_events,
                        error.reason(),
                        error.code(),
                        channel,
                    );
                }
            }
        }
        Ok(())
    }

    /// Drops a message that came too fast.
    fn refuse_fast(&self, limit: NonZeroU32) {
        let (reason, code) = (MessageRefused::TooFast, ErrorCode::TooFast);
        self.refuse_command(
            code,
            &format!("Too many messages: the connection may send {limit} per second"),
        );
        self.log(|tallies| &tallies.messages, reason, code, None);
    }

    fn refuse_command(&self, code: ErrorCode, message: &str) {
        self.node.metrics().commands_refused.inc();
        self.session
            .peer
            .send(&ServerFrame::Error { code, message }.encode());
    }

    /// Counts a refusal by its reason, and says so to those who watch and in the log. What the client is told may quote
    /// what it sent, so none of that is said but the channel's name.
    fn log<R: Reason>(
        &self,
        tally: fn(&Tallies) -> &Tally<R>,
        reason: R,
        code: ErrorCode,
        channel: Option<&str>,
    ) {
        let peer = &self.session.peer;
        self.record_in_feed(reason, code, channel);
        if !tally(self.node.metrics().by_reason()).count_and_allow_log(reason) {
            return;
        }
        warn!(
            app.id = %peer.app().id,
            socket.id = %peer.socket_id(),
            channel = channel.map(|channel| self.node.apps().shown_path(channel)),
            code = code.number(),
            reason = reason.label(),
            address = peer.address().map(display),
            "{}: {}",
            R::WHAT,
            reason.text()
        );
    }

    fn record_in_feed<R: Reason>(&self, reason: R, code: ErrorCode, channel: Option<&str>) {
        let peer = &self.session.peer;
        let app = peer.app();
        self.node
            .feed()
            .record(Some(&app.id), Kind::Refused, || Entry {
                socket_id: Some(peer.socket_id()),
                user_id: self.session.user_id().map(|user| user.as_str()),
                channel,
                code: code.number(),
                address: peer.address(),
                ..Entry::refused(reason)
            });
    }

    fn log_subscription(&self, channel: &str, error: &SubscribeError) {
        self.log(
            |tallies| &tallies.subscriptions,
            error.reason(),
            error.code(),
            Some(channel),
        );
    }

    /// Both refusal frames of protocol §3.4, and the one that makes .NET's call fail at once. The channel is told whole,
    /// however long: by another name no client knows which of its subscriptions is refused.
    fn refuse_subscription(&self, channel: &str, error: &SubscribeError) {
        let text = error.to_string();
        self.refuse_command(error.code(), &text);
        self.log_subscription(channel, error);
        let Some((kind, status)) = error.kind() else {
            return;
        };
        let peer = &self.session.peer;
        peer.send(
            &ServerFrame::SubscriptionError {
                channel,
                kind,
                error: &text,
                status,
            }
            .encode(),
        );
        peer.send(&ServerFrame::InternalSubscriptionError { channel }.encode());
    }
}

fn not_utf8(error: Utf8Error) -> Ending {
    if error.error_len().is_some() {
        return Ending::close(CloseCode::NotUtf8);
    }
    Ending::Close {
        code: CloseCode::NotUtf8,
        text: "The message is cut inside a character, so it is not UTF-8".to_owned(),
    }
}

fn reason(error: &InvalidClientFrame) -> MessageRefused {
    match error {
        InvalidClientFrame::Malformed(_) => MessageRefused::Malformed,
        InvalidClientFrame::UnsupportedEvent(_) => MessageRefused::UnsupportedEvent,
        InvalidClientFrame::Missing(_) => MessageRefused::MissingParameter,
        InvalidClientFrame::Data { .. } => MessageRefused::Data,
        InvalidClientFrame::ClientEvent => MessageRefused::ClientEvent,
    }
}

fn refused(fault: Fault, max: usize) -> Ending {
    let (code, text) = match fault {
        Fault::Binary => return Ending::close(CloseCode::Binary),
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
