//! Publishes with an idempotency key, on one node: what counts as a repeat, what a repeat gets, and what is refused.

use std::time::Duration;

use serde_json::{Value, json};

use super::{EVENTS, assert_is, assert_refused};
use crate::harness::{APP, Config, Http, OTHER_APP, PATIENCE, Response, Server, Ws, eventually};

const BATCH: &str = "/apps/app-id/batch_events";

fn with_key(data: &str, key: &str) -> Value {
    json!({"name": "e", "channel": "x", "data": data, "idempotency_key": key})
}

fn post(server: &Server, body: &Value) -> Response {
    server.post(EVENTS, &body.to_string())
}

fn post_batch(server: &Server, batch: &[Value]) -> Response {
    server.post(BATCH, &json!({ "batch": batch }).to_string())
}

/// Posts with a header.
fn post_covered(server: &Server, target: &str, header: (&str, &str), body: &Value) -> Response {
    let body = body.to_string();
    let target = APP.target("POST", target, &body);
    Http::connect(server.public).request("POST", &target, &[header], &body)
}

fn is_replayed(response: &Response) -> bool {
    assert_eq!(response.status(), 200, "{response:?}");
    response.head.header("idempotent-replayed") == Some("true")
}

fn assert_conflict(response: &Response, beginning: &str) {
    assert_refused(response, 409, beginning);
    assert!(response.body.contains("another content"), "{response:?}");
}

/// The data of the next event.
fn next(ws: &mut Ws) -> String {
    let event: Value = serde_json::from_str(&ws.text()).unwrap();
    event["data"].as_str().unwrap().to_owned()
}

#[test]
fn a_repeat_gets_the_first_answer_and_delivers_nothing() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::subscribed(&server, "x");
    let body = with_key("1", "k");
    let first = post(&server, &body);
    assert!(!is_replayed(&first));
    assert_is(&first, 200, "{}");
    for _ in 0..3 {
        let repeat = post(&server, &body);
        assert!(is_replayed(&repeat));
        assert_is(&repeat, 200, "{}");
    }
    assert!(!is_replayed(&post(&server, &with_key("2", "other"))));
    assert_eq!(
        (next(&mut ws), next(&mut ws)),
        ("1".to_owned(), "2".to_owned())
    );
    ws.silent();
    assert_eq!(
        server.labelled("publishes_replayed_total", &[("app", "app-id")]),
        3
    );
    assert_eq!(
        server.labelled("events_published_total", &[("app", "app-id")]),
        2
    );
    assert_eq!(server.metric("idempotency_keys"), 2);
}

#[test]
fn the_content_is_the_name_the_set_of_channels_the_data_and_the_socket_id() {
    let server = Server::start(&Config::new());
    let first = json!({"name": "e", "channels": ["a", "b"], "data": "1", "socket_id": "1.2",
        "idempotency_key": "k", "info": "subscription_count"});
    let answer = post(&server, &first);
    assert!(!is_replayed(&answer));
    // Neither the order of the keys nor that of the channels, nor doubles, nor what the answer is to tell.
    let same = r#"{"idempotency_key":"k","socket_id":"1.2","data":"1","channels":["b","a","b"],"name":"e"}"#;
    let repeat = server.post(EVENTS, same);
    assert!(is_replayed(&repeat));
    assert_eq!(repeat.body, answer.body);
    for (key, other) in [
        ("name", json!("f")),
        ("channels", json!(["a"])),
        ("channels", json!(["a", "b", "c"])),
        ("data", json!("2")),
        ("socket_id", json!("1.3")),
        ("socket_id", Value::Null),
    ] {
        let mut changed = first.clone();
        changed[key] = other;
        assert_conflict(&post(&server, &changed), "The idempotency key");
    }
    assert!(
        is_replayed(&post(&server, &first)),
        "what was refused changed nothing"
    );
    let refused = server.labelled(
        "http_refused_total",
        &[("reason", "idempotency_key_reused")],
    );
    assert_eq!(refused, 6);
}

