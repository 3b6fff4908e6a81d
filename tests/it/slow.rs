//! Backpressure: who does not read is closed when its outbox is full; everybody else gets everything, and the
//! server's memory stays bounded.

use crate::harness::{APP, Config, Http, Message, Server, Ws, event_body};

/// Much more than two kernels' socket buffers hold for one connection.
const MOST_EVENTS: usize = 4000;
const EVENT_BYTES: usize = 10_000;
const SLOW: u64 = 5;

#[test]
fn a_slow_consumer_is_closed_and_costs_nobody_else_anything() {
    let server = Server::start(&Config::new().server("outbox_bytes", "65536"));
    let mut slow: Vec<Ws> = (0..SLOW).map(|_| subscribed(&server)).collect();
    let mut reader = subscribed(&server);
    let before_kib = server.resident_kib();
    let mut publisher = Http::connect(server.public);
    let mut published = 0;
    while server.count("connections") > 1 {
        assert!(published < MOST_EVENTS, "the slow ones are still connected");
        for _ in 0..50 {
            publish(&mut publisher, published);
            assert_eq!(
                reader.text(),
                frame(published),
                "the reader gets everything"
            );
            published += 1;
        }
    }
    let grown_kib = server.resident_kib().saturating_sub(before_kib);
    assert!(grown_kib < 32 * 1024, "grown by {grown_kib} KiB");
    for ws in &mut slow {
        read_to_the_end(ws);
    }
    publish(&mut publisher, published);
    assert_eq!(reader.text(), frame(published));
}

fn subscribed(server: &Server) -> Ws {
    let mut ws = Ws::connect(server);
    ws.subscribe("x", None);
    ws
}

fn data(number: usize) -> String {
    format!("{number:0EVENT_BYTES$}")
}

fn frame(number: usize) -> String {
    format!(r#"{{"event":"e","channel":"x","data":"{}"}}"#, data(number))
}

fn publish(publisher: &mut Http, number: usize) {
    let body = event_body("x", "e", &data(number));
    let response = publisher.signed(&APP, "POST", "/apps/app-id/events", &body);
    assert_eq!((response.status(), response.body.as_str()), (200, "{}"));
}

/// What the kernel still holds is a run from the first event on; then the close, if there was room to say it.
fn read_to_the_end(ws: &mut Ws) {
    let mut number = 0;
    loop {
        match ws.next() {
            Message::Text(text) if text.contains("pusher:error") => {
                assert!(text.contains(r#""code":4100"#), "{text}");
            }
            Message::Text(text) => {
                assert_eq!(text, frame(number));
                number += 1;
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(code, _) => assert_eq!(code, 4100),
            Message::Ended => return,
        }
    }
}
