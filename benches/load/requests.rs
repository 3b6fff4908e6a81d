//! Whole HTTP requests, signed before the clock runs.

use std::time::{SystemTime, UNIX_EPOCH};

use tidewire::auth::{Secret, body_md5, request_string};

use crate::target::{App, Dialect, Server};

/// The name of every event.
const EVENT: &str = "e";

/// Requests in the order in which they are sent, in one piece of memory.
#[derive(Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Requests {
    pub(crate) fn push(&mut self, request: &str) {
        self.bytes.extend_from_slice(request.as_bytes());
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// One of them; nothing beyond the last.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let begin = match index.checked_sub(1) {
            Some(before) => self.ends.get(before).copied(),
            None => Some(0),
        };
        let range = begin.zip(self.ends.get(index).copied());
        range.map_or(&[], |(begin, end)| &self.bytes[begin..end])
    }
}

/// Writes a server's requests.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    dialect: Dialect,
    host: String,
    app: App,
    secret: Secret,
}

impl Signer {
    pub(crate) fn new(server: &Server) -> Self {
        Self {
            dialect: server.dialect,
            host: server.host.clone(),
            app: server.app.clone(),
            secret: Secret::new(&server.app.secret),
        }
    }

    /// A publish of one event to one channel, to be sent in `seconds` from now.
    pub(crate) fn publish(&self, channel: &str, data: &str, seconds: u64) -> String {
        match self.dialect {
            Dialect::Floor => self.request("POST", "/publish", data),
            Dialect::Pusher | Dialect::Resumable | Dialect::Tls => {
                // None of the three needs an escape.
                let body =
                    format!(r#"{{"name":"{EVENT}","channels":["{channel}"],"data":"{data}"}}"#);
                let path = format!("/apps/{}/events", self.app.id);
                self.request("POST", &self.sign("POST", &path, &body, seconds), &body)
            }
        }
    }

    /// The question for one channel.
    pub(crate) fn channel(&self, channel: &str) -> String {
        let path = format!("/apps/{}/channels/{channel}", self.app.id);
        self.request("GET", &self.sign("GET", &path, "", 0), "")
    }

    fn sign(&self, method: &str, path: &str, body: &str, seconds: u64) -> String {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = elapsed.map_or(0, |now| now.as_secs()) + seconds;
        let mut query = vec![
            ("auth_key".to_owned(), self.app.key.clone()),
            ("auth_timestamp".to_owned(), timestamp.to_string()),
            ("auth_version".to_owned(), "1.0".to_owned()),
        ];
        if !body.is_empty() {
            query.push(("body_md5".to_owned(), body_md5(body.as_bytes())));
        }
        let text = request_string(method, path, &query);
        let pairs: Vec<String> = query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let signature = self.secret.sign(text.as_bytes());
        format!("{path}?{}&auth_signature={signature}", pairs.join("&"))
    }

    fn request(&self, method: &str, target: &str, body: &str) -> String {
        let host = &self.host;
        let length = body.len();
        let entity = if method == "POST" {
            format!("Content-Type: application/json\r\nContent-Length: {length}\r\n")
        } else {
            String::new()
        };
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{entity}\r\n{body}")
    }
}
