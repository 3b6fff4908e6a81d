//! What is answered that is no success: JSON for the console's pages, plain text for everybody else. And bodies of JSON,
//! which are read here because what is wrong with one is such an answer.

use actix_web::http::StatusCode;
use actix_web::web::Payload;
use actix_web::{HttpResponse, ResponseError};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::protocol::parse_object;

/// An answer that is no success, as JSON: `{"error":"…"}`.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
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

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status).json(json!({ "error": self.text }))
    }
}

/// A refusal in the form that its path's clients read: JSON for the console's pages, else plain text.
pub(super) fn refusal(path: &str, status: StatusCode, text: &str) -> HttpResponse {
    if path.starts_with("/console/") {
        return Problem::new(status, text).error_response();
    }
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .body(format!("{text}\n"))
}

/// Reads a body of JSON of at most so many bytes.
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
