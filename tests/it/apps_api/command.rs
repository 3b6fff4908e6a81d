//! `tidewire apps`, as somebody beside the server has it.

use serde_json::{Value, json};

use super::*;
use crate::config::{run, stderr, stdout};
use crate::harness::{Message, PATIENCE, eventually};

/// The exit code, stdout and stderr.
type Ended = (i32, String, String);

/// Runs the command with these arguments.
type Apps<'a> = &'a dyn Fn(&[&str]) -> Ended;

/// The command, with the server named.
fn apps(folder: &Folder, server: &Server, arguments: &[&str]) -> Ended {
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

    the_command_shows(&apps, &shop);
    the_command_rotates(&apps, &server, &shop);

    assert_eq!(apps(&["disable", "7"]).0, 0);
    // Before that come the events that were published above.
    let code = eventually(PATIENCE, "the connection is closed", || match ws.next() {
        Message::Close(code, _) => Some(code),
        _ => None,
    });
    assert_eq!(code, 4003);
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

/// What the command says of the new app.
fn the_command_shows(apps: Apps<'_>, shop: &Credentials) {
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
}

/// A secret for another, with both in between.
fn the_command_rotates(apps: Apps<'_>, server: &Server, shop: &Credentials) {
    let (code, rotated, _) = apps(&["rotate", "7"]);
    let next = Credentials {
        secret: behind(&rotated, "secret").to_owned().leak(),
        ..*shop
    };
    assert_eq!(
        (code, publish(server, shop), publish(server, &next)),
        (0, 200, 200)
    );
    assert_eq!(apps(&["rotate", "7", "--remove", "0"]).0, 0);
    assert_eq!((publish(server, shop), publish(server, &next)), (401, 200));
    let (code, _, err) = apps(&["rotate", "7", "--remove", "0"]);
    assert_eq!(code, 1);
    assert!(err.contains("409") && err.contains("last secret"), "{err}");
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
