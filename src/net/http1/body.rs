//! The body of a request, read when its handler asks for it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_core::Stream;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::time_for;
use super::wire::Wire;

/// Ends with an I/O error of the kind `TimedOut` if it does not arrive in time.
pub(super) struct Body {
    wire: Rc<RefCell<Wire>>,
    /// It is all that follows an upgrade, for as long as that takes, and goes on while the answer is written.
    is_raw: bool,
    /// Its sender waits for `100 Continue`.
    is_awaited: bool,
    /// When it was first waited for.
    began: Option<Instant>,
    received: usize,
    alarm: Alarm,
}

impl Body {
    pub(super) fn new(wire: Rc<RefCell<Wire>>, is_raw: bool, is_awaited: bool) -> Self {
        Self {
            wire,
            is_raw,
            is_awaited: is_awaited && !is_raw,
            began: None,
            received: 0,
            alarm: Alarm::default(),
        }
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, PayloadError>> {
        loop {
            let wire = Rc::clone(&self.wire);
            let mut wire = wire.borrow_mut();
            if let Some(part) = wire.decode_body()? {
                self.received += part.as_ref().map_or(0, Bytes::len);
                return Poll::Ready(Ok(part));
            }
            // Whoever has sent something of it waits for nothing.
            if std::mem::take(&mut self.is_awaited) && wire.unread() == 0 {
                wire.put(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            // While an answer is under way, writing it is its own task's affair.
            if !self.is_raw && wire.poll_flush(cx)?.is_pending() {
                break;
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) if self.is_raw => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(PayloadError::Incomplete(None))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(PayloadError::Io(error))),
                Poll::Pending if self.is_raw => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        let began = *self.began.get_or_insert_with(Instant::now);
        let end = began + time_for(self.received);
        ready!(self.alarm.poll(end, cx));
        let late = io::Error::from(io::ErrorKind::TimedOut);
        Poll::Ready(Err(PayloadError::Io(late)))
    }
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.poll_part(cx)) {
            Ok(part) => Poll::Ready(part.map(Ok)),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}
