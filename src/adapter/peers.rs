//! The other nodes one by one, for what only one of them can answer: what
//! [`Peers`](super::Peers) are asked.
//!
//! A *session* is told in Redis with the node that owns it, under a lease that the node renews. A *question* goes to one
//! node and has one answer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// The bytes of a node's id.
const ID_BYTES: usize = 16;

/// A node of the cluster, for as long as its process lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId([u8; ID_BYTES]);

/// Answers the questions of other nodes. Its futures are dropped when nobody waits for the answer any more.
pub type Answerer = Arc<dyn Fn(Bytes) -> Pin<Box<dyn Future<Output = Bytes> + Send>> + Send + Sync>;

/// The node that owns a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This node.
    ThisNode,
    /// Another one.
    Other(NodeId),
}

/// A question to another node.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The session that it is about.
    pub session: &'a str,
    /// The node that is asked.
    pub node: NodeId,
    /// What its [`Answerer`] gets.
    pub text: Bytes,
    /// How long the answer takes there, at most.
    pub takes: Duration,
}

/// Why a question was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The node has gone.
    #[error("the node has gone")]
    Gone,
    /// Too many questions are under way, here or there.
    #[error("too many requests for sessions of other nodes are under way: try again")]
    Busy,
    /// Redis or the node did not answer in time.
    #[error("{0}")]
    Unreachable(Arc<str>),
}

impl NodeId {
    /// Of its number.
    #[must_use]
    pub fn of(number: u64) -> Self {
        let mut id = [0; ID_BYTES];
        for (at, digit) in id.iter_mut().enumerate() {
            let nibble = (number >> (4 * (ID_BYTES - 1 - at))) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        Self(id)
    }

    /// Reads an id; `None` if no node of ours wrote it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let id: [u8; ID_BYTES] = bytes.try_into().ok()?;
        id.iter().all(is_digit).then_some(Self(id))
    }

    /// Sixteen hex digits.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixteen_hex_digits() {
        let id = NodeId::of(0x0012_3456_789a_bcde);
        assert_eq!(id.to_string(), "00123456789abcde");
        assert_eq!(NodeId::parse(id.as_bytes()), Some(id));
        for strange in [
            &b""[..],
            b"00123456789abcd",
            b"00123456789abcdeF",
            b"00123456789ABCDE",
        ] {
            assert_eq!(NodeId::parse(strange), None, "{strange:?}");
        }
    }
}
