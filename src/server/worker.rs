//! What the threads of the server do: a worker has a hub and a clock, and serves HTTP at each listener; one thread serves
//! the admin port.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_rt::Arbiter;
use actix_service::{IntoServiceFactory as _, ServiceFactory as _, fn_service};
use actix_web::App as WebApp;
use actix_web::dev::AppConfig;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tracing::debug;

use super::places::Place;
use crate::admin::Admin;
use crate::config;
use crate::http::{Api, record_fault};
use crate::hub::inbox::Inbox;
use crate::hub::{Hub, HubSettings};
use crate::limits::AdmissionGate;
use crate::metrics::Metrics;
use crate::net::{
    ADMIN_CONNECTIONS, Acceptor, Http, Listening, Socket, TakeOver, TrustedProxies, accept,
};
use crate::node::Node;
use crate::supervise::{self, spawn_critical, spawn_server};
use crate::transport::{Door, Sessions, Transports, answer_peers};

/// What each worker gets.
#[derive(Clone)]
pub(super) struct WorkerParts {
    pub(super) node: Arc<Node>,
    pub(super) gate: Arc<AdmissionGate>,
    pub(super) api: Api,
    pub(super) path_prefix: Arc<str>,
    pub(super) proxies: Arc<TrustedProxies>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) hub: HubSettings,
    pub(super) metrics: Metrics,
}

/// The sessions over HTTP, which other nodes may ask for.
pub(super) fn sessions(node: &Arc<Node>, server: &config::Server) -> Arc<Sessions> {
    let sessions = Arc::new(Sessions::new(server.sticky_host()));
    if node.peers().is_some() {
        let answering = answer_peers(Arc::clone(node), Arc::clone(&sessions));
        spawn_critical("sessions", answering);
    }
    sessions
}

/// What the settings say for a worker's hub.
pub(super) fn hub_settings(server: &config::Server) -> HubSettings {
    HubSettings {
        outbox_bytes: server.outbox_bytes,
        activity_timeout: server.activity_timeout,
    }
}

impl WorkerParts {
    /// Starts a worker's thread with its inbox and its place at each listener.
    pub(super) fn start(
        &self,
        index: u16,
        inbox: Inbox,
        places: Vec<(Place, Acceptor)>,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let parts = self.clone();
        on_a_thread(move || {
            let hub = Hub::new(index, parts.hub, parts.metrics.clone());
            spawn_critical(
                "worker",
                tokio::task::unconstrained(Rc::clone(&hub).serve(inbox)),
            );
            spawn_critical("clock", beat(Rc::clone(&hub)));
            for (place, acceptor) in places {
                let serving = parts.serve(place, acceptor, Rc::clone(&hub), stop.clone());
                spawn_server("public listener", serving);
            }
        })
    }

    /// What a worker does with the connections of one listener: HTTP requests to the API, connections to its hub.
    fn serve(
        &self,
        place: Place,
        acceptor: Acceptor,
        hub: Rc<Hub>,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let transports = Rc::new(self.transports(hub));
        let taker: Rc<dyn TakeOver> = Rc::clone(&transports) as _;
        let api = Rc::new(self.api.clone());
        let service = fn_service(move |request| {
            let (api, transports) = (Rc::clone(&api), Rc::clone(&transports));
            // Boxed: an idle connection need not keep the room for it.
            Box::pin(async move {
                Ok::<_, Infallible>(match transports.serves(&request) {
                    true => transports.serve(request).await,
                    false => api.serve(request).await,
                })
            })
        });
        let http = Http::new(service, Some(taker), Arc::clone(&self.gate));
        // With its receiver the server's end waits for every connection that has this.
        let parts = Rc::new((http, acceptor.clone(), Arc::clone(&self.node), stop.clone()));
        let begin = move |stream, peer, permit| {
            let parts = Rc::clone(&parts);
            supervise::spawn(async move {
                let (http, acceptor, node, _) = &*parts;
                // Why one is not received has been logged and counted.
                if let Ok((socket, peer)) = acceptor.accept(stream, peer, permit).await {
                    let note = |fault| record_fault(node, fault, peer);
                    http.serve(socket, peer, note).await;
                }
            });
        };
        place.serve(stop, begin, move |peer| acceptor.refuse(peer))
    }

    /// Makes a worker's transports for one of its listeners.
    fn transports(&self, hub: Rc<Hub>) -> Transports {
        Transports::new(Door {
            node: Arc::clone(&self.node),
            hub,
            gate: Arc::clone(&self.gate),
            path_prefix: Arc::clone(&self.path_prefix),
            proxies: Arc::clone(&self.proxies),
            tokens: self.api.tokens().clone(),
            sessions: Arc::clone(&self.sessions),
        })
    }
}

/// Runs something on a thread of its own, whose tasks go on when it has returned.
pub(super) fn on_a_thread(begin: impl FnOnce() + Send + 'static) -> io::Result<()> {
    Arbiter::try_new()?.spawn_fn(begin);
    Ok(())
}

/// One worker's clock.
async fn beat(hub: Rc<Hub>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let started = Instant::now();
    loop {
        hub.record_lag(interval.tick().await.elapsed());
        // 136 years.
        hub.tick(u32::try_from(started.elapsed().as_secs()).unwrap_or(u32::MAX));
    }
}

/// Serves the admin port until it is to stop, so many connections at a time.
pub(super) async fn serve_admin(
    listening: Listening,
    admin: Admin,
    gate: Arc<AdmissionGate>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut sockets = listening.sockets;
    let socket = sockets.pop().ok_or("there is no socket")?;
    let listener = tokio::net::TcpListener::from_std(socket)?;
    let app = WebApp::new().configure(|config| admin.configure(config));
    let app = app.into_factory().new_service(AppConfig::default()).await;
    let app = app.map_err(|()| "the framework did not start")?;
    let parts = Rc::new((Http::new(app, None, gate), stop.clone()));
    let room = Arc::new(Semaphore::new(ADMIN_CONNECTIONS.into()));
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (accept(&listener).await, permit)
        };
        let ((stream, peer), permit) = tokio::select! {
            accepted = accepted => accepted,
            _ = stop.changed() => return Ok(()),
        };
        let parts = Rc::clone(&parts);
        supervise::spawn(async move {
            let _permit = permit;
            let socket = Socket::plain(stream, false, None);
            let note = |fault| debug!(?fault, "admin");
            parts.0.serve(socket, Some(peer), note).await;
        });
    }
}
