//! The bytes of one connection and the codec between them and messages.

use std::io;
use std::task::{Context, Poll, ready};

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::body::BodySize;
use actix_http::error::{ParseError, PayloadError};
use actix_http::h1::{Codec, Message, MessageType};
use actix_http::header::CONTENT_LENGTH;
use actix_http::{ConnectionType, Request, Response, ServiceConfig, StatusCode};
use bytes::{Buf as _, Bytes, BytesMut};

use super::{Fault, Socket};
use crate::net::tls::TLS_HANDSHAKE;

/// The most that is read at a time.
const READ_BYTES: usize = 4096;

/// An output buffer that is larger is given back when it is written.
const KEPT_BYTES: usize = 16 * 1024;

/// Where the body of the present request stands.
#[derive(Debug, Clone, Copy)]
enum Rest {
    /// There is none, or it has been read.
    Nothing,
    /// The codec knows where it ends.
    Framed,
    /// So many bytes, whatever the codec thinks: the request offers an upgrade that is not taken.
    Bytes(u64),
    /// It is damaged, so nobody knows where it ends.
    Damaged,
}

/// What the body of a request is.
pub(super) struct BodyKind {
    /// All that follows, not a length or chunks.
    pub(super) is_raw: bool,
}

/// One connection with its buffers, which an idle one does not have.
pub(super) struct Wire {
    /// None when it was taken over.
    socket: Option<Socket>,
    input: BytesMut,
    output: BytesMut,
    codec: Codec,
    /// Encodes the answer to a request that offers an upgrade which is not taken: the request's own codec would end
    /// the connection with the answer, and take all that follows for the request's body.
    plain: Option<Codec>,
    rest: Rest,
    /// How much of the input has been looked through for the end of a line.
    searched: usize,
    config: ServiceConfig,
}

impl Wire {
    pub(super) fn new(socket: Socket, config: ServiceConfig) -> Self {
        Self {
            socket: Some(socket),
            input: BytesMut::new(),
            output: BytesMut::new(),
            codec: Codec::new(config.clone()),
            plain: None,
            rest: Rest::Nothing,
            searched: 0,
            config,
        }
    }

    pub(super) fn is_secure(&self) -> bool {
        self.socket.as_ref().is_some_and(Socket::is_secure)
    }

    /// The socket with what was read behind the last request.
    pub(super) fn take(&mut self) -> Option<(Socket, BytesMut)> {
        Some((self.socket.take()?, std::mem::take(&mut self.input)))
    }

    /// Takes a socket back on which the last request has been answered.
    pub(super) fn give_back(&mut self, socket: Socket, unread: BytesMut) {
        self.socket = Some(socket);
        self.input = unread;
        self.searched = 0;
        self.codec = Codec::new(self.config.clone());
    }

    /// The socket, unless it was taken.
    pub(super) fn into_open_socket(self) -> Option<Socket> {
        self.socket
    }

    /// How many bytes have been read and not used.
    pub(super) fn unread(&self) -> usize {
        self.input.len()
    }

    /// What is wrong with a head that does not end.
    pub(super) fn too_large(&self) -> Fault {
        if self.input.contains(&b'\n') {
            Fault::HeadTooLarge
        } else {
            Fault::TargetTooLong
        }
    }

    /// The next request, if its head is there. It is parsed from its beginning each time, so only when another line has
    /// ended: a head that comes byte by byte costs no more than its lines.
    pub(super) fn decode_head(&mut self) -> Result<Option<Request>, Fault> {
        // Empty lines before a request are nothing (RFC 9112 §2.2).
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let empty = self.input.iter().take_while(|byte| is_end(byte)).count();
        self.input.advance(empty);
        self.searched = self.searched.saturating_sub(empty);
        // No request begins so.
        if self.input.first() == Some(&TLS_HANDSHAKE) {
            return Err(Fault::Tls);
        }
        let new = self.input.get(self.searched..).unwrap_or_default();
        let has_line = new.contains(&b'\n');
        self.searched = self.input.len();
        if !has_line {
            return Ok(None);
        }
        match self.codec.decode(&mut self.input) {
            Ok(Some(Message::Item(request))) => {
                self.searched = 0;
                Ok(Some(request))
            }
            Ok(None) => Ok(None),
            Err(ParseError::TooLarge) => Err(Fault::HeadTooLarge),
            // A chunk cannot come where no body was begun.
            Ok(Some(Message::Chunk(_))) | Err(_) => Err(Fault::Malformed),
        }
    }

    /// Whether the last request has a body in the way of HTTP.
    pub(super) fn has_body(&self) -> bool {
        self.codec.message_type() == MessageType::Payload
    }

    /// Whether the last request offers to go on with WebSocket, or asks for a tunnel.
    pub(super) fn is_upgrade_offered(&self) -> bool {
        self.codec.message_type() == MessageType::Stream
    }

    /// Begins the exchange that a request asks for, and tells what body it has, if any. `takes_raw`: an offered upgrade
    /// is the handler's affair, which gets all that follows.
    pub(super) fn begin(&mut self, request: &Request, takes_raw: bool) -> Option<BodyKind> {
        let offers = request.head().connection_type() == ConnectionType::Upgrade;
        let (rest, is_raw) = match self.codec.message_type() {
            MessageType::None => (Rest::Nothing, false),
            MessageType::Payload => (Rest::Framed, false),
            MessageType::Stream => match content_length(request) {
                Some(length) => (Rest::Bytes(length), false),
                None if takes_raw => (Rest::Framed, true),
                None => (Rest::Nothing, false),
            },
        };
        self.rest = rest;
        if offers || self.is_upgrade_offered() {
            self.plain = plain_codec(request, &self.config);
        }
        (!matches!(rest, Rest::Nothing)).then_some(BodyKind { is_raw })
    }

