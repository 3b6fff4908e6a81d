//! `Outlet`: where a connection's frames go, and in which form.

pub use super::stream::EventStream;
use crate::net::Socket;
use crate::protocol::Form;

/// Where a connection's frames go.
#[derive(Debug)]
pub enum Outlet {
    /// To a WebSocket, as they are encoded.
    WebSocket(Socket),
    /// To one connection, in another form: a WebSocket of another protocol.
    Stream(Form, Socket),
    /// To an answer of Server-Sent Events.
    Events(Box<EventStream>),
    /// Nowhere: they wait in the outbox, in a form, until the connection's task fetches them for whoever comes.
    Fetched(Form),
}

impl Outlet {
    /// The form.
    pub(super) fn form(&self) -> Form {
        match self {
            Self::WebSocket(_) => Form::Frame,
            Self::Stream(form, _) | Self::Fetched(form) => *form,
            Self::Events(stream) => stream.form(),
        }
    }

    /// The io object, if there is one.
    pub(super) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::WebSocket(socket) | Self::Stream(_, socket) => Some(socket),
            Self::Events(stream) => Some(stream.socket()),
            Self::Fetched(_) => None,
        }
    }
}
