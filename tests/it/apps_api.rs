//! The Apps API and `tidewire apps`, over a table in SQLite and over apps of the file alone. What is written is in
//! `app_store`, for every database.

use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::config::{Folder, run, stderr, stdout};
use crate::harness::{
    APP, Config, Credentials, Http, PATIENCE, Response, Server, Ws, event_body, eventually,
};

const TOKEN: &str = "operators-only";

/// A server with a table in SQLite, which it creates.
fn with_table(folder: &Folder) -> Config {
    let path = folder.path().join("apps.db");
    Config::new().more(&format!(
        "[app_store]\nurl = {:?}\n",
        format!("sqlite://{}", path.display())
    ))
}

pub(crate) fn ask(
    server: &Server,
    method: &str,
    path: &str,
    body: &Value,
    headers: &[(&str, &str)],
) -> Response {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    Http::connect(server.admin).request(method, path, &headers, &body)
}

fn get(server: &Server, path: &str) -> Response {
    ask(server, "GET", path, &Value::Null, &[])
}

pub(crate) fn tag(answer: &Response) -> String {
    answer.head.header("etag").expect("a tag").to_owned()
}

/// Creates an app, and returns the answer's body.
#[track_caller]
fn created(server: &Server, body: &Value) -> Value {
    let answer = ask(server, "POST", "/apps", body, &[]);
    assert_eq!(answer.status(), 201, "{answer:?}");
    answer.json()
}

/// The credentials of an answer. They live as long as the test's process.
fn credentials(app: &Value) -> Credentials {
    let text = |key: &str| -> &'static str { app[key].as_str().expect("a text").to_owned().leak() };
    Credentials {
        id: text("id"),
        key: text("key"),
        secret: text("secret"),
    }
}

fn subscribed(server: &Server, app: &Credentials) -> Ws {
    let target = format!("/app/{}?protocol=7&client=test&version=1.0.0", app.key);
    let mut ws = Ws::open(server, &target, &[]);
    ws.established();
    ws.subscribe("news", None);
    ws
}

fn publish(server: &Server, app: &Credentials) -> u16 {
    let path = format!("/apps/{}/events", app.id);
    let body = event_body("news", "e", "x");
    let answer = Http::connect(server.public).signed(app, "POST", &path, &body);
    answer.status()
}

#[test]
fn an_app_lives_from_its_creation_to_its_end() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    let body = json!({"name": "Shop", "subscription_count": false, "limits": {"connections": 2}, "jwt": null});
    let answer = ask(&server, "POST", "/apps", &body, &[]);
    assert_eq!(answer.status(), 201, "{answer:?}");
    let app = answer.json();
    let shop = credentials(&app);
    assert!(shop.id.bytes().all(|byte| byte.is_ascii_digit()), "{app}");
    assert!(shop.key.len() >= 20 && shop.secret.len() >= 20, "{app}");
    let path = format!("/apps/{}", shop.id);
    assert_eq!(answer.head.header("location"), Some(path.as_str()));
    assert_eq!(app["limits"]["connections"], 2);
    assert_eq!(app["status"]["origin"], "table");

    // It is there at once, and its secret is told nobody else.
    let mut ws = subscribed(&server, &shop);
    assert_eq!(publish(&server, &shop), 200);
    assert_eq!(ws.json()["event"], "e");
    let shown = get(&server, &path);
    assert_eq!(tag(&shown), tag(&answer));
    assert_eq!(shown.json()["secret"], "***");
    assert_eq!(shown.json()["status"]["connections"], 1);
    assert!(shown.json()["status"]["messages_sent"].as_u64() >= Some(1));
    let all = get(&server, "/apps");
    let others = [
        &shown,
        &all,
        &get(&server, "/config"),
        &get(&server, "/health"),
        &get(&server, "/console/api/session"),
    ];
    for answer in others {
        assert!(!answer.body.contains(shop.secret), "{answer:?}");
    }
    let ids: Vec<Value> = list(&all).iter().map(|app| app["id"].clone()).collect();
    assert_eq!(ids, [shop.id, APP.id], "in the order of ids");

    let change =
        json!({"name": null, "limits": {"connections": null, "event_bytes": 20}, "enabled": false});
    let changed = ask(&server, "PATCH", &path, &change, &[]);
    assert_eq!(changed.status(), 200, "{changed:?}");
    let now = changed.json();
    assert_eq!(
        (now["name"].clone(), now["enabled"].clone()),
        (Value::Null, json!(false))
    );
    assert_eq!(now["limits"]["connections"], Value::Null);
    assert_eq!(now["limits"]["event_bytes"], 20);
    assert_eq!(now["subscription_count"], false, "what is not said stays");
    assert_ne!(tag(&changed), tag(&answer));
    assert_eq!(ws.closed().0, 4003);
    assert_eq!(publish(&server, &shop), 403);

    let enabled = ask(&server, "PATCH", &path, &json!({"enabled": null}), &[]);
    assert_eq!(enabled.json()["enabled"], true);
    let mut ws = subscribed(&server, &shop);
    let deleted = ask(&server, "DELETE", &path, &Value::Null, &[]);
    assert_eq!((deleted.status(), deleted.body.as_str()), (204, ""));
    assert_eq!(ws.closed().0, 4001);
    for (method, body) in [
        ("GET", Value::Null),
        ("PATCH", json!({})),
        ("DELETE", Value::Null),
    ] {
        let gone = ask(&server, method, &path, &body, &[]);
        assert_eq!(gone.status(), 404, "{method}: {gone:?}");
        assert!(gone.json()["error"].is_string());
    }
}