    /// The next part of the present request's body: `Some(None)` is its end, `None` that more must be read.
    pub(super) fn decode_body(&mut self) -> Result<Option<Option<Bytes>>, PayloadError> {
        match self.rest {
            Rest::Nothing => Ok(Some(None)),
            Rest::Bytes(0) => {
                self.rest = Rest::Nothing;
                Ok(Some(None))
            }
            Rest::Bytes(_) if self.input.is_empty() => Ok(None),
            Rest::Bytes(left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX);
                let part = self.input.split_to(here.min(self.input.len())).freeze();
                self.rest = Rest::Bytes(left - part.len() as u64);
                Ok(Some(Some(part)))
            }
            Rest::Damaged => Err(PayloadError::EncodingCorrupted),
            Rest::Framed => match self.codec.decode(&mut self.input) {
                Ok(Some(Message::Chunk(Some(part)))) => Ok(Some(Some(part))),
                Ok(None) => Ok(None),
                Ok(Some(Message::Chunk(None))) => {
                    self.rest = Rest::Nothing;
                    Ok(Some(None))
                }
                // The codec would go on behind the damage, and find an end and a request there.
                Ok(Some(Message::Item(_))) | Err(_) => {
                    self.rest = Rest::Damaged;
                    Err(PayloadError::EncodingCorrupted)
                }
            },
        }
    }

    /// Whether all of the body has been used, or could be skipped without waiting for it.
    pub(super) fn skip_body(&mut self) -> bool {
        loop {
            match self.decode_body() {
                Ok(Some(Some(_))) => {}
                Ok(Some(None)) => return true,
                Ok(None) | Err(_) => return false,
            }
        }
    }

    pub(super) fn encode_head(
        &mut self,
        response: Response<()>,
        size: BodySize,
    ) -> Result<(), Fault> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.plain = None;
        }
        self.encode(Message::Item((response, size)))
    }

    pub(super) fn encode(
        &mut self,
        message: Message<(Response<()>, BodySize)>,
    ) -> Result<(), Fault> {
        let codec = self.plain.as_mut().unwrap_or(&mut self.codec);
        let encoded = codec.encode(message, &mut self.output);
        encoded.map_err(|_| Fault::Broken)
    }

    /// Ends an exchange. Whether another may follow.
    pub(super) fn end(&mut self, is_last: bool) -> bool {
        let is_raw = self.is_upgrade_offered();
        let plain = self.plain.take();
        let codec = plain.as_ref().unwrap_or(&self.codec);
        let keep = !is_last && codec.keep_alive();
        if is_raw {
            self.codec = Codec::new(self.config.clone());
        }
        keep
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub(super) fn output_bytes(&self) -> usize {
        self.output.len()
    }

    /// Reads what is there; 0 is the end. While nothing comes, an empty buffer is given back.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = &self.socket else {
            return Poll::Ready(Ok(0));
        };
        loop {
            let readable = socket.poll_readable(cx);
            if readable.is_pending() && self.input.is_empty() {
                self.input = BytesMut::new();
                if self.output.is_empty() {
                    self.output = BytesMut::new();
                }
            }
            ready!(readable)?;
            self.input.reserve(READ_BYTES);
            match socket.try_read_some(&mut self.input, READ_BYTES) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Ready when the kernel has taken all that was encoded.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &self.socket else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        while !self.output.is_empty() {
            match socket.try_write(&self.output) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(socket.poll_writable(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.output.capacity() > KEPT_BYTES {
            self.output = BytesMut::new();
        }
        socket.poll_flush(cx)
    }
}

fn content_length(request: &Request) -> Option<u64> {
    let length = request.head().headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

/// A codec that answers a request as if it offered no upgrade. The framework's codec learns from requests alone how
/// to answer, so it is shown one.
fn plain_codec(request: &Request, config: &ServiceConfig) -> Option<Codec> {
    let head = request.head();
    let shown = format!("{} / {:?}\r\nHost: h\r\n\r\n", head.method, head.version);
    let mut codec = Codec::new(config.clone());
    let decoded = codec.decode(&mut BytesMut::from(shown.as_str()));
    matches!(decoded, Ok(Some(_))).then_some(codec)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::task::LocalSet;

    use super::*;

    #[test]
    fn a_damaged_body_has_no_end() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            let sent = format!("{head}1;\0\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
            let config = ServiceConfig::default();
            let mut wire = Wire {
                socket: None,
                input: BytesMut::from(sent.as_str()),
                output: BytesMut::new(),
                codec: Codec::new(config.clone()),
                plain: None,
                rest: Rest::Nothing,
                searched: 0,
                config,
            };
            let request = wire.decode_head().unwrap().unwrap();
            assert!(wire.begin(&request, false).is_some());
            assert!(wire.decode_body().is_err());
            assert!(wire.decode_body().is_err());
            assert!(!wire.skip_body());
        });
    }
}
