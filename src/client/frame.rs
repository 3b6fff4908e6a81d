//! What a server says to a client: a `Frame` as it arrived, and what it means.
//!
//! Reads tolerantly where servers differ: `data` is a string that holds JSON, or the JSON itself, or missing.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// One message of a server, as it arrived.
#[derive(Debug, Deserialize)]
pub struct Frame {
    /// The event's name.
    pub event: String,
    /// The channel that it is about, if any.
    #[serde(default)]
    pub channel: Option<String>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    user_id: Option<Value>,
}

/// What a message means.
#[derive(Debug)]
pub enum ServerMessage {
    /// A subscription is accepted; the members are those of a presence channel.
    Subscribed {
        /// Which.
        channel: String,
        /// Their ids.
        members: Option<Vec<String>>,
    },
    /// A command is refused.
    Refused {
        /// Which subscription, if the server says so.
        channel: Option<String>,
        /// The protocol's code.
        code: Option<u16>,
        /// Why.
        message: String,
    },
    /// The sign-in is accepted.
    SignedIn,
    /// An event that somebody published, or a client event.
    Event(Frame),
    /// Any other event of the protocol: members, counts, cache misses.
    Notice(Frame),
    /// Nothing: it is for one client library only.
    Nothing,
}

#[derive(Deserialize)]
struct ErrorData {
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

impl Frame {
    /// Reads one message.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The data as subscribers see it: a string's content, or the JSON of anything else.
    pub fn text(&self) -> Cow<'_, str> {
        let Some(data) = &self.data else {
            return Cow::Borrowed("");
        };
        match serde_json::from_str::<String>(data.get()) {
            Ok(text) => Cow::Owned(text),
            Err(_) => Cow::Borrowed(data.get()),
        }
    }

    /// The data as JSON, byte for byte as it arrived: most often a string.
    pub fn raw(&self) -> Option<&RawValue> {
        self.data.as_deref()
    }

    /// The member who sent a client event on a presence channel.
    pub fn user_id(&self) -> Option<String> {
        match self.user_id.as_ref()? {
            Value::String(id) => Some(id.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// The data as a type, whether it came as a string or not.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.text()).ok()
    }

    /// Interprets the message.
    pub fn message(self) -> ServerMessage {
        match self.event.as_str() {
            "pusher_internal:subscription_succeeded" => {
                let data: Value = self.read().unwrap_or_default();
                let ids = |presence: &Value| {
                    let hash = presence["hash"].as_object().into_iter().flatten();
                    hash.map(|(id, _)| id.clone()).collect()
                };
                ServerMessage::Subscribed {
                    members: data.get("presence").map(ids),
                    channel: self.channel.unwrap_or_default(),
                }
            }
            "pusher:error" | "pusher:subscription_error" => {
                let data: Option<ErrorData> = self.read();
                let text = self.text().into_owned();
                let (code, message) = match data {
                    Some(data) => (data.code, data.message.or(data.error)),
                    None => (None, None),
                };
                ServerMessage::Refused {
                    channel: self.channel,
                    code,
                    message: message.unwrap_or(text),
                }
            }
            "pusher:signin_success" => ServerMessage::SignedIn,
            "pusher:pong" | "pusher_internal:subscription_error" => ServerMessage::Nothing,
            name if name.starts_with("pusher:") || name.starts_with("pusher_internal:") => {
                ServerMessage::Notice(self)
            }
            _ => ServerMessage::Event(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_in_all_its_forms() {
        for (data, text) in [
            (r#","data":"{\"a\": 1}""#, r#"{"a": 1}"#),
            (r#","data":{"a": 1}"#, r#"{"a": 1}"#),
            (r#","data":"plain""#, "plain"),
            (r#","data":null"#, ""),
            ("", ""),
        ] {
            let frame = Frame::parse(&format!(r#"{{"event":"x"{data},"more":1}}"#)).unwrap();
            assert_eq!(frame.text(), text);
        }
        assert!(Frame::parse("[]").is_err() && Frame::parse("{}").is_err());
    }

    #[test]
    fn members_and_errors() {
        let presence = r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-x","data":"{\"presence\":{\"count\":2,\"ids\":[\"a\",\"b\"],\"hash\":{\"a\":null,\"b\":{}}}}"}"#;
        let ServerMessage::Subscribed { channel, members } =
            Frame::parse(presence).unwrap().message()
        else {
            panic!("not a subscription");
        };
        assert_eq!(channel, "presence-x");
        assert_eq!(members.unwrap(), ["a", "b"]);
        for (frame, expected) in [
            (
                r#"{"event":"pusher:error","data":{"code":4009,"message":"no"}}"#,
                (Some(4009), "no"),
            ),
            (
                r#"{"event":"pusher:error","data":"{\"code\":null,\"message\":\"no\"}"}"#,
                (None, "no"),
            ),
            (
                r#"{"event":"pusher:subscription_error","channel":"x","data":"{\"type\":\"AuthError\",\"error\":\"no\",\"status\":401}"}"#,
                (None, "no"),
            ),
            (r#"{"event":"pusher:error","data":"no"}"#, (None, "no")),
        ] {
            let ServerMessage::Refused { code, message, .. } =
                Frame::parse(frame).unwrap().message()
            else {
                panic!("not a refusal: {frame}");
            };
            assert_eq!((code, message.as_str()), expected);
        }
    }
}
