//! The composition root: ports, wiring, and the one shutdown sequence. What a worker is made of is in `worker`.

mod listeners;
mod memory;
mod places;
mod worker;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::adapter::{self, Adapter, Deps};
use crate::admin::{self, Admin, ConfigState};
use crate::app::{Apps, CurrentApps};
use crate::app_store::{self, AppStore};
use crate::config::{self, AppReader, Reloaded, Settings, Watch};
use crate::feed::Feed;
use crate::http::Api;
use crate::hub::inbox::{self, Inbox, Inboxes, WorkerCommand};
use crate::limits::{AdmissionGate, ConcurrencyLimit, NetworkLimits};
use crate::metrics::Metrics;
use crate::net::{
    self, Acceptor, Certificates, FileBudget, Listening, Needs, TooFewFiles, file_budget,
};
use crate::node::{ApiTokens, Node};
use crate::protocol::CloseCode;
use crate::registry::Registry;
use crate::spool;
use crate::supervise::{spawn_critical, spawn_server};
use crate::webhook::{self, Webhooks};
use listeners::Listeners;
use places::places;
use worker::{WorkerParts, hub_settings, on_a_thread, serve_admin, sessions};

/// How often a drain closes the next connections.
const DRAIN_TICK: Duration = Duration::from_millis(100);

/// A drain need not be slower than this per worker and tick: a small server stops at once.
const DRAIN_LEAST: usize = 5;

