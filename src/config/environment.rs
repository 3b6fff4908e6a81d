//! `Environment`: the variables, read once, and what those say whose names begin with `TIDEWIRE_`; `soketi` reads those
//! of `SOKETI_`. The others are looked at only where the configuration names one.
//!
//! Two underscores make a setting: `TIDEWIRE_SERVER__PORT` is `port` in `[server]`, mechanically, and a name that no
//! setting has stops the start. Three names together make an app. Other names without two underscores only give a
//! warning, because a cluster injects such ones for a service called "tidewire" (`TIDEWIRE_PORT=tcp://…`).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::error::{Fault, Origin, Problem, Step, variable};
use super::raw::Raw;
use super::read::read;
use super::tree::{Node, Tree, Value};
use super::{Log, LogFormat, soketi};

const PREFIX: &str = "TIDEWIRE_";
const CONFIG: &str = "TIDEWIRE_CONFIG";
pub(super) const LOG: &str = "TIDEWIRE_LOG";
const LOG_FORMAT: &str = "TIDEWIRE_LOG_FORMAT";
/// The keys of an app that the environment gives, behind `TIDEWIRE_APP_`.
pub(super) const APP_KEYS: [&str; 3] = ["id", "key", "secret"];

/// All variables. Printing it prints no value.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// This process's, as they are now.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }
}

impl<K: AsRef<OsStr>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().filter_map(|(name, value)| {
            let name = name.as_ref().to_str()?;
            Some((name.to_owned(), value.into()))
        });
        Self(variables.collect())
    }
}

/// One setting's text and where it came from.
pub(super) struct Override {
    pub(super) path: Vec<String>,
    pub(super) origin: Origin,
    pub(super) text: String,
}

/// What an [`Environment`] says.
pub(super) struct Said {
    /// `TIDEWIRE_CONFIG`.
    pub(super) file: Option<PathBuf>,
    /// Settings.
    pub(super) overrides: Vec<Override>,
    /// The entries of an app.
    pub(super) app: Option<Vec<(String, Node)>>,
    /// What is said of an app while none is given.
    pub(super) app_options: Vec<(String, Node)>,
    /// How to log.
    pub(super) log: Log,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// What was understood in another way than it was said.
    pub(super) notices: Vec<String>,
    /// What is odd.
    pub(super) warnings: Vec<String>,
}

impl Environment {
    /// One variable's value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// All variables whose names begin with something.
    pub(super) fn beginning_with<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a OsStr)> {
        let all = self.0.iter();
        all.filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
    }

    /// Sorts the variables out that set something.
    pub(super) fn said(&self) -> Said {
        let mut said = Said {
            file: self.0.get(CONFIG).map(PathBuf::from),
            overrides: Vec::new(),
            app: None,
            app_options: Vec::new(),
            log: Log::default(),
            problems: Vec::new(),
            notices: Vec::new(),
            warnings: Vec::new(),
        };
        let mut app = Vec::new();
        let mut strays = Vec::new();
        for (name, value) in self.beginning_with(PREFIX) {
            if name == CONFIG {
                continue;
            }
            let origin = Origin::Variable(name.to_owned());
            let Some(text) = value.to_str() else {
                let problem = Problem::of(origin, "expected UTF-8 text");
                said.problems.push(problem);
                continue;
            };
            let rest = &name[PREFIX.len()..];
            if let Some(key) = APP_KEYS.into_iter().find(|key| name == app_variable(key)) {
                let value = Value::Plain(text.to_owned());
                let origin = Some(origin);
                app.push((key.to_owned(), Node { origin, value }));
            } else if name == LOG || name == LOG_FORMAT {
                said.log_setting(name, text);
            } else if rest.contains("__") {
                said.setting(rest, origin, text);
            } else {
                strays.push(name);
            }
        }
        soketi::add(self, &mut said, &mut app);
        said.add_app(app);
        said.warn_of(&strays);
        said
    }
}

