//! Finds the server that holds a bucket, and prepares a connection to it: TCP, TLS, login, scripts.
//!
//! Only this file knows sentinels and clusters. Each connection asks them again, because the server changes with a
//! fail-over or a moved slot.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Connection, ConnectionError, ValueExt as _, error_text};
use crate::adapter::redis::settings::{Address, Login, Settings, Topology};
use crate::adapter::redis::wire::keys::Bucket;
use crate::adapter::redis::wire::scripts::Script;

/// How long one server may take from the TCP connection to its last reply of the preparation.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the TLS handshake may take, within [`SERVER_TIMEOUT`].
const TLS_TIMEOUT: Duration = Duration::from_secs(1);

/// Added to the error when the server seems to expect plain TCP.
const NO_TLS_HINT: &str =
    ": it does not seem to speak TLS on this port; without TLS write redis:// (or tls = false)";

/// Added to the error when the server may expect TLS.
const TLS_ONLY_HINT: &str = "; if it speaks TLS on this port, write rediss:// (or tls = true)";

/// The oldest Redis that has RESP3, the options of `ZADD` and `SET` that the scripts use, and a fast `LRANGE` on large
/// lists.
const MIN_VERSION: (u32, u32) = (6, 2);

/// The oldest Redis Cluster that has sharded pub/sub. Without it a cluster repeats every message to all its servers.
const MIN_CLUSTER_VERSION: (u32, u32) = (7, 0);

/// Servers of a cluster that are remembered beside those of the settings.
const MAX_DISCOVERED: usize = 64;

/// Makes the connections of one link.
pub(crate) struct Connector {
    settings: Arc<Settings>,
    /// This node's name in Redis' `CLIENT LIST`.
    name: String,
    /// The cluster's servers in the last answer, because those of the settings may be gone.
    discovered: RefCell<Vec<Address>>,
}

impl Connector {
    pub(crate) fn new(settings: Arc<Settings>, node: &str) -> Self {
        let name = format!("tidewire-{node}");
        let discovered = RefCell::default();
        Self {
            settings,
            name,
            discovered,
        }
    }

    /// Connects to the server that holds the bucket, and loads the scripts.
    pub(crate) async fn connect(&self, bucket: &Bucket) -> Result<Connection, ConnectionError> {
        match &self.settings.topology {
            Topology::Standalone(address, database) => self.ready(address, *database).await,
            Topology::Sentinel {
                sentinels,
                primary,
                login,
            } => {
                let address = self.ask_sentinels(sentinels, primary, login).await?;
                self.ready(&address, 0).await
            }
            Topology::Cluster(known) => {
                let address = self.ask_cluster(known, bucket.slot).await?;
                self.ready(&address, 0).await
            }
        }
    }

