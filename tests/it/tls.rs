//! TLS by the server itself: the same protocol over it, certificates that change, and what is said when it fails.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustls::ClientConnection;

use crate::harness::{
    APP, Config, Filled, Http, Message, Opcode, PATIENCE, ROLL_OVER, Server, TARGET,
    TestCertificates, Wire, Ws, XhrStream, event_body, eventually, frame, messages, request,
    tls_client, xhr_lines,
};

fn certificates() -> TestCertificates {
    let certificates = TestCertificates::new();
    certificates.sign_server("server");
    certificates
}

fn config(certificates: &TestCertificates) -> Config {
    Config::new().more(&format!(
        "\n[server.tls]\ncert = {}\nkey = {}\nplain_port = 0\n",
        certificates.quoted("server.crt"),
        certificates.quoted("server.key")
    ))
}

fn wire(server: &Server, certificates: &TestCertificates) -> Wire {
    let wire = Wire::connect(server.public);
    wire.start_tls(&certificates.text("ca.crt"))
        .expect("a handshake")
}

fn connect(server: &Server, certificates: &TestCertificates) -> Ws {
    let mut ws = Ws::over(wire(server, certificates), TARGET, &[]).expect("an upgrade");
    ws.established();
    ws
}

#[test]
fn websockets_and_the_http_api_are_served_over_tls_and_beside_it() {
    let certificates = certificates();
    let server = Server::start(&config(&certificates));
    let mut ws = connect(&server, &certificates);
    ws.subscribe("private-x", None);
    // More than a record of TLS and the kernel's buffers take at once.
    let data = "x".repeat(10_000);
    let body = event_body("private-x", "e", &data);
    let mut over_tls = Http::over(wire(&server, &certificates));
    let mut beside = Http::connect(server.plain.expect("a second listener"));
    for http in [&mut over_tls, &mut beside] {
        for _ in 0..50 {
            http.send_signed(&APP, "POST", "/apps/app-id/events", &body);
            assert_eq!(http.read().status(), 200);
        }
    }
    for _ in 0..100 {
        assert!(ws.text().contains(&data));
    }
    ws.silent();
    drop((over_tls, beside));
    ws.close();
}

/// A stream to its roll-over, and polls for what it left.
#[test]
fn pusher_js_over_http_loses_nothing_over_tls() {
    let certificates = certificates();
    let server = Server::start(&config(&certificates));
    let target = |kind| format!("/app/app-key/7/overtls0/{kind}?protocol=7");
    let mut streaming = wire(&server, &certificates);
    let asked = request("POST", &target("xhr_streaming"), &[], "");
    streaming.write(asked.as_bytes()).unwrap();
    let mut stream = XhrStream::read(streaming);
    assert_eq!(stream.line(), "o");
    let mut http = Http::over(wire(&server, &certificates));
    let subscribe = r#"["{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"x\"}}"]"#;
    let answer = http.request("POST", &target("xhr_send"), &[], subscribe);
    assert_eq!(answer.status(), 204);
    stream.told("pusher_internal:subscription_succeeded");
    let mut backend = Http::connect(server.plain.expect("a second listener"));
    let data = "x".repeat(10_000);
    for number in 0..50 {
        let body = event_body("x", &number.to_string(), &data);
        let published = backend.signed(&APP, "POST", "/apps/app-id/events", &body);
        assert_eq!(published.status(), 200);
    }
    let mut got = Vec::new();
    while stream.units <= ROLL_OVER {
        got.push(stream.message());
    }
    while got.len() < 50 {
        let answer = http.request("POST", &target("xhr"), &[], "");
        got.extend(xhr_lines(&answer).iter().flat_map(|line| messages(line)));
    }
    for (number, message) in got.iter().enumerate() {
        assert_eq!(message["event"], number.to_string());
    }
}

#[test]
fn a_slow_reader_over_tls_is_closed_and_the_others_lose_nothing() {
    let certificates = certificates();
    let server = Server::start(&config(&certificates).server("outbox_bytes", "65536"));
    let slow: Vec<Ws> = (0..3)
        .map(|_| {
            let mut ws = connect(&server, &certificates);
            ws.subscribe("x", None);
            ws
        })
        .collect();
    let mut reader = connect(&server, &certificates);
    reader.subscribe("x", None);
    let mut publisher = Http::connect(server.plain.unwrap());
    let mut published = 0;
    while server.count("connections") > 1 {
        assert!(published < 4000, "the slow ones are still connected");
        for _ in 0..50 {
            let data = format!("{published:010000}");
            let body = event_body("x", "e", &data);
            publisher.send_signed(&APP, "POST", "/apps/app-id/events", &body);
            assert_eq!(publisher.read().status(), 200);
            assert!(reader.text().contains(&data));
            published += 1;
        }
    }
    assert_eq!(server.counter("slow_consumers"), 3);
    drop(slow);
}

