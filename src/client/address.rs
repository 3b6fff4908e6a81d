//! `Address`: where a server is, from the URL that a person gives, for its sockets and for its HTTP API.

use std::fmt;

use crate::host_port;

/// The address of a server: scheme, host, port, and the prefix of all paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether it is `wss` or `https`.
    pub tls: bool,
    /// A name or an IP address; an IPv6 address has no brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// `""`, or a path such as `/realtime` without a slash at its end.
    pub prefix: String,
}

/// Why a text is not the URL of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Not of the form.
    #[error(
        "expected a URL like \"http://127.0.0.1:6001\" or \"wss://realtime.example.com\", found {0:?}"
    )]
    Form(String),
    /// The path goes on to an endpoint.
    #[error(
        "expected a URL that ends before /app or /apps, found {0:?}: the key and the id of the app are given by \
         themselves (--key, --app)"
    )]
    Endpoint(String),
    /// Not the name of a cluster.
    #[error("expected the name of a Pusher cluster, such as mt1 or eu, found {0:?}")]
    Cluster(String),
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(url: &str) -> Result<Self, InvalidAddress> {
        let form = || InvalidAddress::Form(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(form)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(form()),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let is_path_char = |c: char| c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:@%/".contains(c);
        let prefix = path.trim_end_matches('/');
        if format!("{path}/").contains("/app/") || format!("{path}/").contains("/apps/") {
            return Err(InvalidAddress::Endpoint(url.to_owned()));
        }
        if !prefix.chars().all(is_path_char) {
            return Err(form());
        }
        let (host, port) = host_port::split(authority).map_err(|_| form())?;
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: port.unwrap_or(default_port(tls)),
            prefix: prefix.to_owned(),
        })
    }

    /// The address of a cluster of Pusher's cloud.
    ///
    /// # Errors
    /// If no cluster can be called that.
    pub fn cluster(name: &str) -> Result<Self, InvalidAddress> {
        let is_name_char = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(is_name_char) {
            return Err(InvalidAddress::Cluster(name.to_owned()));
        }
        Ok(Self {
            tls: true,
            host: format!("api-{name}.pusher.com"),
            port: default_port(true),
            prefix: String::new(),
        })
    }

    /// The address that clients connect to: another host in Pusher's cloud, the same one elsewhere.
    pub fn for_sockets(&self) -> Self {
        self.named("api", "ws")
    }

    /// The address that backends publish to.
    pub fn for_api(&self) -> Self {
        self.named("ws", "api")
    }

    fn named(&self, from: &str, to: &str) -> Self {
        let cluster = self.host.strip_prefix(from);
        let host = match cluster.filter(|rest| rest.ends_with(".pusher.com")) {
            Some(rest) if rest.starts_with(['-', '.']) => format!("{to}{rest}"),
            _ => self.host.clone(),
        };
        Self {
            host,
            ..self.clone()
        }
    }

    /// `host:port`, without the port if it is the scheme's default.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.tls) {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The URL for HTTP, as `https://realtime.example.com/prefix`, without a slash at its end.
    pub fn http(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }

    /// The URL for WebSockets, as `wss://realtime.example.com/prefix`, without a slash at its end.
    pub fn ws(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.ws())
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, ws, http) in [
            (
                "ws://127.0.0.1:6001",
                "ws://127.0.0.1:6001",
                "http://127.0.0.1:6001",
            ),
            (
                "https://Example.com/x/",
                "wss://Example.com/x",
                "https://Example.com/x",
            ),
            ("WSS://[::1]:443/", "wss://[::1]", "https://[::1]"),
            ("http://a:80", "ws://a", "http://a"),
            ("http://a:443", "ws://a:443", "http://a:443"),
            (
                "https://api-mt1.pusher.com",
                "wss://ws-mt1.pusher.com",
                "https://api-mt1.pusher.com",
            ),
            (
                "wss://ws-eu.pusher.com",
                "wss://ws-eu.pusher.com",
                "https://api-eu.pusher.com",
            ),
            (
                "https://api.pusher.com",
                "wss://ws.pusher.com",
                "https://api.pusher.com",
            ),
            (
                "https://api.example.com",
                "wss://api.example.com",
                "https://api.example.com",
            ),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.for_sockets().ws(), ws);
            assert_eq!(address.for_api().http(), http);
        }
        let cluster = Address::cluster("mt1").unwrap();
        assert_eq!(cluster.for_sockets().ws(), "wss://ws-mt1.pusher.com");
    }

    #[test]
    fn what_is_no_url_of_a_server() {
        for text in [
            "",
            "a.b",
            "ftp://a",
            "ws://",
            "ws://:1",
            "ws://a:0",
            "ws://a:70000",
            "ws://a b",
            "ws://a?x",
            "ws://me@a",
            "ws://[::1",
            "ws://[x]",
            "ws://a/b?c",
            "ws://a\u{1b}",
        ] {
            let refused = Address::parse(text);
            assert!(
                matches!(refused, Err(InvalidAddress::Form(_))),
                "{text}: {refused:?}"
            );
        }
        for text in ["ws://a/app/key", "http://a/x/apps/3/events", "ws://a/app"] {
            let refused = Address::parse(text);
            assert!(
                matches!(refused, Err(InvalidAddress::Endpoint(_))),
                "{text}"
            );
        }
        assert!(Address::cluster("a.b/").is_err());
    }
}
