//! The feed: what is told of what happens, to how many, and that it costs nobody anything.

use serde_json::{Value, json};

use super::Watcher;
use crate::harness::{
    APP, Config, Http, Message, OTHER_APP, Opcode, PATIENCE, Receiver, Reply, Server, TARGET, Ws,
    event_body, eventually,
};

/// An entry without what differs from run to run.
fn plain(mut entry: Value) -> Value {
    let fields = entry.as_object_mut().expect("an object");
    for name in ["n", "t", "node"] {
        assert!(fields.remove(name).is_some(), "{name} in {fields:?}");
    }
    entry
}

/// An entry of the test's app on a connection, as [`plain`] leaves it.
fn of(ws: &Ws, kind: &str, more: &Value) -> Value {
    let mut entry = json!({"kind": kind, "app": "app-id", "socket_id": ws.socket_id()});
    let fields = entry.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    entry
}

#[test]
fn a_connection_s_life_is_told() {
    let server = Server::start(&Config::new().app("client_events", "true"));
    let mut watcher = Watcher::of(&server);
    let mut ws = Ws::connect(&server);
    let first = watcher.next("connected");
    assert_eq!(first["n"], 1);
    assert!(first["node"].as_str().unwrap().contains(':'), "{first}");
    let address = json!({"address": "127.0.0.1", "transport": "websocket"});
    assert_eq!(plain(first), of(&ws, "connected", &address));

    ws.subscribe("presence-x", Some(r#"{"user_id":7}"#));
    let on = json!({"user_id": "7", "channel": "presence-x"});
    let subscribed = watcher.next("subscribed");
    assert_eq!(plain(subscribed), of(&ws, "subscribed", &on));
    ws.send(r#"{"event":"client-e","channel":"presence-x","data":{"a":"<b>"}}"#);
    let sent = json!({
        "user_id": "7", "channel": "presence-x", "event": "client-e", "data": "{\"a\":\"<b>\"}",
        "size_bytes": 11, "subscriptions": 1,
    });
    let told = watcher.next("client_event");
    assert_eq!(plain(told), of(&ws, "client_event", &sent));
    ws.unsubscribe("presence-x");
    let unsubscribed = watcher.next("unsubscribed");
    assert_eq!(plain(unsubscribed), of(&ws, "unsubscribed", &on));

    ws.subscribe("y", None);
    ws.send_frame(true, Opcode::Close, &1000_u16.to_be_bytes());
    let ended = json!({"address": "127.0.0.1", "reason": "the client closed it", "code": 1000});
    let disconnected = watcher.next("disconnected");
    assert_eq!(plain(disconnected), of(&ws, "disconnected", &ended));
    let left = json!({"channel": "y", "reason": "the connection ended"});
    let unsubscribed = watcher.next("unsubscribed");
    assert_eq!(plain(unsubscribed), of(&ws, "unsubscribed", &left));
}

#[test]
fn channels_and_members_are_told_as_webhooks_tell_them() {
    let server = Server::start(&Config::new().webhooks("linger_seconds", "0"));
    let mut watcher = Watcher::of(&server);
    let channel = |kind: &str| json!({"kind": kind, "app": "app-id", "channel": "presence-x"});
    let member = |kind: &str| {
        let mut entry = channel(kind);
        entry["user_id"] = json!("7");
        entry
    };
    let mut first = Ws::connect(&server);
    first.subscribe("presence-x", Some(r#"{"user_id":7}"#));
    assert_eq!(plain(watcher.next("occupied")), channel("occupied"));
    assert_eq!(plain(watcher.next("member_added")), member("member_added"));
    // A second connection of the same user is no second member.
    let mut second = Ws::connect(&server);
    second.subscribe("presence-x", Some(r#"{"user_id":7}"#));
    watcher.next("subscribed");
    first.close();
    second.close();
    assert_eq!(
        plain(watcher.next("member_removed")),
        member("member_removed")
    );
    assert_eq!(plain(watcher.next("vacated")), channel("vacated"));
    for kind in ["occupied", "member_added", "member_removed", "vacated"] {
        let told = watcher.seen.iter().filter(|entry| entry["kind"] == kind);
        assert_eq!(told.count(), 1, "{kind}");
    }
}

#[test]
fn what_backends_publish_is_told_with_its_reach() {
    let server = Server::start(&Config::new().limit("event_bytes", "10000"));
    let mut watcher = Watcher::of(&server);
    let subscribers = [Ws::subscribed(&server, "x"), Ws::subscribed(&server, "x")];
    let body = json!({
        "name": "e", "channels": ["x", "nobody"], "data": "{\"n\":1}",
        "socket_id": subscribers[0].socket_id(),
    });
    assert_eq!(
        server
            .post("/apps/app-id/events", &body.to_string())
            .status(),
        200
    );
    for (channel, subscriptions) in [("x", 2), ("nobody", 0)] {
        assert_eq!(
            plain(watcher.next("published")),
            json!({
                "kind": "published", "app": "app-id", "channel": channel, "event": "e", "data": "{\"n\":1}",
                "size_bytes": 7, "subscriptions": subscriptions, "socket_id": subscribers[0].socket_id(),
            })
        );
    }
    server.trigger("x", "large", &"é".repeat(4000));
    let large = watcher.next("published");
    assert_eq!(
        (&large["cut"], &large["size_bytes"]),
        (&json!(true), &json!(8000))
    );
    assert_eq!(large["data"].as_str().unwrap().len(), 4096);
}

#[test]
fn every_refusal_is_told_with_its_reason_and_without_what_was_sent() {
    let config = Config::new().app("allowed_origins", "[\"https://shop.example\"]");
    let server = Server::start(&config.other_app(OTHER_APP));
    let mut watcher = Watcher::of(&server);
    let mut refused = |what: &str| {
        let entry = watcher.until(what, |entry| entry["kind"] == "refused");
        let reason = entry["reason"].as_str().unwrap();
        assert!(reason.contains(what), "{what}: {entry}");
        assert!(!entry.to_string().contains("0123456789abcdef"), "{entry}");
        entry
    };
    let signature = "0123456789abcdef".repeat(4);

    let mut page = Ws::open(&server, TARGET, &[("Origin", "https://evil.example")]);
    page.closed();
    let entry = refused("connection refused: Origin not allowed");
    assert_eq!(
        (&entry["code"], &entry["app"]),
        (&json!(4009), &json!("app-id"))
    );
    Ws::open(&server, "/app/nobody?protocol=7", &[]).closed();
    let entry = refused("connection refused: Application does not exist");
    assert_eq!(entry.get("app"), None, "of no app, and all may see it");

    let mut ws = Ws::connect(&server);
    let subscribe = json!({"event": "pusher:subscribe", "data": {
        "channel": "private-x", "auth": format!("app-key:{signature}"),
    }});
    ws.send(&subscribe.to_string());
    let entry = refused("subscription refused: the signature");
    assert_eq!(
        (&entry["channel"], &entry["socket_id"]),
        (&json!("private-x"), &json!(ws.socket_id()))
    );
    let sign_in = json!({"event": "pusher:signin", "data": {
        "auth": format!("app-key:{signature}"), "user_data": "{\"id\":\"7\"}",
    }});
    ws.send(&sign_in.to_string());
    refused("sign-in refused: the signature");
    ws.send(r#"{"event":"client-e","channel":"private-x","data":"0123456789abcdef"}"#);
    let entry = refused("client event refused: client_events is off");
    assert_eq!(entry["channel"], "private-x");
    ws.send(r#"{"event":"pusher:nonsense","data":{}}"#);
    refused("message refused");

    let forged =
        format!("/apps/app-id/events?auth_key=app-key&auth_version=1.0&auth_signature={signature}");
    let mut http = Http::connect(server.public);
    assert_eq!(http.request("POST", &forged, &[], "{}").status(), 401);
    let entry = refused("request refused: auth_timestamp");
    assert_eq!(
        (&entry["app"], &entry["event"]),
        (&json!("app-id"), &json!("POST /apps/app-id/events"))
    );
    // Another app's refusals are its own.
    let theirs =
        Http::connect(server.public).signed(&OTHER_APP, "POST", "/apps/other-id/events", "{}");
    assert_eq!(theirs.status(), 400);
    let ours = Http::connect(server.public).signed(&APP, "POST", "/apps/app-id/events", "{}");
    assert_eq!(ours.status(), 400);
    assert_eq!(
        refused("request refused: the request is not")["app"],
        "app-id"
    );
}

#[test]
fn webhooks_are_told_attempt_by_attempt() {
    let receiver = Receiver::start(&[Reply::Status(500), Reply::Status(200)]);
    let server = Server::start(&Config::new().webhook(&receiver.webhook("")));
    let mut watcher = Watcher::of(&server);
    let _ws = Ws::subscribed(&server, "x");
    let attempts = [watcher.next("webhook"), watcher.next("webhook")];
    for (number, attempt) in attempts.into_iter().enumerate() {
        assert!(attempt["duration_ms"].is_u64(), "{attempt}");
        assert_eq!(
            (&attempt["event"], &attempt["channel"]),
            (&json!("channel_occupied"), &json!("x"))
        );
        assert_eq!(attempt["status"], [500, 200][number]);
        let reason = ["answered with status 500", "attempt 2"][number];
        assert_eq!(attempt["reason"], reason);
        let url = attempt["url"].as_str().unwrap();
        assert!(url.ends_with("/hooks") && !url.contains("token"), "{url}");
        let data = attempt["data"].as_str().unwrap();
        assert!(data.contains("channel_occupied"), "{attempt}");
        let signature = APP.sign(data);
        assert!(!attempt.to_string().contains(&signature), "{attempt}");
    }
}

#[test]
fn nothing_is_made_while_nobody_watches() {
    let server = Server::start(&Config::new());
    let act = |server: &Server| {
        let mut ws = Ws::subscribed(server, "x");
        server.trigger("x", "e", "1");
        ws.text();
        ws.send("nonsense");
        ws.text();
        ws.close();
        server.await_count("connections", 0);
    };
    act(&server);
    assert_eq!(server.counter("feed_entries"), 0);
    assert_eq!(server.metric("feed_watchers"), 0);
    let mut watcher = Watcher::of(&server);
    act(&server);
    watcher.next("disconnected");
    let made = server.counter("feed_entries");
    assert!(made >= 5, "{made}");
    assert_eq!(server.metric("feed_watchers"), 1);
    drop(watcher);
    eventually(PATIENCE, "nobody watches", || {
        (server.metric("feed_watchers") == 0).then_some(())
    });
    let made = server.counter("feed_entries");
    act(&server);
    assert_eq!(server.counter("feed_entries"), made);
    assert_eq!(server.counter("feed_skipped"), 0);
}

#[test]
fn a_flood_is_a_sample_and_reaches_its_subscribers_all_the_same() {
    const EVENTS: usize = 3000;
    let server = Server::start(&Config::new());
    let mut watcher = Watcher::of(&server);
    let mut subscriber = Ws::subscribed(&server, "x");
    watcher.next("subscribed");
    let mut http = Http::connect(server.public);
    for chunk in 0..EVENTS / 100 {
        for n in 0..100 {
            let body = event_body("x", "e", &(chunk * 100 + n).to_string());
            http.send_signed(&APP, "POST", "/apps/app-id/events", &body);
        }
        for _ in 0..100 {
            assert_eq!(http.read().status(), 200);
        }
    }
    for n in 0..EVENTS {
        let frame = subscriber.json();
        assert_eq!(frame["data"], n.to_string(), "each once, in order");
    }
    // A flood of one kind leaves room for the others.
    subscriber.send("nonsense");
    subscriber.text();
    watcher.until("the refusal after the flood", |entry| {
        entry["kind"] == "refused"
    });
    let count = |watcher: &Watcher| {
        watcher
            .seen
            .iter()
            .filter(|e| e["kind"] == "published")
            .count()
    };
    eventually(PATIENCE, "all is told or counted", || {
        watcher.within(std::time::Duration::from_millis(100));
        (count(&watcher) as u64 + watcher.skipped == EVENTS as u64).then_some(())
    });
    let told = count(&watcher);
    assert!((150..EVENTS / 2).contains(&told), "{told}");
    assert_eq!(server.counter("feed_skipped"), watcher.skipped);
    // Serials rise, so that a page can tell what it has.
    let serials: Vec<u64> = watcher
        .seen
        .iter()
        .filter_map(|e| e["n"].as_u64())
        .collect();
    assert!(serials.is_sorted_by(|a, b| a < b));
}

#[test]
fn another_app_s_flood_takes_no_room() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let mut ours = Watcher::of(&server);
    let _theirs = Watcher::with(&server, "other-id", &[]).unwrap();
    let mut http = Http::connect(server.public);
    for _ in 0..500 {
        let body = event_body("x", "e", "1");
        assert_eq!(
            http.signed(&OTHER_APP, "POST", "/apps/other-id/events", &body)
                .status(),
            200
        );
    }
    server.trigger("x", "ours", "1");
    assert_eq!(ours.next("published")["event"], "ours");
    assert_eq!(ours.skipped, 0);
    assert!(
        ours.seen.iter().all(|entry| entry["app"] == "app-id"),
        "{:?}",
        ours.seen
    );
}

#[test]
fn there_are_so_many_watchers_and_the_next_one_is_told() {
    let server = Server::start(&Config::new());
    let mut watchers: Vec<Watcher> = (0..16).map(|_| Watcher::of(&server)).collect();
    // Who is let in is told so before anything else, who is refused is not.
    let (code, text) = Watcher::of(&server).ws.closed();
    assert_eq!(code, 1013);
    assert!(text.contains("16 consoles"), "{text}");
    server.trigger("x", "e", "1");
    for watcher in &mut watchers {
        assert_eq!(watcher.ws.text(), "[]");
        watcher.next("published");
    }
    watchers.pop();
    eventually(PATIENCE, "there is room for another one", || {
        (server.metric("feed_watchers") == 15).then_some(())
    });
    let mut last = Watcher::of(&server);
    server.trigger("x", "again", "1");
    assert_eq!(last.next("published")["event"], "again");
    let mut nobody = Watcher::with(&server, "nobody", &[]).unwrap();
    let (code, text) = nobody.ws.closed();
    assert_eq!(code, 1008);
    assert!(text.contains("nobody"), "{text}");
    let no_app = Http::connect(server.admin).request("GET", "/console/api/feed", &[], "");
    assert_eq!(no_app.status(), 400);
}

#[test]
fn a_watcher_that_does_not_read_loses_entries_and_holds_nobody_up() {
    let server = Server::start(&Config::new());
    let mut slow = Watcher::of(&server);
    let mut quick = Watcher::of(&server);
    let mut subscriber = Ws::subscribed(&server, "x");
    // Each of these is six bytes in JSON, and an entry some 24 KiB.
    let data = "\u{1}".repeat(4096);
    let mut http = Http::connect(server.public);
    let mut published = 0_u64;
    eventually(PATIENCE * 3, "the slow one is behind", || {
        // In large steps, as the server waits for some 25 s for one who does not read.
        for _ in 0..150 {
            let body = event_body("x", "e", &data);
            let answer = http.signed(&APP, "POST", "/apps/app-id/events", &body);
            assert_eq!(answer.status(), 200);
            let delivered = subscriber.next();
            assert!(matches!(delivered, Message::Text(_)), "all the same");
            published += 1;
        }
        quick.until_quiet();
        // More than the buffers of its connection and the entries that wait for it.
        (server.counter("feed_entries") > 900).then_some(())
    });
    let told = |watcher: &Watcher| {
        let entries = watcher
            .seen
            .iter()
            .filter(|entry| entry["kind"] != "skipped");
        entries.count() as u64
    };
    for watcher in [&mut quick, &mut slow] {
        eventually(PATIENCE, "all is told or counted", || {
            watcher.until_quiet();
            // The subscriber's connection, its subscription, and the channel's first.
            let all = told(watcher) + watcher.skipped;
            (all == published + 3).then_some(())
        });
    }
    assert_eq!(told(&quick), server.counter("feed_entries"));
    assert!(told(&slow) < told(&quick), "the slow one lost some");
    // Not at once: this second's entries may all be made.
    eventually(PATIENCE, "the slow one goes on", || {
        server.trigger("x", "last", "1");
        slow.until_quiet();
        let mut seen = slow.seen.iter().rev();
        seen.any(|entry| entry["event"] == "last").then_some(())
    });
}
