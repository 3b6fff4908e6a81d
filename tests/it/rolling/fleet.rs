//! Very many clients on one thread, and a backend that publishes numbers to them.
//!
//! A client obeys close codes as pusher-js does: 4200 comes back at once, a lost connection after a second, a refused
//! upgrade later (pusher-js waits 15 seconds; here a second, and it is counted).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::LONG;
use crate::harness::{Credentials, Opcode, TARGET, event_body, frame, request, subscribe_frame};

/// How long the backend waits between two publishes.
const PAUSE: Duration = Duration::from_millis(250);

/// How long pusher-js waits after a connection that was lost.
const AFTER_LOSS: Duration = Duration::from_secs(1);

pub(super) struct Fleet(Rc<State>);

struct State {
    address: SocketAddr,
    clients: usize,
    subscribed: Cell<usize>,
    /// When connections were closed with 4200.
    closes: RefCell<Vec<Instant>>,
    /// What each connection got, those that ended and those that are there.
    got: RefCell<Vec<Rc<RefCell<Vec<u32>>>>>,
    /// What the server has accepted, in order.
    accepted: RefCell<Vec<u32>>,
    lost: Cell<usize>,
    refused: Cell<usize>,
    last: Cell<Option<u32>>,
    over: Cell<bool>,
}

/// How a connection ended.
enum End {
    /// With this close code.
    Closed(u16),
    /// The upgrade was answered with an HTTP error.
    Refused,
}

impl Fleet {
    /// Sends the clients off to an address.
    pub(super) fn start(address: SocketAddr, clients: usize) -> Self {
        let state = Rc::new(State {
            address,
            clients,
            subscribed: Cell::new(0),
            closes: RefCell::default(),
            got: RefCell::default(),
            accepted: RefCell::default(),
            lost: Cell::new(0),
            refused: Cell::new(0),
            last: Cell::new(None),
            over: Cell::new(false),
        });
        for _ in 0..clients {
            spawn_local(Rc::clone(&state).client());
        }
        Self(state)
    }

    /// Waits for a condition while the clients go on.
    pub(super) async fn until(&self, patience: Duration, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + patience;
        while !holds() {
            assert!(
                Instant::now() < end,
                "waited {patience:?} until {what}: {self}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn all_subscribed(&self) {
        let state = &self.0;
        self.until(LONG, "all are subscribed", || {
            state.subscribed.get() == state.clients
        })
        .await;
    }

    /// When clients were told 4200, in order.
    pub(super) fn closes(&self) -> Vec<Instant> {
        self.0.closes.borrow().clone()
    }

    /// Publishes numbers, one after the answer to the other.
    pub(super) fn start_publishing(&self, app: Credentials) {
        spawn_local(Rc::clone(&self.0).publish(app));
    }

    /// Publishes one number more, after which the clients that are there have everything, and ends all connections.
    pub(super) async fn finish(&self) {
        let state = &self.0;
        self.all_subscribed().await;
        let known = state.accepted.borrow().last().copied();
        self.until(LONG, "one more is published", || {
            state.accepted.borrow().last().copied() > known
        })
        .await;
        state.over.set(true);
        self.until(LONG, "the backend has stopped", || {
            state.last.get().is_some()
        })
        .await;
        let last = state.last.get();
        self.until(LONG, "all that stay have the last one", || {
            let got = state.got.borrow();
            let having = got
                .iter()
                .filter(|got| got.borrow().last().copied() == last);
            having.count() == state.clients
        })
        .await;
    }

    /// Every connection got every number that was accepted between its first and its last, once and in order.
    pub(super) fn check(&self) {
        let state = &self.0;
        let accepted = state.accepted.borrow();
        assert!(accepted.len() > 20, "there was something to lose: {self}");
        for got in state.got.borrow().iter() {
            let got = got.borrow();
            assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "{got:?}");
            let (Some(first), Some(last)) = (got.first(), got.last()) else {
                continue;
            };
            let expected = accepted
                .iter()
                .filter(|number| (first..=last).contains(number));
            let missing: Vec<_> = expected.filter(|number| !got.contains(number)).collect();
            assert!(missing.is_empty(), "{missing:?} are missing in {got:?}");
        }
        assert_eq!(state.lost.get(), 0, "connections that broke: {self}");
        assert_eq!(state.refused.get(), 0, "upgrades that no node took: {self}");
    }
}

impl std::fmt::Display for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = &self.0;
        write!(
            f,
            "{} of {} subscribed, {} told 4200, {} lost, {} refused, {} events accepted",
            state.subscribed.get(),
            state.clients,
            state.closes.borrow().len(),
            state.lost.get(),
            state.refused.get(),
            state.accepted.borrow().len()
        )
    }
}

