//! What becomes of a refusal beside its answer: it is counted by its reason, and the log says so.
//!
//! The answer's text may quote what was sent, signatures included, so none of it is logged.

use std::net::SocketAddr;

use actix_web::HttpResponse;
use tracing::warn;

use super::query_string::key;
use super::route::Endpoint;
use super::{Call, Refused};
use crate::feed::{Entry, Kind};
use crate::metrics::{Reason as _, RequestRefused};
use crate::net::Fault;
use crate::node::Node;
use crate::protocol::excerpt;

impl Call<'_> {
    /// Counts a refused request and says why in the log, with the app if it is known for sure; its answer.
    pub(super) fn refuse(&self, refused: &Refused) -> HttpResponse {
        let reason = refused.error.reason();
        // A source has told what was delivered to it.
        let is_told = refused.app.is_some()
            && self
                .route
                .is_some_and(|route| route.endpoint == Endpoint::Source);
        if !is_told {
            self.record_in_feed(reason);
        }
        let by_reason = self.api.node.metrics().by_reason();
        if self.is_publish() {
            by_reason.publishes.count(reason);
        }
        if by_reason.requests.count_and_allow_log(reason) {
            warn!(
                app.id = refused.app.as_ref().map(|app| display(&app.id)),
                method = excerpt(self.head.method.as_str()),
                path = self.shown_path(),
                reason = reason.label(),
                address = self.client().address.map(display),
                "{}: {}",
                RequestRefused::WHAT,
                reason.text()
            );
        }
        refused.error.response(self.head)
    }

    /// The path as it may be shown: cut, and without a secret that was sent where an id or a key belongs.
    pub(super) fn shown_path(&self) -> String {
        self.api.node.apps().shown_path(self.head.uri.path())
    }

    /// Tells those who watch the app that the request names; if there is none, all who watch.
    fn record_in_feed(&self, reason: RequestRefused) {
        let feed = self.api.node.feed();
        if !feed.is_watched() {
            return;
        }
        let apps = self.api.node.apps();
        let key = key(self.head.uri.query().unwrap_or_default());
        let app = match (self.route.and_then(|route| route.app()), &key) {
            (Some(id), _) => apps.by_id(&id),
            (None, Some(key)) => apps.by_key(key),
            (None, None) => None,
        };
        feed.record(app.map(|app| &app.id), Kind::Refused, || Entry {
            event: Some(format!("{} {}", self.head.method, self.shown_path()).into()),
            key: key.as_deref().map(|key| apps.masked_key(key)),
            address: self.client().address,
            ..Entry::refused(reason)
        });
    }
}

/// Counts, logs and records in the feed that a connection ended with a fault of its client.
pub fn record_fault(node: &Node, fault: Fault, peer: Option<SocketAddr>) {
    let reason = match fault {
        Fault::Malformed => RequestRefused::Malformed,
        Fault::Tls => RequestRefused::Tls,
        Fault::HeadTooLarge | Fault::TargetTooLong => RequestRefused::HeadTooLarge,
        Fault::BodyNotTaken => RequestRefused::BodyTooLarge,
        Fault::HeadTimeout => RequestRefused::HeadTimeout,
        Fault::AnswerTimeout => RequestRefused::AnswerTimeout,
        Fault::Broken => return,
    };
    let address = peer.map(|peer| peer.ip());
    node.feed().record(None, Kind::Refused, || Entry {
        address,
        ..Entry::refused(reason)
    });
    if node
        .metrics()
        .by_reason()
        .requests
        .count_and_allow_log(reason)
    {
        warn!(
            reason = reason.label(),
            address = address.map(display),
            "{}: {}",
            RequestRefused::WHAT,
            reason.text()
        );
    }
}
