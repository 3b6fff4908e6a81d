//! `ChannelName`: the text, its kind and its cache flag, decided once by the only constructors.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::named::{named, shown_as_text};
use super::user::UserId;

named! {
    /// What a channel's prefix makes of it. Whether it also caches is a separate flag ([`ChannelName::is_cache`]).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum ChannelKind {
        /// No prefix: anybody may subscribe.
        Public = "public",
        /// `private-`: needs a signature.
        Private = "private",
        /// `private-encrypted-`: as private; the payload is opaque and client events are refused.
        Encrypted = "encrypted",
        /// `presence-`: as private, and has members.
        Presence = "presence",
        /// `#server-to-user-{user id}`: only for the connections signed in as that user.
        ServerToUser = "server_to_user",
        /// Never on the wire: what tells a worker about the connections or the watchers of one user.
        Internal = "internal",
    }
}

impl ChannelKind {
    /// Those that applications know of.
    pub const LISTED: [Self; 4] = [Self::Public, Self::Private, Self::Encrypted, Self::Presence];

    /// What a client takes a channel for, whether its name is legal or not.
    pub fn of(text: &str) -> Self {
        classify(text).0
    }

    /// Whether a subscription must carry an `auth` signature.
    pub fn needs_auth(self) -> bool {
        matches!(self, Self::Private | Self::Encrypted | Self::Presence)
    }

    /// Whether clients may send `client-` events on it.
    pub fn allows_client_events(self) -> bool {
        matches!(self, Self::Private | Self::Presence)
    }

    /// Whether it is listed, counted and told about: channels that an application made, not plumbing of ours.
    pub fn is_listed(self) -> bool {
        Self::LISTED.contains(&self)
    }
}

/// A legal channel name. Cheap to clone; equal and hashed by its text.
#[derive(Clone)]
pub struct ChannelName {
    text: Arc<str>,
    kind: ChannelKind,
    cache: bool,
}

/// Why a text is not a channel name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannelName {
    /// Nothing there.
    #[error("the channel name is empty")]
    Empty,
    /// Over the app's limit.
    #[error("the channel name has {len} characters, allowed are {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The app's limit `channel_name_length`.
        max: usize,
    },
    /// A character outside the set.
    #[error(
        "the character {0:?} is not allowed: a channel name consists of A-Z a-z 0-9 _ - = @ , . ;"
    )]
    Character(char),
    /// `#` other than `#server-to-user-{user id}`.
    #[error("a leading # is reserved: only #server-to-user-{{user id}} is a channel")]
    Reserved,
}

const SERVER_TO_USER: &str = "#server-to-user-";

/// Whether channel names may contain the character (protocol: `A-Z a-z 0-9 _ - = @ , . ;`).
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '=' | '@' | ',' | '.' | ';')
}

impl ChannelName {
    /// Checks a name against the protocol's rules and the app's `max_len` in characters.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(text: &str, max_len: usize) -> Result<Self, InvalidChannelName> {
        if text.is_empty() {
            return Err(InvalidChannelName::Empty);
        }
        let name = match text.strip_prefix('#') {
            None => text,
            Some(_) => text
                .strip_prefix(SERVER_TO_USER)
                .filter(|id| !id.is_empty())
                .ok_or(InvalidChannelName::Reserved)?,
        };
        let (kind, cache) = classify(text);
        let is_legal = |c: char| match kind {
            // Ids are the application's: Node and PHP sign any (`auth0|abc`).
            ChannelKind::ServerToUser => !c.is_control(),
            _ => is_name_char(c),
        };
        if let Some(c) = name.chars().find(|&c| !is_legal(c)) {
            return Err(InvalidChannelName::Character(c));
        }
        let len = text.chars().count();
        if len > max_len {
            return Err(InvalidChannelName::TooLong { len, max: max_len });
        }
        Ok(Self {
            text: text.into(),
            kind,
            cache,
        })
    }

    /// The channel that carries server-to-user events for a user.
    pub fn server_to_user(user: &UserId) -> Self {
        Self::made(format!("{SERVER_TO_USER}{user}"), ChannelKind::ServerToUser)
    }

    /// Internal: reaches the connections signed in as a user.
    pub fn connections_of(user: &UserId) -> Self {
        Self::made(format!("#connections-{user}"), ChannelKind::Internal)
    }

    /// Internal: reaches the connections whose watchlist has a user.
    pub fn watchers_of(user: &UserId) -> Self {
        Self::made(format!("#watchers-{user}"), ChannelKind::Internal)
    }

    fn made(text: String, kind: ChannelKind) -> Self {
        Self {
            text: text.into(),
            kind,
            cache: false,
        }
    }

    /// The name as on the wire.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the prefix makes of it.
    pub fn kind(&self) -> ChannelKind {
        self.kind
    }

    /// Whether the last event is kept for later subscribers.
    pub fn is_cache(&self) -> bool {
        self.cache
    }

    /// The user of a `#server-to-user-` channel.
    pub fn server_to_user_id(&self) -> Option<&str> {
        match self.kind {
            ChannelKind::ServerToUser => self.text.strip_prefix(SERVER_TO_USER),
            _ => None,
        }
    }
}

