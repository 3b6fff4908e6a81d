//! HTTP/1.1 itself: keep-alive, pipelining, bodies of every kind, and what is on which port.

use super::{EVENTS, assert_is, body};
use crate::harness::{
    APP, Config, Http, PATIENCE, Server, TARGET, Wire, Ws, event_body, eventually, request, upgrade,
};

#[test]
fn any_content_type_is_taken() {
    let server = Server::start(&Config::new());
    let body = body();
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "text/plain",
        "x",
    ] {
        let target = APP.target("POST", EVENTS, &body);
        let headers = [("Content-Type", content_type)];
        let response = Http::connect(server.public).request("POST", &target, &headers, &body);
        assert_is(&response, 200, "{}");
    }
}

/// Bodies are taken as they are, and whoever compresses them is told before they are sent.
#[test]
fn a_compressed_body_is_refused_with_what_would_be_taken() {
    let server = Server::start(&Config::new());
    let body = body();
    let target = APP.target("POST", EVENTS, &body);
    let send = |encoding: &str| {
        let headers = [("Content-Encoding", encoding)];
        Http::connect(server.public).request("POST", &target, &headers, &body)
    };
    for encoding in ["gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP"] {
        let refused = send(encoding);
        assert_eq!(refused.status(), 415, "{encoding}: {refused:?}");
        assert_eq!(refused.head.header("accept-encoding"), Some("identity"));
        assert!(
            refused.body.contains(&format!("{encoding:?}")),
            "{refused:?}"
        );
    }
    for encoding in ["identity", "Identity", ""] {
        assert_is(&send(encoding), 200, "{}");
    }
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::start(&Config::new());
    let mut http = Http::connect(server.public);
    for _ in 0..10 {
        assert_is(&http.signed(&APP, "POST", EVENTS, &body()), 200, "{}");
        // A refusal does not end it either.
        assert_eq!(
            http.request("GET", "/apps/app-id/channels", &[], "")
                .status(),
            401
        );
        assert_eq!(http.signed(&APP, "GET", "/nothing", "").status(), 404);
    }
}

#[test]
fn pipelined_publishes_are_taken_in_order() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    ws.subscribe("x", None);
    let mut http = Http::connect(server.public);
    let requests: Vec<String> = (0..20)
        .map(|number| {
            let body = event_body("x", "e", &number.to_string());
            request("POST", &APP.target("POST", EVENTS, &body), &[], &body)
        })
        .collect();
    http.write(&requests.concat());
    for _ in 0..20 {
        assert_is(&http.read(), 200, "{}");
    }
    for number in 0..20 {
        assert_eq!(
            ws.text(),
            format!(r#"{{"event":"e","channel":"x","data":"{number}"}}"#)
        );
    }
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let server = Server::start(&Config::new());
    let body = body();
    for path in [EVENTS, "/apps/app-id/batch_events"] {
        let target = APP.target("POST", path, &body);
        let mut http = Http::connect(server.public);
        http.write(&format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n{body}"
        ));
        assert_eq!(http.read().status(), 413);
    }
    // The same without an announcement: at the limit, not at the end.
    let target = APP.target("POST", EVENTS, &body);
    let mut http = Http::connect(server.public);
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    http.write(&format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        chunk.repeat(4)
    ));
    assert_eq!(http.read().status(), 413);
}

#[test]
fn a_chunked_body_is_a_body() {
    let server = Server::start(&Config::new());
    let body = body();
    let target = APP.target("POST", EVENTS, &body);
    let mut http = Http::connect(server.public);
    http.write(&format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    ));
    assert_is(&http.read(), 200, "{}");
}

#[test]
fn a_plain_get_where_websockets_live_is_told_so() {
    let server = Server::start(&Config::new());
    let mut http = Http::connect(server.public);
    let response = http.request("GET", "/app/app-key?protocol=7", &[], "");
    assert_eq!(response.status(), 426);
    assert!(
        response.body.to_lowercase().contains("upgrade"),
        "{response:?}"
    );
    assert!(
        response.body.to_lowercase().contains("proxy"),
        "{response:?}"
    );
}

#[test]
fn the_admin_port_tells_counts_and_metrics() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    ws.subscribe("x", None);
    ws.subscribe("presence-x", Some(r#"{"user_id":"7"}"#));
    let health = server.admin("/health").json();
    for (name, count) in [
        ("connections", 1),
        ("channels", 2),
        ("subscriptions", 2),
        ("members", 1),
        ("users", 0),
    ] {
        assert_eq!(health[name], count, "{name} in {health}");
    }
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["uptime_seconds"].is_number(), "{health}");
    assert!(health["status"].is_string(), "{health}");
    assert_eq!(server.admin("/live").status(), 200);
    assert_eq!(server.admin("/ready").status(), 200);
    let metrics = server.admin("/metrics");
    assert_eq!(metrics.status(), 200);
    let connections = "tidewire_connections{app=\"app-id\"} 1\n";
    assert!(metrics.body.contains(connections), "{}", metrics.body);
    // Not on the port that the internet sees.
    for target in ["/health", "/metrics"] {
        let response = Http::connect(server.public).request("GET", target, &[], "");
        assert_eq!(response.status(), 404, "{target}");
    }
}

