//! `Tree`: all that was said about the configuration, before anyone asks what it means. Every value knows where it
//! came from, and a later layer replaces what an earlier one said of the same key.
//!
//! Knows TOML's shapes, but no key by name.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{Origin, Problem, Step};

/// A value and its origin.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where the value was given. None for what only groups values.
    pub(super) origin: Option<Origin>,
    /// The value.
    pub(super) value: Value,
}

/// What can be said of a key.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `true` or `false` in the file.
    Bool(bool),
    /// A whole number in the file.
    Integer(i64),
    /// A number with a fraction in the file.
    Float(f64),
    /// A text in the file.
    Text(String),
    /// A text from the environment or a flag, which have no types: it is read as whatever its key takes.
    Plain(String),
    /// A date in the file: no setting is one.
    Date,
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(BTreeMap<String, Node>),
}

/// The top of everything.
#[derive(Debug, Clone)]
pub(super) struct Tree(pub(super) Node);

impl Tree {
    /// Nothing said.
    pub(super) fn new() -> Self {
        Self(Node::table())
    }

    /// What a TOML text says. `file` is its name in messages.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Source {
            file,
            line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        };
        match DeTable::parse(text) {
            Ok(table) => Ok(Self(source.table(table.get_ref()))),
            Err(error) => {
                // The parser's own rendering quotes the line, which may hold a secret: take the message only.
                let message: Vec<&str> = error.message().lines().collect();
                let span = error.span().unwrap_or_default();
                let mut message = message.join(", ");
                // Of a key nothing is secret.
                if message == DUPLICATE
                    && let Some(key) = text.get(span.clone())
                {
                    message = duplicate(key);
                }
                let origin = source.origin(span.start);
                let text = format!("this is not TOML: {message}");
                Err(Problem::of(origin, text))
            }
        }
    }

    /// Says what a variable or a flag says, in place of what was said before. Tables that the path needs and that
    /// nobody opened yet come into being; what is in the way of one is replaced, its reader has been told already.
    pub(super) fn set(&mut self, path: &[String], origin: &Origin, text: &str) {
        let mut node = &mut self.0;
        for key in path {
            if !matches!(node.value, Value::Table(_)) {
                node.value = Value::Table(BTreeMap::new());
            }
            let Value::Table(table) = &mut node.value else {
                return;
            };
            node = table.entry(key.clone()).or_insert_with(|| Node {
                origin: Some(origin.clone()),
                ..Node::table()
            });
        }
        *node = Node {
            origin: Some(origin.clone()),
            value: Value::Plain(text.to_owned()),
        };
    }

    /// Adds a table to the list `key`, as if it stood at the end of the file.
    pub(super) fn push(&mut self, key: &str, table_entries: &[(String, Node)]) {
        let Value::Table(table) = &mut self.0.value else {
            return;
        };
        let list = table.entry(key.to_owned()).or_insert_with(|| Node {
            origin: None,
            value: Value::List(Vec::new()),
        });
        if let Value::List(list) = &mut list.value {
            list.push(Node {
                origin: table_entries
                    .first()
                    .and_then(|(_, node)| node.origin.clone()),
                value: Value::Table(table_entries.iter().cloned().collect()),
            });
        }
    }

    /// Where the value at a path came from; none if it is a default.
    pub(super) fn origin(&self, path: &[Step]) -> Option<&Origin> {
        self.node(path)?.origin.as_ref()
    }

    /// What is said below a path.
    pub(super) fn at(&self, path: &[Step]) -> Option<Self> {
        self.node(path).cloned().map(Self)
    }

    /// Whether the table at a path has any key.
    pub(super) fn has_keys(&self, path: &[Step]) -> bool {
        let value = self.node(path).map(|node| &node.value);
        matches!(value, Some(Value::Table(table)) if !table.is_empty())
    }

    fn node(&self, path: &[Step]) -> Option<&Node> {
        let mut node = &self.0;
        for step in path {
            node = match (&node.value, step) {
                (Value::Table(table), Step::Key(key)) => table.get(key)?,
                (Value::List(list), Step::Index(index)) => list.get(*index)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// Takes the value at a path away, so that reading can go on past it. Says whether there was one.
    pub(super) fn remove(&mut self, path: &[Step]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let mut node = &mut self.0;
        for step in parents {
            let next = match (&mut node.value, step) {
                (Value::Table(table), Step::Key(key)) => table.get_mut(key),
                (Value::List(list), Step::Index(index)) => list.get_mut(*index),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return false,
            }
        }
        match (&mut node.value, last) {
            (Value::Table(table), Step::Key(key)) => table.remove(key).is_some(),
            (Value::List(list), Step::Index(index)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        }
    }
}

impl Node {
    fn table() -> Self {
        Self {
            origin: None,
            value: Value::Table(BTreeMap::new()),
        }
    }
}

/// What the parser says of a key that stands twice in its table.
const DUPLICATE: &str = "duplicate key";

fn duplicate(key: &str) -> String {
    let key = key.trim_matches(['"', '\'']);
    match key {
        "apps" => format!("{DUPLICATE} \"{key}\": begin each app with [[apps]], in two brackets"),
        _ => format!("{DUPLICATE} \"{key}\", which is given above already"),
    }
}

/// A text being turned into a tree.
struct Source<'a> {
    file: &'a str,
    /// Ascending.
    line_ends: Vec<usize>,
}

impl Source<'_> {
    fn origin(&self, at: usize) -> Origin {
        Origin::File {
            file: self.file.to_owned(),
            line: 1 + self.line_ends.partition_point(|&end| end < at),
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Node {
        let entries = table
            .iter()
            .map(|(key, value)| self.entry(key, value))
            .collect();
        Node {
            origin: None,
            value: Value::Table(entries),
        }
    }

    /// An entry stands where its key stands.
    fn entry(&self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> (String, Node) {
        let node = Node {
            origin: Some(self.origin(key.span().start)),
            value: self.value(value.get_ref()),
        };
        (key.get_ref().to_string(), node)
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::Boolean(value) => Value::Bool(*value),
            // A number beyond 64 bits becomes one that no setting takes either.
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Float(float(number.as_str())), Value::Integer),
            DeValue::Float(number) => Value::Float(float(number.as_str())),
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(list) => Value::List(
                list.iter()
                    .map(|element| Node {
                        origin: Some(self.origin(element.span().start)),
                        value: self.value(element.get_ref()),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => self.table(table).value,
        }
    }
}

fn float(text: &str) -> f64 {
    text.parse().unwrap_or(f64::INFINITY)
}
