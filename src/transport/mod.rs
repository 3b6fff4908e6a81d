//! What carries connections: WebSockets (`ws`, with Pusher's protocol or `plain`), Server-Sent Events (`sse`), and what
//! else takes a connection over from HTTP.
//!
//! What all of them share is here: who is let in (`admission`), what a client of Pusher's protocol says (`commands`),
//! how a connection begins and ends for those who watch (`lifecycle`), and answers that end it (`answer`). A transport
//! knows its own framing, calls verbs of the node with typed values, and touches neither adapter nor registry.

mod admission;
mod answer;
mod commands;
mod cors;
mod lifecycle;
mod listening;
mod plain;
mod sse;
pub(crate) mod ws;
mod xhr;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::BoxBody;
use actix_http::{HttpMessage as _, Request, Response};
use bytes::BytesMut;

use crate::net::{Secure, Socket, TakeOver, Taken};
use crate::node::Node;
use crate::supervise;
pub use admission::Door;
pub use xhr::sessions::Sessions;

/// How long a close may take: the rest of the outbox, the close frame, and the other side's end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// All transports of one worker.
pub struct Transports(Rc<Door>);

impl Transports {
    /// For the connections that this worker accepts.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self(Rc::new(door))
    }

    /// Whether a request whose connection is not taken over is answered here.
    #[must_use]
    pub fn serves(&self, request: &Request) -> bool {
        xhr::serves(&self.0, request)
    }

    /// Answers such a request.
    pub async fn serve(&self, request: Request) -> Response<BoxBody> {
        let secure = request.extensions().get::<Secure>().is_some();
        xhr::serve(&self.0, request, secure).await
    }
}

/// Answers other nodes about sessions of this process, as long as it lives. Only where there may be other nodes.
pub async fn answer_peers(node: Arc<Node>, sessions: Arc<Sessions>) {
    xhr::keep(node, sessions).await;
}

/// Runs on the worker, apart from the HTTP machinery, whose memory is freed when the connection was taken over.
fn spawn(task: impl Future<Output = ()> + 'static) {
    supervise::spawn(task);
}

impl TakeOver for Transports {
    fn takes(&self, request: &Request, offers_upgrade: bool) -> bool {
        sse::takes(&self.0, request)
            || xhr::takes(&self.0, request)
            || offers_upgrade && ws::takes(&self.0, request)
    }

    fn take_over(&self, request: Request, socket: Socket, unread: BytesMut) -> Taken {
        if xhr::takes(&self.0, &request) {
            return xhr::take_over(&self.0, request, socket, unread);
        }
        match sse::takes(&self.0, &request) {
            true => sse::open(&self.0, &request, socket),
            false => ws::upgrade(&self.0, &request, socket, unread),
        }
        Taken::ForGood
    }
}
