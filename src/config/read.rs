//! Reading a `Tree` into the raw structs. The structs' own `Deserialize` says which keys exist and what each takes;
//! this side adds where an offending value stands, and goes on past it, so that one reading finds every problem.

use serde::Deserialize;
use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::{Fault, Origin, Problem, Step, keys};
use super::tree::{Node, Tree, Value};

/// Reads everything. Each problem's value is taken out of a copy before the next attempt, so this ends.
pub(super) fn read<T: for<'de> Deserialize<'de>>(tree: &Tree) -> Result<T, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut rest = tree.clone();
    loop {
        match T::deserialize(&rest.0) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(error) => {
                let problem = error.into_problem();
                let gone = rest.remove(&problem.path);
                problems.push(problem);
                if !gone {
                    return Err(problems);
                }
            }
        }
    }
}

/// A [`Problem`] on its way from the value up to the top.
#[derive(Debug)]
pub(super) struct ReadError {
    origin: Option<Origin>,
    /// From the value upwards.
    path: Vec<Step>,
    fault: Fault,
}

impl ReadError {
    fn text(text: String) -> Self {
        Self {
            origin: None,
            path: Vec::new(),
            fault: Fault::Text(text),
        }
    }

    /// The same problem, seen from the table or list around it.
    fn under(mut self, step: Step, node: &Node) -> Self {
        self.path.push(step);
        self.origin = self.origin.or_else(|| node.origin.clone());
        self
    }

    fn into_problem(mut self) -> Problem {
        self.path.reverse();
        if let Fault::Text(text) = &mut self.fault
            && *text == format!("expected {LIST}, found {A_TABLE}")
        {
            // Of which the file has one with too few brackets.
            let name = keys(&self.path).join(".");
            if TABLES.contains(&name.as_str()) {
                *text += &format!(": begin each with [[{name}]], in two brackets");
            }
        }
        Problem {
            origin: self.origin,
            path: self.path,
            fault: self.fault,
        }
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.fault)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Self::text(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let wanted = wanted(expected);
        let found = match found {
            // It may be a token that lacks its brackets.
            Unexpected::Str(_) if wanted == LIST => {
                "a text: write it in brackets, [\"…\"]".to_owned()
            }
            found => described(found),
        };
        Self::text(format!("expected {wanted}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, valid: &'static [&'static str]) -> Self {
        Self::text(format!(
            "expected {}, found the text {found:?}",
            one_of(valid)
        ))
    }

    fn unknown_field(_: &str, valid: &'static [&'static str]) -> Self {
        Self {
            fault: Fault::UnknownKey(valid),
            ..Self::text(String::new())
        }
    }
}

/// The texts that an enum has.
fn one_of(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    texts.join(" or ")
}

const LIST: &str = "a list";

const A_TABLE: &str = "a table";

/// The lists of tables.
const TABLES: [&str; 2] = ["apps", "apps.webhooks"];

/// Serde's words for its own types are a programmer's.
fn wanted(expected: &dyn de::Expected) -> String {
    match expected.to_string().as_str() {
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text in quotes".to_owned(),
        "a sequence" => LIST.to_owned(),
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
        Unexpected::Seq => LIST.to_owned(),
        Unexpected::Map => A_TABLE.to_owned(),
        Unexpected::Other(what) => what.to_owned(),
        _ => "something else".to_owned(),
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) | Value::Plain(text) => visitor.visit_str(text),
            Value::Date => Err(de::Error::invalid_type(
                Unexpected::Other("a date"),
                &visitor,
            )),
            Value::List(list) => visitor.visit_seq(Elements(list.iter().enumerate())),
            Value::Table(table) => visitor.visit_map(Entries {
                entries: table.iter(),
                value: None,
            }),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Plain(text) => match text.parse() {
                Ok(value) => visitor.visit_bool(value),
                Err(_) => visitor.visit_str(text),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Plain(text) => match text.parse() {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => visitor.visit_str(text),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    /// The environment has no lists: there commas separate.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Plain(text) => {
                let parts = text.split(',').map(str::trim);
                visitor.visit_seq(SeqDeserializer::new(parts))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        texts: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.value {
            Value::Text(text) | Value::Plain(text) => {
                visitor.visit_enum(text.as_str().into_deserializer())
            }
            // A text in the wrong place would say so; what else there is, is none.
            _ => Err(ReadError::text(format!("expected {}", one_of(texts)))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// The elements of a list.
struct Elements<'de>(std::iter::Enumerate<std::slice::Iter<'de, Node>>);

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let Some((index, node)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(node)
            .map(Some)
            .map_err(|error| error.under(Step::Index(index), node))
    }
}

/// The entries of a table.
struct Entries<'de> {
    entries: std::collections::btree_map::Iter<'de, String, Node>,
    /// The entry whose key was taken last.
    value: Option<(&'de str, &'de Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, node));
        let text: StrDeserializer<'_, ReadError> = key.as_str().into_deserializer();
        seed.deserialize(text)
            .map(Some)
            .map_err(|error| error.under(Step::Key(key.clone()), node))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let (key, node) = self
            .value
            .take()
            .ok_or_else(|| ReadError::text("a value was asked for before its key".to_owned()))?;
        seed.deserialize(node)
            .map_err(|error| error.under(Step::Key(key.to_owned()), node))
    }
}