/// Prefixes are tested at the start of the name only, most specific first.
fn classify(text: &str) -> (ChannelKind, bool) {
    const PREFIXES: [(&str, ChannelKind); 4] = [
        ("private-encrypted-", ChannelKind::Encrypted),
        ("private-", ChannelKind::Private),
        ("presence-", ChannelKind::Presence),
        (SERVER_TO_USER, ChannelKind::ServerToUser),
    ];
    let (kind, rest) = PREFIXES
        .iter()
        .find_map(|(prefix, kind)| text.strip_prefix(prefix).map(|rest| (*kind, rest)))
        .unwrap_or((ChannelKind::Public, text));
    (
        kind,
        kind != ChannelKind::ServerToUser && rest.starts_with("cache-"),
    )
}

impl PartialEq for ChannelName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ChannelName {}

impl Hash for ChannelName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.text
    }
}

shown_as_text!(ChannelName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_by_anchored_prefix() {
        use ChannelKind::{Encrypted, Presence, Private, Public, ServerToUser};
        for (text, kind, cache) in [
            ("invoice.7", Public, false),
            ("cache-x", Public, true),
            ("cache", Public, false),
            ("private-x", Private, false),
            ("private-", Private, false),
            ("privateer", Public, false),
            ("private-cache-x", Private, true),
            ("private-mycache-1", Private, false),
            ("private-foo-cache-bar", Private, false),
            ("private-encrypted-x", Encrypted, false),
            ("private-encrypted", Private, false),
            ("private-encrypted-cache-x", Encrypted, true),
            ("presence-x", Presence, false),
            ("presence-cache-x", Presence, true),
            ("x-private-y", Public, false),
            ("#server-to-user-7", ServerToUser, false),
            ("#server-to-user-cache-7", ServerToUser, false),
        ] {
            let name = ChannelName::parse(text, 200).unwrap();
            assert_eq!((name.kind(), name.is_cache()), (kind, cache), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_name() {
        use InvalidChannelName::{Character, Empty, Reserved, TooLong};
        for (text, error) in [
            ("", Empty),
            ("a b", Character(' ')),
            ("a/b", Character('/')),
            ("a#b", Character('#')),
            ("a\0b", Character('\0')),
            ("ü", Character('ü')),
            ("#", Reserved),
            ("#private-x", Reserved),
            ("#connections-7", Reserved),
            ("#server-to-user-", Reserved),
            ("#server-to-user-a\nb", Character('\n')),
            ("abcd", TooLong { len: 4, max: 3 }),
        ] {
            let max = if text == "abcd" { 3 } else { 200 };
            assert_eq!(
                ChannelName::parse(text, max).unwrap_err(),
                error,
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_an_error(text in "\\PC{0,40}") {
            if let Ok(name) = ChannelName::parse(&text, 20) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.chars().count() <= 20 && !text.is_empty());
                prop_assert!(name.kind() != ChannelKind::Internal);
                let is_users = name.kind() == ChannelKind::ServerToUser;
                prop_assert!(is_users || text.chars().all(is_name_char));
            }
        }

        #[test]
        fn legal_characters_make_a_name(text in "[A-Za-z0-9_=@,.;-]{1,200}") {
            let name = ChannelName::parse(&text, 200).unwrap();
            prop_assert_eq!(name.kind().needs_auth(), text.starts_with("private-") || text.starts_with("presence-"));
        }
    }
}
