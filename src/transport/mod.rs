//! What carries connections: WebSockets (`ws`, with Pusher's protocol or `plain`), Server-Sent Events (`sse`), and what
//! else takes a connection over from HTTP.
//!
//! What all of them share is here: who is let in (`admission`), what a client of Pusher's protocol says (`commands`),
//! how a connection begins and ends for those who watch (`lifecycle`), and answers that end it (`answer`). A transport
//! knows its own framing, calls verbs of the node with typed values, and touches neither adapter nor registry.

mod admission;
mod answer;
mod commands;
mod lifecycle;
mod listening;
mod plain;
mod sse;
pub(crate) mod ws;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::Request;
use bytes::BytesMut;

use crate::hub::Hub;
use crate::limits::AdmissionGate;
use crate::net::{Socket, TakeOver, Taken, TrustedProxies};
use crate::node::{ApiTokens, Node};
use admission::Door;

/// How long a close may take: the rest of the outbox, the close frame, and the other side's end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// All transports of one worker.
pub struct Transports {
    door: Rc<Door>,
}

impl Transports {
    /// For the connections that this worker accepts.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "wiring: each part is named once, here and in the server"
    )]
    pub fn new(
        node: Arc<Node>,
        hub: Rc<Hub>,
        gate: Arc<AdmissionGate>,
        path_prefix: &str,
        proxies: Arc<TrustedProxies>,
        tokens: ApiTokens,
    ) -> Self {
        Self {
            door: Rc::new(Door {
                node,
                hub,
                gate,
                path_prefix: path_prefix.into(),
                proxies,
                tokens,
            }),
        }
    }
}

/// Runs on the worker, apart from the HTTP machinery, whose memory is freed when the connection was taken over.
fn spawn(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}

impl TakeOver for Transports {
    fn takes(&self, request: &Request, offers_upgrade: bool) -> bool {
        sse::takes(&self.door, request) || offers_upgrade && ws::takes(&self.door, request)
    }

    fn take_over(&self, request: Request, socket: Socket, unread: BytesMut) -> Taken {
        match sse::takes(&self.door, &request) {
            true => sse::open(&self.door, &request, socket),
            false => ws::upgrade(&self.door, &request, socket, unread),
        }
        Taken::ForGood
    }
}
