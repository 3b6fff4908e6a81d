//! The log: why something was refused, a bounded number of times; nothing secret; and nothing that a peer could forge.

use crate::harness::{
    APP, Config, Exposition, Http, OTHER_APP, PATIENCE, Server, TARGET, Ws, event_body, eventually,
};

const EVENTS: &str = "/apps/app-id/events";

/// How many lines there may be for one reason within ten seconds.
const LINES: usize = 10;

/// Lines that contain all of these.
fn lines(log: &str, parts: &[&str]) -> usize {
    log.lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .count()
}

const SUBSCRIPTIONS: usize = 2000;
const REQUESTS: usize = 300;
const UPGRADES: usize = 200;
const CONNECTIONS: usize = 100;
const MALFORMED: usize = 100;

/// What is refused, its metric, the reason, and how often.
const FLOODS: [(&str, &str, &str, usize); 5] = [
    (
        "subscription",
        "subscriptions_refused",
        "signature",
        SUBSCRIPTIONS,
    ),
    ("request", "http_refused", "auth_key", REQUESTS),
    ("request", "http_refused", "malformed", MALFORMED),
    ("upgrade", "upgrades_refused", "handshake", UPGRADES),
    (
        "connection",
        "connections_refused",
        "unknown_app",
        CONNECTIONS,
    ),
];

/// All of them.
fn flood(server: &Server) {
    let mut ws = Ws::connect(server);
    let forged =
        r#"{"event":"pusher:subscribe","data":{"channel":"private-x","auth":"app-key:00"}}"#;
    for _ in 0..SUBSCRIPTIONS {
        ws.send(forged);
        (0..3).for_each(|_| drop(ws.text()));
    }
    let unsigned = "/apps/app-id/channels?auth_key=nobody";
    let mut http = Http::connect(server.public);
    for _ in 0..REQUESTS {
        assert_eq!(http.request("GET", unsigned, &[], "").status(), 401);
    }
    let without_key = [("Upgrade", "websocket"), ("Connection", "Upgrade")];
    for _ in 0..UPGRADES {
        let answer = Http::connect(server.public).request("GET", TARGET, &without_key, "");
        assert_eq!(answer.status(), 426);
    }
    for _ in 0..CONNECTIONS {
        let mut refused = Ws::open(server, "/app/unknown?protocol=7", &[]);
        assert_eq!(refused.closed().0, 4001);
    }
    for _ in 0..MALFORMED {
        let mut http = Http::connect(server.public);
        http.write("GET / HTTP/1.1\r\nforged\u{1b}[31m\r\n\r\n");
        assert_eq!(http.read().status(), 400);
        http.ended();
    }
}

#[test]
fn a_flood_of_refusals_is_a_few_lines_and_an_exact_number() {
    let mut server = Server::start(&Config::new());
    flood(&server);
    for (_, metric, reason, count) in FLOODS {
        let metric = format!("{metric}_total");
        let counted = || server.labelled(&metric, &[("reason", reason)]);
        eventually(PATIENCE, &format!("{count} of {metric} {reason}"), || {
            (counted() == count as u64).then_some(())
        });
    }
    server.await_count("sockets", 0);
    let suppressed = server.counter("log_lines_suppressed");
    // What was not logged is told at the end of a window, or of the process.
    server.terminate();
    assert!(server.exit_status().success());
    let log = server.log();
    let mut told_in_all = 0;
    for (what, _, reason, count) in FLOODS {
        let refused = format!("{what} refused: ");
        let reason = format!("reason=\"{reason}\"");
        let more = format!("{refused}more of the same");
        let sums = log
            .lines()
            .filter(|line| line.contains(&more) && line.contains(&reason));
        let told: usize = sums.map(|line| number(line, "suppressed=")).sum();
        let windows = lines(&log, &[&more, &reason]);
        let logged = lines(&log, &[&refused, &reason]) - windows;
        assert_eq!(
            logged + told,
            count,
            "{what}: every one is a line or in a sum\n{log}"
        );
        let is_few = windows >= 1 && logged <= LINES * (windows + 1);
        assert!(is_few, "{what}: {logged} lines in {windows} windows\n{log}");
        told_in_all += told as u64;
    }
    assert_eq!(suppressed, told_in_all);
}

