//! Who somebody is: `UserId`, a presence `Member`, and the signed-in `User`.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::named::shown_as_text;
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
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The id as on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

shown_as_text!(UserId);

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
    /// The id of a signed-in user becomes part of a channel name.
    #[error("the id of a signed-in user contains the control character {0:?}")]
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
    user_info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UserData<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    user_info: Option<&'a RawValue>,
    watchlist: Option<Vec<&'a RawValue>>,
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
        let raw = data.user_id.ok_or_else(|| missing.clone())?;
        let text = id_text(raw).map_err(|reason| shape(format!("user_id {reason}")))?;
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
        let shape = |reason: String| InvalidUser::Shape {
            field: FIELD,
            expected: r#"{"id":"…","user_info":{…},"watchlist":["…"]}"#,
            reason,
        };
        let missing = InvalidUser::MissingId {
            field: FIELD,
            key: "id",
        };
        let data: UserData<'_> = parse_object(user_data).map_err(shape)?;
        let raw = data.id.ok_or_else(|| missing.clone())?;
        let text = id_text(raw).map_err(|reason| shape(format!("id {reason}")))?;
        let id = UserId::new(&text).ok_or(missing)?;
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(InvalidUser::IdCharacter(c));
        }
        let len = text.chars().count();
        if len > max_id_len {
            return Err(InvalidUser::IdTooLong {
                len,
                max: max_id_len,
            });
        }
        let (mut watchlist, mut watchlist_cut) = (Vec::new(), false);
        for raw in data.watchlist.iter().flatten() {
            let text =
                id_text(raw).map_err(|reason| shape(format!("each of watchlist {reason}")))?;
            let Some(watched) = UserId::new(&text).filter(|user| !watchlist.contains(user)) else {
                continue;
            };
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

    /// `user_data` as a client reads it back in `signin_success`: the very text, but with an id that is a number as a
    /// string, since pusher-js throws a sign-in with any other id away.
    pub fn read_back(user_data: &str) -> Cow<'_, str> {
        let data: Result<UserData<'_>, _> = parse_object(user_data);
        let raw = data.ok().and_then(|data| data.id).map(RawValue::get);
        let Some(number) = raw.filter(|raw| !raw.starts_with('"')) else {
            return Cow::Borrowed(user_data);
        };
        // It borrows from the text, so that is where it is.
        let at = number.as_ptr().addr() - user_data.as_ptr().addr();
        let (before, after) = (&user_data[..at], &user_data[at + number.len()..]);
        Cow::Owned(format!("{before}\"{number}\"{after}"))
    }
}

/// A user's id as an application may give it: a string, or a number, which is its text. Numbers keep their digits,
/// however many.
fn id_text(raw: &RawValue) -> Result<Cow<'_, str>, String> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => parse(text).map(Cow::Owned),
        Some(b'-' | b'0'..=b'9') => Ok(Cow::Borrowed(text)),
        _ => Err("must be a string or a number".to_owned()),
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
            r#"{"id":null}"#,
            r#"{"id":true}"#,
            r#"{"id":[7]}"#,
            r#"{"id":"a\u0000b"}"#,
            r#"{"id":"a\nb"}"#,
            r#"{"id":"7","user_info":1}"#,
            r#"{"id":"7","watchlist":[true]}"#,
            r#"{"id":"7","watchlist":8}"#,
            "x",
        ] {
            assert!(User::parse(bad, 184).is_err(), "{bad}");
        }
        assert!(User::parse(r#"{"id":"12345"}"#, 4).is_err());
        assert!(User::parse(r#"{"id":12345}"#, 4).is_err());
        let error = User::parse(r#"{"id":"7","watchlist":"8"}"#, 184).unwrap_err();
        assert!(error.to_string().contains("\"watchlist\": invalid type"));
    }

    #[test]
    fn ids_of_every_kind() {
        for (json, text) in [
            ("42", "42"),
            ("-1", "-1"),
            ("0", "0"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("\"42\"", "42"),
            ("\"auth0|abc\"", "auth0|abc"),
            ("\"urn:user:7+a@b c/d?e#f\"", "urn:user:7+a@b c/d?e#f"),
            ("\"\\u00fc\"", "ü"),
        ] {
            let user = format!(r#"{{"watchlist":[{json}],"id": {json} }}"#);
            let user = User::parse(&user, 184).unwrap();
            assert_eq!(user.member.id.as_str(), text);
            assert_eq!(user.watchlist[0].as_str(), text);
            let member = Member::parse(&format!(r#"{{"user_id":{json}}}"#), 1024).unwrap();
            assert_eq!(member.id.as_str(), text);
        }
        let user = User::parse(r#"{"id":7,"watchlist":[8,"8",9]}"#, 184).unwrap();
        assert_eq!(user.watchlist.len(), 2, "8 and \"8\" are one");
    }

    #[test]
    fn a_client_reads_its_id_back_as_a_string() {
        for (sent, read) in [
            (r#"{"id":"7", "x":1}"#, r#"{"id":"7", "x":1}"#),
            (r#"{ "id" : 42 ,"x":42}"#, r#"{ "id" : "42" ,"x":42}"#),
            (r#"{"x":"ü","id":-1}"#, r#"{"x":"ü","id":"-1"}"#),
            ("nonsense", "nonsense"),
            ("{}", "{}"),
        ] {
            assert_eq!(User::read_back(sent), read);
        }
    }
}
