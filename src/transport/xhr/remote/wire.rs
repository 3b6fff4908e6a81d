//! What nodes say to each other about a session. A question is JSON. An answer is a letter; `B` is followed by the
//! batch's number (4), whether it is the last (1), and its lines. Nothing is trusted.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::protocol::Line;
use crate::transport::xhr::sessions::{Batch, Fetch, ReceiverId, Written};

/// Before the lines of a batch.
const BATCH_HEAD: usize = 6;

/// A question about one session.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// Its name.
    pub(super) session: String,
    #[serde(flatten)]
    pub(super) content: Content,
}

/// What is asked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    Fetch {
        #[serde(flatten)]
        fetch: Fetch,
        /// There at its first question, to take the place of another one: the number of its request, if it has one.
        attaches: Option<Attaches>,
    },
    Written(Written),
    /// A receiver is there, and has not written its last batch yet.
    Here {
        receiver: ReceiverId,
    },
    /// A request of the page with messages.
    Send {
        number: Option<u64>,
        /// None: they are too large.
        messages: Option<Vec<String>>,
        /// Of the request's body.
        bytes: usize,
    },
}

/// See [`Content::Fetch`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attaches {
    pub(super) number: Option<u64>,
}

/// What a question is answered with.
#[derive(Debug)]
pub(super) enum Answer {
    Batch(Batch),
    /// There are no lines yet.
    NotYet,
    /// It was done.
    Done,
    /// Another receiver has taken the place, or the session has ended.
    Over,
    /// There is no such session.
    Unknown,
    /// Too much waits for the session.
    Full,
}

impl Question {
    pub(super) fn encode(&self) -> Bytes {
        // Serializing texts and numbers cannot fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads a question; `None` if no node of this version asked it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Bytes {
        let batch = match self {
            Self::Batch(batch) => batch,
            Self::NotYet => return Bytes::from_static(b"N"),
            Self::Done => return Bytes::from_static(b"D"),
            Self::Over => return Bytes::from_static(b"O"),
            Self::Unknown => return Bytes::from_static(b"U"),
            Self::Full => return Bytes::from_static(b"F"),
        };
        let mut bytes = BytesMut::new();
        bytes.put_u8(b'B');
        bytes.put_u32(batch.number);
        bytes.put_u8(u8::from(batch.is_last));
        for line in &batch.lines {
            bytes.put_slice(&line.text());
        }
        bytes.freeze()
    }

    /// Reads an answer; `None` if no node of this version gave it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            b"N" => Self::NotYet,
            b"D" => Self::Done,
            b"O" => Self::Over,
            b"U" => Self::Unknown,
            b"F" => Self::Full,
            [b'B', ..] => {
                let (head, lines) = bytes.split_at_checked(BATCH_HEAD)?;
                let lines = std::str::from_utf8(lines).ok()?;
                if lines.is_empty() || !lines.ends_with('\n') {
                    return None;
                }
                Self::Batch(Batch {
                    number: u32::from_be_bytes(head[1..5].try_into().ok()?),
                    lines: lines.split_inclusive('\n').map(Line::relayed).collect(),
                    is_last: head[5] == 1,
                })
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::xhr::sessions::Parting;

    #[test]
    fn questions_are_read_back() {
        for content in [
            Content::Fetch {
                fetch: Fetch {
                    receiver: ReceiverId(u64::MAX),
                    acknowledged: 7,
                    room: 1,
                },
                attaches: Some(Attaches { number: None }),
            },
            Content::Fetch {
                fetch: Fetch {
                    receiver: ReceiverId(0),
                    acknowledged: u32::MAX,
                    room: usize::MAX,
                },
                attaches: None,
            },
            Content::Written(Written {
                receiver: ReceiverId(1),
                lines: 2,
                parting: Parting::ForGood,
            }),
            Content::Here {
                receiver: ReceiverId(1),
            },
            Content::Send {
                number: Some(3),
                messages: Some(vec!["{\"event\":\"\u{1f30a}\"}".to_owned()]),
                bytes: 9,
            },
            Content::Send {
                number: None,
                messages: None,
                bytes: 0,
            },
        ] {
            let session = "key/1/abcdefgh".to_owned();
            let question = Question { session, content };
            assert_eq!(Question::decode(&question.encode()), Some(question));
        }
        assert_eq!(Question::decode(b"{}"), None);
        // As nodes of other releases say it.
        let fetch = Question {
            session: "k/1/a".to_owned(),
            content: Content::Fetch {
                fetch: Fetch {
                    receiver: ReceiverId(1),
                    acknowledged: 2,
                    room: 3,
                },
                attaches: Some(Attaches { number: Some(4) }),
            },
        };
        let text = br#"{"session":"k/1/a","fetch":{"receiver":1,"attaches":{"number":4},"acknowledged":2,"room":3}}"#;
        assert_eq!(Question::decode(text), Some(fetch));
    }

    #[test]
    fn answers_are_read_back() {
        let lines = vec![
            Line::open(None),
            Line::message("\"\n\u{1f30a}"),
            Line::heartbeat(),
        ];
        let batch = Answer::Batch(Batch {
            number: 0x0102_0304,
            lines: lines.clone(),
            is_last: true,
        });
        let bytes = batch.encode();
        let Some(Answer::Batch(read)) = Answer::decode(&bytes) else {
            panic!("it is a batch");
        };
        assert_eq!(
            (read.number, read.lines, read.is_last),
            (0x0102_0304, lines, true)
        );
        for length in 1..bytes.len() {
            // A line that broke off is no line; lines that are missing cannot be told.
            let whole = length > BATCH_HEAD && bytes[length - 1] == b'\n';
            assert_eq!(
                Answer::decode(&bytes[..length]).is_some(),
                whole,
                "{length}"
            );
        }
        for answer in [
            Answer::NotYet,
            Answer::Done,
            Answer::Over,
            Answer::Unknown,
            Answer::Full,
        ] {
            let bytes = answer.encode();
            let read = Answer::decode(&bytes).unwrap();
            assert_eq!(read.encode(), bytes);
            assert!(Answer::decode(&[&bytes[..], b"x"].concat()).is_none());
        }
        assert!(Answer::decode(b"").is_none());
    }
}