/// The number behind a field's name.
fn number(line: &str, field: &str) -> usize {
    let (_, rest) = line.split_once(field).expect("the field");
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|text| text.parse().ok()).expect("a number")
}

#[test]
fn what_was_not_logged_is_told_while_the_server_runs() {
    let server = Server::start(&Config::new());
    let mut http = Http::connect(server.public);
    for _ in 0..50 {
        assert_eq!(http.request("GET", "/nothing", &[], "").status(), 404);
    }
    eventually(PATIENCE, "a line about those that were not logged", || {
        let told = [
            "request refused: more of the same",
            "reason=\"unknown_path\"",
        ];
        (lines(&server.log(), &told) > 0).then_some(())
    });
    let before = lines(&server.log(), &["path=\"/nothing\""]);
    assert_eq!(http.request("GET", "/nothing", &[], "").status(), 404);
    eventually(PATIENCE, "lines are written again", || {
        (lines(&server.log(), &["path=\"/nothing\""]) > before).then_some(())
    });
}

#[test]
fn a_refusal_says_who_what_and_why() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    ws.send(
        r#"{"event":"pusher:subscribe","data":{"channel":"private-orders","auth":"app-key:00"}}"#,
    );
    (0..3).for_each(|_| drop(ws.text()));
    ws.send(r#"{"event":"client-e","channel":"private-orders","data":{}}"#);
    ws.text();
    let socket = format!("socket.id={}", ws.socket_id());
    server.admin("/live");
    let refused = Http::connect(server.public).request("POST", EVENTS, &[], "");
    assert_eq!(refused.status(), 401);
    assert_eq!(server.post(EVENTS, "{}").status(), 400);
    Ws::open(&server, "/app/strange?protocol=3", &[]).closed();
    let log = server.log();
    for parts in [
        &[
            "subscription refused: ",
            "app.id=app-id",
            &socket,
            "channel=\"private-orders\"",
            "reason=\"signature\"",
            "address=127.0.0.1",
        ][..],
        &["client event refused: ", &socket, "reason=\"disabled\""],
        &[
            "request refused: ",
            "path=\"/apps/app-id/events\"",
            "reason=\"auth_key_missing\"",
            "address=127.0.0.1",
        ],
        &[
            "request refused: ",
            "app.id=app-id",
            "reason=\"bad_request\"",
        ],
        &[
            "connection refused: ",
            "code=4007",
            "reason=\"unsupported_protocol\"",
            "address=127.0.0.1",
        ],
        &["INFO", " connected", &socket, "address=127.0.0.1"],
    ] {
        assert_eq!(lines(&log, parts), 1, "{parts:?} in {log}");
    }
    ws.close();
    eventually(PATIENCE, "its end is a line", || {
        let parts = [
            "INFO",
            " disconnected",
            socket.as_str(),
            "closed by the client",
        ];
        (lines(&server.log(), &parts) == 1).then_some(())
    });
}

/// Texts that would begin a line of their own, clear a terminal, or run over.
fn hostile_names() -> [String; 4] {
    [
        "private-x\n2026-01-01T00:00:00.000000Z  INFO tidewire::ws: forged".to_owned(),
        "private-x\r\u{1b}[2J\u{1b}[31mforged".to_owned(),
        "private-x\u{2028}forged\u{202e}\u{0}".to_owned(),
        format!("private-{}forged", "y".repeat(20_000)),
    ]
}

fn send_hostile_names(server: &Server) {
    let mut ws = Ws::connect(server);
    for name in hostile_names() {
        let data = serde_json::json!({"channel": name, "auth": name});
        ws.send(&serde_json::json!({"event": "pusher:subscribe", "data": data}).to_string());
        (0..3).for_each(|_| drop(ws.text()));
        let event = serde_json::json!({"event": name, "channel": name, "data": {}});
        ws.send(&event.to_string());
        ws.text();
        let path: String = name
            .bytes()
            .take(2000)
            .map(|b| format!("%{b:02X}"))
            .collect();
        Http::connect(server.public).request("GET", &format!("/apps/{path}/channels"), &[], "");
        Ws::open(
            server,
            &format!("/app/{path}?protocol=7"),
            &[("Origin", "forged\" 7m")],
        )
        .closed();
    }
}

