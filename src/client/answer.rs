//! `Answer`: what was answered to an upgrade, which is shown where it is not a WebSocket.

use std::fmt;

/// The answer to an upgrade, from the server or from a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The reason phrase of the status line.
    pub reason: String,
    /// The beginning of the body, without markup, on one line.
    pub excerpt: String,
    headers: Vec<(String, String)>,
}

impl Answer {
    /// The first header with this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known == name)?;
        Some(&header.1)
    }

    pub(super) fn parse(head: &str) -> Option<Self> {
        let mut lines = head.split("\r\n");
        let (version, rest) = lines.next()?.split_once(' ')?;
        if !version.starts_with("HTTP/1.") {
            return None;
        }
        let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        });
        Some(Self {
            status: status.parse().ok()?,
            reason: reason.to_owned(),
            excerpt: String::new(),
            headers: headers.collect(),
        })
    }

    /// Whether a header of tokens names this one.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .flat_map(|(_, value)| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    }

    /// Takes the first words of a body for its excerpt.
    pub(super) fn quote(&mut self, body: &[u8]) {
        let body = String::from_utf8_lossy(body);
        self.excerpt = match self.has_token("transfer-encoding", "chunked") {
            // The first line is the length of the first part.
            true => first_words(body.split_once("\r\n").map_or("", |(_, body)| body)),
            false => first_words(&body),
        };
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)?;
        for (name, label) in [
            ("server", "Server"),
            ("via", "Via"),
            ("location", "Location"),
        ] {
            if let Some(value) = self.header(name) {
                write!(f, ", {label}: {value}")?;
            }
        }
        if !self.excerpt.is_empty() {
            write!(f, ", {:?}", self.excerpt)?;
        }
        Ok(())
    }
}

/// The beginning of a text or a page, without markup, on one line.
pub fn first_words(body: &str) -> String {
    const CHARS: usize = 160;
    let mut text = String::new();
    let mut rest = body;
    while let Some((words, markup)) = rest.split_once('<') {
        text.push_str(words);
        text.push(' ');
        rest = markup.split_once('>').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let head =
            "HTTP/1.1 301 Moved Permanently\r\nServer: nginx/1.24.0\r\nLOCATION:  https://a/ ";
        let mut answer = Answer::parse(head).unwrap();
        assert_eq!(answer.header("server"), Some("nginx/1.24.0"));
        let page = b"<html>\r\n<head><title>301 Moved</title></head>\r\n<body>\r\nGo there</body>";
        answer.quote(page);
        assert_eq!(
            answer.to_string(),
            "301 Moved Permanently, Server: nginx/1.24.0, Location: https://a/, \"301 Moved Go there\""
        );
        for head in [
            "",
            "SSH-2.0-OpenSSH",
            "HTTP/1.1 abc",
            "HTTP/1.1",
            "HTTP/2 200 OK",
        ] {
            assert_eq!(Answer::parse(head), None, "{head}");
        }
    }

    #[test]
    fn chunks_and_long_bodies_are_cut() {
        let excerpt = |head: &str, body: &[u8]| {
            let mut answer = Answer::parse(head).unwrap();
            answer.quote(body);
            answer.excerpt
        };
        let chunked = "HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked";
        assert_eq!(excerpt(chunked, b"5\r\nhello\r\n0\r\n\r\n"), "hello 0");
        assert_eq!(excerpt(chunked, b"5"), "");
        let plain = "HTTP/1.1 502 Bad";
        let long = "ä".repeat(5000);
        assert_eq!(excerpt(plain, long.as_bytes()).chars().count(), 160);
        assert_eq!(excerpt(plain, b"a < b <unclosed"), "a");
    }
}
