//! `App`: one tenant's credentials, switches and limits; `Apps`: an immutable snapshot of all of them.
//!
//! Knows nothing of files or the environment: `config` builds these values after checking them.

mod limits;

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use actix_http::Uri;
use actix_http::header::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use tokio::sync::watch;

pub use limits::{LAST_EVENT_OVERHEAD, Limits, LimitsScope};

use crate::auth::{Secret, Secrets};
use crate::metrics::AppMetrics;
use crate::protocol::{ChannelKind, ChannelName, WebhookKind, excerpt, shown_as_text};
use crate::rules::{ChannelPattern, ChannelPolicy, PolicyReport, Rules};
use crate::source::Source;
use crate::token::Tokens;

/// The id of an app, as in `/apps/{id}/…`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(Arc<str>);

/// The public key of an app, as in `/app/{key}` and `auth_key`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AppKey(Arc<str>);

macro_rules! name_type {
    ($type:ident) => {
        impl $type {
            /// Wraps a text that `config` has checked.
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        shown_as_text!($type);
    };
}

name_type!(AppId);
name_type!(AppKey);

/// One tenant: its credentials, switches, rules and limits. All values have been checked.
#[derive(Debug)]
pub struct App {
    /// The id in HTTP API paths.
    pub id: AppId,
    /// The public key.
    pub key: AppKey,
    /// The secrets. All of them verify, the first one signs.
    pub secrets: Secrets,
    /// A label for people.
    pub name: Option<String>,
    /// Off: connections are closed with 4003, HTTP requests get 403.
    pub enabled: bool,
    /// Whether clients may send `client-` events.
    pub client_events: bool,
    /// Whether subscribers are told `pusher_internal:subscription_count`.
    pub subscription_count: bool,
    /// Whether a sign-in's watchlist is served.
    pub watchlist: bool,
    /// Whether clients must come over TLS (4000).
    pub tls_only: bool,
    /// Pages that may connect; empty: any. Clients that send no `Origin` are not pages and always may.
    pub allowed_origins: Vec<OriginPattern>,
    /// How long a connection has to sign in, or to subscribe to a private or presence channel or with a token (4009).
    pub authorize_within: Option<Duration>,
    /// How connections with a resume token are remembered.
    pub resume: Resume,
    /// How long a repeat of a publish with an idempotency key is recognised.
    pub idempotency: Duration,
    /// How long a subscription that needs a user or a token waits for the sign-in of its connection.
    pub signin_wait: Duration,
    /// Bearer tokens that replace the signature on the HTTP API.
    pub api_tokens: Vec<Secret>,
    /// The rules of `[[apps.channels]]`, which match channels by name.
    pub rules: Rules,
    /// The JWTs that replace a signature of a subscription or a sign-in (`[apps.jwt]`); none: no token is accepted.
    pub tokens: Option<Tokens>,
    /// The endpoints that are notified of events on its channels.
    pub webhooks: Vec<Webhook>,
    /// The outside systems whose deliveries are published to its channels.
    pub sources: Vec<Source>,
    /// What it may use (`[apps.limits]`).
    pub limits: Limits,
    /// Whose connections and events they count together.
    pub limits_scope: LimitsScope,
    /// Its counters.
    pub metrics: AppMetrics,
    /// Whether it has been logged that an id with a `.` fits no rule for users.
    pub dotted_id_logged: Once,
}

impl App {
    /// The verifier for an `auth` that is a token; none if the `auth` is a signature (`key:signature`) or the app
    /// accepts no tokens.
    pub fn tokens_for(&self, auth: &str) -> Option<&Tokens> {
        self.tokens.as_ref().filter(|_| !auth.contains(':'))
    }

    /// The source with this name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// What the first matching rule and the app decide for a channel.
    pub fn policy(&self, channel: &ChannelName) -> ChannelPolicy<'_> {
        let rule = self.rules.of(channel);
        let client_events = rule.and_then(|rule| rule.client_events);
        let subscription_count = rule.and_then(|rule| rule.subscription_count);
        // Presence channels have members instead, and the server's own channels are not counted (protocol §3.9, §3.11).
        let counts = channel.kind().is_listed() && channel.kind() != ChannelKind::Presence;
        ChannelPolicy {
            rule,
            subscribe: rule.map_or_else(Default::default, |rule| rule.subscribe),
            cache: channel.is_cache() || rule.is_some_and(|rule| rule.cache),
            history: rule.and_then(|rule| rule.history),
            rewind: rule.and_then(|rule| rule.rewind),
            client_events: channel.kind().allows_client_events()
                && client_events.unwrap_or(self.client_events),
            subscription_count: counts && subscription_count.unwrap_or(self.subscription_count),
        }
    }

    /// The policy of a channel with the rule that decides it, for people.
    pub fn policy_report<'a>(&'a self, channel: &'a ChannelName) -> PolicyReport<'a> {
        let policy = self.policy(channel);
        PolicyReport {
            app: self.id.as_str(),
            channel: channel.as_str(),
            kind: channel.kind().name(),
            rule: self.rules.number(channel).map(|before| before + 1),
            r#match: policy.rule.map(|rule| rule.pattern.as_str()),
            policy,
        }
    }
}

