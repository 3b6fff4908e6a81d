//! `TokensInUse`: what of one connection rests on tokens, and until when.

use std::time::Instant;

use super::Token;
use crate::protocol::ChannelName;

/// What rests on the tokens that one connection has shown.
#[derive(Default)]
pub struct TokensInUse {
    /// That of its sign-in.
    sign_in: Option<Token>,
    /// The channels that were subscribed to with one, and its end; none: it has no end.
    channels: Vec<(ChannelName, Option<Instant>)>,
}

impl TokensInUse {
    /// The sign-in rests on this one from now on, or on none.
    pub fn signed_in(&mut self, token: Option<Token>) {
        self.sign_in = token;
    }

    /// A subscription rests on this one from now on.
    pub fn subscribed(&mut self, channel: &ChannelName, token: &Token) {
        self.channels.push((channel.clone(), token.end()));
    }

    /// A subscription has ended.
    pub fn unsubscribed(&mut self, channel: &ChannelName) {
        self.channels.retain(|(of, _)| of != channel);
    }

    /// Whether one of them names a channel: its subscription's own, or that of the sign-in.
    #[must_use]
    pub fn names(&self, channel: &ChannelName) -> bool {
        let sign_in = self.sign_in.as_ref();
        sign_in.is_some_and(|token| token.names(channel.as_str()))
            || self.channels.iter().any(|(of, _)| of == channel)
    }

    /// Whether the sign-in rests on one.
    #[must_use]
    pub fn has_sign_in(&self) -> bool {
        self.sign_in.is_some()
    }

    /// Whether nothing rests on any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sign_in.is_none() && self.channels.is_empty()
    }

    /// When the first of them ends.
    #[must_use]
    pub fn next_end(&self) -> Option<Instant> {
        let channels = self.channels.iter().filter_map(|(_, end)| *end);
        channels.chain(self.sign_in_end()).min()
    }

    /// When that of the sign-in ends.
    #[must_use]
    pub fn sign_in_end(&self) -> Option<Instant> {
        self.sign_in.as_ref()?.end()
    }

    /// The channels whose tokens have ended by then. They are not known any more.
    pub fn take_ended(&mut self, by: Instant) -> Vec<ChannelName> {
        let ends = |(_, end): &mut (ChannelName, Option<Instant>)| end.is_some_and(|end| end <= by);
        let ended = self.channels.extract_if(.., ends);
        ended.map(|(channel, _)| channel).collect()
    }
}
