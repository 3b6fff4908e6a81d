//! WebSocket upgrades on `/app/{key}`: the handshake, then the raw connection is handed to its own task.
//!
//! The HTTP machinery of the connection (dispatcher, buffers) ends with the upgrade. What a browser must be able to
//! read is said in a close frame after accepting; overload is said by an HTTP error, because only that makes
//! pusher-js back off.

mod connection;
mod handshake;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_codec::Framed;
use actix_http::{Request, h1, ws};
use actix_rt::net::TcpStream;
use actix_service::Service;
use tracing::{debug, info};

use crate::hub::{Hub, Identity, Socket};
use crate::node::{Hello, Node, Refusal};
use connection::serve;
use handshake::{Handshake, refuse};

/// Whether upgrades are taken, and how many there are; shared by all workers.
#[derive(Debug, Default)]
pub struct Gate {
    draining: AtomicBool,
    open: AtomicUsize,
    max: Option<usize>,
}

impl Gate {
    /// Lets up to `max` WebSockets in at a time.
    #[must_use]
    pub fn new(max: Option<usize>) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    /// From now on refuses every upgrade.
    pub fn close(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the server takes no new connections.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How many WebSockets are in, those included that are being closed.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn enter(self: &Arc<Self>) -> Result<Pass, &'static str> {
        if self.is_closed() {
            return Err("The server is shutting down; connect to another one\n");
        }
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let pass = Pass(Arc::clone(self));
        match self.max {
            Some(max) if open >= max => {
                Err("The server has max_connections connections; try again later\n")
            }
            _ => Ok(pass),
        }
    }
}

/// Counts one WebSocket for as long as it lives.
struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The upgrade service of one worker.
pub struct Upgrades {
    node: Arc<Node>,
    hub: Rc<Hub>,
    gate: Arc<Gate>,
    path_prefix: Rc<str>,
}

impl Upgrades {
    /// For the connections that this worker accepts.
    #[must_use]
    pub fn new(node: Arc<Node>, hub: Rc<Hub>, gate: Arc<Gate>, path_prefix: &str) -> Self {
        Self {
            node,
            hub,
            gate,
            path_prefix: path_prefix.into(),
        }
    }

    fn upgrade(&self, request: &Request, framed: Framed<TcpStream, h1::Codec>) {
        let parts = framed.into_parts();
        let socket = Socket::new(parts.io);
        let head = request.head();
        if let Err(error) = ws::verify_handshake(head) {
            self.node.metrics().upgrades_refused.inc();
            debug!(%error, "upgrade refused");
            let text = format!("This is not a WebSocket handshake (RFC 6455): {error}\n");
            return spawn(refuse(socket, "400 Bad Request", text));
        }
        let pass = match self.gate.enter() {
            Ok(pass) => pass,
            Err(why) => {
                self.node.metrics().upgrades_refused.inc();
                info!(reason = why.trim_end(), "upgrade refused");
                return spawn(refuse(socket, "503 Service Unavailable", why.to_owned()));
            }
        };
        let handshake = Handshake::new(request, socket, parts.read_buf);
        match self.node.connect(&self.hello(request)) {
            Ok(identity) => self.accept(identity, handshake, pass),
            Err(refusal) => self.reject(request, refusal, handshake, pass),
        }
    }

    fn hello<'a>(&self, request: &'a Request) -> Hello<'a> {
        let path = request.path();
        let path = path.strip_prefix(&*self.path_prefix).unwrap_or(path);
        let query = request.uri().query().unwrap_or_default();
        let parameters: HashMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        Hello {
            key: path
                .strip_prefix("/app/")
                .filter(|key| !key.is_empty() && !key.contains('/')),
            protocol: parameters.get("protocol").copied(),
            version: parameters.get("version").copied(),
            origin: request
                .head()
                .headers
                .get("origin")
                .and_then(|origin| origin.to_str().ok()),
        }
    }

    fn accept(&self, identity: Identity, handshake: Handshake, pass: Pass) {
        spawn(serve(
            Arc::clone(&self.node),
            Rc::clone(&self.hub),
            identity,
            handshake,
            pass,
        ));
    }

    fn reject(&self, request: &Request, refusal: Refusal, handshake: Handshake, pass: Pass) {
        info!(
            path = request.path(),
            code = refusal.code.number(),
            reason = refusal.text,
            "connection refused"
        );
        spawn(async move {
            handshake.reject(&refusal).await;
            drop(pass);
        });
    }
}

/// Runs on the worker, apart from the HTTP dispatcher, whose memory is freed when this service has answered.
fn spawn(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}

impl Service<(Request, Framed<TcpStream, h1::Codec>)> for Upgrades {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    actix_service::always_ready!();

    fn call(&self, (request, framed): (Request, Framed<TcpStream, h1::Codec>)) -> Self::Future {
        self.upgrade(&request, framed);
        ready(Ok(()))
    }
}
