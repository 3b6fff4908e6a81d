//! Many at once: connections that come and go at every stage, handshakes that are never finished, headers that come
//! byte by byte. The others lose nothing, and nothing stays.

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::cost::Cost;
use crate::harness::{
    Config, Http, Message, Opcode, PATIENCE, Server, TARGET, TestCertificates, Wire, Ws,
    eventually, frame, request, subscribe_frame,
};

/// An upgrade as a stranger may write it.
pub(super) fn upgrade() -> String {
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    request("GET", TARGET, &headers, "")
}

/// Opens a connection, goes some way and drops it: with the answer unread, which resets it, or without a word.
fn open_and_abort(server: &Server, number: usize) {
    let text = upgrade();
    let subscribe = subscribe_frame("1.1", "x", None);
    let subscribe = frame(true, Opcode::Text, subscribe.as_bytes());
    let mut wire = Wire::connect(server.public);
    let bytes = match number % 6 {
        0 => Vec::new(),
        1 => text.as_bytes()[..text.len() / 2].to_vec(),
        2 => text.into_bytes(),
        3 => [text.as_bytes(), &subscribe].concat(),
        4 => [text.as_bytes(), &subscribe[..subscribe.len() / 2]].concat(),
        _ => request("GET", "/apps/app-id/channels", &[], "").into_bytes(),
    };
    // The server may be as fast to refuse it.
    let _ = wire.write(&bytes);
}

#[test]
fn two_thousand_openings_and_aborts_leave_nothing() {
    const THREADS: usize = 4;
    const EACH: usize = 500;
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    server.await_count("connections", 1);
    let before = Cost::of(&server);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let server = &server;
            scope.spawn(move || (0..EACH).for_each(|n| open_and_abort(server, thread + n)));
        }
        for event in 0..50 {
            server.trigger("x", "e", &event.to_string());
            assert!(bystander.text().contains(&format!(r#""data":"{event}""#)));
        }
    });
    server.await_count("sockets", 1);
    server.await_count("subscriptions", 1);
    before.await_descriptors(&server);
    let cpu = before.cpu_since(&server);
    assert!(cpu < Duration::from_secs(15), "{cpu:?} of CPU for 2,000");
    let grown = before.grown_kib(&server);
    assert!(grown < 32 * 1024, "grown by {grown} KiB");
    bystander.silent();
}

/// The first flight of a client of TLS.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn handshakes_of_tls_that_stop_half_way_end_and_hold_nobody_up() {
    const MANY: usize = 300;
    let certificates = TestCertificates::new();
    certificates.sign_server("server");
    let server = Server::start(&Config::new().more(&format!(
        "\n[server.tls]\ncert = {}\nkey = {}\nplain_port = 0\n",
        certificates.quoted("server.crt"),
        certificates.quoted("server.key")
    )));
    let newcomer = || {
        let wire = Wire::connect(server.public);
        let wire = wire
            .start_tls(&certificates.text("ca.crt"))
            .expect("a handshake");
        let mut ws = Ws::over(wire, TARGET, &[]).expect("an upgrade");
        ws.established();
        ws.subscribe("x", None);
        ws
    };
    let mut bystander = newcomer();
    let before = Cost::of(&server);
    let hello = client_hello();
    let half_open: Vec<Wire> = (0..MANY)
        .map(|number| {
            let mut wire = Wire::connect(server.public);
            // Nothing, a part of a record, or the whole of it and then nothing more.
            let length = number * hello.len() / (MANY - 1);
            wire.write(&hello[..length]).expect("the server reads");
            wire
        })
        .collect();
    eventually(PATIENCE, "they are accepted", || {
        (server.descriptors() >= before.descriptors + MANY).then_some(())
    });
    let plain = server.plain.expect("a second listener");
    assert_eq!(
        Http::connect(plain).request("GET", "/", &[], "").status(),
        200
    );
    drop(newcomer());
    bystander.silent();
    before.await_descriptors(&server);
    eventually(PATIENCE, "they are counted", || {
        let too_slow = server.labelled("connections_not_begun_total", &[("reason", "too_slow")]);
        (too_slow == MANY as u64).then_some(())
    });
    let cpu = before.cpu_since(&server);
    assert!(cpu < Duration::from_secs(15), "{cpu:?} of CPU");
    let grown = before.grown_kib(&server);
    assert!(grown < 32 * 1024, "grown by {grown} KiB");
    drop(half_open);
    bystander.silent();
}

