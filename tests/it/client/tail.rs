//! `tidewire tail` against a real server.

use std::io::Read;

use super::fakes::answering;
use super::{Running, asking, with_credentials};
use crate::config::{Folder, run, stderr, stdout};
use crate::harness::{APP, Config, OTHER_APP, PATIENCE, Proxy, Server, Ws, eventually, free_port};

const KINDS: [&str; 6] = [
    "x",
    "private-x",
    "presence-x",
    "cache-x",
    "private-cache-x",
    "private-encrypted-x",
];

/// A tail of these channels that is subscribed to all of them.
fn subscribed(folder: &Folder, server: &Server, channels: &[&str], flags: &[&str]) -> Running {
    let mut command = asking(folder, server, &["tail"]);
    let mut tail = Running::start(command.args(channels).args(flags));
    for channel in channels {
        tail.note(&format!("subscribed to {channel}"));
    }
    tail
}

#[test]
fn events_of_every_kind_of_channel_are_printed() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let mut tail = subscribed(&folder, &server, &KINDS, &["--json"]);
    let data = "{\"sum\": 1, \"von\":\"Ä\"}";
    for channel in KINDS {
        server.trigger(channel, "paid", data);
        let line = tail.json();
        assert_eq!(line["event"], "paid");
        assert_eq!(line["channel"], channel);
        assert_eq!(line["data"], data);
        let time = line["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    }
    tail.note("data of encrypted channels is encrypted");

    let mut people = subscribed(&folder, &server, &["x"], &[]);
    server.trigger("x", "paid", data);
    let line = people.line();
    let (time, rest) = line.split_once("  ").unwrap();
    assert_eq!(time.len(), "12:34:56.789".len());
    assert_eq!(rest, format!("x  paid  {data}"));
}

#[test]
fn a_cached_event_is_enough_for_a_count() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    server.trigger("cache-payment.1", "payment", "{\"sat\":21}");
    let arguments = [
        "tail",
        "cache-payment.1",
        "--count",
        "1",
        "--json",
        "--timeout",
        "20",
    ];
    let output = run(&mut asking(&folder, &server, &arguments));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(line["data"], "{\"sat\":21}");
}

#[test]
fn too_few_events_within_the_time_are_a_failure() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let arguments = ["tail", "cache-x", "--timeout", "0.5"];
    let output = run(&mut asking(&folder, &server, &arguments));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run(asking(&folder, &server, &arguments).args(["--count", "1"]));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("only 0 of 1 events came"), "{text}");
    assert!(text.contains("cache-x: no event is cached"), "{text}");
    let output = run(asking(&folder, &server, &arguments).args(["--all", "--json", "--quiet"]));
    let line: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(line["event"], "pusher:cache_miss");
    assert_eq!(stderr(&output), "");
}

#[test]
fn nothing_that_others_send_reaches_a_terminal_as_it_is() {
    let server = Server::start(&Config::new().app("client_events", "true"));
    let folder = Folder::new();
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\nfalse  x  line\u{202e}\u{7f}";
    let mut people = subscribed(&folder, &server, &["x", "presence-x"], &[]);
    let mut machines = subscribed(&folder, &server, &["x"], &["--json"]);
    let body = serde_json::json!({"name": hostile, "channel": "x", "data": hostile}).to_string();
    assert_eq!(server.post("/apps/app-id/events", &body).status(), 200);
    let is_harmful = |c: char| c.is_control() || c == '\u{202e}';
    let line = people.line();
    assert!(!line.contains(is_harmful), "{line:?}");
    assert!(
        line.contains(r"\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\nfalse"),
        "{line}"
    );
    let line = machines.line();
    assert!(!line.contains(is_harmful), "{line:?}");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (line["event"].as_str(), line["data"].as_str()),
        (Some(hostile), Some(hostile))
    );

    // What members say of themselves, and refusals that repeat what was sent.
    let mut member = Ws::connect(&server);
    let data = serde_json::json!({"user_id": hostile, "user_info": {"name": hostile}}).to_string();
    member.subscribe("presence-x", Some(&data));
    let note = people.note("came");
    assert!(!note.contains(is_harmful), "{note:?}");
}

