//! The messages from node to node, on the topic of the node that they are for: the version, a kind, the node that sends
//! it (16), the question's number (8), and the rest.
//!
//! | kind | the rest |
//! | --- | --- |
//! | `Q` question, `R` the same one again | its text |
//! | `A` answer to the question with this number | its text |
//! | `B` the node answers no more questions now | |
//! | `W` nobody waits for the answer any more | |

use bytes::{BufMut as _, Bytes, BytesMut};

use super::message::VERSION_BYTE;
use crate::adapter::NodeId;

/// What precedes the rest.
const HEAD: usize = 26;

/// The bytes of the longest message, with room for a line with the largest event that an app may allow, each byte of it
/// escaped twice.
const MAX_MESSAGE: usize = 128 * 1024 * 1024;

/// A message from one node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerMessage {
    /// The node that sends it.
    pub(crate) from: NodeId,
    /// The question's number, which the node that asks uses once.
    pub(crate) number: u64,
    pub(crate) content: Content,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Question { text: Bytes, again: bool },
    Answer(Bytes),
    Busy,
    Withdrawn,
}

impl PeerMessage {
    /// The bytes of its text.
    pub(crate) fn text_bytes(&self) -> usize {
        match &self.content {
            Content::Question { text, .. } | Content::Answer(text) => text.len(),
            Content::Busy | Content::Withdrawn => 0,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let (kind, rest) = match &self.content {
            Content::Question { text, again: false } => (b'Q', &text[..]),
            Content::Question { text, again: true } => (b'R', &text[..]),
            Content::Answer(text) => (b'A', &text[..]),
            Content::Busy => (b'B', &[][..]),
            Content::Withdrawn => (b'W', &[][..]),
        };
        let mut bytes = BytesMut::with_capacity(HEAD + rest.len());
        bytes.put_u8(VERSION_BYTE);
        bytes.put_u8(kind);
        bytes.put_slice(self.from.as_bytes());
        bytes.put_u64(self.number);
        bytes.put_slice(rest);
        bytes.freeze()
    }

    /// Reads a message; `None` if no node of this version sent it.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < HEAD || bytes.len() > MAX_MESSAGE {
            return None;
        }
        let head = bytes.split_to(HEAD);
        let from = NodeId::parse(&head[2..18])?;
        let number = u64::from_be_bytes(head[18..].try_into().ok()?);
        let content = match (head[0] == VERSION_BYTE).then_some(head[1])? {
            kind @ (b'Q' | b'R') => Content::Question {
                text: bytes,
                again: kind == b'R',
            },
            b'A' => Content::Answer(bytes),
            b'B' if bytes.is_empty() => Content::Busy,
            b'W' if bytes.is_empty() => Content::Withdrawn,
            _ => return None,
        };
        Some(Self {
            from,
            number,
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(content: Content) -> PeerMessage {
        PeerMessage {
            from: NodeId::of(0xfedc_ba98_7654_3210),
            number: 0x0102_0304_0506_0708,
            content,
        }
    }

    #[test]
    fn messages_are_read_back() {
        let text = Bytes::from_static(b"\0what\n?");
        for content in [
            Content::Question {
                text: text.clone(),
                again: false,
            },
            Content::Question {
                text: Bytes::new(),
                again: true,
            },
            Content::Answer(text),
            Content::Busy,
            Content::Withdrawn,
        ] {
            let message = message(content);
            assert_eq!(PeerMessage::decode(message.encode()), Some(message));
        }
    }

    #[test]
    fn what_no_node_of_this_version_sent_is_refused() {
        let whole = message(Content::Busy).encode();
        for length in 0..whole.len() {
            assert_eq!(PeerMessage::decode(whole.slice(..length)), None, "{length}");
        }
        for (at, byte) in [(0, 2), (1, b'X'), (2, b'G')] {
            let mut strange = whole.to_vec();
            strange[at] = byte;
            assert_eq!(PeerMessage::decode(strange.into()), None, "{at}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert_eq!(PeerMessage::decode(longer.into()), None);
    }
}
