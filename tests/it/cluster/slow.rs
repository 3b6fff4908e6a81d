//! A slow Redis: everything takes longer and works; one that does not answer costs a bounded number of publishes.

use std::time::{Duration, Instant};

use crate::harness::{
    APP, Config, Http, Nodes, Observer, PATIENCE, Proxy, RedisServer, Ws, event_body, eventually,
    members,
};

use super::{
    assert_refused, await_acceptance, event, impatient, publish, publish_at_once,
    subscriber_on_each, subscriptions,
};

#[test]
fn a_slow_link_delays_and_the_gauge_shows_it() {
    /// Each way.
    const DELAY: Duration = Duration::from_millis(150);
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(&Config::new(), &[proxy.url(), redis.url()]);
    proxy.delay(DELAY);
    let mut subscribers = subscriber_on_each(&nodes, "x");
    for (number, node) in nodes.iter().enumerate() {
        for burst in 0..5 {
            let data = format!("{number} {burst}");
            let began = Instant::now();
            assert_eq!(publish(node, "x", &data).status(), 200);
            if number == 0 {
                assert!(
                    began.elapsed() >= 2 * DELAY,
                    "accepted before Redis took it"
                );
            }
            for ws in &mut subscribers {
                assert_eq!(ws.text(), event("x", &data));
            }
        }
    }
    let mut slow = Observer::joined(&nodes[0], "slow");
    let quick = Observer::joined(&nodes[1], "quick");
    slow.sees(&members(["slow", "quick"]));
    drop(quick);
    slow.sees(&members(["slow"]));
    for node in &*nodes {
        assert_eq!(subscriptions(node, "x"), 2);
    }
    let expected = 2 * DELAY.as_micros();
    eventually(PATIENCE, "the gauge shows the delay", || {
        let shown = nodes[0].metric("cluster_round_trip_microseconds");
        let near = expected * 9 / 10..expected * 3;
        near.contains(&u128::from(shown)).then_some(())
    });
    let quick = nodes[1].metric("cluster_round_trip_microseconds");
    assert!(u128::from(quick) < expected, "{quick}");
}

#[test]
fn publishes_that_wait_for_redis_are_bounded_in_number_and_time() {
    const PUBLISHES: usize = 500;
    const ROUNDS: u64 = 6;
    /// As many calls as a link has under way.
    const UNDER_WAY: u64 = 1024;
    /// `publish_timeout` is a second; the machine may be loaded.
    const IN_TIME: Duration = Duration::from_secs(5);
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    // Room for all that may arrive after all while the subscriber does not read.
    let config = impatient()
        .redis("lease_seconds", "60")
        .server("outbox_bytes", "67108864");
    let nodes = Nodes::linked(&config, &[proxy.url()]);
    let node = &nodes[0];
    let mut subscriber = Ws::subscribed(node, "x");
    let channels = vec!["x".to_owned(); PUBLISHES];
    let large = "x".repeat(10_000);
    proxy.stall();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for response in publish_at_once(node, &channels, &large) {
            assert_refused(&response);
        }
        let elapsed = began.elapsed();
        assert!(elapsed < IN_TIME, "{elapsed:?}");
    }
    let refused = node.counter("cluster_publish_refused");
    assert_eq!(refused, ROUNDS * PUBLISHES as u64);
    // What was refused is forgotten, but for what is under way.
    eventually(PATIENCE, "only calls under way are kept", || {
        (node.metric("cluster_waiting_bytes") <= UNDER_WAY * 11 * 1024).then_some(())
    });
    subscriber.silent();
    proxy.pass();
    await_acceptance(node, "x", "after");
    eventually(PATIENCE, "nothing waits", || {
        (node.metric("cluster_waiting_bytes") == 0).then_some(())
    });
    // What was on its way when it was refused may arrive, before or after.
    while subscriber.text() != event("x", "after") {}
}

/// Redis does not keep what a node does not take: it ends the connection. What came meanwhile is in the logs, and the
/// node asks for no more of them at a time than Redis keeps for it.
#[test]
fn a_node_that_stands_still_is_cut_off_by_redis_and_catches_up_from_the_logs() {
    const EVENTS: usize = 100;
    const CHANNELS: [&str; 4] = ["a", "b", "c", "d"];
    let redis = RedisServer::start();
    for class in ["normal", "pubsub"] {
        let limit = format!("{class} 20mb 0 0");
        redis.cli(&["config", "set", "client-output-buffer-limit", &limit]);
    }
    // Together more than Redis and the kernel's buffers of both ends keep; each log is less.
    let config = Config::new()
        .redis("lease_seconds", "120")
        .redis("log_bytes", "16777216")
        .limit("event_bytes", "100000")
        .server("outbox_bytes", "134217728");
    let nodes = Nodes::over(&redis, 2, &config);
    let mut subscriber = Ws::connect(&nodes[1]);
    for channel in CHANNELS {
        subscriber.subscribe(channel, None);
        // It asks for what follows upon this.
        assert_eq!(publish(&nodes[0], channel, "first").status(), 200);
        assert_eq!(subscriber.text(), event(channel, "first"));
    }
    nodes[1].signal("STOP");
    let data = |number: usize| format!("{number:050000}").repeat(2);
    let mut backend = Http::connect(nodes[0].public);
    for number in 0..EVENTS {
        for channel in CHANNELS {
            let body = event_body(channel, "e", &data(number));
            let response = backend.signed(&APP, "POST", super::EVENTS, &body);
            assert_eq!(response.status(), 200, "{response:?}");
        }
    }
    eventually(PATIENCE, "Redis has ended a connection", || {
        let clients = redis.cli(&["client", "list"]);
        let of_nodes = clients
            .lines()
            .filter(|line| line.contains("name=tidewire"));
        (of_nodes.count() == 1).then_some(())
    });
    nodes[1].signal("CONT");
    let mut next = [0; CHANNELS.len()];
    for _ in 0..EVENTS * CHANNELS.len() {
        let text = subscriber.text();
        let mut channels = CHANNELS.iter().zip(&mut next);
        let of_channel = channels.find(|(channel, number)| text == event(channel, &data(**number)));
        let (_, number) = of_channel.unwrap_or_else(|| panic!("{}", &text[..100]));
        *number += 1;
    }
    assert!(nodes[1].counter("cluster_reconnects") > 0);
    assert_eq!(nodes[1].counter("cluster_gaps"), 0);
    subscriber.silent();
}