#[test]
fn a_proxy_s_header_may_come_byte_by_byte_and_must_come_in_time() {
    const MANY: usize = 60;
    let server = Server::start(&Config::new().server("proxy_protocol", "true"));
    let header = "PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n";
    server.await_count("sockets", 0);
    let before = Cost::of(&server);
    let mut wires: Vec<Wire> = (0..MANY).map(|_| Wire::connect(server.public)).collect();
    // A byte of each in turn; every other one stops in the middle.
    for (at, byte) in header.bytes().enumerate() {
        for (number, wire) in wires.iter_mut().enumerate() {
            if number % 2 == 0 || at < header.len() / 2 {
                wire.write(&[byte]).expect("the server reads");
            }
        }
    }
    let mut halves = Vec::new();
    let mut whole = Vec::new();
    for (number, wire) in wires.into_iter().enumerate() {
        if number % 2 == 1 {
            halves.push(wire);
            continue;
        }
        let mut ws = Ws::over(wire, TARGET, &[]).expect("an upgrade");
        ws.established();
        whole.push(ws);
    }
    server.await_count("connections", MANY as u64 / 2);
    eventually(PATIENCE, "the others are ended", || {
        (server.descriptors() <= before.descriptors + MANY / 2).then_some(())
    });
    assert!(server.log().contains("address=192.0.2.7"));
    for ws in &mut whole {
        ws.silent();
    }
    drop((halves, whole));
    before.await_descriptors(&server);
}

#[test]
fn the_server_s_room_is_taken_exactly_and_given_back() {
    const ROOM: usize = 20;
    const RUSH: usize = 80;
    let server = Server::start(&Config::new().server("max_connections", &ROOM.to_string()));
    server.await_count("sockets", 0);
    let before = Cost::of(&server);
    for _ in 0..3 {
        let opened: Vec<Result<Ws, String>> = thread::scope(|scope| {
            let open = || match Ws::try_open(&server, TARGET, &[]) {
                Ok(ws) => Ok(ws),
                Err(head) => Err(format!("{} {:?}", head.status, head.header("retry-after"))),
            };
            let threads: Vec<_> = (0..RUSH).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let (mut inside, refused): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!((inside.len(), refused.len()), (ROOM, RUSH - ROOM));
        for refusal in refused.iter().filter_map(|refused| refused.as_ref().err()) {
            assert!(refusal.starts_with("503"), "{refusal}");
        }
        for ws in inside.iter_mut().flatten() {
            ws.established();
            ws.silent();
        }
        // One goes, and there is one place.
        drop(inside.pop());
        server.await_count("sockets", ROOM as u64 - 1);
        let mut next = Ws::connect(&server);
        next.silent();
        let full = Ws::try_open(&server, TARGET, &[]);
        assert_eq!(full.err().map(|head| head.status), Some(503));
        drop((inside, next));
        server.await_count("sockets", 0);
    }
    before.await_descriptors(&server);
}

/// Who resets the connection with bytes unread in both directions is forgotten as everybody else is.
#[test]
fn resets_amid_a_flood_are_forgotten() {
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let before = Cost::of(&server);
    for round in 0..20 {
        let mut victims: Vec<Ws> = (0..20).map(|_| Ws::subscribed(&server, "x")).collect();
        let data = "x".repeat(8000);
        for _ in 0..5 {
            server.trigger("x", "e", &data);
        }
        for victim in &mut victims {
            let _ = victim.write(&frame(true, Opcode::Text, b"{\"event\":\"pusher:ping\"}"));
        }
        // Frames are unread here, so the kernel answers with a reset.
        drop(victims);
        for _ in 0..5 {
            assert!(matches!(bystander.next(), Message::Text(text) if text.contains(&data)));
        }
        assert!(TcpStream::connect(server.public).is_ok(), "round {round}");
    }
    server.await_count("sockets", 1);
    before.await_descriptors(&server);
    bystander.silent();
}
