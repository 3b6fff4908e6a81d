//! `TokensInUse`: what of one connection rests on tokens, and until when.

use std::time::Instant;

use super::Token;
use crate::protocol::ChannelName;

/// The tokens that one connection depends on: for its sign-in, and for subscriptions.
#[derive(Default)]
pub struct TokensInUse {
    /// That of its sign-in.
    sign_in: Option<Token>,
    /// The channels that were subscribed to with one, and its end; none: it has no end.
    channels: Vec<(ChannelName, Option<Instant>)>,
}

impl TokensInUse {
    /// Notes the token that the sign-in depends on; none: it depends on no token.
    pub fn signed_in(&mut self, token: Option<Token>) {
        self.sign_in = token;
    }

    /// Notes that a subscription depends on a token.
    pub fn subscribed(&mut self, channel: &ChannelName, token: &Token) {
        self.channels.push((channel.clone(), token.end()));
    }

    /// Forgets the subscription of a channel.
    pub fn unsubscribed(&mut self, channel: &ChannelName) {
        self.channels.retain(|(of, _)| of != channel);
    }

    /// Whether a token allows a channel: the one that it was subscribed with, or the sign-in's.
    pub fn names(&self, channel: &ChannelName) -> bool {
        let sign_in = self.sign_in.as_ref();
        sign_in.is_some_and(|token| token.names(channel.as_str()))
            || self.channels.iter().any(|(of, _)| of == channel)
    }

    /// Whether the sign-in depends on a token.
    pub fn has_sign_in(&self) -> bool {
        self.sign_in.is_some()
    }

    /// Whether nothing depends on a token.
    pub fn is_empty(&self) -> bool {
        self.sign_in.is_none() && self.channels.is_empty()
    }

    /// When the first of the tokens expires.
    pub fn next_end(&self) -> Option<Instant> {
        let channels = self.channels.iter().filter_map(|(_, end)| *end);
        channels.chain(self.sign_in_end()).min()
    }

    /// When the sign-in's token expires.
    pub fn sign_in_end(&self) -> Option<Instant> {
        self.sign_in.as_ref()?.end()
    }

    /// Removes the channels whose tokens have expired `by` then, and returns them.
    pub fn take_ended(&mut self, by: Instant) -> Vec<ChannelName> {
        let ends = |(_, end): &mut (ChannelName, Option<Instant>)| end.is_some_and(|end| end <= by);
        let ended = self.channels.extract_if(.., ends);
        ended.map(|(channel, _)| channel).collect()
    }
}
