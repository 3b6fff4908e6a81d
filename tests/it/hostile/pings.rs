//! Pings and other small commands by a client that reads none of the answers: it is owed one pong, and what else waits
//! for it is charged what it costs.

use std::time::Duration;

use super::cost::Cost;
use crate::harness::{
    Config, Message, Opcode, PATIENCE, Server, TARGET, TestCertificates, Wire, Ws, eventually,
    frame,
};

/// Six bytes each: the cheapest frame there is.
const PINGS: usize = 400_000;

const PER_WRITE: usize = 1000;

const LAST: &[u8] = b"the last one";

/// What one connection may cost, everything included.
const MOST_KIB: u64 = 4 * 1024;

#[test]
fn a_client_that_pings_and_does_not_read_is_owed_one_pong() {
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let mut attacker = Ws::connect(&server);
    let before = Cost::of(&server);
    ping(&server, &mut attacker);
    assert!(before.grown_kib(&server) < MOST_KIB);
    assert!(server.metric("outbox_bytes") < 1024);
    assert!(before.cpu_since(&server) < Duration::from_secs(20));
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));

    let mut empty = 0;
    loop {
        match attacker.next() {
            Message::Pong(payload) if payload == LAST => break,
            Message::Pong(payload) => empty += usize::from(payload.is_empty()),
            other => panic!("expected a pong, got {other:?}"),
        }
    }
    assert!(empty < PINGS / 10, "{empty} of them were answered");
    assert!(attacker.text().contains("pusher:pong"));
    attacker.silent();
}

#[test]
fn over_tls_it_is_no_other() {
    let certificates = TestCertificates::new();
    certificates.sign_server("server");
    let server = Server::start(&Config::new().more(&format!(
        "\n[server.tls]\ncert = {}\nkey = {}\n",
        certificates.quoted("server.crt"),
        certificates.quoted("server.key")
    )));
    let wire = Wire::connect(server.public);
    let wire = wire
        .start_tls(&certificates.text("ca.crt"))
        .expect("a handshake");
    let mut attacker = Ws::over(wire, TARGET, &[]).expect("an upgrade");
    attacker.established();
    let before = Cost::of(&server);
    ping(&server, &mut attacker);
    assert!(before.grown_kib(&server) < MOST_KIB);
    assert!(server.metric("outbox_bytes") < 1024);
}

/// Fills the kernel's buffers with long pongs, then writes the pings, a last one with a payload, and a command, which
/// the server has read when this returns.
fn ping(server: &Server, attacker: &mut Ws) {
    let long = frame(true, Opcode::Ping, &[b'x'; 125]).repeat(PER_WRITE);
    // Once is no proof: the kernel may still be passing on what it has.
    let mut full = 0;
    while full < 10 {
        attacker.write(&long).expect("the server reads");
        full = match server.metric("outbox_bytes") {
            0 => 0,
            _ => full + 1,
        };
    }
    let pings = frame(true, Opcode::Ping, b"").repeat(PER_WRITE);
    for _ in 0..PINGS / PER_WRITE {
        attacker.write(&pings).expect("the server reads");
    }
    attacker.send_frame(true, Opcode::Ping, LAST);
    let received = server.counter("messages_received");
    attacker.send(r#"{"event":"pusher:ping"}"#);
    eventually(3 * PATIENCE, "all of it is read", || {
        (server.counter("messages_received") > received).then_some(())
    });
}

/// `pusher:ping` is no control frame: each is answered, until the answers cost more than `outbox_bytes`.
#[test]
fn commands_whose_answers_are_not_read_end_the_connection() {
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let before = Cost::of(&server);
    let mut attacker = Ws::connect(&server);
    let commands = frame(true, Opcode::Text, br#"{"event":"pusher:ping"}"#).repeat(PER_WRITE);
    // The write fails when the server has closed it and says goodbye no longer.
    while server.counter("slow_consumers") == 0 && attacker.write(&commands).is_ok() {}
    server.await_count("connections", 1);
    assert_eq!(server.counter("slow_consumers"), 1);
    assert!(before.grown_kib(&server) < MOST_KIB);
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
    drop(attacker);
    before.await_descriptors(&server);
}
