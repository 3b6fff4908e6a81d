//! What each worker is made of: its hub and clock, and one HTTP service for each listener.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_rt::net::TcpStream;
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_factory, fn_service, map_config};
use actix_web::App as WebApp;
use actix_web::dev::AppConfig;
use tokio::time::MissedTickBehavior;

use crate::http::{Api, Secure, noted};
use crate::hub::inbox::Unclaimed;
use crate::hub::{Hub, HubSettings};
use crate::limits::Gate;
use crate::metrics::Metrics;
use crate::net::{Reception, Socket, TrustedProxies};
use crate::node::Node;
use crate::supervise::{self, indispensable};
use crate::ws::Upgrades;

/// How long a client may take for the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a refused request's sender may take to read why.
const LINGER: Duration = Duration::from_secs(2);

/// How long an idle HTTP connection is kept: longer than the pools of common clients and proxies keep theirs.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

thread_local! {
    /// The worker of this thread. The HTTP framework makes the services of each listener by themselves, and all of
    /// them hand their connections to the one hub.
    static HUB: OnceCell<Rc<Hub>> = const { OnceCell::new() };
}

/// What each worker gets.
#[derive(Clone)]
pub(super) struct WorkerParts {
    pub(super) node: Arc<Node>,
    pub(super) gate: Arc<Gate>,
    pub(super) api: Api,
    pub(super) path_prefix: Arc<str>,
    pub(super) proxies: Arc<TrustedProxies>,
    pub(super) hub: HubSettings,
    pub(super) metrics: Metrics,
}

impl WorkerParts {
    /// What a worker does with the connections of one listener: HTTP requests to the API, upgrades to its hub.
    pub(super) fn service(
        &self,
        reception: Reception,
        unclaimed: Arc<Unclaimed>,
    ) -> impl ServiceFactory<
        TcpStream,
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<> {
        let api = self.api.clone();
        let parts = self.clone();
        let gate = Arc::clone(&self.gate);
        let node = Arc::clone(&self.node);
        let upgrades = fn_factory(move || {
            let upgrades = parts.upgrades(&unclaimed);
            async move { Ok::<_, ()>(upgrades) }
        });
        let http = HttpService::build()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_PATIENCE)
            // Gives a refused request's sender the time to read the answer before the connection is reset.
            .client_disconnect_timeout(LINGER)
            .on_connect_ext(|socket: &Socket, data| {
                if socket.is_secure() {
                    data.insert(Secure);
                }
            })
            // Idle connections of backends' pools end when a drain begins; busy ones after their answer.
            .graceful_shutdown_signal(move || gate.closed())
            .upgrade(upgrades)
            .finish(map_config(
                WebApp::new().configure(|config| api.configure(config)),
                |()| AppConfig::default(),
            ));
        fn_service(move |stream| {
            let reception = reception.clone();
            async move {
                let (socket, peer) = reception.receive(stream).await?;
                Ok((socket, Protocol::Http1, peer))
            }
        })
        .and_then(http)
        .map_err(move |error| noted(&node, error))
    }

    /// Makes this worker's upgrade service for one of its listeners.
    fn upgrades(&self, unclaimed: &Unclaimed) -> Upgrades {
        let hub = HUB.with(|hub| Rc::clone(hub.get_or_init(|| self.start_hub(unclaimed))));
        Upgrades::new(
            Arc::clone(&self.node),
            hub,
            Arc::clone(&self.gate),
            &self.path_prefix,
            Arc::clone(&self.proxies),
        )
    }

    fn start_hub(&self, unclaimed: &Unclaimed) -> Rc<Hub> {
        let Some((index, inbox)) = unclaimed.claim() else {
            // The framework starts a worker that panicked again, but its inbox and what it held are gone.
            supervise::ends("worker", &"it panicked, which is a bug");
        };
        let hub = Hub::new(index, self.hub, self.metrics.clone());
        indispensable(
            "worker",
            tokio::task::unconstrained(Rc::clone(&hub).serve(inbox)),
        );
        indispensable("clock", beat(Rc::clone(&hub)));
        hub
    }
}

/// One worker's clock.
async fn beat(hub: Rc<Hub>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let started = Instant::now();
    loop {
        hub.came_late(interval.tick().await.elapsed());
        // 136 years.
        hub.tick(u32::try_from(started.elapsed().as_secs()).unwrap_or(u32::MAX));
    }
}
