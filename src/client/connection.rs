//! `Connection`: a WebSocket over which the protocol is spoken: it has a socket id, signs what it asks for, and knows
//! when the other side is gone.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};

use super::Credentials;
use super::error::Error;
use super::frame::{Frame, ServerMessage};
use super::socket::{Message, Socket};
use crate::protocol::SocketId;

/// How long a server may take to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// After how much silence one pings at the latest, whatever the server says (docs: 120 s).
const ACTIVITY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the answer to a ping may take (docs: 30 s).
const PONG_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection after its greeting.
pub struct Connection {
    socket: Socket,
    credentials: Credentials,
    socket_id: SocketId,
    activity_timeout: Duration,
    heard: Instant,
    pinged: bool,
}

#[derive(Deserialize)]
struct Established {
    socket_id: String,
    #[serde(default)]
    activity_timeout: Option<f64>,
}

impl Connection {
    /// Waits for the server's greeting.
    ///
    /// # Errors
    /// [`Error::Closed`] with the code that was told instead, and whatever else is no greeting.
    pub async fn establish(mut socket: Socket, credentials: &Credentials) -> Result<Self, Error> {
        let greeted = timeout(GREETING_TIMEOUT, greeting(&mut socket)).await;
        let established = greeted.map_err(|_| Error::Timeout {
            doing: "the server was to greet with pusher:connection_established",
            within: GREETING_TIMEOUT,
        })??;
        let socket_id = established.socket_id.parse().map_err(|error| {
            let id = &established.socket_id;
            Error::ProtocolViolation(format!("the socket id {id:?}: {error}"))
        })?;
        let seconds = established.activity_timeout.unwrap_or_default();
        let told = Duration::try_from_secs_f64(seconds).ok();
        Ok(Self {
            socket,
            credentials: credentials.clone(),
            socket_id,
            activity_timeout: told
                .filter(|time| *time >= Duration::from_secs(1))
                .map_or(ACTIVITY_TIMEOUT, |time| time.min(ACTIVITY_TIMEOUT)),
            heard: Instant::now(),
            pinged: false,
        })
    }

    /// The socket id that the server gave it.
    pub fn socket_id(&self) -> SocketId {
        self.socket_id
    }

    /// How long the server may be silent before this side pings.
    pub fn activity_timeout(&self) -> Duration {
        self.activity_timeout
    }

    /// Subscribes to a channel, with a signature if `is_signed`. The answer comes as a [`ServerMessage`].
    ///
    /// # Errors
    /// If the channel needs a signature that nobody can make, or the connection broke.
    pub async fn subscribe(
        &mut self,
        channel: &str,
        is_signed: bool,
        channel_data: Option<&str>,
    ) -> Result<(), Error> {
        let mut data = json!({ "channel": channel });
        if is_signed {
            let auth = self
                .credentials
                .channel_auth(self.socket_id, channel, channel_data);
            data["auth"] = auth
                .ok_or_else(|| Error::NoSecret(format!("the channel {channel}")))?
                .into();
        }
        if let Some(channel_data) = channel_data {
            data["channel_data"] = channel_data.into();
        }
        self.send("pusher:subscribe", &data).await
    }

    /// Signs in as a user. The answer comes as an event.
    ///
    /// # Errors
    /// If there is no secret to sign with, or the connection broke.
    pub async fn sign_in(&mut self, user_data: &str) -> Result<(), Error> {
        let auth = self.credentials.user_auth(self.socket_id, user_data);
        let auth = auth.ok_or_else(|| Error::NoSecret("the sign-in".to_owned()))?;
        let data = json!({ "auth": auth, "user_data": user_data });
        self.send("pusher:signin", &data).await
    }

    /// The next message. Answers pings, and pings a silent server.
    ///
    /// # Errors
    /// When the connection has ended: how.
    pub async fn next(&mut self) -> Result<ServerMessage, Error> {
        loop {
            let timeout = if self.pinged {
                self.activity_timeout + PONG_TIMEOUT
            } else {
                self.activity_timeout
            };
            let Ok(message) = timeout_at(self.heard + timeout, self.socket.next()).await else {
                if self.pinged {
                    return Err(Error::Silent(timeout));
                }
                self.pinged = true;
                self.send("pusher:ping", &json!({})).await?;
                continue;
            };
            let message = message?;
            self.heard = Instant::now();
            self.pinged = false;
            let Message::Text(text) = message else {
                continue;
            };
            let frame = parse(&text)?;
            if frame.event == "pusher:ping" {
                self.send("pusher:pong", &json!({})).await?;
                continue;
            }
            match frame.message() {
                ServerMessage::Nothing => {}
                said => return Ok(said),
            }
        }
    }

    /// Sends a close frame.
    pub async fn close(self) {
        self.socket.close().await;
    }

    async fn send(&mut self, event: &str, data: &serde_json::Value) -> Result<(), Error> {
        let frame = json!({ "event": event, "data": data });
        self.socket.send(frame.to_string()).await
    }
}

/// The first message. An error that is told before a connection is cut says more than the cut.
async fn greeting(socket: &mut Socket) -> Result<Established, Error> {
    let mut refusal: Option<(Option<u16>, String)> = None;
    loop {
        let text = match (socket.next().await, &refusal) {
            (Ok(Message::Text(text)), _) => text,
            (Ok(Message::Sign), _) => continue,
            (Err(Error::Broken(_)), Some((code, message))) => {
                return Err(Error::Closed {
                    code: *code,
                    reason: message.clone(),
                });
            }
            (Err(error), _) => return Err(error),
        };
        let frame = parse(&text)?;
        if frame.event == "pusher:connection_established" {
            return frame.read().ok_or_else(|| {
                Error::ProtocolViolation(format!("a greeting without a socket_id: {}", cut(&text)))
            });
        }
        match frame.message() {
            ServerMessage::Refused { code, message, .. } => refusal = Some((code, message)),
            _ => {
                return Err(Error::ProtocolViolation(format!(
                    "expected pusher:connection_established first, got {}",
                    cut(&text)
                )));
            }
        }
    }
}

fn parse(text: &str) -> Result<Frame, Error> {
    Frame::parse(text).map_err(|error| Error::ProtocolViolation(format!("{} ({error})", cut(text))))
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}
