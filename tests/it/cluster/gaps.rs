//! No gap on a blip: while links to Redis break, every accepted event arrives everywhere, once and in order. What
//! cannot be recovered is counted.

use std::thread;
use std::time::Duration;

use crate::harness::{Config, Nodes, PATIENCE, Proxy, RedisServer, Server, Ws, eventually};

use super::stream::{Sent, assert_complete, publish_meanwhile};
use super::{await_acceptance, event, publish, subscriber_on_each};

const TIME: Duration = Duration::from_secs(5);

fn assert_all_complete(nodes: &[Server], mut subscribers: Vec<Ws>, sent: &[Sent]) {
    for (number, ws) in subscribers.iter_mut().enumerate() {
        eprintln!("the subscriber on node {number}");
        assert_complete(ws, sent);
    }
    for (number, node) in nodes.iter().enumerate() {
        let [reconnects, recovered, gaps] = ["reconnects", "events_recovered", "gaps"]
            .map(|name| node.counter(&format!("cluster_{name}")));
        eprintln!("node {number}: {reconnects} reconnects, {recovered} recovered, {gaps} gaps");
        assert_eq!(gaps, 0);
    }
}

/// The connections of all nodes are killed again and again, at the same time. Each has subscribed to what others ask its
/// node, so Redis counts them as of this type, also those of a node that only publishes.
fn publish_amid_killings(redis: &RedisServer, nodes: &Nodes) -> Vec<Sent> {
    let sent = publish_meanwhile(&[&nodes[0], &nodes[1]], TIME, |publishing| {
        while publishing() {
            redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            for node in nodes.iter() {
                await_acceptance(node, "another", "");
            }
        }
    });
    assert!(nodes.counter("cluster_reconnects") > 10);
    for sent in &sent {
        assert!(
            sent.refused.is_empty(),
            "Redis takes everything all the time"
        );
    }
    sent
}

#[test]
fn killed_pub_sub_connections_lose_and_double_nothing() {
    let redis = RedisServer::start();
    let nodes = Nodes::over(&redis, 3, &Config::new());
    let subscribers = subscriber_on_each(&nodes, "x");
    let sent = publish_amid_killings(&redis, &nodes);
    assert_all_complete(&nodes, subscribers, &sent);
}

/// The connections of nodes that only publish: what was on its way when one broke is sent again, and taken once.
#[test]
fn killed_connections_of_publishers_lose_and_double_nothing() {
    let redis = RedisServer::start();
    let nodes = Nodes::over(&redis, 3, &Config::new());
    let subscribers = vec![Ws::subscribed(&nodes[2], "x")];
    let sent = publish_amid_killings(&redis, &nodes);
    assert_all_complete(&nodes, subscribers, &sent);
}

/// The events of the node whose link breaks may be refused: those may arrive or not, but not twice.
#[test]
fn a_link_that_breaks_again_and_again_loses_nothing() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(&Config::new(), &[redis.url(), redis.url(), proxy.url()]);
    let subscribers = subscriber_on_each(&nodes, "x");
    let sent = publish_meanwhile(&[&nodes[0], &nodes[2]], TIME, |publishing| {
        let mut ways = [Proxy::cut, Proxy::reset, Proxy::stall].iter().cycle();
        while publishing() {
            let way = ways.next().expect("there is always a next one");
            way(&proxy);
            thread::sleep(Duration::from_millis(250));
            proxy.pass();
            await_acceptance(&nodes[2], "another", "");
        }
    });
    assert!(sent[0].refused.is_empty(), "its link was always there");
    assert!(nodes[2].counter("cluster_events_recovered") > 0);
    assert_all_complete(&nodes, subscribers, &sent);
}

/// What was sent first arrives when it has been sent again: a network may hold the bytes of a connection that is gone.
#[test]
fn an_event_that_arrives_behind_its_repetition_is_taken_once() {
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(&Config::new(), &[proxy.url(), redis.url()]);
    let mut subscriber = Ws::subscribed(&nodes[1], "x");
    // Much more than all else that is on its way.
    let data = "a".repeat(9000);
    let size = data.len() as u64;
    proxy.delay(Duration::from_millis(1500));
    thread::scope(|scope| {
        let published = scope.spawn(|| publish(&nodes[0], "x", &data).status());
        eventually(PATIENCE, "the event is on its way", || {
            (proxy.held() > size).then_some(())
        });
        proxy.delay(Duration::ZERO);
        proxy.reset();
        assert_eq!(published.join().unwrap(), 200);
    });
    eventually(PATIENCE, "the event has arrived twice", || {
        (proxy.held() < size).then_some(())
    });
    assert_eq!(publish(&nodes[1], "x", "after").status(), 200);
    assert_eq!(subscriber.text(), event("x", &data));
    assert_eq!(subscriber.text(), event("x", "after"));
}

/// Cut for so long that the logs do not reach back.
#[test]
fn what_the_log_no_longer_holds_is_counted_and_said() {
    const CHANNELS: [&str; 3] = ["a", "b", "c"];
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    let config = Config::new().redis("log_events", "10");
    let nodes = Nodes::linked(&config, &[redis.url(), proxy.url()]);
    let mut subscriber = Ws::connect(&nodes[1]);
    for channel in CHANNELS {
        subscriber.subscribe(channel, None);
        assert_eq!(publish(&nodes[0], channel, "before").status(), 200);
        assert_eq!(subscriber.text(), event(channel, "before"));
    }
    proxy.cut();
    for number in 0..50 {
        for channel in ["a", "b"] {
            assert_eq!(
                publish(&nodes[0], channel, &number.to_string()).status(),
                200
            );
        }
    }
    // Few enough to be held.
    assert_eq!(publish(&nodes[0], "c", "held").status(), 200);
    proxy.pass();
    eventually(PATIENCE, "two channels are counted", || {
        (nodes[1].counter("cluster_gaps") == 2).then_some(())
    });
    let log = nodes[1].log();
    let said = log
        .lines()
        .any(|line| line.contains("2 channel") || line.contains("channels=2"));
    assert!(said, "{log}");
    for channel in CHANNELS {
        await_acceptance(&nodes[0], channel, "after");
    }
    // What could be had comes in its order, and the channel goes on behind it.
    let mut last = [None, None];
    let mut ended = 0;
    while ended < CHANNELS.len() {
        let frame = subscriber.json();
        let (channel, data) = (
            frame["channel"].as_str().unwrap(),
            frame["data"].as_str().unwrap(),
        );
        match (channel, data) {
            (_, "after") => ended += 1,
            ("c", data) => assert_eq!(data, "held"),
            (_, data) => {
                let number: u32 = data.parse().unwrap();
                let last = &mut last[usize::from(channel == "b")];
                assert!(*last < Some(number), "{number} after {last:?}");
                *last = Some(number);
            }
        }
    }
    assert_eq!(nodes[0].counter("cluster_gaps"), 0);
    subscriber.silent();
}
