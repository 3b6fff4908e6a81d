//! Connections with a token: what was missed comes after `subscription_succeeded`, and what a page is told of it. Each
//! test is played with a server on its own, with one over Redis, and with two that are one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Config, Message, Nodes, Opcode, PATIENCE, RedisServer, Server, Ws, eventually, signin_frame,
};

const TOKEN: &str = "3b1f9a52-7c1e-4f0a-9d7b-2a6c5e8f1d20";
const OTHER: &str = "another_token-of-64-characters-0123456789-0123456789-0123456789-";

/// A page: connections that have the same token, one after the other.
struct Page {
    token: &'static str,
    ws: Ws,
    /// What came before the answer to something.
    early: VecDeque<Message>,
    /// A ping that was not answered, and whether events came after it.
    ping: Option<Vec<u8>>,
    is_stale: bool,
}

impl Page {
    fn open(server: &Server, token: &'static str) -> Self {
        let target = format!("/resume/{token}/app/app-key?protocol=7&client=test&version=1.0.0");
        let mut ws = Ws::open(server, &target, &[]);
        ws.established();
        Self {
            token,
            ws,
            early: VecDeque::new(),
            ping: None,
            is_stale: false,
        }
    }

    /// Ends the connection without a word, and opens another one.
    fn comes_back(&mut self, server: &Server) {
        *self = Self::open(server, self.token);
    }

    /// The next message that is no ping. A ping is answered later, or never.
    fn next(&mut self) -> Message {
        if let Some(message) = self.early.pop_front() {
            return message;
        }
        loop {
            match self.ws.next() {
                Message::Ping(payload) => (self.ping, self.is_stale) = (Some(payload), false),
                message => return message,
            }
        }
    }

    fn json(&mut self) -> Value {
        match self.next() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("expected a text frame, got {other:?}"),
        }
    }

    /// Subscribes; the data of `subscription_succeeded`.
    fn subscribe(&mut self, channel: &str, channel_data: Option<&str>) -> Value {
        self.ws.send_subscribe(channel, channel_data);
        let frame = self.json();
        let event = &frame["event"];
        assert_eq!(event, "pusher_internal:subscription_succeeded", "{frame}");
        assert_eq!(frame["channel"], channel);
        serde_json::from_str(frame["data"].as_str().unwrap()).unwrap()
    }

    /// Subscribes for the first time, and confirms it.
    fn begins(&mut self, cluster: &Cluster, channel: &str, channel_data: Option<&str>) -> Value {
        let before = cluster.positions();
        let data = self.subscribe(channel, channel_data);
        assert_eq!(data["resumed"], false);
        loop {
            match self.ws.next() {
                Message::Ping(payload) => {
                    self.ws.send_frame(true, Opcode::Pong, &payload);
                    self.ws.send(r#"{"event":"pusher:ping","data":{}}"#);
                }
                Message::Text(text) if text.contains("pusher:pong") => break,
                message => self.early.push_back(message),
            }
        }
        cluster.await_other_positions(&before);
        data
    }

    /// The next events must have these data.
    fn gets<'a>(&mut self, all: impl IntoIterator<Item = &'a str>) {
        for data in all {
            let frame = self.json();
            assert_eq!(frame["data"], data, "{frame}");
            self.is_stale = self.ping.is_some();
        }
    }

    /// Nothing was sent before its ping is answered.
    fn silent(&mut self) {
        self.ws.send(r#"{"event":"pusher:ping","data":{}}"#);
        assert_eq!(self.json()["event"], "pusher:pong");
    }

    /// Answers a ping.
    fn answers_ping(&mut self) {
        let payload = self.ping.take().unwrap_or_else(|| match self.ws.next() {
            Message::Ping(payload) => payload,
            other => panic!("expected a ping, got {other:?}"),
        });
        self.ws.send_frame(true, Opcode::Pong, &payload);
    }

    /// The close code.
    fn closed(&mut self) -> u16 {
        loop {
            if let Message::Close(code, _) = self.next() {
                return code;
            }
        }
    }

    /// Answers a ping that came after all events, which confirms them.
    fn confirms(&mut self, cluster: &Cluster) {
        if std::mem::take(&mut self.is_stale) {
            self.answers_ping();
        }
        let before = cluster.positions();
        self.answers_ping();
        self.silent();
        cluster.await_other_positions(&before);
    }
}

