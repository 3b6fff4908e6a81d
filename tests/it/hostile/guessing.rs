//! Wrong tokens, as many as somebody can send: bounded by address, and nobody who has the right one is kept out.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::{Config, Http, PATIENCE, Response, Server, Wire, Ws, eventually};

const EVERY: usize = 40;

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A GET with a token, on a connection of its own from one address of this machine.
fn get_from(source: &str, server: SocketAddr, path: &str, token: &str) -> Response {
    let mut http = Http::over(Wire::connect_from(source, server));
    http.request("GET", path, &[("Authorization", &bearer(token))], "")
}

/// Sends wrong ones until they are refused as too many; how many were refused as wrong before.
fn guess(mut attempt: impl FnMut() -> Response) -> usize {
    let answers: Vec<Response> = (0..EVERY).map(|_| attempt()).collect();
    let wrong = answers.iter().filter(|answer| answer.status() == 401);
    let wrong = wrong.count();
    for answer in answers.iter().filter(|answer| answer.status() != 401) {
        assert_eq!(answer.status(), 429, "{answer:?}");
        let wait: u64 = answer.head.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait), "{answer:?}");
        assert_eq!(answer.head.header("connection"), Some("close"));
    }
    wrong
}

/// A few in a window, which may end while they are sent.
fn assert_bounded(wrong: usize) {
    assert!((10..=20).contains(&wrong), "{wrong} of {EVERY}");
}

#[test]
fn wrong_tokens_of_the_api_are_bounded_by_address() {
    let server = Server::start(&Config::new().app("api_tokens", "[\"the-token\"]"));
    let mut bystander = Ws::subscribed(&server, "x");
    let path = "/apps/app-id/channels";
    let get = |source: &str, token: &str| get_from(source, server.public, path, token);
    assert_bounded(guess(|| get("127.0.0.1", "the-tokem")));
    // The right one gets in from there, and others are not concerned.
    assert_eq!(get("127.0.0.1", "the-token").status(), 200);
    assert_eq!(get("127.0.0.2", "the-tokem").status(), 401);
    // Nor are those behind the same proxy, each of whom is known by its own address.
    let behind = |client: &str| {
        let headers = [
            ("Authorization", "Bearer the-tokem"),
            ("X-Forwarded-For", client),
            ("X-Forwarded-Proto", "https"),
        ];
        Http::connect(server.public).request("GET", path, &headers, "")
    };
    assert_bounded(guess(|| behind("192.0.2.1")));
    assert_eq!(behind("192.0.2.2").status(), 401);
    // One address of a network of IPv6 is as good as another.
    let mut last = 0;
    assert_bounded(guess(|| {
        last += 1;
        behind(&format!("2001:db8::{last}"))
    }));
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
    let refused = |reason| server.labelled("http_refused_total", &[("reason", reason)]);
    assert!(refused("too_many_tokens") >= 60);
    let lines = server.log();
    let lines = lines
        .lines()
        .filter(|line| line.contains("too_many_tokens"));
    assert!(lines.count() <= 20, "ten in a window");
}

#[test]
fn wrong_tokens_of_operators_are_bounded_by_address() {
    let server = Server::start(&Config::new().admin("token", "\"operators-only\""));
    let get = |source: &str, token: &str| get_from(source, server.admin, "/metrics", token);
    let log_in = |source: &str, token: &str| {
        let body = json!({ "token": token }).to_string();
        let headers = [("Content-Type", "application/json")];
        let mut http = Http::over(Wire::connect_from(source, server.admin));
        http.request("POST", "/console/login", &headers, &body)
    };
    assert_bounded(guess(|| get("127.0.0.1", "operators-onlz")));
    assert_bounded(guess(|| log_in("127.0.0.2", "operators-onlz")));
    let told = log_in("127.0.0.2", "operators-onlz");
    assert!(told.json()["error"].is_string(), "{told:?}");
    for source in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        assert_eq!(get(source, "operators-only").status(), 200, "{source}");
        assert_eq!(log_in(source, "operators-only").status(), 204, "{source}");
    }
    assert_eq!(get("127.0.0.3", "operators-onlz").status(), 401);
    // Without a token nobody guesses: a page whose session has ended is told so as often as it asks.
    for _ in 0..EVERY {
        let answer = Http::connect(server.admin).request("GET", "/console/api/session", &[], "");
        assert_eq!(answer.status(), 401);
    }
    let metrics = get("127.0.0.1", "operators-only").body;
    let count = |reason: &str| -> u64 {
        let sample = format!("tidewire_admin_refused_total{{reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&sample));
        line.expect("a sample").parse().expect("a number")
    };
    assert!(count("too_many") >= 40, "{metrics}");
    assert!(count("token") > 10 && count("login") >= 10, "{metrics}");
    eventually(PATIENCE, "a line says where from", || {
        let told = |line: &str| line.contains("operator refused") && line.contains("127.0.0.2");
        server.log().lines().any(told).then_some(())
    });
    assert!(!server.log().contains("operators-on"), "no token is logged");
    // Its own check at the end asks without a token.
    server.kill();
}
