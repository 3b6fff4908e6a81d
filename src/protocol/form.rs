//! `Form`: the same frame as the bytes that each transport sends, and `Forms`: each of them made at most once.

use std::cell::RefCell;

use bytes::Bytes;

use super::Encoded;
use super::line::Line;
use super::plain::plain_text;
use super::sse::{SseStyle, sse_block, sse_id};

/// In which form a connection is sent its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// WebSocket frames of Pusher's protocol, as they are encoded.
    Frame,
    /// Lines of pusher-js over HTTP: [`Line`].
    Line,
    /// WebSocket frames of plain JSON.
    Plain,
    /// Blocks of Server-Sent Events; with the id of a stream that has one channel, or without an id.
    Sse(SseStyle, Option<u64>),
    /// Nothing: it has not begun.
    Nothing,
}

impl Form {
    /// The bytes of a frame in this form; none if it means nothing there.
    pub fn bytes_of(self, frame: &Encoded) -> Option<Bytes> {
        match self {
            Self::Frame => Some(frame.bytes().clone()),
            Self::Line => frame
                .text_payload()
                .map(|text| Line::message(text).into_bytes()),
            Self::Plain => match frame.text_payload() {
                Some(text) => plain_text(text).map(|text| Encoded::text(&text).bytes().clone()),
                None => Some(frame.bytes().clone()),
            },
            Self::Sse(style, id) => {
                let block = sse_block(frame.text_payload()?, style)?;
                let id = id.map(|id| sse_id([id])).unwrap_or_default();
                Some((id + &block).into())
            }
            Self::Nothing => None,
        }
    }
}

/// The forms of one frame that have been made, for all connections that it is sent to. Costs nothing until another form
/// than the frame's own is asked for.
#[derive(Debug, Default)]
pub struct Forms(RefCell<Option<Box<Made>>>);

type Made = Vec<(Form, Option<Bytes>)>;

impl Forms {
    /// The bytes of `frame`, which is the same at each call, in a form; none if it means nothing there.
    pub fn bytes_of(&self, form: Form, frame: &Encoded) -> Option<Bytes> {
        let mut made = self.0.borrow_mut();
        let made = made.get_or_insert_default();
        if let Some((_, bytes)) = made.iter().find(|(known, _)| *known == form) {
            return bytes.clone();
        }
        let bytes = form.bytes_of(frame);
        made.push((form, bytes.clone()));
        bytes
    }

    /// Forgets them: another frame follows.
    pub fn clear(&self) {
        // A borrow that is taken only to look costs nothing but a branch.
        if self.0.borrow().is_some() {
            self.0.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ServerFrame;

    #[test]
    fn a_form_is_made_once() {
        let (frame, forms) = (ServerFrame::Pong.encode(), Forms::default());
        let first = forms.bytes_of(Form::Line, &frame).unwrap();
        let second = forms.bytes_of(Form::Line, &frame).unwrap();
        assert_eq!(first.as_ptr(), second.as_ptr(), "the same allocation");
        forms.clear();
        let ping = Encoded::ping(b"");
        assert_eq!(forms.bytes_of(Form::Line, &ping), None);
        assert_eq!(forms.bytes_of(Form::Line, &ping), None);
        assert_eq!(
            forms.bytes_of(Form::Frame, &ping).as_ref(),
            Some(ping.bytes())
        );
    }
}
