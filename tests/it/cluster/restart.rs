//! Redis comes back with nothing in it: the nodes know what it should know.

use std::time::Duration;

use crate::harness::{
    Config, Nodes, Observer, RedisServer, Server, Ws, eventually, listed, members,
};

use super::stream::{assert_complete, publish_from};
use super::{await_acceptance, channels, event, publish, subscriber_on_each, subscriptions};

/// After that, every answer is right again.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn counts_members_and_channels_are_right_again_and_nobody_is_told_nonsense() {
    let mut redis = RedisServer::start();
    let nodes = Nodes::over(&redis, 2, &Config::new());
    let mut subscribers = subscriber_on_each(&nodes, "x");
    let mut only = Ws::subscribed(&nodes[1], "only-there");
    let names = [(0, "ada"), (1, "ada"), (1, "bob")];
    let mut observers = names.map(|(at, user)| Observer::joined(&nodes[at], user));
    for observer in &mut observers {
        observer.sees(&members(["ada", "bob"]));
        observer.changes.clear();
    }

    redis.restart_empty();
    for node in &*nodes {
        eventually(SOON, "every answer is right again", || {
            is_right(node).then_some(())
        });
    }
    for (number, node) in nodes.iter().enumerate() {
        let data = number.to_string();
        await_acceptance(node, "x", &data);
        for ws in &mut subscribers {
            assert_eq!(ws.text(), event("x", &data));
        }
    }
    // It still comes and goes as it should.
    drop(Observer::joined(&nodes[0], "carl"));
    for observer in &mut observers {
        eventually(SOON, "carl has come and gone", || {
            observer.is_alive();
            (observer.changes == ["+carl", "-carl"]).then_some(())
        });
    }
    for ws in &mut subscribers {
        ws.silent();
    }
    only.silent();
}

fn is_right(node: &Server) -> bool {
    let ready = node.admin("/health").json()["cluster"]["status"] == "up";
    // Until it is up it may say that it does not know.
    ready
        && channels(node) == ["only-there", "presence-x", "x"]
        && subscriptions(node, "x") == 2
        && subscriptions(node, "presence-x") == 3
        && listed(node) == members(["ada", "bob"])
}

/// From the first one that the new Redis took, whichever node was back first.
#[test]
fn what_is_accepted_after_the_restart_arrives_everywhere() {
    let mut redis = RedisServer::start();
    let nodes = Nodes::over(&redis, 3, &Config::new());
    let mut subscribers = subscriber_on_each(&nodes, "x");
    for number in 0..20 {
        let data = format!("before {number}");
        assert_eq!(publish(nodes.for_request(), "x", &data).status(), 200);
        for ws in &mut subscribers {
            assert_eq!(ws.text(), event("x", &data));
        }
    }
    redis.restart_empty();
    let sent = publish_from(&[&nodes[0], &nodes[1]], Duration::from_secs(3));
    for ws in &mut subscribers {
        assert_complete(ws, &sent);
    }
}

/// A cache channel's event went with Redis, or not: whoever comes gets the last one or a miss, and the next one is
/// kept again.
#[test]
fn a_cache_channel_goes_on() {
    let mut redis = RedisServer::start();
    let nodes = Nodes::over(&redis, 2, &Config::new());
    assert_eq!(publish(&nodes[0], "cache-x", "lost").status(), 200);
    let mut stays = Ws::subscribed(&nodes[1], "cache-x");
    assert_eq!(stays.text(), event("cache-x", "lost"));
    redis.restart_empty();
    await_acceptance(&nodes[0], "cache-x", "kept");
    assert_eq!(stays.text(), event("cache-x", "kept"));
    for node in &*nodes {
        let mut ws = Ws::subscribed(node, "cache-x");
        assert_eq!(ws.text(), event("cache-x", "kept"));
    }
}