/// How long last frames, close handshakes and requests in flight may take after the drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// How long answers of the admin port may take then.
const ADMIN_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long queued webhooks are tried at least, however long the drain took.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] net::Error),
    /// The limit of open files is too low for this configuration.
    #[error(transparent)]
    Files(#[from] TooFewFiles),
    /// The TLS library and its cryptography do not go together.
    #[error("cannot speak TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The database of apps cannot be read.
    #[error("cannot read the apps of [app_store]: {0}")]
    AppStore(#[from] app_store::Error),
    /// Webhooks cannot be told.
    #[error(transparent)]
    Webhooks(#[from] webhook::Error),
    /// Sources cannot store.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// The cluster is not for this node.
    #[error("cannot join the cluster of [redis]: {0}")]
    Cluster(#[from] adapter::redis::Error),
    /// The system refuses threads, signals or the like.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends it at once. Prints one line on stdout when it
/// listens.
///
/// # Errors
/// It could not start.
pub fn run(settings: Settings, watch: Watch) -> Result<(), Error> {
    // Before anything that needs files.
    let files = file_budget(needs(&settings))?;
    actix_rt::System::new().block_on(serve(settings, files, watch))
}

fn needs(settings: &Settings) -> Needs {
    Needs {
        workers: settings.server.workers,
        webhooks: settings.apps.iter().map(|app| app.webhooks.len()).sum(),
        redis: settings.redis.is_some(),
    }
}

async fn serve(mut settings: Settings, files: FileBudget, watch: Watch) -> Result<(), Error> {
    let store = app_store(&mut settings, &watch).await?;
    let listeners = Listeners::bind(&settings)?;
    let line = listeners.line(settings.apps.len());
    let mut signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup())?;
    // A file that may not grow is an error for who writes it, as a full disk is, and not the end.
    let _too_large = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;

    let drain = Duration::from_secs(settings.server.drain_seconds.into());
    let token = settings.admin.token.clone();
    let public_port = listeners.public.address.port();
    let soketi_names = settings.admin.soketi_metric_names.then_some(public_port);
    let mut services = Services::new(settings, files, &node_name(public_port)).await?;
    let parts = &services.worker;
    parts.api.sources().reload(&parts.node.apps())?;
    let (config_state_sender, config_state) = watch::channel(ConfigState::now(&watch.toml()));
    let admin = Admin::new(admin::Deps {
        api: services.worker.api.clone(),
        apps: Arc::clone(&store),
        gate: Arc::clone(&services.worker.gate),
        token,
        config: config_state,
        cluster: services.adapter.cluster(),
    })
    .with_soketi_names(soketi_names);
    spawn_critical("series", admin.clone().keep_series());
    let admin_gate = Arc::new(AdmissionGate::new(None, None));
    let admin_server = Serving::default();
    admin_server.start_admin(listeners.admin, admin, Arc::clone(&admin_gate))?;
    let public_server = Serving::default();
    services.start([Some(listeners.public), listeners.plain], &public_server)?;
    let metrics = services.worker.metrics.clone();
    spawn_critical("log windows", metrics.clone().tell_suppressed_lines());
    spawn_critical("memory", memory::give_back_now_and_then());
    let running = Running {
        store,
        node: Arc::clone(&services.worker.node),
        api: services.worker.api.clone(),
        certificates: services.certificates.clone(),
        config_state: config_state_sender,
    };
    spawn_critical("apps", running.clone().apply_apps());
    spawn_critical("reload", running.watch_config(watch, hangup));
    print_line(&line);

    signals.next().await;
    let stop = async {
        let begun = Instant::now();
        services.drain(drain).await;
        public_server.stop(STOP_TIMEOUT).await;
        services.finish(drain.saturating_sub(begun.elapsed())).await;
        admin_gate.close();
        admin_server.stop(ADMIN_STOP_TIMEOUT).await;
    };
    tokio::select! {
        () = stop => info!("stopped"),
        () = signals.next() => warn!("second signal: stopped at once"),
    }
    metrics.end_window();
    Ok(())
}

/// Reads the table of apps, and puts its apps beside those of the file.
async fn app_store(settings: &mut Settings, watch: &Watch) -> Result<Arc<AppStore>, Error> {
    let table = settings.app_store.take();
    let folder = table.as_ref().map(|table| table.folder.clone());
    let reader = AppReader::new(settings.server.clone(), folder.unwrap_or_default());
    let (store, keeper) = AppStore::open(table, reader).await?;
    settings.apps = store.with_file(&settings.apps, watch.file_apps());
    if let Some(keeper) = keeper {
        spawn_critical("app store", keeper.run());
    }
    Ok(store)
}

/// What this node is called where several are told apart: the machine's name, or the container's, and the port.
fn node_name(port: u16) -> String {
    let system = rustix::system::uname();
    format!("{}:{port}", system.nodename().to_string_lossy())
}

fn print_line(line: &str) {
    let mut out = io::stdout();
    // Nobody may be reading: the server serves all the same.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What a running server can change.
#[derive(Clone)]
struct Running {
    store: Arc<AppStore>,
    node: Arc<Node>,
    api: Api,
    certificates: Option<Arc<Certificates>>,
    config_state: watch::Sender<ConfigState>,
}

impl Running {
    /// Puts into effect what the apps of the file and of the table have become.
    async fn apply_apps(self) {
        let put = async |apps: Apps| {
            if let Err(problem) = self.node.webhooks().reload(&apps).await {
                error!("the webhooks stay as they were: {problem}");
            }
            if let Err(problem) = self.api.sources().reload(&apps) {
                error!("new sources cannot store: {problem}");
            }
            self.node.reload(apps).await;
        };
        self.store.apply(put).await;
    }

    /// Puts each new configuration into effect, or says what is wrong with it and keeps what was.
    async fn watch_config(self, mut watch: Watch, mut hangup: Signal) {
        loop {
            tokio::select! {
                () = watch.changed() => {}
                _ = hangup.recv() => info!(signal = "SIGHUP", "reading the configuration"),
            }
            match watch.reload().await {
                Ok(reloaded) => self.change(reloaded).await,
                Err(problem) => self.keep(&problem),
            }
        }
    }

    async fn change(&self, reloaded: Reloaded) {
        for warning in &reloaded.warnings {
            warn!("{warning}");
        }
        info!(apps = reloaded.apps.len(), "configuration reloaded");
        if let (Some(certificates), Some(next)) = (&self.certificates, reloaded.certificate)
            && certificates.differ(&next)
        {
            certificates.replace(next);
            info!("new connections get another certificate");
        }
        let (apps, file_apps) = (&reloaded.apps, reloaded.file_apps);
        self.store.replace_file(apps, file_apps).await;
        self.config_state
            .send_replace(ConfigState::now(&reloaded.toml));
        self.node.metrics().reloads.inc();
    }

    fn keep(&self, problem: &config::Error) {
        let problem = problem.to_string();
        error!(
            "the changed configuration cannot be used, apps and certificate stay as they were:\n{problem}"
        );
        self.node.metrics().reloads_failed.inc();
        self.config_state
            .send_modify(|state| state.error = Some(problem));
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

/// Threads that serve one or more listeners: each has a receiver for as long as it does.
#[derive(Default)]
struct Serving(watch::Sender<bool>);

impl Serving {
    fn start_admin(
        &self,
        listening: Listening,
        admin: Admin,
        gate: Arc<AdmissionGate>,
    ) -> io::Result<()> {
        let stop = self.0.subscribe();
        on_a_thread(move || {
            let serving = serve_admin(listening, admin, gate, stop);
            spawn_server("admin server", serving);
        })
    }

    /// Ends listening, and waits for the answers that are under way.
    async fn stop(self, timeout: Duration) {
        self.0.send_replace(true);
        let _ = tokio::time::timeout(timeout, self.0.closed()).await;
    }
}

/// Everything that is shared by workers, put together.
struct Services {
    worker: WorkerParts,
    /// How the public listener receives, and the one beside it.
    acceptors: [Acceptor; 2],
    certificates: Option<Arc<Certificates>>,
    adapter: Adapter,
    inboxes: Inboxes,
    /// For the workers that are to be started.
    receiving: Vec<Inbox>,
    workers: usize,
}

/// How the public listener receives, and the one beside it.
fn acceptors(
    server: &config::Server,
    room: Arc<ConcurrencyLimit>,
    certificates: Option<&Arc<Certificates>>,
    metrics: &Metrics,
) -> Result<[Acceptor; 2], Error> {
    let plain = Acceptor::plain(room, metrics.clone());
    let mut public = plain.clone();
    if let Some(certificates) = certificates {
        public = public.with_tls(certificates)?;
    }
    if server.proxy_protocol {
        public = public.behind(Arc::new(server.trusted_proxies()));
    }
    Ok([public, plain])
}

/// The gate that the settings and the limit of open files allow.
fn gate(server: &config::Server, files: Option<usize>) -> AdmissionGate {
    let max = server.max_connections.map(usize::from);
    if let (Some(max), Some(files)) = (max, files)
        && files < max
    {
        warn!(
            "max_connections is {max}, but the limit of open files leaves room for {files} clients: raise it (ulimit -n, \
             LimitNOFILE)"
        );
    }
    let networks = NetworkLimits::new(server.connections_per_ip, server.connects_per_ip_per_second);
    AdmissionGate::new(max, files).with_networks(networks)
}

impl Services {
    async fn new(settings: Settings, files: FileBudget, name: &str) -> Result<Self, Error> {
        let server = settings.server;
        let metrics = Metrics::default();
        let feed = Feed::new(name, metrics.clone());
        let workers = u16::try_from(server.workers).unwrap_or(u16::MAX);
        let (inboxes, receiving) = inbox::inboxes(workers, server.inbox_bytes, metrics.clone());
        let registry = Arc::new(Registry::new(server.cache_bytes, server.history_bytes));
        let webhooks = Webhooks::start(&settings.apps, &settings.webhooks, &metrics, &feed).await?;
        let apps = Arc::new(CurrentApps::new(settings.apps));
        let deps = Deps {
            registry: Arc::clone(&registry),
            inboxes: inboxes.clone(),
            webhooks: webhooks.clone(),
            metrics: metrics.clone(),
            linger: settings.webhooks.linger,
            feed: feed.clone(),
            apps: Arc::clone(&apps),
        };
        let adapter = Adapter::start(settings.redis, deps).await?;
        let certificates = server.tls.as_ref();
        let certificates = certificates.map(|tls| Certificates::new(Arc::clone(&tls.certificate)));
        let acceptors = acceptors(&server, files.connections, certificates.as_ref(), &metrics)?;
        let proxies = Arc::new(server.trusted_proxies());
        let node = Arc::new(Node::new(
            apps,
            adapter.clone(),
            registry,
            inboxes.clone(),
            webhooks,
            server.activity_timeout,
            metrics.clone(),
            feed,
        ));
        let worker = WorkerParts {
            api: Api::new(
                Arc::clone(&node),
                &server.path_prefix,
                ApiTokens::new(server.allow_plain_tokens),
                Arc::clone(&proxies),
            ),
            sessions: sessions(&node, &server),
            node,
            gate: Arc::new(gate(&server, files.sockets)),
            path_prefix: server.path_prefix.as_str().into(),
            proxies,
            hub: hub_settings(&server),
            metrics,
        };
        Ok(Self {
            worker,
            acceptors,
            certificates,
            adapter,
            inboxes,
            receiving,
            workers: usize::from(workers),
        })
    }

    /// Starts the workers, which serve all listeners.
    fn start(&mut self, listening: [Option<Listening>; 2], serving: &Serving) -> io::Result<()> {
        let mut by_worker: Vec<_> = self.receiving.iter().map(|_| Vec::new()).collect();
        for (listening, acceptor) in listening.into_iter().zip(&self.acceptors) {
            let sockets = listening.map_or_else(Vec::new, |listening| listening.sockets);
            let places = places(sockets, acceptor.connections());
            for (of_worker, place) in by_worker.iter_mut().zip(places) {
                of_worker.push((place, acceptor.clone()));
            }
        }
        let inboxes = self.receiving.drain(..).zip(by_worker);
        for (index, (inbox, places)) in (0..).zip(inboxes) {
            self.worker
                .start(index, inbox, places, serving.0.subscribe())?;
        }
        Ok(())
    }

    /// Refuses upgrades, then closes the connections in even waves, and waits until they are gone.
    async fn drain(&self, drain: Duration) {
        self.worker.gate.close();
        let open = self.worker.gate.open();
        let ticks = usize::try_from(drain.as_secs()).unwrap_or(1).max(1) * 10;
        let per_tick = open.div_ceil(ticks * self.workers).max(DRAIN_LEAST);
        info!(connections = open, per_tick, "draining");
        let deadline = Instant::now() + drain + STOP_TIMEOUT;
        while self.worker.gate.open() > 0 && Instant::now() < deadline {
            self.inboxes.post_all(|| WorkerCommand::Drain {
                code: CloseCode::ShuttingDown,
                per_tick,
            });
            tokio::time::sleep(DRAIN_TICK).await;
        }
    }

    /// Tells webhooks what is still to be told, in what is left of the drain's time.
    async fn finish(&self, left: Duration) {
        let begun = Instant::now();
        let sources = self.worker.api.sources();
        sources.finish(left.max(WEBHOOK_TIMEOUT)).await;
        self.adapter.finish().await;
        let left = left.saturating_sub(begun.elapsed());
        let webhooks = self.worker.node.webhooks();
        webhooks.finish(left.max(WEBHOOK_TIMEOUT)).await;
    }
}
