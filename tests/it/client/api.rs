//! `channels`, `history`, `members`, `trigger` and `terminate` against a real server.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{Running, asking, with_credentials};
use crate::config::{Folder, run, stderr, stdout};
use crate::harness::{APP, Config, Server, Ws, free_port};

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    stdout(output)
}

#[test]
fn channels_and_members_are_listed() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let ask = |arguments: &[&str]| succeeded(&run(&mut asking(&folder, &server, arguments)));
    assert_eq!(ask(&["channels"]), "No channel is occupied.\n");
    assert_eq!(
        ask(&["members", "presence-x"]),
        "Nobody is on presence-x.\n"
    );

    let mut one = Ws::subscribed(&server, "invoice.7");
    one.subscribe("presence-x", Some(r#"{"user_id":"ada"}"#));
    let mut other = Ws::subscribed(&server, "invoice.7");
    other.subscribe("presence-x", Some(r#"{"user_id":"bob"}"#));
    assert_eq!(
        ask(&["channels"]),
        "CHANNEL     SUBSCRIPTIONS\ninvoice.7   2\npresence-x  2\n"
    );
    assert_eq!(
        ask(&["channels", "--prefix", "presence-"]),
        "CHANNEL     SUBSCRIPTIONS  USERS\npresence-x  2              2\n"
    );
    let users = ["channels", "--prefix", "presence-", "--info", "user_count"];
    assert_eq!(ask(&users), "CHANNEL     USERS\npresence-x  2\n");
    assert_eq!(
        ask(&["channels", "--prefix", "invoice", "--json"]),
        "{\"channels\":{\"invoice.7\":{\"subscription_count\":2}}}\n"
    );
    assert_eq!(ask(&["members", "presence-x"]), "USER\nada\nbob\n");
    assert_eq!(
        ask(&["members", "presence-x", "--json"]),
        "{\"users\":[{\"id\":\"ada\"},{\"id\":\"bob\"}]}\n"
    );
}

/// What is printed of an event, without its time.
fn untimed(line: &str) -> &str {
    let (time, rest) = line.split_at("2026-11-29 19:01:04.610".len());
    let is_of_time = |c: char| c.is_ascii_digit() || "-:. ".contains(c);
    assert!(time.chars().all(is_of_time), "{line}");
    rest
}

#[test]
fn history_is_printed_to_its_end_and_followed() {
    const EVENTS: usize = 230;
    let rule = r#"[{ match = "log.*", history = { events = 1000, seconds = 600 } }]"#;
    let server = Server::start(&Config::new().app("channels", rule));
    let folder = Folder::new();
    let ask = |arguments: &[&str]| run(&mut asking(&folder, &server, arguments));
    assert_eq!(
        succeeded(&ask(&["history", "log.1"])),
        "No event is kept of log.1.\n"
    );
    for n in 0..EVENTS {
        server.trigger("log.1", "e", &format!("{n}\u{1b}"));
    }
    let printed = succeeded(&ask(&["history", "log.1"]));
    let lines: Vec<&str> = printed.lines().map(untimed).collect();
    let expected: Vec<String> = (0..EVENTS).map(|n| format!("  e  {n}\\u{{1b}}")).collect();
    assert_eq!(lines, expected);
    let pages = succeeded(&ask(&["history", "log.1", "--json"]));
    let pages: Vec<Value> = pages
        .lines()
        .map(|page| serde_json::from_str(page).unwrap())
        .collect();
    let lengths = pages
        .iter()
        .map(|page| page["events"].as_array().unwrap().len());
    assert_eq!(lengths.collect::<Vec<_>>(), [100, 100, 30]);

    let mut follows = Running::start(&mut asking(
        &folder,
        &server,
        &["history", "log.2", "--follow"],
    ));
    for n in 0..3 {
        server.trigger("log.2", "e", &n.to_string());
        assert_eq!(untimed(&follows.line()), format!("  e  {n}"));
    }
    let refused = ask(&["history", "other", "--follow"]);
    assert_eq!(refused.status.code(), Some(1));
    let expected = "the server answered 404: Nothing is kept of the channel other";
    assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
}

/// A server that is away for a moment, or has lost what comes next, does not end it.
#[test]
fn history_is_followed_over_a_restart() {
    let rule = r#"[{ match = "log.*", history = { events = 3, seconds = 600 } }]"#;
    let port = free_port();
    let config = Config::new()
        .app("channels", rule)
        .server("port", &port.to_string());
    let server = Server::start(&config);
    let folder = Folder::new();
    let mut follows = Running::start(&mut asking(
        &folder,
        &server,
        &["history", "log.1", "--follow"],
    ));
    server.trigger("log.1", "e", "0");
    assert_eq!(untimed(&follows.line()), "  e  0");
    server.kill();
    follows.note("asking again");
    let server = Server::start(&config);
    server.trigger("log.1", "e", "1");
    assert_eq!(untimed(&follows.line()), "  e  1");
    follows.note("events are missing here");
}

#[test]
fn what_is_refused_is_said() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    for (arguments, code, expected) in [
        (
            &["members", "x"][..],
            2,
            "only presence channels have members",
        ),
        (&["members", "presence-ü"], 2, "is not allowed"),
        (
            &["channels", "--info", "user_count"],
            1,
            "the server answered 400: user_count may only be requested",
        ),
        (&["terminate", ""], 2, "the user's id is empty"),
        (
            &["trigger", "a b", "x", "{}"],
            1,
            "the server answered 400: Invalid channel name",
        ),
    ] {
        let output = run(&mut asking(&folder, &server, arguments));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn trigger_reaches_several_channels_but_not_the_excluded_connection() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let mut sender = Ws::subscribed(&server, "a");
    let mut one = Ws::subscribed(&server, "a");
    let mut other = Ws::subscribed(&server, "b");
    let socket_id = sender.socket_id().to_owned();
    let arguments = [
        "trigger",
        "a",
        "paid",
        "-",
        "--channel",
        "b",
        "--socket-id",
        &socket_id,
        "--info",
        "subscription_count",
    ];
    let mut command = asking(&folder, &server, &arguments);
    let output = piped(&mut command, "{\"sum\":\n1}\r\n");
    assert_eq!(
        succeeded(&output),
        "CHANNEL  SUBSCRIPTIONS\na        2\nb        1\n"
    );
    for (ws, channel) in [(&mut one, "a"), (&mut other, "b")] {
        let frame = ws.json();
        assert_eq!(
            (
                frame["event"].as_str(),
                frame["channel"].as_str(),
                frame["data"].as_str()
            ),
            (Some("paid"), Some(channel), Some("{\"sum\":\n1}"))
        );
    }
    // What comes next on the excluded connection is the next event.
    server.trigger("a", "next", "{}");
    assert_eq!(sender.json()["event"], "next");
}

#[test]
fn trigger_with_a_key_publishes_once_and_says_so() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let mut ws = Ws::subscribed(&server, "a");
    let trigger = |data: &str| {
        let arguments = ["trigger", "a", "paid", data, "--idempotency-key", "k"];
        run(&mut asking(&folder, &server, &arguments))
    };
    let first = trigger("1");
    assert_eq!(
        (succeeded(&first).as_str(), stderr(&first).as_str()),
        ("{}\n", "")
    );
    let repeat = trigger("1");
    assert_eq!(succeeded(&repeat), "{}\n");
    assert!(stderr(&repeat).contains("published before with this key"));
    let other = trigger("2");
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("409"), "{}", stderr(&other));
    assert_eq!(ws.json()["data"], "1");
    ws.silent();
}

fn piped(command: &mut Command, text: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).expect("a reader");
    drop(stdin);
    child.wait_with_output().expect("an end")
}

