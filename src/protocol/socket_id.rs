//! `SocketId`: the public name of one live connection.

use std::fmt;
use std::str::FromStr;

/// The public name of one connection, `digits.digits` on the wire (every server SDK checks `^\d+\.\d+$`).
///
/// Two numbers below 10^10 drawn from the operating system's generator: about 66 bits, so ids are unique over a
/// cluster without coordination and cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(u64, u64);

/// The text is not `digits.digits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a socket id has the form digits.digits, for example 123.456")]
pub struct InvalidSocketId;

const BOUND: u64 = 10_000_000_000;

impl SocketId {
    /// A fresh id.
    pub fn random() -> Self {
        Self(rand::random_range(1..BOUND), rand::random_range(1..BOUND))
    }
}

impl FromStr for SocketId {
    type Err = InvalidSocketId;

    fn from_str(text: &str) -> Result<Self, InvalidSocketId> {
        let number = |part: &str| -> Result<u64, InvalidSocketId> {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(InvalidSocketId);
            }
            // A well-formed number too large to be ours is saturated: no connection has it.
            Ok(part.parse().unwrap_or(u64::MAX))
        };
        let (a, b) = text.split_once('.').ok_or(InvalidSocketId)?;
        Ok(Self(number(a)?, number(b)?))
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_sdks_accept_and_nothing_else() {
        for good in ["1.2", "0.0", "123456.7890", "99999999999999999999999.1"] {
            assert!(good.parse::<SocketId>().is_ok(), "{good}");
        }
        for bad in [
            "", ".", "1.", ".1", "1", "1.2.3", "a.b", "-1.2", "+1.2", " 1.2", "1.2\n", "١.٢", "1,2",
        ] {
            assert!(bad.parse::<SocketId>().is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn prints_what_it_parses(a in 0..BOUND, b in 0..BOUND) {
            let id = SocketId(a, b);
            proptest::prop_assert_eq!(id.to_string().parse::<SocketId>(), Ok(id));
        }
    }

    #[test]
    fn random_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| SocketId::random()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
