//! Policy: what a command of a client or a request of a backend leads to. One verb per file, each an `impl Node`.
//!
//! Transports call verbs with typed values and turn outcomes into frames and responses; verbs use the worker's hub
//! and the adapter. Nothing here knows sockets, HTTP or Redis.

/// The reason for a refused token in one of the sets of reasons.
macro_rules! token_reason {
    ($set:ident, $fault:expr) => {
        match $fault {
            Fault::Format(_) | Fault::TooLong(_) => $set::AuthFormat,
            Fault::Algorithm { .. } => $set::TokenAlgorithm,
            Fault::UnknownKey(_) => $set::TokenKey,
            Fault::NoKeys => $set::TokenKeysUnread,
            Fault::Signature => $set::Signature,
            Fault::Expired(_) | Fault::NotYet(_) => $set::TokenTime,
            Fault::Claim(_) => $set::TokenClaim,
        }
    };
}

mod api_token;
mod client_event;
mod connect;
mod expiry;
mod held;
mod listen;
mod publish;
mod query;
mod rates;
mod reload;
mod resume;
mod signin;
mod subscribe;
mod subscribe_error;
mod terminate;

use std::sync::Arc;

pub use api_token::{ApiTokenRefused, ApiTokens};
pub use client_event::ClientEventError;
pub use connect::{Refusal, Session, UpgradeParams};
pub use listen::Listening;
pub use publish::{First, Publication, PublishOutcome};
pub use query::ChannelInfo;
pub use rates::{FrameRate, TooFast};
pub use signin::SigninError;
pub use subscribe_error::SubscribeError;

/// How far an event got.
pub use crate::adapter::DeliveryScope;
/// Why a verb cannot be carried out now.
pub use crate::adapter::Error as Unavailable;
/// How the other nodes are doing.
pub use crate::adapter::redis::{ClusterState, LiveNode};
/// Sessions of other nodes, and how these are asked about them.
pub use crate::adapter::{AskError, NodeId, Owner, Peers, Question as PeerQuestion};
/// What makes a repeat recognisable, and why that is refused.
pub use crate::adapter::{Counts, KeyRefused, Once};
/// An event of a channel's log, its place there, and from which end the log is read.
pub use crate::channel_log::{LogEvent, LogId, Order};
/// What one worker holds.
pub use crate::hub::inbox::{InboxDepth, WorkerReport};
/// A worker's connections for people.
pub use crate::hub::listing::{ConnectionInfo, ConnectionList, ConnectionQuery};
/// What an app has a rate for.
pub use crate::registry::AppRate;
/// Sums over all apps.
pub use crate::registry::Totals;
/// What a listener shows, and what is wrong with it.
pub use crate::token::{Fault as TokenFault, Token};

use crate::adapter::Adapter;
use crate::app::{App, Apps, CurrentApps};
use crate::feed::Feed;
use crate::hub::inbox::Inboxes;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::token::Fault;
use crate::webhook::Webhooks;

/// One running server's decisions. Shared by all workers; everything in it is immutable or has its own owner.
pub struct Node {
    apps: Arc<CurrentApps>,
    adapter: Adapter,
    registry: Arc<Registry>,
    inboxes: Inboxes,
    webhooks: Webhooks,
    metrics: Metrics,
    feed: Feed,
    activity_timeout: u32,
}

impl Node {
    /// Puts the parts together; `activity_timeout` is in seconds, as told to clients.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "wiring: each part is named once, here and in the server"
    )]
    pub fn new(
        apps: Arc<CurrentApps>,
        adapter: Adapter,
        registry: Arc<Registry>,
        inboxes: Inboxes,
        webhooks: Webhooks,
        activity_timeout: u32,
        metrics: Metrics,
        feed: Feed,
    ) -> Self {
        Self {
            apps,
            adapter,
            registry,
            inboxes,
            webhooks,
            metrics,
            feed,
            activity_timeout,
        }
    }

    /// The apps as of now. Whoever decides something reads them once, and so never sees half of a change.
    #[must_use]
    pub fn apps(&self) -> Arc<Apps> {
        self.apps.get()
    }

    /// The other nodes, one by one; `None` if there can be none.
    #[must_use]
    pub fn peers(&self) -> Option<&Peers> {
        self.adapter.peers()
    }

    /// The queues of the apps' webhooks.
    #[must_use]
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// Who watches what happens.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// What an `auth` value is wrong in. The texts are the real service's; none of them holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AuthFault {
    Format,
    Key(String),
    Signature { expected: String, got: String },
    Token(Fault),
}

impl Node {
    /// Checks an `auth`: `key:signature` of what should have been signed, or a token, which has no colon.
    async fn check_auth(
        &self,
        app: &App,
        auth: &str,
        message: impl FnOnce() -> String,
    ) -> Result<Option<Token>, AuthFault> {
        let Some(tokens) = app.tokens_for(auth) else {
            return check_signature(app, auth, &message()).map(|()| None);
        };
        let verified = Box::pin(tokens.verify(auth, &self.metrics)).await;
        verified.map(Some).map_err(AuthFault::Token)
    }
}

/// Checks `key:signature` against what should have been signed.
fn check_signature(app: &App, auth: &str, message: &str) -> Result<(), AuthFault> {
    let (key, signature) = auth.split_once(':').ok_or(AuthFault::Format)?;
    if key != app.key.as_str() {
        return Err(AuthFault::Key(crate::protocol::excerpt(key).to_owned()));
    }
    if !app.secrets.verifies(message.as_bytes(), signature) {
        return Err(AuthFault::Signature {
            expected: repeated(message),
            got: crate::protocol::excerpt(signature).to_owned(),
        });
    }
    Ok(())
}

/// What should have been signed, for whoever looks for the difference. Its end is left out where it is long: it holds
/// what a client sent, as much as a message may have, and is sent back twice.
fn repeated(message: &str) -> String {
    const MOST: usize = 1024;
    let beginning = crate::protocol::beginning(message, MOST);
    if beginning.len() == message.len() {
        return beginning.to_owned();
    }
    format!("{beginning}… ({} bytes)", message.len())
}
