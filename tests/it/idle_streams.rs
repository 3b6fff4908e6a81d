//! Many idle streams of pusher-js over HTTP: what each costs, that an event reaches them all, and that nothing stays.

use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{
    APP, Config, Filled, Http, PATIENCE, Server, Wire, event_body, eventually, request,
    subscribe_frame,
};

const SESSIONS: usize = 5_000;

/// The most that a session may cost, its connection's share of the event loop included.
const MOST_KIB: u64 = 16;

#[test]
fn five_thousand_idle_streams_cost_little_and_leave_nothing() {
    allow_files();
    let server = Server::start(&Config::new().app("subscription_count", "false"));
    server.await_count("connections", 0);
    let descriptors = server.descriptors();
    let before = server.resident_kib();
    let mut sends = Http::connect(server.public);
    let mut streams: Vec<Stream> = (0..SESSIONS)
        .map(|number| Stream::open(&server, &mut sends, number))
        .collect();
    server.await_count("subscriptions", SESSIONS as u64);
    // What was needed to open them only has its time to go.
    let each = eventually(PATIENCE, "a session costs little", || {
        let kib = server.resident_kib().saturating_sub(before) / SESSIONS as u64;
        (kib < MOST_KIB).then_some(kib)
    });
    eprintln!("{each} KiB a session");

    let mut publisher = Http::connect(server.public);
    let body = event_body("x", "e", "news");
    let published = publisher.signed(&APP, "POST", "/apps/app-id/events", &body);
    assert_eq!(published.status(), 200);
    for stream in &mut streams {
        stream.until(r#"\"data\":\"news\""#);
    }

    drop((streams, sends, publisher));
    for name in ["connections", "channels", "subscriptions"] {
        server.await_count(name, 0);
    }
    eventually(PATIENCE, "the descriptors are closed", || {
        (server.descriptors() <= descriptors).then_some(())
    });
}

/// One stream, subscribed to `x`.
struct Stream(Wire);

impl Stream {
    fn open(server: &Server, sends: &mut Http, number: usize) -> Self {
        let session = format!("/app/{}/{}/{number:08}", APP.key, number % 1000);
        let mut stream = Self(Wire::connect(server.public));
        let target = format!("{session}/xhr_streaming?protocol=7&client=js&version=8.6.0");
        let open = request("POST", &target, &[], "");
        stream.0.write(open.as_bytes()).unwrap();
        stream.until("connection_established");
        let body = serde_json::to_string(&[subscribe_frame("", "x", None)]).unwrap();
        let target = format!("{session}/xhr_send?n={number}");
        let sent = sends.request("POST", &target, &[], &body);
        assert_eq!(sent.status(), 204, "{sent:?}");
        stream.until("subscription_succeeded");
        stream
    }

    /// Reads until there is this text, and forgets everything up to it.
    fn until(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        let wanted = text.as_bytes();
        loop {
            let unread = self.0.unread();
            let found = unread.windows(wanted.len()).position(|w| w == wanted);
            if let Some(at) = found {
                return self.0.consume(at + wanted.len());
            }
            let seen = String::from_utf8_lossy(unread).into_owned();
            assert_eq!(self.0.fill(end), Filled::More, "{text} in {seen:?}");
        }
    }
}

/// This process has the other end of each.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, wanted).expect("the hard limit of open files is allowed");
}
