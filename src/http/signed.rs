//! `Signed`: having one means that the app was found, the request was signed for it (or bore its token) and the body
//! arrived within the app's limits (protocol §4.2).
//!
//! The signature covers the body only through `body_md5`, so everything else is checked before a byte of the body is
//! read: whoever cannot sign costs no memory.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, MessageBody as _, to_bytes_limited};
use actix_web::http::header::{AUTHORIZATION, CONTENT_LENGTH};
use actix_web::web::{Bytes, Data};
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev};
use percent_encoding::percent_decode_str;
use tracing::debug;

use super::Api;
use super::error::{ApiError, Failure, wants_json};
use super::reading::{Decoding, get, other_readings, pairs, signed_paths};
use super::refusal::{is_publish, note};
use crate::app::{App, Apps};
use crate::metrics::RequestRefused;
use crate::node::Node;
use crate::protocol::excerpt;
use crate::{auth, clock};

/// `auth_timestamp` must be off by less than this many seconds.
const CLOCK_WINDOW: u64 = 600;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// An authenticated request.
pub(super) struct Signed {
    pub(super) node: Arc<Node>,
    pub(super) app: Arc<App>,
    pub(super) body: Bytes,
    query: Vec<(String, String)>,
    request: HttpRequest,
}

impl Signed {
    /// A query parameter's value.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The answer, with an error in the form that the request asked for.
    pub(super) fn answer(
        &self,
        result: Result<HttpResponse, ApiError>,
    ) -> Result<HttpResponse, Failure> {
        match result {
            Ok(response) => {
                let metrics = &self.app.metrics;
                if let BodySize::Sized(bytes) = response.body().size() {
                    metrics.api_response_bytes.inc_by(bytes);
                }
                if is_publish(&self.request) {
                    metrics.publishes_accepted.inc();
                }
                let path = excerpt(self.request.path());
                debug!(app.id = %self.app.id, path, "request accepted");
                Ok(response)
            }
            Err(error) => {
                note(&self.request, Some(&self.app.id), error.reason());
                Err(Failure::new(error, wants_json(&self.request)))
            }
        }
    }
}

impl FromRequest for Signed {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Failure>>>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let request = request.clone();
        let payload = payload.take();
        Box::pin(async move {
            let json = wants_json(&request);
            read(&request, payload).await.map_err(|error| {
                note(&request, None, error.reason());
                Failure::new(error, json)
            })
        })
    }
}

async fn read(request: &HttpRequest, payload: dev::Payload) -> Result<Signed, ApiError> {
    let missing = || ApiError::BadRequest("The server is not set up for this request".to_owned());
    let api = request.app_data::<Data<Api>>().ok_or_else(missing)?;
    let node = Arc::clone(&api.node);
    node.metrics().http_requests.inc();
    let query = pairs(request.query_string(), Decoding::Percent);
    let apps = node.apps();
    let (app, by_token) = match bearer(request) {
        Some(token) => (check_token(api, &apps, request, token)?, true),
        None => (check_signature(api, &apps, request, &query)?, false),
    };
    if !app.enabled {
        return Err(ApiError::AppDisabled);
    }
    let body = read_body(request, payload, &app).await?;
    if !by_token {
        check_md5(&query, &body)?;
    }
    app.metrics.api_requests.inc();
    app.metrics.api_request_bytes.inc_by(body.len() as u64);
    Ok(Signed {
        node,
        app,
        body,
        query,
        request: request.clone(),
    })
}