#[test]
fn a_repeat_tells_the_counts_of_the_first() {
    let server = Server::start(&Config::new());
    let _one = Ws::subscribed(&server, "x");
    let mut body = with_key("1", "k");
    body["info"] = json!("subscription_count,user_count");
    let expected = r#"{"channels":{"x":{"subscription_count":1}}}"#;
    assert_is(&post(&server, &body), 200, expected);
    let _two = Ws::subscribed(&server, "x");
    assert_is(&post(&server, &body), 200, expected);
    assert_is(&post(&server, &with_key("1", "k")), 200, expected);
    // And where the first did not ask, a repeat is not told.
    assert_is(&post(&server, &with_key("1", "silent")), 200, "{}");
    body["idempotency_key"] = json!("silent");
    assert_is(&post(&server, &body), 200, "{}");
}

#[test]
fn headers_cover_the_request_and_the_body_wins() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::subscribed(&server, "x");
    let body = json!({"name": "e", "channel": "x", "data": "1"});
    for header in ["Idempotency-Key", "X-Idempotency-Key", "idempotency-key"] {
        let sent = post_covered(&server, EVENTS, (header, header), &body);
        assert!(!is_replayed(&sent));
        assert!(is_replayed(&post_covered(
            &server,
            EVENTS,
            (header, header),
            &body
        )));
        assert_eq!(next(&mut ws), "1");
    }
    // One key, wherever it stands.
    assert!(is_replayed(&post(
        &server,
        &with_key("1", "Idempotency-Key")
    )));
    // The body's key is new, whatever the header says; the header's is not used.
    let sent = post_covered(
        &server,
        EVENTS,
        ("Idempotency-Key", "h"),
        &with_key("2", "b"),
    );
    assert!(!is_replayed(&sent));
    assert!(!is_replayed(&post(&server, &with_key("3", "h"))));
    assert_eq!(
        (next(&mut ws), next(&mut ws)),
        ("2".to_owned(), "3".to_owned())
    );

    let batch = json!({"batch": [
        {"name": "e", "channel": "x", "data": "4"},
        {"name": "e", "channel": "x", "data": "4"},
        {"name": "e", "channel": "x", "data": "own", "idempotency_key": "own"},
    ]});
    let key = ("Idempotency-Key", "batch");
    assert!(!is_replayed(&post_covered(&server, BATCH, key, &batch)));
    assert!(is_replayed(&post_covered(&server, BATCH, key, &batch)));
    // Events that the header covers belong together: one less is another content.
    let less = json!({"batch": [{"name": "e", "channel": "x", "data": "4"}]});
    let refused = post_covered(&server, BATCH, key, &less);
    assert_conflict(&refused, "\"batch\", event 1 (index 0): ");
    assert_eq!([(); 3].map(|()| next(&mut ws)), ["4", "4", "own"]);
    ws.silent();
}

#[test]
fn a_batch_leaves_out_repeats_and_one_conflict_refuses_all() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::subscribed(&server, "x");
    assert!(!is_replayed(&post(&server, &with_key("1", "a"))));
    let batch = [
        with_key("1", "a"),
        with_key("2", "b"),
        json!({"name": "e", "channel": "x", "data": "3"}),
    ];
    assert!(!is_replayed(&post_batch(&server, &batch)));
    assert_eq!([(); 3].map(|()| next(&mut ws)), ["1", "2", "3"]);
    assert!(is_replayed(&post_batch(&server, &batch[..2])));
    // The second of two in one batch is a repeat of the first.
    assert!(!is_replayed(&post_batch(
        &server,
        &[with_key("4", "c"), with_key("4", "c")]
    )));
    assert_eq!(next(&mut ws), "4");

    let conflict = [
        with_key("5", "d"),
        with_key("other", "a"),
        with_key("6", "e"),
    ];
    assert_conflict(
        &post_batch(&server, &conflict),
        "\"batch\", event 2 (index 1): ",
    );
    let among_themselves = [with_key("5", "d"), with_key("7", "d")];
    assert_conflict(
        &post_batch(&server, &among_themselves),
        "\"batch\", event 2 (index 1): ",
    );
    ws.silent();
    // What was refused is forgotten, the keys beside it too.
    assert!(!is_replayed(&post_batch(
        &server,
        &[with_key("8", "d"), with_key("9", "e")]
    )));
    assert_eq!([(); 2].map(|()| next(&mut ws)), ["8", "9"]);

    let told = |data: &str, key: &str| {
        let mut body = with_key(data, key);
        body["info"] = json!("subscription_count");
        body
    };
    let expected = r#"{"batch":[{},{"subscription_count":1}]}"#;
    let batch = [with_key("1", "a"), told("10", "f")];
    assert_is(&post_batch(&server, &batch), 200, expected);
    assert_is(&post_batch(&server, &batch), 200, expected);
}

