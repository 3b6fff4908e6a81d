//! RFC 6455, rule by rule: what breaks it ends with the code that the rule has, as soon as the rule is broken and not
//! when the rest has come, and a bystander hears nothing of it.

use crate::harness::{Config, Message, Opcode, Server, TARGET, Wire, Ws, frame, header};

/// `Limits::message_bytes` of an app with the default limits.
const MOST: usize = 64 * 1024;

/// A server with a bystander, who after every attack still gets an event.
struct Scene {
    bystander: Ws,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        let server = Server::start(&Config::new());
        let bystander = Ws::subscribed(&server, "x");
        Self { bystander, server }
    }

    fn unaffected(&mut self) {
        self.server.trigger("x", "e", "still here");
        assert_eq!(
            self.bystander.text(),
            r#"{"event":"e","channel":"x","data":"still here"}"#
        );
    }

    /// Writes these bytes and no more on a connection of their own, which must be closed with that code.
    fn closes(&mut self, rule: &str, bytes: &[u8], code: u16) {
        let mut ws = Ws::connect(&self.server);
        ws.write(bytes).expect("the server reads");
        let (closed, reason) = ws.closed();
        assert_eq!(closed, code, "{rule}: {reason}");
        self.unaffected();
    }
}

/// The first bytes of a frame, whatever they say.
fn begun(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// The header of a masked frame with its length in 64 bits.
fn long(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff][..], &length.to_be_bytes()].concat()
}

/// The header of a masked frame with its length in 16 bits.
fn medium(first: u8, length: u16) -> Vec<u8> {
    [&[first, 0xfe][..], &length.to_be_bytes()].concat()
}

fn close(payload: &[u8]) -> Vec<u8> {
    frame(true, Opcode::Close, payload)
}

#[test]
fn what_a_header_forbids_closes_with_1002() {
    let mut scene = Scene::new();
    let unfinished = frame(false, Opcode::Text, b"{");
    for (rule, bytes) in [
        ("5.1 a client masks", header(true, Opcode::Text, 2, false)),
        (
            "5.1 an empty ping too",
            header(true, Opcode::Ping, 0, false),
        ),
        ("5.2 RSV1", begun(&[0xc1])),
        ("5.2 RSV2", begun(&[0xa1])),
        ("5.2 RSV3", begun(&[0x91])),
        ("5.2 RSV1 of a ping", begun(&[0xc9])),
        ("5.2 RSV1 of a close", begun(&[0xc8])),
        (
            "5.2 RSV1 of a continuation",
            [&unfinished[..], &[0xc0]].concat(),
        ),
        ("5.2 opcode 3", begun(&[0x83])),
        ("5.2 opcode 4", begun(&[0x84])),
        ("5.2 opcode 5", begun(&[0x85])),
        ("5.2 opcode 6", begun(&[0x86])),
        ("5.2 opcode 7", begun(&[0x87])),
        ("5.2 opcode 7, not final", begun(&[0x07])),
        ("5.2 opcode 11", begun(&[0x8b])),
        ("5.2 opcode 12", begun(&[0x8c])),
        ("5.2 opcode 13", begun(&[0x8d])),
        ("5.2 opcode 14", begun(&[0x8e])),
        ("5.2 opcode 15", begun(&[0x8f])),
        ("5.4 nothing to go on with", begun(&[0x80])),
        ("5.4 nothing to go on with, not final", begun(&[0x00])),
        ("5.4 text in a message", [&unfinished[..], &[0x81]].concat()),
        (
            "5.4 binary in a message",
            [&unfinished[..], &[0x82]].concat(),
        ),
        ("5.5 a ping in pieces", begun(&[0x09])),
        ("5.5 a pong in pieces", begun(&[0x0a])),
        ("5.5 a close in pieces", begun(&[0x08])),
        ("5.5 a ping in 16 bits", begun(&[0x89, 0xfe])),
        ("5.5 a ping in 64 bits", begun(&[0x89, 0xff])),
        ("5.5 a short ping in 64 bits", long(0x89, 5)),
        ("5.5 a ping of 1 TiB", long(0x89, 1 << 40)),
        ("5.5 a pong in 16 bits", medium(0x8a, 126)),
        ("5.5 a pong in 64 bits", begun(&[0x8a, 0xff])),
        ("5.5 a close in 16 bits", medium(0x88, 126)),
        ("5.5 a close in 64 bits", begun(&[0x88, 0xff])),
        (
            "5.5 a ping of 126 bytes",
            frame(true, Opcode::Ping, &[0; 126]),
        ),
    ] {
        scene.closes(rule, &bytes, 1002);
    }
}

