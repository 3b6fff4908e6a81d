//! `GET /metrics`: all numbers, with their names, helps and labels. `docs/metrics.md` lists them; a test compares.
//!
//! Counters come from `metrics`, gauges from whoever owns the number. A worker that does not answer is left out: what
//! waits for it is shown, and that is what matters then.

use std::time::Duration;

use actix_web::http::header::ACCEPT;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::access::Operator;
use super::exposition::{Exposition, Format, Kind};
use super::process::Process;
use super::{Admin, soketi};
use crate::app::App;
use crate::metrics::{AnyTally, AppCounters, BOUNDS, Counters, Tallies, Tally};
use crate::node::{ClusterState, InboxDepth, Totals, WorkerReport};
use crate::protocol::{ChannelKind, CloseCode};

/// How long a worker may take to say what it holds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Counters of apps that are not written as they are: their names stand for something else, or in another family.
const OF_APPS_ELSEWHERE: [&str; 2] = ["connections_ended", "publishes_accepted"];

pub(super) async fn show(admin: Data<Admin>, _: Operator, request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get(ACCEPT);
    let format = Format::accepted(accept.and_then(|accept| accept.to_str().ok()));
    HttpResponse::Ok()
        .content_type(format.content_type())
        .body(text(&admin, format).await)
}

async fn text(admin: &Admin, format: Format) -> String {
    // Before the workers are asked: they may be busy with it.
    let depths = admin.node.inbox_depths();
    let reports = admin.node.worker_reports_within(TIMEOUT).await;
    let process = Process::read();
    let mut page = Page(Exposition::new(format));
    page.server(admin);
    page.counters(admin);
    page.refusals(admin.node.metrics().by_reason());
    page.apps(admin);
    page.held(admin, &admin.node.totals(), &reports);
    page.workers(&depths, &reports);
    page.publish_to_socket(&reports);
    page.webhooks(admin);
    if let Some(cluster) = &admin.cluster {
        page.cluster(cluster);
    }
    process.write(&mut page.0, "", &[]);
    if let Some(port) = &admin.soketi_names_port {
        soketi::write(&mut page.0, admin, &process, port);
    }
    page.0.finish()
}