/// How long, and how closely, the server remembers what a connection with a resume token has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// Seconds after the end of a connection within which its token may resume; 0: never.
    pub seconds: u32,
    /// The least seconds between two pings that confirm what was delivered.
    pub ping_seconds: u32,
}

/// One entry of `allowed_origins`: `https://example.com`, `https://*.example.com`, `http://localhost:*` (any port, the
/// default one too) or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern(String);

impl OriginPattern {
    /// Takes a pattern in the form of origins, which `config` has brought it into; `*` stands for any run of characters
    /// other than `/`.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether the value of an `Origin` header fits.
    pub fn allows(&self, origin: &str) -> bool {
        if self.0 == "*" {
            return true;
        }
        let origin = origin.to_ascii_lowercase();
        // Browsers leave a default port out.
        let without_port = self.0.strip_suffix(":*");
        fits(&self.0, &origin) || without_port.is_some_and(|pattern| fits(pattern, &origin))
    }
}

/// Whether a whole origin fits a pattern.
fn fits(pattern: &str, origin: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| origin.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        // A wildcard's run ends where the next part begins; the last part must end the origin.
        let at = if parts.peek().is_none() {
            rest.len()
                .checked_sub(part.len())
                .filter(|&at| rest.is_char_boundary(at) && rest[at..] == *part)
        } else {
            rest.find(part)
        };
        match at {
            Some(at) if !rest[..at].contains('/') => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty()
}

/// One endpoint of the app that is notified of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where requests go: an `http` or `https` URL with a host.
    pub url: Uri,
    /// The kinds of events that it wants; empty: all but [`WebhookKind::SubscriptionCount`], which is asked for by
    /// name.
    pub events: Vec<WebhookKind>,
    /// The channels whose events it wants; empty: all.
    pub channels: Vec<ChannelPattern>,
    /// The channels whose events it does not want.
    pub except: Vec<ChannelPattern>,
    /// Headers that are sent with each request. Their values are marked as sensitive and print nothing.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether one request may carry several events.
    pub batch: bool,
}

impl Webhook {
    /// A text that distinguishes it from the other webhooks of the app. Names of spool files derive from it, so its
    /// form must not change.
    pub fn identity(&self) -> String {
        let list = |patterns: &[ChannelPattern]| {
            let texts = patterns.iter().map(|p| format!("ChannelPattern({p:?})"));
            texts.collect::<Vec<_>>().join(", ")
        };
        let channels = list(&self.channels);
        let mut identity = format!("{} {:?} [{channels}]", self.url, self.events);
        if !self.except.is_empty() {
            identity += &format!(" but [{}]", list(&self.except));
        }
        identity
    }

