//! The variables whose names begin with `TIDEWIRE_`, laid over what those of Soketi say.
//!
//! Two underscores make a setting: `TIDEWIRE_SERVER__PORT` is `port` in `[server]`, mechanically, and a name that no
//! setting has stops the start. Three names together make an app. What becomes of other names without two underscores is
//! in `strays`.

use std::path::PathBuf;

use super::environment::{
    APP_KEYS, CONFIG, EnvInput, Environment, LOG, LOG_FORMAT, PREFIX, app_variable,
};
use super::error::Origin;
use super::filter::filter;
use super::tree::Override;
use super::{LogFormat, soketi, strays};

impl Environment {
    /// The same without those that make an app.
    pub(super) fn without_app(&self) -> Self {
        let of_app = |name: &str| {
            APP_KEYS
                .into_iter()
                .any(|key| name == app_variable(key) || name == soketi::app_variable(key))
        };
        let kept = self.beginning_with("").filter(|(name, _)| !of_app(name));
        kept.collect()
    }

    /// Sorts the variables out that set something.
    pub(super) fn input(&self) -> EnvInput {
        // What ours say wins.
        let mut input = soketi::translated(self);
        input.file = self.value(CONFIG).map(PathBuf::from);
        let mut strays = Vec::new();
        for (name, value) in self.beginning_with(PREFIX) {
            if name == CONFIG {
                continue;
            }
            let origin = Origin::Variable(name.to_owned());
            let Some(text) = value.to_str() else {
                input.refuse(name, "expected UTF-8 text");
                continue;
            };
            let rest = &name[PREFIX.len()..];
            if let Some(key) = APP_KEYS.into_iter().find(|key| name == app_variable(key)) {
                let key = Override::new(vec![key.to_owned()], &origin, text);
                input.app_options.push(key);
            } else if name == LOG || name == LOG_FORMAT {
                input.log_setting(name, text);
            } else if rest.contains("__") {
                input.setting(name, rest, text);
            } else if !strays::is_injected(name, text) {
                strays.push(name.to_owned());
            }
        }
        input.add_app();
        input.strays(strays);
        input
    }
}

impl EnvInput {
    fn setting(&mut self, name: &str, rest: &str, text: &str) {
        let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        if matches!(path[0].as_str(), "app" | "apps") {
            let names = APP_KEYS.map(app_variable).join(", ");
            let text = format!(
                "the environment adds one app, by {names}; others are [[apps]] of the file"
            );
            return self.refuse(name, text);
        }
        let origin = Origin::Variable(name.to_owned());
        self.overrides.push(Override::new(path, &origin, text));
    }

    fn log_setting(&mut self, name: &str, text: &str) {
        let taken = if name == LOG {
            filter(text).map(|filter| self.log.filter = filter)
        } else {
            let format = match text {
                "human" => Ok(LogFormat::Human),
                "json" => Ok(LogFormat::Json),
                _ => Err(format!(
                    "expected \"human\" or \"json\", found the text {text:?}"
                )),
            };
            format.map(|format| self.log.format = format)
        };
        if let Err(text) = taken {
            self.refuse(name, text);
        }
    }

    /// Makes an app of what is said of one, if its three keys are given.
    fn add_app(&mut self) {
        let options = std::mem::take(&mut self.app_options);
        let given = |key: &str| options.iter().find(|entry| entry.path == [key]);
        let Some(first) = APP_KEYS.into_iter().find_map(given) else {
            self.app_options = options;
            return;
        };
        let missing = APP_KEYS.into_iter().filter(|key| given(key).is_none());
        let name = first.value.origin().unwrap_or_default().to_owned();
        let named = match name.starts_with(PREFIX) {
            true => app_variable,
            false => soketi::app_variable,
        };
        let missing: Vec<String> = missing.map(named).collect();
        if missing.is_empty() {
            self.app = Some(options);
        } else {
            let missing = missing.join(" and ");
            let text = format!("{missing} must be set too: the three together make an app");
            self.refuse(&name, text);
        }
    }

    /// What no setting has: a mistake if a setting is near, else only odd.
    fn strays(&mut self, strays: Vec<String>) {
        let mut odd = Vec::new();
        for name in strays {
            match strays::meant(&name) {
                Some(meant) => self.refuse(&name, format!("no setting has this name; {meant}")),
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
