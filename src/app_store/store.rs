//! `AppStore`: what others know of all apps and ask to have changed.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use super::change::{Change, WriteError, complete};
use super::keeper::{Keeper, Write, WriteKind};
use super::state::{Listed, State, Status};
use super::table::{Error, Table};
use crate::app::Apps;
use crate::config::{self, AppReader, Entries, FileApps};

/// How many changes may wait for their turn; who asks for one more waits until there is room.
const WRITES: usize = 16;

/// The apps of the file, and of the table if there is one. Changes go to the [`Keeper`], which makes one at a time.
pub struct AppStore {
    pub(super) reader: AppReader,
    pub(super) state: watch::Sender<State>,
    /// The revision that is in effect.
    applied: watch::Sender<u64>,
    /// None: there is no table.
    writes: Option<mpsc::Sender<Write>>,
}

impl AppStore {
    /// Reads the table for the first time, if there is one. The caller must run the returned keeper.
    ///
    /// # Errors
    /// The table cannot be read, and the settings do not let the server start without.
    pub async fn open(
        settings: Option<config::AppStore>,
        reader: AppReader,
    ) -> Result<(Arc<Self>, Option<Keeper>), Error> {
        let (writes, queue) = mpsc::channel(WRITES);
        let store = Arc::new(Self {
            reader,
            state: watch::Sender::default(),
            applied: watch::Sender::default(),
            writes: settings.is_some().then_some(writes),
        });
        let Some(settings) = settings else {
            return Ok((store, None));
        };
        let start_without = settings.start_without;
        let mut keeper = Keeper::new(Arc::clone(&store), Table::new(settings), queue);
        match keeper.read().await {
            Err(problem) if !start_without => Err(problem),
            Err(problem) => {
                error!(
                    "starting without the apps of the database, as start_without is set: {problem}"
                );
                Ok((store, Some(keeper)))
            }
            Ok(()) => Ok((store, Some(keeper))),
        }
    }

    /// Sets the apps of the file and the environment at the start, and returns all apps.
    #[must_use]
    pub fn with_file(&self, apps: &Apps, shown: FileApps) -> Apps {
        self.state.send_modify(|state| state.take_file(apps, shown));
        let state = self.state.borrow();
        self.applied.send_replace(state.revision);
        state.apps()
    }

    /// Replaces the apps of the file and the environment. They are in effect when this returns.
    pub async fn replace_file(&self, apps: &Apps, shown: FileApps) {
        self.state.send_modify(|state| state.take_file(apps, shown));
        self.in_effect().await;
    }

    /// Calls `put` with all apps whenever they have changed. Runs as long as the server.
    pub async fn apply(&self, put: impl AsyncFn(Apps)) {
        let mut states = self.state.subscribe();
        loop {
            let (revision, apps) = {
                let state = states.borrow_and_update();
                let is_new = state.revision != *self.applied.borrow();
                (state.revision, is_new.then(|| state.apps()))
            };
            if let Some(apps) = apps {
                put(apps).await;
                self.applied.send_replace(revision);
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until what is known now is in effect.
    pub(super) async fn in_effect(&self) {
        let revision = self.state.borrow().revision;
        let mut applied = self.applied.subscribe();
        // The sender is here.
        let _ = applied.wait_for(|applied| *applied >= revision).await;
    }

    /// The state of the table; none if there is no table.
    pub fn status(&self) -> Option<Status> {
        self.writes.as_ref()?;
        Some(self.state.borrow().status())
    }

    /// Up to `limit` apps in the order of their ids, from behind `after` on, whose ids `is_wanted` accepts. Each costs
    /// its JSON, so unwanted ones should be left out here.
    pub fn list(
        &self,
        after: Option<&str>,
        limit: usize,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Vec<Listed> {
        let state = self.state.borrow();
        let ids = state.ids(after, limit, is_wanted);
        ids.iter().filter_map(|id| state.get(id)).collect()
    }

    /// The app with this id.
    pub fn get(&self, id: &str) -> Option<Listed> {
        self.state.borrow().get(id)
    }

    /// Adds an app with keys of `[[apps]]`. A missing id, key or secret is made up. Returns the app with its secrets.
    /// It is in effect on this node when this returns.
    ///
    /// # Errors
    /// It is not added then.
    pub async fn create(&self, mut said: Entries) -> Result<Listed, WriteError> {
        let id = complete(&mut said);
        self.write(WriteKind::Create(said.clone())).await?;
        let mut listed = self.get(&id).ok_or_else(|| WriteError::NoApp(id.clone()))?;
        for name in ["secret", "secrets"] {
            if let Some(secret) = said.remove(name) {
                listed.shown.insert(name.to_owned(), secret);
            }
        }
        Ok(listed)
    }

    /// Changes an app. `tag` is that of the row which the operator saw, if it must not have changed since.
    ///
    /// # Errors
    /// It stays as it was then.
    pub async fn change(
        &self,
        id: &str,
        change: Change,
        tag: Option<&str>,
    ) -> Result<Listed, WriteError> {
        let (id, tag) = (id.to_owned(), tag.map(str::to_owned));
        self.write(WriteKind::Change(id.clone(), change, tag))
            .await?;
        self.get(&id).ok_or(WriteError::NoApp(id))
    }

    /// Deletes an app.
    ///
    /// # Errors
    /// It stays then.
    pub async fn delete(&self, id: &str, tag: Option<&str>) -> Result<(), WriteError> {
        let (id, tag) = (id.to_owned(), tag.map(str::to_owned));
        self.write(WriteKind::Delete(id, tag)).await
    }

    async fn write(&self, kind: WriteKind) -> Result<(), WriteError> {
        let Some(writes) = &self.writes else {
            return Err(WriteError::ReadOnly(format!(
                "apps are in {}: change them there, or set url in [app_store] to keep apps in a database",
                self.state.borrow().file_place()
            )));
        };
        let (answer, answered) = oneshot::channel();
        let gone = |()| WriteError::ReadOnly("the server is stopping".to_owned());
        let sent = writes.send(Write { kind, answer }).await;
        sent.map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}
