//! Who gets in: names of hosts, tokens, sessions, and pages of others.

use serde_json::{Value, json};

use super::{TOKEN, Watcher, get, post, with_token};
use crate::harness::{Config, Http, Response, Server};

const BEARER: (&str, &str) = ("Authorization", "Bearer operators-only");

/// A GET with any host, or none.
fn get_as(server: &Server, path: &str, host: Option<&str>) -> Response {
    let mut http = Http::connect(server.admin);
    let host = host.map_or(String::new(), |host| format!("Host: {host}\r\n"));
    http.write(&format!("GET {path} HTTP/1.1\r\n{host}\r\n"));
    http.read()
}

fn log_in(server: &Server, token: &str) -> Response {
    post(server, "/console/login", &json!({ "token": token }), &[])
}

/// The cookie of a login, as a browser sends it back.
fn cookie(login: &Response) -> String {
    assert_eq!(login.status(), 204, "{login:?}");
    let set = login.head.header("set-cookie").expect("a cookie");
    let (pair, flags) = set.split_once("; ").expect("with flags");
    let mut flags: Vec<&str> = flags.split("; ").collect();
    flags.sort_unstable();
    assert_eq!(
        flags,
        ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Strict"]
    );
    let (name, id) = pair.split_once('=').expect("a name and a value");
    assert_eq!((name, id.len()), ("tidewire_session", 64));
    pair.to_owned()
}

