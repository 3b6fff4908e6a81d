//! The debug console, as its pages and whoever attacks them speak to it: who gets in, what is answered, what is told.

mod access;
mod answers;
mod feed;
mod filter;
mod pages;

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Config, Http, Message, Opcode, PATIENCE, Response, Server, Wire, Ws, eventually,
};

const TOKEN: &str = "operators-only";

/// A server that asks for [`TOKEN`].
fn with_token() -> Config {
    Config::new().admin("token", &format!("{TOKEN:?}"))
}

/// A POST of JSON on the admin port.
fn post(server: &Server, path: &str, body: &Value, headers: &[(&str, &str)]) -> Response {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    Http::connect(server.admin).request("POST", path, &headers, &body.to_string())
}

fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    Http::connect(server.admin).request("GET", path, headers, "")
}

/// One that watches the feed of an app.
pub(crate) struct Watcher {
    ws: Ws,
    entries: VecDeque<Value>,
    /// Every entry that was read, in order.
    pub(crate) seen: Vec<Value>,
    /// How many were skipped, as far as was told.
    pub(crate) skipped: u64,
}

impl Watcher {
    /// Of the test's app.
    pub(crate) fn of(server: &Server) -> Self {
        Self::with(server, "app-id", &[]).unwrap_or_else(|status| panic!("refused: {status}"))
    }

    /// Of any app, with further headers; the status of a refusal.
    fn with(server: &Server, app: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let target = format!("/console/api/feed?app={app}");
        let ws = Ws::over(Wire::connect(server.admin), &target, headers);
        Ok(Self {
            ws: ws.map_err(|head| head.status)?,
            entries: VecDeque::new(),
            seen: Vec::new(),
            skipped: 0,
        })
    }

    /// Says something.
    fn say(&mut self, text: &str) {
        self.ws.send(text);
    }

    /// Says what it looks for, and waits until the server has taken that.
    pub(crate) fn look_for(&mut self, filter: &Value) {
        self.say(&filter.to_string());
        self.ws.send_frame(true, Opcode::Ping, b"taken?");
        loop {
            match self.ws.next() {
                Message::Pong(_) => return,
                message => self.take(message),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Text(text) => {
                let frame: Vec<Value> = serde_json::from_str(&text).expect("an array");
                let is_first = self.seen.is_empty() && self.entries.is_empty();
                assert!(is_first || !frame.is_empty(), "frames have entries");
                self.entries.extend(frame);
            }
            Message::Ping(_) => self.ws.send_frame(true, Opcode::Pong, b""),
            other => panic!("expected entries, got {other:?}"),
        }
    }

    /// The next entry, if there is one in time.
    pub(crate) fn within(&mut self, patience: Duration) -> Option<Value> {
        while self.entries.is_empty() {
            let message = self.ws.try_next(patience)?;
            self.take(message);
        }
        let entry = self.entries.pop_front();
        self.seen.extend(entry.clone());
        if let Some(entry) = entry.as_ref().filter(|entry| entry["kind"] == "skipped") {
            self.skipped += entry["count"].as_u64().expect("a number");
        }
        entry
    }

    /// Reads until nothing more comes for a moment.
    pub(crate) fn until_quiet(&mut self) {
        while self.within(Duration::from_millis(300)).is_some() {}
    }

    /// The next entry of which this is so.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(PATIENCE, what, || {
            self.within(Duration::from_secs(1)).filter(&is_so)
        })
    }

    /// The first entry of which this is so, among those that have come already too: entries of several nodes come in any
    /// order.
    pub(crate) fn find(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        match self.seen.iter().find(|entry| is_so(entry)) {
            Some(entry) => entry.clone(),
            None => self.until(what, is_so),
        }
    }

    /// The next entry of a kind.
    pub(crate) fn next(&mut self, kind: &str) -> Value {
        self.until(&format!("an entry {kind}"), |entry| entry["kind"] == kind)
    }

    /// The code and text that it is closed with.
    fn closed(mut self) -> (u16, String) {
        loop {
            match self.ws.next() {
                Message::Close(code, text) => return (code, text),
                Message::Text(_) | Message::Ping(_) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }
}
