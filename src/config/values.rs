//! The kinds of value that keys take: what each allows is checked while it is read, so that a problem is told where
//! the value stands, and holding one is the proof.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::app_store::table_name;
use super::origin::page_origin;
use super::webhooks::{http_url, without_secrets};
use crate::host_port::is_loopback;

/// A secret or a token, or the name of the variable that holds it; `secrets` tells which. It is written as `***`,
/// and no message shows what was given for it.
#[derive(Clone)]
pub(super) struct Masked(pub(super) String);

/// Stands for what is secret wherever settings are shown.
pub(super) const MASK: &str = "***";

/// What is expected where a secret belongs: the reader does not show what it finds instead.
pub(super) const A_SECRET: &str = "a secret";

/// What a secret must be, wherever it stands.
pub(super) fn check_secret(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("expected a secret text, found an empty one");
    }
    // Most often a line end that a file or a shell added; it would make every signature wrong.
    if text.trim() != text || text.contains(char::is_control) {
        return Err("expected a text without control characters and without white space around it");
    }
    Ok(())
}

/// Prints and writes a value as it is displayed: without what is secret in it.
macro_rules! masked {
    ($($type:ty),*) => {$(
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

pub(super) use masked;

masked!(Masked);

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Masked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hidden;

        impl Visitor<'_> for Hidden {
            type Value = Masked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(A_SECRET)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Masked, E> {
                check_secret(text).map_err(E::custom)?;
                Ok(Masked(text.to_owned()))
            }
        }

        deserializer.deserialize_str(Hidden)
    }
}

/// Declares checked texts, each with its check, which gets what was given and answers with what is kept, or with what is
/// wrong.
macro_rules! checked_texts {
    ($($(#[$doc:meta])* $type:ident: $check:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $type(pub(super) String);

        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                $check(&text).map(Self)
            }
        }

        impl From<$type> for String {
            fn from(checked: $type) -> Self {
                checked.0
            }
        }
    )*};
}

checked_texts! {
    /// An app's id or key: a segment of a URL path, and what stands before the colon of an `auth`.
    Name: name,
    /// An address or host name to listen on, IPv6 without its brackets.
    Host: host,
    /// `""`, or the host name of this node.
    StickyHost: sticky_host,
    /// `""`, or a path that begins with a slash and does not end with one.
    PathPrefix: path_prefix,
    /// An entry of `allowed_origins`.
    PageOrigin: page_origin,
    /// The name of a table in a database.
    TableName: table_name,
    /// The path of a file.
    FilePath: file_path,
    /// Where a JWK set is.
    JwksUrl: jwks_url,
    /// A network of addresses, `10.0.0.0/8`, or a single one.
    Network: network,
    /// A name of Redis', which splits its commands at white space.
    Token: token,
    /// What all names in Redis begin with.
    KeyPrefix: key_prefix,
}

/// Reads a checked text where its check alone is wanted.
pub(super) fn text<'de, T, D>(deserializer: D) -> Result<String, D::Error>
where
    T: Deserialize<'de> + Into<String>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Into::into)
}

impl Network {
    /// The network; the check has parsed it.
    pub(super) fn net(&self) -> Option<IpNet> {
        parsed_network(&self.0)
    }
}

/// RFC 3986's unreserved characters: nothing in between escapes or splits them.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.~".contains(c)
}

fn is_path_segment(text: &str) -> bool {
    !text.is_empty() && text != "." && text != ".." && text.chars().all(is_plain)
}

/// The text, or what was expected and found.
fn if_fits(text: &str, fits: bool, expected: &str) -> Result<String, String> {
    let found = || format!("expected {expected}; found {text:?}");
    fits.then(|| text.to_owned()).ok_or_else(found)
}

fn name(text: &str) -> Result<String, String> {
    let expected =
        "a text of letters, digits, \"-\", \"_\", \".\" and \"~\", because it is part of URLs";
    if_fits(text, is_path_segment(text), expected)
}

fn host(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let fits = bare.parse::<IpAddr>().is_ok() || (!bare.is_empty() && bare.chars().all(is_name));
    let expected = "an address (\"0.0.0.0\", \"::\") or a host name, without scheme and port";
    if_fits(text, fits, expected).map(|_| bare.to_owned())
}

fn sticky_host(text: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let expected =
        "this node's own host name, as its clients reach it, without scheme, port and path";
    if_fits(text, text.chars().all(is_name), expected)
}

