//! What operators change, and why it may be refused.

use rand::distr::{Alphanumeric, SampleString as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::table::Error;
use crate::config::{Entries, InvalidField};

/// Characters of a made key and a made secret.
const MADE_LENGTH: usize = 20;

/// The least made id, and how many there are.
const MADE_IDS: u64 = 1_000_000_000;

/// A change of an app that an operator asks for.
pub enum Change {
    /// Some keys become others: a JSON merge patch (RFC 7396).
    Patch(Entries),
    /// Another secret is added at the end.
    AddSecret(String),
    /// The secret at this place in the order of verification goes.
    RemoveSecret(usize),
}

/// Why a change is refused.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No such app.
    #[error("there is no app {0:?}")]
    NoApp(String),
    /// The app stands in the file, there is no table, or the table has no place for it.
    #[error("{0}")]
    ReadOnly(String),
    /// The id or the key is taken.
    #[error("{0} is taken by another app")]
    Taken(&'static str),
    /// It is not what the operator saw.
    #[error("the app has changed meanwhile: read it again")]
    Changed,
    /// The last secret stays.
    #[error("an app keeps its last secret: add another one first")]
    LastSecret,
    /// There is no such secret.
    #[error("the app has no secret number {0}: they count from 0")]
    NoSecret(usize),
    /// The change is no app.
    #[error("{}", texts(.0))]
    Invalid(Vec<InvalidField>),
    /// The database refuses.
    #[error("the table cannot be written: {0}")]
    Store(#[from] Error),
}

/// All that is wrong, one a line.
pub(super) fn texts(problems: &[InvalidField]) -> String {
    let texts = problems.iter().map(|problem| problem.text.as_str());
    texts.collect::<Vec<_>>().join("\n")
}

impl Change {
    pub(super) fn apply(self, said: &mut Entries) -> Result<(), WriteError> {
        match self {
            Self::Patch(patch) => merge(said, patch),
            Self::AddSecret(secret) => match said.get_mut("secrets") {
                Some(Value::Array(further)) => further.push(secret.into()),
                _ => drop(said.insert("secrets".to_owned(), json!([secret]))),
            },
            Self::RemoveSecret(number) => remove_secret(said, number)?,
        }
        Ok(())
    }
}

/// Takes one away; numbers are those of the order of verification.
fn remove_secret(said: &mut Entries, number: usize) -> Result<(), WriteError> {
    let first = ["secret", "secret_file"].into_iter();
    let first: Vec<&str> = first.filter(|name| said.contains_key(*name)).collect();
    let mut further = match said.remove("secrets") {
        Some(Value::Array(further)) => further,
        _ => Vec::new(),
    };
    if number >= first.len() + further.len() {
        return Err(WriteError::NoSecret(number));
    }
    if first.len() + further.len() == 1 {
        return Err(WriteError::LastSecret);
    }
    match first.get(number) {
        Some(name) => drop(said.remove(*name)),
        None => drop(further.remove(number - first.len())),
    }
    if !first.iter().any(|name| said.contains_key(*name)) {
        // It stands in the column that Soketi reads.
        said.insert("secret".to_owned(), further.remove(0));
    }
    if !further.is_empty() {
        said.insert("secrets".to_owned(), further.into());
    }
    Ok(())
}

/// RFC 7396.
fn merge(target: &mut Entries, patch: Entries) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.remove(&key)),
            Value::Object(inner) => {
                let entry = target.entry(key).or_insert_with(|| json!({}));
                if !entry.is_object() {
                    *entry = json!({});
                }
                if let Value::Object(entry) = entry {
                    merge(entry, inner);
                }
            }
            value => drop(target.insert(key, value)),
        }
    }
}

/// What is left out of id, key and secret is made. Returns the id.
pub(super) fn complete(said: &mut Entries) -> String {
    let id = match said.get("id") {
        None | Some(Value::Null) => (MADE_IDS + rand::random::<u64>() % MADE_IDS).to_string(),
        Some(Value::String(id)) => id.clone(),
        Some(other) => other.to_string(),
    };
    said.insert("id".to_owned(), id.clone().into());
    if !said.contains_key("key") {
        said.insert("key".to_owned(), made_text().into());
    }
    if !["secret", "secrets", "secret_file"]
        .iter()
        .any(|name| said.contains_key(*name))
    {
        said.insert("secret".to_owned(), made_text().into());
    }
    id
}

/// What a change names to be sure of what it changes.
pub(super) fn tag_of(json: &str) -> String {
    hex::encode(&Sha256::digest(json)[..8])
}

pub(super) fn check_tag(json: &str, tag: Option<&str>) -> Result<(), WriteError> {
    match tag {
        Some(tag) if tag != tag_of(json) => Err(WriteError::Changed),
        _ => Ok(()),
    }
}

/// A key or a secret that nobody can guess.
pub fn made_text() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), MADE_LENGTH)
}
