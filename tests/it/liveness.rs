//! Dead peers: judged by what they send, and asked with WebSocket pings, which every client's stack answers
//! (protocol §2.6).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, Message, Opcode, Server, Ws};

/// The wait for a pong, 30 s, and some.
const LONGEST: Duration = Duration::from_secs(38);

/// How a client behaves until it is closed or the time is over.
#[derive(Clone, Copy)]
enum Habit {
    /// Reads, and never writes.
    Silent,
    /// Answers pings as a browser does.
    Pongs,
    /// Never answers a ping, but sends `pusher:ping` of its own.
    Pings,
}

#[test]
fn the_silent_are_closed_and_the_others_stay() {
    let server = Server::start(&Config::new().server("activity_timeout", "1"));
    let [silent, pongs, pings] = [Habit::Silent, Habit::Pongs, Habit::Pings].map(|habit| {
        let ws = Ws::connect(&server);
        thread::spawn(move || live(ws, habit))
    });
    let silent = silent.join().unwrap();
    assert!(silent.pinged, "it was asked");
    assert_eq!(
        silent.closed,
        Some((4201, "Pong reply not received".to_owned()))
    );
    let pongs = pongs.join().unwrap();
    assert!(pongs.pinged && pongs.closed.is_none());
    assert_eq!(pings.join().unwrap().closed, None);
}

/// What a client lived through.
struct Life {
    pinged: bool,
    closed: Option<(u16, String)>,
}

fn live(mut ws: Ws, habit: Habit) -> Life {
    let end = Instant::now() + LONGEST;
    let mut life = Life {
        pinged: false,
        closed: None,
    };
    while Instant::now() < end && life.closed.is_none() {
        if matches!(habit, Habit::Pings) {
            ws.send(r#"{"event":"pusher:ping"}"#);
        }
        match ws.try_next(Duration::from_millis(500)) {
            Some(Message::Ping(payload)) => {
                life.pinged = true;
                if matches!(habit, Habit::Pongs) {
                    ws.send_frame(true, Opcode::Pong, &payload);
                }
            }
            Some(Message::Close(code, reason)) => life.closed = Some((code, reason)),
            Some(Message::Ended) => panic!("ended without a close frame"),
            Some(Message::Text(_) | Message::Pong(_)) | None => {}
        }
    }
    life
}
