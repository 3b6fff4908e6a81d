//! What is published on any node reaches its subscribers on all nodes once, in the order of its publisher. The
//! transcripts say the same of every frame; here it is said which node does what.

use std::time::Duration;

use crate::harness::{Config, Nodes, PATIENCE, Server, Ws, eventually};
use crate::{ordering, watchlist_random};

use super::stream::{assert_complete, publish_from};
use super::{event, nodes, publish, subscriber_on_each, subscriptions};

#[test]
fn publishers_on_two_nodes_reach_subscribers_on_three() {
    let nodes = nodes(3, &Config::new());
    publish_on_all_and_compare(&nodes);
}

/// A publisher on each node but the first, two subscribers on all.
pub(super) fn publish_on_all_and_compare(nodes: &[Server]) {
    let mut subscribers = subscriber_on_each(nodes, "x");
    subscribers.extend(subscriber_on_each(nodes, "x"));
    let publishers: Vec<&Server> = nodes[1..].iter().collect();
    let sent = publish_from(&publishers, Duration::from_secs(2));
    for sent in &sent {
        assert!(sent.refused.is_empty(), "{:?}", sent.refused);
    }
    for ws in &mut subscribers {
        assert_complete(ws, &sent);
    }
}

/// A backend behind a load balancer: it waits for each answer, and each comes from another node.
#[test]
fn the_order_of_a_publisher_holds_whichever_node_takes_its_events() {
    const EVENTS: usize = 300;
    let nodes = nodes(3, &Config::new());
    let mut subscribers = subscriber_on_each(&nodes, "x");
    for number in 0..EVENTS {
        let response = publish(nodes.for_request(), "x", &number.to_string());
        assert_eq!(response.status(), 200, "{response:?}");
    }
    for ws in &mut subscribers {
        for number in 0..EVENTS {
            assert_eq!(ws.text(), event("x", &number.to_string()));
        }
        ws.silent();
    }
}

#[test]
fn a_late_subscriber_on_any_node_misses_nothing_after_its_success() {
    for channel in ["x", "cache-x"] {
        ordering::subscribe_amid_events(&nodes(3, &Config::new()), channel);
    }
}