fn list(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.json()["apps"].as_array().expect("a list").clone()
}

#[test]
fn many_apps_are_listed_in_pages_and_found_by_a_part_of_their_names() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    for number in 10..15 {
        let app = json!({"id": number.to_string(), "key": format!("key-of-{number}"), "name": format!("Shop Ü{number}")});
        created(&server, &app);
    }
    let mut after = String::new();
    let mut seen = Vec::new();
    loop {
        let page = get(&server, &format!("/apps?limit=2&after={after}"));
        let apps = list(&page);
        assert!(apps.len() <= 2);
        seen.extend(
            apps.iter()
                .map(|app| app["id"].as_str().unwrap().to_owned()),
        );
        match page.json()["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert_eq!(seen, ["10", "11", "12", "13", "14", APP.id]);
    for (find, count) in [
        ("of-13", 1),
        ("shop", 5),
        ("%C3%9C1", 5),
        ("app-id", 1),
        ("nothing", 0),
    ] {
        let found = list(&get(&server, &format!("/apps?find={find}")));
        assert_eq!(found.len(), count, "{find}");
    }
    let found = get(&server, "/apps?find=shop&limit=3");
    assert_eq!(
        (list(&found).len(), found.json()["next"].clone()),
        (3, json!("12"))
    );
    let store = &found.json()["store"];
    assert_eq!(
        (&store["rows"], &store["broken"], &store["away"]),
        (&json!(5), &json!([]), &Value::Null)
    );
    for wrong in ["limit=x", "limit=-1", "findd=1"] {
        let answer = get(&server, &format!("/apps?{wrong}"));
        assert_eq!(answer.status(), 400, "{wrong}: {answer:?}");
        assert!(answer.json()["error"].is_string());
    }
}

#[test]
fn secrets_are_rotated_without_a_refused_request() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    let first = credentials(&created(&server, &json!({})));
    let path = format!("/apps/{}/secrets", first.id);
    let added = ask(&server, "POST", &path, &Value::Null, &[]);
    assert_eq!(added.status(), 201, "{added:?}");
    assert_eq!(added.json()["number"], 1);
    let second = Credentials {
        secret: added.json()["secret"].as_str().unwrap().to_owned().leak(),
        ..first
    };
    let own = ask(
        &server,
        "POST",
        &path,
        &json!({"secret": "chosen by hand"}),
        &[],
    );
    assert_eq!(
        (own.status(), own.json()),
        (201, json!({"secret": "chosen by hand", "number": 2}))
    );
    for app in [&first, &second] {
        assert_eq!(publish(&server, app), 200);
    }
    let shown = get(&server, &format!("/apps/{}", first.id));
    assert_eq!(shown.json()["secrets"], json!(["***", "***"]));

    let remove = |number: &str, headers: &[(&str, &str)]| {
        ask(
            &server,
            "DELETE",
            &format!("{path}/{number}"),
            &Value::Null,
            headers,
        )
    };
    assert_eq!(remove("0", &[("If-Match", "\"stale\"")]).status(), 412);
    let removed = remove("0", &[("If-Match", &tag(&shown))]);
    assert_eq!((removed.status(), removed.body.as_str()), (204, ""));
    assert_eq!(
        tag(&removed),
        tag(&get(&server, &format!("/apps/{}", first.id)))
    );
    assert_eq!(
        (publish(&server, &first), publish(&server, &second)),
        (401, 200)
    );
    for number in ["2", "99999999999999999999", "x", "-1"] {
        let none = remove(number, &[]);
        assert_eq!(none.status(), 404, "{number}: {none:?}");
    }
    assert_eq!(remove("1", &[]).status(), 204);
    let last = remove("0", &[]);
    assert_eq!(last.status(), 409, "{last:?}");
    assert!(
        last.json()["error"]
            .as_str()
            .unwrap()
            .contains("last secret")
    );
    assert_eq!(publish(&server, &second), 200);
    for wrong in [
        json!({"secret": " x"}),
        json!({"secret": ""}),
        json!({"secret": "***"}),
    ] {
        let answer = ask(&server, "POST", &path, &wrong, &[]);
        assert_eq!(answer.status(), 422, "{wrong}: {answer:?}");
    }
    assert_eq!(
        ask(&server, "POST", &path, &json!({"secrt": "x"}), &[]).status(),
        400
    );
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    let taken = created(&server, &json!({"id": "7", "key": "taken"}));
    assert_eq!(taken["id"], "7");
    let wrong = [
        (
            json!({"enabeld": true}),
            "enabeld",
            "did you mean \"enabled\"?",
        ),
        (
            json!({"enabled": "yes"}),
            "enabled",
            "expected true or false",
        ),
        (json!({"enabled": 1}), "enabled", "expected true or false"),
        (
            json!({"limits": {"event_bytes": 0}}),
            "limits.event_bytes",
            "from 1 to",
        ),
        (
            json!({"limits": {"event_bytes": 1.5}}),
            "limits.event_bytes",
            "a whole number",
        ),
        (
            json!({"limits": {"event_bytes": 1e300}}),
            "limits.event_bytes",
            "a whole number",
        ),
        (
            json!({"limits": {"event_bytse": 1}}),
            "limits.event_bytse",
            "did you mean \"event_bytes\"?",
        ),
        (json!({"limits": []}), "limits", "expected a table"),
        (json!({"limits": [7]}), "limits", "expected a table"),
        (
            json!({"channels": {"match": "x"}}),
            "channels",
            "expected a list",
        ),
        (
            json!({"channels": [{"match": "a.{user_id", "subscribe": "user"}]}),
            "channels.match",
            "",
        ),
        (
            json!({"channels": [{"match": "a", "subscribe": "nobody-knows"}]}),
            "channels.subscribe",
            "expected",
        ),
        (
            json!({"webhooks": [{"url": "ftp://x"}]}),
            "webhooks.url",
            "",
        ),
        (
            json!({"allowed_origins": ["not an origin/"]}),
            "allowed_origins",
            "",
        ),
        (json!({"secret": "***"}), "secret", "leave the key out"),
        (
            json!({"secrets": ["a", "***"]}),
            "secrets",
            "leave the key out",
        ),
        (
            json!({"webhooks": [{"url": "https://x", "headers": {"A": "***"}}]}),
            "webhooks.headers.A",
            "leave the key out",
        ),
        (json!({"secret": 1}), "secret", "expected a text"),
        (json!({"secret": " x "}), "secret", "white space"),
        (json!({"name": []}), "name", "expected a text"),
        (json!({"status": {}}), "status", "unknown key"),
    ];
    for (body, field, text) in wrong {
        for (method, path) in [("POST", "/apps"), ("PATCH", "/apps/7")] {
            let answer = ask(&server, method, path, &body, &[]);
            assert_eq!(answer.status(), 422, "{method} {body}: {answer:?}");
            let error = &answer.json()["fields"][0];
            assert_eq!(error["field"], field, "{method} {body}: {answer:?}");
            let said = error["error"].as_str().unwrap();
            assert!(said.contains(text), "{method} {body}: {said}");
        }
    }
    let several = ask(
        &server,
        "POST",
        "/apps",
        &json!({"enabled": 1, "limits": {"event_bytes": 0}}),
        &[],
    );
    assert_eq!(
        several.json()["fields"].as_array().map(Vec::len),
        Some(2),
        "{several:?}"
    );
    for (body, what) in [
        (json!({"id": "7"}), "the id"),
        (json!({"key": "taken"}), "the key"),
        (json!({"id": APP.id}), "the id"),
        (json!({"key": APP.key}), "the key"),
    ] {
        let answer = ask(&server, "POST", "/apps", &body, &[]);
        assert_eq!(answer.status(), 409, "{body}: {answer:?}");
        assert!(
            answer.json()["error"].as_str().unwrap().contains(what),
            "{answer:?}"
        );
    }
    let renamed = ask(&server, "PATCH", "/apps/7", &json!({"id": "8"}), &[]);
    assert_eq!(
        (renamed.status(), &renamed.json()["fields"][0]["field"]),
        (422, &json!("id")),
        "{renamed:?}"
    );
    // Nothing of all that was kept.
    let store = get(&server, "/apps").json()["store"].clone();
    assert_eq!((&store["rows"], &store["broken"]), (&json!(1), &json!([])));
    assert_eq!(
        tag(&get(&server, "/apps/7")),
        tag(&ask(&server, "PATCH", "/apps/7", &json!({}), &[]))
    );
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
fn of_changes_to_what_was_seen_the_first_one_counts() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    let seen = ask(&server, "POST", "/apps", &json!({"id": "7"}), &[]);
    let seen = tag(&seen);
    let statuses = |headers: &[(&str, &str)]| -> Vec<u16> {
        let change = |number: usize| {
            let body = json!({"name": format!("change {number} of {headers:?}")});
            ask(&server, "PATCH", "/apps/7", &body, headers).status()
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| scope.spawn(move || change(number)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        })
    };
    let mut first = statuses(&[("If-Match", &seen)]);
    first.sort_unstable();
    assert_eq!(first, [200, 412, 412, 412, 412, 412, 412, 412]);
    assert_eq!(statuses(&[]), [200; 8], "who names no tag overwrites");
    assert_eq!(statuses(&[("If-Match", "*")]), [200; 8]);
    let now = tag(&get(&server, "/apps/7"));
    let among = format!("{seen}, {now}");
    let weak = format!("W/{now}");
    let tries = [
        (seen.as_str(), 412),
        (weak.as_str(), 412),
        ("", 412),
        (among.as_str(), 200),
    ];
    for (given, status) in tries {
        let answer = ask(
            &server,
            "PATCH",
            "/apps/7",
            &json!({"name": "last"}),
            &[("If-Match", given)],
        );
        assert_eq!(answer.status(), status, "{given}: {answer:?}");
    }
    assert_eq!(
        ask(
            &server,
            "DELETE",
            "/apps/7",
            &Value::Null,
            &[("If-Match", &seen)]
        )
        .status(),
        412
    );
    assert_eq!(
        ask(
            &server,
            "DELETE",
            "/apps/8",
            &Value::Null,
            &[("If-Match", "*")]
        )
        .status(),
        404
    );
}