struct Page(Exposition);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let name = format!("tidewire_{name}");
        self.0.family(&name, Kind::Gauge, help).sample(&[], value);
    }

    fn count(&mut self, name: &str, help: &str, value: usize) {
        self.gauge(name, help, value as f64);
    }

    fn server(&mut self, admin: &Admin) {
        self.0
            .family(
                "tidewire_build_info",
                Kind::Gauge,
                "What is running; always 1",
            )
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let ready = admin.problem().is_none();
        self.count("ready", "Whether /ready says so", usize::from(ready));
        let config = admin.config.borrow();
        let loaded = config.loaded_at.unix_timestamp();
        self.gauge(
            "config_loaded_timestamp_seconds",
            "When the configuration that is in effect was read, in seconds since 1970",
            loaded as f64,
        );
        self.count(
            "config_broken",
            "Whether the newest configuration cannot be used, so that an older one is in effect",
            usize::from(config.error.is_some()),
        );
        self.count(
            "feed_watchers",
            "Consoles that watch the feed",
            admin.watchers.in_use(),
        );
    }

    fn counters(&mut self, admin: &Admin) {
        let metrics = admin.node.metrics();
        for field in Counters::FIELDS {
            let name = format!("tidewire_{}", field.name);
            self.0
                .family(&name, Kind::Counter, field.help)
                .sample(&[], (field.of)(metrics).get());
        }
    }

    /// Publishes are told with those that were accepted, by app; of lifecycles only the lines that were not logged.
    fn refusals(&mut self, tallies: &Tallies) {
        let families: [(&str, &str, &dyn AnyTally); 9] = [
            (
                "connections_not_begun",
                "Connections that ended before HTTP",
                &tallies.accepts,
            ),
            (
                "upgrades_refused",
                "Upgrades answered with an HTTP error instead of a WebSocket",
                &tallies.upgrades,
            ),
            (
                "connections_closed",
                "WebSocket connections that ended",
                &tallies.closed,
            ),
            (
                "subscriptions_refused",
                "Subscribe and unsubscribe commands refused",
                &tallies.subscriptions,
            ),
            ("signins_refused", "Sign-ins refused", &tallies.signins),
            (
                "client_events_refused",
                "Client events dropped",
                &tallies.client_events,
            ),
            (
                "messages_refused",
                "Messages of clients that are no command, or come too fast",
                &tallies.messages,
            ),
            ("http_refused", "HTTP requests refused", &tallies.requests),
            (
                "admin_refused",
                "Requests to the operators' port refused for a wrong token",
                &tallies.operators,
            ),
        ];
        for (name, help, tally) in families {
            let name = format!("tidewire_{name}");
            let mut family = self.0.family(&name, Kind::Counter, help);
            for (reason, count) in tally.counts() {
                family.sample(&[("reason", reason)], count);
            }
        }
        self.connections_refused(&tallies.connections);
        self.auth_failures(tallies);
        let suppressed = tallies.each().into_iter().map(AnyTally::suppressed);
        self.0
            .family(
                "tidewire_log_lines_suppressed",
                Kind::Counter,
                "Log lines that were not written because there were too many for one reason",
            )
            .sample(&[], suppressed.sum::<u64>());
    }

    fn auth_failures(&mut self, tallies: &Tallies) {
        let mut family = self.0.family(
            "tidewire_auth_failures",
            Kind::Counter,
            "Requests, subscriptions and sign-ins that could not prove who they are from",
        );
        let places: [(&str, &dyn AnyTally); 4] = [
            ("http", &tallies.requests),
            ("subscription", &tallies.subscriptions),
            ("signin", &tallies.signins),
            ("admin", &tallies.operators),
        ];
        for (place, tally) in places {
            for (reason, count) in tally.authentication_failures() {
                family.sample(&[("place", place), ("reason", reason)], count);
            }
        }
    }

    fn connections_refused(&mut self, tally: &Tally<CloseCode>) {
        let mut family = self.0.family(
            "tidewire_connections_refused",
            Kind::Counter,
            "WebSockets accepted only to be closed with a code of the protocol",
        );
        for code in CloseCode::ALL {
            let number = code.number().to_string();
            family.sample(
                &[("code", &number), ("reason", code.name())],
                tally.get(code),
            );
        }
    }

    fn apps(&mut self, admin: &Admin) {
        let connections = admin.node.connections();
        let mut family = self
            .0
            .family("tidewire_connections", Kind::Gauge, "Live connections");
        let apps = admin.apps();
        for app in &apps {
            let count = connections.get(&app.id).copied().unwrap_or_default();
            family.sample(&[("app", app.id.as_str())], count);
        }
        let fields = AppCounters::FIELDS.iter();
        for field in fields.filter(|field| !OF_APPS_ELSEWHERE.contains(&field.name)) {
            let name = format!("tidewire_{}", field.name);
            let mut family = self.0.family(&name, Kind::Counter, field.help);
            for app in &apps {
                family.sample(&[("app", app.id.as_str())], (field.of)(&app.metrics).get());
            }
        }
        let accepted = |app: &std::sync::Arc<App>| app.metrics.publishes_accepted.get();
        let accepted: u64 = apps.iter().map(accepted).sum();
        let mut family = self.0.family(
            "tidewire_publishes",
            Kind::Counter,
            "Requests to publish an event or a batch, by what came of them",
        );
        family.sample(&[("result", "accepted")], accepted);
        for (reason, count) in admin.node.metrics().by_reason().publishes.counts() {
            family.sample(&[("result", reason)], count);
        }
    }

    fn held(&mut self, admin: &Admin, totals: &Totals, reports: &[Option<WorkerReport>]) {
        let kinds = || ChannelKind::LISTED.iter().zip(totals.by_kind);
        let mut family = self
            .0
            .family("tidewire_channels", Kind::Gauge, "Occupied channels");
        for (kind, of_kind) in kinds() {
            family.sample(&[("kind", kind.name())], of_kind.channels);
        }
        let mut family = self.0.family(
            "tidewire_subscriptions",
            Kind::Gauge,
            "Subscriptions to these channels",
        );
        for (kind, of_kind) in kinds() {
            family.sample(&[("kind", kind.name())], of_kind.subscriptions);
        }
        self.count(
            "sockets",
            "Open WebSockets, those included that are being opened or closed",
            admin.gate.open(),
        );
        self.count("members", "Presence members", totals.members);
        self.count("users", "Users signed in or watched", totals.users);
        self.count(
            "last_events",
            "Last events kept for cache channels",
            totals.last_events,
        );
        self.count("last_event_bytes", "Their bytes", totals.last_event_bytes);
        self.count(
            "inbox_bytes",
            "Bytes of commands that wait for workers",
            admin.node.inbox_bytes(),
        );
        let outboxes = reports.iter().flatten().map(|report| report.outbox_bytes);
        self.count(
            "outbox_bytes",
            "Bytes that wait for sockets, and 128 for each frame",
            outboxes.sum(),
        );
    }

    fn workers(&mut self, depths: &[InboxDepth], reports: &[Option<WorkerReport>]) {
        let names: Vec<String> = (0..depths.len()).map(|index| index.to_string()).collect();
        let mut add = |name: &str, kind, help, values: Vec<Option<f64>>| {
            let name = format!("tidewire_worker_{name}");
            let mut family = self.0.family(&name, kind, help);
            for (worker, value) in names.iter().zip(values) {
                if let Some(value) = value {
                    family.sample(&[("worker", worker)], value);
                }
            }
        };
        let waiting =
            |of: fn(&InboxDepth) -> usize| depths.iter().map(|d| Some(of(d) as f64)).collect();
        let held =
            |of: fn(&WorkerReport) -> f64| reports.iter().map(|r| r.as_ref().map(of)).collect();
        add(
            "inbox_orders",
            Kind::Gauge,
            "Commands that wait for a worker",
            waiting(|d| d.commands),
        );
        add(
            "inbox_bytes",
            Kind::Gauge,
            "Bytes of these commands",
            waiting(|d| d.bytes),
        );
        add(
            "connections",
            Kind::Gauge,
            "Connections of a worker",
            held(|r| r.connections as f64),
        );
        add(
            "subscriptions",
            Kind::Gauge,
            "Subscriptions of a worker's connections, those of users and watchers included",
            held(|r| r.subscriptions as f64),
        );
        add(
            "outbox_bytes",
            Kind::Gauge,
            "Bytes that wait for a worker's sockets, and 128 for each frame",
            held(|r| r.outbox_bytes as f64),
        );
        add(
            "cpu_seconds",
            Kind::Counter,
            "CPU time of a worker's thread: its rate is the share of time in which it is busy",
            held(|r| r.cpu.as_secs_f64()),
        );
        add(
            "late_seconds",
            Kind::Counter,
            "By how much the ticks of a worker's clock, one a second, came late: its rate is the lag of its loop",
            held(|r| r.lag.as_secs_f64()),
        );
    }

    fn publish_to_socket(&mut self, reports: &[Option<WorkerReport>]) {
        let mut family = self.0.family(
            "tidewire_publish_to_socket_seconds",
            Kind::Histogram,
            "From an event's acceptance by this node, or its arrival from Redis, until a worker has handed it to the sockets of its subscribers; once for each event, channel and worker",
        );
        for (worker, report) in reports.iter().enumerate() {
            if let Some(report) = report {
                let observed = &report.publish_to_socket;
                let sum = observed.sum.as_secs_f64();
                family.buckets(
                    &[("worker", &worker.to_string())],
                    &BOUNDS,
                    &observed.buckets,
                    sum,
                );
            }
        }
    }

    fn webhooks(&mut self, admin: &Admin) {
        let webhooks = admin.node.webhooks();
        self.count(
            "webhook_queue",
            "Webhook events that wait for their endpoints",
            webhooks.queued(),
        );
        self.count(
            "webhook_aside",
            "Webhook requests that their endpoints refuse again and again, retried beside the others",
            webhooks.aside(),
        );
        self.gauge(
            "webhook_lag_seconds",
            "How long the oldest of them has been waiting",
            webhooks.lag().as_secs_f64(),
        );
    }

    fn cluster(&mut self, cluster: &ClusterState) {
        self.count(
            "cluster_up",
            "Whether all of Redis can be reached",
            usize::from(cluster.is_up()),
        );
        self.count(
            "cluster_nodes",
            "Live nodes of the cluster",
            cluster.nodes(),
        );
        let live = cluster.live();
        self.count(
            "cluster_strange_nodes",
            "Live nodes under the prefix that have an app of the same id with another key or secret",
            live.iter().filter(|node| !node.strange_apps.is_empty()).count(),
        );
        self.count(
            "cluster_waiting_bytes",
            "Bytes of events that wait for Redis",
            cluster.waiting_bytes(),
        );
        self.gauge(
            "cluster_round_trip_microseconds",
            "The longest of the last round trips to Redis",
            cluster.round_trip().as_micros() as f64,
        );
    }
}
