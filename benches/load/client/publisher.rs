//! One keep-alive connection to the HTTP API: requests go out whether or not earlier ones are answered.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use crate::Result;
use crate::wire::find;

pub(super) struct Publisher {
    address: SocketAddr,
    stream: TcpStream,
    /// What the system has not taken yet.
    out: Vec<u8>,
    /// Bytes of an incomplete response.
    rest: Vec<u8>,
    /// When the requests that wait for an answer were sent, and to which channel.
    waiting: VecDeque<(u64, u32)>,
}

/// How a request was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) sent: u64,
    pub(super) channel: u32,
    /// Head and body of a response that is not 200.
    pub(super) text: Option<String>,
}

impl Publisher {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            address,
            stream: Self::stream(address)?,
            out: Vec::new(),
            rest: Vec::new(),
            waiting: VecDeque::new(),
        })
    }

    fn stream(address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether it must be told when the system takes more.
    pub(super) fn is_writing(&self) -> bool {
        !self.out.is_empty()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends a request, or keeps what the system does not take.
    pub(super) fn send(&mut self, request: &[u8], channel: u32, now: u64) -> io::Result<()> {
        self.waiting.push_back((now, channel));
        let mut from = 0;
        if self.out.is_empty() {
            match self.stream.write(request) {
                Ok(written) => from = written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.out.extend_from_slice(&request[from..]);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there; whether the connection goes on. One that ends while nothing waits for it is made again.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<bool> {
        match self.stream.read(buffer) {
            Ok(0) if self.waiting.is_empty() => {
                self.stream = Self::stream(self.address)?;
                self.rest.clear();
                Ok(false)
            }
            Ok(0) => Err("the server ended an HTTP connection with requests on it".into()),
            Ok(count) => {
                self.rest.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the next whole response.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        let head_end = find(&self.rest, b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&self.rest[..head_end]).unwrap_or_default();
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        let end = match header(head, "content-length") {
            Some(length) => head_end + length.parse().unwrap_or(0),
            None if header(head, "transfer-encoding").is_some() => {
                let body = &self.rest[head_end..];
                head_end + find(body, b"0\r\n\r\n")? + 5
            }
            None => head_end,
        };
        let whole = self.rest.get(..end)?;
        let status = status.unwrap_or(0);
        let text = (status != 200).then(|| String::from_utf8_lossy(whole).into_owned());
        self.rest.drain(..end);
        let (sent, channel) = self.waiting.pop_front()?;
        Some(Answer {
            status,
            sent,
            channel,
            text,
        })
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
