//! The composition root: ports, workers, wiring, and the one shutdown sequence.

use std::io::{self, Write as _};
use std::net::{TcpListener, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_rt::net::TcpStream;
use actix_server::Server;
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_factory, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App as WebApp, HttpServer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use crate::adapter::redis::{self, ClusterState, Inside, Redis, Settings as RedisSettings};
use crate::adapter::{Adapter, Local};
use crate::admin::{Admin, ConfigState};
use crate::config::{Settings, Watch};
use crate::http::{Api, noted};
use crate::hub::inbox::{self, Inboxes, Order, Unclaimed};
use crate::hub::{Hub, HubSettings};
use crate::limits::Gate;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::protocol::CloseCode;
use crate::registry::Registry;
use crate::supervise::indispensable;
use crate::webhook::{self, Webhooks};
use crate::ws::Upgrades;

/// How often a drain closes the next connections.
const DRAIN_TICK: Duration = Duration::from_millis(100);

/// A drain need not be slower than this per worker and tick: a small server stops at once.
const DRAIN_LEAST: usize = 50;

/// How long last frames, close handshakes and requests in flight may take after the drain.
const STOP_PATIENCE: Duration = Duration::from_secs(6);

/// How long queued webhooks are tried at least, however long the drain took.
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(2);

/// How long a client may take for the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a refused request's sender may take to read why.
const LINGER: Duration = Duration::from_secs(2);

/// How long an idle HTTP connection is kept: longer than the pools of common clients and proxies keep theirs.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Files that are no clients' connections: listeners, pollers, the admin port, webhooks, what is being read.
const OTHER_FILES: u64 = 100;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address} (host and port of [{section}]): {source}{}",
        hint(source)
    )]
    Listen {
        /// The section of the settings.
        section: &'static str,
        /// The address as configured.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// `spool` of `[webhooks]` cannot be used.
    #[error(transparent)]
    Spool(#[from] webhook::Error),
    /// The cluster is not for this node.
    #[error("cannot join the cluster of [redis]: {0}")]
    Cluster(#[from] redis::Error),
    /// The system refuses threads, signals or the like.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            ". Something else listens there: stop it, or set another port (0: any free one)"
        }
        io::ErrorKind::PermissionDenied => ". Ports below 1024 need a privilege: set another port",
        io::ErrorKind::AddrNotAvailable => {
            ". This machine has no such address: 0.0.0.0 stands for all it has"
        }
        _ => "",
    }
}

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends it at once. Prints one line on stdout when it
/// listens.
///
/// # Errors
/// It could not start.
pub fn run(settings: Settings, watch: Watch) -> Result<(), Error> {
    actix_rt::System::new().block_on(serve(settings, watch))
}

async fn serve(settings: Settings, watch: Watch) -> Result<(), Error> {
    let public_listener = listen("server", &settings.server.host, settings.server.port)?;
    let admin_listener = listen("admin", &settings.admin.host, settings.admin.port)?;
    let line = startup_line(&public_listener, &admin_listener, settings.apps.len())?;
    raise_file_limit();
    let mut signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup())?;

    let drain = Duration::from_secs(settings.server.drain_seconds.into());
    let token = settings.admin.token.clone();
    let public_port = public_listener.local_addr()?.port();
    let soketi_names = settings.admin.soketi_metric_names.then_some(public_port);
    let wired = Wired::new(settings).await?;
    let (told, config_state) = watch::channel(ConfigState::now(&watch.toml()));
    let admin = Admin::new(
        Arc::clone(&wired.worker.node),
        Arc::clone(&wired.worker.gate),
        token,
        config_state,
        wired.adapter.cluster(),
    )
    .with_soketi_names(soketi_names);
    let admin =
        HttpServer::new(move || WebApp::new().configure(|config| admin.clone().configure(config)))
            .workers(1)
            .disable_signals()
            .shutdown_timeout(1)
            .listen(admin_listener)?
            .run();
    let public = wired.start(public_listener)?;
    let (admin_handle, public_handle) = (admin.handle(), public.handle());
    // Both run on their own; their ends are awaited through their handles.
    tokio::task::spawn_local(admin);
    tokio::task::spawn_local(public);
    let metrics = wired.worker.metrics.clone();
    tokio::task::spawn_local(metrics.clone().tell_suppressed_lines());
    tokio::task::spawn_local(reload(watch, hangup, Arc::clone(&wired.worker.node), told));
    print_line(&line);

    signals.next().await;
    let stop = async {
        let begun = Instant::now();
        wired.drain(drain).await;
        public_handle.stop(true).await;
        wired.finish(drain.saturating_sub(begun.elapsed())).await;
        admin_handle.stop(true).await;
    };
    tokio::select! {
        () = stop => info!("stopped"),
        () = signals.next() => warn!("second signal: stopped at once"),
    }
    metrics.end_window();
    Ok(())
}

