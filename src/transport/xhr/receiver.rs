//! `Receiver`: writes a session's lines into the answer to a request of its client, whichever worker has the request's
//! connection.
//!
//! It always tells the session how many lines the kernel has taken, even when it is dropped.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::sessions::{Ask, Batch, Fetch, Handle, Parting, ReceiverId, Written};
use crate::net::Socket;
use crate::protocol::Line;
use crate::transport::CLOSE_TIMEOUT;
use crate::transport::answer::{say, write_all};

/// The client comes back with another request when it has been sent more than so many UTF-16 units, at a line's end
/// (pusher-js, `core/http/http_request.ts`). What followed would be lost.
pub(super) const ROLL_OVER: usize = 256 * 1024;

/// Lines are put together up to so many bytes for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// How much of what comes behind a request is kept while it waits for its answer.
const UNREAD_BYTES: usize = 48 * 1024;

/// Why nothing more is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// It was replaced, or its session has ended.
    Stopped,
    /// Its client has hung up, or cannot be written to.
    Gone,
}

/// One receiver of a session.
pub(super) struct Receiver {
    handle: Handle,
    id: ReceiverId,
    attach: Option<oneshot::Sender<()>>,
    /// Ends when it is to stop.
    until: oneshot::Receiver<()>,
    acknowledged: u32,
    /// How many lines of the last batch have been written.
    written: usize,
    /// How its client's request ended, if it has.
    parting: Parting,
}

impl Receiver {
    pub(super) fn new(handle: Handle) -> Self {
        let (attach, until) = oneshot::channel();
        Self {
            handle,
            id: ReceiverId(rand::random()),
            attach: Some(attach),
            until,
            acknowledged: 0,
            written: 0,
            parting: Parting::Back,
        }
    }

    /// The next lines. What was read before has been written.
    async fn fetch(&mut self, room: usize) -> Result<Batch, Over> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Fetch {
            fetch: Fetch {
                receiver: self.id,
                acknowledged: self.acknowledged,
                room,
            },
            attach: self.attach.take(),
            answer,
        };
        self.handle
            .asks
            .try_send(Box::new(ask))
            .map_err(|_| Over::Stopped)?;
        self.written = 0;
        answered.await.map_err(|_| Over::Stopped)
    }

    fn is_stopped(&mut self, cx: &mut Context<'_>) -> bool {
        std::pin::Pin::new(&mut self.until).poll(cx).is_ready()
    }

    /// Writes a stream of lines for as long as its client reads them.
    pub(super) async fn stream(mut self, socket: Socket, head: String, chunked: bool) {
        if write_all(&socket, head.as_bytes()).await.is_err() {
            return;
        }
        let mut units = 0;
        while units <= ROLL_OVER {
            let batch = {
                let fetched = self.fetch(ROLL_OVER - units);
                let mut ignored = BytesMut::new();
                match unless_gone(&socket, &mut ignored, fetched).await {
                    Ok(batch) => batch,
                    Err(over) => return self.part(over),
                }
            };
            let pieces = pieces(&batch.lines, |line| match chunked {
                true => line.chunk(),
                false => line.text(),
            });
            if let Err(over) = self.write(&socket, &pieces).await {
                return self.part(over);
            }
            self.acknowledged = batch.number;
            units += batch.lines.iter().map(Line::units).sum::<usize>();
            if batch.is_last {
                drop(self);
                return end(&socket, chunked).await;
            }
        }
        self.say_written(Parting::Stays);
        // Its client has enough and comes back; until then it is neither absent nor sent anything.
        let gone = async {
            socket.discard().await;
            Ok(())
        };
        let _ = self.unless_stopped(gone).await;
    }

    /// Answers a poll with the next lines. The socket with what was read behind the request, if it may be used again.
    pub(super) async fn poll(
        mut self,
        socket: Socket,
        mut unread: BytesMut,
        head: impl FnOnce(usize) -> (String, bool),
    ) -> Option<(Socket, BytesMut)> {
        let fetched = self.fetch(ROLL_OVER);
        let batch = match unless_gone(&socket, &mut unread, fetched).await {
            Ok(batch) => batch,
            Err(_) if unread.len() >= UNREAD_BYTES => return None,
            Err(over) => {
                // Nothing is lost: the client polls again, if it is still there.
                self.part(over);
                let (head, _) = head(0);
                say(&socket, head.as_bytes()).await;
                return None;
            }
        };
        let bytes = batch.lines.iter().map(|line| line.text().len()).sum();
        let (head, keep) = head(bytes);
        let mut pieces = pieces(&batch.lines, Line::text);
        if let Some(first) = pieces.first_mut() {
            first.bytes = [head.as_bytes(), &first.bytes].concat().into();
            for end in &mut first.ends {
                *end += head.len();
            }
        }
        self.write(&socket, &pieces).await.ok()?;
        drop(self);
        if keep {
            return Some((socket, unread));
        }
        socket.finish();
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, socket.discard()).await;
        None
    }

    /// Writes pieces and counts the lines that the kernel has taken.
    async fn write(&mut self, socket: &Socket, pieces: &[Piece]) -> Result<(), Over> {
        for piece in pieces {
            let (mut done, before) = (0, self.written);
            while done < piece.bytes.len() {
                match socket.try_write(&piece.bytes[done..]) {
                    Ok(taken) => done += taken,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let writable = poll_fn(|cx| socket.poll_writable(cx));
                        self.unless_stopped(writable).await?;
                    }
                    Err(_) => return Err(Over::Gone),
                }
                let taken = piece.ends.iter().take_while(|end| **end <= done);
                self.written = before + taken.count();
            }
        }
        self.unless_stopped(poll_fn(|cx| socket.poll_flush(cx)))
            .await
    }

    /// Waits, but no longer than until it is to stop. What is ready at once is done all the same: a client that has its
    /// whole answer may have asked again already, and its connection is as good as before.
    async fn unless_stopped(
        &mut self,
        waited: impl Future<Output = io::Result<()>>,
    ) -> Result<(), Over> {
        let mut waited = std::pin::pin!(waited);
        poll_fn(|cx| match waited.as_mut().poll(cx) {
            Poll::Pending if self.is_stopped(cx) => Poll::Ready(Err(Over::Stopped)),
            done => done.map_err(|_| Over::Gone),
        })
        .await
    }

    /// A client that hangs up in the middle does not come back with this session: pusher-js asks again only when a stream
    /// is full, or a poll was answered.
    fn part(&mut self, over: Over) {
        if over == Over::Gone {
            self.parting = Parting::ForGood;
        }
    }

    fn say_written(&mut self, parting: Parting) {
        let ask = Ask::Written(Written {
            receiver: self.id,
            lines: std::mem::take(&mut self.written),
            parting,
        });
        // If it cannot be said, the session takes back what it lent after a while.
        let _ = self.handle.asks.try_send(Box::new(ask));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.say_written(self.parting);
    }
}

