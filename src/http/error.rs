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
        self.class().0
    }

    pub(super) fn status(&self) -> StatusCode {
        self.class().1
    }

    /// What metrics and logs call it, and the status of its answer.
    fn class(&self) -> (RequestRefused, StatusCode) {
        use RequestRefused as Reason;
        use StatusCode as Status;
        match self {
            Self::Head(error) => (Reason::HeadTooLarge, error.status()),
            Self::UnknownPath(_) => (Reason::UnknownPath, Status::NOT_FOUND),
            Self::Method(_) => (Reason::Method, Status::METHOD_NOT_ALLOWED),
            Self::NotUpgraded => (Reason::NotUpgraded, Status::UPGRADE_REQUIRED),
            Self::UnknownApp(_) => (Reason::UnknownApp, Status::NOT_FOUND),
            Self::Secret { .. } => (Reason::Secret, Status::UNAUTHORIZED),
            Self::AppDisabled => (Reason::AppDisabled, Status::FORBIDDEN),
            Self::Unauthorized(reason, _) => (*reason, Status::UNAUTHORIZED),
            Self::TooManyTokens(_) => (Reason::TooManyTokens, Status::TOO_MANY_REQUESTS),
            Self::PlainToken => (Reason::PlainToken, Status::FORBIDDEN),
            Self::NoHistory(_) => (Reason::NoHistory, Status::NOT_FOUND),
            Self::BadRequest(_) => (Reason::BadRequest, Status::BAD_REQUEST),
            Self::ChannelName { .. } => (Reason::ChannelName, Status::BAD_REQUEST),
            Self::EventName(_) => (Reason::EventName, Status::BAD_REQUEST),
            Self::Encoding(_) => (Reason::Encoding, Status::UNSUPPORTED_MEDIA_TYPE),
            Self::BodyTooLarge(_) => (Reason::BodyTooLarge, Status::PAYLOAD_TOO_LARGE),
            Self::DataTooLarge(_) => (Reason::DataTooLarge, Status::PAYLOAD_TOO_LARGE),
            Self::BodyTimeout => (Reason::BodyTimeout, Status::REQUEST_TIMEOUT),
            Self::TooFast(too_fast) => match too_fast.rate {
                AppRate::Events => (Reason::TooFast, Status::TOO_MANY_REQUESTS),
                AppRate::Reads => (Reason::TooManyReads, Status::TOO_MANY_REQUESTS),
            },
            Self::KeyReused(_) => (Reason::KeyReused, Status::CONFLICT),
            Self::Unavailable(unavailable) => (reason_of(unavailable), Status::SERVICE_UNAVAILABLE),
            Self::UnknownSource(_) => (Reason::UnknownSource, Status::NOT_FOUND),
            Self::SourceFull => (Reason::SourceFull, Status::SERVICE_UNAVAILABLE),
            Self::Source(refused) => class_of_source(refused),
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
            _ => None,
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

fn reason_of(unavailable: &Unavailable) -> RequestRefused {
    match unavailable {
        Unavailable::Key(..) => RequestRefused::TooManyKeys,
        Unavailable::Overloaded(_) | Unavailable::PresenceFull => RequestRefused::Overloaded,
        Unavailable::Unreachable(_) => RequestRefused::Unreachable,
    }
}

fn class_of_source(refused: &source::Refused) -> (RequestRefused, StatusCode) {
    use RequestRefused as Reason;
    use StatusCode as Status;
    use source::Refused;
    match refused {
        Refused::HeaderMissing(_) | Refused::NoDigest { .. } => {
            (Reason::SourceUnsigned, Status::UNAUTHORIZED)
        }
        Refused::NoTimestamp | Refused::Timestamp { .. } => {
            (Reason::SourceTimestamp, Status::UNAUTHORIZED)
        }
        Refused::Digest(_) | Refused::SnsSignature => {
            (Reason::SourceSignature, Status::UNAUTHORIZED)
        }
        Refused::Credentials { .. } => (Reason::SourceCredentials, Status::UNAUTHORIZED),
        Refused::NotSns(_) => (Reason::SourceMessage, Status::BAD_REQUEST),
        Refused::Topic => (Reason::SourceTopic, Status::FORBIDDEN),
        Refused::Address { .. } => (Reason::SourceAddress, Status::FORBIDDEN),
        Refused::Unreachable(_) => (Reason::SourceUnreachable, Status::SERVICE_UNAVAILABLE),
        Refused::Template { .. } => (Reason::SourceTemplate, Status::UNPROCESSABLE_ENTITY),
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
