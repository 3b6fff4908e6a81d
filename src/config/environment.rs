//! `Environment`: the variables, read once; and `EnvInput`, what they say. `variables` reads those whose names begin with
//! `TIDEWIRE_`, `soketi` those of `SOKETI_`. The others are looked at only where the configuration names one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use super::Log;
use super::error::{Origin, Problem};
use super::tree::Override;

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
#[derive(Default)]
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

    /// All variables whose names begin with something.
    pub(super) fn beginning_with<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a OsStr)> {
        let all = self.0.iter();
        all.filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
    }
}

impl EnvInput {
    /// The value of a variable is wrong, or its name is.
    pub(super) fn refuse(&mut self, name: &str, text: impl Into<String>) {
        let origin = Origin::Variable(name.to_owned());
        self.problems.push(Problem::of(origin, text));
    }
}

/// The variable of an app's key.
pub(super) fn app_variable(key: &str) -> String {
    format!("{PREFIX}APP_{}", key.to_ascii_uppercase())
}
