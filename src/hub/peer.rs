//! `Peer`: what the worker's other parts may do with a connection: send to it, end it, note that it lives.
//!
//! The connection's own task (in `ws`) reads; it is woken when the outbox needs flushing or when somebody ended it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Hub;
use super::client_info::ClientInfo;
use super::heartbeat::Pulse;
use super::outbox::{Outbox, SendOutcome};
use crate::app::{App, AppId, Apps};
use crate::net::Socket;
use crate::protocol::{CloseCode, Encoded, ServerFrame, SocketId};

/// Who a connection is; fixed from its first moment.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its public name.
    pub socket_id: SocketId,
    /// Its app at that moment.
    pub app: Arc<App>,
    /// The protocol version that it speaks.
    pub protocol: u8,
    /// What its client says of itself.
    pub client_info: ClientInfo,
    /// Where its client is; none where a proxy hides it.
    pub address: Option<IpAddr>,
}

/// How a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The other side closed it, or it broke: there is nobody to tell.
    Gone,
    /// The other side sent a close frame: it is answered with the same code.
    Answered(Option<u16>),
    /// We close it.
    Close {
        /// With which code.
        code: CloseCode,
        /// And which text.
        text: String,
    },
}

impl Ending {
    /// Closes with the code's own text.
    #[must_use]
    pub fn close(code: CloseCode) -> Self {
        Self::Close {
            code,
            text: code.text().to_owned(),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("gone"),
            Self::Answered(_) => f.write_str("closed by the client"),
            Self::Close { code, text } => write!(f, "{} {text}", code.number()),
        }
    }
}

/// One live connection, as its worker sees it.
pub struct Peer {
    hub: Rc<Hub>,
    key: usize,
    socket_id: SocketId,
    app: RefCell<Arc<App>>,
    protocol: u8,
    /// Shared with the others of which the same is true; most connections are of few kinds.
    client_info: Option<Rc<ClientInfo>>,
    address: Option<IpAddr>,
    socket: Socket,
    outbox: RefCell<Outbox>,
    ending: RefCell<Option<Box<Ending>>>,
    waker: RefCell<Option<Waker>>,
    pub(super) pulse: Pulse,
    authorized: Cell<bool>,
}

impl Peer {
    pub(super) fn new(hub: Rc<Hub>, key: usize, identity: Identity, socket: Socket) -> Self {
        let pulse = Pulse::new(hub.now());
        let client_info = hub.intern(identity.client_info);
        // Without the option, every connection counts as authorised.
        let authorized = Cell::new(identity.app.authorize_within.is_none());
        Self {
            hub,
            key,
            socket_id: identity.socket_id,
            app: RefCell::new(identity.app),
            protocol: identity.protocol,
            client_info,
            address: identity.address,
            socket,
            outbox: RefCell::default(),
            ending: RefCell::default(),
            waker: RefCell::default(),
            pulse,
            authorized,
        }
    }

    /// Its public name.
    #[must_use]
    pub fn socket_id(&self) -> SocketId {
        self.socket_id
    }

    /// Its app as of now.
    #[must_use]
    pub fn app(&self) -> Arc<App> {
        Arc::clone(&self.app.borrow())
    }

    /// Goes over to its app in a newer snapshot, or ends. What has been admitted stays: `authorize_within` is for
    /// connections that begin under it, and `connections` for those that come.
    pub(super) fn reload_app(&self, apps: &Apps) {
        let mut app = self.app.borrow_mut();
        match apps.by_id(app.id.as_str()) {
            None => self.end(Ending::close(CloseCode::UnknownApp)),
            Some(now) => {
                *app = Arc::clone(now);
                if !now.enabled {
                    self.end(Ending::close(CloseCode::AppDisabled));
                }
            }
        }
    }

    /// Its worker's hub.
    #[must_use]
    pub fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    pub(super) fn protocol(&self) -> u8 {
        self.protocol
    }

    pub(super) fn client_info(&self) -> Option<&ClientInfo> {
        self.client_info.as_deref()
    }

    pub(super) fn is_of(&self, app: &AppId) -> bool {
        self.app.borrow().id == *app
    }

    /// For how many seconds it has been there.
    pub(super) fn age(&self) -> u32 {
        self.hub.now().saturating_sub(self.pulse.since())
    }

