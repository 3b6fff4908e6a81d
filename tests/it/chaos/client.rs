//! Clients that live through faults: they connect again when they must, and note what they are told and what they should
//! not be told.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use rand::RngExt as _;

use crate::harness::{
    APP, Observer, Opcode, PATIENCE, TARGET, event_body, frame, request, subscribe_frame, upgrade,
};

pub(super) const CHANNEL: &str = "x";

/// How long a read waits before the client looks at the others' state.
pub(super) const TURN: Duration = Duration::from_millis(20);

/// Between two publishes.
const PAUSE: Duration = Duration::from_millis(15);

/// What the clients of a run and its conductor know of each other.
#[derive(Default)]
pub(super) struct Shared {
    /// The nodes' public ports; 0: it is not there.
    pub(super) ports: [AtomicU16; 2],
    /// How often each node was killed.
    pub(super) deaths: [AtomicU32; 2],
    /// Nothing more is published.
    pub(super) ends: AtomicBool,
    /// The last event that was accepted.
    pub(super) last: AtomicU64,
    /// Everybody goes.
    pub(super) leaves: AtomicBool,
    /// Which clients see what they should: that they are subscribed, and in the end everything.
    pub(super) satisfied: [AtomicBool; super::CLIENTS],
}

/// What a client is there for.
pub(super) enum Wish {
    Events,
    /// The same with this token. It comes and goes, and comes to the other node.
    Resumed(String),
    /// To be a member of this name, with the others.
    Member(String),
    /// To be the only member of this channel, as whom it names. It comes and goes.
    Passing(String),
}

impl Wish {
    pub(super) fn is_of_events(&self) -> bool {
        matches!(self, Self::Events | Self::Resumed(_))
    }

    fn passes(&self) -> bool {
        matches!(self, Self::Resumed(_) | Self::Passing(_))
    }
}

/// A subscription from its success to its end.
pub(super) struct Life {
    pub(super) client: usize,
    pub(super) node: usize,
    pub(super) is_of_events: bool,
    /// It goes on where the last one of its client ended.
    pub(super) is_resumed: bool,
    pub(super) subscribed: Instant,
    /// Whether the client ended it, when all was over.
    pub(super) lasted: bool,
    /// The numbers of the events.
    pub(super) received: Vec<u64>,
    /// What it should not have been told.
    pub(super) broken: Vec<String>,
}

/// An event that a node answered with 200.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) number: u64,
    pub(super) node: usize,
    pub(super) begun: Instant,
    pub(super) done: Instant,
}

/// Publishes one event after the other, on one node and the other, until nothing more is to come and both nodes have
/// accepted one since.
pub(super) fn publish(shared: &Shared) -> Vec<Accepted> {
    let mut accepted = Vec::new();
    let mut at_the_end = [false; 2];
    let mut deadline = None;
    for number in 1.. {
        let node = usize::try_from(number % 2).unwrap_or_default();
        let (begun, ends) = (Instant::now(), shared.ends.load(SeqCst));
        let status = post(shared.ports[node].load(SeqCst), number).unwrap_or(0);
        assert!(matches!(status, 0 | 200 | 503), "answered with {status}");
        if status == 200 {
            accepted.push(Accepted {
                number,
                node,
                begun,
                done: Instant::now(),
            });
            at_the_end[node] |= ends;
        }
        if at_the_end == [true; 2] {
            break;
        }
        if ends {
            let deadline = *deadline.get_or_insert(begun + PATIENCE);
            assert!(begun < deadline, "a node accepts nothing any more");
        }
        thread::sleep(PAUSE);
    }
    accepted
}

