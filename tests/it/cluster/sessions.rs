//! pusher-js over HTTP behind a balancer that sends each request to any node: nothing shows which one has the session.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    Config, Http, Nodes, PATIENCE, Proxy, ROLL_OVER, RedisServer, Server, Ws, Xhr, XhrStream,
    eventually, messages,
};
use crate::xhr::none_lost;

use super::{impatient, nodes, publish};

/// How long an owner lets another node wait for lines, `publish_timeout`, and what a loaded machine adds.
const BOUND: Duration = Duration::from_secs(40);

/// A page with a stream, subscribed to this channel by way of another node.
fn page_on(nodes: &[Server], channel: &str) -> (Xhr, XhrStream) {
    let mut page = Xhr::new(&nodes[0]);
    let mut stream = page.open();
    page.at(&nodes[1]).subscribe(channel);
    let told = stream.told("pusher_internal:subscription_succeeded");
    assert_eq!(told["channel"], channel);
    (page, stream)
}

/// The keys of sessions.
fn keys(redis: &RedisServer, nodes: &Nodes) -> Vec<String> {
    redis.keys(&format!("{}:*session:*", nodes.prefix()))
}

#[test]
fn any_node_serves_any_request_of_a_session() {
    let config = Config::new().app("client_events", "true");
    let nodes = nodes(2, &config);
    let mut ws = Ws::connect(&nodes[1]);
    ws.subscribe("private-c", None);
    let (mut page, mut stream) = page_on(&nodes, "private-c");
    for number in 0..10 {
        let event =
            json!({"event": "client-n", "channel": "private-c", "data": number.to_string()});
        page.at(&nodes[number % 2]).send(&event.to_string());
        assert_eq!(ws.json()["data"], number.to_string());
        ws.send(&event.to_string());
        assert_eq!(stream.told("client-n")["data"], number.to_string());
    }
    // A heartbeat of the client.
    let answer = page.at(&nodes[1]).send_body("[]");
    assert_eq!(answer.status(), 204, "{answer:?}");
    assert_eq!(stream.line(), "a[]");

    // A receiver elsewhere replaces this one, and is replaced by one here.
    for turn in 1..6 {
        let mut next = page.at(&nodes[turn % 2]).stream();
        assert_eq!(publish(&nodes[turn % 2], "private-c", "x").status(), 200);
        let mut got = Vec::new();
        while got.is_empty() {
            got.extend(stream.try_line(Duration::from_millis(100)));
            got.extend(next.try_line(Duration::from_millis(100)));
            got.retain(|line| line != "h");
        }
        assert_eq!(messages(&got[0])[0]["data"], "x");
        assert_eq!(got.len(), 1, "{got:?}");
        stream = next;
    }
    assert_eq!(nodes[0].count("connections"), 1);
    // Bodies that are none are refused where they come to.
    assert_eq!(page.at(&nodes[1]).send_body("{}").status(), 400);
}

#[test]
fn streams_on_alternating_nodes_lose_nothing() {
    const EVENTS: usize = 2000;
    const BYTES: usize = 2000;
    let nodes = nodes(2, &Config::new().server("outbox_bytes", "16777216"));
    let (mut page, stream) = page_on(&nodes, "c");
    let (mut stream, mut streams) = (Some(stream), 1);
    let receive = |page: &mut Xhr| {
        let current = stream.get_or_insert_with(|| {
            streams += 1;
            page.at(&nodes[streams % 2]).stream()
        });
        let line = current.line();
        if current.units > ROLL_OVER {
            stream = None;
        }
        vec![line]
    };
    none_lost(BYTES, EVENTS, receive, &mut page, &nodes[1]);
    assert!(streams > EVENTS * BYTES / ROLL_OVER, "{streams} streams");
}

