//! A node that dies, stands still or is cut off for longer than its lease is gone for the others, once, and comes back
//! if it was not dead.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    Config, Members, Nodes, Observer, PATIENCE, Proxy, RedisServer, Server, Ws, eventually, listed,
    members,
};

use super::webhooks::{assert_told, config, receiver};
use super::{
    AFTER_LEASE, await_acceptance, channels, event, impatient, nodes, publish, subscriber_on_each,
    subscriptions,
};

#[test]
fn what_a_killed_node_held_is_removed_once() {
    let receiver = receiver();
    let mut nodes = nodes(3, &config(&receiver));
    let mut watchers = [0, 1].map(|at| Observer::joined(&nodes[at], &format!("watcher-{at}")));
    let watchlist = r#"{"id":"fan","watchlist":["bob"]}"#;
    let mut fan = Ws::signed_in(&nodes[0], watchlist);
    let offline = json!({"events": [{"name": "offline", "user_ids": ["bob"]}]});
    let online = json!({"events": [{"name": "online", "user_ids": ["bob"]}]});
    assert_eq!(fan.told("pusher_internal:watchlist_events"), offline);
    let mut stays = Ws::subscribed(&nodes[0], "shared");

    let bob = Observer::joined(&nodes[2], "bob");
    // Who is there on a living node too stays.
    let also = Observer::joined(&nodes[2], "watcher-0");
    let mut dies = Ws::signed_in(&nodes[2], r#"{"id":"bob"}"#);
    dies.subscribe("shared", None);
    dies.subscribe("its-own", None);
    assert_eq!(fan.told("pusher_internal:watchlist_events"), online);
    assert_told(
        &receiver,
        &[
            "channel_occupied presence-x",
            "channel_occupied shared",
            "channel_occupied its-own",
            "member_added presence-x watcher-0",
            "member_added presence-x watcher-1",
            "member_added presence-x bob",
        ],
    );
    let with_bob = members(["watcher-0", "watcher-1", "bob"]);
    for watcher in &mut watchers {
        watcher.sees(&with_bob);
        watcher.changes.clear();
    }

    nodes.kill_last();
    for watcher in &mut watchers {
        watcher.sees_within(AFTER_LEASE, &members(["watcher-0", "watcher-1"]));
    }
    assert_told(
        &receiver,
        &["channel_vacated its-own", "member_removed presence-x bob"],
    );
    for watcher in &mut watchers {
        watcher.is_alive();
        assert_eq!(watcher.changes, ["-bob"]);
    }
    assert_eq!(fan.told("pusher_internal:watchlist_events"), offline);
    for node in &*nodes {
        assert_eq!(channels(node), ["presence-x", "shared"]);
        assert_eq!(subscriptions(node, "shared"), 1);
        assert_eq!(subscriptions(node, "presence-x"), 2);
        assert_eq!(listed(node), members(["watcher-0", "watcher-1"]));
    }
    assert!(nodes.counter("cluster_reaped") > 0);
    assert_eq!(publish(&nodes[1], "shared", "1").status(), 200);
    assert_eq!(stays.text(), event("shared", "1"));
    drop((bob, also, dies));
}

#[test]
fn what_a_killed_node_had_of_a_user_is_free_again() {
    const USER: &str = r#"{"id":"7"}"#;
    let mut nodes = nodes(2, &impatient().limit("connections_per_user", "2"));
    let here = Ws::signed_in(&nodes[0], USER);
    let dies = Ws::signed_in(&nodes[1], USER);
    let mut next = Ws::connect(&nodes[0]);
    let is_in = |ws: &mut Ws| {
        ws.sign_in(USER);
        ws.text().contains("pusher:signin_success")
    };
    assert!(!is_in(&mut next));
    nodes.kill_last();
    eventually(AFTER_LEASE, "its place is free", || {
        is_in(&mut next).then_some(())
    });
    // Signed in already: no further place, and none is left.
    assert!(is_in(&mut next));
    assert!(!is_in(&mut Ws::connect(&nodes[0])));
    drop((here, dies));
}

/// A member and a subscriber on each of two nodes, of which the second will be absent for a while.
struct Scene {
    here: Observer,
    there: Observer,
    subscribers: Vec<Ws>,
}

impl Scene {
    fn begin(nodes: &Nodes) -> Self {
        let mut scene = Self {
            here: Observer::joined(&nodes[0], "here"),
            there: Observer::joined(&nodes[1], "there"),
            subscribers: subscriber_on_each(nodes, "x"),
        };
        scene.here.sees(&both());
        scene.here.changes.clear();
        scene
    }

    /// The others notice within the lease.
    fn is_missed(&mut self, by: &Server) {
        self.here.sees_within(AFTER_LEASE, &members(["here"]));
        assert_eq!(self.here.changes, ["-there"]);
        eventually(PATIENCE, "its counts are gone", || {
            (subscriptions(by, "x") == 1).then_some(())
        });
        assert_eq!(listed(by), members(["here"]));
    }

    /// All is as before; its clients have never left.
    fn is_back(&mut self, nodes: &Nodes) {
        self.here.sees(&both());
        self.there.sees(&both());
        assert_eq!(self.here.changes, ["-there", "+there"]);
        let told = &self.there.changes;
        assert!(!told.iter().any(|change| change == "-here"), "{told:?}");
        for node in &**nodes {
            eventually(PATIENCE, "the counts are right again", || {
                let right = subscriptions(node, "x") == 2 && listed(node) == both();
                right.then_some(())
            });
        }
        for (number, node) in nodes.iter().enumerate() {
            let data = format!("at the end {number}");
            await_acceptance(node, "x", &data);
            for ws in &mut self.subscribers {
                while ws.text() != event("x", &data) {}
            }
        }
        for ws in &mut self.subscribers {
            ws.silent();
        }
        for observer in [&mut self.here, &mut self.there] {
            observer.is_alive();
        }
    }
}

fn both() -> Members {
    members(["here", "there"])
}

#[test]
fn a_node_that_stood_still_for_longer_than_its_lease_comes_back() {
    let nodes = nodes(2, &impatient());
    let mut scene = Scene::begin(&nodes);
    nodes[1].signal("STOP");
    scene.is_missed(&nodes[0]);
    nodes[1].signal("CONT");
    scene.is_back(&nodes);
}

/// While it stands still, others take the places of its members, who are told so when it goes on, and are out.
#[test]
fn members_whose_places_were_taken_meanwhile_are_refused() {
    let nodes = nodes(2, &impatient().limit("presence_members", "3"));
    let mut here = Observer::joined(&nodes[0], "here");
    let displaced = ["left-1", "left-2"].map(|user| {
        let member = format!(r#"{{"user_id":"{user}"}}"#);
        let mut ws = Ws::connect(&nodes[1]);
        ws.subscribe(Observer::CHANNEL, Some(&member));
        // Of the same connection, which keeps it.
        ws.subscribe("x", None);
        ws
    });
    here.sees(&members(["here", "left-1", "left-2"]));
    nodes[1].signal("STOP");
    here.sees_within(AFTER_LEASE, &members(["here"]));
    let [first, second] = ["new-1", "new-2"].map(|user| Observer::joined(&nodes[0], user));
    let now = members(["here", "new-1", "new-2"]);
    nodes[1].signal("CONT");
    for (number, mut ws) in displaced.into_iter().enumerate() {
        let mut text = ws.text();
        while !text.contains("pusher:subscription_error") {
            text = ws.text();
        }
        assert!(text.contains("full: the limit is 3"), "{text}");
        let data = format!("still there {number}");
        await_acceptance(&nodes[0], "x", &data);
        while ws.text() != event("x", &data) {}
        // It may ask again, and is answered as everybody is.
        ws.send_subscribe(Observer::CHANNEL, Some(r#"{"user_id":"left-1"}"#));
        assert!(ws.text().contains("full: the limit is 3"));
    }
    for node in &*nodes {
        eventually(PATIENCE, "all nodes know the same", || {
            let right = listed(node) == now && subscriptions(node, Observer::CHANNEL) == 3;
            right.then_some(())
        });
    }
    here.sees(&now);
    drop((first, second));
    eventually(PATIENCE, "the places are free for whoever comes", || {
        (listed(&nodes[1]) == members(["here"])).then_some(())
    });
    let back = Observer::joined(&nodes[1], "left-1");
    assert_eq!(back.view, members(["here", "left-1"]));
}

#[test]
fn a_node_cut_off_for_longer_than_its_lease_comes_back() {
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(&impatient(), &[redis.url(), proxy.url()]);
    let mut scene = Scene::begin(&nodes);
    proxy.cut();
    scene.is_missed(&nodes[0]);
    scene.there.is_alive();
    scene.subscribers[1].silent();
    proxy.pass();
    scene.is_back(&nodes);
}

/// The link is there and carries nothing: nobody tells either side.
#[test]
fn a_node_whose_link_stalled_for_longer_than_its_lease_comes_back() {
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(&impatient(), &[redis.url(), proxy.url()]);
    let mut scene = Scene::begin(&nodes);
    proxy.stall();
    scene.is_missed(&nodes[0]);
    scene.there.is_alive();
    proxy.pass();
    scene.is_back(&nodes);
}

/// A node that goes in peace is gone at once: with the longest of leases.
#[test]
fn a_node_that_is_asked_to_go_leaves_nothing_behind() {
    let config = Config::new()
        .server("drain_seconds", "0")
        .redis("lease_seconds", "600");
    let mut nodes = nodes(2, &config);
    let mut here = Observer::joined(&nodes[0], "here");
    let there = Observer::joined(&nodes[1], "there");
    here.sees(&both());
    nodes.stop_last();
    here.sees_within(Duration::from_secs(10), &members(["here"]));
    assert_eq!(channels(&nodes[0]), ["presence-x"]);
    drop(there);
}

/// All nodes are killed and are back before their leases end, as after a crash with a supervisor: whoever comes at
/// once gets what is published at once, by whichever node, also while the dead are being removed.
#[test]
fn nodes_that_are_back_before_their_leases_end_deliver_at_once() {
    let config = impatient();
    let mut nodes = nodes(2, &config);
    let prefix = format!("{:?}", nodes.prefix());
    let subscribers = subscriber_on_each(&nodes, "x");
    nodes.kill_last();
    nodes.kill_last();
    drop(subscribers);
    let config = config
        .redis("url", &format!("{:?}", RedisServer::shared().url()))
        .redis("prefix", &prefix);
    let first = Server::start(&config);
    let mut early = Ws::subscribed(&first, "x");
    let second = Server::start(&config);
    let mut late = Ws::subscribed(&first, "x");
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < AFTER_LEASE {
        for server in [&first, &second] {
            number += 1;
            assert_eq!(publish(server, "x", &number.to_string()).status(), 200);
            for subscriber in [&mut early, &mut late] {
                assert_eq!(subscriber.text(), event("x", &number.to_string()));
            }
        }
    }
}
