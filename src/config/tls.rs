//! TLS by the settings: whom a client trusts, who it or the server is.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

use super::check::{Check, Reported};
use super::values::FilePath;
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

/// What is made of the certificate and the key in two files; none if neither is named. `keys` are the settings that name
/// them.
pub(super) fn identity<T>(
    check: &mut Check<'_, '_>,
    section: &str,
    keys: [&str; 2],
    files: [Option<&FilePath>; 2],
    made: impl FnOnce(Identity) -> Result<T, rustls::Error>,
) -> Result<Option<T>, Reported> {
    let [cert_at, key_at] = keys.map(|key| format!("{section}.{key}"));
    let (cert, key) = match files {
        [Some(cert), Some(key)] => (cert, key),
        [None, None] => return Ok(None),
        [Some(_), None] => {
            let text = format!("{} must be set too: the file of its private key", keys[1]);
            return Err(check.report(&cert_at, text));
        }
        [None, Some(_)] => {
            let text = format!(
                "{} must be set too: the file of its certificate chain",
                keys[0]
            );
            return Err(check.report(&key_at, text));
        }
    };
    let certificates = check.secrets.file(&cert.0, certificates);
    let private_key = check.secrets.file(&key.0, private_key);
    let certificates = check.or_report(&cert_at, certificates);
    let identity = (certificates, check.or_report(&key_at, private_key)?);
    let [cert, key] = [cert, key].map(|path| {
        let path = check.secrets.folder.join(&path.0);
        path.display().to_string()
    });
    made((identity.0?, identity.1))
        .map(Some)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let text = format!("{key}: it is not the key of the first certificate in {cert}");
                check.report(&key_at, text)
            }
            rustls::Error::InvalidCertificate(_) => check.report(
                &cert_at,
                format!("{cert}: the certificate in it is not one of X.509"),
            ),
            _ => check.report(
                &key_at,
                format!("{key}: expected a key of RSA, ECDSA or Ed25519"),
            ),
        })
}