#[test]
fn terminate_ends_a_users_connections() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let mut ada = Ws::signed_in(&server, r#"{"id":"ada.1"}"#);
    let mut bob = Ws::signed_in(&server, r#"{"id":"bob"}"#);
    let output = run(&mut asking(&folder, &server, &["terminate", "ada.1"]));
    assert!(succeeded(&output).contains("The connections of user ada.1"));
    assert!(ada.text().contains("4009"));
    assert_eq!(ada.closed().0, 4009);
    bob.subscribe("x", None);
    let output = run(&mut asking(
        &folder,
        &server,
        &["terminate", "nobody", "--json"],
    ));
    assert_eq!(succeeded(&output), "{}\n");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn credentials_come_from_flags_files_the_environment_and_the_configuration() {
    let server = Server::start(&Config::new());
    let url = format!("ws://{}", server.public);
    let folder = Folder::new();
    folder.write("secret", "app-secret\r\n");
    folder.write("wrong", "another");
    folder.write("empty", "\n");
    folder.write(
        "mine.toml",
        "[[apps]]\nid = \"app-id\"\nkey = \"app-key\"\nsecret = \"app-secret\"\n",
    );
    let app = ["--app-id", APP.id, "--key", APP.key];
    let environment = [
        ("TIDEWIRE_APP_ID", APP.id),
        ("TIDEWIRE_APP_KEY", APP.key),
        ("TIDEWIRE_APP_SECRET", APP.secret),
    ];
    for (flags, variables, code, expected) in [
        (
            &[&app[..], &["--secret", APP.secret]].concat()[..],
            &[][..],
            0,
            "",
        ),
        (
            &[&app[..], &["--secret-file", "secret"]].concat(),
            &[],
            0,
            "",
        ),
        (&app[..], &environment[2..], 0, ""),
        (&["--secret", APP.secret], &environment[..2], 0, ""),
        (&[], &environment, 0, ""),
        (&["--config", "mine.toml"], &[], 0, ""),
        (&["--config", "mine.toml", "--key", APP.key], &[], 0, ""),
        (
            &[&app[..], &["--secret-file", "wrong"]].concat(),
            &[],
            1,
            "401: Invalid signature",
        ),
        // A flag counts more than the environment.
        (
            &[&app[..], &["--secret", "x"]].concat(),
            &environment,
            1,
            "401: Invalid signature",
        ),
        (
            &[&app[..], &["--secret-file", "empty"]].concat(),
            &[],
            2,
            "--secret-file: empty: expected a secret text, found an empty one",
        ),
        (
            &[&app[..], &["--secret-file", "none"]].concat(),
            &[],
            2,
            "--secret-file: cannot read none",
        ),
        (
            &app,
            &[],
            2,
            "needs the secret of the app with the key app-key",
        ),
        (
            &["--key", APP.key, "--secret", APP.secret],
            &[],
            2,
            "needs the id of the app",
        ),
        (&["--secret", "x"], &[], 2, "which app? Give its key too"),
        (&[], &[], 78, "--app, --key and --secret-file"),
        (&["--cluster", "mt1"], &[], 2, "cannot be used with"),
    ] {
        let mut command = folder.tidewire(&["channels", "--url", &url]);
        command.args(flags).envs(variables.iter().copied());
        let output = run(&mut command);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {text}");
        assert!(text.contains(expected), "{flags:?}: {text}");
        assert!(!text.contains(APP.secret), "{text}");
    }
}

#[test]
fn a_url_is_one_of_a_server() {
    let folder = Folder::new();
    for (flags, expected) in [
        (&["--url", "example.com"][..], "--url: expected a URL like"),
        (
            &["--url", "ws://a/app/key"],
            "--url: expected a URL that ends before /app",
        ),
        (
            &["--cluster", "a/b"],
            "--cluster: expected the name of a Pusher cluster",
        ),
        (
            &["--url", "https://a", "--ca-file", "none"],
            "--ca-file: cannot read none",
        ),
    ] {
        let mut command = with_credentials(&folder, &["channels"]);
        let output = run(command.args(flags));
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
