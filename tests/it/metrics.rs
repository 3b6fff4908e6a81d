//! `/metrics`: its two formats, exact numbers for what was done, and that documentation and dashboard name what is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{
    APP, Config, Database, DatabaseKind, Exposition, Http, Nodes, OTHER_APP, PATIENCE, RedisServer,
    Server, TARGET, Ws, event_body, eventually,
};

const EVENTS: &str = "/apps/app-id/events";

/// What Prometheus 3 sends.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

fn exposition(server: &Server) -> Exposition {
    Exposition::read(&server.admin("/metrics").body)
}

/// Reads the metrics until they are so.
fn until(server: &Server, what: &str, is_so: impl Fn(&Exposition) -> bool) -> Exposition {
    eventually(PATIENCE, what, || Some(exposition(server)).filter(&is_so))
}

#[test]
fn both_formats_are_what_their_readers_take() {
    let server = Server::start(&Config::new());
    let _ws = Ws::subscribed(&server, "x");
    let get = |accept: &str| {
        let headers = [("Accept", accept)];
        Http::connect(server.admin).request("GET", "/metrics", &headers, "")
    };
    let plain = server.admin("/metrics");
    let content_type = plain.head.header("content-type");
    assert_eq!(
        content_type,
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    Exposition::read(&plain.body);
    assert_eq!(get("text/plain").head.header("content-type"), content_type);

    let open = get(PROMETHEUS);
    let content_type = open.head.header("content-type");
    assert_eq!(
        content_type,
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.body.ends_with("\n# EOF\n"), "{open:?}");
    // Counters are named without the ending of their samples there.
    assert!(
        open.body
            .contains("# TYPE tidewire_deliveries counter\ntidewire_deliveries_total ")
    );
    assert_eq!(
        open.body.lines().count(),
        plain.body.lines().count() + 1,
        "the same families and samples, and the end"
    );
}

#[test]
fn what_is_there_is_counted_where_it_is() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let mut ws = Ws::connect(&server);
    ws.subscribe("public", None);
    ws.subscribe("private-a", None);
    ws.subscribe("private-b", None);
    ws.subscribe("presence-a", Some(r#"{"user_id":7}"#));
    let second = Ws::subscribed(&server, "public");
    let now = exposition(&server);
    let is = |name: &str, labels: &[(&str, &str)], value: f64| {
        let name = format!("tidewire_{name}");
        assert_eq!(now.sum(&name, labels), value, "{name} {labels:?}");
    };
    is("connections", &[("app", APP.id)], 2.0);
    is("connections", &[("app", OTHER_APP.id)], 0.0);
    is("connections_opened_total", &[("app", APP.id)], 2.0);
    is("worker_connections", &[], 2.0);
    is("sockets", &[], 2.0);
    for (kind, channels, subscriptions) in [
        ("public", 1.0, 2.0),
        ("private", 2.0, 2.0),
        ("encrypted", 0.0, 0.0),
        ("presence", 1.0, 1.0),
    ] {
        is("channels", &[("kind", kind)], channels);
        is("subscriptions", &[("kind", kind)], subscriptions);
    }
    is("worker_subscriptions", &[], 5.0);
    is("members", &[], 1.0);
    is("ready", &[], 1.0);
    is("config_broken", &[], 0.0);
    is("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);

    second.close();
    drop(ws);
    let now = until(&server, "both have gone", |now| {
        now.sum("tidewire_connections_closed_total", &[]) == 2.0
    });
    assert_eq!(
        now.sum("tidewire_connections_closed_total", &[("reason", "client")]),
        1.0
    );
    assert_eq!(
        now.sum("tidewire_connections_closed_total", &[("reason", "gone")]),
        1.0
    );
    assert_eq!(now.sum("tidewire_connections", &[]), 0.0);
}

#[test]
fn messages_and_bytes_are_exact() {
    const SUBSCRIBERS: u64 = 300;
    const EVENTS: u64 = 5;
    let server = Server::start(&Config::new());
    // More than one slice of a worker's walk.
    let mut all: Vec<Ws> = (0..SUBSCRIBERS)
        .map(|_| Ws::subscribed(&server, "x"))
        .collect();
    let before = exposition(&server);
    let event = |number: u64| format!(r#"{{"event":"e","channel":"x","data":"{number}"}}"#);
    for number in 0..EVENTS {
        server.trigger("x", "e", &number.to_string());
        for ws in &mut all {
            assert_eq!(ws.text(), event(number));
        }
    }
    let sent = SUBSCRIBERS * EVENTS;
    // Two bytes of a frame's header.
    let bytes = sent * (event(0).len() as u64 + 2);
    let app = &[("app", APP.id)];
    // What was written last may be counted a moment later.
    let rise = |now: &Exposition, name: &str, labels: &[(&str, &str)]| {
        let name = format!("tidewire_{name}");
        (now.sum(&name, labels) - before.sum(&name, labels)) as u64
    };
    let now = until(&server, "all deliveries are counted", |now| {
        rise(now, "deliveries_total", &[]) == sent
    });
    assert_eq!(rise(&now, "messages_sent_total", app), sent);
    assert_eq!(rise(&now, "bytes_sent_total", app), bytes);
    assert_eq!(rise(&now, "events_published_total", app), EVENTS);
    assert_eq!(
        rise(&now, "publishes_total", &[("result", "accepted")]),
        EVENTS
    );
    assert_eq!(rise(&now, "messages_received_total", app), 0);

    let ping = r#"{"event":"pusher:ping","data":{}}"#;
    all[0].send(ping);
    all[0].text();
    let now = exposition(&server);
    assert_eq!(rise(&now, "messages_received_total", app), 1);
    // A client's header has a mask of four bytes.
    assert_eq!(
        rise(&now, "bytes_received_total", app),
        ping.len() as u64 + 6
    );
    assert_eq!(rise(&now, "messages_sent_total", app), sent + 1);
    assert_eq!(rise(&now, "deliveries_total", &[]), sent);
}

#[test]
fn the_time_to_the_sockets_is_measured_once_for_each_event_and_worker() {
    const EVENTS: u64 = 20;
    let server = Server::start(
        &Config::new()
            .server("workers", "1")
            .app("client_events", "true"),
    );
    let mut all: Vec<Ws> = (0..200)
        .map(|_| Ws::subscribed(&server, "private-x"))
        .collect();
    for number in 0..EVENTS {
        server.trigger("private-x", "e", &number.to_string());
    }
    for ws in &mut all {
        (0..EVENTS).for_each(|_| drop(ws.text()));
    }
    all[0].send(r#"{"event":"client-e","channel":"private-x","data":{}}"#);
    all[1].text();
    // What the server says of its own accord is not measured, and nobody gets this one.
    all[0].subscribe("presence-x", Some(r#"{"user_id":7}"#));
    server.trigger("nobody", "e", "1");
    let now = until(&server, "all are measured", |now| {
        now.sum(
            "tidewire_publish_to_socket_seconds_count",
            &[("worker", "0")],
        ) >= 21.0
    });
    let name = "tidewire_publish_to_socket_seconds";
    let count = now.sum(&format!("{name}_count"), &[]);
    assert_eq!(count, (EVENTS + 1) as f64);
    assert_eq!(now.sum(&format!("{name}_bucket"), &[("le", "+Inf")]), count);
    let sum = now.sum(&format!("{name}_sum"), &[]);
    assert!(sum > 0.0 && sum < count * PATIENCE.as_secs_f64(), "{sum}");
}

/// Each of these reasons once, and no other.
fn assert_once(now: &Exposition, name: &str, label: &str, reasons: &[&str]) {
    let name = format!("tidewire_{name}_total");
    for reason in reasons {
        let count = now.sum(&name, &[(label, reason)]);
        assert_eq!(count, 1.0, "{name} {reason}");
    }
    let all = now.sum(&name, &[]);
    assert_eq!(all, reasons.len() as f64, "nothing else in {name}");
}

#[test]
fn refused_commands_and_connections_are_counted_by_their_reasons() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    for (channel, auth) in [
        ("private-x", ""),
        ("private-x", "app-key"),
        ("private-x", "other:00"),
        ("private-x", "app-key:00"),
        ("a b", ""),
    ] {
        let data = serde_json::json!({"channel": channel, "auth": auth});
        ws.send(&serde_json::json!({"event": "pusher:subscribe", "data": data}).to_string());
        // The error, and what says it to pusher-js and to .NET.
        (0..3).for_each(|_| drop(ws.text()));
    }
    ws.send(r#"{"event":"pusher:signin","data":{"auth":"app-key:00","user_data":"{}"}}"#);
    ws.send(r#"{"event":"client-e","channel":"private-x","data":{}}"#);
    ws.send("nonsense");
    (0..3).for_each(|_| drop(ws.text()));
    Ws::open(&server, "/app/unknown?protocol=7", &[]).closed();
    Ws::open(&server, "/app/app-key", &[]).closed();
    let without_key = [("Upgrade", "websocket"), ("Connection", "Upgrade")];
    let refused = Http::connect(server.public).request("GET", TARGET, &without_key, "");
    assert_eq!(refused.status(), 426);

    let now = exposition(&server);
    let subscriptions = [
        "auth_missing",
        "auth_format",
        "auth_key",
        "signature",
        "channel_name",
    ];
    assert_once(&now, "subscriptions_refused", "reason", &subscriptions);
    assert_once(&now, "signins_refused", "reason", &["signature"]);
    assert_once(&now, "client_events_refused", "reason", &["disabled"]);
    assert_once(&now, "messages_refused", "reason", &["malformed"]);
    assert_once(&now, "upgrades_refused", "reason", &["handshake"]);
    let connections = ["unknown_app", "no_protocol"];
    assert_once(&now, "connections_refused", "reason", &connections);
    assert_once(&now, "connections_refused", "code", &["4001", "4008"]);
    let count = |name, labels: &[(&str, &str)]| now.sum(name, labels);
    assert_eq!(count("tidewire_commands_refused_total", &[]), 8.0);
    for (place, failures) in [("http", 0.0), ("subscription", 4.0), ("signin", 1.0)] {
        let counted = count("tidewire_auth_failures_total", &[("place", place)]);
        assert_eq!(counted, failures, "{place}");
    }
    assert_eq!(count("tidewire_log_lines_suppressed_total", &[]), 0.0);
}

#[test]
fn requests_are_counted_by_what_came_of_them() {
    let config = Config::new()
        .limit("event_bytes", "10")
        .limit("events_per_second", "1");
    let server = Server::start(&config);
    let send = |method: &str, target: &str, body: &str| {
        let answer = Http::connect(server.public).request(method, target, &[], body);
        assert!(answer.status() >= 400, "{answer:?}");
    };
    let signed = APP.target("POST", EVENTS, "{}");
    let forged = signed.replace("auth_signature=", "auth_signature=0");
    send("POST", EVENTS, "{}");
    send("POST", &forged, "{}");
    send("POST", &signed, "[]");
    send("GET", &APP.target("GET", "/apps/none/channels", ""), "");
    send("GET", "/nothing", "");
    send("GET", EVENTS, "");
    send("GET", TARGET, "");
    send("POST", &signed, "{}");
    let too_large = event_body("x", "e", "more than ten bytes");
    assert_eq!(server.post(EVENTS, &too_large).status(), 413);
    let mut accepted = 0.0;
    while server.post(EVENTS, &event_body("x", "e", "1")).status() == 200 {
        accepted += 1.0;
    }

    let now = exposition(&server);
    let publishes = [
        "auth_key_missing",
        "signature",
        "body_md5",
        "bad_request",
        "data_too_large",
        "too_fast",
    ];
    let others = ["unknown_app", "unknown_path", "method", "not_upgraded"];
    let all = [&publishes[..], &others].concat();
    assert_once(&now, "http_refused", "reason", &all);
    let count = |name, labels: &[(&str, &str)]| now.sum(name, labels);
    let of_publishes = |result| count("tidewire_publishes_total", &[("result", result)]);
    for result in publishes {
        assert_eq!(of_publishes(result), 1.0, "{result}");
    }
    assert_eq!(of_publishes("accepted"), accepted);
    let sum = count("tidewire_publishes_total", &[]);
    assert_eq!(sum, accepted + publishes.len() as f64);
    let failures = count("tidewire_auth_failures_total", &[("place", "http")]);
    assert_eq!(failures, 4.0);
}

#[test]
fn an_app_s_numbers_outlive_a_reload_and_go_with_the_app() {
    let config = Config::new();
    let server = Server::start(&config.clone().other_app(OTHER_APP));
    let mut ws = Ws::subscribed(&server, "x");
    server.trigger("x", "e", "1");
    ws.text();
    let messages =
        |now: &Exposition| now.sum("tidewire_messages_received_total", &[("app", APP.id)]);
    let before = messages(&exposition(&server));
    server.rewrite(&config.limit("event_bytes", "77").toml());
    eventually(PATIENCE, "the reload", || {
        (server.counter("reloads") == 1).then_some(())
    });
    let now = exposition(&server);
    assert_eq!(messages(&now), before);
    assert_eq!(now.sum("tidewire_events_published_total", &[]), 1.0);
    ws.silent();
    assert_eq!(messages(&exposition(&server)), before + 1.0);
    let labels = now.families().flat_map(|(_, family)| &family.samples);
    let is_gone = labels
        .into_iter()
        .all(|(_, labels, _)| labels.get("app").is_none_or(|app| app != OTHER_APP.id));
    assert!(is_gone, "the other app is not configured any more");
}

#[test]
fn the_process_is_what_the_system_says() {
    let server = Server::start(&Config::new());
    let held: Vec<Ws> = (0..20).map(|_| Ws::connect(&server)).collect();
    let now = exposition(&server);
    let of = |name: &str| now.sum(&format!("process_{name}"), &[]);
    let resident_kib = of("resident_memory_bytes") / 1024.0;
    let system = server.resident_kib() as f64;
    assert!(
        (system * 0.5..system * 2.0).contains(&resident_kib),
        "{resident_kib} {system}"
    );
    let files = server.descriptors() as f64;
    // The asking is a connection too.
    assert!(
        (files - 3.0..=files + 3.0).contains(&of("open_fds")),
        "{files}"
    );
    assert!(of("open_fds") >= held.len() as f64 && of("max_fds") > of("open_fds"));
    let age = crate::harness::now() as f64 - of("start_time_seconds");
    assert!((-2.0..600.0).contains(&age), "started {age} s ago");
    assert!(of("threads") >= 3.0);
    let workers = now.sum("tidewire_worker_cpu_seconds_total", &[]);
    // The system counts the process's time in ticks of a hundredth of a second.
    assert!(
        workers > 0.0 && workers <= of("cpu_seconds_total") + 0.1,
        "{workers}"
    );
    until(&server, "asking costs time", |now| {
        now.sum("process_cpu_seconds_total", &[]) > of("cpu_seconds_total")
    });
    drop(held);
}

#[test]
fn tasks_are_counted_until_they_end() {
    const MANY: u64 = 20;
    let server = Server::start(&Config::new());
    let connections: Vec<Ws> = (0..MANY).map(|_| Ws::connect(&server)).collect();
    let with_them = server.metric("tasks");
    assert!(with_them > MANY, "{with_them}");
    drop(connections);
    eventually(PATIENCE, "their tasks end", || {
        (server.metric("tasks") <= with_them - MANY).then_some(())
    });
}

#[test]
fn dashboards_made_for_soketi_go_on() {
    let server = Server::start(&Config::new().admin("soketi_metric_names", "true"));
    let mut ws = Ws::subscribed(&server, "x");
    server.trigger("x", "e", "1");
    ws.text();
    let now = until(&server, "the event is counted", |now| {
        now.sum("soketi_ws_messages_sent_total", &[]) == 3.0
    });
    let port = server.public.port().to_string();
    let labels = [("app_id", APP.id), ("port", port.as_str())];
    for (name, value) in [
        ("soketi_connected", 1.0),
        ("soketi_new_connections_total", 1.0),
        ("soketi_new_disconnections_total", 0.0),
        ("soketi_ws_messages_received_total", 1.0),
        // The greeting, the subscription and the event.
        ("soketi_ws_messages_sent_total", 3.0),
        ("soketi_http_calls_received_total", 1.0),
        (
            "soketi_http_received_bytes",
            event_body("x", "e", "1").len() as f64,
        ),
        ("soketi_http_transmitted_bytes", 2.0),
    ] {
        assert_eq!(now.sum(name, &labels), value, "{name}");
    }
    for (ours, theirs) in [
        (
            "tidewire_bytes_received_total",
            "soketi_socket_received_bytes",
        ),
        (
            "tidewire_bytes_sent_total",
            "soketi_socket_transmitted_bytes",
        ),
    ] {
        assert_eq!(now.sum(ours, &[]), now.sum(theirs, &labels));
        assert!(now.sum(ours, &[]) > 0.0);
    }
    now.sum("soketi_process_cpu_seconds_total", &[("port", &port)]);
    drop(ws);
    until(&server, "the end is counted", |now| {
        now.sum("soketi_new_disconnections_total", &labels) == 1.0
    });
    // Nobody else gets them.
    let plain = Server::start(&Config::new());
    assert!(!plain.admin("/metrics").body.contains("soketi"));
}

/// A node that has all there is: in a cluster, with a database of apps and Soketi's names.
fn everything() -> (Database, RedisServer, Nodes) {
    let (database, redis) = (Database::new(DatabaseKind::Sqlite), RedisServer::start());
    let store = format!("[app_store]\nurl = {:?}\n", database.url);
    let config = Config::new().admin("soketi_metric_names", "true");
    let nodes = Nodes::over(&redis, 1, &config.more(&store));
    (database, redis, nodes)
}

#[test]
fn the_documentation_lists_what_is_there_and_nothing_else() {
    let (_database, _redis, nodes) = everything();
    let now = exposition(&nodes[0]);
    let served: BTreeMap<String, (String, BTreeSet<String>)> = now
        .families()
        .map(|(name, family)| {
            let labels = family.labels().into_iter().map(str::to_owned).collect();
            (name.to_owned(), (family.kind.clone(), labels))
        })
        .collect();
    let text = include_str!("../../docs/metrics.md");
    let mut documented = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        // Rows of what is not provided have a reason instead.
        let [name, kind, labels, meaning] = cells[..] else {
            continue;
        };
        assert!(!meaning.is_empty(), "{line}");
        let code = |text: &str| text.trim_matches('`').to_owned();
        let labels = labels.split(',').map(str::trim).filter(|l| !l.is_empty());
        let row = (kind.to_owned(), labels.map(code).collect());
        assert!(
            documented.insert(code(name), row).is_none(),
            "twice: {line}"
        );
    }
    assert!(documented.len() > 80, "the tables were read");
    assert_eq!(documented, served);
}

#[test]
fn the_documentation_lists_the_reasons() {
    let server = Server::start(&Config::new());
    let text = include_str!("../../docs/metrics.md");
    for (name, family) in exposition(&server).families() {
        for (_, labels, _) in &family.samples {
            for label in ["reason", "result", "kind", "place"] {
                if let Some(value) = labels.get(label) {
                    assert!(
                        text.contains(&format!("`{value}`")),
                        "{name}: {value} is not in docs/metrics.md"
                    );
                }
            }
        }
    }
}

#[test]
fn the_dashboard_asks_for_what_is_there() {
    let (_database, _redis, nodes) = everything();
    let now = exposition(&nodes[0]);
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../docker/grafana/tidewire.json")).unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, "expr", &mut queries);
    collect(&dashboard, "query", &mut queries);
    let known = now.series();
    let mut named = BTreeSet::new();
    for query in &queries {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = query.split(|c: char| !is_name(c));
        named.extend(words.filter(|word| {
            ["tidewire_", "process_"]
                .iter()
                .any(|p| word.starts_with(p))
        }));
    }
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !known.contains(**name))
        .collect();
    assert!(missing.is_empty(), "{missing:?} are not at /metrics");

    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len(), "every panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{panel}"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
    }
}

fn collect<'a>(value: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(map) => {
            found.extend(map.get(key).and_then(|text| text.as_str()));
            map.values().for_each(|value| collect(value, key, found));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect(value, key, found)),
        _ => {}
    }
}
