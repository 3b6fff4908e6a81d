//! `Socket`: text messages over a WebSocket, as a client: masked, pings answered, sizes bounded.

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::ws;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::Io;
use super::error::Error;

/// The longest message that is taken. Servers send events of some 10 KB, and presence channels with all members.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// The longest header of a frame.
const HEADER_BYTES: usize = 14;

/// One WebSocket.
pub struct Socket {
    io: Box<dyn Io>,
    codec: ws::Codec,
    buffer: BytesMut,
    /// The parts of an unfinished message.
    parts: BytesMut,
}

/// What a server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Text(String),
    /// A frame that only shows that the other side lives.
    Sign,
}

impl Socket {
    /// Over what has been upgraded, with what was read behind the answer.
    pub(super) fn new(io: Box<dyn Io>, buffer: BytesMut) -> Self {
        Self {
            io,
            codec: ws::Codec::new().client_mode().max_size(MESSAGE_BYTES),
            buffer,
            parts: BytesMut::new(),
        }
    }

    /// The next message. Nothing is lost if this is given up while it waits for bytes.
    pub(super) async fn next(&mut self) -> Result<Message, Error> {
        loop {
            match self.codec.decode(&mut self.buffer) {
                Ok(Some(frame)) => {
                    if let Some(message) = self.take(frame).await? {
                        return Ok(message);
                    }
                    continue;
                }
                Ok(None) if self.buffer.len() > MESSAGE_BYTES + HEADER_BYTES => {
                    return Err(too_big());
                }
                Ok(None) => {}
                Err(ws::ProtocolError::Overflow) => return Err(too_big()),
                Err(error) => return Err(Error::ProtocolViolation(error.to_string())),
            }
            match self.io.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(Error::Broken("the server ended it".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(Error::Broken(error.to_string())),
            }
        }
    }

    async fn take(&mut self, frame: ws::Frame) -> Result<Option<Message>, Error> {
        match frame {
            ws::Frame::Text(text) => return text_of(&text).map(Some),
            ws::Frame::Ping(payload) => {
                self.write(ws::Message::Pong(payload)).await?;
                return Ok(Some(Message::Sign));
            }
            ws::Frame::Pong(_) => return Ok(Some(Message::Sign)),
            ws::Frame::Close(reason) => return Err(closed(reason)),
            ws::Frame::Binary(_) | ws::Frame::Continuation(ws::Item::FirstBinary(_)) => {
                return Err(Error::ProtocolViolation("a binary message".to_owned()));
            }
            ws::Frame::Continuation(ws::Item::FirstText(part)) => {
                self.parts = BytesMut::from(&part[..]);
            }
            ws::Frame::Continuation(ws::Item::Continue(part)) => self.append(&part)?,
            ws::Frame::Continuation(ws::Item::Last(part)) => {
                self.append(&part)?;
                let whole = std::mem::take(&mut self.parts);
                return text_of(&whole).map(Some);
            }
        }
        Ok(None)
    }

    fn append(&mut self, part: &Bytes) -> Result<(), Error> {
        if self.parts.len() + part.len() > MESSAGE_BYTES {
            return Err(too_big());
        }
        self.parts.extend_from_slice(part);
        Ok(())
    }

    /// Sends a text message.
    pub(super) async fn send(&mut self, text: String) -> Result<(), Error> {
        self.write(ws::Message::Text(text.into())).await
    }

    /// Says goodbye, if the other side still listens.
    pub(super) async fn close(mut self) {
        let reason = ws::CloseReason::from(ws::CloseCode::Normal);
        // Whoever is gone needs no goodbye.
        let _ = self.write(ws::Message::Close(Some(reason))).await;
        let _ = self.io.shutdown().await;
    }

    async fn write(&mut self, message: ws::Message) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        self.codec
            .encode(message, &mut bytes)
            .map_err(|error| Error::ProtocolViolation(error.to_string()))?;
        let written = async {
            self.io.write_all(&bytes).await?;
            self.io.flush().await
        };
        written
            .await
            .map_err(|error| Error::Broken(error.to_string()))
    }
}

fn text_of(bytes: &[u8]) -> Result<Message, Error> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::ProtocolViolation("a text message that is not UTF-8".to_owned()))?;
    Ok(Message::Text(text.to_owned()))
}

fn closed(reason: Option<ws::CloseReason>) -> Error {
    let (code, reason) = match reason {
        Some(reason) => (
            Some(reason.code.into()),
            reason.description.unwrap_or_default(),
        ),
        None => (None, String::new()),
    };
    Error::Closed { code, reason }
}

fn too_big() -> Error {
    Error::ProtocolViolation(format!("a message of more than {MESSAGE_BYTES} bytes"))
}
