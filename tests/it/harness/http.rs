//! A blocking HTTP/1.1 client: one keep-alive connection, pipelining, raw writes.

use std::net::SocketAddr;
use std::time::Instant;

use super::wire::{Filled, Head, Wire};
use super::{Credentials, PATIENCE};

/// One connection to the HTTP API or the admin port.
pub(crate) struct Http(Wire);

/// A response with its body.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(Wire::connect(address))
    }

    /// On a connection that is there.
    pub(crate) fn over(wire: Wire) -> Self {
        Self(wire)
    }

    /// Sends a request and waits for its response.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        self.write(&request(method, target, headers, body));
        self.read()
    }

    /// A signed request in the dialect of node.
    pub(crate) fn signed(
        &mut self,
        app: &Credentials,
        method: &str,
        target: &str,
        body: &str,
    ) -> Response {
        self.send_signed(app, method, target, body);
        self.read()
    }

    /// The same without waiting for the response.
    pub(crate) fn send_signed(
        &mut self,
        app: &Credentials,
        method: &str,
        target: &str,
        body: &str,
    ) {
        let signed = app.target(method, target, body);
        self.write(&request(method, &signed, &[], body));
    }

    /// Writes any bytes.
    pub(crate) fn write(&mut self, bytes: &str) {
        self.0.write(bytes.as_bytes()).expect("the server reads");
    }

    /// Waits for the server to end the connection, with nothing more to read.
    pub(crate) fn ended(&mut self) {
        let filled = self.0.fill(Instant::now() + PATIENCE);
        assert_eq!(filled, Filled::Ended);
    }

    /// Reads the next response, which has no body whatever its length says.
    pub(crate) fn read_bodiless(&mut self) -> Response {
        Response {
            head: self.0.read_head(),
            body: String::new(),
        }
    }

    /// Reads the next response.
    pub(crate) fn read(&mut self) -> Response {
        let head = self.0.read_head();
        let length = head
            .header("content-length")
            .map_or(0, |text| text.parse().expect("a numeric content-length"));
        let body = self.0.read_body(length);
        Response { head, body }
    }
}

/// The text of a request, ready to be written, alone or after another.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" || !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}
