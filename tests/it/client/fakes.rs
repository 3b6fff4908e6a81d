//! Stand-ins for what can be between a client and a server, and for what can be there instead of one. They end with the
//! test process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use actix_http::ws::hash_key;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::harness::new_folder;

/// Calls a handler for each connection to a new port, in a thread of its own.
fn serve(handler: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(handler);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let handler = Arc::clone(&handler);
            thread::spawn(move || handler(stream));
        }
    });
    address
}

/// Reads the head of a request.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Answers every request with the same bytes.
pub(super) fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    serve(move |mut stream| {
        read_head(&mut stream);
        // Whoever has gone wants no answer.
        let _ = stream.write_all(&answer);
    })
}

/// Says bytes as soon as somebody comes, and closes once something has come back.
pub(super) fn greeting(bytes: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| {
        let _ = stream.write_all(bytes);
        let _ = stream.read(&mut [0; 1024]);
    })
}

/// A WebSocket that says one frame, and nothing more.
pub(super) fn web_socket(frame: &'static str) -> SocketAddr {
    serve(move |mut stream| {
        let head = read_head(&mut stream);
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = hash_key(key.expect("a key").as_bytes());
        let accept = String::from_utf8_lossy(&accept);
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let _ = stream.write_all(response.as_bytes());
        let length = u8::try_from(frame.len()).expect("a short frame");
        assert!(length < 126, "a short frame");
        let _ = stream.write_all(&[&[0x81, length], frame.as_bytes()].concat());
        // Until the other side has had enough.
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// Passes WebSockets on to a server, and answers POSTs itself.
pub(super) fn instead_of_posts(server: SocketAddr, answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    serve(move |mut stream| {
        let mut first = [0; 4];
        stream.read_exact(&mut first).expect("a request");
        if &first == b"POST" {
            let head = read_head(&mut stream).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            stream.read_exact(&mut vec![0; length]).expect("a body");
            let _ = stream.write_all(&answer);
            return;
        }
        pass_both_ways(&first, stream, server);
    })
}

/// Passes everything on to a server, and says interim answers (RFC 9110 §15.2) before each first one.
pub(super) fn hinting(server: SocketAddr) -> SocketAddr {
    serve(move |mut stream| {
        let mut first = [0; 1];
        if stream.read_exact(&mut first).is_err() {
            return;
        }
        let _ = stream.write_all(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
        );
        pass_both_ways(&first, stream, server);
    })
}

fn pass_both_ways(first: &[u8], mut stream: TcpStream, server: SocketAddr) {
    let mut behind = TcpStream::connect(server).expect("the server listens");
    behind.write_all(first).expect("the server reads");
    let (mut from, mut to) = (stream.try_clone().unwrap(), behind.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut behind, &mut stream);
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

/// An authority of one's own, with the files that it has signed.
pub(super) struct Authority {
    folder: PathBuf,
}

impl Authority {
    pub(super) fn new() -> Self {
        let authority = Self {
            folder: new_folder(),
        };
        authority.openssl(
            "req -x509 -newkey ed25519 -nodes -days 30 -subj /CN=authority -keyout ca.key -out ca.crt",
        );
        let settings = "[ca]\ndefault_ca = d\n[d]\ndatabase = index\nserial = serial\nnew_certs_dir = .\n\
                        default_md = default\npolicy = p\nunique_subject = no\n[p]\ncommonName = supplied\n";
        authority.write("ca.cnf", settings);
        authority.write("index", "");
        authority.write("serial", "01");
        authority
    }

    /// Signs for a subjectAltName, from and until a time as `20300101000000Z`.
    pub(super) fn sign(&self, name: &str, alternative: &str, from: &str, until: &str) {
        self.openssl(&format!(
            "req -new -newkey ed25519 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        let extensions = format!("subjectAltName = {alternative}\nbasicConstraints = CA:FALSE\n");
        self.write("extensions", &extensions);
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key -extfile extensions -startdate {from} \
             -enddate {until} -in {name}.csr -out {name}.crt"
        ));
    }

    /// Signs with itself.
    pub(super) fn self_sign(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ed25519 -nodes -days 30 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -addext \
             basicConstraints=critical,CA:FALSE -keyout {name}.key -out {name}.crt"
        ));
    }

    /// The authority's own certificate.
    pub(super) fn file(&self) -> String {
        self.folder.join("ca.crt").display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap();
    }

    fn openssl(&self, arguments: &str) {
        let status = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("openssl exists");
        assert!(status.success(), "openssl {arguments}");
    }

    /// Ends TLS with a certificate of this name, in front of a server.
    pub(super) fn in_front_of(&self, server: SocketAddr, name: &str) -> SocketAddr {
        let path = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        let chain = CertificateDer::pem_file_iter(path("crt")).unwrap();
        let chain: Vec<CertificateDer<'static>> = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(path("key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, pass_on(listener, acceptor, server));
        });
        address
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn pass_on(listener: TcpListener, acceptor: TlsAcceptor, server: SocketAddr) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::task::spawn_local(async move {
            // Who does not trust the certificate goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            if let Ok(mut behind) = tokio::net::TcpStream::connect(server).await {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
            }
        });
    }
}
