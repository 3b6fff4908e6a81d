//! PEM texts: certificates, authorities, private keys. No message shows what was read.

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates of a text, of which there must be one.
///
/// # Errors
/// Says what is wrong with the text.
pub fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no PEM certificate in it"),
        Ok(found) => Ok(found),
        Err(_) => Err("its PEM is damaged"),
    }
}

/// The authorities of a text.
///
/// # Errors
/// Says what is wrong with the text.
pub fn authorities(text: &str) -> Result<RootCertStore, &'static str> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(text)? {
        roots
            .add(certificate)
            .map_err(|_| "a certificate in it is not one of X.509")?;
    }
    Ok(roots)
}

/// Those that browsers trust.
pub fn public_authorities() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// The first private key of a text.
///
/// # Errors
/// Says what is wrong with the text.
pub fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => "there is no PEM private key in it that is not encrypted",
        _ => "its PEM is damaged",
    })
}
