//! What the Apps API refuses: keys and values, bodies that are no app, and those who are no operators.

use serde_json::{Value, json};

use super::*;

/// The field, a body, and what is said of it.
const WRONG: &str = r#"
enabeld              | {"enabeld": true}                                            | did you mean "enabled"?
enabled              | {"enabled": "yes"}                                           | expected true or false
enabled              | {"enabled": 1}                                               | expected true or false
limits.event_bytes   | {"limits": {"event_bytes": 0}}                               | from 1 to
limits.event_bytes   | {"limits": {"event_bytes": 1.5}}                             | a whole number
limits.event_bytes   | {"limits": {"event_bytes": 1e300}}                           | a whole number
limits.event_bytse   | {"limits": {"event_bytse": 1}}                               | did you mean "event_bytes"?
limits               | {"limits": []}                                               | expected a table
limits               | {"limits": [7]}                                              | expected a table
channels             | {"channels": {"match": "x"}}                                 | expected a list
channels.match       | {"channels": [{"match": "a.{user_id", "subscribe": "user"}]} | {user_id
channels.subscribe   | {"channels": [{"match": "a", "subscribe": "noone"}]}         | expected
webhooks.url         | {"webhooks": [{"url": "ftp://x"}]}                           | http
allowed_origins      | {"allowed_origins": ["not an origin/"]}                      | origin
secret               | {"secret": "***"}                                            | leave the key out
secrets              | {"secrets": ["a", "***"]}                                    | leave the key out
webhooks.headers.A   | {"webhooks": [{"url": "https://x", "headers": {"A": "***"}}]} | leave the key out
secret               | {"secret": 1}                                                | expected a text
secret               | {"secret": " x "}                                            | white space
name                 | {"name": []}                                                 | expected a text
status               | {"status": {}}                                               | unknown key
"#;

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    created(&server, &json!({"id": "7"}));
    for line in WRONG.lines().skip(1) {
        let [field, body, text] = *line.split(" | ").map(str::trim).collect::<Vec<_>>() else {
            panic!("{line}")
        };
        let body: Value = serde_json::from_str(body).unwrap();
        for (method, path) in [("POST", "/apps"), ("PATCH", "/apps/7")] {
            let answer = ask(&server, method, path, &body, &[]);
            assert_eq!(answer.status(), 422, "{method} {body}: {answer:?}");
            let error = &answer.json()["fields"][0];
            assert_eq!(error["field"], field, "{method} {body}: {answer:?}");
            let said = error["error"].as_str().unwrap();
            assert!(said.contains(text), "{method} {body}: {said}");
        }
    }
    let several = json!({"enabled": 1, "limits": {"event_bytes": 0}});
    let several = ask(&server, "POST", "/apps", &several, &[]).json();
    assert_eq!(
        several["fields"].as_array().map(Vec::len),
        Some(2),
        "{several}"
    );
    // Nothing of all that was kept.
    let store = get(&server, "/apps").json()["store"].clone();
    assert_eq!((&store["rows"], &store["broken"]), (&json!(1), &json!([])));
    let unchanged = ask(&server, "PATCH", "/apps/7", &json!({}), &[]);
    assert_eq!(tag(&get(&server, "/apps/7")), tag(&unchanged));
}

#[test]
fn ids_and_keys_are_those_of_one_app() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    created(&server, &json!({"id": "7", "key": "taken"}));
    created(&server, &json!({"id": "8", "key": "free"}));
    for (body, what) in [
        (json!({"id": "7"}), "the id"),
        (json!({"key": "taken"}), "the key"),
        (json!({"id": APP.id}), "the id"),
        (json!({"key": APP.key}), "the key"),
    ] {
        let answer = ask(&server, "POST", "/apps", &body, &[]);
        assert_eq!(answer.status(), 409, "{body}: {answer:?}");
        assert!(answer.body.contains(what), "{answer:?}");
    }
    let other_key = ask(&server, "PATCH", "/apps/8", &json!({"key": "taken"}), &[]);
    assert_eq!(other_key.status(), 409, "{other_key:?}");
    let renamed = ask(&server, "PATCH", "/apps/8", &json!({"id": "9"}), &[]);
    assert_eq!(renamed.status(), 422, "{renamed:?}");
    assert_eq!(renamed.json()["fields"][0]["field"], "id");
}