#[test]
fn without_a_token_the_host_must_be_this_machine() {
    let server = Server::start(&Config::new());
    let port = server.admin.port();
    let ours = ["localhost", "127.0.0.1", "[::1]", "LocalHost"];
    let with_port = ours.map(|host| format!("{host}:{port}"));
    let paths = [
        "/",
        "/health",
        "/metrics",
        "/config",
        "/dead-letters",
        "/console/",
        "/console/main.js",
        "/console/api/session",
    ];
    for path in paths {
        for host in ours.into_iter().chain(with_port.iter().map(|h| &**h)) {
            assert_eq!(
                get_as(&server, path, Some(host)).status(),
                200,
                "{path} {host}"
            );
        }
        for host in [
            Some("evil.example"),
            Some("127.0.0.1.evil.example"),
            Some("localhost.evil.example:9601"),
            Some("10.0.0.1"),
            Some("localhost@evil.example"),
        ] {
            let answer = get_as(&server, path, host);
            assert_eq!(answer.status(), 403, "{path} {host:?}");
            assert!(
                answer.body.contains("Host header must be localhost"),
                "{answer:?}"
            );
        }
    }
    // They tell nobody anything, and health checks use whatever name they have.
    for path in ["/live", "/ready"] {
        assert_eq!(get_as(&server, path, Some("evil.example")).status(), 200);
    }
    let mut http = Http::connect(server.admin);
    http.write(
        "POST /dead-letters/redeliver HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(http.read().status(), 403);
}

#[test]
fn with_a_token_the_host_does_not_matter_and_the_token_does() {
    let server = Server::start(&with_token());
    let mut http = Http::connect(server.admin);
    http.write(&format!(
        "GET /metrics HTTP/1.1\r\nHost: tidewire.internal:9601\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    ));
    assert_eq!(http.read().status(), 200, "as Prometheus asks");
    for path in ["/console/", "/console/main.js", "/"] {
        assert_eq!(
            get(&server, path, &[]).status(),
            200,
            "the page itself: {path}"
        );
    }
    let api = [
        "/console/api/session",
        "/console/api/series",
        "/console/api/apps/app-id/channels",
        "/console/api/apps/app-id/channels/x",
        "/console/api/apps/app-id/connections",
        "/console/api/feed?app=app-id",
        "/console/api/nothing",
    ];
    // However a path is written, what is behind it asks who is there.
    let disguised = [
        "/%68ealth",
        "/console/%61pi/session",
        "/console/api/%73eries",
        "/metrics?x=1",
    ];
    for path in api.into_iter().chain(disguised) {
        let answer = get(&server, path, &[]);
        assert_eq!(answer.status(), 401, "{path}: {answer:?}");
        assert_eq!(
            get(&server, path, &[("Cookie", "tidewire_session=")]).status(),
            401
        );
        if path.starts_with("/console/api/") {
            assert!(answer.json()["error"].is_string(), "{answer:?}");
        }
    }
    for path in &api[..5] {
        assert_eq!(get(&server, path, &[BEARER]).status(), 200, "{path}");
    }
    for path in [
        "apps/app-id/events",
        "apps/app-id/connections/1.2/close",
        "signature",
    ] {
        let answer = post(&server, &format!("/console/api/{path}"), &json!({}), &[]);
        assert_eq!(answer.status(), 401, "{answer:?}");
    }
    // Its own check at the end asks without a token.
    server.kill();
}

#[test]
fn a_login_is_a_cookie_until_the_logout() {
    let server = Server::start(&with_token());
    let wrong = log_in(&server, "operators");
    assert_eq!(wrong.status(), 401);
    assert!(wrong.head.header("set-cookie").is_none(), "{wrong:?}");
    let (first, second) = (
        cookie(&log_in(&server, TOKEN)),
        cookie(&log_in(&server, TOKEN)),
    );
    assert_ne!(first, second);
    let status =
        |cookie: &str| get(&server, "/console/api/session", &[("Cookie", cookie)]).status();
    assert_eq!((status(&first), status(&second)), (200, 200));
    assert_eq!(status(&format!("a=b; {first}; tidewire_session=x")), 200);
    assert_eq!(status(&first[..first.len() - 1]), 401);
    for path in ["/metrics", "/health", "/config", "/dead-letters"] {
        assert_eq!(
            get(&server, path, &[("Cookie", &first)]).status(),
            200,
            "{path}"
        );
    }
    let session = get(&server, "/console/api/session", &[("Cookie", &first)]);
    assert_eq!(session.json()["access"], "token");
    assert!(
        !session.body.contains("secret") && !session.body.contains(TOKEN),
        "{session:?}"
    );

    let mut watcher = Watcher::with(&server, "app-id", &[("Cookie", &first)]).unwrap();
    server.trigger("x", "e", "1");
    watcher.next("published");
    let out = post(
        &server,
        "/console/logout",
        &json!({}),
        &[("Cookie", &first)],
    );
    assert_eq!(out.status(), 204);
    assert!(out.head.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!((status(&first), status(&second)), (401, 200));
    watcher.closed();
    server.kill();
}

#[test]
fn sessions_are_bounded() {
    let server = Server::start(&with_token());
    let oldest = cookie(&log_in(&server, TOKEN));
    let status =
        |cookie: &str| get(&server, "/console/api/session", &[("Cookie", cookie)]).status();
    for _ in 0..63 {
        assert_eq!(log_in(&server, TOKEN).status(), 204);
    }
    assert_eq!(status(&oldest), 200);
    let youngest = cookie(&log_in(&server, TOKEN));
    assert_eq!((status(&oldest), status(&youngest)), (401, 200));
    server.kill();
}

/// What browsers send for pages of others, and how it is answered; and for this one.
fn pages(server: &Server) -> Vec<(Vec<(&'static str, String)>, u16)> {
    let own = format!("http://localhost:{}", server.admin.port());
    vec![
        (vec![("Origin", "http://evil.example".to_owned())], 403),
        (vec![("Origin", "null".to_owned())], 403),
        // Another port of the same machine is another origin.
        (vec![("Origin", own)], 403),
        (vec![("Sec-Fetch-Site", "cross-site".to_owned())], 403),
        (vec![("Sec-Fetch-Site", "same-site".to_owned())], 403),
        (
            vec![
                ("Origin", "http://localhost".to_owned()),
                ("Sec-Fetch-Site", "cross-site".to_owned()),
            ],
            403,
        ),
        (
            vec![
                ("Origin", "http://localhost".to_owned()),
                ("Sec-Fetch-Site", "same-origin".to_owned()),
            ],
            200,
        ),
        (vec![("Sec-Fetch-Site", "none".to_owned())], 200),
        (vec![], 200),
    ]
}

#[test]
fn pages_of_others_change_nothing_and_see_nothing() {
    let server = Server::start(&Config::new());
    let event = json!({"channel": "x", "event": "e", "data": "1"});
    let paths: [(&str, &Value); 2] = [
        ("/console/api/apps/app-id/events", &event),
        ("/dead-letters/redeliver", &Value::Null),
    ];
    for (headers, expected) in pages(&server) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        for (path, body) in paths {
            let answer = post(&server, path, body, &headers);
            assert_eq!(answer.status(), expected, "{path} {headers:?}: {answer:?}");
        }
        let session = get(&server, "/console/api/session", &headers);
        assert_eq!(session.status(), expected, "{headers:?}");
        let watched = Watcher::with(&server, "app-id", &headers).map(drop);
        assert_eq!(watched.err().unwrap_or(200), expected, "{headers:?}");
    }
    // A form can be sent from anywhere, but not as JSON.
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        let headers = [("Content-Type", content_type)];
        let mut http = Http::connect(server.admin);
        let answer = http.request("POST", paths[0].0, &headers, &event.to_string());
        assert_eq!(answer.status(), 415, "{answer:?}");
    }
    assert_eq!(
        server.metric("events_published_total"),
        3,
        "none but those of ours"
    );
}

#[test]
fn the_token_itself_proves_enough() {
    let server = Server::start(&with_token());
    let foreign = ("Origin", "http://evil.example");
    let redeliver = |headers: &[(&str, &str)]| {
        let mut http = Http::connect(server.admin);
        http.request("POST", "/dead-letters/redeliver", headers, "")
            .status()
    };
    assert_eq!(redeliver(&[BEARER, foreign]), 200);
    let cookie = cookie(&log_in(&server, TOKEN));
    assert_eq!(redeliver(&[("Cookie", &cookie)]), 200);
    assert_eq!(redeliver(&[("Cookie", &cookie), foreign]), 403);
    assert_eq!(redeliver(&[]), 401);
    let login = post(
        &server,
        "/console/login",
        &json!({ "token": TOKEN }),
        &[foreign],
    );
    assert_eq!(login.status(), 403, "nobody is logged in by another's page");
    server.kill();
}
