//! Who somebody is: `UserId`, a presence `Member`, and the signed-in `User`.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::channel::is_name_char;
use super::{parse, parse_object};

/// The longest user id on a presence channel, in characters (docs: presence channels).
pub const MAX_USER_ID_CHARS: usize = 128;

/// How many users one connection may watch (docs: watchlist events). Further ones are ignored with 4302.
pub const MAX_WATCHLIST: usize = 100;

/// An application's name for a user. On the wire always a string; a numeric id becomes its digits, so that `10` and
/// `"10"` are one user.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// An id as an HTTP path or an adapter names it: any non-empty text.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The id as on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// One user on a presence channel, however many connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: UserId,
    /// The text of a JSON object, byte for byte as the application signed it.
    pub info: Option<Arc<str>>,
}

/// What a signed-in connection said of itself: `{"id":"7","user_info":{…},"watchlist":["8"]}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who, and what they are on a presence channel joined without `channel_data`.
    pub member: Member,
    /// The users whose coming and going they want to hear of, without doubles, at most [`MAX_WATCHLIST`].
    pub watchlist: Vec<UserId>,
    /// Whether the watchlist was longer and has been cut.
    pub watchlist_cut: bool,
}

/// Why `channel_data` or `user_data` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUser {
    /// Not a JSON object of the expected shape.
    #[error("{field} is not a JSON object of the form {expected}: {reason}")]
    Shape {
        /// Which field.
        field: &'static str,
        /// An example.
        expected: &'static str,
        /// What the parser met.
        reason: String,
    },
    /// No id, or an empty one.
    #[error("{field} must contain a non-empty {key}")]
    MissingId {
        /// Which field.
        field: &'static str,
        /// Which key.
        key: &'static str,
    },
    /// The id is too long.
    #[error("the user id has {len} characters, allowed are {max}")]
    IdTooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The id of a signed-in user must fit into a channel name.
    #[error(
        "the character {0:?} is not allowed in the id of a signed-in user: it consists of A-Z a-z 0-9 _ - = @ , . ;"
    )]
    IdCharacter(char),
    /// `user_info` is there but no object. The text is the real service's.
    #[error(
        "user_info supplied to presence subscription is invalid - if supplied it must be a type of hash"
    )]
    InfoShape,
    /// The member object is over the app's `presence_member_bytes`.
    #[error("the presence member data has {len} bytes, allowed are {max}")]
    MemberTooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
}

#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UserData<'a> {
    id: Option<String>,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
    watchlist: Option<Vec<String>>,
}

impl Member {
    /// Reads `channel_data`: `{"user_id":"7","user_info":{"name":"Ada"}}`; `user_id` may be a number.
    ///
    /// # Errors
    /// Says what is missing or too large.
    pub fn parse(channel_data: &str, max_bytes: usize) -> Result<Self, InvalidUser> {
        const FIELD: &str = "channel_data";
        let shape = |reason: String| InvalidUser::Shape {
            field: FIELD,
            expected: r#"{"user_id":"…","user_info":{…}}"#,
            reason,
        };
        if channel_data.len() > max_bytes {
            return Err(InvalidUser::MemberTooLarge {
                len: channel_data.len(),
                max: max_bytes,
            });
        }
        let data: ChannelData<'_> = parse_object(channel_data).map_err(shape)?;
        let missing = InvalidUser::MissingId {
            field: FIELD,
            key: "user_id",
        };
        let raw = data.user_id.ok_or_else(|| missing.clone())?.get();
        let text = match raw.as_bytes().first() {
            Some(b'"') => {
                parse::<String>(raw).map_err(|reason| shape(format!("\"user_id\": {reason}")))?
            }
            Some(b'-' | b'0'..=b'9') => raw.to_owned(),
            _ => return Err(shape("user_id must be a string or a number".to_owned())),
        };
        let len = text.chars().count();
        if len > MAX_USER_ID_CHARS {
            return Err(InvalidUser::IdTooLong {
                len,
                max: MAX_USER_ID_CHARS,
            });
        }
        Ok(Self {
            id: UserId::new(&text).ok_or(missing)?,
            info: info(data.user_info)?,
        })
    }
}

