//! Tokens as an application or an identity provider makes them, and a server with a provider's public keys.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tidewire::auth::Secret;
use tokio::sync::watch;

/// `header.claims.signature`.
pub(crate) fn jwt(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = message.join(".");
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// A token signed with a shared secret.
pub(crate) fn hs256(secret: &str, claims: &str) -> String {
    jwt(r#"{"alg":"HS256","typ":"JWT"}"#, claims, |message| {
        hex::decode(Secret::new(secret).sign(message)).unwrap()
    })
}

/// One key of an identity provider.
pub(crate) struct ProviderKey {
    id: String,
    pair: Ed25519KeyPair,
}

impl ProviderKey {
    pub(crate) fn new(id: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self {
            id: id.to_owned(),
            pair: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap(),
        }
    }

    /// A token that names the key.
    pub(crate) fn sign(&self, claims: &str) -> String {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, self.id);
        jwt(&header, claims, |message| {
            self.pair.sign(message).as_ref().to_vec()
        })
    }

    fn jwk(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        format!(
            r#"{{"kty":"OKP","crv":"Ed25519","use":"sig","kid":"{}","x":"{x}"}}"#,
            self.id
        )
    }
}

/// The set of some keys.
pub(crate) fn jwk_set(keys: &[&ProviderKey]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key.jwk()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// How the provider answers.
#[derive(Clone)]
pub(crate) enum Jwks {
    Body(String),
    /// With a status and a place to go to.
    Redirect(u16, String),
    /// So many bytes that never end in a set.
    Endless,
    /// A byte a second, without end.
    Trickle,
    /// Not at all.
    Silent,
}

/// The provider. It ends with the test's process.
pub(crate) struct Provider {
    address: SocketAddr,
    answer: watch::Sender<Jwks>,
    asked: Arc<AtomicUsize>,
}

impl Provider {
    pub(crate) fn start(answer: Jwks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, current) = watch::channel(answer);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (current, count) = (current.clone(), Arc::clone(&count));
                thread::spawn(move || serve(stream, &current, &count));
            }
        });
        Self {
            address,
            answer,
            asked,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks", self.address)
    }

    /// From now on it answers so.
    pub(crate) fn answer(&self, answer: Jwks) {
        self.answer.send_replace(answer);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, answer: &watch::Receiver<Jwks>, asked: &AtomicUsize) {
    let mut request = [0; 4096];
    while stream.read(&mut request).is_ok_and(|bytes| bytes > 0) {
        assert!(request.starts_with(b"GET /jwks HTTP/1.1\r\n"));
        asked.fetch_add(1, Ordering::SeqCst);
        let answer = answer.borrow().clone();
        // The server may have gone away, as it should from some of these.
        let written = match answer {
            Jwks::Body(body) => {
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            }
            Jwks::Redirect(status, place) => write!(
                stream,
                "HTTP/1.1 {status} X\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
            ),
            Jwks::Endless => {
                let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                write!(stream, "{head}").and_then(|()| {
                    loop {
                        stream.write_all(chunk.as_bytes())?;
                    }
                })
            }
            Jwks::Trickle => {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
                write!(stream, "{head}").and_then(|()| {
                    loop {
                        thread::sleep(Duration::from_secs(1));
                        stream.write_all(b" ")?;
                    }
                })
            }
            Jwks::Silent => Ok(()),
        };
        if written.is_err() {
            return;
        }
    }
}
