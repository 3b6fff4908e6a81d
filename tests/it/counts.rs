//! Subscription counts of large channels: up to a hundred subscribers every change is told, above that at most one
//! every five seconds, and the last one that is told is right (protocol §3.9).

use std::time::{Duration, Instant};

use crate::harness::{Config, PATIENCE, Server, Ws};

const ALWAYS_TOLD: usize = 100;
const SUBSCRIBERS: usize = 130;

/// The interval, less what a loaded machine may shift it by.
const BETWEEN: Duration = Duration::from_secs(4);

#[test]
fn above_a_hundred_the_count_is_told_now_and_then() {
    let server = Server::start(&Config::new().app("subscription_count", "true"));
    let mut observer = Ws::connect(&server);
    observer.subscribe("x", None);
    assert_eq!(told(&mut observer), 1);
    let mut others = Vec::new();
    for count in 2..=ALWAYS_TOLD {
        others.push(Ws::subscribed(&server, "x"));
        assert_eq!(told(&mut observer), count);
    }
    while others.len() + 1 < SUBSCRIBERS {
        others.push(Ws::subscribed(&server, "x"));
    }
    let frames = assert_told_now_and_then(&mut observer, SUBSCRIBERS);
    assert!(frames <= 3, "{frames} frames for 30 changes");

    // Everybody leaves: below the hundred every change is told again.
    drop(others);
    let mut count = SUBSCRIBERS;
    while count > 1 {
        let next = told(&mut observer);
        assert!(next < count, "from {count} to {next}");
        count = next;
    }
    observer.silent();
}

fn told(ws: &mut Ws) -> usize {
    let data = ws.told("pusher_internal:subscription_count");
    usize::try_from(data["subscription_count"].as_u64().unwrap()).unwrap()
}

/// Reads until the count is told that is true now; how many frames that took.
fn assert_told_now_and_then(ws: &mut Ws, count: usize) -> usize {
    let end = Instant::now() + PATIENCE;
    let mut before: Option<Instant> = None;
    for frames in 1.. {
        let now_told = told(ws);
        let now = Instant::now();
        // The first one may be left from the last change that was told at once.
        if frames > 2 {
            assert!(before.is_none_or(|before| now - before >= BETWEEN));
        }
        before = Some(now);
        if now_told == count {
            return frames;
        }
        assert!(now < end, "told {now_told}, never {count}");
    }
    unreachable!("a number of frames")
}
