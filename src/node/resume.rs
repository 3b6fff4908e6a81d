//! Resume: a token becomes positions in the logs of channels, and a subscription begins behind its position.
//!
//! Nothing depends on a moment: the position is read before the subscription is made and taken over after it, and what
//! gets lost on the way leaves an older one. So around a cut an event may come twice, and none is missing.

use std::num::NonZeroU32;
use std::time::Duration;

use smallvec::SmallVec;

use super::Node;
use super::connect::{Session, Subscription};
use crate::adapter::{PositionChange, Subscribed};
use crate::app::App;
use crate::channel_log::{LogEvent, LogId};
use crate::hub::{Peer, Slot};
use crate::protocol::{ChannelName, Resumed, SocketId, Transport};

/// How much longer than positions the log is kept, in seconds: a position is as old as the last answered ping.
const LOG_SLACK: u32 = 60;

/// For how many times `resume_seconds` a position is remembered while its connection lives, which tells it again after
/// half of `resume_seconds`.
const LIVES: u32 = 2;

/// What is known of a connection's token when it subscribes to a channel: nothing if it is new there or forgotten, or if
/// the app does not resume.
#[derive(Default)]
pub(super) struct Resuming {
    /// Behind which entry of the log the subscription is to begin.
    pub(super) after: Option<LogId>,
    /// The token's connections so far.
    connections: SmallVec<[SocketId; 1]>,
}

impl Resuming {
    /// What becomes of it. Leaves out of the past what excluded an earlier connection of the page.
    pub(super) fn outcome(&mut self, subscribed: &mut Subscribed) -> Resumed {
        let past = &mut subscribed.past;
        let is_own = |id: SocketId| self.connections.contains(&id);
        let is_others = |event: &LogEvent| !event.except.is_some_and(is_own);
        past.events.retain(is_others);
        if past.is_complete {
            return Resumed::Missed(past.events.len());
        }
        self.after = None;
        Resumed::Anew
    }
}

/// For how many seconds a channel's log is kept for a connection that may resume; none where it may not.
pub(super) fn log_kept_for(peer: &Peer) -> Option<NonZeroU32> {
    let may_resume = peer.resume_token().is_some() || peer.transport() == Transport::Sse;
    let seconds = NonZeroU32::new(peer.app().resume.seconds).filter(|_| may_resume)?;
    Some(seconds.saturating_add(LOG_SLACK))
}

impl Node {
    /// What is known of a connection's token; none if it has none. A cluster that cannot be asked knows nothing.
    pub(super) async fn resuming(
        &self,
        session: &Session,
        app: &App,
        channel: &ChannelName,
    ) -> Option<Resuming> {
        let token = session.peer.resume_token()?;
        if app.resume.seconds == 0 {
            return Some(Resuming::default());
        }
        let position = self.adapter.recall(app, channel, token).await;
        let known = position.ok().flatten().map(|position| Resuming {
            after: Some(position.log_id),
            connections: position.connections,
        });
        Some(known.unwrap_or_default())
    }

    /// Follows a subscription that is active since the place `at`, and takes its token's position over. One that begins
    /// anew has none until its client has confirmed it: who was not told to load its state has to be told again.
    pub(super) fn follow(&self, session: &Session, slot: &Slot, at: LogId, resuming: &Resuming) {
        let app = session.app();
        let Some(token) = session.peer.resume_token() else {
            return;
        };
        if app.resume.seconds == 0 {
            return;
        }
        session.peer.continues(&resuming.connections);
        session.peer.track(slot, at, resuming.after);
        if let Some(known) = resuming.after {
            let change = change(session, Some(known), true, LIVES);
            self.adapter.remember(&app, slot.channel(), token, change);
        }
    }

    /// Takes the answer to a ping, which confirms what was written before it. `payload`: what a WebSocket's pong repeats;
    /// none of a `pusher:pong`.
    pub fn confirm(&self, session: &Session, payload: Option<&[u8]>) {
        let Some(token) = session.peer.resume_token() else {
            return;
        };
        let app = session.app();
        for confirmed in session.peer.confirm(payload) {
            let change = change(session, Some(confirmed.log_id), confirmed.is_first, LIVES);
            self.adapter
                .remember(&app, &confirmed.channel, token, change);
        }
    }

    /// Ends the following of a subscription. A page that left its channel does not resume it; one whose connection ended
    /// may.
    pub(super) fn let_go(&self, session: &Session, subscription: &Subscription) {
        let Some(token) = session.peer.resume_token() else {
            return;
        };
        session.peer.untrack(&subscription.slot);
        let change = change(session, None, false, u32::from(session.peer.is_ending()));
        let channel = subscription.slot.channel();
        self.adapter
            .remember(&session.app(), channel, token, change);
    }
}

/// A change of a position of this connection, which is remembered for so many times `resume_seconds`.
fn change(session: &Session, log_id: Option<LogId>, takes: bool, lives: u32) -> PositionChange {
    let own = [session.peer.socket_id()];
    let earlier = session.peer.earlier_connections();
    let life = Duration::from_secs(session.app().resume.seconds.into());
    PositionChange {
        connections: own.iter().chain(&earlier).copied().collect(),
        log_id,
        takes,
        life: life * lives,
    }
}
