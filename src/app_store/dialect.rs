//! What the databases say differently: the texts of statements. They are made of the names of known columns and of the
//! table's name, quoted; values are bound.

use crate::config::{Columns, Database, OWN_COLUMN};

/// The longest row that is read, as JSON.
pub(super) const MAX_ROW_BYTES: usize = 1_048_576;

/// Soketi's columns that may not be null, and those that may.
const LIMITS: [&str; 4] = [
    "max_connections",
    "max_backend_events_per_sec",
    "max_client_events_per_sec",
    "max_read_req_per_sec",
];
const NULLABLE: [&str; 7] = [
    "max_presence_members_per_channel",
    "max_presence_member_size_in_kb",
    "max_channel_name_length",
    "max_event_channels_at_once",
    "max_event_name_length",
    "max_event_payload_in_kb",
    "max_event_batch_size",
];

impl Database {
    pub(super) fn quoted(self, name: &str) -> String {
        match self {
            Self::MySql => format!("`{name}`"),
            Self::Postgres | Self::Sqlite => format!("\"{name}\""),
        }
    }

    /// The place of the bound value with this number, from 1.
    pub(super) fn bound(self, number: usize) -> String {
        match self {
            Self::Postgres => format!("${number}"),
            Self::MySql | Self::Sqlite => "?".to_owned(),
        }
    }

    /// The columns of the table that a bound value names, and whether each holds small numbers only (1).
    pub(super) fn columns(self) -> &'static str {
        match self {
            Self::MySql => {
                "SELECT CAST(column_name AS CHAR), CAST(data_type = 'tinyint' AS SIGNED) \
                 FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?"
            }
            Self::Postgres => {
                "SELECT attname::text, 0::bigint FROM pg_attribute \
                 WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
            }
            Self::Sqlite => "SELECT name, 0 FROM pragma_table_info(?)",
        }
    }

    /// A row as one JSON text.
    pub(super) fn row(self, columns: &Columns) -> String {
        let pairs = columns.keys().map(|name| {
            let quoted = self.quoted(name);
            // A file of SQLite holds what was put into it, whatever the column says.
            let value = match self {
                Self::Sqlite => format!(
                    "CASE typeof({quoted}) WHEN 'blob' THEN CAST({quoted} AS TEXT) ELSE {quoted} END"
                ),
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

    pub(super) fn id(self) -> String {
        let id = self.quoted("id");
        match self {
            Self::MySql => format!("CAST({id} AS CHAR)"),
            Self::Postgres | Self::Sqlite => format!("CAST({id} AS TEXT)"),
        }
    }

    /// Whether a text is the bound value with a number, sign by sign.
    pub(super) fn is_bound(self, text: &str, number: usize) -> String {
        let bound = self.bound(number);
        match self {
            // Its texts are equal in spite of upper and lower case.
            Self::MySql => format!("CAST({text} AS BINARY) = CAST({bound} AS BINARY)"),
            Self::Postgres | Self::Sqlite => format!("{text} = {bound}"),
        }
    }

    /// All rows of a table: the id, and JSON unless it is too long.
    pub(super) fn rows(self, columns: &Columns, table: &str) -> String {
        let bytes = self.bytes_of_row();
        format!(
            "SELECT id, CASE WHEN {bytes} <= {MAX_ROW_BYTES} THEN j END AS j FROM ({}) AS r",
            self.whole_rows(columns, table)
        )
    }

    /// How many rows there are, and the sum of the bytes of their JSON.
    pub(super) fn size(self, columns: &Columns, table: &str) -> String {
        let number = match self {
            Self::MySql => "SIGNED",
            Self::Postgres | Self::Sqlite => "bigint",
        };
        let rows = self.rows(columns, table);
        let bytes = self.bytes_of_row();
        format!(
            "SELECT CAST(COUNT(*) AS {number}), CAST(COALESCE(SUM({bytes}), 0) AS {number}) FROM ({rows}) AS s"
        )
    }

    fn bytes_of_row(self) -> &'static str {
        match self {
            Self::Sqlite => "LENGTH(CAST(j AS BLOB))",
            Self::MySql | Self::Postgres => "OCTET_LENGTH(j)",
        }
    }

    fn whole_rows(self, columns: &Columns, table: &str) -> String {
        let (id, row, table) = (self.id(), self.row(columns), self.quoted(table));
        format!("SELECT {id} AS id, {row} AS j FROM {table}")
    }

    /// A text that is another when a row is, made in the database. SQLite counts changes by others than this connection.
    pub(super) fn version(self, columns: &Columns, table: &str) -> String {
        let rows = self.whole_rows(columns, table);
        match self {
            Self::MySql => format!(
                "SELECT CAST(CONCAT_WS('-', COUNT(*), SUM(CRC32(j)), \
                 BIT_XOR(CAST(CONV(LEFT(MD5(j), 15), 16, 10) AS UNSIGNED))) AS CHAR) FROM ({rows}) AS r"
            ),
            Self::Postgres => format!(
                "SELECT count(*) || '-' || coalesce(md5(string_agg(md5(j), '' ORDER BY md5(j))), '') \
                 FROM ({rows}) AS r"
            ),
            Self::Sqlite => {
                "SELECT CAST(data_version AS TEXT) FROM pragma_data_version()".to_owned()
            }
        }
    }

    /// Soketi's table, and the column for what it has no place for.
    pub(super) fn create(self, table: &str) -> String {
        let (switch, number, json) = match self {
            Self::MySql => ("tinyint(1)", "integer", "json"),
            Self::Postgres => ("smallint", "integer", "json"),
            Self::Sqlite => ("integer", "integer", "text"),
        };
        let text = "varchar(255) not null";
        let mut columns = vec![format!("{} {text} primary key", self.quoted("id"))];
        columns.extend(["key", "secret"].map(|name| format!("{} {text}", self.quoted(name))));
        columns.extend(LIMITS.map(|name| format!("{name} {number} not null default -1")));
        columns.push(format!("enabled {switch} not null default 1"));
        let off = ["enable_client_messages", "enable_user_authentication"];
        columns.extend(off.map(|name| format!("{name} {switch} not null default 0")));
        columns.extend(NULLABLE.map(|name| format!("{name} {number} null")));
        columns.extend(["webhooks", OWN_COLUMN].map(|name| format!("{name} {json} null")));
        format!(
            "CREATE TABLE IF NOT EXISTS {} ({})",
            self.quoted(table),
            columns.join(", ")
        )
    }

    /// The statement that adds the column for what Soketi's have no place for.
    pub(super) fn add_own_column(self, table: &str) -> String {
        let kind = match self {
            Self::MySql | Self::Postgres => "json",
            Self::Sqlite => "text",
        };
        format!(
            "ALTER TABLE {} ADD COLUMN {OWN_COLUMN} {kind} NULL",
            self.quoted(table)
        )
    }
}
