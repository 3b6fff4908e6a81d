//! `Signed`: having one means that the app was found, the request was signed for it (or bore its token) and the body
//! arrived within the app's limits (protocol §4.2).
//!
//! The signature covers the body only through `body_md5`, so everything else is checked before a byte of the body is
//! read: whoever cannot sign costs no memory.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use actix_http::body::{BodySize, BodyStream, MessageBody as _};
use actix_http::error::PayloadError;
use actix_http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH};
use actix_http::{Method, Payload, RequestHead};
use actix_web::HttpResponse;
use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::debug;

use super::error::ApiError;
use super::query_string::{Decoding, Pairs, get, other_readings, pairs, signed_path};
use super::route::{Endpoint, Route};
use super::{Call, idempotency};
use crate::app::{App, Apps};
use crate::metrics::RequestRefused;
use crate::node::{ApiTokenRefused, Node};
use crate::protocol::excerpt;
use crate::{auth, clock};

/// `auth_timestamp` must be off by less than this many seconds.
const CLOCK_WINDOW: u64 = 600;

/// What a request without a signature is told.
const UNSIGNED: &str = "Missing parameter: auth_key. The request is not signed: server SDKs sign it, `tidewire sign` shows \
                        how, and `Authorization: Bearer TOKEN` with one of the app's api_tokens does instead";

/// An authenticated request.
pub(super) struct Signed<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) route: Route<'a>,
    pub(super) app: Arc<App>,
    pub(super) body: Bytes,
    query: Pairs<'a>,
}

/// An authenticated request without its body.
pub(super) struct Admitted<'a> {
    app: Arc<App>,
    query: Pairs<'a>,
    by_token: bool,
}

impl<'a> Signed<'a> {
    /// Reads the body of a request, which is the rest of its proof.
    pub(super) async fn read(
        call: &'a Call<'a>,
        admitted: Admitted<'a>,
        payload: Payload,
    ) -> Result<Self, ApiError> {
        let Admitted {
            app,
            query,
            by_token,
        } = admitted;
        let route = call.route.ok_or_else(|| call.unknown_path())?;
        let body = read_body(payload, body_limit(route, &app)).await?;
        if !by_token {
            check_md5(&query, &body)?;
        }
        app.metrics.api_requests.inc();
        app.metrics.api_request_bytes.inc_by(body.len() as u64);
        Ok(Self {
            call,
            route,
            app,
            body,
            query,
        })
    }

    /// What it is for.
    pub(super) fn node(&self) -> &Node {
        &self.call.api.node
    }

    /// A query parameter's value.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| &**value)
    }

    /// The idempotency key that covers it.
    pub(super) fn idempotency_key(&self) -> Result<Option<Arc<str>>, ApiError> {
        idempotency::of_request(self.call.head)
    }

    /// The channel or the user that the path names.
    pub(super) fn name(&self) -> Cow<'a, str> {
        self.route.name()
    }

    /// Counts it and gives its answer back.
    pub(super) fn accepted(&self, response: HttpResponse) -> HttpResponse {
        let metrics = &self.app.metrics;
        if let BodySize::Sized(bytes) = response.body().size()
            && self.call.head.method != Method::HEAD
        {
            metrics.api_response_bytes.inc_by(bytes);
        }
        if self.call.is_publish() {
            metrics.publishes_accepted.inc();
        }
        debug!(app.id = %self.app.id, path = self.call.shown_path(), "request accepted");
        response
    }
}

