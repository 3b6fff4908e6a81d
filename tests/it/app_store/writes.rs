//! What operators write, in the three databases.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidewire::app_store::{AppStore, Change, Origin, WriteError};
use tidewire::config::{
    AppReader, AppStore as Settings, Database as Kind, Entries, Server as ServerSettings,
};

use super::*;

fn settings(database: &Database, create: bool) -> Settings {
    Settings {
        url: database.url.clone(),
        database: match database.kind {
            DatabaseKind::MariaDb => Kind::MySql,
            DatabaseKind::Postgres => Kind::Postgres,
            DatabaseKind::Sqlite => Kind::Sqlite,
        },
        table: "apps".to_owned(),
        refresh: Duration::from_secs(3600),
        create,
        start_without: false,
        folder: PathBuf::new(),
    }
}

fn entries(value: Value) -> Entries {
    match value {
        Value::Object(entries) => entries,
        other => panic!("{other} is no object"),
    }
}

/// Runs a test with a store that is kept.
fn with_store(database: &Database, create: bool, test: impl AsyncFn(Arc<AppStore>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let reader = AppReader::new(ServerSettings::default(), PathBuf::new());
        let opened = AppStore::open(Some(settings(database, create)), reader).await;
        let (store, keeper) = opened.unwrap_or_else(|error| panic!("{:?}: {error}", database.kind));
        let applied = store.apply(async |_| {});
        let run = keeper.expect("there is a table").run();
        tokio::select! {
            () = test(Arc::clone(&store)) => {}
            () = applied => panic!("it ends with the server only"),
            () = run => panic!("it ends with the server only"),
        }
    });
}

#[test]
fn apps_are_created_changed_and_deleted() {
    for kind in DatabaseKind::ALL {
        let database = Database::new(kind);
        with_store(&database, true, async |store| {
            let said = json!({
                "key": "k", "limits": {"connections": 5, "event_bytes": 10240, "channel_name_length": 200},
                "channels": [{"match": "news", "cache": true}],
                "webhooks": [{"url": "https://example.com/w"}],
            });
            let created = store.create(entries(said)).await.unwrap();
            let id = created.id.clone();
            assert!(
                id.len() == 10 && id.bytes().all(|b| b.is_ascii_digit()),
                "{id}"
            );
            let secret = created.shown["secret"].as_str().unwrap().to_owned();
            assert_eq!(secret.len(), 20);
            assert_eq!(created.origin, Origin::Table);
            assert_eq!(created.shown["limits"]["connections"], 5);
            // Soketi's columns have what they have room for.
            for (column, value) in [
                ("max_connections", "5"),
                ("enabled", "1"),
                ("max_event_payload_in_kb", "10"),
                ("max_client_events_per_sec", "10"),
                ("max_read_req_per_sec", "-1"),
            ] {
                let written = database.value("apps", column, &id);
                assert_eq!(written.as_deref(), Some(value), "{kind:?} {column}");
            }
            let own = database.value("apps", "tidewire", &id).unwrap();
            let own: Value = serde_json::from_str(&own).unwrap();
            assert_eq!(own["channels"][0]["match"], "news");
            assert_eq!(own["webhooks"][0]["url"], "https://example.com/w");

            changes(&store, &id).await;
            secrets(&store, &id, &secret).await;
            store.delete(&id, None).await.unwrap();
            assert!(store.get(&id).is_none());
            let gone = store.delete(&id, None).await;
            assert!(matches!(gone, Err(WriteError::NoApp(_))), "{gone:?}");
        });
    }
}

async fn changes(store: &AppStore, id: &str) {
    let listed = store.get(id).unwrap();
    assert_eq!(listed.shown["secret"], "***");
    assert_eq!(listed.shown["limits"]["channel_name_length"], 200);
    let tag = listed.tag.unwrap();
    let patch = |value| Change::Patch(entries(value));
    // A null is the default again; what is not said stays.
    let change =
        patch(json!({"limits": {"connections": null}, "client_events": true, "channels": null}));
    let changed = store.change(id, change, Some(&tag)).await.unwrap();
    assert_eq!(changed.shown["limits"]["connections"], Value::Null);
    assert_eq!(changed.shown["client_events"], true);
    assert_eq!(changed.shown["channels"], json!([]));
    assert_eq!(changed.shown["webhooks"][0]["url"], "https://example.com/w");
    let stale = store
        .change(id, patch(json!({"enabled": false})), Some(&tag))
        .await;
    assert!(matches!(stale, Err(WriteError::Changed)), "{stale:?}");
    // What is so already is no change.
    let again = store
        .change(id, patch(json!({"client_events": true})), None)
        .await
        .unwrap();
    assert_eq!(again.tag, changed.tag);

    let wrong = store
        .change(id, patch(json!({"limits": {"connections": "x"}})), None)
        .await;
    let Err(WriteError::Invalid(problems)) = wrong else {
        panic!("{wrong:?}")
    };
    assert_eq!(problems[0].field, "limits.connections");
    let other = store.create(entries(json!({"key": "k"}))).await;
    assert!(
        matches!(other, Err(WriteError::Taken("the key"))),
        "{other:?}"
    );
    let other = store.create(entries(json!({"id": id}))).await;
    assert!(
        matches!(other, Err(WriteError::Taken("the id"))),
        "{other:?}"
    );
}

