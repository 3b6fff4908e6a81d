//! Presence across nodes: a member is a user, however many connections it has on however many nodes.

use crate::harness::{Config, Members, Observer, PATIENCE, Ws, eventually, listed, members};
use crate::presence_random;

use super::nodes;

#[test]
fn every_view_on_three_nodes_agrees_with_the_model() {
    presence_random::wander_and_compare(&nodes(3, &presence_random::config()));
}

/// Each round one user comes with several connections at the same time and goes with all of them at the same time.
#[test]
fn concurrent_joins_of_one_user_are_one_member() {
    const ROUNDS: usize = 15;
    const CONNECTIONS: usize = 6;
    let nodes = nodes(3, &Config::new());
    let mut watchers: Vec<Observer> = Vec::new();
    let mut present = Members::new();
    for (number, node) in nodes.iter().enumerate() {
        let name = format!("watcher-{number}");
        present.insert(name.clone());
        watchers.push(Observer::joined(node, &name));
    }
    for watcher in &mut watchers {
        watcher.sees(&present);
        watcher.changes.clear();
    }
    let mut expected = Vec::new();
    for round in 0..ROUNDS {
        let user = format!("u{round}");
        let mut all = present.clone();
        all.insert(user.clone());
        let mut joining: Vec<Observer> = (0..CONNECTIONS)
            .map(|_| Observer::connect(nodes.for_connection()))
            .collect();
        for joiner in &mut joining {
            joiner.send_join(&user);
        }
        for joiner in &mut joining {
            joiner.await_snapshot();
            joiner.sees(&all);
            assert!(joiner.changes.is_empty(), "{:?}", joiner.changes);
        }
        for watcher in &mut watchers {
            watcher.sees(&all);
        }
        drop(joining);
        for watcher in &mut watchers {
            watcher.sees(&present);
        }
        expected.extend([format!("+{user}"), format!("-{user}")]);
    }
    for watcher in &mut watchers {
        watcher.is_alive();
        assert_eq!(watcher.changes, expected);
    }
}

#[test]
fn a_channel_is_full_for_all_nodes_together() {
    const MOST: usize = 10;
    let nodes = nodes(3, &Config::new().limit("presence_members", "10"));
    let mut joining: Vec<Ws> = (0..30)
        .map(|_| Ws::connect(nodes.for_connection()))
        .collect();
    for (number, ws) in joining.iter_mut().enumerate() {
        let member = format!(r#"{{"user_id":"u{number}"}}"#);
        ws.send_subscribe(Observer::CHANNEL, Some(&member));
    }
    let mut inside = Members::new();
    for (number, ws) in joining.iter_mut().enumerate() {
        let first = ws.json();
        if first["event"] == "pusher_internal:subscription_succeeded" {
            inside.insert(format!("u{number}"));
        } else {
            let message = first["data"]["message"].as_str().unwrap_or_default();
            assert!(message.contains("full: the limit is 10"), "{first}");
        }
    }
    assert_eq!(inside.len(), MOST);
    for node in &*nodes {
        assert_eq!(listed(node), inside);
    }
    // Another connection of a member is no other member; a place that becomes free is given again, anywhere.
    let member = inside.first().cloned().unwrap();
    let mut again = Observer::joined(&nodes[1], &member);
    let number: usize = member[1..].parse().unwrap();
    drop(joining.swap_remove(number));
    again.leave();
    inside.remove(&member);
    eventually(PATIENCE, "it has left", || {
        (listed(&nodes[2]) == inside).then_some(())
    });
    let newcomer = Observer::joined(&nodes[2], "newcomer");
    inside.insert("newcomer".to_owned());
    assert_eq!(newcomer.view, inside);
}

#[test]
fn a_member_stays_while_any_node_has_a_connection_of_it() {
    let nodes = nodes(3, &Config::new());
    let mut ada = Observer::joined(&nodes[0], "ada");
    let first = Observer::joined(&nodes[1], "bob");
    let second = Observer::joined(&nodes[2], "bob");
    assert_eq!(second.view, members(["ada", "bob"]));
    drop(first);
    let third = Observer::joined(&nodes[0], "bob");
    drop(second);
    ada.sees(&members(["ada", "bob"]));
    drop(third);
    ada.sees(&members(["ada"]));
    assert_eq!(ada.changes, ["+bob", "-bob"]);
}
