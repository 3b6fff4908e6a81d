//! The sockets that the server listens on, and the line that says so.

use std::io;
use std::net::TcpListener;

use super::Error;
use crate::config::Settings;
use crate::net::listen;

/// All of them, bound before anything else happens: a port that is taken ends the start at once.
pub(super) struct Listeners {
    pub(super) public: TcpListener,
    /// Beside TLS.
    pub(super) plain: Option<TcpListener>,
    pub(super) admin: TcpListener,
    public_scheme: &'static str,
}

impl Listeners {
    pub(super) fn bind(settings: &Settings) -> Result<Self, Error> {
        let server = &settings.server;
        let tls = server.tls.as_ref();
        let plain = tls.and_then(|tls| tls.plain.as_ref());
        Ok(Self {
            public: listen("host and port of [server]", &server.host, server.port)?,
            plain: plain
                .map(|(host, port)| {
                    listen("plain_host and plain_port of [server.tls]", host, *port)
                })
                .transpose()?,
            admin: listen(
                "host and port of [admin]",
                &settings.admin.host,
                settings.admin.port,
            )?,
            public_scheme: if tls.is_some() { "https" } else { "http" },
        })
    }

    /// `tidewire 0.1.0 listening on http://127.0.0.1:6001, 1 app, admin on http://127.0.0.1:9601`; with TLS
    /// `… on https://127.0.0.1:6001 and http://127.0.0.1:6002, 1 app, …`.
    pub(super) fn line(&self, apps: usize) -> io::Result<String> {
        let (public, admin) = (self.public.local_addr()?, self.admin.local_addr()?);
        let scheme = self.public_scheme;
        let plain = match &self.plain {
            Some(plain) => format!(" and http://{}", plain.local_addr()?),
            None => String::new(),
        };
        let noun = if apps == 1 { "app" } else { "apps" };
        let version = env!("CARGO_PKG_VERSION");
        Ok(format!(
            "tidewire {version} listening on {scheme}://{public}{plain}, {apps} {noun}, admin on http://{admin}"
        ))
    }
}
