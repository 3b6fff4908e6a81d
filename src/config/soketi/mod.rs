//! The environment names of Soketi, so that what runs its image goes on with ours: each that is understood is told once
//! with the name it has here, each that has no counterpart is named in a warning, and a value that cannot be is an error.
//! A name of ours wins over one of Soketi's; an empty value says nothing, as with Soketi.

mod app_manager;
pub(in crate::config) mod columns;
mod redis;
mod table;
mod value;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};

use ::config::{Value, ValueKind};

use super::Environment;
use super::environment::{APP_KEYS, EnvInput, LOG, app_variable as our_app_variable};
use super::error::{nearest, variable};
use super::strays::is_injected;
use super::tree::Override;
use table::{Group, Meaning, PREFIX, TABLE, row_of};
use value::{Form, expected, is_on, unquoted};

/// What is logged with `SOKETI_DEBUG`.
const DEBUG: &str = "info,tidewire=debug";

/// Within how many milliseconds Soketi wants a user to sign in.
const SIGN_IN: &str = "30000";

/// The variable of an app's key.
pub(super) fn app_variable(key: &str) -> String {
    format!("{PREFIX}DEFAULT_APP_{}", key.to_ascii_uppercase())
}

/// Translates what Soketi's names say, as far as none of ours says the same.
pub(super) fn translated(environment: &Environment) -> EnvInput {
    let mut reading = Reading {
        given: BTreeMap::new(),
        environment,
        out: EnvInput::default(),
    };
    for (name, value) in environment.beginning_with(PREFIX) {
        match value.to_str() {
            Some("") => {}
            // How Kubernetes tells of a service that is called soketi.
            Some(text) if is_injected(name, text) => {}
            Some(text) => drop(reading.given.insert(name.to_owned(), unquoted(text))),
            None => reading.out.refuse(name, "expected UTF-8 text"),
        }
    }
    reading.single_names();
    for (group, translate) in GROUPS {
        match translate(&mut reading) {
            Ok(because) => reading.idle(group, &because),
            Err((name, text)) => reading.out.refuse(name, text),
        }
    }
    reading.out
}

/// A name, and what is wrong with its value.
type Refused = (&'static str, String);

/// Takes the names of a group that it understands, and says why the others say nothing.
type Translate = fn(&mut Reading<'_>) -> Result<String, Refused>;

const GROUPS: [(Group, Translate); 4] = [
    (Group::SignIn, sign_in),
    (Group::Redis, redis::translate),
    (Group::AppManager, app_manager::translate),
    (Group::Webhooks, webhooks::translate),
];

/// What to tell about names for an app that nobody gives, if there are any.
pub(super) fn without_app(options: &[Override]) -> Option<String> {
    let names = options.iter().filter_map(|option| option.value.origin());
    let names: Vec<&str> = BTreeSet::from_iter(names).into_iter().collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} {} no effect: the environment has no app they could be of. For the apps of the file they are said there, \
             in [[apps]]",
            names.join(", "),
            if names.len() == 1 { "has" } else { "have" }
        )
    })
}

/// Soketi's names on the way to ours.
struct Reading<'a> {
    /// What is not understood yet.
    given: BTreeMap<String, String>,
    environment: &'a Environment,
    out: EnvInput,
}

fn sign_in(reading: &mut Reading<'_>) -> Result<String, Refused> {
    const SWITCH: &str = "SOKETI_DEFAULT_APP_USER_AUTHENTICATION";
    const TIMEOUT: &str = "SOKETI_USER_AUTHENTICATION_TIMEOUT";
    match reading.switch(SWITCH)? {
        Some(true) => {
            let given = reading.take(TIMEOUT);
            let name = if given.is_some() { TIMEOUT } else { SWITCH };
            let ours = Form::Milliseconds.ours(given.as_deref().unwrap_or(SIGN_IN));
            let ours = ours.map_err(|problem| (name, problem))?;
            reading.set_of_app(name, "authorize_within", ours.map(Into::into));
        }
        Some(false) => reading.notice(format!("{SWITCH}: whoever wants to may sign in here")),
        None => {}
    }
    Ok(format!("{SWITCH} is not true"))
}

