//! Listening: what connections do whose clients have no library and say nothing to a channel (Server-Sent Events, plain
//! WebSockets). A token (JWT) stands for both the sign-in and the `auth` of a subscription; nobody becomes a member.

use bytes::Bytes;

use super::connect::Session;
use super::rates::ConnectionRate;
use super::signin::SigninError;
use super::subscribe::{admit, cached, past_wanted, room};
use super::{Node, SubscribeError};
use crate::adapter::Subscribed;
use crate::channel_log::LogId;
use crate::protocol::{ChannelKind, ChannelName, UserId, excerpt};
use crate::token::Token;

/// A subscription that is registered and has not begun: [`Node::begin`] must follow.
pub struct Listening {
    at: usize,
    subscribed: Subscribed,
    after: Option<LogId>,
}

impl Listening {
    /// How many events follow that were missed; none if the subscription begins anew.
    #[must_use]
    pub fn missed(&self) -> Option<usize> {
        let past = &self.subscribed.past;
        past.is_complete.then_some(past.events.len())
    }

    /// The place in the channel's log behind which it begins.
    #[must_use]
    pub fn begins(&self) -> LogId {
        let resumed = self.after.filter(|_| self.subscribed.past.is_complete);
        resumed.unwrap_or(self.subscribed.at)
    }

    /// Bytes of the events that it is sent first.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let events = self.subscribed.past.events.iter();
        events.map(|event| event.frame.bytes().len()).sum()
    }
}

impl Session {
    /// Reads and checks a channel's name.
    ///
    /// # Errors
    /// It is none.
    pub fn channel_name(&self, text: &str) -> Result<ChannelName, SubscribeError> {
        let most = self.app().limits.channel_name_length;
        ChannelName::parse(text, most).map_err(|reason| SubscribeError::Name {
            name: excerpt(text).to_owned(),
            reason,
        })
    }

    /// Counts a subscription against the rate of the connection.
    ///
    /// # Errors
    /// They come too fast.
    pub fn take_subscribe(&mut self) -> Result<(), SubscribeError> {
        match self.app().limits.subscribes_per_second {
            Some(limit) if !self.take(ConnectionRate::Subscribes, limit.get()) => {
                Err(SubscribeError::TooFast(limit))
            }
            _ => Ok(()),
        }
    }

    /// How many bytes of the past the connection can be sent.
    #[must_use]
    pub fn room(&self) -> usize {
        room(&self.peer)
    }
}

impl Node {
    /// Takes a token (JWT) that a listener shows. If it has a user, the connection signs in as that one, and ends with
    /// the token. If not, the token is returned, and only what [`Node::listen`] is given it for rests on it.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub async fn show_token(
        &self,
        session: &mut Session,
        given: &str,
    ) -> Result<Option<Token>, SigninError> {
        let app = session.app();
        let tokens = app.tokens.as_ref().ok_or(SigninError::NoTokens)?;
        let verified = Box::pin(tokens.verify(given, self.metrics())).await;
        let token = verified.map_err(SigninError::Token)?;
        let Ok(user_data) = token.user_data() else {
            return Ok(Some(token));
        };
        self.sign_in_listener(session, token, &user_data).await?;
        Ok(None)
    }

    /// Subscribes a listener to a channel, without beginning delivery. `token` is its own, if it shows one for this;
    /// `after` is the last place in the channel's log that it knows, `room` how many bytes of the past it can be sent.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub async fn listen(
        &self,
        session: &mut Session,
        channel: &ChannelName,
        token: Option<&Token>,
        (after, room): (Option<LogId>, usize),
    ) -> Result<Listening, SubscribeError> {
        session.check_new(channel)?;
        session.check_room()?;
        let app = session.app();
        self.may_listen(session, channel, token)?;
        let token = token.filter(|token| token.names(channel.as_str()));
        let after = after.filter(|_| app.resume.seconds > 0);
        let past = past_wanted(&app, channel, room, after);
        let (at, subscribed) = self.register(session, channel, (None, token), past).await?;
        Ok(Listening {
            at,
            subscribed,
            after,
        })
    }

    /// Whether the channel's prefix and its rule let a listener in; `token` is its own, if it shows one for this.
    ///
    /// # Errors
    /// They do not.
    pub fn may_listen(
        &self,
        session: &Session,
        channel: &ChannelName,
        token: Option<&Token>,
    ) -> Result<(), SubscribeError> {
        let is_named = token.is_some_and(|token| token.names(channel.as_str()));
        let peer = &session.peer;
        match channel.kind() {
            _ if peer.is_trusted() => {}
            ChannelKind::Public => {}
            ChannelKind::Private | ChannelKind::Encrypted | ChannelKind::Presence => {
                if !is_named && !peer.with_tokens(|tokens| tokens.names(channel)) {
                    return Err(match token.is_some() || peer.has_tokens() {
                        true => SubscribeError::TokenChannel(channel.clone()),
                        false => SubscribeError::AuthRequired(channel.clone()),
                    });
                }
            }
            ChannelKind::ServerToUser | ChannelKind::Internal => {
                let user = session.user_id().map(UserId::as_str);
                if user.is_none() || user != channel.server_to_user_id() {
                    return Err(SubscribeError::OtherUser(channel.clone()));
                }
            }
        }
        admit(session, channel, is_named)
    }

    /// Begins a stream: `first`, then of each channel what is to be sent of its past, then what comes.
    pub fn begin_stream(&self, session: &Session, first: &Bytes, all: &[Listening]) {
        let place = |one: &Listening| {
            let subscription = session.subscriptions.get(one.at)?;
            Some((&subscription.slot, one.begins()))
        };
        session
            .peer
            .begin_stream(first, all.iter().filter_map(place));
        for listening in all {
            self.begin(session, listening);
        }
    }

    /// Begins delivery, with what is to be sent of the past.
    pub fn begin(&self, session: &Session, listening: &Listening) {
        let peer = &session.peer;
        let Some(subscription) = session.subscriptions.get(listening.at) else {
            return;
        };
        let slot = &subscription.slot;
        let past = &listening.subscribed.past;
        if let Some(cached) = cached(slot.channel(), past) {
            peer.send(&cached);
        }
        for event in &past.events {
            peer.send_event(slot, event.id, &event.frame);
        }
        peer.hub().activate(slot, listening.subscribed.since, &[]);
    }
}
