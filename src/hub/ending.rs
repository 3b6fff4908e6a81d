//! `Ending`: how a connection ends, and what its client is told of it.

use std::fmt;

use bytes::Bytes;

use crate::protocol::{CloseCode, Encoded, Form, Line, ServerFrame};

/// How a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The client closed it without a close frame, or it broke. Nothing is sent.
    Gone,
    /// The client sent a close frame, which is answered with the same code.
    Answered(Option<u16>),
    /// The server closes it.
    Close {
        /// The close code.
        code: CloseCode,
        /// The reason for the client's developer.
        text: String,
    },
}

impl Ending {
    /// A close by the server with the code's own text.
    #[must_use]
    pub fn close(code: CloseCode) -> Self {
        Self::Close {
            code,
            text: code.text().to_owned(),
        }
    }

    /// What the client is told, in its form.
    pub(super) fn last_words(&self, form: Form) -> Vec<Bytes> {
        match (self, form) {
            (Ending::Gone, _) => Vec::new(),
            (Ending::Answered(code), Form::Line) => {
                vec![Line::close(code.unwrap_or(1000), "").into_bytes()]
            }
            (Ending::Close { code, text }, Form::Line) => {
                vec![Line::close(code.number(), text).into_bytes()]
            }
            (Ending::Answered(code), Form::Frame) => {
                vec![Encoded::close(code.unwrap_or(1000), "").bytes().clone()]
            }
            (Ending::Close { code, text }, Form::Frame) => {
                let error = ServerFrame::Closing {
                    code: *code,
                    message: text,
                };
                let error = code.is_announced().then(|| error.encode());
                let close = Encoded::close(code.number(), text);
                error
                    .into_iter()
                    .chain([close])
                    .map(|frame| frame.bytes().clone())
                    .collect()
            }
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("gone"),
            Self::Answered(_) => f.write_str("closed by the client"),
            Self::Close { code, text } => write!(f, "{} {text}", code.number()),
        }
    }
}
