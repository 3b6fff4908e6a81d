//! The names under which Soketi exposes its metrics, with their labels, for dashboards that know those. What its
//! horizontal adapter and its JavaScript runtime count has no counterpart here: `docs/metrics.md` says why.

use super::Admin;
use super::exposition::{Exposition, Kind};
use super::process::Process;
use crate::metrics::AppCounters;

/// A counter of Soketi's and the one of ours that it stands for.
type Row = (&'static str, Kind, &'static str, fn(&AppCounters) -> u64);

#[rustfmt::skip]
const COUNTERS: [Row; 9] = [
    ("new_connections", Kind::Counter, "WebSocket connections that were established", |app| app.connections_opened.get()),
    ("new_disconnections", Kind::Counter, "WebSocket connections that ended", |app| app.connections_ended.get()),
    ("socket_received_bytes", Kind::OddCounter, "Bytes that were read from WebSocket connections", |app| app.bytes_received.get()),
    ("socket_transmitted_bytes", Kind::OddCounter, "Bytes of frames that were handed to sockets or their outboxes", |app| app.bytes_sent.get()),
    ("ws_messages_received", Kind::Counter, "Messages that clients sent", |app| app.messages_received.get()),
    ("ws_messages_sent", Kind::Counter, "Frames that were handed to sockets or their outboxes", |app| app.messages_sent.get()),
    ("http_received_bytes", Kind::OddCounter, "Bytes of the bodies of HTTP API requests", |app| app.api_request_bytes.get()),
    ("http_transmitted_bytes", Kind::OddCounter, "Bytes of the bodies of the answers to them", |app| app.api_response_bytes.get()),
    ("http_calls_received", Kind::Counter, "HTTP API requests", |app| app.api_requests.get()),
];

/// Adds them; `port` is the public listener's, which Soketi has as a label.
pub(super) fn write(out: &mut Exposition, admin: &Admin, process: &Process, port: &str) {
    let apps = admin.apps();
    let connections = admin.node.connections();
    let mut family = out.family("soketi_connected", Kind::Gauge, "Live connections");
    for app in &apps {
        let count = connections.get(&app.id).copied().unwrap_or_default();
        family.sample(&[("app_id", app.id.as_str()), ("port", port)], count);
    }
    for (name, kind, help, value) in COUNTERS {
        let mut family = out.family(&format!("soketi_{name}"), kind, help);
        for app in &apps {
            let labels = [("app_id", app.id.as_str()), ("port", port)];
            family.sample(&labels, value(&app.metrics));
        }
    }
    let labels = [("port", port)];
    process.write(out, "soketi_", &labels);
    if let Some((user, system)) = process.cpu_seconds() {
        for (mode, seconds) in [("user", user), ("system", system)] {
            let name = format!("soketi_process_cpu_{mode}_seconds");
            let help = format!("CPU time spent in {mode} mode");
            out.family(&name, Kind::Counter, &help)
                .sample(&labels, seconds);
        }
    }
}
