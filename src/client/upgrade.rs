//! From HTTP to a WebSocket (RFC 6455 §4.1), keeping what was answered: proxies answer instead of servers, and what
//! they say names them.

use std::time::Duration;

use actix_http::ws::hash_key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::Answer;
use super::dial::{Dialer, Io, Stream};
use super::error::Error;
use super::socket::Socket;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head of an answer that is read.
const HEAD_BYTES: usize = 16 * 1024;
/// Everything but RFC 3986's unreserved characters: in what is left neither a URL nor a shell nor curl finds a meaning.
pub const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// How much of a body is read for an excerpt, and for how long.
const BODY_BYTES: usize = 4096;
const BODY_TIMEOUT: Duration = Duration::from_millis(500);

impl Dialer {
    /// Upgrades the connection to a WebSocket of the app with this key.
    ///
    /// # Errors
    /// Any answer but a good 101, or none.
    pub async fn upgrade(&self, stream: Stream, key: &str) -> Result<(Socket, Answer), Error> {
        let mut io = stream.io;
        let nonce = nonce();
        let request = self.request(key, &nonce);
        let exchange = async {
            io.write_all(request.as_bytes()).await.map_err(broken)?;
            io.flush().await.map_err(broken)?;
            let mut read = BytesMut::with_capacity(2048);
            loop {
                let head = read_head(&mut *io, &mut read).await?;
                // Interim answers come before the one that counts (RFC 9110 §15.2); 101 is that one.
                let answer = Answer::parse(&head);
                if answer.is_none_or(|answer| answer.status == 101 || answer.status >= 200) {
                    return Ok((head, read));
                }
            }
        };
        let (head, mut rest) = timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| Error::Timeout {
                doing: "the upgrade was to be answered",
                within: TIMEOUT,
            })??;
        let Some(mut answer) = Answer::parse(&head) else {
            return Err(Error::NotHttp(head.chars().take(80).collect()));
        };
        if answer.status != 101 {
            read_body(&mut *io, &answer, &mut rest).await;
            answer.quote(&rest[..rest.len().min(BODY_BYTES)]);
            return Err(Error::NotUpgraded(Box::new(answer)));
        }
        let accept = hash_key(nonce.as_bytes());
        let reason = if answer.header("sec-websocket-accept").map(str::as_bytes) != Some(&accept) {
            Some(
                "its Sec-WebSocket-Accept does not fit the request: something in between answered for the server, or kept an answer",
            )
        } else if !answer.has_token("upgrade", "websocket") {
            Some("without the header Upgrade: websocket")
        } else {
            None
        };
        match reason {
            Some(reason) => Err(Error::BadUpgrade {
                answer: Box::new(answer),
                reason,
            }),
            None => Ok((Socket::new(io, rest), answer)),
        }
    }

    fn request(&self, key: &str, nonce: &str) -> String {
        const VERSION: &str = env!("CARGO_PKG_VERSION");
        let address = &self.address;
        let key = utf8_percent_encode(key, ESCAPED);
        let origin = self.origin.as_deref();
        let origin = origin.map_or_else(String::new, |origin| format!("Origin: {origin}\r\n"));
        format!(
            "GET {}/app/{key}?protocol=7&client=tidewire&version={VERSION} HTTP/1.1\r\n\
             Host: {}\r\n\
             User-Agent: tidewire/{VERSION}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n{origin}\r\n",
            address.prefix,
            address.authority(),
        )
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::Broken(error.to_string())
}

/// The next head, as text; `read` is left with what came behind it.
async fn read_head(io: &mut dyn Io, read: &mut BytesMut) -> Result<String, Error> {
    const END: &[u8] = b"\r\n\r\n";
    loop {
        if let Some(at) = read.windows(END.len()).position(|window| window == END) {
            let head = read.split_to(at + END.len());
            let head = String::from_utf8_lossy(&head[..at]).into_owned();
            return Ok(head);
        }
        // What is not HTTP from its first bytes on will not become it.
        let is_other = !read.is_empty() && !b"HTTP/1.".starts_with(&read[..read.len().min(7)]);
        if is_other || read.len() > HEAD_BYTES {
            let text = String::from_utf8_lossy(read).into_owned();
            return Err(Error::NotHttp(text.chars().take(80).collect()));
        }
        match io.read_buf(read).await {
            Ok(0) if read.is_empty() => return Err(Error::NoAnswer),
            Ok(0) => return Err(Error::NotHttp(String::from_utf8_lossy(read).into_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Err(Error::NoAnswer);
            }
            Err(error) => return Err(broken(error)),
        }
    }
}

/// Some of a body: what is there at once is enough for an excerpt.
async fn read_body(io: &mut dyn Io, answer: &Answer, read: &mut BytesMut) {
    let length = answer.header("content-length");
    let length = length.and_then(|length| length.parse().ok());
    let wanted = length.unwrap_or(BODY_BYTES).min(BODY_BYTES);
    let reading = async {
        while read.len() < wanted {
            match io.read_buf(read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    // Less of an excerpt is no less of an answer.
    let _ = timeout(BODY_TIMEOUT, reading).await;
}

/// 16 random bytes in base64.
fn nonce() -> String {
    BASE64.encode(rand::random::<[u8; 16]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 §4.1: what decodes to 16 bytes.
    #[test]
    fn nonces_are_base64_and_differ() {
        let (a, b) = (nonce(), nonce());
        assert_eq!((a.len(), a.ends_with("==")), (24, true));
        assert_ne!(a, b);
    }
}
