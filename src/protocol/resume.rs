//! `ResumeToken`: the name under which a page's successive connections continue each other.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::ChannelName;

/// The token of `/resume/{token}/app/{key}`. Only a digest is kept, so it can be neither logged nor read in Redis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResumeToken([u8; 16]);

/// Under which a store keeps what one token has confirmed of one channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PositionKey([u8; 16]);

/// The text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "/resume/ is followed by a token of 16 to 64 characters of A-Za-z0-9_-, for example one of crypto.randomUUID()"
)]
pub struct InvalidResumeToken;

/// What `subscription_succeeded` says on a connection with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// So many events follow that were missed: `"resumed":true,"missed":3`.
    Missed(usize),
    /// The page has to load its state: `"resumed":false`.
    Anew,
}

/// What comes before a token in a path.
const PREFIX: &str = "/resume/";

impl ResumeToken {
    /// Splits `/resume/{token}` off a path. None: the path does not begin so.
    pub fn split(path: &str) -> Option<(Result<Self, InvalidResumeToken>, &str)> {
        let rest = path.strip_prefix(PREFIX)?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (token, path) = rest.split_at(end);
        Some((Self::parse(token), path))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// It has other characters, or too many or too few of them.
    pub fn parse(text: &str) -> Result<Self, InvalidResumeToken> {
        let is_legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (16..=64).contains(&text.len()) && text.bytes().all(is_legal) {
            return Ok(Self(digest(&[text.as_bytes()])));
        }
        Err(InvalidResumeToken)
    }

    /// The key of its position on an app's channel.
    pub fn position_key(&self, app: &str, channel: &ChannelName) -> PositionKey {
        PositionKey(digest(&[
            &self.0,
            app.as_bytes(),
            b":",
            channel.as_str().as_bytes(),
        ]))
    }
}

impl PositionKey {
    /// One of `of` parts that all keys are spread over.
    pub fn part(&self, of: usize) -> usize {
        usize::from(self.0[0]) % of
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken")
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for PositionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for PositionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Half of a SHA-256: two inputs with one digest will not be found.
fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let whole: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_a_rule() {
        let longest = "x".repeat(64);
        for good in ["0123456789abcdef", "AZaz09_-AZaz09_-", &longest] {
            assert!(ResumeToken::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        for bad in [
            "",
            "0123456789abcde",
            "0123456789abcdef.",
            "0123456789abcdé",
            &long,
        ] {
            assert!(ResumeToken::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_split_off_a_path() {
        for (path, token, rest) in [
            ("/resume/0123456789abcdef/app/k", true, "/app/k"),
            ("/resume/0123456789abcdef", true, ""),
            ("/resume/short/app/k", false, "/app/k"),
            ("/resume//app/k", false, "/app/k"),
        ] {
            let (parsed, left) = ResumeToken::split(path).unwrap();
            assert_eq!((parsed.is_ok(), left), (token, rest), "{path}");
        }
        for path in ["/app/k", "/resume", "/resumed/0123456789abcdef/app/k", ""] {
            assert!(ResumeToken::split(path).is_none(), "{path}");
        }
    }

    #[test]
    fn keys_differ_by_token_app_and_channel() {
        let token = |text: &str| ResumeToken::parse(text).unwrap();
        let channel = |name: &str| ChannelName::parse(name, 200).unwrap();
        let (a, b) = (token("aaaaaaaaaaaaaaaa"), token("bbbbbbbbbbbbbbbb"));
        let keys = [
            a.position_key("1", &channel("c")),
            a.position_key("1", &channel("d")),
            a.position_key("2", &channel("c")),
            b.position_key("1", &channel("c")),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at));
        }
        assert_eq!(keys[0], a.position_key("1", &channel("c")));
        assert_eq!(keys[0].to_string().len(), 32);
    }
}
