//! The header of a proxy, on a real connection: whatever is read as one is a whole header and not a byte more, in
//! however many pieces it comes; what is refused is refused. The first byte says how large the pieces are.

use std::cell::OnceCell;

use tidewire::fuzzing::{Proxied, read_proxy_header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

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
        let at_once = runtime.block_on(read(bytes, MOST));
        let in_pieces = runtime.block_on(read(bytes, usize::from(*piece % 64) + 1));
        assert_eq!(at_once, in_pieces, "{bytes:?}");
        let Some((proxied, rest)) = at_once else {
            return;
        };
        let header = &bytes[..bytes.len() - rest.len()];
        assert!(bytes.ends_with(&rest), "what follows is left as it is");
        is_whole(header, proxied);
    });
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
        assert!(header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"), "{header:?}");
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        assert_eq!(header.len(), 16 + length);
    }
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
