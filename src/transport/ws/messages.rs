//! `Messages`: bytes → frames → messages. A frame's header is judged before its payload comes, and the fragments of a
//! message are put together. Knows no connection.

use actix_codec::Decoder as _;
use actix_http::ws;
use bytes::{Bytes, BytesMut};

use super::header::{Fault, judge};

/// What a client has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A whole message. Its text has not been checked.
    Message(Bytes),
    /// A part of a message that goes on.
    Part,
    /// A ping.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// A close frame and its code.
    Close(Option<u16>),
}

/// The state between the frames of one connection.
#[derive(Debug)]
pub struct Messages {
    codec: ws::Codec,
    /// The fragments of an unfinished message.
    text: Option<Box<BytesMut>>,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            codec: ws::Codec::new(),
            text: None,
        }
    }
}

impl Messages {
    /// Takes the next frame off `buffer`; `None` if it is incomplete. A message may have `max` bytes.
    ///
    /// # Errors
    /// The frame must not be read, and the connection ends.
    pub fn next(&mut self, buffer: &mut BytesMut, max: usize) -> Result<Option<Received>, Fault> {
        let begun = self.text.as_ref().map(|text| text.len());
        judge(buffer, begun, max)?;
        self.codec = self.codec.clone().max_size(max);
        // Only the payload of a close frame is left to be wrong.
        let frame = self.codec.decode(buffer).map_err(|_| Fault::Close)?;
        frame.map(|frame| self.assemble(frame)).transpose()
    }

    fn assemble(&mut self, frame: ws::Frame) -> Result<Received, Fault> {
        Ok(match frame {
            ws::Frame::Text(text) => Received::Message(text),
            ws::Frame::Ping(payload) => Received::Ping(payload),
            ws::Frame::Pong(payload) => Received::Pong(payload),
            ws::Frame::Close(reason) => Received::Close(reason.map(|reason| reason.code.into())),
            ws::Frame::Binary(_) | ws::Frame::Continuation(ws::Item::FirstBinary(_)) => {
                return Err(Fault::Binary);
            }
            ws::Frame::Continuation(ws::Item::FirstText(part)) => {
                self.text = Some(Box::new(BytesMut::from(&part[..])));
                Received::Part
            }
            ws::Frame::Continuation(ws::Item::Continue(part)) => {
                self.append(&part);
                Received::Part
            }
            ws::Frame::Continuation(ws::Item::Last(part)) => {
                self.append(&part);
                let text = self.text.take().unwrap_or_default();
                Received::Message(text.freeze())
            }
        })
    }

    /// There is room for it: its header has been judged.
    fn append(&mut self, part: &[u8]) {
        if let Some(text) = &mut self.text {
            text.extend_from_slice(part);
        }
    }
}
