//! The second port, for operators: liveness, readiness, health, metrics and dead letters. Binds to loopback unless told otherwise.
//!
//! Gauges are read from the structures that own the numbers, when somebody asks.

mod letters;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header::AUTHORIZATION;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use crate::auth::{Secret, bearer_token};
use crate::limits::Gate;
use crate::node::{ClusterState, Node, Report};

/// What the handlers share.
#[derive(Clone)]
pub struct Admin {
    node: Arc<Node>,
    gate: Arc<Gate>,
    token: Option<Secret>,
    config: watch::Receiver<ConfigState>,
    cluster: Option<ClusterState>,
    started: Instant,
}

/// How the configuration stands.
#[derive(Debug, Clone)]
pub struct ConfigState {
    loaded_at: OffsetDateTime,
    /// What is wrong with the newest one, which is not in effect; none if it is.
    pub error: Option<String>,
}

impl ConfigState {
    /// Loaded at this moment.
    #[must_use]
    pub fn now() -> Self {
        Self {
            loaded_at: OffsetDateTime::now_utc(),
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
    /// With a token, everything but `/live` and `/ready` asks for it.
    #[must_use]
    pub fn new(
        node: Arc<Node>,
        gate: Arc<Gate>,
        token: Option<Secret>,
        config: watch::Receiver<ConfigState>,
        cluster: Option<ClusterState>,
    ) -> Self {
        Self {
            node,
            gate,
            token,
            config,
            cluster,
            started: Instant::now(),
        }
    }

    /// Adds the routes.
    pub fn configure(self, config: &mut ServiceConfig) {
        config
            .app_data(Data::new(self))
            .route("/live", web::get().to(live))
            .route("/ready", web::get().to(ready))
            .route("/health", web::get().to(health))
            .route("/metrics", web::get().to(metrics))
            .route("/dead-letters", web::get().to(letters::list))
            .route(
                "/dead-letters/redeliver",
                web::post().to(letters::redeliver),
            );
    }

    fn admits(&self, request: &HttpRequest) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let given = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        given
            .and_then(bearer_token)
            .is_some_and(|given| token.equals(given))
    }
}

fn refused() -> HttpResponse {
    HttpResponse::Unauthorized()
        .insert_header(("WWW-Authenticate", "Bearer"))
        .content_type("text/plain")
        .body(
            "This path needs the header `Authorization: Bearer TOKEN` with the token of [admin]\n",
        )
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("live\n")
}

async fn ready(admin: Data<Admin>) -> HttpResponse {
    let problem = match &admin.cluster {
        _ if admin.gate.is_closed() => Some("shutting down".to_owned()),
        Some(cluster) => cluster.problem(),
        None => None,
    };
    if let Some(problem) = problem {
        return HttpResponse::ServiceUnavailable()
            .content_type("text/plain")
            .body(format!("not ready: {problem}\n"));
    }
    HttpResponse::Ok()
        .content_type("text/plain")
        .body("ready\n")
}

async fn health(admin: Data<Admin>, request: HttpRequest) -> HttpResponse {
    if !admin.admits(&request) {
        return refused();
    }
    let totals = admin.node.totals();
    let workers = admin.node.worker_reports().await;
    let status = if admin.gate.is_closed() {
        "draining"
    } else {
        "ok"
    };
    let cluster = admin.cluster.as_ref().map(cluster_json);
    HttpResponse::Ok().json(json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": admin.started.elapsed().as_secs(),
        "config": admin.config.borrow().json(),
        "sockets": admin.gate.open(),
        "connections": totals.connections,
        "channels": totals.channels,
        "subscriptions": totals.subscriptions,
        "members": totals.members,
        "users": totals.users,
        "last_events": totals.last_events,
        "last_event_bytes": totals.last_event_bytes,
        "inbox_bytes": admin.node.inbox_bytes(),
        "workers": workers.iter().map(worker).collect::<Vec<_>>(),
        "cluster": cluster,
    }))
}

/// None of it where the node is alone.
fn cluster_json(cluster: &ClusterState) -> serde_json::Value {
    json!({
        "status": if cluster.is_up() { "up" } else { "down" },
        "problem": cluster.problem(),
        "nodes": cluster.nodes(),
        "round_trip_microseconds": microseconds(cluster.round_trip()),
    })
}

fn microseconds(duration: Duration) -> usize {
    usize::try_from(duration.as_micros()).unwrap_or(usize::MAX)
}

fn worker(report: &Report) -> serde_json::Value {
    json!({
        "connections": report.connections,
        "channels": report.channels,
        "subscriptions": report.subscriptions,
        "outbox_bytes": report.outbox_bytes,
    })
}

async fn metrics(admin: Data<Admin>, request: HttpRequest) -> HttpResponse {
    if !admin.admits(&request) {
        return refused();
    }
    let mut registry = Registry::default();
    admin.node.metrics().register(&mut registry);
    registry.register_collector(Box::new(Gauges(gauges(&admin).await)));
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(text)
}

async fn gauges(admin: &Admin) -> Vec<(&'static str, &'static str, usize)> {
    let webhooks = admin.node.webhooks();
    let totals = admin.node.totals();
    let workers = admin.node.worker_reports().await;
    let mut gauges = vec![
        ("connections", "Live connections", totals.connections),
        ("channels", "Occupied channels", totals.channels),
        ("subscriptions", "Subscriptions", totals.subscriptions),
        ("members", "Presence members", totals.members),
        ("users", "Users signed in or watched", totals.users),
        (
            "last_events",
            "Last events kept for cache channels",
            totals.last_events,
        ),
        ("last_event_bytes", "Their bytes", totals.last_event_bytes),
        (
            "inbox_bytes",
            "Bytes of orders that wait for workers",
            admin.node.inbox_bytes(),
        ),
        (
            "webhook_queue",
            "Webhook events that wait for their endpoints",
            webhooks.queued(),
        ),
        (
            "webhook_lag_seconds",
            "How long the oldest of them has been waiting",
            usize::try_from(webhooks.lag().as_secs()).unwrap_or(usize::MAX),
        ),
        (
            "outbox_bytes",
            "Bytes that wait for sockets",
            workers.iter().map(|w| w.outbox_bytes).sum(),
        ),
    ];
    gauges.extend(admin.cluster.iter().flat_map(cluster_gauges));
    gauges
}

fn cluster_gauges(cluster: &ClusterState) -> [(&'static str, &'static str, usize); 4] {
    [
        (
            "cluster_up",
            "Whether all of Redis can be reached",
            usize::from(cluster.is_up()),
        ),
        (
            "cluster_nodes",
            "Live nodes of the cluster",
            cluster.nodes(),
        ),
        (
            "cluster_waiting_bytes",
            "Bytes of events that wait for Redis",
            cluster.waiting_bytes(),
        ),
        (
            "cluster_round_trip_microseconds",
            "The longest of the last round trips to Redis",
            microseconds(cluster.round_trip()),
        ),
    ]
}

#[derive(Debug)]
struct Gauges(Vec<(&'static str, &'static str, usize)>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, value) in &self.0 {
            let gauge = ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX));
            let name = format!("tidewire_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
