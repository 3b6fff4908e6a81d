//! One entry: what happened, with whom, where. Its JSON is what watchers get.
//!
//! Never holds a secret, a signature or an `auth` value; what peers and applications sent as data is in `data`, cut.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::metrics::Reason;
use crate::protocol::SocketId;

/// Bytes of `data` that are told.
const DATA_BYTES: usize = 4096;

/// Bytes of every other text that is told.
const TEXT_BYTES: usize = 512;

macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident $name:literal,)+) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[$about])* #[serde(rename = $name)] $kind,)+
        }

        impl Kind {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// Its name in entries.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A connection was established.
    Connected "connected",
    /// A connection ended.
    Disconnected "disconnected",
    /// A connection subscribed to a channel.
    Subscribed "subscribed",
    /// A connection left a channel, or ended while it was subscribed.
    Unsubscribed "unsubscribed",
    /// A connection, a subscription, a sign-in, a message, a client event or a request was refused.
    Refused "refused",
    /// A backend published an event to a channel.
    Published "published",
    /// A source delivered something, or was refused.
    Source "source",
    /// A client sent an event.
    ClientEvent "client_event",
    /// A webhook was sent, or could not be.
    Webhook "webhook",
    /// A user came to a presence channel, as webhooks tell it.
    MemberAdded "member_added",
    /// A user has left a presence channel, as webhooks tell it.
    MemberRemoved "member_removed",
    /// A channel got its first subscription, as webhooks tell it.
    Occupied "occupied",
    /// A channel has lost its last subscription, as webhooks tell it.
    Vacated "vacated",
}

/// What is told; what does not apply is left out.
#[derive(Debug, Default)]
pub struct Entry<'a> {
    /// The connection; of a published event the one that is passed over.
    pub socket_id: Option<SocketId>,
    /// Who.
    pub user_id: Option<&'a str>,
    /// Where.
    pub channel: Option<&'a str>,
    /// The event's name; of a webhook the names of its events; of a refused request its method and path.
    pub event: Option<Cow<'a, str>>,
    /// What carries the connection.
    pub transport: Option<&'static str>,
    /// The app's key that a refused connection or request gives.
    pub key: Option<Cow<'a, str>>,
    /// Why, in words.
    pub reason: Option<Cow<'a, str>>,
    /// The protocol's code.
    pub code: Option<u16>,
    /// Where the client is.
    pub address: Option<IpAddr>,
    /// What was sent.
    pub data: Option<&'a str>,
    /// How many subscriptions the channel had.
    pub subscriptions: Option<usize>,
    /// The status that an HTTP request was answered with.
    pub status: Option<u16>,
    /// Where a webhook goes, without credentials.
    pub url: Option<Cow<'a, str>>,
    /// How long it took.
    pub duration_ms: Option<u64>,
}

impl<'a> Entry<'a> {
    /// A refusal: `subscription refused: auth is missing`.
    pub fn refused<R: Reason>(reason: R) -> Self {
        Self {
            reason: Some(format!("{}: {}", R::WHAT, reason.text()).into()),
            ..Self::default()
        }
    }

    /// Of a channel.
    #[must_use]
    pub fn on(channel: &'a str) -> Self {
        Self {
            channel: Some(channel),
            ..Self::default()
        }
    }

    /// Whether one of its texts or numbers, as far as they are told, is what the function looks for.
    pub(super) fn says(&self, is_it: impl Fn(&str) -> bool) -> bool {
        let address = self.address.map(|address| address.to_string());
        let socket_id = self.socket_id.map(|id| id.to_string());
        let texts = [
            socket_id.as_deref(),
            self.user_id,
            self.channel,
            self.event.as_deref(),
            self.transport,
            self.key.as_deref(),
            self.reason.as_deref(),
            address.as_deref(),
            self.url.as_deref(),
        ];
        let numbers = [
            self.code.map(u64::from),
            self.status.map(u64::from),
            self.subscriptions.map(|number| number as u64),
            self.data.map(|data| data.len() as u64),
            self.duration_ms,
        ];
        let is_told = |text: &str| is_it(cut(text, TEXT_BYTES));
        texts.into_iter().flatten().any(is_told)
            || self.data.is_some_and(|data| is_it(cut(data, DATA_BYTES)))
            || numbers
                .into_iter()
                .flatten()
                .any(|number| is_it(&number.to_string()))
    }

    pub(super) fn json(&self, kind: Kind, origin: &Origin<'_>) -> String {
        let line = Line {
            n: origin.serial,
            t: origin.time_ms,
            node: origin.node,
            kind: kind.name(),
            app: origin.app,
            socket_id: self.socket_id.map(|id| id.to_string()),
            user_id: self.user_id.map(|text| cut(text, TEXT_BYTES)),
            channel: self.channel.map(|text| cut(text, TEXT_BYTES)),
            event: self.event.as_deref().map(|text| cut(text, TEXT_BYTES)),
            transport: self.transport,
            key: self.key.as_deref().map(|text| cut(text, TEXT_BYTES)),
            reason: self.reason.as_deref().map(|text| cut(text, TEXT_BYTES)),
            code: self.code,
            address: self.address.map(|address| address.to_string()),
            data: self.data.map(|data| cut(data, DATA_BYTES)),
            cut: self.data.is_some_and(|data| data.len() > DATA_BYTES),
            size_bytes: self.data.map(str::len),
            subscriptions: self.subscriptions,
            status: self.status,
            url: self.url.as_deref().map(|text| cut(text, TEXT_BYTES)),
            duration_ms: self.duration_ms,
        };
        // Texts and numbers always have a JSON.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// Where an entry comes from, and its number there.
pub(super) struct Origin<'a> {
    pub(super) serial: u64,
    pub(super) time_ms: u64,
    pub(super) node: &'a str,
    pub(super) app: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    n: u64,
    t: u64,
    node: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
}

/// The beginning of a text, on a character boundary.
fn cut(text: &str, most: usize) -> &str {
    let mut ends = (0..=most.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::SubscriptionRefused;

    const ORIGIN: Origin<'_> = Origin {
        serial: 7,
        time_ms: 42,
        node: "web-1:6001",
        app: Some("1"),
    };

    #[test]
    fn what_does_not_apply_is_left_out() {
        let entry = Entry::refused(SubscriptionRefused::AuthMissing);
        assert_eq!(
            entry.json(Kind::Refused, &ORIGIN),
            r#"{"n":7,"t":42,"node":"web-1:6001","kind":"refused","app":"1","reason":"subscription refused: auth is missing"}"#
        );
    }

    #[test]
    fn data_is_cut_between_characters_and_its_size_told() {
        let data = "€".repeat(2000);
        let entry = Entry {
            data: Some(&data),
            ..Entry::on("x")
        };
        let json = entry.json(Kind::Published, &ORIGIN);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["size_bytes"], 6000);
        assert_eq!(json["cut"], true);
        assert_eq!(json["data"].as_str().unwrap().len(), 4095);
    }
}
