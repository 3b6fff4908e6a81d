//! `Table`: the table of apps in MySQL, MariaDB, PostgreSQL or SQLite, of which each row is read as one JSON text.
//!
//! Knows which columns the table has, not what they mean. Texts that are put together here are made of the names of the
//! known columns and of the table's, quoted; values are bound.

use std::time::Duration;

use serde_json::Value;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, AssertSqlSafe, ConnectOptions as _, Row as _};
use tokio::sync::Mutex;

use super::Error;
use crate::config::{self, Entries, OWN_COLUMN, app_columns};

/// How long a connection to the database may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections at a time: one that reads, and those of who changes apps.
const CONNECTIONS: u32 = 4;

/// More rows than any server serves.
const MAX_ROWS: usize = 200_000;

/// Which database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    MySql,
    Postgres,
    Sqlite,
}

/// The table and the way to it.
pub(super) struct Table {
    pool: AnyPool,
    dialect: Dialect,
    name: String,
    /// The connection that tells of changes in a file of SQLite, by a number of its own.
    watcher: Mutex<Option<PoolConnection<Any>>>,
}

/// One row.
pub(super) struct Row {
    pub(super) id: String,
    /// The row's columns as a JSON object.
    pub(super) json: String,
}

/// What the table has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns(Vec<String>);

impl Columns {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|column| column == name)
    }
}

impl Dialect {
    fn of(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "mysql" | "mariadb" => Some(Self::MySql),
            "postgres" | "postgresql" => Some(Self::Postgres),
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }

    fn quoted(self, name: &str) -> String {
        let quote = if self == Self::MySql { '`' } else { '"' };
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    }

    /// The place of the bound value with this number, from 1.
    fn bound(self, number: usize) -> String {
        match self {
            Self::Postgres => format!("${number}"),
            Self::MySql | Self::Sqlite => "?".to_owned(),
        }
    }

    /// The columns of a table that is named by a bound value.
    fn columns(self) -> &'static str {
        match self {
            Self::MySql => {
                "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name = ?"
            }
            Self::Postgres => {
                "SELECT attname::text FROM pg_attribute \
                 WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
            }
            Self::Sqlite => "SELECT name FROM pragma_table_info(?)",
        }
    }

    /// A row as one JSON text.
    fn row(self, columns: &Columns) -> String {
        let pairs = columns.0.iter().map(|name| {
            let quoted = self.quoted(name);
            // A file of SQLite holds what was put into it, whatever the column says.
            let value = match self {
                Self::Sqlite => {
                    format!("CASE typeof({quoted}) WHEN 'blob' THEN CAST({quoted} AS TEXT) ELSE {quoted} END")
                }
                Self::MySql | Self::Postgres => quoted,
            };
            format!("'{name}', {value}")
        });
        let pairs = pairs.collect::<Vec<_>>().join(", ");
        match self {
            Self::MySql => format!("CAST(JSON_OBJECT({pairs}) AS CHAR)"),
            Self::Postgres => format!("json_build_object({pairs})::text"),
            Self::Sqlite => format!("json_object({pairs})"),
        }
    }

    /// A text that is another when a row is.
    fn checksum(self, rows: &str) -> String {
        match self {
            Self::MySql => format!(
                "SELECT CAST(CONCAT_WS('-', COUNT(*), SUM(CRC32(j)), \
                 BIT_XOR(CAST(CONV(LEFT(MD5(j), 15), 16, 10) AS UNSIGNED))) AS CHAR) FROM ({rows}) AS r"
            ),
            Self::Postgres => format!(
                "SELECT count(*) || '-' || coalesce(md5(string_agg(md5(j), '' ORDER BY id)), '') FROM ({rows}) AS r"
            ),
            Self::Sqlite => {
                "SELECT CAST(data_version AS TEXT) FROM pragma_data_version()".to_owned()
            }
        }
    }

    fn id_text(self) -> String {
        let id = self.quoted("id");
        match self {
            Self::MySql => format!("CAST({id} AS CHAR)"),
            Self::Postgres | Self::Sqlite => format!("CAST({id} AS TEXT)"),
        }
    }

    /// Soketi's table and the column for what it has no place for.
    fn create(self, name: &str) -> String {
        let (switch, number, json) = match self {
            Self::MySql => ("tinyint(1)", "integer", "json"),
            Self::Postgres => ("smallint", "integer", "json"),
            Self::Sqlite => ("integer", "integer", "text"),
        };
        let text = "varchar(255) not null";
        let mut columns = vec![format!("{} {text} primary key", self.quoted("id"))];
        for name in ["key", "secret"] {
            columns.push(format!("{} {text}", self.quoted(name)));
        }
        columns.push(format!("max_connections {number} not null default -1"));
        for (name, default) in [
            ("enabled", 1),
            ("enable_client_messages", 0),
            ("enable_user_authentication", 0),
        ] {
            columns.push(format!("{name} {switch} not null default {default}"));
        }
        for name in [
            "max_backend_events_per_sec",
            "max_client_events_per_sec",
            "max_read_req_per_sec",
        ] {
            columns.push(format!("{name} {number} not null default -1"));
        }
        for name in [
            "max_presence_members_per_channel",
            "max_presence_member_size_in_kb",
            "max_channel_name_length",
            "max_event_channels_at_once",
            "max_event_name_length",
            "max_event_payload_in_kb",
            "max_event_batch_size",
        ] {
            columns.push(format!("{name} {number}"));
        }
        columns.push(format!("webhooks {json}"));
        columns.push(format!("{OWN_COLUMN} {json}"));
        format!(
            "CREATE TABLE IF NOT EXISTS {} ({})",
            self.quoted(name),
            columns.join(", ")
        )
    }
}

