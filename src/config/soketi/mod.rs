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
use super::error::{Origin, Problem, nearest, variable};
use super::strays::is_injected;
use super::tree::Override;
use table::{Meaning, PREFIX, TABLE};
use value::{expected, is_on, unquoted};

/// What is logged with `SOKETI_DEBUG`.
const DEBUG: &str = "info,actix_server=warn,tidewire=debug";

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
            Some(text) => {
                let bare = name[PREFIX.len()..].to_owned();
                reading.given.insert(bare, unquoted(text));
            }
            None => {
                let origin = Origin::Variable(name.to_owned());
                let problem = Problem::of(origin, "expected UTF-8 text");
                reading.out.problems.push(problem);
            }
        }
    }
    if !reading.given.is_empty() {
        reading.rows();
        reading.sign_in();
        redis::add(&mut reading);
        app_manager::add(&mut reading);
        webhooks::add(&mut reading);
    }
    reading.out
}

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
    /// Without the prefix.
    given: BTreeMap<String, String>,
    environment: &'a Environment,
    out: EnvInput,
}

/// The whole name.
fn whole(name: &str) -> String {
    format!("{PREFIX}{name}")
}

impl Reading<'_> {
    /// What a name says.
    fn text(&self, name: &str) -> Option<String> {
        self.given.get(name).cloned()
    }

    /// Goes through the names; those that only together say something are left to others.
    fn rows(&mut self) {
        let mut without: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut strays = Vec::new();
        for (name, text) in self.given.clone() {
            let fits = |row: &&table::Row| match row.name.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == row.name,
            };
            match TABLE.iter().find(fits).map(|row| row.meaning) {
                Some(Meaning::Setting(path, form)) => match form.ours(&text) {
                    Ok(ours) => self.set(&name, path, ours),
                    Err(problem) => self.refuse(&name, problem),
                },
                Some(Meaning::App(path, form)) => match form.ours(&text) {
                    Ok(ours) => self.set_of_app(&name, path, ours.map(Into::into)),
                    Err(problem) => self.refuse(&name, problem),
                },
                Some(Meaning::Debug) => self.debug(&name, &text),
                Some(Meaning::None { fits, because }) if fits.contains(&text.as_str()) => {
                    self.notice(format!("{}={text} is so anyway: {because}", whole(&name)));
                }
                Some(Meaning::None { because, .. }) => {
                    without.entry(because).or_default().push(whole(&name));
                }
                Some(
                    Meaning::Redis | Meaning::AppManager | Meaning::Webhooks | Meaning::SignIn,
                ) => {}
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
                let name = whole(name);
                self.notice(format!(
                    "{name} is understood as the log's filter {DEBUG}; the name here is {LOG}"
                ));
            }
            Ok(false) => {}
            Err(problem) => self.refuse(name, problem),
        }
    }

    fn sign_in(&mut self) {
        const SWITCH: &str = "DEFAULT_APP_USER_AUTHENTICATION";
        const TIMEOUT: &str = "USER_AUTHENTICATION_TIMEOUT";
        let switch = self.text(SWITCH).map(|text| is_on(&text));
        match switch {
            Some(Ok(true)) => {
                let given = self.text(TIMEOUT);
                let name = if given.is_some() { TIMEOUT } else { SWITCH };
                match value::Form::Milliseconds.ours(given.as_deref().unwrap_or(SIGN_IN)) {
                    Ok(ours) => {
                        self.set_of_app(name, "authorize_within", ours.map(Into::into));
                    }
                    Err(problem) => self.refuse(name, problem),
                }
            }
            Some(Err(problem)) => self.refuse(SWITCH, problem),
            _ => {
                if switch.is_some() {
                    let name = whole(SWITCH);
                    self.notice(format!("{name}: whoever wants to may sign in here"));
                }
                self.idle(&[TIMEOUT], &format!("{} is not true", whole(SWITCH)));
            }
        }
    }

    /// Sets a key of a section, by its path; none: to its default.
    fn set(&mut self, name: &str, path: &str, ours: Option<String>) {
        if self.is_set(path) {
            return self.outdone(name, path);
        }
        let ours = ours.map(|text| over(name, path, text.into()));
        self.out.overrides.extend(ours);
        let (section, key) = path.rsplit_once('.').unwrap_or_default();
        let (name, ours) = (whole(name), variable(path.split('.')));
        self.notice(format!(
            "{name} is understood as {key} in [{section}]; the name here is {ours}"
        ));
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
        let name = whole(name);
        self.notice(format!(
            "{name} is understood as {key} of the environment's app; {here}"
        ));
    }

    /// Whether one of our variables sets a key.
    fn is_set(&self, path: &str) -> bool {
        let ours = variable(path.split('.'));
        self.environment.value(&ours).is_some()
    }

    /// Our variable of a key says the same.
    fn outdone(&mut self, name: &str, path: &str) {
        self.is_outdone_by(name, &variable(path.split('.')));
    }

    fn notice(&mut self, text: String) {
        self.out.notices.push(text);
    }

    fn warn(&mut self, text: String) {
        self.out.warnings.push(text);
    }

    /// One of our variables says the same.
    fn is_outdone_by(&mut self, name: &str, ours: &str) {
        let name = whole(name);
        self.notice(format!("{name} has no effect: {ours} is set and wins"));
    }

    /// Those of some names that are given say nothing.
    fn idle(&mut self, names: &[&str], because: &str) {
        let given = names.iter().filter(|name| self.given.contains_key(**name));
        let given: Vec<String> = given.map(|name| whole(name)).collect();
        if !given.is_empty() {
            let given = given.join(", ");
            self.warn(format!("without effect, because {because}: {given}"));
        }
    }

    fn refuse(&mut self, name: &str, text: String) {
        let origin = Origin::Variable(whole(name));
        self.out.problems.push(Problem::of(origin, text));
    }
}

/// The value of one of our keys, given by one of Soketi's names.
fn over(name: &str, path: &str, value: ValueKind) -> Override {
    Override {
        path: path.split('.').map(str::to_owned).collect(),
        value: Value::new(Some(&whole(name)), value),
    }
}

/// A name that Soketi does not have, perhaps with the one that was meant.
fn meant(name: &str) -> String {
    let names: Vec<&'static str> = TABLE.iter().map(|row| row.name).collect();
    match nearest(name, &names) {
        Some(meant) if !meant.ends_with('*') => {
            format!("{} (did you mean {}?)", whole(name), whole(meant))
        }
        _ => whole(name),
    }
}

#[cfg(test)]
mod tests;
