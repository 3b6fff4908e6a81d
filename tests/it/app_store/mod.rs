//! Apps in a database: MariaDB, PostgreSQL and SQLite.

mod api;
mod failures;
mod limits;
mod soketi;
mod writes;

use serde_json::Value;

use crate::harness::PATIENCE;
use crate::harness::{
    APP, Config, Credentials, Database, DatabaseKind, Http, Response, Server, Ws, event_body,
    eventually,
};

/// The apps of Soketi's table.
pub(super) const FIRST: Credentials = Credentials {
    id: "1",
    key: "first-key",
    secret: "first-secret",
};
pub(super) const SECOND: Credentials = Credentials {
    id: "2",
    key: "second-key",
    secret: "second-secret",
};
pub(super) const THIRD: Credentials = Credentials {
    id: "3",
    key: "third-key",
    secret: "third-secret",
};

/// A server that looks at a database every second, with more lines of `[app_store]`.
pub(super) fn config(database: &Database, more: &str) -> Config {
    Config::new().more(&format!(
        "[app_store]\nurl = {:?}\nrefresh_seconds = 1\n{more}\n",
        database.url
    ))
}

/// Creates the table of Soketi 1.6, as its documentation has it.
pub(super) fn create_soketi_table(database: &Database) {
    let (switch, number, small, json) = match database.kind {
        DatabaseKind::MariaDb => ("tinyint(1)", "integer(10)", "tinyint(1)", "json"),
        DatabaseKind::Postgres => ("smallint", "integer", "integer", "json"),
        DatabaseKind::Sqlite => ("tinyint(1)", "integer(10)", "tinyint(1)", "json"),
    };
    let key = database.quoted("key");
    database.run(&format!(
        "CREATE TABLE apps (
            id varchar(255) NOT NULL PRIMARY KEY, {key} varchar(255) NOT NULL, secret varchar(255) NOT NULL,
            max_connections {number} NOT NULL, enabled {switch} NOT NULL, enable_client_messages {switch} NOT NULL,
            max_backend_events_per_sec {number} NOT NULL, max_client_events_per_sec {number} NOT NULL,
            max_read_req_per_sec {number} NOT NULL, webhooks {json} NULL,
            max_presence_members_per_channel {small} NULL, max_presence_member_size_in_kb {small} NULL,
            max_channel_name_length {small} NULL, max_event_channels_at_once {small} NULL,
            max_event_name_length {small} NULL, max_event_payload_in_kb {small} NULL,
            max_event_batch_size {small} NULL, enable_user_authentication {switch} NOT NULL
        )"
    ));
}

/// Adds a row to Soketi's table: the columns behind the credentials, as SQL.
pub(super) fn insert(database: &Database, app: &Credentials, values: &str) {
    let key = database.quoted("key");
    let Credentials {
        id,
        key: app_key,
        secret,
    } = app;
    database.run(&format!(
        "INSERT INTO apps (id, {key}, secret, max_connections, enabled, enable_client_messages,
            max_backend_events_per_sec, max_client_events_per_sec, max_read_req_per_sec, webhooks,
            max_presence_members_per_channel, max_presence_member_size_in_kb, max_channel_name_length,
            max_event_channels_at_once, max_event_name_length, max_event_payload_in_kb, max_event_batch_size,
            enable_user_authentication)
         VALUES ('{id}', '{app_key}', '{secret}', {values})"
    ));
}

/// No limit, no client events, nothing else.
pub(super) const PLAIN: &str =
    "-1, 1, 0, -1, -1, -1, '[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0";

pub(super) fn target(app: &Credentials) -> String {
    format!("/app/{}?protocol=7&client=test&version=1.0.0", app.key)
}

/// A client of an app, subscribed to a channel.
pub(super) fn subscribed(server: &Server, app: &Credentials, channel: &str) -> Ws {
    let mut client = Ws::open(server, &target(app), &[]);
    client.established();
    client.subscribe(channel, None);
    if app.id != APP.id {
        // Its apps are told how many subscribers there are, as is the default.
        client.told("pusher_internal:subscription_count");
    }
    client
}

pub(super) fn publish(server: &Server, app: &Credentials, channel: &str) -> Response {
    let path = format!("/apps/{}/events", app.id);
    let body = event_body(channel, "e", "x");
    Http::connect(server.public).signed(app, "POST", &path, &body)
}

/// Publishes until it is answered so.
pub(super) fn await_status(server: &Server, app: &Credentials, status: u16) {
    eventually(PATIENCE, &format!("{} answers {status}", app.id), || {
        (publish(server, app, "nobody").status() == status).then_some(())
    });
}

/// What `/health` says of the store.
pub(super) fn health(server: &Server) -> Value {
    server.admin("/health").json()["app_store"].clone()
}

pub(super) fn await_health(server: &Server, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(PATIENCE, &format!("/health says {what}"), || {
        let health = health(server);
        is(&health).then_some(health)
    })
}
