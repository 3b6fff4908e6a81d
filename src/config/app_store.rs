//! `[app_store]`: the database that apps live in beside the file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::error::nearest;
use super::raw;
use super::secrets::{SecretReader, reference};
use super::values::masked;
use super::webhooks::without_secrets;
use super::wrong::{Wrong, at};

/// The path of the key that says where the apps are.
pub(super) const URL: &str = "app_store.url";

/// `[app_store]`, checked.
#[derive(Clone)]
pub struct AppStore {
    /// `mysql://…`, `postgres://…` or `sqlite:/…`, with its password.
    pub url: String,
    /// Which kind of database the url is of.
    pub database: Database,
    /// The table's name.
    pub table: String,
    /// How often the table is looked at.
    pub refresh: Duration,
    /// Whether a missing table is created.
    pub create: bool,
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

/// The kinds of databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// MySQL or MariaDB.
    MySql,
    /// PostgreSQL.
    Postgres,
    /// A file of SQLite.
    Sqlite,
}

impl Database {
    fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        match scheme {
            "sqlite" => Some(Self::Sqlite),
            _ if !rest.starts_with("//") => None,
            "mysql" | "mariadb" => Some(Self::MySql),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }

    /// What may stand behind the question mark. Without this check the drivers pass over what they do not know, be it a
    /// misspelt wish for TLS, or log it with its value.
    fn options(self) -> &'static str {
        match self {
            Self::MySql => {
                "ssl-mode, ssl-ca, ssl-cert, ssl-key, charset, collation, socket, timezone, statement-cache-capacity"
            }
            Self::Postgres => {
                "sslmode, sslrootcert, sslcert, sslkey, host, port, dbname, user, password, application_name, options, \
                 statement-cache-capacity"
            }
            Self::Sqlite => "mode, cache, immutable, vfs",
        }
    }

    fn check_options(self, url: &str) -> Result<(), String> {
        let options = url.split_once('?').map_or("", |(_, options)| options);
        let valid: Vec<&str> = self.options().split(", ").collect();
        let keys = options
            .split('&')
            .filter_map(|option| option.split('=').next());
        let mut keys = keys.filter(|key| !key.is_empty());
        let Some(key) = keys.find(|key| !valid.contains(key)) else {
            return Ok(());
        };
        if options.contains('@') {
            // It is a part of the password.
            return Err(
                "expected %3F for a question mark in a password, and %40 for an @".to_owned(),
            );
        }
        let meant = nearest(key, &valid);
        let meant = meant.map_or_else(String::new, |name| format!("; did you mean {name}?"));
        Err(format!(
            "unknown option {key:?} behind the question mark{meant} Valid: {}",
            self.options()
        ))
    }
}

/// `url`, or the name of the variable that holds it. Who may log in and all options are written as `***`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct DatabaseUrl(String);

impl TryFrom<String> for DatabaseUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // What was found may hold a password.
        match reference(&text).is_some() || Database::of(&text).is_some() {
            true => Ok(Self(text)),
            false => Err(EXPECTED),
        }
    }
}

const EXPECTED: &str = "expected a URL like \"mysql://user:password@host/database\", \
    \"postgres://user:password@host/database\" or \"sqlite:///var/lib/tidewire/apps.db\"";

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match reference(&self.0) {
            Some(_) => f.write_str(&self.0),
            None => f.write_str(&without_secrets(&self.0)),
        }
    }
}

masked!(DatabaseUrl);

/// The section; none without a url.
pub(super) fn settings(
    raw: &raw::AppStore,
    secrets: &SecretReader<'_>,
) -> Result<Option<AppStore>, Wrong> {
    let Some(given) = &raw.url else {
        return Ok(None);
    };
    let (url, database) = database(&given.0, secrets).map_err(at("url"))?;
    Ok(Some(AppStore {
        url,
        database,
        table: raw.table.0.clone(),
        refresh: Duration::from_secs(raw.refresh_seconds.into()),
        create: raw.create.unwrap_or(database == Database::Sqlite),
        start_without: raw.start_without,
        folder: secrets.folder.to_owned(),
    }))
}

/// The database of a URL, or of the variable that holds it, with the URL in the form that drivers take.
fn database(given: &str, secrets: &SecretReader<'_>) -> Result<(String, Database), String> {
    let url = secrets.text(given)?;
    let database = Database::of(url).ok_or(EXPECTED)?;
    database.check_options(url)?;
    let url = match database {
        Database::Sqlite => in_folder(url, secrets.folder)?,
        Database::MySql | Database::Postgres => url.to_owned(),
    };
    Ok((url, database))
}

/// A file of SQLite that is named by a relative path begins at the folder of the configuration, as other files do.
fn in_folder(url: &str, folder: &Path) -> Result<String, String> {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let path = rest.split('?').next().unwrap_or_default();
    if path.is_empty() || path == ":memory:" || rest.contains("mode=memory") {
        return Err("expected the path of a file, as in \"sqlite:///var/lib/tidewire/apps.db\": apps in memory would \
                    end with the server"
            .to_owned());
    }
    let folder = folder
        .to_str()
        .ok_or("the folder's name is not UTF-8 text")?;
    Ok(match (path.starts_with('/'), folder) {
        (true, _) | (false, "") => format!("sqlite:{rest}"),
        (false, folder) => format!(
            "sqlite:{}/{rest}",
            folder.replace('%', "%25").replace('?', "%3F")
        ),
    })
}
