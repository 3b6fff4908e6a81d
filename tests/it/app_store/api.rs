//! The Apps API over each of the databases: a life, and Soketi's own table.

use serde_json::{Value, json};

use super::*;
use crate::apps_api::{ask, tag};

#[test]
fn an_app_is_created_changed_and_deleted_over_http() {
    for kind in DatabaseKind::ALL {
        let database = Database::new(kind);
        let server = Server::start(&config(&database, "create = true"));
        let created = ask(
            &server,
            "POST",
            "/apps",
            &json!({"id": "7", "name": "Shop Ü \"'"}),
            &[],
        );
        assert_eq!(created.status(), 201, "{kind:?}: {created:?}");
        let text =
            |key: &str| -> &'static str { created.json()[key].as_str().unwrap().to_owned().leak() };
        let shop = Credentials {
            id: "7",
            key: text("key"),
            secret: text("secret"),
        };
        let mut ws = subscribed(&server, &shop, "news");
        assert_eq!(publish(&server, &shop, "news").status(), 200, "{kind:?}");
        assert_eq!(ws.json()["event"], "e");

        let change =
            json!({"channels": [{"match": "a.*", "cache": true}], "limits": {"connections": 2}});
        let changed = ask(
            &server,
            "PATCH",
            "/apps/7",
            &change,
            &[("If-Match", &tag(&created))],
        );
        assert_eq!(changed.status(), 200, "{kind:?}: {changed:?}");
        assert_eq!(changed.json()["channels"][0]["match"], "a.*", "{kind:?}");
        let late = ask(
            &server,
            "PATCH",
            "/apps/7",
            &json!({"name": "x"}),
            &[("If-Match", &tag(&created))],
        );
        assert_eq!(late.status(), 412, "{kind:?}: {late:?}");
        let added = ask(&server, "POST", "/apps/7/secrets", &Value::Null, &[]);
        assert_eq!(added.json()["number"], 1, "{kind:?}: {added:?}");
        let removed = ask(&server, "DELETE", "/apps/7/secrets/0", &Value::Null, &[]);
        assert_eq!(removed.status(), 204, "{kind:?}: {removed:?}");
        assert_eq!(publish(&server, &shop, "news").status(), 401, "{kind:?}");
        let deleted = ask(&server, "DELETE", "/apps/7", &Value::Null, &[]);
        assert_eq!((deleted.status(), ws.closed().0), (204, 4001), "{kind:?}");
    }
}

#[test]
fn soketi_s_table_is_changed_as_far_as_it_has_columns() {
    for kind in DatabaseKind::ALL {
        let database = Database::new(kind);
        create_soketi_table(&database);
        insert(&database, &FIRST, PLAIN);
        let server = Server::start(&config(&database, ""));
        let fits = json!({"limits": {"connections": 5}, "client_events": true});
        let changed = ask(&server, "PATCH", "/apps/1", &fits, &[]);
        assert_eq!(changed.status(), 200, "{kind:?}: {changed:?}");
        let created = ask(&server, "POST", "/apps", &json!({"id": "9"}), &[]);
        assert_eq!(created.status(), 201, "{kind:?}: {created:?}");
        let before = tag(&ask(&server, "GET", "/apps/1", &Value::Null, &[]));
        for (method, path, body) in [
            (
                "PATCH",
                "/apps/1",
                json!({"channels": [{"match": "a.*", "cache": true}]}),
            ),
            ("POST", "/apps", json!({"name": "Shop"})),
            ("POST", "/apps/1/secrets", json!({})),
        ] {
            let refused = ask(&server, method, path, &body, &[]);
            assert_eq!(refused.status(), 409, "{kind:?} {method}: {refused:?}");
            let error = refused.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains("ALTER TABLE"), "{kind:?}: {error}");
        }
        assert_eq!(
            tag(&ask(&server, "GET", "/apps/1", &Value::Null, &[])),
            before,
            "{kind:?}"
        );
    }
}

#[test]
fn a_row_that_is_wrong_is_shown_and_can_be_put_right() {
    let database = Database::new(DatabaseKind::Sqlite);
    let server = Server::start(&config(&database, ""));
    for id in ["7", "8"] {
        let app =
            json!({"id": id, "key": format!("key-{id}"), "secret": "right-secret", "name": "x"});
        assert_eq!(ask(&server, "POST", "/apps", &app, &[]).status(), 201);
    }
    database.run("UPDATE apps SET tidewire = '{\"enabeld\": true, \"secrets\": [\"hidden-one\"]}'");
    let wrong = eventually(PATIENCE, "the rows are wrong", || {
        let all = ask(&server, "GET", "/apps", &Value::Null, &[]).json();
        (all["store"]["broken"].as_array()?.len() == 2).then_some(all)
    });
    let text = wrong.to_string();
    assert!(
        !text.contains("right-secret") && !text.contains("hidden-one"),
        "{text}"
    );
    let shown = ask(&server, "GET", "/apps/7", &Value::Null, &[]).json();
    assert_eq!(shown["id"], "7");
    let problem = &shown["status"]["problems"][0];
    assert_eq!(problem["field"], "enabeld", "{shown}");
    assert!(problem["error"].as_str().unwrap().contains("did you mean"));
    // What is still wrong is refused, and what puts it right is taken.
    let still = ask(&server, "PATCH", "/apps/7", &json!({"name": "y"}), &[]);
    assert_eq!(still.status(), 422, "{still:?}");
    let right = ask(&server, "PATCH", "/apps/7", &json!({"enabeld": null}), &[]);
    assert_eq!(
        (right.status(), &right.json()["status"]["problems"]),
        (200, &json!([]))
    );
    let app = Credentials {
        id: "7",
        key: "key-7",
        secret: "hidden-one",
    };
    assert_eq!(publish(&server, &app, "news").status(), 200);
    let deleted = ask(&server, "DELETE", "/apps/8", &Value::Null, &[]);
    assert_eq!(deleted.status(), 204, "{deleted:?}");
    let all = ask(&server, "GET", "/apps", &Value::Null, &[]).json();
    assert_eq!(all["store"]["broken"], json!([]));
}
