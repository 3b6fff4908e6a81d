//! What a watcher looks for. Entries that fit are made even if the sample of a flood has no room for them.

use serde::{Deserialize, Serialize};

use super::{Entry, Kind};
use crate::protocol::parse_object;

/// Bytes of a filter's JSON.
const JSON_BYTES: usize = 4096;

/// Characters of each of its texts.
const TEXT_CHARS: usize = 200;

/// What a watcher looks for: parts of texts, and kinds of entries. An empty field fits every entry; letter case does
/// not matter.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    channel: String,
    event: String,
    /// In anything that an entry says.
    text: String,
    kinds: Vec<Kind>,
}

/// Why a text is not a filter.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFilter {
    /// It is not even looked at.
    #[error("A filter has {0} bytes, the limit is {JSON_BYTES}: shorten it")]
    TooLarge(usize),
    /// It is not JSON, or not of this shape.
    #[error(
        "Expected a filter such as {{\"channel\":\"invoice.\",\"event\":\"\",\"text\":\"\",\"kinds\":[\"published\"]}}: {0}"
    )]
    Json(String),
    /// One of its texts.
    #[error("The filter's {0} has more than {TEXT_CHARS} characters: shorten it")]
    TooLong(&'static str),
}

impl Filter {
    /// Reads `{"channel":"invoice.","event":"","text":"","kinds":["published"]}`. None: it lets everything through.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &str) -> Result<Option<Self>, InvalidFilter> {
        if json.len() > JSON_BYTES {
            return Err(InvalidFilter::TooLarge(json.len()));
        }
        let mut filter: Self = parse_object(json).map_err(InvalidFilter::Json)?;
        for (name, text) in [
            ("channel", &mut filter.channel),
            ("event", &mut filter.event),
            ("text", &mut filter.text),
        ] {
            if text.chars().count() > TEXT_CHARS {
                return Err(InvalidFilter::TooLong(name));
            }
            *text = text.trim().to_lowercase();
        }
        Ok((filter != Self::default()).then_some(filter))
    }

    /// Whether an entry of this kind, made on this node, fits.
    pub(super) fn fits(&self, kind: Kind, entry: &Entry<'_>, node: &str) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && is_in(&self.channel, entry.channel)
            && is_in(&self.event, entry.event.as_deref())
            && (self.text.is_empty()
                || is_in(&self.text, Some(kind.name()))
                || is_in(&self.text, Some(node))
                || entry.says(|told| is_in(&self.text, Some(told))))
    }
}

fn is_in(part: &str, text: Option<&str>) -> bool {
    part.is_empty() || text.is_some_and(|text| text.to_lowercase().contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(json: &str) -> Filter {
        Filter::parse(json).unwrap().unwrap()
    }

    #[test]
    fn parts_of_texts_fit_whatever_their_case() {
        let entry = Entry {
            event: Some("payment.received".into()),
            data: Some(r#"{"who":"Ada"}"#),
            code: Some(4009),
            ..Entry::on("invoice.7")
        };
        for (json, fits) in [
            (r#"{"channel":" INVOICE. "}"#, true),
            (r#"{"channel":"invoice.8"}"#, false),
            (r#"{"event":"received"}"#, true),
            (r#"{"event":"invoice"}"#, false),
            (r#"{"text":"ada"}"#, true),
            (r#"{"text":"400"}"#, true),
            (r#"{"text":"web-1"}"#, true),
            (r#"{"text":"publ"}"#, true),
            (r#"{"text":"nowhere"}"#, false),
            (r#"{"kinds":["refused","published"]}"#, true),
            (r#"{"kinds":["refused"]}"#, false),
            (r#"{"channel":"invoice","event":"paid"}"#, false),
        ] {
            let filter = filter(json);
            let found = filter.fits(Kind::Published, &entry, "web-1:6001");
            assert_eq!(found, fits, "{json}");
        }
        let absent = filter(r#"{"channel":"x"}"#);
        assert!(!absent.fits(Kind::Connected, &Entry::default(), "n"));
    }

    #[test]
    fn what_lets_everything_through_is_no_filter() {
        for json in ["{}", r#"{"channel":"  ","event":"","text":"","kinds":[]}"#] {
            assert_eq!(Filter::parse(json).unwrap(), None, "{json}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_reason() {
        let long = format!(r#"{{"text":"{}"}}"#, "é".repeat(201));
        let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(4096));
        for (json, reason) in [
            ("nonsense", "Expected a filter"),
            ("[]", "Expected a filter"),
            (r#"{"kinds":["none"]}"#, "unknown variant `none`"),
            (r#"{"channels":""}"#, "unknown field"),
            (&long, "The filter's text has more than 200"),
            (&large, "4107 bytes, the limit is 4096"),
        ] {
            let error = Filter::parse(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
        let written = serde_json::to_string(&filter(r#"{"text":"A"}"#)).unwrap();
        assert_eq!(filter(&written), filter(r#"{"text":"a"}"#));
    }
}
