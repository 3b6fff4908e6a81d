//! `ApiError` → status and body. The body is a sentence that says the first thing that is wrong and what was expected:
//! plain text ending in a newline, as SDKs show it to people; JSON for those who ask for it (`Accept`).

use std::time::Duration;

use actix_http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, UPGRADE,
    WWW_AUTHENTICATE,
};
use actix_http::{RequestHead, StatusCode};
use actix_web::HttpResponse;

use crate::app::AppId;
use crate::metrics::RequestRefused;
use crate::net::HeadTooLarge;
use crate::node::{AppRate, KeyRefused, TooFast, Unavailable};
use crate::protocol::channel::InvalidChannelName;
use crate::protocol::event::InvalidEventName;
use crate::source;

/// Why a request is refused. Texts are the real service's where they are known (protocol §4.2, §4.3).
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400, 414 or 431. Nothing of it has been looked at.
    #[error(transparent)]
    Head(#[from] HeadTooLarge),
    /// 404.
    #[error(
        "Unknown path {0}: the HTTP API is under /apps/{{app_id}}/ (events, batch_events, channels, users), WebSockets connect to /app/{{key}} or /plain/{{key}}, streams to /sse/{{key}}"
    )]
    UnknownPath(String),
    /// 405, with what `Allow` says.
    #[error("Method not allowed: this path takes {0}")]
    Method(&'static str),
    /// 426: no upgrade was asked for, or a proxy did not pass that on.
    #[error(
        "This is the WebSocket endpoint: it expects the headers `Upgrade: websocket` and `Connection: Upgrade`.\n\
         If a WebSocket client got here, a proxy in between did not forward the upgrade\n\
         (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";)."
    )]
    NotUpgraded,
    /// 404.
    #[error("No app with the id {0:?} on this server")]
    UnknownApp(String),
    /// 401. It is not quoted: it may be on a screen already, and must not be in a log too.
    #[error(
        "{place} is the secret of app {app}, which must never be sent: {instead}. Whoever saw this request may know the secret now: replace it"
    )]
    Secret {
        /// Where it was sent.
        place: &'static str,
        /// Whose it is.
        app: AppId,
        /// What belongs there.
        instead: String,
    },
    /// 403.
    #[error("Application disabled")]
    AppDisabled,
    /// 401.
    #[error("{1}")]
    Unauthorized(RequestRefused, String),
    /// 429, and the connection ends. Only wrong tokens are told so.
    #[error(
        "That is not an API token of the app, and too many wrong ones came from your address: use one of the app's api_tokens, or sign the request"
    )]
    TooManyTokens(Duration),
    /// 403.
    #[error(
        "API tokens are refused over plain HTTP from beyond loopback: anybody on the way could read them. Use TLS in front, sign the request instead, or set allow_plain_tokens = true in [server]"
    )]
    PlainToken,
    /// 404.
    #[error(
        "Nothing is kept of the channel {0}: a rule of the app ([[apps.channels]]) with history, rewind or cache keeps its events, and so does a connection that may resume"
    )]
    NoHistory(String),
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
    /// 415.
    #[error(
        "The request body is encoded as {0:?}, and bodies are taken as they are: send it without Content-Encoding. body_md5 is that of the bytes that are sent"
    )]
    Encoding(String),
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
    /// 409, with which event of a batch it is.
    #[error(
        "{0}The idempotency key was used a moment ago for another content (name, channels, data or socket_id differ): nothing is published. A new event needs a new key"
    )]
    KeyReused(String),
    /// 503.
    #[error("{0}")]
    Unavailable(Unavailable),
    /// 404.
    #[error("App {0} has no source of this name")]
    UnknownSource(AppId),
    /// 503.
    #[error("The delivery is not taken: too many of this source wait to be published")]
    SourceFull,
    /// 401, 403, 400, 422 or 503.
    #[error("The delivery is not taken: {0}")]
    Source(#[from] source::Refused),
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Key(_, KeyRefused::Reused) => Self::KeyReused(String::new()),
            other => Self::Unavailable(other),
        }
    }
}

