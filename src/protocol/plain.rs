//! Plain frames: what a client without a library is told and says. Each event is one JSON object,
//! `{"channel":"orders","event":"paid","data":{"id":7}}`, whose `data` is JSON where the publisher's string is.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::server::json_of;
use super::{Encoded, parse_object};

/// What a server frame says to whoever only listens.
pub(super) enum Told<'a> {
    /// An event of a channel.
    Event(Event<'a>),
    /// The end of the connection, or a refused command: an object with `code` and `message`.
    Error(&'a str),
}

/// An event of a channel, with the publisher's string: `{"channel":…,"event":…,"data":…}`, and `user_id` where the sender
/// is known.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Cow<'a, str>>,
    #[serde(rename = "event")]
    pub(super) name: Cow<'a, str>,
    #[serde(serialize_with = "as_json")]
    pub(super) data: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Cow<'a, str>>,
}

/// JSON stays what it is, any other text becomes a string.
fn as_json<S: Serializer>(data: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<&RawValue>(data) {
        Ok(json) => json.serialize(serializer),
        Err(_) => data.serialize(serializer),
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
}

impl<'a> Told<'a> {
    /// Reads the text of a server frame; none if it means nothing to whoever only listens.
    pub(super) fn of(frame: &'a str) -> Option<Self> {
        let frame: Frame<'a> = serde_json::from_str(frame).ok()?;
        // As pusher-js calls them for pages.
        let name = match frame.event.as_ref() {
            "pusher:error" => return Some(Self::Error(frame.data.get())),
            "pusher_internal:member_added" => Cow::Borrowed("pusher:member_added"),
            "pusher_internal:member_removed" => Cow::Borrowed("pusher:member_removed"),
            "pusher:cache_miss" => frame.event,
            other if other.starts_with("pusher:") || other.starts_with("pusher_internal:") => {
                return None;
            }
            _ => frame.event,
        };
        Some(Self::Event(Event {
            channel: frame.channel,
            name,
            data: serde_json::from_str(frame.data.get()).ok()?,
            user_id: frame.user_id,
        }))
    }

    /// The JSON of an event, or `{"error":{"code":4200,"message":"…"}}`.
    fn json(&self) -> String {
        match self {
            Self::Error(error) => format!(r#"{{"error":{error}}}"#),
            Self::Event(event) => event.json(),
        }
    }
}

impl<'a> Event<'a> {
    /// What the server says of itself.
    pub(super) fn without_channel(name: &'a str, data: &'a str) -> Self {
        Self {
            channel: None,
            name: name.into(),
            data: data.into(),
            user_id: None,
        }
    }

    pub(super) fn json(&self) -> String {
        json_of(self, 64 + self.name.len() + self.data.len())
    }
}

/// The text of a plain frame for that of a server frame; none if it means nothing there.
pub fn plain_text(frame: &str) -> Option<String> {
    Told::of(frame).map(|told| told.json())
}

/// What the server answers on a plain socket, beside events.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainAnswer<'a> {
    /// `{"subscribed":"orders"}`.
    Subscribed(&'a str),
    /// `{"unsubscribed":"orders"}`.
    Unsubscribed(&'a str),
    /// `{"pong":1}`.
    #[serde(serialize_with = "one")]
    Pong,
    /// `{"error":{"channel":"private-x","code":401,"message":"…"}}`.
    Error {
        /// Which subscription it is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a str>,
        /// As an HTTP status.
        code: u16,
        /// What to fix.
        message: &'a str,
    },
}

impl PlainAnswer<'_> {
    /// The frame for the socket.
    pub fn encode(self) -> Encoded {
        Encoded::text(&json_of(&self, 64))
    }
}

fn one<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(1)
}

/// What a client says on a plain socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlainCommand {
    /// `{"subscribe":["orders"],"token":"…"}`. Without channels, a newer token for what it has.
    Subscribe {
        /// Unchecked.
        channels: Vec<String>,
        /// A JWT.
        token: Option<String>,
    },
    /// `{"unsubscribe":["orders"]}`.
    Unsubscribe(Vec<String>),
    /// `{"ping":1}`, with any value.
    Ping,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    subscribe: Option<Vec<String>>,
    token: Option<String>,
    unsubscribe: Option<Vec<String>>,
    ping: Option<IgnoredAny>,
}

