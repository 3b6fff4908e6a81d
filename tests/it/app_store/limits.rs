//! More than is read.

use super::*;

#[test]
fn too_many_rows_change_nothing_and_too_long_ones_are_wrong() {
    let database = Database::new(DatabaseKind::Sqlite);
    create_soketi_table(&database);
    insert(&database, &FIRST, PLAIN);
    insert(&database, &SECOND, PLAIN);
    let server = Server::start(&config(&database, ""));
    let mut first = subscribed(&server, &FIRST, "x");
    let mut second = subscribed(&server, &SECOND, "x");

    database.run("UPDATE apps SET webhooks = printf('%.*c', 1048577, 'x') WHERE id = '2'");
    assert_eq!(second.closed().0, 4001);
    let rows = health(&server)["broken_rows"].clone();
    assert_eq!(rows[0]["problem"], "the row has more than 1048576 bytes");

    database.run(
        "INSERT INTO apps WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 100009)
         SELECT i, 'k' || i, '', -1, 1, 0, -1, -1, -1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0 FROM n",
    );
    let health = await_health(&server, "that there are too many", |health| {
        health["status"] == "down"
    });
    let problem = health["problem"].as_str().unwrap();
    assert!(
        problem.starts_with("the table has 100002 rows of "),
        "{problem}"
    );
    assert!(
        problem.ends_with(" bytes, more than 100000 or more than 268435456"),
        "{problem}"
    );
    assert_eq!(
        (&health["rows"], server.metric("app_store_up")),
        (&2.into(), 0)
    );
    first.silent();

    // As many as are read at a time and in which the log names few: they have no secret.
    database.run("DELETE FROM apps WHERE length(id) > 2");
    let health = await_health(&server, "that it is back", |health| {
        health["status"] == "up"
    });
    let (rows, broken) = (&health["rows"], health["broken"].as_u64().unwrap());
    assert!(broken > 10, "{rows} {broken}");
    let log = server.log();
    assert_eq!(
        log.matches("the row of this app in the database is wrong")
            .count(),
        11,
        "{log}"
    );
    assert!(
        log.contains(" more rows of the database are wrong, their apps are disabled"),
        "{log}"
    );
    first.silent();
}

#[test]
fn a_file_that_is_gone_is_not_a_table_without_apps() {
    let database = Database::new(DatabaseKind::Sqlite);
    create_soketi_table(&database);
    insert(&database, &FIRST, PLAIN);
    let server = Server::start(&config(&database, ""));
    let mut first = subscribed(&server, &FIRST, "x");
    let file = database.url.trim_start_matches("sqlite:");
    let (file, saved) = (std::path::Path::new(file), format!("{file}.saved"));
    std::fs::rename(file, &saved).unwrap();
    let health = await_health(&server, "that it is gone", |health| {
        health["status"] == "down"
    });
    assert!(
        health["problem"]
            .as_str()
            .unwrap()
            .contains("check that the file is there"),
        "{health}"
    );
    first.silent();
    assert!(!file.exists());

    // Another file in its place.
    create_soketi_table(&database);
    insert(&database, &SECOND, PLAIN);
    await_status(&server, &SECOND, 200);
    assert_eq!(first.closed().0, 4001);
    std::fs::rename(&saved, file).unwrap();
    await_status(&server, &FIRST, 200);
}

#[test]
fn apps_may_be_in_the_database_alone_and_its_settings_wait_for_a_restart() {
    let database = Database::new(DatabaseKind::Sqlite);
    create_soketi_table(&database);
    insert(&database, &FIRST, PLAIN);
    let without = Config::new().toml();
    let at = without.find("[[apps]]").expect("an app");
    let section = |refresh: u32| {
        format!(
            "{}[app_store]\nurl = \"${{APPS}}\"\nrefresh_seconds = {refresh}\n",
            &without[..at]
        )
    };
    let environment = [("APPS", database.url.as_str())];
    let server = Server::start_toml(&section(1), &environment);
    assert_eq!(publish(&server, &FIRST, "x").status(), 200);
    let shown = server.admin("/config").body;
    assert!(
        shown.contains("url = \"${APPS}\"") && !shown.contains("[[apps]]"),
        "{shown}"
    );
    server.rewrite(&section(2));
    eventually(PATIENCE, "the log says so", || {
        server
            .log()
            .contains("until then they have no effect: refresh_seconds in [app_store]")
            .then_some(())
    });
    assert_eq!(publish(&server, &FIRST, "x").status(), 200);
}
