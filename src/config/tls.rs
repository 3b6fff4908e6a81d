//! TLS by the settings: whom a client trusts, who it or the server is.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

use crate::clock;
pub(super) use crate::pem::{authorities, certificates, private_key, public_authorities};

/// A certificate with those above it, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The configuration. The cryptography is named here, so that nothing depends on what a process chose.
pub(super) fn client(
    authorities: RootCertStore,
    identity: Option<Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(clock::Certified))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities);
    match identity {
        Some((certificates, key)) => builder.with_client_auth_cert(certificates, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Who the server is. The key must be the certificate's.
pub(super) fn server((certificates, key): Identity) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(certificates, key, &ring::default_provider())
}
