//! The second port, for operators: liveness, readiness, health, metrics, the configuration in effect, dead letters and
//! the apps.
//! Binds to loopback unless told otherwise.
//!
//! Numbers are read from the structures that own them, when somebody asks.

mod access;
mod apps;
mod console;
mod dead_letters;
mod exposition;
mod health;
mod metrics;
mod problem;
mod process;
mod sessions;
mod soketi;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix_web::http::header::{ACCEPT, ALLOW, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, Query, ServiceConfig};
use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, HttpResponseBuilder, Resource, Responder,
};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use crate::app::App;
use crate::app_store::AppStore;
use crate::auth::Secret;
use crate::clock;
use crate::http::Api;
use crate::limits::{AdmissionGate, ConcurrencyLimit, Failures};
use crate::node::{ClusterState, Node};
use crate::protocol::{ChannelName, excerpt};
use access::Operator;
use console::Series;
use sessions::Sessions;

/// What there is, for people who look.
const PATHS: &str = "\
GET  /live                    200 while the process answers
GET  /ready                   200 while this node takes connections, else 503 and why not
GET  /health                  how it is doing, as JSON
GET  /metrics                 for Prometheus
GET  /config                  the configuration in effect, as TOML, secrets masked;
                              ?channel=invoice.7: which rule holds for a channel, as JSON
GET  /dead-letters            webhook requests that were given up, as JSON
POST /dead-letters/redeliver  sends their events again; ?id=1: of one
GET  /apps                    the apps, as JSON; POST /apps, PATCH and DELETE /apps/ID change
                              those of [app_store]: see docs/apps-api.md
GET  /console/                what happens now, for a browser
";

/// The longest channel name that is looked up: no app can allow longer ones.
const CHANNEL_CHARS: usize = 1024;

/// How many may watch the console's feed at a time.
const WATCHERS: usize = 16;

/// The operators' port: what its handlers share.
#[derive(Clone)]
pub struct Admin {
    node: Arc<Node>,
    api: Api,
    apps: Arc<AppStore>,
    gate: Arc<AdmissionGate>,
    token: Option<Secret>,
    config: watch::Receiver<ConfigState>,
    cluster: Option<ClusterState>,
    started: Instant,
    series: Series,
    watchers: Arc<ConcurrencyLimit>,
    wrong_tokens: Arc<Failures>,
    /// The public port, if metrics have Soketi's names too: they have it as a label.
    soketi_names_port: Option<Arc<str>>,
}

/// The parts of the server that the port shows and changes.
pub struct Deps {
    /// The public API.
    pub api: Api,
    /// The apps of the file and of the database.
    pub apps: Arc<AppStore>,
    /// The gate that says whether the node accepts connections.
    pub gate: Arc<AdmissionGate>,
    /// The token of `[admin]`; none: the port is for this machine only.
    pub token: Option<Secret>,
    /// The state of the configuration.
    pub config: watch::Receiver<ConfigState>,
    /// The state of the cluster; none if the node is alone.
    pub cluster: Option<ClusterState>,
}

/// The configuration in effect, and what is wrong with a newer one.
#[derive(Debug, Clone)]
pub struct ConfigState {
    loaded_at: OffsetDateTime,
    /// The one that is in effect, as TOML with secrets masked.
    toml: Arc<str>,
    /// What is wrong with the newest one, which is not in effect; none if it is.
    pub error: Option<String>,
}

impl ConfigState {
    /// A configuration that is loaded at this moment; `toml` must show no secret.
    pub fn now(toml: &str) -> Self {
        Self {
            loaded_at: clock::date(SystemTime::now()),
            toml: toml.into(),
            error: None,
        }
    }

    fn json(&self) -> serde_json::Value {
        // Every moment of this clock has a text.
        let loaded_at = self.loaded_at.format(&Rfc3339).ok();
        json!({ "loaded_at": loaded_at, "error": self.error })
    }
}

impl Admin {
    /// With a token, every path but `/live` and `/ready` requires it.
    pub fn new(deps: Deps) -> Self {
        let Deps {
            api,
            apps,
            gate,
            token,
            config,
            cluster,
        } = deps;
        Self {
            node: Arc::clone(api.node()),
            api,
            apps,
            gate,
            token,
            config,
            cluster,
            started: Instant::now(),
            series: Series::default(),
            watchers: Arc::new(ConcurrencyLimit::new(Some(WATCHERS))),
            wrong_tokens: Arc::default(),
            soketi_names_port: None,
        }
    }

    /// Exposes metrics under Soketi's names too if `port` is given: the public port, which is one of their labels.
    #[must_use]
    pub fn with_soketi_names(self, port: Option<u16>) -> Self {
        Self {
            soketi_names_port: port.map(|port| port.to_string().into()),
            ..self
        }
    }

