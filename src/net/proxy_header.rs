//! The header of the PROXY protocol, version 1 or 2, that a proxy puts before everything else on a connection.
//!
//! Only the header is read from the connection. TLS or HTTP follows.

use std::io;
use std::net::SocketAddr;

use actix_rt::net::TcpStream;
use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt as _;

/// No header is shorter: a line of version 1 without addresses. Version 2 has a byte more.
const LEAST_BYTES: usize = b"PROXY UNKNOWN\r\n".len();

/// The longest header. Version 1 has up to 107 bytes, version 2 as many as its extensions need.
const MOST_BYTES: usize = 2048;

/// The longest header of version 1.
const MOST_BYTES_V1: usize = 107;

/// The fixed part of version 2; its last two bytes tell the length of the rest.
const FIXED_V2: usize = 16;

/// The facts in a proxy's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// The client's address. None for the proxy's own connections, such as health checks, and for hidden clients.
    pub client: Option<SocketAddr>,
    /// Whether the client speaks TLS to the proxy. Only version 2 can say so.
    pub tls: bool,
}

/// Reads the header from a connection.
///
/// # Errors
/// The connection broke, or the bytes are no header.
pub async fn read(stream: &mut TcpStream) -> io::Result<Proxied> {
    let mut header = vec![0; LEAST_BYTES];
    stream.read_exact(&mut header).await?;
    loop {
        match parse(&header) {
            Ok(proxied) => return Ok(proxied),
            Err(Error::BufferTooShort) if header.len() < MOST_BYTES => {
                let more = missing(&header, stream).await?;
                let known = header.len();
                header.resize(known + more, 0);
                stream.read_exact(&mut header[known..]).await?;
            }
            Err(error) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    error.to_string(),
                ));
            }
        }
    }
}

/// How many more bytes certainly belong to an incomplete header.
async fn missing(header: &[u8], stream: &TcpStream) -> io::Result<usize> {
    if header[0] == b'\r' {
        return Ok(match header.get(FIXED_V2 - 2..FIXED_V2) {
            Some(&[high, low]) => {
                let whole = FIXED_V2 + usize::from(u16::from_be_bytes([high, low]));
                whole.min(MOST_BYTES).saturating_sub(header.len()).max(1)
            }
            _ => FIXED_V2 - header.len(),
        });
    }
    // A line: all that is there up to its end.
    let mut ahead = [0; 128];
    let there = stream.peek(&mut ahead).await?;
    if there == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = ahead[..there].iter().position(|byte| *byte == b'\n');
    Ok(line.map_or(there, |end| end + 1))
}

fn parse(header: &[u8]) -> Result<Proxied, Error> {
    // The library takes any byte for the space, and a line of any length if all of it came at once; of an unknown
    // client it takes several lines for one.
    let is_line = match header.iter().position(|byte| *byte == b'\n') {
        Some(end) => end + 1 == header.len() && header.ends_with(b"\r\n"),
        None => true,
    };
    if header.starts_with(b"PROXY")
        && !(header.starts_with(b"PROXY ") && header.len() <= MOST_BYTES_V1 && is_line)
    {
        return Err(Error::Invalid);
    }
    let (header, _) = ProxyHeader::parse(header, ParseConfig::default())?;
    Ok(Proxied {
        client: header.proxied_address().map(|address| address.source),
        tls: header.ssl().is_some_and(|ssl| ssl.client_ssl()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, SslInfo, Tlv};
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Reads the header from a connection on which all of it comes a few bytes at a time; with what follows it.
    fn read_from(bytes: &[u8], at_a_time: usize) -> (io::Result<Proxied>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut sender = TcpStream::connect(address).await.unwrap();
            let (mut receiver, _) = listener.accept().await.unwrap();
            sender.set_nodelay(true).unwrap();
            let send = async {
                for part in bytes.chunks(at_a_time) {
                    sender.write_all(part).await.unwrap();
                    tokio::task::yield_now().await;
                }
                sender.shutdown().await.unwrap();
            };
            let receive = async {
                let proxied = read(&mut receiver).await;
                let mut rest = Vec::new();
                receiver.read_to_end(&mut rest).await.unwrap();
                (proxied, rest)
            };
            tokio::join!(send, receive).1
        })
    }

    fn v2(source: &str, tls: bool) -> Vec<u8> {
        let source: SocketAddr = source.parse().unwrap();
        let mut header = ProxyHeader::with_address(ProxiedAddress::stream(source, source));
        if tls {
            header.append_tlv(Tlv::Ssl(SslInfo::new(true, false, false, 0)));
        }
        let mut bytes = Vec::new();
        header.encode_v2(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn both_versions_are_read_and_nothing_behind_them() {
        let of = |client: &str, tls| Proxied {
            client: Some(client.parse().unwrap()),
            tls,
        };
        let hidden = Proxied {
            client: None,
            tls: false,
        };
        let mut local = Vec::new();
        ProxyHeader::with_local().encode_v2(&mut local).unwrap();
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 6001\r\n".to_vec(),
                of("192.0.2.1:4711", false),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 4711 6001\r\n".to_vec(),
                of("[2001:db8::1]:4711", false),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), hidden),
            (b"PROXY UNKNOWN whatever it is\r\n".to_vec(), hidden),
            (v2("192.0.2.1:4711", false), of("192.0.2.1:4711", false)),
            (
                v2("[2001:db8::1]:4711", true),
                of("[2001:db8::1]:4711", true),
            ),
            (local, hidden),
        ] {
            for at_a_time in [1, 7, 1000] {
                let bytes = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
                let (proxied, rest) = read_from(&bytes, at_a_time);
                assert_eq!(proxied.unwrap(), expected, "{header:?}");
                assert_eq!(rest, b"GET / HTTP/1.1\r\n\r\n");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            b"PROXY TCP4 nonsense\r\n",
            b"PROXY`TCP4 192.0.2.1 192.0.2.2 4711 6001\r\n",
            b"PROXY TCP4 1.1.1.1",
            b"PROXY UNKNOWN with a line that goes on and on and on and on and on and on and on and on and on and on and on and on",
            b"PROXY UNKNOWN 45678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678\r\n",
            b"PROXY UNKNOWN, and\nHost: x\r\n",
            b"PROXY UNKNOWN\nx\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x01\x00",
            b"",
        ] {
            assert!(read_from(bytes, 1000).0.is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_end_it(start in "(PROXY TCP4 |\r\n\r\n\u{0}\r\nQUIT\n!)?", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [start.as_bytes(), &bytes].concat();
            let _ = read_from(&bytes, 50);
        }
    }
}