impl State {
    async fn client(self: Rc<Self>) {
        while !self.over.get() {
            let subscribed = Cell::new(false);
            let end = self.connect(&subscribed).await;
            if subscribed.get() {
                self.subscribed.set(self.subscribed.get() - 1);
            }
            if self.over.get() {
                return;
            }
            match end {
                Ok(End::Closed(4200)) => self.closes.borrow_mut().push(Instant::now()),
                Ok(End::Refused) => {
                    self.refused.set(self.refused.get() + 1);
                    sleep(AFTER_LOSS).await;
                }
                Ok(End::Closed(_)) | Err(_) => {
                    self.lost.set(self.lost.get() + 1);
                    sleep(AFTER_LOSS).await;
                }
            }
        }
    }

    /// One connection, from the upgrade to its end.
    async fn connect(&self, subscribed: &Cell<bool>) -> io::Result<End> {
        let mut stream = TcpStream::connect(self.address).await?;
        let upgrade = format!(
            "GET {TARGET} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(upgrade.as_bytes()).await?;
        let mut buffer = BytesMut::new();
        let head = read_head(&mut stream, &mut buffer).await?;
        if !head.starts_with("HTTP/1.1 101") {
            return Ok(End::Refused);
        }
        let got = Rc::new(RefCell::new(Vec::new()));
        self.got.borrow_mut().push(Rc::clone(&got));
        loop {
            let (opcode, payload) = read_frame(&mut stream, &mut buffer).await?;
            let text = String::from_utf8_lossy(&payload);
            if opcode == Opcode::Close as u8 {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                let echo = frame(true, Opcode::Close, &payload[..2]);
                stream.write_all(&echo).await?;
                return Ok(End::Closed(code));
            } else if text.contains("pusher:connection_established") {
                let subscribe = subscribe_frame("", "x", None);
                let subscribe = frame(true, Opcode::Text, subscribe.as_bytes());
                stream.write_all(&subscribe).await?;
            } else if text.contains("subscription_succeeded") {
                subscribed.set(true);
                self.subscribed.set(self.subscribed.get() + 1);
            } else if let Some(number) = number(&text) {
                got.borrow_mut().push(number);
            }
        }
    }

    async fn publish(self: Rc<Self>, app: Credentials) {
        let mut number = 0;
        while !self.over.get() {
            number += 1;
            let body = event_body("x", "number", &number.to_string());
            let target = app.target("POST", "/apps/app-id/events", &body);
            // Nobody knows what became of one that got no answer; the next one has another number.
            let sent = self.post(&request("POST", &target, &[], &body)).await;
            if sent.is_ok_and(|head| head.starts_with("HTTP/1.1 200")) {
                self.accepted.borrow_mut().push(number);
            }
            sleep(PAUSE).await;
        }
        self.last.set(self.accepted.borrow().last().copied());
    }

    async fn post(&self, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        timeout(LONG, read_head(&mut stream, &mut BytesMut::new())).await?
    }
}

/// The number that an event brought.
fn number(text: &str) -> Option<u32> {
    let event: serde_json::Value = serde_json::from_str(text).ok()?;
    (event["event"] == "number").then(|| event["data"].as_str()?.parse().ok())?
}

/// The head of a response, without what follows it.
async fn read_head(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = buffer.split_to(end + 4);
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
        more(stream, buffer).await?;
    }
}

/// The opcode and payload of the next frame of a server: not masked, and shorter than 64 KiB.
async fn read_frame(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<(u8, BytesMut)> {
    loop {
        if buffer.len() >= 4 {
            let (header, length) = match buffer[1] {
                126 => (4, usize::from(u16::from_be_bytes([buffer[2], buffer[3]]))),
                length => (2, usize::from(length)),
            };
            if buffer.len() >= header + length {
                let opcode = buffer[0] & 0x0f;
                buffer.advance(header);
                return Ok((opcode, buffer.split_to(length)));
            }
        }
        more(stream, buffer).await?;
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
