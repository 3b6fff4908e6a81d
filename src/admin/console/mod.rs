//! The debug console: pages for operators (`assets`), their JSON API (`api`), and the feed that they watch (`feed`).
//!
//! The pages hold nothing secret and are for everybody who reaches this port; everything they ask is for an
//! [`SameOrigin`](super::access::SameOrigin).

mod api;
mod assets;
mod feed;
mod series;

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::web::{self, Payload, QueryConfig, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::protocol::parse_object;

pub(super) use series::Series;

use super::{read_at, sessions, write_at};

/// Adds the routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    let query = QueryConfig::default()
        .error_handler(|error, _| Problem::new(StatusCode::BAD_REQUEST, error.to_string()).into());
    let api = web::scope("/console/api")
        .app_data(query)
        .service(read_at("/session", api::session))
        .service(read_at("/series", api::series))
        .service(read_at("/apps/{app}/channels", api::channels))
        .service(read_at("/apps/{app}/channels/{channel}", api::channel))
        .service(read_at("/apps/{app}/connections", api::connections))
        .service(write_at(
            "/apps/{app}/connections/{socket_id}/close",
            api::close,
        ))
        .service(write_at("/apps/{app}/events", api::publish))
        .service(write_at("/signature", api::signature))
        .service(read_at("/feed", feed::watch))
        .default_service(web::to(api::unknown));
    config
        .service(api)
        .service(read_at("/console", assets::begin))
        .service(read_at("/console/", assets::index))
        .service(write_at(sessions::LOGIN, sessions::login))
        .service(write_at("/console/logout", sessions::logout))
        .service(read_at("/console/{file}", assets::file));
}

/// Where the pages are.
pub(super) use assets::begin;

/// An answer that is no success, as JSON: `{"error":"…"}`.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    text: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        problem(self.status, &self.text)
    }
}

/// The answer of a [`Problem`].
pub(super) fn problem(status: StatusCode, text: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({ "error": text }))
}

/// A refusal in the form that its path's clients read: JSON for the console's pages, else plain text.
pub(super) fn refusal(path: &str, status: StatusCode, text: &str) -> HttpResponse {
    if path.starts_with("/console/") {
        return problem(status, text);
    }
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .body(format!("{text}\n"))
}

/// Reads a body of JSON.
pub(super) async fn read<T: DeserializeOwned>(payload: Payload, most: usize) -> Result<T, Problem> {
    let too_large = |_| {
        let text = format!("The body is too large: the limit is {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let body = payload.to_bytes_limited(most).await.map_err(too_large)?;
    let body = body.map_err(|error| bad(format!("The body broke off: {error}")))?;
    let text = std::str::from_utf8(&body).map_err(|error| error.to_string());
    text.and_then(parse_object)
        .map_err(|reason| bad(format!("The body is not JSON as expected: {reason}")))
}
