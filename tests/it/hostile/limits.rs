//! Limits at their edges: floods and races of those who know the limit get exactly what it allows, and no other
//! connection notices.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::cost::Cost;
use crate::harness::{
    Config, Http, Nodes, Opcode, PATIENCE, Receiver, RedisServer, Reply, Server, Ws, eventually,
    frame, subscribe_frame,
};

/// Frames of text in one piece.
pub(super) fn flood(texts: impl IntoIterator<Item = String>) -> Vec<u8> {
    let framed = texts
        .into_iter()
        .map(|text| frame(true, Opcode::Text, text.as_bytes()));
    framed.flatten().collect()
}

pub(super) const PING: &str = r#"{"event":"pusher:ping","data":{}}"#;

/// Everything that is sent until the answer to a ping.
pub(super) fn until_pong(ws: &mut Ws) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let text = ws.text();
        if text.contains("pusher:pong") {
            return texts;
        }
        texts.push(text);
    }
}

pub(super) fn count(texts: &[String], part: &str) -> usize {
    texts.iter().filter(|text| text.contains(part)).count()
}

#[test]
fn a_flood_of_subscriptions_gets_as_many_as_a_connection_may_have() {
    const LIMIT: usize = 1000;
    const WANTED: usize = 1500;
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let before = Cost::of(&server);
    let mut greedy = Ws::connect(&server);
    for round in 0..2 {
        let subscribes = (0..WANTED).map(|n| subscribe_frame("", &format!("c-{n}"), None));
        let bytes = flood(subscribes.chain([PING.to_owned()]));
        greedy.write(&bytes).expect("the server reads");
        server.trigger("x", "e", "1");
        assert!(bystander.text().contains(r#""event":"e""#));
        let texts = until_pong(&mut greedy);
        assert_eq!(count(&texts, "subscription_succeeded"), LIMIT);
        assert_eq!(count(&texts, "LimitReached"), WANTED - LIMIT);
        assert_eq!(
            count(&texts, "the limit is 1000 channels"),
            2 * (WANTED - LIMIT)
        );
        assert_eq!(server.count("subscriptions"), LIMIT as u64 + 1);
        // One goes, and one may come.
        greedy.unsubscribe("c-7");
        greedy.subscribe("c-1200", None);
        greedy.send_subscribe("c-7", None);
        assert!(greedy.text().contains("the limit is"), "round {round}");
        greedy.send(PING);
        until_pong(&mut greedy);
        let leave = |n| format!(r#"{{"event":"pusher:unsubscribe","data":{{"channel":"c-{n}"}}}}"#);
        let bytes = flood((0..WANTED).map(leave).chain([PING.to_owned()]));
        greedy.write(&bytes).expect("the server reads");
        until_pong(&mut greedy);
        assert_eq!(server.count("subscriptions"), 1);
    }
    let cpu = before.cpu_since(&server);
    assert!(cpu < Duration::from_secs(15), "{cpu:?} of CPU");
    assert!(before.grown_kib(&server) < 16 * 1024);
    drop(greedy);
    before.await_descriptors(&server);
    bystander.silent();
}

#[test]
fn a_race_for_a_presence_channel_is_won_by_as_many_as_it_may_have() {
    const LIMIT: usize = 20;
    const RUSH: usize = 60;
    let server = Server::start(&Config::new().limit("presence_members", &LIMIT.to_string()));
    let before = Cost::of(&server);
    let mut rush: Vec<Ws> = (0..RUSH).map(|_| Ws::connect(&server)).collect();
    thread::scope(|scope| {
        for (user, ws) in rush.iter_mut().enumerate() {
            let data = format!(r#"{{"user_id":"{user}"}}"#);
            scope.spawn(move || {
                ws.send_subscribe("presence-x", Some(&data));
                ws.send(PING);
            });
        }
    });
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    for ws in rush {
        let mut ws = ws;
        let texts = until_pong(&mut ws);
        let is_in = count(&texts, "subscription_succeeded") == 1;
        assert_eq!(
            count(&texts, "The presence channel is full"),
            if is_in { 0 } else { 2 }
        );
        if is_in {
            winners.push(ws)
        } else {
            losers.push(ws)
        }
    }
    assert_eq!((winners.len(), losers.len()), (LIMIT, RUSH - LIMIT));
    assert_eq!(server.count("members"), LIMIT as u64);
    let users = server.get("/apps/app-id/channels/presence-x/users").json();
    assert_eq!(users["users"].as_array().map(Vec::len), Some(LIMIT));
    // The losers hear nothing of it, and one gets in for each winner that goes.
    for loser in &mut losers {
        loser.silent();
    }
    drop(winners);
    server.await_count("members", 0);
    losers[0].subscribe("presence-x", Some(r#"{"user_id":"late"}"#));
    drop(losers);
    server.await_count("members", 0);
    before.await_descriptors(&server);
}

#[test]
fn a_race_to_sign_in_is_won_by_as_many_as_a_user_may_have() {
    const LIMIT: usize = 5;
    const RUSH: usize = 30;
    let config = Config::new().limit("connections_per_user", &LIMIT.to_string());
    for nodes in [
        Nodes::without_redis(&config),
        Nodes::over(RedisServer::shared(), 1, &config),
        Nodes::over(RedisServer::shared(), 2, &config),
    ] {
        let mut rush: Vec<Ws> = (0..RUSH)
            .map(|_| Ws::connect(nodes.for_connection()))
            .collect();
        thread::scope(|scope| {
            for ws in &mut rush {
                scope.spawn(|| ws.sign_in(r#"{"id":"7"}"#));
            }
        });
        let answers = rush.into_iter().map(|mut ws| (ws.text(), ws));
        let (winners, losers): (Vec<_>, Vec<_>) =
            answers.partition(|(text, _)| text.contains("pusher:signin_success"));
        assert_eq!((winners.len(), losers.len()), (LIMIT, RUSH - LIMIT));
        for (text, _) in &losers {
            assert!(
                text.contains("too many signed-in connections: the limit is 5"),
                "{text}"
            );
        }
        let refused = nodes.counter("signins_refused");
        assert_eq!(refused, (RUSH - LIMIT) as u64);
        // Those who were refused hear nothing that is for the user, and one gets in for each that goes.
        let (mut losers, winners): (Vec<Ws>, Vec<Ws>) = (
            losers.into_iter().map(|(_, ws)| ws).collect(),
            winners.into_iter().map(|(_, ws)| ws).collect(),
        );
        for ws in &mut losers {
            ws.silent();
        }
        drop(winners);
        eventually(PATIENCE, "a place is free", || {
            losers[0].sign_in(r#"{"id":"7"}"#);
            losers[0]
                .text()
                .contains("pusher:signin_success")
                .then_some(())
        });
    }
}

#[test]
fn a_flood_of_client_events_is_cut_to_its_rate() {
    const FLOOD: usize = 2000;
    const RATE: usize = 10;
    let config = Config::new()
        .app("client_events", "true")
        .limit("client_events_per_second", &RATE.to_string());
    let server = Server::start(&config);
    let mut bystander = Ws::subscribed(&server, "private-x");
    let mut sender = Ws::subscribed(&server, "private-x");
    let mut other = Ws::subscribed(&server, "private-x");
    let before = Cost::of(&server);
    let began = Instant::now();
    let event = |n| format!(r#"{{"event":"client-e","channel":"private-x","data":{{"n":{n}}}}}"#);
    let bytes = flood((0..FLOOD).map(event).chain([PING.to_owned()]));
    sender.write(&bytes).expect("the server reads");
    let refused = count(&until_pong(&mut sender), r#""code":4301"#);
    let seconds = began.elapsed().as_secs_f64();
    let passed = FLOOD - refused;
    let allowed = RATE as f64 * (seconds + 1.0) + 1.0;
    assert!(
        (1..=allowed as usize).contains(&passed),
        "{passed} in {seconds} s"
    );
    assert_eq!(server.counter("client_events_limited"), refused as u64);
    // In their order, and another connection's own rate is untouched.
    let numbers: Vec<u64> = (0..passed)
        .map(|_| bystander.told("client-e")["n"].as_u64().expect("a number"))
        .collect();
    assert!(numbers.is_sorted() && numbers[0] == 0, "{numbers:?}");
    other.send(&event(7));
    assert_eq!(bystander.told("client-e"), json!({"n": 7}));
    bystander.silent();
    let cpu = before.cpu_since(&server);
    assert!(cpu < Duration::from_secs(10), "{cpu:?} of CPU");
}

#[test]
fn reads_are_bounded_for_who_can_sign_and_strangers_use_none_up() {
    const RATE: usize = 5;
    const FLOOD: usize = 40;
    const PATHS: [&str; 4] = [
        "/apps/app-id/channels",
        "/apps/app-id/channels/presence-x",
        "/apps/app-id/channels/presence-x/users",
        "/apps/app-id/channels/presence-x/events",
    ];
    let server = Server::start(
        &Config::new()
            .app("channels", r#"[{ match = "*", cache = true }]"#)
            .limit("reads_per_second", &RATE.to_string()),
    );
    let mut bystander = Ws::subscribed(&server, "x");
    for path in PATHS.iter().cycle().take(FLOOD) {
        let signed_wrongly = format!("{path}?auth_key=app-key&auth_signature=0");
        for stranger in [path, &signed_wrongly[..]] {
            let mut http = Http::connect(server.public);
            assert_eq!(http.request("GET", stranger, &[], "").status(), 401);
        }
    }
    let began = Instant::now();
    let answers: Vec<_> = PATHS
        .iter()
        .cycle()
        .take(FLOOD)
        .map(|path| server.get(path))
        .collect();
    let seconds = began.elapsed().as_secs_f64();
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status() != 200)
        .collect();
    let passed = FLOOD - refused.len();
    let allowed = RATE as f64 * (seconds + 1.0) + 1.0;
    assert!(
        (RATE..=allowed as usize).contains(&passed),
        "{passed} in {seconds} s"
    );
    assert!(answers[..RATE].iter().all(|answer| answer.status() == 200));
    for answer in &refused {
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.head.header("retry-after"), Some("1"));
        assert!(answer.body.contains("reads_per_second"), "{}", answer.body);
    }
    let reason = [("reason", "too_many_reads")];
    let counted = server.labelled("http_refused_total", &reason);
    assert_eq!(counted, refused.len() as u64);
    // Publishing is another matter, and who waits may ask again.
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
    eventually(PATIENCE, "a read is taken again", || {
        (server.get(PATHS[0]).status() == 200).then_some(())
    });
}

#[test]
fn full_watchlists_of_many_follow_who_comes_and_goes() {
    const WATCHERS: usize = 20;
    const WATCHED: usize = 100;
    const ROUNDS: usize = 5;
    let server = Server::start(&Config::new().app("watchlist", "true"));
    let before = Cost::of(&server);
    let ids: Vec<String> = (0..WATCHED).map(|n| format!("u{n}")).collect();
    let mut watchers: Vec<Ws> = (0..WATCHERS)
        .map(|n| {
            let user_data = json!({"id": format!("w{n}"), "watchlist": ids}).to_string();
            let mut ws = Ws::signed_in(&server, &user_data);
            let told = ws.told("pusher_internal:watchlist_events");
            assert_eq!(
                told["events"],
                json!([{"name": "offline", "user_ids": ids}])
            );
            ws
        })
        .collect();
    for round in 0..ROUNDS {
        let user = format!("u{}", round * 20);
        let ws = Ws::signed_in(&server, &json!({"id": user}).to_string());
        drop(ws);
        for watcher in &mut watchers {
            for state in ["online", "offline"] {
                let told = watcher.told("pusher_internal:watchlist_events");
                assert_eq!(told["events"], json!([{"name": state, "user_ids": [user]}]));
            }
        }
    }
    // Watched users count as such until nobody watches them.
    assert_eq!(server.count("users"), (WATCHERS + WATCHED) as u64);
    let cpu = before.cpu_since(&server);
    assert!(cpu < Duration::from_secs(10), "{cpu:?} of CPU");
    drop(watchers);
    server.await_count("users", 0);
    before.await_descriptors(&server);
}

#[test]
fn the_oldest_dead_letters_go_when_there_are_too_many() {
    const LIMIT: usize = 3;
    const EVENTS: usize = 8;
    let receiver = Receiver::start(&[Reply::Status(400)]);
    let config = Config::new()
        .webhook(&receiver.webhook("batch = false"))
        .webhooks("retry_seconds", "0")
        .webhooks("dead_letters", &LIMIT.to_string());
    let server = Server::start(&config);
    let mut ws = Ws::connect(&server);
    for number in 0..EVENTS {
        ws.subscribe(&number.to_string(), None);
    }
    eventually(PATIENCE, "the others are dropped", || {
        let dropped = server.counter("webhook_dead_dropped");
        (dropped == (EVENTS - LIMIT) as u64).then_some(())
    });
    let letters = server.admin("/dead-letters").json();
    let letters = letters["dead_letters"].as_array().expect("a list");
    let channels: Vec<&str> = letters
        .iter()
        .filter_map(|letter| letter["events"][0]["channel"].as_str())
        .collect();
    assert_eq!(channels, ["5", "6", "7"]);
    assert_eq!(server.counter("webhook_dead"), EVENTS as u64);
}
