//! Client events: what one connection sends to the others of a private or presence channel.

use std::sync::Arc;
use std::time::Instant;

use super::Node;
use super::connect::Session;
use super::rates::ConnectionRate;
use crate::adapter::{self, Event};
use crate::app::{App, Limits};
use crate::feed::{Entry, Kind};
use crate::hub::inbox::InboxFull;
use crate::metrics::ClientEventRefused;
use crate::protocol::client::ClientEvent;
use crate::protocol::{ChannelName, ErrorCode, ServerFrame, WebhookEvent, excerpt};

/// Why a client event is dropped. The texts are the real service's where they are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientEventError {
    /// The app has the feature off.
    #[error(
        "To send client events, you must enable this feature in the Settings page of your dashboard. (client_events = true in the app's configuration)"
    )]
    Disabled,
    /// A rule has the feature off for the channel.
    #[error("{0} takes no client events (client_events = false in the app's channel rules)")]
    DisabledByRule(ChannelName),
    /// The sender is not on the channel.
    #[error("Cannot broadcast client event (connection not subscribed to channel {0})")]
    NotSubscribed(String),
    /// Public and encrypted channels have none.
    #[error("Client events are only supported on private and presence channels, not on {0}")]
    Kind(String),
    /// The name is too long.
    #[error("The client event's name is too long: the limit is {0} characters")]
    NameTooLong(usize),
    /// The data is too large.
    #[error("The data content of this event exceeds the allowed maximum ({0} bytes)")]
    TooLarge(usize),
    /// Too many in a second.
    #[error("Client event rejected due to rate limit ({0} per second)")]
    TooFast(u32),
    /// The server cannot take it now.
    #[error(transparent)]
    Overloaded(#[from] InboxFull),
    /// The cluster cannot take it now.
    #[error("{0}")]
    Unreachable(Arc<str>),
}

impl ClientEventError {
    /// The same as metrics and logs name it.
    #[must_use]
    pub fn reason(&self) -> ClientEventRefused {
        match self {
            Self::Disabled | Self::DisabledByRule(_) => ClientEventRefused::Disabled,
            Self::NotSubscribed(_) => ClientEventRefused::NotSubscribed,
            Self::Kind(_) => ClientEventRefused::ChannelKind,
            Self::NameTooLong(_) => ClientEventRefused::NameTooLong,
            Self::TooLarge(_) => ClientEventRefused::TooLarge,
            Self::TooFast(_) => ClientEventRefused::TooFast,
            Self::Overloaded(_) => ClientEventRefused::Overloaded,
            Self::Unreachable(_) => ClientEventRefused::Unreachable,
        }
    }

    /// `pusher:error` code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooFast(_) => ErrorCode::TooFast,
            Self::Disabled
            | Self::DisabledByRule(_)
            | Self::NotSubscribed(_)
            | Self::Kind(_)
            | Self::NameTooLong(_)
            | Self::TooLarge(_)
            | Self::Overloaded(_)
            | Self::Unreachable(_) => ErrorCode::None,
        }
    }
}

impl Node {
    fn check_rate(&self, session: &mut Session, limit: u32) -> Result<(), ClientEventError> {
        if session.take(ConnectionRate::ClientEvents, limit) {
            return Ok(());
        }
        self.metrics.client_events_limited.inc();
        Err(ClientEventError::TooFast(limit))
    }

    /// Relays a client event to every other subscriber of its channel; never echoed, never a last event.
    ///
    /// # Errors
    /// It was dropped.
    pub async fn relay(
        &self,
        session: &mut Session,
        command: &ClientEvent,
    ) -> Result<(), ClientEventError> {
        let app = session.app();
        let at = place(&app, session, command)?;
        check_size(command, &app.limits)?;
        self.check_rate(session, app.limits.client_events_per_second)?;
        let accepted = Instant::now();
        self.inboxes.wait_for_capacity().await?;
        let subscription = &session.subscriptions[at];
        let channel = subscription.slot.channel();
        let user_id = subscription.member.as_ref().map(|m| &m.id);
        let frame = ServerFrame::Event {
            channel,
            event: &command.event,
            data: &command.data,
            user_id,
        }
        .encode();
        let source = Some(session.peer.socket_id());
        let event = Event {
            channel,
            frame,
            except: source,
            keep: None,
            kept: app.policy(channel).kept(),
            accepted,
            once: None,
        };
        match self.adapter.publish(&app, event).await {
            Ok(published) => {
                let feed = &self.feed;
                feed.record(Some(&app.id), Kind::ClientEvent, || Entry {
                    socket_id: source,
                    user_id: user_id.map(|user| user.as_str()),
                    event: Some(command.event.as_str().into()),
                    data: Some(&command.data),
                    subscriptions: published.subscriptions,
                    ..Entry::on(channel.as_str())
                });
                let event = WebhookEvent::ClientEvent {
                    event: &command.event,
                    data: &command.data,
                    socket_id: session.peer.socket_id(),
                    user_id,
                };
                self.webhooks.post(&app.id, channel, &event, source);
                app.metrics.client_events.inc();
            }
            Err(error) => return refused(error),
        }
        Ok(())
    }
}

/// What the sender is told of an event that was not published.
fn refused(error: adapter::Error) -> Result<(), ClientEventError> {
    match error {
        adapter::Error::Overloaded(full) => Err(full.into()),
        adapter::Error::Unreachable(why) => Err(ClientEventError::Unreachable(why)),
        // Publishing subscribes nobody, and client events have no key.
        adapter::Error::PresenceFull | adapter::Error::Key(..) => Ok(()),
    }
}

/// The sender's subscription to the channel, which must be one that takes client events.
fn place(app: &App, session: &Session, command: &ClientEvent) -> Result<usize, ClientEventError> {
    let at = session.position(&command.channel);
    let at = at.filter(|&at| session.subscriptions[at].active);
    let Some(at) = at else {
        return Err(match app.client_events {
            true => ClientEventError::NotSubscribed(excerpt(&command.channel).to_owned()),
            false => ClientEventError::Disabled,
        });
    };
    let channel = session.subscriptions[at].slot.channel();
    let policy = app.policy(channel);
    if policy.client_events {
        return Ok(at);
    }
    let is_ruled = policy.rule.is_some_and(|rule| rule.client_events.is_some());
    let is_kind = channel.kind().allows_client_events();
    Err(match (is_ruled || app.client_events, is_kind) {
        (false, _) => ClientEventError::Disabled,
        (true, false) => ClientEventError::Kind(command.channel.clone()),
        (true, true) => ClientEventError::DisabledByRule(channel.clone()),
    })
}

fn check_size(command: &ClientEvent, limits: &Limits) -> Result<(), ClientEventError> {
    if command.event.chars().count() > limits.event_name_length {
        return Err(ClientEventError::NameTooLong(limits.event_name_length));
    }
    if command.data.len() > limits.event_bytes {
        return Err(ClientEventError::TooLarge(limits.event_bytes));
    }
    Ok(())
}
