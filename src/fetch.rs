//! Requests to other HTTP/1.1 servers, each to one: connect, TLS, send, answer.
//!
//! Interim answers (1xx) are passed over (RFC 9110 §15.2), redirects are answers like others. It knows no time limit of
//! its own: callers bound each step. A connection is used again if the end of its last answer was seen.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_codec::Framed;
use actix_http::body::BodySize;
use actix_http::error::{ParseError, PayloadError};
use actix_http::h1::{ClientCodec, ClientPayloadCodec, Message, MessageType};
use actix_http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use actix_http::{Method, RequestHead, RequestHeadType, ResponseHead, StatusCode, Uri};
use bytes::{Bytes, BytesMut};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock;

/// How long a connection may be idle and is used again; common servers keep theirs for longer.
const IDLE: Duration = Duration::from_secs(15);

/// Idle connections that are kept.
const IDLE_CONNECTIONS: usize = 2;

trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No address, no connection, or no TLS on it.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, #[source] io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// It ended before the answer did.
    #[error("the connection was closed before the answer's end")]
    Closed,
    /// The answer is not HTTP.
    #[error("the answer is not HTTP/1.1: {0}")]
    NotHttp(String),
    /// The answer's body is too long.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Io(error) => Self::Broken(error),
            other => Self::NotHttp(other.to_string()),
        }
    }
}

impl From<PayloadError> for Error {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Io(error) => Self::Broken(error),
            PayloadError::Incomplete(_) => Self::Closed,
            other => Self::NotHttp(other.to_string()),
        }
    }
}