impl User {
    /// Reads `user_data` of a sign-in. `max_id_len` is what `#server-to-user-` leaves of a channel name.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub fn parse(user_data: &str, max_id_len: usize) -> Result<Self, InvalidUser> {
        const FIELD: &str = "user_data";
        let data: UserData<'_> = parse_object(user_data).map_err(|reason| InvalidUser::Shape {
            field: FIELD,
            expected: r#"{"id":"…","user_info":{…},"watchlist":["…"]}"#,
            reason,
        })?;
        let id = data
            .id
            .as_deref()
            .and_then(UserId::new)
            .ok_or(InvalidUser::MissingId {
                field: FIELD,
                key: "id",
            })?;
        if let Some(c) = id.as_str().chars().find(|&c| !is_name_char(c)) {
            return Err(InvalidUser::IdCharacter(c));
        }
        if id.as_str().len() > max_id_len {
            return Err(InvalidUser::IdTooLong {
                len: id.as_str().len(),
                max: max_id_len,
            });
        }
        let mut watchlist: Vec<UserId> = Vec::new();
        let mut watchlist_cut = false;
        for watched in data
            .watchlist
            .iter()
            .flatten()
            .filter_map(|text| UserId::new(text))
        {
            if watchlist.contains(&watched) {
                continue;
            }
            if watchlist.len() == MAX_WATCHLIST {
                watchlist_cut = true;
                break;
            }
            watchlist.push(watched);
        }
        Ok(Self {
            member: Member {
                id,
                info: info(data.user_info)?,
            },
            watchlist,
            watchlist_cut,
        })
    }
}

fn info(raw: Option<&RawValue>) -> Result<Option<Arc<str>>, InvalidUser> {
    match raw.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some(object) if object.starts_with('{') => Ok(Some(object.into())),
        // PHP encodes an empty associative array as [].
        Some("[]") => Ok(Some("{}".into())),
        Some(_) => Err(InvalidUser::InfoShape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_and_string_ids_are_one_user() {
        let a = Member::parse(r#"{"user_id":10}"#, 1024).unwrap();
        let b = Member::parse(r#"{"user_id":"10","user_info":null}"#, 1024).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.id.as_str(), "10");
    }

    #[test]
    fn info_keeps_its_bytes() {
        let member =
            Member::parse(r#"{"user_info": {"name" : "A\u00e9"},"user_id":"x"}"#, 1024).unwrap();
        assert_eq!(member.info.as_deref(), Some(r#"{"name" : "A\u00e9"}"#));
    }

    #[test]
    fn refuses_bad_members() {
        let long = format!(r#"{{"user_id":"{}"}}"#, "x".repeat(129));
        for bad in [
            "",
            "[]",
            "7",
            "{}",
            r#"{"user_id":""}"#,
            r#"{"user_id":null}"#,
            r#"{"user_id":{}}"#,
            r#"{"user_id":true}"#,
            r#"{"user_id":"1","user_info":"x"}"#,
            r#"{"user_id":"1","user_info":[1]}"#,
            r#"{"user_id":"\ud800"}"#,
            &long,
        ] {
            assert!(Member::parse(bad, 1024).is_err(), "{bad}");
        }
        assert_eq!(
            Member::parse(r#"{"user_id":"1"}"#, 10),
            Err(InvalidUser::MemberTooLarge { len: 15, max: 10 })
        );
    }

    #[test]
    fn user_data() {
        let user = User::parse(r#"{"id":"7","watchlist":["8","8","9"],"other":1}"#, 184).unwrap();
        assert_eq!(user.member.id.as_str(), "7");
        assert_eq!(user.watchlist.len(), 2);
        let many: Vec<String> = (0..101).map(|i| i.to_string()).collect();
        let user = User::parse(&format!(r#"{{"id":"7","watchlist":{many:?}}}"#), 184).unwrap();
        assert!(user.watchlist_cut && user.watchlist.len() == MAX_WATCHLIST);
        for bad in [
            "{}",
            r#"{"id":""}"#,
            r#"{"id":7}"#,
            r#"{"id":"a b"}"#,
            r#"{"id":"7","user_info":1}"#,
            "x",
        ] {
            assert!(User::parse(bad, 184).is_err(), "{bad}");
        }
        assert!(User::parse(r#"{"id":"12345"}"#, 4).is_err());
        let error = User::parse(r#"{"id":"7","watchlist":"8"}"#, 184).unwrap_err();
        assert!(error.to_string().contains("\"watchlist\": invalid type"));
    }
}
