//! What is wrong with a configuration, said so that the reader can put it right: where, which key, what was expected.
//!
//! All problems of one reading are reported together. No text here ever holds a secret's value.

use std::fmt;
use std::path::PathBuf;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file named by `--config` or `TIDEWIRE_CONFIG` could not be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No file at any of the places where one is looked for, and no app from the environment.
    #[error(
        "no apps: there is no {}. Name a file with --config (or TIDEWIRE_CONFIG), or set TIDEWIRE_APP_ID, \
         TIDEWIRE_APP_KEY and TIDEWIRE_APP_SECRET",
        either(.0)
    )]
    NoFile(Vec<PathBuf>),
    /// The system has no thread to read with.
    #[error("the configuration cannot be read: the system gives no thread for it")]
    NoThread,
    /// What was read cannot be used.
    #[error("{}", lines(.0))]
    Problems(Vec<Problem>),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problems(vec![problem])
    }
}

fn either(places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    if places.is_empty() {
        "configuration file".to_owned()
    } else {
        places.join(" and no ")
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the file, counted from 1.
    File {
        /// The file, as it was named.
        file: String,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A command-line flag, with its dashes.
    Flag(String),
}

impl Origin {
    /// Reads what `Display` wrote: the `config` crate carries origins as texts.
    pub(super) fn of(text: &str) -> Self {
        let file = text
            .rsplit_once(':')
            .and_then(|(file, line)| Some((file.to_owned(), line.parse().ok()?)));
        match file {
            Some((file, line)) => Self::File { file, line },
            None if text.starts_with("--") => Self::Flag(text.to_owned()),
            None => Self::Variable(text.to_owned()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One step from the top of the configuration to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A key of a table.
    Key(String),
    /// An element of a list.
    Index(usize),
}

/// A path as `apps.0.id`, of names that have no dots.
pub(super) fn path(text: &str) -> Vec<Step> {
    let steps = text.split('.').filter(|step| !step.is_empty());
    steps
        .map(|step| match step.parse() {
            Ok(index) => Step::Index(index),
            Err(_) => Step::Key(step.to_owned()),
        })
        .collect()
}

/// One thing that is wrong.
#[derive(Debug)]
pub struct Problem {
    /// Where it stands; none if it stands nowhere, as what is missing.
    pub(super) origin: Option<Origin>,
    /// What it is about, from the top.
    pub(super) path: Vec<Step>,
    /// What is wrong.
    pub(super) fault: Fault,
}

/// The kinds of [`Problem`].
#[derive(Debug)]
pub(super) enum Fault {
    /// The last key of the path is not one of these.
    UnknownKey(&'static [&'static str]),
    /// The value of the last key, in words.
    Text(String),
    /// All that stands there, or nothing that has a key, in words.
    Whole(String),
}

impl Problem {
    /// A problem with the value at a path.
    pub(super) fn at(origin: Option<Origin>, path: &[Step], text: impl Into<String>) -> Self {
        Self {
            origin,
            path: path.to_vec(),
            fault: Fault::Text(text.into()),
        }
    }

    /// A problem with a variable, a flag or a place in the file as such.
    pub(super) fn of(origin: Origin, text: impl Into<String>) -> Self {
        Self {
            origin: Some(origin),
            ..Self::whole(text)
        }
    }

    /// A problem with no single key.
    pub(super) fn whole(text: impl Into<String>) -> Self {
        Self {
            origin: None,
            path: Vec::new(),
            fault: Fault::Whole(text.into()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        match &self.fault {
            Fault::UnknownKey(valid) => {
                let (key, parents) = last_key(&self.path);
                write!(f, "unknown key \"{key}\" {}", place(parents))?;
                match (nearest(key, valid), &self.origin) {
                    (Some(name), Some(Origin::Variable(variable))) => {
                        let name = respelled(variable, parents.len(), name);
                        write!(f, "; did you mean {name}?")?;
                    }
                    (Some(name), _) => write!(f, "; did you mean \"{name}\"?")?,
                    (None, _) => f.write_str(".")?,
                }
                write!(f, " Valid: {}", valid.join(", "))
            }
            Fault::Whole(text) => f.write_str(text),
            Fault::Text(text) => {
                let (key, parents) = last_key(&self.path);
                write!(f, "{key} {}: {text}", place(parents))
            }
        }
    }
}

/// The last named step and what is above it: an element of a list goes by the list's name.
fn last_key(path: &[Step]) -> (&str, &[Step]) {
    match path.split_last() {
        Some((Step::Key(key), parents)) => (key, parents),
        Some((Step::Index(_), parents)) => last_key(parents),
        None => ("", &[]),
    }
}

/// Where the keys of a table stand.
fn place(path: &[Step]) -> String {
    match path {
        [] => "at the top level".to_owned(),
        path => format!("in {}", header(path)),
    }
}

/// The table as the file spells its header.
pub(super) fn header(path: &[Step]) -> String {
    let keys = keys(path).join(".");
    match path.last() {
        Some(Step::Index(_)) => format!("[[{keys}]]"),
        _ => format!("[{keys}]"),
    }
}

/// The named steps.
pub(super) fn keys(path: &[Step]) -> Vec<&str> {
    path.iter()
        .filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
        .collect()
}

/// A variable with another name in place of one of its parts.
fn respelled(name: &str, part: usize, by: &str) -> String {
    let bare = name.strip_prefix("TIDEWIRE_").unwrap_or(name);
    let parts = bare.split("__").enumerate();
    variable(parts.map(|(index, text)| if index == part { by } else { text }))
}

/// The environment variable of a setting.
pub(super) fn variable<'a>(path: impl Iterator<Item = &'a str>) -> String {
    let keys: Vec<String> = path.map(str::to_ascii_uppercase).collect();
    format!("TIDEWIRE_{}", keys.join("__"))
}

/// The name a mistyped one most likely stands for.
pub(super) fn nearest(name: &str, valid: &[&'static str]) -> Option<&'static str> {
    const LIKE: f64 = 0.6;
    // Names as short as "url" have too few letters to be alike after one slip.
    let likeness = |candidate| match strsim::osa_distance(name, candidate) {
        0 | 1 => 1.0,
        _ => strsim::jaro(name, candidate),
    };
    valid
        .iter()
        .map(|candidate| (likeness(candidate), *candidate))
        .filter(|(likeness, _)| *likeness > LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
