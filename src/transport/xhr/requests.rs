//! The requests of sessions that are answered at once: messages of the client, what a browser asks before it sends
//! anything (preflights), and what is not served.

use std::future::poll_fn;
use std::pin::pin;

use actix_http::body::BoxBody;
use actix_http::header::ALLOW;
use actix_http::{Method, Payload, Request, Response, StatusCode};
use bytes::BytesMut;
use futures_core::Stream as _;
use tracing::warn;

use super::remote::Remote;
use super::route::{Kind, Route};
use super::sessions::{Content, Handle, NotSent, Sent};
use crate::feed::{self, Entry};
use crate::metrics::{Reason as _, SessionRefused};
use crate::protocol::{Transport, parse};
use crate::transport::admission::{Attempt, Door};
use crate::transport::cors::Cors;

/// Bytes of a request beside its message in its escapes.
const BODY_SLACK: usize = 1024;

/// What a request of a kind that is not served is told.
const NOT_SERVED: &str = "Nothing is served here. pusher-js finds xhr_streaming, xhr_polling (POST \
                          .../app/{key}/{n}/{session}/xhr_streaming, /xhr, /xhr_send) and WebSockets (/app/{key}); the \
                          other transports of SockJS are not served: set enabledTransports\n";

/// Whether a request is answered here.
pub(in crate::transport) fn serves(door: &Door, request: &Request) -> bool {
    Route::of(door.split(request).0).is_some()
}

/// The page's number of a request.
pub(super) fn number(request: &Request) -> Option<u64> {
    let query = request.uri().query()?;
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("n="));
    values.next()?.parse().ok()
}

/// Answers a request.
pub(in crate::transport) async fn serve(
    door: &Door,
    mut request: Request,
    secure: bool,
) -> Response<BoxBody> {
    let payload = request.take_payload();
    let (path, _) = door.split(&request);
    let route = Route::of(path);
    let key = route.map(|route| route.key).filter(|key| !key.is_empty());
    let attempt = door.attempt(&request, secure, Transport::XhrPolling, key);
    let cors = Cors::of(&door.node, key, attempt.header("origin"));
    let mut response = match answer(&attempt, route, payload).await {
        Ok(status) => Response::with_body(status, BoxBody::new("")),
        Err(Refused { reason, text }) => {
            note(&attempt, reason);
            let mut response =
                Response::with_body(status(reason), BoxBody::new(format!("{text}\n")));
            let kind = "text/plain; charset=utf-8";
            insert(&mut response, "Content-Type", kind);
            response
        }
    };
    for (name, value) in cors.headers() {
        insert(&mut response, name, value);
    }
    let preflight = [
        ("Access-Control-Allow-Methods", "POST"),
        ("Access-Control-Allow-Headers", "content-type"),
        ("Access-Control-Max-Age", "86400"),
    ];
    if *request.method() == Method::OPTIONS {
        for (name, value) in preflight {
            insert(&mut response, name, value);
        }
    }
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        insert(&mut response, ALLOW.as_str(), "POST, OPTIONS");
    }
    insert(&mut response, "Cache-Control", "no-store, no-transform");
    response
}

/// A request that is refused.
struct Refused {
    reason: SessionRefused,
    text: String,
}

fn refused(reason: SessionRefused, text: impl Into<String>) -> Refused {
    Refused {
        reason,
        text: text.into(),
    }
}

