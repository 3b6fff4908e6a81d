//! Events that an endpoint cannot digest: they step aside, and others go on.

use std::time::Duration;

use serde_json::Value;

use super::{config, occupied, occupy, vacated};
use crate::config::Folder;
use crate::harness::{Config, PATIENCE, Receiver, Reply, Server, Ws, eventually};

/// As a backend whose library fails on these channels.
const CHOKES: &[Reply] = &[Reply::Refuse("private-encrypted-", 500)];

/// The next events but those of the refused channel.
fn others(receiver: &Receiver, count: usize) -> Vec<Value> {
    let mut others = Vec::new();
    while others.len() < count {
        let events = receiver.next().events();
        let is_other = |event: &Value| event["channel"] != "private-encrypted-x";
        if events.iter().all(is_other) {
            others.extend(events);
        }
    }
    others
}

#[test]
fn what_is_refused_holds_up_nothing_but_its_channel() {
    let receiver = Receiver::start(CHOKES);
    let server = Server::start(&config(&receiver));
    let mut ws = Ws::connect(&server);
    ws.subscribe("private-encrypted-x", None);
    for number in 0..3 {
        ws.subscribe(&number.to_string(), None);
    }
    let expected: Vec<Value> = (0..3).map(|n| occupied(&n.to_string())).collect();
    assert_eq!(others(&receiver, 3), expected);
    assert_eq!(server.metric("webhook_aside"), 1);
    assert!(server.counter("webhook_failures") >= 3);
    // Order is kept for the channel: what is told of it later waits behind.
    ws.unsubscribe("private-encrypted-x");
    ws.subscribe("3", None);
    assert_eq!(others(&receiver, 1), [occupied("3")]);
    eventually(PATIENCE, "it has left", || {
        (server.metric("webhook_queue") == 2).then_some(())
    });
    receiver.heal();
    let mut told = receiver.event();
    while told == occupied("private-encrypted-x") {
        told = receiver.event();
    }
    assert_eq!(told, vacated("private-encrypted-x"));
    eventually(PATIENCE, "nothing is aside", || {
        (server.metric("webhook_aside") + server.metric("webhook_queue") == 0).then_some(())
    });
    assert_eq!(server.counter("webhook_dead"), 0);
}

#[test]
fn a_batch_is_cut_down_to_what_is_refused() {
    let receiver = Receiver::start(CHOKES);
    let batch = receiver.webhook("batch = true");
    let settings = Config::new()
        .server("drain_seconds", "0")
        .webhooks("linger_seconds", "0")
        .webhooks("batch_ms", "60000")
        .webhooks("batch_size", "9");
    let server = Server::start(&settings.webhook(&batch));
    let mut ws = occupy(&server, 0..5);
    ws.subscribe("private-encrypted-x", None);
    for number in 5..8 {
        ws.subscribe(&number.to_string(), None);
    }
    let mut told = others(&receiver, 8);
    told.sort_by_key(|event| event["channel"].to_string());
    let expected: Vec<Value> = (0..8).map(|n| occupied(&n.to_string())).collect();
    assert_eq!(told, expected);
    eventually(PATIENCE, "all but one are counted", || {
        (server.metric("webhook_queue") == 1).then_some(())
    });
    receiver.heal();
    eventually(PATIENCE, "the last one is delivered", || {
        (server.metric("webhook_queue") == 0).then_some(())
    });
}

#[test]
fn what_is_refused_until_its_time_is_over_is_a_dead_letter() {
    let receiver = Receiver::start(CHOKES);
    let server = Server::start(&config(&receiver).webhooks("retry_seconds", "5"));
    let mut ws = Ws::connect(&server);
    ws.subscribe("private-encrypted-x", None);
    ws.subscribe("y", None);
    assert_eq!(others(&receiver, 1), [occupied("y")]);
    let letters = eventually(PATIENCE, "a dead letter", || {
        let letters = server.admin("/dead-letters").json()["dead_letters"].take();
        (letters.as_array().unwrap().len() == 1).then_some(letters)
    });
    assert_eq!(
        letters[0]["events"],
        serde_json::json!([occupied("private-encrypted-x")])
    );
    assert_eq!(server.metric("webhook_aside"), 0);
    drop(ws);
}

#[test]
fn what_has_stepped_aside_survives_kill_9() {
    let receiver = Receiver::start(CHOKES);
    let folder = Folder::new();
    let spool = format!("{:?}", folder.path().join("spool"));
    let config = config(&receiver).webhooks("spool", &spool);
    let server = Server::start(&config);
    let mut ws = Ws::connect(&server);
    ws.subscribe("private-encrypted-x", None);
    ws.subscribe("y", None);
    assert_eq!(others(&receiver, 1), [occupied("y")]);
    ws.unsubscribe("private-encrypted-x");
    eventually(PATIENCE, "both wait, and nothing else", || {
        let is_delivered = server.counter("webhook_deliveries") == 1;
        (is_delivered && server.metric("webhook_queue") == 2).then_some(())
    });
    server.kill();
    drop(ws);
    while receiver.within(Duration::from_millis(200)).is_some() {}
    receiver.heal();
    let server = Server::start(&config);
    assert_eq!(receiver.event(), occupied("private-encrypted-x"));
    assert_eq!(receiver.event(), vacated("private-encrypted-x"));
    drop(server);
}

#[test]
fn channels_may_be_left_out() {
    let receiver = Receiver::start(&[Reply::Status(200)]);
    let webhook = receiver.webhook("channels = [\"!private-encrypted-*\"]");
    let server = Server::start(&Config::new().webhook(&webhook));
    let mut ws = Ws::connect(&server);
    for channel in ["private-encrypted-x", "private-x", "x"] {
        ws.subscribe(channel, None);
    }
    assert_eq!(receiver.event(), occupied("private-x"));
    assert_eq!(receiver.event(), occupied("x"));
    drop(ws);
}
