//! Idempotency keys over Redis: each event once to its channel, whichever node gets it however often, and whatever
//! becomes of the connections, of Redis and of the answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{EVENTS, assert_refused, impatient, nodes, subscriber_on_each};
use crate::harness::{
    APP, Config, Http, Nodes, PATIENCE, Proxy, RedisCluster, RedisServer, Response, Server, Ws,
    eventually, new_folder,
};

const BATCH: &str = "/apps/app-id/batch_events";

fn with_key(channels: &[&str], data: &str, key: &str) -> Value {
    json!({"name": "e", "channels": channels, "data": data, "idempotency_key": key})
}

fn post(server: &Server, body: &Value) -> Response {
    server.post(EVENTS, &body.to_string())
}

fn post_batch(server: &Server, batch: &[Value]) -> Response {
    server.post(BATCH, &json!({ "batch": batch }).to_string())
}

fn is_replayed(response: &Response) -> bool {
    assert_eq!(response.status(), 200, "{response:?}");
    response.head.header("idempotent-replayed") == Some("true")
}

/// Posts until it is accepted.
fn insist(server: &Server, body: &Value) -> Response {
    eventually(PATIENCE, "a publish is accepted", || {
        let response = post(server, body);
        if response.status() != 200 {
            assert_refused(&response);
        }
        (response.status() == 200).then_some(response)
    })
}

fn next(ws: &mut Ws) -> String {
    let event: Value = serde_json::from_str(&ws.text()).unwrap();
    event["data"].as_str().unwrap().to_owned()
}

fn records(redis: &RedisServer, nodes: &Nodes) -> Vec<String> {
    redis.keys(&format!("{}*:once:*", nodes.prefix()))
}

#[test]
fn a_repeat_is_recognised_on_every_node_and_leaves_nothing_behind() {
    let redis = RedisServer::shared();
    let nodes = nodes(2, &Config::new().app("idempotency_seconds", "2"));
    let mut subscribers = subscriber_on_each(&nodes, "x");
    let mut body = with_key(&["x", "cache-y", "z"], "1", "k");
    body["info"] = json!("subscription_count");
    let first = post(&nodes[0], &body);
    assert!(!is_replayed(&first));
    for node in &*nodes {
        let repeat = post(node, &body);
        assert!(is_replayed(&repeat));
        assert_eq!(repeat.body, first.body);
        assert_eq!(post(node, &with_key(&["x"], "1", "k")).status(), 409);
        assert_eq!(
            post(node, &with_key(&["x", "cache-y", "z"], "2", "k")).status(),
            409
        );
        assert_eq!(post(node, &with_key(&["other"], "2", "k")).status(), 409);
    }
    assert_eq!(records(redis, &nodes).len(), 1);
    for ws in &mut subscribers {
        assert_eq!(next(ws), "1");
        ws.silent();
    }
    eventually(PATIENCE, "the key is forgotten", || {
        records(redis, &nodes).is_empty().then_some(())
    });
    assert!(!is_replayed(&post(&nodes[1], &with_key(&["x"], "2", "k"))));
    for ws in &mut subscribers {
        assert_eq!(next(ws), "2");
    }
}

#[test]
fn a_batch_is_refused_as_a_whole_and_forgotten() {
    let redis = RedisServer::shared();
    let nodes = nodes(2, &Config::new());
    batches(&nodes);
    assert_eq!(records(redis, &nodes).len(), 3);
}

/// What holds of batches, of one Redis and of several masters.
fn batches(nodes: &Nodes) {
    let mut ws = Ws::subscribed(&nodes[0], "x");
    assert!(!is_replayed(&post(&nodes[0], &with_key(&["x"], "1", "a"))));
    let conflict = [
        with_key(&["x"], "2", "b"),
        with_key(&["x"], "other", "a"),
        with_key(&["x"], "3", "c"),
    ];
    let refused = post_batch(&nodes[1], &conflict);
    assert_eq!(refused.status(), 409, "{refused:?}");
    assert!(refused.body.contains("event 2 (index 1)"), "{refused:?}");
    assert_eq!(next(&mut ws), "1");
    ws.silent();
    let batch = [
        with_key(&["x"], "1", "a"),
        with_key(&["x"], "4", "b"),
        with_key(&["x"], "5", "c"),
    ];
    // The keys beside the refused one are free again, at once or when Redis has been told.
    let accepted = eventually(PATIENCE, "the other keys are free", || {
        let response = post_batch(&nodes[0], &batch);
        (response.status() != 409).then_some(response)
    });
    assert!(!is_replayed(&accepted));
    assert!(is_replayed(&post_batch(&nodes[1], &batch)));
    assert_eq!(
        (next(&mut ws), next(&mut ws)),
        ("4".to_owned(), "5".to_owned())
    );
    ws.silent();
}

