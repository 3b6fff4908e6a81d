//! `Check`: what the sections are checked with once each of them could be read, and what is wrong with them.

use super::error::{Origin, Problem, path};
use super::secrets::SecretReader;
use super::tree::Tree;

/// The layers, what they refer to, and the problems so far. Paths are texts such as `apps.0.limits.event_bytes`.
pub(super) struct Check<'a, 'e> {
    pub(super) tree: &'a Tree,
    pub(super) secrets: SecretReader<'e>,
    pub(super) problems: Vec<Problem>,
}

/// A problem was reported.
pub(super) struct Reported;

impl Check<'_, '_> {
    /// Where a key stands; what is left out of an app is where its table is.
    pub(super) fn origin(&self, at: &str) -> Option<Origin> {
        let path = path(at);
        let least = if at.starts_with("apps.") {
            2
        } else {
            path.len()
        };
        let mut tables = (least..=path.len()).rev();
        tables.find_map(|length| self.tree.origin(&path[..length]))
    }

    /// Reports what is wrong with the value of a key.
    pub(super) fn report(&mut self, at: &str, text: impl Into<String>) -> Reported {
        let problem = Problem::at(self.origin(at), &path(at), text);
        self.problems.push(problem);
        Reported
    }

    /// Reports what is wrong with a whole section or app.
    pub(super) fn report_section(&mut self, at: &str, text: impl Into<String>) -> Reported {
        let problem = Problem::at(self.origin(at), &[], text);
        self.problems.push(problem);
        Reported
    }

    /// Passes on what was made of the value of a key, or reports why nothing was.
    pub(super) fn or_report<T>(
        &mut self,
        at: &str,
        made: Result<T, String>,
    ) -> Result<T, Reported> {
        made.map_err(|text| self.report(at, text))
    }
}
