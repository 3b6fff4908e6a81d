//! `AppStore`: the apps of the file and of the table as one, what is wrong with rows, and changes by operators.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use rand::distr::{Alphanumeric, SampleString as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex as AsyncMutex;
use tracing::{error, info, warn};

use super::Error;
use super::table::{Columns, Row, Table};
use crate::app::{App, Apps};
use crate::config::{
    self, AppReader, Entries, InvalidField, OWN_COLUMN, app_row, app_said, app_shown,
};
use crate::node::Node;

/// The longest pause between attempts while the database is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Characters of a made key and a made secret.
const MADE_LENGTH: usize = 20;

/// Digits of a made id.
const MADE_DIGITS: u64 = 1_000_000_000;

/// The apps of the file, and of the table if there is one.
pub struct AppStore {
    /// Whom to tell, as soon as it is there.
    node: OnceLock<Arc<Node>>,
    reader: AppReader,
    settings: Option<config::AppStore>,
    /// None: the database has not been reached. Held while the table is read or written, so that what is applied is never older than what was.
    table: AsyncMutex<Option<Table>>,
    /// Held while the node is told, so that it is told in order.
    applying: AsyncMutex<()>,
    state: Mutex<State>,
}

/// What is known.
#[derive(Default)]
struct State {
    /// The apps of the file and of the environment, and what is shown of each.
    file: Vec<(Arc<App>, Entries)>,
    file_place: String,
    rows: BTreeMap<String, Known>,
    version: String,
    /// Since when the database is away, and why.
    away: Option<(SystemTime, String)>,
    read_at: Option<SystemTime>,
}

/// A row, as it was read last.
struct Known {
    json: String,
    outcome: Result<(Arc<App>, Entries), Vec<InvalidField>>,
}

/// Where an app stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The file or the environment: it is changed there.
    File,
    /// The table.
    Table,
}

/// One app for operators.
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub origin: Origin,
    /// All its keys, secrets masked; of a wrong row only the id.
    pub shown: Entries,
    /// What is wrong with its row; empty if nothing is.
    pub problems: Vec<InvalidField>,
    /// What a change names to be sure of what it changes.
    pub tag: Option<String>,
}

/// How the table is doing.
pub struct Status {
    /// Rows.
    pub rows: usize,
    /// What is wrong, by the id of its row.
    pub broken: Vec<(String, String)>,
    /// When it was read last.
    pub read_at: Option<SystemTime>,
    /// Since when the database is away, and why.
    pub away: Option<(SystemTime, String)>,
}

/// What an operator wants.
pub enum Change {
    /// Some keys become others: a JSON merge patch (RFC 7396).
    Patch(Entries),
    /// Another secret is added at the end.
    AddSecret(String),
    /// The secret at this place in the order of verification goes.
    RemoveSecret(usize),
}