impl Table {
    /// Connects, and creates the table where the settings say so.
    pub(super) async fn open(settings: &config::AppStore) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let url = settings.url.as_str();
        let dialect = Dialect::of(url).ok_or(Error::Scheme)?;
        let creates = settings.create.unwrap_or(dialect == Dialect::Sqlite);
        let url = match dialect {
            Dialect::Sqlite if creates && !url.contains("mode=") => {
                let separator = if url.contains('?') { '&' } else { '?' };
                format!("{url}{separator}mode=rwc")
            }
            _ => url.to_owned(),
        };
        let options: AnyConnectOptions = url.parse()?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_with(options.disable_statement_logging())
            .await?;
        let table = Self {
            pool,
            dialect,
            name: settings.table.clone(),
            watcher: Mutex::new(None),
        };
        if creates {
            let create = dialect.create(&table.name);
            sqlx::query(AssertSqlSafe(create))
                .execute(&table.pool)
                .await?;
        }
        table.columns().await?;
        Ok(table)
    }

    /// The known columns that the table has.
    pub(super) async fn columns(&self) -> Result<Columns, Error> {
        let found = sqlx::query(self.dialect.columns()).bind(self.name_as_value());
        let found: Vec<AnyRow> = found.fetch_all(&self.pool).await?;
        let found: Vec<String> = found
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        if found.is_empty() {
            return Err(Error::NoTable(self.name.clone()));
        }
        let known = app_columns().chain([OWN_COLUMN]);
        let columns = Columns(
            known
                .filter(|name| found.iter().any(|f| f == name))
                .map(str::to_owned)
                .collect(),
        );
        let missing: Vec<&str> = ["id", "key", "secret"]
            .into_iter()
            .filter(|name| !columns.has(name))
            .collect();
        if !missing.is_empty() {
            return Err(Error::NoColumn(self.name.clone(), missing.join(", ")));
        }
        Ok(columns)
    }

    /// PostgreSQL takes the name as it is written in a statement.
    fn name_as_value(&self) -> String {
        match self.dialect {
            Dialect::Postgres => self.quoted_name(),
            Dialect::MySql | Dialect::Sqlite => self.name.clone(),
        }
    }

    fn quoted_name(&self) -> String {
        self.dialect.quoted(&self.name)
    }

    fn select(&self, columns: &Columns) -> String {
        format!(
            "SELECT {} AS id, {} AS j FROM {}",
            self.dialect.id_text(),
            self.dialect.row(columns),
            self.quoted_name()
        )
    }

    /// A text that is another when the table is.
    pub(super) async fn version(&self, columns: &Columns) -> Result<String, Error> {
        let checksum = self.dialect.checksum(&self.select(columns));
        let query = sqlx::query(AssertSqlSafe(checksum));
        let row = if self.dialect == Dialect::Sqlite {
            let mut watcher = self.watcher.lock().await;
            let connection = match &mut *watcher {
                Some(connection) => connection,
                none => none.insert(self.pool.acquire().await?),
            };
            let row = query.fetch_one(&mut **connection).await;
            if row.is_err() {
                // Another one begins to count anew; what it says is compared with nothing of before.
                *watcher = None;
            }
            row?
        } else {
            query.fetch_one(&self.pool).await?
        };
        let version: String = row.try_get(0)?;
        Ok(format!("{version} {}", columns.0.join(",")))
    }

    /// All rows.
    pub(super) async fn rows(&self, columns: &Columns) -> Result<Vec<Row>, Error> {
        let select = format!("{} LIMIT {}", self.select(columns), MAX_ROWS + 1);
        let rows = sqlx::query(AssertSqlSafe(select))
            .fetch_all(&self.pool)
            .await?;
        if rows.len() > MAX_ROWS {
            return Err(Error::TooMany(MAX_ROWS));
        }
        rows.iter().map(row).collect()
    }

    /// One row, if there is one.
    pub(super) async fn row(&self, columns: &Columns, id: &str) -> Result<Option<Row>, Error> {
        let select = format!(
            "{} WHERE {} = {}",
            self.select(columns),
            self.dialect.id_text(),
            self.dialect.bound(1)
        );
        let found = sqlx::query(AssertSqlSafe(select)).bind(id.to_owned());
        let found = found.fetch_optional(&self.pool).await?;
        found.as_ref().map(row).transpose()
    }

    /// Adds a row. False: there is one with this id.
    pub(super) async fn insert(&self, entries: &Entries) -> Result<bool, Error> {
        let names: Vec<String> = entries
            .keys()
            .map(|name| self.dialect.quoted(name))
            .collect();
        let insert = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            self.quoted_name(),
            names.join(", "),
            self.places(entries).join(", ")
        );
        match self.execute(insert, entries, &[]).await {
            Ok(_) => Ok(true),
            Err(Error::Database(sqlx::Error::Database(error))) if error.is_unique_violation() => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a row, if it still is what was read. False: it is not.
    pub(super) async fn update(
        &self,
        columns: &Columns,
        before: &Row,
        entries: &Entries,
    ) -> Result<bool, Error> {
        let places = self.places(entries);
        let sets = entries.keys().zip(&places);
        let sets = sets.map(|(name, place)| format!("{} = {place}", self.dialect.quoted(name)));
        let bound = entries.values().filter(|value| !value.is_null()).count();
        let update = format!(
            "UPDATE {} SET {} WHERE {} = {} AND {} = {}",
            self.quoted_name(),
            sets.collect::<Vec<_>>().join(", "),
            self.dialect.id_text(),
            self.dialect.bound(bound + 1),
            self.dialect.row(columns),
            self.dialect.bound(bound + 2),
        );
        let changed = self
            .execute(update, entries, &[&before.id, &before.json])
            .await?;
        // MySQL counts rows that became another only: writing what is there already is a success too.
        Ok(changed > 0
            || self
                .row(columns, &before.id)
                .await?
                .is_some_and(|row| row.json == before.json))
    }

    /// Deletes a row, if it still is what was read.
    pub(super) async fn delete(&self, columns: &Columns, before: &Row) -> Result<bool, Error> {
        let delete = format!(
            "DELETE FROM {} WHERE {} = {} AND {} = {}",
            self.quoted_name(),
            self.dialect.id_text(),
            self.dialect.bound(1),
            self.dialect.row(columns),
            self.dialect.bound(2),
        );
        Ok(self
            .execute(delete, &Entries::new(), &[&before.id, &before.json])
            .await?
            > 0)
    }

    /// The statement that adds the column for what Soketi's have no place for.
    pub(super) fn add_own_column(&self) -> String {
        let kind = match self.dialect {
            Dialect::MySql | Dialect::Postgres => "json",
            Dialect::Sqlite => "text",
        };
        format!(
            "ALTER TABLE {} ADD COLUMN {OWN_COLUMN} {kind}",
            self.quoted_name()
        )
    }

    /// What stands in a statement for each value; those that are null are written, as a bound one would have a type.
    fn places(&self, entries: &Entries) -> Vec<String> {
        let mut number = 0;
        let place = |(name, value): (&String, &Value)| {
            if value.is_null() {
                return "NULL".to_owned();
            }
            number += 1;
            let bound = self.dialect.bound(number);
            match (self.dialect, name.as_str()) {
                (Dialect::Postgres, OWN_COLUMN | "webhooks") => format!("{bound}::json"),
                _ => bound,
            }
        };
        entries.iter().map(place).collect()
    }

    async fn execute(
        &self,
        statement: String,
        entries: &Entries,
        further: &[&str],
    ) -> Result<u64, Error> {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for value in entries.values() {
            query = match value {
                Value::Null => query,
                Value::Number(number) if number.is_i64() => query.bind(number.as_i64()),
                Value::String(text) => query.bind(text.clone()),
                other => query.bind(other.to_string()),
            };
        }
        for text in further {
            query = query.bind((*text).to_owned());
        }
        Ok(query.execute(&self.pool).await?.rows_affected())
    }
}

fn row(row: &AnyRow) -> Result<Row, Error> {
    Ok(Row {
        id: row.try_get(0)?,
        json: row.try_get(1)?,
    })
}