/// A certificate with those above it, and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A TLS configuration of a client that believes these authorities and shows who it is, or does not. The cryptography is
/// named here, so that nothing depends on what a process chose.
///
/// # Errors
/// If the certificate and the key do not fit, or the library refuses its own defaults.
pub fn client_tls(
    roots: impl Into<Arc<RootCertStore>>,
    identity: Option<Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(clock::Certified))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match identity {
        Some((certificates, key)) => builder.with_client_auth_cert(certificates, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The same for HTTP/1.1, of a client that does not show who it is.
///
/// # Errors
/// If the library refuses its own defaults.
pub fn tls(roots: impl Into<Arc<RootCertStore>>) -> Result<ClientConfig, rustls::Error> {
    let mut config = client_tls(roots, None)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A request. `Host` and the length of the body are added.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The URL. Only its path and query are sent: the connection goes to the [`Server`].
    pub url: Uri,
    /// Further headers.
    pub headers: HeaderMap,
    /// The body; none if it is empty.
    pub body: Bytes,
}

impl Request {
    /// A GET.
    pub fn get(url: Uri) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}

/// One server, and the connections to it that may be used again.
pub struct Server {
    host: String,
    port: u16,
    /// As in `Host`.
    authority: HeaderValue,
    tls: Option<Arc<ClientConfig>>,
    idle: RefCell<Vec<(Box<dyn Io>, Instant)>>,
}

/// The head of an answer.
pub struct Answer<'a> {
    /// The status, which is not an interim one.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    server: &'a Server,
    connection: Framed<Box<dyn Io>, ClientPayloadCodec>,
    /// Whether the codec reads the body: its length is known, or it comes in chunks, or the server is of HTTP/1.0.
    is_framed: bool,
    /// Whether the answer itself says where it ends; else its connection's end does.
    has_end: bool,
}

impl Server {
    /// The server of an `http` or `https` URL; `tls` is used for the second. None without a host.
    pub fn of(url: &Uri, tls: &Arc<ClientConfig>) -> Option<Self> {
        let is_secure = url.scheme_str() == Some("https");
        let authority = url.authority()?;
        let default = if is_secure { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(default);
        let shown = match port == default {
            true => authority.host().to_owned(),
            false => format!("{}:{port}", authority.host()),
        };
        Some(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: HeaderValue::from_str(&shown).ok()?,
            tls: is_secure.then(|| Arc::clone(tls)),
            idle: RefCell::default(),
        })
    }

    /// Sends a request, over an idle connection if there is one that is still open, and reads the head of the answer.
    ///
    /// # Errors
    /// There is no answer, or none that can be understood.
    pub async fn send(&self, request: Request) -> Result<Answer<'_>, Error> {
        let io = match self.idle() {
            Some(io) => io,
            None => self.connect().await?,
        };
        let mut framed = Framed::new(io, ClientCodec::default());
        write(&mut framed, request, self.authority.clone()).await?;
        loop {
            let head = poll_fn(|cx| Pin::new(&mut framed).next_item(cx)).await;
            let head: ResponseHead = head.ok_or(Error::Closed)??;
            let is_interim =
                head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS;
            if !is_interim {
                return Ok(Answer::new(self, framed, head));
            }
            if !matches!(framed.codec_ref().message_type(), MessageType::None) {
                // It has no body, whatever it says; the codec believes it.
                framed = framed.replace_codec(ClientCodec::default());
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Io>, Error> {
        let failed = |error| Error::Connect(format!("{}:{}", self.host, self.port), error);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(failed)?;
        // Without it, the body waits for the head's acknowledgement: only latency would suffer.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let secured = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await;
        Ok(Box::new(secured.map_err(failed)?))
    }

    /// A connection that was not closed meanwhile.
    fn idle(&self) -> Option<Box<dyn Io>> {
        loop {
            let (mut io, since) = self.idle.borrow_mut().pop()?;
            if since.elapsed() < IDLE && is_open(&mut *io) {
                return Some(io);
            }
        }
    }

    fn keep(&self, io: Box<dyn Io>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= IDLE_CONNECTIONS {
            idle.remove(0);
        }
        idle.push((io, Instant::now()));
    }
}

/// Whether there is nothing to read: neither the end nor what nobody asked for.
fn is_open(io: &mut dyn Io) -> bool {
    let mut byte = [0];
    let mut read = ReadBuf::new(&mut byte);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    Pin::new(io).poll_read(&mut context, &mut read).is_pending()
}

async fn write(
    framed: &mut Framed<Box<dyn Io>, ClientCodec>,
    request: Request,
    authority: HeaderValue,
) -> Result<(), Error> {
    let mut head = RequestHead::default();
    head.method = request.method;
    head.uri = request.url;
    head.headers = request.headers;
    head.headers.insert(HOST, authority);
    let size = match request.body.len() {
        0 => BodySize::None,
        length => BodySize::Sized(length as u64),
    };
    let head = Message::Item((RequestHeadType::Owned(head), size));
    Pin::new(&mut *framed).write(head)?;
    if !request.body.is_empty() {
        Pin::new(&mut *framed).write(Message::Chunk(Some(request.body)))?;
        Pin::new(&mut *framed).write(Message::Chunk(None))?;
    }
    poll_fn(|cx| Pin::new(&mut *framed).flush(cx)).await?;
    Ok(())
}

impl<'a> Answer<'a> {
    fn new(
        server: &'a Server,
        framed: Framed<Box<dyn Io>, ClientCodec>,
        head: ResponseHead,
    ) -> Self {
        let codec = framed.codec_ref();
        let is_framed = !matches!(codec.message_type(), MessageType::None);
        let status = head.status;
        let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let says = |name| head.headers().contains_key(name);
        let has_end = is_empty || says(CONTENT_LENGTH) || says(TRANSFER_ENCODING);
        Self {
            status,
            headers: head.headers().clone(),
            server,
            is_framed,
            has_end,
            connection: framed.into_map_codec(ClientCodec::into_payload_codec),
        }
    }

    /// Whether the answer itself says where it ends. If not, its body lasts for as long as the server likes.
    pub fn has_end(&self) -> bool {
        self.has_end
    }

    /// The body.
    ///
    /// # Errors
    /// It is longer than `max` bytes, or its connection ended before it did.
    pub async fn body(mut self, max: usize) -> Result<Bytes, Error> {
        if !self.is_framed && !self.has_end {
            return self.until_closed(max).await;
        }
        let mut body = BytesMut::new();
        while self.is_framed {
            let connection = &mut self.connection;
            match poll_fn(|cx| Pin::new(&mut *connection).next_item(cx)).await {
                Some(Ok(Some(chunk))) if body.len() + chunk.len() > max => {
                    return Err(Error::TooLong(max));
                }
                Some(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                Some(Ok(None)) => self.is_framed = false,
                Some(Err(error)) => return Err(error.into()),
                None if self.has_end => return Err(Error::Closed),
                None => return Ok(body.freeze()),
            }
        }
        if self.has_end && self.connection.codec_ref().keep_alive() {
            self.server.keep(self.connection.into_parts().io);
        }
        Ok(body.freeze())
    }

    /// The body of an answer without a length (RFC 9112 §6.3), which the codec takes for an answer without a body.
    async fn until_closed(self, max: usize) -> Result<Bytes, Error> {
        let parts = self.connection.into_parts();
        let (mut io, mut body) = (parts.io, parts.read_buf);
        while body.len() <= max {
            if io.read_buf(&mut body).await? == 0 {
                return Ok(body.freeze());
            }
        }
        Err(Error::TooLong(max))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// What a server's answers are taken for, one request after the other; and how many connections that took.
    async fn exchanged(answers: Vec<&'static str>) -> (Vec<Result<(u16, Bytes), Error>>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/x?y", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let all = answers.clone();
        let serving = tokio::task::spawn_local(async move {
            let answers = all;
            let (mut at, mut connections) = (0, 0);
            while at < answers.len() {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections += 1;
                let mut request = [0; 1024];
                while at < answers.len() && stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    assert!(request.starts_with(b"POST /x?y HTTP/1.1\r\n"));
                    let _ = stream.write_all(answers[at].as_bytes()).await;
                    at += 1;
                    if answers[at - 1].ends_with("close") {
                        break;
                    }
                }
            }
            connections
        });
        let tls = Arc::new(tls(RootCertStore::empty()).unwrap());
        let server = Server::of(&url, &tls).unwrap();
        let mut taken = Vec::new();
        for _ in answers {
            let request = Request {
                method: Method::POST,
                url: url.clone(),
                headers: HeaderMap::new(),
                body: Bytes::from_static(b"{}"),
            };
            let result = async {
                let answer = server.send(request).await?;
                let status = answer.status.as_u16();
                Ok((status, answer.body(100).await?))
            };
            taken.push(result.await);
        }
        drop(server);
        (taken, serving.await.unwrap())
    }

    async fn check(answer: Vec<&'static str>, expected: (u16, &str), connections: usize) {
        let (taken, used) = exchanged(answer.clone()).await;
        for taken in taken {
            let (status, body) = taken.unwrap();
            assert_eq!((status, &body[..]), (expected.0, expected.1.as_bytes()));
        }
        assert_eq!(used, connections, "{answer:?}");
    }

    #[tokio::test]
    async fn answers_of_every_shape() {
        let all = async {
            let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            check(vec![ok, ok, ok], (200, "ok"), 1).await;
            let chunked =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
            check(vec![chunked, chunked], (200, "ok"), 1).await;
            let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                         HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            check(vec![early, early], (200, "ok"), 1).await;
            let odd = "HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            check(vec![odd, odd], (200, "ok"), 2).await;
            let none = "HTTP/1.1 204 No Content\r\n\r\n";
            check(vec![none, none], (204, ""), 1).await;
            // What does not say where it ends spoils its connection.
            let endless = "HTTP/1.1 200 OK\r\n\r\nwhat? close";
            check(vec![endless, endless], (200, "what? close"), 2).await;
            let old = "HTTP/1.0 500 No\r\n\r\nno: close";
            check(vec![old, old], (500, "no: close"), 2).await;
            let last = "HTTP/1.1 301 X\r\nConnection: close\r\nContent-Length: 5\r\n\r\nclose";
            check(vec![last, last], (301, "close"), 2).await;
        };
        tokio::task::LocalSet::new().run_until(all).await;
    }

    #[tokio::test]
    async fn what_is_no_answer() {
        let all = async {
            for answer in [
                "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nclose",
                "HTTP/1.1 103 Early Hints\r\nX: close",
                "SSH-2.0-OpenSSH\r\n\r\nclose",
                "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\nclose",
                concat!(
                    "HTTP/1.1 200 OK\r\n\r\n0123456789012345678901234567890123456789012345678901234567890123456789",
                    "012345678901234567890123456789close"
                ),
            ] {
                let (taken, _) = exchanged(vec![answer]).await;
                assert!(taken[0].is_err(), "{answer:?}");
            }
        };
        tokio::task::LocalSet::new().run_until(all).await;
    }
}
