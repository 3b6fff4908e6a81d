//! `ChannelPattern`: the names that a rule or a token is for, as text like `user.{user_id}.invoices`.

use crate::protocol::shown_as_text;

use serde::{Deserialize, Serialize};

/// A pattern of channel names. `{name}` stands for one or more characters other than `.`, `*` for any characters, also
/// none; everything else for itself. The whole name must fit.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelPattern {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// What patterns are made of.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Part {
    Literal(Box<str>),
    /// `{name}`
    Placeholder(Box<str>),
    /// `*`
    Any,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Nothing there.
    #[error("the pattern is empty")]
    Empty,
    /// More than any name has.
    #[error("the pattern has more than {MAX_LEN} characters")]
    TooLong,
    /// A `{` that does not begin a placeholder, or a `}` that ends none.
    #[error("a placeholder is written {{name}}, with a name of letters, digits and _")]
    Placeholder,
    /// Two placeholders of the same name.
    #[error("the placeholder {{{0}}} stands there twice")]
    Twice(String),
    /// No channel name has it.
    #[error("the character {0:?} is in no channel name")]
    Character(char),
}

const MAX_LEN: usize = 1024;

impl TryFrom<String> for ChannelPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|problem| {
            format!(
                "expected a pattern like \"user.{{user_id}}.invoices\" or \"private-*\", found {text:?}: {problem}"
            )
        })
    }
}

impl From<ChannelPattern> for String {
    fn from(pattern: ChannelPattern) -> Self {
        pattern.text.into()
    }
}

impl ChannelPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(InvalidPattern::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let part;
            (part, rest) = match first {
                '*' => (Part::Any, &rest[1..]),
                '{' => placeholder(rest, &parts)?,
                _ => literal(rest)?,
            };
            if !(part == Part::Any && parts.last() == Some(&Part::Any)) {
                parts.push(part);
            }
        }
        Ok(Self {
            text: text.into(),
            parts: parts.into(),
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has a placeholder of this name.
    pub fn has_placeholder(&self, name: &str) -> bool {
        let is_it = |part: &Part| matches!(part, Part::Placeholder(known) if &**known == name);
        self.parts.iter().any(is_it)
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether a placeholder stands for one and the same in every name that fits, however the name is read.
    ///
    /// It does if it is the only wildcard between two dots, and if these dots can be counted from one end of the name,
    /// because no `*` is on that side: placeholders hold no dots.
    pub fn is_definite(&self, placeholder: &str) -> bool {
        let is_it = |part: &Part| matches!(part, Part::Placeholder(name) if **name == *placeholder);
        let Some(at) = self.parts.iter().position(is_it) else {
            return false;
        };
        let (before, behind) = (&self.parts[..at], &self.parts[at + 1..]);
        let is_bounded = |neighbour: Option<&Part>, others: usize| match neighbour {
            None => true,
            Some(Part::Literal(text)) => others == 1 || text.contains('.'),
            Some(Part::Any | Part::Placeholder(_)) => false,
        };
        is_bounded(before.last(), before.len())
            && is_bounded(behind.first(), behind.len())
            && !(before.contains(&Part::Any) && behind.contains(&Part::Any))
    }

    /// Whether a whole name fits.
    pub fn fits(&self, name: &str) -> bool {
        self.walk(name, |_, _| ())
    }

    /// The text that a placeholder matches in a name; each wildcard takes as few characters as it can, from the left.
    /// None if the name does not fit.
    pub fn value_of<'n>(&self, placeholder: &str, name: &'n str) -> Option<&'n str> {
        let mut found = None;
        let fits = self.walk(name, |part, value| {
            if matches!(part, Part::Placeholder(known) if &**known == placeholder) {
                found = Some(value);
            }
        });
        found.filter(|_| fits)
    }

    /// Calls `visit` with what each part stands for, if the name fits.
    fn walk<'n>(&self, name: &'n str, mut visit: impl FnMut(&Part, &'n str)) -> bool {
        let Some(rest) = self.beginning_of(name) else {
            return false;
        };
        let wild = &self.parts[self.literal_beginning()..];
        // `ends[i]` has a place for each position of the rest: whether the parts from `i` on fit what begins there.
        let width = rest.len() + 1;
        let mut fits = vec![false; (wild.len() + 1) * width];
        fits[wild.len() * width + rest.len()] = true;
        for (index, part) in wild.iter().enumerate().rev() {
            for at in (0..width).rev() {
                let next = |at: usize| fits[(index + 1) * width + at];
                let stays = |at: usize| fits[index * width + at];
                fits[index * width + at] = match part {
                    Part::Literal(text) => rest[at..].starts_with(&**text) && next(at + text.len()),
                    Part::Any => next(at) || (at < rest.len() && stays(at + 1)),
                    Part::Placeholder(_) => {
                        at < rest.len()
                            && rest.as_bytes()[at] != b'.'
                            && (next(at + 1) || stays(at + 1))
                    }
                };
            }
        }
        if !fits[0] {
            return false;
        }
        let mut at = 0;
        for (index, part) in wild.iter().enumerate() {
            let least = match part {
                Part::Literal(text) => text.len(),
                Part::Any => 0,
                Part::Placeholder(_) => 1,
            };
            let mut end = at + least;
            while !fits[(index + 1) * width + end] {
                end += 1;
            }
            visit(part, &rest[at..end]);
            at = end;
        }
        true
    }

    /// The name without the literal that the pattern begins with.
    fn beginning_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        // Names are ASCII; a user id that is not is no channel that a rule is for.
        if !name.is_ascii() {
            return None;
        }
        match self.parts.first() {
            Some(Part::Literal(text)) => name.strip_prefix(&**text),
            _ => Some(name),
        }
    }

    fn literal_beginning(&self) -> usize {
        usize::from(matches!(self.parts.first(), Some(Part::Literal(_))))
    }
}

