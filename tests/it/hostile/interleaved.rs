//! Frames that are cut, mixed, sent twice and byte by byte, on many connections in turn: each is answered exactly as if
//! it had come whole and alone.

use std::collections::VecDeque;
use std::time::Duration;

use super::cost::Cost;
use super::many::upgrade;
use crate::harness::{
    Config, Message, Opcode, Server, Wire, Ws, frame, signin_frame, subscribe_frame,
};

const CONNECTIONS: usize = 40;

/// The next frame that is no answer to a ping of WebSocket.
fn next_text(ws: &mut Ws) -> String {
    loop {
        match ws.next() {
            Message::Text(text) => return text,
            Message::Pong(_) => {}
            other => panic!("expected a text frame, got {other:?}"),
        }
    }
}

fn own(connection: usize) -> String {
    format!("private-own-{connection}")
}

/// Everything a client may say, half of it twice.
fn commands(connection: usize, socket_id: &str) -> Vec<String> {
    let shared = subscribe_frame(socket_id, "private-shared", None);
    let signin = signin_frame(socket_id, &format!(r#"{{"id":"user-{connection}"}}"#));
    let unsubscribe = r#"{"event":"pusher:unsubscribe","data":{"channel":"private-shared"}}"#;
    let own = own(connection);
    vec![
        shared.clone(),
        shared.clone(),
        signin.clone(),
        signin,
        subscribe_frame(socket_id, &own, None),
        format!(r#"{{"event":"client-e","channel":"{own}","data":{{"from":{connection}}}}}"#),
        unsubscribe.to_owned(),
        unsubscribe.to_owned(),
        shared,
        r#"{"event":"pusher:ping","data":{}}"#.to_owned(),
    ]
}

/// What follows upon them, in this order and nothing else.
const ANSWERS: [&str; 8] = [
    "pusher_internal:subscription_succeeded",
    "pusher:error",
    "pusher:signin_success",
    "pusher:signin_success",
    "pusher_internal:subscription_succeeded",
    "pusher:error",
    "pusher_internal:subscription_succeeded",
    "pusher:pong",
];

/// A message in fragments of these bytes, with a ping of WebSocket behind each.
fn fragments(text: &str, size: usize) -> Vec<Vec<u8>> {
    let parts: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
    let last = parts.len() - 1;
    let fragment = |(at, part): (usize, &&[u8])| {
        let opcode = match at {
            0 => Opcode::Text,
            _ => Opcode::Continuation,
        };
        let part = frame(at == last, opcode, part);
        [part, frame(true, Opcode::Ping, b"between")].concat()
    };
    parts.iter().enumerate().map(fragment).collect()
}

#[test]
fn commands_in_fragments_of_forty_connections_are_answered_in_their_order() {
    let server = Server::start(&Config::new().app("client_events", "true"));
    let mut bystander = Ws::connect(&server);
    for connection in 0..CONNECTIONS {
        bystander.subscribe(&own(connection), None);
    }
    let before = Cost::of(&server);
    let mut connections: Vec<Ws> = (0..CONNECTIONS).map(|_| Ws::connect(&server)).collect();
    let mut waiting: Vec<VecDeque<Vec<u8>>> = connections
        .iter()
        .enumerate()
        .map(|(number, ws)| {
            let commands = commands(number, ws.socket_id());
            // Not in step with each other.
            let cut = |text: &String| fragments(text, 5 + number);
            commands.iter().flat_map(cut).collect()
        })
        .collect();
    while waiting.iter().any(|frames| !frames.is_empty()) {
        for (ws, frames) in connections.iter_mut().zip(&mut waiting) {
            if let Some(frame) = frames.pop_front() {
                ws.write(&frame).expect("the server reads");
            }
        }
    }
    for ws in &mut connections {
        for expected in ANSWERS {
            let text = next_text(ws);
            assert!(text.contains(&format!(r#""event":"{expected}""#)), "{text}");
        }
    }
    // Each event once, in any order of the connections.
    let mut from: Vec<u64> = (0..CONNECTIONS)
        .map(|_| {
            bystander.told("client-e")["from"]
                .as_u64()
                .expect("a number")
        })
        .collect();
    from.sort_unstable();
    assert_eq!(from, (0..CONNECTIONS as u64).collect::<Vec<_>>());
    bystander.silent();
    assert_eq!(server.count("users"), CONNECTIONS as u64);
    assert_eq!(server.count("subscriptions"), 3 * CONNECTIONS as u64);
    let cpu = before.cpu_since(&server);
    assert!(cpu < Duration::from_secs(15), "{cpu:?} of CPU");
    drop(connections);
    server.await_count("users", 0);
    before.await_descriptors(&server);
}

#[test]
fn a_byte_in_each_segment_is_as_good_as_a_message() {
    const MANY: usize = 20;
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let before = Cost::of(&server);
    let subscribe = frame(
        true,
        Opcode::Text,
        subscribe_frame("", "x", None).as_bytes(),
    );
    let mut wires: Vec<Wire> = (0..MANY).map(|_| Wire::connect(server.public)).collect();
    for byte in [upgrade().as_bytes(), &subscribe].concat() {
        for wire in &mut wires {
            wire.write(&[byte]).expect("the server reads");
        }
    }
    let mut connections: Vec<Ws> = wires
        .into_iter()
        .map(|wire| {
            let mut ws = Ws::upgraded(wire).expect("an upgrade");
            ws.established();
            assert!(ws.text().contains("subscription_succeeded"));
            ws
        })
        .collect();
    server.trigger("x", "e", "1");
    for ws in connections.iter_mut().chain([&mut bystander]) {
        assert!(ws.text().contains(r#""event":"e""#));
        ws.silent();
    }
    let cpu = before.cpu_since(&server);
    assert!(cpu < Duration::from_secs(10), "{cpu:?} of CPU");
    drop(connections);
    before.await_descriptors(&server);
}
