//! Plain WebSockets: frames of JSON without a library, the commands, and what is refused.

use serde_json::{Value, json};

use crate::harness::{Config, Events, Message, Nodes, Opcode, RedisServer, Server, Ws, hs256, now};

fn with_jwt(config: Config) -> Config {
    config
        .app("jwt.secret", "\"jwt-secret\"")
        .app("jwt.leeway_seconds", "0")
}

fn token(seconds: i64, channels: &[&str]) -> String {
    let claims = json!({"sub": "7", "exp": now() + seconds, "channels": channels});
    hs256("jwt-secret", &claims.to_string())
}

fn open(server: &Server, query: &str) -> Ws {
    Ws::open(server, &format!("/plain/app-key?{query}"), &[])
}

fn json_of(ws: &mut Ws) -> Value {
    serde_json::from_str(&ws.text()).unwrap()
}

/// Sends a message; the answer.
fn ask(ws: &mut Ws, message: &Value) -> Value {
    ws.send(&message.to_string());
    json_of(ws)
}

/// The code and the text of an error, about a channel or not.
fn error(answer: &Value, channel: Option<&str>) -> (u64, String) {
    let error = &answer["error"];
    assert_eq!(error["channel"].as_str(), channel, "{answer}");
    let message = error["message"].as_str();
    (
        error["code"].as_u64().unwrap_or_else(|| panic!("{answer}")),
        message.unwrap().to_owned(),
    )
}

#[test]
fn events_are_frames_of_json() {
    for nodes in [
        Nodes::without_redis(&Config::new()),
        Nodes::over(RedisServer::shared(), 2, &Config::new()),
    ] {
        let mut ws = open(nodes.for_connection(), "channels=a,b");
        for channel in ["a", "b"] {
            assert_eq!(json_of(&mut ws), json!({"subscribed": channel}));
        }
        for (data, expected) in [
            ("{\"id\": 7}", json!({"id": 7})),
            ("7", json!(7)),
            ("a \"text\"\r\n", json!("a \"text\"\r\n")),
            ("", json!("")),
        ] {
            nodes.for_request().trigger("a", "paid", data);
            let expected = json!({"channel": "a", "event": "paid", "data": expected});
            assert_eq!(json_of(&mut ws), expected);
        }
        assert_eq!(ask(&mut ws, &json!({"ping": 1})), json!({"pong": 1}));
        assert_eq!(
            ask(&mut ws, &json!({"unsubscribe": ["a"]})),
            json!({"unsubscribed": "a"})
        );
        assert_eq!(
            ask(&mut ws, &json!({"subscribe": ["c"]})),
            json!({"subscribed": "c"})
        );
        nodes.for_request().trigger("a", "e", "not for it");
        nodes.for_request().trigger("c", "e", "1");
        assert_eq!(json_of(&mut ws)["channel"], "c");
    }
}

#[test]
fn what_is_refused_is_told_and_the_connection_stays() {
    let config = with_jwt(Config::new()).limit("channels_per_connection", "2");
    let server = Server::start(&config);
    let mut ws = open(&server, "");
    for (message, channel, code, text) in [
        (
            json!({"subscribe": ["private-a"]}),
            Some("private-a"),
            401,
            "needs a token",
        ),
        (
            json!({"subscribe": ["a b"]}),
            Some("a b"),
            400,
            "Invalid channel name",
        ),
        (
            json!({"unsubscribe": ["x"]}),
            Some("x"),
            400,
            "No current subscription",
        ),
        (
            json!({"subscribe": ["a"], "token": "x"}),
            None,
            401,
            "The token is no JWT",
        ),
        (json!({"subscribe": "a"}), None, 400, "expected a sequence"),
        (
            json!({"subscribe": ["a"], "ping": 1}),
            None,
            400,
            "expected one of",
        ),
        (json!({"publish": "a"}), None, 400, "unknown field"),
        (json!({}), None, 400, "expected one of"),
        (json!(["ping"]), None, 400, "not a JSON object"),
    ] {
        let (got, message) = error(&ask(&mut ws, &message), channel);
        assert_eq!(got, code, "{message}");
        assert!(message.contains(text), "{message}");
    }
    ws.send("{");
    assert_eq!(error(&json_of(&mut ws), None).0, 400);
    ws.send(&json!({"subscribe": ["a", "a", "b", "c"]}).to_string());
    assert_eq!(json_of(&mut ws), json!({"subscribed": "a"}));
    let (code, text) = error(&json_of(&mut ws), Some("a"));
    assert_eq!(code, 400);
    assert!(text.contains("Existing subscription"), "{text}");
    assert_eq!(json_of(&mut ws), json!({"subscribed": "b"}));
    let (code, text) = error(&json_of(&mut ws), Some("c"));
    assert_eq!(code, 400);
    assert!(text.contains("the limit is 2"), "{text}");
    assert_eq!(ask(&mut ws, &json!({"ping": 1})), json!({"pong": 1}));
}

