//! What is answered that is no success: JSON for the console's pages, plain text for everybody else. And bodies of JSON,
//! which are read here because what is wrong with one is such an answer.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpResponse, ResponseError};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::protocol::parse_object;

/// An answer that is no success, as JSON: `{"error":"…"}`, and where keys of the body are wrong,
/// `"fields":[{"field":"limits.event_bytes","error":"…"}]`.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Problem {
    status: StatusCode,
    text: String,
    fields: Vec<Value>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            fields: Vec::new(),
        }
    }

    /// 422 for keys, and what is wrong with each.
    pub(super) fn of_fields(wrong: impl IntoIterator<Item = (String, String)>) -> Self {
        let (mut texts, mut fields) = (Vec::new(), Vec::new());
        for (field, text) in wrong {
            fields.push(json!({ "field": field, "error": text }));
            texts.push(text);
        }
        Self {
            fields,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, texts.join("\n"))
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut body = json!({ "error": self.text });
        if !self.fields.is_empty() {
            body["fields"] = self.fields.clone().into();
        }
        HttpResponse::build(self.status).json(body)
    }
}

/// A refusal in the form that its path's clients read: JSON for the console's pages and the Apps API, else plain text.
pub(super) fn refusal(path: &str, status: StatusCode, text: &str) -> HttpResponse {
    if ["/console/", "/apps/"]
        .iter()
        .any(|api| path.starts_with(api))
        || path == "/apps"
    {
        return Problem::new(status, text).error_response();
    }
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .body(format!("{text}\n"))
}

/// Reads a body of JSON of at most so many bytes.
pub(super) async fn read<T: DeserializeOwned>(payload: Payload, most: usize) -> Result<T, Problem> {
    parsed(&body(payload, most).await?)
}

/// The same where there may be no body.
pub(super) async fn read_or_default<T: DeserializeOwned + Default>(
    payload: Payload,
    most: usize,
) -> Result<T, Problem> {
    match body(payload, most).await?.as_ref() {
        [] => Ok(T::default()),
        body => parsed(body),
    }
}

async fn body(payload: Payload, most: usize) -> Result<Bytes, Problem> {
    let too_large = |_| {
        let text = format!("The body is too large: the limit is {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let body = payload.to_bytes_limited(most).await.map_err(too_large)?;
    body.map_err(|error| bad(format!("The body broke off: {error}")))
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string());
    text.and_then(parse_object)
        .map_err(|reason| bad(format!("The body is not JSON as expected: {reason}")))
}

fn bad(text: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, text)
}
