//! Connections that hold a place without traffic: every state of an HTTP connection has a deadline, counted from its
//! own beginning.

use std::time::{Duration, Instant};

use super::cost::Cost;
use crate::harness::{
    APP, Config, Filled, PATIENCE, Server, TestCertificates, Wire, Ws, event_body, eventually,
    request,
};

const EVENTS: &str = "/apps/app-id/events";

/// The deadline of a head or a body, and what a loaded machine adds.
const DEADLINE: Duration = Duration::from_secs(40);

/// A connection in one state, and the statuses of the answers before it ends.
struct State {
    name: &'static str,
    wire: Wire,
    /// What the client goes on with, a byte at a time, to look alive.
    drip: Vec<u8>,
    statuses: Vec<u16>,
}

fn state(name: &'static str, mut wire: Wire, sent: &str, drip: &str, statuses: &[u16]) -> State {
    wire.write(sent.as_bytes()).expect("the server reads");
    State {
        name,
        wire,
        drip: drip.bytes().rev().collect(),
        statuses: statuses.to_vec(),
    }
}

/// Every state that a stranger, and somebody with a key, can keep a connection of the public port in.
fn public_states(connect: &dyn Fn() -> Wire) -> Vec<State> {
    let ok = request("GET", "/", &[], "");
    let half = "GET / HTTP/1.1\r\nHost: local";
    let slow = "x".repeat(1000);
    let body = event_body("x", "e", &"1".repeat(2000));
    let publish = request("POST", &APP.target("POST", EVENTS, &body), &[], &body);
    let cut = &publish[..publish.len() - 1990];
    let rest = &publish[publish.len() - 1990..];
    vec![
        state("nothing", connect(), "", "", &[]),
        state("one byte", connect(), "G", "", &[408]),
        state("half a head", connect(), half, "", &[408]),
        state("a head that drips", connect(), half, &slow, &[408]),
        state(
            "one byte behind an answer",
            connect(),
            &format!("{ok}G"),
            "",
            &[200, 408],
        ),
        state(
            "half a head behind an answer",
            connect(),
            &format!("{ok}{half}"),
            "",
            &[200, 408],
        ),
        state(
            "a second head that drips",
            connect(),
            &ok,
            half,
            &[200, 408],
        ),
        state("a body begun", connect(), cut, "", &[408]),
        state("a body that drips", connect(), cut, rest, &[408]),
        state(
            "a body begun behind an answer",
            connect(),
            &format!("{ok}{cut}"),
            "",
            &[200, 408],
        ),
    ]
}

/// Reads each to its end, while those that drip go on.
fn assert_all_end(mut states: Vec<State>) {
    let end = Instant::now() + DEADLINE;
    while !states.is_empty() {
        states.retain_mut(|state| {
            let beat = Instant::now() + Duration::from_millis(20);
            match state.wire.fill(beat) {
                Filled::Ended => {
                    let text = String::from_utf8_lossy(state.wire.unread()).into_owned();
                    let answers = text.split("HTTP/1.1 ").skip(1);
                    let statuses: Vec<u16> = answers.map(|a| a[..3].parse().unwrap()).collect();
                    assert_eq!(statuses, state.statuses, "{}: {text}", state.name);
                    return false;
                }
                Filled::More | Filled::TimedOut => {}
            }
            if let Some(byte) = state.drip.pop() {
                // Ended meanwhile: the next turn sees it.
                let _ = state.wire.write(&[byte]);
            }
            assert!(Instant::now() < end, "open: {}", state.name);
            true
        });
    }
}

