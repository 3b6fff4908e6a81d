//! A blocking WebSocket client that can also misbehave: unmasked frames, any opcode, raw bytes.

use std::time::{Duration, Instant};

use super::wire::{Filled, Head, Wire};
use super::{APP, PATIENCE, Server};

/// RFC 6455 §1.3: the sample key and what a server must answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Where a client of [`APP`] connects.
pub(crate) const TARGET: &str = "/app/app-key?protocol=7&client=test&version=1.0.0";

/// One connection.
pub(crate) struct Ws {
    wire: Wire,
    handshake: Head,
    socket_id: String,
}

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame.
    Close(u16, String),
    /// The end of the TCP connection, however it came.
    Ended,
}

/// RFC 6455 §5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Ws {
    /// A connection to [`APP`], established.
    pub(crate) fn connect(server: &Server) -> Self {
        let mut ws = Self::open(server, TARGET, &[]);
        ws.established();
        ws
    }

    /// The same, signed in.
    pub(crate) fn signed_in(server: &Server, user_data: &str) -> Self {
        let mut ws = Self::connect(server);
        ws.sign_in(user_data);
        let answer = ws.text();
        assert!(answer.contains("pusher:signin_success"), "{answer}");
        ws
    }

    /// The same, subscribed to a channel that has no members.
    pub(crate) fn subscribed(server: &Server, channel: &str) -> Self {
        let mut ws = Self::connect(server);
        ws.subscribe(channel, None);
        ws
    }

    /// A WebSocket connection to any target, with further headers; nothing is read from it.
    pub(crate) fn open(server: &Server, target: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_open(server, target, headers).unwrap_or_else(|head| panic!("refused: {head:?}"))
    }

    /// The same where an HTTP refusal is possible.
    ///
    /// # Errors
    /// Any status but 101.
    pub(crate) fn try_open(
        server: &Server,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Head> {
        Self::over(Wire::connect(server.public), target, headers)
    }

    /// The same over a connection to whatever is in front of a server.
    ///
    /// # Errors
    /// Any status but 101.
    pub(crate) fn over(
        mut wire: Wire,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, Head> {
        wire.write(upgrade(target, headers).as_bytes())
            .expect("the server reads");
        Self::upgraded(wire)
    }

    /// Writes the upgrade request and frames behind it at once, before there is an answer.
    pub(crate) fn open_with_frames(server: &Server, target: &str, frames: &[u8]) -> Self {
        let mut wire = Wire::connect(server.public);
        let request = upgrade(target, &[]);
        wire.write(&[request.as_bytes(), frames].concat())
            .expect("the server reads");
        Self::upgraded(wire).unwrap_or_else(|head| panic!("refused: {head:?}"))
    }

    /// On a connection over which an upgrade was asked for.
    ///
    /// # Errors
    /// Any status but 101.
    pub(crate) fn upgraded(mut wire: Wire) -> Result<Self, Head> {
        let handshake = wire.read_head();
        if handshake.status != 101 {
            return Err(handshake);
        }
        assert_eq!(handshake.header("sec-websocket-accept"), Some(ACCEPT));
        Ok(Self {
            wire,
            handshake,
            socket_id: String::new(),
        })
    }

    /// A header of the 101 response.
    pub(crate) fn handshake_header(&self, name: &str) -> Option<&str> {
        self.handshake.header(name)
    }

    /// Reads `pusher:connection_established`, which names this connection.
    pub(crate) fn established(&mut self) {
        let text = self.text();
        self.note_socket_id(&text);
        assert!(!self.socket_id.is_empty(), "not established: {text}");
    }

    /// Takes the socket id out of a frame if it is the one that tells it.
    pub(crate) fn note_socket_id(&mut self, frame: &str) {
        let Ok(frame) = serde_json::from_str::<serde_json::Value>(frame) else {
            return;
        };
        if frame["event"] == "pusher:connection_established" {
            let data: serde_json::Value =
                serde_json::from_str(frame["data"].as_str().expect("data is a string")).unwrap();
            data["socket_id"]
                .as_str()
                .unwrap()
                .clone_into(&mut self.socket_id);
        }
    }

    /// The server's name for this connection.
    pub(crate) fn socket_id(&self) -> &str {
        &self.socket_id
    }

    /// Sends a text message.
    pub(crate) fn send(&mut self, text: &str) {
        self.send_frame(true, Opcode::Text, text.as_bytes());
    }

    /// Sends one masked frame.
    pub(crate) fn send_frame(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        self.write(&frame(fin, opcode, payload))
            .expect("the server reads");
    }

    /// Writes any bytes.
    ///
    /// # Errors
    /// When the server has ended the connection.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.wire.write(bytes)
    }

    /// Subscribes without waiting for the answer, signed if the channel's prefix asks for it.
    pub(crate) fn send_subscribe(&mut self, channel: &str, channel_data: Option<&str>) {
        let frame = subscribe_frame(&self.socket_id, channel, channel_data);
        self.send(&frame);
    }

    /// Subscribes and reads `subscription_succeeded`, whose data it returns.
    pub(crate) fn subscribe(&mut self, channel: &str, channel_data: Option<&str>) -> String {
        self.send_subscribe(channel, channel_data);
        let frame = self.json();
        assert_eq!(
            frame["event"], "pusher_internal:subscription_succeeded",
            "{frame}"
        );
        assert_eq!(frame["channel"], channel);
        frame["data"].as_str().unwrap().to_owned()
    }

    /// Leaves a channel; the server does not answer that.
    pub(crate) fn unsubscribe(&mut self, channel: &str) {
        let channel = serde_json::to_string(channel).unwrap();
        self.send(&format!(
            r#"{{"event":"pusher:unsubscribe","data":{{"channel":{channel}}}}}"#
        ));
    }

    /// Signs in, without waiting for the answer.
    pub(crate) fn sign_in(&mut self, user_data: &str) {
        let frame = signin_frame(&self.socket_id, user_data);
        self.send(&frame);
    }

    /// Subscribes with a token, without waiting for the answer.
    pub(crate) fn subscribe_by(&mut self, token: &str, channel: &str) {
        let data = serde_json::json!({"channel": channel, "auth": token});
        self.send(&serde_json::json!({"event": "pusher:subscribe", "data": data}).to_string());
    }

    /// Signs in with a token, without waiting for the answer.
    pub(crate) fn sign_in_by(&mut self, token: &str) {
        let data = serde_json::json!({"auth": token});
        self.send(&serde_json::json!({"event": "pusher:signin", "data": data}).to_string());
    }

    /// The next message, or none by the deadline.
    pub(crate) fn try_next(&mut self, patience: Duration) -> Option<Message> {
        let end = Instant::now() + patience;
        loop {
            if let Some((message, length)) = parse_frame(self.wire.unread()) {
                self.wire.consume(length);
                return Some(message);
            }
            match self.wire.fill(end) {
                Filled::More => {}
                Filled::Ended => return Some(Message::Ended),
                Filled::TimedOut => return None,
            }
        }
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> Message {
        self.try_next(PATIENCE).expect("a message in time")
    }

    /// The next message, which must be a text.
    pub(crate) fn text(&mut self) -> String {
        match self.next() {
            Message::Text(text) => text,
            other => panic!("expected a text frame, got {other:?}"),
        }
    }

    /// The next message, which must be a frame of the protocol.
    pub(crate) fn json(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// The next frame, which must be this event; its data, parsed.
    pub(crate) fn told(&mut self, event: &str) -> serde_json::Value {
        let frame = self.json();
        assert_eq!(frame["event"], event, "{frame}");
        serde_json::from_str(frame["data"].as_str().expect("data is a string")).unwrap()
    }

    /// The close code and text, past a `pusher:error` that announces it; then the connection must end.
    pub(crate) fn closed(&mut self) -> (u16, String) {
        let mut message = self.next();
        if let Message::Text(text) = &message {
            assert!(text.contains("pusher:error"), "{text}");
            message = self.next();
        }
        let Message::Close(code, reason) = message else {
            panic!("expected a close frame, got {message:?}");
        };
        self.answer_close(code);
        assert_eq!(self.next(), Message::Ended);
        (code, reason)
    }

    /// Completes the closing handshake; a server that does not wait for it may be gone already.
    pub(crate) fn answer_close(&mut self, code: u16) {
        let _ = self.write(&frame(true, Opcode::Close, &code.to_be_bytes()));
    }

    /// Checks that nothing had been sent to this connection before its ping is answered.
    pub(crate) fn silent(&mut self) {
        self.send(r#"{"event":"pusher:ping","data":{}}"#);
        assert_eq!(self.text(), r#"{"event":"pusher:pong","data":"{}"}"#);
    }

    /// The closing handshake from this side.
    pub(crate) fn close(mut self) {
        self.send_frame(true, Opcode::Close, &1000_u16.to_be_bytes());
        assert!(matches!(
            self.next(),
            Message::Close(1000, _) | Message::Ended
        ));
    }
}

/// A good upgrade request.
/// The text of an upgrade request.
pub(crate) fn upgrade(target: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request + "\r\n"
}

/// A subscribe frame, signed for [`APP`] if the channel's prefix asks for it.
pub(crate) fn subscribe_frame(
    socket_id: &str,
    channel: &str,
    channel_data: Option<&str>,
) -> String {
    let needs_auth = ["private-", "presence-"]
        .iter()
        .any(|prefix| channel.starts_with(prefix));
    let mut data = serde_json::json!({"channel": channel, "auth": ""});
    if needs_auth {
        data["auth"] = APP.channel_auth(socket_id, channel, channel_data).into();
    }
    if let Some(channel_data) = channel_data {
        data["channel_data"] = channel_data.into();
    }
    serde_json::json!({"event": "pusher:subscribe", "data": data}).to_string()
}

/// A signed sign-in frame.
pub(crate) fn signin_frame(socket_id: &str, user_data: &str) -> String {
    let auth = APP.user_auth(socket_id, user_data);
    let data = serde_json::json!({"auth": auth, "user_data": user_data});
    serde_json::json!({"event": "pusher:signin", "data": data}).to_string()
}

/// A masked frame.
pub(crate) fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = header(fin, opcode, payload.len(), true);
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

/// The bytes before mask and payload.
pub(crate) fn header(fin: bool, opcode: Opcode, length: usize, masked: bool) -> Vec<u8> {
    let mut out = vec![u8::from(fin) << 7 | opcode as u8];
    let mask_bit = u8::from(masked) << 7;
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        out.push(mask_bit | short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(mask_bit | 126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
    out
}

/// The first whole frame of the bytes and its length. A server's frames are unmasked, and ours does not fragment.
fn parse_frame(bytes: &[u8]) -> Option<(Message, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server must not mask");
    assert_eq!(first & 0xf0, 0x80, "fragmented, or reserved bits set");
    let (length, start) = match second {
        126 => (
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let end = start + usize::try_from(length).unwrap();
    let payload = bytes.get(start..end)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8 from the server");
    let message = match first & 0x0f {
        0x1 => Message::Text(text(payload)),
        0x8 if payload.is_empty() => Message::Close(1005, String::new()),
        0x8 => Message::Close(
            u16::from_be_bytes([payload[0], payload[1]]),
            text(&payload[2..]),
        ),
        0x9 => Message::Ping(payload.to_vec()),
        0xA => Message::Pong(payload.to_vec()),
        opcode => panic!("opcode {opcode} from the server"),
    };
    Some((message, end))
}
