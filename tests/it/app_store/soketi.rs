//! Soketi's own table, changed by SQL while clients are connected.

use std::thread;

use serde_json::json;

use super::*;
use crate::harness::{APP, Nodes, OTHER_APP, RedisServer};

/// The table with three rows: one without limits, one with, one that is disabled.
fn three_apps(database: &Database) {
    create_soketi_table(database);
    insert(database, &FIRST, PLAIN);
    let limited = "100, 1, 1, 100, 10, 100, '[]', 10, 2, 12, 10, 20, 1, 10, 0";
    insert(database, &SECOND, limited);
    insert(database, &THIRD, &PLAIN.replacen("-1, 1", "-1, 0", 1));
}

fn for_each(test: impl Fn(&Database) + Sync) {
    thread::scope(|scope| {
        for kind in DatabaseKind::ALL {
            let test = &test;
            scope.spawn(move || test(&Database::new(kind)));
        }
    });
}

#[test]
fn rows_are_served_and_change_while_clients_are_connected() {
    for_each(|database| {
        three_apps(database);
        let mut server = Server::start(&config(database, ""));
        let mut first = subscribed(&server, &FIRST, "x");
        let mut second = subscribed(&server, &SECOND, "x");
        let mut of_file = subscribed(&server, &APP, "x");
        assert_eq!(Ws::open(&server, &target(&THIRD), &[]).closed().0, 4003);
        assert_eq!(publish(&server, &FIRST, "x").status(), 200);
        assert!(first.text().contains(r#""event":"e""#));
        assert_eq!(
            publish(&server, &SECOND, "a-name-of-22-characters").status(),
            400
        );
        assert_eq!(publish(&server, &THIRD, "x").status(), 403);
        assert_eq!(health(&server)["rows"], 3);

        // A new app.
        insert(database, &OTHER_APP, PLAIN);
        await_status(&server, &OTHER_APP, 200);
        // Other limits.
        database.run("UPDATE apps SET max_channel_name_length = 100 WHERE id = '2'");
        eventually(PATIENCE, "the limit is another", || {
            (publish(&server, &SECOND, "a-name-of-22-characters").status() == 200).then_some(())
        });
        // Another secret.
        database.run("UPDATE apps SET secret = 'rotated' WHERE id = '1'");
        await_status(
            &server,
            &Credentials {
                secret: "rotated",
                ..FIRST
            },
            200,
        );
        assert_eq!(publish(&server, &FIRST, "x").status(), 401);
        // An app that comes back, one that is disabled, one that goes.
        database.run("UPDATE apps SET enabled = 1 WHERE id = '3'");
        await_status(&server, &THIRD, 200);
        database.run("UPDATE apps SET enabled = 0 WHERE id = '2'");
        assert_eq!(second.closed().0, 4003);
        let mut third = subscribed(&server, &THIRD, "x");
        database.run("DELETE FROM apps WHERE id = '3'");
        assert_eq!(third.closed().0, 4001);

        // Nobody else has noticed.
        first.silent();
        of_file.silent();
        let rotated = Credentials {
            secret: "rotated",
            ..FIRST
        };
        assert_eq!(publish(&server, &rotated, "x").status(), 200);
        assert!(first.text().contains(r#""event":"e""#));

        // The connection to the database ends with the server.
        drop((first, of_file));
        server.terminate();
        assert!(server.exit_status().success(), "{}", server.log());
        assert!(!server.log().contains("panicked"), "{}", server.log());
    });
}

#[test]
fn a_wrong_row_disables_its_app_alone() {
    for_each(|database| {
        three_apps(database);
        let server = Server::start(&config(database, ""));
        let mut first = subscribed(&server, &FIRST, "x");
        let mut second = subscribed(&server, &SECOND, "x");
        let wrong = r#"[{"url":"ftp://example.com","event_types":["channel_occupied"]}]"#;
        database.run(&format!(
            "UPDATE apps SET webhooks = '{wrong}' WHERE id = '1'"
        ));
        assert_eq!(first.closed().0, 4001);
        let health = await_health(&server, "which row is wrong", |health| {
            health["broken"] == 1
        });
        assert_eq!(health["broken_rows"][0]["id"], "1");
        let problem = health["broken_rows"][0]["problem"].as_str().unwrap();
        assert!(
            problem.starts_with("url in [[apps.webhooks]]: "),
            "{problem}"
        );
        assert_eq!(server.metric("app_store_broken_rows"), 1);
        assert!(
            server
                .log()
                .contains("the row of this app in the database is wrong")
        );
        second.silent();

        database.run("UPDATE apps SET webhooks = NULL WHERE id = '1'");
        await_status(&server, &FIRST, 200);
        assert_eq!(super::health(&server)["broken"], 0);
        second.silent();
    });
}

#[test]
fn the_file_wins_and_the_log_says_so() {
    let database = Database::new(DatabaseKind::Sqlite);
    create_soketi_table(&database);
    let of_id = Credentials {
        id: APP.id,
        ..FIRST
    };
    let of_key = Credentials {
        key: APP.key,
        ..SECOND
    };
    let other = Credentials { id: "4", ..THIRD };
    for app in [&of_id, &of_key, &THIRD, &other] {
        insert(&database, app, PLAIN);
    }
    let server = Server::start(&config(&database, ""));
    assert_eq!(publish(&server, &APP, "x").status(), 200);
    assert_eq!(publish(&server, &THIRD, "x").status(), 200);
    for app in [of_key, other] {
        assert_eq!(publish(&server, &app, "x").status(), 404);
    }
    let rows = health(&server)["broken_rows"].clone();
    let ids: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["2", "4", "app-id"]);
    assert_eq!(
        rows[1]["problem"],
        "it has no effect: app 3 of the table has its key"
    );
    assert_eq!(server.log().matches("has no effect").count(), 3);

    // Without the file's app the rows count.
    let mut config = config(&database, "").toml();
    config = config.replace("app-id", "5").replace("app-key", "5-key");
    server.rewrite(&config);
    await_status(&server, &of_id, 200);
    assert_eq!(health(&server)["broken"], 1);
}

#[test]
fn columns_of_other_names_types_and_meanings_are_understood() {
    for_each(|database| {
        create_panels_table(database);
        let server = Server::start(&config(database, "table = \"applications\""));
        let further = Credentials {
            secret: "further-secret",
            ..FIRST
        };
        assert_eq!(publish(&server, &further, "news").status(), 200);
        assert!(
            server
                .log()
                .contains("the webhooks are no list of objects and count as none")
        );
        // The rule keeps the last event.
        let mut client = Ws::open(&server, &target(&FIRST), &[]);
        client.established();
        client.subscribe("news", None);
        assert!(client.text().contains(r#""event":"e""#));
        client.told("pusher_internal:subscription_count");
        // Half a kilobyte.
        let big = |length| {
            let body = event_body("news", "e", &"x".repeat(length));
            Http::connect(server.public)
                .signed(&FIRST, "POST", "/apps/1/events", &body)
                .status()
        };
        assert_eq!((big(512), big(513)), (200, 413));
        client.text();
        // Client events are on.
        let auth = FIRST.channel_auth(client.socket_id(), "private-x", None);
        let data = json!({ "event": "pusher:subscribe", "data": { "channel": "private-x", "auth": auth } });
        client.send(&data.to_string());
        client.told("pusher_internal:subscription_succeeded");
        client.told("pusher_internal:subscription_count");
        client.send(r#"{"event":"client-e","channel":"private-x","data":"x"}"#);
        client.silent();

        its_own_column_is_strict(database, &server);
        assert_eq!(client.closed().0, 4001);
    });
}

/// The column is read as strictly as the file.
fn its_own_column_is_strict(database: &Database, server: &Server) {
    for (own, expected) in [
        (
            r#"{"chanels":[]}"#,
            "unknown key \"chanels\" in [[apps]]; did you mean \"channels\"?",
        ),
        (
            r#"{"limits":{"connections_per_user":0}}"#,
            "connections_per_user in [apps.limits]: expected",
        ),
        ("[]", "expected a JSON object, in the words of [[apps]]"),
        (
            r#"{"secrets":["${HOME}"]}"#,
            "secrets in [[apps]]: expected the secret itself",
        ),
    ] {
        database.run(&format!("UPDATE applications SET tidewire = '{own}'"));
        let health = await_health(server, expected, |health| {
            health["broken_rows"][0]["problem"]
                .as_str()
                .is_some_and(|text| text.contains(expected))
        });
        assert_eq!(health["broken"], 1, "{own}");
    }
}

/// The table of a panel: it has columns of its own, and Soketi's in part and in camel case.
fn create_panels_table(database: &Database) {
    let switch = match database.kind {
        DatabaseKind::Postgres => "boolean",
        _ => "tinyint(1)",
    };
    let (key, messages) = (
        database.quoted("key"),
        database.quoted("enableClientMessages"),
    );
    let payload = database.quoted("maxEventPayloadInKb");
    let own = if database.kind == DatabaseKind::Sqlite {
        "text"
    } else {
        "json"
    };
    database.run(&format!(
            "CREATE TABLE applications (name varchar(20) NOT NULL, id integer NOT NULL PRIMARY KEY,
                {key} varchar(50) NOT NULL, secret varchar(50) NOT NULL, enabled {switch} NOT NULL,
                {messages} {switch} NULL, {payload} decimal(5,2) NULL, webhooks varchar(500) NULL, tidewire {own} NULL)"
        ));
    let own = r#"{"secrets":["further-secret"],"channels":[{"match":"news","cache":true}]}"#;
    database.run(&format!(
            "INSERT INTO applications VALUES ('Shop', 1, 'first-key', 'first-secret', {}, {}, 0.5, 'none', '{own}')",
            if switch == "boolean" { "true" } else { "1" },
            if switch == "boolean" { "true" } else { "1" },
        ));
}

#[test]
fn a_change_holds_on_all_nodes() {
    let (database, redis) = (Database::new(DatabaseKind::Sqlite), RedisServer::shared());
    create_soketi_table(&database);
    insert(&database, &FIRST, PLAIN);
    let nodes = Nodes::over(redis, 2, &config(&database, ""));
    let mut clients: Vec<Ws> = (0..2).map(|at| subscribed_on(&nodes, at)).collect();
    insert(&database, &SECOND, PLAIN);
    for node in [&nodes[0], &nodes[1]] {
        await_status(node, &SECOND, 200);
    }
    assert_eq!(publish(&nodes[0], &FIRST, "of-node-1").status(), 200);
    assert!(clients[1].text().contains(r#""event":"e""#));
    database.run("UPDATE apps SET enabled = 0 WHERE id = '1'");
    for client in &mut clients {
        assert_eq!(client.closed().0, 4003);
    }
}

fn subscribed_on(nodes: &Nodes, at: usize) -> Ws {
    subscribed(&nodes[at], &FIRST, &format!("of-node-{at}"))
}
