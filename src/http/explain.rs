//! Which part of a request's signature is wrong: the checks of `signed`, one by one, none of them ending the others.
//!
//! For operators who paste a request that was refused. Says what should have been signed, never with what, and never
//! the signature that would have been right.

use actix_http::Method;
use serde::Serialize;

use super::Api;
use super::error::ApiError;
use super::query_string::{Decoding, Pairs, get, other_readings, pairs, signed_path};
use super::route::Route;
use super::signed::{check_md5, check_timestamp};
use crate::app::{App, Apps};
use crate::auth::{self, Secret};
use crate::protocol::excerpt;

/// A request whose signature is to be checked step by step.
pub struct ExplainRequest<'a> {
    /// The id of the app that it should be for; none: the app that the request names.
    pub app: Option<&'a str>,
    /// The method, such as `POST`.
    pub method: &'a str,
    /// A whole URL, or a path with its query.
    pub url: &'a str,
    /// The body, byte for byte.
    pub body: &'a str,
}

/// The result of each check, and the text that has to be signed.
pub struct Explanation {
    /// The checks, in the order in which the server makes them.
    pub steps: Vec<Step>,
    /// The text that has to be signed.
    pub string_to_sign: String,
}

/// The result of one check.
#[derive(Serialize)]
pub struct Step {
    /// The name of the check: `path`, `app`, or a parameter of the query.
    pub name: &'static str,
    /// Whether the request passes it.
    pub ok: bool,
    /// The value in the request.
    pub given: Option<String>,
    /// The value that is expected, unless it is secret.
    pub expected: Option<String>,
    /// What is wrong and what to do, or what the value means.
    pub help: String,
}

impl Explanation {
    /// Whether the request passes every check.
    pub fn is_ok(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }
}

impl Api {
    /// Makes all checks that the API makes, and does not stop at the first one that fails.
    pub fn explain(&self, asked: &ExplainRequest<'_>) -> Explanation {
        let apps = self.node.apps();
        let (path, query_text) = target(asked.url);
        let method = asked.method.trim().to_ascii_uppercase();
        let signed = signed_path(&path, &self.path_prefix);
        let query = pairs(query_text, Decoding::Percent);
        let string_to_sign = auth::request_string(&method, signed, &query);
        let request = Request {
            method,
            id: app_id(signed),
            path: &path,
            signed,
            prefix: &self.path_prefix,
            query_text,
            string_to_sign: &string_to_sign,
            query,
        };
        let (of_path, app) = request.apps(&apps, asked.app);
        let mut steps = vec![request.path(), of_path, request.key(&apps, app)];
        steps.push(request.version());
        steps.push(request.timestamp());
        steps.push(request.md5(asked.body));
        steps.push(request.signature(&apps, app));
        Explanation {
            steps,
            string_to_sign,
        }
    }
}

/// A request taken apart.
struct Request<'a> {
    method: String,
    /// The app that the path names.
    id: Option<String>,
    query_text: &'a str,
    string_to_sign: &'a str,
    path: &'a str,
    /// The path without the prefix.
    signed: &'a str,
    prefix: &'a str,
    query: Pairs<'a>,
}

