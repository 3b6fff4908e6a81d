//! What webhooks say: the kinds of events, each with exactly the fields that official SDKs read, and the body around
//! them (docs: `server_api/webhooks`).

use serde::{Deserialize, Serialize};

use super::named::named;
use super::{ChannelName, SocketId, UserId};

named! {
    /// The name of a [`WebhookEvent`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum WebhookKind {
        /// A channel got its first subscription.
        ChannelOccupied = "channel_occupied",
        /// A channel has lost its last subscription and stayed so.
        ChannelVacated = "channel_vacated",
        /// A user's first connection joined a presence channel.
        MemberAdded = "member_added",
        /// A user's last connection left a presence channel and stayed away.
        MemberRemoved = "member_removed",
        /// A client event was accepted.
        ClientEvent = "client_event",
        /// A cache channel had nothing for a subscriber.
        CacheMiss = "cache_miss",
        /// The number of a channel's subscriptions changed.
        SubscriptionCount = "subscription_count",
    }
}

/// One entry of a webhook's `events`.
#[derive(Debug, Clone, Copy)]
pub enum WebhookEvent<'a> {
    /// `{"name":"channel_occupied","channel":"x"}`
    ChannelOccupied,
    /// `{"name":"channel_vacated","channel":"x"}`
    ChannelVacated,
    /// `{"name":"member_added","channel":"presence-x","user_id":"7"}`
    MemberAdded(&'a UserId),
    /// `{"name":"member_removed","channel":"presence-x","user_id":"7"}`
    MemberRemoved(&'a UserId),
    /// `{"name":"client_event","channel":"presence-x","event":"client-e","data":"{}","socket_id":"1.2","user_id":"7"}`
    ClientEvent {
        /// Its name.
        event: &'a str,
        /// The sender's string.
        data: &'a str,
        /// The sender.
        socket_id: SocketId,
        /// Who sent it, on a presence channel.
        user_id: Option<&'a UserId>,
    },
    /// `{"name":"cache_miss","channel":"cache-x"}`
    CacheMiss,
    /// `{"name":"subscription_count","channel":"x","subscription_count":3}`
    SubscriptionCount(usize),
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<usize>,
}

impl WebhookEvent<'_> {
    /// Its name.
    pub fn kind(&self) -> WebhookKind {
        match self {
            Self::ChannelOccupied => WebhookKind::ChannelOccupied,
            Self::ChannelVacated => WebhookKind::ChannelVacated,
            Self::MemberAdded(_) => WebhookKind::MemberAdded,
            Self::MemberRemoved(_) => WebhookKind::MemberRemoved,
            Self::ClientEvent { .. } => WebhookKind::ClientEvent,
            Self::CacheMiss => WebhookKind::CacheMiss,
            Self::SubscriptionCount(_) => WebhookKind::SubscriptionCount,
        }
    }

    /// The JSON object.
    pub fn to_json(&self, channel: &ChannelName) -> String {
        let mut entry = Entry {
            name: self.kind().name(),
            channel: channel.as_str(),
            event: None,
            data: None,
            socket_id: None,
            user_id: None,
            subscription_count: None,
        };
        match self {
            Self::ChannelOccupied | Self::ChannelVacated | Self::CacheMiss => {}
            Self::MemberAdded(user) | Self::MemberRemoved(user) => {
                entry.user_id = Some(user.as_str());
            }
            Self::ClientEvent {
                event,
                data,
                socket_id,
                user_id,
            } => {
                entry.event = Some(event);
                entry.data = Some(data);
                entry.socket_id = Some(socket_id.to_string());
                entry.user_id = user_id.map(UserId::as_str);
            }
            Self::SubscriptionCount(count) => entry.subscription_count = Some(*count),
        }
        // Texts and a number: there is nothing that JSON could not say.
        serde_json::to_string(&entry).unwrap_or_default()
    }
}

/// The body of a request: `{"time_ms":1327078148132,"events":[…]}`.
pub fn body<'a>(time_ms: u64, events: impl Iterator<Item = &'a str>) -> String {
    let mut out = format!(r#"{{"time_ms":{time_ms},"events":["#);
    for (index, event) in events.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(event);
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_exactly_its_fields() {
        let channel = ChannelName::parse("presence-x", 200).unwrap();
        let user = UserId::new("7").unwrap();
        let client_event = |user_id| WebhookEvent::ClientEvent {
            event: "client-e",
            data: r#"{"a":1}"#,
            socket_id: "1.2".parse().unwrap(),
            user_id,
        };
        for (event, expected) in [
            (
                WebhookEvent::ChannelOccupied,
                r#"{"name":"channel_occupied","channel":"presence-x"}"#,
            ),
            (
                WebhookEvent::MemberRemoved(&user),
                r#"{"name":"member_removed","channel":"presence-x","user_id":"7"}"#,
            ),
            (
                client_event(Some(&user)),
                r#"{"name":"client_event","channel":"presence-x","event":"client-e","data":"{\"a\":1}","socket_id":"1.2","user_id":"7"}"#,
            ),
            (
                client_event(None),
                r#"{"name":"client_event","channel":"presence-x","event":"client-e","data":"{\"a\":1}","socket_id":"1.2"}"#,
            ),
            (
                WebhookEvent::SubscriptionCount(3),
                r#"{"name":"subscription_count","channel":"presence-x","subscription_count":3}"#,
            ),
        ] {
            assert_eq!(event.to_json(&channel), expected);
        }
        let events = ["{}", "{}"].into_iter();
        assert_eq!(body(5, events), r#"{"time_ms":5,"events":[{},{}]}"#);
    }
}
