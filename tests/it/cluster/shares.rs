//! Limits of the whole cluster (`limits_scope = "cluster"`): never more than the limit on all nodes together, nearly all
//! of it where it is wanted, and nobody waits for Redis.

use std::time::{Duration, Instant};

use crate::harness::{
    Config, Message, Nodes, PATIENCE, Proxy, RedisCluster, RedisServer, Server, TARGET, Ws,
    eventually,
};

use super::{AFTER_LEASE, EVENTS, LEASE, event_body, impatient, nodes};

const LIMIT: usize = 20;

/// [`LIMIT`] connections for the cluster.
fn config() -> Config {
    of_cluster(impatient()).limit("connections", &LIMIT.to_string())
}

fn of_cluster(config: Config) -> Config {
    config.app("limits_scope", "\"cluster\"")
}

/// A connection, or the code that it is refused with.
fn attempt(node: &Server) -> Result<Ws, u16> {
    let mut ws = Ws::open(node, TARGET, &[]);
    let Message::Text(text) = ws.next() else {
        panic!("nothing was said");
    };
    if text.contains("pusher:connection_established") {
        return Ok(ws);
    }
    Err(ws.closed().0)
}

/// Connects as long as a node lets in, until it has `many` more and is told that the limit of all is reached.
fn fill(node: &Server, many: usize) -> Vec<Ws> {
    let mut held = Vec::new();
    eventually(PATIENCE, "the limit is reached", || match attempt(node) {
        Ok(ws) => {
            held.push(ws);
            assert!(held.len() <= many);
            None
        }
        Err(code) => {
            assert!([4100, 4004].contains(&code), "{code}");
            (held.len() == many && code == 4004).then_some(())
        }
    });
    held
}

fn share(node: &Server, limit: &str) -> u64 {
    node.labelled("cluster_limit_share", &[("limit", limit)])
}

/// Waits until the nodes have so much of a limit.
fn await_shares(nodes: &[Server], limit: &str, expected: &[u64]) {
    let what = format!("{limit} of {expected:?}");
    let find = |node: &Server| node.find_labelled("cluster_limit_share", &[("limit", limit)]);
    // Of a limit that is new there is none at first.
    eventually(PATIENCE, &what, || {
        let shares = nodes.iter().map(find);
        shares.eq(expected.iter().copied().map(Some)).then_some(())
    });
}

/// Writes another text into the files of all nodes, and waits until it is in effect.
fn change(nodes: &[Server], from: &str, to: &str) {
    let reloads = |node: &Server| node.counter("reloads");
    for node in nodes {
        let before = reloads(node);
        let file = std::fs::read_to_string(node.config_file()).expect("it is there");
        assert!(file.contains(from), "{file}");
        node.rewrite(&file.replace(from, to));
        node.hang_up();
        eventually(PATIENCE, "the file is read", || {
            (reloads(node) > before).then_some(())
        });
    }
}

#[test]
fn connections_are_never_more_than_the_limit_and_any_node_can_have_them_all() {
    share_connections(&nodes(3, &config()));
}

#[test]
fn connections_are_shared_over_a_redis_cluster_too() {
    let redis = RedisCluster::start();
    let config = config().redis("cluster", &redis.toml());
    share_connections(&Nodes::same(&config, 3));
}

fn share_connections(nodes: &Nodes) {
    // At rest each has a part of it: who comes first is let in at once.
    await_shares(nodes, "connections", &[3, 3, 3]);
    let mut held: Vec<Ws> = nodes.iter().map(|node| attempt(node).unwrap()).collect();
    let mut refused = 0;
    eventually(PATIENCE, "all is used", || {
        match attempt(nodes.for_connection()) {
            Ok(ws) => held.push(ws),
            Err(code) => {
                assert!([4100, 4004].contains(&code), "{code}");
                refused += 1;
            }
        }
        assert!(held.len() <= LIMIT);
        (held.len() == LIMIT).then_some(())
    });
    for node in nodes.iter() {
        fill(node, 0);
    }
    assert!(nodes.count("connections") == LIMIT as u64 && refused > 0);
    let shares: u64 = nodes.iter().map(|node| share(node, "connections")).sum();
    assert_eq!(shares, LIMIT as u64);

    drop(held);
    eventually(PATIENCE, "all have gone", || {
        (nodes.count("connections") == 0).then_some(())
    });
    let held = fill(&nodes[1], LIMIT);
    fill(&nodes[0], 0);
    drop(held);
}

