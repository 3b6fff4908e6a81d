//! `Keeper`: the task that reads the table again and again, and writes what operators change, one after another.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use super::change::{Change, WriteError, check_tag};
use super::session::{Row, Session};
use super::state::{entries_of, read_rows, said_of};
use super::store::AppStore;
use super::table::{Error, Table};
use crate::app::App;
use crate::config::{self, Columns, Entries, InvalidField, app_row, aside};

/// The longest pause between attempts while the database is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A change that waits for its turn.
pub(super) struct Write {
    pub(super) kind: WriteKind,
    pub(super) answer: oneshot::Sender<Result<(), WriteError>>,
}

/// What is to be changed; the last text is the tag.
pub(super) enum WriteKind {
    Create(Entries),
    Change(String, Change, Option<String>),
    Delete(String, Option<String>),
}

/// Reads the table again and again, and carries out changes one after another.
pub struct Keeper {
    store: Arc<AppStore>,
    table: Table,
    writes: mpsc::Receiver<Write>,
}

impl Keeper {
    pub(super) fn new(store: Arc<AppStore>, table: Table, writes: mpsc::Receiver<Write>) -> Self {
        Self {
            store,
            table,
            writes,
        }
    }

    /// Runs for as long as the server.
    pub async fn run(mut self) {
        let refresh = self.table.settings.refresh;
        let mut pause = refresh;
        let mut next = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(next) => {
                    pause = match self.read().await {
                        Ok(()) => refresh,
                        Err(_) => (pause * 2).min(LONGEST_PAUSE).max(refresh),
                    };
                    next = Instant::now() + pause;
                }
                Some(Write { kind, answer }) = self.writes.recv() => {
                    let done = self.write(kind).await;
                    // Who asked may have gone away.
                    let _ = answer.send(done);
                }
            }
        }
    }

    /// Reads the table if it is another than the last time.
    pub(super) async fn read(&mut self) -> Result<(), Error> {
        match self.table.changes().await {
            Ok(rows) => {
                if let Some(rows) = rows {
                    self.take(rows).await;
                }
                self.is_back();
                Ok(())
            }
            Err(problem) => {
                self.is_away(&problem);
                Err(problem)
            }
        }
    }

    fn is_back(&self) {
        self.store.state.send_if_modified(|state| {
            state.read_at = Some(SystemTime::now());
            let away = state.away.take();
            if let Some((since, _)) = &away {
                let seconds = since.elapsed().unwrap_or_default().as_secs();
                info!(seconds, "the database of apps is back");
            }
            away.is_some()
        });
    }

    fn is_away(&self, problem: &Error) {
        self.store.state.send_modify(|state| {
            let former = state.away.take().map(|(since, _)| since);
            // At the start it is the start that fails, or not.
            if former.is_none() && state.read_at.is_some() {
                error!(
                    "the apps of the database cannot be read, their last state goes on: {problem}"
                );
            }
            let since = former.unwrap_or_else(SystemTime::now);
            state.away = Some((since, problem.to_string()));
        });
    }

    async fn take(&self, rows: Vec<Row>) {
        let (former, reader) = (self.store.state.borrow().rows(), self.store.reader.clone());
        // Many rows take long, and rows may name files.
        match aside(move || read_rows(rows, former, &reader)).await {
            Some(Some(rows)) => self.store.state.send_modify(|state| state.take_rows(rows)),
            Some(None) => {}
            None => error!("the system gives no thread to read apps with: they stay as they were"),
        }
    }

    async fn write(&mut self, kind: WriteKind) -> Result<(), WriteError> {
        match kind {
            WriteKind::Create(said) => self.create(said).await,
            WriteKind::Change(id, change, tag) => self.change(&id, change, tag.as_deref()).await,
            WriteKind::Delete(id, tag) => self.delete(&id, tag.as_deref()).await,
        }?;
        // What is answered is what everybody will read.
        self.read().await?;
        self.store.in_effect().await;
        Ok(())
    }

    async fn create(&mut self, said: Entries) -> Result<(), WriteError> {
        let app = self.checked(&said).await?;
        self.check_free(&app, true)?;
        let settings = self.table.settings.clone();
        let insert = async |session: &mut Session| {
            let columns = session.columns().await?;
            let row = row_of(said, None, &columns, &settings)?;
            match session.insert(&row).await? {
                true => Ok(()),
                false => Err(WriteError::Taken("the id")),
            }
        };
        self.table.write(insert).await
    }

    async fn change(
        &mut self,
        id: &str,
        change: Change,
        tag: Option<&str>,
    ) -> Result<(), WriteError> {
        let (columns, row) = self.row(id, tag).await?;
        let mut said = said_of(&row.json).map_err(|problem| WriteError::Invalid(vec![problem]))?;
        change.apply(&mut said)?;
        let app = self.checked(&said).await?;
        if app.id.as_str() != id {
            let text = "an app keeps its id: create another one";
            return Err(WriteError::Invalid(vec![InvalidField::new("id", text)]));
        }
        self.check_free(&app, false)?;
        let before = entries_of(&row.json).map_err(|problem| WriteError::Invalid(vec![problem]))?;
        let change = row_of(said, Some(&before), &columns, &self.table.settings)?;
        if change.is_empty() {
            return Ok(());
        }
        let update = async |session: &mut Session| session.update(&columns, &row, &change).await;
        match self.table.write(update).await? {
            true => Ok(()),
            false => Err(WriteError::Changed),
        }
    }

    async fn delete(&mut self, id: &str, tag: Option<&str>) -> Result<(), WriteError> {
        let (columns, row) = self.row(id, tag).await?;
        let delete = async |session: &mut Session| session.delete(&columns, &row).await;
        match self.table.write(delete).await? {
            true => Ok(()),
            false => Err(WriteError::Changed),
        }
    }

    /// The row of an app as it is now, if it is what the operator saw.
    async fn row(&mut self, id: &str, tag: Option<&str>) -> Result<(Columns, Row), WriteError> {
        {
            let state = self.store.state.borrow();
            if state.is_of_file(id) {
                let text = format!("app {id:?} is in {}: change it there", state.file_place());
                return Err(WriteError::ReadOnly(text));
            }
        }
        let read = async |session: &mut Session| {
            let columns = session.columns().await?;
            let row = session.row(&columns, id).await?;
            Ok::<_, Error>((columns, row))
        };
        let (columns, row) = self.table.write(read).await?;
        let row = row.ok_or_else(|| WriteError::NoApp(id.to_owned()))?;
        check_tag(&row.json, tag)?;
        Ok((columns, row))
    }

    async fn checked(&self, said: &Entries) -> Result<App, WriteError> {
        let (reader, said) = (self.store.reader.clone(), said.clone());
        let app = aside(move || reader.app(&said)).await;
        let no_thread =
            || WriteError::ReadOnly("the system gives no thread to check the app with".to_owned());
        app.ok_or_else(no_thread)?.map_err(WriteError::Invalid)
    }

    /// Two apps with one id or one key: nobody could say which is meant. Soketi's table does not see to it.
    fn check_free(&self, app: &App, is_new: bool) -> Result<(), WriteError> {
        match self.store.state.borrow().taken(app, is_new) {
            Some(what) => Err(WriteError::Taken(what)),
            None => Ok(()),
        }
    }
}

/// What is written so that a row says what is said, or why the table has no place for it.
fn row_of(
    said: Entries,
    before: Option<&Entries>,
    columns: &Columns,
    settings: &config::AppStore,
) -> Result<Entries, WriteError> {
    match app_row(said, before, columns) {
        (row, None) => Ok(row),
        (_, Some(key)) => Err(WriteError::ReadOnly(format!(
            "the table has no column for {key}: add one with {}",
            settings.database.add_own_column(&settings.table)
        ))),
    }
}
