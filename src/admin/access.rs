//! Who may use the operators' port, and from which pages.
//!
//! Without a token the port listens on loopback only, and a browser's requests must name loopback as their host: a name
//! that a stranger lets point here is refused (DNS rebinding). With a token, requests carry it, or the cookie of a
//! session that began with it. Whatever changes something must come from this server's own pages, unless it carries
//! the token, which no foreign page has. Having an [`Operator`] or an [`SameOrigin`] means that all of this was checked.

use std::future::{Ready, ready};
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
    HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, RETRY_AFTER, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError};

use tracing::warn;

use super::Admin;
use super::problem::{self, Problem};
use super::sessions::{LOGIN, Sessions, Ticket};
use crate::auth::bearer_token;
use crate::host_port;
use crate::metrics::{OperatorRefused, Reason as _};
use crate::net::{HeadTooLarge, check_head};
use crate::protocol::excerpt;

/// Nothing but what this server sends, nothing inline, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What every answer says that does not say otherwise.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// 401.
    #[error(
        "This path needs the header `Authorization: Bearer TOKEN` with the token of [admin], or a login at /console/"
    )]
    Token,
    /// 403.
    #[error(
        "Without a token in [admin] this port is for this machine only: the Host header must be localhost, 127.0.0.1 or \
         [::1]. Open it under one of these names, or set a token"
    )]
    Host,
    /// 403.
    #[error(
        "This comes from a page of another origin. Open the console of this server, or send `Authorization: Bearer TOKEN` \
         with the token of [admin]; a proxy in front must pass the Host header on as the browser sent it"
    )]
    Origin,
    /// 400, 414 or 431.
    #[error(transparent)]
    Head(#[from] HeadTooLarge),
    /// 415.
    #[error("The body must be JSON, with the header `Content-Type: application/json`")]
    ContentType,
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Head(error) => error.status(),
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if *self == Self::Token {
            response.insert_header(("WWW-Authenticate", "Bearer"));
        }
        response
            .content_type("text/plain; charset=utf-8")
            .body(format!("{self}\n"))
    }
}

/// Around everything on this port: refuses what must not even be looked at, and says in every answer what a browser
/// may do with it.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let mut response = match check(request.request()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(refusal) => {
            let (status, text) = (refusal.status_code(), refusal.to_string());
            let response = problem::refusal(request.path(), status, &text);
            request.into_response(response)
        }
    };
    if response.status() == StatusCode::UNAUTHORIZED
        && let Some(told_to_wait) = wrong_token(response.request())
    {
        response = response.into_response(told_to_wait);
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

/// Counts a request that was refused for a wrong token, and says so in the log; another answer where too many came from
/// its address. None for those that bring no token at all.
fn wrong_token(request: &HttpRequest) -> Option<HttpResponse> {
    let admin = request.app_data::<Data<Admin>>()?;
    let mut reason = match header(request, &AUTHORIZATION).and_then(bearer_token) {
        Some(_) => OperatorRefused::Token,
        None if request.path() == LOGIN => OperatorRefused::Login,
        None => return None,
    };
    let address = request.peer_addr().map(|peer| peer.ip());
    let noted = admin.wrong_tokens.record(address, Instant::now());
    if noted.is_err() {
        reason = OperatorRefused::TooMany;
    }
    if admin
        .node
        .metrics()
        .by_reason()
        .operators
        .count_and_allow_log(reason)
    {
        warn!(
            path = excerpt(request.path()),
            reason = reason.label(),
            address = address.map(display),
            "{}: {}",
            OperatorRefused::WHAT,
            reason.text()
        );
    }
    let wait = noted.err()?;
    let text = "That is not the token of [admin], and too many wrong ones came from your address: try again in a few \
                seconds, with the right one at any time";
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = problem::refusal(request.path(), status, text);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    // Each further attempt costs its sender a connection.
    response
        .head_mut()
        .set_connection_type(ConnectionType::Close);
    Some(response)
}

fn check(request: &HttpRequest) -> Result<(), Refusal> {
    check_head(request.head())?;
    let Some(admin) = request.app_data::<Data<Admin>>() else {
        return Err(Refusal::Token);
    };
    // Probes say nothing that is anybody's secret, and some of them have no idea of a host.
    let is_probe = matches!(request.path(), "/live" | "/ready");
    if admin.token.is_none() && !is_probe && !names_loopback(request) {
        return Err(Refusal::Host);
    }
    let changes = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if changes && !has_token(admin, request) {
        if !is_same_origin(request) {
            return Err(Refusal::Origin);
        }
        if has_body(request) && !is_json(request) {
            return Err(Refusal::ContentType);
        }
    }
    Ok(())
}

/// Somebody who may see what is on this port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operator {
    /// The session, where there is one.
    pub(super) ticket: Option<Ticket>,
    /// Whether the token itself came along.
    has_token: bool,
}

