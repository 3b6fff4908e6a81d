//! `[[apps]]` → `App`s: what must be given is there, no two are alike, and the limits fit what the server holds.

use std::collections::HashMap;
use std::sync::Once;
use std::time::Duration;

use super::check::{Check, Reported};
use super::error::{Origin, Problem};
use super::jwt;
use super::listener::Server;
use super::raw;
use super::rules;
use super::sources;
use super::values::Name;
use super::webhooks;
use crate::app::{App, AppId, AppKey, Apps, Limits, OriginPattern, Resume};
use crate::auth::{Secret, Secrets};

/// The shipped configuration's secret, which everybody knows.
const DEVELOPMENT_SECRET: &str = "app-secret";

/// Makes the snapshot, or says what is in the way. `server` is what the apps must fit.
pub(super) fn build(raw: &raw::Raw, server: &Server, check: &mut Check<'_, '_>) -> Apps {
    let (has_store, raw) = (raw.app_store.url.is_some(), &raw.apps[..]);
    let mut apps = Vec::new();
    for (index, app) in raw.iter().enumerate() {
        let at = format!("apps.{index}");
        apps.extend(built(app, &at, server, check).ok());
    }
    unique(raw, "id", |app| app.id.as_ref(), check);
    unique(raw, "key", |app| app.key.as_ref(), check);
    if raw.is_empty() && !has_store {
        let text = "no apps: add [[apps]] with id, key and secret to the file, or set TIDEWIRE_APP_ID, \
                    TIDEWIRE_APP_KEY and TIDEWIRE_APP_SECRET, or keep apps in a database, with [app_store]";
        check.problems.push(Problem::at(None, &[], text));
    }
    Apps::new(apps)
}

/// The ids of the apps that use the shipped secret.
pub(super) fn with_development_secret(apps: &Apps) -> Vec<&str> {
    let known = apps
        .iter()
        .filter(|app| app.secrets.include(DEVELOPMENT_SECRET));
    known.map(|app| app.id.as_str()).collect()
}

/// The app that stands `at` a path.
pub(super) fn built(
    raw: &raw::App,
    at: &str,
    server: &Server,
    check: &mut Check<'_, '_>,
) -> Result<App, Reported> {
    let (secrets, api_tokens) = credentials(raw, at, check)?;
    let mut missing = |what: &str| {
        let text = format!("an app needs {what}: id, key and secret must be given");
        check.report_section(at, text)
    };
    let id = raw.id.as_ref().ok_or_else(|| missing("an id"))?;
    let key = raw.key.as_ref().ok_or_else(|| missing("a key"))?;
    let secrets = Secrets::new(secrets).ok_or_else(|| missing("a secret"))?;
    fits(&raw.limits, server, at, check);
    let tokens = match &raw.jwt {
        Some(jwt) => Some(jwt::built(jwt, &format!("{at}.jwt"), &secrets, check)?),
        None => None,
    };
    Ok(App {
        id: AppId::new(&id.0),
        key: AppKey::new(&key.0),
        secrets,
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
        rules: rules::built(raw, at, check)?,
        tokens,
        webhooks: webhooks::built(&raw.webhooks, at, check)?,
        sources: sources::built(&raw.sources, at, check)?,
        limits: raw.limits.clone(),
        limits_scope: raw.limits_scope,
        metrics: Default::default(),
        dotted_id_logged: Once::new(),
    })
}

/// The app's secrets, of which the first signs, and its API tokens.
fn credentials(
    raw: &raw::App,
    at: &str,
    check: &mut Check<'_, '_>,
) -> Result<(Vec<Secret>, Vec<Secret>), Reported> {
    let secrets = &mut check.secrets;
    let mut given = Vec::new();
    given.extend(
        raw.secret
            .iter()
            .map(|text| ("secret", secrets.resolve(text))),
    );
    let files = raw.secret_file.iter();
    given.extend(files.map(|path| ("secret_file", secrets.read(&path.0))));
    given.extend(
        raw.secrets
            .iter()
            .map(|text| ("secrets", secrets.resolve(text))),
    );
    given.extend(
        raw.api_tokens
            .iter()
            .map(|text| ("api_tokens", secrets.resolve(text))),
    );
    let (mut secrets, mut api_tokens, mut outcome) = (Vec::new(), Vec::new(), Ok(()));
    for (key, secret) in given {
        match check.or_report(&format!("{at}.{key}"), secret) {
            Ok(token) if key == "api_tokens" => api_tokens.push(token),
            Ok(secret) => secrets.push(secret),
            Err(reported) => outcome = Err(reported),
        }
    }
    outcome.map(|()| (secrets, api_tokens))
}

/// A connection or a worker that cannot hold one message would lose every connection that gets it; a cache channel
/// would forget an event that its budget cannot hold.
fn fits(limits: &Limits, server: &Server, at: &str, check: &mut Check<'_, '_>) {
    let key = if limits.event_bytes >= limits.presence_member_bytes {
        "event_bytes"
    } else {
        "presence_member_bytes"
    };
    let needed = limits.message_bytes();
    for (name, available) in [
        ("outbox_bytes", server.outbox_bytes),
        ("inbox_bytes", server.inbox_bytes),
    ] {
        if needed > available {
            let text = format!(
                "messages of this size need {name} of at least {needed} in [server], where it is {available}"
            );
            check.report(&format!("{at}.limits.{key}"), text);
        }
    }
    let (needed, available) = (limits.last_event_bytes(), server.cache_bytes);
    if needed > available {
        let text = format!(
            "the last event of a cache channel may then need cache_bytes of {needed} in [server], where it is \
             {available}"
        );
        check.report(&format!("{at}.limits.event_bytes"), text);
    }
}

/// Two apps with one id or one key: nobody could say which is meant.
fn unique(
    raw: &[raw::App],
    key: &str,
    name: impl Fn(&raw::App) -> Option<&Name>,
    check: &mut Check<'_, '_>,
) {
    let mut seen = HashMap::new();
    for (index, app) in raw.iter().enumerate() {
        let Some(Name(name)) = name(app) else {
            continue;
        };
        let Some(first) = seen.insert(name, index) else {
            continue;
        };
        let [first, at] = [first, index].map(|index| format!("apps.{index}.{key}"));
        let first = check.origin(&first).map(|origin| origin.to_string());
        let mut text = format!(
            "\"{name}\" is taken by the app at {}, each needs its own",
            first.unwrap_or_default()
        );
        if let Some(Origin::Variable(_)) = check.origin(&at) {
            text += ": the environment adds an app, it does not replace one of the file";
        }
        check.report(&at, text);
    }
}
