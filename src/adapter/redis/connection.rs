//! One connection to one Redis server: commands out, replies and pushed messages in, in the order in which Redis said
//! them.
//!
//! That order is what the adapter's promises rest on: a script's reply comes after every message that was published
//! before the script ran and before every message that was published later. The `redis` crate packs the commands and
//! parses the values; its own connections hand replies and messages to different tasks and so lose the order.
//!
//! Memory: unread values wait in a queue of [`UNREAD`], behind it in the socket; so a node that cannot keep up slows
//! Redis down, which ends the connection at its `client-output-buffer-limit`.

use std::fmt;
use std::io;
use std::net::IpAddr;

use redis::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::message::Run;

/// A stream, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Stream for T {}

/// How many values are read ahead.
const UNREAD: usize = 64;

/// While this many bytes wait to be written, no further command is taken.
const FULL: usize = 256 * 1024;

/// Why a connection is of no use any more, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(pub(super) String);

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// What runs in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Tick,
    Register,
    Publish,
    Tell,
    Retire,
    Introduce,
}

impl Script {
    pub(super) const ALL: [Self; 6] = [
        Self::Tick,
        Self::Register,
        Self::Publish,
        Self::Tell,
        Self::Retire,
        Self::Introduce,
    ];

    pub(super) fn source(self) -> &'static str {
        match self {
            Self::Tick => include_str!("scripts/tick.lua"),
            Self::Register => include_str!("scripts/register.lua"),
            Self::Publish => include_str!("scripts/publish.lua"),
            Self::Tell => include_str!("scripts/tell.lua"),
            Self::Retire => include_str!("scripts/retire.lua"),
            Self::Introduce => include_str!("scripts/introduce.lua"),
        }
    }
}

/// The connection.
pub(super) struct Connection {
    /// Which life of which process answers.
    pub(super) run: Run,
    /// This side's address.
    pub(super) address: Option<IpAddr>,
    /// By the order of [`Script::ALL`].
    pub(super) digests: Vec<String>,
    out: Vec<u8>,
    written: usize,
    writer: WriteHalf<Box<dyn Stream>>,
    values: mpsc::Receiver<Result<Value, Broken>>,
    reader: JoinHandle<()>,
}

impl Connection {
    /// Begins to read.
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (sender, values) = mpsc::channel(UNREAD);
        Self {
            run: Run::default(),
            address: None,
            digests: Vec::new(),
            out: Vec::new(),
            written: 0,
            writer,
            values,
            reader: tokio::task::spawn_local(read(reader, sender)),
        }
    }

    /// Puts a command behind the others.
    pub(super) fn queue(&mut self, command: &redis::Cmd) {
        command.write_packed_command(&mut self.out);
    }

    /// A call of a script with these keys; the arguments follow.
    pub(super) fn script(&self, script: Script, keys: &[impl AsRef<str>]) -> redis::Cmd {
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

    /// Whether commands should wait.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() - self.written > FULL
    }

    /// Whether something waits to be written.
    pub(super) fn has_output(&self) -> bool {
        self.written < self.out.len()
    }

    /// Writes some of what waits, and values that have come meanwhile to `values`, until there is one of either.
    /// Nothing is lost when the future is dropped.
    pub(super) async fn exchange(&mut self, values: &mut Vec<Value>) -> Result<(), Broken> {
        let has_output = self.has_output();
        let mut read = Vec::new();
        tokio::select! {
            count = self.values.recv_many(&mut read, UNREAD) => {
                if count == 0 {
                    return Err(Broken("the connection was closed".to_owned()));
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

    /// Sends commands and awaits their replies; for the beginning, when nothing else is under way.
    pub(super) async fn call(&mut self, commands: &[redis::Cmd]) -> Result<Vec<Value>, Broken> {
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

/// Reads to the end, which is told as an error.
async fn read(mut reader: ReadHalf<Box<dyn Stream>>, values: mpsc::Sender<Result<Value, Broken>>) {
    let mut decoder = combine::stream::Decoder::new();
    loop {
        let value = redis::parse_redis_value_async(&mut decoder, &mut reader).await;
        let value = value.map_err(|error| Broken(error.to_string()));
        let is_end = value.is_err();
        if values.send(value).await.is_err() || is_end {
            return;
        }
    }
}

/// Reading what a script or a command replied. A reply of another shape is a fault of the server or of ours: the
/// connection is given up.
pub(super) trait Reading: Sized {
    fn text(self) -> Result<String, Broken>;
    fn bytes(self) -> Result<Option<Vec<u8>>, Broken>;
    fn number(self) -> Result<i64, Broken>;
    fn list(self) -> Result<Vec<Value>, Broken>;
    fn texts(self) -> Result<Vec<String>, Broken>;
    /// The fields of a hash, each followed by its value.
    fn pairs(self) -> Result<Vec<Value>, Broken>;
}

impl Reading for Value {
    fn text(self) -> Result<String, Broken> {
        match self {
            Self::BulkString(bytes) => {
                String::from_utf8(bytes).map_err(|_| unexpected("not UTF-8"))
            }
            Self::SimpleString(text) => Ok(text),
            Self::VerbatimString { text, .. } => Ok(text),
            Self::Okay => Ok("OK".to_owned()),
            Self::Int(number) => Ok(number.to_string()),
            Self::Nil => Ok(String::new()),
            other => Err(unexpected(shape(&other))),
        }
    }

    fn bytes(self) -> Result<Option<Vec<u8>>, Broken> {
        match self {
            Self::BulkString(bytes) => Ok(Some(bytes)),
            Self::Nil | Self::Boolean(false) => Ok(None),
            other => other.text().map(|text| Some(text.into_bytes())),
        }
    }

    fn number(self) -> Result<i64, Broken> {
        match self {
            Self::Int(number) => Ok(number),
            Self::Nil => Ok(0),
            other => {
                let text = other.text()?;
                text.parse().map_err(|_| unexpected("not a number"))
            }
        }
    }

    fn list(self) -> Result<Vec<Value>, Broken> {
        match self {
            Self::Array(values) | Self::Set(values) => Ok(values),
            Self::Nil => Ok(Vec::new()),
            other => Err(unexpected(shape(&other))),
        }
    }

    fn texts(self) -> Result<Vec<String>, Broken> {
        self.list()?.into_iter().map(Reading::text).collect()
    }

    fn pairs(self) -> Result<Vec<Value>, Broken> {
        match self {
            Self::Map(pairs) => Ok(pairs.into_iter().flat_map(<[Value; 2]>::from).collect()),
            other => other.list(),
        }
    }
}

/// What to say of a value without what is in it: that may be anybody's data.
fn shape(value: &Value) -> &'static str {
    match value {
        Value::ServerError(_) => "an error",
        Value::Array(_) | Value::Set(_) => "a list",
        Value::Map(_) => "a map",
        Value::Push { .. } => "a message",
        _ => "a value of another kind",
    }
}

fn unexpected(what: &str) -> Broken {
    Broken(format!("Redis replied with something unexpected ({what})"))
}

/// What Redis says when it refuses: `OOM command not allowed …`. It holds names of ours, never data.
pub(super) fn error_text(error: &redis::ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
        .trim_end()
        .to_owned()
}
