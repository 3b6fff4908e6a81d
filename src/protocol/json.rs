//! Reading JSON so that an error says which key it is about, for the one who wrote it.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::excerpt;

/// Reads a JSON object. Derived readers of structs take an array too, in the order of the fields: not here.
///
/// # Errors
/// Says what was met instead, and under which key.
pub(crate) fn parse_object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    if !text.trim_start().starts_with('{') {
        return Err("it is not a JSON object".to_owned());
    }
    parse(text)
}

/// Reads any JSON.
///
/// # Errors
/// Says what was met instead, and under which key if it is an object.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let reason = reason(&error);
        match key_at(text, offset(text, &error)) {
            Some(key) => format!("{:?}: {reason}", excerpt(&key)),
            None => reason,
        }
    })
}

fn reason(error: &serde_json::Error) -> String {
    let reason = error.to_string();
    // What JavaScript makes of a text that was cut between the halves of an emoji.
    if reason.starts_with("unexpected end of hex escape") || reason.starts_with("lone leading") {
        return format!(
            "a text is cut inside a character: an escape is half of a pair and has lost the other half ({reason})"
        );
    }
    reason
}

/// How many bytes had been read.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let before = text.split_inclusive('\n').take(error.line().max(1) - 1);
    before.map(str::len).sum::<usize>() + error.column()
}

/// The key of an object in whose value a place is.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    // What is not even the JSON of an object has no keys to tell.
    KeyAt { text, offset }.deserialize(&mut reader).ok()?
}

struct KeyAt<'t> {
    text: &'t str,
    offset: usize,
}

impl<'de> DeserializeSeed<'de> for KeyAt<'de> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for KeyAt<'de> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            let begin = value.get().as_ptr().addr() - self.text.as_ptr().addr();
            // An error is told at the beginning of a list or an object, and at the end of anything else.
            if (begin..=begin + value.get().len()).contains(&self.offset) {
                found = Some(key);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Data {
        #[expect(dead_code, reason = "only its type counts")]
        channel: Option<String>,
        #[expect(dead_code, reason = "only its type counts")]
        list: Option<Vec<String>>,
        #[expect(dead_code, reason = "only that it must be there counts")]
        needed: Option<Needed>,
    }

    #[derive(Debug, Deserialize)]
    struct Needed {
        #[expect(dead_code, reason = "only that it must be there counts")]
        id: u32,
    }

    #[test]
    fn an_error_names_the_key() {
        for (text, expected) in [
            (r#"{"channel":7}"#, "\"channel\": invalid type: integer"),
            (
                r#"{"list":[],"channel": true }"#,
                "\"channel\": invalid type",
            ),
            (
                r#"{"channel":{"a":1},"x":1}"#,
                "\"channel\": invalid type: map",
            ),
            (r#"{"channel":[1],"x":1}"#, "\"channel\": invalid type: seq"),
            (r#"{"list":["a",7,"b"]}"#, "\"list\": invalid type: integer"),
            (
                "{\n\"é\":1,\n\"channel\":\n-1.5}",
                "\"channel\": invalid type",
            ),
            (r#"{"channel":"é","list":7}"#, "\"list\": invalid type"),
            (r#"{"needed":{}}"#, "\"needed\": missing field `id`"),
            (r#"{"needed":{"id":-1}}"#, "\"needed\": invalid value"),
            (r#"{"ch\u0061nnel":7}"#, "\"channel\": invalid type"),
            (
                r#"{"channel":"a\ud83d"}"#,
                "\"channel\": a text is cut inside a character",
            ),
            (
                r#"{"channel":"a\ud83d\u0041"}"#,
                "\"channel\": a text is cut inside a character",
            ),
            (
                r#"{"channel":"a","channel":"b"}"#,
                "duplicate field `channel`",
            ),
            (r#"{"channel":"a"#, "EOF while parsing"),
            (r#"{"channel":7} x"#, "\"channel\""),
            ("[]", "it is not a JSON object"),
        ] {
            let error = parse_object::<Data>(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        let error = parse_object::<Needed>(r#"{"x":1,"y":2}"#).unwrap_err();
        assert!(error.starts_with("missing field `id`"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_told_what_is_wrong(text in "\\{[\\[\\]{}:,\"a-z0-9\\\\\n é]{0,40}\\}?") {
            let _ = parse_object::<Data>(&text);
        }
    }
}
