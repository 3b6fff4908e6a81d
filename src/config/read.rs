//! Reading a `Tree` into the sections. Their own `Deserialize` says which keys exist and what each takes; this side adds
//! where an offending value stands, and goes on past it, so that one reading finds every problem.
//!
//! The reader of the `config` crate is not used: it takes 1.5 and `true` for whole numbers, and numbers for texts.

use std::iter::Enumerate;

use ::config::{Value, ValueKind};
use serde::Deserialize;
use serde::de::value::SeqDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer as _, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::error::{Fault, Origin, Problem, Step, header, keys, nearest};
use super::tree::Tree;
use super::values::A_SECRET;

/// Reads everything, or says all that is wrong.
pub(super) fn read<T: for<'de> Deserialize<'de>>(tree: &Tree) -> Result<T, Vec<Problem>> {
    match readable(&mut tree.clone()) {
        (Some(value), problems) if problems.is_empty() => Ok(value),
        (_, problems) => Err(problems),
    }
}

/// Reads what can be read. The value of each problem is taken out before the next attempt, so this ends.
pub(super) fn readable<T: for<'de> Deserialize<'de>>(tree: &mut Tree) -> (Option<T>, Vec<Problem>) {
    let mut problems = Vec::new();
    loop {
        let ReadError { fault, mut path } = match T::deserialize(Node(&tree.0)) {
            Ok(value) => return (Some(value), problems),
            Err(error) => error,
        };
        path.reverse();
        let problem = Problem {
            origin: tree.origin(&path),
            fault: with_hint(fault, &path),
            path,
        };
        let gone = tree.remove(&problem.path);
        // A table that lacks what was taken out of it is no further problem.
        let is_below = |earlier: &Problem| earlier.path.starts_with(&problem.path);
        if !problems.iter().any(is_below) {
            problems.push(problem);
        }
        if !gone {
            return (None, problems);
        }
    }
}

/// The lists of tables, of which a file may have one with too few brackets.
const TABLES: [&str; 5] = [
    "apps",
    "apps.channels",
    "apps.sources",
    "apps.sources.routes",
    "apps.webhooks",
];

fn with_hint(mut fault: Fault, path: &[Step]) -> Fault {
    let name = keys(path).join(".");
    let Fault::Text(text) = &mut fault else {
        return fault;
    };
    if let Some(found) = text.strip_prefix("expected a table, found ") {
        *text = format!("expected a table, {}, found {found}", header(path));
    } else if text == "expected a list, found a table" && TABLES.contains(&name.as_str()) {
        *text += &format!(": begin each with [[{name}]], in two brackets");
    }
    fault
}

/// What is wrong with a value, and where it stands: the last step first.
#[derive(Debug, thiserror::Error)]
#[error("{fault:?} at {path:?}")]
pub(super) struct ReadError {
    fault: Fault,
    path: Vec<Step>,
}

impl ReadError {
    fn new(fault: Fault) -> Self {
        let path = Vec::new();
        Self { fault, path }
    }

    fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }
}

impl de::Error for ReadError {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Self::new(Fault::Text(text.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let wanted = wanted(expected);
        if wanted == A_SECRET {
            return Self::custom("expected a text in quotes");
        }
        let found = match found {
            // It may be a token that lacks its brackets.
            Unexpected::Str(_) if wanted == LIST => {
                "a text: write it in brackets, [\"…\"]".to_owned()
            }
            found => described(found),
        };
        Self::custom(format!("expected {wanted}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, valid: &'static [&'static str]) -> Self {
        let expected = valid.join("\" or \"");
        let meant = nearest(found, valid);
        let meant = meant.map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"));
        Self::custom(format!(
            "expected \"{expected}\", found the text {found:?}{meant}"
        ))
    }

    fn missing_field(key: &'static str) -> Self {
        Self::custom(format!("{key} is missing"))
    }

    fn unknown_field(_: &str, valid: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownKey(valid))
    }
}

const LIST: &str = "a list";

/// Serde's words for its own types are a programmer's.
fn wanted(expected: &dyn de::Expected) -> String {
    match expected.to_string().as_str() {
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "a sequence" => LIST.to_owned(),
        other if other.starts_with("enum ") => "a text in quotes".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

fn described(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => format!("the text {text:?}"),
        Unexpected::Unit => "a date".to_owned(),
        Unexpected::Seq => LIST.to_owned(),
        Unexpected::Map => "a table".to_owned(),
        _ => "something else".to_owned(),
    }
}

/// A value that is read as it was said.
#[derive(Clone, Copy)]
struct Node<'de>(&'de Value);

impl<'de> Node<'de> {
    /// A text from the environment or a flag, which have no types: it is read as whatever its key takes.
    fn plain(self) -> Option<&'de str> {
        match (&self.0.kind, Origin::of(self.0.origin()?)) {
            (ValueKind::String(text), Origin::Variable(_) | Origin::Flag(_)) => Some(text),
            _ => None,
        }
    }
}

impl<'de> de::Deserializer<'de> for Node<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.0.kind {
            ValueKind::Boolean(value) => visitor.visit_bool(*value),
            ValueKind::I64(number) => visitor.visit_i64(*number),
            ValueKind::Float(number) => visitor.visit_f64(*number),
            ValueKind::String(text) => visitor.visit_str(text),
            ValueKind::Array(list) => visitor.visit_seq(Items(list.iter().enumerate())),
            ValueKind::Table(table) => {
                let mut entries: Vec<_> = table.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                visitor.visit_map(Entries {
                    left: entries.into_iter(),
                    begun: None,
                })
            }
            _ => Err(de::Error::invalid_type(Unexpected::Unit, &visitor)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.plain().and_then(|text| text.parse().ok()) {
            Some(value) => visitor.visit_bool(value),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.plain().and_then(|text| text.parse().ok()) {
            Some(number) => visitor.visit_i64(number),
            None => self.deserialize_any(visitor),
        }
    }

    /// The environment has no lists: there commas separate.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.plain() {
            Some(text) => {
                let parts = text.split(',').map(str::trim);
                visitor.visit_seq(SeqDeserializer::new(parts))
            }
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.0.kind {
            ValueKind::String(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map identifier ignored_any
    }

    /// Serde's own structs would take a list of their values too.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.0.kind {
            ValueKind::Array(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }
}

/// A table's entries.
struct Entries<'de> {
    left: std::vec::IntoIter<(&'de String, &'de Value)>,
    /// The one whose key has been read.
    begun: Option<(&'de String, &'de Value)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        self.begun = self.left.next();
        let Some((key, _)) = self.begun else {
            return Ok(None);
        };
        let read = seed.deserialize(key.as_str().into_deserializer());
        read.map(Some)
            .map_err(|error: ReadError| error.under(Step::Key(key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, value)) = self.begun.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let read = seed.deserialize(Node(value));
        read.map_err(|error| error.under(Step::Key(key.clone())))
    }
}

/// A list's elements.
struct Items<'de>(Enumerate<std::slice::Iter<'de, Value>>);

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let Some((index, value)) = self.0.next() else {
            return Ok(None);
        };
        let read = seed.deserialize(Node(value));
        read.map(Some)
            .map_err(|error| error.under(Step::Index(index)))
    }
}
