//! The checked settings of `[redis]`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of `[redis]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which servers there are, and how to find the primary.
    pub topology: Topology,
    /// User and password for Redis.
    pub login: Login,
    /// TLS for the connections to all servers; `None`: plain TCP.
    pub tls: Option<Tls>,
    /// The prefix of all keys and topics. It has no braces.
    pub prefix: String,
    /// How long a node counts as alive after its last heartbeat.
    pub lease: Duration,
    /// How long a publish, a subscription or a query waits for Redis.
    pub publish_timeout: Duration,
    /// What happens to a publish that Redis did not take within `publish_timeout`.
    pub on_outage: OnOutage,
    /// The bounds of each channel's log.
    pub log: LogLimits,
}

/// Which servers there are, and how to find the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server, and the number of its database.
    Standalone(Address, u32),
    /// Sentinels, which name the primary.
    Sentinel {
        /// The sentinels. The first that answers is enough.
        sentinels: Vec<Address>,
        /// The name of the primary in the sentinels' configuration.
        primary: String,
        /// User and password for the sentinels.
        login: Login,
    },
    /// A Redis Cluster: some of its servers, which name the others.
    Cluster(Vec<Address>),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A host name or an IP address; IPv6 without brackets.
    pub host: String,
    /// The TCP port.
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

/// A user and a password of Redis' ACL. A password alone belongs to the user `default`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The ACL's user; `None` for `default`.
    pub username: Option<String>,
    /// The password. Sent to Redis, never printed.
    pub password: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.username.as_deref().unwrap_or_default())
    }
}

/// A TLS configuration: trusted certificates, and perhaps a client certificate.
#[derive(Clone)]
pub struct Tls(pub Arc<rustls::ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// What happens to a publish that Redis did not take in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// The publisher gets 503.
    Error,
    /// This node's clients receive it, and the answer says that no other node does.
    Local,
}

/// The bounds of each channel's log. The oldest events go when any of them is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Events; 0 switches the log off.
    pub events: u32,
    /// Bytes of all events.
    pub bytes: u32,
    /// Seconds that the log lives after the channel's last event.
    pub seconds: u32,
}