#[test]
fn more_than_may_come_closes_with_1009_when_it_is_announced() {
    let mut scene = Scene::new();
    let most = MOST as u64;
    let begun = frame(false, Opcode::Text, &[b' '; 60_000]);
    let full = frame(false, Opcode::Text, &[b' '; MOST]);
    let small = frame(false, Opcode::Continuation, &[b' '; 1000]);
    let pieces = [frame(false, Opcode::Text, b" "), small.repeat(66)];
    for (rule, bytes) in [
        ("one byte more", long(0x81, most + 1)),
        ("4 GiB", long(0x81, 1 << 32)),
        ("4 GiB and a little", long(0x81, (1 << 32) + 5)),
        ("1 TiB", long(0x81, 1 << 40)),
        ("the highest bit", long(0x81, 1 << 63)),
        ("all bits", long(0x81, u64::MAX)),
        ("the first of some pieces", long(0x01, most + 1)),
        (
            "with what has come",
            [begun.clone(), medium(0x80, 5537)].concat(),
        ),
        (
            "the same in 64 bits",
            [begun.clone(), long(0x00, 5537)].concat(),
        ),
        (
            "a second piece of 1 TiB",
            [begun, long(0x00, 1 << 40)].concat(),
        ),
        (
            "one byte after all of it",
            [&full[..], &[0x80, 0x81]].concat(),
        ),
        ("small pieces", pieces.concat()),
        (
            "all of it sent",
            frame(true, Opcode::Text, &[b' '; 200_000]),
        ),
    ] {
        scene.closes(rule, &bytes, 1009);
    }
}

#[test]
fn binary_messages_close_with_1003() {
    let mut scene = Scene::new();
    for (rule, bytes) in [
        ("whole", frame(true, Opcode::Binary, b"\x00\x01")),
        ("empty", frame(true, Opcode::Binary, b"")),
        ("begun", frame(false, Opcode::Binary, b"begun")),
        ("announced", long(0x82, 1 << 40)),
    ] {
        scene.closes(rule, &bytes, 1003);
    }
}

#[test]
fn text_that_is_not_utf_8_closes_with_1007() {
    let mut scene = Scene::new();
    let text = |bytes: &[u8]| frame(true, Opcode::Text, bytes);
    let cut = [
        frame(false, Opcode::Text, b"\xe2\x82"),
        frame(true, Opcode::Continuation, b"x"),
    ];
    for (rule, bytes) in [
        ("no beginning", text(b"{\"event\":\"\xff\"}")),
        ("a surrogate", text(b"\xed\xa0\x80")),
        ("an overlong slash", text(b"\xc0\xaf")),
        ("above U+10FFFF", text(b"\xf4\x90\x80\x80")),
        ("a sequence that is cut", text(b"\xe2\x82")),
        ("one that the next piece does not end", cut.concat()),
    ] {
        scene.closes(rule, &bytes, 1007);
    }
}

#[test]
fn closes_are_answered_with_their_code_or_1002() {
    let mut scene = Scene::new();
    let good = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ];
    let bad = [
        0_u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ];
    for code in good {
        scene.closes(
            "7.4 a code for endpoints",
            &close(&code_bytes(code, b"")),
            code,
        );
    }
    scene.closes(
        "5.5.1 a reason",
        &close(&code_bytes(1000, &[b'x'; 123])),
        1000,
    );
    for code in bad {
        scene.closes(
            "7.4 not a code for frames",
            &close(&code_bytes(code, b"")),
            1002,
        );
    }
    for (rule, payload) in [
        ("5.5.1 half a code", vec![3]),
        ("5.5.1 a reason in UTF-8", code_bytes(1000, b"\xff")),
        ("5.5.1 all of it", code_bytes(1000, b"\xe2\x82")),
    ] {
        scene.closes(rule, &close(&payload), 1002);
    }
    let mut ws = Ws::connect(&scene.server);
    ws.send_frame(true, Opcode::Close, b"");
    assert!(matches!(ws.next(), Message::Close(1000 | 1005, _)));
    assert_eq!(ws.next(), Message::Ended);
    scene.unaffected();
}

