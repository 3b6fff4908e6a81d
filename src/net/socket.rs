//! The socket of one connection, with or without TLS. Callers try to read and write, and are woken when they may try
//! again. Only this file knows whether there is TLS.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_rt::net::TcpStream;
use bytes::{BufMut as _, BytesMut};
use rustix::net::sockopt;
use rustls::ServerConfig;
use tokio::io::Interest;

use super::tls::Tls;
use crate::limits::Permit;

/// A connected stream. Reads and writes by `try_…` never wait and need no exclusive access.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// Boxed: a server without TLS does not pay for it.
    tls: Option<Box<RefCell<Tls>>>,
    secure: bool,
    /// Released when the connection is closed.
    _permit: Option<Permit>,
}

impl Socket {
    /// A socket without TLS. `secure` if a proxy ended TLS. The permit is held as long as the socket.
    #[must_use]
    pub fn plain(stream: TcpStream, secure: bool, permit: Option<Permit>) -> Self {
        Self {
            stream,
            tls: None,
            secure,
            _permit: permit,
        }
    }

    /// A socket with TLS, after the handshake, which takes as long as the client likes.
    ///
    /// # Errors
    /// The client is gone, or does not speak TLS as the server does.
    pub async fn tls(
        stream: TcpStream,
        config: Arc<ServerConfig>,
        permit: Option<Permit>,
    ) -> io::Result<Self> {
        let mut boxed = Box::new(RefCell::new(Tls::new(config)?));
        let tls = boxed.get_mut();
        while tls.is_handshaking() {
            stream.readable().await?;
            tls.try_handshake(&stream)?;
            poll_fn(|cx| flushed(&stream, cx, || tls.try_flush(&stream))).await?;
        }
        Ok(Self {
            stream,
            tls: Some(boxed),
            secure: true,
            _permit: permit,
        })
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
        let _ = sockopt::set_tcp_user_timeout(&self.stream, millis);
    }

    /// Ready when a read may return bytes. Otherwise the task is woken when it may.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.tls {
            Some(tls) if tls.borrow().has_news() => Poll::Ready(Ok(())),
            _ => self.stream.poll_read_ready(cx),
        }
    }

    /// Ready when a write may take bytes. Otherwise the task is woken when it may.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    /// Appends the bytes that are available. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if no bytes are available. With any other error the connection is broken.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.try_read_some(buffer, usize::MAX)
    }

    /// The same with so many bytes at most, where TLS rounds up to a whole record.
    ///
    /// # Errors
    /// As [`Self::try_read`].
    pub fn try_read_some(&self, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
        match &self.tls {
            None => {
                let room = most.min(buffer.capacity() - buffer.len());
                let read = self.stream.try_read_buf(&mut buffer.limit(most))?;
                note_drained(&self.stream, read, room);
                Ok(read)
            }
            Some(tls) => tls.borrow_mut().try_read(&self.stream, buffer, most),
        }
    }

    /// Writes the bytes that the kernel takes and returns their number. TLS may keep some of them: see
    /// [`Self::is_flushed`].
    ///
    /// # Errors
    /// `WouldBlock` if it takes none. With any other error the connection is broken.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.tls {
            None => self.stream.try_write(bytes),
            Some(tls) => tls.borrow_mut().try_write(&self.stream, bytes),
        }
    }

    /// Whether the kernel has all written bytes. If not, the caller must call [`Self::poll_flush`].
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.tls
            .as_ref()
            .is_none_or(|tls| tls.borrow().is_flushed())
    }

    /// Ready when the kernel has everything that was written; otherwise the context's task is woken to try again.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => flushed(&self.stream, cx, || {
                tls.borrow_mut().try_flush(&self.stream)
            }),
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
        if let Some(tls) = &self.tls {
            let _ = tls.borrow_mut().try_finish(&self.stream);
        }
        let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }
}

/// After a read that left room, all that had come is taken: the next one waits for news and does not ask the kernel.
pub(super) fn note_drained(stream: &TcpStream, read: usize, room: usize) {
    if (1..room).contains(&read) {
        // What is refused so is what the runtime takes for not readable.
        let _ = stream.try_io(Interest::READABLE, || {
            io::Result::<()>::Err(io::ErrorKind::WouldBlock.into())
        });
    }
}

/// Flushes as often as the kernel takes more, until all is flushed.
fn flushed(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    mut try_flush: impl FnMut() -> io::Result<()>,
) -> Poll<io::Result<()>> {
    loop {
        match try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(stream.poll_write_ready(cx))?;
            }
            result => return Poll::Ready(result),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (stream, _) = listener.accept().await.unwrap();
        (Socket::plain(stream, false, None), client.unwrap())
    }

    async fn read(socket: &Socket, buffer: &mut BytesMut) -> usize {
        loop {
            poll_fn(|cx| socket.poll_readable(cx)).await.unwrap();
            match socket.try_read_some(buffer, 4) {
                Ok(read) => return read,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[tokio::test]
    async fn a_socket_that_was_emptied_waits_for_news() {
        let (socket, mut client) = pair().await;
        let mut buffer = BytesMut::with_capacity(4);
        for (sent, waits) in [("abcd", false), ("abc", true)] {
            client.write_all(sent.as_bytes()).await.unwrap();
            assert_eq!(read(&socket, &mut buffer).await, sent.len());
            let is_pending = poll_fn(|cx| Poll::Ready(socket.poll_readable(cx).is_pending())).await;
            assert_eq!(is_pending, waits);
            buffer.clear();
        }
        drop(client);
        assert_eq!(read(&socket, &mut buffer).await, 0);
    }

    #[tokio::test]
    async fn the_kernel_knows_how_long_to_wait_for_an_acknowledgement() {
        let (socket, _client) = pair().await;
        socket.set_user_timeout(Duration::from_secs(60));
        assert_eq!(sockopt::tcp_user_timeout(&socket.stream), Ok(60_000));
    }
}