    /// Whether it wants an event of this kind on this channel.
    pub fn wants(&self, kind: WebhookKind, channel: &ChannelName) -> bool {
        let fits = |pattern: &ChannelPattern| pattern.fits(channel.as_str());
        let is_told = match self.events.is_empty() {
            true => kind != WebhookKind::SubscriptionCount,
            false => self.events.contains(&kind),
        };
        is_told
            && (self.channels.is_empty() || self.channels.iter().any(fits))
            && !self.except.iter().any(fits)
    }
}

/// Stands for a secret.
const MASK: &str = "***";

/// How many segments of a path are shown; ours have five, and a prefix a few more.
const MAX_SEGMENTS: usize = 16;

/// In how many parts of one text a secret is looked for.
const MAX_PARTS: usize = 4;

/// All apps, as of one reading of the configuration.
#[derive(Debug, Default)]
pub struct Apps {
    by_id: HashMap<AppId, Arc<App>>,
    by_key: HashMap<AppKey, Arc<App>>,
}

impl Apps {
    /// A snapshot of these apps. `config` has refused duplicate ids and keys.
    pub fn new(apps: impl IntoIterator<Item = App>) -> Self {
        Self::of(apps.into_iter().map(Arc::new))
    }

    /// A snapshot of apps that are shared already.
    pub fn of(apps: impl IntoIterator<Item = Arc<App>>) -> Self {
        let mut all = Self::default();
        for app in apps {
            all.by_id.insert(app.id.clone(), Arc::clone(&app));
            all.by_key.insert(app.key.clone(), app);
        }
        all
    }

    /// The app with this id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<App>> {
        self.by_id.get(id)
    }

    /// The app with this public key.
    pub fn by_key(&self, key: &str) -> Option<&Arc<App>> {
        self.by_key.get(key)
    }

    /// The policy report of each app for a channel, in the order of their ids.
    pub fn policy_reports<'a>(&'a self, channel: &'a ChannelName) -> Vec<PolicyReport<'a>> {
        let mut reports: Vec<_> = self.iter().map(|app| app.policy_report(channel)).collect();
        reports.sort_unstable_by_key(|report| report.app);
        reports
    }

    /// The app one of whose secrets (those of `[apps.jwt]` too) or API tokens somebody has written where its key or id
    /// belongs: as it is, escaped, or as a part of `key:secret`. Looks at every app, so it is for what is refused
    /// already.
    pub fn by_secret(&self, given: &str) -> Option<&Arc<App>> {
        let decoded = percent_decode_str(given).decode_utf8_lossy();
        let parts = decoded.split([':', '@', ',', ';', '&', '=', '|']);
        let candidates = std::iter::once(&*decoded).chain(parts.take(MAX_PARTS));
        let mut candidates = candidates.map(str::trim);
        candidates.find_map(|text| {
            // What is public as well, on a machine for development, is no secret.
            let is_public = self.by_id(text).is_some() || self.by_key(text).is_some();
            let knows = |app: &&Arc<App>| {
                let tokens = app.tokens.as_ref();
                app.secrets.include(text)
                    || app.api_tokens.iter().any(|token| token.equals(text))
                    || tokens.is_some_and(|tokens| tokens.include(text))
            };
            if is_public {
                return None;
            }
            // All are looked at, so that the time does not tell whose it is; of several the first by its id.
            self.iter().filter(knows).min_by_key(|app| &app.id)
        })
    }

    /// A request's path for the log and for people: its beginning, with what is an app's secret or behind `resume`
    /// masked.
    pub fn shown_path(&self, path: &str) -> String {
        let mut is_token = false;
        let shown = |segment| match std::mem::replace(&mut is_token, segment == "resume")
            || self.by_secret(segment).is_some()
        {
            true => MASK,
            false => segment,
        };
        let segments: Vec<&str> = path.split('/').take(MAX_SEGMENTS).map(shown).collect();
        excerpt(&segments.join("/")).to_owned()
    }

    /// A key for display: masked if it is a secret that was sent by mistake.
    pub fn masked_key<'a>(&self, key: &'a str) -> Cow<'a, str> {
        match self.by_secret(key) {
            Some(app) => {
                let id = app.id.as_str();
                format!("{MASK}, the secret of app {id}: clients need its key").into()
            }
            None => key.into(),
        }
    }

    /// Goes on counting where the apps of the same ids in an earlier snapshot stopped, and keeps the keys that they read.
    fn continue_from(&self, former: &Self) {
        for app in self.iter() {
            // One that stayed as it was has all of it.
            let former = former.by_id(app.id.as_str());
            if let Some(former) = former.filter(|former| !Arc::ptr_eq(former, app)) {
                app.metrics.continue_from(&former.metrics);
                if let (Some(tokens), Some(former)) = (&app.tokens, &former.tokens) {
                    tokens.continue_from(former);
                }
                for source in &app.sources {
                    if let Some(former) = former.source(&source.name) {
                        source.history.continue_from(&former.history);
                    }
                }
            }
        }
    }

    /// All apps, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.by_id.values()
    }

    /// The number of apps.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no app.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// The snapshot in effect, shared by all workers. A reload replaces it.
