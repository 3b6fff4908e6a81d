//! `Environment`: the variables, read once, and what those say whose names begin with `TIDEWIRE_`; `soketi` reads those
//! of `SOKETI_`. The others are looked at only where the configuration names one.
//!
//! Two underscores make a setting: `TIDEWIRE_SERVER__PORT` is `port` in `[server]`, mechanically, and a name that no
//! setting has stops the start. Three names together make an app. What becomes of other names without two underscores is
//! in `strays`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use super::error::{Origin, Problem};
use super::filter::filter;
use super::tree::{Override, origin};
use super::{Log, LogFormat, soketi, strays};

pub(super) const PREFIX: &str = "TIDEWIRE_";
pub(super) const CONFIG: &str = "TIDEWIRE_CONFIG";
pub(super) const LOG: &str = "TIDEWIRE_LOG";
pub(super) const LOG_FORMAT: &str = "TIDEWIRE_LOG_FORMAT";
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

/// What an [`Environment`] says.
pub(super) struct EnvInput {
    /// `TIDEWIRE_CONFIG`.
    pub(super) file: Option<PathBuf>,
    /// Settings.
    pub(super) overrides: Vec<Override>,
    /// The keys of an app.
    pub(super) app: Option<Vec<Override>>,
    /// What is said of an app while none is given.
    pub(super) app_options: Vec<Override>,
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

    /// The same without those that make an app.
    pub(super) fn without_app(&self) -> Self {
        let of_app = |name: &str| {
            APP_KEYS
                .into_iter()
                .any(|key| name == app_variable(key) || name == soketi::app_variable(key))
        };
        let kept = self.0.iter().filter(|(name, _)| !of_app(name));
        kept.map(|(name, value)| (name, value.clone())).collect()
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
    pub(super) fn input(&self) -> EnvInput {
        // What ours say wins.
        let soketi = soketi::translated(self);
        let mut input = EnvInput {
            file: self.0.get(CONFIG).map(PathBuf::from),
            overrides: soketi.overrides,
            app: None,
            app_options: Vec::new(),
            log: Log::default(),
            problems: soketi.problems,
            notices: soketi.notices,
            warnings: soketi.warnings,
        };
        input.log.filter = soketi.log_filter.unwrap_or(input.log.filter);
        let mut app = soketi.app;
        let mut strays = Vec::new();
        for (name, value) in self.beginning_with(PREFIX) {
            if name == CONFIG {
                continue;
            }
            let origin = Origin::Variable(name.to_owned());
            let Some(text) = value.to_str() else {
                let problem = Problem::of(origin, "expected UTF-8 text");
                input.problems.push(problem);
                continue;
            };
            let rest = &name[PREFIX.len()..];
            if let Some(key) = APP_KEYS.into_iter().find(|key| name == app_variable(key)) {
                app.push(Override::new(vec![key.to_owned()], &origin, text));
            } else if name == LOG || name == LOG_FORMAT {
                input.log_setting(name, text);
            } else if rest.contains("__") {
                input.setting(rest, &origin, text);
            } else if !strays::is_injected(name, text) {
                strays.push(name.to_owned());
            }
        }
        input.add_app(app);
        input.strays(strays);
        input
    }
}

impl EnvInput {
    fn setting(&mut self, rest: &str, origin: &Origin, text: &str) {
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        if matches!(path[0].as_str(), "app" | "apps") {
            let names = APP_KEYS.map(app_variable).join(", ");
            let text = format!(
                "the environment adds one app, by {names}; others are [[apps]] of the file"
            );
            self.problems.push(Problem::of(origin.clone(), text));
            return;
        }
        self.overrides.push(Override::new(path, origin, text));
    }

    fn log_setting(&mut self, name: &str, text: &str) {
        let problem = if name == LOG {
            filter(text).map(|filter| self.log.filter = filter).err()
        } else {
            let format = match text {
                "human" => Some(LogFormat::Human),
                "json" => Some(LogFormat::Json),
                _ => None,
            };
            self.log.format = format.unwrap_or(self.log.format);
            let problem = || format!("expected \"human\" or \"json\", found the text {text:?}");
            format.is_none().then(problem)
        };
        if let Some(text) = problem {
            let origin = Origin::Variable(name.to_owned());
            self.problems.push(Problem::of(origin, text));
        }
    }

    fn add_app(&mut self, entries: Vec<Override>) {
        let given = |key: &str| entries.iter().find(|entry| entry.path == [key]);
        let first = APP_KEYS.into_iter().find_map(given);
        let Some(origin) = first.and_then(|entry| origin(&entry.value)) else {
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

    /// What no setting has: a mistake if a setting is near, else only odd.
    fn strays(&mut self, strays: Vec<String>) {
        let mut odd = Vec::new();
        for name in strays {
            match strays::meant(&name) {
                Some(meant) => {
                    let text = format!("no setting has this name; {meant}");
                    self.problems
                        .push(Problem::of(Origin::Variable(name), text));
                }
                None => odd.push(name),
            }
        }
        if !odd.is_empty() {
            self.warnings.push(format!(
                "no setting has these environment variables' names, they are ignored: {}",
                odd.join(", ")
            ));
        }
    }
}

/// The variable of an app's key.
pub(super) fn app_variable(key: &str) -> String {
    format!("{PREFIX}APP_{}", key.to_ascii_uppercase())
}