fn listen(section: &'static str, host: &str, port: u16) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen {
        section,
        address: format!("{host}:{port}"),
        source,
    };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    let listener = TcpListener::bind(&addresses[..]).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Raises the soft limit of open files to the hard one, for every connection is one. Systems keep the soft one at 1,024
/// for the sake of programs that use `select`.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!("the limit of open files stays as it is: {error}");
    }
    match getrlimit(Resource::Nofile).current {
        Some(files) => {
            let connections = files.saturating_sub(OTHER_FILES);
            info!(files, connections, "the limit of open files leaves room");
        }
        None => info!("open files are not limited"),
    }
}

/// `tidewire 0.1.0 listening on http://127.0.0.1:6001, 1 app, admin on http://127.0.0.1:9601`
fn startup_line(public: &TcpListener, admin: &TcpListener, apps: usize) -> Result<String, Error> {
    let (public, admin) = (public.local_addr()?, admin.local_addr()?);
    let noun = if apps == 1 { "app" } else { "apps" };
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "tidewire {version} listening on http://{public}, {apps} {noun}, admin on http://{admin}"
    ))
}

fn print_line(line: &str) {
    let mut out = io::stdout();
    // Nobody may be reading: the server serves all the same.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Puts each new configuration into effect, or says what is wrong with it and keeps what was.
async fn reload(
    mut watch: Watch,
    mut hangup: Signal,
    node: Arc<Node>,
    told: watch::Sender<ConfigState>,
) {
    loop {
        tokio::select! {
            () = watch.changed() => {}
            _ = hangup.recv() => info!(signal = "SIGHUP", "reading the configuration"),
        }
        match watch.reload() {
            Ok(reloaded) => {
                for warning in &reloaded.warnings {
                    warn!("{warning}");
                }
                info!(apps = reloaded.apps.len(), "configuration reloaded");
                if let Err(problem) = node.webhooks().follow(&reloaded.apps).await {
                    error!("the webhooks stay as they were: {problem}");
                }
                node.reload(reloaded.apps).await;
                told.send_replace(ConfigState::now(&reloaded.toml));
                node.metrics().reloads.inc();
            }
            Err(problem) => {
                let problem = problem.to_string();
                error!(
                    "the changed configuration cannot be used, the apps stay as they were:\n{problem}"
                );
                node.metrics().reloads_failed.inc();
                told.send_modify(|state| state.error = Some(problem));
            }
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "shutting down");
    }
}

/// Everything that is shared by workers, put together.
struct Wired {
    worker: WorkerParts,
    adapter: Cluster,
    inboxes: Inboxes,
    unclaimed: Arc<Unclaimed>,
    workers: usize,
}

/// The other nodes, or that there are none.
enum Cluster {
    Alone(Arc<Local>),
    Nodes(Arc<Redis>),
}

impl Cluster {
    async fn start(settings: Option<RedisSettings>, inside: Inside) -> Result<Self, Error> {
        if let Some(settings) = settings {
            return Ok(Self::Nodes(Redis::start(settings, inside).await?));
        }
        let Inside {
            registry,
            inboxes,
            webhooks,
            metrics,
            linger,
        } = inside;
        let local = Arc::new(Local::new(registry, inboxes, webhooks, metrics));
        tokio::task::spawn_local(Arc::clone(&local).tell_due_counts());
        tokio::task::spawn_local(Arc::clone(&local).announce_vacated(linger));
        Ok(Self::Alone(local))
    }

    fn adapter(&self) -> Arc<dyn Adapter> {
        match self {
            Self::Alone(local) => Arc::clone(local) as _,
            Self::Nodes(redis) => Arc::clone(redis) as _,
        }
    }

    fn cluster(&self) -> Option<ClusterState> {
        match self {
            Self::Alone(_) => None,
            Self::Nodes(redis) => Some(redis.state()),
        }
    }

    async fn finish(&self) {
        match self {
            Self::Alone(local) => local.announce_left(Duration::ZERO),
            Self::Nodes(redis) => redis.finish().await,
        }
    }
}

/// What each worker gets.
#[derive(Clone)]
struct WorkerParts {
    node: Arc<Node>,
    gate: Arc<Gate>,
    api: Api,
    path_prefix: Arc<str>,
    hub: HubSettings,
    metrics: Metrics,
}

impl Wired {
    async fn new(settings: Settings) -> Result<Self, Error> {
        let server = settings.server;
        let metrics = Metrics::default();
        let workers = u16::try_from(server.workers).unwrap_or(u16::MAX);
        let (inboxes, unclaimed) = inbox::inboxes(workers, server.inbox_bytes, metrics.clone());
        let registry = Arc::new(Registry::new(server.cache_bytes));
        let webhooks = Webhooks::start(&settings.apps, &settings.webhooks, &metrics).await?;
        let inside = Inside {
            registry: Arc::clone(&registry),
            inboxes: inboxes.clone(),
            webhooks: webhooks.clone(),
            metrics: metrics.clone(),
            linger: settings.webhooks.linger,
        };
        let adapter = Cluster::start(settings.redis, inside).await?;
        let node = Arc::new(Node::new(
            settings.apps,
            adapter.adapter(),
            registry,
            inboxes.clone(),
            webhooks,
            server.activity_timeout,
            metrics.clone(),
        ));
        let worker = WorkerParts {
            api: Api::new(
                Arc::clone(&node),
                &server.path_prefix,
                server.allow_plain_tokens,
            ),
            node,
            gate: Arc::new(Gate::new(server.max_connections.map(Into::into))),
            path_prefix: server.path_prefix.as_str().into(),
            hub: HubSettings {
                outbox_bytes: server.outbox_bytes,
                activity_timeout: server.activity_timeout,
            },
            metrics,
        };
        Ok(Self {
            worker,
            adapter,
            inboxes,
            unclaimed: Arc::new(unclaimed),
            workers: usize::from(workers),
        })
    }

    /// Starts the workers; each claims one inbox.
    fn start(&self, listener: TcpListener) -> io::Result<Server> {
        let parts = self.worker.clone();
        let unclaimed = Arc::clone(&self.unclaimed);
        Server::build()
            .workers(self.workers)
            // Connections are counted by the gate; the HTTP server's own count does not know of upgrades.
            .max_concurrent_connections(1 << 20)
            .disable_signals()
            .shutdown_timeout(STOP_PATIENCE.as_secs())
            .listen("public", listener, move || {
                parts.service(Arc::clone(&unclaimed))
            })
            .map(actix_server::ServerBuilder::run)
    }

    /// Refuses upgrades, then closes the connections in even waves, and waits until they are gone.
    async fn drain(&self, drain: Duration) {
        self.worker.gate.close();
        let open = self.worker.gate.open();
        let ticks = usize::try_from(drain.as_secs()).unwrap_or(1).max(1) * 10;
        let per_tick = open.div_ceil(ticks * self.workers).max(DRAIN_LEAST);
        info!(connections = open, per_tick, "draining");
        let deadline = Instant::now() + drain + STOP_PATIENCE;
        while self.worker.gate.open() > 0 && Instant::now() < deadline {
            self.inboxes.post_all(|| Order::Close {
                code: CloseCode::ShuttingDown,
                per_tick,
            });
            tokio::time::sleep(DRAIN_TICK).await;
        }
    }

    /// Tells webhooks what is still to be told, in what is left of the drain's time.
    async fn finish(&self, left: Duration) {
        let begun = Instant::now();
        self.adapter.finish().await;
        let left = left.saturating_sub(begun.elapsed());
        let webhooks = self.worker.node.webhooks();
        webhooks.finish(left.max(WEBHOOK_PATIENCE)).await;
    }
}

impl WorkerParts {
    /// What a worker does with the connections that it accepts: HTTP requests to the API, upgrades to its hub.
    fn service(
        &self,
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
        let metrics = self.metrics.clone();
        let upgrades = fn_factory(move || {
            let upgrades = parts.upgrades(&unclaimed);
            async move { upgrades }
        });
        HttpService::build()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_PATIENCE)
            // Gives a refused request's sender the time to read the answer before the connection is reset.
            .client_disconnect_timeout(LINGER)
            .tcp_nodelay(true)
            // Idle connections of backends' pools end when a drain begins; busy ones after their answer.
            .graceful_shutdown_signal(move || gate.closed())
            .upgrade(upgrades)
            .finish(map_config(
                WebApp::new().configure(|config| api.configure(config)),
                |()| AppConfig::default(),
            ))
            .tcp()
            .map_err(move |error| noted(&metrics, error))
    }

    /// Starts this worker's hub and makes its upgrade service.
    fn upgrades(&self, unclaimed: &Unclaimed) -> Result<Upgrades, ()> {
        let Some((index, inbox)) = unclaimed.claim() else {
            error!("a worker was restarted and cannot be supplied again; restart the server");
            return Err(());
        };
        let hub = Hub::new(index, self.hub, self.metrics.clone());
        indispensable(
            "worker",
            tokio::task::unconstrained(Rc::clone(&hub).serve(inbox)),
        );
        indispensable("clock", beat(Rc::clone(&hub)));
        Ok(Upgrades::new(
            Arc::clone(&self.node),
            hub,
            Arc::clone(&self.gate),
            &self.path_prefix,
        ))
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
