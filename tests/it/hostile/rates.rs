//! Rates of one connection at their edges: what comes faster is dropped and said, much more ends the connection, and no
//! other connection notices.

use std::time::{Duration, Instant};

use super::cost::Cost;
use super::limits::{PING, count, flood, until_pong};
use crate::harness::{
    Config, Message, Opcode, PATIENCE, Server, Ws, eventually, frame, subscribe_frame,
};

/// What a rate lets through at most, with a burst of a second's worth.
fn allowed(rate: usize, began: Instant) -> usize {
    (rate as f64 * (began.elapsed().as_secs_f64() + 1.0) + 1.0) as usize
}

/// Everything up to the close: how many texts have that part, and the close code.
fn until_closed(ws: &mut Ws, part: &str) -> (usize, u16) {
    let mut found = 0;
    loop {
        match ws.next() {
            Message::Text(text) => found += usize::from(text.contains(part)),
            Message::Close(code, _) => return (found, code),
            Message::Pong(_) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[test]
fn a_flood_of_messages_is_cut_to_its_rate_and_a_larger_one_is_closed() {
    const RATE: usize = 20;
    const EXCESS: usize = 100;
    const FLOOD: usize = 20_000;
    let server = Server::start(&Config::new().limit("messages_per_second", &RATE.to_string()));
    let mut bystander = Ws::subscribed(&server, "x");
    let before = Cost::of(&server);
    let refused = || server.labelled("messages_refused_total", &[("reason", "too_fast")]);
    let closed = || server.labelled("connections_closed_total", &[("reason", "too_fast")]);

    // What is over the rate is dropped and said, and the connection stays.
    let mut greedy = Ws::connect(&server);
    let began = Instant::now();
    let kinds = [
        PING,
        "nonsense",
        r#"{"event":"pusher:unsubscribe","data":{"channel":"no"}}"#,
    ];
    let texts = kinds
        .iter()
        .cycle()
        .take(EXCESS)
        .map(|text| (*text).to_owned());
    greedy.write(&flood(texts)).expect("the server reads");
    let answers: Vec<String> = (0..EXCESS).map(|_| greedy.text()).collect();
    let dropped = count(&answers, r#""code":4301"#);
    let passed = EXCESS - dropped;
    assert!((RATE..=allowed(RATE, began)).contains(&passed), "{passed}");
    assert_eq!(refused(), dropped as u64);
    eventually(PATIENCE, "it is heard again", || {
        greedy.send(PING);
        greedy.text().contains("pusher:pong").then_some(())
    });
    assert_eq!(closed(), 0);

    // Ten times as much ends it, of whatever kind it is.
    let pings = frame(true, Opcode::Ping, b"x").repeat(FLOOD);
    let texts = flood((0..FLOOD).map(|_| PING.to_owned()));
    // A message that begins and does not end.
    let pieces = frame(false, Opcode::Text, b"x");
    let pieces = [
        pieces,
        frame(false, Opcode::Continuation, b"").repeat(FLOOD),
    ]
    .concat();
    for (round, bytes) in [pings, texts, pieces].iter().enumerate() {
        let mut attacker = Ws::connect(&server);
        let began = Instant::now();
        // It may be closed before it has written all of it.
        let _ = attacker.write(bytes);
        let (errors, code) = until_closed(&mut attacker, r#""code":4301"#);
        assert_eq!(code, 4100, "round {round}");
        assert!(errors <= 10 * allowed(RATE, began), "{errors}");
        assert_eq!(closed(), round as u64 + 1);
        server.trigger("x", "e", "1");
        assert!(bystander.text().contains(r#""event":"e""#));
    }
    let lines = server.log();
    let lines = lines
        .lines()
        .filter(|line| line.contains("reason=\"too_fast\""));
    assert!(lines.count() <= 20, "ten in a window");
    let cpu = before.cpu_since(&server);
    assert!(cpu < Duration::from_secs(10), "{cpu:?} of CPU");
    bystander.silent();
}

#[test]
fn subscriptions_are_cut_to_their_rate_whatever_comes_of_them() {
    const RATE: usize = 10;
    const WANTED: usize = 300;
    let server = Server::start(&Config::new().limit("subscribes_per_second", &RATE.to_string()));
    let mut bystander = Ws::subscribed(&server, "c-0");
    let mut greedy = Ws::connect(&server);
    let began = Instant::now();
    // Every other one is refused for what it is.
    let channel = |n| format!("{}c-{n}", if n % 2 == 0 { "" } else { "private-" });
    let subscribes = (0..WANTED).map(|n| {
        let plain = subscribe_frame("", "", None);
        plain.replace(r#""channel":"""#, &format!(r#""channel":"{}""#, channel(n)))
    });
    let bytes = flood(subscribes.chain([PING.to_owned()]));
    greedy.write(&bytes).expect("the server reads");
    let texts = until_pong(&mut greedy);
    let taken = count(&texts, "subscription_succeeded");
    let unsigned = count(&texts, "AuthError");
    let (refused, told) = (
        count(&texts, "LimitReached"),
        count(&texts, r#""code":4301"#),
    );
    assert_eq!(taken + unsigned + refused, WANTED);
    assert_eq!(
        (told, count(&texts, r#"\"status\":429"#)),
        (refused, refused)
    );
    let passed = taken + unsigned;
    assert!((RATE..=allowed(RATE, began)).contains(&passed), "{passed}");
    assert!(unsigned >= RATE / 2, "{unsigned} were counted too");
    let counted = server.labelled("subscriptions_refused_total", &[("reason", "too_fast")]);
    assert_eq!(counted, refused as u64);
    assert_eq!(server.count("subscriptions"), taken as u64 + 1);
    // Others have rates of their own, and so has it when it waits.
    bystander.subscribe("another", None);
    eventually(PATIENCE, "it may subscribe again", || {
        greedy.send_subscribe("late", None);
        greedy.send(PING);
        let texts = until_pong(&mut greedy);
        (count(&texts, "subscription_succeeded") == 1).then_some(())
    });
}