impl<'a> Call<'a> {
    /// Finds the app, proves who asks, and looks at how long the body is to be.
    pub(super) fn admit(&self, route: Route<'_>) -> Result<Admitted<'a>, ApiError> {
        let apps = self.api.node.apps();
        let of_path = app_of_path(&apps, route)?;
        let query = pairs(self.head.uri.query().unwrap_or_default(), Decoding::Percent);
        let (app, by_token) = match bearer(self.head) {
            Some(token) => (self.check_token(&apps, of_path, token)?, true),
            None => (self.check_signature(&apps, of_path, &query)?, false),
        };
        let app = Arc::clone(app);
        if !app.enabled {
            return Err(ApiError::AppDisabled);
        }
        check_encoding(self.head)?;
        let limit = body_limit(route, &app);
        if content_length(self.head).is_some_and(|length| length > limit) {
            return Err(ApiError::BodyTooLarge(limit));
        }
        Ok(Admitted {
            app,
            query,
            by_token,
        })
    }

    fn check_token<'b>(
        &self,
        apps: &Apps,
        of_path: Option<&'b Arc<App>>,
        token: &str,
    ) -> Result<&'b Arc<App>, ApiError> {
        let path_needed = || {
            unauthorized(
                RequestRefused::Token,
                "An API token works on paths under /apps/{app_id}/ only",
            )
        };
        let app = of_path.ok_or_else(path_needed)?;
        let Err(refused) = self.api.tokens.check(app, token, self.client()) else {
            return Ok(app);
        };
        if refused == ApiTokenRefused::Plain {
            return Err(ApiError::PlainToken);
        }
        let instead = |_: &App| {
            "use one of the app's api_tokens, or sign the request with the secret".to_owned()
        };
        refuse_secret(apps, "The token of Authorization", token, instead)?;
        Err(match refused {
            ApiTokenRefused::TooMany(wait) => ApiError::TooManyTokens(wait),
            ApiTokenRefused::Plain | ApiTokenRefused::Wrong => unauthorized(
                RequestRefused::Token,
                "Invalid API token: it is not one of the app's api_tokens",
            ),
        })
    }

    /// Checks in the order of the reference validator: key, version, timestamp, signature.
    fn check_signature<'b>(
        &self,
        apps: &'b Apps,
        of_path: Option<&Arc<App>>,
        query: &Pairs<'_>,
    ) -> Result<&'b Arc<App>, ApiError> {
        let app = app_of_key(apps, of_path, get(query, "auth_key"))?;
        check_version(get(query, "auth_version"))?;
        check_timestamp(get(query, "auth_timestamp"))?;
        let given = get(query, "auth_signature").ok_or_else(|| {
            unauthorized(
                RequestRefused::Signature,
                "Missing parameter: auth_signature",
            )
        })?;
        let (method, path) = (self.head.method.as_str(), self.head.uri.path());
        let prefix = &self.api.path_prefix;
        let canonical = auth::request_string(method, signed_path(path, prefix), query);
        let verifies = |text: &str| app.secrets.verifies(text.as_bytes(), given);
        let others = || {
            let query = self.head.uri.query().unwrap_or_default();
            other_readings(method, path, prefix, query)
        };
        if verifies(&canonical) || others().any(|text| verifies(&text)) {
            return Ok(app);
        }
        let instead = |_: &App| "it is what the request is signed with".to_owned();
        refuse_secret(apps, "auth_signature", given, instead)?;
        Err(unauthorized(
            RequestRefused::Signature,
            format!(
                "Invalid signature: you should have sent HmacSHA256Hex({canonical:?}, your_secret_key), but you sent {:?}",
                excerpt(given)
            ),
        ))
    }
}

/// The app that the path names; none for the paths that name none.
pub(super) fn app_of_path<'a>(
    apps: &'a Apps,
    route: Route<'_>,
) -> Result<Option<&'a Arc<App>>, ApiError> {
    let Some(id) = route.app() else {
        return Ok(None);
    };
    match apps.by_id(&id) {
        Some(app) => Ok(Some(app)),
        None => {
            let instead = |app: &App| format!("the path takes the app's id, {}", app.id);
            refuse_secret(apps, "The id in the path", &id, instead)?;
            Err(ApiError::UnknownApp(excerpt(&id).to_owned()))
        }
    }
}

