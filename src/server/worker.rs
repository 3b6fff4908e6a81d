//! What each worker is made of: its hub and clock, and one HTTP service for each listener.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_rt::net::TcpStream;
use actix_service::{IntoServiceFactory as _, ServiceFactory, fn_factory, fn_service};
use actix_web::App as WebApp;
use actix_web::dev::AppConfig;
use tokio::time::MissedTickBehavior;
use tracing::debug;

use crate::admin::Admin;
use crate::config;
use crate::http::{Api, record_fault};
use crate::hub::inbox::InboxPool;
use crate::hub::{Hub, HubSettings};
use crate::limits::AdmissionGate;
use crate::metrics::Metrics;
use crate::net::{Acceptor, Http, Socket, TakeOver, TrustedProxies};
use crate::node::Node;
use crate::supervise::{self, spawn_critical};
use crate::transport::{Door, Sessions, Transports, answer_peers};

thread_local! {
    /// The worker of this thread. The HTTP framework makes the services of each listener by themselves, and all of
    /// them hand their connections to the one hub.
    static HUB: OnceCell<Rc<Hub>> = const { OnceCell::new() };
}

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
    /// What a worker does with the connections of one listener: HTTP requests to the API, connections to its hub.
    pub(super) fn service(
        &self,
        acceptor: Acceptor,
        inbox_pool: Arc<InboxPool>,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> + use<>
    {
        let parts = self.clone();
        fn_factory(move || {
            let (parts, acceptor) = (parts.clone(), Rc::new(acceptor.clone()));
            let transports = Rc::new(parts.transports(&inbox_pool));
            async move {
                let api = Rc::new(parts.api.clone());
                let taker: Rc<dyn TakeOver> = Rc::clone(&transports) as _;
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
                let http = Rc::new(Http::new(service, Some(taker), parts.gate));
                Ok(fn_service(move |stream| {
                    let (http, acceptor) = (Rc::clone(&http), Rc::clone(&acceptor));
                    let node = Arc::clone(&parts.node);
                    // Boxed: the framework's task has room for it twice.
                    Box::pin(supervise::counted(async move {
                        // Why one is not received has been logged and counted.
                        let (socket, peer) = acceptor.accept(stream).await.map_err(|_| ())?;
                        let note = |fault| record_fault(&node, fault, peer);
                        http.serve(socket, peer, note).await;
                        Ok(())
                    }))
                }))
            }
        })
    }

    /// Makes this worker's transports for one of its listeners.
    fn transports(&self, inbox_pool: &InboxPool) -> Transports {
        let hub = HUB.with(|hub| Rc::clone(hub.get_or_init(|| self.start_hub(inbox_pool))));
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

    fn start_hub(&self, inbox_pool: &InboxPool) -> Rc<Hub> {
        let Some((index, inbox)) = inbox_pool.claim() else {
            // The framework starts a worker that panicked again, but its inbox and what it held are gone.
            supervise::exit("worker", &"it panicked, which is a bug");
        };
        let hub = Hub::new(index, self.hub, self.metrics.clone());
        spawn_critical(
            "worker",
            tokio::task::unconstrained(Rc::clone(&hub).serve(inbox)),
        );
        spawn_critical("clock", beat(Rc::clone(&hub)));
        hub
    }
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

/// What the one worker of the admin port does with its connections.
pub(super) fn admin_service(
    admin: Admin,
    gate: Arc<AdmissionGate>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
    fn_factory(move || {
        let (admin, gate) = (admin.clone(), Arc::clone(&gate));
        async move {
            let app = WebApp::new().configure(|config| admin.configure(config));
            let app = app.into_factory().new_service(AppConfig::default()).await?;
            let http = Rc::new(Http::new(app, None, gate));
            Ok(fn_service(move |stream: TcpStream| {
                let http = Rc::clone(&http);
                supervise::counted(async move {
                    let peer = stream.peer_addr().ok();
                    let socket = Socket::plain(stream, false, None);
                    http.serve(socket, peer, |fault| debug!(?fault, "admin"))
                        .await;
                    Ok(())
                })
            }))
        }
    })
}
