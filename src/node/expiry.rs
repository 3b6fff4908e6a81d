//! The end of tokens: what rests on one ends with it. A connection that showed none has no timer.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::connect::Session;
use super::{Node, SubscribeError};
use crate::hub::Ending;
use crate::protocol::{ChannelName, CloseCode};
use crate::token::{OnExpiry, TokensInUse};

/// What ends within this time of another end belongs to it: when a token was verified twice, its two ends differ by what
/// lay between reading the two clocks.
const TOGETHER: Duration = Duration::from_millis(100);

impl Session {
    /// Changes what rests on tokens, and with it the time at which something ends.
    pub(super) fn update_tokens<T>(&mut self, change: impl FnOnce(&mut TokensInUse) -> T) -> T {
        let (outcome, end) = self.peer.with_tokens(|tokens| {
            let outcome = change(tokens);
            (outcome, tokens.next_end())
        });
        self.token_timer = end.map(|end| Box::pin(sleep_until(end.into())));
        outcome
    }

    /// Ready when a token has ended: time for [`Node::end_tokens`].
    pub(super) fn poll_token_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.token_timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Node {
    /// Ends what rested on the tokens that have ended: the subscriptions, which it returns, and a connection that signed
    /// in with one.
    pub fn end_tokens(&self, session: &mut Session) -> Vec<(ChannelName, SubscribeError)> {
        if !session.peer.has_tokens() {
            return Vec::new();
        }
        let by = Instant::now() + TOGETHER;
        let sign_in_end = session.peer.with_tokens(|tokens| tokens.sign_in_end());
        if sign_in_end.is_some_and(|end| end <= by) {
            session.token_timer = None;
            let app = session.app();
            let on_expiry = app.tokens.as_ref().map(|tokens| tokens.on_expiry);
            session
                .peer
                .end(Ending::close(match on_expiry.unwrap_or_default() {
                    OnExpiry::Reconnect => CloseCode::TokenEnded,
                    OnExpiry::Close => CloseCode::TokenEndedForGood,
                }));
            return Vec::new();
        }
        let mut subscriptions = Vec::new();
        for channel in session.update_tokens(|tokens| tokens.take_ended(by)) {
            if let Some(at) = session.position(channel.as_str()) {
                self.unsubscribe_at(session, at);
                let error = SubscribeError::TokenEnded(channel.clone());
                subscriptions.push((channel, error));
            }
        }
        subscriptions
    }
}
