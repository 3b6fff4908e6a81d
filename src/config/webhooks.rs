//! What `[[apps.webhooks]]` takes, and what becomes of it.

use std::collections::HashSet;
use std::fmt;

use actix_http::Uri;
use actix_http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::error::{Problem, path};
use super::raw;
use super::tree::Tree;
use super::values::masked;
use super::wrong::{Wrong, each, required};
use crate::app::Webhook;
use crate::rules::ChannelPattern;

/// The headers that a webhook has of its own.
const RESERVED: [&str; 7] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "x-pusher-key",
    "x-pusher-signature",
];

/// A webhook's URL. Its query may hold a token and is written as `***`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Target(Uri);

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        http_url(&text).map(Self).ok_or_else(|| {
            format!(
                "expected a URL like \"https://example.com/webhooks\", http or https, without user and fragment (a token \
                 goes into headers); found \"{}\"",
                without_secrets(&text).escape_debug()
            )
        })
    }
}

/// A URL of a request, with a host, without user and fragment.
pub(super) fn http_url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let has_host = url.host().is_some_and(|host| !host.is_empty());
    let has_user = url.authority()?.as_str().contains('@');
    (is_http && has_host && !has_user && !text.contains('#')).then_some(url)
}

/// A URL that is none, without what may be secret in one: what stands before an `@`, a query and a fragment.
pub(super) fn without_secrets(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // A password may have any sign, so the last one counts; behind a path it may also be a sign of the query.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((before, _)) if is_in_query(before) => return format!("{scheme}***"),
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    match rest.find(['?', '#']) {
        Some(at) => format!("{scheme}{user}{}***", &rest[..=at]),
        None => format!("{scheme}{user}{rest}"),
    }
}

/// Whether what follows may belong to a query or a fragment, because a path came before.
fn is_in_query(before: &str) -> bool {
    let path = before.split_once('/');
    path.is_some_and(|(_, path)| path.contains(['?', '#']))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There is no user, and a query may have any sign.
        let text = self.0.to_string();
        match text.split_once('?') {
            Some((place, _)) => write!(f, "{place}?***"),
            None => f.write_str(&text),
        }
    }
}

masked!(Target);

/// An entry of `channels`: a pattern, with `!` before it of names that are left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Pattern {
    is_excluded: bool,
    pattern: ChannelPattern,
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.strip_prefix('!');
        let pattern = ChannelPattern::parse(name.unwrap_or(&text)).map_err(|problem| {
            format!(
                "expected a channel's name or a pattern like \"private-*\", where * stands for any characters, or one that \
                 is left out, \"!private-encrypted-*\"; found {text:?}: {problem}"
            )
        })?;
        Ok(Self {
            is_excluded: name.is_some(),
            pattern,
        })
    }
}

impl From<Pattern> for String {
    fn from(entry: Pattern) -> Self {
        let mark = if entry.is_excluded { "!" } else { "" };
        format!("{mark}{}", entry.pattern)
    }
}

/// The name of an additional header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HeaderText(String);

impl TryFrom<String> for HeaderText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name: HeaderName = text
            .parse()
            .map_err(|_| format!("expected the name of a header, found {text:?}"))?;
        Ok(Self(name.as_str().to_owned()))
    }
}

impl HeaderText {
    /// The name; the check has parsed it.
    pub(super) fn name(&self) -> Option<HeaderName> {
        self.0.parse().ok()
    }

    fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.0.as_str())
    }
}

/// A warning for each header that a webhook has of its own: the configured one is left out.
pub(super) fn left_out(apps: &[raw::App], tree: &Tree) -> Vec<String> {
    let mut warnings = Vec::new();
    for (at, app) in apps.iter().enumerate() {
        for (index, webhook) in app.webhooks.iter().enumerate() {
            for name in webhook.headers.keys().filter(|name| name.is_reserved()) {
                let path = path(&format!("apps.{at}.webhooks.{index}.headers"));
                let text = format!(
                    "{} is a header of the webhook itself and is left out",
                    name.0
                );
                warnings.push(Problem::at(tree.origin(&path), &path, text).to_string());
            }
        }
    }
    warnings
}

/// The webhooks of an app.
pub(super) fn built(raw: &[raw::Webhook]) -> Result<Vec<Webhook>, Wrong> {
    let mut seen = HashSet::new();
    each("webhooks", raw, |raw| {
        let webhook = webhook(raw)?;
        match seen.insert(webhook.identity()) {
            true => Ok(webhook),
            false => {
                let text = "another webhook of this app has the same url, events and channels";
                Err(Wrong::key("url", text))
            }
        }
    })
}

fn webhook(raw: &raw::Webhook) -> Result<Webhook, Wrong> {
    let text = "a webhook needs a url: [[apps.webhooks]] without one tells nobody";
    let Target(url) = required(&raw.url, "url", text)?;
    let mut headers = Vec::new();
    for (name, value) in raw.headers.iter().filter(|(name, _)| !name.is_reserved()) {
        let value = HeaderValue::from_str(&value.0).ok();
        let (name, mut value) = name.name().zip(value).ok_or_else(|| {
            let text = format!("the value of {} cannot be sent in a header", name.0);
            Wrong::key("headers", text)
        })?;
        value.set_sensitive(true);
        headers.push((name, value));
    }
    let patterns = |is_excluded: bool| {
        let entries = raw.channels.iter();
        let entries = entries.filter(|entry| entry.is_excluded == is_excluded);
        entries.map(|entry| entry.pattern.clone()).collect()
    };
    Ok(Webhook {
        url: url.clone(),
        events: raw.events.clone(),
        channels: patterns(false),
        except: patterns(true),
        headers,
        batch: raw.batch,
    })
}
