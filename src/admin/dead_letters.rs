//! Dead letters: webhook requests that were given up, for people to look at and to send again.

use actix_web::HttpResponse;
use actix_web::web::{Data, Query};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::access::Operator;
use crate::clock::epoch_ms;
use crate::webhook::DeadLetter;

/// Which dead letters to queue again: all, or one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedeliverQuery {
    id: Option<u64>,
}

/// `GET /dead-letters`: `{"dead_letters":[{"id":1,"app":"…","url":"https://host/path","events":[…],
/// "first_attempt_ms":1327078148132,"last_attempt_ms":…,"error":"…"}]}`, times in milliseconds since 1970.
pub(super) async fn list(admin: Data<Admin>, _: Operator) -> HttpResponse {
    let letters = admin.api.dead_letters().await;
    let letters: Vec<Value> = letters.iter().map(to_json).collect();
    HttpResponse::Ok().json(json!({"dead_letters": letters}))
}

/// `POST /dead-letters/redeliver` queues the events of all letters again, with `?id=1` of one: `{"redelivered":1}`.
pub(super) async fn redeliver(
    admin: Data<Admin>,
    _: Operator,
    which: Query<RedeliverQuery>,
) -> HttpResponse {
    let redelivered = admin.api.redeliver(which.id).await;
    HttpResponse::Ok().json(json!({"redelivered": redelivered}))
}

fn to_json(letter: &DeadLetter) -> Value {
    // They are JSON of our own making.
    let event = |event: &std::sync::Arc<str>| serde_json::from_str(event).unwrap_or(Value::Null);
    json!({
        "id": letter.id,
        "app": *letter.app,
        "url": *letter.url,
        "events": letter.events.iter().map(event).collect::<Vec<Value>>(),
        "first_attempt_ms": epoch_ms(letter.first_attempt),
        "last_attempt_ms": epoch_ms(letter.last_attempt),
        "error": letter.error,
    })
}