impl FromRequest for Operator {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(admit(request))
    }
}

/// An operator whose request comes from a page of this server, or from no page at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct SameOrigin(pub(super) Operator);

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status_code(), refusal.to_string())
    }
}

impl FromRequest for SameOrigin {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let own = admit(request).and_then(|operator| {
            match operator.has_token || is_same_origin(request) {
                true => Ok(Self(operator)),
                false => Err(Refusal::Origin),
            }
        });
        ready(own.map_err(Problem::from))
    }
}

fn admit(request: &HttpRequest) -> Result<Operator, Refusal> {
    let admin = request.app_data::<Data<Admin>>().ok_or(Refusal::Token)?;
    let has_token = has_token(admin, request);
    let mut ticket = None;
    if admin.token.is_some() && !has_token {
        let sessions = request.app_data::<Data<Sessions>>();
        ticket = sessions.and_then(|sessions| sessions.ticket(request));
        ticket.ok_or(Refusal::Token)?;
    }
    Ok(Operator { ticket, has_token })
}

fn has_token(admin: &Admin, request: &HttpRequest) -> bool {
    let given = header(request, &AUTHORIZATION).and_then(bearer_token);
    let token = admin.token.as_ref();
    token
        .zip(given)
        .is_some_and(|(token, given)| token.equals(given))
}

/// Whether the host that the client thinks it talks to is this machine by a name that nobody else can give away.
fn names_loopback(request: &HttpRequest) -> bool {
    header(request, &HOST).is_some_and(is_loopback)
}

fn is_loopback(host: &str) -> bool {
    host_port::split(host).is_ok_and(|(name, _)| host_port::is_loopback(name))
}

/// What a browser says of the page that a request comes from. Others than browsers say nothing.
fn is_same_origin(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let site_is_ours = headers
        .get(SEC_FETCH_SITE)
        .is_none_or(|site| site == "same-origin" || site == "none");
    let host = header(request, &HOST);
    let mut origins = headers.get_all(ORIGIN);
    let is_ours = |origin: &HeaderValue| {
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .map(|(_, authority)| authority);
        authority
            .zip(host)
            .is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
    };
    site_is_ours && origins.all(is_ours)
}

fn has_body(request: &HttpRequest) -> bool {
    let length = header(request, &CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || request.headers().contains_key(TRANSFER_ENCODING)
}

fn is_json(request: &HttpRequest) -> bool {
    let media = header(request, &CONTENT_TYPE).and_then(|media| media.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

fn header<'a>(request: &'a HttpRequest, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "localhost",
            "LOCALHOST:9601",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.8.9.10:80",
            "[::1]",
            "[::1]:9601",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.example",
            "localhost:x",
            "127.0.0.1.evil.example",
            "127.0.0.1:9601@evil.example",
            "evil.example:9601",
            "10.0.0.1",
            "[::1",
            "[::1]x",
            "[::2]:9601",
            "::1",
            "127.1",
            "2130706433",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
