//! `GET /apps/{id}/channels/{name}/events`: what is kept of a channel, page by page.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::error::ApiError;
use super::events::{bad, channel_name};
use super::signed::Signed;
use crate::node::{LogId, Order};

/// The most events of a page.
const MAX_LIMIT: usize = 100;

/// A page, oldest first unless asked otherwise, and from where to go on.
pub(super) async fn page(signed: &Signed<'_>) -> Result<HttpResponse, ApiError> {
    let channel = channel_name(&signed.app, &signed.name())?;
    let limit = match signed.parameter("limit").map(str::parse) {
        None => MAX_LIMIT,
        Some(Ok(limit @ 1..=MAX_LIMIT)) => limit,
        Some(_) => {
            return Err(bad(format!(
                "limit should be a number from 1 to {MAX_LIMIT}"
            )));
        }
    };
    let order = match signed.parameter("order") {
        None | Some("asc") => Order::Ascending,
        Some("desc") => Order::Descending,
        Some(_) => return Err(bad("order should be asc or desc".to_owned())),
    };
    let after = signed.parameter("after").map(str::parse).transpose();
    let after =
        after.map_err(|_| bad("after should be an id from an earlier answer".to_owned()))?;
    let wanted = (order, after.map(LogId), limit);
    let page = signed.node().history(&signed.app, &channel, wanted).await?;
    let page = page.ok_or_else(|| ApiError::NoHistory(channel.as_str().to_owned()))?;
    let next = page.events.last().map(|event| event.id.0).or(after);
    let mut events = Vec::new();
    for event in &page.events {
        let Some(content) = event.content() else {
            continue;
        };
        let mut out = json!({
            "id": event.id.0,
            "name": content.name,
            "data": content.data,
            "time_ms": event.time_ms,
        });
        if let Some(user_id) = content.user_id {
            out["user_id"] = Value::String(user_id);
        }
        if let Some(socket_id) = event.except {
            out["socket_id"] = Value::String(socket_id.to_string());
        }
        events.push(out);
    }
    Ok(HttpResponse::Ok().json(json!({
        "events": events,
        "next": next,
        "complete": page.is_complete,
    })))
}
