//! The sockets that the server listens on, and the line that says so.

use super::Error;
use crate::config::Settings;
use crate::net::{Listening, listen};

/// All of them, bound before anything else happens: a port that is taken ends the start at once.
pub(super) struct Listeners {
    pub(super) public: Listening,
    /// Beside TLS.
    pub(super) plain: Option<Listening>,
    pub(super) admin: Listening,
    public_scheme: &'static str,
}

impl Listeners {
    pub(super) fn bind(settings: &Settings) -> Result<Self, Error> {
        let server = &settings.server;
        let tls = server.tls.as_ref();
        let workers = server.workers;
        let plain = tls.and_then(|tls| tls.plain.as_ref());
        let plain = plain.map(|(host, port)| {
            let keys = "plain_host and plain_port of [server.tls]";
            listen(keys, host, *port, workers)
        });
        let admin = &settings.admin;
        let keys = "host and port of [server]";
        Ok(Self {
            public: listen(keys, &server.host, server.port, workers)?,
            plain: plain.transpose()?,
            admin: listen("host and port of [admin]", &admin.host, admin.port, 1)?,
            public_scheme: if tls.is_some() { "https" } else { "http" },
        })
    }

    /// `tidewire 0.1.0 listening on http://127.0.0.1:6001, 1 app, admin on http://127.0.0.1:9601`; with TLS
    /// `… on https://127.0.0.1:6001 and http://127.0.0.1:6002, 1 app, …`.
    pub(super) fn line(&self, apps: usize) -> String {
        let (public, admin) = (self.public.address, self.admin.address);
        let scheme = self.public_scheme;
        let plain = match &self.plain {
            Some(plain) => format!(" and http://{}", plain.address),
            None => String::new(),
        };
        let noun = if apps == 1 { "app" } else { "apps" };
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "tidewire {version} listening on {scheme}://{public}{plain}, {apps} {noun}, admin on http://{admin}"
        )
    }
}
