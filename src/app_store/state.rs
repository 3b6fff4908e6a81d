//! `State`: what is known of all apps, the file's and the table's, and which of the rows have no effect.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use tracing::{error, warn};

use super::change::{tag_of, texts};
use super::session::Row;
use crate::app::{App, Apps};
use crate::config::{
    AppReader, Entries, FileApps, InvalidField, app_said, app_shown, left_out_of_row,
};

/// Of so many rows at a time the log says what is wrong; of the others how many they are.
const LOGGED_ROWS: usize = 10;

/// Where an app is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The file or the environment: it is changed there.
    File,
    /// The table.
    Table,
}

/// An app as operators see it.
#[derive(Debug)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Where it is defined.
    pub origin: Origin,
    /// All its keys, secrets masked; of a wrong row only the id.
    pub shown: Entries,
    /// What is wrong with its row; empty if nothing is.
    pub problems: Vec<InvalidField>,
    /// The tag of its row, which a change can name to be refused if the row has changed; none for apps of the file.
    pub tag: Option<String>,
}

/// The state of the table.
#[derive(Debug)]
pub struct Status {
    /// The number of rows.
    pub rows: usize,
    /// The rows that are wrong or have no effect: the id, and why.
    pub broken: Vec<(String, String)>,
    /// When it was read last.
    pub read_at: Option<SystemTime>,
    /// Since when the database is away, and why.
    pub away: Option<(SystemTime, String)>,
}

/// What is known.
#[derive(Default)]
pub(super) struct State {
    /// The apps of the file and of the environment, by their ids.
    file: BTreeMap<String, Arc<App>>,
    file_shown: Option<FileApps>,
    rows: Rows,
    /// Why rows have no effect that are right in themselves, by their ids.
    shadowed: BTreeMap<String, String>,
    /// Becomes another with what the apps are.
    pub(super) revision: u64,
    pub(super) away: Option<(SystemTime, String)>,
    pub(super) read_at: Option<SystemTime>,
}

/// The rows of one reading, by their ids.
pub(super) type Rows = BTreeMap<String, Arc<Known>>;

/// A row, as it was read last.
pub(super) struct Known {
    json: String,
    outcome: Result<Arc<App>, Vec<InvalidField>>,
}

impl State {
    pub(super) fn rows(&self) -> Rows {
        self.rows.clone()
    }

    /// Where people change the apps of the file.
    pub(super) fn file_place(&self) -> &str {
        self.file_shown
            .as_ref()
            .map_or("the file", |file| &file.place)
    }

    pub(super) fn is_of_file(&self, id: &str) -> bool {
        self.file.contains_key(id)
    }

    pub(super) fn take_file(&mut self, apps: &Apps, shown: FileApps) {
        let apps = apps.iter();
        self.file = apps
            .map(|app| (app.id.as_str().to_owned(), Arc::clone(app)))
            .collect();
        self.file_shown = Some(shown);
        self.settle();
    }

    pub(super) fn take_rows(&mut self, rows: Rows) {
        self.rows = rows;
        self.settle();
    }

    /// Finds the rows whose id or key is another app's.
    fn settle(&mut self) {
        let mut shadowed = BTreeMap::new();
        let place = self.file_place();
        let of_file = self.file.iter();
        let mut keys: HashMap<&str, String> = of_file
            .map(|(id, app)| (app.key.as_str(), format!("app {id} of {place}")))
            .collect();
        for (id, known) in &self.rows {
            let Ok(app) = &known.outcome else { continue };
            if self.file.contains_key(id) {
                shadowed.insert(id.clone(), format!("the app of {place} with this id wins"));
            } else if let Some(other) = keys.get(app.key.as_str()) {
                shadowed.insert(id.clone(), format!("{other} has its key"));
            } else {
                keys.insert(app.key.as_str(), format!("app {id} of the table"));
            }
        }
        for (id, why) in &shadowed {
            if self.shadowed.get(id) != Some(why) {
                warn!(
                    app = id,
                    "the row of this app in the database has no effect: {why}"
                );
            }
        }
        self.shadowed = shadowed;
        self.revision += 1;
    }

    /// All apps that have effect.
    pub(super) fn apps(&self) -> Apps {
        let rows = self.rows.iter();
        let rows = rows.filter(|(id, _)| !self.shadowed.contains_key(*id));
        let of_table = rows.filter_map(|(_, known)| known.outcome.as_ref().ok());
        Apps::of(self.file.values().chain(of_table).map(Arc::clone))
    }

