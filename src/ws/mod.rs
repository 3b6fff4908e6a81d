//! WebSocket upgrades on `/app/{key}` and `/resume/{token}/app/{key}`: the handshake, then the raw connection is handed to its own task.
//!
//! The HTTP machinery of the connection (dispatcher, buffers) ends with the upgrade. What a browser must be able to
//! read is said in a close frame after accepting; overload is said by an HTTP error, because only that makes
//! pusher-js back off.

mod connection;
mod handshake;
mod header;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::{Method, Request};
use bytes::BytesMut;
use tracing::warn;

use crate::feed::{Entry, Kind};
use crate::hub::{Hub, Identity};
use crate::limits::{Admission, AdmissionGate, AdmissionRefused};
use crate::metrics::{Reason, UpgradeRefused};
use crate::net::{Client, Socket, TrustedProxies, Upgrade, check_head};
use crate::node::{Node, Refusal, UpgradeParams};
use crate::protocol::{CloseCode, ResumeToken, unmounted};
use connection::serve;
use handshake::{Fault, Handshake, verify};

/// How long a close may take: the rest of the outbox, the close frame, and the other side's end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The upgrade service of one worker.
pub struct Upgrades {
    node: Arc<Node>,
    hub: Rc<Hub>,
    gate: Arc<AdmissionGate>,
    path_prefix: Rc<str>,
    proxies: Arc<TrustedProxies>,
}

impl Upgrades {
    /// For the connections that this worker accepts.
    #[must_use]
    pub fn new(
        node: Arc<Node>,
        hub: Rc<Hub>,
        gate: Arc<AdmissionGate>,
        path_prefix: &str,
        proxies: Arc<TrustedProxies>,
    ) -> Self {
        Self {
            node,
            hub,
            gate,
            path_prefix: path_prefix.into(),
            proxies,
        }
    }

    fn upgrade(&self, request: &Request, socket: Socket, unread: BytesMut) {
        let head = request.head();
        let client = self
            .proxies
            .client(head.peer_addr, socket.is_secure(), &head.headers);
        if let Err(error) = check_head(head) {
            self.refused(request, client, UpgradeRefused::HeadTooLarge);
            return spawn(Fault::too_large(error).answer(socket));
        }
        if let Err(fault) = verify(head) {
            self.refused(request, client, UpgradeRefused::Handshake);
            return spawn(fault.answer(socket));
        }
        let resume = match ResumeToken::split(self.path(request)).map(|(token, _)| token) {
            Some(Err(error)) => {
                self.refused(request, client, UpgradeRefused::ResumeToken);
                return spawn(Fault::bad_request(&error).answer(socket));
            }
            Some(Ok(token)) => Some(token),
            None => None,
        };
        let admission = match self.gate.acquire(client.address, Instant::now()) {
            Ok(admission) => admission,
            Err(why) => {
                let reason = match why {
                    AdmissionRefused::ShuttingDown => UpgradeRefused::ShuttingDown,
                    AdmissionRefused::Full => UpgradeRefused::MaxConnections,
                    AdmissionRefused::NoFiles => UpgradeRefused::NoRoom,
                    AdmissionRefused::NetworkFull => UpgradeRefused::ConnectionsPerIp,
                    AdmissionRefused::NetworkTooFast => UpgradeRefused::ConnectsPerIp,
                };
                self.refused(request, client, reason);
                return spawn(Fault::unavailable(why).answer(socket));
            }
        };
        let handshake = Handshake::new(request, socket, unread);
        let params = UpgradeParams {
            resume,
            ..self.params(request, client)
        };
        match self.node.connect(&params) {
            Ok(identity) => self.accept(identity, handshake, admission),
            Err(refusal) => {
                self.rejected(request, client, &refusal);
                spawn(async move {
                    handshake.reject(&refusal).await;
                    drop(admission);
                });
            }
        }
    }

