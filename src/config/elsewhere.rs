//! Secrets that do not stand in the configuration itself: in an environment variable (`"${NAME}"`), or in a file of
//! their own (`secret_file`).
//!
//! No message shows what was given or found, only where it was looked for.

use std::path::Path;

use super::Environment;
use super::files::Files;
use super::values::{Masked, check_secret};
use crate::auth::Secret;

/// Where to look.
pub(super) struct Elsewhere<'a> {
    /// For `"${NAME}"`.
    pub(super) environment: &'a Environment,
    /// The folder of the configuration file: what a relative path begins at.
    pub(super) folder: &'a Path,
    /// Notes what is read.
    pub(super) files: &'a mut Files,
}

impl Elsewhere<'_> {
    /// The secret that a text stands for: the named variable's value, or itself.
    pub(super) fn resolve(&self, given: &Masked) -> Result<Secret, String> {
        let reference = given.0.strip_prefix("${");
        let Some(name) = reference.and_then(|rest| rest.strip_suffix('}')) else {
            return Ok(Secret::new(&given.0));
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(
                "expected the name of an environment variable between \"${\" and \"}\"".to_owned(),
            );
        }
        let value = self
            .environment
            .value(name)
            .ok_or_else(|| format!("the environment variable {name} is not set"))?;
        let value = value
            .to_str()
            .ok_or_else(|| format!("the environment variable {name} is not UTF-8 text"))?;
        check_secret(value).map_err(|text| format!("the environment variable {name}: {text}"))?;
        Ok(Secret::new(value))
    }

    /// The secret that a file holds. Editors and `echo` end a file with a newline, which is no part of it.
    pub(super) fn read(&mut self, path: &str) -> Result<Secret, String> {
        let path = self.folder.join(path);
        let shown = path.display();
        let text = self
            .files
            .read(&path)
            .map_err(|error| format!("cannot read {shown}: {error}"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        check_secret(text).map_err(|problem| format!("{shown}: {problem}"))?;
        Ok(Secret::new(text))
    }
}
