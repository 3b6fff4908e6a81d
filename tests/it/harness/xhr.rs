//! A client of pusher-js' HTTP transports that can also misbehave: each request as raw bytes, each line as it came.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::wire::{Filled, Head, Wire};
use super::{Http, PATIENCE, Response, Server, request, subscribe_frame};

/// What a stream holds before the client comes back (pusher-js, `core/http/http_request.ts`).
pub(crate) const ROLL_OVER: usize = 256 * 1024;

/// A session's name and the page's count of requests.
pub(crate) struct Xhr {
    address: SocketAddr,
    /// `/app/{key}/{n}/{session}`, with whatever is in front.
    pub(crate) base: String,
    pub(crate) n: u64,
    pub(crate) socket_id: String,
    sends: Option<Http>,
}

/// The answer to a request for a stream.
pub(crate) struct Stream {
    wire: Wire,
    pub(crate) head: Head,
    /// Decoded, and not yet read as lines.
    text: Vec<u8>,
    lines: VecDeque<String>,
    /// UTF-16 units of the lines so far.
    pub(crate) units: usize,
    /// Whether the body has ended as HTTP says.
    pub(crate) is_complete: bool,
}

impl Xhr {
    /// A session of the app of [`super::APP`] that no other test's has the name of.
    pub(crate) fn new(server: &Server) -> Self {
        let session: u32 = rand::random();
        Self::named(server.public, &format!("/app/app-key/7/{session:08x}"))
    }

    /// A session by its path.
    pub(crate) fn named(address: SocketAddr, base: &str) -> Self {
        Self {
            address,
            base: base.to_owned(),
            n: 0,
            socket_id: String::new(),
            sends: None,
        }
    }

    /// Whose next requests go to this node.
    pub(crate) fn at(&mut self, server: &Server) -> &mut Self {
        if self.address != server.public {
            self.address = server.public;
            self.sends = None;
        }
        self
    }

    fn target(&mut self, kind: &str) -> String {
        self.n += 1;
        let (base, n) = (&self.base, self.n);
        let client = match kind {
            "xhr_send" => "",
            _ => "protocol=7&client=js&version=8.6.0&",
        };
        format!("{base}/{kind}?{client}t=1700000000000&n={n}")
    }

    /// Asks for a stream; its head has been read.
    pub(crate) fn stream(&mut self) -> Stream {
        self.stream_with(&[])
    }

    pub(crate) fn stream_with(&mut self, headers: &[(&str, &str)]) -> Stream {
        let target = self.target("xhr_streaming");
        let mut wire = Wire::connect(self.address);
        wire.write(request("POST", &target, headers, "").as_bytes())
            .expect("the server reads");
        Stream::read(wire)
    }

    /// A stream, whose first lines open the session.
    pub(crate) fn open(&mut self) -> Stream {
        let mut stream = self.stream();
        assert_eq!(stream.line(), "o");
        let line = stream.line();
        self.note_socket_id(&line);
        stream
    }

    /// A poll on a connection of its own: its lines.
    pub(crate) fn poll(&mut self) -> Vec<String> {
        let mut http = Http::connect(self.address);
        self.poll_on(&mut http)
    }

    /// A poll on a connection: its lines.
    pub(crate) fn poll_on(&mut self, http: &mut Http) -> Vec<String> {
        self.ask_on(http);
        lines(&http.read())
    }

    /// Sends a poll, and does not wait for the answer.
    pub(crate) fn ask_on(&mut self, http: &mut Http) {
        let target = self.target("xhr");
        http.write(&request("POST", &target, &[], ""));
    }

    /// Polls until a session is open.
    pub(crate) fn open_by_poll(&mut self) {
        let lines = self.poll();
        assert_eq!((lines[0].as_str(), lines.len()), ("o", 2));
        self.note_socket_id(&lines[1]);
    }

    fn note_socket_id(&mut self, line: &str) {
        let frame = &messages(line)[0];
        assert_eq!(frame["event"], "pusher:connection_established", "{line}");
        let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
        data["socket_id"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.socket_id);
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, message: &str) {
        let answer = self.send_body(&serde_json::json!([message]).to_string());
        assert_eq!(answer.status(), 204, "{answer:?}");
    }

