//! The little of Redis' protocol that tests need: a command, its answer, and whatever else a connection is sent.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// A connection to a Redis server.
pub(crate) struct Resp(BufReader<TcpStream>);

/// What a server said. Bytes that are no UTF-8 are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Text(String),
    Number(i64),
    Nothing,
    List(Vec<Answer>),
    Error(String),
}

impl Answer {
    /// As `redis-cli` prints it to a pipe: the items of a list in a line each.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) | Self::Error(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Nothing => String::new(),
            Self::List(items) => {
                let lines: Vec<String> = items.iter().map(Self::text).collect();
                lines.join("\n")
            }
        }
    }
}

impl Resp {
    /// # Errors
    /// Nobody listens there.
    pub(crate) fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// The connection is gone, or silent.
    pub(crate) fn ask(&mut self, command: &[&str]) -> std::io::Result<Answer> {
        let mut request = format!("*{}\r\n", command.len());
        for word in command {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.get_mut().write_all(request.as_bytes())?;
        self.read()
    }

    /// The next answer.
    ///
    /// # Errors
    /// The connection is gone, or silent.
    pub(crate) fn read(&mut self) -> std::io::Result<Answer> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let Some((kind, rest)) = line.trim_end().split_at_checked(1) else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        let number = || rest.parse::<i64>().map_err(Error::other);
        Ok(match kind {
            "+" => Answer::Text(rest.to_owned()),
            "-" => Answer::Error(rest.to_owned()),
            ":" => Answer::Number(number()?),
            "$" => match usize::try_from(number()?) {
                Ok(length) => self.bulk(length)?,
                Err(_) => Answer::Nothing,
            },
            "*" => {
                let items = (0..number()?).map(|_| self.read());
                Answer::List(items.collect::<Result<_, _>>()?)
            }
            _ => return Err(Error::other(format!("not an answer: {line:?}"))),
        })
    }

    fn bulk(&mut self, length: usize) -> std::io::Result<Answer> {
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes[..length]);
        Ok(Answer::Text(text.into_owned()))
    }
}
