//! `GET /metrics`: all numbers, with their names, helps and labels. `docs/metrics.md` lists them; a test compares.
//!
//! Counters come from `metrics`, gauges from whoever owns the number. A worker that does not answer is left out: what
//! waits for it is shown, and that is what matters then.

use std::time::Duration;

use actix_web::http::header::ACCEPT;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::access::Operator;
use super::exposition::{Exposition, Family, Format, Kind};
use super::process::Process;
use super::{Admin, soketi};
use crate::app_store::Status;
use crate::clock;
use crate::metrics::{AnyTally, AppCounters, BOUNDS, Counters, Tallies};
use crate::node::{ClusterState, InboxDepth, Totals, WorkerReport};
use crate::protocol::{ChannelKind, CloseCode, Transport};
use crate::supervise;

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
    page.sources(admin);
    if let Some(cluster) = &admin.cluster {
        page.cluster(cluster);
        page.shares(admin);
    }
    if let Some(store) = admin.apps.status() {
        page.app_store(&store);
    }
    process.write(&mut page.0, "", &[]);
    if let Some(port) = &admin.soketi_names_port {
        soketi::write(&mut page.0, admin, &process, port);
    }
    page.0.finish()
}

struct Page(Exposition);

/// Writes gauges without labels: name, help and value.
macro_rules! gauges {
    ($page:ident; $($name:literal $help:literal = $value:expr,)+) => {
        $($page.family($name, Kind::Gauge, $help).sample(&[], $value);)+
    };
}

