//! The load client: one thread, one epoll, all connections. It counts frames and reads the stamps of events; nothing
//! is allocated for a frame.

mod feed;
mod publisher;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use tidewire::auth::Secret;

pub(crate) use feed::{Cycle, Schedule, Stream};
pub(crate) use socket::Spec;

use crate::Result;
use crate::figures::durations;
use crate::payload::Finder;
use crate::target::{Dialect, Server, Tls};
use crate::wire::{self, Frame, find, first_frame, push_frame};
use feed::Feed;
use publisher::{Answer, Publisher};
use socket::{News, Socket, State};

/// What one read takes at most.
const READ_BYTES: usize = 256 * 1024;

/// How many sockets one look at the epoll may name.
const READY: usize = 512;

/// How many subscriptions of one connection are on their way at a time.
const SUBSCRIBING: u32 = 64;

/// How many connections are opened at a time where that is not the subject.
pub(crate) const AT_A_TIME: usize = 64;

/// Marks publishers among the tokens.
const PUBLISHER: u64 = 1 << 63;

/// Where sockets connect to.
struct Endpoint {
    key: String,
    secret: Secret,
    address: SocketAddr,
    tls: Option<Tls>,
    dialect: Dialect,
    upgrade: Vec<u8>,
}

/// What subscribers of a kind got.
pub(crate) struct Group {
    /// Events, those that came again included.
    pub(crate) deliveries: u64,
    pub(crate) duplicates: u64,
    pub(crate) overtaken: u64,
    /// Events that were passed over, where numbers go round.
    pub(crate) gaps: u64,
    /// From when an event was due until it was read.
    pub(crate) latency: Histogram<u64>,
    /// Numbers start again at 0 after so many.
    pub(crate) cycle: Option<u32>,
    /// Whether its subscribers are there for all events, so that one that does not come is lost.
    pub(crate) stays: bool,
}

/// A channel's events.
#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    planned: u32,
    sent: u64,
}

/// What else happened.
pub(crate) struct Counts {
    pub(crate) opened: u64,
    pub(crate) failed: u64,
    /// Connections that the server ended, by close code; 0: without one.
    pub(crate) closed: BTreeMap<u16, u64>,
    pub(crate) server_pings: u64,
    pub(crate) pongs: u64,
    pub(crate) published: u64,
    pub(crate) answers: u64,
    pub(crate) refused: u64,
    /// From the beginning of a connection to its last subscription.
    pub(crate) opening: Histogram<u64>,
    /// From a request to its answer.
    pub(crate) answering: Histogram<u64>,
    /// How late requests left, by this client's fault.
    pub(crate) lateness: Histogram<u64>,
    /// What went wrong first.
    pub(crate) problem: Option<String>,
}

pub(crate) struct Client {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    origin: Instant,
    /// The clock as of the last look at it.
    now: u64,
    endpoints: Vec<Endpoint>,
    sockets: Vec<Socket>,
    free: Vec<usize>,
    opening: usize,
    open: usize,
    publishers: Vec<Publisher>,
    feed: Feed,
    channels: Vec<Channel>,
    presence: Range<u32>,
    finder: Finder,
    buffer: Box<[u8]>,
    pub(crate) groups: Vec<Group>,
    pub(crate) counts: Counts,
}

