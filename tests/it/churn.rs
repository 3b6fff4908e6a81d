//! Churn: connections that subscribe, unsubscribe and die at random, while a backend publishes, asks and terminates,
//! leave nothing behind, neither in the server's maps nor in its file descriptors.

use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{
    APP, Config, Http, Message, Opcode, PATIENCE, Server, Ws, event_body, eventually, frame,
    signin_frame, subscribe_frame,
};

const CONNECTIONS: usize = 200;
const THREADS: usize = 4;
const USERS: u32 = 30;
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
    let mut backend = Http::connect(server.public);
    let end = Instant::now() + DURATION;
    while Instant::now() < end {
        let at = random.random_range(0..connections.len());
        if random.random_ratio(1, 10) {
            ask(&mut backend, &mut random);
        } else if random.random_ratio(1, 50) {
            drop(Ws::open(server, "/app/no-such-key?protocol=7", &[]));
        } else if random.random_ratio(1, 20) {
            let ws = connections.swap_remove(at);
            // Half of them without a word, often with frames unread, which resets the connection.
            if random.random_bool(0.5) {
                close_amid_traffic(ws);
            }
            connections.push(Ws::connect(server));
        } else if act(&mut connections[at], &mut random) == Still::Terminated {
            connections[at] = Ws::connect(server);
        }
    }
}

/// One request of a backend.
fn ask(backend: &mut Http, random: &mut StdRng) {
    let channel = CHANNELS[random.random_range(0..CHANNELS.len())];
    let user = random.random_range(0..USERS);
    let to_user = format!("#server-to-user-{user}");
    let terminate = format!("/users/{user}/terminate_connections");
    let (method, target, body) = match random.random_range(0..10) {
        0 => ("POST", terminate.as_str(), "{}".to_owned()),
        1 => ("GET", "/channels", String::new()),
        2 => ("GET", "/channels/presence-x/users", String::new()),
        3 => ("POST", "/events", event_body(&to_user, "e", "1")),
        _ => ("POST", "/events", event_body(channel, "e", "1")),
    };
    let response = backend.signed(&APP, method, &format!("/apps/app-id{target}"), &body);
    assert_eq!(response.status(), 200, "{response:?}");
}

/// Whether a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Still {
    Open,
    /// The backend ended it.
    Terminated,
}

/// A look at what has arrived, then one command at random.
fn act(ws: &mut Ws, random: &mut StdRng) -> Still {
    let channel = CHANNELS[random.random_range(0..CHANNELS.len())];
    let user = random.random_range(0..USERS);
    if read_what_is_there(ws) == Still::Terminated {
        return Still::Terminated;
    }
    let command = match random.random_range(0..9) {
        0..4 if channel.starts_with("presence-") => {
            let channel_data = format!(r#"{{"user_id":{user}}}"#);
            subscribe_frame(ws.socket_id(), channel, Some(&channel_data))
        }
        0..4 => subscribe_frame(ws.socket_id(), channel, None),
        4..7 => {
            format!(r#"{{"event":"pusher:unsubscribe","data":{{"channel":"{channel}"}}}}"#)
        }
        7 => {
            let user_data = format!(r#"{{"id":"{user}","watchlist":["1","2"]}}"#);
            signin_frame(ws.socket_id(), &user_data)
        }
        _ => format!(r#"{{"event":"client-e","channel":"{channel}","data":{{}}}}"#),
    };
    // The server may have terminated it: then the next look says so.
    let _ = ws.write(&frame(true, Opcode::Text, command.as_bytes()));
    Still::Open
}

fn read_what_is_there(ws: &mut Ws) -> Still {
    /// Others want to be looked after too.
    const MOST: usize = 500;
    for _ in 0..MOST {
        let Some(message) = ws.try_next(Duration::ZERO) else {
            break;
        };
        match message {
            Message::Text(_) => {}
            // Who does not read for as long as a goodbye may take does not get to see its close frame.
            Message::Close(4009, _) | Message::Ended => return Still::Terminated,
            other => panic!("{other:?} to a connection that did nothing wrong"),
        }
    }
    Still::Open
}

/// The closing handshake, past everything that was on its way.
fn close_amid_traffic(mut ws: Ws) {
    ws.answer_close(1000);
    while !matches!(ws.next(), Message::Close(..) | Message::Ended) {}
}