/// One server or two that are one.
struct Cluster {
    nodes: Nodes,
    redis: Option<&'static RedisServer>,
}

impl Cluster {
    /// The positions that Redis holds.
    fn positions(&self) -> BTreeMap<String, String> {
        let Some(redis) = self.redis else {
            return BTreeMap::new();
        };
        let keys = redis.keys(&format!("{}:*:resume:*", self.nodes.prefix()));
        let value = |key: String| (key.clone(), redis.cli(&["GET", &key]));
        keys.into_iter().map(value).collect()
    }

    /// Nobody waits for Redis to know a position, but these tests.
    fn await_other_positions(&self, before: &BTreeMap<String, String>) {
        eventually(PATIENCE, "Redis knows the position", || {
            (self.redis.is_none() || self.positions() != *before).then_some(())
        });
    }

    fn next(&self) -> &Server {
        self.nodes.for_connection()
    }

    fn publish(&self, channel: &str, data: &str) {
        self.nodes.for_request().trigger(channel, "e", data);
    }
}

fn config() -> Config {
    Config::new()
        .app("resume_ping_seconds", "1")
        .app("client_events", "true")
}

/// Plays a test with each set-up.
fn everywhere(config: &Config, test: impl Fn(&Cluster)) {
    with_each(config, config, test);
}

/// The same with one configuration for a server on its own, and one for those over Redis.
fn with_each(alone: &Config, config: &Config, test: impl Fn(&Cluster)) {
    test(&Cluster {
        nodes: Nodes::without_redis(alone),
        redis: None,
    });
    let redis = RedisServer::shared();
    for many in [1, 2] {
        test(&Cluster {
            nodes: Nodes::over(redis, many, config),
            redis: Some(redis),
        });
    }
}

fn missed(number: usize) -> Value {
    json!({"resumed": true, "missed": number})
}

fn anew() -> Value {
    json!({"resumed": false})
}

#[test]
fn what_was_not_confirmed_comes_again_and_what_was_missed_after_it() {
    everywhere(&config(), |cluster| {
        let mut page = Page::open(cluster.next(), TOKEN);
        for channel in ["open", "private-own"] {
            assert_eq!(page.begins(cluster, channel, None), anew());
        }
        for channel in ["open", "private-own"] {
            cluster.publish(channel, "1");
            page.gets(["1"]);
        }
        page.confirms(cluster);
        cluster.publish("open", "2");
        page.gets(["2"]);
        page.comes_back(cluster.next());
        for data in ["3", "4"] {
            cluster.publish("open", data);
        }
        assert_eq!(page.subscribe("private-own", None), missed(0));
        assert_eq!(page.subscribe("open", None), missed(3));
        page.gets(["2", "3", "4"]);
        cluster.publish("open", "5");
        page.gets(["5"]);
        page.confirms(cluster);
        page.comes_back(cluster.next());
        assert_eq!(page.subscribe("open", None), missed(0));
        page.silent();
        let mut other = Page::open(cluster.next(), OTHER);
        assert_eq!(other.subscribe("open", None), anew());
        other.silent();
    });
}

/// Who got no answer to its first subscription has not loaded its state.
#[test]
fn a_page_that_may_not_know_to_begin_anew_is_told_again() {
    everywhere(&config(), |cluster| {
        let mut page = Page::open(cluster.next(), TOKEN);
        page.ws.send_subscribe("x", None);
        page.comes_back(cluster.next());
        page.begins(cluster, "x", None);
        cluster.publish("x", "1");
        page.comes_back(cluster.next());
        assert_eq!(page.subscribe("x", None), missed(1));
        page.gets(["1"]);
    });
}

