//! Apps that stand in a table: a row as the file would say it, checked as the file is, and what becomes of a change.
//!
//! A row is JSON, column by column. Soketi's columns are understood by the form of their values (`soketi`); what they
//! have no place for stands in the column `tidewire`, in the words of the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::config::{Map, Value as ConfigValue, ValueKind};
use serde_json::{Map as JsonMap, Value};

use super::error::{Problem, keys};
use super::files::Files;
use super::raw::{self, Raw};
use super::read::read;
use super::secrets::SecretReader;
use super::soketi::columns::{self, COLUMNS};
use super::tree::Tree;
use super::values::Name;
use super::wrong::within;
use super::{Server, apps};
use crate::app::App;

/// Keys and values: a row by its columns, or an app in the words of the file.
pub type Entries = JsonMap<String, Value>;

/// The column for what Soketi's have no place for.
pub const OWN_COLUMN: &str = "tidewire";

/// The known columns that a table has.
pub type Columns = BTreeMap<String, Width>;

/// Which numbers a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// From -128 to 127.
    Tiny,
    /// All that occur.
    Any,
}

/// What is wrong with one key of an app, for whoever said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// The key with the tables that it is in, as `limits.event_bytes`; empty: the app as a whole.
    pub field: String,
    /// What is wrong.
    pub text: String,
}

impl InvalidField {
    /// Says what is wrong with a key.
    #[must_use]
    pub fn new(field: &str, text: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            text: text.into(),
        }
    }
}

/// The apps of the file and of the environment, for who shows them.
#[derive(Debug, Clone)]
pub struct FileApps {
    pub(super) raw: Arc<Raw>,
    /// Where people change them.
    pub place: String,
}

impl FileApps {
    pub(super) fn new(raw: Arc<Raw>, file: Option<&Path>) -> Self {
        Self {
            raw,
            place: match file {
                Some(file) => file.display().to_string(),
                None => "the environment".to_owned(),
            },
        }
    }

    /// What holds for one of them, every key with its value or default and each secret masked.
    #[must_use]
    pub fn shown(&self, id: &str) -> Option<Entries> {
        let is_it = |app: &&raw::App| app.id.as_ref().is_some_and(|Name(name)| name == id);
        self.raw.apps.iter().find(is_it).map(shown_app)
    }
}

/// Reads apps that do not stand in the file.
#[derive(Debug, Clone)]
pub struct AppReader {
    server: Server,
    folder: PathBuf,
}

impl AppReader {
    /// For apps of this server; relative paths begin at `folder`.
    #[must_use]
    pub fn new(server: Server, folder: PathBuf) -> Self {
        Self { server, folder }
    }

    /// Checks what is said of an app, in the words of the file. No text holds a secret. Variables of the environment are
    /// not in reach: whoever may write a row need not know them.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn app(&self, said: &Entries) -> Result<App, Vec<InvalidField>> {
        let tree = tree(said);
        let raw: Raw = read(&tree).map_err(invalid)?;
        let mut secrets = SecretReader {
            environment: None,
            folder: &self.folder,
            files: &mut Files::default(),
        };
        let app = raw.apps.into_iter().next().unwrap_or_default();
        let built = apps::built(&app, &self.server, &mut secrets);
        built.map_err(|wrong| invalid(within("apps.0")(wrong).problems(&tree)))
    }
}

/// What holds for an app, every key with its value or default and each secret masked.
#[must_use]
pub fn shown(said: &Entries) -> Entries {
    let raw: Option<Raw> = read(&tree(said)).ok();
    // What cannot be read has been refused before.
    let app = raw.and_then(|raw| raw.apps.into_iter().next());
    app.as_ref().map(shown_app).unwrap_or_default()
}

fn shown_app(app: &raw::App) -> Entries {
    match serde_json::to_value(app) {
        Ok(Value::Object(shown)) => shown,
        _ => Entries::new(),
    }
}

/// The names of Soketi's columns.
pub fn app_columns() -> impl Iterator<Item = &'static str> {
    COLUMNS.iter().flat_map(columns::Column::names)
}