impl Page {
    fn family(&mut self, name: &str, kind: Kind, help: &str) -> Family<'_> {
        self.0.family(&format!("tidewire_{name}"), kind, help)
    }

    fn server(&mut self, admin: &Admin) {
        let mut build = self.family("build_info", Kind::Gauge, "What is running; always 1");
        build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let config = admin.config.borrow();
        gauges! { self;
            "ready" "Whether /ready says so" = usize::from(admin.problem().is_none()),
            "config_loaded_timestamp_seconds" "When the configuration that is in effect was read, in seconds since 1970" = config.loaded_at.unix_timestamp(),
            "config_broken" "Whether the newest configuration cannot be used, so that an older one is in effect" = usize::from(config.error.is_some()),
            "tasks" "Tasks: of each connection, request and worker, and of what goes on in the background" = supervise::tasks(),
            "feed_watchers" "Consoles that watch the feed" = admin.watchers.in_use(),
        }
    }

    fn counters(&mut self, admin: &Admin) {
        let metrics = admin.node.metrics();
        for field in Counters::FIELDS {
            self.family(field.name, Kind::Counter, field.help)
                .sample(&[], (field.of)(metrics).get());
        }
    }

    /// Publishes are told with those that were accepted, by app; of lifecycles only the lines that were not logged.
    fn refusals(&mut self, tallies: &Tallies) {
        let mut suppressed = 0;
        for (name, help, tally) in tallies.each() {
            suppressed += tally.suppressed();
            let Some(name) = name else { continue };
            let mut family = self.family(name, Kind::Counter, help);
            for (reason, count) in tally.counts() {
                family.sample(&[("reason", reason)], count);
            }
        }
        let help = "Connections accepted only to be closed with a code of the protocol";
        let mut family = self.family("connections_refused", Kind::Counter, help);
        for code in CloseCode::ALL {
            let number = code.number().to_string();
            let labels = [("code", &*number), ("reason", code.name())];
            family.sample(&labels, tallies.connections.get(code));
        }
        let help = "Requests, subscriptions and sign-ins that could not prove who they are from";
        let mut family = self.family("auth_failures", Kind::Counter, help);
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
        let help = "Log lines that were not written because there were too many for one reason";
        self.family("log_lines_suppressed", Kind::Counter, help)
            .sample(&[], suppressed);
    }

    fn apps(&mut self, admin: &Admin) {
        let connections = admin.node.connections();
        let mut family = self.family("connections", Kind::Gauge, "Live connections");
        let apps = admin.apps();
        for app in &apps {
            let count = connections.get(&app.id).copied().unwrap_or_default();
            family.sample(&[("app", app.id.as_str())], count);
        }
        let help = "Connections that were established, by what carries them";
        let mut family = self.family("transport_connections_opened", Kind::Counter, help);
        for (transport, count) in admin.node.metrics().by_reason().opened.counts() {
            family.sample(&[("transport", transport)], count);
        }
        let fields = AppCounters::FIELDS.iter();
        for field in fields.filter(|field| !OF_APPS_ELSEWHERE.contains(&field.name)) {
            let mut family = self.family(field.name, Kind::Counter, field.help);
            for app in &apps {
                family.sample(&[("app", app.id.as_str())], (field.of)(&app.metrics).get());
            }
        }
        let accepted = apps.iter().map(|app| app.metrics.publishes_accepted.get());
        let help = "Requests to publish an event or a batch, by what came of them";
        let mut family = self.family("publishes", Kind::Counter, help);
        family.sample(&[("result", "accepted")], accepted.sum::<u64>());
        for (reason, count) in admin.node.metrics().by_reason().publishes.counts() {
            family.sample(&[("result", reason)], count);
        }
    }

    fn held(&mut self, admin: &Admin, totals: &Totals, reports: &[Option<WorkerReport>]) {
        let mut family = self.family("channels", Kind::Gauge, "Occupied channels");
        for (kind, held) in ChannelKind::LISTED.iter().zip(totals.by_kind) {
            family.sample(&[("kind", kind.name())], held.channels);
        }
        let help = "Subscriptions to these channels";
        let mut family = self.family("subscriptions", Kind::Gauge, help);
        for (kind, held) in ChannelKind::LISTED.iter().zip(totals.by_kind) {
            family.sample(&[("kind", kind.name())], held.subscriptions);
        }
        let outboxes = reports.iter().flatten().map(|report| report.outbox_bytes);
        gauges! { self;
            "sockets" "Open connections of clients, those included that are being opened or closed" = admin.gate.open(),
            "members" "Presence members" = totals.members,
            "users" "Users signed in or watched" = totals.users,
            "last_events" "Last events kept for cache channels" = totals.last_events,
            "last_event_bytes" "Their bytes" = totals.last_event_bytes,
            "history_events" "Events in the logs of channels that can be read back" = totals.log_events,
            "history_bytes" "Their bytes" = totals.log_bytes,
            "idempotency_keys" "Idempotency keys that this node remembers; with Redis they are there" = totals.idempotency_keys,
            "idempotency_key_bytes" "Their bytes" = totals.idempotency_key_bytes,
            "inbox_bytes" "Bytes of commands that wait for workers" = admin.node.inbox_bytes(),
            "outbox_bytes" "Bytes that wait for sockets, and 128 for each frame" = outboxes.sum::<usize>(),
        }
    }

    /// What waits for each worker, and what each has reported.
    fn workers(&mut self, depths: &[InboxDepth], reports: &[Option<WorkerReport>]) {
        for (name, kind, help, of) in INBOXES {
            let mut family = self.family(name, kind, help);
            for (worker, depth) in depths.iter().enumerate() {
                family.sample(&[("worker", &worker.to_string())], of(depth));
            }
        }
        let help = "Live connections, by what carries them";
        let mut family = self.family("transport_connections", Kind::Gauge, help);
        for transport in Transport::ALL {
            let held = reports.iter().flatten();
            let held = held.map(|report| report.connections[transport as usize]);
            family.sample(&[("transport", transport.name())], held.sum::<usize>());
        }
        for (name, kind, help, of) in WORKERS {
            let mut family = self.family(name, kind, help);
            for (worker, report) in reports.iter().enumerate() {
                if let Some(report) = report {
                    family.sample(&[("worker", &worker.to_string())], of(report));
                }
            }
        }
    }

    fn publish_to_socket(&mut self, reports: &[Option<WorkerReport>]) {
        let help = "From an event's acceptance by this node, or its arrival from Redis, until a worker has handed it to \
                    the sockets of its subscribers; once for each event, channel and worker";
        let mut family = self.family("publish_to_socket_seconds", Kind::Histogram, help);
        for (worker, report) in reports.iter().enumerate() {
            if let Some(report) = report {
                let labels = [("worker", &*worker.to_string())];
                let observed = &report.publish_to_socket;
                let sum = observed.sum.as_secs_f64();
                family.buckets(&labels, &BOUNDS, &observed.buckets, sum);
            }
        }
    }

    fn webhooks(&mut self, admin: &Admin) {
        let webhooks = admin.node.webhooks();
        gauges! { self;
            "webhook_queue" "Webhook events that wait for their endpoints" = webhooks.queued(),
            "webhook_aside" "Webhook requests that their endpoints refuse again and again, retried beside the others" = webhooks.aside(),
            "webhook_lag_seconds" "How long the oldest of them has been waiting" = webhooks.lag().as_secs_f64(),
        }
    }

    fn sources(&mut self, admin: &Admin) {
        gauges! { self;
            "source_queue" "Stored deliveries that wait to be published" = admin.api.sources().waiting(),
        }
    }

    fn cluster(&mut self, cluster: &ClusterState) {
        let live = cluster.live();
        let strange = live.iter().filter(|node| !node.strange_apps.is_empty());
        gauges! { self;
            "cluster_up" "Whether all of Redis can be reached" = usize::from(cluster.is_up()),
            "cluster_nodes" "Live nodes of the cluster" = cluster.nodes(),
            "cluster_strange_nodes" "Live nodes under the prefix that have an app of the same id with another key or secret" = strange.count(),
            "cluster_waiting_bytes" "Bytes of events that wait for Redis" = cluster.waiting_bytes(),
            "cluster_round_trip_microseconds" "The longest of the last round trips to Redis" = cluster.round_trip().as_micros(),
        }
    }

    fn shares(&mut self, admin: &Admin) {
        let help = "This node's share of a limit that all nodes have together";
        let mut family = self.family("cluster_limit_share", Kind::Gauge, help);
        for (app, limit, share) in admin.node.shares() {
            family.sample(&[("app", app.as_str()), ("limit", limit.key())], share);
        }
    }

    fn app_store(&mut self, store: &Status) {
        let read_at = store.read_at.map(clock::since_epoch).unwrap_or_default();
        gauges! { self;
            "app_store_up" "Whether the database of apps answered when it was asked last" = usize::from(store.away.is_none()),
            "app_store_read_timestamp_seconds" "When its table was looked at last, in seconds since 1970; 0: never" = read_at.as_secs(),
            "app_store_rows" "Rows of the table" = store.rows,
            "app_store_broken_rows" "Rows that are wrong, whose apps are disabled, and rows whose id or key is another app's" = store.broken.len(),
        }
    }
}

