//! Who the nodes are, and what is said when they are two clusters on one prefix by mistake.

use std::time::Duration;

use serde_json::{Value, json};

use super::{AFTER_LEASE, impatient};
use crate::harness::{Config, Nodes, PATIENCE, RedisServer, Server, eventually};

/// The app that all of them have, each with its own idea of it.
fn with_shared(key: &str, secrets: &str) -> Config {
    impatient().more(&format!(
        "[[apps]]\nid = \"shared\"\nkey = \"{key}\"\nsecrets = [{secrets}]\n"
    ))
}

fn name(node: &Server) -> String {
    let session = node.admin("/console/api/session").json();
    session["node"].as_str().expect("a name").to_owned()
}

/// What a node knows of the live ones.
fn live(node: &Server) -> Vec<Value> {
    let health = node.admin("/health").json();
    let live = health["cluster"]["live_nodes"].as_array();
    live.expect("a list").clone()
}

/// The names of those whose apps are strange to a node.
fn strangers(node: &Server) -> Vec<Value> {
    let is_strange = |node: &Value| node["strange_apps"] == json!(["shared"]);
    let strange = live(node).into_iter().filter(is_strange);
    strange.map(|node| node["name"].clone()).collect()
}

fn await_strangers(node: &Server, others: &[&str]) {
    eventually(PATIENCE, "the strangers are known", || {
        (strangers(node) == others).then_some(())
    });
}

/// The lines of a node's log that warn of others.
fn warnings(node: &Server) -> Vec<String> {
    let log = node.log();
    let warnings = log.lines().filter(|line| line.contains("mix with this"));
    warnings.map(str::to_owned).collect()
}

#[test]
fn two_clusters_on_one_prefix_are_told_of_each_other() {
    let (ours, theirs) = ("\"our-secret-1\"", "\"their-secret-1\"");
    let nodes = Nodes::of_each(
        RedisServer::shared(),
        vec![
            with_shared("a-key", ours),
            with_shared("a-key", ours),
            with_shared("a-key", theirs),
        ],
    );
    let names: Vec<String> = nodes.iter().map(name).collect();
    let mut ours_sorted = [names[0].as_str(), names[1].as_str()];
    ours_sorted.sort_unstable();
    await_strangers(&nodes[2], &ours_sorted);
    await_strangers(&nodes[0], &[&names[2]]);
    await_strangers(&nodes[1], &[&names[2]]);
    for (at, node) in nodes.iter().enumerate() {
        let warnings = warnings(node);
        let last = warnings.last().expect("a warning");
        assert!(last.contains("WARN"), "{last}");
        let others: &[usize] = if at == 2 { &[0, 1] } else { &[2] };
        for other in others {
            let named = format!("{} (127.0.0.1: app shared)", names[*other]);
            assert!(last.contains(&named), "{last}");
        }
        assert!(last.contains(nodes.prefix()), "{last}");
        assert!(
            !last.contains(&format!("{} (", names[at])),
            "of itself: {last}"
        );
        assert_eq!(node.metric("cluster_strange_nodes"), others.len() as u64);
    }
    // What is in Redis and in the logs tells nobody a secret.
    let who = RedisServer::shared().keys(&format!("{}:*who", nodes.prefix()));
    let told = RedisServer::shared().cli(&["hgetall", &who[0]]);
    assert!(
        told.contains("shared") && !told.contains("secret"),
        "{told}"
    );
    assert!(nodes.iter().all(|node| !node.log().contains("-secret-1")));

    // A reload mends it; each is told once for each change, not at every look.
    let warned = warnings(&nodes[0]).len();
    let mended = with_shared("a-key", ours)
        .redis("url", &format!("{:?}", RedisServer::shared().url()))
        .redis("prefix", &format!("{:?}", nodes.prefix()));
    nodes[2].rewrite(&mended.toml());
    for node in &*nodes {
        await_strangers(node, &[]);
        eventually(PATIENCE, "it is told", || {
            node.log().contains("have the same apps now").then_some(())
        });
        assert_eq!(node.metric("cluster_strange_nodes"), 0);
    }
    assert_eq!(warnings(&nodes[0]).len(), warned);
}

#[test]
fn another_key_is_another_app_and_a_secret_in_common_is_the_same_one() {
    let nodes = Nodes::of_each(
        RedisServer::shared(),
        vec![
            with_shared("a-key", "\"new\", \"old\""),
            with_shared("a-key", "\"old\""),
            with_shared("another-key", "\"old\""),
            impatient(),
        ],
    );
    let names: Vec<String> = nodes.iter().map(name).collect();
    for at in [0, 1] {
        await_strangers(&nodes[at], &[&names[2]]);
    }
    eventually(PATIENCE, "all are known to the last one", || {
        (live(&nodes[3]).len() == 4).then_some(())
    });
    assert!(strangers(&nodes[3]).is_empty() && warnings(&nodes[3]).is_empty());
}

#[test]
fn health_lists_the_live_nodes_with_their_last_signs_of_life() {
    let mut nodes = Nodes::of_each(RedisServer::shared(), vec![impatient(); 3]);
    let mut names: Vec<String> = nodes.iter().map(name).collect();
    names.sort();
    for node in &*nodes {
        let name_of_this = name(node);
        let live = eventually(PATIENCE, "all are known", || {
            Some(live(node)).filter(|live| live.len() == 3)
        });
        for (said, name) in live.iter().zip(&names) {
            assert_eq!(said["name"], *name);
            assert_eq!(said["address"], "127.0.0.1");
            assert_eq!(said["strange_apps"], json!([]));
            assert!(said["heard_seconds_ago"].as_u64() <= Some(20), "{said}");
        }
        let this = live.iter().find(|said| said["is_this"] == true);
        assert_eq!(this.expect("itself")["name"], name_of_this);
    }
    nodes.kill_last();
    eventually(AFTER_LEASE + Duration::from_secs(10), "it is gone", || {
        (live(&nodes[0]).len() == 2).then_some(())
    });
    assert!(nodes.iter().all(|node| warnings(node).is_empty()));
}