/// The app whose key it is, which must be the path's, if that names one.
fn app_of_key<'a>(
    apps: &'a Apps,
    of_path: Option<&Arc<App>>,
    key: Option<&str>,
) -> Result<&'a Arc<App>, ApiError> {
    let refused = |reason, text: &str| Err(unauthorized(reason, text));
    let Some(key) = key else {
        return refused(RequestRefused::AuthKeyMissing, UNSIGNED);
    };
    let Some(app) = apps.by_key(key) else {
        let instead = |app: &App| format!("auth_key is the app's key, {}", app.key);
        refuse_secret(apps, "auth_key", key, instead)?;
        return refused(RequestRefused::AuthKey, "Unknown auth_key");
    };
    match of_path {
        Some(of_path) if of_path.id != app.id => {
            let (key, id) = (excerpt(key), &of_path.id);
            let text = format!("Unknown auth_key: {key} is not the key of app {id}");
            refused(RequestRefused::AuthKey, &text)
        }
        _ => Ok(app),
    }
}

/// Says so if a text that was sent as something else is a secret.
fn refuse_secret(
    apps: &Apps,
    place: &'static str,
    text: &str,
    instead: impl Fn(&App) -> String,
) -> Result<(), ApiError> {
    match apps.by_secret(text) {
        None => Ok(()),
        Some(app) => Err(ApiError::Secret {
            place,
            app: app.id.clone(),
            instead: instead(app),
        }),
    }
}

fn check_version(given: Option<&str>) -> Result<(), ApiError> {
    let refused = |text: &str| Err(unauthorized(RequestRefused::AuthVersion, text));
    match given {
        None => refused("Version required"),
        Some("1.0") => Ok(()),
        Some(_) => refused("Version not supported: auth_version must be 1.0"),
    }
}

fn bearer(head: &RequestHead) -> Option<&str> {
    let value = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    auth::bearer_token(value)
}

/// A compressed body would have to be unpacked before its size is known, and no SDK sends one.
pub(super) fn check_encoding(head: &RequestHead) -> Result<(), ApiError> {
    let Some(encoding) = head.headers.get(CONTENT_ENCODING) else {
        return Ok(());
    };
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    match encoding.trim() {
        plain if plain.is_empty() || plain.eq_ignore_ascii_case("identity") => Ok(()),
        other => Err(ApiError::Encoding(excerpt(other).to_owned())),
    }
}

/// As far as it is announced.
pub(super) fn content_length(head: &RequestHead) -> Option<usize> {
    head.headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The longest body that is read.
fn body_limit(route: Route<'_>, app: &App) -> usize {
    match route.endpoint {
        Endpoint::BatchEvents => app.limits.batch_body_bytes(),
        _ => app.limits.event_body_bytes(),
    }
}

fn unauthorized(reason: RequestRefused, text: impl Into<String>) -> ApiError {
    ApiError::Unauthorized(reason, text.into())
}

pub(super) fn check_timestamp(given: Option<&str>) -> Result<(), ApiError> {
    let refused = |text: String| Err(unauthorized(RequestRefused::Timestamp, text));
    let Some(given) = given else {
        return refused("Timestamp required".to_owned());
    };
    let Ok(seconds) = given.parse::<u64>() else {
        return refused(
            "Timestamp required: auth_timestamp must be the unix time in whole seconds, digits only"
                .to_owned(),
        );
    };
    let now = clock::now_seconds();
    let skew = now.abs_diff(seconds);
    if skew < CLOCK_WINDOW {
        return Ok(());
    }
    if let Some((unit, whole)) = finer_unit(seconds, now) {
        return refused(format!(
            "Timestamp expired: auth_timestamp is in {unit} and must be in seconds, {whole} instead of {seconds}"
        ));
    }
    let direction = if seconds < now { "behind" } else { "ahead of" };
    refused(format!(
        "Timestamp expired: Given timestamp ({}) not within {CLOCK_WINDOW}s of server time ({}): your clock is {skew} s {direction} the server's",
        iso(seconds),
        iso(now)
    ))
}

/// In which unit a timestamp is near the present, and how many seconds it is.
fn finer_unit(given: u64, now: u64) -> Option<(&'static str, u64)> {
    const DAY: u64 = 24 * 60 * 60;
    let units = [
        ("milliseconds", 1_000),
        ("microseconds", 1_000_000),
        ("nanoseconds", 1_000_000_000),
    ];
    let seconds = units.map(|(unit, parts)| (unit, given / parts));
    seconds
        .into_iter()
        .find(|(_, seconds)| now.abs_diff(*seconds) < DAY)
}

fn iso(seconds: u64) -> String {
    let seconds_since_1970 = i64::try_from(seconds).ok();
    let time = seconds_since_1970.and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| seconds.to_string())
}

