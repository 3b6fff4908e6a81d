//! Databases that are away, or refuse: what goes on, and what is said.

use std::process::ExitStatus;

use super::*;
use crate::harness::DatabaseServer;

/// How a server ends that cannot read its apps, and the last line of its log.
fn refused(url: &str, more: &str) -> (ExitStatus, String) {
    let (status, log) =
        Server::refused(&Config::new().more(&format!("[app_store]\nurl = {url:?}\n{more}\n")));
    assert!(!log.contains("s3cret"), "{log}");
    (status, log)
}

#[track_caller]
fn says(url: &str, more: &str, expected: &[&str]) {
    let (status, log) = refused(url, more);
    assert_eq!(status.code(), Some(78), "{url}: {log}");
    assert!(
        log.contains("cannot read the apps of [app_store]: "),
        "{log}"
    );
    for expected in expected {
        assert!(
            log.contains(expected),
            "{url}: {expected:?} is not in {log}"
        );
    }
}

#[test]
fn the_start_says_what_is_wrong_with_mariadb() {
    let server = DatabaseServer::shared(DatabaseKind::MariaDb);
    let database = server.new_database();
    let name = &database.name;
    let at = |login: &str| server.url(login, name);
    says(
        &at("known:s3cret"),
        "",
        &["Access denied", "check user and password in the url"],
    );
    says(
        &server.url("all", "nothing"),
        "",
        &["nothing", "check the database's name in the url"],
    );
    says(
        &at("all"),
        "",
        &["there is no table \"apps\" in this database: name it with table"],
    );
    database.run("CREATE TABLE apps (id varchar(9), secret varchar(9))");
    says(
        &at("all"),
        "",
        &["the table \"apps\" has no column key: apps need id, key and secret"],
    );
    says(
        &(at("safe") + "?ssl-mode=DISABLED"),
        "",
        &["Access denied", "ssl-mode=REQUIRED if it asks for TLS"],
    );
    let untrusted = at("all") + "?ssl-mode=VERIFY_CA";
    says(
        &untrusted,
        "",
        &["certificate", "check ssl-mode and ssl-ca"],
    );
    let trusted = format!(
        "{}?ssl-mode=VERIFY_IDENTITY&ssl-ca={}",
        at("safe"),
        server.authority()
    );
    says(&trusted, "", &["has no column key"]);
}

#[test]
fn the_start_says_what_is_wrong_with_postgresql() {
    let server = DatabaseServer::shared(DatabaseKind::Postgres);
    let database = server.new_database();
    let at = |login: &str| server.url(login, &database.name);
    says(
        &at("known:s3cret"),
        "",
        &["password authentication failed", "check user and password"],
    );
    says(
        &server.url("all", "nothing"),
        "",
        &["nothing", "check the database's name in the url"],
    );
    says(
        &at("all"),
        "",
        &["there is no table \"apps\" in this database"],
    );
    database.run("CREATE TABLE apps (id varchar(9), secret varchar(9))");
    says(&at("all"), "", &["the table \"apps\" has no column key"]);
    says(
        &(at("safe") + "?sslmode=disable"),
        "",
        &["pg_hba", "sslmode=require in the url if it asks for TLS"],
    );
    let untrusted = at("all") + "?sslmode=verify-ca";
    says(
        &untrusted,
        "",
        &["certificate", "sslmode and sslrootcert (PostgreSQL)"],
    );
    let trusted = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        at("safe"),
        server.authority()
    );
    says(&trusted, "", &["has no column key"]);
    database.run("CREATE ROLE mute LOGIN; ALTER TABLE apps ADD COLUMN key text");
    says(
        &at("mute"),
        "",
        &[
            "permission denied",
            "the user needs the right to read the table",
        ],
    );
}

#[test]
fn the_start_says_what_is_wrong_on_the_way() {
    let closed = crate::harness::free_port();
    for scheme in ["mysql", "postgres"] {
        let url = format!("{scheme}://me:s3cret@127.0.0.1:{closed}/apps");
        says(
            &url,
            "",
            &[
                "refused",
                "check host and port in the url, and that the database runs",
            ],
        );
    }
    says(
        "sqlite:///nowhere/at/all.db",
        "",
        &["or that its folder exists and may be written to"],
    );
    let (status, log) = refused("oracle://me:s3cret@host/db", "");
    assert_eq!(status.code(), Some(78));
    assert!(
        log.contains("url in [app_store]: expected a URL like"),
        "{log}"
    );
    let (_, log) = refused("mysql://me:s3cret@host/db?ssl_mode=REQUIRED", "");
    let expected = "unknown option \"ssl_mode\" behind the question mark; did you mean ssl-mode? Valid: ssl-mode, ";
    assert!(log.contains(expected), "{log}");
    let (_, log) = refused("postgres://me:what?s3cret=1@host/db", "");
    assert!(
        log.contains("expected %3F for a question mark in a password"),
        "{log}"
    );
    let (_, log) = refused("sqlite::memory:", "table = \"a;b\"");
    assert!(
        log.contains("table in [app_store]: expected the name of a table"),
        "{log}"
    );
}

