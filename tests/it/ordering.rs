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
    let subscribers: Vec<Ws> = (0..SUBSCRIBERS)
        .map(|_| {
            let mut ws = Ws::connect(&server);
            ws.subscribe("x", None);
            ws
        })
        .collect();
    let readers: Vec<_> = subscribers
        .into_iter()
        .map(|ws| thread::spawn(move || assert_all_in_order(ws)))
        .collect();
    let mut publisher = Http::connect(server.public);
    for number in 0..EVENTS {
        let body = event_body("x", "e", &number.to_string());
        let response = publisher.signed(&APP, "POST", "/apps/app-id/events", &body);
        assert_eq!((response.status(), response.body.as_str()), (200, "{}"));
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

/// Subscribers that come while events are published see a run without gaps, from some event on, after their
/// `subscription_succeeded`.
#[test]
fn a_late_subscriber_misses_nothing_after_its_success() {
    let server = Server::start(&Config::new());
    let publisher = thread::spawn({
        let address = server.public;
        move || {
            let mut http = Http::connect(address);
            for number in 0..EVENTS {
                let body = event_body("x", "e", &number.to_string());
                let response = http.signed(&APP, "POST", "/apps/app-id/events", &body);
                assert_eq!(response.status(), 200);
            }
        }
    });
    let mut subscribers = Vec::new();
    while !publisher.is_finished() {
        let mut ws = Ws::connect(&server);
        ws.subscribe("x", None);
        subscribers.push(ws);
    }
    publisher.join().expect("every event is accepted");
    server.trigger("x", "end", "");
    for mut ws in subscribers {
        let mut next = None;
        loop {
            let frame: serde_json::Value = serde_json::from_str(&ws.text()).unwrap();
            if frame["event"] == "end" {
                break;
            }
            let number: usize = frame["data"].as_str().unwrap().parse().unwrap();
            assert_eq!(number, next.unwrap_or(number), "a gap or a double");
            next = Some(number + 1);
        }
        assert!(next.is_none_or(|next| next == EVENTS), "the run ends early");
    }
}
