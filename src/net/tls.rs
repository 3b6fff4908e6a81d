//! TLS on one connection. While nothing comes and nothing waits it holds keys and no buffer: what is read is decrypted,
//! and what is written is encrypted, in a buffer of the thread.

use std::cell::RefCell;
use std::sync::Arc;
use std::{fmt, io, mem};

use actix_rt::net::TcpStream;
use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};

use super::socket::note_drained;

/// The first byte of a TLS connection: the type of a handshake record.
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// The most bytes of a record before it is encrypted (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// Holds one record and a part of the next; a message of the handshake must fit in as well.
const BUFFER_BYTES: usize = 2 * RECORD_BYTES;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into());
}

/// The server's side of one connection.
pub(super) struct Tls {
    session: UnbufferedServerConnection,
    /// Boxed: most of the time there is nothing.
    kept: Option<Box<Kept>>,
    /// The peer has said that no more comes.
    is_ended: bool,
}

/// What cannot stay in the buffer of the thread.
#[derive(Default)]
struct Kept {
    /// What was read and is not a whole record.
    incomplete: Vec<u8>,
    /// What came with the end of the handshake.
    early: BytesMut,
    /// What the kernel has not taken yet: a record at most, and what the session says itself.
    unsent: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// # Errors
    /// The configuration does not fit the library.
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self {
            session,
            kept: None,
            is_ended: false,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Goes on with the handshake as far as it can with what has come.
    pub(super) fn try_handshake(&mut self, stream: &TcpStream) -> io::Result<()> {
        let mut early = BytesMut::new();
        let read = self.try_read(stream, &mut early, usize::MAX);
        if !early.is_empty() {
            self.kept.get_or_insert_default().early = early;
        }
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether a read has something to say without the stream.
    pub(super) fn has_news(&self) -> bool {
        let kept = self.kept.as_ref();
        self.is_ended || kept.is_some_and(|kept| !kept.early.is_empty())
    }

    /// Appends what has come, as [`super::Socket::try_read_some`] does.
    pub(super) fn try_read(
        &mut self,
        stream: &TcpStream,
        plaintext: &mut BytesMut,
        most: usize,
    ) -> io::Result<usize> {
        let before = plaintext.len();
        if let Some(kept) = &mut self.kept {
            plaintext.extend_from_slice(&mem::take(&mut kept.early));
            self.tidy();
        }
        BUFFER.with_borrow_mut(|buffer| {
            if plaintext.len() == before && !self.is_ended {
                let incomplete = self.kept.as_ref().map_or(&[][..], |kept| &kept.incomplete);
                let begun = incomplete.len();
                buffer[..begun].copy_from_slice(incomplete);
                let rest = &mut buffer[begun..];
                if rest.is_empty() {
                    return Err(io::Error::other("a TLS message is too long"));
                }
                let room = rest.len().min(most);
                let read = stream.try_read(&mut rest[..room])?;
                note_drained(stream, read, room);
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let received = &mut buffer[..begun + read];
                let used = match self.digest(received, plaintext) {
                    Ok(used) => used,
                    Err(error) => {
                        // It holds the reason for the peer.
                        let _ = self.try_flush(stream);
                        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                    }
                };
                if used < received.len() || begun > 0 {
                    self.kept.get_or_insert_default().incomplete = received[used..].to_vec();
                }
                match self.try_flush(stream) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    Ok(()) | Err(_) => {}
                }
                // Nothing for those above TLS: whoever sends that without end gets no more than its turn.
                if plaintext.len() == before && !self.is_ended {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            }
            Ok(plaintext.len() - before)
        })
    }

    /// Takes all records that are whole; how many bytes they were.
    fn digest(
        &mut self,
        received: &mut [u8],
        plaintext: &mut BytesMut,
    ) -> Result<usize, rustls::Error> {
        let (mut used, mut failed) = (0, None);
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.session.process_tls_records(&mut received[used..]);
            let mut goes_on = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plaintext.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let kept = self.kept.get_or_insert_default();
                    append(&mut kept.unsent, |to| data.encode(to));
                    // Behind an error there is an alert, and nothing to go on with.
                    goes_on = failed.is_none();
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_ended = true,
                Err(error) if failed.is_none() => failed = Some(error),
                // More must come. What comes before the handshake is never offered.
                Ok(_) | Err(_) => goes_on = false,
            }
            used += discard;
            if !goes_on {
                return failed.map_or(Ok(used), Err);
            }
        }
    }

    /// Writes what the kernel takes, as [`super::Socket::try_write`] does, and keeps a record at most.
    pub(super) fn try_write(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.try_flush(stream)?;
        let mut taken = 0;
        for part in bytes.chunks(RECORD_BYTES) {
            self.send(stream, |mut traffic, to| traffic.encrypt(part, to))?;
            taken += part.len();
            if !self.is_flushed() {
                break;
            }
        }
        Ok(taken)
    }

    /// Tells the peer that nothing follows.
    pub(super) fn try_finish(&mut self, stream: &TcpStream) -> io::Result<()> {
        self.send(stream, |mut traffic, to| traffic.queue_close_notify(to))
    }

    /// Writes something encrypted, behind what waits.
    fn send(
        &mut self,
        stream: &TcpStream,
        encrypt: impl FnOnce(
            WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        BUFFER.with_borrow_mut(|buffer| {
            // With what is incomplete: the session may point into it.
            let incomplete = match &mut self.kept {
                Some(kept) => &mut kept.incomplete[..],
                None => &mut [],
            };
            let status = self.session.process_tls_records(incomplete);
            let Ok(ConnectionState::WriteTraffic(traffic)) = status.state else {
                return Err(io::ErrorKind::BrokenPipe.into());
            };
            let length = encrypt(traffic, buffer).map_err(io::Error::other)?;
            let encrypted = &buffer[..length];
            let sent = match self.is_flushed() {
                true => stream.try_write(encrypted),
                false => Ok(0),
            };
            let sent = match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                sent => sent?,
            };
            if sent < length {
                let kept = self.kept.get_or_insert_default();
                kept.unsent.extend_from_slice(&encrypted[sent..]);
            }
            Ok(())
        })
    }

    /// Whether the kernel has everything.
    pub(super) fn is_flushed(&self) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.unsent.is_empty())
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// `WouldBlock` if the kernel does not take all of it. With any other error the connection is broken.
    pub(super) fn try_flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        if let Some(kept) = &mut self.kept {
            while !kept.unsent.is_empty() {
                let sent = stream.try_write(&kept.unsent)?;
                kept.unsent.drain(..sent);
            }
            kept.unsent = Vec::new();
            self.tidy();
        }
        Ok(())
    }

    fn tidy(&mut self) {
        self.kept.take_if(|kept| {
            kept.incomplete.is_empty() && kept.early.is_empty() && kept.unsent.is_empty()
        });
    }
}

/// Appends what the session says itself. How long that is it tells when there is too little room.
fn append(to: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    if let Err(EncodeError::InsufficientSize(size)) = encode(&mut []) {
        let begin = to.len();
        to.resize(begin + size.required_size, 0);
        let written = encode(&mut to[begin..]).unwrap_or(0);
        to.truncate(begin + written);
    }
}