impl Request<'_> {
    fn given(&self, name: &str) -> Option<String> {
        get(&self.query, name).map(|value| excerpt(value).to_owned())
    }

    fn step(&self, name: &'static str, ok: bool, help: &str) -> Step {
        Step {
            name,
            ok,
            given: self.given(name),
            expected: None,
            help: help.to_owned(),
        }
    }

    /// The same from the outcome of one of the API's checks.
    fn checked(&self, name: &'static str, outcome: Result<(), ApiError>, fine: &str) -> Step {
        let help = outcome.as_ref().err().map(ToString::to_string);
        self.step(name, outcome.is_ok(), help.as_deref().unwrap_or(fine))
    }

    fn path(&self) -> Step {
        let path = self.signed;
        let known = known_path(&self.method, path);
        Step {
            given: Some(format!("{} {}", self.method, excerpt(path))),
            expected: (!known).then(|| "POST /apps/{app_id}/events".to_owned()),
            ..self.step(
                "path",
                known,
                if known {
                    "The API has this path. It is signed as it is here, without scheme, host and query."
                } else {
                    "The API has no such path with this method: there are POST …/events, …/batch_events and \
                     …/users/{id}/terminate_connections, GET …/channels, …/channels/{name} and …/channels/{name}/users."
                },
            )
        }
    }

    /// Whether the app of the path is the one that it should be, and which one the rest is checked against.
    fn apps<'a>(&self, apps: &'a Apps, wanted: Option<&str>) -> (Step, Option<&'a App>) {
        let by_key = get(&self.query, "auth_key").and_then(|key| apps.by_key(key));
        let of_path = self.id.as_deref().and_then(|id| apps.by_id(id));
        let app = wanted.and_then(|id| apps.by_id(id)).or(of_path).or(by_key);
        let id = self.id.as_deref();
        let help = match (app, of_path) {
            _ if id.is_none() && by_key.is_some() => {
                "The path names no app: it is the one of auth_key."
            }
            (_, None) => "No app on this server has the id of the path.",
            (Some(app), Some(of_path)) if app.id != of_path.id => {
                "The path names another app than the one that is selected here."
            }
            (_, Some(app)) if !app.enabled => {
                "The app is disabled (enabled = false): the API answers 403."
            }
            _ => "The app is on this server.",
        };
        let same = app.is_some_and(|app| id.is_none_or(|id| app.id.as_str() == id));
        let step = Step {
            name: "app",
            ok: same && app.is_some_and(|app| app.enabled),
            given: id.map(|id| excerpt(id).to_owned()),
            expected: app.map(|app| app.id.to_string()),
            help: help.to_owned(),
        };
        (step, app.map(|app| &**app))
    }

    fn key(&self, apps: &Apps, app: Option<&App>) -> Step {
        let given = get(&self.query, "auth_key");
        let of = given.and_then(|key| apps.by_key(key));
        let ok = app.zip(of).is_some_and(|(app, of)| app.id == of.id);
        let help = match (given, of) {
            _ if ok => "It is the app's key.".to_owned(),
            (None, _) => "auth_key is missing from the query.".to_owned(),
            (Some(_), Some(of)) => format!("It is the key of the app {}.", of.id),
            (Some(given), None) => match app {
                Some(app) if app.id.as_str() == given => {
                    "That is the app's id: auth_key is its key.".to_owned()
                }
                Some(app) if app.secrets.include(given) => {
                    "That is the app's secret, which must never be sent: auth_key is its key. Replace the secret."
                        .to_owned()
                }
                _ => "No app on this server has this key.".to_owned(),
            },
        };
        let is_secret = app.is_some_and(|app| given.is_some_and(|key| app.secrets.include(key)));
        Step {
            expected: app.map(|app| app.key.to_string()),
            given: given
                .filter(|_| !is_secret)
                .map(|key| excerpt(key).to_owned()),
            ..self.step("auth_key", ok, &help)
        }
    }

    fn version(&self) -> Step {
        let given = get(&self.query, "auth_version");
        Step {
            expected: Some("1.0".to_owned()),
            ..self.step(
                "auth_version",
                given == Some("1.0"),
                "auth_version must be there and 1.0.",
            )
        }
    }

    fn timestamp(&self) -> Step {
        let outcome = check_timestamp(get(&self.query, "auth_timestamp"));
        let now = crate::clock::now_seconds();
        Step {
            expected: Some(now.to_string()),
            ..self.checked(
                "auth_timestamp",
                outcome,
                "It is close enough to this machine's clock.",
            )
        }
    }

    fn md5(&self, body: &str) -> Step {
        let outcome = check_md5(&self.query, body.as_bytes());
        let has_none = body.is_empty() && get(&self.query, "body_md5").is_none();
        let mut step = self.checked(
            "body_md5",
            outcome,
            if has_none {
                "There is no body, so there need be no body_md5."
            } else {
                "It is the MD5 of the body."
            },
        );
        step.expected = (!has_none).then(|| auth::body_md5(body.as_bytes()));
        if !step.ok {
            let given = get(&self.query, "body_md5").unwrap_or_default();
            if let Some(why) = md5_of_what(given, body) {
                step.help = format!("{} {why}", step.help);
            }
        }
        step
    }

    fn signature(&self, apps: &Apps, app: Option<&App>) -> Step {
        let name = "auth_signature";
        let Some(given) = get(&self.query, name).filter(|given| !given.is_empty()) else {
            return self.step(name, false, "auth_signature is missing from the query.");
        };
        let Some(app) = app else {
            return self.step(
                name,
                false,
                "Without an app there is no secret to check it with.",
            );
        };
        let verifies = |text: &str| app.secrets.verifies(text.as_bytes(), given);
        if verifies(self.string_to_sign) {
            return self.step(
                name,
                true,
                "It is the HMAC SHA256 of the text below with the app's secret, in hex.",
            );
        }
        let mut others = other_readings(&self.method, self.path, self.prefix, self.query_text);
        if others.any(|text| verifies(&text)) {
            return self.step(
                name,
                true,
                "It is right for a text that is escaped in another way than the one below; the server takes that too.",
            );
        }
        self.step(name, false, &self.guess(apps, app, given))
    }

    /// What was signed instead, if it is one of the usual mistakes.
    fn guess(&self, apps: &Apps, app: &App, given: &str) -> String {
        let text = self.string_to_sign.as_bytes();
        if given.len() != 64 || !given.bytes().all(|b| b.is_ascii_hexdigit()) {
            return "A signature is 64 hex digits: the HMAC SHA256 in hex, not in base64 and not cut.".to_owned();
        }
        let verifies = |text: &str| app.secrets.verifies(text.as_bytes(), given);
        if Secret::new(app.key.as_str()).verifies(text, given) {
            return "It is signed with the app's key: it must be signed with its secret."
                .to_owned();
        }
        let others = apps.iter().filter(|other| other.id != app.id);
        for other in others {
            if other.secrets.verifies(text, given) {
                return format!("It is signed with the secret of the app {}.", other.id);
            }
        }
        for method in ["GET", "POST", "PUT", "DELETE"] {
            if verifies(&auth::request_string(method, self.signed, &self.query)) {
                return format!(
                    "It is signed for the method {method}, and the request is {}.",
                    self.method
                );
            }
        }
        for left_out in ["body_md5", "auth_version", "auth_timestamp", "auth_key"] {
            let rest: Vec<_> = self
                .query
                .iter()
                .filter(|(key, _)| key != left_out)
                .cloned()
                .collect();
            if verifies(&auth::request_string(&self.method, self.signed, &rest)) {
                return format!(
                    "{left_out} was not signed: every parameter of the query but auth_signature is."
                );
            }
        }
        "It is not of the text below with any secret of the app. Compare the text with what your code signs, line by \
         line: method, path, parameters sorted by name and not escaped. If they are the same, the secret is another one."
            .to_owned()
    }
}

