//! The header of a proxy, on a real connection: whatever is read as one is a whole header and not a byte more, in
//! however many pieces it comes; it says what the specification reads in it. A header that another encoder wrote is read
//! as it was meant. The first byte says how large the pieces are.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tidewire::fuzzing::{Proxied, read_proxy_header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// How version 2 begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// More than the longest header.
const MOST: usize = 4096;

pub(crate) fn check(bytes: &[u8]) {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    let [piece, bytes @ ..] = bytes else { return };
    let bytes = &bytes[..bytes.len().min(MOST)];
    RUNTIME.with(|runtime| {
        let runtime =
            runtime.get_or_init(|| Builder::new_current_thread().enable_all().build().unwrap());
        let size = usize::from(*piece % 64) + 1;
        let at_once = runtime.block_on(read(bytes, MOST));
        let in_pieces = runtime.block_on(read(bytes, size));
        assert_eq!(at_once, in_pieces, "{}", bytes.escape_ascii());
        if let Some((proxied, rest)) = at_once {
            let header = &bytes[..bytes.len() - rest.len()];
            assert!(bytes.ends_with(&rest), "what follows is left as it is");
            is_whole(header, proxied);
        }
        if let Some((header, client)) = written(bytes, piece % 2 == 0) {
            let (proxied, rest) = runtime.block_on(read(&header, size)).expect("it is one");
            assert_eq!(proxied.client, Some(client), "{}", header.escape_ascii());
            assert!(rest.is_empty());
        }
    });
}

/// A header of version 1 or 2 of a client whose address is in the bytes; what follows goes along with version 2.
fn written(bytes: &[u8], is_line: bool) -> Option<(Vec<u8>, SocketAddr)> {
    let (ip, rest) = bytes.split_first_chunk::<16>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let client = SocketAddr::from((Ipv6Addr::from(*ip), u16::from_be_bytes(*port)));
    if is_line {
        let line = format!("PROXY TCP6 {} ::1 {} 443\r\n", client.ip(), client.port());
        return Some((line.into_bytes(), client));
    }
    let rest = &rest[..rest.len().min(1024)];
    let length = u16::try_from(36 + rest.len()).unwrap().to_be_bytes();
    let here = [&[0; 15][..], &[1]].concat();
    let header = [
        SIGNATURE,
        b"\x21\x21",
        &length,
        ip,
        &here,
        port,
        b"\x01\xbb",
        rest,
    ]
    .concat();
    Some((header, client))
}

/// Whether it is a header by the words of the specification.
fn is_whole(header: &[u8], proxied: Proxied) {
    if header.starts_with(b"PROXY ") {
        let line = String::from_utf8_lossy(header);
        assert!(line.ends_with("\r\n") && header.len() <= 107, "{line:?}");
        assert_eq!(line.matches('\n').count(), 1);
        if let Some(client) = proxied.client {
            let fields: Vec<&str> = line.trim_end().split(' ').collect();
            assert_eq!(fields[2].parse(), Ok(client.ip()));
            assert_eq!(fields[4].parse(), Ok(client.port()));
        }
        assert!(!proxied.tls, "version 1 cannot say so");
    } else {
        assert!(header.starts_with(SIGNATURE), "{header:?}");
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        let block = &header[16..];
        assert_eq!(block.len(), length);
        let port = |at| u16::from_be_bytes([block[at], block[at + 1]]);
        let (addresses, source) = match header[13] >> 4 {
            0 => (0, None),
            1 => {
                let ip = IpAddr::from(<[u8; 4]>::try_from(&block[..4]).unwrap());
                (12, Some(SocketAddr::new(ip, port(8))))
            }
            2 => {
                let ip = IpAddr::from(<[u8; 16]>::try_from(&block[..16]).unwrap());
                (36, Some(SocketAddr::new(ip, port(32))))
            }
            family => {
                assert_eq!(family, 3);
                (216, None)
            }
        };
        match header[12] {
            0x20 => assert_eq!(proxied.client, None, "a proxy's own"),
            command => assert_eq!((command, proxied.client), (0x21, source)),
        }
        assert_eq!(proxied.tls, says_tls(&block[addresses..]));
    }
}

/// Whether the first extension about TLS, of those that are whole, says that the client speaks it.
fn says_tls(mut extensions: &[u8]) -> bool {
    while let [kind, high, low, rest @ ..] = extensions {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, next)) = rest.split_at_checked(length) else {
            return false;
        };
        if *kind == 0x20 && value.len() >= 5 {
            return value[0] & 1 == 1;
        }
        extensions = next;
    }
    false
}

/// What is read, and what was left for those who come next; none if it is refused.
async fn read(bytes: &[u8], at_a_time: usize) -> Option<(Proxied, Vec<u8>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (mut receiver, _) = listener.accept().await.unwrap();
    // Without the wait that the system otherwise has after an end, ports would be used up.
    receiver.set_zero_linger().unwrap();
    sender.set_nodelay(true).unwrap();
    let send = async {
        for part in bytes.chunks(at_a_time) {
            // A header that is refused is not read to its end.
            if sender.write_all(part).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = sender.shutdown().await;
    };
    let receive = async {
        let proxied = read_proxy_header(&mut receiver).await.ok()?;
        let mut rest = Vec::new();
        receiver.read_to_end(&mut rest).await.unwrap();
        Some((proxied, rest))
    };
    tokio::join!(send, receive).1
}
