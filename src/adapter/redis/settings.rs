//! `[redis]`, checked: where the servers are and what this node promises with them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[redis]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the servers are.
    pub place: Place,
    /// Who this node is to them.
    pub login: Login,
    /// How to speak TLS to all of them; none: in the clear.
    pub tls: Option<Tls>,
    /// What the names of all keys and topics begin with; has no braces.
    pub prefix: String,
    /// How long a node counts without a sign of life.
    pub lease: Duration,
    /// How long a publish, a subscription or a question waits for Redis.
    pub publish_timeout: Duration,
    /// What becomes of a publish that Redis did not take in that time.
    pub on_outage: OnOutage,
    /// What is kept of each channel to close gaps.
    pub log: LogLimits,
}

/// Where the servers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// One server, with the number of its database.
    Standalone(Address, u32),
    /// Whatever these say is the primary.
    Sentinel {
        /// The sentinels; any of them will do.
        sentinels: Vec<Address>,
        /// The name under which they watch it.
        primary: String,
        /// Who this node is to the sentinels.
        login: Login,
    },
    /// A cluster: some of its servers, from which the others are learnt.
    Cluster(Vec<Address>),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// A user and a password of Redis' ACL; a password alone is the default user's.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub username: Option<String>,
    /// The password. Sent to Redis, never printed.
    pub password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.username.as_deref().unwrap_or_default())
    }
}

/// A TLS configuration: certificates that are trusted, and perhaps one to show.
#[derive(Clone)]
pub struct Tls(pub Arc<rustls::ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// What becomes of a publish that Redis did not take in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// It is refused with 503.
    Error,
    /// It is delivered to this node's clients alone, and the answer says so.
    Local,
}

/// The bounds of each channel's log; it ends at whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Events; 0: there is no log.
    pub events: u32,
    /// Their bytes.
    pub bytes: u32,
    /// How long after its channel's last event it is kept.
    pub seconds: u32,
}
