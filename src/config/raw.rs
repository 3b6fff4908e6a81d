//! What the file may say, key by key: a field's name is its key, and with the section its environment variable.
//!
//! A section is the type that the server uses, with its defaults. Only what is fetched or built from what is given, as
//! apps and `[redis]`, has a struct of its own here, which nobody outside `config` sees.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::listener::{Admin, Server};
use super::redis_url::{HostPort, Url};
use super::values::{FilePath, KeyPrefix, Masked, Name, PageOrigin, Token};
use super::webhooks::{HeaderText, Kind, Pattern, Target};
use crate::adapter::redis::OnOutage;
use crate::app::Limits;
use crate::bounded::number;
use crate::webhook::Settings;

/// The whole file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "tables and [[apps]]")]
pub(super) struct Raw {
    pub(super) server: Server,
    pub(super) admin: Admin,
    pub(super) webhooks: Settings,
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
    webhooks: &'a Settings,
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

/// `[redis]`
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, [redis]")]
pub(super) struct Redis {
    pub(super) url: Option<Url>,
    pub(super) sentinel: Option<Vec<HostPort<26379>>>,
    pub(super) sentinel_master: Option<Token>,
    pub(super) sentinel_username: Option<Token>,
    pub(super) sentinel_password: Option<Masked>,
    pub(super) sentinel_password_file: Option<FilePath>,
    pub(super) cluster: Option<Vec<HostPort<6379>>>,
    pub(super) username: Option<Token>,
    pub(super) password: Option<Masked>,
    pub(super) password_file: Option<FilePath>,
    /// None: as `url` says.
    pub(super) tls: Option<bool>,
    pub(super) ca_file: Option<FilePath>,
    pub(super) cert_file: Option<FilePath>,
    pub(super) key_file: Option<FilePath>,
    pub(super) prefix: KeyPrefix,
    #[serde(deserialize_with = "number::<3, 3600, _, _>")]
    pub(super) lease_seconds: u32,
    #[serde(deserialize_with = "number::<1, 60, _, _>")]
    pub(super) publish_timeout: u32,
    pub(super) on_outage: OnOutage,
    #[serde(deserialize_with = "number::<0, 10_000, _, _>")]
    pub(super) log_events: u32,
    #[serde(deserialize_with = "number::<1024, 16_777_216, _, _>")]
    pub(super) log_bytes: u32,
    #[serde(deserialize_with = "number::<1, 3600, _, _>")]
    pub(super) log_seconds: u32,
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
            lease_seconds: 15,
            publish_timeout: 2,
            on_outage: OnOutage::Error,
            log_events: 1024,
            log_bytes: 262_144,
            log_seconds: 60,
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
    #[serde(deserialize_with = "number::<0, 3600, _, _>")]
    pub(super) authorize_within: u32,
    pub(super) api_tokens: Vec<Masked>,
    pub(super) limits: Limits,
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
            authorize_within: 0,
            api_tokens: Vec::new(),
            limits: Limits::default(),
            webhooks: Vec::new(),
        }
    }
}
