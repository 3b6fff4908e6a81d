//! A refusal says what was wrong with a long message without sending that message back.

use std::time::Duration;

use super::cost::Cost;
use crate::harness::{Config, Message, Server, Ws};

/// Of the member data and the user data that are signed wrongly.
const SENT: usize = 60_000;

/// For all frames that answer one command.
const MOST_ANSWERED: usize = 16 * 1024;

const COMMANDS: usize = 200;

/// Sends a command and reads its answers, and those alone: the sum of their lengths.
fn answered(ws: &mut Ws, command: &serde_json::Value) -> usize {
    ws.send(&command.to_string());
    ws.send(r#"{"event":"pusher:ping"}"#);
    let mut sum = 0;
    loop {
        let text = ws.text();
        if text.contains(r#""event":"pusher:pong""#) {
            return sum;
        }
        assert!(text.contains("error"), "{text}");
        sum += text.len();
    }
}

#[test]
fn a_wrong_signature_of_much_data_is_answered_with_little() {
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let mut ws = Ws::connect(&server);
    let auth = "app-key:00";
    // Each byte is six in JSON.
    for filler in ["x", "\u{1}", "\"", "ü"] {
        let data = filler.repeat(SENT / 6);
        let subscribe = |channel: &str| {
            let data = serde_json::json!({"channel": channel, "auth": auth, "channel_data": data});
            serde_json::json!({"event": "pusher:subscribe", "data": data})
        };
        let signin = serde_json::json!({"auth": auth, "user_data": data});
        let signin = serde_json::json!({"event": "pusher:signin", "data": signin});
        for command in [subscribe("private-x"), subscribe("presence-x"), signin] {
            let bytes = answered(&mut ws, &command);
            assert!((1..MOST_ANSWERED).contains(&bytes), "{bytes} bytes");
        }
    }
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
}

#[test]
fn two_hundred_refusals_that_are_read_late_fit_into_an_outbox() {
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let before = Cost::of(&server);
    let mut ws = Ws::connect(&server);
    let data = "x".repeat(SENT);
    let data =
        serde_json::json!({"channel": "presence-x", "auth": "app-key:00", "channel_data": data});
    let command = serde_json::json!({"event": "pusher:subscribe", "data": data}).to_string();
    for _ in 0..COMMANDS {
        ws.send(&command);
    }
    ws.send(r#"{"event":"pusher:ping"}"#);
    let mut refused = 0;
    loop {
        match ws.next() {
            Message::Text(text) if text.contains("pusher:pong") => break,
            Message::Text(_) => refused += 1,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
    assert_eq!(refused, 3 * COMMANDS);
    assert!(before.cpu_since(&server) < Duration::from_secs(20));
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
    ws.close();
    server.await_count("connections", 1);
    before.await_descriptors(&server);
}