#[test]
fn errors_are_json_for_those_who_ask() {
    let server = Server::start(&Config::new());
    let mut http = Http::connect(server.public);
    let headers = [("Accept", "application/json")];
    let response = http.request("GET", "/apps/app-id/channels", &headers, "");
    assert_eq!(response.status(), 401);
    let error = response.json()["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("Missing parameter: auth_key"), "{error}");
}

/// A sender that asks first is told to go on, or why not, without a byte of the body.
#[test]
fn whoever_expects_to_continue_is_answered_by_the_head_where_that_decides() {
    let server = Server::start(&Config::new());
    let ask = |method: &str, target: &str, length: usize| {
        let mut http = Http::connect(server.public);
        http.write(&format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        ));
        let answer = http.read();
        (http, answer)
    };
    let body = body();
    let target = APP.target("POST", EVENTS, &body);
    let (mut http, answer) = ask("POST", &target, body.len());
    assert_eq!(answer.status(), 100);
    http.write(&body);
    assert_is(&http.read(), 200, "{}");
    // Signed well, and refused for what only the body tells.
    let (mut http, answer) = ask("POST", &target, 2);
    assert_eq!(answer.status(), 100);
    http.write("{}");
    assert_eq!(http.read().status(), 401);

    let wrong = target.replace("auth_signature=", "auth_signature=0");
    for (method, target, length, status) in [
        ("POST", &*wrong, 10, 401),
        ("POST", EVENTS, 10, 401),
        ("POST", &target, 1_000_000_000, 413),
        ("POST", "/apps/nobody/events", 10, 404),
        ("POST", "/nothing", 10, 404),
        ("PUT", &target, 10, 405),
        ("GET", "/app/app-key", 10, 426),
        ("POST", &format!("{EVENTS}?{}", "x".repeat(9000)), 10, 414),
    ] {
        let (_, answer) = ask(method, target, length);
        assert_eq!(answer.status(), status, "{method} {answer:?}");
        let connection = answer.head.header("connection").unwrap_or_default();
        assert!(connection.starts_with("close"), "{method} {answer:?}");
    }
    // Each under /apps/ is one request.
    assert_eq!(server.counter("http_requests"), 8);
}

const READS: &str = "GET, HEAD, OPTIONS";
const WRITES: &str = "POST, OPTIONS";

/// Every path there is, a method that it does not take, and those that it does.
const PATHS: &[(&str, &str, &str)] = &[
    ("/", "POST", READS),
    ("/app/app-key", "POST", READS),
    (EVENTS, "GET", WRITES),
    ("/apps/app-id/batch_events", "PUT", WRITES),
    ("/apps/app-id/channels", "POST", READS),
    ("/apps/app-id/channels/x", "DELETE", READS),
    ("/apps/app-id/channels/presence-x/users", "PATCH", READS),
    ("/apps/app-id/users/7/terminate_connections", "HEAD", WRITES),
    ("/users/7/terminate_connections", "GET", WRITES),
];

#[test]
fn another_method_is_told_the_right_ones() {
    let server = Server::start(&Config::new());
    let mut http = Http::connect(server.public);
    for (path, method, allow) in PATHS {
        for (method, status) in [(*method, 405), ("BREW", 405), ("OPTIONS", 204)] {
            http.write(&format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
            ));
            let response = if method == "HEAD" {
                http.read_bodiless()
            } else {
                http.read()
            };
            assert_eq!(response.status(), status, "{method} {path}: {response:?}");
            assert_eq!(
                response.head.header("allow"),
                Some(*allow),
                "{method} {path}"
            );
        }
    }
    assert_eq!(http.request("OPTIONS", "/nothing", &[], "").status(), 404);
}

/// HEAD is GET without the body, and the connection goes on behind it.
#[test]
fn head_is_get_without_the_body() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    ws.subscribe("x", None);
    let mut http = Http::connect(server.public);
    let head = |http: &mut Http, target: &str| {
        http.write(&request("HEAD", target, &[], ""));
        http.read_bodiless()
    };
    for path in ["/", "/app/app-key", "/nothing", "/apps/app-id/channels"] {
        let of_head = head(&mut http, path);
        let of_get = http.request("GET", path, &[], "");
        assert_eq!(of_head.status(), of_get.status(), "{path}");
        for name in ["content-length", "content-type"] {
            let (one, other) = (of_head.head.header(name), of_get.head.header(name));
            assert_eq!(one, other, "{path} {name}");
        }
    }
    // Signed as what it is.
    for path in [
        "/apps/app-id/channels",
        "/apps/app-id/channels/x?info=subscription_count",
    ] {
        let of_head = head(&mut http, &APP.target("HEAD", path, ""));
        let of_get = http.signed(&APP, "GET", path, "");
        assert_eq!((of_head.status(), of_get.status()), (200, 200), "{path}");
        let length = of_get.body.len().to_string();
        assert_eq!(of_head.head.header("content-length"), Some(&*length));
        let as_get = head(&mut http, &APP.target("GET", path, ""));
        assert_eq!(as_get.status(), 401);
    }
}

