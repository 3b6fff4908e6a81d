//! The answers to an upgrade request: accept, accept only to close with a code, or refuse with an HTTP error.

use std::fmt;

use actix_http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use actix_http::ws::{self, HandshakeError};
use actix_http::{Request, RequestHead, Version};
use bytes::BytesMut;

use crate::net::Socket;
use crate::node::Refusal;
use crate::protocol::{Encoded, Form, ServerFrame};
use crate::transport::answer::{Fault, say};

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
            .get(SEC_WEBSOCKET_KEY)
            .map_or(&b""[..], |key| key.as_bytes());
        let accept = ws::hash_key(key);
        let accept = String::from_utf8_lossy(&accept);
        let mut response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n"
        );
        let offered = headers
            .get_all(SEC_WEBSOCKET_PROTOCOL)
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
    pub(super) async fn reject(self, refusal: &Refusal, form: Form) {
        let error = ServerFrame::Closing {
            code: refusal.code,
            message: &refusal.text,
        }
        .encode();
        let close = Encoded::close(refusal.code.number(), &refusal.text);
        let error = form.bytes_of(&error).unwrap_or_default();
        let all = [self.response.as_bytes(), &error, close.bytes()].concat();
        say(&self.socket, &all).await;
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

/// Whether a request is a handshake of RFC 6455 §4.2.1.
///
/// # Errors
/// How it is answered if not. A client of another version learns ours (§4.4).
pub(super) fn verify(head: &RequestHead) -> Result<(), Fault> {
    let fault = |status, headers: &'static str, why: &dyn fmt::Display| Fault {
        status,
        headers: headers.into(),
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
