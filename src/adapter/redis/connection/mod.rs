//! One connection to one Redis server: sends commands, and yields replies and pushed messages in the order in which
//! Redis sent them.
//!
//! The adapter's promises rest on that order: a script's reply comes after every message that was published before the
//! script ran and before every message that was published later. The `redis` crate packs the commands and parses the
//! values; its own connections hand replies and messages to different tasks and so lose the order.
//!
//! Memory: up to [`READ_AHEAD`] unread values wait in a queue, further ones in the socket. A node that cannot keep up
//! thus fills Redis' output buffer, and Redis ends the connection at its `client-output-buffer-limit`.

pub(crate) mod connector;
mod value;

use std::fmt;
use std::io;
use std::net::IpAddr;

use redis::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::wire::message::Run;
use super::wire::scripts::Script;
use crate::supervise;
pub(crate) use value::{ValueExt, error_text};

/// A TCP stream, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Stream for T {}

/// Values that are read ahead.
const READ_AHEAD: usize = 64;

/// Bytes of commands that may wait to be written; see [`Connection::is_full`].
const MAX_UNWRITTEN: usize = 256 * 1024;

/// Why a connection broke, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConnectionError(pub(crate) String);

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// A connection that is ready for scripts.
pub(crate) struct Connection {
    /// Identifies the server's process; see [`Run`].
    pub(crate) run: Run,
    /// Of all connections that its owner has had; each has a higher one.
    pub(crate) number: u64,
    /// The local IP address.
    pub(crate) address: Option<IpAddr>,
    /// The scripts' SHA-1 digests, in the order of [`Script::ALL`].
    pub(crate) digests: Vec<String>,
    out: Vec<u8>,
    written: usize,
    writer: WriteHalf<Box<dyn Stream>>,
    values: mpsc::Receiver<Result<Value, ConnectionError>>,
    reader: JoinHandle<()>,
}

impl Connection {
    /// Starts to read from the stream.
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (sender, values) = mpsc::channel(READ_AHEAD);
        Self {
            run: Run::default(),
            number: 0,
            address: None,
            digests: Vec::new(),
            out: Vec::new(),
            written: 0,
            writer,
            values,
            reader: supervise::spawn(read(reader, sender)),
        }
    }

    /// Appends a command to the output.
    pub(crate) fn queue(&mut self, command: &redis::Cmd) {
        command.write_packed_command(&mut self.out);
    }

    /// Makes the call of a script with these keys. The caller adds the arguments.
    pub(crate) fn script(&self, script: Script, keys: &[impl AsRef<str>]) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        let at = Script::ALL.iter().position(|known| *known == script);
        let digest = at
            .and_then(|at| self.digests.get(at))
            .map_or("", |digest| digest);
        command.arg(digest).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        command
    }

    /// Whether further commands should wait until more is written.
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() - self.written > MAX_UNWRITTEN
    }

    /// Whether commands wait to be written.
    pub(crate) fn has_output(&self) -> bool {
        self.written < self.out.len()
    }

    /// Writes some of the output or appends values that have come to `values`, whichever is possible first. Dropping the
    /// future loses nothing.
    pub(crate) async fn exchange(
        &mut self,
        values: &mut Vec<Value>,
    ) -> Result<(), ConnectionError> {
        let has_output = self.has_output();
        let mut read = Vec::new();
        tokio::select! {
            count = self.values.recv_many(&mut read, READ_AHEAD) => {
                if count == 0 {
                    return Err(ConnectionError("the connection was closed".to_owned()));
                }
            }
            written = self.writer.write(&self.out[self.written..]), if has_output => {
                self.written += written?;
                if !self.has_output() {
                    self.out.clear();
                    self.written = 0;
                }
            }
        }
        for value in read {
            values.push(value?);
        }
        Ok(())
    }

    /// Sends commands and awaits their replies. Only for the preparation, when no other reply or message can come.
    pub(crate) async fn call(
        &mut self,
        commands: &[redis::Cmd],
    ) -> Result<Vec<Value>, ConnectionError> {
        for command in commands {
            self.queue(command);
        }
        let mut replies = Vec::new();
        while replies.len() < commands.len() {
            self.exchange(&mut replies).await?;
        }
        Ok(replies)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// Reads values until the stream ends, and sends the end as an error.
async fn read(
    mut reader: ReadHalf<Box<dyn Stream>>,
    values: mpsc::Sender<Result<Value, ConnectionError>>,
) {
    let mut decoder = combine::stream::Decoder::new();
    loop {
        let value = redis::parse_redis_value_async(&mut decoder, &mut reader).await;
        let value = value.map_err(|error| ConnectionError(error.to_string()));
        let is_end = value.is_err();
        if values.send(value).await.is_err() || is_end {
            return;
        }
    }
}
