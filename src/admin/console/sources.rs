//! The section Sources: an app's sources with what was delivered last, and what one would publish for a delivery.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::web::{Data, Path, Payload};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::SystemTime;

use super::api::{ApiResult, REQUEST_BYTES};
use crate::admin::Admin;
use crate::admin::access::SameOrigin;
use crate::admin::problem::{Problem, read};
use crate::clock;
use crate::http::dry_run;
use crate::protocol::excerpt;
use crate::source::{Delivery, Source, header_line};

/// `GET apps/{id}/sources`: in the order of the configuration, with the last deliveries to this node.
pub(super) async fn list(admin: Data<Admin>, _: SameOrigin, app: Path<String>) -> ApiResult {
    let app = admin.app(&app)?;
    let source = |source: &Source| {
        json!({
            "name": source.name, "kind": source.kind, "routes": source.routes.len(), "stores": source.store.is_some(),
            "deliveries": source.history.list(),
        })
    };
    let sources: Vec<Value> = app.sources.iter().map(source).collect();
    Ok(HttpResponse::Ok().json(json!({ "sources": sources })))
}

#[derive(Deserialize)]
struct PastedDelivery {
    /// `Name: value` on each line.
    #[serde(default)]
    headers: String,
    body: String,
}

/// `POST apps/{id}/sources/{name}/test`: the events that a delivery would become, or the problem with it. Nothing is
/// verified or published.
pub(super) async fn test(
    admin: Data<Admin>,
    _: SameOrigin,
    path: Path<(String, String)>,
    payload: Payload,
) -> ApiResult {
    let (app, name) = path.into_inner();
    let app = admin.app(&app)?;
    let source = app.source(&name).ok_or_else(|| {
        let text = format!("No source {:?} of this app", excerpt(&name));
        Problem::new(StatusCode::NOT_FOUND, text)
    })?;
    let pasted: PastedDelivery = read(payload, REQUEST_BYTES).await?;
    let lines = pasted
        .headers
        .lines()
        .filter(|line| !line.trim().is_empty());
    let headers: Result<HeaderMap, String> = lines.map(header_line).collect();
    let routed = headers.and_then(|headers| {
        let delivery = Delivery {
            headers: &headers,
            body: pasted.body.as_bytes(),
            time_ms: clock::epoch_ms(SystemTime::now()),
        };
        dry_run(&app, source, delivery)
    });
    Ok(match routed {
        Ok(routed) => HttpResponse::Ok().json(routed),
        Err(problem) => HttpResponse::Ok().json(json!({ "problem": problem })),
    })
}
