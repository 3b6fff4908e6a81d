//! Listening, and how the limit of open files is shared out: to the server itself, to clients, to backends.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::limits::ConcurrencyLimit;

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
    // Small frames must not wait for the answer to the one before. Connections have it from their listener.
    let nodelay = socket2::SockRef::from(&listener).set_tcp_nodelay(true);
    nodelay.map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Files that do not depend on the settings: listeners, pollers, pipes, files being read, and a reserve.
const BASE: u64 = 64;
/// Pollers and queues of one worker.
const OF_WORKER: u64 = 4;
/// Connections of the admin port at a time; further ones wait until they are accepted.
pub const ADMIN_CONNECTIONS: u16 = 32;
/// Connections to Redis: those of a cluster's buckets, and as many again while they reconnect.
const OF_REDIS: u64 = 48;
/// A webhook's connection and its spool.
const OF_WEBHOOK: u64 = 2;
/// With room for fewer clients the server does not start.
const LEAST_CLIENTS: u64 = 16;
/// Connections reserved for HTTP requests of backends: an eighth of all, but within these bounds.
const HTTP_SHARE: RangeInclusive<u64> = 16..=1024;

/// What the server opens files for, beside its public connections.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// Worker threads.
    pub workers: usize,
    /// Webhooks of all apps.
    pub webhooks: usize,
    /// Whether it is a node over Redis.
    pub redis: bool,
}

impl Needs {
    fn files(self) -> u64 {
        let times =
            |count: usize, each: u64| each.saturating_mul(count.try_into().unwrap_or(u64::MAX));
        [
            BASE,
            times(self.workers, OF_WORKER),
            u64::from(ADMIN_CONNECTIONS),
            times(self.webhooks, OF_WEBHOOK),
            if self.redis { OF_REDIS } else { 0 },
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// The limit of open files leaves no room for clients.
#[derive(Debug, thiserror::Error)]
#[error(
    "the limit of open files is {limit}, and this configuration needs at least {least}: {others} for itself and \
     {} for clients and backends. Raise it (ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of Docker), or set \
     fewer workers",
    least - others
)]
pub struct TooFewFiles {
    limit: u64,
    least: u64,
    others: u64,
}

/// The public connections that the limit of open files allows.
#[derive(Debug, Clone, Default)]
pub struct FileBudget {
    /// All public connections.
    pub connections: Arc<ConcurrencyLimit>,
    /// How many of them may be WebSockets. None: any number.
    pub sockets: Option<usize>,
}

/// Raises the soft limit of open files to the hard one and divides the files that the server does not need itself.
/// Systems keep the soft limit at 1,024 for programs that use `select`.
///
/// # Errors
/// The limit leaves too few files.
pub fn file_budget(needs: Needs) -> Result<FileBudget, TooFewFiles> {
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
        return Ok(FileBudget::default());
    };
    let (connections, sockets) = shares(files, needs.files())?;
    info!(
        files,
        connections, sockets, "the limit of open files leaves room"
    );
    // Beyond what can be counted there is no limit.
    Ok(FileBudget {
        connections: Arc::new(ConcurrencyLimit::new(connections.try_into().ok())),
        sockets: sockets.try_into().ok(),
    })
}

/// The most connections, and the most WebSockets among them.
fn shares(limit: u64, others: u64) -> Result<(u64, u64), TooFewFiles> {
    let least = others.saturating_add(HTTP_SHARE.start() + LEAST_CLIENTS);
    if limit < least {
        return Err(TooFewFiles {
            limit,
            least,
            others,
        });
    }
    let connections = limit - others;
    let http = (connections / 8).clamp(*HTTP_SHARE.start(), *HTTP_SHARE.end());
    Ok((connections, connections - http))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_send_small_frames_at_once() {
        let listener = listen("host and port", "127.0.0.1", 0).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = loop {
            match listener.accept() {
                Ok((accepted, _)) => break accepted,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn files_are_shared_out() {
        let alone = Needs {
            workers: 1,
            webhooks: 0,
            redis: false,
        };
        assert_eq!(alone.files(), 100);
        for (limit, expected) in [
            (0, None),
            (131, None),
            (132, Some((32, 16))),
            (1024, Some((924, 809))),
            (1 << 20, Some((1_048_476, 1_047_452))),
            (u64::MAX, Some((u64::MAX - 100, u64::MAX - 1124))),
        ] {
            assert_eq!(shares(limit, alone.files()).ok(), expected, "{limit}");
        }
        let much = Needs {
            workers: 64,
            webhooks: 10,
            redis: true,
        };
        let error = shares(400, much.files()).unwrap_err().to_string();
        let expected = "the limit of open files is 400, and this configuration needs at least 452: 420 for itself and 32 for";
        assert!(error.starts_with(expected), "{error}");
    }
}