impl ApiError {
    /// Whether it may be otherwise in a moment.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::TooFast(_) | Self::Unavailable(_))
    }

    /// The same as metrics and logs name it.
    pub(super) fn reason(&self) -> RequestRefused {
        match self {
            Self::Head(_) => RequestRefused::HeadTooLarge,
            Self::UnknownPath(_) => RequestRefused::UnknownPath,
            Self::Method(_) => RequestRefused::Method,
            Self::NotUpgraded => RequestRefused::NotUpgraded,
            Self::UnknownApp(_) => RequestRefused::UnknownApp,
            Self::Secret { .. } => RequestRefused::Secret,
            Self::AppDisabled => RequestRefused::AppDisabled,
            Self::Unauthorized(reason, _) => *reason,
            Self::TooManyTokens(_) => RequestRefused::TooManyTokens,
            Self::PlainToken => RequestRefused::PlainToken,
            Self::NoHistory(_) => RequestRefused::NoHistory,
            Self::BadRequest(_) => RequestRefused::BadRequest,
            Self::ChannelName { .. } => RequestRefused::ChannelName,
            Self::EventName(_) => RequestRefused::EventName,
            Self::Encoding(_) => RequestRefused::Encoding,
            Self::BodyTooLarge(_) => RequestRefused::BodyTooLarge,
            Self::DataTooLarge(_) => RequestRefused::DataTooLarge,
            Self::BodyTimeout => RequestRefused::BodyTimeout,
            Self::TooFast(too_fast) => match too_fast.rate {
                AppRate::Events => RequestRefused::TooFast,
                AppRate::Reads => RequestRefused::TooManyReads,
            },
            Self::KeyReused(_) => RequestRefused::KeyReused,
            Self::Unavailable(Unavailable::Key(..)) => RequestRefused::TooManyKeys,
            Self::Unavailable(Unavailable::Overloaded(_) | Unavailable::PresenceFull) => {
                RequestRefused::Overloaded
            }
            Self::Unavailable(Unavailable::Unreachable(_)) => RequestRefused::Unreachable,
            Self::UnknownSource(_) => RequestRefused::UnknownSource,
            Self::SourceFull => RequestRefused::SourceFull,
            Self::Source(refused) => source_reason(refused),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Head(error) => error.status(),
            Self::UnknownPath(_) | Self::UnknownApp(_) | Self::NoHistory(_) => {
                StatusCode::NOT_FOUND
            }
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotUpgraded => StatusCode::UPGRADE_REQUIRED,
            Self::AppDisabled | Self::PlainToken => StatusCode::FORBIDDEN,
            Self::Unauthorized(..) | Self::Secret { .. } => StatusCode::UNAUTHORIZED,
            Self::BadRequest(_) | Self::ChannelName { .. } | Self::EventName(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTooLarge(_) | Self::DataTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::KeyReused(_) => StatusCode::CONFLICT,
            Self::TooManyTokens(_) | Self::TooFast(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) | Self::SourceFull => StatusCode::SERVICE_UNAVAILABLE,
            Self::UnknownSource(_) => StatusCode::NOT_FOUND,
            Self::Source(refused) => source_status(refused),
        }
    }

    /// The header that tells programs what the text tells people.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let retry_after = |seconds: u64| Some((RETRY_AFTER, HeaderValue::from(seconds)));
        match self {
            Self::TooFast(too_fast) => retry_after(too_fast.wait.as_secs() + 1),
            Self::TooManyTokens(wait) => retry_after(wait.as_secs()),
            Self::Unavailable(_) | Self::SourceFull => retry_after(1),
            Self::Source(source::Refused::Credentials { is_basic, .. }) => {
                let scheme = if *is_basic {
                    "Basic realm=\"tidewire\""
                } else {
                    "Bearer"
                };
                Some((WWW_AUTHENTICATE, HeaderValue::from_static(scheme)))
            }
            // RFC 9110 §12.5.3: in a response it tells what would have been taken.
            Self::Encoding(_) => Some((ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
            Self::Method(allow) => Some((ALLOW, HeaderValue::from_static(allow))),
            Self::NotUpgraded => Some((UPGRADE, HeaderValue::from_static("websocket"))),
            Self::Head(_)
            | Self::UnknownPath(_)
            | Self::NoHistory(_)
            | Self::UnknownApp(_)
            | Self::Secret { .. }
            | Self::AppDisabled
            | Self::Unauthorized(..)
            | Self::PlainToken
            | Self::BadRequest(_)
            | Self::ChannelName { .. }
            | Self::EventName(_)
            | Self::BodyTooLarge(_)
            | Self::DataTooLarge(_)
            | Self::BodyTimeout
            | Self::KeyReused(_)
            | Self::UnknownSource(_)
            | Self::Source(_) => None,
        }
    }

    /// The answer, in the form that the request asks for.
    pub(super) fn response(&self, head: &RequestHead) -> HttpResponse {
        let status = self.status();
        let mut response = HttpResponse::build(status);
        if let Some(header) = self.header() {
            response.insert_header(header);
        }
        if matches!(self, Self::TooManyTokens(_)) {
            response.force_close();
        }
        let text = self.to_string();
        if wants_json(head) {
            return response.json(serde_json::json!({ "error": text, "status": status.as_u16() }));
        }
        response
            .insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"))
            .body(text + "\n")
    }
}

fn source_reason(refused: &source::Refused) -> RequestRefused {
    use source::Refused;
    match refused {
        Refused::HeaderMissing(_) | Refused::NoDigest { .. } => RequestRefused::SourceUnsigned,
        Refused::NoTimestamp | Refused::Timestamp { .. } => RequestRefused::SourceTimestamp,
        Refused::Digest(_) | Refused::SnsSignature => RequestRefused::SourceSignature,
        Refused::Credentials { .. } => RequestRefused::SourceCredentials,
        Refused::NotSns(_) => RequestRefused::SourceMessage,
        Refused::Topic => RequestRefused::SourceTopic,
        Refused::Address { .. } => RequestRefused::SourceAddress,
        Refused::Unreachable(_) => RequestRefused::SourceUnreachable,
        Refused::Template { .. } => RequestRefused::SourceTemplate,
    }
}

fn source_status(refused: &source::Refused) -> StatusCode {
    match source_reason(refused) {
        RequestRefused::SourceMessage => StatusCode::BAD_REQUEST,
        RequestRefused::SourceTopic | RequestRefused::SourceAddress => StatusCode::FORBIDDEN,
        RequestRefused::SourceUnreachable => StatusCode::SERVICE_UNAVAILABLE,
        RequestRefused::SourceTemplate => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::UNAUTHORIZED,
    }
}

/// Whether errors are wanted as JSON. The .NET SDK asks for it and cannot read anything else.
fn wants_json(head: &RequestHead) -> bool {
    let accept = head
        .headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}
