//! Redis as a cluster, and watched by sentinels: the same promises, and what is left when a part of it goes.

use std::time::Duration;

use crate::harness::{
    Config, Nodes, Observer, PATIENCE, RedisCluster, RedisSentinel, Server, WATCHED, Ws,
    eventually, listed, members,
};
use crate::presence_random;

use super::delivery::publish_on_all_and_compare;
use super::interest::receive_only_what_is_wanted;
use super::stream::{assert_complete, publish_from};
use super::{
    assert_refused, await_acceptance, channels, event, impatient, publish, publish_at_once,
    subscriber_on_each, subscriptions,
};

fn over_cluster(redis: &RedisCluster, many: usize, config: &Config) -> Nodes {
    let config = config.clone().redis("cluster", &redis.toml());
    Nodes::same(&config, many)
}

#[test]
fn a_cluster_of_three_masters_is_as_good_as_one_server() {
    let redis = RedisCluster::start();
    let nodes = over_cluster(&redis, 3, &presence_random::config());
    receive_only_what_is_wanted(&nodes);
    publish_on_all_and_compare(&nodes);
    presence_random::wander_and_compare(&nodes);
}

/// Channels are spread over the masters, and each takes part.
#[test]
fn a_cluster_shares_the_channels_out() {
    let redis = RedisCluster::start();
    let nodes = over_cluster(&redis, 2, &Config::new());
    let names = many_channels();
    let mut subscriber = subscribed(&nodes[0], &names);
    assert_eq!(channels(&nodes[1]).len(), names.len());
    for response in publish_at_once(&nodes[1], &names, "1") {
        assert_eq!(response.status(), 200, "{response:?}");
    }
    let mut got: Vec<String> = names.iter().map(|_| subscriber.text()).collect();
    let mut expected: Vec<String> = names.iter().map(|name| event(name, "1")).collect();
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    for (number, master) in redis.masters.iter().enumerate() {
        let keys = master.keys(&format!("{}:*", nodes.prefix()));
        assert!(!keys.is_empty(), "master {number} has no keys");
    }
}

fn many_channels() -> Vec<String> {
    (0..60).map(|number| format!("channel-{number}")).collect()
}

fn subscribed(node: &Server, names: &[String]) -> Ws {
    let mut ws = Ws::connect(node);
    for name in names {
        ws.subscribe(name, None);
    }
    ws
}

#[test]
fn when_a_master_dies_the_other_masters_channels_go_on() {
    let mut redis = RedisCluster::start();
    let nodes = over_cluster(&redis, 2, &impatient().redis("lease_seconds", "60"));
    let names = many_channels();
    let mut subscriber = subscribed(&nodes[0], &names);
    redis.masters[2].kill();
    let mut round = 0;
    let alive: Vec<&String> = eventually(PATIENCE, "the others' channels go on", || {
        round += 1;
        let answers = publish_at_once(&nodes[1], &names, &format!("round {round}"));
        for refused in answers.iter().filter(|answer| answer.status() != 200) {
            assert_refused(refused);
        }
        let pairs = names.iter().zip(&answers);
        let alive: Vec<_> = pairs
            .filter(|(_, answer)| answer.status() == 200)
            .map(|(name, _)| name)
            .collect();
        // A third of the slots is away, and no more.
        (alive.len() > names.len() / 3 && alive.len() < names.len()).then_some(alive)
    });
    let last = format!("round {round}");
    let mut waiting: Vec<String> = alive.iter().map(|name| event(name, &last)).collect();
    while !waiting.is_empty() {
        let text = subscriber.text();
        waiting.retain(|expected| *expected != text);
    }
    subscriber.silent();
}

#[test]
fn after_a_fail_over_publishing_resumes_and_the_members_are_right() {
    let mut redis = RedisSentinel::start();
    let config = impatient()
        .redis("lease_seconds", "30")
        .redis("sentinel", &redis.toml())
        .redis("sentinel_master", &format!("{WATCHED:?}"));
    let nodes = Nodes::same(&config, 2);
    receive_only_what_is_wanted(&nodes);
    let mut subscribers = subscriber_on_each(&nodes, "x");
    let mut observers =
        [(0, "ada"), (1, "bob")].map(|(at, user)| Observer::joined(&nodes[at], user));
    for observer in &mut observers {
        observer.sees(&members(["ada", "bob"]));
        observer.changes.clear();
    }
    assert_eq!(redis.named(), redis.primary.address());
    redis.primary.kill();
    assert_refused(&publish(&nodes[0], "probe", "refused"));
    for node in &*nodes {
        await_acceptance(node, "probe", "1");
    }
    assert_eq!(redis.named(), redis.replica.address());

    let sent = publish_from(&[&nodes[0], &nodes[1]], Duration::from_secs(2));
    for ws in &mut subscribers {
        assert_complete(ws, &sent);
    }
    for node in &*nodes {
        eventually(PATIENCE, "the counts are right", || {
            let right = subscriptions(node, "x") == 2 && listed(node) == members(["ada", "bob"]);
            right.then_some(())
        });
    }
    for observer in &mut observers {
        observer.is_alive();
        assert!(observer.changes.is_empty(), "{:?}", observer.changes);
    }
}
