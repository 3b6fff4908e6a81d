//! Server-Sent Events on `/sse/{key}?channels=…`: one answer that does not end, with the events of some channels.
//!
//! What is refused is refused by the status of the answer, before the stream begins. The answer has no length and no
//! chunks: its end is that of its connection.
//!
//! The connection of a `GET /sse/{key}` is taken over before it is answered, and a peer is admitted to which nothing is
//! sent yet. `Node::show_token` signs it in as the user of its token, and `Node::listen` registers all channels, each
//! behind its place of `Last-Event-ID`; what is refused until here is refused by a status. Then in one synchronous step
//! the head is written, the first block, and of each channel what was missed; `Hub::activate` begins delivery.
//!
//! `hub/stream.rs` remembers up to which place of each log the stream was sent, which is the id of each event. The
//! block itself is made once for all streams (`protocol/form.rs`); with one channel it holds the id too. The store
//! keeps nothing of a stream: its client says where it was, and the channels' logs are kept as for a connection with a
//! token.

use std::fmt::Write as _;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::header::{ACCEPT, ORIGIN};
use actix_http::{Method, Request};
use bytes::Bytes;
use serde_json::json;

use super::admission::{Attempt, Door};
use super::answer::say;
use super::commands::{self, Commands};
use super::cors::Cors;
use super::listening::{Refused, Wish, identify};
use super::{lifecycle, spawn};
use crate::hub::{Ending, EventStream, Identity, Outlet, Peer};
use crate::limits::Admission;
use crate::metrics::UpgradeRefused;
use crate::net::{Client, Socket, check_head};
use crate::node::{ApiTokens, Listening, LogId, Refusal, Session};
use crate::protocol::sse::{read_sse_id, sse_id, sse_notice};
use crate::protocol::{CloseCode, Transport};

/// How long an `EventSource` waits before it comes back, in milliseconds; and where there is no room.
const RETRY_MS: u32 = 1000;
const RETRY_LATER_MS: u32 = 15_000;

/// How long what was sent may stay unacknowledged. A client that is gone without a word says nothing else, and something
/// is sent at least every 25 s.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// Bytes that a client may send behind its request. It has nothing to say.
const MOST_READ: usize = 4096;

/// What a stream begins with: whether it goes on where the one before ended.
const OPENED: &str = "tidewire:opened";

/// Whether a request is one for a stream.
pub(super) fn takes(door: &Door, request: &Request) -> bool {
    path(door, request).is_some()
}

fn path<'a>(door: &Door, request: &'a Request) -> Option<&'a str> {
    let (path, token) = door.split(request);
    path.strip_prefix("/sse/").filter(|_| token.is_none())
}

/// Takes the connection of a request for a stream.
pub(super) fn open(door: &Door, request: &Request, socket: Socket) {
    let key = path(door, request).filter(|key| !key.is_empty() && !key.contains('/'));
    let attempt = door.attempt(request, socket.is_secure(), Transport::Sse, key);
    let reply = Reply::to(&attempt);
    if request.head().method == Method::OPTIONS {
        return spawn(async move { say(&socket, reply.preflight().as_bytes()).await });
    }
    let (wish, identity, admission) = match admit(&attempt) {
        Ok(admitted) => admitted,
        Err(refused) => {
            return spawn(async move { say(&socket, reply.refusal(&refused).as_bytes()).await });
        }
    };
    socket.set_user_timeout(GONE_AFTER);
    // The hub has the connection before anything else happens on this worker: a reload that follows finds it there.
    let outlet = Outlet::Events(Box::new(EventStream::new(wish.style, socket)));
    let peer = door.hub.admit(identity, outlet);
    let stream = Stream {
        commands: Commands {
            session: Session::new(peer),
            node: Arc::clone(&door.node),
        },
        tokens: door.tokens.clone(),
        client: attempt.client,
        reply,
    };
    spawn(stream.serve(wish, admission));
}