    /// Another app, or a row without effect, that has this id or this key.
    pub(super) fn taken(&self, app: &App, is_new: bool) -> Option<&'static str> {
        let id = app.id.as_str();
        if is_new && (self.file.contains_key(id) || self.rows.contains_key(id)) {
            return Some("the id");
        }
        let rows = self
            .rows
            .values()
            .filter_map(|known| known.outcome.as_ref().ok());
        let mut others = self.file.values().chain(rows);
        let has_key = |other: &Arc<App>| other.id != app.id && other.key == app.key;
        others.any(has_key).then_some("the key")
    }

    pub(super) fn status(&self) -> Status {
        let broken = self.rows.iter().filter_map(|(id, known)| {
            let problems = known.outcome.as_ref().err()?;
            Some((id.clone(), texts(problems)))
        });
        let shadowed = self.shadowed.iter();
        let shadowed = shadowed.map(|(id, why)| (id.clone(), format!("it has no effect: {why}")));
        Status {
            rows: self.rows.len(),
            broken: broken.chain(shadowed).collect(),
            read_at: self.read_at,
            away: self.away.clone(),
        }
    }

    /// The ids of all apps behind one that are wanted, in their order.
    pub(super) fn ids(
        &self,
        after: Option<&str>,
        limit: usize,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let fits = |id: &&String| after.is_none_or(|after| id.as_str() > after) && is_wanted(id);
        let of_table = self.rows.keys().filter(|id| !self.file.contains_key(*id));
        let mut ids: Vec<&String> = self.file.keys().chain(of_table).filter(fits).collect();
        ids.sort_unstable();
        ids.into_iter().take(limit).cloned().collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<Listed> {
        if self.file.contains_key(id) {
            return Some(Listed {
                id: id.to_owned(),
                origin: Origin::File,
                shown: self.file_shown.as_ref()?.shown(id)?,
                problems: Vec::new(),
                tag: None,
            });
        }
        let known = self.rows.get(id)?;
        let shadowed = self.shadowed.get(id).into_iter();
        let shadowed = shadowed.map(|why| InvalidField::new("key", format!("no effect: {why}")));
        let (shown, problems) = match &known.outcome {
            Ok(_) => (
                said_of(&known.json).map_or_else(|_| Entries::new(), |said| app_shown(&said)),
                shadowed.collect(),
            ),
            Err(problems) => (
                Entries::from_iter([("id".to_owned(), json!(id))]),
                problems.clone(),
            ),
        };
        Some(Listed {
            id: id.to_owned(),
            origin: Origin::Table,
            shown,
            problems,
            tag: Some(tag_of(&known.json)),
        })
    }
}

/// What a reading of the table makes of the former one: rows that are as they were keep their apps. None: all are.
pub(super) fn read_rows(rows: Vec<Row>, mut former: Rows, reader: &AppReader) -> Option<Rows> {
    let (before, mut kept) = (former.len(), 0);
    let mut all = Rows::new();
    let mut wrong = 0;
    for row in rows {
        let id = row.id.clone();
        let known = match former.remove(&id) {
            Some(known) if known.json == row.json && row.fault.is_none() => {
                kept += 1;
                known
            }
            _ => {
                let known = Known::read(row, reader, wrong < LOGGED_ROWS);
                wrong += usize::from(known.outcome.is_err());
                Arc::new(known)
            }
        };
        if all.insert(id.clone(), known).is_some() {
            all.insert(id.clone(), Arc::new(Known::twice(&id)));
        }
    }
    if wrong > LOGGED_ROWS {
        let more = wrong - LOGGED_ROWS;
        error!(
            "{more} more rows of the database are wrong, their apps are disabled: GET /health says why"
        );
    }
    (kept != before || kept != all.len()).then_some(all)
}

impl Known {
    fn read(row: Row, reader: &AppReader, log: bool) -> Self {
        let outcome = match row.fault {
            Some(fault) => Err(vec![InvalidField::new("", fault)]),
            None => said_of(&row.json)
                .map_err(|problem| vec![problem])
                .and_then(|said| reader.app(&said))
                .map(Arc::new),
        };
        let id = &row.id;
        match &outcome {
            Err(problems) if log => error!(
                app = id,
                "the row of this app in the database is wrong, the app is disabled: {}",
                texts(problems)
            ),
            Ok(_) => {
                let entries = entries_of(&row.json).ok();
                if let Some(left_out) = entries.as_ref().and_then(left_out_of_row) {
                    warn!(app = id, "the row of this app in the database: {left_out}");
                }
            }
            Err(_) => {}
        }
        Self {
            json: row.json,
            outcome,
        }
    }

    /// Nobody could say which of them is meant.
    fn twice(id: &str) -> Self {
        error!(
            app = id,
            "the database has several rows of this id, the app is disabled"
        );
        Self {
            json: String::new(),
            outcome: Err(vec![InvalidField::new("id", "several rows have this id")]),
        }
    }
}

/// A row by its columns.
pub(super) fn entries_of(json: &str) -> Result<Entries, InvalidField> {
    match serde_json::from_str(json) {
        Ok(Value::Object(row)) => Ok(row),
        // The database has made it, but it nests as deep as whoever wrote it liked.
        _ => Err(InvalidField::new("", "the row cannot be read as JSON")),
    }
}

/// What a row says, in the words of the file.
pub(super) fn said_of(json: &str) -> Result<Entries, InvalidField> {
    app_said(&entries_of(json)?)
}
