//! Apps that change while the server runs: by editing the file, by SIGHUP, by a secret's own file.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{
    APP, Config, Credentials, Http, Message, OTHER_APP, Opcode, PATIENCE, Response, Server, Ws,
    event_body, eventually, frame,
};

const OTHER_TARGET: &str = "/app/other-key?protocol=7&client=test&version=1.0.0";

/// The app of every test, and one more.
fn beside(app: Credentials) -> Config {
    let Credentials { id, key, secret } = app;
    Config::new().more(&format!(
        "[[apps]]\nid = {id:?}\nkey = {key:?}\nsecret = {secret:?}\nsubscription_count = false\n"
    ))
}

/// The same, with the other app's secrets as given.
fn other_app(secrets: &str) -> Config {
    Config::new().more(&format!(
        "[[apps]]\nid = \"other-id\"\nkey = \"other-key\"\nsubscription_count = false\n{secrets}\n"
    ))
}

/// How many configurations have been put into effect since the start.
fn reloads(server: &Server) -> u64 {
    server.counter("reloads")
}

/// Puts another configuration in place and waits until it is in effect.
pub(crate) fn change(server: &Server, config: &Config) {
    let before = reloads(server);
    server.rewrite(&config.toml());
    eventually(PATIENCE, "the file is read", || {
        (reloads(server) > before).then_some(())
    });
}

/// Puts another configuration in place, by SIGHUP, and waits until it is in effect.
pub(crate) fn change_now(server: &Server, config: &Config) {
    let before = reloads(server);
    server.rewrite(&config.toml());
    server.hang_up();
    eventually(PATIENCE, "the file is read", || {
        (reloads(server) > before).then_some(())
    });
}

/// Tells the threads of a test to end, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn publish_as(server: &Server, app: &Credentials, channel: &str) -> Response {
    let target = format!("/apps/{}/events", app.id);
    let body = event_body(channel, "e", "x");
    Http::connect(server.public).signed(app, "POST", &target, &body)
}

fn config_error(server: &Server) -> Value {
    server.admin("/health").json()["config"]["error"].clone()
}

#[test]
fn a_new_app_works_at_once_and_a_removed_one_is_gone() {
    let server = Server::start(&Config::new());
    let mut stays = Ws::connect(&server);
    stays.subscribe("x", None);
    assert_eq!(publish_as(&server, &OTHER_APP, "x").status(), 404);

    change(&server, &beside(OTHER_APP));
    let mut other = Ws::open(&server, OTHER_TARGET, &[]);
    other.established();
    other.subscribe("x", None);
    assert_eq!(publish_as(&server, &OTHER_APP, "x").status(), 200);
    assert!(other.text().contains(r#""event":"e""#));

    change(&server, &Config::new());
    assert_eq!(other.closed().0, 4001);
    assert_eq!(publish_as(&server, &OTHER_APP, "x").status(), 404);
    assert_eq!(Ws::open(&server, OTHER_TARGET, &[]).closed().0, 4001);

    // Nothing of its first life is in the way of a second one.
    change(&server, &beside(OTHER_APP));
    let mut again = Ws::open(&server, OTHER_TARGET, &[]);
    again.established();
    again.subscribe("x", None);
    stays.silent();
}

#[test]
fn sighup_reloads_without_waiting_for_the_watch() {
    let server = Server::start(&Config::new());
    server.hang_up();
    eventually(PATIENCE, "an unchanged file is read too", || {
        (reloads(&server) == 1).then_some(())
    });
    server.write_in_place(&beside(OTHER_APP).toml());
    server.hang_up();
    eventually(PATIENCE, "the new app is there", || {
        (publish_as(&server, &OTHER_APP, "x").status() == 200).then_some(())
    });
}

#[test]
fn a_file_written_in_place_is_noticed() {
    let server = Server::start(&Config::new());
    server.write_in_place(&beside(OTHER_APP).toml());
    eventually(PATIENCE, "the new app is there", || {
        (publish_as(&server, &OTHER_APP, "x").status() == 200).then_some(())
    });
}

#[test]
fn a_disabled_app_is_closed_with_4003() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    change(&server, &Config::new().app("enabled", "false"));
    assert_eq!(ws.closed().0, 4003);
    assert_eq!(publish_as(&server, &APP, "x").status(), 403);
    change(&server, &Config::new());
    Ws::connect(&server).silent();
    server.trigger("x", "e", "x");
}

#[test]
fn changed_limits_hold_for_connections_that_are_there() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    let mut long = Ws::connect(&server);
    ws.subscribe("private-x", None);
    let client_event = r#"{"event":"client-e","channel":"private-x","data":"1"}"#;
    ws.send(client_event);
    assert!(ws.text().contains("you must enable this feature"));

    let larger = Config::new()
        .app("client_events", "true")
        .limit("event_bytes", "200000")
        .limit("channels_per_connection", "1");
    change(&server, &larger);
    ws.send(client_event);
    ws.silent();
    ws.send_subscribe("another", None);
    for part in ["too many subscriptions", "LimitReached", "internal"] {
        let text = ws.text();
        assert!(text.contains(part), "{text}");
    }
    // More than a message of the default limits may have: it is read whole and only then refused.
    let text = json!({"event": "client-e", "channel": "private-x", "data": "x".repeat(190_000)});
    long.send(&text.to_string());
    assert!(long.text().contains("not subscribed to channel"));

    change(&server, &Config::new());
    long.send_frame(true, Opcode::Text, text.to_string().as_bytes());
    assert_eq!(long.closed().0, 1009);
    ws.silent();
}

