//! Answers that end a connection: HTTP errors to requests for connections, and the writing of all of something.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::io;

use super::CLOSE_TIMEOUT;
use crate::limits::AdmissionRefused;
use crate::net::{HeadTooLarge, Socket, last_answer};

/// An HTTP error in answer to a request for a connection.
pub(super) struct Fault {
    pub(super) status: &'static str,
    /// More headers, each with its line's end; or none.
    pub(super) headers: Cow<'static, str>,
    /// What to do about it, with its line's end.
    pub(super) text: String,
}

impl Fault {
    /// There is no room, or the server goes down.
    pub(super) fn unavailable(why: AdmissionRefused) -> Self {
        Self {
            status: "503 Service Unavailable",
            headers: "Retry-After: 15\r\n".into(),
            text: format!("{why}\n"),
        }
    }

    /// The path cannot be served.
    pub(super) fn bad_request(why: &dyn fmt::Display) -> Self {
        Self {
            status: "400 Bad Request",
            headers: "".into(),
            text: format!("{why}\n"),
        }
    }

    /// The request's head is too large.
    pub(super) fn too_large(error: HeadTooLarge) -> Self {
        Self {
            status: match error {
                HeadTooLarge::Target(_) => "414 URI Too Long",
                HeadTooLarge::Fields(_) => "431 Request Header Fields Too Large",
                HeadTooLarge::Parameters(_) => "400 Bad Request",
            },
            headers: "".into(),
            text: format!("{error}\n"),
        }
    }

    pub(super) async fn answer(self, socket: Socket) {
        let response = last_answer(self.status, &self.headers, &self.text);
        say(&socket, response.as_bytes()).await;
    }
}

/// Writes all of it, ends our direction and waits for the other side's end, for a while.
pub(super) async fn say(socket: &Socket, bytes: &[u8]) {
    let closing = async {
        if write_all(socket, bytes).await.is_ok() {
            socket.finish();
            socket.discard().await;
        }
    };
    // Whoever does not take it in time is left alone.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
}

/// Waits until the kernel has all of it.
pub(super) async fn write_all(socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| socket.poll_writable(cx)).await?
            }
            Err(e) => return Err(e),
        }
    }
    poll_fn(|cx| socket.poll_flush(cx)).await
}