/// What is written at once.
struct Piece {
    bytes: bytes::Bytes,
    /// Where its lines end.
    ends: Vec<usize>,
}

/// Lines put together for few writes. One alone is not copied.
fn pieces(lines: &[Line], bytes_of: impl Fn(&Line) -> bytes::Bytes) -> Vec<Piece> {
    if let [line] = lines {
        let bytes = bytes_of(line);
        let ends = vec![bytes.len()];
        return vec![Piece { bytes, ends }];
    }
    let mut pieces = Vec::new();
    let (mut joined, mut ends) = (Vec::new(), Vec::new());
    for line in lines {
        joined.extend_from_slice(&bytes_of(line));
        ends.push(joined.len());
        if joined.len() >= WRITE_BYTES {
            let bytes = std::mem::take(&mut joined).into();
            let ends = std::mem::take(&mut ends);
            pieces.push(Piece { bytes, ends });
        }
    }
    if !ends.is_empty() {
        let bytes = joined.into();
        pieces.push(Piece { bytes, ends });
    }
    pieces
}

/// Waits, but no longer than the client is there. What it sends meanwhile is kept, if it is not too much.
async fn unless_gone<T>(
    socket: &Socket,
    unread: &mut BytesMut,
    waited: impl Future<Output = Result<T, Over>>,
) -> Result<T, Over> {
    let mut waited = std::pin::pin!(waited);
    poll_fn(|cx| {
        if let Poll::Ready(done) = waited.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        loop {
            match socket.poll_readable(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Over::Gone)),
                Poll::Ready(Ok(())) => {}
            }
            unread.reserve(1024);
            match socket.try_read(unread) {
                Ok(0) => return Poll::Ready(Err(Over::Gone)),
                Ok(_) if unread.len() >= UNREAD_BYTES => return Poll::Ready(Err(Over::Gone)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Err(Over::Gone)),
            }
        }
    })
    .await
}

/// Ends a stream of lines.
async fn end(socket: &Socket, chunked: bool) {
    let last = if chunked { "0\r\n\r\n" } else { "" };
    say(socket, last.as_bytes()).await;
}
