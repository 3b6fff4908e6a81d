//! HTTP/1.1 on one connection: one request at a time, and a deadline for each state.
//!
//! A pipelined request is read after the answer before it is written. So answers keep their order, a client that does
//! not read its answers is not served, and a connection costs at most one request, one answer and the head of the next
//! request. Whoever takes a connection over (for an upgrade, or to write an answer over time) gets one that owes no
//! other answer.
//!
//! Parsing and encoding are the framework's codec. This module knows no path, no app and no WebSocket.

mod alarm;
mod body;
mod wire;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::h1::Message;
use actix_http::{ConnectionType, HttpMessage as _, Payload, Request, Response, StatusCode};
use actix_service::Service;
use bytes::BytesMut;
use futures_core::Stream as _;
use tokio::time::Instant;

use super::Socket;
use crate::limits::AdmissionGate;
use alarm::Alarm;
use body::Body;
use wire::{BodyKind, Wire};

/// The most bytes of a request's head that are read. [`super::check_head`] limits its parts.
const HEAD_BYTES: usize = 48 * 1024;

/// The time for the head of a request, from its first byte. For the first request, from the start of the connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection stays open without a request: longer than the pools of common clients and proxies keep it.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);

/// The time for a body to arrive or an answer to be read, in addition to the time at [`LEAST_RATE`].
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);

/// The slowest accepted transfer, in bytes a second.
const LEAST_RATE: u64 = 4096;

/// How long a client may take to read the last answer of a connection.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// The output buffer is written when it holds this many bytes.
const OUTPUT_BYTES: usize = 32 * 1024;

/// A request's extension: its client speaks TLS to this server, or to the proxy whose header says so.
#[derive(Debug, Clone, Copy)]
pub struct Secure;

/// Why the server ended a connection early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The bytes are not HTTP/1.1. Answered with 400.
    Malformed,
    /// The bytes are TLS, and the listener has no TLS. Answered with 400.
    Tls,
    /// The head of a request is longer than [`HEAD_BYTES`]. Answered with 431.
    HeadTooLarge,
    /// The first line of a request is longer than that. Answered with 414.
    TargetTooLong,
    /// The head of a request did not arrive in time. Answered with 408.
    HeadTimeout,
    /// A request that is to have no body has a long one. Answered with 413.
    BodyNotTaken,
    /// The client did not read an answer in time.
    AnswerTimeout,
    /// The connection broke, or an answer could not be made.
    Broken,
}

impl Fault {
    fn answer(self) -> Option<(&'static str, String)> {
        match self {
            Self::Malformed => Some(("400 Bad Request", "This is not HTTP/1.1.\n".to_owned())),
            // Libraries say "wrong version number" to any answer in the clear; a capture shows this one.
            Self::Tls => Some((
                "400 Bad Request",
                "This port is in the clear, and TLS came: use ws:// or http:// here.\n".to_owned(),
            )),
            Self::HeadTooLarge => Some((
                "431 Request Header Fields Too Large",
                "The header fields are too many or too long: send fewer or shorter ones, cookies above all.\n".to_owned(),
            )),
            Self::TargetTooLong => Some((
                "414 URI Too Long",
                "The path and the query are too long: send what is large as the body of a POST.\n".to_owned(),
            )),
            Self::HeadTimeout => Some((
                "408 Request Timeout",
                format!(
                    "The request line and the headers did not arrive within {} seconds.\n",
                    HEAD_TIMEOUT.as_secs()
                ),
            )),
            Self::BodyNotTaken => Some((
                "413 Content Too Large",
                "A request to this path has no body.\n".to_owned(),
            )),
            Self::AnswerTimeout | Self::Broken => None,
        }
    }
}

/// A complete answer in plain text that ends the connection. `status` is e.g. `400 Bad Request`. Each line in `headers`
/// ends with CRLF.
#[must_use]
pub fn last_answer(status: &str, headers: &str, text: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{headers}\r\n{text}",
        text.len()
    )
}

/// Takes connections over from HTTP: for WebSockets, and for answers that are written as things happen.
pub trait TakeOver {
    /// Whether it takes over the connection of a request. `offers_upgrade`: the request offers to go on with something
    /// else than HTTP; if it is not taken, the offer is ignored.
    fn takes(&self, request: &Request, offers_upgrade: bool) -> bool;
    /// Takes over the connection, whose next bytes are to be the answer. `unread` are the bytes read after the request.
    fn take_over(&self, request: Request, socket: Socket, unread: BytesMut) -> Taken;
}

/// What becomes of a connection that was taken over.
pub enum Taken {
    /// It is no affair of HTTP any more.
    ForGood,
    /// It is given back when an answer has been written, with what was read meanwhile; or not, if it ended with that.
    Lent(Loan),
}

