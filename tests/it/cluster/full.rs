//! Redis has no memory left: what would need some is refused with the reason, all else goes on, and nobody is taken for
//! dead.

use crate::harness::{Nodes, Observer, PATIENCE, RedisServer, Ws, eventually, listed, members};

use super::{
    AFTER_LEASE, assert_refused, await_acceptance, channels, event, impatient, publish,
    subscriber_on_each, subscriptions,
};

/// Fills it beyond what it may have; `noeviction` is what a Redis does that nobody told otherwise.
fn fill(redis: &RedisServer) {
    redis.cli(&["SETRANGE", "filler", "30000000", "x"]);
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    redis.cli(&["CONFIG", "SET", "maxmemory", "20mb"]);
}

fn give_room(redis: &RedisServer) {
    redis.cli(&["DEL", "filler"]);
}

#[test]
fn a_full_redis_refuses_publishes_with_the_reason_and_nothing_else_ends() {
    let redis = RedisServer::start();
    let nodes = Nodes::over(&redis, 2, &impatient());
    let mut subscribers = subscriber_on_each(&nodes, "x");
    let mut ada = Observer::joined(&nodes[0], "ada");
    let bob = Observer::joined(&nodes[1], "bob");
    let leaves = Ws::subscribed(&nodes[1], "leaves");
    ada.sees(&members(["ada", "bob"]));
    ada.changes.clear();

    fill(&redis);
    let began = std::time::Instant::now();
    for node in &*nodes {
        let response = publish(node, "x", "refused");
        assert_refused(&response);
        assert!(response.body.contains("OOM"), "{response:?}");
        assert!(node.counter("cluster_publish_refused") > 0);
    }
    // Who comes is taken in on what the node knows; who goes is gone.
    let mut latecomer = Ws::subscribed(&nodes[0], "x");
    drop(leaves);
    eventually(PATIENCE, "what needs no memory is done", || {
        (channels(&nodes[0]) == ["presence-x", "x"]).then_some(())
    });
    // For longer than the lease, in which a node that could not renew it would be removed.
    while began.elapsed() < AFTER_LEASE {
        for node in &*nodes {
            assert_eq!(node.admin("/ready").status(), 200);
            assert_eq!(listed(node), members(["ada", "bob"]));
            assert_refused(&publish(node, "x", "refused"));
        }
        ada.is_alive();
    }
    assert!(ada.changes.is_empty(), "{:?}", ada.changes);

    give_room(&redis);
    await_acceptance(&nodes[1], "x", "after");
    for ws in subscribers.iter_mut().chain([&mut latecomer]) {
        assert_eq!(ws.text(), event("x", "after"));
    }
    eventually(PATIENCE, "all are counted", || {
        (subscriptions(&nodes[1], "x") == 3).then_some(())
    });
    ada.is_alive();
    assert!(ada.changes.is_empty(), "{:?}", ada.changes);
    drop(bob);
}

/// What is left of it would stay as long as Redis is full.
#[test]
fn a_full_redis_lets_a_dead_node_be_removed() {
    let redis = RedisServer::start();
    let mut nodes = Nodes::over(&redis, 2, &impatient());
    let mut ada = Observer::joined(&nodes[0], "ada");
    let bob = Observer::joined(&nodes[1], "bob");
    ada.sees(&members(["ada", "bob"]));
    fill(&redis);
    nodes.kill_last();
    ada.sees_within(AFTER_LEASE, &members(["ada"]));
    assert_eq!(channels(&nodes[0]), ["presence-x"]);
    give_room(&redis);
    drop(bob);
}