    /// Records the numbers for the console's charts. Runs as long as the server.
    pub async fn keep_series(self) {
        self.series.keep(&self.node).await;
    }

    /// Adds the routes, for the one worker that serves them.
    pub fn configure(self, config: &mut ServiceConfig) {
        let guarded = web::scope("")
            .wrap(from_fn(access::guard))
            .service(read_at("/", index))
            .service(read_at("/live", live))
            .service(read_at("/ready", ready))
            .service(read_at("/health", health::show))
            .service(read_at("/metrics", metrics::show))
            .service(read_at("/config", effective))
            .service(read_at("/dead-letters", dead_letters::list))
            .service(write_at("/dead-letters/redeliver", dead_letters::redeliver))
            .configure(apps::configure)
            .configure(console::configure)
            .default_service(web::to(unknown_path));
        config
            .app_data(Data::new(self))
            .app_data(Data::new(Sessions::default()))
            .service(guarded);
    }

    /// Why this node should get no connections.
    fn problem(&self) -> Option<String> {
        match &self.cluster {
            _ if self.gate.is_closed() => Some("shutting down".to_owned()),
            Some(cluster) => cluster.problem(),
            None => None,
        }
    }

    /// By their ids, so that answers do not change their order.
    fn apps(&self) -> Vec<Arc<App>> {
        let mut apps: Vec<_> = self.node.apps().iter().cloned().collect();
        apps.sort_by(|a, b| a.id.cmp(&b.id));
        apps
    }
}

/// A path that is read. HEAD is GET without the body, which is left out as it is sent.
fn read_at<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args, Output: Responder + 'static>,
    Args: FromRequest + 'static,
{
    let resource = web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler));
    with_allow(resource, "GET, HEAD, OPTIONS")
}

/// A path that something is sent to.
fn write_at<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args, Output: Responder + 'static>,
    Args: FromRequest + 'static,
{
    let resource = web::resource(path).route(web::post().to(handler));
    with_allow(resource, "POST, OPTIONS")
}

/// Tells which methods a path takes: those who ask, and those who tried another one.
fn with_allow(resource: Resource, allow: &'static str) -> Resource {
    resource.default_service(web::to(move |request: HttpRequest| async move {
        let mut response = match *request.method() {
            Method::OPTIONS => HttpResponse::NoContent().finish(),
            _ => {
                let text = format!("Method not allowed: this path takes {allow}");
                problem::refusal(request.path(), StatusCode::METHOD_NOT_ALLOWED, &text)
            }
        };
        let allow = HeaderValue::from_static(allow);
        response.headers_mut().insert(ALLOW, allow);
        response
    }))
}

fn plain(mut response: HttpResponseBuilder, text: String) -> HttpResponse {
    response
        .content_type("text/plain; charset=utf-8")
        .body(text)
}

/// For people with a browser the console, for those with a shell the paths.
async fn index(request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get(ACCEPT);
    let is_browser = accept.is_some_and(|accept| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.contains("text/html"))
    });
    if is_browser {
        return console::begin().await;
    }
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("tidewire {version}, for operators\n\n{PATHS}");
    plain(HttpResponse::Ok(), text)
}

async fn unknown_path(request: HttpRequest) -> HttpResponse {
    let (method, path) = (request.method().as_str(), request.path());
    let text = format!(
        "Nothing is here for {:?} on {:?}. There are:\n\n{PATHS}",
        excerpt(method),
        excerpt(path)
    );
    plain(HttpResponse::NotFound(), text)
}

async fn live() -> HttpResponse {
    plain(HttpResponse::Ok(), "live\n".to_owned())
}

async fn ready(admin: Data<Admin>) -> HttpResponse {
    match admin.problem() {
        Some(problem) => {
            let text = format!("not ready: {problem}\n");
            plain(HttpResponse::ServiceUnavailable(), text)
        }
        None => plain(HttpResponse::Ok(), "ready\n".to_owned()),
    }
}

/// What of the configuration is wanted: all of it, or what holds for a channel in each app.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigQuery {
    channel: Option<String>,
}

/// `GET /config`, as `tidewire check-config` prints it; `?channel=`: `[{"app":"…","channel":"…","rule":2,…}]`.
async fn effective(admin: Data<Admin>, _: Operator, wanted: Query<ConfigQuery>) -> HttpResponse {
    if let Some(name) = &wanted.channel {
        return match ChannelName::parse(name, CHANNEL_CHARS) {
            Ok(channel) => HttpResponse::Ok().json(admin.node.apps().policy_reports(&channel)),
            Err(reason) => {
                let text = format!("Invalid channel name {:?}: {reason}\n", excerpt(name));
                plain(HttpResponse::BadRequest(), text)
            }
        };
    }
    let toml = admin.config.borrow().toml.to_string();
    HttpResponse::Ok()
        .content_type("application/toml; charset=utf-8")
        .body(toml)
}