/// Ends with the connection and what was read behind the request; none: the connection has ended.
pub type Loan = Pin<Box<dyn Future<Output = Option<(Socket, BytesMut)>>>>;

/// The HTTP server of one listener on one worker.
pub struct Http<S> {
    service: S,
    /// None: the service answers upgrades itself, and gets the following bytes as the request's body.
    taker: Option<Rc<dyn TakeOver>>,
    /// When the gate closes, idle connections end, and the others end after their answer.
    gate: Arc<AdmissionGate>,
    config: actix_http::ServiceConfig,
}

impl<S> Http<S>
where
    S: Service<Request>,
    S::Error: Into<Response<BoxBody>>,
{
    /// To be made on the worker's thread.
    #[must_use]
    pub fn new(service: S, taker: Option<Rc<dyn TakeOver>>, gate: Arc<AdmissionGate>) -> Self {
        let keep_alive = actix_http::KeepAlive::Timeout(KEEP_ALIVE_TIMEOUT);
        let config = actix_http::ServiceConfigBuilder::new().keep_alive(keep_alive);
        Self {
            service,
            taker,
            gate,
            config: config.build(),
        }
    }

    /// Serves one connection until it ends or is taken over. `note` is told at once if its client broke a rule or kept
    /// it waiting.
    pub async fn serve<B>(&self, socket: Socket, peer: Option<SocketAddr>, note: impl FnOnce(Fault))
    where
        S::Response: Into<Response<B>>,
        B: MessageBody,
    {
        let wire = Rc::new(RefCell::new(Wire::new(socket, self.config.clone())));
        let result = self.exchange(&wire, peer).await;
        if let Err(fault) = result {
            note(fault);
        }
        if let Err(fault) = result
            && let Some((status, text)) = fault.answer()
        {
            let answer = last_answer(status, "", &text);
            wire.borrow_mut().put(answer.as_bytes());
            // The fault is what is told, not that its answer was not taken.
            let _ = flush(&wire).await;
        }
        // A body that a handler has kept holds the connection: then it ends with the body.
        if let Some(wire) = Rc::into_inner(wire)
            && result != Err(Fault::Broken)
            && let Some(socket) = wire.into_inner().into_open_socket()
        {
            socket.finish();
            // Closing a socket with unread bytes would reset the connection, and the last answer with it.
            let _ = tokio::time::timeout(LINGER_TIMEOUT, socket.discard()).await;
        }
    }

    async fn exchange<B>(
        &self,
        wire: &Rc<RefCell<Wire>>,
        peer: Option<SocketAddr>,
    ) -> Result<(), Fault>
    where
        S::Response: Into<Response<B>>,
        B: MessageBody,
    {
        // Who has just connected has a request on its way, and cannot know whether one that nobody answers was carried out.
        let is_new = Cell::new(true);
        let mut closed = pin!(self.gate.closed(|| is_new.get()));
        let mut wait = HEAD_TIMEOUT;
        let mut alarm = Alarm::default();
        while let Some(mut request) = next_request(wire, wait, &mut alarm, closed.as_mut()).await? {
            wait = KEEP_ALIVE_TIMEOUT;
            is_new.set(false);
            request.head_mut().peer_addr = peer;
            if let Some(taker) = self.taker.as_deref()
                && taker.takes(&request, wire.borrow().is_upgrade_offered())
            {
                if wire.borrow().has_body() {
                    // Boxed: hardly any has one.
                    Box::pin(skip_body(wire, &request)).await?;
                }
                match take_over(taker, wire, request).await {
                    true => continue,
                    false => return Ok(()),
                }
            }
            if wire.borrow().is_secure() {
                request.extensions_mut().insert(Secure);
            }
            let body = wire.borrow_mut().begin(&request, self.taker.is_none());
            if let Some(BodyKind { is_raw }) = body {
                let body = Body::new(Rc::clone(wire), is_raw, request.head().expect());
                let payload = Box::pin(body);
                *request.payload() = Payload::Stream { payload };
            }
            let keep = match self.service.call(request).await {
                Ok(response) => self.answer(wire, response.into()).await?,
                // Boxed: services answer with errors of their own.
                Err(error) => Box::pin(self.answer(wire, error.into())).await?,
            };
            if !keep {
                break;
            }
        }
        Ok(())
    }

    /// Writes an answer. Whether the connection may be used again.
    async fn answer<B: MessageBody>(
        &self,
        wire: &RefCell<Wire>,
        response: Response<B>,
    ) -> Result<bool, Fault> {
        let (mut head, body) = response.into_parts();
        let size = body.size();
        let is_upgrade = head.status() == StatusCode::SWITCHING_PROTOCOLS;
        // What is left of the request's body would be taken for the next request.
        let is_last = !is_upgrade && (!wire.borrow_mut().skip_body() || self.gate.is_closed());
        if is_last {
            head.head_mut().set_connection_type(ConnectionType::Close);
        }
        wire.borrow_mut().encode_head(head, size)?;
        if !matches!(size, BodySize::None | BodySize::Sized(0)) {
            write_body(wire, body).await?;
        }
        flush(wire).await?;
        Ok(wire.borrow_mut().end(is_last))
    }
}