#[test]
fn an_app_that_wants_tls_takes_what_came_over_it() {
    let certificates = certificates();
    let server = Server::start(&config(&certificates).app("tls_only", "true"));
    drop(connect(&server, &certificates));
    let plain = Wire::connect(server.plain.unwrap());
    let mut ws = Ws::over(plain, TARGET, &[]).expect("an upgrade");
    assert!(ws.text().contains("4000"));
    assert_eq!(ws.closed().0, 4000);
}

#[test]
fn a_drain_says_4200_over_tls_too() {
    let certificates = certificates();
    let mut server = Server::start(&config(&certificates).server("drain_seconds", "1"));
    let mut ws = connect(&server, &certificates);
    server.terminate();
    assert!(ws.text().contains("4200"));
    assert_eq!(ws.closed().0, 4200);
    assert!(server.exit_status().success());
}

#[test]
fn plain_http_on_the_tls_port_is_told_so() {
    let certificates = certificates();
    let server = Server::start(&config(&certificates));
    let mut http = Http::connect(server.public);
    http.write(&request("GET", "/", &[], ""));
    let answer = http.read();
    assert_eq!(answer.status(), 400);
    assert!(answer.body.contains("use https:// or wss://"), "{answer:?}");
    http.ended();
    let refused = Ws::try_open(&server, TARGET, &[]).err();
    assert_eq!(refused.expect("no upgrade").status, 400);
    eventually(PATIENCE, "the reason is logged", || {
        let log = server.log();
        log.contains("plain HTTP on the TLS port").then_some(())
    });
}

#[test]
fn what_fails_before_http_costs_nobody_else_anything() {
    let certificates = certificates();
    let server = Server::start(&config(&certificates));
    let mut ws = connect(&server, &certificates);
    let stranger = TestCertificates::new();
    let refused = Wire::connect(server.public).start_tls(&stranger.text("ca.crt"));
    assert!(refused.is_err(), "the authority is not known");
    let mut garbage = Wire::connect(server.public);
    garbage.write(b"\x16\x03\x01\xff\xff nonsense").unwrap();
    drop(Wire::connect(server.public));
    eventually(PATIENCE, "they are counted", || {
        (server.counter("connections_not_begun") >= 3).then_some(())
    });
    ws.silent();
}

#[test]
fn a_changed_certificate_is_for_new_connections_and_a_broken_one_for_nobody() {
    let certificates = certificates();
    certificates.sign_server("next");
    let server = Server::start(&config(&certificates));
    let mut ws = connect(&server, &certificates);
    let first = wire(&server, &certificates).certificate();

    // The key of another certificate: both stay as they were.
    certificates.replace("server.key", "next.key");
    eventually(PATIENCE, "the mismatch is logged", || {
        let log = server.log();
        log.contains("it is not the key of the first certificate in")
            .then_some(())
    });
    assert_eq!(wire(&server, &certificates).certificate(), first);
    let health = server.admin("/health").json();
    assert!(
        health["config"]["error"]
            .as_str()
            .is_some_and(|error| error.contains("server.key"))
    );

    certificates.replace("server.crt", "next.crt");
    eventually(PATIENCE, "new connections see the next one", || {
        (wire(&server, &certificates).certificate() != first).then_some(())
    });
    ws.silent();
}

