//! Hostile input that breaks no rule of RFC 6455: each is answered with what the protocol has for it, only its sender
//! pays, and another connection on the same server goes on hearing events.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Config, Message, Opcode, Server, TARGET, Ws, event_body, frame};

/// A server with a bystander, who after every attack still gets an event.
struct Scene {
    bystander: Ws,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        let server = Server::start(&Config::new().app("client_events", "true"));
        let mut bystander = Ws::connect(&server);
        bystander.subscribe("x", None);
        Self { bystander, server }
    }

    fn attacker(&self) -> Ws {
        Ws::connect(&self.server)
    }

    fn unaffected(&mut self) {
        self.server.trigger("x", "e", "still here");
        assert_eq!(
            self.bystander.text(),
            r#"{"event":"e","channel":"x","data":"still here"}"#
        );
    }

    /// Sends a text on a fresh connection, which stays, and checks the words that it is answered with.
    fn answers(&mut self, text: &str, part: &str) {
        let mut attacker = self.attacker();
        attacker.send(text);
        let answer = attacker.text();
        assert!(
            answer.starts_with(r#"{"event":"pusher:error","data":{"code":null,"message":""#),
            "{answer}"
        );
        assert!(answer.contains(part), "{answer}");
        attacker.silent();
        self.unaffected();
    }

    /// Sends a text on a fresh connection, which stays and is not answered.
    fn ignores(&mut self, text: &str) {
        let mut attacker = self.attacker();
        attacker.send(text);
        attacker.silent();
        self.unaffected();
    }
}

#[test]
fn a_message_may_come_in_pieces() {
    let mut scene = Scene::new();
    let mut ws = scene.attacker();
    let text = r#"{"event":"client-é","channel":"x"}"#.as_bytes();
    // Split in the middle of a character, with a ping between, and byte by byte on the socket.
    let bytes = [
        frame(false, Opcode::Text, &text[..18]),
        frame(false, Opcode::Continuation, &text[18..19]),
        frame(true, Opcode::Ping, b"between"),
        frame(false, Opcode::Continuation, b""),
        frame(true, Opcode::Continuation, &text[19..]),
    ]
    .concat();
    for byte in bytes {
        ws.write(&[byte]).expect("the server reads");
    }
    assert_eq!(ws.next(), Message::Pong(b"between".to_vec()));
    assert!(ws.text().contains("not subscribed to channel x"));
    ws.silent();
    scene.unaffected();
}

