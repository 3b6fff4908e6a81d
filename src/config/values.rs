//! The kinds of value that keys take: what each allows is checked while it is read, so that a problem is told where
//! the value stands, and holding one is the proof.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

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
///
/// # Errors
/// What was expected, without what was found.
pub fn check_secret(text: &str) -> Result<(), &'static str> {
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
    ($($(#[$doc:meta])* $type:ident: $check:expr,)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $type(pub(super) String);

        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                $check(text.as_str()).map(Self)
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
    Name: if_fits(
        "a text of letters, digits, \"-\", \"_\", \".\" and \"~\", because it is part of URLs",
        is_path_segment,
    ),
    /// An address or host name to listen on, IPv6 without its brackets.
    Host: host,
    /// `""`, or the host name of this node.
    StickyHost: if_fits(
        "this node's own host name, as its clients reach it, without scheme, port and path",
        |text| text.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)),
    ),
    /// `""`, or a path that begins with a slash and does not end with one.
    PathPrefix: path_prefix,
    /// An entry of `allowed_origins`.
    PageOrigin: page_origin,
    /// The name of a table in a database, which no statement takes for anything else.
    TableName: if_fits(
        "the name of a table, letters, digits, _ and -, up to 64 characters",
        |text| is_short(text) && text.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)),
    ),
    /// The path of a file.
    FilePath: file_path,
    /// Where a JWK set is.
    JwksUrl: jwks_url,
    /// A network of addresses, `10.0.0.0/8`, or a single one.
    Network: if_fits(
        "an address (\"10.0.0.1\") or a network (\"10.0.0.0/8\", \"fd00::/8\")",
        |text| parsed_network(text).is_some(),
    ),
    /// A name of Redis', which splits its commands at white space.
    Token: if_fits("a name without white space", |text| {
        !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    }),
    /// What all names in Redis begin with. No braces: a cluster would read them as a hash tag and put all keys on one
    /// server.
    KeyPrefix: if_fits(
        "1 to 64 letters, digits, \"-\", \"_\", \".\" and \":\"",
        |text| is_short(text) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)),
    ),
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

fn is_short(text: &str) -> bool {
    (1..=64).contains(&text.len())
}

/// A check that answers with the text, or with what was expected and found.
fn if_fits(expected: &str, fits: impl Fn(&str) -> bool) -> impl Fn(&str) -> Result<String, String> {
    move |text| match fits(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected {expected}; found {text:?}")),
    }
}

fn host(text: &str) -> Result<String, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let fits = bare.parse::<IpAddr>().is_ok() || (!bare.is_empty() && bare.chars().all(is_name));
    let expected = "an address (\"0.0.0.0\", \"::\") or a host name, without scheme and port";
    if_fits(expected, |_| fits)(text).map(|_| bare.to_owned())
}

fn path_prefix(text: &str) -> Result<String, String> {
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let trimmed = trimmed.strip_prefix('/').unwrap_or(trimmed);
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let expected = "a path like \"/realtime\" of letters, digits, \"-\", \"_\", \".\" and \"~\"";
    if_fits(expected, |_| trimmed.split('/').all(is_path_segment))(text)?;
    let is_taken = matches!(trimmed.split('/').next(), Some("app" | "apps"));
    let expected = "a path that does not begin with /app or /apps, which clients use themselves";
    if_fits(expected, |_| !is_taken)(text).map(|_| format!("/{trimmed}"))
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
    if_fits(expected, |_| fits)(&without_secrets(text)).map(|_| text.to_owned())
}

fn parsed_network(text: &str) -> Option<IpNet> {
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(single)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Result<String, String>;

    fn check<T: TryFrom<String, Error = String> + Into<String>>(
        text: &str,
    ) -> Result<String, String> {
        T::try_from(text.to_owned()).map(Into::into)
    }

    #[test]
    fn texts_are_kept_normalised() {
        let kept = |text: &str| Ok(text.to_owned());
        for (check, given, expected) in [
            (check::<Name> as Check, "app-id", kept("app-id")),
            (check::<Name>, "1.2_~A", kept("1.2_~A")),
            (check::<Host>, "[::1]", kept("::1")),
            (check::<Host>, "localhost", kept("localhost")),
            (check::<PathPrefix>, "", kept("")),
            (check::<PathPrefix>, "/", kept("")),
            (check::<PathPrefix>, "realtime", kept("/realtime")),
            (check::<PathPrefix>, "/a/b/", kept("/a/b")),
            (check::<PathPrefix>, "/application", kept("/application")),
            (check::<StickyHost>, "", kept("")),
            (
                check::<StickyHost>,
                "n1.example.com",
                kept("n1.example.com"),
            ),
            (check::<Network>, "10.0.0.0/8", kept("10.0.0.0/8")),
            (check::<Network>, "fd00::1", kept("fd00::1")),
            (check::<Token>, "my-primary", kept("my-primary")),
            (check::<KeyPrefix>, "tw:live_2.0-a", kept("tw:live_2.0-a")),
        ] {
            assert_eq!(check(given), expected, "{given}");
        }
    }

    #[test]
    fn a_text_that_does_not_fit_is_shown() {
        for (check, given) in [
            (check::<Name> as Check, ""),
            (check::<Name>, ".."),
            (check::<Name>, "a/b"),
            (check::<Name>, "a:b"),
            (check::<Name>, "a b"),
            (check::<Name>, "ä"),
            (check::<Host>, ""),
            (check::<Host>, "http://0.0.0.0"),
            (check::<Host>, "0.0.0.0:6001"),
            (check::<PathPrefix>, "/real time"),
            (check::<PathPrefix>, "//a"),
            (check::<PathPrefix>, "/a/../b"),
            (check::<PathPrefix>, "/apps"),
            (check::<PathPrefix>, "/a?b"),
            (check::<StickyHost>, "n1.example.com:6001"),
            (check::<StickyHost>, "https://n1"),
            (check::<StickyHost>, "n1/a"),
            (check::<Network>, ""),
            (check::<Network>, "10.0.0.0/33"),
            (check::<Network>, "proxy.example.com"),
            (check::<Token>, ""),
            (check::<Token>, "a b"),
            (check::<Token>, "a\n"),
            (check::<KeyPrefix>, ""),
            (check::<KeyPrefix>, "{tw}"),
            (check::<KeyPrefix>, &"a".repeat(65)),
        ] {
            let error = check(given).unwrap_err();
            assert!(error.ends_with(&format!("found {given:?}")), "{error}");
        }
    }
}