#[test]
fn files_that_are_missing_or_do_not_fit_stop_the_start() {
    let certificates = certificates();
    certificates.sign_server("other");
    let with = |lines: &str| Config::new().more(&format!("\n[server.tls]\n{lines}\n"));
    let (cert, key) = (
        certificates.quoted("server.crt"),
        certificates.quoted("server.key"),
    );
    let missing = certificates.quoted("missing.crt");
    let other = certificates.quoted("other.key");
    for (lines, said) in [
        (format!("cert = {cert}"), "key must be set too"),
        (format!("key = {key}"), "cert must be set too"),
        (
            format!("cert = {missing}\nkey = {key}"),
            "missing.crt: No such file",
        ),
        (
            format!("cert = {cert}\nkey = {other}"),
            "other.key: it is not the key of the first certificate",
        ),
        (
            format!("cert = {key}\nkey = {key}"),
            "there is no PEM certificate in it",
        ),
        (
            format!("cert = {cert}\nkey = {cert}"),
            "there is no PEM private key in it",
        ),
        (
            "plain_port = 6002".to_owned(),
            "a second listener beside TLS, which is off",
        ),
    ] {
        let (status, log) = Server::refused(&with(&lines));
        assert_eq!(status.code(), Some(78), "{log}");
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[test]
fn a_connection_that_ends_without_goodbye_is_forgotten() {
    let certificates = certificates();
    let server = Server::start(&config(&certificates));
    let mut ws = connect(&server, &certificates);
    ws.subscribe("presence-x", Some(r#"{"user_id":"1"}"#));
    drop(ws);
    server.await_count("connections", 0);
    let mut ws = connect(&server, &certificates);
    ws.send(&"x".repeat(100_000));
    // Too big for a message: it is told so and closed.
    while ws.next() != Message::Ended {}
}

/// The other way round is refused before HTTP.
#[test]
fn tls_on_a_port_in_the_clear_is_logged_as_that_with_the_address() {
    let certificates = certificates();
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let attempt = Wire::connect(server.public).start_tls(&certificates.text("ca.crt"));
    assert!(attempt.is_err());
    // In whatever pieces it comes.
    let mut byte = Wire::connect(server.public);
    byte.write(&[0x16]).expect("the server reads");
    assert_eq!(byte.read_head().status, 400);
    assert_eq!(
        byte.fill(std::time::Instant::now() + PATIENCE),
        Filled::Ended
    );
    assert_eq!(
        server.labelled("http_refused_total", &[("reason", "tls")]),
        2
    );
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("reason=\"tls\""))
        .expect("a line");
    assert!(line.contains("address=127.0.0.1"), "{line}");
    assert!(
        line.contains("it is TLS, and this port is in the clear"),
        "{line}"
    );
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
}

/// What a client's side of TLS has to send.
fn unsent(tls: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// A command in a frame, encrypted.
fn said(tls: &mut ClientConnection, text: &str) -> Vec<u8> {
    let frame = frame(true, Opcode::Text, text.as_bytes());
    tls.writer().write_all(&frame).unwrap();
    unsent(tls)
}

fn read_until(tls: &mut ClientConnection, mut stream: &TcpStream, awaited: &str) {
    let (mut text, mut chunk) = (String::new(), [0; 4096]);
    while !text.contains(awaited) {
        assert!(tls.read_tls(&mut stream).unwrap() > 0, "{text}");
        tls.process_new_packets().unwrap();
        while let Ok(read @ 1..) = tls.reader().read(&mut chunk) {
            text += &String::from_utf8_lossy(&chunk[..read]);
        }
    }
}

/// Records come as the network likes: byte by byte, several at once, and cut while something is to be sent. The end of
/// TLS is the end, though the stream goes on.
#[test]
fn records_may_come_in_pieces_and_several_at_once() {
    let certificates = certificates();
    let server = Server::start(&config(&certificates));
    let mut stream = TcpStream::connect(server.public).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = tls_client(&certificates.text("ca.crt"));
    for byte in unsent(&mut tls) {
        stream.write_all(&[byte]).unwrap();
    }
    while tls.is_handshaking() {
        tls.read_tls(&mut stream).unwrap();
        tls.process_new_packets().unwrap();
    }
    // The end of the handshake and the request go together.
    let upgrade = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let request = format!("GET {TARGET} HTTP/1.1\r\n{upgrade}");
    tls.writer().write_all(request.as_bytes()).unwrap();
    stream.write_all(&unsent(&mut tls)).unwrap();
    read_until(&mut tls, &stream, "connection_established");
    let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"x"}}"#;
    stream.write_all(&said(&mut tls, subscribe)).unwrap();
    read_until(&mut tls, &stream, "subscription_succeeded");

    // A new key and what is said with it, cut inside the record of the key; meanwhile an event is sent with the old one.
    tls.refresh_traffic_keys().unwrap();
    let bytes = said(&mut tls, r#"{"event":"pusher:ping","data":{}}"#);
    let (first, rest) = bytes.split_at(9);
    stream.write_all(first).unwrap();
    let mut http = Http::connect(server.plain.expect("a second listener"));
    for _ in 0..2 {
        let body = event_body("x", "news", "1");
        assert_eq!(
            http.signed(&APP, "POST", "/apps/app-id/events", &body)
                .status(),
            200
        );
        read_until(&mut tls, &stream, "news");
    }
    stream.write_all(rest).unwrap();
    read_until(&mut tls, &stream, "pusher:pong");

    tls.send_close_notify();
    stream.write_all(&unsent(&mut tls)).unwrap();
    server.await_count("connections", 0);
}
