//! The operators' port: its index, what is not there, and the configuration in effect.

use crate::harness::{
    APP, Config, Http, OTHER_APP, PATIENCE, Response, Server, eventually, request,
};

#[test]
fn the_index_and_a_wrong_path_name_the_paths() {
    let server = Server::start(&Config::new());
    let index = server.admin("/");
    let lost = server.admin("/healthz?x=1");
    assert_eq!((index.status(), lost.status()), (200, 404));
    assert!(lost.body.contains("\"/healthz\""), "{lost:?}");
    for answer in [index, lost] {
        let content_type = answer.head.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with("text/plain"), "{answer:?}");
        let paths: Vec<&str> = answer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("GET "))
            .map(|rest| rest.split_whitespace().next().expect("a path"))
            .collect();
        assert!(paths.len() >= 6, "{answer:?}");
        for path in paths {
            assert_eq!(server.admin(path).status(), 200, "{path}");
        }
    }
}

/// Load balancers and uptime monitors ask by HEAD and OPTIONS whether somebody is there.
#[test]
fn every_path_takes_head_or_says_what_it_takes() {
    let server = Server::start(&Config::new());
    let reads = [
        "/",
        "/live",
        "/ready",
        "/health",
        "/metrics",
        "/config",
        "/dead-letters",
        "/console",
        "/console/",
        "/console/main.js",
        "/console/api/session",
        "/console/api/series",
        "/console/api/apps/app-id/channels",
        "/console/api/apps/app-id/channels/x",
        "/console/api/apps/app-id/connections",
    ];
    let writes = [
        "/dead-letters/redeliver",
        "/console/login",
        "/console/logout",
        "/console/api/signature",
        "/console/api/apps/app-id/events",
        "/console/api/apps/app-id/connections/1.2/close",
    ];
    let mut http = Http::connect(server.admin);
    for path in reads {
        http.write(&request("HEAD", path, &[], ""));
        let head = http.read_bodiless();
        let get = http.request("GET", path, &[], "");
        assert_eq!(head.status(), get.status(), "{path}");
        let kind = |response: &Response| response.head.header("content-type").map(str::to_owned);
        assert_eq!(kind(&head), kind(&get), "{path}");
        assert!(head.head.header("content-length").is_some(), "{path}");
        takes(&mut http, path, "POST", "GET, HEAD, OPTIONS");
    }
    for path in writes {
        takes(&mut http, path, "GET", "POST, OPTIONS");
    }
    let more = [
        ("/apps", "PUT", "GET, HEAD, POST, OPTIONS"),
        ("/apps/app-id", "POST", "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("/apps/app-id/secrets", "GET", "POST, OPTIONS"),
        ("/apps/app-id/secrets/0", "GET", "DELETE, OPTIONS"),
    ];
    for path in ["/apps", "/apps/app-id"] {
        http.write(&request("HEAD", path, &[], ""));
        assert_eq!(http.read_bodiless().status(), 200, "{path}");
    }
    for (path, other, allow) in more {
        takes(&mut http, path, other, allow);
    }
}

/// A method that a path does not take is told those that it takes, as is whoever asks.
fn takes(http: &mut Http, path: &str, other: &str, allow: &str) {
    for (method, status) in [(other, 405), ("OPTIONS", 204)] {
        let answer = http.request(method, path, &[], "");
        assert_eq!(answer.status(), status, "{method} {path}: {answer:?}");
        assert_eq!(answer.head.header("allow"), Some(allow), "{method} {path}");
        if status == 405 && (path.starts_with("/console/") || path.starts_with("/apps")) {
            assert!(answer.json()["error"].is_string(), "{answer:?}");
        }
    }
}

#[test]
fn the_token_guards_all_but_liveness_and_readiness() {
    let server = Server::start(&Config::new().admin("token", "\"operators-only\""));
    let get = |path: &str, token: Option<&str>| {
        let header = format!("Bearer {}", token.unwrap_or_default());
        let headers = [("Authorization", header.as_str())];
        let headers = if token.is_some() { &headers[..] } else { &[] };
        Http::connect(server.admin)
            .request("GET", path, headers, "")
            .status()
    };
    for path in ["/", "/live", "/ready"] {
        assert_eq!(get(path, None), 200, "{path}");
    }
    for path in ["/health", "/metrics", "/config", "/dead-letters"] {
        assert_eq!(get(path, None), 401, "{path}");
        assert_eq!(get(path, Some("operators")), 401, "{path}");
        assert_eq!(get(path, Some("operators-only")), 200, "{path}");
    }
    // Its own check at the end asks without a token.
    server.kill();
}

#[test]
fn the_configuration_in_effect_is_shown_without_secrets() {
    let config = Config::new()
        .server("activity_timeout", "77")
        .webhook("url = \"http://127.0.0.1:1/\"\nheaders = { X-Token = \"header-secret\" }");
    let server = Server::start(&config);
    let shown = || server.admin("/config").body;
    let first = shown();
    let parsed: toml::Table = first.parse().unwrap();
    assert_eq!(parsed["server"]["activity_timeout"].as_integer(), Some(77));
    assert_eq!(parsed["apps"][0]["id"].as_str(), Some(APP.id));
    assert!(
        !first.contains(APP.secret) && !first.contains("header-secret"),
        "{first}"
    );

    // Apps change at once, the other sections wait for a restart.
    let changed = config.server("activity_timeout", "99").other_app(OTHER_APP);
    server.rewrite(&changed.toml());
    let now = eventually(PATIENCE, "the new app is shown", || {
        let now = shown();
        now.contains(OTHER_APP.id).then_some(now)
    });
    let parsed: toml::Table = now.parse().unwrap();
    assert_eq!(parsed["server"]["activity_timeout"].as_integer(), Some(77));
    assert_eq!(parsed["apps"].as_array().unwrap().len(), 2);
    assert!(!now.contains(OTHER_APP.secret), "{now}");

    server.rewrite("broken");
    eventually(PATIENCE, "the broken file is noticed", || {
        (server.metric("config_broken") == 1).then_some(())
    });
    assert_eq!(shown(), now, "what is in effect stays");
}
