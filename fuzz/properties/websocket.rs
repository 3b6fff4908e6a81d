//! Frames of a WebSocket: however they are cut into pieces the same is received, no message is longer than it may be, and
//! frames that another encoder wrote are received as they were meant. The first two bytes say how long a message may
//! be and how large the pieces are.

use bytes::BytesMut;
use tidewire::fuzzing::{FrameFault, Messages, Received};

pub(crate) fn check(bytes: &[u8]) {
    let [limit, piece, bytes @ ..] = bytes else {
        return;
    };
    let max = usize::from(*limit) * 8;
    let at_once = received(bytes, bytes.len().max(1), max);
    let in_pieces = received(bytes, usize::from(*piece % 32) + 1, max);
    assert_eq!(at_once, in_pieces, "{bytes:02x?}");
    for received in &at_once.0 {
        match received {
            Received::Message(text) => assert!(text.len() <= max, "{} bytes", text.len()),
            Received::Ping(payload) | Received::Pong(payload) => assert!(payload.len() <= 125),
            Received::Part | Received::Close(_) => {}
        }
    }
    what_is_meant_is_received(bytes, usize::from(*piece % 32) + 1);
}

/// What is received of bytes that come so many at a time, up to a close frame, and what is wrong with the rest.
fn received(bytes: &[u8], at_a_time: usize, max: usize) -> (Vec<Received>, Option<FrameFault>) {
    let (mut messages, mut buffer, mut all) = (Messages::default(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(at_a_time) {
        buffer.extend_from_slice(piece);
        loop {
            match messages.next(&mut buffer, max) {
                Ok(Some(close @ Received::Close(_))) => {
                    all.push(close);
                    return (all, None);
                }
                Ok(Some(received)) => all.push(received),
                Ok(None) => break,
                Err(fault) => return (all, Some(fault)),
            }
        }
    }
    (all, None)
}

/// Takes the bytes as the text of one message, which is sent in fragments with a ping between them.
fn what_is_meant_is_received(text: &[u8], fragment: usize) {
    let mut sent = Vec::new();
    let mut fragments: Vec<&[u8]> = text.chunks(fragment).collect();
    if fragments.is_empty() {
        fragments.push(b"");
    }
    let last = fragments.len() - 1;
    for (at, part) in fragments.iter().enumerate() {
        let opcode = if at == 0 { 1 } else { 0 };
        let fin = if at == last { 0x80 } else { 0 };
        put(&mut sent, fin | opcode, part);
        put(&mut sent, 0x89, &part[..part.len().min(125)]);
    }
    let (received, fault) = received(&sent, 7, text.len());
    assert_eq!(fault, None);
    let messages: Vec<&[u8]> = received
        .iter()
        .filter_map(|received| match received {
            Received::Message(text) => Some(&text[..]),
            _ => None,
        })
        .collect();
    assert_eq!(messages, [text]);
    let pings = received.iter().filter(|r| matches!(r, Received::Ping(_)));
    assert_eq!(pings.count(), fragments.len());
}

fn put(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(long).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
}
