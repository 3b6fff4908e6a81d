//! `[server]`, `[server.tls]` and `[admin]`: the two listeners.

use std::num::NonZeroUsize;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::elsewhere::Elsewhere;
use super::error::{Problem, Step};
use super::tls;
use super::tree::Tree;
use super::values::{FilePath, Host, Masked, Network, PathPrefix, text};
use crate::auth::Secret;
use crate::bounded::{number, optional};
use crate::net::TrustedProxies;

/// `[server]`: the public listener and what its connections may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [server]")]
pub struct Server {
    /// The address or host name to listen on; an IPv6 address has no brackets.
    #[serde(deserialize_with = "text::<Host, _>")]
    pub host: String,
    /// The port; 0: any free one.
    #[serde(deserialize_with = "number::<0, 65535, _, _>")]
    pub port: u16,
    /// A path before all paths: `""`, or as `/realtime`, with no slash at the end. Served with and without it.
    #[serde(deserialize_with = "text::<PathPrefix, _>")]
    pub path_prefix: String,
    /// Seconds of silence after which a client pings, as told to it.
    #[serde(deserialize_with = "number::<1, 3600, _, _>")]
    pub activity_timeout: u32,
    /// Worker threads, each with connections of its own; at least 1.
    #[serde(deserialize_with = "number::<1, 1024, _, _>")]
    pub workers: usize,
    /// Connections of all apps at a time; none: as many as the system allows.
    #[serde(deserialize_with = "optional::<1, { u32::MAX }, _, _>")]
    pub max_connections: Option<NonZeroUsize>,
    /// Bytes that may wait for one connection. Beyond it the connection is closed as slow.
    #[serde(deserialize_with = "number::<65_536, 1_073_741_824, _, _>")]
    pub outbox_bytes: usize,
    /// Bytes that may wait for one worker. Beyond it publishers wait, then get 503.
    #[serde(deserialize_with = "number::<1_048_576, { u32::MAX }, _, _>")]
    pub inbox_bytes: usize,
    /// Bytes for the last events of cache channels, of all apps.
    #[serde(deserialize_with = "number::<65_536, { u32::MAX }, _, _>")]
    pub cache_bytes: usize,
    /// Seconds over which a shutdown spreads the closing of connections.
    #[serde(deserialize_with = "number::<0, 3600, _, _>")]
    pub drain_seconds: u32,
    /// Whether API tokens are taken over plain HTTP from beyond loopback.
    pub allow_plain_tokens: bool,
    pub(super) trusted_proxies: Vec<Network>,
    /// Whether each connection begins with the header of one of them.
    pub proxy_protocol: bool,
    /// A listener that is off, or beside one that is, could not be read back.
    #[serde(rename = "tls", skip_serializing_if = "TlsFiles::is_off")]
    pub(super) tls_files: TlsFiles,
    /// What `tls_files` name; none: in the clear.
    #[serde(skip)]
    pub tls: Option<Tls>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "0.0.0.0".to_owned(),
            port: 6001,
            path_prefix: String::new(),
            activity_timeout: 120,
            // One per core that this process may use; where that cannot be told, one.
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            max_connections: None,
            outbox_bytes: 1_048_576,
            inbox_bytes: 67_108_864,
            cache_bytes: 67_108_864,
            drain_seconds: 10,
            allow_plain_tokens: false,
            trusted_proxies: ["127.0.0.0/8", "::1"]
                .map(|text| Network(text.to_owned()))
                .into(),
            proxy_protocol: false,
            tls_files: TlsFiles::default(),
            tls: None,
        }
    }
}

impl Server {
    /// The proxies whose word on who the client is counts.
    #[must_use]
    pub fn trusted_proxies(&self) -> TrustedProxies {
        let networks = self.trusted_proxies.iter();
        TrustedProxies::new(networks.filter_map(Network::net).collect())
    }
}

/// `[server.tls]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [server.tls]")]
pub(super) struct TlsFiles {
    pub(super) cert: Option<FilePath>,
    pub(super) key: Option<FilePath>,
    #[serde(deserialize_with = "text::<Host, _>")]
    pub(super) plain_host: String,
    #[serde(deserialize_with = "optional::<0, 65535, _, _>")]
    pub(super) plain_port: Option<u16>,
}

impl TlsFiles {
    fn is_off(&self) -> bool {
        self.cert.is_none() && self.key.is_none()
    }
}

impl Default for TlsFiles {
    fn default() -> Self {
        Self {
            cert: None,
            key: None,
            plain_host: "127.0.0.1".to_owned(),
            plain_port: None,
        }
    }
}

/// `[admin]`: the operators' listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [admin]")]
pub struct Admin {
    /// The address or host name to listen on.
    #[serde(deserialize_with = "text::<Host, _>")]
    pub host: String,
    /// The port; 0: any free one.
    #[serde(deserialize_with = "number::<0, 65535, _, _>")]
    pub port: u16,
    #[serde(rename = "token")]
    pub(super) token_given: Option<Masked>,
    /// Whether metrics have Soketi's names too.
    pub soketi_metric_names: bool,
    /// What operators must show; always there when `host` is not loopback.
    #[serde(skip)]
    pub token: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 9601,
            token_given: None,
            soketi_metric_names: false,
            token: None,
        }
    }
}

/// What TLS needs of the files that `[server.tls]` names.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate chain with its key.
    pub certificate: Arc<CertifiedKey>,
    /// Host and port of a second listener, without TLS.
    pub plain: Option<(String, u16)>,
}

/// The section; none if it is empty or a problem was told.
pub(super) fn tls(
    raw: &TlsFiles,
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
            plain: raw.plain_port.map(|port| (raw.plain_host.clone(), port)),
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
