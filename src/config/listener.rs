//! `[server.tls]` and the proxies in front: what the public listener needs beyond an address.

use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::elsewhere::Elsewhere;
use super::error::{Problem, Step};
use super::raw;
use super::tls;
use super::tree::Tree;
use super::values::FilePath;
use crate::net::TrustedProxies;

/// `[server.tls]`
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate chain with its key.
    pub certificate: Arc<CertifiedKey>,
    /// Host and port of a second listener, without TLS.
    pub plain: Option<(String, u16)>,
}

/// The networks of `trusted_proxies`.
pub(super) fn trusted_proxies(server: &raw::Server) -> TrustedProxies {
    let networks = server.trusted_proxies.iter();
    TrustedProxies::new(networks.filter_map(|network| network.net()).collect())
}

/// The section; none if it is empty or a problem was told.
pub(super) fn tls(
    raw: &raw::ServerTls,
    tree: &Tree,
    elsewhere: &mut Elsewhere<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Tls> {
    let mut say = |key: &str, text: String| {
        let path = ["server", "tls", key].map(|key| Step::Key(key.to_owned()));
        problems.push(Problem::at(tree.origin(&path), &path, text));
    };
    let (cert, key) = match (&raw.cert, &raw.key) {
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => {
            say(
                "cert",
                "key must be set too: the file of its private key".to_owned(),
            );
            return None;
        }
        (None, Some(_)) => {
            say(
                "key",
                "cert must be set too: the file of its certificate chain".to_owned(),
            );
            return None;
        }
        (None, None) => {
            if raw.plain_port.is_some() {
                say("plain_port", "it is for a second listener beside TLS, which is off: set cert and key, or port in [server]".to_owned());
            }
            return None;
        }
    };
    let certificates = elsewhere.file(&cert.0, tls::certificates);
    let private_key = elsewhere.file(&key.0, tls::private_key);
    let identity = match (certificates, private_key) {
        (Ok(certificates), Ok(private_key)) => (certificates, private_key),
        (certificates, private_key) => {
            certificates
                .err()
                .into_iter()
                .for_each(|text| say("cert", text));
            private_key
                .err()
                .into_iter()
                .for_each(|text| say("key", text));
            return None;
        }
    };
    match tls::server(identity) {
        Ok(certificate) => Some(Tls {
            certificate: Arc::new(certificate),
            // The type of a port has 16 bits' bounds.
            plain: raw.plain_port.map(|port| {
                let port = u16::try_from(port.get()).unwrap_or(u16::MAX);
                (raw.plain_host.0.clone(), port)
            }),
        }),
        Err(error) => {
            let shown = |path: &FilePath| elsewhere.folder.join(&path.0).display().to_string();
            let (key, text) = mismatch(&error, &shown(cert), &shown(key));
            say(key, text);
            None
        }
    }
}

/// What is wrong with a certificate and a key that could be read, and the key to change.
fn mismatch(error: &rustls::Error, certificate: &str, key: &str) -> (&'static str, String) {
    match error {
        rustls::Error::InconsistentKeys(_) => (
            "key",
            format!("{key}: it is not the key of the first certificate in {certificate}"),
        ),
        rustls::Error::InvalidCertificate(_) => (
            "cert",
            format!("{certificate}: the certificate in it is not one of X.509"),
        ),
        _ => (
            "key",
            format!("{key}: expected a key of RSA, ECDSA or Ed25519"),
        ),
    }
}
