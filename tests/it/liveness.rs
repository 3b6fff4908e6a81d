//! Dead peers: judged by what they send, and asked with WebSocket pings, which every client's stack answers
//! (protocol §2.6).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Config, Message, Opcode, Server, Ws, eventually};

/// How a client behaves until it is closed or told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Reads, and never writes.
    Silent,
    /// Answers pings as a browser does.
    Pongs,
    /// Never answers a ping, but sends `pusher:ping` of its own.
    Pings,
}

/// Much longer than any of them should last.
const LONGEST: Duration = Duration::from_secs(90);

/// What a client lived through.
#[derive(Default)]
struct Life {
    pinged: bool,
    closed: Option<(u16, String)>,
}

/// Takes the wait for a pong, which is 30 s.
#[test]
fn the_silent_are_closed_and_the_others_stay() {
    let server = Server::start(&Config::new().server("activity_timeout", "1"));
    let [silent, pongs, pings] = [(); 3].map(|()| Ws::connect(&server));
    let old = "/app/app-key?protocol=4&client=js&version=1.11";
    let [old_silent, old_pongs] = [(); 2].map(|()| Ws::open(&server, old, &[]));
    let over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let answering = [pongs, old_pongs].map(|ws| scope.spawn(|| live(ws, Habit::Pongs, over)));
        let pings = scope.spawn(|| live(pings, Habit::Pings, over));
        let silent = [silent, old_silent].map(|ws| scope.spawn(|| live(ws, Habit::Silent, over)));
        let silent = silent.map(|life| life.join().expect("it is closed"));
        over.store(true, Ordering::Relaxed);
        for life in silent {
            assert!(life.pinged, "it was asked");
            let no_pong = (4201, "Pong reply not received".to_owned());
            assert_eq!(life.closed, Some(no_pong));
        }
        for life in answering {
            let life = life.join().expect("it stays");
            assert!(life.pinged && life.closed.is_none());
        }
        assert_eq!(pings.join().expect("it stays").closed, None);
    });
    server.await_count("connections", 0);
}

fn live(mut ws: Ws, habit: Habit, over: &AtomicBool) -> Life {
    let end = Instant::now() + LONGEST;
    let mut life = Life::default();
    while Instant::now() < end {
        if over.load(Ordering::Relaxed) || life.closed.is_some() {
            return life;
        }
        if habit == Habit::Pings {
            ws.send(r#"{"event":"pusher:ping"}"#);
        }
        let step = Instant::now() + Duration::from_millis(500);
        while let Some(message) = ws.try_next(step.saturating_duration_since(Instant::now())) {
            match message {
                Message::Ping(payload) => {
                    life.pinged = true;
                    if habit == Habit::Pongs {
                        ws.send_frame(true, Opcode::Pong, &payload);
                    }
                }
                Message::Close(code, reason) => {
                    life.closed = Some((code, reason));
                    break;
                }
                Message::Ended => {
                    life.closed = Some((0, "without a close frame".to_owned()));
                    break;
                }
                Message::Text(_) | Message::Pong(_) => {}
            }
        }
    }
    life
}

/// A machine that was suspended, or starved: the answers lie unread, and the first tick comes before they are read.
#[test]
fn a_server_that_was_stopped_does_not_blame_its_clients() {
    const LONGER_THAN_A_PONG_MAY_TAKE: Duration = Duration::from_secs(32);
    let server = Server::start(&Config::new().server("activity_timeout", "1"));
    let mut clients: Vec<Ws> = (0..20).map(|_| Ws::connect(&server)).collect();
    for ws in &mut clients {
        assert_eq!(ws.next(), Message::Ping(Vec::new()));
    }
    server.signal("STOP");
    for ws in &mut clients {
        ws.send_frame(true, Opcode::Pong, b"");
    }
    let stopped = Instant::now();
    eventually(2 * LONGER_THAN_A_PONG_MAY_TAKE, "half a minute", || {
        (stopped.elapsed() > LONGER_THAN_A_PONG_MAY_TAKE).then_some(())
    });
    server.signal("CONT");
    for ws in &mut clients {
        ws.send(r#"{"event":"pusher:ping"}"#);
        let mut message = ws.next();
        while message == Message::Ping(Vec::new()) {
            message = ws.next();
        }
        let pong = r#"{"event":"pusher:pong","data":"{}"}"#;
        assert_eq!(message, Message::Text(pong.to_owned()));
    }
}