#[test]
fn members_and_client_events_are_told() {
    let server = Server::start(
        &Config::new()
            .app("client_events", "true")
            .app("subscription_count", "true"),
    );
    let folder = Folder::new();
    let flags = ["--user-id", "7", "--user-info", "{\"name\":\"Ada\"}"];
    let mut tail = subscribed(&folder, &server, &["x", "presence-x"], &flags);
    tail.note("x: subscription count 1");
    let mut other = Ws::connect(&server);
    let seen = other.subscribe("presence-x", Some(r#"{"user_id":"8"}"#));
    assert!(seen.contains(r#""7":{"name":"Ada"}"#), "{seen}");
    tail.note("presence-x: member 8 came");
    other.send(r#"{"event":"client-typing","channel":"presence-x","data":{"a":1}}"#);
    assert!(
        tail.line()
            .ends_with("  presence-x  client-typing (from 8)  {\"a\":1}")
    );
    other.unsubscribe("presence-x");
    tail.note("presence-x: member 8 left");
    let notes = tail.all_notes();
    assert!(
        notes.iter().any(|note| note.contains("1 on it: 7")),
        "{notes:#?}"
    );
}

#[test]
fn a_signed_in_user_gets_what_is_sent_to_them_and_is_terminated() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let flags = [
        "--user-data",
        "{\"id\":\"7\",\"user_info\":{\"name\":\"Ada\"}}",
    ];
    let mut tail = subscribed(&folder, &server, &["presence-x"], &flags);
    tail.note("signed in");
    tail.note("subscribed to #server-to-user-7");
    let notes = tail.all_notes();
    assert!(
        notes.iter().any(|note| note.contains("1 on it: 7")),
        "{notes:#?}"
    );
    server.trigger("#server-to-user-7", "note", "for you");
    assert!(tail.line().ends_with("  #server-to-user-7  note  for you"));
    let output = run(&mut asking(&folder, &server, &["terminate", "7"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (status, text) = tail.ended();
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("closed the connection with 4009"), "{text}");
    assert!(text.contains("`tidewire doctor ws://"), "{text}");
}

#[test]
fn it_survives_restarts_and_broken_connections() {
    let port = free_port();
    let config = Config::new()
        .server("port", &port.to_string())
        .server("drain_seconds", "0");
    let mut server = Server::start(&config);
    let proxy = Proxy::start(server.public);
    let folder = Folder::new();
    let mut command = with_credentials(&folder, &["tail", "private-x"]);
    let mut tail = Running::start(command.args(["--url", &format!("ws://{}", proxy.address())]));
    tail.note("subscribed to private-x");

    // In order: closed with 4200.
    server.terminate();
    server.exit_status();
    let server = Server::start(&config);
    tail.note("subscribed to private-x");
    server.trigger("private-x", "one", "1");
    assert!(tail.line().ends_with("private-x  one  1"));

    // Without warning.
    server.kill();
    tail.note("the connection broke");
    let server = Server::start(&config);
    tail.note("subscribed to private-x");
    server.trigger("private-x", "two", "2");
    assert!(tail.line().ends_with("private-x  two  2"));

    // The network alone.
    proxy.reset();
    tail.note("subscribed to private-x");
    server.trigger("private-x", "three", "3");
    assert!(tail.line().ends_with("private-x  three  3"));
    let notes = tail.all_notes().join("\n");
    assert!(notes.contains("closed the connection with 4200"), "{notes}");
    assert!(notes.contains("trying again at once"), "{notes}");
    drop(tail);
}

#[test]
fn silence_is_broken_by_pings() {
    let server = Server::start(&Config::new().server("activity_timeout", "1"));
    let folder = Folder::new();
    let mut tail = subscribed(&folder, &server, &["x"], &[]);
    eventually(PATIENCE, "the subscription and two pings arrive", || {
        (server.counter("messages_received") >= 3).then_some(())
    });
    server.trigger("x", "y", "z");
    assert!(tail.line().ends_with("x  y  z"));
    let connected = tail.all_notes();
    let connected = connected
        .iter()
        .filter(|note| note.contains("connected to"));
    assert_eq!(connected.count(), 1);
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let mut tail = Running::with_silent_stdout(&mut asking(&folder, &server, &["tail", "x"]));
    tail.note("subscribed to x");
    server.trigger("x", "one", "1");
    let mut stdout = tail.stdout.take().unwrap();
    assert_eq!(stdout.read(&mut [0]).unwrap(), 1);
    drop(stdout);
    // A process that is being started by another test may hold the pipe for a moment longer.
    eventually(PATIENCE, "the command ends", || {
        server.trigger("x", "more", "");
        tail.child.try_wait().unwrap()
    });
    let (status, text) = tail.ended();
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(!text.contains("annot"), "{text}");
}

#[test]
fn refusals_say_what_to_do_and_end_what_is_in_vain() {
    let config = Config::new().other_app(OTHER_APP);
    let server = Server::start(&config);
    let url = format!("ws://{}", server.public);
    let folder = Folder::new();
    let other = ["--key", OTHER_APP.key, "--app", OTHER_APP.id];
    for (flags, expected) in [
        // Another app's secret.
        (
            &[&["private-x"], &other[..]].concat()[..],
            &[
                "Invalid signature",
                "The secret is not this app's",
                "no subscription is left",
            ][..],
        ),
        // No app.
        (
            &["x", "--key", "unknown"],
            &[
                "closed the connection with 4001",
                "No app of that server has this key",
            ],
        ),
        // No such path.
        (&["x", "--key", "a/b"], &["tidewire doctor"]),
    ] {
        let mut command = folder.tidewire(&["tail", "--url", &url]);
        command.env("TIDEWIRE_APP_SECRET", APP.secret);
        let output = run(command.args(flags));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for expected in expected {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(
            !text.contains(APP.secret) && !text.contains(OTHER_APP.secret),
            "{text}"
        );
    }

    // One of two is refused: the other one goes on.
    let mut command = folder.tidewire(&["tail", "x", "private-x", "--url", &url]);
    command.env("TIDEWIRE_APP_SECRET", "wrong");
    let mut tail = Running::start(command.args(other));
    tail.note("Invalid signature");
    server.post("/apps/app-id/events", "{}");
    let body = crate::harness::event_body("x", "y", "z");
    let published = crate::harness::Http::connect(server.public).signed(
        &OTHER_APP,
        "POST",
        "/apps/other-id/events",
        &body,
    );
    assert_eq!(published.status(), 200);
    assert!(tail.line().ends_with("x  y  z"));

    // Without a secret there is nothing to sign with.
    let mut command = folder.tidewire(&["tail", "private-x", "--url", &url]);
    let output = run(command.args(["--key", APP.key]));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("the app's secret is not known"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_is_in_the_way_of_the_first_connection_ends_it() {
    let folder = Folder::new();
    let hostile = "HTTP/1.1 502 Bad\u{1b}[2J\r\nServer: x\u{1b}[2J\r\nRetry-After: 1\r\n\r\n\u{1b}[2J\u{9b}2J";
    let nobody = tokio::net::TcpSocket::new_v4().expect("a socket");
    let loopback = "127.0.0.1:0".parse().expect("an address");
    nobody.bind(loopback).expect("a free port");
    for (address, expected) in [
        (
            nobody.local_addr().expect("an address"),
            "Nothing listens on",
        ),
        (answering(hostile), "cannot reach the server behind it"),
    ] {
        let mut command = with_credentials(&folder, &["tail", "x"]);
        let output = run(command.args(["--url", &format!("ws://{address}")]));
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    }
}

#[test]
fn an_app_that_is_switched_off_ends_it() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let mut tail = subscribed(&folder, &server, &["x"], &[]);
    server.rewrite(&Config::new().app("enabled", "false").toml());
    let (status, text) = tail.ended();
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("closed the connection with 4003"), "{text}");
    assert!(text.contains("Set enabled = true"), "{text}");
}

#[test]
fn an_origin_is_claimed() {
    let server = Server::start(&Config::new().app("allowed_origins", "[\"https://a.example\"]"));
    let folder = Folder::new();
    let mut tail = subscribed(&folder, &server, &["x"], &["--origin", "https://a.example"]);
    tail.all_notes();
    let mut command = asking(
        &folder,
        &server,
        &["tail", "x", "--origin", "https://b.example"],
    );
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("allowed_origins of the app"), "{text}");
}

#[test]
fn wrong_arguments() {
    let folder = Folder::new();
    for (arguments, expected) in [
        (&["tail"][..], "name at least one channel"),
        (&["tail", "a b"], "is no channel"),
        (
            &["tail", "x", "--user-data", "7"],
            "--user-data: expected a JSON object",
        ),
        (
            &["tail", "x", "--user-data", "{\"id\":7}"],
            "the user's \"id\" as a text",
        ),
        (&["tail", "x", "--user-info", "{}"], "--user-id"),
        (
            &["tail", "x", "--user-id", "7", "--user-info", "["],
            "--user-info: expected",
        ),
        (&["tail", "x", "--timeout=-1"], "negative"),
        (&["tail", "x", "--count", "0"], "--count"),
        (&["tail", "x", "--origin", "a b"], "expected an origin"),
    ] {
        let mut command = with_credentials(&folder, arguments);
        let output = run(command.args(["--url", "ws://127.0.0.1:1"]));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
