//! What a client of Pusher's protocol says: a message → `ClientFrame` → verb → reply, whatever carried it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroU32;
use std::str::Utf8Error;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use tracing::warn;

use super::listening::Refused;
use super::plain;
use crate::feed::{Entry, Kind};
use crate::hub::{Ending, Peer};
use crate::metrics::{MessageRefused, Reason, Tallies, Tally};
use crate::net::Socket;
use crate::node::{FrameRate, Node, Session, SubscribeError};
use crate::protocol::client::InvalidClientFrame;
use crate::protocol::{ClientFrame, CloseCode, ErrorCode, ServerFrame, Transport};

/// One connection's commands.
pub(super) struct Commands {
    pub(super) session: Session,
    pub(super) node: Arc<Node>,
}

impl Commands {
    pub(super) fn peer(&self) -> &Peer {
        &self.session.peer
    }

    /// Counts one frame, or what stands for one, by its rate.
    ///
    /// # Errors
    /// The connection floods.
    pub(super) fn rate(&mut self) -> Result<FrameRate, Ending> {
        let app = self.session.peer.app();
        match self.session.take_frame(&app.limits) {
            FrameRate::Flood => Err(Ending::close(CloseCode::TooFast)),
            rate => Ok(rate),
        }
    }

    /// Carries one whole message out, which came at that rate. Whoever may be idle boxes it.
    ///
    /// # Errors
    /// How the connection ends.
    pub(super) async fn take(&mut self, message: &[u8], rate: FrameRate) -> Result<(), Ending> {
        self.session.peer.app().metrics.messages_received.inc();
        if self.session.peer.is_to_be_reviewed() {
            Box::pin(self.review()).await;
        }
        match rate {
            FrameRate::Over(limit) => self.refuse_fast(limit),
            _ if self.peer().transport() == Transport::Plain => {
                let text = std::str::from_utf8(message).map_err(not_utf8)?;
                plain::command(self, text).await;
            }
            _ => self.command(message).await?,
        }
        Ok(())
    }

    /// Waits until its socket can be read from; none: something else is to be reviewed.
    pub(super) async fn readable(&mut self, socket: &Socket) -> Option<io::Result<()>> {
        poll_fn(|cx| match self.session.poll_review(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => socket.poll_readable(cx).map(Some),
        })
        .await
    }

    /// Decides what waited for a sign-in or is ruled otherwise now, and ends what rested on a token that has ended.
    pub(super) async fn review(&mut self) {
        for (channel, error) in self.node.end_tokens(&mut self.session) {
            self.refuse_subscription(channel.as_str(), &error);
        }
        while let Some((channel, error)) = self.node.review(&mut self.session).await {
            self.refuse_subscription(channel.as_str(), &error);
        }
    }

    /// Carries one command out and answers it.
    async fn command(&mut self, message: &[u8]) -> Result<(), Ending> {
        let text = std::str::from_utf8(message).map_err(not_utf8)?;
        let frame = match ClientFrame::parse(text) {
            Ok(frame) => frame,
            Err(error) => {
                let said = (ErrorCode::None, None);
                self.refuse(|tallies| &tallies.messages, reason(&error), said, &error);
                return Ok(());
            }
        };
        let session = &mut self.session;
        match frame {
            ClientFrame::Ping => session.peer.send(&ServerFrame::Pong.encode()),
            ClientFrame::Pong => self.node.confirm(session, None),
            ClientFrame::Subscribe(command) => {
                if let Err(error) = self.node.subscribe(session, &command).await {
                    self.refuse_subscription(&command.channel, &error);
                }
            }
            ClientFrame::Unsubscribe { channel } => {
                if let Err(error) = self.node.unsubscribe(session, &channel).await {
                    let said = (error.code(), Some(channel.as_str()));
                    self.refuse(
                        |tallies| &tallies.subscriptions,
                        error.reason(),
                        said,
                        &error,
                    );
                }
            }
            ClientFrame::Signin { auth, user_data } => {
                if let Err(error) = self.node.sign_in(session, &auth, user_data).await {
                    let said = (ErrorCode::None, None);
                    self.refuse(|tallies| &tallies.signins, error.reason(), said, &error);
                } else {
                    self.review().await;
                }
            }
            ClientFrame::ClientEvent(command) => {
                if let Err(error) = self.node.relay(session, &command).await {
                    let said = (error.code(), Some(command.channel.as_str()));
                    self.refuse(
                        |tallies| &tallies.client_events,
                        error.reason(),
                        said,
                        &error,
                    );
                }
            }
        }
        Ok(())
    }