/// Reads the body of a request that is to have none: some proxies send an empty one in chunks.
async fn skip_body(wire: &Rc<RefCell<Wire>>, request: &Request) -> Result<(), Fault> {
    let begun = wire.borrow_mut().begin(request, false);
    let is_raw = begun.is_some_and(|body| body.is_raw);
    let mut body = Body::new(Rc::clone(wire), is_raw, request.head().expect());
    let mut bytes = 0;
    while let Some(part) = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
        bytes += part.map_err(|_| Fault::Broken)?.len();
        if bytes > HEAD_BYTES {
            return Err(Fault::BodyNotTaken);
        }
    }
    Ok(())
}

/// Hands a connection over. Whether it was given back.
async fn take_over(taker: &dyn TakeOver, wire: &RefCell<Wire>, request: Request) -> bool {
    let Some((socket, unread)) = wire.borrow_mut().take() else {
        return false;
    };
    let Taken::Lent(answered) = taker.take_over(request, socket, unread) else {
        return false;
    };
    let Some((socket, unread)) = answered.await else {
        return false;
    };
    wire.borrow_mut().give_back(socket, unread);
    true
}

/// The next request; none where the client, or a drain, ended the connection between two.
async fn next_request(
    wire: &RefCell<Wire>,
    wait: Duration,
    alarm: &mut Alarm,
    mut closed: Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<Request>, Fault> {
    // The clock is not asked where nothing is waited for.
    let mut deadline = None;
    let mut has_begun = false;
    loop {
        if let Some(request) = wire.borrow_mut().decode_head()? {
            return Ok(Some(request));
        }
        let unread = wire.borrow().unread();
        if unread >= HEAD_BYTES {
            return Err(wire.borrow().too_large());
        }
        if unread > 0 && !has_begun {
            has_begun = true;
            let head = Instant::now() + HEAD_TIMEOUT;
            deadline = Some(deadline.map_or(head, |idle: Instant| idle.min(head)));
        }
        let filled = poll_fn(|cx| {
            if let Poll::Ready(filled) = wire.borrow_mut().poll_fill(cx) {
                return Poll::Ready(Some(filled));
            }
            if !has_begun && closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            let end = *deadline.get_or_insert_with(|| Instant::now() + wait);
            alarm.poll(end, cx).map(|()| None)
        });
        match filled.await {
            Some(Ok(0)) => return Ok(None),
            Some(Ok(_)) => {}
            Some(Err(_)) => return Err(Fault::Broken),
            None if has_begun => return Err(Fault::HeadTimeout),
            None => return Ok(None),
        }
    }
}

async fn write_body(wire: &RefCell<Wire>, body: impl MessageBody) -> Result<(), Fault> {
    let mut body = pin!(body);
    loop {
        // A body that is made as it goes is written as far as it is there.
        let next = poll_fn(|cx| match body.as_mut().poll_next(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending if wire.borrow().has_output() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match next.await {
            Some(Some(Ok(chunk))) => {
                wire.borrow_mut().encode(Message::Chunk(Some(chunk)))?;
                if wire.borrow().output_bytes() >= OUTPUT_BYTES {
                    flush(wire).await?;
                }
            }
            Some(Some(Err(_))) => return Err(Fault::Broken),
            Some(None) => return wire.borrow_mut().encode(Message::Chunk(None)),
            None => flush(wire).await?,
        }
    }
}

/// Waits until the kernel has taken what was encoded.
async fn flush(wire: &RefCell<Wire>) -> Result<(), Fault> {
    let bytes = wire.borrow().output_bytes();
    let (mut alarm, mut deadline) = (Alarm::default(), None);
    let flushed = poll_fn(|cx| {
        if let Poll::Ready(flushed) = wire.borrow_mut().poll_flush(cx) {
            return Poll::Ready(Some(flushed));
        }
        let end = *deadline.get_or_insert_with(|| Instant::now() + time_for(bytes));
        alarm.poll(end, cx).map(|()| None)
    });
    match flushed.await {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) => Err(Fault::Broken),
        None => Err(Fault::AnswerTimeout),
    }
}

/// How long so many bytes may take.
fn time_for(bytes: usize) -> Duration {
    TRANSFER_TIMEOUT + Duration::from_secs(bytes as u64 / LEAST_RATE)
}
