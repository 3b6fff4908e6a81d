//! One WebSocket of the client: how far it is, and which events it has seen.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use socket2::{Domain, SockRef, Type};

use crate::payload::Stamp;
use crate::target::Tls;

/// Connections from one source address; the system has ports for about 28,000.
const PER_SOURCE: usize = 20_000;

/// A connection to be made.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// To which server.
    pub(crate) endpoint: usize,
    /// The channels that it subscribes to. On one channel it is noted which events came.
    pub(crate) channels: Range<u32>,
    /// With whom it is counted.
    pub(crate) group: usize,
    /// Bytes that the system may hold for it; none: as the system likes.
    pub(crate) receive_bytes: Option<usize>,
}

impl Spec {
    /// A subscriber of one channel.
    pub(crate) fn of(channel: u32, group: usize) -> Self {
        Self {
            endpoint: 0,
            channels: channel..channel + 1,
            group,
            receive_bytes: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Upgrading,
    /// Waits for the frame that names it.
    Greeting,
    /// `next` is the channel to ask for next, `awaited` how many answers are on their way.
    Subscribing {
        next: u32,
        awaited: u32,
    },
    Live,
    /// Has said goodbye.
    Leaving,
    Gone,
}

pub(super) struct Socket {
    pub(super) spec: Spec,
    pub(super) state: State,
    /// When it was begun.
    pub(super) begun: u64,
    /// What the server calls it, where that is signed.
    pub(super) id: String,
    /// Bytes of an incomplete frame.
    pub(super) rest: Vec<u8>,
    stream: Option<TcpStream>,
    tls: Option<Box<ClientConnection>>,
    seen: Vec<u64>,
    pub(super) distinct: u64,
    next: u32,
}

/// What an event is to a socket, going by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    InOrder,
    /// It was overtaken, or others are missing before it.
    Jumped(u32),
    Again,
}

impl Socket {
    /// Begins to connect. `others` is how many sockets there are already.
    pub(super) fn begin(
        spec: Spec,
        address: SocketAddr,
        tls: Option<&Tls>,
        others: usize,
        now: u64,
    ) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            None,
        )?;
        if let Some(bytes) = spec.receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.set_tcp_nodelay(true)?;
        // Ends with a reset: nothing waits for a timeout, and the ports are free for the next run.
        socket.set_linger(Some(Duration::ZERO))?;
        let source = others / PER_SOURCE;
        if source > 0
            && let SocketAddr::V4(v4) = address
            && v4.ip().is_loopback()
        {
            let last = u8::try_from(source + 1).unwrap_or(u8::MAX);
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
            socket.bind(&source.into())?;
        }
        let tls = tls.map(|tls| {
            let config = Arc::clone(&tls.config);
            ClientConnection::new(config, address.ip().into()).map(Box::new)
        });
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(in_progress()) => return Err(error),
            _ => {}
        }
        Ok(Self {
            spec,
            state: State::Connecting,
            begun: now,
            id: String::new(),
            rest: Vec::new(),
            stream: Some(socket.into()),
            tls: tls.transpose().map_err(io::Error::other)?,
            seen: Vec::new(),
            distinct: 0,
            next: 0,
        })
    }

    /// What is to be watched.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd)
    }

    /// Whether the connection has come about.
    pub(super) fn connected(&self) -> io::Result<()> {
        let stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        match SockRef::from(stream).take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let Some(tls) = &mut self.tls else {
            return stream.read(buffer);
        };
        if tls.read_tls(stream)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        while tls.wants_write() {
            tls.write_tls(stream)?;
        }
        tls.reader().read(buffer)
    }

    /// Writes a few bytes, after the handshake of TLS; that there is no room for them is an error.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let Some(tls) = &mut self.tls else {
            return stream.write_all(bytes);
        };
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(stream)?;
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.stream = None;
        self.state = State::Gone;
    }

    pub(super) fn is_opening(&self) -> bool {
        !matches!(self.state, State::Live | State::Leaving | State::Gone)
    }

    /// Notes an event by its number; with a `cycle`, numbers start again at 0 after so many.
    pub(super) fn note(&mut self, stamp: Stamp, cycle: Option<u32>) -> News {
        let number = stamp.number;
        let (before, after) = (self.next, number.wrapping_add(1));
        if let Some(cycle) = cycle {
            self.distinct += 1;
            self.next = after % cycle;
            let missing = (number + cycle - before % cycle) % cycle;
            return if missing == 0 {
                News::InOrder
            } else {
                News::Jumped(missing)
            };
        }
        let (word, bit) = ((number / 64) as usize, 1_u64 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            return News::Again;
        }
        self.seen[word] |= bit;
        self.distinct += 1;
        self.next = after;
        if number == before {
            News::InOrder
        } else {
            News::Jumped(number.saturating_sub(before))
        }
    }
}

fn in_progress() -> i32 {
    rustix::io::Errno::INPROGRESS.raw_os_error()
}
