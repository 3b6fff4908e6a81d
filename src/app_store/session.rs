//! `Session`: one connection to the database, and the statements that go over it.

use std::time::Duration;

use serde_json::Value;
use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::time::timeout;

use super::dialect::MAX_ROW_BYTES;
use super::table::Error;
use crate::config::{self, Columns, Database, Entries, OWN_COLUMN, Width, app_columns};

/// How long the way to the database may take, and its answer to a question whether it is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// More rows than this are an error.
pub(super) const MAX_ROWS: i64 = 100_000;

/// More bytes of all rows, as JSON, are one too.
pub(super) const MAX_BYTES: i64 = 268_435_456;

/// A connection, and the table that is meant.
pub(super) struct Session {
    database: Database,
    table: String,
    connection: AnyConnection,
}

/// One row.
pub(super) struct Row {
    /// Empty if it has none.
    pub(super) id: String,
    /// The row's columns as a JSON object.
    pub(super) json: String,
    /// Why the row is not to be looked at.
    pub(super) fault: Option<String>,
}

impl Session {
    /// Connects, and creates the table where the settings say so.
    pub(super) async fn open(settings: &config::AppStore) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let mut url = settings.url.clone();
        if settings.database == Database::Sqlite && settings.create && !url.contains("mode=") {
            url.push(if url.contains('?') { '&' } else { '?' });
            url += "mode=rwc";
        }
        let options: AnyConnectOptions = url.parse()?;
        let options = options.disable_statement_logging();
        let connection = timeout(CONNECT_TIMEOUT, options.connect()).await;
        let mut session = Self {
            database: settings.database,
            table: settings.table.clone(),
            connection: connection.map_err(|_| Error::NoAnswer)??,
        };
        if settings.create && session.found_columns().await?.is_empty() {
            session.create().await?;
        }
        Ok(session)
    }

    async fn create(&mut self) -> Result<(), Error> {
        let create = self.database.create(&self.table);
        let created = self.execute(create, Vec::new()).await;
        // Another node may have been faster.
        match self.found_columns().await {
            Ok(found) if !found.is_empty() => Ok(()),
            _ => created.map(drop),
        }
    }

    /// Whether the database still answers.
    pub(super) async fn is_alive(&mut self) -> bool {
        matches!(
            timeout(CONNECT_TIMEOUT, self.connection.ping()).await,
            Ok(Ok(()))
        )
    }

    async fn found_columns(&mut self) -> Result<Vec<(String, i64)>, Error> {
        let name = match self.database {
            // It takes the name as it is written in a statement.
            Database::Postgres => self.database.quoted(&self.table),
            Database::MySql | Database::Sqlite => self.table.clone(),
        };
        let found = sqlx::query(self.database.columns()).bind(name);
        let found = found.fetch_all(&mut self.connection).await?;
        let column = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get(1)?));
        found.iter().map(column).collect()
    }

    /// The known columns that the table has.
    pub(super) async fn columns(&mut self) -> Result<Columns, Error> {
        let found = self.found_columns().await?;
        if found.is_empty() {
            return Err(Error::NoTable(self.table.clone()));
        }
        let is_known = |name: &str| name == OWN_COLUMN || app_columns().any(|known| known == name);
        let width = |is_tiny| match is_tiny {
            1 => Width::Tiny,
            _ => Width::Any,
        };
        let columns = found.into_iter().filter(|(name, _)| is_known(name));
        let columns = columns.map(|(name, is_tiny)| (name, width(is_tiny)));
        let columns: Columns = columns.collect();
        let missing = ["id", "key", "secret"].into_iter();
        let missing: Vec<&str> = missing
            .filter(|name| !columns.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            return Err(Error::NoColumn(self.table.clone(), missing.join(", ")));
        }
        Ok(columns)
    }

    /// A text that is another when the table is.
    pub(super) async fn version(&mut self, columns: &Columns) -> Result<String, Error> {
        let version = self.database.version(columns, &self.table);
        let row = sqlx::query(AssertSqlSafe(version));
        let row = row.fetch_one(&mut self.connection).await?;
        let version: String = row.try_get(0)?;
        let names: Vec<&str> = columns.keys().map(String::as_str).collect();
        Ok(format!("{version} {}", names.join(",")))
    }

    /// All rows.
    pub(super) async fn rows(&mut self, columns: &Columns) -> Result<Vec<Row>, Error> {
        let size = self.database.size(columns, &self.table);
        let size = sqlx::query(AssertSqlSafe(size));
        let size = size.fetch_one(&mut self.connection).await?;
        let (rows, bytes): (i64, i64) = (size.try_get(0)?, size.try_get(1)?);
        if rows > MAX_ROWS || bytes > MAX_BYTES {
            return Err(Error::TooMuch { rows, bytes });
        }
        let rows = self.database.rows(columns, &self.table);
        let rows = sqlx::query(AssertSqlSafe(format!("{rows} LIMIT {MAX_ROWS}")));
        let rows = rows.fetch_all(&mut self.connection).await?;
        rows.iter().map(row).collect()
    }

    /// The row of an id, if there is one.
    pub(super) async fn row(&mut self, columns: &Columns, id: &str) -> Result<Option<Row>, Error> {
        let rows = self.database.rows(columns, &self.table);
        let is_id = self.database.is_bound("id", 1);
        let found = sqlx::query(AssertSqlSafe(format!("{rows} WHERE {is_id}"))).bind(id.to_owned());
        let found = found.fetch_optional(&mut self.connection).await?;
        found.as_ref().map(row).transpose()
    }

    /// Adds a row. False: there is one with this id.
    pub(super) async fn insert(&mut self, entries: &Entries) -> Result<bool, Error> {
        let (names, values, from, bound) = self.written(entries);
        let insert = match from {
            Some(from) => format!("SELECT {values} {from}"),
            None => format!("VALUES ({values})"),
        };
        let table = self.database.quoted(&self.table);
        let insert = format!("INSERT INTO {table} ({names}) {insert}");
        match self.execute(insert, bound).await {
            Ok(_) => Ok(true),
            Err(Error::Database(sqlx::Error::Database(error))) if error.is_unique_violation() => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes columns of a row, if it still is what was read. False: it is not.
    pub(super) async fn update(
        &mut self,
        columns: &Columns,
        before: &Row,
        entries: &Entries,
    ) -> Result<bool, Error> {
        let (names, values, from, mut bound) = self.written(entries);
        let sets = match from {
            Some(from) => format!("({names}) = (SELECT {values} {from})"),
            None => {
                let sets = names.split(", ").zip(values.split(", "));
                let sets = sets.map(|(name, value)| format!("{name} = {value}"));
                sets.collect::<Vec<_>>().join(", ")
            }
        };
        let (table, is_before) = (
            self.database.quoted(&self.table),
            self.is(columns, bound.len()),
        );
        bound.extend([before.id.clone().into(), before.json.clone().into()]);
        let update = format!("UPDATE {table} SET {sets} WHERE {is_before}");
        Ok(self.execute(update, bound).await? > 0)
    }

    /// Deletes a row, if it still is what was read. False: it is not.
    pub(super) async fn delete(&mut self, columns: &Columns, before: &Row) -> Result<bool, Error> {
        let (table, is_before) = (self.database.quoted(&self.table), self.is(columns, 0));
        let bound = vec![before.id.clone().into(), before.json.clone().into()];
        let delete = format!("DELETE FROM {table} WHERE {is_before}");
        Ok(self.execute(delete, bound).await? > 0)
    }

    /// Whether a row has an id and columns that are bound behind others.
    fn is(&self, columns: &Columns, others: usize) -> String {
        let id = self.database.is_bound(&self.database.id(), others + 1);
        let row = self
            .database
            .is_bound(&self.database.row(columns), others + 2);
        format!("{id} AND {row}")
    }

    /// The names of columns, what stands for their values, where these come from, and what is bound.
    fn written(&self, entries: &Entries) -> (String, String, Option<String>, Vec<Value>) {
        let names: Vec<String> = entries
            .keys()
            .map(|name| self.database.quoted(name))
            .collect();
        if self.database == Database::Postgres {
            // It knows itself which type each column has.
            let table = self.database.quoted(&self.table);
            let from = format!("FROM json_populate_record(NULL::{table}, $1::json) AS n");
            let values: Vec<String> = names.iter().map(|name| format!("n.{name}")).collect();
            let bound = vec![Value::Object(entries.clone()).to_string().into()];
            return (names.join(", "), values.join(", "), Some(from), bound);
        }
        let places = entries
            .values()
            .map(|value| if value.is_null() { "NULL" } else { "?" });
        let bound = entries.values().filter(|value| !value.is_null()).cloned();
        (
            names.join(", "),
            places.collect::<Vec<_>>().join(", "),
            None,
            bound.collect(),
        )
    }

    /// How many rows it concerned.
    async fn execute(&mut self, statement: String, bound: Vec<Value>) -> Result<u64, Error> {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for value in bound {
            query = match value {
                Value::Number(number) if number.is_i64() => query.bind(number.as_i64()),
                Value::String(text) => query.bind(text),
                other => query.bind(other.to_string()),
            };
        }
        Ok(query.execute(&mut self.connection).await?.rows_affected())
    }
}

fn row(row: &AnyRow) -> Result<Row, Error> {
    let (id, json): (Option<String>, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    let fault = match (&id, &json) {
        (None, _) => Some("the row has no id".to_owned()),
        (_, None) => Some(format!("the row has more than {MAX_ROW_BYTES} bytes")),
        _ => None,
    };
    let (id, json) = (id.unwrap_or_default(), json.unwrap_or_default());
    Ok(Row { id, json, fault })
}