impl PlainCommand {
    /// Reads one message.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let command: Command = parse_object(text).map_err(|why| {
            format!(
                r#"Invalid message: expected {{"subscribe":["channel"]}}, {{"unsubscribe":["channel"]}} or {{"ping":1}} ({why})"#
            )
        })?;
        match command {
            Command {
                subscribe: Some(channels),
                token,
                unsubscribe: None,
                ping: None,
            } => Ok(Self::Subscribe { channels, token }),
            Command {
                subscribe: None,
                token: None,
                unsubscribe: Some(channels),
                ping: None,
            } => Ok(Self::Unsubscribe(channels)),
            Command {
                subscribe: None,
                token: None,
                unsubscribe: None,
                ping: Some(_),
            } => Ok(Self::Ping),
            _ => Err(
                r#"Invalid message: expected one of "subscribe" (with "token", if need be), "unsubscribe" and "ping""#
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, CloseCode, ErrorCode, Member, ServerFrame, UserId};
    use proptest::prelude::*;
    use serde_json::Value;

    fn told(frame: ServerFrame<'_>) -> Option<String> {
        plain_text(frame.encode().text_payload().unwrap())
    }

    fn channel() -> ChannelName {
        ChannelName::parse("presence-c", 200).unwrap()
    }

    fn event(data: &str) -> String {
        let (channel, event) = (&channel(), "e");
        told(ServerFrame::Event {
            channel,
            event,
            data,
            user_id: None,
        })
        .unwrap()
    }

    #[test]
    fn data_is_json_where_it_is() {
        for (data, told) in [
            (r#"{"id": 7}"#, r#"{"id": 7}"#),
            ("7", "7"),
            ("null", "null"),
            (r#""7""#, r#""7""#),
            (" [1] ", "[1]"),
            ("7 8", r#""7 8""#),
            ("", r#""""#),
            ("{\"a\"", r#""{\"a\"""#),
        ] {
            let expected = format!(r#"{{"channel":"presence-c","event":"e","data":{told}}}"#);
            assert_eq!(event(data), expected);
        }
    }

    #[test]
    fn what_means_something_without_a_library() {
        let (channel, user_id) = (&channel(), &UserId::new("7").unwrap());
        let member = &Member {
            id: user_id.clone(),
            info: None,
        };
        for (frame, expected) in [
            (ServerFrame::Pong, None),
            (
                ServerFrame::SubscriptionSucceeded {
                    channel,
                    resumed: None,
                },
                None,
            ),
            (ServerFrame::SigninSuccess { user_data: "{}" }, None),
            (
                ServerFrame::MemberAdded { channel, member },
                Some(
                    r#"{"channel":"presence-c","event":"pusher:member_added","data":{"user_id":"7"}}"#,
                ),
            ),
            (ServerFrame::SubscriptionCount { channel, count: 3 }, None),
            (
                ServerFrame::CacheMiss { channel },
                Some(r#"{"channel":"presence-c","event":"pusher:cache_miss","data":{}}"#),
            ),
            (
                ServerFrame::Event {
                    channel,
                    event: "client-a",
                    data: "x",
                    user_id: Some(user_id),
                },
                Some(r#"{"channel":"presence-c","event":"client-a","data":"x","user_id":"7"}"#),
            ),
            (
                ServerFrame::Closing {
                    code: CloseCode::ShuttingDown,
                    message: "m",
                },
                Some(r#"{"error":{"code":4200,"message":"m"}}"#),
            ),
            (
                ServerFrame::Error {
                    code: ErrorCode::None,
                    message: "m",
                },
                Some(r#"{"error":{"code":null,"message":"m"}}"#),
            ),
        ] {
            assert_eq!(told(frame).as_deref(), expected, "{frame:?}");
        }
    }

    #[test]
    fn answers() {
        let error = |channel| PlainAnswer::Error {
            channel,
            code: 401,
            message: "\"m\"",
        };
        for (answer, expected) in [
            (PlainAnswer::Pong, r#"{"pong":1}"#),
            (PlainAnswer::Subscribed("a\"b"), r#"{"subscribed":"a\"b"}"#),
            (PlainAnswer::Unsubscribed("a"), r#"{"unsubscribed":"a"}"#),
            (error(None), r#"{"error":{"code":401,"message":"\"m\""}}"#),
            (
                error(Some("a")),
                r#"{"error":{"channel":"a","code":401,"message":"\"m\""}}"#,
            ),
        ] {
            assert_eq!(answer.encode().text_payload(), Some(expected));
        }
    }

    #[test]
    fn commands_and_what_is_wrong_with_others() {
        let channels = || vec!["a".to_owned(), "b".to_owned()];
        let subscribe = |token: Option<&str>| PlainCommand::Subscribe {
            channels: channels(),
            token: token.map(str::to_owned),
        };
        for (text, expected) in [
            (r#"{"subscribe":["a","b"]}"#, Ok(subscribe(None))),
            (
                r#" {"token":"t","subscribe":["a","b"]}"#,
                Ok(subscribe(Some("t"))),
            ),
            (
                r#"{"unsubscribe":["a","b"]}"#,
                Ok(PlainCommand::Unsubscribe(channels())),
            ),
            (r#"{"ping":{"x":[1]}}"#, Ok(PlainCommand::Ping)),
            ("", Err("not a JSON object")),
            ("[1]", Err("not a JSON object")),
            (r#"{"ping":1"#, Err("EOF while parsing")),
            ("{}", Err("expected one of")),
            (r#"{"ping":1,"subscribe":["a"]}"#, Err("expected one of")),
            (
                r#"{"unsubscribe":["a"],"token":"t"}"#,
                Err("expected one of"),
            ),
            (r#"{"subscribe":"a"}"#, Err("\"subscribe\": invalid type")),
            (r#"{"subscribe":[7]}"#, Err("\"subscribe\": invalid type")),
            (r#"{"publish":1}"#, Err("unknown field `publish`")),
            (r#"{"event":"pusher:ping"}"#, Err("unknown field `event`")),
        ] {
            match (PlainCommand::parse(text), expected) {
                (Ok(command), Ok(expected)) => assert_eq!(command, expected, "{text}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_data_arrives(data in any::<String>()) {
            let frame: Value = serde_json::from_str(&event(&data)).unwrap();
            let expected = serde_json::from_str(&data).unwrap_or_else(|_| Value::from(data));
            prop_assert_eq!(&frame["data"], &expected);
        }

        #[test]
        fn any_message_is_read_or_told_what_is_wrong(text in "\\{[\\[\\]{}:,\"a-z0-9\\\\]{0,40}\\}?") {
            let _ = PlainCommand::parse(&text);
        }
    }
}
