//! A blocking reader of Server-Sent Events, as an `EventSource` is one (WHATWG HTML, "Server-sent events").

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value;

use super::http::{Response, request};
use super::wire::{Filled, Head, Wire};
use super::{PATIENCE, Server};

/// One stream.
pub(crate) struct Events {
    wire: Wire,
    pub(crate) head: Head,
    /// The last id that came.
    pub(crate) last_id: String,
    /// The last `retry:` that came.
    pub(crate) retry: Option<String>,
    /// How many comments came.
    pub(crate) comments: usize,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }
}

impl Events {
    /// A stream of the app of the tests, which must begin.
    pub(crate) fn open(server: &Server, query: &str) -> Self {
        Self::open_with(server, query, &[])
    }

    /// The same with headers.
    pub(crate) fn open_with(server: &Server, query: &str, headers: &[(&str, &str)]) -> Self {
        let target = format!("/sse/app-key?{query}");
        Self::request(server.public, &target, headers)
            .unwrap_or_else(|refused| panic!("{target} is refused: {refused:?}"))
    }

    /// A stream that goes on behind an id.
    pub(crate) fn resume(server: &Server, query: &str, id: &str) -> Self {
        Self::open_with(server, query, &[("Last-Event-ID", id)])
    }

    /// What such a stream is refused with.
    pub(crate) fn refused(server: &Server, query: &str, headers: &[(&str, &str)]) -> Response {
        let target = format!("/sse/app-key?{query}");
        match Self::request(server.public, &target, headers) {
            Err(refused) => refused,
            Ok(stream) => panic!("{target} is not refused: {:?}", stream.head),
        }
    }

    /// Asks for a stream anywhere.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) fn request(
        address: SocketAddr,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Response> {
        let mut wire = Wire::connect(address);
        wire.write(request("GET", target, headers, "").as_bytes())
            .expect("the server reads");
        let head = wire.read_head();
        if head.status != 200 {
            let length = head
                .header("content-length")
                .map_or(0, |n| n.parse().unwrap());
            let body = wire.read_body(length);
            return Err(Response { head, body });
        }
        Ok(Self {
            wire,
            head,
            last_id: String::new(),
            retry: None,
            comments: 0,
        })
    }

    /// The next event; none: the stream has ended.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let (mut name, mut data) = (String::new(), Vec::new());
        loop {
            let line = self.line()?;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match (line.is_empty(), field) {
                (true, _) if data.is_empty() => name.clear(),
                (true, _) => {
                    let data = data.join("\n");
                    return Some(Event { name, data });
                }
                (_, "") => self.comments += 1,
                (_, "event") => value.clone_into(&mut name),
                (_, "data") => data.push(value.to_owned()),
                (_, "id") => value.clone_into(&mut self.last_id),
                (_, "retry") => self.retry = Some(value.to_owned()),
                _ => panic!("an unknown field: {line:?}"),
            }
        }
    }

    /// The next event, which must come.
    pub(crate) fn event(&mut self) -> Event {
        self.next().expect("the stream goes on")
    }

    /// The data of the first event.
    pub(crate) fn opened(&mut self) -> Value {
        let event = self.event();
        assert_eq!(event.name, "tidewire:opened", "{event:?}");
        event.json()
    }

    /// The next events must have these data.
    pub(crate) fn gets<'a>(&mut self, all: impl IntoIterator<Item = &'a str>) {
        for data in all {
            let event = self.event();
            assert_eq!((event.name.as_str(), event.data.as_str()), ("e", data));
        }
    }

    /// The code and the text of its end.
    pub(crate) fn closed(&mut self) -> (u64, String) {
        let event = self.event();
        assert_eq!(event.name, "pusher:error", "{event:?}");
        let error = event.json();
        assert_eq!(self.next(), None, "nothing follows");
        let message = error["message"].as_str().unwrap();
        (error["code"].as_u64().unwrap(), message.to_owned())
    }

    /// Writes any bytes.
    ///
    /// # Errors
    /// The server is gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.wire.write(bytes)
    }

    fn line(&mut self) -> Option<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.wire.unread().iter().position(|&b| b == b'\n') {
                let line = String::from_utf8(self.wire.unread()[..at].to_vec()).unwrap();
                self.wire.consume(at + 1);
                return Some(line);
            }
            match self.wire.fill(end) {
                Filled::More => {}
                Filled::Ended => {
                    let rest = self.wire.unread();
                    assert!(rest.is_empty(), "cut: {}", String::from_utf8_lossy(rest));
                    return None;
                }
                Filled::TimedOut => panic!("no line within {PATIENCE:?}"),
            }
        }
    }
}