    async fn ask_sentinels(
        &self,
        sentinels: &[Address],
        primary: &str,
        login: &Login,
    ) -> Result<Address, ConnectionError> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
        self.ask_any(sentinels, login, &command, |reply, _| {
            match &reply.texts()?[..] {
                [host, port] => address(host, port),
                _ => Err(ConnectionError(format!("knows no primary {primary:?}"))),
            }
        })
        .await
    }

    async fn ask_cluster(&self, known: &[Address], slot: u16) -> Result<Address, ConnectionError> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let known = [known, &self.discovered.borrow()].concat();
        self.ask_any(&known, &self.settings.login, &command, |reply, asked| {
            let (mut found, mut discovered): (Option<Address>, Vec<Address>) = (None, Vec::new());
            for range in reply.list()? {
                // A range is the first and the last slot, then servers, the primary first; each is host, port, and more.
                let mut range = range.list()?.into_iter();
                let (first, last) = (next(&mut range)?.number()?, next(&mut range)?.number()?);
                let is_wanted = (first..=last).contains(&i64::from(slot));
                for server in range {
                    let mut server = server.list()?.into_iter();
                    let (host, port) = (next(&mut server)?.text()?, next(&mut server)?.text()?);
                    // A server that does not know its own address sends none: it is the one that was asked.
                    let host = if host.is_empty() { &asked.host } else { &host };
                    let server = address(host, &port)?;
                    if is_wanted {
                        found.get_or_insert_with(|| server.clone());
                    }
                    if !discovered.contains(&server) {
                        discovered.push(server);
                    }
                }
            }
            discovered.truncate(MAX_DISCOVERED);
            self.discovered.replace(discovered);
            found.ok_or_else(|| ConnectionError(format!("says that slot {slot} is nobody's")))
        })
        .await
    }

    /// Sends a command to one server after the other, and returns the first valid answer.
    async fn ask_any(
        &self,
        servers: &[Address],
        login: &Login,
        command: &redis::Cmd,
        read: impl Fn(Value, &Address) -> Result<Address, ConnectionError>,
    ) -> Result<Address, ConnectionError> {
        let mut problems = Vec::new();
        for server in servers {
            let asked = async {
                let mut connection = self.open(server, login).await?;
                let reply = connection.call(std::slice::from_ref(command)).await?;
                read(
                    reply.into_iter().next().map_or(Err(closed()), refused)?,
                    server,
                )
            };
            match within(server, asked).await {
                Ok(address) => return Ok(address),
                Err(ConnectionError(problem)) => problems.push(problem),
            }
        }
        Err(ConnectionError(problems.join("; ")))
    }

    /// Connects to a primary, checks its version and mode, and loads the scripts.
    async fn ready(&self, address: &Address, database: u32) -> Result<Connection, ConnectionError> {
        within(address, async {
            let mut connection = self.open(address, &self.settings.login).await?;
            let mut commands = vec![redis::cmd("INFO"), redis::cmd("CLIENT")];
            commands[1].arg("SETNAME").arg(&self.name);
            if database != 0 {
                let mut select = redis::cmd("SELECT");
                commands.push(select.arg(database).clone());
            }
            let scripts_from = commands.len();
            commands.extend(Script::ALL.map(|script| {
                let mut load = redis::cmd("SCRIPT");
                load.arg("LOAD").arg(script.source()).clone()
            }));
            let replies = connection.call(&commands).await?;
            let mut replies = replies
                .into_iter()
                .map(refused)
                .collect::<Result<Vec<_>, _>>()?;
            let scripts = replies.split_off(scripts_from).into_iter();
            connection.digests = scripts
                .map(|digest| digest.text())
                .collect::<Result<_, _>>()?;
            let info = replies.swap_remove(0).text()?;
            self.check(&info)?;
            connection.run = run_of(&info)?;
            Ok(connection)
        })
        .await
    }

    fn check(&self, info: &str) -> Result<(), ConnectionError> {
        let is_cluster = matches!(self.settings.topology, Topology::Cluster(_));
        let (major, minor) = if is_cluster {
            MIN_CLUSTER_VERSION
        } else {
            MIN_VERSION
        };
        let version = field(info, "redis_version").unwrap_or_default();
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        let given: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if given < (major, minor) {
            return Err(ConnectionError(format!(
                "is Redis {version}: {major}.{minor} or newer is needed"
            )));
        }
        if field(info, "role").is_some_and(|role| role != "master") {
            return Err(ConnectionError(
                "is a replica: a primary is needed".to_owned(),
            ));
        }
        match (is_cluster, field(info, "cluster_enabled") == Some("1")) {
            (false, true) => Err(ConnectionError(
                "is part of a Redis Cluster: name it under cluster of [redis]".to_owned(),
            )),
            (true, false) => Err(ConnectionError(
                "is no part of a Redis Cluster: name it as url of [redis]".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Connects, logs in and switches to RESP3.
    async fn open(&self, address: &Address, login: &Login) -> Result<Connection, ConnectionError> {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let address_here = stream.local_addr().ok().map(|local| local.ip());
        let mut connection = match &self.settings.tls {
            None => Connection::new(Box::new(stream)),
            Some(tls) => {
                let name = ServerName::try_from(address.host.clone())
                    .map_err(|_| ConnectionError("has a name that TLS does not know".to_owned()))?;
                let connector = TlsConnector::from(Arc::clone(&tls.0));
                let handshake = tokio::time::timeout(TLS_TIMEOUT, connector.connect(name, stream));
                // Redis without TLS takes the handshake for a line and waits for its end.
                let silent =
                    |_| ConnectionError(format!("no answer to the TLS handshake{NO_TLS_HINT}"));
                let stream = handshake.await.map_err(silent)?;
                Connection::new(Box::new(stream.map_err(|error| no_handshake(&error))?))
            }
        };
        connection.address = address_here;
        let mut hello = redis::cmd("HELLO");
        hello.arg(3);
        if let Some(password) = &login.password {
            let username = login.username.as_deref().unwrap_or("default");
            hello.arg("AUTH").arg(username).arg(password);
        }
        let replies = connection.call(&[hello]).await;
        let is_plain = self.settings.tls.is_none();
        for reply in replies.map_err(|ConnectionError(problem)| {
            let hint = if is_plain { TLS_ONLY_HINT } else { "" };
            ConnectionError(format!("{problem}{hint}"))
        })? {
            refused(reply)?;
        }
        Ok(connection)
    }
}

/// Bounds the time by [`SERVER_TIMEOUT`], and prefixes errors with the server's address.
async fn within<T>(
    address: &Address,
    act: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, ConnectionError> {
    match tokio::time::timeout(SERVER_TIMEOUT, act).await {
        Ok(result) => result
            .map_err(|ConnectionError(problem)| ConnectionError(format!("{address}: {problem}"))),
        Err(_) => Err(ConnectionError(format!(
            "{address}: did not answer within {} s",
            SERVER_TIMEOUT.as_secs()
        ))),
    }
}

fn no_handshake(error: &io::Error) -> ConnectionError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let in_the_clear = matches!(cause, Some(rustls::Error::InvalidMessage(_)))
        || error.kind() == io::ErrorKind::UnexpectedEof;
    ConnectionError(format!(
        "TLS: {error}{}",
        if in_the_clear { NO_TLS_HINT } else { "" }
    ))
}

fn next(values: &mut impl Iterator<Item = Value>) -> Result<Value, ConnectionError> {
    values.next().ok_or_else(closed)
}

fn closed() -> ConnectionError {
    ConnectionError("answered less than was asked".to_owned())
}

fn address(host: &str, port: &str) -> Result<Address, ConnectionError> {
    let port = port
        .parse()
        .map_err(|_| ConnectionError(format!("names the port {port:?}")))?;
    Ok(Address {
        host: host.to_owned(),
        port,
    })
}

/// Turns an error reply into an `Err`, with a hint at the setting to correct.
fn refused(reply: Value) -> Result<Value, ConnectionError> {
    match reply {
        Value::ServerError(error) => {
            let hint = match error.code() {
                "NOAUTH" | "WRONGPASS" => " (username and password of [redis])",
                "NOPERM" => " (the ACL of Redis; docs/cluster.md lists what a user needs)",
                _ => "",
            };
            Err(ConnectionError(format!("{}{hint}", error_text(&error))))
        }
        reply => Ok(reply),
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let line = |line: &'a str| line.trim_end().strip_prefix(name)?.strip_prefix(':');
    info.lines().find_map(line)
}

/// Reads the first half of the run id, which a server chooses at random at each start.
fn run_of(info: &str) -> Result<[u8; 8], ConnectionError> {
    let mut run = [0; 8];
    let id = field(info, "run_id").and_then(|id| id.get(..16));
    id.and_then(|id| hex::decode_to_slice(id, &mut run).ok())
        .map(|()| run)
        .ok_or_else(|| ConnectionError("tells no run_id".to_owned()))
}