#[test]
fn apps_of_the_file_are_shown_and_changed_there() {
    let server = Server::start(&Config::new());
    let apps = get(&server, "/apps");
    assert_eq!(list(&apps).len(), 1);
    assert_eq!(apps.json()["store"], Value::Null);
    let app = get(&server, "/apps/app-id");
    assert_eq!((app.status(), app.head.header("etag")), (200, None));
    assert_eq!(
        (&app.json()["key"], &app.json()["secret"]),
        (&json!(APP.key), &json!("***"))
    );
    assert_eq!(app.json()["status"]["origin"], "file");
    refuses_to_write(&server, server.config_file());

    // With a table the others can be changed, this one is still the file's.
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    let path = server.config_file();
    for (method, path_of, body) in [
        ("PATCH", "/apps/app-id", json!({"enabled": false})),
        ("DELETE", "/apps/app-id", Value::Null),
    ] {
        let answer = ask(&server, method, path_of, &body, &[]);
        says_where(&answer, path);
    }
    assert_eq!(publish(&server, &APP), 200);
}

fn refuses_to_write(server: &Server, file: &Path) {
    for (method, path, body) in [
        ("POST", "/apps", json!({"name": "x"})),
        ("PATCH", "/apps/app-id", json!({"enabled": false})),
        ("DELETE", "/apps/app-id", Value::Null),
        ("POST", "/apps/app-id/secrets", json!({})),
        ("DELETE", "/apps/app-id/secrets/0", Value::Null),
    ] {
        says_where(&ask(server, method, path, &body, &[]), file);
    }
}