/// Checks what can be checked at once.
fn admit(attempt: &Attempt<'_>) -> Result<(Wish, Identity, Admission), Refused> {
    let refuse = |reason, refused| {
        attempt.refused(reason);
        Err(refused)
    };
    let head = attempt.request.head();
    if let Err(error) = check_head(head) {
        let refused = Refused::new(error.status().as_u16(), error.to_string());
        return refuse(UpgradeRefused::HeadTooLarge, refused);
    }
    if head.method != Method::GET {
        let text = "Method not allowed: this path takes GET, OPTIONS";
        return refuse(UpgradeRefused::Method, Refused::new(405, text));
    }
    let wish = match Wish::of(head) {
        Ok(wish) if wish.channels.is_empty() && attempt.key.is_some() => {
            let text = "Missing parameter: channels, for example /sse/{key}?channels=orders,news";
            return refuse(UpgradeRefused::Query, Refused::new(400, text));
        }
        Ok(wish) => wish,
        Err(text) => return refuse(UpgradeRefused::Query, Refused::new(400, text)),
    };
    let admission = attempt
        .admit()
        .map_err(|why| Refused::new(503, why.to_string()))?;
    let identity = attempt.door.node.connect(&attempt.params());
    let identity = identity.map_err(|refusal| {
        attempt.rejected(&refusal);
        match refusal.code {
            CloseCode::PathNotFound => {
                Refused::new(404, "Unknown path: streams are at /sse/{key}?channels=…")
            }
            _ => Refused::from(&refusal),
        }
    })?;
    Ok((wish, identity, admission))
}

/// How a request is answered.
struct Reply {
    /// Which pages may read it: header lines.
    cors: String,
    is_head: bool,
    wants_json: bool,
    /// Whether its client reads streams of events, as `EventSource` says.
    wants_events: bool,
}

impl Reply {
    fn to(attempt: &Attempt<'_>) -> Self {
        let accept = attempt.header(ACCEPT.as_str()).unwrap_or_default();
        let origin = attempt.header(ORIGIN.as_str());
        Self {
            cors: Cors::of(&attempt.door.node, attempt.key, origin).lines(),
            is_head: attempt.request.head().method == Method::HEAD,
            wants_json: accept.contains("application/json"),
            wants_events: accept.contains("text/event-stream"),
        }
    }

    /// The head of a stream.
    fn head(&self) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\nConnection: close\r\n{}\r\n",
            self.cors
        )
    }

    fn preflight(&self) -> String {
        format!(
            "HTTP/1.1 204 No Content\r\nAllow: GET, OPTIONS\r\nAccess-Control-Allow-Methods: GET\r\nAccess-Control-Allow-Headers: Authorization, Last-Event-ID, Cache-Control\r\nAccess-Control-Max-Age: 7200\r\nConnection: close\r\n{}\r\n",
            self.cors
        )
    }

    /// An `EventSource` gives up for good on any other status than 200. So it is told in a stream what is over in a moment.
    fn refusal(&self, refused: &Refused) -> String {
        let Refused { status, text } = refused;
        if refused.is_temporary() && self.wants_events {
            let error = json!({"code": status, "message": text}).to_string();
            let block = sse_notice("pusher:error", &error, Default::default());
            return format!("{}retry: {RETRY_LATER_MS}\n{block}", self.head());
        }
        let (content_type, body) = match self.wants_json {
            true => {
                let body = json!({"error": text, "status": status}).to_string();
                ("application/json", body)
            }
            false => ("text/plain; charset=utf-8", format!("{text}\n")),
        };
        let more = match status {
            405 => "Allow: GET, OPTIONS\r\n",
            429 | 503 => "Retry-After: 15\r\n",
            401 => "WWW-Authenticate: Bearer\r\n",
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 {}\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{more}{}\r\n",
            status_line(*status),
            body.len(),
            self.cors
        );
        if self.is_head { head } else { head + &body }
    }
}

fn status_line(status: u16) -> String {
    let status = actix_http::StatusCode::from_u16(status).unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or_default();
    format!("{} {reason}", status.as_u16())
}

/// One stream.
struct Stream {
    commands: Commands,
    tokens: ApiTokens,
    client: Client,
    reply: Reply,
}

impl Stream {
    /// Its whole life.
    async fn serve(mut self, wish: Wish, admission: Admission) {
        let peer = Rc::clone(&self.commands.session.peer);
        let begun = Box::pin(self.begin(&wish)).await;
        drop(wish);
        let Self {
            mut commands,
            reply,
            ..
        } = self;
        if let Err(refused) = begun {
            let answer = reply.refusal(&refused);
            peer.end(Ending::Gone);
            commands.node.disconnect(commands.session);
            if let Some(socket) = peer.socket() {
                Box::pin(say(socket, answer.as_bytes())).await;
            }
            return drop(admission);
        }
        drop(reply);
        lifecycle::connected(&commands.node, &peer);
        let ending = {
            let watching = pin!(watch(&mut commands, &peer));
            lifecycle::until_ended(&peer, watching).await
        };
        lifecycle::disconnected(&commands.node, commands.session, &ending);
        Box::pin(lifecycle::close(&peer, &ending)).await;
        drop(admission);
    }

