//! `ServerFrame`: everything that the server says, and its JSON.
//!
//! Every event but `pusher:error` carries `data` as a string and always carries it (Swift reads nothing else, Java
//! throws without it); `pusher:error` carries an object (Swift and .NET read nothing else).

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;

use super::{
    ChannelKind, ChannelName, CloseCode, Encoded, ErrorCode, Member, Resumed, SocketId, UserId,
};

/// Everything that the server tells a client.
#[derive(Debug, Clone, Copy)]
pub enum ServerFrame<'a> {
    /// `{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}`: the
    /// first frame, exactly once.
    ConnectionEstablished {
        /// The connection's public name.
        socket_id: SocketId,
        /// Seconds, not zero.
        activity_timeout: u32,
    },
    /// `{"event":"pusher:error","data":{"code":null,"message":"…"}}`: a refused command.
    Error {
        /// Null for most.
        code: ErrorCode,
        /// What to fix.
        message: &'a str,
    },
    /// The `pusher:error` before a close.
    Closing {
        /// Which.
        code: CloseCode,
        /// Why.
        message: &'a str,
    },
    /// `{"event":"pusher:ping","data":"{}"}`, which a client answers with `pusher:pong`.
    Ping,
    /// `{"event":"pusher:pong","data":"{}"}`.
    Pong,
    /// `pusher_internal:subscription_succeeded` with `"{}"`.
    SubscriptionSucceeded {
        /// Where.
        channel: &'a ChannelName,
        /// Said in `data`; none on a connection without a token.
        resumed: Option<Resumed>,
    },
    /// `pusher_internal:subscription_succeeded` with
    /// `"{\"presence\":{\"count\":1,\"ids\":[\"7\"],\"hash\":{\"7\":null}}}"`.
    PresenceSucceeded {
        /// Where.
        channel: &'a ChannelName,
        /// Everybody there, the joiner included.
        members: &'a [Member],
        /// Said beside `presence`; none on a connection without a token.
        resumed: Option<Resumed>,
    },
    /// `pusher:subscription_error` with `"{\"type\":\"AuthError\",\"error\":\"…\",\"status\":401}"`: what Echo's
    /// `.error()` hears. Not sent by the real service. With `"{}"` on an encrypted channel: Java decrypts other data.
    SubscriptionError {
        /// As the client named it: it may not be a legal name.
        channel: &'a str,
        /// `AuthError`, `LimitReached`, …
        kind: &'a str,
        /// What to fix.
        error: &'a str,
        /// As an HTTP status.
        status: u16,
    },
    /// `pusher_internal:subscription_error`: makes .NET's `SubscribeAsync` fail at once; all others ignore it.
    InternalSubscriptionError {
        /// As the client named it.
        channel: &'a str,
    },
    /// `pusher_internal:member_added` with `"{\"user_id\":\"7\",\"user_info\":{…}}"`.
    MemberAdded {
        /// Where.
        channel: &'a ChannelName,
        /// Who.
        member: &'a Member,
    },
    /// `pusher_internal:member_removed` with `"{\"user_id\":\"7\"}"`.
    MemberRemoved {
        /// Where.
        channel: &'a ChannelName,
        /// Who.
        user_id: &'a UserId,
    },
    /// Not for encrypted channels. `pusher_internal:subscription_count` with `"{\"subscription_count\":3}"`.
    SubscriptionCount {
        /// Where.
        channel: &'a ChannelName,
        /// How many connections.
        count: usize,
    },
    /// `pusher:cache_miss` with `"{}"`.
    CacheMiss {
        /// Where.
        channel: &'a ChannelName,
    },
    /// A published or client event.
    Event {
        /// Where.
        channel: &'a ChannelName,
        /// Its name.
        event: &'a str,
        /// The publisher's string.
        data: &'a str,
        /// The sender's member id, for a client event on a presence channel.
        user_id: Option<&'a UserId>,
    },
    /// `pusher:signin_success` with `"{\"user_data\":\"{\\\"id\\\":\\\"7\\\"}\"}"`.
    SigninSuccess {
        /// The text as received.
        user_data: &'a str,
    },
    /// `pusher_internal:watchlist_events` with `"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"8\"]}]}"`; an
    /// empty list is left out.
    WatchlistEvents {
        /// Who is there.
        online: &'a [UserId],
        /// Who is not.
        offline: &'a [UserId],
    },
}

