//! One entry: what happened, with whom, where. Its JSON is what watchers get.
//!
//! Never holds a secret, a signature or an `auth` value; what peers and applications sent as data is in `data`, cut.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize, Serializer as _};

use crate::metrics::Reason;
use crate::protocol::{SocketId, beginning, named};

/// Bytes of `data` that are told.
const DATA_BYTES: usize = 4096;

/// Bytes of every other text that is told.
const TEXT_BYTES: usize = 512;

named! {
    /// What happened.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Kind {
        /// A connection was established.
        Connected = "connected",
        /// A connection ended.
        Disconnected = "disconnected",
        /// A connection subscribed to a channel.
        Subscribed = "subscribed",
        /// A connection left a channel, or ended while it was subscribed.
        Unsubscribed = "unsubscribed",
        /// A connection, a subscription, a sign-in, a message, a client event or a request was refused.
        Refused = "refused",
        /// A backend published an event to a channel.
        Published = "published",
        /// A source delivered something, or was refused.
        Source = "source",
        /// A client sent an event.
        ClientEvent = "client_event",
        /// A webhook was sent, or could not be.
        Webhook = "webhook",
        /// A user came to a presence channel, as webhooks tell it.
        MemberAdded = "member_added",
        /// A user has left a presence channel, as webhooks tell it.
        MemberRemoved = "member_removed",
        /// A channel got its first subscription, as webhooks tell it.
        Occupied = "occupied",
        /// A channel has lost its last subscription, as webhooks tell it.
        Vacated = "vacated",
    }
}

/// What happened, for those who watch the feed. Fields that do not apply are left out of the JSON.
#[derive(Debug, Default)]
pub struct Entry<'a> {
    /// The connection; of a published event the one that is passed over.
    pub socket_id: Option<SocketId>,
    /// The id of the user it concerns.
    pub user_id: Option<&'a str>,
    /// The name of the channel it concerns.
    pub channel: Option<&'a str>,
    /// The event's name; of a webhook the names of its events; of a refused request its method and path.
    pub event: Option<Cow<'a, str>>,
    /// The name of the connection's [`Transport`](crate::protocol::Transport).
    pub transport: Option<&'static str>,
    /// The app's key that a refused connection or request gives.
    pub key: Option<Cow<'a, str>>,
    /// The reason of a refusal, an end or a failed attempt, in words.
    pub reason: Option<Cow<'a, str>>,
    /// The number of the protocol's close code or error code.
    pub code: Option<u16>,
    /// The client's IP address.
    pub address: Option<IpAddr>,
    /// The event's data, or the body of a delivery or a webhook request. Longer data is cut.
    pub data: Option<&'a str>,
    /// How many subscriptions the channel had.
    pub subscriptions: Option<usize>,
    /// The status that an HTTP request was answered with.
    pub status: Option<u16>,
    /// Where a webhook goes, without credentials.
    pub url: Option<Cow<'a, str>>,
    /// How long the exchange took, in milliseconds.
    pub duration_ms: Option<u64>,
}

impl<'a> Entry<'a> {
    /// An entry for a refusal, whose reason reads like `subscription refused: auth is missing`.
    pub fn refused<R: Reason>(reason: R) -> Self {
        Self {
            reason: Some(format!("{}: {}", R::WHAT, reason.text()).into()),
            ..Self::default()
        }
    }

    /// An entry that concerns a channel.
    pub fn on(channel: &'a str) -> Self {
        Self {
            channel: Some(channel),
            ..Self::default()
        }
    }

    /// What is told of it: keys of its JSON, and their values.
    fn told(&self) -> [(&'static str, Option<Told<'_>>); 16] {
        let data = self.data;
        let number = |number: usize| Told::Number(number as u64);
        [
            ("socket_id", self.socket_id.map(shown)),
            ("user_id", self.user_id.map(text)),
            ("channel", self.channel.map(text)),
            ("event", self.event.as_deref().map(text)),
            ("transport", self.transport.map(text)),
            ("key", self.key.as_deref().map(text)),
            ("reason", self.reason.as_deref().map(text)),
            ("code", self.code.map(u64::from).map(Told::Number)),
            ("address", self.address.map(shown)),
            (
                "data",
                data.map(|data| Told::Text(beginning(data, DATA_BYTES).into())),
            ),
            (
                "cut",
                data.filter(|data| data.len() > DATA_BYTES)
                    .map(|_| Told::Yes(true)),
            ),
            ("size_bytes", data.map(|data| number(data.len()))),
            ("subscriptions", self.subscriptions.map(number)),
            ("status", self.status.map(u64::from).map(Told::Number)),
            ("url", self.url.as_deref().map(text)),
            ("duration_ms", self.duration_ms.map(Told::Number)),
        ]
    }

    /// Whether one of its texts or numbers, as far as they are told, is what the function looks for.
    pub(super) fn says(&self, is_it: impl Fn(&str) -> bool) -> bool {
        let mut told = self.told().into_iter().filter_map(|(_, told)| told);
        told.any(|told| match told {
            Told::Text(text) => is_it(&text),
            Told::Number(number) => is_it(&number.to_string()),
            Told::Yes(_) => false,
        })
    }

    pub(super) fn json(&self, kind: Kind, origin: &Origin<'_>) -> String {
        let begin = [
            ("n", Some(Told::Number(origin.serial))),
            ("t", Some(Told::Number(origin.time_ms))),
            ("node", Some(Told::Text(origin.node.into()))),
            ("kind", Some(Told::Text(kind.name().into()))),
            ("app", origin.app.map(|app| Told::Text(app.into()))),
        ];
        let all = begin.into_iter().chain(self.told());
        let all = all.filter_map(|(key, told)| Some((key, told?)));
        let mut out = Vec::new();
        // Texts and numbers always have a JSON.
        let _ = serde_json::Serializer::new(&mut out).collect_map(all);
        String::from_utf8(out).unwrap_or_default()
    }
}

/// A value that is told.
#[derive(Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Yes(bool),
}

fn text(text: &str) -> Told<'_> {
    Told::Text(beginning(text, TEXT_BYTES).into())
}

fn shown<'a>(value: impl ToString) -> Told<'a> {
    Told::Text(value.to_string().into())
}

/// Where an entry comes from, and its number there.
pub(super) struct Origin<'a> {
    pub(super) serial: u64,
    pub(super) time_ms: u64,
    pub(super) node: &'a str,
    pub(super) app: Option<&'a str>,
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
