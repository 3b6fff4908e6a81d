//! What does not stand in the configuration itself: secrets in an environment variable (`"${NAME}"`) or in a file of
//! their own (`secret_file`), and certificates.
//!
//! No message shows what was given or found, only where it was looked for.

use std::path::Path;

use super::Environment;
use super::files::Files;
use super::values::{FilePath, Masked, check_secret};
use super::wrong::{Wrong, at, both, each};
use crate::auth::Secret;

/// Where to look.
pub(super) struct SecretReader<'a> {
    /// For `"${NAME}"`; none: variables are not for who gives the configuration.
    pub(super) environment: Option<&'a Environment>,
    /// The folder of the configuration file: what a relative path begins at.
    pub(super) folder: &'a Path,
    /// Notes what is read.
    pub(super) files: &'a mut Files,
}

/// What stands between the braces of `"${NAME}"`, if a text is that.
pub(super) fn reference(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

impl SecretReader<'_> {
    /// The secret that a text stands for: the named variable's value, or itself.
    pub(super) fn resolve(&self, given: &Masked) -> Result<Secret, String> {
        self.text(&given.0).map(Secret::new)
    }

    /// The secrets of a list.
    pub(super) fn list(&self, key: &str, given: &[Masked]) -> Result<Vec<Secret>, Wrong> {
        each(key, given, |text| self.resolve(text).map_err(at("")))
    }

    /// The secrets of `secret`, `secret_file` and `secrets`, in this order.
    pub(super) fn all(
        &mut self,
        secret: Option<&Masked>,
        file: Option<&FilePath>,
        secrets: &[Masked],
    ) -> Result<Vec<Secret>, Wrong> {
        let secret = secret.map(|text| self.resolve(text)).transpose();
        let file = file.map(|path| self.read(&path.0)).transpose();
        let single = both(
            secret.map_err(at("secret")),
            file.map_err(at("secret_file")),
        );
        let ((secret, file), more) = both(single, self.list("secrets", secrets))?;
        Ok(secret.into_iter().chain(file).chain(more).collect())
    }

    /// The same as a text, for what is sent as it is.
    pub(super) fn text<'t>(&'t self, given: &'t str) -> Result<&'t str, String> {
        match reference(given) {
            Some(name) => self.variable(name),
            None => Ok(given),
        }
    }

    fn variable(&self, name: &str) -> Result<&str, String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(
                "expected the name of an environment variable between \"${\" and \"}\"".to_owned(),
            );
        }
        let environment = self
            .environment
            .ok_or("expected the secret itself: variables of the environment are for the file")?;
        let value = environment
            .value(name)
            .ok_or_else(|| format!("the environment variable {name} is not set"))?;
        let value = value
            .to_str()
            .ok_or_else(|| format!("the environment variable {name} is not UTF-8 text"))?;
        check_secret(value).map_err(|text| format!("the environment variable {name}: {text}"))?;
        Ok(value)
    }

    /// The secret that a file holds.
    pub(super) fn read(&mut self, path: &str) -> Result<Secret, String> {
        self.file(path, |text| secret_in(text).map(Secret::new))
    }

    /// What is made of a file's text. A problem names the file.
    pub(super) fn file<T>(
        &mut self,
        path: &str,
        made: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<T, String> {
        let path = self.folder.join(path);
        let shown = path.display();
        let text = self
            .files
            .read(&path)
            .map_err(|error| format!("cannot read {shown}: {error}"))?;
        made(&text).map_err(|problem| format!("{shown}: {problem}"))
    }
}

/// The secret in a file: editors and `echo` end one with a newline, which is no part of it.
///
/// # Errors
/// What was expected, without what was found.
pub fn secret_in(text: &str) -> Result<&str, &'static str> {
    let text = text.trim_end_matches(['\r', '\n']);
    check_secret(text)?;
    Ok(text)
}
