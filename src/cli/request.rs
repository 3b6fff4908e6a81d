//! A signed request to the HTTP API: which app signs, where it goes, and what is signed (protocol §4.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Error;
use crate::app::{App, Apps};
use crate::auth::{body_md5, request_string};
use crate::config::{Server, Tls};

/// Everything but RFC 3986's unreserved characters: neither a shell nor curl finds a meaning in what is left.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The flags that say who asks whom.
#[derive(Debug, Default, Args)]
pub(super) struct Target {
    /// The app's id [default: the one in the path, or the only one]
    #[arg(long, value_name = "ID")]
    pub(super) app: Option<String>,
    /// The server [default: the configured host, port and path prefix; with TLS the listener without]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
}

impl Target {
    /// The app that is meant: the one named, or the only one.
    pub(super) fn app<'a>(&self, apps: &'a Apps, in_path: Option<&str>) -> Result<&'a App, Error> {
        let mut ids: Vec<&str> = apps.iter().map(|app| app.id.as_str()).collect();
        ids.sort_unstable();
        let named = match (self.app.as_deref().or(in_path), ids.as_slice()) {
            (Some(id), _) => id,
            (None, [only]) => only,
            (None, _) => {
                let text = format!("which app? Name one with --app: {}", ids.join(", "));
                return Err(Error::Usage(text));
            }
        };
        let app = apps.by_id(named).map(AsRef::as_ref);
        app.ok_or_else(|| {
            let known = ids.join(", ");
            Error::Usage(format!(
                "no app has the id \"{named}\". The configuration has: {known}"
            ))
        })
    }

    /// The server's URL, without a slash at its end.
    pub(super) fn base(&self, server: &Server) -> Result<String, Error> {
        if let Some(url) = &self.url {
            return given_base(url);
        }
        let (scheme, host, port) = match &server.tls {
            None => ("http", &server.host, server.port),
            Some(Tls {
                plain: Some((host, port)),
                ..
            }) => ("http", host, *port),
            // No public authority signs for an address.
            Some(_) if server.host.parse::<IpAddr>().is_ok() => {
                let text = "the server speaks TLS, and its certificate is for a name: give that with --url, like \
                            https://realtime.example.com, or set plain_port in [server.tls]";
                return Err(Error::Usage(text.to_owned()));
            }
            Some(_) => ("https", &server.host, server.port),
        };
        if port == 0 {
            let text = "the configured port is 0, any free one: name the server with --url";
            return Err(Error::Usage(text.to_owned()));
        }
        let (host, prefix) = (reachable(host), &server.path_prefix);
        Ok(format!("{scheme}://{host}:{port}{prefix}"))
    }
}

/// A URL as given, without a slash at its end.
pub(super) fn given_base(url: &str) -> Result<String, Error> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    match rest {
        Some(rest) if is_url_text(rest) => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err(Error::Usage(format!(
            "--url: expected a URL like \"http://127.0.0.1:6001\", found \"{url}\""
        ))),
    }
}

/// The host of a URL at which a listener is reached from its own machine: one that listens on all addresses is reached
/// by the loopback one.
pub(super) fn reachable(host: &str) -> String {
    if host.parse() == Ok(Ipv4Addr::UNSPECIFIED) {
        "127.0.0.1".to_owned()
    } else if host.parse() == Ok(Ipv6Addr::UNSPECIFIED) {
        "[::1]".to_owned()
    } else if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// A request, not yet signed.
pub(super) struct Request {
    /// In upper case.
    method: String,
    /// Without a mount prefix, escaped as it will be sent.
    path: String,
    /// Decoded.
    query: Vec<(String, String)>,
    /// None when empty.
    body: Option<String>,
}

impl Request {
    /// Takes a path with an optional query, as typed.
    pub(super) fn new(method: &str, path: &str, body: Option<String>) -> Result<Self, Error> {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(Error::Usage(format!("not an HTTP method: \"{method}\"")));
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if !path.starts_with('/') || !is_url_text(path) {
            return Err(Error::Usage(format!(
                "expected a path like /apps/app-id/events, with special characters escaped (\"#\" as %23), found \
                 \"{path}\""
            )));
        }
        let query: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(key), decoded(value))
            })
            .collect();
        if let Some((key, _)) = query.iter().find(|(key, _)| key.starts_with("auth_")) {
            let text = format!("the path's query has {key} already, which signing adds");
            return Err(Error::Usage(text));
        }
        Ok(Self {
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            query,
            body: body.filter(|body| !body.is_empty()),
        })
    }

    /// The same request without the mount prefix, which is not signed.
    pub(super) fn without_prefix(mut self, prefix: &str) -> Self {
        if let Some(rest) = self.path.strip_prefix(prefix)
            && rest.starts_with('/')
        {
            self.path = rest.to_owned();
        }
        self
    }

    /// The app's id that the path names.
    pub(super) fn app_id(&self) -> Option<&str> {
        self.path.strip_prefix("/apps/")?.split('/').next()
    }

    /// Upper case.
    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// None when empty.
    pub(super) fn body(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// The URL under a base, signed at a time in seconds of the Unix epoch.
    pub(super) fn signed_url(&self, base: &str, app: &App, timestamp: u64) -> String {
        let mut query = self.query.clone();
        let mut add = |key: &str, value: String| query.push((key.to_owned(), value));
        add("auth_key", app.key.to_string());
        add("auth_timestamp", timestamp.to_string());
        add("auth_version", "1.0".to_owned());
        if let Some(body) = &self.body {
            add("body_md5", body_md5(body.as_bytes()));
        }
        let signed = request_string(&self.method, &self.path, &query);
        query.push((
            "auth_signature".to_owned(),
            app.secrets.sign(signed.as_bytes()),
        ));
        let query: Vec<String> = query
            .iter()
            .map(|(key, value)| format!("{}={}", encoded(key), encoded(value)))
            .collect();
        format!("{base}{}?{}", self.path, query.join("&"))
    }
}

/// The time to sign with.
pub(super) fn now() -> u64 {
    // A clock before 1970 is one that the server will call expired, with both times in its answer.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Whether a text can stand in a URL as it is. Brackets and braces are left out because curl expands them, save for
/// the brackets of an IPv6 address.
fn is_url_text(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:@%/[]".contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}