#[test]
fn a_changed_key_leaves_connections_alone() {
    let rotated = Credentials {
        key: "rotated-key",
        ..OTHER_APP
    };
    let server = Server::start(&beside(OTHER_APP));
    let mut ws = Ws::open(&server, OTHER_TARGET, &[]);
    ws.established();
    ws.subscribe("x", None);
    change(&server, &beside(rotated));
    assert_eq!(Ws::open(&server, OTHER_TARGET, &[]).closed().0, 4001);
    assert_eq!(publish_as(&server, &rotated, "x").status(), 200);
    assert!(ws.text().contains(r#""event":"e""#));
}

#[test]
fn a_broken_file_keeps_what_was_and_says_where() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    let health = server.admin("/health").json();
    assert_eq!(health["config"]["error"], Value::Null);
    let loaded_at = health["config"]["loaded_at"].clone();
    assert!(loaded_at.as_str().unwrap().ends_with('Z'), "{loaded_at}");

    let broken = Config::new().app("enbled", "false").toml();
    let line = 1 + broken.lines().position(|l| l.contains("enbled")).unwrap();
    server.rewrite(&broken);
    let error = eventually(PATIENCE, "the error is told", || {
        config_error(&server).as_str().map(ToOwned::to_owned)
    });
    let place = format!(".toml:{line}: unknown key \"enbled\" in [[apps]]");
    assert!(error.contains(&place), "{error}");
    assert_eq!(server.counter("reloads_failed"), 1);
    assert_eq!(reloads(&server), 0);
    let health = server.admin("/health").json();
    assert_eq!(health["config"]["loaded_at"], loaded_at);
    assert!(server.log().contains(&place));
    ws.silent();
    server.trigger("x", "e", "x");

    change(&server, &beside(OTHER_APP));
    assert_eq!(config_error(&server), Value::Null);
    assert_eq!(publish_as(&server, &OTHER_APP, "x").status(), 200);
    ws.silent();
}

#[test]
fn a_file_that_is_gone_or_empty_keeps_what_was() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    server.remove_config();
    eventually(PATIENCE, "the missing file is told", || {
        config_error(&server)
            .as_str()?
            .contains("cannot read")
            .then_some(())
    });
    server.write_in_place("");
    eventually(PATIENCE, "the empty file is told", || {
        config_error(&server)
            .as_str()?
            .contains("no apps")
            .then_some(())
    });
    ws.silent();
    change(&server, &Config::new());
    assert_eq!(config_error(&server), Value::Null);
    ws.silent();
}

#[test]
fn other_sections_wait_for_a_restart() {
    let server = Server::start(&Config::new());
    let changed = Config::new()
        .server("drain_seconds", "3")
        .server("max_connections", "1")
        .other_app(OTHER_APP);
    change(&server, &changed);
    let expected = "these changes need a restart, until then they have no effect: drain_seconds in [server], \
                    max_connections in [server]";
    assert!(server.log().contains(expected), "{}", server.log());
    assert_eq!(config_error(&server), Value::Null);
    // The apps of the same file are in effect, the rest is not.
    let (_one, _two) = (Ws::connect(&server), Ws::connect(&server));
    assert_eq!(publish_as(&server, &OTHER_APP, "x").status(), 200);
}

