//! `GET /health`: how this node is doing, as JSON for people, scripts and tests.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::Admin;
use super::access::Operator;
use crate::app_store::Status;
use crate::clock;
use crate::node::{ClusterState, LiveNode, WorkerReport};

pub(super) async fn show(admin: Data<Admin>, _: Operator) -> HttpResponse {
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
        "node": admin.node.feed().node(),
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
        "history_events": totals.log_events,
        "history_bytes": totals.log_bytes,
        "inbox_bytes": admin.node.inbox_bytes(),
        "workers": workers.iter().map(worker).collect::<Vec<_>>(),
        "cluster": cluster,
        "spool_problem": admin.node.webhooks().spool_problem(),
        "app_store": admin.apps.status().map(app_store_json),
    }))
}

/// None of it where the node is alone.
fn cluster_json(cluster: &ClusterState) -> serde_json::Value {
    json!({
        "status": if cluster.is_up() { "up" } else { "down" },
        "problem": cluster.problem(),
        "nodes": cluster.nodes(),
        "round_trip_microseconds": microseconds(cluster.round_trip()),
        "waiting_bytes": cluster.waiting_bytes(),
        "live_nodes": cluster.live().iter().map(live_node).collect::<Vec<_>>(),
    })
}

/// None of it without `[app_store]`. Of many wrong rows the first are told.
fn app_store_json(store: Status) -> serde_json::Value {
    const TOLD: usize = 20;
    // Every moment of this clock has a text.
    let text = |time| clock::date(time).format(&Rfc3339).ok();
    let (since, problem) = store.away.unzip();
    let broken = store.broken.iter().take(TOLD);
    let broken = broken.map(|(id, problem)| json!({ "id": id, "problem": problem }));
    json!({
        "status": if problem.is_none() { "up" } else { "down" },
        "problem": problem,
        "down_since": since.map(text),
        "read_at": store.read_at.map(text),
        "rows": store.rows,
        "broken": store.broken.len(),
        "broken_rows": broken.collect::<Vec<_>>(),
    })
}

/// Its last sign of life is asked for every few seconds, so it may be as much later.
fn live_node(node: &LiveNode) -> serde_json::Value {
    json!({
        "name": node.name,
        "address": node.address,
        "is_this": node.is_this,
        "heard_seconds_ago": node.heard.elapsed().as_secs(),
        "strange_apps": node.strange_apps,
    })
}

fn microseconds(duration: Duration) -> usize {
    usize::try_from(duration.as_micros()).unwrap_or(usize::MAX)
}

fn worker(report: &WorkerReport) -> serde_json::Value {
    json!({
        "connections": report.connections.iter().sum::<usize>(),
        "channels": report.channels,
        "subscriptions": report.subscriptions,
        "outbox_bytes": report.outbox_bytes,
    })
}
