//! What the file may say, key by key: a field's name is its key, and with the section its environment variable.
//!
//! A section is the type that the server uses, with its defaults. Only what is fetched or built from what is given, as
//! apps and `[redis]`, has a struct of its own here, which nobody outside `config` sees.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app_store::DatabaseUrl;
use super::listener::{Admin, Server};
use super::redis_url::{HostPort, Url};
use super::sources::SourceKind;
use super::values::{FilePath, JwksUrl, KeyPrefix, Masked, Name, PageOrigin, TableName, Token};
use super::webhooks::{HeaderText, Pattern, Target};
use crate::adapter::redis::OnOutage;
use crate::app::{Limits, LimitsScope};
use crate::bounded::{Seconds, Whole, section};
use crate::protocol::WebhookKind;
use crate::rules::Rule;
use crate::source::Encoding;
use crate::token::{Algorithm, OnExpiry};
use crate::webhook::Settings;

/// The whole file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "tables and [[apps]]")]
pub(super) struct Raw {
    pub(super) server: Server,
    pub(super) admin: Admin,
    pub(super) webhooks: Settings,
    /// What is printed is what can be read, and bounds without a place cannot.
    #[serde(skip_serializing_if = "Redis::says_no_place")]
    pub(super) redis: Redis,
    #[serde(skip_serializing_if = "AppStore::is_off")]
    pub(super) app_store: AppStore,
    pub(super) apps: Vec<App>,
}

impl Raw {
    /// These settings as a file would say them, secrets masked, with these apps.
    pub(super) fn to_toml(&self, apps: &[App]) -> Result<String, toml::ser::Error> {
        toml::to_string(&Self {
            apps: apps.to_vec(),
            ..self.clone()
        })
    }
}

section! {
    /// `[redis]`
    pub(super) struct Redis {
        pub(super) url: Option<Url> = None,
        pub(super) sentinel: Option<Vec<HostPort<26379>>> = None,
        pub(super) sentinel_master: Option<Token> = None,
        pub(super) sentinel_username: Option<Token> = None,
        pub(super) sentinel_password: Option<Masked> = None,
        pub(super) sentinel_password_file: Option<FilePath> = None,
        pub(super) cluster: Option<Vec<HostPort<6379>>> = None,
        pub(super) username: Option<Token> = None,
        pub(super) password: Option<Masked> = None,
        pub(super) password_file: Option<FilePath> = None,
        /// None: as `url` says.
        pub(super) tls: Option<bool> = None,
        pub(super) ca_file: Option<FilePath> = None,
        pub(super) cert_file: Option<FilePath> = None,
        pub(super) key_file: Option<FilePath> = None,
        pub(super) prefix: KeyPrefix = KeyPrefix("tidewire".to_owned()),
        #[serde(rename = "lease_seconds")]
        pub(super) lease: Duration as "Seconds::<3, 3600>" = Duration::from_secs(15),
        pub(super) publish_timeout: Duration as "Seconds::<1, 60>" = Duration::from_secs(2),
        pub(super) on_outage: OnOutage = OnOutage::Error,
        pub(super) log_events: u32 as "Whole::<0, 10_000>" = 1024,
        pub(super) log_bytes: u32 as "Whole::<1024, 16_777_216>" = 262_144,
        pub(super) log_seconds: u32 as "Whole::<1, 3600>" = 60,
    }
}

impl Redis {
    fn says_no_place(&self) -> bool {
        self.url.is_none() && self.sentinel.is_none() && self.cluster.is_none()
    }
}

/// `[[apps.webhooks]]`. The URL must be given; `apps` checks it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Webhook {
    pub(super) url: Option<Target>,
    pub(super) events: Vec<WebhookKind>,
    pub(super) channels: Vec<Pattern>,
    pub(super) batch: bool,
    pub(super) headers: BTreeMap<HeaderText, Masked>,
}

section! {
    /// `[app_store]`
    pub(super) struct AppStore {
        pub(super) url: Option<DatabaseUrl> = None,
        pub(super) table: TableName = TableName("apps".to_owned()),
        pub(super) refresh_seconds: u32 as "Whole::<1, 3600>" = 5,
        /// None: with SQLite.
        pub(super) create: Option<bool> = None,
        pub(super) start_without: bool = false,
    }
}

impl AppStore {
    fn is_off(&self) -> bool {
        self.url.is_none()
    }
}