#[derive(Debug)]
pub struct CurrentApps(watch::Sender<Arc<Apps>>);

impl CurrentApps {
    /// Starts with this snapshot.
    pub fn new(apps: Apps) -> Self {
        Self(watch::Sender::new(Arc::new(apps)))
    }

    /// The snapshot in effect.
    pub fn get(&self) -> Arc<Apps> {
        Arc::clone(&self.0.borrow())
    }

    /// Replaces the snapshot. Counters and fetched keys of apps that stay are kept.
    pub fn swap(&self, apps: Arc<Apps>) {
        apps.continue_from(&self.get());
        self.0.send_replace(apps);
    }
}

#[cfg(test)]
impl App {
    /// App `1` with key `k` and secret `s`, and every switch off: for unit tests.
    pub(crate) fn plain() -> Self {
        Self {
            id: AppId::new("1"),
            key: AppKey::new("k"),
            secrets: Secrets::new(vec![Secret::new("s")]).unwrap(),
            name: None,
            enabled: true,
            client_events: false,
            subscription_count: false,
            watchlist: false,
            tls_only: false,
            allowed_origins: Vec::new(),
            authorize_within: None,
            resume: Resume {
                seconds: 120,
                ping_seconds: 5,
            },
            idempotency: Duration::from_secs(120),
            signin_wait: Duration::from_secs(10),
            api_tokens: Vec::new(),
            rules: Rules::default(),
            tokens: None,
            webhooks: Vec::new(),
            sources: Vec::new(),
            limits: Limits::default(),
            limits_scope: LimitsScope::Node,
            metrics: AppMetrics::default(),
            dotted_id_logged: Once::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Admission, Rule, WhoMaySubscribe};

    /// A release that forms it in another way leaves what waits in the spool behind.
    #[test]
    fn the_identity_of_a_webhook_stays() {
        let pattern = |text| ChannelPattern::parse(text).unwrap();
        let webhook = Webhook {
            url: Uri::from_static("https://a.b/w"),
            events: vec![WebhookKind::ChannelOccupied],
            channels: vec![pattern("private-*"), pattern("x")],
            except: vec![pattern("private-encrypted-*")],
            headers: Vec::new(),
            batch: false,
        };
        assert_eq!(
            webhook.identity(),
            "https://a.b/w [ChannelOccupied] [ChannelPattern(\"private-*\"), ChannelPattern(\"x\")] but \
             [ChannelPattern(\"private-encrypted-*\")]"
        );
    }

    fn app(rule: Rule) -> App {
        App {
            rules: Rules::new(vec![rule]),
            ..App::plain()
        }
    }

    fn rule(pattern: &str, subscribe: WhoMaySubscribe) -> Rule {
        Rule {
            pattern: ChannelPattern::parse(pattern).unwrap(),
            subscribe,
            cache: false,
            history: None,
            rewind: None,
            client_events: None,
            subscription_count: None,
        }
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text, 200).unwrap()
    }

