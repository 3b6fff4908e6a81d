//! The messages of a topic, as scripts publish them and logs keep them.
//!
//! The first byte is the major version of everything that nodes share: messages, keys and scripts. Nodes of different
//! versions do not share a prefix ([`WIRE_VERSION`]). The decoder trusts nothing: the link drops and counts a message
//! that it cannot read.
//!
//! | kind | then |
//! | --- | --- |
//! | `E` event | run (8), number (8), ms (8), id (16), length and text of the excluded socket id, a WebSocket frame |
//! | `T` terminate a user's connections | run (8), number (8), ms (8), id (16) |
//! | `A` member added, or its `user_info` changed | length (2) and text of the id, `user_info` |
//! | `R` member removed | id |
//! | `C` subscriptions | node that sends it to its own clients itself (16), number in decimal digits |
//! | `O`, `F` user online, offline | |

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::channel_log::{LogEvent, LogId};
use crate::protocol::{Encoded, Member, SocketId, UserId};

/// The major version of what nodes share. Nodes of another version are another cluster.
pub(crate) const WIRE_VERSION: &str = "1";

/// [`WIRE_VERSION`] as the first byte of every message.
pub(crate) const VERSION_BYTE: u8 = 1;

/// The bytes of the longest message, with room for the largest event that an app may allow.
pub(crate) const MAX_MESSAGE: usize = 34 * 1024 * 1024;

/// The bytes of an event's id: its node's id, and a number that the node uses once.
pub(crate) const ID_BYTES: usize = 16;

/// An event's id, unique in the cluster.
pub(crate) type EventId = [u8; ID_BYTES];

/// One life of one Redis process: the first half of its run id.
pub(crate) type Run = [u8; 8];

/// An event's place in its topic's log. Within a run, `seq` rises by one from event to event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) run: Run,
    pub(crate) seq: u64,
}

/// A decoded message.
#[derive(Debug)]
pub(crate) enum Message {
    Logged(Logged),
    MemberAdded(Member),
    MemberRemoved(UserId),
    /// The node that sends it to its own subscribers itself, and the subscriptions.
    Count(String, usize),
    Online(bool),
}

/// A message that the topic's log keeps.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) at: Position,
    /// When Redis took it: ms of Redis' clock.
    pub(crate) time: u64,
    pub(crate) id: EventId,
    pub(crate) content: Content,
}

impl Logged {
    /// The event as the log hands it out, where `now` is `now_ms` of Redis' clock; none if it is something else.
    pub(crate) fn event(&self, now: Instant, now_ms: u64) -> Option<LogEvent> {
        let Content::Event { except, frame } = &self.content else {
            return None;
        };
        let age = Duration::from_millis(now_ms.saturating_sub(self.time));
        Some(LogEvent {
            id: LogId(self.at.seq),
            at: now.checked_sub(age).unwrap_or(now),
            time_ms: self.time,
            except: *except,
            frame: frame.clone(),
        })
    }
}

#[derive(Debug)]
pub(crate) enum Content {
    Event {
        except: Option<SocketId>,
        frame: Encoded,
    },
    Terminate,
}

impl Content {
    /// The message's kind, an argument of the script.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Event { .. } => "E",
            Self::Terminate => "T",
        }
    }

    /// The bytes that the script appends to its own header.
    pub(crate) fn body(&self, id: &EventId) -> Vec<u8> {
        let mut out = id.to_vec();
        if let Self::Event { except, frame } = self {
            let except = except.map(|id| id.to_string()).unwrap_or_default();
            // A socket id has at most twice twenty digits and a dot.
            out.push(u8::try_from(except.len()).unwrap_or_default());
            out.extend_from_slice(except.as_bytes());
            out.extend_from_slice(frame.bytes());
        }
        out
    }
}

impl Message {
    /// Decodes a message; `None` if it is malformed or of another version.
    pub(crate) fn decode(bytes: Bytes) -> Option<Self> {
        if bytes.len() > MAX_MESSAGE {
            return None;
        }
        let mut rest = bytes;
        let [version, kind] = take(&mut rest)?;
        if version != VERSION_BYTE {
            return None;
        }
        match kind {
            b'E' | b'T' => logged(kind, rest).map(Self::Logged),
            b'A' => {
                let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
                let user = text(&part(&mut rest, length)?)?;
                let info = text(&rest)?;
                Some(Self::MemberAdded(Member {
                    id: UserId::new(&user)?,
                    info: info_of(&info),
                }))
            }
            b'R' => UserId::new(&text(&rest)?).map(Self::MemberRemoved),
            b'C' => {
                let node = text(&part(&mut rest, 16)?)?;
                Some(Self::Count(node, text(&rest)?.parse().ok()?))
            }
            b'O' => Some(Self::Online(true)),
            b'F' => Some(Self::Online(false)),
            _ => None,
        }
    }
}