/// What is wrong with a body that ends in the middle of a character.
pub(super) fn cut_character(body: &[u8]) -> Option<String> {
    let error = std::str::from_utf8(body).err()?;
    let rest = body.len() - error.valid_up_to();
    error.error_len().is_none().then(|| {
        format!(
            "The body is cut inside a character: its last {rest} bytes are only the beginning of one. Content-Length counts bytes, not characters"
        )
    })
}

/// A body without `body_md5` would be unsigned. Python sends the MD5 of nothing on GETs: fine.
pub(super) fn check_md5(query: &Pairs<'_>, body: &[u8]) -> Result<(), ApiError> {
    let given = get(query, "body_md5");
    if body.is_empty() && given.is_none() {
        return Ok(());
    }
    let computed = auth::body_md5(body);
    match given {
        None => Err(unauthorized(
            RequestRefused::BodyMd5,
            format!("body_md5 required: the request has a body, whose MD5 is {computed}"),
        )),
        Some(given) if given.eq_ignore_ascii_case(&computed) => Ok(()),
        Some(given) => {
            let given = excerpt(given);
            let text = format!(
                "Invalid body MD5: the body's MD5 is {computed}, but body_md5 was {given:?}"
            );
            let text = match cut_character(body) {
                Some(cut) => format!("{text}. {cut}"),
                None => text,
            };
            Err(unauthorized(RequestRefused::BodyMd5, text))
        }
    }
}

/// Keeps what came in one piece as it is, and takes no more room than what has come.
pub(super) async fn read_body(payload: Payload, limit: usize) -> Result<Bytes, ApiError> {
    let mut stream = pin!(BodyStream::new(payload));
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    while let Some(part) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        let part = part.map_err(|error| match error {
            PayloadError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                ApiError::BodyTimeout
            }
            error => ApiError::BadRequest(format!("The request body broke off: {error}")),
        })?;
        if part.len() > limit - first.len().max(whole.len()) {
            return Err(ApiError::BodyTooLarge(limit));
        }
        if first.is_empty() {
            first = part;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&part);
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_window_is_exclusive() {
        let now = clock::now_seconds();
        assert!(check_timestamp(Some(&(now - 590).to_string())).is_ok());
        assert!(check_timestamp(Some(&(now + 590).to_string())).is_ok());
        let error = check_timestamp(Some(&(now - 700).to_string()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("not within 600s") && error.contains("s behind the server's"),
            "{error}"
        );
        let error = check_timestamp(Some("18446744073709551615"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("ahead of the server's"), "{error}");
        assert!(check_timestamp(Some("soon")).is_err());
        for (parts, unit) in [
            (1_000, "milliseconds"),
            (1_000_000, "microseconds"),
            (1_000_000_000, "nanoseconds"),
        ] {
            let given = (now * parts + 7).to_string();
            let error = check_timestamp(Some(&given)).unwrap_err().to_string();
            let told = format!("is in {unit} and must be in seconds, {now} instead of {given}");
            assert!(error.contains(&told), "{error}");
        }
        for fraction in [format!("{now}.5"), format!(" {now}"), format!("-{now}")] {
            let error = check_timestamp(Some(&fraction)).unwrap_err().to_string();
            assert!(error.contains("in whole seconds"), "{error}");
        }
        assert_eq!(iso(1_385_034_491), "2013-11-21T11:48:11Z");
    }
}
