//! The debug console: pages for operators (`assets`), what they ask (`answers`), and the feed that they watch (`feed`).
//!
//! The pages hold nothing secret and are for everybody who reaches this port; everything they ask is for an
//! [`OwnPage`](super::access::OwnPage).

mod answers;
mod assets;
mod feed;
mod series;

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::web::{self, Payload, QueryConfig, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};
use serde::de::DeserializeOwned;
use serde_json::json;

pub(super) use series::Series;

use super::sessions;

/// Adds the routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    let query = QueryConfig::default()
        .error_handler(|error, _| Problem::new(StatusCode::BAD_REQUEST, error.to_string()).into());
    let api = web::scope("/console/api")
        .app_data(query)
        .route("/session", web::get().to(answers::session))
        .route("/series", web::get().to(answers::series))
        .route("/apps/{app}/channels", web::get().to(answers::channels))
        .route(
            "/apps/{app}/channels/{channel}",
            web::get().to(answers::channel),
        )
        .route(
            "/apps/{app}/connections",
            web::get().to(answers::connections),
        )
        .route(
            "/apps/{app}/connections/{socket_id}/close",
            web::post().to(answers::close),
        )
        .route("/apps/{app}/events", web::post().to(answers::publish))
        .route("/signature", web::post().to(answers::signature))
        .route("/feed", web::get().to(feed::watch))
        .default_service(web::to(answers::unknown));
    config
        .service(api)
        .route("/console", web::get().to(assets::begin))
        .route("/console/", web::get().to(assets::index))
        .route("/console/login", web::post().to(sessions::login))
        .route("/console/logout", web::post().to(sessions::logout))
        .route("/console/{file}", web::get().to(assets::file));
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

/// Reads a body of JSON.
pub(super) async fn read<T: DeserializeOwned>(payload: Payload, most: usize) -> Result<T, Problem> {
    let too_large = |_| {
        let text = format!("The body is too large: the limit is {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let body = payload.to_bytes_limited(most).await.map_err(too_large)?;
    let body = body.map_err(|error| bad(format!("The body broke off: {error}")))?;
    serde_json::from_slice(&body)
        .map_err(|error| bad(format!("The body is not JSON as expected: {error}")))
}