#[track_caller]
fn says_where(answer: &Response, file: &Path) {
    assert_eq!(answer.status(), 409, "{answer:?}");
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains(&file.display().to_string()), "{error}");
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

/// The command, as somebody beside the server has it.
fn apps(folder: &Folder, server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let admin = format!("http://{}", server.admin);
    let arguments = [&["apps"], arguments, &["--admin", &admin]].concat();
    let output = run(&mut folder.tidewire(&arguments));
    (
        output.status.code().unwrap_or(-1),
        stdout(&output),
        stderr(&output),
    )
}

/// The word behind another one at the beginning of a line.
fn behind<'a>(text: &'a str, word: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.unwrap_or_else(|| panic!("no {word} in {text}")).trim()
}

#[test]
fn the_command_lists_creates_rotates_disables_and_deletes() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    let apps = |arguments: &[&str]| apps(&folder, &server, arguments);
    folder.write(
        "more.json",
        "{\"subscription_count\": false, \"limits\": {\"connections\": 3}}",
    );
    let (code, out, err) = apps(&[
        "create",
        "--id",
        "7",
        "--name",
        "Shop \u{1b}[2J",
        "--from",
        "more.json",
    ]);
    assert_eq!(code, 0, "{err}");
    let shop = Credentials {
        id: "7",
        key: behind(&out, "key").to_owned().leak(),
        secret: behind(&out, "secret").to_owned().leak(),
    };
    let mut ws = subscribed(&server, &shop);
    assert_eq!(publish(&server, &shop), 200);
    ws.json();

    let (_, table, _) = apps(&["list"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["ID", "KEY", "NAME", "STATE", "CONNECTIONS", "IN"]);
    assert_eq!(
        (rows[1][0], rows[2][0], rows.len()),
        ("7", APP.id, 3),
        "{table}"
    );
    assert!(
        table.contains("Shop \\u{1b}[2J") && table.contains("enabled"),
        "{table}"
    );
    let (_, found, _) = apps(&["list", "--find", "shop", "--json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        (found.as_array().map(Vec::len), &found[0]["id"]),
        (Some(1), &json!("7"))
    );

    let (_, shown, _) = apps(&["show", "7"]);
    assert!(
        shown.starts_with("# in the database; connections to the node that answers: 1\n"),
        "{shown}"
    );
    let file: toml::Table = shown.parse().unwrap();
    assert_eq!(
        file["apps"][0]["limits"]["connections"].as_integer(),
        Some(3)
    );
    assert!(!shown.contains(shop.secret), "{shown}");

    let (code, rotated, _) = apps(&["rotate", "7"]);
    let next = Credentials {
        secret: behind(&rotated, "secret").to_owned().leak(),
        ..shop
    };
    assert_eq!(
        (code, publish(&server, &shop), publish(&server, &next)),
        (0, 200, 200)
    );
    assert_eq!(apps(&["rotate", "7", "--remove", "0"]).0, 0);
    assert_eq!(
        (publish(&server, &shop), publish(&server, &next)),
        (401, 200)
    );
    let (code, _, err) = apps(&["rotate", "7", "--remove", "0"]);
    assert_eq!(code, 1);
    assert!(err.contains("409") && err.contains("last secret"), "{err}");

    assert_eq!(apps(&["disable", "7"]).0, 0);
    eventually(PATIENCE, "the connection is closed", || match ws.next() {
        crate::harness::Message::Close(code, _) => Some(assert_eq!(code, 4003)),
        _ => None,
    });
    assert!(apps(&["list"]).1.contains("disabled"));
    let (code, enabled, _) = apps(&["enable", "7", "--json"]);
    let enabled: Value = serde_json::from_str(&enabled).unwrap();
    assert_eq!((code, &enabled["enabled"]), (0, &json!(true)));

    let (code, _, err) = apps(&["delete", "7"]);
    assert_eq!(code, 2, "nobody can be asked here: {err}");
    assert!(err.contains("--yes"), "{err}");
    assert_eq!(apps(&["delete", "7", "--yes"]).0, 0);
    let (code, _, err) = apps(&["show", "7"]);
    assert_eq!(code, 1);
    assert!(err.contains("404") && err.contains("\"7\""), "{err}");
}

#[test]
fn the_command_says_what_was_wrong() {
    let folder = Folder::new();
    let server = Server::start(&Config::new());
    let (code, out, _) = apps(&folder, &server, &["show", "app-id"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("# in the file;"), "{out}");
    for (arguments, status) in [
        (&["create"][..], "409"),
        (&["disable", "app-id"], "409"),
        (&["show", "no/such app"], "404"),
    ] {
        let (code, out, err) = apps(&folder, &server, arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {err}");
        assert!(err.contains(status), "{arguments:?}: {err}");
    }
    folder.write("broken.json", "[");
    for arguments in [
        &["show", ""][..],
        &["create", "--from", "nowhere.json"],
        &["create", "--from", "broken.json"],
        &["frobnicate"],
    ] {
        let (code, _, err) = apps(&folder, &server, arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
    }
    for (admin, code) in [("http://127.0.0.1:1", 1), ("ftp://x", 2)] {
        let output = run(&mut folder.tidewire(&["apps", "list", "--admin", admin]));
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains("--admin"), "{}", stderr(&output));
    }
}

#[test]
fn the_command_takes_address_and_token_from_the_configuration() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder).admin("token", &format!("{TOKEN:?}")));
    let port = server.admin.port();
    // Its file need not have an app.
    let toml = format!(
        "[admin]\nport = {port}\ntoken = {TOKEN:?}\n[app_store]\nurl = \"sqlite://elsewhere.db\"\n"
    );
    folder.write("apps.toml", &toml);
    let output = run(&mut folder.tidewire(&["apps", "list"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains(APP.key));
    // The token of one server is not sent to another that is named.
    let admin = format!("http://127.0.0.1:{port}");
    let list = ["apps", "list", "--admin", &admin];
    let output = run(&mut folder.tidewire(&list));
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("401"), "{}", stderr(&output));
    let output = run(folder.tidewire(&list).env("TIDEWIRE_ADMIN__TOKEN", TOKEN));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains(TOKEN));
    server.kill();
}