async fn secrets(store: &AppStore, id: &str, first: &str) {
    let add = |text: &str| Change::AddSecret(text.to_owned());
    store.change(id, add("second"), None).await.unwrap();
    let three = store.change(id, add("third"), None).await.unwrap();
    assert_eq!(three.shown["secrets"], json!(["***", "***"]));
    assert!(!serde_json::to_string(&three.shown).unwrap().contains(first));
    let none = store.change(id, Change::RemoveSecret(3), None).await;
    assert!(matches!(none, Err(WriteError::NoSecret(3))), "{none:?}");
    store
        .change(id, Change::RemoveSecret(0), None)
        .await
        .unwrap();
    store
        .change(id, Change::RemoveSecret(1), None)
        .await
        .unwrap();
    let last = store.change(id, Change::RemoveSecret(0), None).await;
    assert!(matches!(last, Err(WriteError::LastSecret)), "{last:?}");
}

#[test]
fn soketis_own_table_is_written_as_far_as_it_goes() {
    for kind in DatabaseKind::ALL {
        let database = Database::new(kind);
        create_soketi_table(&database);
        let webhooks = r#"[{"url":"https://example.com/w","event_types":["channel_occupied"]}]"#;
        insert(&database, &FIRST, &PLAIN.replace("[]", webhooks));
        with_store(&database, false, async |store| {
            let patch = |value| Change::Patch(entries(value));
            let changed = store
                .change("1", patch(json!({"limits": {"connections": 7}})), None)
                .await
                .unwrap();
            assert_eq!(changed.shown["webhooks"][0]["url"], "https://example.com/w");
            let text = |column| database.value("apps", column, "1");
            assert_eq!(text("max_connections").unwrap(), "7");
            assert_eq!(text("webhooks").unwrap(), webhooks);

            let refused = store
                .change("1", Change::AddSecret("second".to_owned()), None)
                .await;
            let Err(WriteError::ReadOnly(why)) = refused else {
                panic!("{refused:?}")
            };
            let alter = why.split_once("add one with ").expect("a statement").1;
            assert!(
                why.starts_with("the table has no column for secrets: "),
                "{why}"
            );
            database.run(alter);
            store
                .change("1", Change::AddSecret("second".to_owned()), None)
                .await
                .unwrap();
            assert_eq!(text("secret").unwrap(), "first-secret");
            // More than a tinyint holds.
            let long = patch(json!({"limits": {"channel_name_length": 180}}));
            let changed = store.change("1", long, None).await.unwrap();
            assert_eq!(
                changed.shown["limits"]["channel_name_length"], 180,
                "{kind:?}"
            );
            let in_column = text("max_channel_name_length");
            assert_eq!(
                in_column.is_none(),
                kind == DatabaseKind::MariaDb,
                "{in_column:?}"
            );
        });
    }
}

#[test]
fn changes_at_the_same_time_wait_for_each_other() {
    let database = Database::new(DatabaseKind::Sqlite);
    with_store(&database, true, async |store| {
        let many = (0..100).map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let said = json!({ "key": format!("k{}", number / 2) });
                store.create(entries(said)).await.map(|app| app.id)
            })
        });
        let mut taken = 0;
        for task in many.collect::<Vec<_>>() {
            match task.await.unwrap() {
                Ok(_) => {}
                Err(WriteError::Taken("the key")) => taken += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(
            (taken, store.list(None, usize::MAX, |_| true).len()),
            (50, 50)
        );
        let some = store.list(None, 20, |_| true);
        let more = store.list(some.last().map(|app| app.id.as_str()), usize::MAX, |_| true);
        assert_eq!(more.len(), 30);
    });
}
