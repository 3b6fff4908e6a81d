//! Nodes are guests in somebody's Redis: they keep to their prefix, bring no secrets, and leave nothing behind.

use crate::harness::{
    Answer, Config, Http, Nodes, Observer, PATIENCE, RedisServer, Server, Ws, event_body,
    eventually, members,
};

use super::{channels, event, nodes, publish};

const TOKEN: &str = "a-token-of-the-app";

/// With all that an app can have turned on.
fn full_config() -> Config {
    Config::new()
        .app("client_events", "true")
        .app("subscription_count", "true")
        .app("api_tokens", &format!("[{TOKEN:?}]"))
}

/// A bit of everything, on both nodes; nobody is left afterwards.
fn exercise(nodes: &Nodes) {
    const COUNT: &str = "pusher_internal:subscription_count";
    let mut first = Ws::subscribed(&nodes[0], "private-x");
    first.told(COUNT);
    let mut second = Ws::subscribed(&nodes[1], "private-x");
    second.told(COUNT);
    first.told(COUNT);
    first.send(r#"{"event":"client-e","channel":"private-x","data":"{}"}"#);
    assert!(second.text().contains("client-e"));
    for node in &**nodes {
        assert_eq!(publish(node, "private-x", "1").status(), 200);
        for ws in [&mut first, &mut second] {
            assert_eq!(ws.text(), event("private-x", "1"));
        }
    }
    let mut cached = Ws::subscribed(&nodes[0], "cache-x");
    cached.told("pusher:cache_miss");
    cached.told(COUNT);
    assert_eq!(publish(&nodes[1], "cache-x", "kept").status(), 200);
    assert_eq!(cached.text(), event("cache-x", "kept"));
    let mut ada = Observer::joined(&nodes[0], "ada");
    drop(Observer::joined(&nodes[1], "bob"));
    ada.sees(&members(["ada"]));
    let mut fan = Ws::signed_in(&nodes[0], r#"{"id":"fan","watchlist":["bob"]}"#);
    fan.told("pusher_internal:watchlist_events");
    let mut bob = Ws::signed_in(&nodes[1], r#"{"id":"bob"}"#);
    fan.told("pusher_internal:watchlist_events");
    bob.subscribe("#server-to-user-bob", None);
    let mut http = Http::connect(nodes[0].public);
    let bearer = format!("Bearer {TOKEN}");
    let body = event_body("#server-to-user-bob", "e", "1");
    let headers = [
        ("Authorization", &bearer[..]),
        ("Content-Type", "application/json"),
    ];
    let published = http.request("POST", super::EVENTS, &headers, &body);
    assert_eq!(published.status(), 200, "{published:?}");
    assert_eq!(bob.text(), event("#server-to-user-bob", "1"));
    assert_eq!(channels(&nodes[1]), ["cache-x", "presence-x", "private-x"]);
    let terminate = "/apps/app-id/users/bob/terminate_connections";
    assert_eq!(nodes[0].post(terminate, "{}").status(), 200);
    bob.closed();
}

#[test]
fn two_clusters_share_a_redis() {
    let (left, right) = (nodes(2, &Config::new()), nodes(2, &Config::new()));
    let mut subscribers = [&left, &right].map(|nodes| Ws::subscribed(&nodes[0], "x"));
    let mut observers = [&left, &right].map(|nodes| Observer::joined(&nodes[0], "ada"));
    for (at, nodes) in [&left, &right].into_iter().enumerate() {
        assert_eq!(publish(&nodes[1], "x", "1").status(), 200);
        assert_eq!(subscribers[at].text(), event("x", "1"));
        assert_eq!(super::subscriptions(&nodes[1], "x"), 1);
    }
    drop(Observer::joined(&left[1], "bob"));
    let [ada, other] = &mut observers;
    eventually(PATIENCE, "bob has come and gone", || {
        ada.is_alive();
        (ada.changes == ["+bob", "-bob"]).then_some(())
    });
    other.is_alive();
    assert!(other.changes.is_empty());
    for ws in &mut subscribers {
        ws.silent();
    }
}

#[test]
fn a_node_of_another_wire_version_is_refused() {
    let redis = RedisServer::shared();
    let config = Config::new().redis("url", &format!("{:?}", redis.url()));
    let nodes = Nodes::same(&config, 1);
    let config = config.redis("prefix", &format!("{:?}", nodes.prefix()));
    let mut ws = Ws::subscribed(&nodes[0], "x");
    let keys = eventually(PATIENCE, "the node says its version", || {
        let keys = redis.keys(&format!("{}:*:wire", nodes.prefix()));
        (!keys.is_empty()).then_some(keys)
    });
    let own = redis.cli(&["GET", &keys[0]]);
    let major: u32 = own.split('.').next().unwrap().parse().expect("a number");
    let foreign = own.replacen(&major.to_string(), &(major + 1).to_string(), 1);
    // Its next heartbeat would say again what it is.
    nodes[0].signal("STOP");
    for key in &keys {
        redis.cli(&["SET", key, &foreign, "KEEPTTL"]);
    }
    let (status, log) = Server::refused(&config);
    nodes[0].signal("CONT");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("wire version"), "{log}");
    // Of its own version, or alone, it is welcome.
    for key in &keys {
        redis.cli(&["SET", key, &own, "KEEPTTL"]);
    }
    let second = Server::start(&config);
    assert_eq!(publish(&second, "x", "1").status(), 200);
    assert_eq!(ws.text(), event("x", "1"));
}

#[test]
fn no_secret_reaches_redis_and_no_command_looks_at_what_is_not_theirs() {
    const LAST: &str = "the last line of all";
    let redis = RedisServer::start();
    let mut monitor = redis.connect();
    assert_eq!(
        monitor.ask(&["MONITOR"]).unwrap(),
        Answer::Text("OK".to_owned())
    );
    let nodes = Nodes::over(&redis, 2, &full_config());
    exercise(&nodes);
    for key in redis.keys("*") {
        assert!(key.starts_with(&format!("{}:", nodes.prefix())), "{key}");
    }
    // `MONITOR` replaces secrets only in commands that it knows to have some.
    redis.cli(&["ECHO", LAST]);
    loop {
        let line = monitor.read().unwrap().text();
        if line.contains(LAST) {
            break;
        }
        for secret in ["app-secret", TOKEN] {
            assert!(!line.contains(secret), "{line}");
        }
        let lower = line.to_lowercase();
        for command in ["keys", "psubscribe", "flushall", "flushdb"] {
            assert!(!lower.contains(&format!("] \"{command}\"")), "{line}");
        }
    }
}

/// A user of Redis' ACL that sees nothing but the prefix is enough for everything; its password is never told.
#[test]
fn a_user_that_may_only_use_the_prefix_is_enough() {
    const PASSWORD: &str = "password-of-the-user";
    let redis = RedisServer::start();
    let password = format!(">{PASSWORD}");
    let rights = [
        "on",
        &password,
        "~tests-*",
        "&tests-*",
        "+@all",
        "-@admin",
        "-@dangerous",
        "+info",
    ];
    redis.cli(&[&["ACL", "SETUSER", "tide"], &rights[..]].concat());
    let url = redis.url().replace("//", &format!("//tide:{PASSWORD}@"));
    let nodes = Nodes::linked(&full_config(), &[url.clone(), url]);
    exercise(&nodes);
    for node in &*nodes {
        let log = node.log();
        assert!(!log.contains(PASSWORD), "{log}");
    }
}

#[test]
fn nothing_stays_without_an_end_when_the_nodes_have_gone() {
    let redis = RedisServer::start();
    let nodes = Nodes::over(&redis, 2, &full_config());
    exercise(&nodes);
    drop(nodes);
    let mut connection = redis.connect();
    for key in redis.keys("*") {
        let left = connection.ask(&["PTTL", &key]).unwrap();
        assert_ne!(left, Answer::Number(-1), "{key} stays for ever");
    }
}