fn placeholder<'t>(text: &'t str, before: &[Part]) -> Result<(Part, &'t str), InvalidPattern> {
    let inner = text.strip_prefix('{').unwrap_or(text);
    let (name, rest) = inner.split_once('}').ok_or(InvalidPattern::Placeholder)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(InvalidPattern::Placeholder);
    }
    let part = Part::Placeholder(name.into());
    if before.contains(&part) {
        return Err(InvalidPattern::Twice(name.to_owned()));
    }
    Ok((part, rest))
}

fn literal(text: &str) -> Result<(Part, &str), InvalidPattern> {
    let is_literal = |c: char| c.is_ascii_alphanumeric() || "_-=@,.;".contains(c);
    let end = text.find(|c: char| !is_literal(c)).unwrap_or(text.len());
    match text[end..].chars().next() {
        Some('}') => Err(InvalidPattern::Placeholder),
        Some(c) if c != '{' && c != '*' => Err(InvalidPattern::Character(c)),
        _ => Ok((Part::Literal(text[..end].into()), &text[end..])),
    }
}

shown_as_text!(ChannelPattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_or_do_not() {
        for (pattern, name, fits) in [
            ("admin", "admin", true),
            ("admin", "admins", false),
            ("invoice.{id}", "invoice.7", true),
            ("invoice.{id}", "invoice.", false),
            ("invoice.{id}", "invoice.7.lines", false),
            ("user.{user_id}.invoices", "user.7.invoices", true),
            ("user.{user_id}.invoices", "user.7.8.invoices", false),
            ("*", "", true),
            ("*", "a.b", true),
            ("a*", "a", true),
            ("private-*", "presence-a", false),
            ("*.{id}", "a.b.c", true),
            ("*.{id}", "a.b.", false),
            ("a*b*c", "abbc", true),
            ("ab*ba", "aba", false),
            ("*-chat", "a-chat", true),
            ("*-chat", "a-chats", false),
            ("a*b*c", "ac", false),
            ("**x**", "yxz", true),
            ("{a}-{b}", "1-2-3", true),
        ] {
            let read = ChannelPattern::parse(pattern).unwrap();
            assert_eq!(read.fits(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn placeholders_have_values() {
        let pattern = ChannelPattern::parse("user.{user_id}.{what}").unwrap();
        assert_eq!(pattern.value_of("user_id", "user.7.invoices"), Some("7"));
        assert_eq!(
            pattern.value_of("what", "user.7.invoices"),
            Some("invoices")
        );
        assert_eq!(pattern.value_of("id", "user.7.invoices"), None);
        assert_eq!(pattern.value_of("user_id", "user.7"), None);
    }

    #[test]
    fn a_placeholder_is_definite_or_not() {
        for (pattern, is_definite) in [
            ("user.{user_id}.invoices", true),
            ("{user_id}", true),
            ("user-{user_id}", true),
            ("user-{user_id}-{kind}", false),
            ("{user_id}-inbox", true),
            ("{kind}-{user_id}", false),
            ("{kind}.{user_id}", true),
            ("{kind}.u{user_id}x.{id}", true),
            ("{kind}x.u{user_id}", true),
            ("{user_id}*", false),
            ("*{user_id}", false),
            ("{user_id}{kind}", false),
            ("*.{user_id}", true),
            ("*-{user_id}", false),
            ("{user_id}.*", true),
            ("*.{user_id}.*", false),
            ("*.{kind}.{user_id}", true),
            ("{kind}", false),
        ] {
            let read = ChannelPattern::parse(pattern).unwrap();
            assert_eq!(read.is_definite("user_id"), is_definite, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, problem) in [
            ("", InvalidPattern::Empty),
            ("a{", InvalidPattern::Placeholder),
            ("a}", InvalidPattern::Placeholder),
            ("{}", InvalidPattern::Placeholder),
            ("{a-b}", InvalidPattern::Placeholder),
            ("{a}.{a}", InvalidPattern::Twice("a".to_owned())),
            ("a b", InvalidPattern::Character(' ')),
        ] {
            assert_eq!(ChannelPattern::parse(text), Err(problem), "{text}");
        }
    }
}
