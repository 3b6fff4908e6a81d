//! One request: its events, its bytes, and its attempts so far.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;

use super::queue::QueuedEvent;
use super::sender::Failure;
use crate::clock::epoch_ms;
use crate::protocol::webhook;

/// The first pause after a failure; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After this many refusals a request no longer delays other channels.
const REFUSALS: u32 = 3;

/// A request with at least one event. Its bytes are the same in every attempt.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) events: Vec<QueuedEvent>,
    pub(super) body: Bytes,
    pub(super) first_attempt: SystemTime,
    pub(super) attempts: u32,
    started: Instant,
    refusals: u32,
    pause: Duration,
}

impl Request {
    pub(super) fn new(events: Vec<QueuedEvent>) -> Self {
        let now = SystemTime::now();
        let jsons = events.iter().map(|event| &*event.spooled.json);
        Self {
            body: Bytes::from(webhook::body(epoch_ms(now), jsons)),
            events,
            first_attempt: now,
            attempts: 0,
            started: Instant::now(),
            refusals: 0,
            pause: FIRST_PAUSE,
        }
    }

    /// Counts a failure. The pause until the next attempt; none if that would be after `timeout`.
    pub(super) fn failed(&mut self, error: &Failure, timeout: Duration) -> Option<Duration> {
        self.refusals += u32::from(error.is_refusal());
        let pause = self.pause.mul_f64(rand::random_range(0.5..1.0));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        (self.started.elapsed() + pause < timeout).then_some(pause)
    }

    /// Whether the endpoint seems to refuse this request, rather than all.
    pub(super) fn is_refused(&self) -> bool {
        self.refusals >= REFUSALS
    }

    /// The channel of its events. None if they are of several.
    pub(super) fn channel(&self) -> Option<u64> {
        let mut channels = self.events.iter().map(|event| event.tag.channel);
        let first = channels.next()?;
        channels.all(|channel| channel == first).then_some(first)
    }

    /// Splits a refused request: a new request of the first half of its events, and the other events.
    pub(super) fn halved(mut self) -> (Self, Vec<QueuedEvent>) {
        let rest = self.events.split_off(self.events.len() / 2);
        let half = Self {
            // One refusal more tells which half it is.
            refusals: REFUSALS - 1,
            ..Self::new(self.events)
        };
        (half, rest)
    }
}