    /// Sends a body.
    pub(crate) fn send_body(&mut self, body: &str) -> Response {
        let target = self.target("xhr_send");
        self.send_to(&target, body)
    }

    /// Sends one message as the request of that number.
    pub(crate) fn send_as(&mut self, n: u64, message: &str) {
        let target = format!("{}/xhr_send?t=1&n={n}", self.base);
        let answer = self.send_to(&target, &serde_json::json!([message]).to_string());
        assert_eq!(answer.status(), 204, "{answer:?}");
    }

    fn send_to(&mut self, target: &str, body: &str) -> Response {
        let address = self.address;
        let http = self.sends.get_or_insert_with(|| Http::connect(address));
        http.request(
            "POST",
            target,
            &[("Content-Type", "application/json")],
            body,
        )
    }

    /// Subscribes without waiting for the answer.
    pub(crate) fn subscribe(&mut self, channel: &str) {
        let frame = subscribe_frame(&self.socket_id, channel, None);
        self.send(&frame);
    }
}

impl Stream {
    /// The answer on a connection.
    pub(crate) fn read(mut wire: Wire) -> Self {
        let head = wire.read_head();
        Self {
            wire,
            head,
            text: Vec::new(),
            lines: VecDeque::new(),
            units: 0,
            is_complete: false,
        }
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> String {
        self.try_line(PATIENCE)
            .unwrap_or_else(|| panic!("no line; the body is complete: {}", self.is_complete))
    }

    /// The next line that is no heartbeat, as the one message that it holds.
    pub(crate) fn message(&mut self) -> Value {
        loop {
            let line = self.line();
            if line != "h" {
                return messages(&line).remove(0);
            }
        }
    }

    /// The next event of that name; what comes before is ignored.
    pub(crate) fn told(&mut self, event: &str) -> Value {
        loop {
            let message = self.message();
            if message["event"] == event {
                return message;
            }
        }
    }

    /// The next line, if it comes in time.
    pub(crate) fn try_line(&mut self, patience: Duration) -> Option<String> {
        let end = Instant::now() + patience;
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.is_complete || !self.decode() && self.wire.fill(end) != Filled::More {
                return None;
            }
        }
    }

    /// Whether the other side ends the connection, with nothing more to read.
    pub(crate) fn has_ended(&mut self, patience: Duration) -> bool {
        assert_eq!(self.try_line(Duration::ZERO), None);
        self.wire.fill(Instant::now() + patience) == Filled::Ended
    }

    /// Reads one chunk, if it is there.
    fn decode(&mut self) -> bool {
        let unread = self.wire.unread();
        if self.head.header("transfer-encoding").is_none() {
            let length = unread.len();
            self.text.extend_from_slice(unread);
            self.wire.consume(length);
            self.split();
            return length > 0;
        }
        let Some(at) = unread.windows(2).position(|pair| pair == b"\r\n") else {
            return false;
        };
        let size = std::str::from_utf8(&unread[..at]).expect("the size of a chunk");
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        let whole = at + 2 + size + 2;
        if unread.len() < whole {
            return false;
        }
        self.text.extend_from_slice(&unread[at + 2..at + 2 + size]);
        assert_eq!(&unread[whole - 2..whole], b"\r\n");
        self.wire.consume(whole);
        self.is_complete = size == 0;
        self.split();
        true
    }

    fn split(&mut self) {
        while let Some(at) = self.text.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=at).collect();
            let line = String::from_utf8(line).expect("UTF-8");
            self.units += line.encode_utf16().count();
            self.lines.push_back(line.trim_end_matches('\n').to_owned());
        }
    }
}

/// The lines of a whole answer.
pub(crate) fn lines(response: &Response) -> Vec<String> {
    assert_eq!(response.status(), 200, "{response:?}");
    response.body.lines().map(str::to_owned).collect()
}

/// The messages of a line.
pub(crate) fn messages(line: &str) -> Vec<Value> {
    let texts = line
        .strip_prefix('a')
        .unwrap_or_else(|| panic!("no messages: {line}"));
    let texts: Vec<String> = serde_json::from_str(texts).unwrap();
    texts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}
