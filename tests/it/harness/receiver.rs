//! A backend that receives webhooks: an HTTP server on a free port that behaves as badly as it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{APP, PATIENCE};

/// How a request is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Status(u16),
    /// With 200, after interim answers.
    Early,
    /// With a status if it contains a text, else with 200.
    Refuse(&'static str, u16),
    /// Not at all.
    Stall,
    /// The connection is closed.
    Close,
    /// Not in HTTP.
    Garbage,
}

/// A request that came.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body's events, after a check of all that is around them.
    pub(crate) fn events(&self) -> Vec<serde_json::Value> {
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("x-pusher-key"), Some(APP.key));
        let signature = APP.sign(&self.body);
        assert_eq!(self.header("x-pusher-signature"), Some(&signature[..]));
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        let time_ms = body["time_ms"].as_i64().unwrap();
        assert!((time_ms / 1000 - super::now()).abs() < 60, "{time_ms}");
        body["events"].as_array().unwrap().clone()
    }
}

/// The server. It ends with the test's process.
pub(crate) struct Receiver {
    address: SocketAddr,
    requests: mpsc::Receiver<Received>,
    healthy: Arc<AtomicBool>,
}

impl Receiver {
    /// Answers the first requests as told, every further one like the last of those; after [`Receiver::heal`]
    /// with 200.
    pub(crate) fn start(replies: &[Reply]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel();
        let healthy = Arc::new(AtomicBool::new(false));
        let shared = Shared {
            replies: replies.into(),
            count: Arc::default(),
            healthy: Arc::clone(&healthy),
            requests: sender,
        };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self {
            address,
            requests,
            healthy,
        }
    }

    /// The lines of a webhook that goes here.
    pub(crate) fn webhook(&self, more: &str) -> String {
        format!("url = \"http://{}/hooks?t=token\"\n{more}", self.address)
    }

    /// From now on everything is answered with 200.
    pub(crate) fn heal(&self) {
        self.healthy.store(true, Ordering::SeqCst);
    }

    /// The next request.
    pub(crate) fn next(&self) -> Received {
        let next = self.requests.recv_timeout(PATIENCE);
        next.expect("a webhook in time")
    }

    /// The next request, if it comes within a time.
    pub(crate) fn within(&self, time: Duration) -> Option<Received> {
        self.requests.recv_timeout(time).ok()
    }

    /// The next request's only event.
    pub(crate) fn event(&self) -> serde_json::Value {
        let events = self.next().events();
        assert_eq!(events.len(), 1, "{events:?}");
        events[0].clone()
    }
}

#[derive(Clone)]
struct Shared {
    replies: Arc<[Reply]>,
    count: Arc<AtomicUsize>,
    healthy: Arc<AtomicBool>,
    requests: mpsc::Sender<Received>,
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        // Answers are written in pieces, of which the second must not wait for the first's acknowledgement.
        let _ = stream.set_nodelay(true);
        let mut reader = BufReader::new(stream);
        while let Some(request) = read(&mut reader) {
            let at = self.count.fetch_add(1, Ordering::SeqCst);
            let told = request.body.clone();
            let reply = if self.healthy.load(Ordering::SeqCst) {
                Reply::Status(200)
            } else {
                self.replies[at.min(self.replies.len() - 1)]
            };
            // The test may be over.
            let _ = self.requests.send(request);
            let stream = reader.get_mut();
            let reply = match reply {
                Reply::Refuse(text, status) if told.contains(text) => Reply::Status(status),
                Reply::Refuse(..) => Reply::Status(200),
                other => other,
            };
            let _ = match reply {
                Reply::Status(status) => {
                    let location = "Location: /elsewhere\r\n";
                    write!(
                        stream,
                        "HTTP/1.1 {status} X\r\n{location}Content-Length: 2\r\n\r\nok"
                    )
                }
                Reply::Early => stream.write_all(
                    b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                      HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                ),
                Reply::Stall | Reply::Refuse(..) => Ok(()),
                Reply::Close => stream.shutdown(Shutdown::Both),
                Reply::Garbage => {
                    let _ = stream.write_all(b"\x16\x03 what?\r\n\r\n");
                    stream.shutdown(Shutdown::Write)
                }
            };
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut headers = Vec::new();
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /hooks?t=token HTTP/1.1"), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let request = Received {
        at: Instant::now(),
        headers,
        body: String::new(),
    };
    let length = request.header("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        body: String::from_utf8(body).ok()?,
        ..request
    })
}