impl Said {
    fn setting(&mut self, rest: &str, origin: Origin, text: &str) {
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        if matches!(path[0].as_str(), "app" | "apps") {
            let names = APP_KEYS.map(app_variable).join(", ");
            let text = format!(
                "the environment adds one app, by {names}; others are [[apps]] of the file"
            );
            self.problems.push(Problem::of(origin, text));
            return;
        }
        let text = text.to_owned();
        self.overrides.push(Override { path, origin, text });
    }

    fn log_setting(&mut self, name: &str, text: &str) {
        let expected = if name == LOG {
            text.clone_into(&mut self.log.filter);
            EnvFilter::try_new(text).is_err().then_some(
                "a level (error, warn, info, debug, trace) or a filter like \"info,tidewire::ws=debug\"",
            )
        } else {
            match text {
                "human" => self.log.format = LogFormat::Human,
                "json" => self.log.format = LogFormat::Json,
                _ => {}
            }
            (!matches!(text, "human" | "json")).then_some("\"human\" or \"json\"")
        };
        if let Some(expected) = expected {
            let text = format!("expected {expected}, found the text {text:?}");
            let origin = Origin::Variable(name.to_owned());
            self.problems.push(Problem::of(origin, text));
        }
    }

    fn add_app(&mut self, entries: Vec<(String, Node)>) {
        let given = |key: &str| entries.iter().find(|(given, _)| given == key);
        let first = APP_KEYS.into_iter().find_map(given);
        let Some(origin) = first.and_then(|(_, node)| node.origin.clone()) else {
            self.app_options = entries;
            return;
        };
        let missing: Vec<&str> = APP_KEYS
            .into_iter()
            .filter(|key| given(key).is_none())
            .collect();
        if missing.is_empty() {
            self.app = Some(entries);
        } else {
            let named = match &origin {
                Origin::Variable(name) if name.starts_with(PREFIX) => app_variable,
                _ => soketi::app_variable,
            };
            let missing: Vec<String> = missing.into_iter().map(named).collect();
            let missing = missing.join(" and ");
            let text = format!("{missing} must be set too: the three together make an app");
            self.problems.push(Problem::of(origin, text));
        }
    }

    fn warn_of(&mut self, strays: &[&str]) {
        if strays.is_empty() {
            return;
        }
        let settings = settings_variables();
        let bare = |name: &str| name.replace('_', "");
        let strays: Vec<String> = strays
            .iter()
            .map(|stray| {
                let meant = settings.iter().find(|name| bare(name) == bare(stray));
                meant.map_or_else(
                    || (*stray).to_owned(),
                    |name| format!("{stray} (did you mean {name}?)"),
                )
            })
            .collect();
        self.warnings.push(format!(
            "no setting has these environment variables' names, they are ignored: {}",
            strays.join(", ")
        ));
    }
}

/// The variable of an app's key.
pub(super) fn app_variable(key: &str) -> String {
    format!("{PREFIX}APP_{}", key.to_ascii_uppercase())
}

/// The names of all settings of all sections.
fn settings_variables() -> Vec<String> {
    let sections = keys_under(&[]);
    let settings = sections.iter().flat_map(|section| {
        let keys = keys_under(&[section]).into_iter();
        keys.map(|key| variable([*section, key].into_iter()))
    });
    settings.collect()
}

/// The keys of a table: asking for one that cannot exist is answered with those that do.
fn keys_under(section: &[&str]) -> Vec<&'static str> {
    let path: Vec<String> = section
        .iter()
        .copied()
        .chain([""])
        .map(str::to_owned)
        .collect();
    let mut tree = Tree::new();
    tree.set(&path, &Origin::Variable(String::new()), "");
    let path: Vec<Step> = path.into_iter().map(Step::Key).collect();
    let problems = read::<Raw>(&tree).err().unwrap_or_default();
    problems
        .into_iter()
        .find_map(|problem| match problem.fault {
            Fault::UnknownKey(valid) if problem.path == path => Some(valid.to_vec()),
            _ => None,
        })
        .unwrap_or_default()
}
