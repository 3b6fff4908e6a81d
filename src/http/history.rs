//! `GET /apps/{id}/channels/{name}/events`: what is kept of a channel, page by page.

use actix_web::HttpResponse;
use serde::Serialize;

use super::error::ApiError;
use super::events::{bad, channel_name};
use super::signed::Signed;
use crate::node::{LogEvent, LogId, Order};

/// The most events of a page.
const MAX_LIMIT: usize = 100;

/// An event of the past: `{"id":1,"name":"e","data":"…","time_ms":1,"user_id":"7","socket_id":"1.2"}`.
#[derive(Serialize)]
pub struct PastEvent {
    id: u64,
    name: String,
    data: String,
    time_ms: u64,
    /// Whose it is, of a client event on a presence channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// The connection that did not get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
}

#[derive(Serialize)]
struct Page {
    events: Vec<PastEvent>,
    /// What `after` is to be next.
    next: Option<u64>,
    complete: bool,
}

impl PastEvent {
    /// The event of a log entry. None if the entry holds no event, which is never logged.
    pub fn of(event: &LogEvent) -> Option<Self> {
        let content = event.content()?;
        Some(Self {
            id: event.id.0,
            name: content.name,
            data: content.data,
            time_ms: event.time_ms,
            user_id: content.user_id,
            socket_id: event.except.map(|except| except.to_string()),
        })
    }
}

/// A page, from the oldest event on unless asked otherwise, and from where to go on.
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
    Ok(HttpResponse::Ok().json(Page {
        events: page.events.iter().filter_map(PastEvent::of).collect(),
        next: page.events.last().map(|event| event.id.0).or(after),
        complete: page.is_complete,
    }))
}
