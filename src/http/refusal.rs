//! What becomes of a refusal beside its answer: it is counted by its reason, and the log says so.
//!
//! The answer's text may quote what was sent, signatures included, so none of it is logged.

use actix_http::error::DispatchError;
use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::web::Data;
use percent_encoding::percent_decode_str;
use tracing::warn;

use super::Api;
use super::reading::key;
use crate::app::AppId;
use crate::feed::{Entry, Kind};
use crate::metrics::{Reason as _, RequestRefused};
use crate::node::Node;
use crate::protocol::excerpt;

/// Counts a refused request; says why in the log, with the app if it is known for sure.
pub(super) fn note(request: &HttpRequest, app: Option<&AppId>, reason: RequestRefused) {
    // Every path of the API has it.
    let Some(api) = request.app_data::<Data<Api>>() else {
        return;
    };
    show(api, request, reason);
    let by_reason = api.node.metrics().by_reason();
    if is_publish(request) {
        by_reason.publishes.count(reason);
    }
    if by_reason.requests.note(reason) {
        warn!(
            app.id = app.map(display),
            method = excerpt(request.method().as_str()),
            path = excerpt(request.path()),
            reason = reason.label(),
            address = api.client(request).address.map(display),
            "{}: {}",
            RequestRefused::WHAT,
            reason.text()
        );
    }
}

/// Tells those who watch the app that the request names; if there is none, all who watch.
fn show(api: &Api, request: &HttpRequest, reason: RequestRefused) {
    let feed = api.node.feed();
    if !feed.is_watched() {
        return;
    }
    let apps = api.node.apps();
    let of_path = request.match_info().get("app_id");
    let of_path = of_path.map(|id| percent_decode_str(id).decode_utf8_lossy());
    let key = key(request.query_string());
    let app = match (&of_path, &key) {
        (Some(id), _) => apps.by_id(id),
        (None, Some(key)) => apps.by_key(key),
        (None, None) => None,
    };
    feed.tell(app.map(|app| &app.id), Kind::Refused, || Entry {
        event: Some(format!("{} {}", request.method(), apps.masked_path(request.path())).into()),
        key: key.as_deref().map(|key| apps.masked_key(key)),
        address: api.client(request).address,
        ..Entry::refused(reason)
    });
}

/// Counts what never became a request, and says so to those who watch and in the log; gives the connection's error
/// back.
#[must_use]
pub fn noted(node: &Node, error: DispatchError) -> DispatchError {
    let reason = match error {
        DispatchError::Parse(_) => RequestRefused::Malformed,
        DispatchError::SlowRequestTimeout => RequestRefused::HeadTimeout,
        // The connection's own end, or an answer's.
        _ => return error,
    };
    node.feed()
        .tell(None, Kind::Refused, || Entry::refused(reason));
    if node.metrics().by_reason().requests.note(reason) {
        warn!(
            reason = reason.label(),
            "{}: {}",
            RequestRefused::WHAT,
            reason.text()
        );
    }
    error
}

/// Whether it is for one of the paths that publish.
pub(super) fn is_publish(request: &HttpRequest) -> bool {
    request.method() == Method::POST
        && request
            .match_pattern()
            .is_some_and(|path| path.ends_with("/events") || path.ends_with("/batch_events"))
}
