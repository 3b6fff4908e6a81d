//! `Tree`: all that is said about the configuration before anyone asks what it means, in layers of the `config` crate.
//! Every value knows where it was given, and a later layer replaces what an earlier one says of the same key.
//!
//! Knows TOML's shapes, but no key by name.

use std::fmt;

use ::config::{Config, ConfigError, Map, Source, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Origin, Problem, Step};

/// The top of everything. Printing it prints no value, since some are secret.
#[derive(Clone)]
pub(super) struct Tree(pub(super) Value);

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tree")
    }
}

/// The value of one key, by its path.
#[derive(Debug, Clone)]
pub(super) struct Override {
    pub(super) path: Vec<String>,
    pub(super) value: Value,
}

impl Override {
    /// A text that a variable or a flag gives. These have no types: it is read as whatever its key takes.
    pub(super) fn new(path: Vec<String>, origin: &Origin, text: &str) -> Self {
        Self {
            path,
            value: Value::new(Some(&origin.to_string()), text),
        }
    }
}

impl Source for Override {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let below = self.path.iter().rev();
        let all = below.fold(self.value.clone(), |value, key| {
            Value::new(None, Map::from([(key.clone(), value)]))
        });
        Ok(Map::from([(ROOT.to_owned(), all)]))
    }
}

impl Source for Tree {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from([(ROOT.to_owned(), self.0.clone())]))
    }
}

/// What all layers are below, because the `config` crate takes the names at its top for paths.
const ROOT: &str = "all";

impl Tree {
    /// Nothing said.
    pub(super) fn new() -> Self {
        Self(Map::<String, Value>::new().into())
    }

    /// This below what others say, the last one on top.
    pub(super) fn below<L>(self, overrides: &[L]) -> Result<Self, Problem>
    where
        L: Source + Clone + Send + Sync + 'static,
    {
        let lowest = self.0.clone();
        let mut layers = Config::builder().add_source(self);
        for layer in overrides {
            layers = layers.add_source(layer.clone());
        }
        let layers = layers.build();
        let merged = layers.map_err(|error| Problem::whole(error.to_string()))?;
        let mut merged = match merged.cache.kind {
            ValueKind::Table(mut table) => table.remove(ROOT).unwrap_or_default(),
            _ => Value::default(),
        };
        keep_origins(&mut merged, &lowest);
        Ok(Self(merged))
    }

    /// What a TOML text says. `file` is its name in messages.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = Lines {
            file,
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        };
        match DeTable::parse(text) {
            Ok(table) => Ok(Self(Value::new(None, lines.table(table.get_ref())))),
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
                let origin = Origin::of(&lines.origin(span.start));
                let text = format!("this is not TOML: {message}");
                Err(Problem::of(origin, text))
            }
        }
    }

    /// Adds a table to the list `key`, as if it stood at the end of the file: the `config` crate replaces lists.
    pub(super) fn push(&mut self, key: &str, entries: Self) {
        if let ValueKind::Table(table) = &mut self.0.kind {
            let list = table.entry(key.to_owned());
            let list = list.or_insert_with(|| Vec::<Value>::new().into());
            if let ValueKind::Array(list) = &mut list.kind {
                list.push(entries.0);
            }
        }
    }

    /// Where the value at a path was given, or else the nearest table or list around it; none if all is left out.
    pub(super) fn origin(&self, path: &[Step]) -> Option<Origin> {
        let mut around = (1..=path.len()).rev();
        around.find_map(|length| origin(self.node(&path[..length])?))
    }

    /// What is said below a path.
    pub(super) fn at(&self, path: &[Step]) -> Option<Self> {
        self.node(path).cloned().map(Self)
    }

    /// The text at a path, as it was given.
    pub(super) fn text(&self, path: &[Step]) -> Option<&str> {
        match &self.node(path)?.kind {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the table at a path has any key.
    pub(super) fn has_keys(&self, path: &[Step]) -> bool {
        let kind = self.node(path).map(|node| &node.kind);
        matches!(kind, Some(ValueKind::Table(table)) if !table.is_empty())
    }

    /// The value at a path.
    pub(super) fn node(&self, path: &[Step]) -> Option<&Value> {
        path.iter()
            .try_fold(&self.0, |node, step| match (&node.kind, step) {
                (ValueKind::Table(table), Step::Key(key)) => table.get(key),
                (ValueKind::Array(list), Step::Index(index)) => list.get(*index),
                _ => None,
            })
    }

    /// Takes the value at a path away, so that reading can go on past it. Says whether there was one.
    pub(super) fn remove(&mut self, path: &[Step]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let parent =
            parents
                .iter()
                .try_fold(&mut self.0, |node, step| match (&mut node.kind, step) {
                    (ValueKind::Table(table), Step::Key(key)) => table.get_mut(key),
                    (ValueKind::Array(list), Step::Index(index)) => list.get_mut(*index),
                    _ => None,
                });
        match (parent.map(|node| &mut node.kind), last) {
            (Some(ValueKind::Table(table)), Step::Key(key)) => table.remove(key).is_some(),
            (Some(ValueKind::Array(list)), Step::Index(index)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        }
    }
}

/// Where a value was given. A table that only variables opened stands where its first key stands.
fn origin(value: &Value) -> Option<Origin> {
    if let Some(origin) = value.origin() {
        return Some(Origin::of(origin));
    }
    match &value.kind {
        ValueKind::Table(table) => table.values().filter_map(origin).min(),
        _ => None,
    }
}

/// Tells tables again where they begin, which is forgotten when something is merged into them.
fn keep_origins(merged: &mut Value, lowest: &Value) {
    let (ValueKind::Table(entries), ValueKind::Table(known)) = (&mut merged.kind, &lowest.kind)
    else {
        return;
    };
    for (key, value) in entries {
        if let Some(known) = known.get(key) {
            keep_origins(value, known);
        }
    }
    if let Some(origin) = lowest.origin() {
        let kind = std::mem::take(&mut merged.kind);
        *merged = Value::new(Some(&origin.to_owned()), kind);
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

/// Tells the line of a value in a text.
struct Lines<'a> {
    file: &'a str,
    /// Ascending.
    ends: Vec<usize>,
}

impl Lines<'_> {
    fn origin(&self, at: usize) -> String {
        let line = 1 + self.ends.partition_point(|&end| end < at);
        format!("{}:{line}", self.file)
    }

    /// An entry stands where its key stands.
    fn table(&self, table: &DeTable<'_>) -> ValueKind {
        let entries = table.iter().map(|(key, value)| {
            let value = self.value(key.span().start, value);
            (key.get_ref().to_string(), value)
        });
        ValueKind::Table(entries.collect())
    }

    fn value(&self, at: usize, value: &Spanned<DeValue<'_>>) -> Value {
        let float = |text: &str| ValueKind::Float(text.parse().unwrap_or(f64::INFINITY));
        let kind = match value.get_ref() {
            DeValue::Boolean(value) => ValueKind::Boolean(*value),
            // A number beyond 64 bits becomes one that no setting takes either.
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| float(number.as_str()), ValueKind::I64),
            DeValue::Float(number) => float(number.as_str()),
            DeValue::String(text) => ValueKind::String(text.to_string()),
            // No setting is one, and nothing else is nil.
            DeValue::Datetime(_) => ValueKind::Nil,
            DeValue::Array(list) => {
                let list = list.iter();
                ValueKind::Array(
                    list.map(|value| self.value(value.span().start, value))
                        .collect(),
                )
            }
            DeValue::Table(table) => self.table(table),
        };
        Value::new(Some(&self.origin(at)), kind)
    }
}
