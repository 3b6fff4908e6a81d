//! The socket of one connection, with or without TLS. Callers try to read and write, and are woken when they may try
//! again. Only this file knows the kind of stream.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use actix_codec::{AsyncRead, AsyncWrite, ReadBuf};
use actix_rt::net::TcpStream;
use bytes::BytesMut;
use rustix::net::sockopt;
use tokio::io::AsyncBufRead as _;
use tokio_rustls::server::TlsStream;

use crate::limits::Permit;

/// Bytes that TLS may buffer for one connection when the kernel takes no more, beside the outbox.
const TLS_BYTES: usize = 32 * 1024;

/// The first byte of a TLS connection: the type of a handshake record.
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// A connected stream. Reads and writes by `try_…` never wait and need no exclusive access.
#[derive(Debug)]
pub struct Socket {
    io: Io,
    secure: bool,
    /// Released when the connection is closed.
    _permit: Option<Permit>,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    /// Boxed: a server without TLS does not pay for it.
    Tls(Box<RefCell<TlsStream<TcpStream>>>),
}

impl Socket {
    /// A socket without TLS. `secure` if a proxy ended TLS. The permit is held as long as the socket.
    #[must_use]
    pub fn plain(stream: TcpStream, secure: bool, permit: Option<Permit>) -> Self {
        Self {
            io: Io::Plain(stream),
            secure,
            _permit: permit,
        }
    }

    /// A socket with TLS, after the handshake.
    #[must_use]
    pub fn tls(mut stream: TlsStream<TcpStream>, permit: Option<Permit>) -> Self {
        stream.get_mut().1.set_buffer_limit(Some(TLS_BYTES));
        Self {
            io: Io::Tls(Box::new(RefCell::new(stream))),
            secure: true,
            _permit: permit,
        }
    }

    /// Whether the client speaks TLS to this server, or to the proxy whose header says so.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Has the kernel break the connection when something written stays unacknowledged for so long: the only sign that a
    /// client is gone which answers nothing.
    pub fn set_user_timeout(&self, timeout: Duration) {
        let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        // It fails only on a connection that is broken already.
        let _ = match &self.io {
            Io::Plain(stream) => sockopt::set_tcp_user_timeout(stream, millis),
            Io::Tls(stream) => sockopt::set_tcp_user_timeout(stream.borrow().get_ref().0, millis),
        };
    }

    /// Ready when a read may return bytes. Otherwise the task is woken when it may.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.io {
            Io::Plain(stream) => stream.poll_read_ready(cx),
            Io::Tls(stream) => {
                let mut stream = stream.borrow_mut();
                Pin::new(&mut *stream).poll_fill_buf(cx).map_ok(|_| ())
            }
        }
    }

    /// Ready when a write may take bytes. Otherwise the task is woken when it may.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.io {
            Io::Plain(stream) => stream.poll_write_ready(cx),
            Io::Tls(stream) => stream.borrow().get_ref().0.poll_write_ready(cx),
        }
    }

    /// Appends the bytes that are available. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if no bytes are available. With any other error the connection is broken.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match &self.io {
            Io::Plain(stream) => stream.try_read_buf(buffer),
            Io::Tls(stream) => {
                let mut stream = stream.borrow_mut();
                let mut stream = Pin::new(&mut *stream);
                let taken = at_once(|cx| {
                    let data = ready!(stream.as_mut().poll_fill_buf(cx))?;
                    buffer.extend_from_slice(data);
                    Poll::Ready(Ok(data.len()))
                })?;
                stream.consume(taken);
                Ok(taken)
            }
        }
    }

    /// Writes the bytes that the kernel takes and returns their number. TLS may buffer some of them: see
    /// [`Self::is_flushed`].
    ///
    /// # Errors
    /// `WouldBlock` if it takes none. With any other error the connection is broken.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.io {
            Io::Plain(stream) => stream.try_write(bytes),
            Io::Tls(stream) => {
                let mut stream = stream.borrow_mut();
                at_once(|cx| Pin::new(&mut *stream).poll_write(cx, bytes))
            }
        }
    }

    /// Whether the kernel has all written bytes. If not, the caller must call [`Self::poll_flush`].
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        match &self.io {
            Io::Plain(_) => true,
            Io::Tls(stream) => !stream.borrow().get_ref().1.wants_write(),
        }
    }

    /// Ready when the kernel has everything that was written; otherwise the context's task is woken to try again.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.io {
            Io::Plain(_) => Poll::Ready(Ok(())),
            Io::Tls(stream) => Pin::new(&mut *stream.borrow_mut()).poll_flush(cx),
        }
    }

    /// Reads and forgets until the end: closing a socket with unread bytes would reset the connection, and what was
    /// written last with it. The caller says for how long.
    pub async fn discard(&self) {
        let mut sink = BytesMut::with_capacity(4096);
        loop {
            sink.clear();
            match self.try_read(&mut sink) {
                Ok(0) => return,
                // Whoever sends without end gets no more than its turn.
                Ok(_) => tokio::task::yield_now().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if poll_fn(|cx| self.poll_readable(cx)).await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Sends the end of our direction; the peer can still read what was written before.
    pub fn finish(&self) {
        // Any of it fails only on a connection that is broken already, which needs no end.
        match &self.io {
            Io::Plain(stream) => shut(stream),
            Io::Tls(stream) => {
                let mut stream = stream.borrow_mut();
                stream.get_mut().1.send_close_notify();
                let _ = at_once(|cx| Pin::new(&mut *stream).poll_flush(cx));
                shut(stream.get_ref().0);
            }
        }
    }
}

fn shut(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write);
}

/// What is ready now, else `WouldBlock`. Nobody is woken for it: whoever waits registers again afterwards.
fn at_once<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// For the HTTP machinery, which owns the connection until it is upgraded.
impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream.get_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream.get_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream.get_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_knows_how_long_to_wait_for_an_acknowledgement() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await;
        let socket = Socket::plain(stream.unwrap(), false, None);
        socket.set_user_timeout(Duration::from_secs(60));
        let Io::Plain(stream) = &socket.io else {
            panic!("it is in the clear");
        };
        assert_eq!(sockopt::tcp_user_timeout(stream), Ok(60_000));
    }
}
