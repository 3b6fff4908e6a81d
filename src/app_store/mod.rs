//! Apps that live in a database: `[app_store]`. [`AppStore`] reads the table of apps again and again, puts what it finds
//! beside the apps of the file, and writes what operators change.
//!
//! A row that is wrong disables its app alone. While the database is away the last state goes on. Knows no HTTP; what a
//! row means is `config`'s to say.

mod directory;
mod table;

pub use directory::{AppStore, Change, Listed, Origin, Status, WriteError, made_text};

/// Why the table cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No database that is known.
    #[error("the url begins with none of mysql://, postgres:// and sqlite:")]
    Scheme,
    /// The table is missing.
    #[error(
        "there is no table \"{0}\" in this database: name it with table in [app_store], or let create = true make it"
    )]
    NoTable(String),
    /// It is another table.
    #[error(
        "the table \"{0}\" has no column {1}: apps need id, key and secret, as in Soketi's table"
    )]
    NoColumn(String, String),
    /// There are more rows than a server serves.
    #[error("the table has more than {0} rows")]
    TooMany(usize),
    /// What the database or the way to it says.
    #[error("{}", explained(.0))]
    Database(#[from] sqlx::Error),
}

/// What to do about an error. The library's own text names neither user nor password.
fn explained(error: &sqlx::Error) -> String {
    let hint = match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // Access denied; invalid password, invalid authorization.
            Some("28000" | "28P01" | "1045") => "; check user and password in the url",
            // Unknown database.
            Some("42000" | "3D000" | "1049") => "; check the database's name in the url",
            // Insufficient privilege.
            Some("42501") => "; the user needs the right to read the table",
            Some("14") => "; check that the folder exists and may be written to",
            _ => "",
        },
        sqlx::Error::Io(_) => "; check host and port in the url, and that the database runs",
        sqlx::Error::Tls(_) => "; check ssl-mode or sslmode, and sslrootcert or ssl-ca, in the url",
        sqlx::Error::PoolTimedOut => {
            "; it does not answer: check host and port in the url, and that it runs"
        }
        _ => "",
    };
    format!("{error}{hint}")
}
