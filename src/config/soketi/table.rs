//! The environment names of Soketi 1.x, and what each stands for here. `docs/migration.md` has them all (a test).

use super::value::Form;

/// What a name begins with.
pub(super) const PREFIX: &str = "SOKETI_";

/// One name, or all that begin alike.
pub(super) struct Row {
    /// Behind [`PREFIX`]; a star at the end stands for any text.
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
    /// A part of what `redis` puts together.
    Redis,
    /// A part of what `app_manager` puts together.
    AppManager,
    /// A part of what `webhooks` puts together.
    Webhooks,
    /// Whether, and within how long, connections must sign in.
    SignIn,
    /// It has no counterpart. Some values ask for what is so anyway.
    None {
        /// These values.
        fits: &'static [&'static str],
        /// Why, and what to do instead.
        because: &'static str,
    },
}

use Form::{AsIs, Kilobytes, Milliseconds, Switch, Unlimited};
use Meaning::{App, AppManager, Debug, Redis, Setting, SignIn, Webhooks};

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

/// All of them, one a line. A name that fits two rows is the first one's.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    // The server.
    row("HOST", Setting("server.host", AsIs)),
    row("PORT", Setting("server.port", AsIs)),
    row("PATH_PREFIX", Setting("server.path_prefix", AsIs)),
    row("SHUTDOWN_GRACE_PERIOD", Setting("server.drain_seconds", Milliseconds)),
    row("DEBUG", Debug),
    row("SSL_CERT", Setting("server.tls.cert", AsIs)),
    row("SSL_KEY", Setting("server.tls.key", AsIs)),
    none("SSL_PASS", "the key is in a file without a passphrase that only the server may read"),
    none("SSL_CA", "clients are not asked for certificates"),
    fitting("MODE", &["full"], "each node serves and sends webhooks"),
    none("HTTP_ACCEPT_TRAFFIC_MEMORY_THRESHOLD", "what may be held in memory is bounded by outbox_bytes, inbox_bytes and cache_bytes in [server]"),
    // The app of the environment.
    row("DEFAULT_APP_ID", App("id", AsIs)),
    row("DEFAULT_APP_KEY", App("key", AsIs)),
    row("DEFAULT_APP_SECRET", App("secret", AsIs)),
    row("DEFAULT_APP_ENABLED", App("enabled", Switch)),
    row("DEFAULT_APP_ENABLE_CLIENT_MESSAGES", App("client_events", Switch)),
    // Soketi takes 0 connections for any number, but 0 events for none.
    row("DEFAULT_APP_MAX_CONNS", App("limits.connections", Unlimited { below: 1, by: None })),
    row("DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC", App("limits.events_per_second", Unlimited { below: 0, by: None })),
    row("DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC", App("limits.client_events_per_second", Unlimited { below: 0, by: Some("1000000") })),
    row("DEFAULT_APP_MAX_READ_REQ_PER_SEC", App("limits.reads_per_second", Unlimited { below: 0, by: None })),
    row("DEFAULT_APP_USER_AUTHENTICATION", SignIn),
    row("USER_AUTHENTICATION_TIMEOUT", SignIn),
    row("DEFAULT_APP_WEBHOOKS", Webhooks),
    row("WEBHOOKS_BATCHING", Webhooks),
    row("WEBHOOKS_BATCHING_DURATION", Setting("webhooks.batch_ms", AsIs)),
    row("CHANNEL_LIMITS_MAX_NAME_LENGTH", App("limits.channel_name_length", AsIs)),
    row("EVENT_MAX_BATCH_SIZE", App("limits.batch_events", AsIs)),
    row("EVENT_MAX_CHANNELS_AT_ONCE", App("limits.channels_per_event", AsIs)),
    row("EVENT_MAX_NAME_LENGTH", App("limits.event_name_length", AsIs)),
    row("EVENT_MAX_SIZE_IN_KB", App("limits.event_bytes", Kilobytes)),
    row("PRESENCE_MAX_MEMBERS", App("limits.presence_members", AsIs)),
    row("PRESENCE_MAX_MEMBER_SIZE", App("limits.presence_member_bytes", Kilobytes)),
    fitting("CHANNEL_CACHE_TTL", &["1800"], "last events of cache channels are kept for 1800 seconds"),
    // Several nodes.
    row("ADAPTER_DRIVER", Redis),
    row("ADAPTER_REDIS_CLUSTER_MODE", Redis),
    row("ADAPTER_REDIS_PREFIX", Redis),
    none("ADAPTER_REDIS_REQUESTS_TIMEOUT", "nodes do not ask each other; publish_timeout in [redis] is how long a publish waits"),
    none("ADAPTER_REDIS_SUB_OPTIONS", REDIS_OPTIONS),
    none("ADAPTER_REDIS_PUB_OPTIONS", REDIS_OPTIONS),
    row("DB_REDIS_HOST", Redis),
    row("DB_REDIS_PORT", Redis),
    row("DB_REDIS_DB", Redis),
    row("DB_REDIS_USERNAME", Redis),
    row("DB_REDIS_PASSWORD", Redis),
    row("DB_REDIS_KEY_PREFIX", Redis),
    row("DB_REDIS_SENTINELS", Redis),
    row("DB_REDIS_SENTINEL_PASSWORD", Redis),
    row("DB_REDIS_INSTANCE_NAME", Redis),
    row("DB_REDIS_CLUSTER_NODES", Redis),
    none("ADAPTER_CLUSTER_*", NODES),
    none("ADAPTER_NATS_*", NODES),
    none("CLUSTER_*", NODES),
    // The operators' port.
    row("METRICS_HOST", Setting("admin.host", AsIs)),
    row("METRICS_SERVER_PORT", Setting("admin.port", AsIs)),
    // Metrics are always there; who wants Soketi's has dashboards with Soketi's names.
    row("METRICS_ENABLED", Setting("admin.soketi_metric_names", Switch)),
    fitting("METRICS_DRIVER", &["prometheus"], "metrics are in Prometheus' format"),
    fitting("METRICS_PROMETHEUS_PREFIX", &["soketi_"], "names of metrics begin with tidewire_, and with soketi_ for soketi_metric_names in [admin]"),
    // Where apps, queues and counts are kept.
    row("APP_MANAGER_DRIVER", AppManager),
    row("APP_MANAGER_MYSQL_TABLE", AppManager),
    row("APP_MANAGER_POSTGRES_TABLE", AppManager),
    fitting("APP_MANAGER_CACHE_ENABLED", &["true", "1"], APPS),
    none("APP_MANAGER_*", APPS),
    row("DB_MYSQL_HOST", AppManager),
    row("DB_MYSQL_PORT", AppManager),
    row("DB_MYSQL_USERNAME", AppManager),
    row("DB_MYSQL_PASSWORD", AppManager),
    row("DB_MYSQL_DATABASE", AppManager),
    row("DB_POSTGRES_HOST", AppManager),
    row("DB_POSTGRES_PORT", AppManager),
    row("DB_POSTGRES_USERNAME", AppManager),
    row("DB_POSTGRES_PASSWORD", AppManager),
    row("DB_POSTGRES_DATABASE", AppManager),
    none("DB_POOLING_*", APPS),
    fitting("QUEUE_DRIVER", &["sync"], QUEUE),
    none("QUEUE_*", QUEUE),
    fitting("CACHE_DRIVER", &["memory", "redis"], CACHE),
    none("CACHE_*", CACHE),
    fitting("RATE_LIMITER_DRIVER", &["local"], RATES),
    none("RATE_LIMITER_*", RATES),
];
