//! Order: what one publisher triggers one after the other reaches every subscriber in that order, exactly once.

use std::thread;

use crate::harness::{APP, Config, Http, Server, Ws, event_body};

const EVENTS: usize = 1000;
const SUBSCRIBERS: usize = 50;

fn event(number: usize) -> String {
    format!(r#"{{"event":"e","channel":"x","data":"{number}"}}"#)
}

fn assert_all_in_order(mut subscriber: Ws) {
    for number in 0..EVENTS {
        assert_eq!(subscriber.text(), event(number));
    }
    subscriber.silent();
}

#[test]
fn a_thousand_triggers_arrive_in_order_at_fifty_subscribers() {
    let server = Server::start(&Config::new());
    let readers: Vec<_> = subscribed(&server, SUBSCRIBERS)
        .into_iter()
        .map(|ws| thread::spawn(move || assert_all_in_order(ws)))
        .collect();
    let mut publisher = Http::connect(server.public);
    for number in 0..EVENTS {
        publish(&mut publisher, "x", number);
    }
    for reader in readers {
        reader.join().expect("every event in order");
    }
}

/// A burst from one socket and what follows `subscription_succeeded`: nothing early, nothing missed.
#[test]
fn client_events_of_one_sender_arrive_in_order() {
    let config = Config::new()
        .app("client_events", "true")
        .limit("client_events_per_second", "10000");
    let server = Server::start(&config);
    let mut sender = Ws::connect(&server);
    let mut receiver = Ws::connect(&server);
    sender.subscribe("private-x", None);
    receiver.subscribe("private-x", None);
    for number in 0..500 {
        sender.send(&format!(
            r#"{{"event":"client-e","channel":"private-x","data":"{number}"}}"#
        ));
    }
    for number in 0..500 {
        assert_eq!(
            receiver.text(),
            format!(r#"{{"event":"client-e","channel":"private-x","data":"{number}"}}"#)
        );
    }
}

/// A fan-out to more sockets than one turn of a worker writes to is cut into slices; order holds across them, also
/// while others come and go.
#[test]
fn order_holds_when_a_fan_out_is_cut_into_slices() {
    const SUBSCRIBERS: usize = 300;
    const EVENTS: usize = 100;
    let server = Server::start(&Config::new().server("workers", "1"));
    let mut subscribers = subscribed(&server, SUBSCRIBERS);
    let mut restless = subscribed(&server, 20);
    let mut publisher = Http::connect(server.public);
    for number in 0..EVENTS {
        publish(&mut publisher, "x", number);
        let ws = &mut restless[number % 20];
        ws.unsubscribe("x");
        ws.send_subscribe("x", None);
    }
    drop(restless);
    for ws in &mut subscribers {
        for number in 0..EVENTS {
            assert_eq!(ws.text(), event(number));
        }
        ws.silent();
    }
}

fn subscribed(server: &Server, many: usize) -> Vec<Ws> {
    let mut connections: Vec<Ws> = (0..many).map(|_| Ws::connect(server)).collect();
    for ws in &mut connections {
        ws.subscribe("x", None);
    }
    connections
}

fn publish(publisher: &mut Http, channel: &str, number: usize) {
    let body = event_body(channel, "e", &number.to_string());
    let response = publisher.signed(&APP, "POST", "/apps/app-id/events", &body);
    assert_eq!((response.status(), response.body.as_str()), (200, "{}"));
}

/// Subscribers that come while events are published see a run without gaps or doubles, from some event on, after
/// their `subscription_succeeded`. On a cache channel it begins with the kept event.
#[test]
fn a_late_subscriber_misses_nothing_after_its_success() {
    for channel in ["x", "cache-x"] {
        let server = Server::start(&Config::new());
        subscribe_amid_events(std::slice::from_ref(&server), channel);
    }
}

/// Events are published on the first of the servers, which are one; subscribers come to each in turn.
pub(crate) fn subscribe_amid_events(servers: &[Server], channel: &str) {
    let mut publisher = Http::connect(servers[0].public);
    publish(&mut publisher, channel, 0);
    let mut subscribers = Vec::new();
    thread::scope(|scope| {
        let publishing = scope.spawn(move || {
            for number in 1..EVENTS {
                publish(&mut publisher, channel, number);
            }
        });
        while !publishing.is_finished() {
            let server = &servers[subscribers.len() % servers.len()];
            subscribers.push(Ws::subscribed(server, channel));
        }
    });
    servers[0].trigger(channel, "end", "");
    for ws in subscribers {
        assert_a_run_to_the_end(ws, channel);
    }
}

fn assert_a_run_to_the_end(mut ws: Ws, channel: &str) {
    let mut next = None;
    loop {
        let frame = ws.json();
        assert_eq!(frame["channel"], channel);
        if frame["event"] == "end" {
            break;
        }
        let number: usize = frame["data"].as_str().unwrap().parse().unwrap();
        assert_eq!(number, next.unwrap_or(number), "a gap or a double");
        next = Some(number + 1);
    }
    assert!(next.is_none_or(|next| next == EVENTS), "the run ends early");
}
