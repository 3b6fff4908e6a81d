//! Churn: connections that subscribe, unsubscribe and die at random leave nothing behind, neither in the server's
//! maps nor in its file descriptors.

use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Config, Message, PATIENCE, Server, Ws, eventually};

const CONNECTIONS: usize = 200;
const THREADS: usize = 4;
const DURATION: Duration = Duration::from_secs(20);

/// Every kind, few enough that they collide.
const CHANNELS: [&str; 8] = [
    "x",
    "cache-x",
    "private-x",
    "private-cache-x",
    "private-encrypted-x",
    "presence-x",
    "presence-y",
    "presence-cache-x",
];

#[test]
fn nothing_is_left_of_two_hundred_restless_connections() {
    let config = Config::new()
        .app("subscription_count", "true")
        .app("client_events", "true")
        .limit("presence_members", "20");
    let server = Server::start(&config);
    // The first requests make what stays: the admin port's own connection, for one.
    server.await_count("connections", 0);
    let descriptors = server.descriptors();
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let server = &server;
            scope.spawn(move || churn(server, seed as u64));
        }
    });
    for name in [
        "connections",
        "channels",
        "subscriptions",
        "members",
        "users",
    ] {
        server.await_count(name, 0);
    }
    eventually(PATIENCE, "the descriptors are closed", || {
        (server.descriptors() <= descriptors).then_some(())
    });
}

fn churn(server: &Server, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut connections: Vec<Ws> = (0..CONNECTIONS / THREADS)
        .map(|_| Ws::connect(server))
        .collect();
    let end = Instant::now() + DURATION;
    while Instant::now() < end {
        let at = random.random_range(0..connections.len());
        if random.random_ratio(1, 50) {
            drop(Ws::open(server, "/app/no-such-key?protocol=7", &[]));
        } else if random.random_ratio(1, 20) {
            let ws = connections.swap_remove(at);
            // Half of them without a word, often with frames unread, which resets the connection.
            if random.random_bool(0.5) {
                close_amid_traffic(ws);
            }
            connections.push(Ws::connect(server));
        } else {
            act(&mut connections[at], &mut random);
        }
    }
}

/// One command at random, or a look at what has arrived.
fn act(ws: &mut Ws, random: &mut StdRng) {
    let channel = CHANNELS[random.random_range(0..CHANNELS.len())];
    let user = random.random_range(0..30);
    match random.random_range(0..10) {
        0..4 if channel.starts_with("presence-") => {
            ws.send_subscribe(channel, Some(&format!(r#"{{"user_id":{user}}}"#)));
        }
        0..4 => ws.send_subscribe(channel, None),
        4..7 => ws.unsubscribe(channel),
        7 => ws.sign_in(&format!(r#"{{"id":"{user}","watchlist":["1","2"]}}"#)),
        8 => ws.send(&format!(
            r#"{{"event":"client-e","channel":"{channel}","data":{{}}}}"#
        )),
        _ => read_what_is_there(ws),
    }
}

fn read_what_is_there(ws: &mut Ws) {
    while let Some(message) = ws.try_next(Duration::from_millis(1)) {
        assert!(
            !matches!(message, Message::Close(..) | Message::Ended),
            "{message:?} to a connection that did nothing wrong"
        );
    }
}

/// The closing handshake, past everything that was on its way.
fn close_amid_traffic(mut ws: Ws) {
    ws.answer_close(1000);
    while !matches!(ws.next(), Message::Close(1000, _) | Message::Ended) {}
}
