//! `[[apps]]` → `App`s: what must be given is there, no two are alike, and the limits fit what the server holds.

use std::collections::HashMap;
use std::time::Duration;

use super::elsewhere::Elsewhere;
use super::error::{Origin, Problem, Step};
use super::listener::Server;
use super::raw;
use super::tree::Tree;
use super::webhooks;
use crate::app::{App, AppId, AppKey, Apps, Limits, OriginPattern};
use crate::auth::{Secret, Secrets};

/// The shipped configuration's secret, which everybody knows.
const DEVELOPMENT_SECRET: &str = "app-secret";

/// Makes the snapshot, or says what is in the way. `tree` knows where everything stands; `server` is what the apps
/// must fit.
pub(super) fn build(
    raw: &raw::Raw,
    tree: &Tree,
    server: &Server,
    elsewhere: &mut Elsewhere<'_>,
    problems: &mut Vec<Problem>,
) -> Apps {
    let mut apps = Vec::new();
    for (index, app) in raw.apps.iter().enumerate() {
        let place = Place { tree, index };
        let found = match credentials(app, &place, elsewhere) {
            Ok(found) => found,
            Err(told) => {
                problems.extend(told);
                continue;
            }
        };
        match built(app, found) {
            Ok(built) => {
                fits(&built.limits, server, &place, problems);
                match webhooks::built(&app.webhooks) {
                    Ok(webhooks) => apps.push(App { webhooks, ..built }),
                    Err((at, key, text)) => problems.push(place.webhook_problem(at, key, text)),
                }
            }
            Err(missing) => problems.push(place.problem(
                &[],
                format!("an app needs {missing}: id, key and secret must be given"),
            )),
        }
    }
    unique(
        raw,
        tree,
        "id",
        |app| app.id.as_ref().map(|id| id.0.as_str()),
        problems,
    );
    unique(
        raw,
        tree,
        "key",
        |app| app.key.as_ref().map(|key| key.0.as_str()),
        problems,
    );
    if raw.apps.is_empty() {
        let text = "no apps: add [[apps]] with id, key and secret to the file, or set TIDEWIRE_APP_ID, \
                    TIDEWIRE_APP_KEY and TIDEWIRE_APP_SECRET";
        problems.push(Problem::at(None, &[], text));
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

/// Where an app stands in the tree.
struct Place<'a> {
    tree: &'a Tree,
    index: usize,
}

impl Place<'_> {
    fn path(&self, keys: &[&str]) -> Vec<Step> {
        let app = [Step::Key("apps".to_owned()), Step::Index(self.index)];
        let keys = keys.iter().map(|key| Step::Key((*key).to_owned()));
        app.into_iter().chain(keys).collect()
    }

    fn webhook_problem(&self, at: usize, key: &str, text: String) -> Problem {
        let mut path = self.path(&["webhooks"]);
        path.extend([Step::Index(at), Step::Key(key.to_owned())]);
        // A key that is missing stands nowhere; then the app's own place is nearest.
        let origin = self
            .tree
            .origin(&path)
            .or_else(|| self.tree.origin(&path[..2]));
        Problem::at(origin, &path, text)
    }

    fn problem(&self, keys: &[&str], text: String) -> Problem {
        let path = self.path(keys);
        // A default stands nowhere; then the app's own place is nearest.
        let origin = self
            .tree
            .origin(&path)
            .or_else(|| self.tree.origin(&path[..2]));
        let path = if keys.is_empty() { &[] } else { &path[..] };
        Problem::at(origin, path, text)
    }
}

/// What an app proves and is proved itself by.
struct Credentials {
    /// In the order in which they are documented: the first one signs.
    secrets: Vec<Secret>,
    api_tokens: Vec<Secret>,
}

/// Fetches them from wherever they stand, or says of each why it cannot be had.
fn credentials(
    raw: &raw::App,
    place: &Place<'_>,
    elsewhere: &mut Elsewhere<'_>,
) -> Result<Credentials, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut found = Credentials {
        secrets: Vec::new(),
        api_tokens: Vec::new(),
    };
    if let Some(secret) = &raw.secret {
        match elsewhere.resolve(secret) {
            Ok(secret) => found.secrets.push(secret),
            Err(text) => problems.push(place.problem(&["secret"], text)),
        }
    }
    if let Some(path) = &raw.secret_file {
        match elsewhere.read(&path.0) {
            Ok(secret) => found.secrets.push(secret),
            Err(text) => problems.push(place.problem(&["secret_file"], text)),
        }
    }
    for (key, list, into) in [
        ("secrets", &raw.secrets, &mut found.secrets),
        ("api_tokens", &raw.api_tokens, &mut found.api_tokens),
    ] {
        for given in list {
            match elsewhere.resolve(given) {
                Ok(secret) => into.push(secret),
                Err(text) => problems.push(place.problem(&[key], text)),
            }
        }
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

/// The app, or the key that it lacks.
fn built(raw: &raw::App, found: Credentials) -> Result<App, &'static str> {
    Ok(App {
        id: AppId::new(&raw.id.as_ref().ok_or("an id")?.0),
        key: AppKey::new(&raw.key.as_ref().ok_or("a key")?.0),
        secrets: Secrets::new(found.secrets).ok_or("a secret")?,
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
        api_tokens: found.api_tokens,
        webhooks: Vec::new(),
        limits: raw.limits.clone(),
        metrics: Default::default(),
    })
}

/// A connection or a worker that cannot hold one message would lose every connection that gets it; a cache channel
/// would forget an event that its budget cannot hold.
fn fits(limits: &Limits, server: &Server, place: &Place<'_>, problems: &mut Vec<Problem>) {
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
            problems.push(place.problem(&["limits", key], text));
        }
    }
    let (needed, available) = (limits.last_event_bytes(), server.cache_bytes);
    if needed > available {
        let text = format!(
            "the last event of a cache channel may then need cache_bytes of {needed} in [server], where it is \
             {available}"
        );
        problems.push(place.problem(&["limits", "event_bytes"], text));
    }
}

/// Two apps with one id or one key: nobody could say which is meant.
fn unique<'a>(
    raw: &'a raw::Raw,
    tree: &Tree,
    key: &str,
    name: impl Fn(&'a raw::App) -> Option<&'a str>,
    problems: &mut Vec<Problem>,
) {
    let mut seen = HashMap::new();
    for (index, app) in raw.apps.iter().enumerate() {
        let place = Place { tree, index };
        let Some(name) = name(app) else {
            continue;
        };
        let Some(first) = seen.insert(name, index) else {
            continue;
        };
        let first = tree.origin(&Place { tree, index: first }.path(&[key]));
        let first = first.map(ToString::to_string).unwrap_or_default();
        let mut text = format!("\"{name}\" is taken by the app at {first}, each needs its own");
        if let Some(Origin::Variable(_)) = tree.origin(&place.path(&[key])) {
            text += ": the environment adds an app, it does not replace one of the file";
        }
        problems.push(place.problem(&[key], text));
    }
}