fn code_bytes(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

#[test]
fn what_is_allowed_is_taken() {
    let scene = Scene::new();
    let mut ws = Ws::connect(&scene.server);
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        ws.send_frame(true, Opcode::Ping, payload);
        assert_eq!(ws.next(), Message::Pong(payload.to_vec()));
        ws.send_frame(true, Opcode::Pong, payload);
    }
    let ping = br#"{"event":"pusher:ping"}"#;
    let pieces = [
        frame(false, Opcode::Text, b""),
        frame(false, Opcode::Continuation, &ping[..9]),
        frame(true, Opcode::Ping, b"between"),
        frame(false, Opcode::Continuation, b""),
        frame(true, Opcode::Continuation, &ping[9..]),
    ];
    ws.write(&pieces.concat()).expect("the server reads");
    assert_eq!(ws.next(), Message::Pong(b"between".to_vec()));
    assert!(ws.text().contains("pusher:pong"));
    // A length in more bits than it needs, which a receiver need not mind.
    let masked: Vec<u8> = ping.iter().map(|byte| byte ^ 1).collect();
    for header in [medium(0x81, 23), long(0x81, 23)] {
        let bytes = [&header[..], &[1; 4], &masked].concat();
        ws.write(&bytes).expect("the server reads");
        assert!(ws.text().contains("pusher:pong"));
    }
    // As long as may be, in one piece and in two.
    let blank = [&ping[..], &vec![b' '; MOST - ping.len()]].concat();
    ws.send_frame(true, Opcode::Text, &blank);
    assert!(ws.text().contains("pusher:pong"));
    ws.send_frame(false, Opcode::Text, &blank[..MOST - 1]);
    ws.send_frame(true, Opcode::Continuation, b" ");
    assert!(ws.text().contains("pusher:pong"));
    ws.silent();
}

/// A handshake with its request line and some of its headers replaced; a header of no value is left out.
fn handshake(server: &Server, line: &str, replaced: &[(&str, &str)]) -> (u16, Option<String>) {
    let mut headers = vec![
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (name, value) in replaced {
        headers.retain(|(known, _)| known != name);
        if *value != "absent" {
            headers.push((name, value));
        }
    }
    let mut text = format!("{line}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    let mut wire = Wire::connect(server.public);
    wire.write((text + "\r\n").as_bytes())
        .expect("the server reads");
    let head = wire.read_head();
    (
        head.status,
        head.header("sec-websocket-version").map(str::to_owned),
    )
}

#[test]
fn handshakes() {
    let mut scene = Scene::new();
    let get = &format!("GET {TARGET} HTTP/1.1");
    let old = &format!("GET {TARGET} HTTP/1.0");
    let post = &format!("POST {TARGET} HTTP/1.1");
    let version = |value| [("Sec-WebSocket-Version", value)];
    let key = |value| [("Sec-WebSocket-Key", value)];
    for good in [
        &[][..],
        &[("Upgrade", "WebSocket")],
        &[("Connection", "keep-alive, Upgrade")],
        &[("Sec-WebSocket-Extensions", "permessage-deflate")],
    ] {
        assert_eq!(handshake(&scene.server, get, good).0, 101, "{good:?}");
        scene.unaffected();
    }
    for value in [
        "absent", "12", "14", "8", "0", "-13", "269", "1 3", "13, 8", "thirteen", "",
    ] {
        let ours = Some("13".to_owned());
        let answer = handshake(&scene.server, get, &version(value));
        assert_eq!(answer, (426, ours), "version {value:?}");
        scene.unaffected();
    }
    for value in [
        "absent",
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "not base64, not at all!!",
        "c2hvcnQ=",
    ] {
        let answer = handshake(&scene.server, get, &key(value));
        assert_eq!(answer.0, 400, "key {value:?}");
        scene.unaffected();
    }
    for (line, replaced, status) in [
        (old, &[][..], 400),
        (old, &[("Connection", "keep-alive, Upgrade")], 400),
        (post, &[("Content-Length", "0")], 405),
        (get, &[("Host", "absent")], 400),
        (&"NONSENSE".to_owned(), &[], 400),
    ] {
        let answer = handshake(&scene.server, line, replaced);
        assert_eq!(answer.0, status, "{line} {replaced:?}");
        scene.unaffected();
    }
}