#[test]
fn keys_that_are_none_are_refused_and_say_the_rule() {
    let server = Server::start(&Config::new());
    let longest = "k".repeat(128);
    assert!(!is_replayed(&post(&server, &with_key("1", &longest))));
    for key in ["", "a b", "ä", "\u{7f}", &"k".repeat(129)] {
        assert_refused(
            &post(&server, &with_key("1", key)),
            400,
            "idempotency_key is no idempotency key: it has 1 to 128",
        );
    }
    let not_text = json!({"name": "e", "channel": "x", "data": "1", "idempotency_key": 7});
    assert_refused(
        &post(&server, &not_text),
        400,
        "Expected idempotency_key parameter to be a string",
    );
    let body = json!({"name": "e", "channel": "x", "data": "1"});
    for (target, key) in [(EVENTS, ""), (EVENTS, "a b"), (BATCH, "\u{e4}")] {
        let refused = post_covered(&server, target, ("X-Idempotency-Key", key), &body);
        assert_refused(
            &refused,
            400,
            "The header X-Idempotency-Key is no idempotency key",
        );
    }
    let batch = post_batch(&server, &[with_key("1", "k"), with_key("2", "a b")]);
    assert_refused(&batch, 400, "");
    assert_eq!(
        server.metric("idempotency_keys"),
        1,
        "a refused request remembers nothing"
    );
    let null = json!({"name": "e", "channel": "x", "data": "1", "idempotency_key": null});
    assert!(!is_replayed(&post(&server, &null)) && !is_replayed(&post(&server, &null)));
}

#[test]
fn a_key_is_the_app_s_own_and_lives_its_time() {
    let server = Server::start(
        &Config::new()
            .app("idempotency_seconds", "1")
            .other_app(OTHER_APP),
    );
    let mut ws = Ws::subscribed(&server, "x");
    let body = with_key("1", "k");
    assert!(!is_replayed(&post(&server, &body)));
    let mut http = Http::connect(server.public);
    let others = with_key("2", "k").to_string();
    let other_app = http.signed(&OTHER_APP, "POST", "/apps/other-id/events", &others);
    assert!(!is_replayed(&other_app));
    std::thread::sleep(Duration::from_millis(1100));
    // With another content even.
    assert!(!is_replayed(&post(&server, &with_key("3", "k"))));
    assert_eq!(
        (next(&mut ws), next(&mut ws)),
        ("1".to_owned(), "3".to_owned())
    );
    eventually(PATIENCE, "the keys of the app are forgotten", || {
        (server.metric("idempotency_keys") == 1).then_some(())
    });
}

/// Whichever worker gets them.
#[test]
fn of_many_at_once_one_is_the_first() {
    const CONNECTIONS: usize = 20;
    let server = Server::start(&Config::new().server("workers", "4"));
    let mut ws = Ws::subscribed(&server, "x");
    for round in 0..20 {
        let data = round.to_string();
        let body = json!({"name": "e", "channels": ["y", "x", "z"], "data": data, "idempotency_key": data});
        let send = |_| {
            let mut http = Http::connect(server.public);
            http.send_signed(&APP, "POST", EVENTS, &body.to_string());
            http
        };
        let mut sent: Vec<Http> = (0..CONNECTIONS).map(send).collect();
        let firsts = sent
            .iter_mut()
            .filter_map(|http| (!is_replayed(&http.read())).then_some(()));
        assert_eq!(firsts.count(), 1);
        assert_eq!(next(&mut ws), data);
    }
    ws.silent();
}