fn status(reason: SessionRefused) -> StatusCode {
    match reason {
        SessionRefused::NotServed | SessionRefused::UnknownSession => StatusCode::NOT_FOUND,
        SessionRefused::Method => StatusCode::METHOD_NOT_ALLOWED,
        SessionRefused::Body => StatusCode::BAD_REQUEST,
        SessionRefused::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        SessionRefused::Waiting | SessionRefused::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn answer(
    attempt: &Attempt<'_>,
    route: Option<Route<'_>>,
    payload: Payload,
) -> Result<StatusCode, Refused> {
    let (door, method) = (attempt.door, attempt.request.method());
    let Some(route) = route.filter(|route| route.kind != Kind::Other) else {
        return Err(refused(SessionRefused::NotServed, NOT_SERVED.trim_end()));
    };
    // On any node, of any session: a browser asks before each request.
    if *method == Method::OPTIONS {
        return Ok(StatusCode::NO_CONTENT);
    }
    if *method != Method::POST {
        return Err(refused(SessionRefused::Method, "Only POST is served here"));
    }
    if route.kind != Kind::Send {
        let text = "A request for lines has no body, and does not offer an upgrade";
        return Err(refused(SessionRefused::Body, text));
    }
    let app = door.node.apps().by_key(route.key).cloned();
    let limit = 2 * app.ok_or_else(unknown)?.limits.message_bytes() + BODY_SLACK;
    let place = Place::find(door, route.session).await?;
    let content = match read(payload, limit).await {
        Ok(body) => {
            let text = String::from_utf8(body.to_vec())
                .map_err(|_| refused(SessionRefused::Body, "The body is not UTF-8"))?;
            let messages: Vec<String> = parse(&text).map_err(|why| {
                let text = format!("The body must be a JSON array of messages as strings: {why}");
                refused(SessionRefused::Body, text)
            })?;
            Content::Messages(messages, text.len())
        }
        Err(Refused {
            reason: SessionRefused::BodyTooLarge,
            ..
        }) => Content::TooBig,
        Err(refused) => return Err(refused),
    };
    let is_too_big = matches!(content, Content::TooBig);
    let sent = Sent {
        number: number(attempt.request),
        content,
    };
    place.send(sent).await?;
    if is_too_big {
        let text = format!("The body is too large: the limit is {limit} bytes");
        return Err(refused(SessionRefused::BodyTooLarge, text));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Where the session of an `xhr_send` is.
enum Place {
    ThisNode(Handle),
    Another(Remote),
}

impl Place {
    async fn find(door: &Door, session: &str) -> Result<Self, Refused> {
        if let Some(handle) = door.sessions.find(session) {
            return Ok(Self::ThisNode(handle));
        }
        match Remote::find(&door.node, session, false).await {
            Ok(Some(remote)) => Ok(Self::Another(remote)),
            Ok(None) => Err(unknown()),
            Err(why) => Err(refused(SessionRefused::Unreachable, why.to_string())),
        }
    }

    async fn send(&self, sent: Sent) -> Result<(), Refused> {
        let taken = match self {
            Self::Another(remote) => remote.send(sent).await,
            Self::ThisNode(handle) => handle.send(sent).await,
        };
        taken.map_err(|why| match why {
            NotSent::Unknown => unknown(),
            NotSent::Full => {
                let text = "More requests of the session wait than may";
                refused(SessionRefused::Waiting, text)
            }
            NotSent::Unreachable(why) => refused(SessionRefused::Unreachable, why),
        })
    }
}

fn unknown() -> Refused {
    let text = "There is no such session: it has ended, or was never opened here";
    refused(SessionRefused::UnknownSession, text)
}

/// The whole body, unless it is longer than the limit.
async fn read(payload: Payload, limit: usize) -> Result<BytesMut, Refused> {
    let mut payload = pin!(payload);
    let mut body = BytesMut::new();
    while let Some(part) = poll_fn(|cx| payload.as_mut().poll_next(cx)).await {
        let part = part.map_err(|error| {
            refused(SessionRefused::Body, format!("The body broke off: {error}"))
        })?;
        if body.len() + part.len() > limit {
            return Err(refused(SessionRefused::BodyTooLarge, ""));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn insert(response: &mut Response<BoxBody>, name: &'static str, value: &str) {
    let name = name.parse::<actix_http::header::HeaderName>();
    if let (Ok(name), Ok(value)) = (name, value.parse()) {
        response.headers_mut().insert(name, value);
    }
}

/// Counts a refused request, and says so to those who watch and in the log. The session's name is told to nobody.
fn note(attempt: &Attempt<'_>, reason: SessionRefused) {
    let node = &attempt.door.node;
    let apps = node.apps();
    let app = attempt.key.and_then(|key| apps.by_key(key));
    node.feed()
        .record(app.map(|app| &app.id), feed::Kind::Refused, || Entry {
            key: attempt.key.map(|key| apps.masked_key(key)),
            address: attempt.client.address,
            ..Entry::refused(reason)
        });
    let sessions = &node.metrics().by_reason().sessions;
    if sessions.count_and_allow_log(reason) {
        warn!(
            app.id = app.map(|app| display(&app.id)),
            method = attempt.request.method().as_str(),
            reason = reason.label(),
            address = attempt.client.address.map(display),
            "{}: {}",
            SessionRefused::WHAT,
            reason.text()
        );
    }
}