#[test]
fn polls_on_alternating_nodes_lose_nothing() {
    let nodes = nodes(2, &Config::new().server("outbox_bytes", "16777216"));
    let mut page = Xhr::new(&nodes[0]);
    page.open_by_poll();
    page.at(&nodes[1]).subscribe("c");
    let subscribed = messages(&page.poll()[0]).remove(0);
    assert_eq!(subscribed["channel"], "c");
    let mut connections = [&nodes[0], &nodes[1]].map(|node| Http::connect(node.public));
    let mut polls = 0;
    let receive = |page: &mut Xhr| {
        polls += 1;
        page.poll_on(&mut connections[polls % 2])
    };
    none_lost(1000, 2000, receive, &mut page, &nodes[0]);
}

/// What is under way when a connection breaks is asked again, and answered with the same lines.
#[test]
fn a_connection_to_redis_that_breaks_again_and_again_loses_nothing() {
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    let config = Config::new().server("outbox_bytes", "16777216");
    let nodes = Nodes::linked(&config, &[redis.url(), proxy.url()]);
    let (mut page, mut first) = page_on(&nodes, "c");
    let mut stream = page.at(&nodes[1]).stream();
    // Whoever hangs up a stream that was not replaced does not come back.
    assert!(first.has_ended(PATIENCE));
    let mut lines = 0;
    let receive = |page: &mut Xhr| {
        lines += 1;
        if lines % 100 == 0 {
            proxy.reset();
        }
        if stream.units > ROLL_OVER {
            stream = page.stream();
        }
        vec![stream.line()]
    };
    none_lost(1000, 1000, receive, &mut page, &nodes[0]);
}

#[test]
fn a_session_whose_node_dies_is_opened_anew() {
    let redis = RedisServer::shared();
    let mut nodes = nodes(2, &impatient());
    let mut page = Xhr::new(&nodes[1]);
    let _first = page.open();
    let mut stream = page.at(&nodes[0]).stream();
    page.send(&json!({"event": "pusher:ping"}).to_string());
    assert_eq!(stream.message()["event"], "pusher:pong");
    nodes.kill_last();
    // The client takes a second `o` for the loss of its session.
    let began = Instant::now();
    while stream.try_line(BOUND).expect("it is told") != "o" {}
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert_eq!(stream.try_line(PATIENCE), None);
    assert!(stream.is_complete);
    let answer = page.send_body("[]");
    assert_eq!(answer.status(), 404, "{answer:?}");
    eventually(PATIENCE, "its owner is forgotten", || {
        keys(redis, &nodes).is_empty().then_some(())
    });
    page.open_by_poll();
}

#[test]
fn a_node_that_stands_still_costs_its_sessions_a_bounded_time() {
    let nodes = nodes(2, &impatient());
    let mut page = Xhr::new(&nodes[1]);
    let _first = page.open();
    nodes[1].signal("STOP");
    let began = Instant::now();
    let answer = page.at(&nodes[0]).send_body("[]");
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert_eq!(page.poll(), ["o"]);
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    assert!(nodes[0].counter("cluster_questions_unanswered") >= 2);
    nodes[1].signal("CONT");
}

#[test]
fn without_redis_a_node_serves_its_own_sessions() {
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(&impatient(), &[proxy.url(), proxy.url()]);
    let (mut page, mut stream) = page_on(&nodes, "c");
    proxy.cut();
    let began = Instant::now();
    let answer = page.at(&nodes[1]).send_body("[]");
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    let answer = page.at(&nodes[0]).send_body("[]");
    assert_eq!(answer.status(), 204, "{answer:?}");
    assert_eq!(stream.line(), "a[]");
    // Who comes now is served as well, and can be found when Redis is back.
    let mut other = Xhr::new(&nodes[1]);
    let mut of_other = other.open();
    proxy.pass();
    eventually(PATIENCE, "the other node serves both", || {
        let both = [
            page.at(&nodes[1]).send_body("[]").status(),
            other.at(&nodes[0]).send_body("[]").status(),
        ];
        (both == [204, 204]).then_some(())
    });
    assert_eq!(stream.line(), "a[]");
    assert_eq!(of_other.line(), "a[]");
}

