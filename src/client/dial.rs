//! The way to a server: name, TCP, TLS. Each step by itself, each within a time.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::{Error, TlsFault};
use super::{Address, Connection, Credentials, Trust};
use crate::clock;

/// How long one step may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How soon an end of a certificate is worth a word.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Bytes both ways.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// A connection over which nothing has been sent yet.
pub struct Stream {
    pub(super) io: Box<dyn Io>,
    /// What TLS agreed on; none without TLS.
    pub tls: Option<TlsFacts>,
}

/// What TLS agreed on, and whose certificate it is.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// The version, as `TLS 1.3`.
    pub version: String,
    /// The name that the certificate is for.
    pub name: String,
    /// When the server's own certificate ends.
    pub end: Option<SystemTime>,
    /// Whether a certificate of the chain, perhaps another one, ends within two weeks.
    pub ends_soon: bool,
}

/// Makes connections to one server.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// The server.
    pub address: Address,
    /// The authorities that may vouch for it.
    pub trust: Trust,
    /// The `Origin` that it sends, like a page.
    pub origin: Option<String>,
}

impl Dialer {
    /// Takes all steps, from the name to the greeting.
    ///
    /// # Errors
    /// That of the first step that failed.
    pub async fn connect(&self, credentials: &Credentials) -> Result<Connection, Error> {
        let addresses = self.resolve().await?;
        let (stream, _) = self.reach(&addresses).await?;
        let stream = self.secure(stream).await?;
        let (socket, _) = self.upgrade(stream, credentials.key.as_str()).await?;
        Connection::establish(socket, credentials).await
    }

    /// Looks up the addresses of the host.
    ///
    /// # Errors
    /// [`Error::Resolve`].
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        let Address { host, port, .. } = &self.address;
        let failed = |reason: String| Error::Resolve {
            host: host.clone(),
            reason,
        };
        let found = timeout(TIMEOUT, tokio::net::lookup_host((host.as_str(), *port))).await;
        let found = found
            .map_err(|_| failed(format!("no answer within {} s", TIMEOUT.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(failed("it has no address".to_owned()));
        }
        Ok(addresses)
    }

    /// Connects to the first address that accepts.
    ///
    /// # Errors
    /// [`Error::Tcp`], of the last address.
    pub async fn reach(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Error> {
        let mut last = Error::Broken("there is no address".to_owned());
        for address in addresses {
            let connected = match timeout(TIMEOUT, TcpStream::connect(address)).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            };
            match connected {
                Ok(stream) => {
                    // Without it, what is sent waits for what was: only latency would suffer.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, *address));
                }
                Err(source) => {
                    last = Error::Tcp {
                        address: *address,
                        source,
                    };
                }
            }
        }
        Err(last)
    }

    /// Starts TLS if the address asks for it.
    ///
    /// # Errors
    /// [`Error::Tls`].
    pub async fn secure(&self, stream: TcpStream) -> Result<Stream, Error> {
        if !self.address.tls {
            return Ok(Stream {
                io: Box::new(stream),
                tls: None,
            });
        }
        let host = &self.address.host;
        let failed = |fault| Error::Tls {
            name: host.clone(),
            fault,
        };
        let name = ServerName::try_from(host.clone()).map_err(|_| failed(TlsFault::Name))?;
        let connector = TlsConnector::from(self.trust.config());
        let secured = timeout(TIMEOUT, connector.connect(name.clone(), stream)).await;
        let stream = secured
            .map_err(|_| Error::Timeout {
                doing: "TLS was to begin",
                within: TIMEOUT,
            })?
            .map_err(|error| failed(TlsFault::of(&error)))?;
        let facts = self.facts(stream.get_ref().1, &name);
        Ok(Stream {
            io: Box::new(stream),
            tls: Some(facts),
        })
    }

    fn facts(&self, session: &rustls::ClientConnection, name: &ServerName<'static>) -> TlsFacts {
        let chain = session.peer_certificates().unwrap_or_default();
        let soon = clock::since_epoch(SystemTime::now()).saturating_add(SOON);
        let end = self.trust.end_of(chain, name);
        TlsFacts {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
                other => format!("{other:?}"),
            },
            name: self.address.host.clone(),
            end: end.and_then(|end| UNIX_EPOCH.checked_add(end)),
            ends_soon: self.trust.refusal_at(chain, name, soon).is_some(),
        }
    }
}