fn post(port: u16, number: u64) -> io::Result<u16> {
    const PATH: &str = "/apps/app-id/events";
    let body = event_body(CHANNEL, "e", &number.to_string());
    let mut stream = connect(port)?;
    // More than `publish_timeout`. A node that stands still does not answer.
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(request("POST", &APP.target("POST", PATH, &body), &[], &body).as_bytes())?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let status = std::str::from_utf8(&head[9..])
        .ok()
        .and_then(|code| code.parse().ok());
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn connect(port: u16) -> io::Result<TcpStream> {
    if port == 0 {
        return Err(io::ErrorKind::NotConnected.into());
    }
    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Is subscribed as long as it can be, until everybody goes.
pub(super) fn run(shared: &Shared, number: usize, wish: &Wish) -> Vec<Life> {
    let mut lives = Vec::new();
    for attempt in number.. {
        if shared.leaves.load(SeqCst) {
            break;
        }
        let mut connection = Connection {
            shared,
            number,
            node: attempt % 2,
            wish,
            stream: None,
            bytes: Vec::new(),
            view: BTreeSet::new(),
            begun: Instant::now(),
            stays: Duration::from_millis(rand::rng().random_range(1200..3000)),
            is_of_the_end: shared.ends.load(SeqCst),
            life: None,
        };
        let deaths = shared.deaths[connection.node].load(SeqCst);
        // How it ended says what to make of it.
        let end = connection.live();
        shared.satisfied[number].store(false, SeqCst);
        if let Some(mut life) = connection.life {
            life.lasted = end.is_ok() && shared.leaves.load(SeqCst);
            if let Err(error) = end
                && deaths == shared.deaths[life.node].load(SeqCst)
            {
                life.broken.push(format!(
                    "client {number} lost its connection to node {}, which lived: {error}",
                    life.node
                ));
            }
            lives.push(life);
            if matches!(wish, Wish::Passing(_)) && !shared.ends.load(SeqCst) {
                thread::sleep(Duration::from_millis(rand::rng().random_range(0..2500)));
            }
        }
        thread::sleep(TURN);
    }
    lives
}

struct Connection<'a> {
    shared: &'a Shared,
    number: usize,
    node: usize,
    wish: &'a Wish,
    stream: Option<TcpStream>,
    /// What was read and is not whole.
    bytes: Vec<u8>,
    view: BTreeSet<String>,
    begun: Instant,
    /// After that one who comes and goes is gone, unless all has ended already when it came.
    stays: Duration,
    is_of_the_end: bool,
    life: Option<Life>,
}

impl Connection<'_> {
    /// Until everybody goes, or its time is over.
    fn live(&mut self) -> io::Result<()> {
        let mut stream = connect(self.shared.ports[self.node].load(SeqCst))?;
        stream.set_read_timeout(Some(TURN))?;
        let target = match self.wish {
            Wish::Resumed(token) => format!("/resume/{token}{TARGET}"),
            _ => TARGET.to_owned(),
        };
        stream.write_all(upgrade(&target, &[]).as_bytes())?;
        self.stream = Some(stream);
        while !self.read()? || self.head().is_none() {
            // A node that stands still may do so for a while.
            if self.begun.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        loop {
            while let Some((opcode, payload)) = self.next_frame() {
                match opcode {
                    1 => self.note(&String::from_utf8_lossy(&payload))?,
                    8 => {
                        return Err(io::Error::other(format!(
                            "closed: {}",
                            String::from_utf8_lossy(&payload)
                        )));
                    }
                    9 => self.write(Opcode::Pong, &payload)?,
                    _ => {}
                }
            }
            self.shared.satisfied[self.number].store(self.is_satisfied(), SeqCst);
            if self.shared.leaves.load(SeqCst) || self.has_had_its_time() {
                return Ok(());
            }
            self.read()?;
        }
    }

    /// One who resumes stays in the end once it has been resumed.
    fn has_had_its_time(&self) -> bool {
        let is_resumed = self.life.as_ref().is_some_and(|life| life.is_resumed);
        let stays = match self.wish {
            Wish::Resumed(_) => self.is_of_the_end && is_resumed,
            _ => self.is_of_the_end,
        };
        self.wish.passes() && !stays && self.begun.elapsed() > self.stays
    }

    /// Whether something came.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let Some(stream) = &mut self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        match stream.read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the head of the answer to the upgrade, once it is whole.
    fn head(&mut self) -> Option<()> {
        let end = self.bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
        self.bytes.drain(..end + 4);
        Some(())
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, second) = (*self.bytes.first()?, *self.bytes.get(1)?);
        let (start, length) = match second {
            126 => (
                4,
                usize::from(u16::from_be_bytes([
                    *self.bytes.get(2)?,
                    *self.bytes.get(3)?,
                ])),
            ),
            short => (2, usize::from(short)),
        };
        let payload = self.bytes.get(start..start + length)?.to_vec();
        self.bytes.drain(..start + length);
        Some((first & 15, payload))
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        let message: Value = serde_json::from_str(text)?;
        let data = message["data"].as_str().unwrap_or("null");
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        let user = data["user_id"].as_str().unwrap_or_default().to_owned();
        match message["event"].as_str().unwrap_or_default() {
            "pusher:connection_established" => return self.subscribe(&data),
            "pusher_internal:subscription_succeeded" => {
                let ids = data["presence"]["ids"].as_array().into_iter().flatten();
                self.view = ids
                    .filter_map(|id| id.as_str().map(ToOwned::to_owned))
                    .collect();
                self.life = Some(Life {
                    client: self.number,
                    node: self.node,
                    is_of_events: self.wish.is_of_events(),
                    is_resumed: data["resumed"] == true,
                    subscribed: Instant::now(),
                    lasted: false,
                    received: Vec::new(),
                    broken: Vec::new(),
                });
            }
            "pusher_internal:member_added" if self.view.insert(user.clone()) => {}
            "pusher_internal:member_removed" if self.view.remove(&user) => {}
            "e" => match (data.as_u64(), &mut self.life) {
                (Some(number), Some(life)) => life.received.push(number),
                _ => self.break_promise(text),
            },
            _ => self.break_promise(text),
        }
        Ok(())
    }

    fn break_promise(&mut self, text: &str) {
        let text = format!(
            "client {} was told out of turn: {text}, believing {:?}",
            self.number, self.view
        );
        match &mut self.life {
            Some(life) => life.broken.push(text),
            None => eprintln!("{text}"),
        }
    }

    fn subscribe(&mut self, greeting: &Value) -> io::Result<()> {
        let id = greeting["socket_id"].as_str().unwrap_or_default();
        let text = match self.wish {
            Wish::Events | Wish::Resumed(_) => subscribe_frame(id, CHANNEL, None),
            Wish::Member(name) => subscribe_frame(id, Observer::CHANNEL, Some(&user(name))),
            Wish::Passing(name) => subscribe_frame(id, name, Some(&user(name))),
        };
        self.write(Opcode::Text, text.as_bytes())
    }

    fn write(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(&frame(true, opcode, payload))
    }

    fn is_satisfied(&self) -> bool {
        let Some(life) = &self.life else { return false };
        let last = self.shared.last.load(SeqCst);
        match self.wish {
            _ if !self.shared.ends.load(SeqCst) => true,
            Wish::Events => last > 0 && life.received.contains(&last),
            // What it has heard before it does not hear again; the judge knows.
            Wish::Resumed(_) => last > 0 && self.is_of_the_end && life.is_resumed,
            Wish::Member(_) => last > 0 && self.view.len() == super::MEMBERS,
            Wish::Passing(_) => last > 0 && self.is_of_the_end,
        }
    }
}

fn user(name: &str) -> String {
    format!(r#"{{"user_id":"{name}"}}"#)
}
