//! Webhooks: what is told, in which order, to whom; and that it arrives, whatever the receiver does.

mod refused;
mod spool;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Config, OTHER_APP, PATIENCE, Receiver, Reply, Server, Ws, eventually};

const OK: &[Reply] = &[Reply::Status(200)];

fn config(receiver: &Receiver) -> Config {
    Config::new()
        .server("drain_seconds", "0")
        .webhooks("linger_seconds", "0")
        .webhook(&receiver.webhook(""))
}

fn occupied(channel: &str) -> Value {
    json!({"name": "channel_occupied", "channel": channel})
}

fn vacated(channel: &str) -> Value {
    json!({"name": "channel_vacated", "channel": channel})
}

/// One connection on several channels, each of which is a webhook.
fn occupy(server: &Server, channels: std::ops::Range<usize>) -> Ws {
    let mut ws = Ws::connect(server);
    for channel in channels {
        ws.subscribe(&channel.to_string(), None);
    }
    ws
}

/// Reads events until all of these channels' are there, in order; each may come twice, but never after a later one.
fn assert_in_order(receiver: &Receiver, channels: std::ops::Range<usize>) {
    let mut last: Option<usize> = None;
    while last.is_none_or(|last| last + 1 < channels.end) {
        let event = receiver.event();
        let channel: usize = event["channel"].as_str().unwrap().parse().unwrap();
        let next = last.map_or(channels.start, |last| last + 1);
        assert!(
            channel == next || Some(channel) == last,
            "{event} after {last:?}"
        );
        last = Some(channel);
    }
}

