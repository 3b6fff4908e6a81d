//! What cache channels keep, on one node: one budget for all of them, whatever their names.

use std::time::Duration;

use crate::harness::{APP, Config, Http, Server, Ws, event_body};

/// What an event takes of the budget beside its texts.
const OVERHEAD: usize = 320;

fn publish(backend: &mut Http, channel: &str, event: &str, data: &str) {
    let body = event_body(channel, event, data);
    let response = backend.signed(&APP, "POST", "/apps/app-id/events", &body);
    assert_eq!((response.status(), response.body.as_str()), (200, "{}"));
}

/// What a channel would tell a newcomer.
fn kept(backend: &mut Http, channel: &str) -> Option<String> {
    let target = format!("/apps/app-id/channels/{channel}?info=cache");
    let answer = backend.signed(&APP, "GET", &target, "").json();
    answer["cache"]["data"].as_str().map(str::to_owned)
}

#[test]
fn an_event_that_is_accepted_is_kept_and_displaces_nobody() {
    let config = Config::new()
        .server("outbox_bytes", "40000000")
        .limit("event_bytes", "16777216");
    let server = Server::start(&config);
    let mut backend = Http::connect(server.public);
    for i in 0..200 {
        publish(&mut backend, &format!("cache-{i}"), "e", "small");
    }
    let large = "x".repeat(16_777_216);
    publish(&mut backend, "cache-large", "e", &large);
    let mut ws = Ws::subscribed(&server, "cache-large");
    assert!(ws.text().contains(&large));
    for i in 0..200 {
        let channel = format!("cache-{i}");
        assert_eq!(kept(&mut backend, &channel).as_deref(), Some("small"));
    }
    assert_eq!(server.counter("cache_evictions"), 0);
    assert_eq!(server.count("last_events"), 201);
}

#[test]
fn the_smallest_budget_that_is_accepted_holds_the_longest_event() {
    let needed = OVERHEAD + 100_000 + 200 + 4 * 200;
    let config = |bytes: usize| {
        Config::new()
            .server("cache_bytes", &bytes.to_string())
            .limit("event_bytes", "100000")
    };
    let (status, log) = Server::refused(&config(needed - 1));
    assert_eq!(status.code(), Some(78));
    let said = format!(
        "event_bytes in [apps.limits]: the last event of a cache channel may then need cache_bytes of {needed} in \
         [server], where it is {}",
        needed - 1
    );
    assert!(log.contains(&said), "{log}");

    let server = Server::start(&config(needed));
    let mut backend = Http::connect(server.public);
    // The greatest of all: each character of the event's name has four bytes.
    let event = "😀".repeat(200);
    let data = "x".repeat(100_000);
    for first in ["a", "b"] {
        let channel = format!("cache-{first}{}", "c".repeat(193));
        publish(&mut backend, &channel, &event, &data);
        let mut ws = Ws::subscribed(&server, &channel);
        assert!(ws.text().contains(&data));
        assert_eq!(server.count("last_event_bytes"), needed as u64);
    }
    assert_eq!(server.counter("cache_evictions"), 1);
}

#[test]
fn a_flood_displaces_the_oldest_of_all_and_its_memory_is_bounded() {
    const BUDGET: usize = 8 << 20;
    const FLOOD: usize = 3000;
    let config = Config::new()
        .server("cache_bytes", &BUDGET.to_string())
        .server("workers", "1");
    let server = Server::start(&config);
    let mut backend = Http::connect(server.public);
    let data = "x".repeat(10_000);
    // Of the same length, so that they cost the same.
    let name = |i: usize| format!("cache-{i:04}");
    publish(&mut backend, &name(0), "e", &data);
    let before_kib = server.resident_kib();
    for i in 1..FLOOD {
        publish(&mut backend, &name(i), "e", &data);
    }
    let grown_kib = server.resident_kib().saturating_sub(before_kib);
    let each = OVERHEAD + name(0).len() + 1 + data.len();
    let room = BUDGET / each;
    assert_eq!(server.count("last_events"), room as u64);
    assert_eq!(server.count("last_event_bytes"), (room * each) as u64);
    assert_eq!(server.counter("cache_evictions"), (FLOOD - room) as u64);
    for i in 0..FLOOD {
        let is_kept = kept(&mut backend, &name(i)).is_some();
        assert_eq!(is_kept, i >= FLOOD - room, "{i}");
    }
    // The budget, and what the allocator could not use.
    assert!(grown_kib < 16 * 1024, "grown by {grown_kib} KiB");
    // One channel's flood takes the place of its own last event.
    for _ in 0..1000 {
        publish(&mut backend, &name(FLOOD - 1), "e", &data);
    }
    assert_eq!(server.counter("cache_evictions"), (FLOOD - room) as u64);
    assert!(kept(&mut backend, &name(FLOOD - room)).is_some());
    let mut missing = Ws::subscribed(&server, &name(0));
    assert_eq!(missing.told("pusher:cache_miss"), serde_json::json!({}));
    assert!(missing.try_next(Duration::ZERO).is_none());
}
