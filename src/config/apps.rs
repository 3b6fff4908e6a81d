//! `[[apps]]` → `App`s: what must be given is there, no two are alike, and the limits fit what the server holds.

use std::collections::HashMap;
use std::sync::Once;
use std::time::Duration;

use super::Settings;
use super::error::{Origin, path};
use super::jwt;
use super::listener::Server;
use super::raw;
use super::rules;
use super::secrets::SecretReader;
use super::sources;
use super::tree::Tree;
use super::values::Name;
use super::webhooks;
use super::wrong::{Wrong, both, each, ensure, within};
use crate::app::{App, AppId, AppKey, Apps, Limits, OriginPattern, Resume};
use crate::auth::Secrets;
use crate::host_port::is_loopback;

/// The shipped configuration's secret, which everybody knows.
const DEVELOPMENT_SECRET: &str = "app-secret";

/// Makes the snapshot, or says what is in the way. `server` is what the apps must fit.
pub(super) fn build(
    raw: &raw::Raw,
    server: &Server,
    tree: &Tree,
    secrets: &mut SecretReader<'_>,
) -> Result<Apps, Wrong> {
    if raw.apps.is_empty() && raw.app_store.url.is_none() {
        let text = "no apps: add [[apps]] with id, key and secret to the file, or set TIDEWIRE_APP_ID, \
                    TIDEWIRE_APP_KEY and TIDEWIRE_APP_SECRET, or keep apps in a database, with [app_store]";
        return Err(Wrong::table(text));
    }
    let apps = each("apps", &raw.apps, |app| built(app, server, secrets));
    let ids = unique(&raw.apps, "id", |app| app.id.as_ref(), tree);
    let keys = unique(&raw.apps, "key", |app| app.key.as_ref(), tree);
    let (apps, _) = both(apps, both(ids, keys))?;
    Ok(Apps::new(apps))
}

/// A warning if apps use the shipped secret where others reach them.
pub(super) fn development_secret(settings: &Settings) -> Option<String> {
    let host = &settings.server.host;
    let apps = settings.apps.iter();
    let known = apps.filter(|app| app.secrets.include(DEVELOPMENT_SECRET));
    let ids: Vec<&str> = known.map(|app| app.id.as_str()).collect();
    (!ids.is_empty() && !is_loopback(host)).then(|| {
        format!(
            "app {} uses the shipped development secret, and host \"{host}\" is reachable from beyond this machine: anyone \
             can publish and sign for it. Set a secret of your own, or listen on 127.0.0.1",
            ids.join(", ")
        )
    })
}

/// One app.
pub(super) fn built(
    raw: &raw::App,
    server: &Server,
    secrets: &mut SecretReader<'_>,
) -> Result<App, Wrong> {
    let own = secrets.all(raw.secret.as_ref(), raw.secret_file.as_ref(), &raw.secrets);
    let (own, api_tokens) = both(own, secrets.list("api_tokens", &raw.api_tokens))?;
    let missing = |what| {
        Wrong::table(format!(
            "an app needs {what}: id, key and secret must be given"
        ))
    };
    let id = raw.id.as_ref().ok_or_else(|| missing("an id"))?;
    let key = raw.key.as_ref().ok_or_else(|| missing("a key"))?;
    let own = Secrets::new(own).ok_or_else(|| missing("a secret"))?;
    let fits = fits(&raw.limits, server).map_err(within("limits"));
    let jwt = raw.jwt.as_ref();
    let tokens = jwt.map(|jwt| jwt::built(jwt, &own, secrets).map_err(within("jwt")));
    let rules = rules::checked(raw);
    let webhooks = webhooks::built(&raw.webhooks);
    let sources = sources::built(&raw.sources, secrets);
    let checked = both(fits, both(tokens.transpose(), rules));
    let ((_, (tokens, rules)), (webhooks, sources)) = both(checked, both(webhooks, sources))?;
    Ok(App {
        id: AppId::new(&id.0),
        key: AppKey::new(&key.0),
        secrets: own,
        name: raw.name.clone(),
        enabled: raw.enabled,
        client_events: raw.client_events,
        subscription_count: raw.subscription_count,
        watchlist: raw.watchlist,
        tls_only: raw.tls_only,
        allowed_origins: raw
            .allowed_origins
            .iter()
            .map(|origin| OriginPattern::new(&origin.0))
            .collect(),
        authorize_within: match raw.authorize_within {
            0 => None,
            seconds => Some(Duration::from_secs(seconds.into())),
        },
        resume: Resume {
            seconds: raw.resume_seconds,
            ping_seconds: raw.resume_ping_seconds,
        },
        idempotency: Duration::from_secs(raw.idempotency_seconds.into()),
        signin_wait: Duration::from_secs(raw.signin_wait_seconds.into()),
        api_tokens,
        rules,
        tokens,
        webhooks,
        sources,
        limits: raw.limits.clone(),
        metrics: Default::default(),
        dotted_id_logged: Once::new(),
    })
}

/// A connection or a worker that cannot hold one message would lose every connection that gets it; a cache channel
/// would forget an event that its budget cannot hold.
fn fits(limits: &Limits, server: &Server) -> Result<(), Wrong> {
    let key = if limits.event_bytes >= limits.presence_member_bytes {
        "event_bytes"
    } else {
        "presence_member_bytes"
    };
    let needed = limits.message_bytes();
    let messages = |name: &str, available: usize| {
        ensure(needed <= available, key, || {
            format!(
                "messages of this size need {name} of at least {needed} in [server], where it is {available}"
            )
        })
    };
    let outbox = messages("outbox_bytes", server.outbox_bytes);
    let inbox = messages("inbox_bytes", server.inbox_bytes);
    let (needed, available) = (limits.last_event_bytes(), server.cache_bytes);
    let cache = ensure(needed <= available, "event_bytes", || {
        format!(
            "the last event of a cache channel may then need cache_bytes of {needed} in [server], where it is {available}"
        )
    });
    both(both(outbox, inbox), cache).map(drop)
}

/// Two apps with one id or one key: nobody could say which is meant.
fn unique(
    raw: &[raw::App],
    key: &str,
    name: impl Fn(&raw::App) -> Option<&Name>,
    tree: &Tree,
) -> Result<(), Wrong> {
    let mut seen = HashMap::new();
    let apps: Vec<_> = raw.iter().enumerate().collect();
    let unique = each("apps", &apps, |(index, app)| {
        let first = name(app).and_then(|Name(name)| seen.insert(name, *index));
        let Some(first) = first else {
            return Ok(());
        };
        let [first, this] = [first, *index].map(|index| {
            let at = format!("apps.{index}.{key}");
            tree.origin(&path(&at))
        });
        let first = first.map(|origin| origin.to_string()).unwrap_or_default();
        let name = name(app).map_or("", |Name(name)| name);
        let mut text = format!("\"{name}\" is taken by the app at {first}, each needs its own");
        if let Some(Origin::Variable(_)) = this {
            text += ": the environment adds an app, it does not replace one of the file";
        }
        Err(Wrong::key(key, text))
    });
    unique.map(drop)
}