#[test]
fn a_node_that_goes_sends_the_clients_of_others_to_another_one() {
    let mut nodes = nodes(2, &Config::new());
    let (mut page, mut first) = page_on(&nodes, "c");
    let mut stream = page.at(&nodes[1]).stream();
    // Until then lines may still go there.
    assert!(first.has_ended(PATIENCE));
    assert_eq!(publish(&nodes[0], "c", "x").status(), 200);
    assert_eq!(stream.message()["data"], "x");
    nodes.stop_last();
    let line = stream.line();
    assert!(line.starts_with("c[4200,"), "{line}");
}

#[test]
fn a_receiver_whose_node_dies_has_gone() {
    let mut nodes = nodes(2, &impatient());
    let mut page = Xhr::new(&nodes[0]);
    let _first = page.open();
    let mut stream = page.at(&nodes[1]).stream();
    page.send("{\"event\":\"pusher:ping\"}");
    assert_eq!(stream.message()["event"], "pusher:pong");
    assert_eq!(nodes[0].count("connections"), 1);
    nodes.kill_last();
    // It may have said a moment ago that it waits.
    let patience = Duration::from_secs(60);
    eventually(patience, "the session has ended", || {
        (nodes[0].count("connections") == 0).then_some(())
    });
}

#[test]
fn a_session_that_ends_leaves_nothing_in_redis() {
    let redis = RedisServer::shared();
    let config = Config::new().app("allowed_origins", "[\"https://example.com\"]");
    let nodes = nodes(2, &config);
    let origin = [("Origin", "https://example.com")];
    let mut page = Xhr::new(&nodes[0]);
    let mut stream = page.stream_with(&origin);
    assert_eq!(stream.line(), "o");
    assert!(stream.line().starts_with("a["));
    let known = keys(redis, &nodes);
    assert_eq!(known.len(), 1, "{known:?}");
    let mut stream_elsewhere = page.at(&nodes[1]).stream_with(&origin);
    assert!(stream.has_ended(PATIENCE), "it is replaced");
    drop(stream);
    assert_eq!(page.send_body("[]").status(), 204);
    assert_eq!(stream_elsewhere.line(), "a[]");
    drop(stream_elsewhere);
    eventually(PATIENCE, "its owner is forgotten", || {
        keys(redis, &nodes).is_empty().then_some(())
    });
    // What is refused is told to nobody.
    let mut refused = Xhr::new(&nodes[0]).stream_with(&[("Origin", "https://example.org")]);
    assert_eq!(refused.line(), "o");
    assert!(refused.line().starts_with("c[4009,"));
    let mut unknown = Xhr::named(nodes[0].public, "/app/no-such-key/1/abcdefgh").stream();
    assert_eq!(unknown.line(), "o");
    assert!(unknown.line().starts_with("c[4001,"));
    eventually(PATIENCE, "nobody owns what was refused", || {
        keys(redis, &nodes).is_empty().then_some(())
    });
}

#[test]
fn a_node_may_ask_its_clients_to_stay_with_it() {
    let config = Config::new().server("sticky_host", "\"n1.example.com\"");
    let server = Server::start(&config);
    let mut stream = Xhr::new(&server).stream();
    assert_eq!(stream.line(), "o{\"hostname\":\"n1.example.com\"}");
    assert!(stream.line().starts_with("a["));
}

/// Its request is full, and its client does not come back for a while: it counts as there.
#[test]
fn a_receiver_elsewhere_whose_client_is_slow_is_there() {
    let nodes = nodes(2, &Config::new());
    let (mut page, mut first) = page_on(&nodes, "c");
    let mut stream = page.at(&nodes[1]).stream();
    // Until then lines may still go there.
    assert!(first.has_ended(PATIENCE));
    let data = "x".repeat(9000);
    let count = 60;
    for number in 0..count {
        assert_eq!(
            publish(&nodes[0], "c", &format!("{number} {data}")).status(),
            200
        );
    }
    // Longer than an owner believes in a receiver that says nothing.
    thread::sleep(Duration::from_secs(25));
    let mut number = 0;
    while number < count {
        if stream.units > ROLL_OVER {
            stream = page.stream();
        }
        let message = stream.message();
        let text = message["data"].as_str().unwrap();
        assert!(text.starts_with(&format!("{number} ")), "{}", &text[..20]);
        number += 1;
    }
}