#[test]
fn events_are_as_many_as_the_limit_says_and_follow_the_demand() {
    const RATE: u64 = 60;
    let rate = RATE.to_string();
    let nodes = nodes(
        2,
        &of_cluster(Config::new()).limit("events_per_second", &rate),
    );
    await_shares(&nodes, "events_per_second", &[15, 15]);
    let publish = |node: &Server| node.post(EVENTS, &event_body("x", "e", "1")).status();
    assert_eq!([0, 1].map(|at| publish(&nodes[at])), [200, 200]);

    // One has all the traffic.
    let of_busy = RATE - RATE / 16 / 2;
    eventually(PATIENCE, "the busy node has nearly all", || {
        publish(&nodes[0]);
        (share(&nodes[0], "events_per_second") >= of_busy).then_some(())
    });
    assert_eq!(publish(&nodes[1]), 200, "the other one has some left");

    // Both have: together they publish no more than one node would, a second's worth in advance.
    let (began, mut taken, mut shared) = (Instant::now(), 0, false);
    while began.elapsed() < Duration::from_secs(4) || !shared {
        assert!(
            began.elapsed() < PATIENCE,
            "no part of it for the second node"
        );
        for node in &*nodes {
            let response = node.post(EVENTS, &event_body("x", "e", "1"));
            taken += u64::from(response.status() == 200);
            if response.status() != 200 {
                assert_eq!(response.status(), 429, "{response:?}");
                assert!(
                    response.body.contains("60 per second in the whole cluster"),
                    "{response:?}"
                );
                assert!(response.head.header("retry-after").is_some());
            }
        }
        let shares = [0, 1].map(|at| share(&nodes[at], "events_per_second"));
        assert!(shares[0] + shares[1] <= RATE, "{shares:?}");
        shared |= shares[1] > RATE / 4;
    }
    let allowed = RATE as f64 * (began.elapsed().as_secs_f64() + 1.0);
    assert!((taken as f64) <= allowed, "{taken} of {allowed}");
}

#[test]
fn the_share_of_a_killed_node_comes_back_within_its_lease() {
    let mut nodes = nodes(2, &config());
    let here = attempt(&nodes[0]).unwrap();
    let there = fill(&nodes[1], LIMIT - 1);
    nodes.kill_last();
    let more = eventually(AFTER_LEASE, "there is room again", || {
        attempt(&nodes[0]).ok()
    });
    fill(&nodes[0], LIMIT - 2);
    drop((here, there, more));
}

#[test]
fn without_redis_each_node_keeps_its_share_for_a_lease_and_then_has_an_even_part() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(&config(), &[proxy.url(), proxy.url()]);
    let mut held: Vec<Ws> = (0..5).map(|_| attempt(&nodes[0]).unwrap()).collect();
    await_shares(&nodes, "connections", &[8, 3]);
    let cut = Instant::now();
    proxy.cut();
    let half = LIMIT as u64 / 2;
    eventually(PATIENCE, "each has an even part", || {
        let shares = [0, 1].map(|at| share(&nodes[at], "connections"));
        assert!(shares == [8, 3] || cut.elapsed() > LEASE / 2, "{shares:?}");
        (shares == [half, half]).then_some(())
    });
    // Nothing of it waits for Redis.
    let began = Instant::now();
    held.extend((0..5).map(|_| attempt(&nodes[0]).unwrap()));
    assert_eq!(attempt(&nodes[0]).err(), Some(4100));
    let other: Vec<Ws> = (0..3).map(|_| attempt(&nodes[1]).unwrap()).collect();
    assert!(began.elapsed() < LEASE);

    proxy.pass();
    held.extend(fill(&nodes[0], LIMIT - held.len() - other.len()));
    fill(&nodes[1], 0);
}

#[test]
fn a_reload_changes_the_limit_and_the_scope() {
    let nodes = nodes(2, &config());
    let mut held: Vec<Ws> = (0..3).map(|_| attempt(&nodes[0]).unwrap()).collect();
    change(&nodes, "connections = 20", "connections = 4");
    await_shares(&nodes, "connections", &[3, 0]);
    held.extend(fill(&nodes[0], 1));
    fill(&nodes[1], 0);

    // Each node by itself.
    change(
        &nodes,
        "limits_scope = \"cluster\"",
        "limits_scope = \"node\"",
    );
    let other: Vec<Ws> = (0..4).map(|_| attempt(&nodes[1]).unwrap()).collect();
    for node in &*nodes {
        assert_eq!(attempt(node).err(), Some(4004));
    }

    // All together: there are too many. They stay, and nobody is let in until enough have gone.
    change(
        &nodes,
        "limits_scope = \"node\"",
        "limits_scope = \"cluster\"",
    );
    await_shares(&nodes, "connections", &[0, 0]);
    drop(other);
    eventually(PATIENCE, "they have gone", || {
        (nodes.count("connections") == 4).then_some(())
    });
    for node in &*nodes {
        fill(node, 0);
    }
    drop(held);
    fill(&nodes[1], 4);
}

#[test]
fn one_node_without_redis_is_the_cluster() {
    let config = of_cluster(Config::new())
        .limit("connections", "2")
        .limit("events_per_second", "1");
    let server = Server::start(&config);
    let held = [(); 2].map(|()| attempt(&server).unwrap());
    assert_eq!(attempt(&server).err(), Some(4004));
    let publish = || server.post(EVENTS, &event_body("x", "e", "1"));
    assert_eq!(publish().status(), 200);
    let refused = publish();
    assert_eq!(
        refused.body,
        "Too many events: this app may publish 1 per second (events_per_second in its limits)\n"
    );
    drop(held);
}
