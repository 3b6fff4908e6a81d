//! Limits by address at their edges: one network gets exactly what it may have, on one node, and no other pays for it.

use std::thread;
use std::time::Instant;

use super::cost::Cost;
use crate::harness::{Config, PATIENCE, Server, TARGET, Wire, Ws, eventually};

/// A connection from an address of this machine, or behind the proxy of this machine from wherever it says.
fn open(server: &Server, source: &str, client: Option<&str>) -> Option<Ws> {
    let forwarded = client.map(|client| ("X-Forwarded-For", client));
    let wire = Wire::connect_from(source, server.public);
    match Ws::over(wire, TARGET, forwarded.as_slice()) {
        Ok(mut ws) => {
            ws.established();
            Some(ws)
        }
        Err(head) => {
            assert_eq!(head.status, 503, "{head:?}");
            assert_eq!(head.header("retry-after"), Some("15"));
            None
        }
    }
}

fn refused(server: &Server, reason: &str) -> u64 {
    server.labelled("upgrades_refused_total", &[("reason", reason)])
}

#[test]
fn connections_from_one_address_are_bounded_and_given_back() {
    const LIMIT: usize = 3;
    const RUSH: usize = 40;
    let server = Server::start(&Config::new().server("connections_per_ip", &LIMIT.to_string()));
    let mut bystander = Ws::subscribed(&server, "x");
    let before = Cost::of(&server);
    // Of many at once exactly so many are let in, on whichever worker.
    let rush: Vec<Ws> = thread::scope(|scope| {
        let attempts = [(); RUSH].map(|()| scope.spawn(|| open(&server, "127.0.0.2", None)));
        let results = attempts.map(|attempt| attempt.join().expect("it is answered"));
        results.into_iter().flatten().collect()
    });
    assert_eq!(rush.len(), LIMIT);
    let reason = "connections_per_ip";
    assert_eq!(refused(&server, reason), (RUSH - LIMIT) as u64);
    // Each client behind a trusted proxy is known by its own address; those of one /64 are one.
    let behind = |client: &str| open(&server, "127.0.0.1", Some(client));
    let mut kept = Vec::new();
    for (first, same, other) in [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:ffff:1", "2001:db8:0:1::1"),
    ] {
        kept.extend((0..LIMIT).map(|_| behind(first).expect("there is room")));
        assert!(behind(same).is_none(), "{same}");
        kept.push(behind(other).expect("another network"));
    }
    // One goes, and one may come.
    for ws in rush {
        ws.close();
        let next = eventually(PATIENCE, "its place is free", || {
            open(&server, "127.0.0.2", None)
        });
        assert!(open(&server, "127.0.0.2", None).is_none());
        kept.push(next);
    }
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
    drop(kept);
    before.await_descriptors(&server);
    let log = server.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("reason=\"connections_per_ip\""));
    assert!((1..=20).contains(&lines.count()), "ten in a window");
}

#[test]
fn nobody_escapes_by_what_it_says_of_itself() {
    let config = Config::new()
        .server("connections_per_ip", "1")
        .server("trusted_proxies", "[\"10.0.0.0/8\"]");
    let server = Server::start(&config);
    let _first = open(&server, "127.0.0.2", Some("192.0.2.1")).expect("there is room");
    assert!(open(&server, "127.0.0.2", Some("192.0.2.2")).is_none());
    // What is accepted only to be closed holds its place until then, and no longer.
    let mut stranger = Ws::open(&server, "/app/no-such-key?protocol=7", &[]);
    assert_eq!(stranger.closed().0, 4001);
    drop(stranger);
    eventually(PATIENCE, "its place is free", || {
        open(&server, "127.0.0.1", None)
    });
}

#[test]
fn who_connects_too_fast_waits_for_the_next_second() {
    const RATE: u64 = 3;
    const ATTEMPTS: u64 = 60;
    let config = Config::new().server("connects_per_ip_per_second", &RATE.to_string());
    let server = Server::start(&config);
    let mut bystander = Ws::subscribed(&server, "x");
    let began = Instant::now();
    let attempts = (0..ATTEMPTS).filter_map(|_| open(&server, "127.0.0.2", None));
    let passed = attempts.count() as u64;
    let seconds = began.elapsed().as_secs() + 2;
    assert!((RATE..=RATE * seconds).contains(&passed), "{passed}");
    assert_eq!(refused(&server, "connects_per_ip"), ATTEMPTS - passed);
    open(&server, "127.0.0.3", None).expect("another address");
    eventually(PATIENCE, "the second is over", || {
        open(&server, "127.0.0.2", None)
    });
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
}
