//! pusher-js over HTTP: a session that outlives its requests. Its client chooses its name, which is its secret, as with
//! `SockJS`; a request for lines (`receiver`) takes a connection over, a request with messages is a request like any other.
//!
//! A session is opened by the first request for lines, on the worker that got it (`session`, `desk`, `order`); requests
//! that come to another worker find it by `sessions`, and those that come to another node by `remote`.
//!
//! A client's way: its `POST …/xhr_streaming` comes to any worker; `Transports::takes` says that it is for lines, and
//! `net/http1` hands the connection over. `Sessions::find_or_open` knows the session or opens one on this worker: a
//! `Peer` whose outlet is `Fetched`, so its frames wait in the outbox as lines, and a task (`session`). A `Receiver`
//! asks the session's `Desk` for lines through a bounded queue, writes what it is lent, and says how many lines the
//! kernel took; what it did not write goes to the next receiver. When the client's text is longer than 262,144 UTF-16
//! units at a line's end it stops; the client comes back, perhaps to another worker, and that receiver replaces it.
//!
//! A `POST …/xhr_send` is answered by `requests`: its messages go to the session's queue, `Order` puts them right by
//! the page's numbers, and `transport/commands.rs` carries them out as those of a WebSocket.
//!
//! On a node that does not have the session, `Remote::find` asks Redis who owns it, and makes this node the owner of
//! one that nobody has. `Remote::receiver` then stands in for the session: it carries what the `Receiver` asks of the
//! desk to the owner as questions (`Peers::ask`), whose `answering` does there what a receiver of its own would do. A
//! batch that gets lost is lent again.

mod desk;
mod order;
mod receiver;
mod remote;
mod requests;
mod route;
mod session;
pub(super) mod sessions;

use std::rc::Rc;
use std::sync::Arc;

use actix_http::{ConnectionType, Method, Request, Version};
use bytes::BytesMut;

use super::admission::{Attempt, Door};
use super::answer::{Fault, say};
use super::cors::Cors;
use super::spawn;
use crate::hub::Outlet;
use crate::metrics::UpgradeRefused;
use crate::net::{Socket, Taken, check_head};
use crate::node::{Owner, Refusal};
use crate::protocol::{Form, Line, Transport};
use receiver::Receiver;
use remote::Remote;
pub(super) use remote::keep;
pub(super) use requests::{serve, serves};
use route::{Kind, Route};
use sessions::{Found, Handle, Opening};

/// Whether a request's connection is taken over: it is for lines.
pub(super) fn takes(door: &Door, request: &Request) -> bool {
    let route = Route::of(door.split(request).0);
    let is_for_lines = |route: Route<'_>| matches!(route.kind, Kind::Streaming | Kind::Polling);
    *request.method() == Method::POST && route.is_some_and(is_for_lines)
}

/// Takes the connection of a request for lines.
pub(super) fn take_over(
    door: &Rc<Door>,
    request: Request,
    socket: Socket,
    unread: BytesMut,
) -> Taken {
    let may_be_remote = |route: Route<'_>| {
        let is_known = door.node.apps().by_key(route.key).is_some();
        is_known && door.sessions.find(route.session).is_none()
    };
    let route = Route::of(door.split(&request).0);
    if door.node.peers().is_none() || !route.is_some_and(may_be_remote) {
        return begin(door, &request, None, (socket, unread));
    }
    let door = Rc::clone(door);
    Taken::Lent(Box::pin(async move {
        let session = Route::of(door.split(&request).0)?.session;
        // While Redis cannot be asked it may be another node's. Its client takes it for lost then, and comes again.
        let remote = Remote::find(&door.node, session, true).await.ok().flatten();
        let is_owned = remote.is_none();
        let taken = begin(&door, &request, remote, (socket, unread));
        if is_owned
            && door.sessions.find(session).is_none()
            && let Some(peers) = door.node.peers()
        {
            // It was refused.
            peers.give_up(session, Owner::ThisNode);
        }
        match taken {
            Taken::ForGood => None,
            Taken::Lent(loan) => loan.await,
        }
    }))
}

