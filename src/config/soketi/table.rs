//! The environment names of Soketi 1.x, and what each stands for here. `docs/migration.md` has them all (a test).

use super::value::Form;

/// What a name begins with.
pub(super) const PREFIX: &str = "SOKETI_";

/// One name, or all that begin alike.
pub(super) struct Row {
    /// With [`PREFIX`]; a star at the end stands for any text.
    pub(super) name: &'static str,
    /// What it stands for.
    pub(super) meaning: Meaning,
}

/// What a name stands for.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    /// A key of a section, by its path: `server.port`.
    Setting(&'static str, Form),
    /// A key of the environment's app, by its path in there: `limits.connections`.
    App(&'static str, Form),
    /// More to log.
    Debug,
    /// One of several that only together say something.
    Part(Group),
    /// It has no counterpart. Some values ask for what is so anyway.
    None {
        /// These values.
        fits: &'static [&'static str],
        /// Why, and what to do instead.
        because: &'static str,
    },
}

/// What names say together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// `[redis]`.
    Redis,
    /// `[app_store]`.
    AppManager,
    /// The webhooks of the environment's app.
    Webhooks,
    /// Whether, and within how long, connections must sign in.
    SignIn,
}

use Form::{AsIs, Kilobytes, Milliseconds, Switch, Unlimited};
use Group::{AppManager, Redis, SignIn, Webhooks};
use Meaning::{App, Debug, Part, Setting};

const APPS: &str = "apps are in memory, and one connection looks for changes of the table, every refresh_seconds of [app_store]";
const NODES: &str = "nodes find each other through Redis: see SOKETI_ADAPTER_DRIVER and [redis]";
const REDIS_OPTIONS: &str = "TLS, timeouts and the like are keys of [redis]";
const QUEUE: &str =
    "webhooks wait in a queue of this process, and with spool in [webhooks] on its disk";
const CACHE: &str = "last events of cache channels are in memory, and with [redis] also there";
const RATES: &str = "rates are counted by each node";

const fn row(name: &'static str, meaning: Meaning) -> Row {
    Row { name, meaning }
}

const fn none(name: &'static str, because: &'static str) -> Row {
    fitting(name, &[], because)
}

const fn fitting(name: &'static str, fits: &'static [&'static str], because: &'static str) -> Row {
    row(name, Meaning::None { fits, because })
}

/// The row of a name; none if Soketi has no such name.
pub(super) fn row_of(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| match row.name.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == row.name,
    })
}

