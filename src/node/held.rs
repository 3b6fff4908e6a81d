//! Subscriptions that are held until their connection has signed in, as long as the app lets them wait.
//!
//! They are the connection's alone: neither the hub nor the adapter knows of one before it is admitted, so one that ends
//! before leaves no trace. Without any, a connection owns no list and no timer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use super::connect::Session;
use crate::protocol::{ChannelName, Member};
use crate::rules::Admission;
use crate::token::Token;

/// A subscription that its prefix allows, whatever its rule says.
pub(super) struct Authorized {
    pub(super) channel: ChannelName,
    /// Who joins a presence channel; none there: the user who is signed in.
    pub(super) member: Option<Box<Member>>,
    /// Its own token, if it has one, which names the channel.
    pub(super) token: Option<Token>,
}

/// A connection's held subscriptions, in the order in which they came.
pub(super) struct Held {
    waiting: VecDeque<(Authorized, Instant)>,
    /// Set to the end of the first one's time, which is the earliest but for those that a reload has given less.
    timer: Pin<Box<Sleep>>,
}

impl Session {
    /// How many subscriptions it has or waits for.
    pub(super) fn subscriptions_and_held(&self) -> usize {
        let held = self.held.as_ref().map_or(0, |held| held.waiting.len());
        self.subscriptions.len() + held
    }

    /// Keeps a subscription until it can be decided.
    pub(super) fn hold(&mut self, subscription: Authorized) {
        let until = Instant::now() + self.app().signin_wait;
        let held = self.held.get_or_insert_with(|| {
            Box::new(Held {
                waiting: VecDeque::new(),
                timer: Box::pin(sleep_until(until)),
            })
        });
        held.waiting.push_back((subscription, until));
    }

    /// Whether a subscription to the channel is held.
    pub(super) fn holds(&self, channel: &str) -> bool {
        self.held_at(channel).is_some()
    }

    /// Forgets the held subscription to a channel. Returns whether there was one.
    pub(super) fn forget_held(&mut self, channel: &str) -> bool {
        let at = self.held_at(channel);
        at.is_some_and(|at| self.take_held(at).is_some())
    }

    fn held_at(&self, channel: &str) -> Option<usize> {
        let held = self.held.as_ref()?;
        let is_it = |(held, _): &(Authorized, Instant)| held.channel.as_str() == channel;
        held.waiting.iter().position(is_it)
    }

    /// The first held subscription that can be decided now: who is signed in is known, or the rules do not ask for it
    /// any more, or its time is over.
    pub(super) fn take_decidable(&mut self) -> Option<Authorized> {
        let now = Instant::now();
        let waiting = &self.held.as_ref()?.waiting;
        let at = waiting.iter().position(|(held, until)| {
            *until <= now
                || self.admission(&held.channel, held.token.is_some()) != Admission::NeedsUser
        });
        self.take_held(at?)
    }

    fn take_held(&mut self, at: usize) -> Option<Authorized> {
        let held = self.held.as_mut()?;
        let (taken, _) = held.waiting.remove(at)?;
        if held.waiting.is_empty() {
            self.held = None;
        }
        Some(taken)
    }

    /// Ready when something is to be reviewed: other rules hold, or the time of a token or of a held subscription is over.
    pub fn poll_review(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.peer.is_to_be_reviewed() || self.poll_token_end(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(held) = &mut self.held else {
            return Poll::Pending;
        };
        if let Some((_, until)) = held.waiting.front()
            && held.timer.deadline() != *until
        {
            held.timer.as_mut().reset(*until);
        }
        held.timer.as_mut().poll(cx)
    }
}
