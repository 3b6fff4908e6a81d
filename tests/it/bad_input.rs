//! Hostile input: each is answered with what RFC 6455 or the protocol has for it, only its sender pays, and another
//! connection on the same server goes on hearing events.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{
    Config, Http, Message, Opcode, Server, TARGET, Ws, event_body, frame, header,
};

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

    /// Writes bytes on a fresh connection and checks the code that it is closed with.
    fn closes(&mut self, bytes: &[u8], code: u16) {
        let mut attacker = self.attacker();
        attacker.write(bytes).expect("the server reads");
        let (closed, reason) = attacker.closed();
        assert_eq!(closed, code, "{reason}");
        self.unaffected();
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
fn binary_messages_close_with_1003() {
    let mut scene = Scene::new();
    scene.closes(&frame(true, Opcode::Binary, b"\x00\x01"), 1003);
    scene.closes(&frame(true, Opcode::Binary, b""), 1003);
    scene.closes(&frame(false, Opcode::Binary, b"begun"), 1003);
}

#[test]
fn oversized_messages_close_with_1009() {
    let mut scene = Scene::new();
    scene.closes(&frame(true, Opcode::Text, &[b' '; 200_000]), 1009);
    // However long the header says it is: no more than the limit is ever kept.
    let announced = [header(true, Opcode::Text, 1 << 30, true), vec![0; 70_000]];
    scene.closes(&announced.concat(), 1009);
    scene.closes(&[&[0x81, 0xff][..], &[0xff; 8], &[0; 4]].concat(), 1009);
    // In pieces, each of them small.
    let mut pieces = frame(false, Opcode::Text, &[b' '; 1000]);
    for _ in 0..200 {
        pieces.extend(frame(false, Opcode::Continuation, &[b' '; 1000]));
    }
    scene.closes(&pieces, 1009);
}

#[test]
fn broken_frames_close_with_1002() {
    let mut scene = Scene::new();
    let unmasked = [header(true, Opcode::Text, 2, false), b"{}".to_vec()].concat();
    scene.closes(&unmasked, 1002);
    for reserved_bits in [0x10, 0x20, 0x40] {
        let mut bytes = frame(true, Opcode::Text, b"{}");
        bytes[0] |= reserved_bits;
        scene.closes(&bytes, 1002);
    }
    for opcode in [0x3, 0x7, 0xb, 0xf] {
        let mut bytes = frame(true, Opcode::Text, b"{}");
        bytes[0] = 0x80 | opcode;
        scene.closes(&bytes, 1002);
    }
    scene.closes(&frame(true, Opcode::Ping, &[0; 126]), 1002);
    scene.closes(&frame(false, Opcode::Ping, b"in pieces"), 1002);
    scene.closes(&frame(true, Opcode::Continuation, b"of nothing"), 1002);
    let two_beginnings = [
        frame(false, Opcode::Text, b"{"),
        frame(true, Opcode::Text, b"}"),
    ];
    scene.closes(&two_beginnings.concat(), 1002);
    scene.closes(&frame(true, Opcode::Close, &[3]), 1002);
}

#[test]
fn text_that_is_not_utf_8_closes_with_1007() {
    let mut scene = Scene::new();
    scene.closes(&frame(true, Opcode::Text, b"{\"event\":\"\xff\"}"), 1007);
    // A surrogate in UTF-8's clothes, an overlong slash, a sequence that is cut.
    scene.closes(&frame(true, Opcode::Text, b"\xed\xa0\x80"), 1007);
    scene.closes(&frame(true, Opcode::Text, b"\xc0\xaf"), 1007);
    scene.closes(&frame(true, Opcode::Text, b"\xe2\x82"), 1007);
    let mut attacker = scene.attacker();
    let cut = frame(true, Opcode::Text, b"{\"event\":\"\xe2\x82");
    attacker.write(&cut).expect("the server reads");
    let (code, reason) = attacker.closed();
    assert!(code == 1007 && reason.contains("cut inside"), "{reason}");
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
fn what_is_no_handshake_is_refused_by_http() {
    let mut scene = Scene::new();
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let version = ("Sec-WebSocket-Version", "13");
    let old = ("Sec-WebSocket-Version", "8");
    let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    for extra in [&[][..], &[version], &[key], &[old, key]] {
        let headers = [&upgrade[..], extra].concat();
        let mut http = Http::connect(scene.server.public);
        let response = http.request("GET", TARGET, &headers, "");
        assert!(matches!(response.status(), 400 | 426), "{response:?}");
        scene.unaffected();
    }
    let mut http = Http::connect(scene.server.public);
    http.write("NONSENSE\r\n\r\n");
    assert_eq!(http.read().status(), 400);
    scene.unaffected();
}

#[test]
fn a_close_is_answered_with_its_code() {
    let mut scene = Scene::new();
    scene.closes(&frame(true, Opcode::Close, &1000_u16.to_be_bytes()), 1000);
    scene.closes(&frame(true, Opcode::Close, &4999_u16.to_be_bytes()), 4999);
    let mut ws = scene.attacker();
    ws.send_frame(true, Opcode::Close, b"");
    assert!(matches!(ws.next(), Message::Close(1000 | 1005, _)));
    assert_eq!(ws.next(), Message::Ended);
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
