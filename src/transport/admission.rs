//! Who is let in: what a request for a connection says, the gate, and what is noted of refusals.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_http::Request;
use tracing::warn;

use super::xhr::sessions::Sessions;
use crate::feed::{Entry, Kind};
use crate::hub::Hub;
use crate::limits::{Admission, AdmissionGate, AdmissionRefused};
use crate::metrics::{Reason, Tallies, Tally, UpgradeRefused};
use crate::net::{Client, TrustedProxies};
use crate::node::{ApiTokens, Node, Refusal, UpgradeParams};
use crate::protocol::resume::InvalidResumeToken;
use crate::protocol::{ResumeToken, Transport, unmounted};

/// What one worker lets connections in with.
pub struct Door {
    /// What is decided by.
    pub node: Arc<Node>,
    /// This worker's.
    pub hub: Rc<Hub>,
    /// Whether there is room.
    pub gate: Arc<AdmissionGate>,
    /// Empty, or begins with a slash and ends without.
    pub path_prefix: Arc<str>,
    /// Whom the addresses of clients are believed.
    pub proxies: Arc<TrustedProxies>,
    /// What looks at API tokens.
    pub tokens: ApiTokens,
    /// The sessions over HTTP of all workers.
    pub sessions: Arc<Sessions>,
}

/// A request for a connection.
pub(super) struct Attempt<'a> {
    pub(super) door: &'a Door,
    pub(super) request: &'a Request,
    pub(super) client: Client,
    pub(super) transport: Transport,
    /// The app's key in the path; none: some other path.
    pub(super) key: Option<&'a str>,
    /// Of `/resume/{token}`, where the path begins so.
    pub(super) token: Option<Result<ResumeToken, InvalidResumeToken>>,
}

impl Door {
    /// A request's path without the server's prefix and `/resume/{token}`, and the token.
    pub(super) fn split<'a>(
        &self,
        request: &'a Request,
    ) -> (&'a str, Option<Result<ResumeToken, InvalidResumeToken>>) {
        let path = unmounted(request.path(), &self.path_prefix);
        match ResumeToken::split(path) {
            Some((token, rest)) => (rest, Some(token)),
            None => (path, None),
        }
    }

    /// `secure`: its client speaks TLS, as far as the socket tells.
    pub(super) fn attempt<'a>(
        &'a self,
        request: &'a Request,
        secure: bool,
        transport: Transport,
        key: Option<&'a str>,
    ) -> Attempt<'a> {
        let head = request.head();
        Attempt {
            door: self,
            request,
            client: self.proxies.client(head.peer_addr, secure, &head.headers),
            transport,
            key,
            token: self.split(request).1,
        }
    }
}

impl<'a> Attempt<'a> {
    /// A place for the connection, which counts from now on, whatever it takes to open it.
    ///
    /// # Errors
    /// There is none. It is counted and logged.
    pub(super) fn admit(&self) -> Result<Admission, AdmissionRefused> {
        let admission = self.door.gate.acquire(self.client.address, Instant::now());
        admission.inspect_err(|why| {
            self.refused(match why {
                AdmissionRefused::ShuttingDown => UpgradeRefused::ShuttingDown,
                AdmissionRefused::Full => UpgradeRefused::MaxConnections,
                AdmissionRefused::NoFiles => UpgradeRefused::NoRoom,
                AdmissionRefused::NetworkFull => UpgradeRefused::ConnectionsPerIp,
                AdmissionRefused::NetworkTooFast => UpgradeRefused::ConnectsPerIp,
            });
        })
    }

    /// What the client says of itself.
    pub(super) fn params(&self) -> UpgradeParams<'a> {
        let query = self.request.uri().query().unwrap_or_default();
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        UpgradeParams {
            transport: self.transport,
            key: self.key,
            resume: self.token.and_then(Result::ok),
            protocol: parameter("protocol"),
            client_name: parameter("client"),
            version: parameter("version"),
            origin: self.header("origin"),
            client: self.client,
        }
    }

    /// One of the request's headers, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.request.head().headers.get(name)?.to_str().ok()
    }

    /// Counts an attempt that is answered with an HTTP error, and says why.
    pub(super) fn refused(&self, reason: UpgradeRefused) {
        self.note(|tallies| &tallies.upgrades, (reason, None), &reason.text());
    }

    /// Counts a connection that is accepted only to be closed, and says why.
    pub(super) fn rejected(&self, refusal: &Refusal) {
        let (code, text) = (refusal.code, refusal.text.escape_debug());
        let reason = (code, Some(code.number()));
        self.note(|tallies| &tallies.connections, reason, &text);
    }

    /// Counts a refusal, and says so in the log and to those who watch the app that the path names; if there is none, to
    /// all who watch.
    fn note<R: Reason>(
        &self,
        tally: fn(&Tallies) -> &Tally<R>,
        (reason, code): (R, Option<u16>),
        text: &dyn fmt::Display,
    ) {
        let (node, address) = (&self.door.node, self.client.address);
        let path = self.request.path();
        if node.feed().is_watched() {
            let apps = node.apps();
            let app = self.key.and_then(|key| apps.by_key(key));
            let (method, path) = (self.request.method(), apps.shown_path(path));
            node.feed()
                .record(app.map(|app| &app.id), Kind::Refused, || Entry {
                    event: Some(format!("{method} {path}").into()),
                    key: self.key.map(|key| apps.masked_key(key)),
                    address,
                    code,
                    ..Entry::refused(reason)
                });
        }
        if tally(node.metrics().by_reason()).count_and_allow_log(reason) {
            warn!(
                path = node.apps().shown_path(path),
                code,
                reason = reason.label(),
                address = address.map(display),
                "{}: {text}",
                R::WHAT
            );
        }
    }
}
