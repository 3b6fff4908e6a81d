//! `Peer`: a connection as the rest of its worker uses it: to send to it, to end it, to record that it is alive.
//!
//! The connection's own task (in `transport`) reads. It is woken when the outbox needs flushing or the connection was ended.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::Hub;
use super::client_info::ClientInfo;
use super::ending::Ending;
use super::heartbeat::Pulse;
use super::outbox::{Outbox, SendOutcome};
use super::outlet::Outlet;
use super::resume::Resumable;
use crate::app::{App, AppId, Apps};
use crate::net::Socket;
use crate::protocol::{
    ChannelName, CloseCode, Encoded, Form, Line, ResumeToken, SocketId, Transport, UserId,
};
use crate::rules::{Admission, ChannelPolicy, WhoMaySubscribe};
use crate::token::TokensInUse;

/// A connection's identity. It does not change.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The connection's public name.
    pub socket_id: SocketId,
    /// The app as of the upgrade.
    pub app: Arc<App>,
    /// What carries it.
    pub transport: Transport,
    /// The protocol version of the client.
    pub protocol: u8,
    /// Origin and library of the client.
    pub client_info: ClientInfo,
    /// The token of a resumable connection.
    pub resume: Option<ResumeToken>,
    /// The client's address. None where a proxy hides it.
    pub address: Option<IpAddr>,
}

/// One live connection, as its worker sees it.
pub struct Peer {
    hub: Rc<Hub>,
    key: usize,
    socket_id: SocketId,
    app: RefCell<Arc<App>>,
    transport: Transport,
    protocol: u8,
    /// Shared with the connections of equal clients.
    client_info: Option<Rc<ClientInfo>>,
    address: Option<IpAddr>,
    pub(super) outlet: Outlet,
    outbox: RefCell<Outbox>,
    ending: RefCell<Option<Box<Ending>>>,
    waker: RefCell<Option<Waker>>,
    pub(super) pulse: Pulse,
    authorized: Cell<bool>,
    trusted: Cell<bool>,
    pub(super) resumable: Option<Box<Resumable>>,
    to_be_reviewed: Cell<bool>,
    user: OnceCell<UserId>,
    /// Boxed: most connections show no token.
    tokens: RefCell<Option<Box<TokensInUse>>>,
}

impl Peer {
    pub(super) fn new(hub: Rc<Hub>, key: usize, identity: Identity, outlet: Outlet) -> Self {
        let pulse = Pulse::new(hub.now());
        let client_info = hub.intern(identity.client_info);
        // Without the option, every connection counts as authorised.
        let authorized = Cell::new(identity.app.authorize_within.is_none());
        let resumable = identity
            .resume
            .map(|token| Box::new(Resumable::new(token, hub.now())));
        Self {
            hub,
            key,
            socket_id: identity.socket_id,
            app: RefCell::new(identity.app),
            transport: identity.transport,
            protocol: identity.protocol,
            client_info,
            address: identity.address,
            outlet,
            outbox: RefCell::default(),
            ending: RefCell::default(),
            waker: RefCell::default(),
            pulse,
            authorized,
            trusted: Cell::new(false),
            resumable,
            to_be_reviewed: Cell::new(false),
            user: OnceCell::new(),
            tokens: RefCell::default(),
        }
    }

    /// The connection's public name.
    #[must_use]
    pub fn socket_id(&self) -> SocketId {
        self.socket_id
    }

    /// The app's current snapshot.
    #[must_use]
    pub fn app(&self) -> Arc<App> {
        Arc::clone(&self.app.borrow())
    }

    /// Takes the app from a newer snapshot, or ends if it is gone or disabled. Limits of admission do not apply again:
    /// `authorize_within` and `connections` concern new connections only.
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

    /// Whether its app has other rules than before, or it another token, by which what it has is to be decided again.
    #[must_use]
    pub fn is_to_be_reviewed(&self) -> bool {
        self.to_be_reviewed.get()
    }

    /// Has its task decide again.
    pub fn set_to_be_reviewed(&self) {
        self.to_be_reviewed.set(true);
        self.wake();
    }