fn path_prefix(text: &str) -> Result<String, String> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let trimmed = trimmed.strip_prefix('/').unwrap_or(trimmed);
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let fits = trimmed.split('/').all(is_path_segment);
    let expected = "a path like \"/realtime\" of letters, digits, \"-\", \"_\", \".\" and \"~\"";
    if_fits(text, fits, expected)?;
    let fits = !matches!(trimmed.split('/').next(), Some("app" | "apps"));
    let expected = "a path that does not begin with /app or /apps, which clients use themselves";
    if_fits(text, fits, expected).map(|_| format!("/{trimmed}"))
}

fn file_path(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("expected the path of a file, found an empty text".to_owned());
    }
    Ok(text.to_owned())
}

fn jwks_url(text: &str) -> Result<String, String> {
    let fits = http_url(text).is_some_and(|url| {
        let host = url.host().unwrap_or_default();
        url.scheme_str() == Some("https") || is_loopback(host.trim_matches(['[', ']']))
    });
    let expected = "a URL like \"https://id.example.com/.well-known/jwks.json\": https, or http to this machine, without \
                    user and fragment";
    if_fits(&without_secrets(text), fits, expected).map(|_| text.to_owned())
}

fn network(text: &str) -> Result<String, String> {
    let expected = "an address (\"10.0.0.1\") or a network (\"10.0.0.0/8\", \"fd00::/8\")";
    if_fits(text, parsed_network(text).is_some(), expected)
}

fn parsed_network(text: &str) -> Option<IpNet> {
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(single)
}

fn token(text: &str) -> Result<String, String> {
    let splits = |c: char| c.is_whitespace() || c.is_control();
    let fits = !text.is_empty() && !text.contains(splits);
    if_fits(text, fits, "a name without white space")
}

fn key_prefix(text: &str) -> Result<String, String> {
    // No braces: a cluster would read them as a hash tag and put all keys on one server.
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let fits = (1..=64).contains(&text.len()) && text.chars().all(is_name);
    let expected = "1 to 64 letters, digits, \"-\", \"_\", \".\" and \":\"";
    if_fits(text, fits, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_normalised() {
        let kept = |text: &str| Ok(text.to_owned());
        for (check, given, expected) in [
            (
                name as fn(&str) -> Result<String, String>,
                "app-id",
                kept("app-id"),
            ),
            (name, "1.2_~A", kept("1.2_~A")),
            (host, "[::1]", kept("::1")),
            (host, "localhost", kept("localhost")),
            (path_prefix, "", kept("")),
            (path_prefix, "/", kept("")),
            (path_prefix, "realtime", kept("/realtime")),
            (path_prefix, "/a/b/", kept("/a/b")),
            (path_prefix, "/application", kept("/application")),
            (sticky_host, "", kept("")),
            (sticky_host, "n1.example.com", kept("n1.example.com")),
            (network, "10.0.0.0/8", kept("10.0.0.0/8")),
            (network, "fd00::1", kept("fd00::1")),
            (token, "my-primary", kept("my-primary")),
            (key_prefix, "tw:live_2.0-a", kept("tw:live_2.0-a")),
        ] {
            assert_eq!(check(given), expected, "{given}");
        }
    }

    #[test]
    fn a_text_that_does_not_fit_is_shown() {
        for (check, given) in [
            (name as fn(&str) -> Result<String, String>, ""),
            (name, ".."),
            (name, "a/b"),
            (name, "a:b"),
            (name, "a b"),
            (name, "ä"),
            (host, ""),
            (host, "http://0.0.0.0"),
            (host, "0.0.0.0:6001"),
            (path_prefix, "/real time"),
            (path_prefix, "//a"),
            (path_prefix, "/a/../b"),
            (path_prefix, "/apps"),
            (path_prefix, "/a?b"),
            (sticky_host, "n1.example.com:6001"),
            (sticky_host, "https://n1"),
            (sticky_host, "n1/a"),
            (network, ""),
            (network, "10.0.0.0/33"),
            (network, "proxy.example.com"),
            (token, ""),
            (token, "a b"),
            (token, "a\n"),
            (key_prefix, ""),
            (key_prefix, "{tw}"),
            (key_prefix, &"a".repeat(65)),
        ] {
            let error = check(given).unwrap_err();
            assert!(error.ends_with(&format!("found {given:?}")), "{error}");
        }
    }
}
