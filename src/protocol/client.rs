//! `ClientFrame`: the text of one message from a client → a command, or the reason why it is none.
//!
//! Parsing is tolerant where clients differ (`data` missing, null, object, or a string that holds the object) and
//! knows no app: whether names and signatures are good is decided by those who have one.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{excerpt, parse, parse_object};

/// One command of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// `pusher:subscribe`.
    Subscribe(Subscribe),
    /// `pusher:unsubscribe`: `{"channel":"x"}`.
    Unsubscribe {
        /// The channel, unchecked.
        channel: String,
    },
    /// `pusher:ping`, with or without `data`.
    Ping,
    /// `pusher:pong`, asked for or not.
    Pong,
    /// `pusher:signin`.
    Signin {
        /// `key:signature`, or a token.
        auth: String,
        /// The signed text, raw; a token may come without.
        user_data: Option<String>,
    },
    /// `client-…`.
    ClientEvent(ClientEvent),
}

/// `{"event":"pusher:subscribe","data":{"channel":"presence-x","auth":"key:sig","channel_data":"{…}"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The channel, unchecked.
    pub channel: String,
    /// `key:signature`, or a token. None for `""`, which pusher-js sends on public channels.
    pub auth: Option<String>,
    /// The signed text, raw: key order, spaces and escapes count. An empty one counts as none, and is not signed: so PHP's
    /// SDK has it.
    pub channel_data: Option<String>,
}

/// `{"event":"client-typing","channel":"private-x","data":…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEvent {
    /// The name, with its `client-`.
    pub event: String,
    /// The channel, unchecked.
    pub channel: String,
    /// What the receivers get as `data`: a string's content, any other value's JSON text, `{}` when there was none
    /// (Echo's `whisper` without a payload).
    pub data: String,
}

