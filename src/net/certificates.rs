//! The server's certificate, which can be replaced while connections live: each handshake takes the one of its moment.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::clock;

/// The certificate chain and key in use.
#[derive(Debug)]
pub struct Certificates(watch::Sender<Arc<CertifiedKey>>);

impl Certificates {
    /// Begins with this one.
    #[must_use]
    pub fn new(first: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(first)))
    }

    /// From now on uses another one. Connections that are there go on.
    pub fn replace(&self, next: Arc<CertifiedKey>) {
        self.0.send_replace(next);
    }

    /// Whether another certificate than this one is in use.
    #[must_use]
    pub fn differ(&self, other: &CertifiedKey) -> bool {
        self.current().cert != other.cert
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.borrow())
    }

    /// How to speak TLS with it. WebSockets need HTTP/1.1, so nothing else is offered.
    ///
    /// # Errors
    /// If the cryptography has no version of TLS that is known here, which its choice rules out.
    pub(super) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_details(
            Arc::new(ring::default_provider()),
            Arc::new(clock::Certified),
        );
        let mut config = builder
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}
