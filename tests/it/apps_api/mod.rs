//! The Apps API and `tidewire apps`, over a table in SQLite and over apps of the file alone. What is written is in
//! `app_store`, for every database.

mod command;
mod refused;

use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::config::Folder;
use crate::harness::{APP, Config, Credentials, Http, Response, Server, Ws, event_body};

const TOKEN: &str = "operators-only";

/// A server with a table in SQLite, which it creates.
fn with_table(folder: &Folder) -> Config {
    let path = folder.path().join("apps.db");
    Config::new().more(&format!(
        "[app_store]\nurl = {:?}\n",
        format!("sqlite://{}", path.display())
    ))
}

/// A request with a body of JSON, or none.
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

/// The tag of an answer.
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
    change_and_delete(&server, &shop, ws, &tag(&answer));
}

/// The rest of an app's life, of which a client knows by how it is closed.
fn change_and_delete(server: &Server, shop: &Credentials, mut ws: Ws, created: &str) {
    let path = format!("/apps/{}", shop.id);
    let change =
        json!({"name": null, "limits": {"connections": null, "event_bytes": 20}, "enabled": false});
    let changed = ask(server, "PATCH", &path, &change, &[]);
    assert_eq!(changed.status(), 200, "{changed:?}");
    let now = changed.json();
    assert_eq!(
        (now["name"].clone(), now["enabled"].clone()),
        (Value::Null, json!(false))
    );
    assert_eq!(now["limits"]["connections"], Value::Null);
    assert_eq!(now["limits"]["event_bytes"], 20);
    assert_eq!(now["subscription_count"], false, "what is not said stays");
    assert_ne!(tag(&changed), created);
    assert_eq!(ws.closed().0, 4003);
    assert_eq!(publish(server, shop), 403);

    let enabled = ask(server, "PATCH", &path, &json!({"enabled": null}), &[]);
    assert_eq!(enabled.json()["enabled"], true);
    let mut ws = subscribed(server, shop);
    let deleted = ask(server, "DELETE", &path, &Value::Null, &[]);
    assert_eq!((deleted.status(), deleted.body.as_str()), (204, ""));
    assert_eq!(ws.closed().0, 4001);
    for (method, body) in [
        ("GET", Value::Null),
        ("PATCH", json!({})),
        ("DELETE", Value::Null),
    ] {
        let gone = ask(server, method, &path, &body, &[]);
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
    the_last_secret_stays(&server, &second);
}

/// Of an app that has this secret and another one.
fn the_last_secret_stays(server: &Server, app: &Credentials) {
    let path = format!("/apps/{}/secrets", app.id);
    let remove = |number: &str| {
        let path = format!("{path}/{number}");
        ask(server, "DELETE", &path, &Value::Null, &[])
    };
    for number in ["2", "99999999999999999999", "x", "-1"] {
        let none = remove(number);
        assert_eq!(none.status(), 404, "{number}: {none:?}");
    }
    assert_eq!(remove("1").status(), 204);
    let last = remove("0");
    assert_eq!(last.status(), 409, "{last:?}");
    assert!(last.body.contains("last secret"), "{last:?}");
    assert_eq!(publish(server, app), 200);
    for wrong in [
        json!({"secret": " x"}),
        json!({"secret": ""}),
        json!({"secret": "***"}),
    ] {
        let answer = ask(server, "POST", &path, &wrong, &[]);
        assert_eq!(answer.status(), 422, "{wrong}: {answer:?}");
    }
    let unknown = ask(server, "POST", &path, &json!({"secrt": "x"}), &[]);
    assert_eq!(unknown.status(), 400, "{unknown:?}");
}

#[test]
fn of_changes_to_what_was_seen_the_first_one_counts() {
    let folder = Folder::new();
    let server = Server::start(&with_table(&folder));
    let seen = tag(&ask(&server, "POST", "/apps", &json!({"id": "7"}), &[]));
    let mut first = at_once(&server, &[("If-Match", &seen)]);
    first.sort_unstable();
    assert_eq!(first, [200, 412, 412, 412, 412, 412, 412, 412]);
    let overwritten = at_once(&server, &[]);
    assert_eq!(overwritten, [200; 8], "who names no tag overwrites");
    assert_eq!(at_once(&server, &[("If-Match", "*")]), [200; 8]);
    let now = tag(&get(&server, "/apps/7"));
    let among = format!("{seen}, {now}");
    let weak = format!("W/{now}");
    for (given, status) in [
        (&seen, 412),
        (&weak, 412),
        (&String::new(), 412),
        (&among, 200),
    ] {
        let headers = [("If-Match", given.as_str())];
        let answer = ask(
            &server,
            "PATCH",
            "/apps/7",
            &json!({"name": "last"}),
            &headers,
        );
        assert_eq!(answer.status(), status, "{given}: {answer:?}");
    }
    let delete = |path: &str, tag: &str| {
        ask(&server, "DELETE", path, &Value::Null, &[("If-Match", tag)]).status()
    };
    assert_eq!(
        (delete("/apps/7", &seen), delete("/apps/8", "*")),
        (412, 404)
    );
}

/// The statuses of eight changes of one app at a time.
fn at_once(server: &Server, headers: &[(&str, &str)]) -> Vec<u16> {
    let change = |number: usize| {
        let body = json!({"name": format!("change {number} of {headers:?}")});
        ask(server, "PATCH", "/apps/7", &body, headers).status()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || change(number)))
            .collect();
        let statuses = threads.into_iter().map(|thread| thread.join().unwrap());
        statuses.collect()
    })
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