section! {
    /// `[apps.jwt]`. One kind of key must be given; `jwt` checks it.
    pub(super) struct Jwt {
        pub(super) secret: Option<Masked> = None,
        pub(super) secrets: Vec<Masked> = Vec::new(),
        pub(super) public_key_file: Option<FilePath> = None,
        pub(super) jwks_url: Option<JwksUrl> = None,
        /// Empty: all that the keys are for.
        pub(super) algorithms: Vec<Algorithm> = Vec::new(),
        pub(super) audience: Option<String> = None,
        pub(super) issuer: Option<String> = None,
        pub(super) user_claim: String = "sub".to_owned(),
        pub(super) channels_claim: String = "channels".to_owned(),
        pub(super) leeway_seconds: u32 as "Whole::<0, 3600>" = 30,
        pub(super) require_exp: bool = true,
        pub(super) on_expiry: OnExpiry = OnExpiry::Reconnect,
    }
}

section! {
    /// `[[apps.sources]]`. Name, kind and what the kind asks for must be given; `sources` checks it.
    pub(super) struct Source {
        pub(super) name: Option<Name> = None,
        pub(super) kind: Option<SourceKind> = None,
        pub(super) topics: Vec<String> = Vec::new(),
        pub(super) secret: Option<Masked> = None,
        pub(super) secret_file: Option<FilePath> = None,
        pub(super) secrets: Vec<Masked> = Vec::new(),
        pub(super) username: Option<String> = None,
        pub(super) password: Option<Masked> = None,
        pub(super) token: Option<Masked> = None,
        pub(super) header: Option<HeaderText> = None,
        pub(super) prefix: Option<String> = None,
        pub(super) signed: Option<String> = None,
        pub(super) encoding: Option<Encoding> = None,
        pub(super) key: Option<Encoding> = None,
        pub(super) timestamp_header: Option<HeaderText> = None,
        pub(super) id_header: Option<HeaderText> = None,
        pub(super) id: Option<String> = None,
        pub(super) tolerance_seconds: u32 as "Whole::<1, 86_400>" = 300,
        pub(super) dedupe_seconds: u32 as "Whole::<1, 86_400>" = 86_400,
        pub(super) store: Option<bool> = None,
        pub(super) retry_seconds: u32 as "Whole::<1, 604_800>" = 86_400,
        pub(super) sns_test: Option<SnsTest> = None,
        pub(super) routes: Vec<SourceRoute> = Vec::new(),
    }
}

section! {
    /// Who stands in for Amazon SNS in a test.
    #[serde(expecting = "a table like { host = \"127.0.0.1:4566\", ca_file = \"ca.pem\" }")]
    pub(super) struct SnsTest {
        pub(super) host: String = String::new(),
        pub(super) ca_file: Option<FilePath> = None,
    }
}

section! {
    /// `[[apps.sources.routes]]`. Channels and event must be given; `sources` checks it.
    pub(super) struct SourceRoute {
        pub(super) when: Option<String> = None,
        pub(super) channels: Vec<String> = Vec::new(),
        pub(super) event: Option<String> = None,
        pub(super) data: Option<String> = None,
    }
}

section! {
    /// `[[apps]]`. Id, key and a secret, in whichever way, must be given; `apps` checks it.
    pub(super) struct App {
        pub(super) id: Option<Name> = None,
        pub(super) key: Option<Name> = None,
        pub(super) secret: Option<Masked> = None,
        pub(super) secret_file: Option<FilePath> = None,
        pub(super) secrets: Vec<Masked> = Vec::new(),
        pub(super) name: Option<String> = None,
        pub(super) enabled: bool = true,
        pub(super) client_events: bool = false,
        pub(super) subscription_count: bool = true,
        pub(super) watchlist: bool = true,
        pub(super) tls_only: bool = false,
        pub(super) allowed_origins: Vec<PageOrigin> = Vec::new(),
        pub(super) authorize_within: u32 as "Whole::<0, 3600>" = 0,
        pub(super) idempotency_seconds: u32 as "Whole::<1, 86_400>" = 120,
        pub(super) resume_seconds: u32 as "Whole::<0, 3600>" = 120,
        pub(super) resume_ping_seconds: u32 as "Whole::<1, 60>" = 5,
        pub(super) signin_wait_seconds: u32 as "Whole::<0, 3600>" = 10,
        pub(super) api_tokens: Vec<Masked> = Vec::new(),
        pub(super) limits_scope: LimitsScope = LimitsScope::Node,
        pub(super) limits: Limits = Limits::default(),
        pub(super) jwt: Option<Jwt> = None,
        pub(super) channels: Vec<Rule> = Vec::new(),
        pub(super) webhooks: Vec<Webhook> = Vec::new(),
        pub(super) sources: Vec<Source> = Vec::new(),
    }
}
