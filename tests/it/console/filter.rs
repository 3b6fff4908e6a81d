//! What a watcher looks for: it is told whatever else happens, and what is no filter is refused.

use serde_json::{Value, json};

use super::Watcher;
use crate::harness::{APP, Config, Http, OTHER_APP, PATIENCE, Server, Ws, event_body, eventually};

const EVENTS: &str = "/apps/app-id/events";

/// How many events come at once: several times what a second's sample has room for.
const FLOOD: usize = 1000;

/// A flood on other channels, then one event on this one.
fn flood_and(http: &mut Http, channel: &str, event: &str) {
    for _ in 0..FLOOD {
        http.send_signed(&APP, "POST", EVENTS, &event_body("flood", "tick", "1"));
    }
    http.send_signed(&APP, "POST", EVENTS, &event_body(channel, event, "1"));
    for _ in 0..=FLOOD {
        assert_eq!(http.read().status(), 200);
    }
}

/// How many entries of an event were told.
fn told(watcher: &Watcher, event: &str) -> usize {
    let seen = watcher.seen.iter();
    seen.filter(|entry| entry["event"] == event).count()
}

/// Reads until each of so many events is told or counted.
fn all_is_told(watcher: &mut Watcher, events: usize) {
    eventually(PATIENCE, "all is told or counted", || {
        watcher.until_quiet();
        let told = watcher.seen.iter().filter(|e| e["kind"] == "published");
        (told.count() as u64 + watcher.skipped >= events as u64).then_some(())
    });
}

#[test]
fn what_is_looked_for_is_told_in_every_flood() {
    let server = Server::start(&Config::new());
    let mut watcher = Watcher::of(&server);
    let mut beside = Watcher::of(&server);
    watcher.look_for(&json!({"channel": "Invoice.7", "event": "paid"}));
    let mut http = Http::connect(server.public);
    for n in 0..5 {
        flood_and(&mut http, "invoice.7", &format!("paid-{n}"));
    }
    all_is_told(&mut watcher, 5 * (FLOOD + 1));
    for n in 0..5 {
        assert_eq!(told(&watcher, &format!("paid-{n}")), 1, "{n}");
    }
    assert!(watcher.skipped > 0, "the flood itself is a sample still");
    // Whoever watches beside it has the same numbers: nothing is told or counted twice.
    all_is_told(&mut beside, 5 * (FLOOD + 1));
    let count = |watcher: &Watcher| {
        watcher
            .seen
            .iter()
            .filter(|e| e["kind"] != "skipped")
            .count()
    };
    assert_eq!(
        (count(&watcher), watcher.skipped),
        (count(&beside), beside.skipped)
    );
    assert_eq!(server.counter("feed_skipped"), watcher.skipped);
}

#[test]
fn a_filter_that_everything_fits_is_a_sample_too() {
    let server = Server::start(&Config::new());
    let mut watcher = Watcher::of(&server);
    watcher.look_for(&json!({"text": "tick"}));
    let mut http = Http::connect(server.public);
    let began = std::time::Instant::now();
    flood_and(&mut http, "flood", "tick");
    flood_and(&mut http, "flood", "tick");
    let seconds = began.elapsed().as_secs() as usize + 2;
    all_is_told(&mut watcher, 2 * (FLOOD + 1));
    let told = told(&watcher, "tick");
    assert!(told <= 2 * 200 * seconds, "{told} in {seconds} s");
    assert_eq!(told as u64 + watcher.skipped, 2 * (FLOOD as u64 + 1));
}

#[test]
fn the_last_filter_counts_and_kinds_and_texts_are_looked_for_too() {
    let server = Server::start(&Config::new().app("client_events", "true"));
    let mut watcher = Watcher::of(&server);
    let mut http = Http::connect(server.public);
    watcher.look_for(&json!({"channel": "one"}));
    watcher.look_for(&json!({"kinds": ["refused"], "text": "/APPS/"}));
    for n in 0..3 {
        flood_and(&mut http, "one", "e");
        let path = format!("/apps/app-id/nonsense-{n}");
        assert_eq!(http.request("GET", &path, &[], "").status(), 404);
        watcher.until("each refusal", |entry| {
            entry["event"] == format!("GET {path}")
        });
    }
    watcher.look_for(&json!({}));
    server.trigger("x", "nothing is looked for", "1");
    watcher.until_quiet();
}

