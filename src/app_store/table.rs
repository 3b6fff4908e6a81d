//! `Table`: the way to the table of apps, and what went wrong on it.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use sqlx::mysql::MySqlDatabaseError;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::timeout;

use super::session::{MAX_BYTES, MAX_ROWS, Row, Session};
use crate::config::{self, Database};

/// How long a database may think about what it is asked, all in all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the table cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table is missing.
    #[error(
        "there is no table \"{0}\" in this database: name it with table in [app_store], or have it made with create = true"
    )]
    NoTable(String),
    /// It is another table.
    #[error(
        "the table \"{0}\" has no column {1}: apps need id, key and secret, as in Soketi's table"
    )]
    NoColumn(String, String),
    /// There is more than a server serves.
    #[error(
        "the table has {rows} rows of {bytes} bytes, more than {MAX_ROWS} or more than {MAX_BYTES}"
    )]
    TooMuch {
        /// Rows.
        rows: i64,
        /// Bytes of their JSON.
        bytes: i64,
    },
    /// Nothing is heard.
    #[error(
        "no answer in time; check host and port in the url, and that the database runs and is not overloaded"
    )]
    NoAnswer,
    /// What the database or the way to it says.
    #[error("{}", explained(.0))]
    Database(#[from] sqlx::Error),
}

/// What to do about an error. The library's own text names no password.
fn explained(error: &sqlx::Error) -> String {
    const TLS: &str =
        "; check ssl-mode and ssl-ca (MySQL) or sslmode and sslrootcert (PostgreSQL) in the url";
    const PLACE: &str = "; check host and port in the url, and that the database runs";
    let text = error.to_string();
    let hint = match error {
        sqlx::Error::Database(error) => {
            let number = error.try_downcast_ref::<MySqlDatabaseError>();
            match (
                number.map(MySqlDatabaseError::number),
                error.code().as_deref(),
            ) {
                // It says so too of a user that may come over TLS only.
                (Some(1045), _) => {
                    "; check user and password in the url, and ssl-mode=REQUIRED if it asks for TLS"
                }
                (None, Some("28P01")) => "; check user and password in the url",
                (Some(1049), _) | (None, Some("3D000")) => "; check the database's name in the url",
                (Some(1044 | 1142 | 1143), _) | (None, Some("42501")) => {
                    "; the user needs the right to read the table, and to write it where apps are changed here"
                }
                // Only over TLS; not from this address, or not without TLS.
                (Some(3159 | 1130), _) | (None, Some("28000")) => {
                    "; check user and host, and ssl-mode=REQUIRED or sslmode=require in the url if it asks for TLS"
                }
                (None, Some("14")) => {
                    "; check that the file is there, or that its folder exists and may be written to"
                }
                (None, Some("8")) => "; the server may not write this file",
                _ => "",
            }
        }
        sqlx::Error::Tls(_) => TLS,
        sqlx::Error::Io(_) if text.contains("certificate") => TLS,
        sqlx::Error::Io(_) => PLACE,
        _ => "",
    };
    format!("{text}{hint}")
}

/// Which file one is, whatever its name: device and number.
type FileId = (u64, u64);

/// That of a file of SQLite, which may be replaced by another, as by one that was saved.
fn file_id(settings: &config::AppStore) -> Option<FileId> {
    if settings.database != Database::Sqlite {
        return None;
    }
    let options: SqliteConnectOptions = settings.url.parse().ok()?;
    let file = std::fs::metadata(options.get_filename()).ok()?;
    Some((file.dev(), file.ino()))
}

/// The table, and a connection if there is one.
pub(super) struct Table {
    /// Nothing is created any more once there was a connection: a file that has gone is no file without apps.
    pub(super) settings: config::AppStore,
    session: Option<Session>,
    /// The file of SQLite that the connection has open.
    file: Option<FileId>,
    /// What the table was when it was read last over this connection.
    seen: Option<String>,
}

impl Table {
    pub(super) fn new(settings: config::AppStore) -> Self {
        Self {
            settings,
            session: None,
            file: None,
            seen: None,
        }
    }

    /// All rows, if the table is another than the last time.
    pub(super) async fn changes(&mut self) -> Result<Option<Vec<Row>>, Error> {
        let session = self.session().await?;
        let seen = self.seen.take();
        let (seen, rows) = self
            .run(session, async |session| {
                let columns = session.columns().await?;
                let version = session.version(&columns).await?;
                if seen.as_ref() == Some(&version) {
                    return Ok((version, None));
                }
                Ok::<_, Error>((version, Some(session.rows(&columns).await?)))
            })
            .await?;
        self.seen = Some(seen);
        Ok(rows)
    }

    /// Has something written. What the table is then is read as a change.
    pub(super) async fn write<T, E: From<Error>>(
        &mut self,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        let session = self.session().await?;
        // SQLite tells a connection of what others change only.
        self.seen = None;
        self.run(session, work).await
    }

    /// The connection that is there and answers, or another one.
    async fn session(&mut self) -> Result<Session, Error> {
        let file = file_id(&self.settings);
        if let Some(mut session) = self.session.take()
            && file == self.file
            && session.is_alive().await
        {
            return Ok(session);
        }
        self.seen = None;
        let session = Session::open(&self.settings).await?;
        self.settings.create = false;
        self.file = file_id(&self.settings);
        Ok(session)
    }

    /// A connection over which something failed is not used again.
    async fn run<T, E: From<Error>>(
        &mut self,
        mut session: Session,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        let done = timeout(TIMEOUT, work(&mut session)).await;
        let done = done.unwrap_or_else(|_| Err(Error::NoAnswer.into()));
        if done.is_ok() {
            self.session = Some(session);
        }
        done
    }
}
