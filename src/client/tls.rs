//! `Trust`: whose certificates are believed, and until when one can be.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use crate::{fetch, pem};

/// The authorities that may vouch for a server.
#[derive(Debug, Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
}

/// Why authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAuthorities {
    /// A text without certificates, or with some that cannot be read.
    #[error("{0}")]
    Pem(&'static str),
    /// Authorities that the library refuses.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// A set that cannot be used.
    #[error("{0}")]
    Set(#[from] rustls::client::VerifierBuilderError),
}

impl Trust {
    /// The authorities that browsers trust.
    ///
    /// # Errors
    /// If the library refuses its own defaults.
    pub fn public() -> Result<Self, InvalidAuthorities> {
        Self::of(pem::public_authorities())
    }

    /// The certificates of a PEM text, and no others.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn only(text: &str) -> Result<Self, InvalidAuthorities> {
        Self::of(pem::authorities(text).map_err(InvalidAuthorities::Pem)?)
    }

    fn of(roots: RootCertStore) -> Result<Self, InvalidAuthorities> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider).build()?;
        Ok(Self {
            // WebSockets begin with an HTTP/1.1 upgrade, so nothing newer must be agreed on.
            config: Arc::new(fetch::tls(roots)?),
            verifier,
        })
    }

    /// The configuration for rustls.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// When the first certificate of a chain ends, since the Unix epoch.
    ///
    /// The library reads certificates for nobody, but it says why one is refused: at the end of all times that a
    /// certificate can name, that is its end. So no second parser of certificates is needed.
    pub(super) fn end_of(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Option<Duration> {
        const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);
        match self.refusal_at(chain, name, YEAR_10000)? {
            CertificateError::ExpiredContext { not_after, .. } => {
                Some(Duration::from_secs(not_after.as_secs()))
            }
            _ => None,
        }
    }

    /// Why a chain would be refused at a time since the Unix epoch: for any certificate in it.
    pub(super) fn refusal_at(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        time: Duration,
    ) -> Option<CertificateError> {
        let (first, rest) = chain.split_first()?;
        let time = UnixTime::since_unix_epoch(time);
        let verified = self
            .verifier
            .verify_server_cert(first, rest, name, &[], time);
        match verified {
            Err(rustls::Error::InvalidCertificate(error)) => Some(error),
            _ => None,
        }
    }
}