    #[test]
    fn who_may_subscribe() {
        use Admission::{Admitted, NeedsToken, NeedsUser, Nobody, OtherUser};
        use WhoMaySubscribe::{Anyone, SignedIn, Token, User};
        for (subscribe, of_nobody, of_seven, of_eight, by_token) in [
            (Anyone, Admitted, Admitted, Admitted, Admitted),
            (SignedIn, NeedsUser, Admitted, Admitted, NeedsUser),
            (User, NeedsUser, Admitted, OtherUser, NeedsUser),
            (Token, NeedsUser, NeedsToken, NeedsToken, Admitted),
            (WhoMaySubscribe::Nobody, Nobody, Nobody, Nobody, Nobody),
        ] {
            let app = app(rule("user.{user_id}.*", subscribe));
            let channel = name("user.7.invoices");
            let policy = app.policy(&channel);
            let admission = |user, has_token| policy.admission(&channel, user, || has_token);
            assert_eq!(admission(None, false), of_nobody, "{subscribe:?}");
            assert_eq!(admission(Some("7"), false), of_seven, "{subscribe:?}");
            assert_eq!(admission(Some("8"), false), of_eight, "{subscribe:?}");
            assert_eq!(admission(None, true), by_token, "{subscribe:?}");
            let other = name("users.7");
            let of_other = app.policy(&other).admission(&other, None, || false);
            assert_eq!(of_other, Admitted);
        }
    }

    #[test]
    fn a_rule_s_switches_replace_the_app_s_where_they_can_mean_something() {
        for app_says in [false, true] {
            for rule_says in [None, Some(false), Some(true)] {
                let app = App {
                    client_events: app_says,
                    subscription_count: app_says,
                    ..app(Rule {
                        client_events: rule_says,
                        subscription_count: rule_says,
                        ..rule("*", WhoMaySubscribe::Anyone)
                    })
                };
                let on = rule_says.unwrap_or(app_says);
                for (text, client_events, subscription_count) in [
                    ("x", false, on),
                    ("private-x", on, on),
                    ("private-encrypted-x", false, on),
                    ("presence-x", on, false),
                    ("#server-to-user-7", false, false),
                ] {
                    let policy = app.policy(&name(text));
                    assert_eq!(policy.client_events, client_events, "{text}");
                    assert_eq!(policy.subscription_count, subscription_count, "{text}");
                }
            }
        }
    }

    #[test]
    fn origins() {
        for (pattern, origin, allowed) in [
            ("https://example.com", "https://example.com", true),
            ("https://example.com", "HTTPS://Example.com", true),
            ("https://example.com", "https://example.com.evil.net", false),
            ("https://example.com", "http://example.com", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            (
                "https://*.example.com",
                "https://evil.com/.example.com",
                false,
            ),
            ("https://*.example.com", "https://a.example.com:8443", false),
            ("http://localhost:*", "http://localhost:5173", true),
            ("http://localhost:*", "http://localhost", true),
            ("http://*.localhost:*", "http://a.localhost", true),
            ("http://localhost:*", "http://localhost.evil.net", false),
            ("file://", "file://", true),
            ("file://", "null", false),
            ("null", "null", true),
            ("https://*.a.*", "https://x.a.y", true),
            ("https://*.a.*", "https://x.b.y", false),
            ("*", "null", true),
            ("https://example.com", "", false),
        ] {
            assert_eq!(
                OriginPattern::new(pattern).allows(origin),
                allowed,
                "{pattern} {origin}"
            );
        }
    }
}
