//! A long frame that comes in many small pieces costs what as many bytes in short frames cost: what has come already is
//! not copied for each piece.

use std::time::Duration;

use super::cost::Cost;
use crate::harness::{Config, Opcode, Server, Ws, frame};

/// Of the long frame.
const LONG: usize = 30 * 1024 * 1024;

/// Of one of the short ones that it is compared with.
const SHORT: usize = 16 * 1024;

/// Of a piece. The server reads what has come, so the sender waits for an answer between two.
const PIECE: usize = 4 * 1024;

/// A message that asks for nothing, of so many bytes.
fn idle(bytes: usize) -> String {
    let (head, tail) = (r#"{"event":"pusher:pong","data":""#, r#""}"#);
    let filler = "x".repeat(bytes - head.len() - tail.len());
    format!("{head}{filler}{tail}")
}

/// Sends frames in pieces, one after the other has been read; the CPU that it took.
fn sent_in_pieces(server: &Server, frames: &[u8]) -> Duration {
    let mut ws = Ws::connect(server);
    let mut other = Ws::connect(server);
    let before = Cost::of(server);
    for piece in frames.chunks(PIECE) {
        ws.write(piece).expect("the server reads");
        // On the one worker that there is, so the piece has been read when this is answered.
        other.send(r#"{"event":"pusher:ping"}"#);
        assert!(other.text().contains("pusher:pong"));
    }
    let cost = before.cpu_since(server);
    ws.send(r#"{"event":"pusher:ping"}"#);
    assert!(ws.text().contains("pusher:pong"));
    for ws in [ws, other] {
        ws.close();
    }
    server.await_count("connections", 0);
    before.await_descriptors(server);
    cost
}

#[test]
fn a_long_frame_in_pieces_costs_what_short_ones_do() {
    let config = Config::new()
        .server("workers", "1")
        .server("outbox_bytes", "67_108_864")
        .server("inbox_bytes", "67_108_864")
        .limit("event_bytes", &(LONG / 2).to_string());
    let server = Server::start(&config);
    let long = frame(true, Opcode::Text, idle(LONG).as_bytes());
    let short = frame(true, Opcode::Text, idle(SHORT).as_bytes()).repeat(LONG / SHORT);
    let short = sent_in_pieces(&server, &short);
    let long = sent_in_pieces(&server, &long);
    assert!(
        long < 2 * short + Duration::from_millis(300),
        "{long:?} for one long frame, {short:?} for many short ones"
    );
}

/// Whatever a piece ends with: frames that begin in the piece that ended the one before are not lost or mixed.
#[test]
fn frames_that_are_cut_anywhere_are_answered_one_by_one() {
    let server = Server::start(&Config::new());
    let ping = frame(true, Opcode::Text, br#"{"event":"pusher:ping"}"#);
    let long = frame(true, Opcode::Text, idle(40_000).as_bytes());
    for size in [1, 7, 1000, 16 * 1024 + 1] {
        let mut ws = Ws::connect(&server);
        let frames = [&ping[..], &long, &ping, &ping, &long, &ping].concat();
        for piece in frames.chunks(size) {
            ws.write(piece).expect("the server reads");
        }
        for _ in 0..4 {
            assert!(ws.text().contains("pusher:pong"));
        }
        ws.silent();
    }
    server.await_count("connections", 0);
}