/// Why a change is refused.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No such app.
    #[error("there is no app {0:?}")]
    NoApp(String),
    /// The app stands in the file, or there is no table.
    #[error("{0}")]
    ReadOnly(String),
    /// The id or the key is taken.
    #[error("{0} is taken by another app")]
    Taken(&'static str),
    /// It is not what the operator saw.
    #[error("the app has changed meanwhile: read it again")]
    Changed,
    /// The last secret stays.
    #[error("an app keeps its last secret: add another one first")]
    LastSecret,
    /// There is no such secret.
    #[error("the app has no secret number {0}: they count from 0")]
    NoSecret(usize),
    /// The change is no app.
    #[error("{}", texts(.0))]
    Invalid(Vec<InvalidField>),
    /// The database refuses.
    #[error("the table cannot be written: {0}")]
    Store(#[from] Error),
}

fn texts(problems: &[InvalidField]) -> String {
    let texts: Vec<&str> = problems
        .iter()
        .map(|problem| problem.text.as_str())
        .collect();
    texts.join("\n")
}

impl AppStore {
    /// Reads the table for the first time, if there is one.
    ///
    /// # Errors
    /// The table cannot be read, and the settings do not let the server start without.
    pub async fn open(
        settings: Option<config::AppStore>,
        reader: AppReader,
    ) -> Result<Arc<Self>, Error> {
        let store = Self {
            node: OnceLock::new(),
            reader,
            settings,
            table: AsyncMutex::new(None),
            applying: AsyncMutex::default(),
            state: Mutex::default(),
        };
        if let Err(problem) = store.read().await {
            let starts = store
                .settings
                .as_ref()
                .is_some_and(|settings| settings.start_without);
            if !starts {
                return Err(problem);
            }
            error!("serving without the apps of the database: {problem}");
        }
        Ok(Arc::new(store))
    }

    /// Takes the apps of the file and of the environment with what is shown of each, and says what all apps are from now
    /// on. `place` is where people change them.
    #[must_use]
    pub fn with_file(&self, apps: &Apps, shown: Vec<Entries>, place: &str) -> Apps {
        let mut state = self.state();
        let app = |shown: Entries| {
            let id = shown.get("id")?.as_str()?;
            Some((Arc::clone(apps.by_id(id)?), shown))
        };
        state.file = shown.into_iter().filter_map(app).collect();
        place.clone_into(&mut state.file_place);
        state.merged()
    }

    /// The same while the server runs: it holds when this returns.
    pub async fn replace_file(&self, apps: &Apps, shown: Vec<Entries>, place: &str) {
        let _ = self.with_file(apps, shown, place);
        self.apply().await;
    }

    /// Looks at the table again and again, and tells the node what has changed. Runs as long as the server.
    pub async fn keep(self: Arc<Self>, node: Arc<Node>) {
        // It is set once, here.
        let _ = self.node.set(node);
        let Some(settings) = &self.settings else {
            return std::future::pending().await;
        };
        let mut pause = settings.refresh;
        loop {
            tokio::time::sleep(pause).await;
            match self.read().await {
                Ok(changed) => {
                    pause = settings.refresh;
                    if changed {
                        self.apply().await;
                    }
                }
                Err(_) => pause = (pause * 2).min(LONGEST_PAUSE).max(settings.refresh),
            }
        }
    }

    /// Puts what is known into effect.
    pub async fn apply(&self) {
        let _alone = self.applying.lock().await;
        let Some(node) = self.node.get() else {
            return;
        };
        let apps = self.state().merged();
        if let Err(problem) = node.webhooks().reload(&apps).await {
            error!("the webhooks stay as they were: {problem}");
        }
        node.reload(apps).await;
    }

    /// Reads the table if it is another than the last time. Says whether it was.
    async fn read(&self) -> Result<bool, Error> {
        let Some(settings) = &self.settings else {
            return Ok(false);
        };
        let mut table = self.table.lock().await;
        let read = async {
            if table.is_none() {
                *table = Some(Table::open(settings).await?);
            }
            match &*table {
                Some(table) => self.changed(table).await,
                None => Ok(None),
            }
        };
        let read = read.await;
        let mut state = self.state();
        match read {
            Ok(changed) => {
                if let Some((since, _)) = state.away.take() {
                    let away = since.elapsed().unwrap_or_default().as_secs();
                    info!(seconds = away, "the database of apps is back");
                }
                state.read_at = Some(SystemTime::now());
                let Some((version, rows)) = changed else {
                    return Ok(false);
                };
                state.version = version;
                Ok(state.take_rows(rows, &self.reader))
            }
            Err(problem) => {
                if state.away.is_none() {
                    error!("the database of apps is away, their last state goes on: {problem}");
                }
                let since = state
                    .away
                    .take()
                    .map_or_else(SystemTime::now, |(since, _)| since);
                state.away = Some((since, problem.to_string()));
                Err(problem)
            }
        }
    }

    async fn changed(&self, table: &Table) -> Result<Option<(String, Vec<Row>)>, Error> {
        let columns = table.columns().await?;
        let version = table.version(&columns).await?;
        if version == self.state().version {
            return Ok(None);
        }
        let rows = table.rows(&columns).await?;
        Ok(Some((version, rows)))
    }

    /// How the table is doing; none if there is none.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.settings.as_ref()?;
        let state = self.state();
        let broken = state.rows.iter().filter_map(|(id, known)| {
            let problems = known.outcome.as_ref().err()?;
            Some((id.clone(), texts(problems)))
        });
        Some(Status {
            rows: state.rows.len(),
            broken: broken.collect(),
            read_at: state.read_at,
            away: state.away.clone(),
        })
    }

    /// All apps, by their ids.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let state = self.state();
        let file = state.file.iter().map(|(app, shown)| of_file(app, shown));
        let mut all: Vec<Listed> = file.collect();
        let ids: HashSet<String> = all.iter().map(|listed| listed.id.clone()).collect();
        let rows = state.rows.iter().filter(|(id, _)| !ids.contains(*id));
        all.extend(rows.map(|(id, known)| of_table(id, known)));
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// One app.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Listed> {
        let state = self.state();
        let file = state.file.iter().find(|(app, _)| app.id.as_str() == id);
        if let Some((app, shown)) = file {
            return Some(of_file(app, shown));
        }
        state.rows.get(id).map(|known| of_table(id, known))
    }

    /// Adds an app; what is left out of id, key and secret is made. Answers it with its secret.
    ///
    /// # Errors
    /// It is not added then.
    pub async fn create(&self, mut said: Entries) -> Result<Listed, WriteError> {
        let id = match said.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(other) => other.to_string(),
            None => (rand::random::<u64>() % MADE_DIGITS + MADE_DIGITS).to_string(),
        };
        said.insert("id".to_owned(), id.clone().into());
        for name in ["key", "secret"] {
            if name == "key" || !said.contains_key("secrets") {
                said.entry(name).or_insert_with(|| made_text().into());
            }
        }
        let app = self.reader.app(&said).map_err(WriteError::Invalid)?;
        {
            let guard = self.table.lock().await;
            let table = self.writable(&guard)?;
            self.check_free(&app, None)?;
            let columns = table.columns().await?;
            let entries = to_row(said.clone(), &columns, table)?;
            if !table.insert(&entries).await? {
                return Err(WriteError::Taken("the id"));
            }
        }
        self.refresh().await?;
        let mut listed = self.get(&id).ok_or_else(|| WriteError::NoApp(id.clone()))?;
        for name in ["secret", "secrets"] {
            if let Some(secret) = said.get(name) {
                listed.shown.insert(name.to_owned(), secret.clone());
            }
        }
        Ok(listed)
    }

    /// Changes an app. `tag`, if it is given, is what the operator saw.
    ///
    /// # Errors
    /// It stays as it was then.
    pub async fn change(
        &self,
        id: &str,
        change: &Change,
        tag: Option<&str>,
    ) -> Result<Listed, WriteError> {
        {
            let guard = self.table.lock().await;
            let table = self.writable_app(&guard, id)?;
            let columns = table.columns().await?;
            let row = table
                .row(&columns, id)
                .await?
                .ok_or_else(|| WriteError::NoApp(id.to_owned()))?;
            check_tag(&row.json, tag)?;
            let mut said =
                said_of(&row.json).map_err(|problem| WriteError::Invalid(vec![problem]))?;
            change.apply(&mut said)?;
            let app = self.reader.app(&said).map_err(WriteError::Invalid)?;
            if app.id.as_str() != id {
                let text = "an app keeps its id: create another one";
                return Err(invalid("id", text));
            }
            self.check_free(&app, Some(id))?;
            let entries = to_row(said, &columns, table)?;
            if !table.update(&columns, &row, &entries).await? {
                return Err(WriteError::Changed);
            }
        }
        self.refresh().await?;
        self.get(id).ok_or_else(|| WriteError::NoApp(id.to_owned()))
    }

    /// Deletes an app.
    ///
    /// # Errors
    /// It stays then.
    pub async fn delete(&self, id: &str, tag: Option<&str>) -> Result<(), WriteError> {
        {
            let guard = self.table.lock().await;
            let table = self.writable_app(&guard, id)?;
            let columns = table.columns().await?;
            let row = table
                .row(&columns, id)
                .await?
                .ok_or_else(|| WriteError::NoApp(id.to_owned()))?;
            check_tag(&row.json, tag)?;
            if !table.delete(&columns, &row).await? {
                return Err(WriteError::Changed);
            }
        }
        self.refresh().await
    }

    /// Reads what was just written, and puts it into effect before anybody is answered.
    async fn refresh(&self) -> Result<(), WriteError> {
        // In SQLite the watching connection does not see a change of another one of this process in every case.
        self.state().version.clear();
        if self.read().await? {
            self.apply().await;
        }
        Ok(())
    }

    fn writable<'t>(&self, table: &'t Option<Table>) -> Result<&'t Table, WriteError> {
        let state = self.state();
        match (table, &self.settings, &state.away) {
            (_, None, _) => {
                let text = format!(
                    "apps are in {}: change them there, or set url in [app_store] to keep apps in a database",
                    state.file_place
                );
                Err(WriteError::ReadOnly(text))
            }
            (Some(table), ..) => Ok(table),
            (None, _, away) => {
                let why = away.as_ref().map_or("", |(_, why)| why.as_str());
                Err(WriteError::ReadOnly(format!(
                    "the database of apps has not been reached: {why}"
                )))
            }
        }
    }

    fn writable_app<'t>(
        &self,
        table: &'t Option<Table>,
        id: &str,
    ) -> Result<&'t Table, WriteError> {
        let state = self.state();
        if state.file.iter().any(|(app, _)| app.id.as_str() == id) {
            let text = format!("app {id:?} is in {}: change it there", state.file_place);
            return Err(WriteError::ReadOnly(text));
        }
        drop(state);
        self.writable(table)
    }

    /// Two apps with one id or one key: nobody could say which is meant. The table of Soketi does not see to it.
    fn check_free(&self, app: &App, but: Option<&str>) -> Result<(), WriteError> {
        let state = self.state();
        let rows = state
            .rows
            .values()
            .filter_map(|known| known.outcome.as_ref().ok());
        let mut others = state.file.iter().chain(rows).map(|(other, _)| other);
        if but.is_none() && state.rows.contains_key(app.id.as_str()) {
            return Err(WriteError::Taken("the id"));
        }
        let taken = others.find(|other| {
            but != Some(other.id.as_str()) && (other.id == app.id || other.key == app.key)
        });
        match taken {
            Some(other) if other.id == app.id => Err(WriteError::Taken("the id")),
            Some(_) => Err(WriteError::Taken("the key")),
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes another reading of the table; rows that are as they were keep their apps. Says whether anything is another.
    fn take_rows(&mut self, rows: Vec<Row>, reader: &AppReader) -> bool {
        let mut former = std::mem::take(&mut self.rows);
        let (before, mut kept) = (former.len(), 0);
        for Row { id, json } in rows {
            let known = match former.remove(&id) {
                Some(known) if known.json == json => {
                    kept += 1;
                    known
                }
                _ => Known::read(&id, json, reader),
            };
            self.rows.insert(id, known);
        }
        kept != before || kept != self.rows.len()
    }

    /// The apps of the file, and of the table those whose id and key are not taken.
    fn merged(&self) -> Apps {
        let mut apps: Vec<Arc<App>> = self.file.iter().map(|(app, _)| Arc::clone(app)).collect();
        let mut ids: HashMap<&str, &'static str> = HashMap::new();
        let mut keys: HashMap<&str, String> = HashMap::new();
        for (app, _) in &self.file {
            ids.insert(app.id.as_str(), "of the file");
            keys.insert(app.key.as_str(), format!("app {} of the file", app.id));
        }
        for (id, known) in &self.rows {
            let Ok((app, _)) = &known.outcome else {
                continue;
            };
            if let Some(whose) = ids.get(id.as_str()) {
                warn!(
                    app = id,
                    "the row of this app in the database has no effect: the app {whose} wins"
                );
                continue;
            }
            if let Some(other) = keys.get(app.key.as_str()) {
                warn!(
                    app = id,
                    "the row of this app in the database has no effect: {other} has its key"
                );
                continue;
            }
            keys.insert(app.key.as_str(), format!("app {id} of the database"));
            apps.push(Arc::clone(app));
        }
        Apps::of(apps)
    }
}

impl Known {
    fn read(id: &str, json: String, reader: &AppReader) -> Self {
        let said = said_of(&json).map_err(|problem| vec![problem]);
        let outcome = said.and_then(|said| {
            let app = reader.app(&said)?;
            Ok((Arc::new(app), app_shown(&said)))
        });
        if let Err(problems) = &outcome {
            error!(
                app = id,
                "the row of this app in the database is wrong, the app is disabled: {}",
                texts(problems)
            );
        }
        Self { json, outcome }
    }
}

impl Change {
    fn apply(&self, said: &mut Entries) -> Result<(), WriteError> {
        match self {
            Self::Patch(patch) => merge(said, patch),
            Self::AddSecret(secret) => {
                let mut secrets = taken_secrets(said);
                secrets.push(secret.clone().into());
                put_secrets(said, secrets);
            }
            Self::RemoveSecret(number) => {
                let mut secrets = taken_secrets(said);
                if *number >= secrets.len() {
                    return Err(WriteError::NoSecret(*number));
                }
                if secrets.len() == 1 {
                    return Err(WriteError::LastSecret);
                }
                secrets.remove(*number);
                put_secrets(said, secrets);
            }
        }
        Ok(())
    }
}

/// All secrets in the order of verification.
fn taken_secrets(said: &mut Entries) -> Vec<Value> {
    let first = said.remove("secret");
    let further = said.remove("secrets");
    let further = further.and_then(|list| list.as_array().cloned());
    first
        .into_iter()
        .chain(further.unwrap_or_default())
        .collect()
}

/// The first in the column that Soketi has for it.
fn put_secrets(said: &mut Entries, secrets: Vec<Value>) {
    let mut secrets = secrets.into_iter();
    if let Some(first) = secrets.next() {
        said.insert("secret".to_owned(), first);
    }
    let further: Vec<Value> = secrets.collect();
    if !further.is_empty() {
        said.insert("secrets".to_owned(), further.into());
    }
}

/// RFC 7396.
fn merge(target: &mut Entries, patch: &Entries) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.remove(key)),
            Value::Object(inner) => {
                let entry = target.entry(key).or_insert_with(|| json!({}));
                if !entry.is_object() {
                    *entry = json!({});
                }
                if let Value::Object(entry) = entry {
                    merge(entry, inner);
                }
            }
            value => drop(target.insert(key.clone(), value.clone())),
        }
    }
}