#[test]
fn a_server_may_start_without_its_database() {
    let folder = crate::config::Folder::new();
    let path = folder.path().join("later/apps.db");
    let url = format!("sqlite:{}", path.display());
    let more = format!("[app_store]\nurl = {url:?}\nrefresh_seconds = 1\nstart_without = true\n");
    let server = Server::start(&Config::new().more(&more));
    assert_eq!(publish(&server, &APP, "x").status(), 200);
    let health = health(&server);
    assert_eq!(
        (&health["status"], &health["rows"]),
        (&"down".into(), &0.into())
    );
    assert!(
        health["down_since"].is_string() && health["read_at"].is_null(),
        "{health}"
    );
    assert_eq!(server.metric("app_store_up"), 0);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    await_health(&server, "that it is back", |health| {
        health["status"] == "up"
    });
    assert_eq!(server.metric("app_store_up"), 1);
}

/// Publishes to a client until the end of a test; nothing may be lost on the way.
struct Load<'a> {
    server: &'a Server,
    client: Ws,
}

impl Load<'_> {
    fn one(&mut self) {
        assert_eq!(publish(self.server, &FIRST, "x").status(), 200);
        assert!(self.client.text().contains(r#""event":"e""#));
    }
}

#[test]
fn the_last_state_goes_on_while_the_database_is_away() {
    let (mariadb, database, server) = goes_on_without(DatabaseKind::MariaDb);
    it_hangs(&mariadb, &database, &server);
}

#[test]
fn the_last_state_goes_on_while_postgresql_is_away() {
    goes_on_without(DatabaseKind::Postgres);
}

fn goes_on_without(kind: DatabaseKind) -> (DatabaseServer, Database, Server) {
    let mut daemon = DatabaseServer::start(kind);
    let database = daemon.new_database();
    create_soketi_table(&database);
    insert(&database, &FIRST, PLAIN);
    let config = config(&database, "");
    let server = Server::start(&config);
    let mut load = Load {
        client: subscribed(&server, &FIRST, "x"),
        server: &server,
    };
    load.one();

    daemon.stop();
    let down = eventually(PATIENCE, "/health says that it is away", || {
        load.one();
        let health = health(&server);
        (health["status"] == "down").then_some(health)
    });
    let problem = down["problem"].as_str().unwrap();
    assert!(
        problem.contains("check host and port in the url"),
        "{problem}"
    );
    assert_eq!(
        (&down["rows"], server.metric("app_store_up")),
        (&1.into(), 0)
    );
    // The file counts as always.
    crate::reload::change_now(
        &server,
        &config.clone().other_app(crate::harness::OTHER_APP),
    );
    assert_eq!(
        publish(&server, &crate::harness::OTHER_APP, "x").status(),
        200
    );
    load.one();

    daemon.restart();
    insert(&database, &SECOND, PLAIN);
    eventually(PATIENCE, "the new row is there", || {
        load.one();
        (publish(&server, &SECOND, "x").status() == 200).then_some(())
    });
    let health = health(&server);
    assert_eq!(
        (&health["status"], &health["down_since"]),
        (&"up".into(), &Value::Null)
    );
    let log = server.log();
    assert_eq!(
        log.matches("the apps of the database cannot be read")
            .count(),
        1,
        "{log}"
    );
    assert!(log.contains("the database of apps is back"), "{log}");
    drop(load);
    (daemon, database, server)
}

/// A database that hangs keeps nobody waiting either.
fn it_hangs(mariadb: &DatabaseServer, database: &Database, server: &Server) {
    mariadb.signal("STOP");
    await_health(server, "that it is away", |health| {
        health["status"] == "down"
    });
    assert_eq!(publish(server, &SECOND, "x").status(), 200);
    mariadb.signal("CONT");
    await_health(server, "that it is back", |health| health["status"] == "up");
    database.run("SET GLOBAL require_secure_transport = ON");
    let plain = database.url.clone() + "?ssl-mode=DISABLED";
    says(&plain, "", &["ssl-mode=REQUIRED if it asks for TLS"]);
}
