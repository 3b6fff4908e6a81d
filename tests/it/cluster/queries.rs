//! What backends ask is answered the same by every node, also by one that has no clients.

use serde_json::{Value, json};

use crate::harness::{Config, OTHER_APP, Observer, Ws};

use super::nodes;

#[test]
fn counts_channels_and_users_are_the_same_from_every_node() {
    let nodes = nodes(3, &Config::new().other_app(OTHER_APP));
    let mut first = Ws::connect(&nodes[0]);
    let mut second = Ws::connect(&nodes[1]);
    for channel in ["x", "private-x", "private-y", "cache-x"] {
        first.subscribe(channel, None);
    }
    assert_eq!(first.told("pusher:cache_miss"), json!({}));
    second.subscribe("x", None);
    let mut other = Ws::open(&nodes[0], "/app/other-key?protocol=7", &[]);
    other.established();
    other.subscribe("of-the-other-app", None);
    let members = [(0, "ada"), (1, "ada"), (1, "bob")];
    let members = members.map(|(at, user)| Observer::joined(&nodes[at], user));

    let all = json!({"presence-x": {}, "cache-x": {}, "private-x": {}, "private-y": {}, "x": {}});
    let expected = [
        ("channels", json!({"channels": all})),
        (
            "channels?filter_by_prefix=private-&info=subscription_count",
            json!({"channels": {
                "private-x": {"subscription_count": 1}, "private-y": {"subscription_count": 1},
            }}),
        ),
        (
            "channels?filter_by_prefix=presence-&info=user_count",
            json!({"channels": {"presence-x": {"user_count": 2}}}),
        ),
        ("channels?filter_by_prefix=none", json!({"channels": {}})),
        (
            "channels/x?info=subscription_count",
            json!({"occupied": true, "subscription_count": 2}),
        ),
        (
            "channels/presence-x?info=user_count,subscription_count",
            json!({"occupied": true, "user_count": 2, "subscription_count": 3}),
        ),
        (
            "channels/nobody?info=subscription_count",
            json!({"occupied": false, "subscription_count": 0}),
        ),
        (
            "channels/presence-x/users",
            json!({"users": [{"id": "ada"}, {"id": "bob"}]}),
        ),
    ];
    for node in &*nodes {
        for (question, answer) in &expected {
            let told = node.get(&format!("/apps/app-id/{question}")).json();
            assert_eq!(sorted(told), *answer, "{question}");
        }
        let body = r#"{"name":"e","channels":["x","presence-x"],"data":"1","info":"subscription_count,user_count"}"#;
        let told = node.post(super::EVENTS, body).json();
        let counts = json!({
            "x": {"subscription_count": 2}, "presence-x": {"subscription_count": 3, "user_count": 2},
        });
        assert_eq!(told["channels"], counts);
    }
    drop(members);
}

/// The users of an answer in one order.
fn sorted(mut answer: Value) -> Value {
    if let Some(users) = answer["users"].as_array_mut() {
        users.sort_by_key(Value::to_string);
    } else if let Some(answer) = answer.as_object_mut() {
        answer.remove("users");
    }
    answer
}
