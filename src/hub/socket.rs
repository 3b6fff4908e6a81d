//! The io object of one connection. The rest of the hub tries to read and write and is told when it may again; what
//! kind of stream that happens on stays here.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use actix_rt::net::TcpStream;
use bytes::BytesMut;

/// A connected stream. Reads and writes never wait and need no exclusive access.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Takes the raw connection over.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Who is at the other end.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.peer_addr().ok()
    }

    /// Ready when a read may give something; otherwise the context's task is woken when it may.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    /// Ready when a write may take something; otherwise the context's task is woken when it may.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx)
    }

    /// Appends what is there. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there, else the connection is broken.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.0.try_read_buf(buffer)
    }

    /// Writes what the kernel takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing, else the connection is broken.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// Sends the end of our direction; the peer can still read what was written before.
    pub fn finish(&self) {
        // It fails only on a connection that is broken already, which needs no end.
        let _ = socket2::SockRef::from(&self.0).shutdown(std::net::Shutdown::Write);
    }
}
