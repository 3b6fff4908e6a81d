//! Backends are told once, whichever node noticed.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Config, Nodes, Observer, PATIENCE, Proxy, Receiver, RedisServer, Reply, Ws, eventually,
};

use super::nodes;

/// Nodes that all tell the same backend, at once.
pub(super) fn config(receiver: &Receiver) -> Config {
    super::impatient()
        .server("drain_seconds", "0")
        .webhooks("linger_seconds", "0")
        .webhook(&receiver.webhook(""))
}

pub(super) fn receiver() -> Receiver {
    Receiver::start(&[Reply::Status(200)])
}

/// All that is told until nothing more comes: these, in whatever order, and nothing else.
#[track_caller]
pub(super) fn assert_told(receiver: &Receiver, expected: &[&str]) {
    /// For what comes too much.
    const MORE: Duration = Duration::from_millis(500);
    let mut told = Vec::new();
    while told.len() < expected.len() {
        told.extend(receiver.next().events().iter().map(short));
    }
    while let Some(more) = receiver.within(MORE) {
        told.extend(more.events().iter().map(short));
    }
    told.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

/// `name channel detail`.
fn short(event: &Value) -> String {
    let text = |key: &str| match &event[key] {
        Value::Null => String::new(),
        Value::String(text) => format!("{text} "),
        other => format!("{other} "),
    };
    let all = ["name", "channel", "user_id", "subscription_count"].map(text);
    all.concat().trim_end().to_owned()
}

#[test]
fn a_channel_is_occupied_and_vacated_once_for_all_nodes() {
    let receiver = receiver();
    let nodes = nodes(2, &config(&receiver));
    let mut all: Vec<Ws> = connected(&nodes, 6);
    for ws in &mut all {
        ws.send_subscribe("x", None);
    }
    for ws in &mut all {
        ws.told("pusher_internal:subscription_succeeded");
    }
    assert_told(&receiver, &["channel_occupied x"]);
    drop(all);
    assert_told(&receiver, &["channel_vacated x"]);
    // The last one leaves on another node than the first one came on.
    let first = Ws::subscribed(&nodes[0], "y");
    assert_told(&receiver, &["channel_occupied y"]);
    let last = Ws::subscribed(&nodes[1], "y");
    drop(first);
    assert_told(&receiver, &[]);
    drop(last);
    assert_told(&receiver, &["channel_vacated y"]);
}

fn connected(nodes: &Nodes, many: usize) -> Vec<Ws> {
    (0..many)
        .map(|_| Ws::connect(nodes.for_connection()))
        .collect()
}

#[test]
fn a_member_is_added_and_removed_once_for_all_nodes() {
    let receiver = receiver();
    let nodes = nodes(2, &config(&receiver));
    let mut all: Vec<Observer> = (0..6)
        .map(|_| Observer::connect(nodes.for_connection()))
        .collect();
    for observer in &mut all {
        observer.send_join("ada");
    }
    for observer in &mut all {
        observer.await_snapshot();
    }
    assert_told(
        &receiver,
        &["channel_occupied presence-x", "member_added presence-x ada"],
    );
    let bob = Observer::joined(&nodes[1], "bob");
    assert_told(&receiver, &["member_added presence-x bob"]);
    drop(all);
    assert_told(&receiver, &["member_removed presence-x ada"]);
    drop(bob);
    assert_told(
        &receiver,
        &[
            "channel_vacated presence-x",
            "member_removed presence-x bob",
        ],
    );
}

#[test]
fn a_miss_and_a_count_are_told_once_for_all_nodes() {
    let receiver = receiver();
    // A count is told to those only who ask for it.
    let asked = "events = [\"channel_occupied\", \"channel_vacated\", \"cache_miss\", \"subscription_count\"]";
    let config = super::impatient()
        .server("drain_seconds", "0")
        .webhooks("linger_seconds", "0")
        .webhook(&receiver.webhook(asked))
        .app("subscription_count", "true");
    let nodes = nodes(2, &config);
    let first = Ws::subscribed(&nodes[0], "cache-x");
    assert_told(
        &receiver,
        &[
            "channel_occupied cache-x",
            "cache_miss cache-x",
            "subscription_count cache-x 1",
        ],
    );
    // The gap is known already.
    let second = Ws::subscribed(&nodes[1], "cache-x");
    assert_told(&receiver, &["subscription_count cache-x 2"]);
    drop(first);
    assert_told(&receiver, &["subscription_count cache-x 1"]);
    drop(second);
    assert_told(&receiver, &["channel_vacated cache-x"]);
}

/// Who comes back within the linger was never away, wherever it was and wherever it comes back.
#[test]
fn a_return_on_another_node_within_the_linger_is_not_told() {
    let receiver = receiver();
    let nodes = nodes(2, &config(&receiver).webhooks("linger_seconds", "2"));
    let mut other = Ws::subscribed(&nodes[0], "y");
    let ada = Observer::joined(&nodes[0], "ada");
    assert_told(
        &receiver,
        &[
            "channel_occupied y",
            "channel_occupied presence-x",
            "member_added presence-x ada",
        ],
    );
    drop(ada);
    let ada = Observer::joined(&nodes[1], "ada");
    assert!(
        receiver.within(Duration::from_secs(3)).is_none(),
        "nobody stayed away"
    );
    drop(ada);
    assert_told(
        &receiver,
        &[
            "channel_vacated presence-x",
            "member_removed presence-x ada",
        ],
    );
    other.silent();
    drop(other);
    assert_told(&receiver, &["channel_vacated y"]);
}

/// What Redis has decided and a connection that broke has not told, is told by the next one.
#[test]
fn a_change_whose_answer_was_lost_is_told_once() {
    let receiver = receiver();
    let way = Way::with(&config(&receiver).webhooks("linger_seconds", "3"));
    let mut ada = Observer::connect(&way.nodes[0]);
    way.proxy.delay(DELAY);
    ada.send_join("ada");
    eventually(PATIENCE, "ada is a member", || {
        way.has("members:*").then_some(())
    });
    way.lose_the_answer();
    ada.await_snapshot();
    assert_told(
        &receiver,
        &["channel_occupied presence-x", "member_added presence-x ada"],
    );
    drop(ada);
    eventually(PATIENCE, "her leaving waits", || {
        way.has("linger").then_some(())
    });
    way.proxy.delay(DELAY);
    eventually(PATIENCE, "her leaving is decided", || {
        (!way.has("linger")).then_some(())
    });
    way.lose_the_answer();
    assert_told(
        &receiver,
        &[
            "channel_vacated presence-x",
            "member_removed presence-x ada",
        ],
    );
}

#[test]
fn a_count_whose_answer_was_lost_is_told_once() {
    let receiver = receiver();
    let asked = receiver.webhook("events = [\"subscription_count\"]");
    let config = super::impatient().webhook(&asked);
    let way = Way::with(&config.app("subscription_count", "true"));
    let _first = Ws::subscribed(&way.nodes[0], "x");
    assert_told(&receiver, &["subscription_count x 1"]);
    let mut second = Ws::connect(&way.nodes[0]);
    way.proxy.delay(DELAY);
    second.send_subscribe("x", None);
    let state = format!("{}:{{0}}:state:app-id:x", way.nodes.prefix());
    eventually(PATIENCE, "Redis counts it", || {
        let total = RedisServer::shared().cli(&["HGET", &state, "total"]);
        (total == "2").then_some(())
    });
    way.lose_the_answer();
    assert_told(&receiver, &["subscription_count x 2"]);
}

#[test]
fn a_count_that_was_held_back_is_told_though_answers_are_lost() {
    /// From which on not each is told at once.
    const MANY: usize = 101;
    let receiver = receiver();
    let asked = receiver.webhook("events = [\"subscription_count\"]");
    let config = super::impatient().webhook(&asked);
    let way = Way::with(&config.app("subscription_count", "true"));
    let subscribed = || Ws::subscribed(&way.nodes[0], "x");
    let _all: Vec<Ws> = (0..MANY).map(|_| subscribed()).collect();
    way.proxy.delay(DELAY);
    assert!(way.has("due"), "the last one is held back");
    eventually(PATIENCE, "its time has come", || {
        (!way.has("due")).then_some(())
    });
    way.lose_the_answer();
    while short(&receiver.event()) != format!("subscription_count x {MANY}") {}
}

/// What was under way on a connection that broke may reach Redis behind what was registered on the next one.
#[test]
fn a_registration_that_comes_late_changes_nothing() {
    let receiver = receiver();
    let way = Way::with(&config(&receiver));
    let mut monitor = RedisServer::shared().connect();
    monitor.ask(&["MONITOR"]).expect("redis-server answers");
    let ada = Observer::joined(&way.nodes[0], "ada");
    let registration = loop {
        let line = monitor.read().expect("a line").text();
        if line.contains("EVALSHA") && line.contains(way.nodes.prefix()) && line.contains("\"ada\"")
        {
            break line;
        }
    };
    drop(monitor);
    assert_told(
        &receiver,
        &["channel_occupied presence-x", "member_added presence-x ada"],
    );
    way.proxy.reset();
    drop(ada);
    assert_told(
        &receiver,
        &[
            "channel_vacated presence-x",
            "member_removed presence-x ada",
        ],
    );
    let (_, words) = registration.split_once("] \"").expect("a command");
    let words: Vec<&str> = words
        .strip_suffix('"')
        .unwrap_or(words)
        .split("\" \"")
        .collect();
    RedisServer::shared().ask(&words);
    assert_told(&receiver, &[]);
    assert!(!way.has("members:*"), "she is back");
}

const DELAY: Duration = Duration::from_secs(1);

/// One node, and its way to the shared Redis.
struct Way {
    proxy: Proxy,
    nodes: Nodes,
}

impl Way {
    fn with(config: &Config) -> Self {
        let proxy = Proxy::start(RedisServer::shared().address());
        let nodes = Nodes::linked(config, &[proxy.url()]);
        Self { proxy, nodes }
    }

    fn has(&self, name: &str) -> bool {
        let pattern = format!("{}:*:{name}", self.nodes.prefix());
        !RedisServer::shared().keys(&pattern).is_empty()
    }

    fn lose_the_answer(&self) {
        self.proxy.cut();
        self.proxy.delay(Duration::ZERO);
        self.proxy.pass();
    }
}