#[test]
fn a_redis_cluster_keeps_the_promises_over_its_slots() {
    let redis = RedisCluster::start();
    let nodes = Nodes::same(&Config::new().redis("cluster", &redis.toml()), 2);
    batches(&nodes);
    let channels: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
    let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
    let mut subscribers: Vec<Ws> = channels
        .iter()
        .map(|c| Ws::subscribed(&nodes[1], c))
        .collect();
    for round in 0..10 {
        let data = round.to_string();
        let body = with_key(&channels, &data, &format!("key-{round}")).to_string();
        let send = |n: usize| {
            let mut http = Http::connect(nodes[n % 2].public);
            http.send_signed(&APP, "POST", EVENTS, &body);
            http
        };
        let mut sent: Vec<Http> = (0..10).map(send).collect();
        let answers = sent.iter_mut().map(Http::read);
        let firsts = answers.filter(|answer| !is_replayed(answer));
        assert_eq!(firsts.count(), 1);
        assert_eq!(
            post(
                &nodes[0],
                &with_key(&["c0"], &data, &format!("key-{round}"))
            )
            .status(),
            409
        );
        for ws in &mut subscribers {
            assert_eq!(next(ws), data);
        }
    }
    for ws in &mut subscribers {
        ws.silent();
    }
}

/// With a third of the slots away an event gets to some of its channels, and its repeat, on another node, to the others.
/// What stood still then does what it had been asked for before.
#[test]
fn an_event_that_got_to_some_channels_gets_to_the_others_by_its_repeat() {
    const KEYS: usize = 6;
    let redis = RedisCluster::start();
    let config = impatient().redis("cluster", &redis.toml());
    let nodes = Nodes::same(&config, 2);
    let channels: Vec<String> = (0..16).map(|n| format!("c{n}")).collect();
    let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
    let subscribe = |channel: &&str| Ws::subscribed(&nodes[1], channel);
    let mut subscribers: Vec<Ws> = channels.iter().map(subscribe).collect();
    let bodies: Vec<Value> = (0..KEYS)
        .map(|n| with_key(&channels, &n.to_string(), &format!("key-{n}")))
        .collect();
    redis.masters[1].stop();
    for body in &bodies {
        assert_refused(&post(&nodes[0], body));
    }
    let published = |node: &Server| {
        let app = [("app", "app-id")];
        usize::try_from(node.labelled("events_published_total", &app)).unwrap()
    };
    let before = published(&nodes[0]);
    assert!((1..KEYS * channels.len()).contains(&before), "{before}");
    redis.masters[1].cont();
    for body in &bodies {
        insist(&nodes[1], body);
        assert!(is_replayed(&insist(&nodes[0], body)));
    }
    for ws in &mut subscribers {
        let mut seen: Vec<String> = bodies.iter().map(|_| next(ws)).collect();
        seen.sort_unstable();
        assert!(
            seen.iter()
                .map(String::as_str)
                .eq(["0", "1", "2", "3", "4", "5"])
        );
        ws.silent();
    }
}

/// The first waits for Redis, and so does its repeat; what ended in 503 was taken once or not at all.
#[test]
fn while_redis_stands_still_a_repeat_waits_and_is_refused() {
    let redis = RedisServer::shared();
    let proxy = Proxy::start(redis.address());
    let nodes = Nodes::linked(
        &impatient().redis("on_outage", "\"local\""),
        &[proxy.url(), redis.url()],
    );
    let mut subscribers = subscriber_on_each(&nodes, "x");
    proxy.stall();
    let body = with_key(&["x"], "1", "k").to_string();
    let mut sent = send_at_once(&nodes[0], &body);
    for http in &mut sent {
        assert_refused(&http.read());
    }
    for ws in &mut subscribers {
        ws.silent();
    }
    proxy.pass();
    insist(&nodes[0], &with_key(&["x"], "1", "k"));
    assert!(is_replayed(&post(&nodes[1], &with_key(&["x"], "1", "k"))));
    for ws in &mut subscribers {
        assert_eq!(next(ws), "1");
        ws.silent();
    }

    // Cut off, the first is surely not taken: its key is free, even for another content.
    proxy.cut();
    assert_refused(&post(&nodes[0], &with_key(&["x"], "2", "free")));
    assert!(!is_replayed(&post(
        &nodes[1],
        &with_key(&["x"], "3", "free")
    )));
    for ws in &mut subscribers[1..] {
        assert_eq!(next(ws), "3");
        ws.silent();
    }
    proxy.pass();
    assert_eq!(next(&mut subscribers[0]), "3");
    subscribers[0].silent();

    // While the first is under way its repeats wait for its answer.
    proxy.delay(Duration::from_millis(50));
    let body = with_key(&["x"], "4", "slow").to_string();
    let mut sent = send_at_once(&nodes[0], &body);
    let firsts = sent
        .iter_mut()
        .filter_map(|http| (!is_replayed(&http.read())).then_some(()));
    assert_eq!(firsts.count(), 1);
    for ws in &mut subscribers {
        assert_eq!(next(ws), "4");
        ws.silent();
    }
}