/// A row as the file would say it. Where a column and `tidewire` say the same, the column wins.
///
/// # Errors
/// Which column is wrong, and what was expected.
pub fn said(row: &Entries) -> Result<Entries, InvalidField> {
    let mut said = own(row)?;
    for column in COLUMNS {
        let ours = column.ours(column.value(row));
        if let Some(value) = ours.map_err(|text| InvalidField::new(column.name, text))?
            && !column.says_less_than(said.get(column.key), &value)
        {
            set(&mut said, column.key, value);
        }
    }
    Ok(said)
}

/// What the column `tidewire` says.
fn own(row: &Entries) -> Result<Entries, InvalidField> {
    match row.get(OWN_COLUMN) {
        None | Some(Value::Null) => Ok(Entries::new()),
        Some(own) => match columns::json(own) {
            Some(Value::Object(own)) => Ok(own),
            _ => {
                let text = "expected a JSON object, in the words of [[apps]]";
                Err(InvalidField::new(OWN_COLUMN, text))
            }
        },
    }
}

/// What Soketi's webhooks of a row say that has no effect here, if there is anything.
#[must_use]
pub fn left_out(row: &Entries) -> Option<String> {
    row.get("webhooks").and_then(columns::webhooks_left_out)
}

/// What to write so that a row says what is `said`: the columns that are to become others than they were `before`
/// (none: all of a new row), and the key that the table has no column for, if there is one.
#[must_use]
pub fn row(
    mut said: Entries,
    before: Option<&Entries>,
    has: &Columns,
) -> (Entries, Option<String>) {
    let mut row = Entries::new();
    for column in COLUMNS {
        let Some((name, width)) = column.names().find_map(|name| has.get_key_value(name)) else {
            continue;
        };
        let value = take(&mut said, column.key);
        let is_so = |row: &Entries| {
            column
                .ours(column.value(row))
                .is_ok_and(|ours| ours == value)
        };
        if !before.is_some_and(is_so) {
            row.insert(name.clone(), column.theirs(value, *width, &mut said));
        }
    }
    said.retain(|_, value| !value.as_object().is_some_and(JsonMap::is_empty));
    let was = before
        .and_then(|before| own(before).ok())
        .unwrap_or_default();
    if said == was {
        return (row, None);
    }
    if !has.contains_key(OWN_COLUMN) {
        return (row, said.keys().next().cloned());
    }
    let own = if said.is_empty() {
        Value::Null
    } else {
        said.into()
    };
    row.insert(OWN_COLUMN.to_owned(), own);
    (row, None)
}

/// Puts a value at a path of at most two keys.
pub(super) fn set(said: &mut Entries, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(said.insert(path.to_owned(), value)),
        Some((table, key)) => {
            let table = said.entry(table).or_insert_with(|| Entries::new().into());
            if let Value::Object(table) = table {
                table.insert(key.to_owned(), value);
            }
        }
    }
}

/// Takes the value at such a path away.
fn take(said: &mut Entries, path: &str) -> Option<Value> {
    match path.split_once('.') {
        None => said.remove(path),
        Some((table, key)) => said.get_mut(table)?.as_object_mut()?.remove(key),
    }
}

/// A configuration that has this app alone. Nothing in it stands anywhere.
fn tree(said: &Entries) -> Tree {
    let app = valued(&Value::Object(said.clone()));
    Tree(Map::from([("apps".to_owned(), vec![app])]).into())
}

/// JSON as what the layers are made of.
pub(super) fn valued(json: &Value) -> ConfigValue {
    match json {
        Value::Null => ValueKind::Nil.into(),
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or(f64::INFINITY).into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => list.iter().map(valued).collect::<Vec<_>>().into(),
        Value::Object(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(key, json)| (key.clone(), valued(json)));
            entries.collect::<Map<_, _>>().into()
        }
    }
}

fn invalid(problems: Vec<Problem>) -> Vec<InvalidField> {
    let invalid = |problem: Problem| {
        let path = keys(&problem.path);
        let field = path.get(1..).unwrap_or_default().join(".");
        InvalidField::new(&field, problem.to_string())
    };
    problems.into_iter().map(invalid).collect()
}
