//! Anonymous connections that make webhooks on public channels as fast as they can: the queue of a healthy endpoint
//! overflows, and what is dropped is theirs.

use std::collections::HashMap;
use std::time::Duration;

use super::cost::Cost;
use crate::harness::{Config, PATIENCE, Receiver, Reply, Server, Ws, eventually};

/// Channels that one connection joins and leaves; their answers fit into its outbox, which it does not read.
const FLOOD: usize = 6000;

/// Channels of each kind that others join meanwhile.
const OTHERS: usize = 12;

fn config(receiver: &Receiver) -> Config {
    Config::new()
        .server("drain_seconds", "0")
        .webhooks("linger_seconds", "0")
        .webhooks("queue_events", "100")
        .webhook(&receiver.webhook(""))
}

/// Joins and leaves, without reading.
fn flood(server: &Server, name: impl Fn(usize) -> String) -> Ws {
    let mut ws = Ws::connect(server);
    for number in 0..FLOOD {
        let channel = name(number);
        ws.send_subscribe(&channel, None);
        ws.unsubscribe(&channel);
    }
    ws
}

/// What others do meanwhile: they join public channels and presence channels, and leave them all.
fn others(server: &Server) {
    let mut ws = Ws::connect(server);
    for number in 0..OTHERS {
        ws.subscribe(&format!("other-{number}"), None);
        ws.subscribe(&format!("presence-{number}"), Some(r#"{"user_id":"ada"}"#));
    }
    for number in 0..OTHERS {
        ws.unsubscribe(&format!("other-{number}"));
        ws.unsubscribe(&format!("presence-{number}"));
    }
    // What it has left by now is queued.
    ws.silent();
}

/// The names of the events by channel, in order, until the others are told to have left, these are told of their public
/// channels, and nothing waits.
fn told(
    servers: &[Server],
    receiver: &Receiver,
    of_public: &[&str],
) -> HashMap<String, Vec<String>> {
    let mut told: HashMap<String, Vec<String>> = HashMap::new();
    eventually(PATIENCE, "the others have left, and nothing waits", || {
        while let Some(request) = receiver.within(Duration::ZERO) {
            for event in request.events() {
                let text = |key: &str| event[key].as_str().map(ToOwned::to_owned);
                let names = told.entry(text("channel").unwrap()).or_default();
                names.extend(text("name"));
            }
        }
        let is_told = |channel: String, names: &[&str]| {
            let all = told.get(&channel);
            let has = |name: &&str| all.is_some_and(|all| all.iter().any(|told| told == name));
            names.iter().all(has)
        };
        let have_left = (0..OTHERS).all(|number| {
            is_told(
                format!("presence-{number}"),
                &["channel_vacated", "member_removed"],
            ) && is_told(format!("other-{number}"), of_public)
        });
        let waiting: u64 = servers
            .iter()
            .map(|server| server.metric("webhook_queue"))
            .sum();
        (have_left && waiting == 0).then_some(())
    });
    told
}

/// What comes and what goes, in turns, beginning with the first.
#[track_caller]
fn assert_alternates(channel: &str, names: &[String], [comes, goes]: [&str; 2]) {
    let both = names.iter().filter(|name| *name == comes || *name == goes);
    for (number, name) in both.enumerate() {
        let expected = if number % 2 == 0 { comes } else { goes };
        assert_eq!(name, expected, "{channel}: {names:?}");
    }
}

#[track_caller]
fn assert_others_lost_nothing(told: &HashMap<String, Vec<String>>) {
    for number in 0..OTHERS {
        let public = &told[&format!("other-{number}")];
        assert_eq!(public[..], ["channel_occupied", "channel_vacated"]);
        let channel = format!("presence-{number}");
        let mut members = told[&channel].clone();
        assert_alternates(&channel, &members, ["member_added", "member_removed"]);
        members.sort();
        let expected = [
            "channel_occupied",
            "channel_vacated",
            "member_added",
            "member_removed",
        ];
        assert_eq!(members[..], expected, "{channel}");
    }
}

#[test]
fn joining_and_leaving_many_channels_displaces_no_others() {
    let receiver = Receiver::start(&[Reply::Status(200)]);
    let server = Server::start(&config(&receiver));
    drop(Ws::subscribed(&server, "first"));
    receiver.next();
    let before = Cost::of(&server);
    let flooding = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&server, |number| format!("flood-{number}")));
        eventually(PATIENCE, "the queue overflows", || {
            (server.counter("webhook_dropped") > 0).then_some(())
        });
        others(&server);
        flooding.join().unwrap()
    });
    let mut told = told(
        std::slice::from_ref(&server),
        &receiver,
        &["channel_vacated"],
    );
    // Its other half came before.
    told.remove("first");
    assert_others_lost_nothing(&told);
    for (channel, names) in &told {
        assert_alternates(channel, names, ["channel_occupied", "channel_vacated"]);
    }
    let dropped = server.counter("webhook_dropped");
    assert_eq!(server.counter("webhook_dropped_public"), dropped);
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("queue is full"));
    assert!((1..=6).contains(&lines.count()), "{log}");
    assert!(log.contains("1 channel_occupied"), "{log}");
    drop(flooding);
    before.await_descriptors(&server);
    assert!(before.grown_kib(&server) < 32 * 1024);
}

/// What comes and goes within the linger, be it as short as the time between two looks, is told by nobody.
#[test]
fn joining_and_leaving_one_channel_is_told_seldom() {
    let receiver = Receiver::start(&[Reply::Status(200)]);
    let server = Server::start(&config(&receiver));
    let flooding = flood(&server, |_| "flood".to_owned());
    others(&server);
    let told = told(
        std::slice::from_ref(&server),
        &receiver,
        &["channel_vacated"],
    );
    assert_others_lost_nothing(&told);
    assert_alternates(
        "flood",
        &told["flood"],
        ["channel_occupied", "channel_vacated"],
    );
    assert_eq!(server.counter("webhook_dropped"), 0);
    drop(flooding);
}

/// Over Redis nobody knows who has left last, so what is vacated on public channels shares one line.
#[test]
fn over_redis_it_displaces_no_members() {
    // By way of Redis a flood may be slower than an endpoint that takes all: this one takes nothing until it is healed.
    let receiver = Receiver::start(&[Reply::Close]);
    let nodes =
        crate::harness::Nodes::over(crate::harness::RedisServer::shared(), 2, &config(&receiver));
    let flooding = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&nodes[0], |number| format!("flood-{number}")));
        eventually(PATIENCE, "the queue overflows", || {
            (nodes[0].counter("webhook_dropped") > 0).then_some(())
        });
        others(&nodes[0]);
        others(&nodes[1]);
        receiver.heal();
        flooding.join().unwrap()
    });
    let mut all = told(&nodes, &receiver, &["channel_occupied"]);
    all.retain(|channel, _| !channel.starts_with("flood"));
    for number in 0..OTHERS {
        let channel = format!("presence-{number}");
        let mut members = all[&channel].clone();
        members.sort();
        members.dedup();
        let expected = [
            "channel_occupied",
            "channel_vacated",
            "member_added",
            "member_removed",
        ];
        assert_eq!(members[..], expected, "{channel}");
        assert!(all[&format!("other-{number}")].contains(&"channel_occupied".to_owned()));
    }
    drop(flooding);
}
