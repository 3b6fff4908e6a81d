//! `[server]`, `[server.tls]` and `[admin]`: the two listeners.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::raw::Raw;
use super::secrets::SecretReader;
use super::tls;
use super::values::{FilePath, Host, Masked, Network, PathPrefix, StickyHost, text};
use super::wrong::{Wrong, at, both, ensure};
use crate::auth::Secret;
use crate::bounded::{Whole, section};
use crate::host_port::is_loopback;
use crate::net::TrustedProxies;

section! {
    /// `[server]`: the public listener and what its connections may use.
    pub struct Server {
        /// The address or host name to listen on; an IPv6 address has no brackets.
        #[serde(deserialize_with = "text::<Host, _>")]
        pub host: String = "0.0.0.0".to_owned(),
        /// The port; 0: any free one.
        pub port: u16 as "Whole::<0, 65535>" = 6001,
        /// A path before all paths: `""`, or as `/realtime`, with no slash at the end. Served with and without it.
        #[serde(deserialize_with = "text::<PathPrefix, _>")]
        pub path_prefix: String = String::new(),
        /// The host that pusher-js over HTTP is told to send a session's further requests to; `""`: any node will do.
        #[serde(deserialize_with = "text::<StickyHost, _>")]
        pub sticky_host: String = String::new(),
        /// Seconds of silence after which a client pings, as told to it.
        pub activity_timeout: u32 as "Whole::<1, 3600>" = 120,
        /// Worker threads, each with connections of its own; at least 1. By default one per core that this process may
        /// use, and one where that is unknown.
        pub workers: usize as "Whole::<1, 1024>" = std::thread::available_parallelism().map_or(1, usize::from),
        /// Connections of all apps at a time; none: as many as the system allows.
        pub max_connections: Option<NonZeroUsize> as "Whole::<1, { u32::MAX }>" = None,
        /// Connections from one address, or one /64 of IPv6, at a time; none: any number.
        pub connections_per_ip: Option<NonZeroU32> as "Whole::<1, { u32::MAX }>" = None,
        /// Connections that may be opened from there in a second; none: any number.
        pub connects_per_ip_per_second: Option<NonZeroU32> as "Whole::<1, { u32::MAX }>" = None,
        /// Bytes that may wait for one connection. Beyond it the connection is closed as slow.
        pub outbox_bytes: usize as "Whole::<65_536, 1_073_741_824>" = 1_048_576,
        /// Bytes that may wait for one worker. Beyond it publishers wait, then get 503.
        pub inbox_bytes: usize as "Whole::<1_048_576, { u32::MAX }>" = 67_108_864,
        /// Bytes for the last events of cache channels, of all apps.
        pub cache_bytes: usize as "Whole::<65_536, { u32::MAX }>" = 67_108_864,
        /// Bytes for the logs of channels that are read back, of all apps.
        pub history_bytes: usize as "Whole::<65_536, { u32::MAX }>" = 67_108_864,
        /// Seconds over which a shutdown spreads the closing of connections.
        pub drain_seconds: u32 as "Whole::<0, 3600>" = 10,
        /// Whether API tokens are taken over plain HTTP from beyond loopback.
        pub allow_plain_tokens: bool = false,
        pub(super) trusted_proxies: Vec<Network> =
            ["127.0.0.0/8", "::1"].map(|text| Network(text.to_owned())).into(),
        /// Whether each connection begins with the header of one of them.
        pub proxy_protocol: bool = false,
        /// A listener that is off, or beside one that is, could not be read back.
        #[serde(rename = "tls", skip_serializing_if = "TlsFiles::is_off")]
        pub(super) tls_files: TlsFiles = TlsFiles::default(),
        /// What `tls_files` name; none: in the clear.
        #[serde(skip)]
        pub tls: Option<Tls> = None,
    }
}

impl Server {
    /// The host that clients over HTTP are told.
    #[must_use]
    pub fn sticky_host(&self) -> Option<&str> {
        Some(&*self.sticky_host).filter(|host| !host.is_empty())
    }

    /// The proxies whose word on who the client is counts.
    #[must_use]
    pub fn trusted_proxies(&self) -> TrustedProxies {
        let networks = self.trusted_proxies.iter();
        TrustedProxies::new(networks.filter_map(Network::net).collect())
    }
}

section! {
    /// `[server.tls]`
    pub(super) struct TlsFiles {
        pub(super) cert: Option<FilePath> = None,
        pub(super) key: Option<FilePath> = None,
        #[serde(deserialize_with = "text::<Host, _>")]
        pub(super) plain_host: String = "127.0.0.1".to_owned(),
        pub(super) plain_port: Option<u16> as "Whole::<0, 65535>" = None,
    }
}

impl TlsFiles {
    fn is_off(&self) -> bool {
        self.cert.is_none() && self.key.is_none()
    }
}

section! {
    /// `[admin]`: the operators' listener.
    pub struct Admin {
        /// The address or host name to listen on.
        #[serde(deserialize_with = "text::<Host, _>")]
        pub host: String = "127.0.0.1".to_owned(),
        /// The port; 0: any free one.
        pub port: u16 as "Whole::<0, 65535>" = 9601,
        #[serde(rename = "token")]
        pub(super) token_given: Option<Masked> = None,
        /// Whether metrics have Soketi's names too.
        pub soketi_metric_names: bool = false,
        /// What operators must show; always there when `host` is not loopback.
        #[serde(skip)]
        pub token: Option<Secret> = None,
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

/// `[server.tls]`; none if it is empty.
pub(super) fn tls(files: &TlsFiles, secrets: &mut SecretReader<'_>) -> Result<Option<Tls>, Wrong> {
    if files.is_off() && files.plain_port.is_some() {
        let text = "it is for a second listener beside TLS, which is off: set cert and key, or port in [server]";
        return Err(Wrong::key("plain_port", text));
    }
    let named = [files.cert.as_ref(), files.key.as_ref()];
    let Some(identity) = tls::identity(["cert", "key"], named, secrets)? else {
        return Ok(None);
    };
    let plain = files.plain_port;
    Ok(Some(Tls {
        certificate: Arc::new(identity.made(tls::server)?),
        plain: plain.map(|port| (files.plain_host.clone(), port)),
    }))
}

/// What `[admin]` refers to, and what only the two listeners together can get wrong.
pub(super) fn token(raw: &Raw, secrets: &SecretReader<'_>) -> Result<Option<Secret>, Wrong> {
    let Raw { server, admin, .. } = raw;
    let is_safe = is_loopback(&admin.host) || admin.token_given.is_some();
    let host = ensure(is_safe, "host", || {
        format!(
            "\"{}\" is reachable from beyond this machine: set token in [admin] too, or listen on 127.0.0.1",
            admin.host
        )
    });
    let port = admin.port;
    let port = ensure(port == 0 || port != server.port, "port", || {
        format!("{port} is the port of [server] too: the two listeners need their own")
    });
    let token = admin.token_given.as_ref();
    let token = token.map(|token| secrets.resolve(token).map_err(at("token")));
    let (token, _) = both(token.transpose(), both(host, port))?;
    Ok(token)
}
