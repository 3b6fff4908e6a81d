//! Resume: a token becomes positions in the logs of channels, and a subscription begins behind its position.
//!
//! Nothing depends on a moment: the position is read before the subscription is made and taken over after it, and what
//! gets lost on the way leaves an older one. So around a cut an event may come twice, and none is missing.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Node;
use super::connect::{Session, Subscription};
use crate::adapter::{Position, PositionChange, Subscribed};
use crate::app::App;
use crate::channel_log::LogId;
use crate::hub::Confirmed;
use crate::protocol::{ChannelName, ResumeToken, Resumed, SocketId};

/// How much longer than positions the log is kept, in seconds: a position is as old as the last answered ping.
const LOG_SLACK: u32 = 60;

/// For how many times `resume_seconds` a position is remembered while its connection lives, which tells it again after
/// half of `resume_seconds`.
const LIVES: u32 = 2;

/// What is known of a token when its connection subscribes to a channel.
pub(super) struct Resuming {
    token: ResumeToken,
    /// None: the token is new here, or forgotten, or the app does not resume.
    position: Option<Position>,
    /// Seconds for which it is remembered; none: the app does not resume.
    seconds: Option<NonZeroU32>,
}

impl Resuming {
    /// Behind which entry of the log the subscription is to begin.
    pub(super) fn after(&self) -> Option<LogId> {
        self.position.as_ref().map(|position| position.log_id)
    }

    /// What becomes of it. Leaves out of the past what excluded an earlier connection of the page.
    pub(super) fn outcome(self, subscribed: &mut Subscribed) -> Outcome {
        let is_known = self.position.is_some();
        let position = self.position.unwrap_or_default();
        let is_own = |id: SocketId| position.connections.contains(&id);
        let past = &mut subscribed.past;
        past.events
            .retain(|event| !event.except.is_some_and(is_own));
        let (resumed, log_id) = match past.is_complete && is_known {
            true => (Resumed::Missed(past.events.len()), position.log_id),
            false => (Resumed::Anew, subscribed.at),
        };
        Outcome {
            resumed,
            token: self.token,
            is_kept: self.seconds.is_some(),
            position: Position {
                log_id,
                connections: position.connections,
            },
            at: subscribed.at,
        }
    }
}

/// How a subscription has been resumed.
pub(super) struct Outcome {
    /// What `subscription_succeeded` says.
    pub(super) resumed: Resumed,
    token: ResumeToken,
    /// Whether the app resumes.
    is_kept: bool,
    /// What the client has received so far, and the token's earlier connections.
    position: Position,
    /// The place of the log at which the subscription is active.
    at: LogId,
}

impl Session {
    /// How long the log is kept for whoever resumes; none where nobody can.
    pub(super) fn keeps_log(&self, app: &App) -> Option<NonZeroU32> {
        self.peer.resume_token()?;
        let seconds = NonZeroU32::new(app.resume.seconds)?;
        Some(seconds.saturating_add(LOG_SLACK))
    }
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
        let seconds = NonZeroU32::new(app.resume.seconds);
        let position = match seconds {
            Some(_) => self.adapter.recall(app, channel, token).await,
            None => Ok(None),
        };
        Some(Resuming {
            token,
            position: position.unwrap_or_default(),
            seconds,
        })
    }

    /// Takes the position of a subscription over that has become active.
    pub(super) fn take_position(
        &self,
        session: &Session,
        subscription: &Subscription,
        outcome: &Outcome,
    ) {
        if !outcome.is_kept {
            return;
        }
        let (peer, at) = (&session.peer, outcome.at);
        let Position {
            log_id,
            ref connections,
        } = outcome.position;
        peer.continues(connections);
        peer.track(&subscription.slot, at, log_id < at);
        let change = PositionChange {
            takes: true,
            ..change(session, Some(log_id), LIVES)
        };
        let channel = subscription.slot.channel();
        self.adapter
            .remember(&session.app(), channel, outcome.token, change);
    }

    /// Takes the answer to a ping, which confirms what was written before it.
    pub fn confirm(&self, session: &Session, payload: &[u8]) {
        let Some(token) = session.peer.resume_token() else {
            return;
        };
        let app = session.app();
        for Confirmed { channel, log_id } in session.peer.confirm(payload) {
            let change = change(session, Some(log_id), LIVES);
            self.adapter.remember(&app, &channel, token, change);
        }
    }

    /// Ends the following of a subscription. A page that left its channel does not resume it; one whose connection ended
    /// may.
    pub(super) fn let_go(&self, session: &Session, subscription: &Subscription) {
        let Some(token) = session.peer.resume_token() else {
            return;
        };
        session.peer.untrack(&subscription.slot);
        let change = change(session, None, u32::from(session.peer.is_ending()));
        let channel = subscription.slot.channel();
        self.adapter
            .remember(&session.app(), channel, token, change);
    }
}

/// A change of a position of this connection, which is remembered for so many times `resume_seconds`.
fn change(session: &Session, log_id: Option<LogId>, lives: u32) -> PositionChange {
    let own = [session.peer.socket_id()];
    let earlier = session.peer.earlier_connections();
    let life = Duration::from_secs(session.app().resume.seconds.into());
    PositionChange {
        connections: own.iter().chain(&earlier).copied().collect(),
        log_id,
        takes: false,
        life: life * lives,
    }
}