#[test]
fn no_peer_can_forge_a_line() {
    let server = Server::start_with(&Config::new(), &[("TIDEWIRE_LOG", "tidewire=trace")]);
    send_hostile_names(&server);
    let log = server.log();
    assert!(lines(&log, &["subscription refused: "]) == 4, "{log}");
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').expect("a time and the rest");
        assert!(time.len() == 27 && time.ends_with('Z'), "no time: {line:?}");
        let level = rest.split_whitespace().next().unwrap();
        assert!(
            ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level),
            "{line:?}"
        );
        assert!(line.len() < 1500, "cut: {line:?}");
        let is_safe = |c: char| !c.is_control() && !('\u{2028}'..='\u{202e}').contains(&c);
        assert!(line.chars().all(is_safe), "{line:?}");
    }
}

#[test]
fn json_lines_stay_json() {
    let server = Server::start_with(&Config::new(), &[("TIDEWIRE_LOG_FORMAT", "json")]);
    send_hostile_names(&server);
    let log = server.log();
    let mut channels = Vec::new();
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let fields = &line["fields"];
        if fields["message"]
            .as_str()
            .unwrap()
            .starts_with("subscription refused: ")
        {
            assert_eq!(line["level"], "WARN");
            assert_eq!(fields["reason"], "channel_name");
            channels.push(fields["channel"].as_str().unwrap().to_owned());
        }
    }
    let cut = |name: String| name.chars().take(200).collect::<String>();
    assert_eq!(channels, hostile_names().map(cut));
}

/// Somebody takes the secret for the key: that is said, and the secret is not.
#[test]
fn a_secret_in_the_place_of_a_key_is_masked() {
    let trace = [("TIDEWIRE_LOG", "tidewire=trace")];
    let server = Server::start_with(&Config::new().other_app(OTHER_APP), &trace);
    let secret = OTHER_APP.secret;
    let escaped = secret.replace('-', "%2D");
    let both = format!("{}:{secret}", OTHER_APP.key);
    for key in [secret, &escaped, &both, &format!("{secret}%20")] {
        let target = format!("/app/{key}?protocol=7");
        let (code, text) = Ws::open(&server, &target, &[]).closed();
        assert_eq!(code, 4001);
        assert!(
            text.starts_with("This is a secret of app other-id"),
            "{text}"
        );
        // An upgrade that is none, a request that is none, and requests in the wrong place.
        let upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade")];
        let http = || Http::connect(server.public);
        assert_eq!(http().request("GET", &target, &[], "").status(), 426);
        for path in [
            format!("/apps/{key}/events"),
            format!("/{key}"),
            format!("/x/app/{key}/y"),
        ] {
            assert!(http().request("POST", &path, &[], "{}").status() >= 400);
        }
        assert_eq!(http().request("GET", &target, &upgrade, "").status(), 426);
    }
    Ws::open(&server, &format!("/app/{secret}/more?protocol=7"), &[]).closed();
    let log = server.log();
    for (parts, count) in [
        (
            &[
                "connection refused: ",
                "path=\"/app/***\"",
                "This is a secret of app other-id",
            ][..],
            4,
        ),
        (&["connection refused: ", "path=\"/app/***/more\""], 1),
        (&["upgrade refused: ", "path=\"/app/***\""], 4),
        (&["request refused: ", "path=\"/app/***\""], 4),
        (&["request refused: ", "path=\"/apps/***/events\""], 4),
    ] {
        assert_eq!(lines(&log, parts), count, "{parts:?} in {log}");
    }
    for text in [secret, &escaped] {
        assert!(!log.contains(text), "{text} in {log}");
    }
}