impl Client {
    /// A client of these servers, with that many channels and groups of subscribers.
    pub(crate) fn new(servers: &[&Server], channels: usize, groups: usize) -> Result<Self> {
        let endpoint = |server: &&Server| Endpoint {
            key: server.app.key.clone(),
            secret: Secret::new(&server.app.secret),
            address: server.address,
            tls: server.tls.clone(),
            dialect: server.dialect,
            upgrade: upgrade(server).into_bytes(),
        };
        let empty = epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        };
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            ready: vec![empty; READY],
            origin: Instant::now(),
            now: 0,
            endpoints: servers.iter().map(endpoint).collect(),
            sockets: Vec::new(),
            free: Vec::new(),
            opening: 0,
            open: 0,
            publishers: Vec::new(),
            feed: Feed::None,
            channels: vec![Channel::default(); channels],
            presence: 0..0,
            finder: Finder::default(),
            buffer: vec![0; READ_BYTES].into(),
            groups: (0..groups).map(|_| Group::new()).collect::<Result<_>>()?,
            counts: Counts::new()?,
        })
    }

    /// Nanoseconds since this client's beginning.
    pub(crate) fn clock(&self) -> u64 {
        // Holds 584 years.
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn channel_name(&self, channel: u32) -> String {
        let kind = if self.presence.contains(&channel) {
            "presence-"
        } else {
            ""
        };
        format!("{kind}bench-{channel}")
    }

    /// Makes presence channels of some. Each connection is a member of its own.
    pub(crate) fn with_presence(mut self, channels: Range<u32>) -> Self {
        self.presence = channels;
        self
    }

    /// The number that the next connection will have. With its number it takes over the token of the one before.
    pub(crate) fn next_connection(&self) -> usize {
        self.free.last().copied().unwrap_or(self.sockets.len())
    }

    /// The number of a channel's next event.
    pub(crate) fn next_number(&mut self, channel: u32) -> u32 {
        let planned = &mut self.channels[channel as usize].planned;
        let number = *planned;
        *planned += 1;
        number
    }

    /// Opens connections to the HTTP API of one server.
    pub(crate) fn add_publishers(&mut self, endpoint: usize, count: usize) -> Result<()> {
        for _ in 0..count {
            let publisher = Publisher::connect(self.endpoints[endpoint].address)?;
            let token = PUBLISHER | self.publishers.len() as u64;
            epoll::add(
                &self.epoll,
                publisher.descriptor(),
                epoll::EventData::new_u64(token),
                epoll::EventFlags::IN,
            )?;
            self.publishers.push(publisher);
        }
        Ok(())
    }

    /// Begins a connection; its number.
    pub(crate) fn open(&mut self, spec: Spec) -> Result<usize> {
        let endpoint = &self.endpoints[spec.endpoint];
        let tls = endpoint.tls.as_ref();
        let address = tls.map_or(endpoint.address, |tls| tls.address);
        let others = self.open + self.opening;
        let now = self.clock();
        let socket = Socket::begin(spec, address, tls, others, now)
            .map_err(|error| format!("connection {others} to {address}: {error}"))?;
        let index = self.free.pop().unwrap_or(self.sockets.len());
        if let Some(descriptor) = socket.descriptor() {
            epoll::add(
                &self.epoll,
                descriptor,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::OUT,
            )?;
        }
        if index == self.sockets.len() {
            self.sockets.push(socket);
        } else {
            self.sockets[index] = socket;
        }
        self.opening += 1;
        Ok(index)
    }

    /// Opens connections, so many at a time, and waits until all are subscribed.
    pub(crate) fn open_all(
        &mut self,
        specs: impl IntoIterator<Item = Spec>,
        at_a_time: usize,
    ) -> Result<()> {
        const TIMEOUT: Duration = Duration::from_secs(30);
        let mut specs = specs.into_iter().peekable();
        let mut progress = (self.counts.opened, Instant::now());
        while specs.peek().is_some() || self.opening > 0 {
            while self.opening < at_a_time
                && let Some(spec) = specs.next()
            {
                self.open(spec)?;
            }
            self.turn(Duration::from_millis(100))?;
            if self.counts.failed > 0 {
                let problem = self.counts.problem.as_deref().unwrap_or("no reason");
                return Err(format!("a connection failed: {problem}").into());
            }
            if progress.0 != self.counts.opened {
                progress = (self.counts.opened, Instant::now());
            }
            if progress.1.elapsed() > TIMEOUT {
                let waiting = self.opening;
                return Err(format!("{waiting} connections do not get ahead").into());
            }
        }
        Ok(())
    }

    /// Opens so many subscribers of the first channel.
    pub(crate) fn subscribe(&mut self, count: usize, group: usize) -> Result<()> {
        self.open_all((0..count).map(|_| Spec::of(0, group)), AT_A_TIME)
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.open
    }

    /// How many are being opened.
    pub(crate) fn opening(&self) -> usize {
        self.opening
    }

    /// Whether a connection is open.
    pub(crate) fn is_open(&self, socket: usize) -> bool {
        self.sockets[socket].state == State::Live
    }

    /// Stops or begins again to read from a connection.
    pub(crate) fn set_reading(&mut self, socket: usize, reading: bool) -> Result<()> {
        let flags = if reading {
            epoll::EventFlags::IN
        } else {
            epoll::EventFlags::empty()
        };
        self.watch(socket, flags)
    }

    /// Says goodbye to the server and leaves the rest to it.
    pub(crate) fn leave(&mut self, socket: usize) {
        let mut frame = Vec::new();
        push_frame(&mut frame, wire::CLOSE, &1000_u16.to_be_bytes());
        if self.is_open(socket) && self.sockets[socket].send(&frame).is_ok() {
            self.sockets[socket].state = State::Leaving;
        }
    }

    /// Sends the protocol's own ping.
    pub(crate) fn ping(&mut self, socket: usize) {
        self.say(socket, br#"{"event":"pusher:ping","data":{}}"#);
    }

    /// Publishes by a schedule from now on.
    pub(crate) fn publish(&mut self, schedule: Schedule) {
        self.feed = Feed::Open(schedule);
    }

    /// Lets every publisher publish after each answer from now on.
    pub(crate) fn publish_on_answer(&mut self, cycle: Cycle) -> Result<()> {
        self.feed = Feed::Closed(cycle);
        self.now = self.clock();
        for publisher in 0..self.publishers.len() {
            self.publish_next(publisher)?;
        }
        Ok(())
    }

    /// Whether everything is published and answered.
    pub(crate) fn is_done(&self) -> bool {
        let fed = match &self.feed {
            Feed::None => true,
            Feed::Open(schedule) => schedule.due().is_none(),
            Feed::Closed(cycle) => cycle.left == 0 || self.now >= cycle.until,
        };
        fed && !self.publishers.iter().any(Publisher::is_waiting)
    }

    /// Runs until everything is published and answered, and then until all of it is delivered or nothing comes any
    /// more.
    pub(crate) fn settle(&mut self) -> Result<()> {
        const SILENCE: Duration = Duration::from_secs(3);
        let mut progress = (0, Instant::now());
        while !self.is_done() || self.missing() > 0 {
            self.turn(Duration::from_millis(10))?;
            let moves = self.counts.answers + self.deliveries() + self.counts.published;
            if progress.0 != moves || self.is_ahead() {
                progress = (moves, Instant::now());
            }
            if progress.1.elapsed() > SILENCE {
                break;
            }
        }
        self.feed = Feed::None;
        Ok(())
    }

    /// Whether the next event is still to come.
    fn is_ahead(&self) -> bool {
        matches!(&self.feed, Feed::Open(schedule) if schedule.due().is_some_and(|due| due > self.now))
    }

    fn deliveries(&self) -> u64 {
        self.groups.iter().map(|group| group.deliveries).sum()
    }

    /// Events that should have come to the subscribers of one channel and have not yet.
    pub(crate) fn missing(&self) -> u64 {
        let missing = |socket: &Socket| {
            let spec = &socket.spec;
            let group = &self.groups[spec.group];
            if spec.channels.len() != 1 || group.cycle.is_some() || !group.stays {
                return 0;
            }
            let sent = self.channels[spec.channels.start as usize].sent;
            sent.saturating_sub(socket.distinct)
        };
        self.sockets.iter().map(missing).sum()
    }

    /// Begins to count anew; which events came stays known.
    pub(crate) fn reset(&mut self) -> Result<()> {
        for group in &mut self.groups {
            group.deliveries = 0;
            group.duplicates = 0;
            group.overtaken = 0;
            group.latency.clear();
        }
        self.counts = Counts::new()?;
        Ok(())
    }

    /// Publishes what is due and takes what came, or waits for something, `most` at the longest.
    pub(crate) fn turn(&mut self, most: Duration) -> Result<()> {
        self.publish_due()?;
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let wait = match &self.feed {
            Feed::Open(schedule) => schedule
                .due()
                .map_or(most, |due| most.min(due.saturating_sub(self.now))),
            Feed::None | Feed::Closed(_) => most,
        };
        let timeout = Timespec {
            tv_sec: i64::try_from(wait / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(wait % 1_000_000_000).unwrap_or(0),
        };
        let mut ready = mem::take(&mut self.ready);
        let count = match epoll::wait(&self.epoll, &mut ready[..], Some(&timeout)) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        if count == 0 {
            self.now = self.clock();
        }
        for event in &ready[..count] {
            let (flags, token) = (event.flags, event.data.u64());
            let index = usize::try_from(token & !PUBLISHER).unwrap_or(usize::MAX);
            if token & PUBLISHER == 0 {
                self.serve_socket(index)?;
            } else {
                self.serve_publisher(index, flags)?;
            }
            // Not only between looks: a look may name hundreds of sockets.
            self.publish_due()?;
        }
        self.ready = ready;
        Ok(())
    }

    /// Sends every event whose time has come.
    fn publish_due(&mut self) -> Result<()> {
        let mut feed = mem::take(&mut self.feed);
        if let Feed::Open(schedule) = &mut feed
            && schedule.due().is_some()
        {
            self.now = self.clock();
            while let Some(planned) = schedule.events.get(schedule.next).copied()
                && planned.due <= self.now
            {
                self.counts
                    .lateness
                    .saturating_record(self.now - planned.due);
                let request = schedule.requests.get(schedule.next);
                self.send_request(planned.publisher, request, planned.channel)?;
                schedule.next += 1;
                self.now = self.clock();
            }
        }
        self.feed = feed;
        Ok(())
    }

    /// Sends a publisher's next request, if each waits for an answer.
    fn publish_next(&mut self, publisher: usize) -> Result<()> {
        let mut feed = mem::take(&mut self.feed);
        if let Feed::Closed(cycle) = &mut feed
            && let Some(index) = cycle.take(self.now)
        {
            let channel = cycle.channels[index];
            self.send_request(publisher, cycle.requests.get(index), channel)?;
        }
        self.feed = feed;
        Ok(())
    }

    fn send_request(&mut self, publisher: usize, request: &[u8], channel: u32) -> Result<()> {
        self.channels[channel as usize].sent += 1;
        self.counts.published += 1;
        let sender = &mut self.publishers[publisher];
        sender.send(request, channel, self.now)?;
        if sender.is_writing() {
            self.watch_publisher(publisher)?;
        }
        Ok(())
    }

    fn watch_publisher(&self, publisher: usize) -> Result<()> {
        let sender = &self.publishers[publisher];
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, sender.is_writing());
        let token = epoll::EventData::new_u64(PUBLISHER | publisher as u64);
        epoll::modify(&self.epoll, sender.descriptor(), token, flags)?;
        Ok(())
    }

    fn serve_publisher(&mut self, index: usize, flags: epoll::EventFlags) -> Result<()> {
        let publisher = &mut self.publishers[index];
        if flags.contains(epoll::EventFlags::OUT) {
            publisher.flush()?;
            self.watch_publisher(index)?;
        }
        if (flags - epoll::EventFlags::OUT).is_empty() {
            return Ok(());
        }
        let publisher = &mut self.publishers[index];
        if !publisher.receive(&mut self.buffer)? {
            let token = epoll::EventData::new_u64(PUBLISHER | index as u64);
            let descriptor = publisher.descriptor();
            epoll::add(&self.epoll, descriptor, token, epoll::EventFlags::IN)?;
            return Ok(());
        }
        self.now = self.clock();
        while let Some(answer) = self.publishers[index].answer() {
            self.count_answer(answer);
            self.publish_next(index)?;
        }
        Ok(())
    }

    fn count_answer(&mut self, answer: Answer) {
        self.counts.answers += 1;
        self.counts
            .answering
            .saturating_record(self.now.saturating_sub(answer.sent));
        if answer.status != 200 {
            // Nobody may expect it.
            self.channels[answer.channel as usize].sent -= 1;
            self.counts.refused += 1;
            self.trouble(&answer.text.unwrap_or_default());
        }
    }

    fn trouble(&mut self, problem: &str) {
        let first = &mut self.counts.problem;
        first.get_or_insert_with(|| problem.trim().to_owned());
    }

    fn watch(&self, index: usize, flags: epoll::EventFlags) -> Result<()> {
        if let Some(descriptor) = self.sockets[index].descriptor() {
            let token = epoll::EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, descriptor, token, flags)?;
        }
        Ok(())
    }

    fn serve_socket(&mut self, index: usize) -> Result<()> {
        if self.sockets[index].state == State::Connecting {
            return self.connected(index);
        }
        let mut buffer = mem::take(&mut self.buffer);
        match self.sockets[index].read(&mut buffer) {
            Ok(0) => self.ended(index, None),
            Ok(count) => {
                self.now = self.clock();
                self.digest(index, &buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.ended(index, Some(&error.to_string())),
        }
        self.buffer = buffer;
        Ok(())
    }

    fn connected(&mut self, index: usize) -> Result<()> {
        let socket = &mut self.sockets[index];
        let endpoint = &mut self.endpoints[socket.spec.endpoint];
        if endpoint.dialect == Dialect::Resumable {
            endpoint.upgrade[TOKEN].copy_from_slice(format!("{index:020}").as_bytes());
        }
        let upgrade = &endpoint.upgrade;
        let sent = socket.connected().and_then(|()| socket.send(upgrade));
        if let Err(error) = sent {
            self.ended(index, Some(&error.to_string()));
            return Ok(());
        }
        socket.state = State::Upgrading;
        self.watch(index, epoll::EventFlags::IN)
    }

    /// The connection is over, not by our wish.
    fn ended(&mut self, index: usize, problem: Option<&str>) {
        let state = self.sockets[index].state;
        if let Some(problem) = problem
            && state != State::Leaving
        {
            self.trouble(problem);
        }
        self.count_end(index, 0);
    }

    /// Lets a connection go; how it ended counts unless it was our doing.
    fn count_end(&mut self, index: usize, code: u16) {
        let socket = &mut self.sockets[index];
        let state = socket.state;
        if state == State::Gone {
            return;
        }
        if socket.is_opening() {
            self.opening -= 1;
            self.counts.failed += 1;
        } else {
            self.open -= 1;
            if state == State::Live {
                *self.counts.closed.entry(code).or_default() += 1;
            }
        }
        socket.close();
        self.free.push(index);
    }

    /// Takes what was read: the rest of the handshake, then frames.
    fn digest(&mut self, index: usize, read: &[u8]) {
        let mut rest = mem::take(&mut self.sockets[index].rest);
        if rest.is_empty() {
            let left = self.take_all(index, read).len();
            rest.extend_from_slice(&read[read.len() - left..]);
        } else {
            rest.extend_from_slice(read);
            let left = self.take_all(index, &rest).len();
            rest.drain(..rest.len() - left);
        }
        self.sockets[index].rest = rest;
    }

    /// Takes everything that is whole; what is left.
    fn take_all<'a>(&mut self, index: usize, mut bytes: &'a [u8]) -> &'a [u8] {
        if self.sockets[index].state == State::Upgrading {
            let Some(end) = find(bytes, b"\r\n\r\n") else {
                return bytes;
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                let text = String::from_utf8_lossy(bytes);
                self.trouble(&text);
                self.count_end(index, 0);
                return &[];
            }
            bytes = &bytes[end + 4..];
            self.upgraded(index);
        }
        while let Some(frame) = first_frame(bytes) {
            bytes = &bytes[frame.length..];
            self.take_frame(index, frame);
            if self.sockets[index].state == State::Gone {
                return &[];
            }
        }
        bytes
    }

    fn upgraded(&mut self, index: usize) {
        let endpoint = self.sockets[index].spec.endpoint;
        match self.endpoints[endpoint].dialect {
            Dialect::Floor => self.become_live(index),
            Dialect::Pusher | Dialect::Resumable | Dialect::Tls => {
                self.sockets[index].state = State::Greeting
            }
        }
    }

    fn become_live(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        socket.state = State::Live;
        self.opening -= 1;
        self.open += 1;
        self.counts.opened += 1;
        let elapsed = self.now.saturating_sub(socket.begun);
        self.counts.opening.saturating_record(elapsed);
    }

    fn take_frame(&mut self, index: usize, frame: Frame<'_>) {
        match frame.opcode {
            wire::TEXT if self.sockets[index].state == State::Live => {
                self.take_event(index, frame.payload);
            }
            wire::TEXT => self.take_answer(index, frame.payload),
            wire::PING => {
                self.counts.server_pings += 1;
                let mut pong = Vec::new();
                push_frame(&mut pong, wire::PONG, frame.payload);
                self.send(index, &pong);
            }
            wire::CLOSE => {
                let code = frame.payload.first_chunk().copied();
                self.count_end(index, code.map_or(1005, u16::from_be_bytes));
            }
            _ => {}
        }
    }

    fn take_event(&mut self, index: usize, payload: &[u8]) {
        let Some(stamp) = self.finder.find(payload) else {
            return self.take_word(index, payload);
        };
        let socket = &mut self.sockets[index];
        let group = &mut self.groups[socket.spec.group];
        group.deliveries += 1;
        group
            .latency
            .saturating_record(self.now.saturating_sub(stamp.due));
        if socket.spec.channels.len() != 1 {
            return;
        }
        match socket.note(stamp, group.cycle) {
            News::InOrder => {}
            News::Again => group.duplicates += 1,
            News::Jumped(missing) if group.cycle.is_some() => group.gaps += u64::from(missing),
            // Those in between may still come, and the late ones jump over none.
            News::Jumped(0) => group.overtaken += 1,
            News::Jumped(_) => {}
        }
    }

    /// What the protocol itself says while events come.
    fn take_word(&mut self, index: usize, payload: &[u8]) {
        if find(payload, b"pusher:pong").is_some() {
            self.counts.pongs += 1;
        } else if find(payload, b"pusher:ping").is_some() {
            self.counts.server_pings += 1;
            self.say(index, br#"{"event":"pusher:pong","data":{}}"#);
        } else if find(payload, b"pusher:error").is_some() {
            self.trouble(&String::from_utf8_lossy(payload));
        }
    }

    /// What a connection is told until it is subscribed.
    fn take_answer(&mut self, index: usize, payload: &[u8]) {
        let channels = self.sockets[index].spec.channels.clone();
        let state = match self.sockets[index].state {
            State::Greeting if find(payload, b"connection_established").is_some() => {
                if !self.presence.is_empty() {
                    self.sockets[index].id = socket_id(payload);
                }
                State::Subscribing {
                    next: channels.start,
                    awaited: 0,
                }
            }
            State::Subscribing { next, awaited }
                if find(payload, b"subscription_succeeded").is_some() =>
            {
                State::Subscribing {
                    next,
                    awaited: awaited - 1,
                }
            }
            _ if find(payload, b"pusher:error").is_some() => {
                self.trouble(&String::from_utf8_lossy(payload));
                return self.count_end(index, 0);
            }
            // Counts, members, or an event of a channel that is joined already.
            _ => return,
        };
        self.sockets[index].state = state;
        let State::Subscribing { next, awaited: 0 } = state else {
            return;
        };
        let upto = channels.end.min(next + SUBSCRIBING);
        if next == upto {
            return self.become_live(index);
        }
        let mut frames = Vec::new();
        for channel in next..upto {
            let text = self.subscribe_command(index, channel);
            push_frame(&mut frames, wire::TEXT, text.as_bytes());
        }
        self.sockets[index].state = State::Subscribing {
            next: upto,
            awaited: upto - next,
        };
        self.send(index, &frames);
    }

    fn subscribe_command(&self, index: usize, channel: u32) -> String {
        let name = self.channel_name(channel);
        let mut more = String::new();
        if self.presence.contains(&channel) {
            let socket = &self.sockets[index];
            let Endpoint { key, secret, .. } = &self.endpoints[socket.spec.endpoint];
            let data = format!(r#"{{"user_id":"{index}"}}"#);
            let signature = secret.sign(format!("{}:{name}:{data}", socket.id).as_bytes());
            let data = data.replace('"', "\\\"");
            more = format!(r#","auth":"{key}:{signature}","channel_data":"{data}""#);
        }
        format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{name}"{more}}}}}"#)
    }

    fn say(&mut self, index: usize, text: &[u8]) {
        let mut frame = Vec::new();
        push_frame(&mut frame, wire::TEXT, text);
        self.send(index, &frame);
    }

    fn send(&mut self, index: usize, bytes: &[u8]) {
        if let Err(error) = self.sockets[index].send(bytes) {
            self.ended(index, Some(&error.to_string()));
        }
    }
}

impl Group {
    fn new() -> Result<Self> {
        Ok(Self {
            deliveries: 0,
            duplicates: 0,
            overtaken: 0,
            gaps: 0,
            latency: durations()?,
            cycle: None,
            stays: true,
        })
    }
}

impl Counts {
    fn new() -> Result<Self> {
        Ok(Self {
            opened: 0,
            failed: 0,
            closed: BTreeMap::new(),
            server_pings: 0,
            pongs: 0,
            published: 0,
            answers: 0,
            refused: 0,
            opening: durations()?,
            answering: durations()?,
            lateness: durations()?,
            problem: None,
        })
    }

    /// Connections that the server ended.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.values().sum()
    }
}

/// Where the token of a connection is in the request.
const TOKEN: std::ops::Range<usize> = 12..32;

/// The request that becomes a WebSocket.
/// What the greeting calls a connection.
fn socket_id(greeting: &[u8]) -> String {
    let text = String::from_utf8_lossy(greeting);
    let from = text
        .find("socket_id")
        .map_or(text.len(), |at| at + "socket_id".len());
    let id = text[from..].trim_start_matches(['\\', '"', ':']);
    id.chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect()
}

fn upgrade(server: &Server) -> String {
    let host = &server.host;
    let app = format!("/app/{}?protocol=7&client=load&version=1", server.app.key);
    let path = match server.dialect {
        Dialect::Floor => "/".to_owned(),
        Dialect::Pusher | Dialect::Tls => app,
        Dialect::Resumable => format!("/resume/{:020}{app}", 0),
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}
