//! How a connection begins and ends for those who watch: log, feed, counters.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tracing::info;

use super::CLOSE_TIMEOUT;
use crate::feed::{Entry, Kind};
use crate::hub::{Ending, Peer};
use crate::metrics::{Closed, Lifecycle, Reason as _};
use crate::node::{Node, Session};

/// Tells that a connection was established.
pub(super) fn connected(node: &Node, peer: &Peer) {
    let (app, transport) = (peer.app(), peer.transport());
    let tallies = node.metrics().by_reason();
    tallies.opened.count(transport);
    if tallies.lifecycle.count_and_allow_log(Lifecycle::Connected) {
        info!(
            app.id = %app.id,
            socket.id = %peer.socket_id(),
            transport = transport.name(),
            address = peer.address().map(display),
            "connected"
        );
    }
    node.feed()
        .record(Some(&app.id), Kind::Connected, || Entry {
            socket_id: Some(peer.socket_id()),
            address: peer.address(),
            transport: Some(transport.name()),
            ..Entry::default()
        });
}

/// Waits until a connection ends: from this side, which its task reads for, or because its peer was ended. Not an
/// `async fn`, which each idle connection would have more room for.
pub(super) fn until_ended(
    peer: &Peer,
    mut reading: Pin<&mut impl Future<Output = Ending>>,
) -> impl Future<Output = Ending> {
    poll_fn(move |cx| match peer.poll(cx) {
        Poll::Ready(ending) => Poll::Ready(ending),
        Poll::Pending => reading.as_mut().poll(cx),
    })
}

/// Tells the client of a socket how its connection has ended, and waits for the other side's end, for a while.
pub(super) async fn close(peer: &Peer, ending: &Ending) {
    let closing = async {
        if peer.send_close(ending).await.is_ok()
            && *ending != Ending::Gone
            && let Some(socket) = peer.socket()
        {
            socket.discard().await;
        }
    };
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
}

/// Takes a connection that has ended out of everything, and tells it. What its client is told is its transport's affair.
pub(super) fn disconnected(node: &Node, session: Session, ending: &Ending) {
    let peer = &session.peer;
    // Nothing more is sent to it by others, and what they still try is in vain.
    peer.end(ending.clone());
    let app = peer.app();
    let lifecycle = &node.metrics().by_reason().lifecycle;
    if lifecycle.count_and_allow_log(Lifecycle::Disconnected) {
        info!(app.id = %app.id, socket.id = %peer.socket_id(), reason = %ending, "disconnected");
    }
    node.feed().record(Some(&app.id), Kind::Disconnected, || {
        entry(&session, ending)
    });
    node.disconnect(session);
}

fn entry<'a>(session: &'a Session, ending: &'a Ending) -> Entry<'a> {
    let (code, reason) = match ending {
        Ending::Gone => (None, Closed::Gone.text()),
        Ending::Answered(code) => (*code, Closed::Client.text()),
        Ending::Close { code, text } => (Some(code.number()), text.as_str()),
    };
    Entry {
        socket_id: Some(session.peer.socket_id()),
        user_id: session.user_id().map(|user| user.as_str()),
        address: session.peer.address(),
        reason: Some(reason.into()),
        code,
        ..Entry::default()
    }
}
