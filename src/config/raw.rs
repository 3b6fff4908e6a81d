//! What the file may say, key by key: the structs that `read` fills, and with them the names of all settings.
//!
//! Their `Default` is the only home of defaults (an app's limits have theirs in `app::Limits`). A field's name is
//! its key, and with the section its environment variable. Nobody outside `config` sees these.

use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;

use super::redis::Outage;
use super::redis_url::{HostPort, Url};
use super::values::{
    FilePath, Host, KeyPrefix, Masked, Name, Network, PageOrigin, PathPrefix, Whole, Word,
};
use super::webhooks::{HeaderText, Kind, Pattern, Target};
use crate::adapter::redis::OnOutage;
use crate::app::Limits;

/// The whole file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "tables and [[apps]]")]
pub(super) struct Raw {
    pub(super) server: Server,
    pub(super) admin: Admin,
    pub(super) webhooks: Webhooks,
    /// What is printed is what can be read, and bounds without a place cannot.
    #[serde(skip_serializing_if = "Redis::says_no_place")]
    pub(super) redis: Redis,
    pub(super) apps: Vec<App>,
}

/// The same with apps of another reading.
#[derive(Serialize)]
struct Shown<'a> {
    server: &'a Server,
    admin: &'a Admin,
    webhooks: &'a Webhooks,
    #[serde(skip_serializing_if = "Redis::says_no_place")]
    redis: &'a Redis,
    apps: &'a [App],
}

impl Raw {
    /// These settings as a file would say them, secrets masked, with these apps.
    pub(super) fn to_toml(&self, apps: &[App]) -> Result<String, toml::ser::Error> {
        toml::to_string(&Shown {
            server: &self.server,
            admin: &self.admin,
            webhooks: &self.webhooks,
            redis: &self.redis,
            apps,
        })
    }
}

/// `[server]`
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [server]")]
pub(super) struct Server {
    pub(super) host: Host,
    pub(super) port: Whole<0, 65535>,
    pub(super) path_prefix: PathPrefix,
    pub(super) activity_timeout: Whole<1, 3600>,
    pub(super) workers: Whole<1, 1024>,
    pub(super) max_connections: Option<Whole<1, { u32::MAX }>>,
    pub(super) outbox_bytes: Whole<65_536, 1_073_741_824>,
    pub(super) inbox_bytes: Whole<1_048_576, { u32::MAX }>,
    pub(super) cache_bytes: Whole<65_536, { u32::MAX }>,
    pub(super) drain_seconds: Whole<0, 3600>,
    pub(super) allow_plain_tokens: bool,
    pub(super) trusted_proxies: Vec<Network>,
    pub(super) proxy_protocol: bool,
    /// What is printed is what can be read, and a listener beside none cannot.
    #[serde(skip_serializing_if = "ServerTls::is_off")]
    pub(super) tls: ServerTls,
}

impl Default for Server {
    fn default() -> Self {
        // One per core that this process may use; where that cannot be told, one.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            host: Host("0.0.0.0".to_owned()),
            port: Whole::new(6001),
            path_prefix: PathPrefix(String::new()),
            activity_timeout: Whole::new(120),
            workers: Whole::new(u32::try_from(cores).unwrap_or(u32::MAX)),
            max_connections: None,
            outbox_bytes: Whole::new(1_048_576),
            inbox_bytes: Whole::new(67_108_864),
            cache_bytes: Whole::new(67_108_864),
            drain_seconds: Whole::new(10),
            allow_plain_tokens: false,
            trusted_proxies: ["127.0.0.0/8", "::1"]
                .map(|text| Network(text.to_owned()))
                .into(),
            proxy_protocol: false,
            tls: ServerTls::default(),
        }
    }
}

/// `[server.tls]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [server.tls]")]
pub(super) struct ServerTls {
    pub(super) cert: Option<FilePath>,
    pub(super) key: Option<FilePath>,
    pub(super) plain_host: Host,
    pub(super) plain_port: Option<Whole<0, 65535>>,
}

impl ServerTls {
    fn is_off(&self) -> bool {
        self.cert.is_none() && self.key.is_none()
    }
}

impl Default for ServerTls {
    fn default() -> Self {
        Self {
            cert: None,
            key: None,
            plain_host: Host("127.0.0.1".to_owned()),
            plain_port: None,
        }
    }
}

/// `[admin]`
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [admin]")]
pub(super) struct Admin {
    pub(super) host: Host,
    pub(super) port: Whole<0, 65535>,
    pub(super) token: Option<Masked>,
    pub(super) soketi_metric_names: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            host: Host("127.0.0.1".to_owned()),
            port: Whole::new(9601),
            token: None,
            soketi_metric_names: false,
        }
    }
}

/// `[webhooks]`
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [webhooks]")]
pub(super) struct Webhooks {
    pub(super) spool: Option<String>,
    pub(super) linger_seconds: Whole<0, 3600>,
    pub(super) timeout_seconds: Whole<1, 300>,
    pub(super) retry_seconds: Whole<0, 86_400>,
    pub(super) queue_events: Whole<1, 1_000_000>,
    pub(super) dead_letters: Whole<1, 1_000_000>,
    pub(super) batch_size: Whole<1, 10_000>,
    pub(super) batch_ms: Whole<0, 60_000>,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            spool: None,
            linger_seconds: Whole::new(3),
            timeout_seconds: Whole::new(10),
            retry_seconds: Whole::new(300),
            queue_events: Whole::new(10_000),
            dead_letters: Whole::new(1000),
            batch_size: Whole::new(100),
            batch_ms: Whole::new(200),
        }
    }
}