#[test]
fn every_kind_of_event_with_its_fields_in_order() {
    let receiver = Receiver::start(OK);
    let every = "events = [\"channel_occupied\", \"channel_vacated\", \"member_added\", \"member_removed\", \
                 \"client_event\", \"cache_miss\", \"subscription_count\"]";
    let server = Server::start(
        &Config::new()
            .server("drain_seconds", "0")
            .webhooks("linger_seconds", "0")
            .webhook(&receiver.webhook(every))
            .app("client_events", "true")
            .app("subscription_count", "true"),
    );
    let mut ws = Ws::connect(&server);
    ws.subscribe("presence-x", Some(r#"{"user_id":7}"#));
    let member = |name: &str| json!({"name": name, "channel": "presence-x", "user_id": "7"});
    assert_eq!(receiver.event(), occupied("presence-x"));
    assert_eq!(receiver.event(), member("member_added"));
    ws.send(r#"{"event":"client-e","channel":"presence-x","data":{"a":1}}"#);
    let mut event = receiver.event();
    assert!(event["socket_id"].take().as_str().unwrap().contains('.'));
    let expected = json!({
        "name": "client_event", "channel": "presence-x", "event": "client-e", "data": "{\"a\":1}",
        "socket_id": null, "user_id": "7",
    });
    assert_eq!(event, expected);

    ws.subscribe("cache-x", None);
    assert_eq!(receiver.event(), occupied("cache-x"));
    assert_eq!(
        receiver.event(),
        json!({"name": "cache_miss", "channel": "cache-x"})
    );
    let count =
        json!({"name": "subscription_count", "channel": "cache-x", "subscription_count": 1});
    assert_eq!(receiver.event(), count);
    drop(ws);
    let mut last = [receiver.event(), receiver.event(), receiver.event()];
    last.sort_by_key(Value::to_string);
    assert_eq!(
        last,
        [
            vacated("cache-x"),
            vacated("presence-x"),
            member("member_removed")
        ]
    );
    assert!(receiver.within(Duration::from_millis(500)).is_none());
    eventually(PATIENCE, "deliveries are counted", || {
        (server.counter("webhook_deliveries") == 9).then_some(())
    });
}

#[test]
fn a_return_within_the_linger_is_not_told() {
    let receiver = Receiver::start(OK);
    let server = Server::start(&config(&receiver).webhooks("linger_seconds", "3"));
    let mut ws = Ws::connect(&server);
    ws.subscribe("x", None);
    ws.send(r#"{"event":"pusher:unsubscribe","data":{"channel":"x"}}"#);
    ws.subscribe("x", None);
    ws.subscribe("y", None);
    assert_eq!(receiver.event(), occupied("x"));
    assert_eq!(receiver.event(), occupied("y"));
    assert!(
        receiver.within(Duration::from_secs(4)).is_none(),
        "nobody stayed away"
    );
    drop(ws);
    let mut last = [receiver.event(), receiver.event()];
    last.sort_by_key(Value::to_string);
    assert_eq!(last, [vacated("x"), vacated("y")]);
}

#[test]
fn whatever_the_receiver_does_everything_arrives_in_order() {
    let receiver = Receiver::start(&[
        Reply::Status(500),
        Reply::Garbage,
        Reply::Status(301),
        Reply::Close,
        Reply::Stall,
        Reply::Status(204),
        Reply::Close,
        Reply::Status(200),
    ]);
    let server = Server::start(&config(&receiver).webhooks("timeout_seconds", "1"));
    let ws = occupy(&server, 0..4);
    let first = receiver.next();
    for _ in 0..5 {
        let again = receiver.next();
        assert_eq!(again.body, first.body, "the same bytes in every attempt");
    }
    assert_in_order(&receiver, 1..4);
    drop(ws);
    assert!(server.counter("webhook_failures") >= 6);
}

/// RFC 9110 §15.2: what comes before the answer is not the answer.
#[test]
fn interim_answers_are_passed_over() {
    let receiver = Receiver::start(&[Reply::Early]);
    let server = Server::start(&config(&receiver));
    let ws = occupy(&server, 0..3);
    for channel in 0..3 {
        assert_eq!(receiver.event(), occupied(&channel.to_string()));
    }
    eventually(PATIENCE, "deliveries are counted", || {
        (server.counter("webhook_deliveries") == 3).then_some(())
    });
    assert_eq!(server.counter("webhook_failures"), 0);
    assert!(receiver.within(Duration::ZERO).is_none());
    drop(ws);
}

#[test]
fn a_dead_endpoint_holds_up_nobody_else() {
    let (dead, alive) = (Receiver::start(&[Reply::Stall]), Receiver::start(OK));
    let server = Server::start(&config(&dead).webhook(&alive.webhook("")));
    let ws = occupy(&server, 0..50);
    assert_in_order(&alive, 0..50);
    assert_eq!(dead.event(), occupied("0"));
    assert!(dead.within(Duration::ZERO).is_none(), "still at its first");
    drop(ws);
}

#[test]
fn filters_headers_and_other_apps() {
    let (some, all) = (Receiver::start(OK), Receiver::start(OK));
    let filter = "events = [\"channel_occupied\"]\nchannels = [\"private-*\", \"z\"]\nheaders = { X-Token = \"t\" }";
    let server = Server::start(
        &Config::new()
            .webhooks("linger_seconds", "0")
            .webhook(&some.webhook(filter))
            .webhook(&all.webhook(""))
            .other_app(OTHER_APP),
    );
    let mut other = Ws::open(&server, "/app/other-key?protocol=7", &[]);
    other.text();
    other.subscribe("z", None);
    let mut ws = Ws::connect(&server);
    for channel in ["x", "private-x", "z"] {
        ws.subscribe(channel, None);
        assert_eq!(all.event(), occupied(channel));
    }
    let first = some.next();
    assert_eq!(first.header("x-token"), Some("t"));
    assert_eq!(first.events(), [occupied("private-x")]);
    assert_eq!(some.event(), occupied("z"));
    drop((ws, other));
    for _ in 0..3 {
        assert_eq!(all.event()["name"], "channel_vacated");
    }
    assert!(some.within(Duration::from_millis(300)).is_none());
}

#[test]
fn https_is_never_spoken_in_plain() {
    let receiver = Receiver::start(OK);
    let webhook = receiver.webhook("").replace("http:", "https:");
    let config = Config::new()
        .webhooks("retry_seconds", "0")
        .webhook(&webhook);
    let server = Server::start(&config);
    let ws = occupy(&server, 0..1);
    let error = eventually(PATIENCE, "a dead letter", || {
        let letters = server.admin("/dead-letters").json();
        letters["dead_letters"][0]["error"]
            .as_str()
            .map(ToOwned::to_owned)
    });
    assert!(error.starts_with("not sent: "), "{error}");
    assert!(receiver.within(Duration::ZERO).is_none());
    drop(ws);
}

#[test]
fn a_batch_carries_several() {
    let receiver = Receiver::start(OK);
    let config = Config::new()
        .webhooks("batch_ms", "60000")
        .webhooks("batch_size", "3");
    let server = Server::start(&config.webhook(&receiver.webhook("batch = true")));
    let ws = occupy(&server, 0..6);
    for first in [0, 3] {
        let expected: Vec<Value> = (first..first + 3)
            .map(|i| occupied(&i.to_string()))
            .collect();
        assert_eq!(receiver.next().events(), expected);
    }
    drop(ws);
}

#[test]
fn a_full_queue_keeps_the_oldest() {
    let receiver = Receiver::start(&[Reply::Status(503)]);
    let server = Server::start(&config(&receiver).webhooks("queue_events", "3"));
    let ws = occupy(&server, 0..10);
    eventually(PATIENCE, "the rest is dropped", || {
        (server.counter("webhook_dropped") == 7).then_some(())
    });
    assert_eq!(server.metric("webhook_queue"), 3);
    receiver.heal();
    assert_in_order(&receiver, 0..3);
    drop(ws);
}

#[test]
fn dead_letters_are_shown_and_sent_again() {
    let receiver = Receiver::start(&[Reply::Status(500)]);
    let server = Server::start(&config(&receiver).webhooks("retry_seconds", "0"));
    let ws = occupy(&server, 0..2);
    let letters = eventually(PATIENCE, "two dead letters", || {
        let letters = server.admin("/dead-letters").json()["dead_letters"].take();
        (letters.as_array().unwrap().len() == 2).then_some(letters)
    });
    assert_eq!(letters[0]["events"], json!([occupied("0")]));
    assert_eq!(
        (&letters[0]["app"], &letters[0]["error"]),
        (&json!("app-id"), &json!("answered with status 500"))
    );
    let url = letters[0]["url"].as_str().unwrap();
    assert!(url.ends_with("/hooks"), "{url}");
    assert_eq!(server.counter("webhook_dead"), 2);
    for _ in 0..2 {
        receiver.next();
    }
    receiver.heal();
    let redeliver = |query: &str| {
        let target = format!("/dead-letters/redeliver{query}");
        let mut admin = crate::harness::Http::connect(server.admin);
        admin.request("POST", &target, &[], "").json()["redelivered"].take()
    };
    assert_eq!(redeliver(&format!("?id={}", letters[1]["id"])), 1);
    assert_eq!(receiver.event(), occupied("1"));
    assert_eq!(redeliver(""), 1);
    assert_eq!(receiver.event(), occupied("0"));
    assert_eq!(redeliver(""), 0);
    drop(ws);
}

#[test]
fn sigterm_tries_what_is_queued_and_tells_who_left() {
    let receiver = Receiver::start(&[Reply::Status(500), Reply::Status(500), Reply::Status(200)]);
    let config = config(&receiver).webhooks("linger_seconds", "60");
    let mut server = Server::start(&config.server("drain_seconds", "5"));
    let ws = occupy(&server, 0..3);
    let first = receiver.next();
    server.terminate();
    for _ in 0..2 {
        assert_eq!(receiver.next().body, first.body);
    }
    assert_in_order(&receiver, 1..3);
    drop(ws);
    let names: Vec<Value> = (0..3).map(|_| receiver.event()["name"].clone()).collect();
    assert_eq!(names, ["channel_vacated"; 3]);
    assert!(server.exit_status().success());
}

#[test]
fn a_reload_changes_who_is_told_and_keeps_what_waits() {
    let (stays, goes, comes) = (
        Receiver::start(&[Reply::Status(503)]),
        Receiver::start(OK),
        Receiver::start(OK),
    );
    let server = Server::start(&config(&stays).webhook(&goes.webhook("")));
    let mut ws = occupy(&server, 0..2);
    assert_in_order(&goes, 0..2);
    assert_eq!(stays.event(), occupied("0"));
    let changed = stays.webhook("headers = { X-Token = \"new\" }");
    let config = Config::new()
        .server("drain_seconds", "0")
        .webhooks("linger_seconds", "0");
    server.rewrite(&config.webhook(&changed).webhook(&comes.webhook("")).toml());
    eventually(PATIENCE, "the reload", || {
        (server.counter("reloads") == 1).then_some(())
    });
    stays.heal();
    ws.subscribe("2", None);
    assert_in_order(&comes, 2..3);
    assert_in_order(&stays, 0..2);
    let last = stays.next();
    assert_eq!(
        (last.header("x-token"), last.events()),
        (Some("new"), vec![occupied("2")])
    );
    assert!(goes.within(Duration::ZERO).is_none());
    drop(ws);
}