/// `[server]` of the file says that it would fit, the running one does not.
#[test]
fn an_app_must_fit_the_running_server() {
    let server = Server::start(&Config::new());
    let greater = Config::new()
        .server("outbox_bytes", "8000000")
        .limit("event_bytes", "1000000");
    server.rewrite(&greater.toml());
    let error = eventually(PATIENCE, "the error is told", || {
        config_error(&server).as_str().map(ToOwned::to_owned)
    });
    assert!(
        error.contains("need outbox_bytes of at least 2004096 in [server], where it is 1048576"),
        "{error}"
    );
}

#[test]
fn all_secrets_verify_until_they_are_taken_away() {
    let old = OTHER_APP;
    let new = Credentials {
        secret: "new-secret",
        ..OTHER_APP
    };
    let server = Server::start(&other_app("secret = \"other-secret\""));
    assert_eq!(publish_as(&server, &new, "x").status(), 401);
    let mut ws = Ws::open(&server, OTHER_TARGET, &[]);
    ws.established();

    change(
        &server,
        &other_app("secrets = [\"new-secret\", \"other-secret\"]"),
    );
    for app in [&old, &new] {
        assert_eq!(publish_as(&server, app, "x").status(), 200);
        subscribe_as(&mut ws, app);
        assert!(ws.text().contains("subscription_succeeded"));
        ws.unsubscribe("private-x");
    }

    change(&server, &other_app("secret = \"new-secret\""));
    assert_eq!(publish_as(&server, &old, "x").status(), 401);
    assert_eq!(publish_as(&server, &new, "x").status(), 200);
    subscribe_as(&mut ws, &old);
    assert!(ws.text().contains("Invalid signature"));
}

fn subscribe_as(ws: &mut Ws, app: &Credentials) {
    let auth = app.channel_auth(ws.socket_id(), "private-x", None);
    let data = json!({"channel": "private-x", "auth": auth});
    ws.send(&json!({"event": "pusher:subscribe", "data": data}).to_string());
}

#[test]
fn a_secret_of_its_own_file_is_followed() {
    let new = Credentials {
        secret: "new-secret",
        ..OTHER_APP
    };
    let secret = crate::config::Folder::new();
    secret.write("app.secret", "other-secret\n");
    let path = secret.path().join("app.secret");
    let server = Server::start(&other_app(&format!("secret_file = {path:?}")));
    assert_eq!(publish_as(&server, &OTHER_APP, "x").status(), 200);

    secret.write("app.secret", "");
    eventually(PATIENCE, "the empty file is told", || {
        config_error(&server)
            .as_str()?
            .contains("found an empty one")
            .then_some(())
    });
    assert_eq!(publish_as(&server, &OTHER_APP, "x").status(), 200);

    secret.write("app.secret", "new-secret");
    eventually(PATIENCE, "the new secret is in use", || {
        (publish_as(&server, &new, "x").status() == 200).then_some(())
    });
    assert_eq!(publish_as(&server, &OTHER_APP, "x").status(), 401);
    assert!(!server.log().contains("-secret"), "{}", server.log());
}

#[test]
fn events_per_second_is_kept_and_follows_a_change() {
    let server = Server::start(&Config::new().limit("events_per_second", "2"));
    let batch = |events: usize| {
        let event = json!({"name": "e", "channels": ["a", "b"], "data": "x"});
        let body = json!({"batch": vec![event; events]}).to_string();
        server.post("/apps/app-id/batch_events", &body)
    };
    // A second's worth and a debt of eight: nothing for the next four seconds.
    assert_eq!(batch(10).status(), 200);
    let refused = server.post("/apps/app-id/events", &event_body("x", "e", "x"));
    assert_eq!(refused.status(), 429);
    let seconds = refused.head.header("retry-after").unwrap();
    assert!(["4", "5"].contains(&seconds), "{seconds}");
    assert_eq!(
        refused.body,
        "Too many events: this app may publish 2 per second (events_per_second in its limits)\n"
    );
    assert_eq!(server.counter("events_limited"), 1);
    // What is not a publish is not limited.
    assert_eq!(server.get("/apps/app-id/channels").status(), 200);

    change(&server, &Config::new());
    for _ in 0..10 {
        assert_eq!(batch(1).status(), 200);
    }
}

