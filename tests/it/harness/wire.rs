//! A blocking socket with deadlines, and the part of HTTP/1.1 that a WebSocket handshake shares with the HTTP API:
//! reading a response's head.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// A TCP connection and what has been read from it but not yet used.
pub(crate) struct Wire {
    stream: TcpStream,
    /// Beside the stream: a session of TLS over it.
    tls: Option<Box<ClientConnection>>,
    buffer: Vec<u8>,
    used: usize,
}

/// What an attempt to read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Perhaps nothing, but it is worth another attempt.
    More,
    Ended,
    TimedOut,
}

/// Status line and headers of a response.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name, whatever its case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

impl Wire {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|e| panic!("connect to {address}: {e}"));
        Self::over(stream)
    }

    /// The same from one of this machine's addresses.
    pub(crate) fn connect_from(source: &str, address: SocketAddr) -> Self {
        let source: IpAddr = source.parse().expect("an address");
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket
            .connect_timeout(&address.into(), PATIENCE)
            .unwrap_or_else(|e| panic!("connect to {address} from {source}: {e}"));
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            tls: None,
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// Speaks TLS from here on, as a client that trusts the certificates of a PEM text; the server is `localhost`.
    ///
    /// # Errors
    /// The handshake fails.
    pub(crate) fn start_tls(mut self, authorities: &str) -> std::io::Result<Self> {
        let mut session = tls_client(authorities);
        self.stream.set_read_timeout(Some(PATIENCE))?;
        while session.is_handshaking() {
            session.complete_io(&mut self.stream)?;
        }
        self.tls = Some(Box::new(session));
        Ok(self)
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let session = self.tls.as_ref().expect("TLS");
        session.peer_certificates().expect("a certificate")[0].to_vec()
    }

    /// What is there to be parsed.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Marks the first bytes of [`Self::unread`] as parsed.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.used += bytes;
    }

    /// Writes everything.
    ///
    /// # Errors
    /// When the peer is gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.tls {
            Some(session) => rustls::Stream::new(&mut **session, &mut self.stream).write_all(bytes),
            None => self.stream.write_all(bytes),
        }
    }

    /// Reads once, at the latest until `end`.
    pub(crate) fn fill(&mut self, end: Instant) -> Filled {
        self.buffer.drain(..self.used);
        self.used = 0;
        let left = end.saturating_duration_since(Instant::now());
        let mut chunk = [0; 64 * 1024];
        match self.read(&mut chunk, left) {
            Ok(0) => Filled::Ended,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Filled::More
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Filled::TimedOut
            }
            // A signal, or the process was stopped and went on.
            Err(e) if e.kind() == ErrorKind::Interrupted => Filled::More,
            // A reset is an end too: the peer closed with bytes of ours unread.
            Err(e) => {
                eprintln!("{} ended: {e}", self.stream.local_addr().unwrap());
                Filled::Ended
            }
        }
    }

    /// With no patience at all it does not wait, not even for the shortest timeout of the system.
    fn read(&mut self, chunk: &mut [u8], patience: Duration) -> std::io::Result<usize> {
        if patience.is_zero() {
            self.stream.set_nonblocking(true)?;
            let read = self.read_once(chunk);
            self.stream.set_nonblocking(false)?;
            return read;
        }
        self.stream.set_read_timeout(Some(patience))?;
        self.read_once(chunk)
    }

    fn read_once(&mut self, chunk: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.tls {
            Some(session) => rustls::Stream::new(&mut **session, &mut self.stream).read(chunk),
            None => self.stream.read(chunk),
        }
    }

    /// Reads a response's head.
    pub(crate) fn read_head(&mut self) -> Head {
        let end = Instant::now() + PATIENCE;
        let length = loop {
            if let Some(at) = self.unread().windows(4).position(|w| w == b"\r\n\r\n") {
                break at;
            }
            let filled = self.fill(end);
            assert_eq!(filled, Filled::More, "no response: {:?}", self.text());
        };
        let head = parse_head(&self.buffer[self.used..self.used + length]);
        self.consume(length + 4);
        head
    }

    /// Reads exactly that many bytes as text.
    pub(crate) fn read_body(&mut self, length: usize) -> String {
        let end = Instant::now() + PATIENCE;
        while self.unread().len() < length {
            let filled = self.fill(end);
            assert_eq!(filled, Filled::More, "body is cut: {:?}", self.text());
        }
        let body = String::from_utf8(self.unread()[..length].to_vec()).expect("UTF-8 body");
        self.consume(length);
        body
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.unread()).into_owned()
    }
}

fn parse_head(bytes: &[u8]) -> Head {
    let text = std::str::from_utf8(bytes).expect("an ASCII head");
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Head { status, headers }
}

/// The client's side of TLS with a server on this machine that these authorities vouch for.
pub(crate) fn tls_client(authorities: &str) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}
