//! Settings: default < file < environment < flag, checked as a whole, or every problem with its place.
//!
//! A setting has one name. The field of its section is its key in the file; section and key give the environment variable
//! (`TIDEWIRE_SERVER__PORT`), and the flags of `[server]` are their keys (`--path-prefix`). The only other table of names
//! is Soketi's (`soketi`). Unknown names and impossible values are errors: nothing falls back to a default.
//!
//! The layers are sources of the `config` crate, which merges them (`tree`). The `toml` crate gives a line to every key
//! of the file, and each value carries its origin to the message that needs it (`read`).
//!
//! Nothing else in this crate reads the environment or the settings' file, and no one else sees `raw`.

mod app_store;
mod apps;
mod environment;
mod error;
mod files;
mod filter;
mod generated_app;
mod jwt;
mod listener;
mod locate;
mod origin;
mod raw;
mod read;
mod redis;
mod redis_url;
mod reload;
mod rows;
mod rules;
mod secrets;
mod soketi;
mod sources;
mod strays;
mod tls;
mod tree;
mod values;
mod variables;
mod webhooks;
mod wrong;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::app::Apps;
pub use app_store::{AppStore, Database};
use environment::EnvInput;
pub use environment::Environment;
pub use error::{Error, Origin, Problem};
use files::Files;
pub use generated_app::GeneratedApp;
pub use listener::{Admin, Server, Tls};
use locate::found;
pub use locate::{PLACES, admin_address, without_app};
use raw::Raw;
use read::read;
pub use reload::{Reloaded, Watch, aside};
pub use rows::{
    AppReader, Columns, Entries, FileApps, InvalidField, OWN_COLUMN, Width, app_columns,
    left_out as left_out_of_row, row as app_row, said as app_said, shown as app_shown,
};
use secrets::SecretReader;
pub use secrets::secret_in;
use tree::{Override, Tree};
pub use values::check_secret;
use wrong::{Wrong, both, within};

/// Everything that can be set, checked.
#[derive(Debug)]
pub struct Settings {
    /// `[server]`: the public listener.
    pub server: Server,
    /// `[admin]`: the operators' listener.
    pub admin: Admin,
    /// `[webhooks]`.
    pub webhooks: crate::webhook::Settings,
    /// `[redis]`; none: this node is alone.
    pub redis: Option<crate::adapter::redis::Settings>,
    /// `[app_store]`; none: apps are in the file alone.
    pub app_store: Option<AppStore>,
    /// `[[apps]]`.
    pub apps: Apps,
    /// `TIDEWIRE_LOG` and `TIDEWIRE_LOG_FORMAT`.
    pub log: Log,
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A filter of the `tracing` family: `info`, `info,tidewire::ws=debug`.
    pub filter: String,
    /// For whom.
    pub format: LogFormat,
}

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// People: one line of text per event.
    Human,
    /// Machines: one JSON object per line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Human,
        }
    }
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if one was named by flag; it must exist then.
    pub file: Option<PathBuf>,
    /// Where a file is looked for when none is named: the first that is there is read.
    pub places: Vec<PathBuf>,
    /// The environment.
    pub environment: Environment,
    /// Flags: a key of `[server]` and the text given for it.
    pub flags: Vec<(&'static str, String)>,
    /// What is served if there is no file and no app in the environment; none: that is an error.
    pub generated_app: Option<GeneratedApp>,
}

/// What [`load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Whether the only app is [`Sources::generated_app`].
    pub is_generated: bool,
    /// What was understood in another way than it was said.
    pub notices: Vec<String>,
    /// What an operator should know before it serves.
    pub warnings: Vec<String>,
    raw: Arc<Raw>,
    /// What `raw` was read from.
    tree: Tree,
    files: Files,
    /// What relative paths begin at.
    folder: PathBuf,
}

impl Loaded {
    /// The effective settings as a file would say them, with `***` for every secret.
    ///
    /// # Errors
    /// If TOML has no way to write them, which a test rules out.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        self.raw.to_toml(&self.raw.apps)
    }

    /// Its apps, for who shows them.
    pub(crate) fn file_apps(&self) -> FileApps {
        FileApps::new(Arc::clone(&self.raw), self.file.as_deref())
    }
}

/// Reads and checks everything.
///
/// # Errors
/// If a named file cannot be read, there are no apps, or anything said is unknown or impossible: all problems that
/// one reading can find.
pub fn load(sources: &Sources) -> Result<Loaded, Error> {
    let mut files = Files::default();
    let loaded = attempt(sources, None, &mut files)?;
    Ok(Loaded { files, ..loaded })
}

