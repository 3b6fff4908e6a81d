//! The console of one node shows the whole cluster, and costs it nothing while nobody looks.

use serde_json::{Value, json};

use super::{EVENTS, LEASE, event, impatient, nodes, publish, subscriber_on_each};
use crate::console::Watcher;
use crate::harness::{
    Config, Http, Nodes, Observer, PATIENCE, Proxy, RedisCluster, RedisServer, Server, Ws,
    event_body, eventually,
};

/// The names of the nodes, as their entries have them.
fn names(nodes: &[Server]) -> Vec<Value> {
    let name = |node: &Server| node.admin("/console/api/session").json()["node"].clone();
    nodes.iter().map(name).collect()
}

/// One that watches, once it hears of every node.
fn watcher(nodes: &[Server], at: usize) -> Watcher {
    let mut watcher = Watcher::of(&nodes[at]);
    for (node, name) in nodes.iter().zip(names(nodes)) {
        eventually(PATIENCE, "it hears of a node", || {
            node.trigger("probe", "probe", "1");
            let mut seen = Vec::new();
            while let Some(entry) = watcher.within(std::time::Duration::from_millis(100)) {
                seen.push(entry);
            }
            seen.iter().any(|entry| entry["node"] == name).then_some(())
        });
    }
    watcher
}

/// The keys and topics of the feed that there are.
fn watched(redis: &RedisServer, nodes: &Nodes) -> Vec<String> {
    let keys = redis.keys(&format!("{}:*watch", nodes.prefix()));
    let topics = redis.cli(&["pubsub", "channels", &format!("{}:*feed", nodes.prefix())]);
    keys.into_iter()
        .chain(topics.lines().map(str::to_owned))
        .collect()
}

#[test]
fn a_console_sees_what_happens_on_every_node() {
    let nodes = nodes(3, &Config::new());
    let redis = RedisServer::shared();
    let before = nodes.counter("feed_entries");
    assert_eq!((before, watched(redis, &nodes).len()), (0, 0));
    let names = names(&nodes);
    let mut watcher = watcher(&nodes, 0);

    let subscribers = subscriber_on_each(&nodes, "x");
    let mut on = Vec::new();
    for subscriber in &subscribers {
        let id = subscriber.socket_id();
        let subscribed = watcher.find("each subscription", |entry| {
            entry["kind"] == "subscribed" && entry["socket_id"] == id
        });
        on.push(subscribed["node"].clone());
    }
    assert_eq!(on, names);
    // Whichever node takes it, the event went to all of them.
    for (node, name) in nodes.iter().zip(&names) {
        node.trigger("x", "to-all", "{\"a\":\"<b>\"}");
        let published = watcher.until("each event", |entry| entry["event"] == "to-all");
        assert_eq!(
            (&published["node"], &published["subscriptions"]),
            (name, &json!(3))
        );
        assert_eq!(published["data"], "{\"a\":\"<b>\"}");
    }
    drop(subscribers);
    watcher.next("vacated");
    let count = |kind: &str| {
        let of_kind = watcher
            .seen
            .iter()
            .filter(|entry| entry["kind"] == kind && entry["channel"] == "x");
        of_kind.count()
    };
    // What is said once for the cluster is told once.
    assert_eq!(
        (count("occupied"), count("vacated"), count("published")),
        (1, 1, 3)
    );

    drop(watcher);
    eventually(PATIENCE, "nobody is told any more", || {
        watched(redis, &nodes).is_empty().then_some(())
    });
    let made = eventually(PATIENCE, "no node makes entries", || {
        let before = nodes.counter("feed_entries");
        nodes.iter().for_each(|node| node.trigger("x", "e", "1"));
        (nodes.counter("feed_entries") == before).then_some(before)
    });
    nodes.iter().for_each(|node| node.trigger("x", "e", "1"));
    assert_eq!(nodes.counter("feed_entries"), made);
}

#[test]
fn consoles_on_several_nodes_see_everything_once() {
    let nodes = nodes(2, &Config::new());
    let mut watchers = [watcher(&nodes, 0), watcher(&nodes, 1), watcher(&nodes, 1)];
    for n in 0..20 {
        nodes[n % 2].trigger("x", &format!("event-{n}"), "1");
    }
    for watcher in &mut watchers {
        for n in 0..20 {
            let name = format!("event-{n}");
            watcher.find(&name, |entry| entry["event"] == *name);
        }
        watcher.until_quiet();
        for n in 0..20 {
            let name = format!("event-{n}");
            let told = watcher.seen.iter().filter(|entry| entry["event"] == *name);
            assert_eq!(told.count(), 1, "{name}");
        }
    }
}

#[test]
fn a_flood_elsewhere_is_counted_here() {
    const FLOOD: u64 = 1500;
    let nodes = nodes(2, &Config::new());
    let mut watcher = watcher(&nodes, 0);
    let mut http = Http::connect(nodes[1].public);
    for _ in 0..FLOOD {
        let body = event_body("x", "flood", "1");
        assert_eq!(
            http.signed(&crate::harness::APP, "POST", EVENTS, &body)
                .status(),
            200
        );
    }
    eventually(PATIENCE, "all is told or counted", || {
        watcher.until_quiet();
        let told = watcher
            .seen
            .iter()
            .filter(|entry| entry["event"] == "flood")
            .count() as u64;
        (told + watcher.skipped >= FLOOD).then_some(())
    });
    assert!(watcher.skipped > 0);
    assert!(nodes[1].counter("feed_skipped") > 0);
}