#[test]
fn the_excluded_socket_is_passed_over_on_its_own_node() {
    let nodes = nodes(3, &Config::new());
    let mut subscribers = subscriber_on_each(&nodes, "x");
    for excluded in 0..subscribers.len() {
        let id = subscribers[excluded].socket_id().to_owned();
        for (number, node) in nodes.iter().enumerate() {
            let body =
                format!(r#"{{"name":"e","channel":"x","data":"{number}","socket_id":"{id}"}}"#);
            assert_eq!(node.post(super::EVENTS, &body).status(), 200);
        }
        assert_eq!(publish(&nodes[0], "x", "all").status(), 200);
        for (at, ws) in subscribers.iter_mut().enumerate() {
            let spared = if at == excluded { 3 } else { 0 };
            for number in spared..nodes.len() {
                assert_eq!(ws.text(), event("x", &number.to_string()));
            }
            assert_eq!(ws.text(), event("x", "all"));
        }
    }
}

#[test]
fn client_events_reach_the_others_on_every_node_in_order() {
    const EVENTS: usize = 200;
    let config = Config::new()
        .app("client_events", "true")
        .limit("client_events_per_second", "10000");
    let nodes = nodes(3, &config);
    let mut sender = Ws::subscribed(&nodes[0], "private-x");
    let mut receivers = subscriber_on_each(&nodes, "private-x");
    let frame = |number: usize| {
        format!(r#"{{"event":"client-e","channel":"private-x","data":"{number}"}}"#)
    };
    for number in 0..EVENTS {
        sender.send(&frame(number));
    }
    for ws in &mut receivers {
        for number in 0..EVENTS {
            assert_eq!(ws.text(), frame(number));
        }
    }
    sender.silent();
}

#[test]
fn a_batch_arrives_in_its_order_on_every_node() {
    let nodes = nodes(3, &Config::new());
    let mut subscribers = subscriber_on_each(&nodes, "x");
    for node in &*nodes {
        let events: Vec<String> = (0..10)
            .map(|number| format!(r#"{{"name":"e","channel":"x","data":"{number}"}}"#))
            .collect();
        let body = format!(r#"{{"batch":[{}]}}"#, events.join(","));
        assert_eq!(node.post("/apps/app-id/batch_events", &body).status(), 200);
        for ws in &mut subscribers {
            for number in 0..10 {
                assert_eq!(ws.text(), event("x", &number.to_string()));
            }
        }
    }
}

#[test]
fn a_user_is_reached_and_ended_on_every_node() {
    const ADA: &str = r#"{"id":"ada"}"#;
    let nodes = nodes(3, &Config::new());
    let mut ada = [0, 2].map(|at| Ws::signed_in(&nodes[at], ADA));
    let mut bob = Ws::signed_in(&nodes[2], r#"{"id":"bob"}"#);
    for ws in &mut ada {
        ws.subscribe("#server-to-user-ada", None);
    }
    for node in &*nodes {
        assert_eq!(publish(node, "#server-to-user-ada", "1").status(), 200);
        for ws in &mut ada {
            assert_eq!(ws.text(), event("#server-to-user-ada", "1"));
        }
    }
    let terminated = nodes[1].post("/apps/app-id/users/ada/terminate_connections", "{}");
    assert_eq!(terminated.status(), 200);
    for mut ws in ada {
        assert_eq!(ws.closed().0, 4009);
    }
    bob.silent();
    Ws::signed_in(&nodes[1], ADA).silent();
}

#[test]
fn watchers_on_three_nodes_agree_with_the_model() {
    watchlist_random::wander_and_compare(&nodes(3, &Config::new()));
}

#[test]
fn subscribers_are_told_how_many_they_are_on_all_nodes() {
    const COUNT: &str = "pusher_internal:subscription_count";
    let nodes = nodes(2, &Config::new().app("subscription_count", "true"));
    let mut first = Ws::subscribed(&nodes[0], "x");
    assert_eq!(first.told(COUNT)["subscription_count"], 1);
    let mut second = Ws::subscribed(&nodes[1], "x");
    for ws in [&mut first, &mut second] {
        assert_eq!(ws.told(COUNT)["subscription_count"], 2);
    }
    drop(second);
    assert_eq!(first.told(COUNT)["subscription_count"], 1);
    // However many come at once, on whichever node: the last that is told is right.
    let others: Vec<Ws> = (0..20)
        .map(|_| Ws::subscribed(nodes.for_connection(), "x"))
        .collect();
    let mut told = 1;
    while told < 21 {
        let next = first.told(COUNT)["subscription_count"].as_u64().unwrap();
        assert!(next > told, "{next} after {told}");
        told = next;
    }
    drop(others);
    while told > 1 {
        let next = first.told(COUNT)["subscription_count"].as_u64().unwrap();
        assert!(next < told, "{next} after {told}");
        told = next;
    }
    assert_eq!(subscriptions(&nodes[1], "x"), 1);
}

#[test]
fn what_is_kept_of_a_cache_channel_is_known_to_every_node() {
    let nodes = nodes(3, &Config::new());
    let mut missing = Ws::subscribed(&nodes[0], "cache-x");
    assert_eq!(missing.told("pusher:cache_miss"), serde_json::json!({}));
    drop(missing);
    for (round, publisher) in nodes.iter().enumerate() {
        let data = round.to_string();
        // Whether somebody is there or nobody.
        let present = (round > 0).then(|| hit(&nodes, 0, &(round - 1).to_string()));
        assert_eq!(publish(publisher, "cache-x", &data).status(), 200);
        for at in 0..nodes.len() {
            hit(&nodes, at, &data);
            let target = "/apps/app-id/channels/cache-x?info=cache";
            assert_eq!(nodes[at].get(target).json()["cache"]["data"], data);
        }
        if let Some(mut ws) = present {
            assert_eq!(ws.text(), event("cache-x", &data));
        }
        eventually(PATIENCE, "everybody has left", || {
            (subscriptions(&nodes[0], "cache-x") == 0).then_some(())
        });
    }
}

/// A subscriber that is greeted with this.
fn hit(nodes: &Nodes, at: usize, data: &str) -> Ws {
    let mut ws = Ws::subscribed(&nodes[at], "cache-x");
    assert_eq!(ws.text(), event("cache-x", data));
    ws
}
