//! Listening and accepting, and how the limit of open files is shared out: to the server itself, to clients, to backends.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
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

/// Connections that have come and not been accepted, for each socket. The system has a bound of its own, 4,096 as well;
/// when all clients come back at once, those beyond it try again a second later.
const BACKLOG: i32 = 4096;

/// How long a connection without a byte waits for one before it is accepted.
const FIRST_BYTE: Duration = Duration::from_secs(1);

/// How long nothing is accepted after the system refused to. It refuses when files or memory run out.
const PAUSE: Duration = Duration::from_millis(500);

/// An address that is listened on.
pub struct Listening {
    /// With the port that the system chose, if it was to.
    pub address: SocketAddr,
    /// The sockets, to which the system gives connections by their addresses.
    pub sockets: Vec<TcpListener>,
}

/// Listens on an address, with so many sockets among which the system shares out its connections. `keys` are the
/// settings to change where that fails.
///
/// # Errors
/// The system refuses, or the host has no address.
pub fn listen(
    keys: &'static str,
    host: &str,
    port: u16,
    sockets: usize,
) -> Result<Listening, Error> {
    let failed = |source| Error {
        keys,
        address: format!("{host}:{port}"),
        source,
    };
    let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        match listen_at(address, sockets) {
            Ok(listening) => return Ok(listening),
            Err(error) => refused = error,
        }
    }
    Err(failed(refused))
}

fn listen_at(address: SocketAddr, count: usize) -> io::Result<Listening> {
    let first = bind(address, false)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(address, true)?);
    }
    Ok(Listening { address, sockets })
}

/// A listening socket. One that is shared goes beside others of this process; one that is not finds every other
/// process that listens there.
fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // What is left of connections to an earlier process is not in the way.
    socket.set_reuse_address(true)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    socket.bind(&address.into())?;
    // From here on others may go beside the first one.
    sockopt::set_socket_reuseport(&socket, true)?;
    // Small frames must not wait for the answer to the one before. Connections have it from their listener.
    socket.set_tcp_nodelay(true)?;
    // A connection comes with its request: the worker is woken once for both. Other systems do without.
    let _ = tidewire_system::defer_accept(&socket, FIRST_BYTE);
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The next connection of a listener, and from where it comes.
pub async fn accept(listener: &tokio::net::TcpListener) -> (TcpStream, SocketAddr) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error)
                if matches!(
                    error.kind(),
                    ConnectionAborted | ConnectionRefused | ConnectionReset
                ) => {}
            Err(error) => {
                warn!("no connection can be accepted for {PAUSE:?}: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Files that do not depend on the settings: pollers, pipes, files being read, and a reserve.
const BASE: u64 = 62;
/// Pollers, queues and listeners of one worker.
const OF_WORKER: u64 = 6;
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
    use std::io::Write as _;
    use std::net::TcpStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn connections_send_small_frames_at_once() {
        let Listening { address, sockets } = listen("host and port", "127.0.0.1", 0, 1).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        let accepted = loop {
            match sockets[0].accept() {
                Ok((accepted, _)) => break accepted,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn who_says_nothing_is_accepted_all_the_same() {
        let Listening { address, sockets } = listen("port", "127.0.0.1", 0, 1).unwrap();
        let begun = Instant::now();
        let _client = TcpStream::connect(address).unwrap();
        sockets[0].set_nonblocking(false).unwrap();
        sockets[0].accept().unwrap();
        // No sooner; how much later is the machine's affair.
        assert!(begun.elapsed() >= FIRST_BYTE.mul_f32(0.9));
    }

    #[test]
    fn who_shares_a_port_is_this_process_alone() {
        let Listening { address, sockets } = listen("port", "127.0.0.1", 0, 3).unwrap();
        assert_eq!(sockets.len(), 3);
        for sockets in [1, 3] {
            let Err(error) = listen("port", "127.0.0.1", address.port(), sockets) else {
                panic!("listens beside others");
            };
            assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn many_may_come_at_once() {
        let system = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        // More than most programs let wait, and fewer than the files of a shell.
        let many = 300.min(system.trim().parse().unwrap());
        let Listening { address, .. } = &listen("port", "127.0.0.1", 0, 1).unwrap();
        let connect = |_| {
            // The system answers at once, or not before the next attempt, a second later.
            let client = TcpStream::connect_timeout(address, Duration::from_millis(900));
            let mut client = client.unwrap();
            client.write_all(b"x").unwrap();
            client
        };
        let clients: Vec<_> = (0..many).map(connect).collect();
        assert_eq!(clients.len(), many);
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
        let expected = "the limit of open files is 400, and this configuration needs at least 578: 546 for itself and 32 for";
        assert!(error.starts_with(expected), "{error}");
    }
}
