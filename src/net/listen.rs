//! Listening, and how many connections the limit of open files leaves room for.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::limits::Room;

/// Files that are no clients' connections: listeners, pollers, the admin port, webhooks, Redis, what is being read.
const OTHER_FILES: u64 = 100;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({keys}): {source}{}", hint(source))]
pub struct Error {
    /// The keys that say so.
    keys: &'static str,
    /// The address as configured.
    address: String,
    /// What the system says.
    source: io::Error,
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            ". Something else listens there: stop it, or set another port (0: any free one)"
        }
        io::ErrorKind::PermissionDenied => ". Ports below 1024 need a privilege: set another port",
        io::ErrorKind::AddrNotAvailable => {
            ". This machine has no such address: 0.0.0.0 stands for all it has"
        }
        _ => "",
    }
}

/// Listens on an address. `keys` are the settings to change where that fails.
///
/// # Errors
/// The system refuses, or the host has no address.
pub fn listen(keys: &'static str, host: &str, port: u16) -> Result<TcpListener, Error> {
    let failed = |source| Error {
        keys,
        address: format!("{host}:{port}"),
        source,
    };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    let listener = TcpListener::bind(&addresses[..]).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Raises the soft limit of open files to the hard one, for every connection is one, and tells how many connections
/// that leaves room for. Systems keep the soft limit at 1,024 for the sake of programs that use `select`.
#[must_use]
pub fn file_room() -> Arc<Room> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!("the limit of open files stays as it is: {error}");
    }
    let Some(files) = getrlimit(Resource::Nofile).current else {
        info!("open files are not limited");
        return Arc::default();
    };
    let connections = files.saturating_sub(OTHER_FILES);
    info!(files, connections, "the limit of open files leaves room");
    Arc::new(Room::new(usize::try_from(connections).ok()))
}
