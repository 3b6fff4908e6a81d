//! What the pages ask: channels, connections, publishing, signatures, charts.

use serde_json::{Value, json};

use super::{get, post};
use crate::harness::{APP, Config, OTHER_APP, PATIENCE, Server, Ws, event_body, eventually, now};

const APPS: &str = "/console/api/apps/app-id";

fn ask(server: &Server, path: &str) -> Value {
    let answer = get(server, path, &[]);
    assert_eq!(answer.status(), 200, "{path}: {answer:?}");
    answer.json()
}

#[test]
fn the_session_tells_the_apps_and_no_secret() {
    let server = Server::start(&Config::new().app("name", "\"Shop\"").other_app(OTHER_APP));
    let session = ask(&server, "/console/api/session");
    let node = session["node"].as_str().unwrap().to_owned();
    assert!(
        node.ends_with(&format!(":{}", server.public.port())),
        "{node}"
    );
    assert_eq!(
        session,
        json!({
            "access": "loopback", "version": env!("CARGO_PKG_VERSION"), "node": node, "clustered": false,
            "apps": [
                {"id": "app-id", "key": "app-key", "name": "Shop", "enabled": true},
                {"id": "other-id", "key": "other-key", "name": null, "enabled": true},
            ],
        })
    );
}

#[test]
fn channels_of_every_kind_with_members_and_last_events() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    for channel in ["x", "private-x", "private-encrypted-x", "private-cache-x"] {
        ws.subscribe(channel, None);
    }
    assert_eq!(ws.told("pusher:cache_miss"), json!({}));
    ws.subscribe(
        "presence-x",
        Some(r#"{"user_id":7,"user_info":{"name":"Ada <b>"}}"#),
    );
    let mut other = Ws::connect(&server);
    other.subscribe("presence-x", Some(r#"{"user_id":"8"}"#));
    server.trigger("private-cache-x", "e", r#"{"n":1}"#);

    let row = |name: &str, kind: &str, cache: bool, subscriptions: u64, members: Value| json!({"name": name, "kind": kind, "cache": cache, "subscriptions": subscriptions, "members": members});
    let all = [
        row("presence-x", "presence", false, 2, json!(2)),
        row("private-cache-x", "private", true, 1, Value::Null),
        row("private-encrypted-x", "encrypted", false, 1, Value::Null),
        row("private-x", "private", false, 1, Value::Null),
        row("x", "public", false, 1, Value::Null),
    ];
    let list = |query: &str| ask(&server, &format!("{APPS}/channels{query}"));
    assert_eq!(list(""), json!({"channels": all, "total": 5}));
    assert_eq!(
        list("?prefix=private-&limit=2"),
        json!({"channels": all[1..3], "total": 3})
    );
    assert_eq!(list("?limit=0"), json!({"channels": [], "total": 5}));

    let one = |name: &str| ask(&server, &format!("{APPS}/channels/{name}"));
    let mut presence = one("presence-x");
    assert_eq!(
        presence["members"].take(),
        json!([
            {"user_id": "7", "user_info": {"name": "Ada <b>"}}, {"user_id": "8", "user_info": null},
        ])
    );
    assert_eq!(presence["policy"].take()["kind"], "presence");
    assert_eq!(
        presence,
        json!({
            "name": "presence-x", "kind": "presence", "cache": false, "subscriptions": 2, "members": null,
            "last_event": null, "history": null, "policy": null,
        })
    );
    let cached = one("private-cache-x");
    assert_eq!(
        cached["last_event"],
        json!({"event": "e", "data": "{\"n\":1}"})
    );
    assert_eq!(one("nobody%2Chere")["subscriptions"], 0);

    for (path, status) in [
        ("/console/api/apps/nobody/channels".to_owned(), 404),
        (format!("{APPS}/channels/a%20b"), 400),
        (format!("{APPS}/channels?limit=x"), 400),
        ("/console/api/apps".to_owned(), 404),
    ] {
        let answer = get(&server, &path, &[]);
        assert_eq!(answer.status(), status, "{path}");
        assert!(answer.json()["error"].is_string(), "{answer:?}");
    }
}

#[test]
fn connections_are_listed_found_and_closed() {
    let server = Server::start(&Config::new());
    let target = "/app/app-key?protocol=6&client=js&version=8.4.0";
    let mut first = Ws::open(&server, target, &[("Origin", "https://shop.example")]);
    first.established();
    first.sign_in(r#"{"id":"ada"}"#);
    assert!(first.text().contains("signin_success"));
    first.subscribe("b", None);
    first.subscribe("a", None);
    let mut many: Vec<Ws> = (0..7).map(|_| Ws::connect(&server)).collect();
    for n in 0..60 {
        many[0].subscribe(&format!("c-{n:02}"), None);
    }
    let list = |query: &str| ask(&server, &format!("{APPS}/connections{query}"));
    let all = list("");
    assert_eq!(
        (
            all["total"].as_u64(),
            all["connections"].as_array().map(Vec::len)
        ),
        (Some(8), Some(8))
    );
    let some = list("?limit=3");
    assert_eq!(
        (
            some["total"].as_u64(),
            some["connections"].as_array().map(Vec::len)
        ),
        (Some(8), Some(3))
    );

    let mut ada = list("?find=ada");
    assert_eq!(ada["total"], 1);
    let mut ada = ada["connections"][0].take();
    assert!(
        ada["age_seconds"]
            .take()
            .as_u64()
            .is_some_and(|age| age < 60),
        "{ada}"
    );
    assert_eq!(
        ada,
        json!({
            "socket_id": first.socket_id(), "user_id": "ada", "address": "127.0.0.1",
            "origin": "https://shop.example", "protocol": 6, "client": "js 8.4.0",
            "transport": "websocket", "subscriptions": ["a", "b"], "subscription_count": 2, "outbox_bytes": 0, "age_seconds": null,
        })
    );
    let of_many = list(&format!("?find={}", many[0].socket_id()));
    let of_many = &of_many["connections"][0];
    assert_eq!(of_many["subscription_count"], 60);
    let named = of_many["subscriptions"].as_array().unwrap();
    assert_eq!(named.len(), 50);
    assert_eq!(list("?find=127.0.0.1")["total"], 8);
    assert_eq!(list("?find=nobody"), json!({"connections": [], "total": 0}));
}

#[test]
fn a_connection_is_closed_so_that_it_comes_back() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    let mut other = Ws::connect(&server);
    let close = |app: &str, id: &str| {
        let path = format!("/console/api/apps/{app}/connections/{id}/close");
        post(&server, &path, &json!({}), &[]).status()
    };
    assert_eq!(close("app-id", "1.2"), 404);
    assert_eq!(close("app-id", "x"), 400);
    assert_eq!(close("app-id", ws.socket_id()), 204);
    let (code, text) = ws.closed();
    assert_eq!(
        (code, text.as_str()),
        (4200, "Closed by an operator, reconnect immediately")
    );
    server.await_count("connections", 1);
    other.silent();
}

#[test]
fn another_app_s_connections_are_not_within_reach() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let mut ws = Ws::connect(&server);
    assert_eq!(
        ask(&server, "/console/api/apps/other-id/connections")["total"],
        0
    );
    let path = format!(
        "/console/api/apps/other-id/connections/{}/close",
        ws.socket_id()
    );
    assert_eq!(post(&server, &path, &json!({}), &[]).status(), 404);
    ws.silent();
}

#[test]
fn an_event_is_published_as_the_api_would() {
    let config = Config::new()
        .limit("event_bytes", "100")
        .limit("events_per_second", "5");
    let server = Server::start(&config);
    let mut subscribers = [Ws::subscribed(&server, "x"), Ws::subscribed(&server, "x")];
    let publish = |channel: &str, event: &str, data: &str| {
        let body = json!({"channel": channel, "event": event, "data": data});
        let answer = post(&server, &format!("{APPS}/events"), &body, &[]);
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.json()
    };
    let data = r#"{"html":"<b>\u0007"}"#;
    assert_eq!(
        publish("x", "e", data),
        json!({"status": 200, "body": "{}", "subscriptions": 2})
    );
    for subscriber in &mut subscribers {
        let frame = subscriber.json();
        assert_eq!(
            (&frame["event"], &frame["data"]),
            (&json!("e"), &json!(data))
        );
    }
    assert_eq!(publish("nobody", "e", "1")["subscriptions"], 0);

    // The same errors, with their statuses and texts.
    let long = "x".repeat(101);
    for (channel, event, data) in [
        ("a b", "e", "1"),
        ("x", "pusher:e", "1"),
        ("x", "", "1"),
        ("", "e", "1"),
        ("x", "e", &long),
        ("presence-#", "e", "1"),
    ] {
        let api = server.post("/apps/app-id/events", &event_body(channel, event, data));
        let told = publish(channel, event, data);
        assert!(api.status() >= 400, "{api:?}");
        let expected =
            json!({"status": api.status(), "body": api.body.trim_end(), "subscriptions": null});
        assert_eq!(told, expected);
    }
    // What the app may publish in a second counts here too.
    let refused = eventually(PATIENCE, "the limit is reached", || {
        let answer = publish("nobody", "e", "1");
        (answer["status"] != 200).then_some(answer)
    });
    assert_eq!(refused["status"], 429, "{refused}");
    let broken = post(
        &server,
        &format!("{APPS}/events"),
        &json!({"channel": "x"}),
        &[],
    );
    assert_eq!(broken.status(), 400, "{broken:?}");
}

/// What the helper says of a request: whether all is well, and the parts that are not.
fn explain(server: &Server, request: &Value) -> (Value, Vec<String>) {
    let answer = post(server, "/console/api/signature", request, &[]);
    assert_eq!(answer.status(), 200, "{answer:?}");
    let answer = answer.json();
    let steps = answer["steps"].as_array().unwrap();
    let wrong = steps.iter().filter(|step| step["ok"] == false);
    let wrong: Vec<String> = wrong
        .map(|step| step["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(answer["ok"], wrong.is_empty());
    (answer, wrong)
}

fn help(answer: &Value, name: &str) -> String {
    let steps = answer["steps"].as_array().unwrap().iter();
    let mut steps = steps.filter(|step| step["name"] == name);
    steps.next().expect("the step")["help"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_signature_is_taken_apart() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let body = event_body("x", "e", "1");
    let url = APP.target("POST", "/apps/app-id/events", &body);
    let asked = |url: &str, body: &str| json!({"method": "post", "url": url, "body": body});
    for url in [url.clone(), format!("https://shop.example:6001{url}")] {
        let (answer, wrong) = explain(&server, &asked(&url, &body));
        assert_eq!(wrong, [""; 0], "{answer}");
        let text = answer["string_to_sign"].as_str().unwrap();
        assert!(
            text.starts_with("POST\n/apps/app-id/events\nauth_key=app-key&"),
            "{text}"
        );
        let names: Vec<_> = answer["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["name"].clone())
            .collect();
        assert_eq!(
            names,
            [
                "path",
                "app",
                "auth_key",
                "auth_version",
                "auth_timestamp",
                "body_md5",
                "auth_signature"
            ]
        );
    }
    // It is what the server itself says of the same request.
    assert_eq!(server.post("/apps/app-id/events", &body).status(), 200);

    let (answer, wrong) = explain(&server, &asked(&url, &format!("{body} ")));
    assert_eq!(wrong, ["body_md5"]);
    assert!(help(&answer, "body_md5").contains("line break"), "{answer}");

    let forged = format!("{}0", &url[..url.len() - 1]);
    let (answer, wrong) = explain(&server, &asked(&forged, &body));
    // One in sixteen ends so by itself.
    if forged != url {
        assert_eq!(wrong, ["auth_signature"]);
        let step = answer["steps"].as_array().unwrap().last().unwrap();
        assert_eq!(step["expected"], Value::Null);
        let right = url.rsplit('=').next().unwrap();
        assert!(
            !answer.to_string().contains(right),
            "the right one is not told"
        );
    }

    let (answer, wrong) = explain(
        &server,
        &json!({"app": "other-id", "method": "POST", "url": url, "body": body}),
    );
    assert_eq!(wrong, ["app", "auth_key", "auth_signature"], "{answer}");
}

/// A request for the app with these parameters, signed by somebody for some method.
fn signed(method: &str, params: &[(&str, &str)], by: &str) -> String {
    let params: Vec<(String, String)> = params
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let text = tidewire::auth::request_string(method, "/apps/app-id/channels", &params);
    let signature = tidewire::auth::Secret::new(by).sign(text.as_bytes());
    let query = crate::harness::raw_query(&params);
    format!("/apps/app-id/channels?{query}&auth_signature={signature}")
}

/// Requests, the part of each that is wrong, and what is said of it.
fn mistakes() -> Vec<(String, &'static str, &'static str)> {
    let (time, late) = (now().to_string(), (now() - 3600).to_string());
    let good: [(&str, &str); 3] = [
        ("auth_key", "app-key"),
        ("auth_timestamp", &time),
        ("auth_version", "1.0"),
    ];
    let get = |at: usize, value| {
        let mut params = good;
        params[at].1 = value;
        signed("GET", &params, APP.secret)
    };
    let by = |secret| signed("GET", &good, secret);
    let url = by(APP.secret);
    let target = url.rsplit_once('=').unwrap().0.to_owned();
    let base64 = format!("{target}=q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k");
    let elsewhere = |from, to| by(APP.secret).replace(from, to);
    vec![
        (
            get(0, "other-key"),
            "auth_key",
            "the key of the app other-id",
        ),
        (get(0, "app-id"), "auth_key", "the app's id"),
        (get(0, APP.secret), "auth_key", "the app's secret"),
        (signed("GET", &good[1..], APP.secret), "auth_key", "missing"),
        (get(1, &late), "auth_timestamp", "behind"),
        (get(1, "soon"), "auth_timestamp", "unix time"),
        (get(2, "2.0"), "auth_version", "1.0"),
        (
            signed("POST", &good, APP.secret),
            "auth_signature",
            "for the method POST",
        ),
        (by("app-key"), "auth_signature", "with the app's key"),
        (
            by(OTHER_APP.secret),
            "auth_signature",
            "secret of the app other-id",
        ),
        (by("unknown"), "auth_signature", "not of the text below"),
        (base64, "auth_signature", "64 hex digits"),
        (target, "auth_signature", "missing"),
        (elsewhere("/channels", "/chanels"), "path", "no such path"),
        (elsewhere("app-id", "app-di"), "app", "No app"),
    ]
}

#[test]
fn the_usual_mistakes_are_named() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    for (url, part, said) in mistakes() {
        let (answer, wrong) = explain(&server, &json!({"method": "GET", "url": url}));
        assert!(wrong.iter().any(|name| name == part), "{url}: {answer}");
        let help = help(&answer, part);
        assert!(help.contains(said), "{url}: {help}");
        assert!(
            !answer["steps"].to_string().contains(APP.secret),
            "{answer}"
        );
    }
    let time = now().to_string();
    let good = [
        ("auth_key", "app-key"),
        ("auth_timestamp", &time),
        ("auth_version", "1.0"),
    ];
    let url = signed("GET", &good, APP.secret);
    let (answer, wrong) = explain(&server, &json!({"method": "GET", "url": url}));
    assert_eq!(wrong, [""; 0], "{answer}");
}

#[test]
fn the_charts_numbers_are_of_what_happens() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::subscribed(&server, "x");
    let empty = ask(&server, "/console/api/series");
    assert_eq!(empty["step_seconds"], 5);
    server.trigger("x", "e", "1");
    ws.text();
    let point = eventually(PATIENCE, "a point with a delivery", || {
        let series = ask(&server, "/console/api/series");
        let points = series["points"].as_array().unwrap().clone();
        points
            .into_iter()
            .find(|point| point["deliveries"].as_f64().unwrap() > 0.0)
    });
    let number = |name: &str| point[name].as_f64().unwrap();
    assert_eq!(number("connections"), 1.0, "{point}");
    assert!(
        (0.1..0.5).contains(&number("deliveries")),
        "one in five seconds: {point}"
    );
    assert!(number("messages_out") >= number("deliveries"), "{point}");
    assert!(number("p99_ms") > 0.0, "{point}");
    let age = now() * 1000 - point["t"].as_i64().unwrap();
    assert!(age.abs() < 60_000, "{point}");
}