impl Reading<'_> {
    /// What a name says. From now on it is understood.
    fn take(&mut self, name: &str) -> Option<String> {
        self.given.remove(name)
    }

    /// Whether a switch is on; none: nothing is said.
    fn switch(&mut self, name: &'static str) -> Result<Option<bool>, Refused> {
        let on = self.take(name).map(|text| is_on(&text)).transpose();
        on.map_err(|problem| (name, problem))
    }

    /// Goes through the names; those of groups are left.
    fn single_names(&mut self) {
        let mut without: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut strays = Vec::new();
        for (name, text) in std::mem::take(&mut self.given) {
            match row_of(&name).map(|row| row.meaning) {
                Some(Meaning::Part(_)) => drop(self.given.insert(name, text)),
                Some(meaning @ (Meaning::Setting(path, form) | Meaning::App(path, form))) => {
                    match (form.ours(&text), meaning) {
                        (Ok(ours), Meaning::Setting(..)) => self.set(&[&name], path, ours),
                        (Ok(ours), _) => self.set_of_app(&name, path, ours.map(Into::into)),
                        (Err(problem), _) => self.out.refuse(&name, problem),
                    }
                }
                Some(Meaning::Debug) => self.debug(&name, &text),
                Some(Meaning::None { fits, because }) if fits.contains(&text.as_str()) => {
                    self.notice(format!("{name}={text} is so anyway: {because}"));
                }
                Some(Meaning::None { because, .. }) => {
                    without.entry(because).or_default().push(name);
                }
                None => strays.push(meant(&name)),
            }
        }
        for (because, names) in without {
            let names = names.join(", ");
            self.warn(format!("{names}: not supported, {because}"));
        }
        if !strays.is_empty() {
            let strays = strays.join(", ");
            self.warn(format!(
                "Soketi has no setting of these environment variables' names, they are ignored: {strays}"
            ));
        }
    }

    fn debug(&mut self, name: &str, text: &str) {
        match is_on(text) {
            Ok(_) if self.environment.value(LOG).is_some() => self.is_outdone_by(name, LOG),
            Ok(true) => {
                DEBUG.clone_into(&mut self.out.log.filter);
                self.notice(format!(
                    "{name} is understood as the log's filter {DEBUG}; the name here is {LOG}"
                ));
            }
            Ok(false) => {}
            Err(problem) => self.out.refuse(name, problem),
        }
    }

    /// Sets a key of a section by what some names say together, which the first of them answers for; none: to its default.
    fn set(&mut self, names: &[&str], path: &str, ours: Option<String>) {
        let Some(name) = names.first() else { return };
        if let Some(variable) = self.variable_set(&[path]) {
            return self.is_outdone_by(name, &variable);
        }
        let ours = ours.map(|text| over(name, path, text.into()));
        self.out.overrides.extend(ours);
        let verb = if names.len() > 1 { "are" } else { "is" };
        let (section, key) = path.rsplit_once('.').unwrap_or_default();
        self.notice(format!(
            "{} {verb} understood as {key} in [{section}]; the name here is {}",
            names.join(", "),
            variable(path.split('.'))
        ));
    }

    /// Sets a key to what one name says as it is, if it is given.
    fn pass_on(&mut self, name: &str, path: &str) {
        if let Some(text) = self.take(name) {
            self.set(&[name], path, Some(text));
        }
    }

    /// Sets a key of the environment's app, by its path in there; none: to its default.
    fn set_of_app(&mut self, name: &str, path: &str, ours: Option<ValueKind>) {
        let (key, here) = match path.rsplit_once('.') {
            Some((table, key)) => (
                key,
                format!("its place here is the file, in [apps.{table}]"),
            ),
            None if APP_KEYS.contains(&path) => {
                let ours = our_app_variable(path);
                if self.environment.value(&ours).is_some() {
                    return self.is_outdone_by(name, &ours);
                }
                (path, format!("the name here is {ours}"))
            }
            None => (path, "its place here is the file, in [[apps]]".to_owned()),
        };
        self.out
            .app_options
            .extend(ours.map(|ours| over(name, path, ours)));
        self.notice(format!(
            "{name} is understood as {key} of the environment's app; {here}"
        ));
    }

    /// The first of our variables for some keys that is set.
    fn variable_set(&self, paths: &[&str]) -> Option<String> {
        let mut variables = paths.iter().map(|path| variable(path.split('.')));
        variables.find(|name| self.environment.value(name).is_some())
    }

    fn notice(&mut self, text: String) {
        self.out.notices.push(text);
    }

    fn warn(&mut self, text: String) {
        self.out.warnings.push(text);
    }

    /// One of our variables says the same.
    fn is_outdone_by(&mut self, name: &str, ours: &str) {
        self.notice(format!("{name} has no effect: {ours} is set and wins"));
    }

    /// What is left of a group says nothing.
    fn idle(&mut self, group: Group, because: &str) {
        let of_group = TABLE.iter().filter(|row| match row.meaning {
            Meaning::Part(of) => of == group,
            _ => false,
        });
        let names: Vec<&str> = of_group.map(|row| row.name).collect();
        self.unused(&names, because);
    }

    /// Those of some names that are left say nothing.
    fn unused(&mut self, names: &[&str], because: &str) {
        let given = names.iter().filter(|name| self.given.contains_key(**name));
        let given: Vec<&str> = given.copied().collect();
        if !given.is_empty() {
            let list = given.join(", ");
            self.warn(format!("without effect, because {because}: {list}"));
        }
        self.given.retain(|name, _| !names.contains(&name.as_str()));
    }
}

/// The value of one of our keys, given by one of Soketi's names.
fn over(name: &str, path: &str, value: ValueKind) -> Override {
    Override {
        path: path.split('.').map(str::to_owned).collect(),
        value: Value::new(Some(&name.to_owned()), value),
    }
}

/// A name that Soketi does not have, perhaps with the one that was meant.
fn meant(name: &str) -> String {
    let names: Vec<&'static str> = TABLE.iter().map(|row| row.name).collect();
    match nearest(name, &names) {
        Some(meant) if !meant.ends_with('*') => format!("{name} (did you mean {meant}?)"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
