//! WebSocket upgrades on `/app/{key}`, `/resume/{token}/app/{key}` and `/plain/{key}`: the handshake, then the raw connection is handed to its own task.
//!
//! What a browser must be able to read is said in a close frame after accepting; overload is said by an HTTP error,
//! because only that makes pusher-js back off.

mod connection;
mod handshake;
pub(crate) mod header;
pub(crate) mod messages;

use std::sync::Arc;

use actix_http::header::SEC_WEBSOCKET_KEY;
use actix_http::{Method, Request};
use bytes::{Bytes, BytesMut};

use super::admission::Door;
use super::answer::Fault;
use super::listening::Wish;
use super::plain::Start;
use super::spawn;
use crate::hub::{Identity, Outlet};
use crate::limits::Admission;
use crate::metrics::UpgradeRefused;
use crate::net::{Socket, check_head};
use crate::protocol::{Form, Transport};
use connection::serve;
use handshake::{Handshake, verify};

/// Where plain WebSockets are.
const PLAIN: &str = "/plain/";

/// Whether an offered upgrade is taken. Some proxies offer one with every request that they forward; those to the API
/// are requests all the same.
pub(super) fn takes(door: &Door, request: &Request) -> bool {
    let head = request.head();
    let is_handshake = head.headers.contains_key(SEC_WEBSOCKET_KEY);
    let (path, token) = door.split(request);
    let is_ours = path.starts_with("/app/") || path.starts_with(PLAIN) || token.is_some();
    is_handshake || head.method == Method::GET && is_ours
}

/// Takes the connection of a request that offers an upgrade.
pub(super) fn upgrade(door: &Door, request: &Request, socket: Socket, unread: BytesMut) {
    let path = door.split(request).0;
    let (transport, form, key) = match path.strip_prefix(PLAIN) {
        Some(key) => (Transport::Plain, Form::Plain, Some(key)),
        None => (
            Transport::WebSocket,
            Form::Frame,
            path.strip_prefix("/app/"),
        ),
    };
    let key = key.filter(|key| !key.is_empty() && !key.contains('/'));
    let attempt = door.attempt(request, socket.is_secure(), transport, key);
    if let Err(error) = check_head(request.head()) {
        attempt.refused(UpgradeRefused::HeadTooLarge);
        return spawn(Fault::too_large(error).answer(socket));
    }
    if let Err(fault) = verify(request.head()) {
        attempt.refused(UpgradeRefused::Handshake);
        return spawn(fault.answer(socket));
    }
    if let Some(Err(error)) = &attempt.token {
        attempt.refused(UpgradeRefused::ResumeToken);
        return spawn(Fault::bad_request(error).answer(socket));
    }
    let wish = (transport == Transport::Plain).then(|| Wish::of(request.head()));
    let wish = match wish.transpose() {
        Ok(wish) => wish,
        Err(text) => {
            attempt.refused(UpgradeRefused::Query);
            return spawn(Fault::bad_request(&text).answer(socket));
        }
    };
    let admission = match attempt.admit() {
        Ok(admission) => admission,
        Err(why) => return spawn(Fault::unavailable(why).answer(socket)),
    };
    let start = wish.map(|wish| {
        Box::new(Start {
            wish,
            client: attempt.client,
            tokens: door.tokens.clone(),
        })
    });
    let handshake = Handshake::new(request, socket, unread);
    match door.node.connect(&attempt.params()) {
        Ok(identity) => accept(door, identity, handshake, admission, start),
        Err(refusal) => {
            attempt.rejected(&refusal);
            spawn(async move {
                handshake.reject(&refusal, form).await;
                drop(admission);
            });
        }
    }
}

/// The hub has the connection before anything else happens on this worker: a reload that follows finds it there.
fn accept(
    door: &Door,
    identity: Identity,
    handshake: Handshake,
    admission: Admission,
    start: Option<Box<Start>>,
) {
    let response = handshake.response.as_bytes();
    let (outlet, opening) = match start {
        Some(_) => (
            Outlet::Stream(Form::Plain, handshake.socket),
            Bytes::copy_from_slice(response),
        ),
        None => {
            let greeting = door.node.greeting(&identity).behind(response);
            (
                Outlet::WebSocket(handshake.socket),
                greeting.bytes().clone(),
            )
        }
    };
    let peer = door.hub.admit(identity, outlet);
    peer.send_bytes(&opening);
    spawn(serve(
        Arc::clone(&door.node),
        peer,
        handshake.buffered,
        admission,
        start,
    ));
}
