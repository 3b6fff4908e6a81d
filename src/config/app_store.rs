//! `[app_store]`: the database that apps live in beside the file.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::check::Check;
use super::raw;

/// The beginnings of the addresses that are understood.
const SCHEMES: [&str; 5] = ["mysql", "mariadb", "postgres", "postgresql", "sqlite"];

/// `[app_store]`, checked.
#[derive(Clone)]
pub struct AppStore {
    /// `mysql://…`, `postgres://…` or `sqlite:…`, with its password.
    pub url: String,
    /// The table's name.
    pub table: String,
    /// How often the table is looked at.
    pub refresh: Duration,
    /// Whether a missing table is created; none: with SQLite.
    pub create: Option<bool>,
    /// Whether the server starts while the database is away.
    pub start_without: bool,
    /// What relative paths that apps name begin at.
    pub folder: PathBuf,
}

impl fmt::Debug for AppStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AppStore");
        shown.field("table", &self.table).finish_non_exhaustive()
    }
}

/// The section; none without a url.
pub(super) fn settings(raw: &raw::AppStore, check: &mut Check<'_, '_>) -> Option<AppStore> {
    let given = raw.url.as_ref()?;
    let url = check.secrets.text(&given.0).map(str::to_owned);
    let url = check.or_report("app_store.url", url).ok()?;
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    if !SCHEMES.contains(&scheme) {
        let text = "expected an address like \"mysql://user:password@host/database\", \"postgres://…\" or \
                    \"sqlite:///var/lib/tidewire/apps.db\"";
        check.report("app_store.url", text);
        return None;
    }
    Some(AppStore {
        url,
        table: raw.table.0.clone(),
        refresh: Duration::from_secs(raw.refresh_seconds.into()),
        create: raw.create,
        start_without: raw.start_without,
        folder: check.secrets.folder.to_owned(),
    })
}

/// A table's name, which no statement takes for anything else.
pub(super) fn table_name(text: &str) -> Result<String, String> {
    const LONGEST: usize = 64;
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.len() <= LONGEST && text.chars().all(is_name) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected the name of a table, letters, digits, _ and -, up to {LONGEST} characters; found {text:?}"
        ))
    }
}
