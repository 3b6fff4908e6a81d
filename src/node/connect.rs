//! Connect and disconnect: whether a WebSocket may become a connection of an app, and what it owns while it is one.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Sleep;

use super::Node;
use super::held::Held;
use super::rates::ConnectionRates;
use super::resume::log_kept_for;
use crate::adapter::Subscriber;
use crate::app::{App, Apps};
use crate::channel_log::PastWanted;
use crate::hub::{ClientInfo, Ending, Identity, Peer, Slot};
use crate::metrics::Closed;
use crate::net::Client;
use crate::protocol::{
    CloseCode, Encoded, Member, ResumeToken, ServerFrame, SocketId, Transport, User, UserId,
    VERSIONS, excerpt,
};
use crate::registry::ConnectRefused;
use crate::token::TokensInUse;

/// What a client says of itself when it asks for a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpgradeParams<'a> {
    /// What would carry the connection.
    pub transport: Transport,
    /// The `{key}` of `/app/{key}`; none: some other path.
    pub key: Option<&'a str>,
    /// The `{token}` of `/resume/{token}/app/{key}`.
    pub resume: Option<ResumeToken>,
    /// `?protocol=`.
    pub protocol: Option<&'a str>,
    /// `?client=`.
    pub client_name: Option<&'a str>,
    /// `?version=`.
    pub version: Option<&'a str>,
    /// The `Origin` header. Native clients send none.
    pub origin: Option<&'a str>,
    /// Where the client is, and whether it came over TLS.
    pub client: Client,
}

/// Why a WebSocket is accepted only to be closed: a browser can read a close code, not an HTTP error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: CloseCode,
    /// What to fix.
    pub text: String,
}

impl Refusal {
    fn new(code: CloseCode) -> Self {
        Self {
            code,
            text: code.text().to_owned(),
        }
    }
}

/// What one connection owns beside its socket. Lives and dies on its worker.
pub struct Session {
    /// The connection, as its worker sees it.
    pub peer: Rc<Peer>,
    pub(super) subscriptions: Vec<Subscription>,
    /// Boxed: most connections have none.
    pub(super) held: Option<Box<Held>>,
    /// Boxed: most connections have none.
    pub(super) user: Option<Box<SignedIn>>,
    /// Until the first end of a token that something rests on. Boxed: most connections show none.
    pub(super) token_timer: Option<Pin<Box<Sleep>>>,
    /// Boxed: most connections send nothing that is counted.
    pub(super) rates: Option<Box<ConnectionRates>>,
}

/// One connection on one channel.
pub(super) struct Subscription {
    pub(super) slot: Slot,
    /// Whether `subscription_succeeded` has been sent.
    pub(super) active: bool,
    /// Who, on a presence channel. Boxed: most subscriptions have none.
    pub(super) member: Option<Box<Member>>,
}

/// A signed-in user and the places that tell this connection about it.
pub(super) struct SignedIn {
    pub(super) user: User,
    pub(super) slots: Vec<Slot>,
}

impl Session {
    /// A connection that has done nothing yet.
    #[must_use]
    pub fn new(peer: Rc<Peer>) -> Self {
        Self {
            peer,
            subscriptions: Vec::new(),
            held: None,
            user: None,
            token_timer: None,
            rates: None,
        }
    }

    /// Who is signed in.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        self.user
            .as_ref()
            .map(|signed_in| &signed_in.user.member.id)
    }

    pub(super) fn app(&self) -> Arc<App> {
        self.peer.app()
    }

    pub(super) fn position(&self, channel: &str) -> Option<usize> {
        self.subscriptions
            .iter()
            .position(|s| s.slot.channel().as_str() == channel)
    }
}

impl Subscription {
    pub(super) fn subscriber<'a>(&'a self, peer: &Peer) -> Subscriber<'a> {
        Subscriber {
            worker: peer.hub().index(),
            socket_id: peer.socket_id(),
            member: self.member.as_deref(),
            past: PastWanted::default(),
            resumable: log_kept_for(peer),
        }
    }
}

impl Node {
    /// Decides on an upgrade; an accepted connection is counted until [`Node::disconnect`]. Whoever tells a client of a
    /// refusal counts it.
    ///
    /// # Errors
    /// The code and text to close with.
    pub fn connect(&self, params: &UpgradeParams<'_>) -> Result<Identity, Refusal> {
        let accepted = self.check(params);
        if let Ok(identity) = &accepted {
            identity.app.metrics.connections_opened.inc();
        }
        accepted
    }