/// A metric's name, its help, and how it is read.
type Row<T, N> = (&'static str, Kind, &'static str, fn(&T) -> N);

/// What waits for a worker, one metric a line.
#[rustfmt::skip]
const INBOXES: [Row<InboxDepth, usize>; 2] = [
    ("worker_inbox_orders", Kind::Gauge, "Commands that wait for a worker", |depth| depth.commands),
    ("worker_inbox_bytes", Kind::Gauge, "Bytes of these commands", |depth| depth.bytes),
];

/// What a worker reports, one metric a line.
#[rustfmt::skip]
const WORKERS: [Row<WorkerReport, f64>; 5] = [
    ("worker_connections", Kind::Gauge, "Connections of a worker", |report| report.connections.iter().sum::<usize>() as f64),
    ("worker_subscriptions", Kind::Gauge, "Subscriptions of a worker's connections, those of users and watchers included", |report| report.subscriptions as f64),
    ("worker_outbox_bytes", Kind::Gauge, "Bytes that wait for a worker's sockets, and 128 for each frame", |report| report.outbox_bytes as f64),
    ("worker_cpu_seconds", Kind::Counter, "CPU time of a worker's thread: its rate is the share of time in which it is busy", |report| report.cpu.as_secs_f64()),
    ("worker_late_seconds", Kind::Counter, "By how much the ticks of a worker's clock, one a second, came late: its rate is the lag of its loop", |report| report.lag.as_secs_f64()),
];