/// The file is rewritten again and again, each time with other apps beside: whoever belongs to the untouched app
/// notices nothing, and every request is answered by one whole configuration.
#[test]
fn reloads_under_load_touch_nobody_else() {
    const CHANGES: usize = 13;
    let server = Server::start(&Config::new());
    let mut subscribers: Vec<Ws> = (0..20).map(|_| Ws::connect(&server)).collect();
    for ws in &mut subscribers {
        ws.subscribe("x", None);
    }
    let done = AtomicBool::new(false);
    let publish = || {
        let mut http = Http::connect(server.public);
        let mut sent = 0;
        while !done.load(Ordering::Relaxed) {
            let body = event_body("x", "e", &sent.to_string());
            let response = http.signed(&APP, "POST", "/apps/app-id/events", &body);
            assert_eq!((response.status(), response.body.as_str()), (200, "{}"));
            sent += 1;
        }
        sent
    };
    let sent = thread::scope(|scope| {
        let stop = Stop(&done);
        let publisher = scope.spawn(publish);
        for _ in 0..CHANGES {
            change_now(&server, &beside(OTHER_APP));
            change_now(&server, &Config::new());
        }
        drop(stop);
        publisher.join().expect("every request is accepted")
    });
    assert_eq!(server.counter("reloads_failed"), 0);
    for mut ws in subscribers {
        for number in 0..sent {
            let expected = format!(r#"{{"event":"e","channel":"x","data":"{number}"}}"#);
            assert_eq!(ws.text(), expected);
        }
        ws.silent();
    }
}

/// Key and secret change together, again and again: a request is answered by the one or the other configuration,
/// never by the key of one and the secret of the other.
#[test]
fn no_request_sees_half_of_a_change() {
    let new = Credentials {
        key: "new-key",
        secret: "new-secret",
        ..OTHER_APP
    };
    let server = Server::start(&beside(OTHER_APP));
    let done = AtomicBool::new(false);
    let publish = |app: Credentials| {
        let (mut accepted, mut refused) = (0, 0);
        while !done.load(Ordering::Relaxed) {
            let response = publish_as(&server, &app, "x");
            match (response.status(), response.body.as_str()) {
                (200, "{}") => accepted += 1,
                (401, "Unknown auth_key\n") => refused += 1,
                _ => panic!("{response:?}"),
            }
        }
        (accepted, refused)
    };
    thread::scope(|scope| {
        let stop = Stop(&done);
        let publishers = [OTHER_APP, new].map(|app| scope.spawn(move || publish(app)));
        for _ in 0..15 {
            change_now(&server, &beside(new));
            change_now(&server, &beside(OTHER_APP));
        }
        drop(stop);
        for publisher in publishers {
            let (accepted, refused) = publisher.join().unwrap();
            assert!(accepted > 0 && refused > 0, "{accepted} {refused}");
        }
    });
}

/// Connections that come while their app goes: each is refused or closed, none is left behind.
#[test]
fn no_connection_outlives_its_app() {
    let server = Server::start(&Config::new());
    for round in 0..10 {
        change_now(&server, &beside(OTHER_APP));
        let coming = thread::scope(|scope| {
            let connecting: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let open = |_| Ws::open(&server, OTHER_TARGET, &[]);
                        (0..25).map(open).collect::<Vec<Ws>>()
                    })
                })
                .collect();
            change_now(&server, &Config::new());
            let joined = connecting.into_iter().map(|thread| thread.join().unwrap());
            joined.flatten().collect::<Vec<Ws>>()
        });
        for mut ws in coming {
            assert_eq!(close_code(&mut ws), 4001, "round {round}");
        }
    }
}

/// The code of the close frame, past all texts.
fn close_code(ws: &mut Ws) -> u16 {
    loop {
        match ws.next() {
            Message::Text(_) => {}
            Message::Close(code, _) => {
                let _ = ws.write(&frame(true, Opcode::Close, &code.to_be_bytes()));
                return code;
            }
            other => panic!("expected a close frame, got {other:?}"),
        }
    }
}