#[test]
fn presence_channels_say_it_beside_their_members_and_client_events_have_their_sender() {
    everywhere(&config(), |cluster| {
        let mut other = Ws::connect(cluster.next());
        other.subscribe("presence-x", Some(r#"{"user_id":"7"}"#));
        let mut page = Page::open(cluster.next(), TOKEN);
        let member = Some(r#"{"user_id":"8"}"#);
        let data = page.begins(cluster, "presence-x", member);
        assert_eq!(
            (&data["resumed"], &data["presence"]["count"]),
            (&json!(false), &json!(2))
        );
        page.comes_back(cluster.next());
        other.send(r#"{"event":"client-e","channel":"presence-x","data":"missed"}"#);
        other.send(r#"{"event":"pusher:ping","data":{}}"#);
        while !other.text().contains("pusher:pong") {}
        let data = page.subscribe("presence-x", member);
        assert_eq!(
            (&data["resumed"], &data["missed"]),
            (&json!(true), &json!(1))
        );
        let ids = &data["presence"]["ids"];
        assert_eq!(ids, &json!(["7", "8"]), "members as they are");
        let event = page.json();
        assert_eq!(
            (&event["data"], &event["user_id"]),
            (&json!("missed"), &json!("7"))
        );
    });
}

#[test]
fn a_second_connection_takes_the_token_over_and_both_keep_their_subscriptions() {
    everywhere(&config(), |cluster| {
        let mut first = Page::open(cluster.next(), TOKEN);
        assert_eq!(first.begins(cluster, "x", None), anew());
        cluster.publish("x", "1");
        first.gets(["1"]);
        let mut second = Page::open(cluster.next(), TOKEN);
        assert_eq!(second.subscribe("x", None), missed(1));
        second.gets(["1"]);
        cluster.publish("x", "2");
        first.gets(["2"]);
        second.gets(["2"]);
        // What the first one confirms is no longer the token's.
        first.answers_ping();
        first.silent();
        let mut third = Page::open(cluster.next(), TOKEN);
        assert_eq!(third.subscribe("x", None), missed(2));
        third.gets(["1", "2"]);
    });
}

#[test]
fn a_channel_that_was_left_is_not_resumed() {
    everywhere(&config(), |cluster| {
        let mut page = Page::open(cluster.next(), TOKEN);
        assert_eq!(page.begins(cluster, "x", None), anew());
        page.ws.unsubscribe("x");
        page.silent();
        eventually(PATIENCE, "the position is forgotten", || {
            cluster.positions().is_empty().then_some(())
        });
        page.comes_back(cluster.next());
        cluster.publish("x", "1");
        assert_eq!(page.begins(cluster, "x", None), anew());
        page.silent();
    });
}

#[test]
fn what_excluded_an_earlier_connection_of_the_page_does_not_come_back_to_it() {
    everywhere(&config(), |cluster| {
        let mut page = Page::open(cluster.next(), TOKEN);
        assert_eq!(page.begins(cluster, "x", None), anew());
        let except = |page: &Page, data: &str| {
            let body = json!({"name": "e", "channel": "x", "data": data, "socket_id": page.ws.socket_id()});
            let server = cluster.nodes.for_request();
            assert_eq!(
                server
                    .post("/apps/app-id/events", &body.to_string())
                    .status(),
                200
            );
        };
        except(&page, "of the first");
        cluster.publish("x", "1");
        page.gets(["1"]);
        page.comes_back(cluster.next());
        assert_eq!(page.subscribe("x", None), missed(1));
        except(&page, "of the second");
        cluster.publish("x", "2");
        page.gets(["1", "2"]);
        page.comes_back(cluster.next());
        assert_eq!(page.subscribe("x", None), missed(2));
        page.gets(["1", "2"]);
        let mut other = Page::open(cluster.next(), OTHER);
        assert_eq!(other.subscribe("x", None), anew());
    });
}

#[test]
fn events_for_a_user_are_resumed() {
    const CHANNEL: &str = "#server-to-user-7";
    everywhere(&config(), |cluster| {
        let sign_in = |page: &mut Page| {
            let frame = signin_frame(page.ws.socket_id(), r#"{"id":"7"}"#);
            page.ws.send(&frame);
            assert_eq!(page.json()["event"], "pusher:signin_success");
        };
        let mut page = Page::open(cluster.next(), TOKEN);
        sign_in(&mut page);
        assert_eq!(page.begins(cluster, CHANNEL, None), anew());
        page.comes_back(cluster.next());
        cluster.publish(CHANNEL, "1");
        sign_in(&mut page);
        assert_eq!(page.subscribe(CHANNEL, None), missed(1));
        page.gets(["1"]);
    });
}

#[test]
fn cache_channels_give_their_last_event_once() {
    everywhere(&config(), |cluster| {
        let mut page = Page::open(cluster.next(), TOKEN);
        assert_eq!(page.begins(cluster, "cache-x", None), anew());
        assert_eq!(page.json()["event"], "pusher:cache_miss");
        page.comes_back(cluster.next());
        for data in ["1", "2"] {
            cluster.publish("cache-x", data);
        }
        assert_eq!(page.subscribe("cache-x", None), missed(2));
        page.gets(["1", "2"]);
        page.silent();
        let mut other = Page::open(cluster.next(), OTHER);
        assert_eq!(other.subscribe("cache-x", None), anew());
        other.gets(["2"]);
    });
}

#[test]
fn a_rule_that_rewinds_does_so_for_who_begins_anew() {
    let rule = r#"[{ match = "*", rewind = { events = 3, seconds = 60 }, cache = true }]"#;
    everywhere(&config().app("channels", rule), |cluster| {
        for channel in ["x", "private-encrypted-x"] {
            cluster.publish(channel, "1");
            cluster.publish(channel, "2");
            let mut page = Page::open(cluster.next(), TOKEN);
            page.begins(cluster, channel, None);
            page.gets(["1", "2"]);
            page.comes_back(cluster.next());
            cluster.publish(channel, "3");
            assert_eq!(page.subscribe(channel, None), missed(1));
            page.gets(["3"]);
            page.silent();
            let mut other = Page::open(cluster.next(), OTHER);
            other.begins(cluster, channel, None);
            other.gets(["1", "2", "3"]);
        }
    });
}

#[test]
fn a_log_that_does_not_reach_back_says_so() {
    let alone = config().server("history_bytes", "65536");
    let config = config().redis("log_bytes", "65536");
    with_each(&alone, &config, |cluster| {
        let mut page = Page::open(cluster.next(), TOKEN);
        assert_eq!(page.begins(cluster, "x", None), anew());
        page.comes_back(cluster.next());
        let large = "x".repeat(8192);
        for _ in 0..20 {
            cluster.publish("x", &large);
        }
        assert_eq!(page.begins(cluster, "x", None), anew());
        cluster.publish("x", "1");
        page.gets(["1"]);
        page.comes_back(cluster.next());
        assert_eq!(page.subscribe("x", None), missed(1));
        page.gets(["1"]);
    });
}

#[test]
fn positions_are_forgotten_and_leave_no_trace() {
    let alone = config().app("resume_seconds", "2");
    let config = alone.clone().redis("log_seconds", "1");
    with_each(&alone, &config, |cluster| {
        let mut page = Page::open(cluster.next(), TOKEN);
        assert_eq!(page.begins(cluster, "x", None), anew());
        // For longer than a position lives: it is told again as long as the connection is there.
        for _ in 0..4 {
            page.answers_ping();
        }
        page.comes_back(cluster.next());
        assert_eq!(page.subscribe("x", None), missed(0));
        cluster.publish("x", "1");
        page.gets(["1"]);
        drop(page);
        eventually(PATIENCE, "no position is left", || {
            cluster.positions().is_empty().then_some(())
        });
        if let Some(redis) = cluster.redis {
            let keys = || redis.keys(&format!("{}:*:x", cluster.nodes.prefix()));
            eventually(
                PATIENCE,
                "what is left of the channel ends by itself",
                || {
                    let stays = |key: &String| redis.cli(&["PTTL", key]) == "-1";
                    (!keys().iter().any(stays)).then_some(())
                },
            );
        }
        let mut gone = Page::open(cluster.next(), OTHER);
        assert_eq!(gone.begins(cluster, "x", None), anew());
        let socket_id = gone.ws.socket_id().to_owned();
        drop(gone);
        cluster
            .nodes
            .iter()
            .for_each(|node| node.await_count("connections", 0));
        // Asking for a position renews it, so that nothing but time can be waited for.
        std::thread::sleep(Duration::from_secs(4));
        let mut back = Page::open(cluster.next(), OTHER);
        assert_ne!(back.ws.socket_id(), socket_id);
        assert_eq!(back.subscribe("x", None), anew());
    });
}

#[test]
fn an_app_that_does_not_resume_says_so_and_pings_nobody() {
    let config = config().app("resume_seconds", "0");
    everywhere(&config, |cluster| {
        let mut page = Page::open(cluster.next(), TOKEN);
        assert_eq!(page.subscribe("x", None), anew());
        cluster.publish("x", "1");
        page.gets(["1"]);
        page.comes_back(cluster.next());
        assert_eq!(page.subscribe("x", None), anew());
        page.silent();
        assert!(cluster.positions().is_empty());
    });
}

#[test]
fn who_has_no_token_is_told_nothing_and_pinged_for_nothing() {
    let cluster = Cluster {
        nodes: Nodes::without_redis(&config()),
        redis: None,
    };
    let mut page = Page::open(cluster.next(), TOKEN);
    page.begins(&cluster, "x", None);
    let mut ws = Ws::connect(cluster.next());
    assert_eq!(ws.subscribe("x", None), "{}");
    cluster.publish("x", "1");
    assert!(ws.text().contains("\"1\""));
    page.gets(["1"]);
    // The page is pinged in the second in which the other one would have been.
    page.answers_ping();
    ws.silent();
}

#[test]
fn a_token_has_a_rule_and_is_not_logged() {
    let server = Server::start(&config().server("path_prefix", "\"/ws\""));
    for token in ["short", "0123456789abcde.", OTHER.repeat(2).as_str()] {
        for prefix in ["", "/ws"] {
            let target = format!("{prefix}/resume/{token}/app/app-key?protocol=7");
            let refused = Ws::try_open(&server, &target, &[]).err().unwrap();
            assert_eq!(refused.status, 400);
        }
    }
    let refused = server.labelled("upgrades_refused_total", &[("reason", "resume_token")]);
    assert_eq!(refused, 6);
    for prefix in ["", "/ws"] {
        let target = format!("{prefix}/resume/{TOKEN}/app/app-key?protocol=7");
        let mut ws = Ws::open(&server, &target, &[]);
        ws.established();
        let data = ws.subscribe("x", None);
        assert_eq!(data, anew().to_string());
        let target = format!("{prefix}/resume/{TOKEN}/app/no-such-key?protocol=7");
        let mut refused = Ws::open(&server, &target, &[]);
        assert_eq!(refused.closed().0, 4001);
    }
    // A proxy that does not forward the upgrade is told so here too.
    let path = format!("/resume/{TOKEN}/app/app-key");
    assert!(server.get(&path).body.contains("WebSocket endpoint"));
    let log = server.log();
    assert!(log.contains("/resume/***/app/no-such-key"), "{log}");
    assert!(!log.contains(TOKEN) && !log.contains(OTHER), "{log}");
}

#[test]
fn a_drain_asks_once_more_before_it_closes() {
    let redis = RedisServer::shared();
    let config = config()
        .app("resume_ping_seconds", "60")
        .server("drain_seconds", "1");
    let mut cluster = Cluster {
        nodes: Nodes::over(redis, 2, &config),
        redis: Some(redis),
    };
    let mut page = Page::open(&cluster.nodes[1], TOKEN);
    page.begins(&cluster, "x", None);
    cluster.publish("x", "2");
    page.gets(["2"]);
    let mut silent = Page::open(&cluster.nodes[1], OTHER);
    silent.begins(&cluster, "x", None);
    cluster.publish("x", "3");
    silent.gets(["3"]);
    page.gets(["3"]);
    let positions = cluster.positions();
    cluster.nodes[1].signal("TERM");
    page.answers_ping();
    assert_eq!(page.closed(), 4200);
    assert_ne!(cluster.positions(), positions);
    // Who does not answer is closed all the same.
    assert_eq!(silent.closed(), 4200);
    cluster.nodes.stop_last();
    page.comes_back(&cluster.nodes[0]);
    assert_eq!(page.subscribe("x", None), missed(0));
    silent.comes_back(&cluster.nodes[0]);
    assert_eq!(silent.subscribe("x", None), missed(1));
    silent.gets(["3"]);
}

#[test]
fn a_killed_node_leaves_positions_behind() {
    let redis = RedisServer::shared();
    let mut cluster = Cluster {
        nodes: Nodes::over(redis, 2, &config()),
        redis: Some(redis),
    };
    let mut page = Page::open(&cluster.nodes[1], TOKEN);
    page.begins(&cluster, "x", None);
    cluster.publish("x", "1");
    page.gets(["1"]);
    page.confirms(&cluster);
    cluster.nodes.kill_last();
    cluster.publish("x", "2");
    page.comes_back(&cluster.nodes[0]);
    assert_eq!(page.subscribe("x", None), missed(1));
    page.gets(["2"]);
}