    /// Drops a message that came too fast.
    pub(super) fn refuse_fast(&self, limit: NonZeroU32) {
        let (reason, said) = (MessageRefused::TooFast, (ErrorCode::TooFast, None));
        let text = format!("Too many messages: the connection may send {limit} per second");
        self.refuse(|tallies| &tallies.messages, reason, said, &text);
    }

    /// Tells the client why a command is refused, and counts and logs the refusal.
    pub(super) fn refuse<R: Reason>(
        &self,
        tally: fn(&Tallies) -> &Tally<R>,
        reason: R,
        (code, channel): (ErrorCode, Option<&str>),
        why: &dyn fmt::Display,
    ) {
        self.refuse_command(code, &why.to_string());
        self.log(tally, reason, code, channel);
    }

    fn refuse_command(&self, code: ErrorCode, message: &str) {
        self.node.metrics().commands_refused.inc();
        if self.peer().transport() == Transport::Plain {
            let status = if code == ErrorCode::TooFast { 429 } else { 400 };
            return plain::refuse(self, None, &Refused::new(status, message));
        }
        self.session
            .peer
            .send(&ServerFrame::Error { code, message }.encode());
    }

    /// Counts a refusal by its reason, and says so to those who watch and in the log. What the client is told may quote
    /// what it sent, so none of that is said but the channel's name.
    pub(super) fn log<R: Reason>(
        &self,
        tally: fn(&Tallies) -> &Tally<R>,
        reason: R,
        code: ErrorCode,
        channel: Option<&str>,
    ) {
        let peer = &self.session.peer;
        let feed = self.node.feed();
        feed.record(Some(&peer.app().id), Kind::Refused, || Entry {
            socket_id: Some(peer.socket_id()),
            user_id: self.session.user_id().map(|user| user.as_str()),
            channel,
            code: code.number(),
            address: peer.address(),
            ..Entry::refused(reason)
        });
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

    /// Counts the refusal of a subscription whose client has no library; what it is told.
    pub(super) fn refuse_listener(&self, channel: &str, error: &SubscribeError) -> Refused {
        self.node.metrics().commands_refused.inc();
        let (reason, code) = (error.reason(), error.code());
        self.log(
            |tallies| &tallies.subscriptions,
            reason,
            code,
            Some(channel),
        );
        Refused::from(error)
    }

    /// Both refusal frames of protocol §3.4, and the one that makes .NET's call fail at once. The channel is told whole,
    /// however long: by another name no client knows which of its subscriptions is refused.
    fn refuse_subscription(&self, channel: &str, error: &SubscribeError) {
        if self.peer().transport() == Transport::Plain {
            let refused = self.refuse_listener(channel, error);
            return plain::refuse(self, Some(channel), &refused);
        }
        let said = (error.code(), Some(channel));
        self.refuse(
            |tallies| &tallies.subscriptions,
            error.reason(),
            said,
            error,
        );
        let Some((kind, status)) = error.kind() else {
            return;
        };
        let peer = &self.session.peer;
        peer.send(
            &ServerFrame::SubscriptionError {
                channel,
                kind,
                error: &error.to_string(),
                status,
            }
            .encode(),
        );
        peer.send(&ServerFrame::InternalSubscriptionError { channel }.encode());
    }
}

/// Reads what a client has sent, which proves that it is alive. Returns the bytes, 0 if nothing has come.
///
/// # Errors
/// The client has gone.
pub(super) fn read(peer: &Peer, socket: &Socket, buffer: &mut BytesMut) -> Result<usize, Ending> {
    match socket.try_read(buffer) {
        Ok(0) => Err(Ending::Gone),
        Ok(bytes) => {
            peer.on_read(bytes);
            Ok(bytes)
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(_) => Err(Ending::Gone),
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