/// Begins to answer a request for lines of a session of this node, or of another one.
fn begin(
    door: &Door,
    request: &Request,
    remote: Option<Remote>,
    (socket, unread): (Socket, BytesMut),
) -> Taken {
    let Some(route) = Route::of(door.split(request).0) else {
        return Taken::ForGood;
    };
    let transport = match route.kind {
        Kind::Streaming => Transport::XhrStreaming,
        _ => Transport::XhrPolling,
    };
    let attempt = door.attempt(request, socket.is_secure(), transport, Some(route.key));
    let cors = Cors::of(&door.node, attempt.key, attempt.header("origin"));
    let answer = Answer::new(door, request, &cors);
    let number = requests::number(request);
    let is_remote = remote.is_some();
    let found = match remote {
        Some(remote) => Ok(remote.receiver(number, door.gate.closed(|| false))),
        None => find_or_open(&attempt, route),
    };
    let handle = match found {
        Ok(handle) => handle,
        Err(Refused::Fault(mut fault)) => {
            fault.headers.to_mut().push_str(&cors.lines());
            spawn(fault.answer(socket));
            return Taken::ForGood;
        }
        Err(Refused::Told(refusal)) => {
            return Taken::Lent(Box::pin(answer.refuse(refusal, socket, unread)));
        }
    };
    handle.skip(number);
    let receiver = Receiver::new(handle);
    match transport {
        Transport::XhrStreaming => {
            let (head, chunked) = answer.stream();
            let streaming = receiver.stream(socket, head, chunked);
            if !is_remote {
                spawn(streaming);
                return Taken::ForGood;
            }
            // A shutdown closes this node's own sessions, and waits only for HTTP.
            Taken::Lent(Box::pin(async move {
                streaming.await;
                None
            }))
        }
        _ => Taken::Lent(Box::pin(
            receiver.poll(socket, unread, move |length| answer.whole(length)),
        )),
    }
}

/// Why there is no session.
enum Refused {
    /// Said by a status.
    Fault(Fault),
    /// Said to the client in its protocol.
    Told(Refusal),
}

fn find_or_open(attempt: &Attempt<'_>, route: Route<'_>) -> Result<Handle, Refused> {
    if let Err(error) = check_head(attempt.request.head()) {
        attempt.refused(UpgradeRefused::HeadTooLarge);
        return Err(Refused::Fault(Fault::too_large(error)));
    }
    if let Some(Err(error)) = &attempt.token {
        attempt.refused(UpgradeRefused::ResumeToken);
        return Err(Refused::Fault(Fault::bad_request(error)));
    }
    match attempt.door.sessions.find_or_open(route.session) {
        Found::Known(handle) => Ok(handle),
        Found::New(handle, opening) => open(attempt, opening).map(|()| handle),
    }
}

/// The hub has the session before anything else happens on this worker: a reload that follows finds it there.
fn open(attempt: &Attempt<'_>, opening: Opening) -> Result<(), Refused> {
    let door = attempt.door;
    let admission = attempt
        .admit()
        .map_err(|why| Refused::Fault(Fault::unavailable(why)))?;
    let identity = door.node.connect(&attempt.params()).map_err(|refusal| {
        attempt.rejected(&refusal);
        Refused::Told(refusal)
    })?;
    let greeting = door.node.greeting(&identity);
    let peer = door.hub.admit(identity, Outlet::Fetched(Form::Line));
    peer.send_line(Line::open(door.sessions.hostname()));
    peer.send(&greeting);
    spawn(session::serve(
        Arc::clone(&door.node),
        peer,
        opening,
        admission,
    ));
    Ok(())
}

/// The heads of answers to one request.
struct Answer {
    cors: String,
    /// Whether the client knows chunks.
    is_http_11: bool,
    /// Whether the connection may be used for another request.
    keep: bool,
}

impl Answer {
    fn new(door: &Door, request: &Request, cors: &Cors) -> Self {
        let head = request.head();
        let is_http_11 = head.version >= Version::HTTP_11;
        let wants_keep = head.connection_type() == ConnectionType::KeepAlive;
        Self {
            cors: cors.lines(),
            is_http_11,
            keep: is_http_11 && wants_keep && !door.gate.is_closed(),
        }
    }

    /// Of an answer without an end, and whether it has chunks.
    fn stream(&self) -> (String, bool) {
        let framing = match self.is_http_11 {
            true => "Transfer-Encoding: chunked\r\n",
            false => "",
        };
        let head = self.head(&format!("{framing}Connection: close\r\n"));
        (head, self.is_http_11)
    }

    /// Of an answer with so many bytes, and whether the connection may be used again.
    fn whole(&self, bytes: usize) -> (String, bool) {
        let connection = if self.keep {
            ""
        } else {
            "Connection: close\r\n"
        };
        let head = self.head(&format!("Content-Length: {bytes}\r\n{connection}"));
        (head, self.keep)
    }

    fn head(&self, framing: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/javascript; charset=UTF-8\r\nX-Content-Type-Options: \
             nosniff\r\nCache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\n{}{framing}\r\n",
            self.cors
        )
    }

    /// Opens a session only to say why not: a client reads a close code, not a status.
    async fn refuse(
        self,
        refusal: Refusal,
        socket: Socket,
        unread: BytesMut,
    ) -> Option<(Socket, BytesMut)> {
        let close = Line::close(refusal.code.number(), &refusal.text);
        let body = [Line::open(None).text(), close.text()].concat();
        let (head, keep) = self.whole(body.len());
        let bytes = [head.as_bytes(), &body].concat();
        if !keep {
            say(&socket, &bytes).await;
            return None;
        }
        let written = tokio::time::timeout(
            super::CLOSE_TIMEOUT,
            super::answer::write_all(&socket, &bytes),
        );
        matches!(written.await, Ok(Ok(()))).then_some((socket, unread))
    }
}