/// The same, noting the files that were looked into. While a server runs, its `[server]` is what apps must fit.
fn attempt(
    sources: &Sources,
    running: Option<&Server>,
    files: &mut Files,
) -> Result<Loaded, Error> {
    let mut input = sources.environment.input();
    let found = found(sources, &input, files)?;
    let mut is_generated = false;
    let (file, tree) = match found {
        Some((file, text)) => {
            let tree = Tree::parse(&file.display().to_string(), &text)?;
            (Some(file), tree)
        }
        None => {
            let has_store = input
                .overrides
                .iter()
                .any(|given| given.path.join(".") == app_store::URL);
            if input.app.is_none() && !has_store && input.problems.is_empty() {
                let generated = sources.generated_app.as_ref();
                let generated = generated.ok_or_else(|| Error::NoFile(sources.places.clone()))?;
                let options = std::mem::take(&mut input.app_options);
                input.app = Some([generated.entries(), options].concat());
                is_generated = true;
            }
            (None, Tree::new())
        }
    };
    let secrets = SecretReader {
        environment: Some(&sources.environment),
        folder: file
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or(Path::new("")),
        files,
    };
    let loaded = checked(tree, input, &sources.flags, secrets, running)?;
    if is_generated && loaded.settings.redis.is_some() {
        let text = "no apps, and none is made up, because all nodes over one Redis must have the same: set \
                    TIDEWIRE_APP_ID, TIDEWIRE_APP_KEY and TIDEWIRE_APP_SECRET, or write a file";
        return Err(Problem::whole(text).into());
    }
    Ok(Loaded {
        file,
        is_generated,
        ..loaded
    })
}

/// Lays the environment and the flags over the file. Each layer is read by itself first, so that a mistake is reported
/// even where a later layer hides it.
fn checked(
    file: Tree,
    input: EnvInput,
    flags: &[(&'static str, String)],
    mut secrets: SecretReader<'_>,
    running: Option<&Server>,
) -> Result<Loaded, Error> {
    let mut overrides = input.overrides;
    overrides.extend(flags.iter().map(|(key, text)| {
        let origin = Origin::Flag(format!("--{}", key.replace('_', "-")));
        Override::new(vec!["server".to_owned(), (*key).to_owned()], &origin, text)
    }));
    let mut problems = input.problems;
    problems.extend(read::<Raw>(&file).err().into_iter().flatten());
    let laid_over = |mut tree: Tree| {
        tree = tree.below(&overrides)?;
        if let Some(app) = &input.app {
            tree.push("apps", Tree::new().below(app)?);
        }
        Ok::<_, Problem>(tree)
    };
    let (above, all) = (laid_over(Tree::new())?, laid_over(file)?);
    let mut warnings = input.warnings;
    if input.app.is_none() {
        warnings.extend(soketi::without_app(&input.app_options));
    }
    problems.extend(read::<Raw>(&above).err().into_iter().flatten());
    if !problems.is_empty() {
        return Err(sorted(problems));
    }
    let raw: Raw = read(&all).map_err(Error::Problems)?;
    let settings = settings(&raw, running, input.log, &all, &mut secrets);
    let settings = settings.map_err(|wrong| sorted(wrong.problems(&all)))?;
    warnings.extend(apps::development_secret(&settings));
    warnings.extend(webhooks::left_out(&raw.apps, &all));
    let folder = secrets.folder.to_owned();
    Ok(Loaded {
        settings,
        tree: all,
        file: None,
        is_generated: false,
        notices: input.notices,
        warnings,
        raw: raw.into(),
        files: Files::default(),
        folder,
    })
}

fn sorted(mut problems: Vec<Problem>) -> Error {
    problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    Error::Problems(problems)
}

/// What the sections say together, or all that is wrong with it.
fn settings(
    raw: &Raw,
    running: Option<&Server>,
    log: Log,
    tree: &Tree,
    secrets: &mut SecretReader<'_>,
) -> Result<Settings, Wrong> {
    let apps = apps::build(raw, running.unwrap_or(&raw.server), tree, secrets);
    let redis = redis::settings(&raw.redis, tree, secrets).map_err(within("redis"));
    let app_store = app_store::settings(&raw.app_store, secrets).map_err(within("app_store"));
    let token = listener::token(raw, secrets).map_err(within("admin"));
    let tls = listener::tls(&raw.server.tls_files, secrets).map_err(within("server.tls"));
    let both_listeners = both(token, tls);
    let stores = both(redis, app_store);
    let (apps, ((redis, app_store), (token, tls))) = both(apps, both(stores, both_listeners))?;
    Ok(Settings {
        server: Server {
            tls,
            ..raw.server.clone()
        },
        admin: Admin {
            token,
            ..raw.admin.clone()
        },
        webhooks: raw.webhooks.clone(),
        redis,
        app_store,
        apps,
        log,
    })
}

#[cfg(test)]
mod tests;
