//! What a listener does with a connection before HTTP: it needs a permit, may begin with the header of a proxy, and may
//! be TLS.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;
use tracing::field::display;
use tracing::{debug, warn};

use super::socket::TLS_HANDSHAKE;
use super::{Certificates, Socket, TrustedProxies, last_answer, proxy_header};
use crate::limits::{ConcurrencyLimit, Permit};
use crate::metrics::{AcceptRefused, Metrics, Reason as _};

/// How long the header of a proxy and the TLS handshake may take together.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection was turned away before HTTP.
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
    /// The same as metrics and logs name it.
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

/// How one listener receives connections.
#[derive(Clone)]
pub struct Acceptor {
    connections: Arc<ConcurrencyLimit>,
    metrics: Metrics,
    /// Some: connections begin with the header of one of these proxies.
    proxies: Option<Arc<TrustedProxies>>,
    tls: Option<TlsAcceptor>,
}

/// A connection that may speak HTTP, and who is at the other end: as the header of a proxy says, where one came.
pub type Accepted = (Socket, Option<SocketAddr>);

impl Acceptor {
    /// Connections in the clear.
    #[must_use]
    pub fn plain(connections: Arc<ConcurrencyLimit>, metrics: Metrics) -> Self {
        Self {
            connections,
            metrics,
            proxies: None,
            tls: None,
        }
    }

    /// The same with TLS.
    ///
    /// # Errors
    /// The cryptography and the TLS library do not go together.
    pub fn with_tls(mut self, certificates: &Arc<Certificates>) -> Result<Self, rustls::Error> {
        let config = certificates.server_config()?;
        self.tls = Some(TlsAcceptor::from(Arc::new(config)));
        Ok(self)
    }

    /// The same, each connection beginning with a proxy's header.
    #[must_use]
    pub fn behind(mut self, proxies: Arc<TrustedProxies>) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// Takes a connection as far as HTTP.
    ///
    /// # Errors
    /// It was turned away, and the reason is logged and counted. Its sender is the only one who loses anything.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Accepted> {
        let Some(permit) = self.connections.acquire() else {
            let peer = stream.peer_addr().ok();
            self.refused(peer, AcceptRefused::NoRoom, None);
            // Refused at once, whatever it wanted to say.
            return Err(io::Error::other("no room"));
        };
        // Small frames must not wait for the answer to the one before. It fails only where the connection is gone.
        let _ = stream.set_nodelay(true);
        let peer = stream.peer_addr().ok();
        if self.proxies.is_none() && self.tls.is_none() {
            return Ok((Socket::plain(stream, false, Some(permit)), peer));
        }
        let prepared = tokio::time::timeout(TIMEOUT, self.prepare(stream, peer, permit)).await;
        prepared.unwrap_or(Err(Error::TooSlow)).map_err(|error| {
            self.refused(
                peer,
                error.reason(),
                error.source().map(ToString::to_string),
            );
            io::Error::other("refused before HTTP")
        })
    }

    /// Counts a connection that was turned away, and says why.
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
            // Whom the proxy hides is nobody known: its own address would make a stranger one of this machine.
            peer = proxied.client;
            secure = proxied.tls;
        }
        let socket = match &self.tls {
            Some(acceptor) => Self::handshake(acceptor, stream, permit).await?,
            None => Socket::plain(stream, secure, Some(permit)),
        };
        Ok((socket, peer))
    }

    async fn handshake(
        acceptor: &TlsAcceptor,
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
        let stream = acceptor.accept(stream).await.map_err(Error::Handshake)?;
        Ok(Socket::tls(stream, Some(permit)))
    }
}

/// Tells whoever speaks HTTP here, in HTTP, that this is the wrong port for it.
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