/// The same request on five connections.
fn send_at_once(server: &Server, body: &str) -> Vec<Http> {
    let send = |_| {
        let mut http = Http::connect(server.public);
        http.send_signed(&APP, "POST", EVENTS, body);
        http
    };
    (0..5).map(send).collect()
}

/// The first few answers are taken from whoever asked: a backend that got none asks again, here or there.
#[test]
fn a_thousand_repeats_with_connections_cut_deliver_each_event_once() {
    const EVENTS_IN_ALL: usize = 100;
    const REPEATS: usize = 10;
    const AT_ONCE: usize = 50;
    let redis = RedisServer::shared();
    let proxies = [(); 2].map(|()| Proxy::start(redis.address()));
    let urls = [proxies[0].url(), proxies[1].url()];
    let nodes = Nodes::linked(&Config::new(), &urls);
    let mut subscribers = subscriber_on_each(&nodes, "x");
    let (taken, replayed, done) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicBool::new(false),
    );
    std::thread::scope(|scope| {
        let cutter = scope.spawn(|| cut(&proxies, &done));
        let backend = |thread: usize| {
            let (nodes, taken, replayed) = (&nodes, &taken, &replayed);
            move || {
                for at in (thread..EVENTS_IN_ALL * REPEATS).step_by(AT_ONCE) {
                    let event = at % EVENTS_IN_ALL;
                    let body = with_key(&["x"], &event.to_string(), &format!("key-{event}"));
                    let answer = insist(&nodes[(at / 7) % 2], &body);
                    let count = if is_replayed(&answer) {
                        replayed
                    } else {
                        taken
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        let backends: Vec<_> = (0..AT_ONCE)
            .map(|thread| scope.spawn(backend(thread)))
            .collect();
        for backend in backends {
            backend.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
        let cuts = cutter.join().unwrap();
        assert!(cuts > 2, "the connections were cut {cuts} times");
    });
    let (taken, replayed) = (taken.into_inner(), replayed.into_inner());
    assert_eq!(taken + replayed, EVENTS_IN_ALL * REPEATS);
    // An event whose only answer of its own was lost has repeats alone.
    assert!(taken <= EVENTS_IN_ALL, "{taken}");
    insist(&nodes[0], &with_key(&["x"], "last", "last"));
    for ws in &mut subscribers {
        let seen = counted(ws);
        assert_eq!(seen.len(), EVENTS_IN_ALL);
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    }
    for node in &*nodes {
        assert_eq!(
            post(node, &with_key(&["x"], "other", "key-7")).status(),
            409
        );
    }
}

/// How often each event came before the last one.
fn counted(ws: &mut Ws) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    loop {
        let data = next(ws);
        if data == "last" {
            return seen;
        }
        *seen.entry(data).or_default() += 1;
    }
}

/// Cuts each connection in turn until it is done. How often.
fn cut(proxies: &[Proxy; 2], done: &AtomicBool) -> usize {
    let mut turn = 0;
    while !done.load(Ordering::SeqCst) {
        proxies[turn % 2].reset();
        turn += 1;
        std::thread::sleep(Duration::from_millis(120));
    }
    turn
}

/// A backend that did not get its answer asks the next Redis, which remembers.
#[test]
fn a_restart_that_keeps_the_memory_keeps_the_keys() {
    let memory = new_folder();
    let mut redis = RedisServer::persistent(&memory);
    let nodes = Nodes::over(&redis, 2, &Config::new());
    let mut subscribers = subscriber_on_each(&nodes, "x");
    for number in 0..20 {
        let data = number.to_string();
        assert!(!is_replayed(&post(
            nodes.for_request(),
            &with_key(&["x"], &data, &data)
        )));
    }
    redis.restart();
    for number in 0..20 {
        let data = number.to_string();
        let body = with_key(&["x"], &data, &data);
        assert!(is_replayed(&insist(nodes.for_request(), &body)), "{number}");
    }
    assert_eq!(
        post(&nodes[0], &with_key(&["x"], "other", "7")).status(),
        409
    );
    assert!(!is_replayed(&insist(
        &nodes[0],
        &with_key(&["x"], "last", "last")
    )));
    let expected: Vec<String> = (0..20)
        .map(|n| n.to_string())
        .chain(["last".to_owned()])
        .collect();
    for ws in &mut subscribers {
        let seen: Vec<String> = expected.iter().map(|_| next(ws)).collect();
        assert_eq!(seen, expected);
        ws.silent();
    }
    drop((subscribers, nodes, redis));
    std::fs::remove_dir_all(memory).unwrap();
}