/// Overload is said by HTTP, because pusher-js backs off only then.
#[test]
fn an_upgrade_over_max_connections_is_refused_with_503() {
    let server = Server::start(&Config::new().server("max_connections", "2"));
    let first = Ws::connect(&server);
    let mut second = Ws::connect(&server);
    let refused = Ws::try_open(&server, TARGET, &[]).err();
    let refused = refused.expect("no third connection");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // The HTTP API goes on, and a place that becomes free is given again.
    assert_is(&server.post(EVENTS, &body()), 200, "{}");
    first.close();
    let mut third = eventually(PATIENCE, "a free place", || {
        Ws::try_open(&server, TARGET, &[]).ok()
    });
    third.established();
    second.silent();
}

/// Some proxies add these headers to all that they forward, and some clients offer HTTP/2 with every request.
#[test]
fn an_upgrade_that_is_not_taken_leaves_the_connection_as_it_was() {
    let server = Server::start(&Config::new());
    let body = body();
    let mut http = Http::connect(server.public);
    for headers in [
        &[("Connection", "Upgrade")][..],
        &[("Connection", "upgrade"), ("Upgrade", "websocket")],
        &[("Upgrade", "websocket")],
        &[
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABk"),
        ],
    ] {
        for (method, path, body) in [
            ("POST", EVENTS, &*body),
            ("GET", "/apps/app-id/channels", ""),
        ] {
            let target = APP.target(method, path, body);
            // Two at once: what follows is a request, not a body without end.
            http.write(&request(method, &target, headers, body).repeat(2));
            for _ in 0..2 {
                let response = http.read();
                assert_eq!(response.status(), 200, "{headers:?} {response:?}");
                assert_eq!(response.head.header("connection"), None, "{response:?}");
            }
        }
        let target = APP.target("POST", EVENTS, &body);
        let head = request("POST", &target, headers, "");
        let head = head
            .trim_end()
            .replace("Content-Length: 0", "Transfer-Encoding: chunked");
        http.write(&format!(
            "{head}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ));
        assert_is(&http.read(), 200, "{}");
    }
}

#[test]
fn a_client_that_cannot_keep_the_connection_is_told_its_end() {
    let server = Server::start(&Config::new());
    let mut http = Http::connect(server.public);
    let headers = [("Connection", "close, Upgrade")];
    let response = http.request("GET", "/", &headers, "");
    assert_eq!(response.head.header("connection"), Some("close"));
    http.ended();
}

#[test]
fn an_upgrade_behind_requests_is_answered_behind_them() {
    let server = Server::start(&Config::new());
    let body = body();
    let publish = request("POST", &APP.target("POST", EVENTS, &body), &[], &body);
    let mut wire = Wire::connect(server.public);
    let requests = [
        &*request("GET", "/", &[], ""),
        &publish,
        &upgrade(TARGET, &[]),
    ]
    .concat();
    wire.write(requests.as_bytes()).unwrap();
    assert_eq!(wire.read_head().status, 200);
    assert_eq!(wire.read_body(3), "OK\n");
    assert_eq!(wire.read_head().status, 200);
    assert_eq!(wire.read_body(2), "{}");
    let mut ws = Ws::upgraded(wire).expect("an upgrade");
    ws.established();
    ws.subscribe("x", None);
}

#[test]
fn a_kept_connection_may_wait_with_each_of_its_bodies() {
    let server = Server::start(&Config::new());
    let body = body();
    let target = APP.target("POST", EVENTS, &body);
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut http = Http::connect(server.public);
    for _ in 0..2 {
        http.write(&head);
        assert_eq!(http.read().status(), 100);
        http.write(&body);
        assert_is(&http.read(), 200, "{}");
    }
    // Whoever does not wait needs no leave.
    http.write(&format!("{head}{body}"));
    assert_is(&http.read(), 200, "{}");
}

#[test]
fn requests_behind_a_refused_one_are_answered() {
    let server = Server::start(&Config::new());
    let mut http = Http::connect(server.public);
    let refused = request("POST", EVENTS, &[], &body());
    http.write(&[&*refused, &refused, &request("GET", "/", &[], "")].concat());
    for status in [401, 401, 200] {
        assert_eq!(http.read().status(), status);
    }
}
