//! Several nodes as one, over Redis: what is promised when all is well, and in which failure. Tests that do Redis no
//! harm share one server, each with a prefix of its own; the others start theirs.

mod console;
mod death;
mod delivery;
mod full;
mod gaps;
mod interest;
mod mistaken;
mod once;
mod outage;
mod peers;
mod presence;
mod queries;
mod redis_cost;
mod redis_footprint;
mod restart;
mod sessions;
mod shares;
mod slow;
mod stream;
mod tls;
mod topologies;
mod webhooks;

use std::time::Duration;

use crate::harness::{
    APP, Config, Http, Nodes, PATIENCE, RedisServer, Response, Server, Ws, event_body, eventually,
};

/// The shortest lease that there is.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// By when everybody has noticed that one has ended, on a loaded machine.
const AFTER_LEASE: Duration = LEASE.saturating_mul(3);

const EVENTS: &str = "/apps/app-id/events";

/// Nodes that notice soon, and do not wait long.
pub(crate) fn impatient() -> Config {
    let lease = LEASE.as_secs().to_string();
    Config::new()
        .redis("lease_seconds", &lease)
        .redis("publish_timeout", "1")
}

/// So many nodes over the shared Redis.
fn nodes(many: usize, config: &Config) -> Nodes {
    Nodes::over(RedisServer::shared(), many, config)
}

/// One subscriber on each node.
fn subscriber_on_each(nodes: &[Server], channel: &str) -> Vec<Ws> {
    let subscribed = |node| Ws::subscribed(node, channel);
    nodes.iter().map(subscribed).collect()
}

/// Publishes one event, whatever the answer.
fn publish(server: &Server, channel: &str, data: &str) -> Response {
    server.post(EVENTS, &event_body(channel, "e", data))
}

/// Publishes to each of these channels at the same time; the answers in their order.
fn publish_at_once(server: &Server, channels: &[String], data: &str) -> Vec<Response> {
    let send = |channel: &String| {
        let mut http = Http::connect(server.public);
        http.send_signed(&APP, "POST", EVENTS, &event_body(channel, "e", data));
        http
    };
    let mut waiting: Vec<Http> = channels.iter().map(send).collect();
    waiting.iter_mut().map(Http::read).collect()
}

/// A refusal because of Redis: said so, with the advice to come again.
fn assert_refused(response: &Response) {
    assert_eq!(response.status(), 503, "{response:?}");
    assert!(response.body.contains("Redis"), "{response:?}");
    assert!(
        response.head.header("retry-after").is_some(),
        "{response:?}"
    );
}

/// Publishes until Redis takes it.
fn await_acceptance(server: &Server, channel: &str, data: &str) {
    eventually(PATIENCE, "a publish is accepted", || {
        let response = publish(server, channel, data);
        if response.status() != 200 {
            assert_refused(&response);
        }
        (response.status() == 200).then_some(())
    });
}

/// The frame that a subscriber gets for [`publish`].
fn event(channel: &str, data: &str) -> String {
    let quoted = |text: &str| serde_json::to_string(text).expect("a text");
    let (channel, data) = (quoted(channel), quoted(data));
    format!(r#"{{"event":"e","channel":{channel},"data":{data}}}"#)
}

/// One channel's answer to `info=subscription_count`.
pub(crate) fn subscriptions(server: &Server, channel: &str) -> u64 {
    let target = format!("/apps/app-id/channels/{channel}?info=subscription_count");
    let answer = server.get(&target).json();
    let count = answer["subscription_count"].as_u64();
    count.unwrap_or_else(|| panic!("no count in {answer}"))
}

/// The names of the occupied channels, as one node tells them.
fn channels(server: &Server) -> Vec<String> {
    let answer = server.get("/apps/app-id/channels").json();
    let channels = answer["channels"].as_object().expect("an object");
    let mut names: Vec<String> = channels.keys().cloned().collect();
    names.sort();
    names
}
