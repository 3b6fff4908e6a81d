//! The HTTP API: exact success bodies, and what each endpoint refuses (protocol §4.1, §4.3–§4.8).

mod authentication;
mod connections;
mod idempotency;

use crate::harness::{APP, Config, Http, OTHER_APP, Response, Server, Wire, Ws, event_body};

const EVENTS: &str = "/apps/app-id/events";

/// A publish to a channel where nobody is.
fn body() -> String {
    event_body("x", "e", "1")
}

fn assert_is(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status(), response.body.as_str()), (status, body));
}

/// A refusal: plain text that ends in a newline and begins with what is known of it.
fn assert_refused(response: &Response, status: u16, beginning: &str) {
    assert_eq!(response.status(), status, "{response:?}");
    assert!(response.body.starts_with(beginning), "{response:?}");
    assert!(response.body.ends_with('\n'), "{response:?}");
    let content_type = response.head.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/plain"), "{response:?}");
}

#[test]
fn success_bodies_are_exact() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    let get = |target: &str| server.get(&format!("/apps/app-id{target}"));
    let post = |target: &str, body: &str| server.post(&format!("/apps/app-id{target}"), body);

    // While nothing is occupied: objects and lists, never 404.
    assert_is(&get("/channels"), 200, r#"{"channels":{}}"#);
    assert_is(&get("/channels/x"), 200, r#"{"occupied":false}"#);
    assert_is(
        &get("/channels/presence-x?info=user_count,subscription_count"),
        200,
        r#"{"occupied":false,"user_count":0,"subscription_count":0}"#,
    );
    assert_is(
        &get("/channels/cache-x?info=cache"),
        200,
        r#"{"occupied":false,"cache":null}"#,
    );
    assert_is(&get("/channels/presence-x/users"), 200, r#"{"users":[]}"#);

    ws.subscribe("x", None);
    ws.subscribe("presence-x", Some(r#"{"user_id":7}"#));
    assert_is(
        &get("/channels?filter_by_prefix=presence-&info=user_count"),
        200,
        r#"{"channels":{"presence-x":{"user_count":1}}}"#,
    );
    assert_is(
        &get("/channels?filter_by_prefix=y"),
        200,
        r#"{"channels":{}}"#,
    );
    assert_is(
        &get("/channels?filter_by_prefix=x"),
        200,
        r#"{"channels":{"x":{}}}"#,
    );
    assert_eq!(
        get("/channels").json(),
        serde_json::json!({"channels": {"x": {}, "presence-x": {}}})
    );
    assert_is(&get("/channels/x"), 200, r#"{"occupied":true}"#);
    assert_is(
        &get("/channels/x?info=subscription_count"),
        200,
        r#"{"occupied":true,"subscription_count":1}"#,
    );
    assert_is(
        &get("/channels/presence-x/users"),
        200,
        r#"{"users":[{"id":"7"}]}"#,
    );

    assert_is(&post("/events", &body()), 200, "{}");
    assert_is(
        &post(
            "/batch_events",
            r#"{"batch":[{"name":"e","channel":"x","data":"1"}]}"#,
        ),
        200,
        "{}",
    );
    assert_is(&post("/users/7/terminate_connections", "{}"), 200, "{}");
    assert_is(&post("/users/7/terminate_connections", ""), 200, "{}");
}

#[test]
fn success_is_json() {
    let server = Server::start(&Config::new());
    for response in [
        server.post(EVENTS, &body()),
        server.get("/apps/app-id/channels"),
    ] {
        assert_eq!(
            response.head.header("content-type"),
            Some("application/json")
        );
    }
}

#[test]
fn a_publish_tells_the_counts_it_is_asked_for() {
    let server = Server::start(&Config::new());
    let mut connections: Vec<Ws> = (0..3).map(|_| Ws::connect(&server)).collect();
    for ws in &mut connections {
        ws.subscribe("presence-a", Some(r#"{"user_id":"one"}"#));
    }
    connections[0].subscribe("b", None);
    let publish = |info: &str, channels: &str| {
        server.post(
            EVENTS,
            &format!(r#"{{"name":"e","channels":{channels},"data":"1","info":"{info}"}}"#),
        )
    };
    // Three connections of one user: one member, three subscriptions.
    assert_eq!(
        publish("user_count,subscription_count", r#"["presence-a","b","c"]"#).json(),
        serde_json::json!({"channels": {
            "presence-a": {"user_count": 1, "subscription_count": 3},
            "b": {"subscription_count": 1},
            "c": {"subscription_count": 0},
        }})
    );
    assert_is(
        &publish("user_count", r#"["b"]"#),
        200,
        r#"{"channels":{"b":{}}}"#,
    );
    assert_refused(&publish("nonsense", r#"["b"]"#), 400, "info should be");

    let batch = server.post(
        "/apps/app-id/batch_events",
        r#"{"batch":[{"name":"e","channel":"presence-a","data":"1","info":"user_count"},{"name":"e","channel":"b","data":"1"}]}"#,
    );
    assert_is(&batch, 200, r#"{"batch":[{"user_count":1},{}]}"#);
}

#[test]
fn a_query_says_what_is_wrong_with_it() {
    let server = Server::start(&Config::new());
    let refused = |target: &str, beginning: &str| {
        assert_refused(
            &server.get(&format!("/apps/app-id{target}")),
            400,
            beginning,
        );
    };
    let prefix = "user_count may only be requested for presence channels - please supply filter_by_prefix beginning with presence-";
    refused("/channels?info=user_count", prefix);
    refused(
        "/channels?info=user_count&filter_by_prefix=private-",
        prefix,
    );
    refused(
        "/channels?info=nonsense&filter_by_prefix=presence-",
        "info should be a comma separated list of attributes",
    );
    refused(
        "/channels/x?info=user_count",
        "Cannot retrieve the user count unless the channel is a presence channel",
    );
    refused(
        "/channels/x?info=nonsense",
        "info should be a comma separated list of attributes",
    );
    refused("/channels/a%20b", "Invalid channel name");
    refused("/channels/x/users", "");
    assert_refused(&server.get("/apps/app-id/nothing"), 404, "");
    assert_refused(&server.get("/nothing"), 404, "");
}

#[test]
fn an_event_says_what_is_wrong_with_it() {
    let server = Server::start(&Config::new());
    let refused = |status: u16, body: &str, beginning: &str| {
        assert_refused(&server.post(EVENTS, body), status, beginning);
    };
    refused(
        400,
        r#"{"name":7,"channel":"x","data":"1"}"#,
        "Expected name parameter to be a string",
    );
    refused(400, r#"{"channel":"x","data":"1"}"#, "");
    refused(400, r#"{"name":"","channel":"x","data":"1"}"#, "");
    refused(
        400,
        r#"{"name":"e","channel":"a b","data":"1"}"#,
        "Invalid channel name",
    );
    refused(
        400,
        r#"{"name":"e","channel":"","data":"1"}"#,
        "Invalid channel name",
    );
    refused(
        400,
        &event_body(&"x".repeat(201), "e", "1"),
        "Invalid channel name",
    );
    refused(400, &event_body("x", &"e".repeat(201), "1"), "");
    for name in ["pusher:e", "pusher_internal:e", "pusher-notification"] {
        refused(
            400,
            &event_body("x", name, "1"),
            "The 'pusher' namespace is reserved for internal usage",
        );
    }
    refused(400, r#"{"name":"e","channel":"x","data":{"a":1}}"#, "");
    refused(
        400,
        r#"{"name":"e","channel":"x","data":"1","socket_id":"1,2"}"#,
        "",
    );
    let many: Vec<String> = (0..101).map(|i| format!("c{i}")).collect();
    refused(
        400,
        &format!(r#"{{"name":"e","channels":{many:?},"data":"1"}}"#),
        "",
    );
    refused(
        413,
        &event_body("x", "e", &"x".repeat(10_241)),
        "The data content of this event exceeds the allowed maximum (10240 bytes). See https://pusher.com/docs/channels/server_api/http-api#publishing-events for more info",
    );
}

/// Whoever wrote a body is told which key is wrong, and where it was cut.
#[test]
fn a_body_that_cannot_be_read_names_the_key() {
    let server = Server::start(&Config::new());
    let batch = |body: &str| server.post("/apps/app-id/batch_events", body);
    let object = "The body is not a JSON object as expected";
    let told = |response: &Response, text: &str| assert_refused(response, 400, text);
    told(
        &batch(r#"{"x":1,"batch":7}"#),
        &format!("{object}: \"batch\": invalid type"),
    );
    told(
        &batch(r#"{"batch":[{"name":"e","channel":"x","data":"1"},[]]}"#),
        "\"batch\", event 2: it is not",
    );
    let channels = r#"{"name":"e","channels":["x",7],"data":"1"}"#;
    told(
        &server.post(EVENTS, channels),
        "Expected channels parameter to be an array",
    );
    for (key, body) in [
        ("name", r#"{"name":"\ud83d","channel":"x","data":"1"}"#),
        ("data", r#"{"name":"e","channel":"x","data":"a\ud83d"}"#),
        ("channel", r#"{"name":"e","channel":"\ude00","data":"1"}"#),
    ] {
        let response = server.post(EVENTS, body);
        told(
            &response,
            &format!("Expected {key} parameter to be a string"),
        );
        assert!(
            response.body.contains("cut inside a character"),
            "{response:?}"
        );
    }
    // Content-Length in characters instead of bytes, signed with the MD5 of what arrives, or of what was meant.
    let whole = event_body("x", "e", "€");
    let cut = &whole.as_bytes()[..whole.find('€').unwrap() + 2];
    for signed in [cut, whole.as_bytes()] {
        let mut params = APP.auth_params("");
        params.push(("body_md5".to_owned(), tidewire::auth::body_md5(signed)));
        let signature = APP.request_signature("POST", EVENTS, &params);
        let query = crate::harness::raw_query(&params);
        let mut wire = Wire::connect(server.public);
        let head = format!(
            "POST {EVENTS}?{query}&auth_signature={signature} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            cut.len()
        );
        wire.write(&[head.as_bytes(), cut].concat())
            .expect("the server reads");
        let response = Http::over(wire).read();
        assert!(matches!(response.status(), 400 | 401), "{response:?}");
        let told = "The body is cut inside a character: its last 2 bytes";
        assert!(response.body.contains(told), "{response:?}");
    }
}

/// At the limits it passes; they count what is meant, not its escapes.
#[test]
fn the_largest_events_pass() {
    let server = Server::start(&Config::new());
    let many: Vec<String> = (0..100).map(|i| format!("c{i}")).collect();
    assert_is(
        &server.post(EVENTS, &event_body("x", "e", &"x".repeat(10_240))),
        200,
        "{}",
    );
    assert_is(
        &server.post(EVENTS, &event_body("x", "e", &"\u{1}".repeat(10_240))),
        200,
        "{}",
    );
    assert_is(
        &server.post(EVENTS, &event_body(&"x".repeat(200), &"é".repeat(200), "1")),
        200,
        "{}",
    );
    assert_is(
        &server.post(
            EVENTS,
            &format!(r#"{{"name":"e","channels":{:?},"data":"1"}}"#, many),
        ),
        200,
        "{}",
    );
}

#[test]
fn a_batch_is_taken_as_a_whole_or_not_at_all() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    ws.subscribe("x", None);
    let event = r#"{"name":"e","channel":"x","data":"1"}"#;
    let batch = |events: &[&str]| {
        let body = format!(r#"{{"batch":[{}]}}"#, events.join(","));
        server.post("/apps/app-id/batch_events", &body)
    };
    assert_refused(&batch(&[event; 11]), 400, "Batch too large");
    assert_refused(
        &batch(&[event, r#"{"name":"pusher:e","channel":"x","data":"1"}"#]),
        400,
        "The 'pusher' namespace is reserved for internal usage",
    );
    let large = event_body("x", "e", &"x".repeat(10_241));
    assert_refused(
        &batch(&[event, &large]),
        413,
        "The data content of this event exceeds",
    );
    assert_refused(&batch(&[event, r#"{"name":"e","data":"1"}"#]), 400, "");
    assert_refused(&server.post("/apps/app-id/batch_events", "{}"), 400, "");
    ws.silent();
    assert_is(&batch(&[event; 10]), 200, "{}");
    for _ in 0..10 {
        assert_eq!(ws.text(), r#"{"event":"e","channel":"x","data":"1"}"#);
    }
    ws.silent();
}

#[test]
fn apps_do_not_see_each_other() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let mut ws = Ws::connect(&server);
    ws.subscribe("x", None);
    let mut http = Http::connect(server.public);
    let mut other = |method: &str, path: &str, body: &str| {
        http.signed(&OTHER_APP, method, &format!("/apps/other-id{path}"), body)
    };
    assert_is(&other("POST", "/events", &body()), 200, "{}");
    assert_is(&other("GET", "/channels", ""), 200, r#"{"channels":{}}"#);
    assert_is(
        &other("POST", "/users/7/terminate_connections", "{}"),
        200,
        "{}",
    );
    ws.silent();
}