fn of_file(app: &App, shown: &Entries) -> Listed {
    Listed {
        id: app.id.as_str().to_owned(),
        origin: Origin::File,
        shown: shown.clone(),
        problems: Vec::new(),
        tag: None,
    }
}

fn of_table(id: &str, known: &Known) -> Listed {
    let (shown, problems) = match &known.outcome {
        Ok((_, shown)) => (shown.clone(), Vec::new()),
        Err(problems) => (
            Entries::from_iter([("id".to_owned(), json!(id))]),
            problems.clone(),
        ),
    };
    Listed {
        id: id.to_owned(),
        origin: Origin::Table,
        shown,
        problems,
        tag: Some(tag_of(&known.json)),
    }
}

fn check_tag(json: &str, tag: Option<&str>) -> Result<(), WriteError> {
    match tag {
        Some(tag) if tag != tag_of(json) => Err(WriteError::Changed),
        _ => Ok(()),
    }
}

fn tag_of(json: &str) -> String {
    hex::encode(&Sha256::digest(json)[..8])
}

fn said_of(json: &str) -> Result<Entries, InvalidField> {
    match serde_json::from_str(json) {
        Ok(Value::Object(row)) => app_said(&row),
        // The database has made it.
        _ => Err(InvalidField {
            field: String::new(),
            text: "the row is no JSON object".to_owned(),
        }),
    }
}

/// A row of what is said, or why the table has no place for it.
fn to_row(said: Entries, columns: &Columns, table: &Table) -> Result<Entries, WriteError> {
    let (mut row, rest) = app_row(said, |name| columns.has(name));
    if columns.has(OWN_COLUMN) {
        let own = if rest.is_empty() {
            Value::Null
        } else {
            Value::Object(rest).to_string().into()
        };
        row.insert(OWN_COLUMN.to_owned(), own);
    } else if let Some(key) = rest.keys().next() {
        return Err(WriteError::ReadOnly(format!(
            "the table has no column for {key}: add one with {}",
            table.add_own_column()
        )));
    }
    Ok(row)
}

fn invalid(field: &str, text: &str) -> WriteError {
    WriteError::Invalid(vec![InvalidField {
        field: field.to_owned(),
        text: text.to_owned(),
    }])
}

/// A key or a secret that nobody can guess.
pub fn made_text() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), MADE_LENGTH)
}
