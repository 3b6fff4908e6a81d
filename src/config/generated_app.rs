//! `GeneratedApp`: what is served where nobody says what to serve: one app, made up anew by every process, because a secret
//! that a program ships with is one that everybody knows.

use std::fmt;

use rand::TryRng;
use rand::rngs::{SysError, SysRng};

use super::tree::Override;

/// An app of random id, key and secret. Printing it for debugging does not show the secret.
#[derive(Clone)]
pub struct GeneratedApp {
    /// Digits, which every SDK takes.
    pub id: String,
    /// What clients connect with.
    pub key: String,
    /// What backends sign with: its owner must be told, once.
    pub secret: String,
}

impl GeneratedApp {
    /// Makes one of the system's random bytes.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn random() -> Result<Self, SysError> {
        let (mut key, mut secret) = ([0; 10], [0; 20]);
        SysRng.try_fill_bytes(&mut key)?;
        SysRng.try_fill_bytes(&mut secret)?;
        Ok(Self {
            id: (100_000 + SysRng.try_next_u32()? % 900_000).to_string(),
            key: hex::encode(key),
            secret: hex::encode(secret),
        })
    }

    /// As a file would say it.
    pub(super) fn entries(&self) -> Vec<Override> {
        let entries = [
            ("id", &self.id),
            ("key", &self.key),
            ("secret", &self.secret),
        ];
        let entries = entries.map(|(key, text)| Override {
            path: vec![key.to_owned()],
            value: text.as_str().into(),
        });
        entries.into()
    }
}

impl fmt::Debug for GeneratedApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedApp")
            .field("id", &self.id)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike_and_debugging_shows_no_secret() {
        let (one, two) = (
            GeneratedApp::random().unwrap(),
            GeneratedApp::random().unwrap(),
        );
        assert_ne!(one.key, two.key);
        assert_ne!(one.secret, two.secret);
        assert_eq!((one.id.len(), one.key.len(), one.secret.len()), (6, 20, 40));
        assert!(one.id.bytes().all(|byte| byte.is_ascii_digit()));
        assert!(!format!("{one:?}").contains(&one.secret));
    }
}