    /// Where its client is; none where a proxy hides it.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    pub(super) fn key(&self) -> usize {
        self.key
    }

    /// Whether it has signed in or subscribed to a private or presence channel, as far as its app asks for it.
    #[must_use]
    pub fn is_authorized(&self) -> bool {
        self.authorized.get()
    }

    /// It has.
    pub fn authorize(&self) {
        self.authorized.set(true);
    }

    /// Sends a frame that is for this connection alone, and counts it.
    pub fn send(&self, frame: &Encoded) {
        if self.send_uncounted(frame) {
            let app = self.app.borrow();
            app.metrics.sent(1, frame.bytes().len());
        }
    }

    /// Hands a frame over: straight to the socket if nothing waits, else behind what waits; whether it is on its way.
    /// A full outbox ends the connection as a slow consumer; nobody waits for it.
    pub(super) fn send_uncounted(&self, frame: &Encoded) -> bool {
        if self.is_ending() {
            return false;
        }
        let sent = self
            .outbox
            .borrow_mut()
            .send(frame, &self.socket, self.hub.outbox_limit());
        self.after_send(sent)
    }

    /// Answers a ping. A client that pings without reading is owed one pong, not one for each.
    pub fn answer_ping(&self, payload: &[u8]) {
        if self.is_ending() {
            return;
        }
        let pong = Encoded::pong(payload);
        let sent = self
            .outbox
            .borrow_mut()
            .send_pong(&pong, &self.socket, self.hub.outbox_limit());
        if self.after_send(sent) {
            self.app.borrow().metrics.sent(1, pong.bytes().len());
        }
    }

    /// Draws the conclusions from what became of a frame; whether there is one more to be counted as sent.
    fn after_send(&self, sent: SendOutcome) -> bool {
        match sent {
            SendOutcome::Complete | SendOutcome::Queued => return true,
            SendOutcome::Replaced => {}
            SendOutcome::Pending => {
                self.wake();
                return true;
            }
            SendOutcome::Refused => self.end_as_slow(),
            SendOutcome::Broken => self.end(Ending::Gone),
        }
        false
    }

    /// Ends a connection for which more waits than may.
    pub(super) fn end_as_slow(&self) {
        if !self.is_ending() {
            self.hub.metrics().slow_consumers.inc();
        }
        self.end(Ending::close(CloseCode::SlowConsumer));
    }

    /// Ends the connection; the first reason counts.
    pub fn end(&self, ending: Ending) {
        let mut slot = self.ending.borrow_mut();
        if slot.is_none() {
            *slot = Some(Box::new(ending));
            drop(slot);
            self.wake();
        }
    }

    /// How somebody ended it.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending.borrow().as_deref().cloned()
    }

    /// Whether somebody ended it.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// What waits for the socket, in bytes of memory.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.outbox.borrow().cost()
    }

    /// Notes that bytes were read: the only sign of life that counts.
    pub fn on_read(&self, bytes: usize) {
        self.pulse.on_read(self.hub.now());
        let app = self.app.borrow();
        app.metrics.bytes_received.inc_by(bytes as u64);
    }

    /// The io object, for reading.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What the connection's task does first whenever it is woken: registers itself, flushes the outbox, and learns
    /// whether the connection has ended.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.register(cx);
        if self.poll_flush(cx).is_err() {
            self.end(Ending::Gone);
        }
        match self.ending.borrow().as_deref() {
            Some(ending) => Poll::Ready(ending.clone()),
            None => Poll::Pending,
        }
    }

    /// Sends what ends a connection: the `pusher:error` where the code has one, the close frame, and everything that still waits for
    /// the socket, except for a slow consumer, which would not read it. Ends when it is all written; the caller
    /// bounds the time.
    pub async fn send_close(&self, ending: &Ending) -> io::Result<()> {
        let frames = match ending {
            Ending::Gone => return Ok(()),
            Ending::Answered(code) => vec![Encoded::close(code.unwrap_or(1000), "")],
            Ending::Close { code, text } => {
                let error = ServerFrame::Closing {
                    code: *code,
                    message: text,
                };
                let error = code.is_announced().then(|| error.encode());
                error
                    .into_iter()
                    .chain([Encoded::close(code.number(), text)])
                    .collect()
            }
        };
        if matches!(
            ending,
            Ending::Close {
                code: CloseCode::SlowConsumer,
                ..
            }
        ) {
            self.outbox.borrow_mut().discard_unsent();
        }
        for frame in &frames {
            self.outbox
                .borrow_mut()
                .send(frame, &self.socket, usize::MAX);
            self.app.borrow().metrics.sent(1, frame.bytes().len());
        }
        poll_fn(|cx| match self.poll_flush(cx) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(e) => Poll::Ready(Err(e)),
        })
        .await?;
        self.socket.finish();
        Ok(())
    }

    /// Whether the kernel has everything; if not, the task is woken when the socket takes more.
    fn poll_flush(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut outbox = self.outbox.borrow_mut();
        while !outbox.is_empty() {
            match outbox.flush(&self.socket) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    match self.socket.poll_writable(cx) {
                        Poll::Ready(ready) => ready?,
                        Poll::Pending => return Ok(false),
                    }
                }
                Err(e) => return Err(e),
            }
        }
        drop(outbox);
        match self.socket.poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    fn register(&self, cx: &mut Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}
