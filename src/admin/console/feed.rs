//! One who watches the feed: a WebSocket that gets arrays of entries, ten times a second at most, and says what it looks
//! for. The first array is empty: that it was let in.
//!
//! Whoever does not read loses the oldest entries and is told how many. Nothing waits for a watcher.

use std::time::Duration;

use actix_web::web::{Data, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior};

use crate::admin::Admin;
use crate::admin::access::SameOrigin;
use crate::admin::sessions::{Sessions, Ticket};
use crate::feed::{Filter, Seen, Watch};
use crate::limits::Permit;
use crate::protocol::beginning;
use crate::supervise;

/// How often a watcher is sent what there is.
const BEAT: Duration = Duration::from_millis(100);

/// How often it is asked for a sign of life, in beats.
const PING_BEATS: u32 = 100;

/// How long it may be silent, or not read.
const SILENCE: Duration = Duration::from_secs(60);

/// A frame is sent when it is as large as this.
const FRAME_BYTES: usize = 64 * 1024;

/// What is watched.
#[derive(Deserialize)]
pub(super) struct FeedQuery {
    app: String,
}

/// `GET feed?app=`: a WebSocket. What it sends are filters, `{"channel":"","event":"","text":"","kinds":[]}`, the last of
/// query counts: entries that fit are told before others. A refusal that a page should show comes as a close frame, as browsers show no other.
pub(super) async fn watch(
    admin: Data<Admin>,
    page: SameOrigin,
    sessions: Data<Sessions>,
    query: Query<FeedQuery>,
    (request, payload): (HttpRequest, Payload),
) -> Result<HttpResponse, actix_web::Error> {
    let (response, session, incoming) = actix_ws::handle(&request, payload)?;
    let refusal = match (admin.app(&query.app), admin.watchers.acquire()) {
        (Ok(app), Some(permit)) => {
            let watcher = Watcher {
                watch: admin.node.feed().watch(&app.id),
                session,
                sessions,
                ticket: page.0.ticket,
                frame: String::new(),
                refusal: None,
                _permit: permit,
            };
            supervise::spawn(watcher.serve(incoming));
            return Ok(response);
        }
        (Err(unknown), _) => (CloseCode::Policy, unknown.to_string()),
        (Ok(_), None) => {
            let most = admin.watchers.max().unwrap_or_default();
            let text = format!("{most} consoles watch already: close one");
            (CloseCode::Again, text)
        }
    };
    let reason = reason(refusal.0, refusal.1);
    supervise::spawn(async move {
        // It may have gone already.
        let _ = session.close(Some(reason)).await;
    });
    Ok(response)
}

fn reason(code: CloseCode, text: String) -> CloseReason {
    // The reason of a close frame has 123 bytes at most.
    let description = Some(beginning(&text, 123).to_owned());
    CloseReason { code, description }
}

struct Watcher {
    watch: Watch,
    session: actix_ws::Session,
    sessions: Data<Sessions>,
    ticket: Option<Ticket>,
    /// Entries that wait for the next beat, as the inside of an array.
    frame: String,
    /// What it has said wrong.
    refusal: Option<CloseReason>,
    _permit: Permit,
}

impl Watcher {
    async fn serve(mut self, mut incoming: MessageStream) {
        if !self.flush().await {
            return;
        }
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut beats, mut heard) = (0_u32, Instant::now());
        loop {
            let goes_on = tokio::select! {
                seen = self.watch.next() => {
                    self.add(seen);
                    self.frame.len() < FRAME_BYTES || self.flush().await
                }
                _ = beat.tick() => {
                    beats = beats.wrapping_add(1);
                    let is_silent = heard.elapsed() > SILENCE;
                    !is_silent && self.is_admitted() && self.beat(beats).await
                }
                message = incoming.recv() => {
                    heard = Instant::now();
                    self.answer(message).await
                }
            };
            if !goes_on {
                break;
            }
        }
        // It may have gone already.
        let _ = self.session.close(self.refusal).await;
    }

    /// A session that has ended ends what began with it.
    fn is_admitted(&self) -> bool {
        self.ticket
            .is_none_or(|ticket| self.sessions.is_open(ticket))
    }

    fn add(&mut self, seen: Seen) {
        match seen {
            Seen::Entry(entry) => self.push(&entry),
            Seen::Lost(count) => self.push_skipped(count),
        }
    }

    fn push(&mut self, entry: &str) {
        if !self.frame.is_empty() {
            self.frame.push(',');
        }
        self.frame.push_str(entry);
    }

    fn push_skipped(&mut self, count: u64) {
        self.push(&format!("{{\"kind\":\"skipped\",\"count\":{count}}}"));
    }

    /// Sends what there is and now and then a ping; whether the watcher takes it.
    async fn beat(&mut self, beats: u32) -> bool {
        let skipped = self.watch.skipped();
        if skipped > 0 {
            self.push_skipped(skipped);
        }
        if !self.frame.is_empty() && !self.flush().await {
            return false;
        }
        !beats.is_multiple_of(PING_BEATS) || is_taken(self.session.ping(b"")).await
    }

    async fn flush(&mut self) -> bool {
        let frame = format!("[{}]", self.frame);
        self.frame.clear();
        is_taken(self.session.text(frame)).await
    }

    /// Takes what the watcher says: what it looks for, and that it lives or goes.
    async fn answer(&mut self, message: Option<Result<Message, actix_ws::ProtocolError>>) -> bool {
        match message {
            Some(Ok(Message::Ping(payload))) => is_taken(self.session.pong(&payload)).await,
            Some(Ok(Message::Text(text))) => match Filter::parse(&text) {
                Ok(filter) => {
                    self.watch.look_for(filter.into_iter().collect());
                    true
                }
                Err(error) => {
                    self.refusal = Some(reason(CloseCode::Policy, error.to_string()));
                    false
                }
            },
            Some(Ok(Message::Close(_)) | Err(_)) | None => false,
            Some(Ok(_)) => true,
        }
    }
}

/// Whether the watcher takes something in time. Meanwhile entries wait in the feed, and the oldest are lost.
async fn is_taken(sending: impl Future<Output = Result<(), actix_ws::Closed>>) -> bool {
    matches!(tokio::time::timeout(SILENCE, sending).await, Ok(Ok(())))
}
