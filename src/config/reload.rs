//! `Watch`: a running server's configuration, read again when its files change or when somebody asks.
//!
//! Apps and the certificate are what a running server can change; of the other sections it is told which keys wait for a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::sync::oneshot;
use toml::{Table, Value};

use super::error::{Error, path};
use super::files::Files;
use super::values::MASK;
use super::{FileApps, Loaded, Sources, attempt, raw};
use crate::app::Apps;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long changed files must stay as they are before they are read: an editor that writes in place is not to be
/// caught half-way.
const SETTLING: Duration = Duration::from_millis(200);

/// What to read again, and what the server began with.
pub struct Watch {
    sources: Sources,
    /// As of the last reading, whether it succeeded or not.
    files: Files,
    /// As the server began with them.
    file_apps: FileApps,
    fixed: Table,
}

/// What a reading led to.
#[derive(Debug)]
pub struct Reloaded {
    /// All apps from now on.
    pub apps: Apps,
    /// The same, for who shows them.
    pub file_apps: FileApps,
    /// The certificate from now on, where TLS is on.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// What is in effect with them, as [`Loaded::to_toml`] says it.
    pub toml: String,
}

impl Watch {
    /// Watches what a server is about to be started with.
    #[must_use]
    pub fn new(mut sources: Sources, loaded: &Loaded) -> Self {
        keep_generated_app(&mut sources, loaded);
        Self {
            sources,
            files: loaded.files.clone(),
            file_apps: loaded.file_apps(),
            fixed: fixed(loaded, &loaded.files),
        }
    }

    /// The apps that the server begins with, for who shows them.
    #[must_use]
    pub fn file_apps(&self) -> FileApps {
        self.file_apps.clone()
    }

    /// What the server began with, as [`Loaded::to_toml`] says it.
    #[must_use]
    pub fn toml(&self) -> String {
        let raw = &self.file_apps.raw;
        shown(raw, &raw.apps)
    }

    /// Waits until the configuration file, or a file that it names, is not as it was read, and has settled.
    pub async fn changed(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let mut now = self.now().await;
            if now == self.files {
                continue;
            }
            loop {
                tokio::time::sleep(SETTLING).await;
                let later = self.now().await;
                if later == now {
                    return;
                }
                now = later;
            }
        }
    }

    /// The files as they are now; as they were, where that cannot be found out.
    async fn now(&self) -> Files {
        let files = self.files.clone();
        let now = aside(move || files.now()).await;
        now.unwrap_or_else(|| self.files.clone())
    }

    /// Reads everything again.
    ///
    /// # Errors
    /// As at the start: all problems with their places. Also if an app does not fit the `[server]` that is running.
    pub async fn reload(&mut self) -> Result<Reloaded, Error> {
        let (sources, running) = (self.sources.clone(), Arc::clone(&self.file_apps.raw));
        let read = aside(move || {
            let mut files = Files::default();
            let loaded = attempt(&sources, Some(&running.server), &mut files);
            (loaded, files)
        });
        let (loaded, files) = read.await.ok_or(Error::NoThread)?;
        self.files = files;
        let loaded = loaded?;
        keep_generated_app(&mut self.sources, &loaded);
        let waiting = differences(&self.fixed, &fixed(&loaded, &self.files));
        let file_apps = loaded.file_apps();
        let mut warnings = loaded.warnings;
        if !waiting.is_empty() {
            warnings.push(format!(
                "these changes need a restart, until then they have no effect: {}",
                waiting.join(", ")
            ));
        }
        Ok(Reloaded {
            toml: shown(&self.file_apps.raw, &loaded.raw.apps),
            file_apps,
            apps: loaded.settings.apps,
            certificate: loaded.settings.server.tls.map(|tls| tls.certificate),
            warnings,
        })
    }
}

/// What is done on a thread of its own, because files may keep it waiting; none if there is no thread to be had. The
/// process ends without waiting for it.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let thread = thread::Builder::new().name("config".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(work());
    });
    spawned.ok()?;
    receiver.await.ok()
}

/// A file that comes takes the generated app's place for good: if it goes again by mistake, its apps stay.
fn keep_generated_app(sources: &mut Sources, loaded: &Loaded) {
    if !loaded.is_generated {
        sources.generated_app = None;
    }
}

/// What is shown to operators; why it cannot be, which a test rules out.
fn shown(raw: &raw::Raw, apps: &[raw::App]) -> String {
    raw.to_toml(apps)
        .unwrap_or_else(|error| format!("# cannot be written as TOML: {error}\n"))
}

/// All sections that only a restart changes: secrets as they were given, and of files what was in them. Nobody sees this.
fn fixed(loaded: &Loaded, files: &Files) -> Table {
    // What cannot be written as TOML, which a test rules out, is not compared.
    let mut sections = Table::try_from(loaded.raw.as_ref()).unwrap_or_default();
    sections.remove("apps");
    // What is printed has none that says no place.
    let redis = Table::try_from(&loaded.raw.redis).unwrap_or_default();
    sections.insert("redis".to_owned(), Value::Table(redis));
    let app_store = Table::try_from(&loaded.raw.app_store).unwrap_or_default();
    sections.insert("app_store".to_owned(), Value::Table(app_store));
    if let Some(Value::Table(server)) = sections.get_mut("server")
        && let Some(Value::Table(tls)) = server.get_mut("tls")
    {
        // A server that speaks TLS takes another certificate while running.
        tls.remove("cert");
        tls.remove("key");
    }
    for (section, keys) in &mut sections {
        for (key, value) in keys.as_table_mut().into_iter().flatten() {
            let Value::String(text) = value else { continue };
            if key.ends_with("_file") {
                *text += &format!(" {:?}", files.content(&loaded.folder.join(&*text)));
            } else if text.contains(MASK)
                && let Some(given) = loaded.tree.text(&path(&format!("{section}.{key}")))
            {
                given.clone_into(text);
            }
        }
    }
    sections
}

/// `port in [server]`, for each key that is not the same.
fn differences(before: &Table, after: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (section, value) in after {
        let (Some(was), Some(is)) = (
            before.get(section).and_then(Value::as_table),
            value.as_table(),
        ) else {
            continue;
        };
        let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        let different = keys.into_iter().filter(|key| was.get(*key) != is.get(*key));
        found.extend(different.map(|key| format!("{key} in [{section}]")));
    }
    found
}
