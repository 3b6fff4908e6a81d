//! WebSocket upgrades on `/app/{key}` and `/resume/{token}/app/{key}`: the handshake, then the raw connection is handed to its own task.
//!
//! What a browser must be able to read is said in a close frame after accepting; overload is said by an HTTP error,
//! because only that makes pusher-js back off.

mod connection;
mod handshake;
pub(crate) mod header;
pub(crate) mod messages;

use std::sync::Arc;

use actix_http::{Method, Request};
use bytes::BytesMut;

use super::admission::Door;
use super::answer::Fault;
use super::spawn;
use crate::hub::{Identity, Outlet};
use crate::limits::Admission;
use crate::metrics::UpgradeRefused;
use crate::net::{Socket, check_head};
use crate::protocol::Transport;
use connection::serve;
use handshake::{Handshake, verify};

/// Whether an offered upgrade is taken. Some proxies offer one with every request that they forward; those to the API
/// are requests all the same.
pub(super) fn takes(door: &Door, request: &Request) -> bool {
    let head = request.head();
    let is_handshake = head.headers.contains_key("sec-websocket-key");
    let (path, token) = door.split(request);
    is_handshake || head.method == Method::GET && (path.starts_with("/app/") || token.is_some())
}

/// Takes the connection of a request that offers an upgrade.
pub(super) fn upgrade(door: &Door, request: &Request, socket: Socket, unread: BytesMut) {
    let key = door.split(request).0.strip_prefix("/app/");
    let key = key.filter(|key| !key.is_empty() && !key.contains('/'));
    let attempt = door.attempt(request, socket.is_secure(), Transport::WebSocket, key);
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
    let admission = match attempt.admit() {
        Ok(admission) => admission,
        Err(why) => return spawn(Fault::unavailable(why).answer(socket)),
    };
    let handshake = Handshake::new(request, socket, unread);
    match door.node.connect(&attempt.params()) {
        Ok(identity) => accept(door, identity, handshake, admission),
        Err(refusal) => {
            attempt.rejected(&refusal);
            spawn(async move {
                handshake.reject(&refusal).await;
                drop(admission);
            });
        }
    }
}

/// The hub has the connection before anything else happens on this worker: a reload that follows finds it there.
fn accept(door: &Door, identity: Identity, handshake: Handshake, admission: Admission) {
    let opening = door
        .node
        .greeting(&identity)
        .behind(handshake.response.as_bytes());
    let outlet = Outlet::WebSocket(handshake.socket);
    let peer = door.hub.admit(identity, outlet);
    peer.send(&opening);
    spawn(serve(
        Arc::clone(&door.node),
        peer,
        handshake.buffered,
        admission,
    ));
}