/// The path and query of a URL, or of what comes behind its host.
fn target(url: &str) -> (String, &str) {
    let url = url.trim();
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let behind = match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find(['/', '?']).map_or("", |at| &rest[at..])
        }
        _ => url,
    };
    let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
    let slash = if path.starts_with('/') { "" } else { "/" };
    (format!("{slash}{path}"), query)
}

/// The app that a path names.
fn app_id(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/apps/")?;
    let id = rest.split('/').next().unwrap_or(rest);
    Some(
        percent_encoding::percent_decode_str(id)
            .decode_utf8_lossy()
            .into_owned(),
    )
}

fn known_path(method: &str, path: &str) -> bool {
    let endpoint = Route::of(path, "").map(|route| route.endpoint);
    let method = Method::from_bytes(method.as_bytes());
    endpoint
        .zip(method.ok())
        .is_some_and(|(endpoint, method)| endpoint.is_api() && endpoint.takes(&method))
}

/// Of what else an MD5 is.
fn md5_of_what(given: &str, body: &str) -> Option<&'static str> {
    let is = |text: &str| given.eq_ignore_ascii_case(&auth::body_md5(text.as_bytes()));
    let spaced =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).map(|v| v.to_string());
    if is("") {
        Some("It is the MD5 of an empty body.")
    } else if is(body.trim_end()) || is(&format!("{body}\n")) {
        Some("It is the MD5 of the body with another end: a line break more or less.")
    } else if spaced(body).is_ok_and(|compact| is(&compact)) {
        Some(
            "It is the MD5 of the same JSON without spaces: the bytes that are sent must be the ones that are hashed.",
        )
    } else {
        None
    }
}
