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
        let (code, text) = match self {
            Self::Gone => return Vec::new(),
            Self::Answered(code) => (code.unwrap_or(1000), ""),
            Self::Close { code, text } => (code.number(), text.as_str()),
        };
        if form == Form::Line {
            return vec![Line::close(code, text).into_bytes()];
        }
        let announced = match self {
            Self::Close { code, text } if code.is_announced() => {
                let (code, message) = (*code, text.as_str());
                form.bytes_of(&ServerFrame::Closing { code, message }.encode())
            }
            _ => None,
        };
        let close = matches!(form, Form::Frame | Form::Plain);
        let close = close.then(|| Encoded::close(code, text).bytes().clone());
        announced.into_iter().chain(close).collect()
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
