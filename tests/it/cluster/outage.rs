//! Redis is away: publishers are told in time, nobody loses a connection, and when it is back all is as it was.

use std::time::{Duration, Instant};

use crate::harness::{
    Config, Nodes, Observer, PATIENCE, Proxy, RedisServer, Server, Ws, eventually, members,
};

use super::{
    assert_refused, await_acceptance, event, impatient, publish, subscriber_on_each, subscriptions,
};

/// `publish_timeout`, and what a loaded machine adds.
const TIMEOUT: Duration = Duration::from_secs(1);
const IN_TIME: Duration = TIMEOUT.saturating_add(Duration::from_secs(2));

/// Two nodes behind one proxy.
fn two_nodes(redis: &RedisServer, config: &Config) -> (Proxy, Nodes) {
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(config, &[proxy.url(), proxy.url()]);
    (proxy, nodes)
}

fn cluster_status(nodes: &Nodes) -> Vec<String> {
    let status = |node: &Server| {
        let health = node.admin("/health").json();
        health["cluster"]["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    nodes.iter().map(status).collect()
}

fn outage(away: impl FnOnce(&RedisServer, &Proxy), back: impl FnOnce(&RedisServer, &Proxy)) {
    let redis = RedisServer::start();
    let (proxy, nodes) = two_nodes(&redis, &impatient().redis("lease_seconds", "60"));
    let mut subscribers = subscriber_on_each(&nodes, "x");
    let mut ada = Observer::joined(&nodes[0], "ada");
    let mut bob = Observer::joined(&nodes[1], "bob");
    ada.sees(&members(["ada", "bob"]));
    ada.changes.clear();
    assert_eq!(cluster_status(&nodes), ["up", "up"]);

    away(&redis, &proxy);
    for node in &*nodes {
        let began = Instant::now();
        assert_refused(&publish(node, "x", "refused"));
        let elapsed = began.elapsed();
        assert!(elapsed < IN_TIME, "{elapsed:?}");
        assert!(node.counter("cluster_publish_refused") > 0);
    }
    for node in &*nodes {
        let reason = eventually(PATIENCE, "it is not ready", || {
            let ready = node.admin("/ready");
            (ready.status() == 503).then_some(ready.body)
        });
        assert!(reason.contains("Redis"), "{reason}");
        assert_eq!(node.admin("/live").status(), 200);
    }
    assert_eq!(cluster_status(&nodes), ["down", "down"]);
    // Who comes now is taken in on what this node knows.
    let mut latecomer = Ws::subscribed(&nodes[0], "x");
    assert!(nodes[0].counter("cluster_degraded") > 0);
    latecomer.silent();
    ada.is_alive();
    bob.is_alive();

    back(&redis, &proxy);
    for (number, node) in nodes.iter().enumerate() {
        let data = format!("after {number}");
        await_acceptance(node, "x", &data);
        for ws in subscribers.iter_mut().chain([&mut latecomer]) {
            // What was refused may have been taken all the same, when the answer was lost.
            let mut text = ws.text();
            while text == event("x", "refused") {
                text = ws.text();
            }
            assert_eq!(text, event("x", &data));
        }
    }
    for node in &*nodes {
        eventually(PATIENCE, "it is ready and counts right", || {
            let right = node.admin("/ready").status() == 200 && subscriptions(node, "x") == 3;
            right.then_some(())
        });
    }
    assert_eq!(cluster_status(&nodes), ["up", "up"]);
    for observer in [&mut ada, &mut bob] {
        observer.sees(&members(["ada", "bob"]));
        observer.is_alive();
        assert!(observer.changes.is_empty(), "{:?}", observer.changes);
    }
}

#[test]
fn a_redis_that_stands_still_refuses_publishes_and_nothing_else() {
    outage(|redis, _| redis.stop(), |redis, _| redis.cont());
}

#[test]
fn a_redis_that_cannot_be_reached_refuses_publishes_and_nothing_else() {
    outage(|_, proxy| proxy.cut(), |_, proxy| proxy.pass());
}

#[test]
fn on_outage_local_delivers_to_the_nodes_own_clients_and_says_so() {
    let redis = RedisServer::shared();
    let config = impatient()
        .redis("lease_seconds", "60")
        .redis("on_outage", "\"local\"");
    let (proxy, nodes) = two_nodes(redis, &config);
    let [mut here, mut there] = [0, 1].map(|at| Ws::subscribed(&nodes[at], "x"));
    let delivery = |data: &str| {
        let began = Instant::now();
        let response = publish(&nodes[0], "x", data);
        assert_eq!(response.status(), 200, "{response:?}");
        assert!(began.elapsed() < IN_TIME);
        let header = response.head.header("x-tidewire-delivery");
        header.map(ToOwned::to_owned)
    };
    assert_eq!(delivery("everywhere"), None);
    proxy.cut();
    for number in 0..3 {
        assert_eq!(delivery(&number.to_string()).as_deref(), Some("local"));
    }
    proxy.pass();
    eventually(PATIENCE, "it is whole again", || {
        delivery("probe").is_none().then_some(())
    });
    assert_eq!(delivery("everywhere again"), None);

    assert_eq!(here.text(), event("x", "everywhere"));
    for number in 0..3 {
        assert_eq!(here.text(), event("x", &number.to_string()));
    }
    assert_eq!(there.text(), event("x", "everywhere"));
    for ws in [&mut here, &mut there] {
        let mut text = ws.text();
        while text == event("x", "probe") {
            text = ws.text();
        }
        assert_eq!(text, event("x", "everywhere again"));
        ws.silent();
    }
}

/// The first of all starts is as good a moment as any for Redis to be away.
#[test]
fn nodes_start_before_redis_does() {
    let mut redis = RedisServer::start();
    redis.kill();
    let nodes = Nodes::over(&redis, 2, &impatient());
    let mut early = Ws::subscribed(&nodes[0], "x");
    assert_refused(&publish(&nodes[1], "x", "refused"));
    redis.restart_empty();
    await_acceptance(&nodes[1], "x", "1");
    assert_eq!(early.text(), event("x", "1"));
    early.silent();
}

#[test]
fn a_count_that_changed_while_a_node_was_away_is_told_when_it_is_back() {
    const COUNT: &str = "pusher_internal:subscription_count";
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    let config = impatient().app("subscription_count", "true");
    let nodes = Nodes::linked(&config, &[proxy.url(), redis.url()]);
    let mut first = Ws::subscribed(&nodes[0], "x");
    assert_eq!(first.told(COUNT)["subscription_count"], 1);
    proxy.cut();
    let mut second = Ws::subscribed(&nodes[1], "x");
    assert_eq!(second.told(COUNT)["subscription_count"], 2);
    proxy.pass();
    assert_eq!(first.told(COUNT)["subscription_count"], 2);
}