#[test]
fn every_state_of_a_connection_ends() {
    let certificates = TestCertificates::new();
    certificates.sign_server("server");
    let server = Server::start(&Config::new().more(&format!(
        "\n[server.tls]\ncert = {}\nkey = {}\nplain_port = 0\n",
        certificates.quoted("server.crt"),
        certificates.quoted("server.key")
    )));
    let authority = certificates.text("ca.crt");
    let tls = || {
        Wire::connect(server.public)
            .start_tls(&authority)
            .expect("a handshake")
    };
    let plain = || Wire::connect(server.plain.expect("a second listener"));
    let admin = || Wire::connect(server.admin);
    let before = Cost::of(&server);
    let mut states = public_states(&tls);
    states.extend(public_states(&plain));
    let live = request("GET", "/live", &[], "");
    states.push(state("admin: one byte", admin(), "G", "", &[408]));
    states.push(state(
        "admin: a second head",
        admin(),
        &format!("{live}G"),
        "",
        &[200, 408],
    ));
    states.push(state(
        "TLS: nothing",
        Wire::connect(server.public),
        "",
        "",
        &[],
    ));
    states.push(state(
        "TLS: a handshake begun",
        Wire::connect(server.public),
        "\x16",
        "",
        &[],
    ));
    assert_all_end(states);
    assert!(before.cpu_since(&server) < Duration::from_secs(2));
    before.await_descriptors(&server);
    let timeouts = server.labelled("http_refused_total", &[("reason", "head_timeout")]);
    assert_eq!(timeouts, 12, "counted on both public listeners");
}

/// Not by TLS and PROXY alone: the deadline of the header of a proxy.
#[test]
fn a_proxy_s_header_has_a_deadline() {
    let server = Server::start(&Config::new().server("proxy_protocol", "true"));
    let before = Cost::of(&server);
    let connect = || Wire::connect(server.public);
    assert_all_end(vec![
        state("nothing", connect(), "", "", &[]),
        state("half", connect(), "PROXY TCP4 127.0", "", &[]),
        state("dripping", connect(), "PROXY TCP4 ", &"1".repeat(90), &[]),
    ]);
    before.await_descriptors(&server);
}

#[test]
fn a_kept_connection_without_a_request_ends() {
    /// `KEEP_ALIVE`, and what a loaded machine adds.
    const IDLE: Duration = Duration::from_secs(75 + 30);
    let server = Server::start(&Config::new());
    let mut idle: Vec<Wire> = [(server.public, "/"), (server.admin, "/live")]
        .map(|(address, path)| {
            let mut wire = Wire::connect(address);
            wire.write(request("GET", path, &[], "").as_bytes())
                .unwrap();
            wire
        })
        .into();
    let begun = Instant::now();
    for wire in &mut idle {
        while wire.fill(begun + IDLE) == Filled::More {}
        assert!(
            begun.elapsed() > Duration::from_secs(70),
            "a pool keeps them for a minute"
        );
        assert!(begun.elapsed() < IDLE);
        assert!(wire.unread().starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn connections_that_say_nothing_cost_nothing() {
    const MANY: usize = 200;
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let before = Cost::of(&server);
    let silent: Vec<Wire> = (0..MANY).map(|_| Wire::connect(server.public)).collect();
    eventually(PATIENCE, "they are accepted", || {
        // The count before may have had a connection of this test's own in it.
        (server.descriptors() + 5 >= before.descriptors + MANY).then_some(())
    });
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
    before.await_descriptors(&server);
    assert!(before.cpu_since(&server) < Duration::from_secs(1));
    assert!(before.grown_kib(&server) < 4 * 1024);
    drop(silent);
}

#[test]
fn a_head_that_is_too_long_is_refused_at_the_limit() {
    let server = Server::start(&Config::new());
    for (start, unit, status) in [
        ("GET /", "x", 414),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: ", "x", 431),
        ("GET / HTTP/1.1\r\nHost: h\r\n", "x: y\r\n", 431),
        ("", "\r\n", 431),
    ] {
        let mut wire = Wire::connect(server.public);
        let sent = [start, &unit.repeat(48 * 1024 / unit.len() + 1)].concat();
        wire.write(sent.as_bytes()).unwrap();
        assert_eq!(wire.read_head().status, status, "{start}");
    }
    let refused = server.labelled("http_refused_total", &[("reason", "head_too_large")]);
    assert_eq!(refused, 4);
}