    fn check(&self, params: &UpgradeParams<'_>) -> Result<Identity, Refusal> {
        let key = params
            .key
            .ok_or_else(|| Refusal::new(CloseCode::PathNotFound))?;
        let protocol = protocol(params)?;
        let apps = self.apps();
        let app = apps.by_key(key).ok_or_else(|| unknown_app(&apps, key))?;
        if !app.enabled {
            return Err(Refusal::new(CloseCode::AppDisabled));
        }
        // It keeps clients from a mistake of theirs; whoever forges the header only fools itself.
        if app.tls_only && !params.client.secure {
            return Err(Refusal::new(CloseCode::TlsOnly));
        }
        check_origin(app, params.origin)?;
        let (limit, scope) = (app.limits.connections, app.limits_scope);
        let counted = self.registry.connect(&app.id, limit, scope);
        counted.map_err(|refused| {
            Refusal::new(match refused {
                ConnectRefused::Limit => CloseCode::OverQuota,
                ConnectRefused::Share => CloseCode::OverShare,
            })
        })?;
        Ok(Identity {
            socket_id: SocketId::random(),
            app: Arc::clone(app),
            transport: params.transport,
            protocol,
            client_info: client_info(params),
            resume: params.resume,
            address: params.client.address,
        })
    }

    /// The first frame of every connection.
    #[must_use]
    pub fn greeting(&self, identity: &Identity) -> Encoded {
        ServerFrame::ConnectionEstablished {
            socket_id: identity.socket_id,
            activity_timeout: self.activity_timeout,
        }
        .encode()
    }

    /// Takes a connection out of everything: the same way for each subscription as when it had left by itself.
    pub fn disconnect(&self, mut session: Session) {
        session.update_tokens(|tokens| *tokens = TokensInUse::default());
        while let Some(at) = session.subscriptions.len().checked_sub(1) {
            self.unsubscribe_at(&mut session, at);
        }
        self.sign_out(&mut session);
        let app = session.app();
        self.registry.disconnect(&app.id);
        session.peer.hub().dismiss(&session.peer);
        app.metrics.connections_ended.inc();
        let closed = match session.peer.ending() {
            Some(Ending::Close { code, .. }) => Closed::Server(code),
            Some(Ending::Answered(_)) => Closed::Client,
            Some(Ending::Gone) | None => Closed::Gone,
        };
        self.metrics.by_reason().closed.count(closed);
    }
}

/// Says what to look at; a secret is not repeated.
fn unknown_app(apps: &Apps, key: &str) -> Refusal {
    let text = match apps.by_secret(key) {
        Some(app) => format!(
            "This is a secret of app {}, which clients must not have: they need its key",
            short(app.id.as_str())
        ),
        None => format!(
            "No app has the key {}: check it, the host, and [[apps]] of the server",
            short(key)
        ),
    };
    Refusal {
        code: CloseCode::UnknownApp,
        text,
    }
}

/// The list protects pages from other pages. Native clients send no `Origin` and are let in (protocol §2.2): whoever
/// is not a browser could send any.
fn check_origin(app: &App, origin: Option<&str>) -> Result<(), Refusal> {
    let allowed = &app.allowed_origins;
    match origin {
        Some(origin)
            if !allowed.is_empty() && !allowed.iter().any(|pattern| pattern.allows(origin)) =>
        {
            let text = format!(
                "Origin not allowed: {} is not in allowed_origins of this app",
                short(origin)
            );
            Err(Refusal {
                code: CloseCode::OriginRefused,
                text,
            })
        }
        _ => Ok(()),
    }
}

/// What is kept of it to be shown.
fn client_info(params: &UpgradeParams<'_>) -> ClientInfo {
    let parts = [params.client_name, params.version];
    let parts: Vec<&str> = parts
        .into_iter()
        .flatten()
        .filter(|p| !p.is_empty())
        .collect();
    let kept = |text: &str| excerpt(text).to_owned();
    ClientInfo {
        origin: params.origin.map(kept),
        client: (!parts.is_empty()).then(|| kept(&parts.join(" "))),
    }
}

/// The protocol version, and a look at the library's version (only its form: nobody branches on it).
fn protocol(params: &UpgradeParams<'_>) -> Result<u8, Refusal> {
    // Whoever has no library says nothing of it.
    if params.transport.is_listeners() {
        return Ok(*VERSIONS.end());
    }
    const MAX_VERSION_CHARS: usize = 100;
    if params
        .version
        .is_some_and(|v| v.len() > MAX_VERSION_CHARS || v.chars().any(|c| !c.is_ascii_graphic()))
    {
        return Err(Refusal::new(CloseCode::BadVersion));
    }
    let text = params
        .protocol
        .filter(|p| !p.is_empty())
        .ok_or_else(|| Refusal::new(CloseCode::NoProtocol))?;
    text.parse()
        .ok()
        .filter(|version| VERSIONS.contains(version))
        .ok_or_else(|| {
            let (least, most) = (VERSIONS.start(), VERSIONS.end());
            let text = format!(
                "Unsupported protocol version {}: supported are {least} to {most}",
                short(text)
            );
            Refusal {
                code: CloseCode::UnsupportedProtocol,
                text,
            }
        })
}

/// Untrusted text must leave room in the 123 bytes of a close reason for what is said about it.
fn short(text: &str) -> &str {
    const MAX_CHARS: usize = 48;
    let text = excerpt(text);
    text.char_indices()
        .nth(MAX_CHARS)
        .map_or(text, |(end, _)| &text[..end])
}