#[test]
fn tokens_let_in_and_end() {
    let config = with_jwt(Config::new()).app("api_tokens", "[\"an-api-token\"]");
    let server = Server::start(&config);
    let good = token(60, &["private-*", "presence-*"]);
    let mut ws = open(&server, &format!("channels=private-a&token={good}"));
    assert_eq!(json_of(&mut ws), json!({"subscribed": "private-a"}));
    assert_eq!(
        ask(&mut ws, &json!({"subscribe": ["presence-a"]})),
        json!({"subscribed": "presence-a"})
    );
    let members = server.get("/apps/app-id/channels/presence-a/users").json();
    assert_eq!(members, json!({"users": []}));
    let mut member = Ws::connect(&server);
    member.subscribe("presence-a", Some(r#"{"user_id":"8"}"#));
    assert_eq!(
        json_of(&mut ws),
        json!({"channel": "presence-a", "event": "pusher:member_added", "data": {"user_id": "8"}})
    );
    let other = hs256(
        "jwt-secret",
        &json!({"sub": "9", "exp": now() + 60}).to_string(),
    );
    let answer = ask(&mut ws, &json!({"subscribe": [], "token": other}));
    assert_eq!(error(&answer, None).0, 403);

    // A newer token of the same user keeps it alive; what that does not name ends at once.
    let newer = token(60, &["private-a"]);
    let answer = ask(&mut ws, &json!({"subscribe": ["b"], "token": newer}));
    assert_eq!(answer, json!({"subscribed": "b"}));
    let (code, text) = error(&json_of(&mut ws), Some("presence-a"));
    assert_eq!(code, 403, "{text}");

    let backend = [("Authorization", "Bearer an-api-token")];
    let target = "/plain/app-key?channels=private-a,presence-a";
    let mut trusted = Ws::open(&server, target, &backend);
    assert_eq!(json_of(&mut trusted), json!({"subscribed": "private-a"}));
    assert_eq!(json_of(&mut trusted), json!({"subscribed": "presence-a"}));

    let short = token(2, &["private-a"]);
    let mut ws = open(&server, &format!("channels=private-a&token={short}"));
    assert_eq!(json_of(&mut ws), json!({"subscribed": "private-a"}));
    assert_eq!(json_of(&mut ws)["error"]["code"], 4200);
    assert_eq!(ws.closed().0, 4200);

    let mut ws = open(&server, "channels=b");
    assert_eq!(json_of(&mut ws), json!({"subscribed": "b"}));
    let nobodys = json!({"exp": now() + 2, "channels": ["private-a"]});
    let nobodys = hs256("jwt-secret", &nobodys.to_string());
    let subscribe = json!({"subscribe": ["private-a"], "token": nobodys});
    assert_eq!(ask(&mut ws, &subscribe), json!({"subscribed": "private-a"}));
    let (code, text) = error(&json_of(&mut ws), Some("private-a"));
    assert_eq!(code, 401, "{text}");
    assert_eq!(ask(&mut ws, &json!({"ping": 1})), json!({"pong": 1}));
}

#[test]
fn a_socket_that_cannot_be_is_closed_with_a_code() {
    let config = with_jwt(Config::new()).app("allowed_origins", "[\"https://good.example\"]");
    let server = Server::start(&config);
    for (target, headers, code) in [
        ("/plain/unknown?channels=a", &[][..], 4001),
        ("/plain/?channels=a", &[][..], 4005),
        (
            "/plain/app-key?channels=a",
            &[("Origin", "https://evil.example")][..],
            4009,
        ),
        ("/plain/app-key?channels=a&token=x", &[][..], 4009),
    ] {
        let mut ws = Ws::open(&server, target, headers);
        assert_eq!(json_of(&mut ws)["error"]["code"], code, "{target}");
        assert_eq!(ws.closed().0, code, "{target}");
    }
    let twice = Ws::try_open(&server, "/plain/app-key?channels=a,a", &[]).err();
    assert_eq!(twice.expect("a refusal").status, 400);
    let mut ws = open(&server, "channels=a");
    assert_eq!(json_of(&mut ws), json!({"subscribed": "a"}));
    ws.send_frame(true, Opcode::Binary, b"x");
    assert_eq!(ws.closed().0, 1003);
    let without = Events::request(server.public, "/plain/app-key?channels=a", &[]);
    assert_eq!(without.err().expect("no upgrade").status(), 426);
}

#[test]
fn messages_have_a_rate_and_the_server_goes_with_4200() {
    let config = Config::new()
        .limit("messages_per_second", "2")
        .server("drain_seconds", "1");
    let mut server = Server::start(&config);
    let mut ws = open(&server, "channels=a");
    assert_eq!(json_of(&mut ws), json!({"subscribed": "a"}));
    for _ in 0..5 {
        ws.send(r#"{"ping":1}"#);
    }
    let answers: Vec<Value> = (0..5).map(|_| json_of(&mut ws)).collect();
    let pongs = answers
        .iter()
        .filter(|answer| **answer == json!({"pong": 1}));
    assert!(pongs.count() < 5, "{answers:?}");
    let slow = answers.iter().find(|answer| answer["error"]["code"] == 429);
    assert!(slow.is_some(), "{answers:?}");
    let connections = [("transport", "plain")];
    assert_eq!(
        server.labelled("transport_connections_opened_total", &connections),
        1
    );
    server.terminate();
    assert_eq!(json_of(&mut ws)["error"]["code"], 4200);
    assert_eq!(ws.closed().0, 4200);
}

#[test]
fn a_silent_client_is_pinged() {
    let server = Server::start(&Config::new().server("activity_timeout", "1"));
    let mut ws = open(&server, "channels=a");
    assert_eq!(json_of(&mut ws), json!({"subscribed": "a"}));
    assert!(matches!(ws.next(), Message::Ping(_)));
}
