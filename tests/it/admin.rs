//! The operators' port: its index, what is not there, and the configuration in effect.

use crate::harness::{APP, Config, Http, OTHER_APP, PATIENCE, Server, eventually};

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
    let wrong = Http::connect(server.admin).request("POST", "/metrics", &[], "");
    assert_eq!(wrong.status(), 404);
    assert!(wrong.body.contains("\"POST\" on \"/metrics\""), "{wrong:?}");
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
