//! What becomes of a refusal beside its answer: it is counted by its reason, and the log says so.
//!
//! The answer's text may quote what was sent, signatures included, so none of it is logged.

use actix_http::error::DispatchError;
use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::web::Data;
use tracing::warn;

use super::Api;
use crate::app::AppId;
use crate::metrics::{Metrics, Reason as _, RequestRefused};
use crate::protocol::excerpt;

/// Counts a refused request; says why in the log, with the app if it is known for sure.
pub(super) fn note(request: &HttpRequest, app: Option<&AppId>, reason: RequestRefused) {
    // Every path of the API has it.
    let Some(api) = request.app_data::<Data<Api>>() else {
        return;
    };
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

/// Counts what never became a request, and says so in the log; gives the connection's error back.
#[must_use]
pub fn noted(metrics: &Metrics, error: DispatchError) -> DispatchError {
    let reason = match error {
        DispatchError::Parse(_) => RequestRefused::Malformed,
        DispatchError::SlowRequestTimeout => RequestRefused::HeadTimeout,
        // The connection's own end, or an answer's.
        _ => return error,
    };
    if metrics.by_reason().requests.note(reason) {
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
