//! `Line`: what pusher-js over HTTP is sent, one line for each frame (`core/http/http_socket.ts` reads them). The first
//! character says what it is.

use bytes::Bytes;

use super::server::quoted;

/// One line, `\n` included, as a whole chunk of an HTTP/1.1 body, with its length in the client's units. Its bytes are
/// shared by all who are sent it.
///
/// They are: the length in UTF-16 units (4 bytes), the number of bytes of the chunk's head (1), the chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(Bytes);

/// Before the chunk.
const PREFIX: usize = 5;

/// Behind the line within the chunk.
const END: &str = "\r\n";

impl Line {
    /// `o` or `o{"hostname":"n1.example.com"}`: the session is open.
    pub fn open(hostname: Option<&str>) -> Self {
        match hostname {
            Some(name) => Self::of(&format!("o{{\"hostname\":{}}}\n", quoted(name))),
            None => Self::of("o\n"),
        }
    }

    /// `a["…"]`: one frame's JSON.
    pub fn message(text: &str) -> Self {
        Self::of(&format!("a[{}]\n", quoted(text)))
    }

    /// `a[]`: an answer to the client's `[]`.
    pub fn pong() -> Self {
        Self::of("a[]\n")
    }

    /// `h`: a streaming client answers with `[]`, a polling one with its next poll.
    pub fn heartbeat() -> Self {
        Self::of("h\n")
    }

    /// `c[4001,"why"]`: the end of the session.
    pub fn close(code: u16, text: &str) -> Self {
        Self::of(&format!("c[{code},{}]\n", quoted(text)))
    }

    /// A line that another node made, `\n` included.
    pub fn relayed(text: &str) -> Self {
        Self::of(text)
    }

    fn of(line: &str) -> Self {
        let units: usize = line.chars().map(char::len_utf16).sum();
        let head = format!("{:x}\r\n", line.len());
        let mut bytes = Vec::with_capacity(PREFIX + head.len() + line.len() + END.len());
        // A frame is far shorter than 4 GiB, and the head of a chunk at most 18 bytes long.
        bytes.extend_from_slice(&u32::try_from(units).unwrap_or(u32::MAX).to_be_bytes());
        bytes.push(u8::try_from(head.len()).unwrap_or(u8::MAX));
        for part in [&*head, line, END] {
            bytes.extend_from_slice(part.as_bytes());
        }
        Self(bytes.into())
    }

    /// A line from [`Self::into_bytes`].
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// What it is kept as while it waits.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Its length as the client counts: in UTF-16 units.
    pub fn units(&self) -> usize {
        let units = self.0.first_chunk::<4>();
        units.map_or(0, |units| u32::from_be_bytes(*units) as usize)
    }

    /// It as a chunk of a body.
    pub fn chunk(&self) -> Bytes {
        self.0.slice(PREFIX.min(self.0.len())..)
    }

    /// It alone.
    pub fn text(&self) -> Bytes {
        let head = self.0.get(PREFIX - 1).copied().unwrap_or_default();
        let end = self.0.len().saturating_sub(END.len());
        self.0.slice((PREFIX + usize::from(head)).min(end)..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_said_without_a_frame() {
        for (line, text) in [
            (Line::open(None), "o\n"),
            (
                Line::open(Some("n1.example.com")),
                "o{\"hostname\":\"n1.example.com\"}\n",
            ),
            (Line::pong(), "a[]\n"),
            (Line::heartbeat(), "h\n"),
            (
                Line::close(4001, "a \"key\""),
                "c[4001,\"a \\\"key\\\"\"]\n",
            ),
        ] {
            assert_eq!(line.text(), text);
            assert_eq!(line.units(), text.len());
        }
        assert_eq!(Line::message("x").chunk(), "7\r\na[\"x\"]\n\r\n");
    }

    proptest! {
        /// Whatever the frame says, it is one line, which the client counts and reads as it was.
        #[test]
        fn any_text_is_one_line(text in any::<String>()) {
            let line = Line::from_bytes(Line::message(&text).into_bytes());
            let shown = String::from_utf8(line.text().to_vec()).unwrap();
            prop_assert_eq!(shown.find('\n'), Some(shown.len() - 1));
            prop_assert_eq!(line.units(), shown.encode_utf16().count());
            let read: Vec<String> = serde_json::from_str(shown.strip_prefix('a').unwrap()).unwrap();
            prop_assert_eq!(read, [text]);
            let chunk = format!("{:x}\r\n{shown}\r\n", shown.len());
            prop_assert_eq!(&line.chunk()[..], chunk.as_bytes());
        }
    }
}