/// In the place of a channel's name it is not refused everywhere, and is not logged either.
#[test]
fn a_secret_in_the_place_of_a_channel_is_masked() {
    let trace = [("TIDEWIRE_LOG", "tidewire=trace")];
    let server = Server::start_with(&Config::new(), &trace);
    let path = format!("/apps/app-id/channels/{}", APP.secret);
    assert_eq!(server.get(&path).status(), 200);
    let mut ws = Ws::connect(&server);
    ws.subscribe(APP.secret, None);
    ws.unsubscribe(APP.secret);
    let private = format!("private-x:{}", APP.secret);
    for channel in [APP.secret, &private] {
        let data = serde_json::json!({"channel": channel});
        ws.send(&serde_json::json!({"event": "pusher:unsubscribe", "data": data}).to_string());
        ws.text();
    }
    // The line follows the answer.
    ws.send(r#"{"event":"pusher:ping"}"#);
    ws.text();
    let log = server.log();
    let accepted = ["request accepted", "path=\"/apps/app-id/channels/***\""];
    assert_eq!(lines(&log, &accepted), 1, "{log}");
    let refused = ["subscription refused", "channel=\"***\""];
    assert_eq!(lines(&log, &refused), 2, "{log}");
    assert!(!log.contains(APP.secret), "{log}");
}

#[test]
fn nothing_secret_is_logged() {
    let config = Config::new().app("client_events", "true");
    let server = Server::start_with(&config, &[("TIDEWIRE_LOG", "tidewire=trace")]);
    let mut ws = Ws::connect(&server);
    let member = r#"{"user_id":"7","user_info":{"name":"Secret Name"}}"#;
    ws.subscribe("presence-x", Some(member));
    ws.sign_in(r#"{"id":"7","user_info":{"name":"Secret Name"}}"#);
    ws.text();
    let mut signatures = vec![APP.channel_auth(ws.socket_id(), "presence-x", Some(member))];
    // Each refusal's text quotes what was sent, to the one who sent it.
    for auth in [
        "app-key:feedfacefeedface",
        "feedfacefeedface",
        "feedfacefeedface:x",
    ] {
        let data =
            serde_json::json!({"channel": "presence-y", "auth": auth, "channel_data": member});
        ws.send(&serde_json::json!({"event": "pusher:subscribe", "data": data}).to_string());
        (0..3).for_each(|_| drop(ws.text()));
        let data = serde_json::json!({"auth": auth, "user_data": member});
        ws.send(&serde_json::json!({"event": "pusher:signin", "data": data}).to_string());
        ws.text();
    }
    ws.send(r#"{"event":"client-e","channel":"presence-x","data":{"secret-payload":1}}"#);
    ws.send(r#"{"event":"client-e","channel":"presence-none","data":{"secret-payload":1}}"#);
    ws.text();
    ws.send(r#"{"event":7,"data":"secret-payload"}"#);
    ws.text();
    let body = event_body("x", "e", "secret-payload");
    server.trigger("x", "e", "secret-payload");
    let target = APP.target("POST", EVENTS, &body);
    signatures.push(target.clone());
    Http::connect(server.public).request(
        "POST",
        &target.replace("auth_timestamp=1", "auth_timestamp=2"),
        &[],
        &body,
    );
    Http::connect(server.public).request("POST", &target, &[], &body.replace("data", "Data"));
    let bearer = [("Authorization", "Bearer feedfacefeedface")];
    Http::connect(server.public).request("POST", EVENTS, &bearer, &body);
    let log = server.log();
    assert!(
        lines(&log, &["subscription refused"]) == 3 && lines(&log, &["request refused"]) >= 2,
        "{log}"
    );
    let signatures = signatures
        .iter()
        .filter_map(|text| text.rsplit([':', '=']).next());
    let secrets = [
        "feedface",
        "Secret Name",
        "secret-payload",
        APP.secret,
        "user_info",
    ];
    for secret in secrets.into_iter().chain(signatures) {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
    let now = Exposition::read(&server.admin("/metrics").body);
    assert!(now.sum("tidewire_auth_failures_total", &[("place", "signin")]) > 0.0);
}
