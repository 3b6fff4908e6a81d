//! The gate of upgrades: whether a WebSocket is let in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::networks::{NetworkLimits, NetworkPermit};
use super::{ConcurrencyLimit, Permit};

/// Whether upgrades are taken, and how many there are; shared by all workers.
#[derive(Debug)]
pub struct AdmissionGate {
    draining: watch::Sender<bool>,
    sockets: Arc<ConcurrencyLimit>,
    /// What is in the way when they are as many as may be.
    full: AdmissionRefused,
    networks: Option<Arc<NetworkLimits>>,
}

/// A WebSocket that was let in, for as long as this is kept.
#[derive(Debug)]
pub struct Admission {
    _socket: Permit,
    _network: Option<Box<NetworkPermit>>,
}

impl AdmissionGate {
    /// Lets so many WebSockets in at a time as both the setting and the limit of open files allow; none: any number.
    #[must_use]
    pub fn new(max_connections: Option<usize>, files: Option<usize>) -> Self {
        let is_set = max_connections.is_some_and(|max| files.is_none_or(|files| max <= files));
        let (max, full) = if is_set {
            (max_connections, AdmissionRefused::Full)
        } else {
            (files, AdmissionRefused::NoFiles)
        };
        Self {
            draining: watch::Sender::default(),
            sockets: Arc::new(ConcurrencyLimit::new(max)),
            full,
            networks: None,
        }
    }

    /// Lets each network have so many only.
    #[must_use]
    pub fn with_networks(self, networks: Option<Arc<NetworkLimits>>) -> Self {
        Self { networks, ..self }
    }

    /// From now on refuses every upgrade.
    pub fn close(&self) {
        self.draining.send_replace(true);
    }

    /// Ends when the gate is closed; for whoever comes later or `is_new` then, after a while that suffices for one
    /// request.
    pub fn closed<F: Fn() -> bool>(&self, is_new: F) -> impl Future<Output = ()> + use<F> {
        const LATE: Duration = Duration::from_secs(1);
        let comes_later = self.is_closed();
        let mut draining = self.draining.subscribe();
        async move {
            // An error means that the gate is gone, and with it the server.
            let _ = draining.wait_for(|draining| *draining).await;
            if comes_later || is_new() {
                tokio::time::sleep(LATE).await;
            }
        }
    }

    /// Whether the server takes no new connections.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.draining.borrow()
    }

    /// How many WebSockets are in, those included that are being closed.
    #[must_use]
    pub fn open(&self) -> usize {
        self.sockets.in_use()
    }

    /// Lets one more WebSocket in, of a client at an address, if that is known.
    ///
    /// # Errors
    /// None is taken now.
    pub fn acquire(
        &self,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Admission, AdmissionRefused> {
        if self.is_closed() {
            return Err(AdmissionRefused::ShuttingDown);
        }
        let networks = self.networks.as_ref();
        let network = networks.map(|networks| networks.acquire(address, now));
        Ok(Admission {
            _network: network.transpose()?.flatten(),
            _socket: self.sockets.acquire().ok_or(self.full)?,
        })
    }
}

/// Why no WebSocket is let in; the texts are for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionRefused {
    /// The gate was closed.
    #[error("The server is shutting down; connect to another one")]
    ShuttingDown,
    /// There are as many as may be.
    #[error("The server has max_connections connections; try again later")]
    Full,
    /// What is left of the limit of open files is for backends.
    #[error("The server's limit of open files leaves room for no more clients; try again later")]
    NoFiles,
    /// The client's network has as many as it may.
    #[error("The server has connections_per_ip connections from your address; try again later")]
    NetworkFull,
    /// The client's network opens them too fast.
    #[error(
        "Connections come from your address faster than connects_per_ip_per_second; try again later"
    )]
    NetworkTooFast,
}