/// The app that the path names; none for the paths that name none.
fn app_of_path(apps: &Apps, request: &HttpRequest) -> Result<Option<Arc<App>>, ApiError> {
    let Some(id) = request.match_info().get("app_id") else {
        return Ok(None);
    };
    let id = percent_decode_str(id).decode_utf8_lossy();
    match apps.by_id(&id) {
        Some(app) => Ok(Some(Arc::clone(app))),
        None => Err(ApiError::UnknownApp(excerpt(&id).to_owned())),
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    auth::bearer_token(value)
}

fn check_token(
    api: &Api,
    apps: &Apps,
    request: &HttpRequest,
    token: &str,
) -> Result<Arc<App>, ApiError> {
    let path_needed = || {
        unauthorized(
            RequestRefused::Token,
            "An API token works on paths under /apps/{app_id}/ only",
        )
    };
    let app = app_of_path(apps, request)?.ok_or_else(path_needed)?;
    let client = api.client(request);
    if !client.secure && !client.is_local() && !api.allow_plain_tokens {
        return Err(ApiError::PlainToken);
    }
    // All are compared, so that the time does not tell which one came close.
    let matches = app
        .api_tokens
        .iter()
        .filter(|known| known.equals(token))
        .count();
    if matches == 0 {
        return Err(unauthorized(
            RequestRefused::Token,
            "Invalid API token: it is not one of the app's api_tokens",
        ));
    }
    Ok(app)
}

fn unauthorized(reason: RequestRefused, text: impl Into<String>) -> ApiError {
    ApiError::Unauthorized(reason, text.into())
}

/// Checks in the order of the reference validator: key, version, timestamp, signature.
fn check_signature(
    api: &Api,
    apps: &Apps,
    request: &HttpRequest,
    query: &[(String, String)],
) -> Result<Arc<App>, ApiError> {
    let of_path = app_of_path(apps, request)?;
    let key = get(query, "auth_key").ok_or_else(|| {
        unauthorized(
            RequestRefused::AuthKeyMissing,
            "Missing parameter: auth_key",
        )
    })?;
    let app = apps
        .by_key(key)
        .ok_or_else(|| unauthorized(RequestRefused::AuthKey, "Unknown auth_key"))?;
    if let Some(of_path) = of_path.filter(|of_path| of_path.id != app.id) {
        let key = excerpt(key);
        return Err(unauthorized(
            RequestRefused::AuthKey,
            format!(
                "Unknown auth_key: {key} is not the key of app {}",
                of_path.id
            ),
        ));
    }
    match get(query, "auth_version") {
        None => {
            return Err(unauthorized(
                RequestRefused::AuthVersion,
                "Version required",
            ));
        }
        Some("1.0") => {}
        Some(_) => {
            return Err(unauthorized(
                RequestRefused::AuthVersion,
                "Version not supported: auth_version must be 1.0",
            ));
        }
    }
    check_timestamp(get(query, "auth_timestamp"))?;
    let given = get(query, "auth_signature").ok_or_else(|| {
        unauthorized(
            RequestRefused::Signature,
            "Missing parameter: auth_signature",
        )
    })?;
    let method = request.method().as_str();
    let paths = signed_paths(request.uri().path(), &api.path_prefix);
    let canonical = auth::request_string(method, &paths[0], query);
    let verifies = |text: &str| app.secrets.verifies(text.as_bytes(), given);
    let mut others = other_readings(request.query_string(), method, &paths);
    if verifies(&canonical) || others.any(|text| verifies(&text)) {
        return Ok(Arc::clone(app));
    }
    Err(unauthorized(
        RequestRefused::Signature,
        format!(
            "Invalid signature: you should have sent HmacSHA256Hex({canonical:?}, your_secret_key), but you sent {:?}",
            excerpt(given)
        ),
    ))
}

pub(super) fn check_timestamp(given: Option<&str>) -> Result<(), ApiError> {
    let given =
        given.ok_or_else(|| unauthorized(RequestRefused::Timestamp, "Timestamp required"))?;
    let seconds: u64 = given.parse().map_err(|_| {
        unauthorized(
            RequestRefused::Timestamp,
            "Timestamp required: auth_timestamp must be the unix time in seconds",
        )
    })?;
    let now = clock::now_seconds();
    let skew = now.abs_diff(seconds);
    if skew < CLOCK_WINDOW {
        return Ok(());
    }
    let direction = if seconds < now { "behind" } else { "ahead of" };
    Err(unauthorized(
        RequestRefused::Timestamp,
        format!(
            "Timestamp expired: Given timestamp ({}) not within {CLOCK_WINDOW}s of server time ({}): your clock is {skew} s {direction} the server's",
            iso(seconds),
            iso(now)
        ),
    ))
}

fn iso(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| {
            time.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| seconds.to_string())
}

/// A body without `body_md5` would be unsigned. Python sends the MD5 of nothing on GETs: fine.
pub(super) fn check_md5(query: &[(String, String)], body: &[u8]) -> Result<(), ApiError> {
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
        Some(given) => Err(unauthorized(
            RequestRefused::BodyMd5,
            format!(
                "Invalid body MD5: the body's MD5 is {computed}, but body_md5 was {:?}",
                excerpt(given)
            ),
        )),
    }
}

async fn read_body(
    request: &HttpRequest,
    payload: dev::Payload,
    app: &App,
) -> Result<Bytes, ApiError> {
    let limit = match request.match_pattern() {
        Some(pattern) if pattern.ends_with("/batch_events") => app.limits.batch_body_bytes(),
        _ => app.limits.event_body_bytes(),
    };
    let length = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(ApiError::BodyTooLarge(limit));
    }
    let body = to_bytes_limited(BodyStream::new(payload), limit);
    let body = tokio::time::timeout(BODY_PATIENCE, body)
        .await
        .map_err(|_| ApiError::BodyTimeout)?;
    let body = body.map_err(|_| ApiError::BodyTooLarge(limit))?;
    body.map_err(|error| ApiError::BadRequest(format!("The request body broke off: {error}")))
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
        assert_eq!(iso(1_385_034_491), "2013-11-21T11:48:11Z");
    }
}
