//! The server's certificate. It can be replaced while connections live; each handshake uses the current one.

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
    /// Starts with this certificate.
    #[must_use]
    pub fn new(first: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(first)))
    }

    /// Uses another certificate for new connections. Open connections are not affected.
    pub fn replace(&self, next: Arc<CertifiedKey>) {
        self.0.send_replace(next);
    }

    /// Whether the certificate in use differs from `other`.
    #[must_use]
    pub fn differ(&self, other: &CertifiedKey) -> bool {
        self.current().cert != other.cert
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.borrow())
    }

    /// The TLS configuration. It offers HTTP/1.1 only, which WebSockets need.
    ///
    /// # Errors
    /// The cryptography has no known version of TLS. The one in use always has.
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