#[test]
fn frames_may_come_together_with_the_upgrade_request() {
    let mut scene = Scene::new();
    let frames = [
        frame(true, Opcode::Text, br#"{"event":"pusher:ping"}"#),
        frame(
            true,
            Opcode::Text,
            br#"{"event":"pusher:subscribe","data":{"channel":"y"}}"#,
        ),
    ];
    let mut ws = Ws::open_with_frames(&scene.server, TARGET, &frames.concat());
    ws.established();
    assert_eq!(ws.text(), r#"{"event":"pusher:pong","data":"{}"}"#);
    assert_eq!(
        ws.text(),
        r#"{"event":"pusher_internal:subscription_succeeded","channel":"y","data":"{}"}"#
    );
    ws.silent();
    scene.unaffected();
}

#[test]
fn json_of_unexpected_shape_is_answered_in_words() {
    let mut scene = Scene::new();
    let expected = "expected a JSON object";
    for text in [
        "",
        "nope",
        "null",
        "[]",
        "[[[[",
        "7",
        "\"pusher:ping\"",
        "{}",
        "{\"event\":null}",
        "{\"event\":{\"a\":1}}",
        "{\"event\":\"pusher:ping\"}}",
        "{\"event\":\"\\ud800\"}",
        "{\"event\":\"a\u{0}b\"}",
        "\u{0}",
        "\u{feff}{\"event\":\"pusher:ping\"}",
    ] {
        scene.answers(text, expected);
    }
    for data in [
        "7",
        "[]",
        "true",
        "\"x\"",
        "\"[]\"",
        "{\"channel\":[]}",
        "{\"channel\":\"\\udc00\"}",
    ] {
        let text = format!(r#"{{"event":"pusher:subscribe","data":{data}}}"#);
        scene.answers(&text, "");
    }
    for data in [
        "7",
        "{\"auth\":7,\"user_data\":{}}",
        "{\"auth\":\"\",\"user_data\":\"\"}",
    ] {
        let text = format!(r#"{{"event":"pusher:signin","data":{data}}}"#);
        scene.answers(&text, "");
    }
}

#[test]
fn nesting_and_size_cost_only_their_sender() {
    let mut scene = Scene::new();
    let deep = "[".repeat(30_000) + &"]".repeat(30_000);
    scene.answers(&deep, "expected a JSON object");
    scene.ignores(&format!(r#"{{"event":"pusher:pong","data":{deep}}}"#));
    scene.answers(
        &format!(r#"{{"event":"pusher:subscribe","data":{{"channel":{deep}}}}}"#),
        "",
    );
    let open = "{\"a\":".repeat(10_000);
    scene.answers(&open, "expected a JSON object");
    let wide: String = (0..5_000).map(|i| format!(r#""k{i}":1,"#)).collect();
    scene.ignores(&format!(r#"{{{wide}"event":"pusher:pong"}}"#));
    // A million keys are over the limit of a message.
    let million: String = (0..1_000_000).map(|i| format!(r#""{i}":1,"#)).collect();
    let text = format!(r#"{{{million}"event":"pusher:pong"}}"#);
    scene.closes_while_sending(&text);
}

impl Scene {
    /// The server may close before everything is written, and then reset: the close frame can be lost with it.
    fn closes_while_sending(&mut self, text: &str) {
        let mut attacker = self.attacker();
        let _ = attacker.write(&frame(true, Opcode::Text, text.as_bytes()));
        let message = attacker.next();
        assert!(
            matches!(message, Message::Close(1009, _) | Message::Ended),
            "{message:?}"
        );
        self.unaffected();
    }
}

#[test]
fn hostile_channel_names_are_refused() {
    let mut scene = Scene::new();
    for name in [
        "\"\"".to_owned(),
        "\" \"".to_owned(),
        "\"a/b\"".to_owned(),
        "\"a\\u0000\"".to_owned(),
        "\"\\u202e\"".to_owned(),
        "\"é\"".to_owned(),
        "\"#\"".to_owned(),
        "\"#connections-1\"".to_owned(),
        "\"#watchers-1\"".to_owned(),
        format!("\"{}\"", "x".repeat(50_000)),
        format!("\"presence-{}\"", "x".repeat(200)),
    ] {
        let mut attacker = scene.attacker();
        attacker.send(&format!(
            r#"{{"event":"pusher:subscribe","data":{{"channel":{name}}}}}"#
        ));
        assert!(attacker.text().contains("pusher:error"));
        assert!(attacker.text().contains("pusher:subscription_error"));
        assert!(
            attacker
                .text()
                .contains("pusher_internal:subscription_error")
        );
        attacker.silent();
        scene.unaffected();
    }
    let channels = scene.server.get("/apps/app-id/channels");
    assert_eq!(channels.body, r#"{"channels":{"x":{}}}"#);
}

#[test]
fn a_connection_that_dies_in_the_middle_of_a_frame_is_forgotten() {
    let mut scene = Scene::new();
    for cut in [1, 2, 5, 20] {
        let mut attacker = scene.attacker();
        attacker.subscribe("private-x", None);
        let bytes = frame(true, Opcode::Text, &[b' '; 100]);
        attacker.write(&bytes[..cut]).expect("the server reads");
    }
    scene.server.await_count("connections", 1);
    scene.unaffected();
}

/// Frames whose every part is drawn at random, near enough to good ones to get past the first check.
#[test]
fn random_frames_hurt_only_their_sender() {
    const PAYLOADS: [&[u8]; 8] = [
        b"",
        b"{",
        b"\xff\xfe",
        br#"{"event":"pusher:ping"}"#,
        br#"{"event":"pusher:subscribe","data":{"channel":"y"}}"#,
        br#"{"event":"pusher:unsubscribe","data":{"channel":"y"}}"#,
        br#"{"event":"client-e","channel":"y"}"#,
        br#"{"event":"pusher:signin","data":{"auth":"a:b","user_data":"{}"}}"#,
    ];
    let mut scene = Scene::new();
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..300 {
        let mut attacker = scene.attacker();
        let mut bytes = Vec::new();
        for _ in 0..random.random_range(1..10) {
            let mut next = frame(true, Opcode::Text, PAYLOADS[random.random_range(0..8)]);
            if random.random_ratio(1, 3) {
                next[0] = random.random();
            }
            if random.random_ratio(1, 10) {
                next[1] = random.random();
            }
            bytes.extend(next);
        }
        bytes.truncate(random.random_range(1..=bytes.len()));
        attacker.write(&bytes).expect("the server reads");
    }
    scene.server.await_count("connections", 1);
    scene.unaffected();
}

#[test]
fn http_bodies_of_unexpected_shape_are_refused() {
    let mut scene = Scene::new();
    let deep = "[".repeat(30_000);
    let wide = format!(
        "{{{}\"name\":7}}",
        (0..3_000)
            .map(|i| format!("\"{i}\":1,"))
            .collect::<String>()
    );
    for body in [
        "nope",
        "[]",
        "7",
        "null",
        "{}",
        r#"{"name":"e","channel":"x"}"#,
        r#"{"name":"e","data":"1"}"#,
        r#"{"name":"e","channels":"x","data":"1"}"#,
        r#"{"name":"e","channels":[],"data":"1"}"#,
        r#"{"name":"e","channels":[7],"data":"1"}"#,
        r#"{"name":"\ud800","channel":"x","data":"1"}"#,
        r#"{"name":"e","channel":"x","data":"\udc00"}"#,
        &deep,
        &wide,
    ] {
        let response = scene.server.post("/apps/app-id/events", body);
        assert_eq!(response.status(), 400, "{:?}", response.body);
        assert!(!response.body.is_empty());
    }
    scene.unaffected();
    let nul = event_body("x", "a\u{0}b", "\u{0}");
    assert_eq!(scene.server.post("/apps/app-id/events", &nul).status(), 200);
    assert_eq!(
        scene.bystander.text(),
        r#"{"event":"a\u0000b","channel":"x","data":"\u0000"}"#
    );
}
