//! Apps that live in a database: `[app_store]`. [`AppStore`] has the apps of the file and of the table as one; its
//! [`Keeper`] reads the table again and again and writes what operators change.
//!
//! A row that is wrong disables its app alone. While the database is away the last state goes on. Knows no HTTP and no
//! node; what a row means is `config`'s to say.

mod change;
mod dialect;
mod keeper;
mod session;
mod state;
mod store;
mod table;

pub use change::{Change, WriteError, made_text};
pub use keeper::Keeper;
pub use state::{Listed, Origin, Status};
pub use store::AppStore;
pub use table::Error;