#[test]
fn what_a_console_looks_for_is_told_by_every_node() {
    const FLOOD: usize = 1000;
    let nodes = nodes(2, &Config::new());
    let mut watcher = watcher(&nodes, 0);
    watcher.look_for(&json!({"channel": "rare"}));
    let mut http = Http::connect(nodes[1].public);
    let is_heard = |watcher: &mut Watcher, event: &str| {
        watcher.until_quiet();
        watcher.seen.iter().any(|entry| entry["event"] == event)
    };
    let mut flood_and = |event: &str| {
        for (name, count) in [("tick", FLOOD), (event, 1)] {
            let channel = if name == event { "rare" } else { "flood" };
            for _ in 0..count {
                let body = event_body(channel, name, "1");
                http.send_signed(&crate::harness::APP, "POST", EVENTS, &body);
            }
        }
        for _ in 0..=FLOOD {
            assert_eq!(http.read().status(), 200);
        }
    };
    // The other node learns of it with its next sign of life.
    let mut floods = 0;
    eventually(PATIENCE * 3, "the other node looks for it", || {
        floods += 1;
        flood_and(&format!("first-{floods}"));
        is_heard(&mut watcher, &format!("first-{floods}")).then_some(())
    });
    for n in 0..3 {
        let event = format!("then-{n}");
        flood_and(&event);
        watcher.find(&event, |entry| entry["event"] == *event);
    }
    assert!(watcher.skipped > 0);
}

#[test]
fn an_outage_loses_entries_of_others_and_nothing_else() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(&impatient(), &[redis.url(), proxy.url()]);
    let mut watcher = watcher(&nodes, 0);
    let mut subscriber = Ws::subscribed(&nodes[0], "x");
    proxy.cut();
    publish(&nodes[1], "x", "lost");
    assert_eq!(publish(&nodes[0], "x", "here").status(), 200);
    assert_eq!(subscriber.text(), event("x", "here"));
    watcher.until("this node's own", |entry| entry["data"] == "here");
    proxy.pass();
    let name = &names(&nodes)[1];
    eventually(PATIENCE, "the other node is heard again", || {
        publish(&nodes[1], "x", "again");
        let mut heard = false;
        while let Some(entry) = watcher.within(std::time::Duration::from_millis(100)) {
            heard |= entry["node"] == *name && entry["data"] == "again";
        }
        heard.then_some(())
    });
    drop(subscriber);
}

#[test]
fn a_node_that_dies_with_its_consoles_is_told_nothing_for_long() {
    let mut nodes = nodes(2, &impatient());
    let watcher = watcher(&nodes, 1);
    nodes.kill_last();
    drop(watcher);
    eventually(LEASE * 5, "the other one makes no entries", || {
        let before = nodes.counter("feed_entries");
        nodes[0].trigger("x", "e", "1");
        (nodes.counter("feed_entries") == before).then_some(())
    });
}

#[test]
fn a_redis_cluster_carries_the_feed_too() {
    let redis = RedisCluster::start();
    let nodes = Nodes::same(&Config::new().redis("cluster", &redis.toml()), 2);
    let mut watcher = watcher(&nodes, 0);
    nodes[1].trigger("x", "e", "1");
    let published = watcher.until("it is told", |entry| entry["event"] == "e");
    assert_eq!(published["subscriptions"], 0);
}

#[test]
fn channels_members_and_counts_are_the_cluster_s() {
    let nodes = nodes(2, &Config::new());
    let mut ws = Ws::connect(&nodes[0]);
    let data = r#"{"user_id":7,"user_info":{"name":"Ada|Bob"}}"#;
    ws.subscribe(Observer::CHANNEL, Some(data));
    for node in &*nodes {
        let ask = |path: &str| {
            let path = format!("/console/api/apps/app-id/channels{path}");
            node.admin(&path).json()
        };
        let row = json!({
            "name": "presence-x", "kind": "presence", "cache": false, "subscriptions": 1, "members": 1,
        });
        assert_eq!(ask(""), json!({"channels": [row], "total": 1}));
        let members = json!([{"user_id": "7", "user_info": {"name": "Ada|Bob"}}]);
        assert_eq!(ask("/presence-x")["members"], members);
        let wish = json!({"channel": "presence-x", "event": "e", "data": "1"}).to_string();
        let headers = [("Content-Type", "application/json")];
        let path = "/console/api/apps/app-id/events";
        let answer = Http::connect(node.admin).request("POST", path, &headers, &wish);
        assert_eq!(
            answer.json(),
            json!({"status": 200, "body": "{}", "subscriptions": 1})
        );
        assert_eq!(ws.json()["event"], "e");
    }
    let clustered = nodes[0].admin("/console/api/session").json()["clustered"].clone();
    assert_eq!(clustered, true);
}