#[test]
fn a_filter_ends_with_its_watcher_and_is_of_its_app() {
    let server = Server::start(&Config::new().other_app(OTHER_APP));
    let theirs = Watcher::with(&server, "other-id", &[]).unwrap();
    let mut ours = Watcher::of(&server);
    let mut gone = Watcher::of(&server);
    gone.look_for(&json!({"channel": "rare"}));
    drop(gone);
    eventually(PATIENCE, "two watch", || {
        (server.metric("feed_watchers") == 2).then_some(())
    });
    let mut http = Http::connect(server.public);
    // The kind's share of a second is 150, so that most of these are not told.
    for _ in 0..FLOOD {
        http.send_signed(&APP, "POST", EVENTS, &event_body("rare", "e", "1"));
    }
    for _ in 0..FLOOD {
        assert_eq!(http.read().status(), 200);
    }
    all_is_told(&mut ours, FLOOD);
    assert_eq!(server.counter("feed_skipped"), ours.skipped);
    assert!(ours.skipped > 0);
    drop(theirs);
}

#[test]
fn what_is_no_filter_ends_the_feed_with_its_reason() {
    let server = Server::start(&Config::new());
    let long = json!({"text": "x".repeat(300)});
    let large = json!({"text": "x".repeat(60_000)});
    for (filter, reason) in [
        (json!("nonsense"), "Expected a filter such as"),
        (json!({"kinds": ["nothing"]}), "Expected a filter such as"),
        (long, "more than 200 characters"),
        (large, "the limit is 4096"),
    ] {
        let mut watcher = Watcher::of(&server);
        watcher.say(&filter.to_string());
        let (code, text) = watcher.closed();
        assert_eq!(code, 1008, "{text}");
        assert!(text.contains(reason), "{text}");
    }
    let mut ours = Watcher::of(&server);
    server.trigger("x", "e", "1");
    ours.next("published");
}

#[test]
fn refused_connections_and_requests_name_path_and_key_and_no_secret() {
    let server = Server::start(&Config::new().app("enabled", "false"));
    let mut watcher = Watcher::of(&server);
    let mut refused = |target: &str| -> Value {
        Ws::open(&server, target, &[]).closed();
        let entry = watcher.next("refused");
        assert!(!entry.to_string().contains(APP.secret), "{entry}");
        entry
    };
    let entry = refused("/app/app-key?protocol=7");
    assert_eq!(
        (&entry["event"], &entry["key"]),
        (&json!("GET /app/app-key"), &json!("app-key"))
    );
    let entry = refused("/app/unknown?protocol=7");
    assert_eq!(
        (&entry["event"], &entry["key"]),
        (&json!("GET /app/unknown"), &json!("unknown"))
    );
    let entry = refused("/ws/elsewhere?protocol=7");
    assert_eq!(entry["event"], "GET /ws/elsewhere");
    assert_eq!(entry.get("key"), None);

    let escaped = format!("%{:02x}{}", APP.secret.as_bytes()[0], &APP.secret[1..]);
    for secret in [APP.secret, &escaped] {
        let entry = refused(&format!("/app/{secret}?protocol=7"));
        assert_eq!(entry["event"], "GET /app/***");
        let key = entry["key"].as_str().unwrap();
        assert!(key.starts_with("***, the secret of app app-id"), "{key}");
        assert!(!entry.to_string().contains(secret), "{entry}");
    }
    let entry = refused(&format!("/app/{}", APP.secret));
    assert_eq!(entry.get("app"), None, "of no app, and all may see it");

    for path in [
        format!("/apps/{}/events?auth_key=app-key", APP.secret),
        format!("/apps/app-id/events?auth_key={}", APP.secret),
    ] {
        Http::connect(server.public).request("POST", &path, &[], "{}");
        let entry = watcher.next("refused");
        assert!(!entry.to_string().contains(APP.secret), "{entry}");
        assert!(entry.to_string().contains("***"), "{entry}");
    }
}