    /// Records that all is decided.
    pub fn set_reviewed(&self) {
        self.to_be_reviewed.set(false);
    }

    /// What the policy of a channel says to it now, by who has signed in and by the tokens that something of it rests on;
    /// `has_token`: it shows one for the channel besides.
    #[must_use]
    pub fn admission(
        &self,
        channel: &ChannelName,
        policy: &ChannelPolicy<'_>,
        has_token: bool,
    ) -> Admission {
        if self.is_trusted() && policy.subscribe != WhoMaySubscribe::Nobody {
            return Admission::Admitted;
        }
        let user = self.user.get().map(UserId::as_str);
        let tokens = self.tokens.borrow();
        let names = || tokens.as_ref().is_some_and(|tokens| tokens.names(channel));
        policy.admission(channel, user, || has_token || names())
    }

    /// Whether a backend's API token lets it hear everything that somebody may hear.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trusted.get()
    }

    /// Records that it has shown a backend's API token.
    pub fn trust(&self) {
        self.trusted.set(true);
        self.authorize();
    }

    /// Whether anything of it rests on a token.
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        self.tokens.borrow().is_some()
    }

    /// Reads or changes what of it rests on tokens.
    pub fn with_tokens<T>(&self, act: impl FnOnce(&mut TokensInUse) -> T) -> T {
        let mut tokens = self.tokens.borrow_mut();
        let mut known = tokens.take().unwrap_or_default();
        let outcome = act(&mut known);
        *tokens = (!known.is_empty()).then_some(known);
        outcome
    }

    /// The hub of its worker.
    #[must_use]
    pub fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }

    /// What carries it.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
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

    /// Its age in seconds.
    pub(super) fn age(&self) -> u32 {
        self.hub.now().saturating_sub(self.pulse.since())
    }

    /// The client's address. None where a proxy hides it.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    pub(super) fn key(&self) -> usize {
        self.key
    }

    /// Whether it has signed in or subscribed to a private or presence channel. True from the start if the app does not
    /// require it.
    #[must_use]
    pub fn is_authorized(&self) -> bool {
        self.authorized.get()
    }

    /// Who has signed in.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        self.user.get()
    }

    /// Records who signs in; the first one stays.
    pub fn set_user_id(&self, user: &UserId) {
        self.user.get_or_init(|| user.clone());
    }

    /// Records a sign-in or an authorized subscription.
    pub fn authorize(&self) {
        self.authorized.set(true);
    }

    /// Sends a frame to this connection alone and counts it.
    pub fn send(&self, frame: &Encoded) {
        match self.outlet.form() {
            Form::Frame => self.send_bytes(frame.bytes()),
            form => {
                if let Some(bytes) = form.bytes_of(frame) {
                    self.send_bytes(&bytes);
                }
            }
        }
    }

    /// Sends bytes that are of the connection's form already, and counts them as a frame.
    pub fn send_bytes(&self, bytes: &Bytes) {
        if self.put(bytes) {
            self.app.borrow().metrics.sent(1, bytes.len());
        }
    }

    /// Sends a line that is no frame, to a connection whose frames are lines.
    pub fn send_line(&self, line: Line) {
        self.send_bytes(&line.into_bytes());
    }

    /// Lends the lines that wait to whoever writes them, up to the one with which they are longer than `room`, in UTF-16
    /// units. What is lent already is lent again, and nothing else, until it is settled.
    #[must_use]
    pub fn lend(&self, room: usize) -> Vec<Line> {
        self.outbox.borrow_mut().lend(room)
    }

    /// Ends a loan, of which so many lines have been written. The others wait in front.
    pub fn settle(&self, written: usize) {
        self.outbox.borrow_mut().settle(written);
    }

    /// Whether no line waits that is not lent.
    #[must_use]
    pub fn is_all_lent(&self) -> bool {
        self.outbox.borrow().is_all_lent()
    }

    /// Writes bytes to the socket, or queues them if others wait. Returns whether they were taken. A full outbox ends the
    /// connection as a slow consumer; no caller ever waits.
    pub(super) fn put(&self, bytes: &Bytes) -> bool {
        if self.is_ending() {
            return false;
        }
        let socket = self.outlet.socket();
        if socket.is_none() {
            self.pulse.on_put(self.hub.now());
        }
        let limit = self.hub.outbox_limit();
        let sent = self.outbox.borrow_mut().send(bytes, socket, limit);
        self.after_send(sent)
    }

    /// Sends what the client's side has to answer, so that it is known to be alive; or, where there is no answer, what
    /// keeps proxies from ending the connection.
    pub(super) fn probe(&self, payload: &[u8]) {
        let bytes = match self.transport {
            Transport::WebSocket | Transport::Plain => Encoded::ping(payload).bytes().clone(),
            Transport::XhrStreaming | Transport::XhrPolling => Line::heartbeat().into_bytes(),
            Transport::Sse => Bytes::from_static(b":\n\n"),
        };
        self.send_bytes(&bytes);
    }

    /// Answers a ping. A client that pings without reading is owed one pong in all.
    pub fn answer_ping(&self, payload: &[u8]) {
        if self.is_ending() {
            return;
        }
        let pong = Encoded::pong(payload);
        let sent = self.outbox.borrow_mut().send_pong(
            pong.bytes(),
            self.outlet.socket(),
            self.hub.outbox_limit(),
        );
        if self.after_send(sent) {
            self.app.borrow().metrics.sent(1, pong.bytes().len());
        }
    }

    /// Wakes or ends the connection after a send. Returns whether the frame counts as sent.
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

    /// Ends the connection because its outbox is full.
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

    /// How it was ended. None while it lives.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending.borrow().as_deref().cloned()
    }

    /// Whether it was ended.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// The memory cost of the outbox, in bytes.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.outbox.borrow().cost()
    }

    /// Records that bytes were read, which alone proves that the client is alive.
    pub fn on_read(&self, bytes: usize) {
        self.pulse.on_read(self.hub.now());
        let app = self.app.borrow();
        app.metrics.bytes_received.inc_by(bytes as u64);
    }

    /// The io object, for reading; none where there is none.
    #[must_use]
    pub fn socket(&self) -> Option<&Socket> {
        self.outlet.socket()
    }

    /// The first step of the connection's task whenever it is woken: registers its waker and flushes the outbox. Ready
    /// when the connection was ended.
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

    /// Sends the rest of the outbox, the `pusher:error` where the code has one, and the close frame, or what stands for
    /// them. A slow consumer's outbox is discarded, as it would not be read. Completes when all is written; the caller
    /// bounds the time.
    pub async fn send_close(&self, ending: &Ending) -> io::Result<()> {
        if *ending == Ending::Gone {
            return Ok(());
        }
        if matches!(
            ending,
            Ending::Close {
                code: CloseCode::SlowConsumer,
                ..
            }
        ) {
            self.outbox.borrow_mut().discard_unsent();
        }
        let socket = self.outlet.socket();
        for bytes in &ending.last_words(self.outlet.form()) {
            self.outbox.borrow_mut().send(bytes, socket, usize::MAX);
            self.app.borrow().metrics.sent(1, bytes.len());
        }
        poll_fn(|cx| match self.poll_flush(cx) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(e) => Poll::Ready(Err(e)),
        })
        .await?;
        if let Some(socket) = socket {
            socket.finish();
        }
        Ok(())
    }

    /// Returns whether the kernel has everything. If not, the task is woken when the socket takes more.
    fn poll_flush(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut outbox = self.outbox.borrow_mut();
        let Some(socket) = self.outlet.socket() else {
            return Ok(outbox.is_empty());
        };
        while !outbox.is_empty() {
            match outbox.flush(socket) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => match socket.poll_writable(cx) {
                    Poll::Ready(ready) => ready?,
                    Poll::Pending => return Ok(false),
                },
                Err(e) => return Err(e),
            }
        }
        drop(outbox);
        match socket.poll_flush(cx) {
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