impl ServerFrame<'_> {
    /// The frame for the socket.
    pub fn encode(&self) -> Encoded {
        Encoded::text(&self.json())
    }

    fn json(&self) -> String {
        match *self {
            Self::Error { code, message } => error(code.number(), message),
            Self::Closing { code, message } => error(Some(code.number()), message),
            _ => {
                let data = &*self.data();
                let event = Event {
                    event: self.event(),
                    channel: self.channel(),
                    data,
                    user_id: match self {
                        Self::Event { user_id, .. } => user_id.map(UserId::as_str),
                        _ => None,
                    },
                };
                json_of(&event, 64 + data.len() + data.len() / 4)
            }
        }
    }

    fn event(&self) -> &str {
        match self {
            Self::ConnectionEstablished { .. } => "pusher:connection_established",
            Self::Error { .. } | Self::Closing { .. } => "pusher:error",
            Self::Ping => "pusher:ping",
            Self::Pong => "pusher:pong",
            Self::SubscriptionSucceeded { .. } | Self::PresenceSucceeded { .. } => {
                "pusher_internal:subscription_succeeded"
            }
            Self::SubscriptionError { .. } => "pusher:subscription_error",
            Self::InternalSubscriptionError { .. } => "pusher_internal:subscription_error",
            Self::MemberAdded { .. } => "pusher_internal:member_added",
            Self::MemberRemoved { .. } => "pusher_internal:member_removed",
            Self::SubscriptionCount { .. } => "pusher_internal:subscription_count",
            Self::CacheMiss { .. } => "pusher:cache_miss",
            Self::Event { event, .. } => event,
            Self::SigninSuccess { .. } => "pusher:signin_success",
            Self::WatchlistEvents { .. } => "pusher_internal:watchlist_events",
        }
    }

    fn channel(&self) -> Option<&str> {
        match self {
            Self::SubscriptionSucceeded { channel, .. }
            | Self::PresenceSucceeded { channel, .. }
            | Self::MemberAdded { channel, .. }
            | Self::MemberRemoved { channel, .. }
            | Self::SubscriptionCount { channel, .. }
            | Self::CacheMiss { channel }
            | Self::Event { channel, .. } => Some(channel.as_str()),
            Self::SubscriptionError { channel, .. }
            | Self::InternalSubscriptionError { channel } => Some(channel),
            Self::ConnectionEstablished { .. }
            | Self::Error { .. }
            | Self::Closing { .. }
            | Self::Ping
            | Self::Pong
            | Self::SigninSuccess { .. }
            | Self::WatchlistEvents { .. } => None,
        }
    }

    /// The content of the `data` string.
    fn data(&self) -> Cow<'_, str> {
        match *self {
            Self::Event { data, .. } => Cow::Borrowed(data),
            Self::Error { .. }
            | Self::Closing { .. }
            | Self::Ping
            | Self::Pong
            | Self::SubscriptionSucceeded { resumed: None, .. }
            | Self::InternalSubscriptionError { .. }
            | Self::CacheMiss { .. } => Cow::Borrowed("{}"),
            Self::SubscriptionSucceeded {
                resumed: Some(resumed),
                ..
            } => Cow::Owned(format!("{{{}}}", resumed_fields(resumed))),
            Self::ConnectionEstablished {
                socket_id,
                activity_timeout,
            } => Cow::Owned(format!(
                r#"{{"socket_id":"{socket_id}","activity_timeout":{activity_timeout}}}"#
            )),
            Self::PresenceSucceeded {
                members, resumed, ..
            } => Cow::Owned(presence(members, resumed)),
            Self::SubscriptionError { channel, .. }
                if ChannelKind::of(channel) == ChannelKind::Encrypted =>
            {
                Cow::Borrowed("{}")
            }
            Self::SubscriptionError {
                kind,
                error,
                status,
                ..
            } => {
                let (kind, error) = (quoted(kind), quoted(error));
                Cow::Owned(format!(
                    r#"{{"type":{kind},"error":{error},"status":{status}}}"#
                ))
            }
            Self::MemberAdded { member, .. } => {
                let id = quoted(member.id.as_str());
                let info = member
                    .info
                    .as_deref()
                    .map(|info| format!(r#","user_info":{info}"#));
                Cow::Owned(format!(r#"{{"user_id":{id}{}}}"#, info.unwrap_or_default()))
            }
            Self::MemberRemoved { user_id, .. } => {
                Cow::Owned(format!(r#"{{"user_id":{}}}"#, quoted(user_id.as_str())))
            }
            Self::SubscriptionCount { count, .. } => {
                Cow::Owned(format!(r#"{{"subscription_count":{count}}}"#))
            }
            Self::SigninSuccess { user_data } => {
                Cow::Owned(format!(r#"{{"user_data":{}}}"#, quoted(user_data)))
            }
            Self::WatchlistEvents { online, offline } => Cow::Owned(watchlist(online, offline)),
        }
    }
}

/// The data as a string.
#[derive(Serialize)]
struct Event<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
}

fn error(code: Option<u16>, message: &str) -> String {
    let code = code.map_or_else(|| "null".to_owned(), |n| n.to_string());
    format!(
        r#"{{"event":"pusher:error","data":{{"code":{code},"message":{}}}}}"#,
        quoted(message)
    )
}

/// The fields of `data` that a connection with a token is told.
fn resumed_fields(resumed: Resumed) -> String {
    match resumed {
        Resumed::Missed(missed) => format!(r#""resumed":true,"missed":{missed}"#),
        Resumed::Anew => r#""resumed":false"#.to_owned(),
    }
}

fn presence(members: &[Member], resumed: Option<Resumed>) -> String {
    let mut hash = String::new();
    for member in members {
        let separator = if hash.is_empty() { "" } else { "," };
        let info = member.info.as_deref().unwrap_or("null");
        let _ = write!(hash, "{separator}{}:{info}", quoted(member.id.as_str()));
    }
    let ids = ids(members.iter().map(|m| &m.id));
    let resumed = resumed.map(|resumed| format!(",{}", resumed_fields(resumed)));
    format!(
        r#"{{"presence":{{"count":{},"ids":{ids},"hash":{{{hash}}}}}{}}}"#,
        members.len(),
        resumed.unwrap_or_default()
    )
}

fn watchlist(online: &[UserId], offline: &[UserId]) -> String {
    let lists: Vec<String> = [("online", online), ("offline", offline)]
        .into_iter()
        .filter(|(_, users)| !users.is_empty())
        .map(|(name, users)| format!(r#"{{"name":"{name}","user_ids":{}}}"#, ids(users.iter())))
        .collect();
    format!(r#"{{"events":[{}]}}"#, lists.join(","))
}

fn ids<'a>(users: impl Iterator<Item = &'a UserId>) -> String {
    let quoted: Vec<String> = users.map(|u| quoted(u.as_str())).collect();
    format!("[{}]", quoted.join(","))
}

/// A JSON string literal.
pub(super) fn quoted(text: &str) -> String {
    json_of(text, text.len() + 2)
}

/// The JSON of texts and numbers, for which there is room at first in `capacity` bytes.
pub(super) fn json_of<T: Serialize + ?Sized>(value: &T, capacity: usize) -> String {
    let mut out = Vec::with_capacity(capacity);
    // Writing texts and numbers into a Vec cannot fail: neither the serializer nor the writer has a reason to.
    let _ = serde_json::to_writer(&mut out, value);
    // serde_json writes UTF-8 only; lossy costs one check and cannot panic.
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name, 200).unwrap()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn exact_texts() {
        let ada = Member {
            id: UserId::new("1").unwrap(),
            info: Some(r#"{"name":"A"}"#.into()),
        };
        let bob = Member {
            id: UserId::new("2").unwrap(),
            info: None,
        };
        let c = channel("presence-c");
        for (frame, text) in [
            (
                ServerFrame::ConnectionEstablished {
                    socket_id: "123.456".parse().unwrap(),
                    activity_timeout: 120,
                },
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"123.456\",\"activity_timeout\":120}"}"#,
            ),
            (
                ServerFrame::Error {
                    code: ErrorCode::None,
                    message: "no \"x\"",
                },
                r#"{"event":"pusher:error","data":{"code":null,"message":"no \"x\""}}"#,
            ),
            (
                ServerFrame::Closing {
                    code: CloseCode::UnknownApp,
                    message: "m",
                },
                r#"{"event":"pusher:error","data":{"code":4001,"message":"m"}}"#,
            ),
            (ServerFrame::Pong, r#"{"event":"pusher:pong","data":"{}"}"#),
            (
                ServerFrame::SubscriptionSucceeded {
                    channel: &channel("x"),
                    resumed: None,
                },
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"x","data":"{}"}"#,
            ),
            (
                ServerFrame::SubscriptionSucceeded {
                    channel: &channel("x"),
                    resumed: Some(Resumed::Missed(3)),
                },
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"x","data":"{\"resumed\":true,\"missed\":3}"}"#,
            ),
            (
                ServerFrame::PresenceSucceeded {
                    channel: &c,
                    members: &[],
                    resumed: Some(Resumed::Anew),
                },
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-c","data":"{\"presence\":{\"count\":0,\"ids\":[],\"hash\":{}},\"resumed\":false}"}"#,
            ),
            (
                ServerFrame::PresenceSucceeded {
                    channel: &c,
                    members: &[ada.clone(), bob.clone()],
                    resumed: None,
                },
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-c","data":"{\"presence\":{\"count\":2,\"ids\":[\"1\",\"2\"],\"hash\":{\"1\":{\"name\":\"A\"},\"2\":null}}}"}"#,
            ),
            (
                ServerFrame::MemberAdded {
                    channel: &c,
                    member: &ada,
                },
                r#"{"event":"pusher_internal:member_added","channel":"presence-c","data":"{\"user_id\":\"1\",\"user_info\":{\"name\":\"A\"}}"}"#,
            ),
            (
                ServerFrame::MemberAdded {
                    channel: &c,
                    member: &bob,
                },
                r#"{"event":"pusher_internal:member_added","channel":"presence-c","data":"{\"user_id\":\"2\"}"}"#,
            ),
            (
                ServerFrame::MemberRemoved {
                    channel: &c,
                    user_id: &ada.id,
                },
                r#"{"event":"pusher_internal:member_removed","channel":"presence-c","data":"{\"user_id\":\"1\"}"}"#,
            ),
            (
                ServerFrame::SubscriptionCount {
                    channel: &channel("x"),
                    count: 3,
                },
                r#"{"event":"pusher_internal:subscription_count","channel":"x","data":"{\"subscription_count\":3}"}"#,
            ),
            (
                ServerFrame::Event {
                    channel: &c,
                    event: "client-a",
                    data: r#"{"x":1}"#,
                    user_id: Some(&bob.id),
                },
                r#"{"event":"client-a","channel":"presence-c","data":"{\"x\":1}","user_id":"2"}"#,
            ),
            (
                ServerFrame::SigninSuccess {
                    user_data: r#"{"id":"1"}"#,
                },
                r#"{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"1\\\"}\"}"}"#,
            ),
            (
                ServerFrame::WatchlistEvents {
                    online: std::slice::from_ref(&ada.id),
                    offline: &[],
                },
                r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"1\"]}]}"}"#,
            ),
            (
                ServerFrame::SubscriptionError {
                    channel: "private-encrypted-x y",
                    kind: "InvalidRequest",
                    error: "e",
                    status: 400,
                },
                r#"{"event":"pusher:subscription_error","channel":"private-encrypted-x y","data":"{}"}"#,
            ),
            (
                ServerFrame::SubscriptionError {
                    channel: "x",
                    kind: "AuthError",
                    error: "e",
                    status: 401,
                },
                r#"{"event":"pusher:subscription_error","channel":"x","data":"{\"type\":\"AuthError\",\"error\":\"e\",\"status\":401}"}"#,
            ),
        ] {
            assert_eq!(frame.json(), text);
        }
    }

    proptest! {
        #[test]
        fn data_arrives_as_the_same_string(name in any::<String>(), data in any::<String>()) {
            let json = ServerFrame::Event { channel: &channel("c"), event: &name, data: &data, user_id: None }.json();
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(value["event"].as_str(), Some(name.as_str()));
            prop_assert_eq!(value["data"].as_str(), Some(data.as_str()));
        }
    }
}
