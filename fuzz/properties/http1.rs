//! A connection of HTTP/1.1: in however many pieces its bytes come, the same requests are read from it. Requests that
//! another encoder wrote are read as they were meant, whatever their bodies are, and each ends where it was meant to end.
//! The first byte says how large the pieces are.

use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_http::body::BoxBody;
use actix_http::{Payload, Request, Response};
use actix_service::{Service, fn_service};
use futures_core::Stream as _;
use tidewire::limits::AdmissionGate;
use tidewire::net::{Http, Socket};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// More than this is not sent: nobody reads the answers meanwhile.
const MOST: usize = 4096;

/// A request as a handler sees it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    /// None if it is damaged or incomplete.
    body: Option<Vec<u8>>,
}

struct Server {
    runtime: Runtime,
    tasks: LocalSet,
}

pub(crate) fn check(bytes: &[u8]) {
    thread_local! {
        static SERVER: OnceCell<Server> = const { OnceCell::new() };
    }
    let [piece, bytes @ ..] = bytes else { return };
    let bytes = &bytes[..bytes.len().min(MOST)];
    let size = usize::from(*piece % 64) + 1;
    SERVER.with(|server| {
        let server = server.get_or_init(|| Server {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            tasks: LocalSet::new(),
        });
        let read = |bytes: &[u8], at_a_time| {
            let seen = received(bytes, at_a_time);
            server.tasks.block_on(&server.runtime, seen)
        };
        let at_once = read(bytes, MOST);
        assert_eq!(at_once, read(bytes, size), "{}", bytes.escape_ascii());

        let sent = written(bytes, usize::from(*piece));
        let found = read(&sent, size * 16);
        let [first, second] = &found[..] else {
            panic!("{found:?} of {}", sent.escape_ascii());
        };
        assert_eq!(first.body.as_deref(), Some(bytes));
        assert_eq!((&*first.method, &*first.target), ("POST", "/first?a=b"));
        assert_eq!((&*second.method, &*second.target), ("GET", "/second"));
        assert_eq!(second.body.as_deref(), Some(&b""[..]));
    });
}

/// A request with this body, and one behind it.
fn written(body: &[u8], piece: usize) -> Vec<u8> {
    let mut sent = b"POST /first?a=b HTTP/1.1\r\nHost: h\r\n".to_vec();
    match piece % 4 {
        kind @ 0..=1 => {
            // An offer that nobody takes.
            let offer = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
            let offer = if kind == 1 { offer } else { "" };
            let fields = format!("{offer}content-length: {}\r\n\r\n", body.len());
            sent.extend_from_slice(&[fields.as_bytes(), body].concat());
        }
        kind => {
            sent.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for (at, chunk) in body.chunks(piece + 1).enumerate() {
                let size = match (kind, at % 3) {
                    (2, _) => format!("{:x}", chunk.len()),
                    (_, 0) => format!("000{:X}", chunk.len()),
                    (_, 1) => format!("{:x};name=value", chunk.len()),
                    _ => format!("{:x} ; name", chunk.len()),
                };
                sent.extend_from_slice(size.as_bytes());
                sent.extend_from_slice(&[b"\r\n", chunk, b"\r\n"].concat());
            }
            let trailer: &[u8] = if kind == 3 { b"X-Trailer: 1\r\n" } else { b"" };
            sent.extend_from_slice(&[b"0\r\n", trailer, b"\r\n"].concat());
        }
    }
    sent.extend_from_slice(b"GET /second HTTP/1.1\r\nHost: h\r\n\r\n");
    sent
}

/// The requests of a connection on which these bytes come, so many at a time.
async fn received(bytes: &[u8], at_a_time: usize) -> Vec<Seen> {
    let all = Rc::new(RefCell::new(Vec::new()));
    let http = Http::new(
        recorder(&all),
        None::<Rc<dyn tidewire::net::TakeOver>>,
        Arc::new(AdmissionGate::new(None, None)),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sender = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (receiver, _) = listener.accept().await.unwrap();
    // Without the wait that the system otherwise has after an end, ports would be used up.
    sender.set_zero_linger().unwrap();
    sender.set_nodelay(true).unwrap();
    let send = async {
        for part in bytes.chunks(at_a_time) {
            // What comes behind a fault is not read.
            if sender.write_all(part).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let _ = sender.shutdown().await;
    };
    tokio::join!(
        send,
        http.serve(Socket::plain(receiver, false, None), None, drop)
    );
    drop(http);
    Rc::into_inner(all).unwrap().into_inner()
}

/// Reads each request and notes it.
fn recorder(
    all: &Rc<RefCell<Vec<Seen>>>,
) -> impl Service<Request, Response = Response<BoxBody>, Error = Response<BoxBody>> + use<> {
    let all = Rc::clone(all);
    fn_service(move |mut request: Request| {
        let all = Rc::clone(&all);
        async move {
            let body = whole(request.take_payload()).await;
            let fields = request.head().headers.iter();
            let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
            let seen = Seen {
                method: request.method().to_string(),
                target: request.uri().to_string(),
                fields: fields.collect(),
                body,
            };
            all.borrow_mut().push(seen);
            Ok(Response::ok())
        }
    })
}

async fn whole(mut payload: Payload) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = poll_fn(|cx| Pin::new(&mut payload).poll_next(cx)).await {
        body.extend_from_slice(&part.ok()?);
    }
    Some(body)
}