    /// Tells those who watch the app that the path names; if there is none, all who watch.
    fn record_in_feed<R: Reason>(
        &self,
        request: &Request,
        client: Client,
        reason: R,
        code: Option<u16>,
    ) {
        let feed = self.node.feed();
        if !feed.is_watched() {
            return;
        }
        let apps = self.node.apps();
        let key = self.params(request, client).key;
        let app = key.and_then(|key| apps.by_key(key));
        feed.record(app.map(|app| &app.id), Kind::Refused, || Entry {
            event: Some(format!("GET {}", apps.shown_path(request.path())).into()),
            key: key.map(|key| apps.masked_key(key)),
            address: client.address,
            code,
            ..Entry::refused(reason)
        });
    }

    /// Counts an upgrade that is answered with an HTTP error, and says why.
    fn refused(&self, request: &Request, client: Client, reason: UpgradeRefused) {
        self.record_in_feed(request, client, reason, None);
        if self
            .node
            .metrics()
            .by_reason()
            .upgrades
            .count_and_allow_log(reason)
        {
            warn!(
                path = self.node.apps().shown_path(request.path()),
                reason = reason.label(),
                address = client.address.map(display),
                "{}: {}",
                UpgradeRefused::WHAT,
                reason.text()
            );
        }
    }

    /// Without the path prefix.
    fn path<'a>(&self, request: &'a Request) -> &'a str {
        let path = request.path();
        unmounted(path, &self.path_prefix)
    }

    fn params<'a>(&self, request: &'a Request, client: Client) -> UpgradeParams<'a> {
        let path = self.path(request);
        let path = ResumeToken::split(path).map_or(path, |(_, rest)| rest);
        let query = request.uri().query().unwrap_or_default();
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let header = |name| {
            let value = request.head().headers.get(name)?;
            value.to_str().ok()
        };
        UpgradeParams {
            key: path
                .strip_prefix("/app/")
                .filter(|key| !key.is_empty() && !key.contains('/')),
            resume: None,
            protocol: parameter("protocol"),
            client_name: parameter("client"),
            version: parameter("version"),
            origin: header("origin"),
            client,
        }
    }

    /// The hub has the connection before anything else happens on this worker: a reload that follows finds it there.
    fn accept(&self, identity: Identity, handshake: Handshake, admission: Admission) {
        let opening = self
            .node
            .greeting(&identity)
            .behind(handshake.response.as_bytes());
        let peer = self.hub.admit(identity, handshake.socket);
        peer.send(&opening);
        spawn(serve(
            Arc::clone(&self.node),
            peer,
            handshake.buffered,
            admission,
        ));
    }

    /// Counts a WebSocket that is accepted only to be closed, and says why.
    fn rejected(&self, request: &Request, client: Client, refusal: &Refusal) {
        let code = refusal.code;
        self.record_in_feed(request, client, code, Some(code.number()));
        if self
            .node
            .metrics()
            .by_reason()
            .connections
            .count_and_allow_log(code)
        {
            warn!(
                path = self.node.apps().shown_path(request.path()),
                code = code.number(),
                reason = code.label(),
                address = client.address.map(display),
                "{}: {}",
                CloseCode::WHAT,
                refusal.text.escape_debug()
            );
        }
    }
}

/// Runs on the worker, apart from the HTTP dispatcher, whose memory is freed when this service has answered.
fn spawn(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}

impl Upgrade for Upgrades {
    /// Some proxies offer an upgrade with every request that they forward; those to the API are requests all the same.
    fn takes(&self, request: &Request) -> bool {
        let head = request.head();
        let is_handshake = head.headers.contains_key("sec-websocket-key");
        let path = self.path(request);
        let is_ours = path.starts_with("/app/") || ResumeToken::split(path).is_some();
        is_handshake || head.method == Method::GET && is_ours
    }

    fn take_over(&self, request: Request, socket: Socket, unread: BytesMut) {
        self.upgrade(&request, socket, unread);
    }
}
