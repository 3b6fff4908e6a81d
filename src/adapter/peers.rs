//! The other nodes one by one, for what only one of them can answer: [`Peers`].
//!
//! A *session* is told in Redis with the node that owns it, under a lease that the node renews. A *question* goes to one
//! node and has one answer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::AdapterFuture;

/// The bytes of a node's id.
const ID_BYTES: usize = 16;

/// How long a session's owner is known without being renewed.
pub const SESSION_LEASE: Duration = Duration::from_secs(90);

/// A node of the cluster, for as long as its process lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId([u8; ID_BYTES]);

/// The future of [`Peers::ask`].
pub type AskFuture<'a> = Pin<Box<dyn Future<Output = Result<Bytes, AskError>> + Send + 'a>>;

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

/// The other nodes.
pub trait Peers: Send + Sync {
    /// Makes this node the owner of a session that has none. Returns who owns it now.
    ///
    /// # Errors
    /// Redis did not answer in time.
    fn own<'a>(&'a self, session: &'a str) -> AdapterFuture<'a, Owner>;

    /// Returns who owns a session; `None` if nobody does.
    ///
    /// # Errors
    /// Redis did not answer in time.
    fn owner<'a>(&'a self, session: &'a str) -> AdapterFuture<'a, Option<Owner>>;

    /// Renews the leases of sessions of this node, many in one call, and tells again what Redis has forgotten.
    ///
    /// # Errors
    /// Redis did not answer in time.
    fn renew<'a>(&'a self, sessions: &'a [Arc<str>]) -> AdapterFuture<'a, ()>;

    /// Says that a session has ended with its owner, or that its owner has. It does not wait.
    fn give_up(&self, session: &str, owner: Owner);

    /// Asks another node. A question that may not have arrived is sent again, and answered once.
    ///
    /// # Errors
    /// See [`AskError`].
    fn ask<'a>(&'a self, question: Question<'a>) -> AskFuture<'a>;

    /// Answers the questions of other nodes from now on. Only the first call counts.
    fn answer_with(&self, answerer: Answerer);
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
