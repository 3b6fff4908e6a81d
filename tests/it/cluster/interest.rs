//! A node hears of the channels that its own clients are subscribed to, and of no others.

use crate::harness::{Config, PATIENCE, Server, Ws, eventually};

use super::{event, nodes, publish};

#[test]
fn a_node_receives_only_what_its_clients_are_subscribed_to() {
    let nodes = nodes(2, &Config::new());
    receive_only_what_is_wanted(&nodes);
}

/// On any nodes, of which the last two are looked at.
pub(super) fn receive_only_what_is_wanted(nodes: &[Server]) {
    const EVENTS: u64 = 50;
    let [.., a, b] = nodes else {
        panic!("at least two nodes");
    };
    let mut on_a = Ws::connect(a);
    let names: Vec<String> = (0..5).map(|number| format!("wanted-{number}")).collect();
    for name in &names {
        on_a.subscribe(name, None);
    }
    let mut on_b = Ws::subscribed(b, "other");

    let received = || [a, b].map(|node| node.counter("cluster_messages_received"));
    let [before_a, before_b] = received();
    for number in 0..EVENTS {
        let name = &names[usize::try_from(number).unwrap() % names.len()];
        publish_and_read(b, name, &number.to_string(), &mut on_a);
    }
    assert_eq!(received(), [before_a + EVENTS, before_b]);
    for number in 0..EVENTS {
        publish_and_read(a, "other", &number.to_string(), &mut on_b);
    }
    assert_eq!(received(), [before_a + EVENTS, before_b + EVENTS]);
    // Its own events it knows already; that they come back to it may count or not.
    for number in 0..EVENTS {
        publish_and_read(a, &names[0], &number.to_string(), &mut on_a);
    }
    let [after_a, after_b] = received();
    assert_eq!(after_b, before_b + EVENTS);
    assert!((before_a + EVENTS..=before_a + 2 * EVENTS).contains(&after_a));
}

fn publish_and_read(node: &Server, channel: &str, data: &str, subscriber: &mut Ws) {
    assert_eq!(publish(node, channel, data).status(), 200);
    assert_eq!(subscriber.text(), event(channel, data));
}

#[test]
fn interest_ends_after_the_last_subscriber_has_gone() {
    let nodes = nodes(2, &Config::new());
    let mut stays = Ws::subscribed(&nodes[0], "stays");
    let mut first = Ws::subscribed(&nodes[0], "left");
    let second = Ws::subscribed(&nodes[0], "left");
    drop(second);
    publish_and_read(&nodes[1], "left", "one is still there", &mut first);
    first.unsubscribe("left");
    eventually(PATIENCE, "the node wants it no more", || {
        let before = nodes[0].counter("cluster_messages_received");
        assert_eq!(publish(&nodes[1], "left", "nobody").status(), 200);
        publish_and_read(&nodes[1], "stays", "behind it", &mut stays);
        let after = nodes[0].counter("cluster_messages_received");
        (after == before + 1).then_some(())
    });
    first.silent();
    // And it begins again.
    first.subscribe("left", None);
    publish_and_read(&nodes[1], "left", "again", &mut first);
}