#[test]
fn bodies_that_are_no_app_cost_an_answer() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    let send = |body: &str| {
        let headers = [("Content-Type", "application/json")];
        Http::connect(server.admin).request("POST", "/apps", &headers, body)
    };
    let deep = "[".repeat(200) + &"]".repeat(200);
    for body in [
        "",
        "[]",
        "1",
        "{",
        "null",
        "\"x\"",
        "{\"name\":\"\\ud800\"}",
        &deep,
    ] {
        let answer = send(body);
        assert_eq!(answer.status(), 400, "{body}: {answer:?}");
        assert!(answer.json()["error"].is_string());
    }
    let large = json!({"name": "x".repeat(1024 * 1024)}).to_string();
    assert_eq!(send(&large).status(), 413);
    let name = json!({"name": "x\u{0}\u{1b}[2J"});
    let named = ask(&server, "POST", "/apps", &name, &[]);
    assert!([201, 422].contains(&named.status()), "{named:?}");

    // As many rules as fit are an app like any other, or refused as a whole.
    let rules: Vec<Value> = (0..10_000)
        .map(|n| json!({"match": format!("a{n}.*"), "cache": null}))
        .collect();
    let many = ask(
        &server,
        "POST",
        "/apps",
        &json!({"id": "1", "channels": rules, "subscription_count": false}),
        &[],
    );
    assert_eq!(
        many.status(),
        201,
        "{}",
        &many.body[..many.body.len().min(300)]
    );
    let mut ws = subscribed(&server, &credentials(&many.json()));
    assert_eq!(
        ask(&server, "DELETE", "/apps/1", &Value::Null, &[]).status(),
        204
    );
    assert_eq!(ws.closed().0, 4001);
    for path in [
        "/apps/",
        "/apps/%00",
        "/apps/..%2f",
        "/apps/a/b",
        "/apps/%ff",
        "/apps/1/secrets/0/x",
    ] {
        let answer = get(&server, path);
        assert!([404, 405].contains(&answer.status()), "{path}: {answer:?}");
        assert!(answer.json()["error"].is_string(), "{path}: {answer:?}");
    }
}

#[test]
fn operators_alone_see_and_change_apps() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder).admin("token", &format!("{TOKEN:?}")));
    let bearer = ("Authorization", "Bearer operators-only");
    let tries = [
        ("GET", "/apps", Value::Null),
        ("GET", "/apps/app-id", Value::Null),
        ("POST", "/apps", json!({"id": "1"})),
        ("PATCH", "/apps/app-id", json!({})),
        ("DELETE", "/apps/app-id", Value::Null),
        ("POST", "/apps/app-id/secrets", json!({})),
        ("DELETE", "/apps/app-id/secrets/0", Value::Null),
    ];
    for (method, path, body) in &tries {
        let answer = ask(&server, method, path, body, &[]);
        assert_eq!(answer.status(), 401, "{method} {path}: {answer:?}");
        assert!(answer.json()["error"].is_string());
    }
    let login = ask(
        &server,
        "POST",
        "/console/login",
        &json!({"token": TOKEN}),
        &[],
    );
    let cookie = login.head.header("set-cookie").unwrap();
    let cookie = ("Cookie", cookie.split(';').next().unwrap());
    let foreign = ("Origin", "http://evil.example");
    for (method, path, body) in &tries {
        let answer = ask(&server, method, path, body, &[cookie, foreign]);
        assert_eq!(answer.status(), 403, "{method} {path}: {answer:?}");
    }
    let form = Http::connect(server.admin).request(
        "POST",
        "/apps",
        &[cookie, ("Content-Type", "text/plain")],
        "{}",
    );
    assert_eq!(form.status(), 415, "{form:?}");
    for headers in [[cookie], [bearer]] {
        assert_eq!(
            ask(&server, "GET", "/apps", &Value::Null, &headers).status(),
            200
        );
        assert_eq!(
            ask(&server, "POST", "/apps", &json!({}), &headers).status(),
            201
        );
    }
    // Its own check at the end asks without a token.
    server.kill();
}
