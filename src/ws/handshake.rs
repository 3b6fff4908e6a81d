//! The answers to an upgrade request: accept, accept only to close with a code, or refuse with an HTTP error.

use std::fmt;
use std::future::poll_fn;
use std::io;

use actix_http::ws::{self, HandshakeError};
use actix_http::{Request, RequestHead, Version};
use bytes::BytesMut;

use super::CLOSE_TIMEOUT;
use crate::limits::AdmissionRefused;
use crate::net::{HeadTooLarge, Socket, last_answer};
use crate::node::Refusal;
use crate::protocol::{Encoded, ServerFrame};

/// An upgrade that has been found good, not yet answered.
pub(super) struct Handshake {
    pub(super) response: String,
    pub(super) socket: Socket,
    pub(super) buffered: BytesMut,
}

impl Handshake {
    pub(super) fn new(request: &Request, socket: Socket, buffered: BytesMut) -> Self {
        let headers = &request.head().headers;
        let key = headers
            .get("sec-websocket-key")
            .map_or(&b""[..], |key| key.as_bytes());
        let accept = ws::hash_key(key);
        let accept = String::from_utf8_lossy(&accept);
        let mut response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n"
        );
        let offered = headers
            .get_all("sec-websocket-protocol")
            .filter_map(|value| value.to_str().ok());
        if let Some(chosen) = choose_protocol(offered) {
            response.push_str("Sec-WebSocket-Protocol: ");
            response.push_str(chosen);
            response.push_str("\r\n");
        }
        response.push_str("\r\n");
        Self {
            response,
            socket,
            buffered,
        }
    }

    /// Accepts only to say why not: a browser can read a close code.
    pub(super) async fn reject(self, refusal: &Refusal) {
        let error = ServerFrame::Closing {
            code: refusal.code,
            message: &refusal.text,
        }
        .encode();
        let close = Encoded::close(refusal.code.number(), &refusal.text);
        let bytes = error.behind(self.response.as_bytes()).bytes().clone();
        say(&self.socket, &[&bytes[..], close.bytes()].concat()).await;
    }
}

/// Platforms of Apple fail a handshake that does not echo one of the offered sub-protocols: the first that we know,
/// else the first (protocol §2.2).
fn choose_protocol<'a>(offered: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let known = |name: &str| {
        name.strip_prefix("pusher-channels-protocol-")
            .is_some_and(|v| matches!(v, "4" | "5" | "6" | "7"))
    };
    let names: Vec<&str> = offered
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .collect();
    names
        .iter()
        .copied()
        .find(|name| known(name))
        .or_else(|| names.first().copied())
}

/// An HTTP error in answer to an upgrade.
pub(super) struct Fault {
    status: &'static str,
    /// One that the status asks for, with its line's end; or none.
    header: &'static str,
    text: String,
}

impl Fault {
    /// There is no room, or the server goes down.
    pub(super) fn unavailable(why: AdmissionRefused) -> Self {
        Self {
            status: "503 Service Unavailable",
            header: "Retry-After: 15\r\n",
            text: format!("{why}\n"),
        }
    }

    /// The path cannot be served.
    pub(super) fn bad_request(why: &dyn fmt::Display) -> Self {
        Self {
            status: "400 Bad Request",
            header: "",
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
            header: "",
            text: format!("{error}\n"),
        }
    }

    pub(super) async fn answer(self, socket: Socket) {
        let Self {
            status,
            header,
            text,
        } = self;
        let response = last_answer(status, header, &text);
        say(&socket, response.as_bytes()).await;
    }
}

/// Whether a request is a handshake of RFC 6455 §4.2.1.
///
/// # Errors
/// How it is answered if not. A client of another version learns ours (§4.4).
pub(super) fn verify(head: &RequestHead) -> Result<(), Fault> {
    let fault = |status, header, why: &dyn fmt::Display| Fault {
        status,
        header,
        text: format!("This is not a WebSocket handshake (RFC 6455): {why}\n"),
    };
    if head.version < Version::HTTP_11 {
        let why = "it needs HTTP/1.1 (nginx in between: proxy_http_version 1.1)";
        return Err(fault("400 Bad Request", "", &why));
    }
    ws::verify_handshake(head).map_err(|error| match error {
        HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion => {
            const OURS: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
            let why = "the header Sec-WebSocket-Version must be 13";
            fault("426 Upgrade Required", OURS, &why)
        }
        HandshakeError::GetMethodRequired => {
            fault("405 Method Not Allowed", "Allow: GET\r\n", &error)
        }
        HandshakeError::NoWebsocketUpgrade
        | HandshakeError::NoConnectionUpgrade
        | HandshakeError::BadWebsocketKey => fault("400 Bad Request", "", &error),
    })
}

/// Writes all of it, ends our direction and waits for the other side's end, for a while.
async fn say(socket: &Socket, bytes: &[u8]) {
    let closing = async {
        if write_all(socket, bytes).await.is_ok() {
            socket.finish();
            socket.discard().await;
        }
    };
    // Whoever does not take it in time is left alone.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
}

async fn write_all(socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_protocols() {
        for (offered, chosen) in [
            (vec![], None),
            (
                vec!["pusher-channels-protocol-7"],
                Some("pusher-channels-protocol-7"),
            ),
            (
                vec!["x, pusher-channels-protocol-5"],
                Some("pusher-channels-protocol-5"),
            ),
            (vec!["x", "y"], Some("x")),
            (
                vec!["pusher-channels-protocol-3"],
                Some("pusher-channels-protocol-3"),
            ),
            (vec![" , "], None),
        ] {
            assert_eq!(choose_protocol(offered.into_iter()), chosen);
        }
    }
}
