//! `ApiError` → status and body. The body is a sentence that says the first thing that is wrong and what was expected:
//! plain text ending in a newline, as SDKs show it to people; JSON for those who ask for it (`Accept`).

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use crate::metrics::RequestRefused;
use crate::node::{TooFast, Unavailable};
use crate::protocol::channel::InvalidChannelName;
use crate::protocol::event::InvalidEventName;

/// Why a request is refused. Texts are the real service's where they are known (protocol §4.2, §4.3).
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 404.
    #[error("No app with the id {0:?} on this server")]
    UnknownApp(String),
    /// 403.
    #[error("Application disabled")]
    AppDisabled,
    /// 401.
    #[error("{1}")]
    Unauthorized(RequestRefused, String),
    /// 403.
    #[error(
        "API tokens are refused over plain HTTP from beyond loopback: anybody on the way could read them. Use TLS in front, sign the request instead, or set allow_plain_tokens = true in [server]"
    )]
    PlainToken,
    /// 400.
    #[error("{0}")]
    BadRequest(String),
    /// 400.
    #[error("Invalid channel name {name:?}: {reason}")]
    ChannelName {
        /// The text, cut.
        name: String,
        /// The rule.
        reason: InvalidChannelName,
    },
    /// 400.
    #[error("{0}")]
    EventName(#[from] InvalidEventName),
    /// 413. The length of the body is over what the app's limits allow; it has not been read.
    #[error("The request body exceeds the allowed maximum ({0} bytes)")]
    BodyTooLarge(usize),
    /// 413.
    #[error(
        "The data content of this event exceeds the allowed maximum ({0} bytes). See https://pusher.com/docs/channels/server_api/http-api#publishing-events for more info"
    )]
    DataTooLarge(usize),
    /// 408.
    #[error("The request body did not arrive in time")]
    BodyTimeout,
    /// 429.
    #[error(transparent)]
    TooFast(#[from] TooFast),
    /// 503.
    #[error("{0}")]
    Unavailable(Unavailable),
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}

impl ApiError {
    /// The same as metrics and logs name it.
    pub(super) fn reason(&self) -> RequestRefused {
        match self {
            Self::UnknownApp(_) => RequestRefused::UnknownApp,
            Self::AppDisabled => RequestRefused::AppDisabled,
            Self::Unauthorized(reason, _) => *reason,
            Self::PlainToken => RequestRefused::PlainToken,
            Self::BadRequest(_) => RequestRefused::BadRequest,
            Self::ChannelName { .. } => RequestRefused::ChannelName,
            Self::EventName(_) => RequestRefused::EventName,
            Self::BodyTooLarge(_) => RequestRefused::BodyTooLarge,
            Self::DataTooLarge(_) => RequestRefused::DataTooLarge,
            Self::BodyTimeout => RequestRefused::BodyTimeout,
            Self::TooFast(_) => RequestRefused::TooFast,
            Self::Unavailable(Unavailable::Overloaded(_) | Unavailable::PresenceFull) => {
                RequestRefused::Overloaded
            }
            Self::Unavailable(Unavailable::Unreachable(_)) => RequestRefused::Unreachable,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::UnknownApp(_) => StatusCode::NOT_FOUND,
            Self::AppDisabled | Self::PlainToken => StatusCode::FORBIDDEN,
            Self::Unauthorized(..) => StatusCode::UNAUTHORIZED,
            Self::BadRequest(_) | Self::ChannelName { .. } | Self::EventName(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTooLarge(_) | Self::DataTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooFast(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whole seconds after which the same request may succeed.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooFast(too_fast) => Some(too_fast.wait.as_secs() + 1),
            Self::Unavailable(_) => Some(1),
            Self::UnknownApp(_)
            | Self::AppDisabled
            | Self::Unauthorized(..)
            | Self::PlainToken
            | Self::BadRequest(_)
            | Self::ChannelName { .. }
            | Self::EventName(_)
            | Self::BodyTooLarge(_)
            | Self::DataTooLarge(_)
            | Self::BodyTimeout => None,
        }
    }
}

/// An error on its way to the one who asked, in the form they asked for.
#[derive(Debug)]
pub(super) struct Failure {
    error: ApiError,
    json: bool,
}

impl Failure {
    pub(super) fn new(error: ApiError, json: bool) -> Self {
        Self { error, json }
    }
}

/// Whether errors are wanted as JSON. The .NET SDK asks for it and cannot read anything else.
pub(super) fn wants_json(request: &HttpRequest) -> bool {
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.error.status()
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.error.status();
        let mut response = HttpResponse::build(status);
        if let Some(seconds) = self.error.retry_after() {
            response.insert_header((RETRY_AFTER, seconds));
        }
        let text = self.error.to_string();
        if self.json {
            return response.json(serde_json::json!({ "error": text, "status": status.as_u16() }));
        }
        response
            .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
            .body(text + "\n")
    }
}
