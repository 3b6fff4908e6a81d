//! SIGTERM: every connection is told to come back at once (4200), the process ends with 0 and frees its port.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::harness::{Config, Http, PATIENCE, Server, TARGET, Ws, eventually, request};

#[test]
fn sigterm_closes_with_4200_and_exits_with_0() {
    let mut server = Server::start(&Config::new().server("drain_seconds", "1"));
    let mut connections: Vec<Ws> = (0..20).map(|_| Ws::connect(&server)).collect();
    for (number, ws) in connections.iter_mut().enumerate() {
        ws.subscribe("x", None);
        ws.subscribe("presence-x", Some(&format!(r#"{{"user_id":{number}}}"#)));
    }
    server.terminate();
    for ws in &mut connections {
        let (code, reason) = skip_to_close(ws);
        assert_eq!(
            (code, reason.as_str()),
            (4200, "Server is shutting down, reconnect immediately")
        );
    }
    let status = server.exit_status();
    assert_eq!(status.code(), Some(0), "{status}");
    TcpListener::bind(server.public).expect("the public port is free again");
    TcpListener::bind(server.admin).expect("the admin port is free again");
}

/// Past the members that come and go, to the announced close.
fn skip_to_close(ws: &mut Ws) -> (u16, String) {
    loop {
        let text = ws.text();
        if text.contains("pusher:error") {
            assert_eq!(
                text,
                r#"{"event":"pusher:error","data":{"code":4200,"message":"Server is shutting down, reconnect immediately"}}"#
            );
            return ws.closed();
        }
        assert!(text.contains("pusher_internal:member_"), "{text}");
    }
}

#[test]
fn while_it_drains_it_is_not_ready_and_refuses_upgrades() {
    let mut server = Server::start(&Config::new().server("drain_seconds", "3"));
    assert_eq!(server.admin("/ready").status(), 200);
    // Clients that do not answer the close hold the drain up for a while.
    let connections: Vec<Ws> = (0..50).map(|_| Ws::connect(&server)).collect();
    server.terminate();
    eventually(PATIENCE, "/ready fails while draining", || {
        (server.admin("/ready").status() == 503).then_some(())
    });
    assert_eq!(server.admin("/live").status(), 200);
    let refused = Ws::try_open(&server, TARGET, &[]).err();
    let refused = refused.expect("an HTTP refusal: pusher-js backs off only then");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    drop(connections);
    assert!(server.exit_status().success());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&Config::new().server("drain_seconds", "600"));
    let connections: Vec<Ws> = (0..10).map(|_| Ws::connect(&server)).collect();
    server.terminate();
    eventually(PATIENCE, "/ready fails while draining", || {
        (server.admin("/ready").status() == 503).then_some(())
    });
    let second = Instant::now();
    server.signal("INT");
    assert!(server.exit_status().success());
    // Clients that do not answer a close are waited for longer than that.
    assert!(second.elapsed() < Duration::from_secs(3));
    drop(connections);
}

#[test]
fn without_connections_it_ends_at_once() {
    let mut server = Server::start(&Config::new().server("drain_seconds", "600"));
    server.terminate();
    assert!(server.exit_status().success());
}

#[test]
fn idle_connections_of_backends_hold_nothing_up() {
    let mut server = Server::start(&Config::new());
    let mut idle = Http::connect(server.public);
    assert_eq!(idle.request("GET", "/", &[], "").status(), 200);
    // It does not answer its close, so that the drain goes on for a while.
    let silent = Ws::connect(&server);
    server.terminate();
    idle.ended();
    assert_eq!(server.admin("/ready").status(), 503, "it still drains");
    drop(silent);
    assert!(server.exit_status().success());
}

#[test]
fn a_request_on_its_way_when_it_begins_to_drain_is_answered() {
    let mut server = Server::start(&Config::new());
    let mut new = Http::connect(server.public);
    // It does not answer its close, so that the drain goes on for a while.
    let silent = Ws::connect(&server);
    let signalled = Instant::now();
    server.terminate();
    eventually(PATIENCE, "/ready fails while draining", || {
        (server.admin("/ready").status() == 503).then_some(())
    });
    new.write(&request("GET", "/", &[], ""));
    // It is waited for as long as this, which a machine with too much to do may miss.
    if signalled.elapsed() < Duration::from_secs(1) {
        assert_eq!(new.read().status(), 200);
        new.ended();
    }
    drop(silent);
    assert!(server.exit_status().success());
}