/// Why a message is no command. The texts are told to the client; those of the real service where known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientFrame {
    /// Not JSON, or not the JSON of a frame.
    #[error(
        "Invalid message: expected a JSON object with a string \"event\", for example {{\"event\":\"pusher:ping\",\"data\":{{}}}} ({0})"
    )]
    Malformed(String),
    /// An event name that no client may send.
    #[error("Unsupported event received on socket: {0}")]
    UnsupportedEvent(String),
    /// A key of `data` is not there.
    #[error("Missing parameter: data.{0}")]
    Missing(&'static str),
    /// `data` is there, of the wrong shape.
    #[error("Invalid data for {event}: {reason}")]
    Data {
        /// The event.
        event: String,
        /// What was wrong.
        reason: String,
    },
    /// A client event without a channel.
    #[error("Invalid client event (must contain channel and data)")]
    ClientEvent,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// Keeps `null` apart from a key that is missing: a client event relays the former as it is.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(
    value: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

#[derive(Deserialize)]
struct SubscribeData {
    channel: Option<String>,
    auth: Option<String>,
    channel_data: Option<String>,
}

#[derive(Deserialize)]
struct UnsubscribeData {
    channel: Option<String>,
}

#[derive(Deserialize)]
struct SigninData {
    auth: Option<String>,
    user_data: Option<String>,
}

impl ClientFrame {
    /// Reads one message.
    ///
    /// # Errors
    /// The text says what was expected, for a `pusher:error` with code null.
    pub fn parse(text: &str) -> Result<Self, InvalidClientFrame> {
        let frame: Frame<'_> = parse_object(text).map_err(InvalidClientFrame::Malformed)?;
        let event = frame.event.as_ref();
        match event {
            "pusher:ping" => Ok(Self::Ping),
            "pusher:pong" => Ok(Self::Pong),
            "pusher:subscribe" => {
                let data: SubscribeData = command_data(event, frame.data)?;
                let channel = data.channel.ok_or(InvalidClientFrame::Missing("channel"))?;
                Ok(Self::Subscribe(Subscribe {
                    channel,
                    auth: data.auth.filter(|auth| !auth.is_empty()),
                    channel_data: data.channel_data.filter(|data| !data.is_empty()),
                }))
            }
            "pusher:unsubscribe" => {
                let data: UnsubscribeData = command_data(event, frame.data)?;
                Ok(Self::Unsubscribe {
                    channel: data.channel.ok_or(InvalidClientFrame::Missing("channel"))?,
                })
            }
            "pusher:signin" => {
                let data: SigninData = command_data(event, frame.data)?;
                Ok(Self::Signin {
                    auth: data.auth.ok_or(InvalidClientFrame::Missing("auth"))?,
                    user_data: data.user_data,
                })
            }
            _ if event.starts_with("client-") => client_event(&frame),
            _ => Err(InvalidClientFrame::UnsupportedEvent(
                excerpt(event).to_owned(),
            )),
        }
    }
}

/// `data` of a command: an object, or a string that holds one; missing and null count as `{}`.
fn command_data<T: for<'de> Deserialize<'de>>(
    event: &str,
    data: Option<&RawValue>,
) -> Result<T, InvalidClientFrame> {
    let text = data.map_or("{}", RawValue::get);
    let data = match text.as_bytes().first() {
        Some(b'"') => parse::<String>(text).and_then(|inner| parse_object(&inner)),
        Some(b'n') => parse_object("{}"),
        _ => parse_object(text),
    };
    data.map_err(|reason| InvalidClientFrame::Data {
        event: event.to_owned(),
        reason,
    })
}

fn client_event(frame: &Frame<'_>) -> Result<ClientFrame, InvalidClientFrame> {
    let channel = frame
        .channel
        .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())
        .ok_or(InvalidClientFrame::ClientEvent)?;
    let event = frame.event.clone().into_owned();
    let data = match frame.data.map(RawValue::get) {
        None => "{}".to_owned(),
        Some(text) if text.starts_with('"') => {
            parse(text).map_err(|reason| InvalidClientFrame::Data {
                event: excerpt(&event).to_owned(),
                reason,
            })?
        }
        Some(text) => text.to_owned(),
    };
    Ok(ClientFrame::ClientEvent(ClientEvent {
        event,
        channel,
        data,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_client_dialect() {
        let subscribe = |auth: Option<&str>, channel_data: Option<&str>| {
            ClientFrame::Subscribe(Subscribe {
                channel: "c".into(),
                auth: auth.map(Into::into),
                channel_data: channel_data.map(Into::into),
            })
        };
        for (text, expected) in [
            (r#"{"event":"pusher:ping","data":{}}"#, ClientFrame::Ping),
            (r#"{"event":"pusher:ping"}"#, ClientFrame::Ping),
            (r#"{"data":null,"event":"pusher:pong"}"#, ClientFrame::Pong),
            (
                r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"c"}}"#,
                subscribe(None, None),
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"c","x":[1]}}"#,
                subscribe(None, None),
            ),
            (
                r#"{"event":"pusher:subscribe","data":"{\"channel\":\"c\"}"}"#,
                subscribe(None, None),
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"c","auth":"k:s","channel_data":"{ \"user_id\":1}"}}"#,
                subscribe(Some("k:s"), Some(r#"{ "user_id":1}"#)),
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"c","auth":"k:s","channel_data":""}}"#,
                subscribe(Some("k:s"), None),
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"c","auth":"k:s","channel_data":null}}"#,
                subscribe(Some("k:s"), None),
            ),
            (
                r#"{"event":"pusher:unsubscribe","data":{"channel":"c"}}"#,
                ClientFrame::Unsubscribe {
                    channel: "c".into(),
                },
            ),
            (
                r#"{"event":"pusher:signin","data":{"auth":"k:s","user_data":"{}"}}"#,
                ClientFrame::Signin {
                    auth: "k:s".into(),
                    user_data: Some("{}".into()),
                },
            ),
            (
                r#"{"event":"pusher:signin","data":{"auth":"a.b.c"}}"#,
                ClientFrame::Signin {
                    auth: "a.b.c".into(),
                    user_data: None,
                },
            ),
        ] {
            assert_eq!(ClientFrame::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn client_event_data_becomes_a_string() {
        for (data, expected) in [
            (r#","data":{"x": 1}"#, r#"{"x": 1}"#),
            (r#","data":"plain \"text\"""#, r#"plain "text""#),
            (r#","data":"{\"x\":1}""#, r#"{"x":1}"#),
            (r#","data":null"#, "null"),
            (r#","data":[1,2]"#, "[1,2]"),
            (r#","data":12.50"#, "12.50"),
            ("", "{}"),
        ] {
            let text = format!(r#"{{"event":"client-a","channel":"private-c"{data}}}"#);
            let Ok(ClientFrame::ClientEvent(event)) = ClientFrame::parse(&text) else {
                panic!("{text}");
            };
            assert_eq!(event.data, expected, "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("", "expected a JSON object"),
            ("nope", "expected a JSON object"),
            ("[]", "expected a JSON object"),
            (r#"["pusher:ping",null,{}]"#, "it is not a JSON object"),
            (
                r#"{"event":"pusher:subscribe","data":["c","",null]}"#,
                "Invalid data for pusher:subscribe: it is not a JSON object",
            ),
            (r#"{"event":5}"#, "(\"event\": invalid type: integer `5`"),
            (r#"{"data":{}}"#, "missing field `event`"),
            (r#"{"event":"pusher:ping"} x"#, "trailing"),
            (r#"{"event":"\ud800"}"#, "\"event\": a text is cut inside"),
            (
                r#"{"event":"pusher:subscribe"}"#,
                "Missing parameter: data.channel",
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":7}}"#,
                "Invalid data for pusher:subscribe: \"channel\": invalid type",
            ),
            (
                r#"{"event":"pusher:subscribe","data":7}"#,
                "Invalid data for pusher:subscribe",
            ),
            (
                r#"{"event":"pusher:signin","data":{"user_data":"{}"}}"#,
                "Missing parameter: data.auth",
            ),
            (
                r#"{"event":"pusher_internal:x"}"#,
                "Unsupported event received on socket: pusher_internal:x",
            ),
            (
                r#"{"event":"my-event","channel":"c","data":{}}"#,
                "Unsupported event received on socket: my-event",
            ),
            (
                r#"{"event":"client-a","data":{}}"#,
                "must contain channel and data",
            ),
            (
                r#"{"event":"client-a","channel":7,"data":{}}"#,
                "must contain channel and data",
            ),
            (
                r#"{"event":"client-a","channel":"c","data":"\udc00"}"#,
                "Invalid data for client-a: a text is cut inside",
            ),
        ] {
            let error = ClientFrame::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn hostile_shapes_are_cheap_errors() {
        let deep = format!(
            r#"{{"event":"client-a","channel":"c","data":{}1{}}}"#,
            "[".repeat(5000),
            "]".repeat(5000)
        );
        assert!(matches!(
            ClientFrame::parse(&deep),
            Ok(ClientFrame::ClientEvent(_))
        ));
        let wide: String = (0..100_000).map(|i| format!(r#""k{i}":1,"#)).collect();
        let wide = format!(r#"{{{wide}"event":"pusher:ping"}}"#);
        assert_eq!(ClientFrame::parse(&wide), Ok(ClientFrame::Ping));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = ClientFrame::parse(&text);
        }

        #[test]
        fn never_panics_on_near_frames(event in "(pusher:subscribe|pusher:signin|client-x|pusher:ping)", data in "[\\[\\]{}:,\"a-z0-9\\\\]{0,40}") {
            let _ = ClientFrame::parse(&format!(r#"{{"event":"{event}","data":{data}}}"#));
        }

        #[test]
        fn any_string_survives(data in any::<String>()) {
            let text = serde_json::json!({"event": "client-a", "channel": "private-c", "data": &data}).to_string();
            let Ok(ClientFrame::ClientEvent(event)) = ClientFrame::parse(&text) else { panic!("{text}") };
            prop_assert_eq!(event.data, data);
        }
    }
}
