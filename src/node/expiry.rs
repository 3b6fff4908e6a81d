//! The end of tokens: what rests on one ends with it. A connection that showed none has no timer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use super::connect::Session;
use super::{Node, SubscribeError};
use crate::hub::Ending;
use crate::protocol::{ChannelName, CloseCode};
use crate::token::{OnExpiry, Token};

/// What ends within this time of another end belongs to it: when a token was verified twice, its two ends differ by what
/// lay between reading the two clocks.
const TOGETHER: Duration = Duration::from_millis(100);

/// When the tokens of one connection end: for each channel that was subscribed to with one, and for the sign-in (no
/// channel).
pub(super) struct TokenEnds {
    ends: Vec<(Instant, Option<ChannelName>)>,
    /// Until the first of them.
    timer: Pin<Box<Sleep>>,
}

impl Session {
    /// From now on a subscription, or the sign-in, rests on this token, or on none.
    pub(super) fn rests_on(&mut self, token: Option<&Token>, channel: Option<&ChannelName>) {
        let end = token.and_then(|token| token.verified.checked_add(token.lasts?));
        let known = self.token_ends.take();
        let mut ends = known.map_or_else(Vec::new, |known| known.ends);
        ends.retain(|(_, of)| of.as_ref() != channel);
        ends.extend(end.map(|end| (end, channel.cloned())));
        self.keep_token_ends(ends);
    }

    fn keep_token_ends(&mut self, ends: Vec<(Instant, Option<ChannelName>)>) {
        let first = ends.iter().map(|(end, _)| *end).min();
        self.token_ends = first.map(|first| {
            let timer = Box::pin(sleep_until(first.into()));
            Box::new(TokenEnds { ends, timer })
        });
    }

    /// Ready when a token has ended: time for [`Node::end_tokens`].
    pub(super) fn poll_token_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.token_ends {
            Some(tokens) => tokens.timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Node {
    /// Ends what rested on the tokens that have ended: the subscriptions, which it returns, and a connection that signed
    /// in with one.
    pub async fn end_tokens(&self, session: &mut Session) -> Vec<(ChannelName, SubscribeError)> {
        let now = Instant::now() + TOGETHER;
        let known = session.token_ends.take();
        let ends = known.map_or_else(Vec::new, |known| known.ends);
        let (ended, lasting): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(end, _)| *end <= now);
        if ended.iter().any(|(_, channel)| channel.is_none()) {
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
        session.keep_token_ends(lasting);
        let mut subscriptions = Vec::new();
        for channel in ended.into_iter().filter_map(|(_, channel)| channel) {
            if let Some(at) = session.position(channel.as_str()) {
                self.unsubscribe_at(session, at).await;
                let error = SubscribeError::TokenEnded(channel.clone());
                subscriptions.push((channel, error));
            }
        }
        subscriptions
    }
}