    /// Subscribes to all channels or to none, and begins the stream.
    async fn begin(&mut self, wish: &Wish) -> Result<(), Refused> {
        let listening = self.subscribe(wish).await?;
        let commands = &self.commands;
        let peer = commands.peer();
        // A reload or a drain came meanwhile.
        if let Some(Ending::Close { code, text }) = peer.ending() {
            return Err(Refused::from(&Refusal { code, text }));
        }
        let first = self.reply.head() + &opening(commands, wish, &listening);
        commands
            .node
            .begin_stream(&commands.session, &Bytes::from(first), &listening);
        Ok(())
    }

    async fn subscribe(&mut self, wish: &Wish) -> Result<Vec<Listening>, Refused> {
        let commands = &mut self.commands;
        let app = commands.peer().app();
        let most = app.limits.channels_per_connection;
        if wish.channels.len() > most {
            let asked = wish.channels.len();
            let text = format!("Too many channels: {asked} are asked for, the limit is {most}");
            return Err(Refused::new(400, text));
        }
        let token = identify(commands, &self.tokens, wish, self.client).await?;
        let mut names = Vec::with_capacity(wish.channels.len());
        for text in &wish.channels {
            let Commands { node, session } = &*commands;
            let name = session.channel_name(text).and_then(|name| {
                node.may_listen(session, &name, token.as_ref())?;
                Ok(name)
            });
            names.push(name.map_err(|error| commands.refuse_listener(text, &error))?);
        }
        if app.authorize_within.is_some() && !wish.has_credentials() {
            let text = "This app wants its clients to prove who they are (authorize_within): send a token as token= or Authorization: Bearer";
            return Err(Refused::new(401, text));
        }
        let id = wish.last_event_id.as_deref();
        let places = id.and_then(|id| read_sse_id(id, names.len()));
        let mut room = commands.session.room();
        let mut all = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            let after = places.as_ref().and_then(|places| places.get(at));
            let after = (after.copied().map(LogId), room);
            let node = Arc::clone(&commands.node);
            let listening = node
                .listen(&mut commands.session, name, token.as_ref(), after)
                .await;
            let listening =
                listening.map_err(|error| commands.refuse_listener(name.as_str(), &error))?;
            room = room.saturating_sub(listening.bytes());
            all.push(listening);
        }
        Ok(all)
    }
}

/// The first block: where the stream begins, and whether it goes on where an earlier one ended.
fn opening(commands: &Commands, wish: &Wish, all: &[Listening]) -> String {
    let mut first = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(first, "retry: {RETRY_MS}");
    if commands.peer().app().resume.seconds > 0 {
        first += &sse_id(all.iter().map(|one| one.begins().0));
    }
    let names = wish.channels.iter().zip(all);
    let anew: Vec<&str> = names
        .filter(|(_, listening)| listening.missed().is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    let missed: usize = all.iter().filter_map(Listening::missed).sum();
    let data = json!({"resumed": anew.is_empty(), "missed": missed, "anew": anew});
    first + &sse_notice(OPENED, &data.to_string(), wish.style)
}

/// Waits until the client goes, or what the stream rests on ends.
async fn watch(commands: &mut Commands, peer: &Peer) -> Ending {
    let Some(socket) = peer.socket() else {
        return Ending::Gone;
    };
    let mut read = 0;
    loop {
        match commands.readable(socket).await {
            None => {
                if let Some(ending) = Box::pin(review(commands)).await {
                    return ending;
                }
            }
            Some(Err(_)) => return Ending::Gone,
            Some(Ok(())) => {
                let mut buffer = peer.hub().take_buffer();
                let taken = commands::read(peer, socket, &mut buffer);
                buffer.clear();
                peer.hub().return_buffer(buffer);
                match taken {
                    Ok(bytes) => read += bytes,
                    Err(ending) => return ending,
                }
                if read > MOST_READ {
                    return Ending::Close {
                        code: CloseCode::TooFast,
                        text: "Nothing is taken on the connection of a stream".to_owned(),
                    };
                }
            }
        }
    }
}

/// How the stream ends if one of its subscriptions does: what it would go on with is less than was asked for.
async fn review(commands: &mut Commands) -> Option<Ending> {
    let node = Arc::clone(&commands.node);
    let ended = node.end_tokens(&mut commands.session);
    let (code, (channel, error)) = match ended.into_iter().next() {
        Some(ended) => (CloseCode::TokenEnded, ended),
        None => {
            let forbidden = node.review(&mut commands.session).await?;
            (CloseCode::Unauthorized, forbidden)
        }
    };
    let Refused { text, .. } = commands.refuse_listener(channel.as_str(), &error);
    Some(Ending::Close { code, text })
}
