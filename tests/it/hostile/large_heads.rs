//! Requests that nobody signed, as large as they can be: refused by their size, or by work that is linear in it.

use std::time::Duration;

use super::cost::Cost;
use crate::harness::{
    APP, Config, Http, PATIENCE, Response, Server, TARGET, Wire, Ws, eventually, raw_query, request,
};

/// A path of the API with that many parameters.
fn many_parameters(count: usize) -> String {
    format!("/apps/app-id/channels?{}", vec!["a"; count].join("&"))
}

/// The same with that many bytes in its path.
fn long_path(bytes: usize) -> String {
    format!("/apps/app-id/channels/{}", "x".repeat(bytes - 22))
}

fn cookie(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// What is refused before anything of it is looked at, on every port and by upgrades.
#[test]
fn a_head_over_the_limits_is_refused_by_its_size() {
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let get = |address, target: &str, cookie: &str| {
        let headers = [("Cookie", cookie)];
        Http::connect(address).request("GET", target, &headers, "")
    };
    let upgrade = |target: &str, cookie: &str| {
        let refused = Ws::try_open(&server, target, &[("Cookie", cookie)]).err();
        refused.map_or(101, |head| head.status)
    };
    // The harness' own header fields fit beside it.
    let fields = 32 * 1024 - 400;
    for (address, other) in [(server.public, 401), (server.admin, 404)] {
        let status = |target: &str, cookie: &str| get(address, target, cookie).status();
        assert_eq!(status(&many_parameters(100), ""), other);
        assert_eq!(status(&many_parameters(101), ""), 400);
        assert_eq!(status(&many_parameters(30_000), ""), 414);
        assert_eq!(status(&long_path(8 * 1024), ""), other);
        assert_eq!(status(&long_path(8 * 1024 + 1), ""), 414);
        assert_eq!(status(&long_path(60_000), ""), 414);
        assert_eq!(status(&many_parameters(1), &cookie(fields)), other);
        assert_eq!(status(&many_parameters(1), &cookie(32 * 1024)), 431);
        // More than the HTTP machinery takes at all.
        let many: Vec<(&str, &str)> = vec![("X", "y"); 100];
        let mut http = Http::connect(address);
        assert_eq!(http.request("GET", "/", &many, "").status(), 431);
    }
    let parameters = |count: usize| format!("{TARGET}&{}", vec!["a"; count - 3].join("&"));
    assert_eq!(upgrade(&parameters(100), &cookie(fields)), 101);
    assert_eq!(upgrade(&parameters(101), ""), 400);
    assert_eq!(upgrade(&parameters(30_000), ""), 414);
    assert_eq!(upgrade(TARGET, &cookie(32 * 1024)), 431);
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
    let refused = |family: &str| server.labelled(family, &[("reason", "head_too_large")]);
    // The longest one was given up before it was known for an upgrade.
    assert_eq!(refused("upgrades_refused_total"), 2);
    eventually(PATIENCE, "the public port's are counted", || {
        (refused("http_refused_total") == 7).then_some(())
    });
}

/// A worker delivers nothing while it reads a request that is refused.
#[test]
fn the_largest_requests_that_are_refused_cost_little_more_than_small_ones() {
    const MANY: usize = 200;
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let mut http = Http::connect(server.public);
    let mut cost = |target: &str, status: u16| {
        let before = Cost::of(&server);
        for _ in 0..MANY {
            let answer: Response = http.request("GET", target, &[], "");
            assert_eq!(answer.status(), status, "{answer:?}");
        }
        server.trigger("x", "e", "1");
        assert!(bystander.text().contains(r#""event":"e""#));
        before.cpu_since(&server)
    };
    // Signed wrongly, with escapes, so that every reading of it is tried.
    let mut params = APP.auth_params("");
    for number in 0..90 {
        params.push((format!("p{number}"), format!("%41+{}", "x".repeat(70))));
    }
    let query = format!("{}&auth_signature={}", raw_query(&params), "0".repeat(64));
    let largest = format!("/apps/app-id/channels/a%3Bb?{query}");
    let small = cost("/apps/app-id/channels", 401);
    let largest = cost(&largest, 401);
    let over = cost(&many_parameters(20_000), 414);
    // 0.4 ms each in a debug build; a tick of the system's count is 10 ms.
    let most = 20 * small + Duration::from_millis(500);
    assert!(largest < most, "{largest:?}, small ones {small:?}");
    assert!(over < most, "{over:?}, small ones {small:?}");
}

/// Lists in header fields are read from the end where they matter, and as far as they matter.
#[test]
fn long_lists_in_header_fields_cost_what_they_weigh() {
    let server = Server::start(&Config::new().admin("token", "\"operators-only\""));
    let list = |element: &str| element.repeat(32_000 / element.len());
    let before = Cost::of(&server);
    for _ in 0..50 {
        for (address, name, value) in [
            (server.public, "X-Forwarded-For", list("127.0.0.1,")),
            (server.public, "X-Forwarded-For", list(",")),
            (server.public, "X-Forwarded-Proto", list("https,")),
            (server.public, "Forwarded", list("for=127.0.0.1;a=b,")),
            (server.admin, "Cookie", list("tidewire_session=x;")),
        ] {
            let head = request("GET", "/apps/app-id/channels", &[(name, &value)], "");
            let mut wire = Wire::connect(address);
            wire.write(head.as_bytes()).expect("the server reads");
            assert!(matches!(wire.read_head().status, 401 | 404), "{name}");
        }
    }
    let cpu = before.cpu_since(&server);
    assert!(cpu < Duration::from_secs(5), "{cpu:?} for 250 requests");
    // Its own check at the end asks without a token.
    server.kill();
}
