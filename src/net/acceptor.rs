//! The steps of a new connection before HTTP: a permit, the header of a proxy where the listener expects one, and the
//! TLS handshake where it has a certificate.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tracing::field::display;
use tracing::{debug, warn};

use super::tls::TLS_HANDSHAKE;
use super::{Certificates, Socket, TrustedProxies, last_answer, proxy_header};
use crate::limits::{ConcurrencyLimit, Permit};
use crate::metrics::{AcceptRefused, Metrics, Reason as _};

/// The time for the header of a proxy and the TLS handshake together.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection was refused before HTTP.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no trusted proxy")]
    NotAProxy,
    #[error("no header of a proxy")]
    ProxyHeader(#[source] io::Error),
    #[error("no TLS")]
    NotTls,
    #[error("no TLS handshake")]
    Handshake(#[source] io::Error),
    #[error("nothing in time")]
    TooSlow,
    #[error("gone")]
    Gone(#[from] io::Error),
}

impl Error {
    /// The reason as metrics and logs name it.
    fn reason(&self) -> AcceptRefused {
        match self {
            Self::NotAProxy => AcceptRefused::NotAProxy,
            Self::ProxyHeader(_) => AcceptRefused::ProxyHeader,
            Self::NotTls => AcceptRefused::NotTls,
            Self::Handshake(_) => AcceptRefused::Handshake,
            Self::TooSlow => AcceptRefused::TooSlow,
            Self::Gone(_) => AcceptRefused::Gone,
        }
    }
}

/// Accepts the connections of one listener.
#[derive(Clone)]
pub struct Acceptor {
    connections: Arc<ConcurrencyLimit>,
    metrics: Metrics,
    /// The proxies whose header begins every connection. None: connections have no such header.
    proxies: Option<Arc<TrustedProxies>>,
    tls: Option<Arc<ServerConfig>>,
}

/// A connection that is ready for HTTP, and its client's address: the one in the header of a proxy, where it came.
pub type Accepted = (Socket, Option<SocketAddr>);

impl Acceptor {
    /// An acceptor without TLS.
    #[must_use]
    pub fn plain(connections: Arc<ConcurrencyLimit>, metrics: Metrics) -> Self {
        Self {
            connections,
            metrics,
            proxies: None,
            tls: None,
        }
    }

    /// Adds TLS.
    ///
    /// # Errors
    /// The cryptography and the TLS library do not fit.
    pub fn with_tls(mut self, certificates: &Arc<Certificates>) -> Result<Self, rustls::Error> {
        self.tls = Some(Arc::new(certificates.server_config()?));
        Ok(self)
    }

    /// Expects the header of a proxy at the beginning of each connection.
    #[must_use]
    pub fn behind(mut self, proxies: Arc<TrustedProxies>) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// What bounds its connections, together with others.
    #[must_use]
    pub fn connections(&self) -> &Arc<ConcurrencyLimit> {
        &self.connections
    }

    /// Counts and logs a connection for which there is no permit. It is refused before anything is read.
    pub fn refuse(&self, peer: SocketAddr) {
        self.refused(Some(peer), AcceptRefused::NoRoom, None);
    }

    /// Prepares a connection for HTTP.
    ///
    /// # Errors
    /// The connection was refused. The reason is logged and counted, and no other connection is affected.
    pub async fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Permit,
    ) -> io::Result<Accepted> {
        let peer = Some(peer);
        if self.proxies.is_none() && self.tls.is_none() {
            return Ok((Socket::plain(stream, false, Some(permit)), peer));
        }
        // Boxed: the connection need not keep the room for it as long as it is HTTP.
        let prepared = Box::pin(self.prepare(stream, peer, permit));
        let prepared = tokio::time::timeout(TIMEOUT, prepared).await;
        prepared.unwrap_or(Err(Error::TooSlow)).map_err(|error| {
            self.refused(
                peer,
                error.reason(),
                error.source().map(ToString::to_string),
            );
            io::Error::other("refused before HTTP")
        })
    }

    /// Counts and logs a refused connection.
    fn refused(&self, peer: Option<SocketAddr>, reason: AcceptRefused, problem: Option<String>) {
        let address = peer.map(|peer| display(peer.ip()));
        let accepts = &self.metrics.by_reason().accepts;
        if reason == AcceptRefused::Gone {
            // Port scans and health checks that only connect.
            accepts.count(reason);
            debug!(address, problem, "{}", reason.text());
        } else if accepts.count_and_allow_log(reason) {
            warn!(
                reason = reason.label(),
                address,
                problem,
                "{}: {}",
                AcceptRefused::WHAT,
                reason.text()
            );
        }
    }

    async fn prepare(
        &self,
        mut stream: TcpStream,
        mut peer: Option<SocketAddr>,
        permit: Permit,
    ) -> Result<Accepted, Error> {
        let mut secure = false;
        if let Some(proxies) = &self.proxies {
            let proxy = stream.peer_addr()?.ip();
            if !proxies.contains(proxy) {
                return Err(Error::NotAProxy);
            }
            let header = proxy_header::read(&mut stream).await;
            let proxied = header.map_err(Error::ProxyHeader)?;
            // A client that the proxy hides is unknown. The proxy's own address could make a stranger local.
            peer = proxied.client;
            secure = proxied.tls;
        }
        let socket = match &self.tls {
            Some(config) => Self::handshake(config, stream, permit).await?,
            None => Socket::plain(stream, secure, Some(permit)),
        };
        Ok((socket, peer))
    }

    async fn handshake(
        config: &Arc<ServerConfig>,
        mut stream: TcpStream,
        permit: Permit,
    ) -> Result<Socket, Error> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(Error::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        if first[0] != TLS_HANDSHAKE {
            explain(&mut stream).await?;
            return Err(Error::NotTls);
        }
        let socket = Socket::tls(stream, Arc::clone(config), Some(permit)).await;
        socket.map_err(Error::Handshake)
    }
}

/// Answers plain HTTP on a TLS port with an HTTP error that says so.
async fn explain(stream: &mut TcpStream) -> io::Result<()> {
    const TEXT: &str = "This port speaks TLS, and the request came in the clear: use https:// or wss:// (pusher-js: forceTLS: true; server SDKs: useTLS: true).\n";
    let response = last_answer("400 Bad Request", "", TEXT);
    // What came is read first, as far as it is there: closing a socket with unread bytes would reset the connection,
    // and the answer with it.
    let mut sink = [0; 4096];
    while let Ok(1..) = stream.try_read(&mut sink) {}
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}