/// Reads a `user_info` as scripts keep it: an empty text stands for none.
pub(crate) fn info_of(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

fn logged(kind: u8, mut rest: Bytes) -> Option<Logged> {
    let run = take(&mut rest)?;
    let seq = u64::from_be_bytes(take(&mut rest)?);
    let time = u64::from_be_bytes(take(&mut rest)?);
    let id = take(&mut rest)?;
    let content = if kind == b'T' {
        Content::Terminate
    } else {
        let [length] = take(&mut rest)?;
        let except = text(&part(&mut rest, usize::from(length))?)?;
        let except = match except.as_str() {
            "" => None,
            id => Some(id.parse().ok()?),
        };
        let frame = Encoded::checked(rest)?;
        Content::Event { except, frame }
    };
    Some(Logged {
        at: Position { run, seq },
        time,
        id,
        content,
    })
}

fn part(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn take<const N: usize>(bytes: &mut Bytes) -> Option<[u8; N]> {
    part(bytes, N)?.as_ref().try_into().ok()
}

fn text(bytes: &Bytes) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, ServerFrame};
    use proptest::prelude::*;

    fn message(kind: &str, body: &[u8]) -> Bytes {
        let mut out = vec![VERSION_BYTE, kind.as_bytes()[0]];
        out.extend_from_slice(&[7; 8]);
        out.extend_from_slice(&42_u64.to_be_bytes());
        out.extend_from_slice(&43_u64.to_be_bytes());
        out.extend_from_slice(body);
        out.into()
    }

    fn event(data: &str, except: Option<SocketId>) -> Content {
        let channel = ChannelName::parse("c", 200).unwrap();
        let frame = ServerFrame::Event {
            channel: &channel,
            event: "e",
            data,
            user_id: None,
        };
        Content::Event {
            except,
            frame: frame.encode(),
        }
    }

    proptest! {
        #[test]
        fn an_event_arrives_as_it_was_sent(data in ".{0,70000}", except in proptest::option::of((0_u64..1 << 40, 0_u64..1 << 40))) {
            let except = except.map(|(a, b)| format!("{a}.{b}").parse().unwrap());
            let sent = event(&data, except);
            let bytes = message(sent.kind(), &sent.body(&[5; 16]));
            let Some(Message::Logged(logged)) = Message::decode(bytes) else {
                panic!("not read");
            };
            prop_assert_eq!(logged.at, Position { run: [7; 8], seq: 42 });
            prop_assert_eq!((logged.time, logged.id), (43, [5; 16]));
            let (Content::Event { except: a, frame: x }, Content::Event { except: b, frame: y }) = (logged.content, sent) else {
                panic!("not an event");
            };
            prop_assert_eq!(a, b);
            prop_assert_eq!(x.bytes(), y.bytes());
        }

        #[test]
        fn anything_else_is_refused_and_nothing_breaks(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(bytes.into());
        }

        #[test]
        fn what_begins_well_and_is_broken_is_refused(kind in "[ETARCOFX]", rest in proptest::collection::vec(any::<u8>(), 0..120)) {
            let bytes = [&[VERSION_BYTE, kind.as_bytes()[0]], &rest[..]].concat();
            if let Some(Message::Logged(Logged { content: Content::Event { frame, .. }, .. })) = Message::decode(bytes.into()) {
                prop_assert_eq!(frame.bytes()[0], 0x81);
            }
        }

        #[test]
        fn cut_messages_are_refused(at in 0_usize..60) {
            let sent = event("data", Some("1.2".parse().unwrap()));
            let bytes = message(sent.kind(), &sent.body(&[5; 16]));
            prop_assume!(at < bytes.len());
            prop_assert!(Message::decode(bytes.slice(..at)).is_none());
        }
    }

    #[test]
    fn states_are_read() {
        let decode = |bytes: &[u8]| Message::decode(Bytes::copy_from_slice(bytes));
        let Some(Message::MemberAdded(member)) = decode(b"\x01A\0\x017{\"a\":1}") else {
            panic!("not read");
        };
        assert_eq!(
            (member.id.as_str(), member.info.as_deref()),
            ("7", Some("{\"a\":1}"))
        );
        let Some(Message::Count(node, count)) = decode(b"\x01C0123456789abcdef12") else {
            panic!("not read");
        };
        assert_eq!((node.as_str(), count), ("0123456789abcdef", 12));
        assert!(matches!(decode(b"\x01R7"), Some(Message::MemberRemoved(_))));
        assert!(matches!(decode(b"\x01O"), Some(Message::Online(true))));
        assert!(matches!(decode(b"\x01F"), Some(Message::Online(false))));
        for strange in [
            &b""[..],
            b"\x01",
            b"\x02O",
            b"\x01R",
            b"\x01A\0\x09",
            b"\x01Cx",
            b"\x01?",
        ] {
            assert!(decode(strange).is_none(), "{strange:?}");
        }
    }
}