/// `[redis]`
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [redis]")]
pub(super) struct Redis {
    pub(super) url: Option<Url>,
    pub(super) sentinel: Option<Vec<HostPort<26379>>>,
    pub(super) sentinel_master: Option<Word>,
    pub(super) sentinel_username: Option<Word>,
    pub(super) sentinel_password: Option<Masked>,
    pub(super) sentinel_password_file: Option<FilePath>,
    pub(super) cluster: Option<Vec<HostPort<6379>>>,
    pub(super) username: Option<Word>,
    pub(super) password: Option<Masked>,
    pub(super) password_file: Option<FilePath>,
    /// None: as `url` says.
    pub(super) tls: Option<bool>,
    pub(super) ca_file: Option<FilePath>,
    pub(super) cert_file: Option<FilePath>,
    pub(super) key_file: Option<FilePath>,
    pub(super) prefix: KeyPrefix,
    pub(super) lease_seconds: Whole<3, 3600>,
    pub(super) publish_timeout: Whole<1, 60>,
    pub(super) on_outage: Outage,
    pub(super) log_events: Whole<0, 10_000>,
    pub(super) log_bytes: Whole<1024, 16_777_216>,
    pub(super) log_seconds: Whole<1, 3600>,
}

impl Redis {
    fn says_no_place(&self) -> bool {
        self.places().is_empty()
    }

    /// The keys that say where Redis is, of which there may be one.
    pub(super) fn places(&self) -> Vec<&'static str> {
        let places = [
            ("url", self.url.is_some()),
            ("sentinel", self.sentinel.is_some()),
            ("cluster", self.cluster.is_some()),
        ];
        let given = places.into_iter().filter(|(_, given)| *given);
        given.map(|(key, _)| key).collect()
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            sentinel: None,
            sentinel_master: None,
            sentinel_username: None,
            sentinel_password: None,
            sentinel_password_file: None,
            cluster: None,
            username: None,
            password: None,
            password_file: None,
            tls: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            prefix: KeyPrefix("tidewire".to_owned()),
            lease_seconds: Whole::new(15),
            publish_timeout: Whole::new(2),
            on_outage: Outage(OnOutage::Error),
            log_events: Whole::new(1024),
            log_bytes: Whole::new(262_144),
            log_seconds: Whole::new(60),
        }
    }
}

/// `[[apps.webhooks]]`. The URL must be given; `apps` checks it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[apps.webhooks]]")]
pub(super) struct Webhook {
    pub(super) url: Option<Target>,
    pub(super) events: Vec<Kind>,
    pub(super) channels: Vec<Pattern>,
    pub(super) batch: bool,
    pub(super) headers: BTreeMap<HeaderText, Masked>,
}

/// `[[apps]]`. Id, key and a secret, in whichever way, must be given; `apps` checks it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [[apps]]")]
pub(super) struct App {
    pub(super) id: Option<Name>,
    pub(super) key: Option<Name>,
    pub(super) secret: Option<Masked>,
    pub(super) secret_file: Option<FilePath>,
    pub(super) secrets: Vec<Masked>,
    pub(super) name: Option<String>,
    pub(super) enabled: bool,
    pub(super) client_events: bool,
    pub(super) subscription_count: bool,
    pub(super) watchlist: bool,
    pub(super) tls_only: bool,
    pub(super) allowed_origins: Vec<PageOrigin>,
    pub(super) authorize_within: Whole<0, 3600>,
    pub(super) api_tokens: Vec<Masked>,
    pub(super) limits: AppLimits,
    pub(super) webhooks: Vec<Webhook>,
}

impl Default for App {
    fn default() -> Self {
        Self {
            id: None,
            key: None,
            secret: None,
            secret_file: None,
            secrets: Vec::new(),
            name: None,
            enabled: true,
            client_events: false,
            subscription_count: true,
            watchlist: true,
            tls_only: false,
            allowed_origins: Vec::new(),
            authorize_within: Whole::new(0),
            api_tokens: Vec::new(),
            limits: AppLimits::default(),
            webhooks: Vec::new(),
        }
    }
}

/// `[apps.limits]`
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [apps.limits]")]
pub(super) struct AppLimits {
    pub(super) connections: Option<Whole<1, { u32::MAX }>>,
    pub(super) events_per_second: Option<Whole<1, 65_535>>,
    pub(super) client_events_per_second: Whole<1, 1_000_000>,
    pub(super) channels_per_connection: Whole<1, 1_000_000>,
    pub(super) presence_members: Whole<1, 1_000_000>,
    pub(super) presence_member_bytes: Whole<1, 1_048_576>,
    pub(super) event_bytes: Whole<1, 16_777_216>,
    pub(super) channels_per_event: Whole<1, 10_000>,
    pub(super) batch_events: Whole<1, 1000>,
    pub(super) channel_name_length: Whole<1, 1024>,
    pub(super) event_name_length: Whole<1, 1024>,
}

impl Default for AppLimits {
    fn default() -> Self {
        let limits = Limits::default();
        let amount = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            connections: limits.connections.map(|number| Whole::new(number.get())),
            events_per_second: limits
                .events_per_second
                .map(|number| Whole::new(number.get())),
            client_events_per_second: Whole::new(limits.client_events_per_second),
            channels_per_connection: Whole::new(amount(limits.channels_per_connection)),
            presence_members: Whole::new(amount(limits.presence_members)),
            presence_member_bytes: Whole::new(amount(limits.presence_member_bytes)),
            event_bytes: Whole::new(amount(limits.event_bytes)),
            channels_per_event: Whole::new(amount(limits.channels_per_event)),
            batch_events: Whole::new(amount(limits.batch_events)),
            channel_name_length: Whole::new(amount(limits.channel_name_length)),
            event_name_length: Whole::new(amount(limits.event_name_length)),
        }
    }
}