/// All of them, one a line. A name that fits two rows is the first one's.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    // The server.
    row("SOKETI_HOST", Setting("server.host", AsIs)),
    row("SOKETI_PORT", Setting("server.port", AsIs)),
    row("SOKETI_PATH_PREFIX", Setting("server.path_prefix", AsIs)),
    row("SOKETI_SHUTDOWN_GRACE_PERIOD", Setting("server.drain_seconds", Milliseconds)),
    row("SOKETI_DEBUG", Debug),
    row("SOKETI_SSL_CERT", Setting("server.tls.cert", AsIs)),
    row("SOKETI_SSL_KEY", Setting("server.tls.key", AsIs)),
    none("SOKETI_SSL_PASS", "the key is in a file without a passphrase that only the server may read"),
    none("SOKETI_SSL_CA", "clients are not asked for certificates"),
    fitting("SOKETI_MODE", &["full"], "each node serves and sends webhooks"),
    none("SOKETI_HTTP_ACCEPT_TRAFFIC_MEMORY_THRESHOLD", "what may be held in memory is bounded by outbox_bytes, inbox_bytes and cache_bytes in [server]"),
    // The app of the environment.
    row("SOKETI_DEFAULT_APP_ID", App("id", AsIs)),
    row("SOKETI_DEFAULT_APP_KEY", App("key", AsIs)),
    row("SOKETI_DEFAULT_APP_SECRET", App("secret", AsIs)),
    row("SOKETI_DEFAULT_APP_ENABLED", App("enabled", Switch)),
    row("SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", App("client_events", Switch)),
    // Soketi takes 0 connections for any number, but 0 events for none.
    row("SOKETI_DEFAULT_APP_MAX_CONNS", App("limits.connections", Unlimited { below: 1, by: None })),
    row("SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC", App("limits.events_per_second", Unlimited { below: 0, by: None })),
    row("SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC", App("limits.client_events_per_second", Unlimited { below: 0, by: Some("1000000") })),
    row("SOKETI_DEFAULT_APP_MAX_READ_REQ_PER_SEC", App("limits.reads_per_second", Unlimited { below: 0, by: None })),
    row("SOKETI_DEFAULT_APP_USER_AUTHENTICATION", Part(SignIn)),
    row("SOKETI_USER_AUTHENTICATION_TIMEOUT", Part(SignIn)),
    row("SOKETI_DEFAULT_APP_WEBHOOKS", Part(Webhooks)),
    row("SOKETI_WEBHOOKS_BATCHING", Part(Webhooks)),
    row("SOKETI_WEBHOOKS_BATCHING_DURATION", Setting("webhooks.batch_ms", AsIs)),
    row("SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH", App("limits.channel_name_length", AsIs)),
    row("SOKETI_EVENT_MAX_BATCH_SIZE", App("limits.batch_events", AsIs)),
    row("SOKETI_EVENT_MAX_CHANNELS_AT_ONCE", App("limits.channels_per_event", AsIs)),
    row("SOKETI_EVENT_MAX_NAME_LENGTH", App("limits.event_name_length", AsIs)),
    row("SOKETI_EVENT_MAX_SIZE_IN_KB", App("limits.event_bytes", Kilobytes)),
    row("SOKETI_PRESENCE_MAX_MEMBERS", App("limits.presence_members", AsIs)),
    row("SOKETI_PRESENCE_MAX_MEMBER_SIZE", App("limits.presence_member_bytes", Kilobytes)),
    fitting("SOKETI_CHANNEL_CACHE_TTL", &["1800"], "last events of cache channels are kept for 1800 seconds"),
    // Several nodes.
    row("SOKETI_ADAPTER_DRIVER", Part(Redis)),
    row("SOKETI_ADAPTER_REDIS_CLUSTER_MODE", Part(Redis)),
    row("SOKETI_ADAPTER_REDIS_PREFIX", Part(Redis)),
    none("SOKETI_ADAPTER_REDIS_REQUESTS_TIMEOUT", "nodes do not ask each other; publish_timeout in [redis] is how long a publish waits"),
    none("SOKETI_ADAPTER_REDIS_SUB_OPTIONS", REDIS_OPTIONS),
    none("SOKETI_ADAPTER_REDIS_PUB_OPTIONS", REDIS_OPTIONS),
    row("SOKETI_DB_REDIS_HOST", Part(Redis)),
    row("SOKETI_DB_REDIS_PORT", Part(Redis)),
    row("SOKETI_DB_REDIS_DB", Part(Redis)),
    row("SOKETI_DB_REDIS_USERNAME", Part(Redis)),
    row("SOKETI_DB_REDIS_PASSWORD", Part(Redis)),
    row("SOKETI_DB_REDIS_KEY_PREFIX", Part(Redis)),
    row("SOKETI_DB_REDIS_SENTINELS", Part(Redis)),
    row("SOKETI_DB_REDIS_SENTINEL_PASSWORD", Part(Redis)),
    row("SOKETI_DB_REDIS_INSTANCE_NAME", Part(Redis)),
    row("SOKETI_DB_REDIS_CLUSTER_NODES", Part(Redis)),
    none("SOKETI_ADAPTER_CLUSTER_*", NODES),
    none("SOKETI_ADAPTER_NATS_*", NODES),
    none("SOKETI_CLUSTER_*", NODES),
    // The operators' port.
    row("SOKETI_METRICS_HOST", Setting("admin.host", AsIs)),
    row("SOKETI_METRICS_SERVER_PORT", Setting("admin.port", AsIs)),
    // Metrics are always there; who wants Soketi's has dashboards with Soketi's names.
    row("SOKETI_METRICS_ENABLED", Setting("admin.soketi_metric_names", Switch)),
    fitting("SOKETI_METRICS_DRIVER", &["prometheus"], "metrics are in Prometheus' format"),
    fitting("SOKETI_METRICS_PROMETHEUS_PREFIX", &["soketi_"], "names of metrics begin with tidewire_, and with soketi_ for soketi_metric_names in [admin]"),
    // Where apps, queues and counts are kept.
    row("SOKETI_APP_MANAGER_DRIVER", Part(AppManager)),
    row("SOKETI_APP_MANAGER_MYSQL_TABLE", Part(AppManager)),
    row("SOKETI_APP_MANAGER_POSTGRES_TABLE", Part(AppManager)),
    fitting("SOKETI_APP_MANAGER_CACHE_ENABLED", &["true", "1"], APPS),
    none("SOKETI_APP_MANAGER_*", APPS),
    row("SOKETI_DB_MYSQL_HOST", Part(AppManager)),
    row("SOKETI_DB_MYSQL_PORT", Part(AppManager)),
    row("SOKETI_DB_MYSQL_USERNAME", Part(AppManager)),
    row("SOKETI_DB_MYSQL_PASSWORD", Part(AppManager)),
    row("SOKETI_DB_MYSQL_DATABASE", Part(AppManager)),
    row("SOKETI_DB_POSTGRES_HOST", Part(AppManager)),
    row("SOKETI_DB_POSTGRES_PORT", Part(AppManager)),
    row("SOKETI_DB_POSTGRES_USERNAME", Part(AppManager)),
    row("SOKETI_DB_POSTGRES_PASSWORD", Part(AppManager)),
    row("SOKETI_DB_POSTGRES_DATABASE", Part(AppManager)),
    none("SOKETI_DB_POOLING_*", APPS),
    fitting("SOKETI_QUEUE_DRIVER", &["sync"], QUEUE),
    none("SOKETI_QUEUE_*", QUEUE),
    fitting("SOKETI_CACHE_DRIVER", &["memory", "redis"], CACHE),
    none("SOKETI_CACHE_*", CACHE),
    fitting("SOKETI_RATE_LIMITER_DRIVER", &["local"], RATES),
    none("SOKETI_RATE_LIMITER_*", RATES),
];
