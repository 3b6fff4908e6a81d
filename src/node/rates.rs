//! Rates: how fast the backends of an app may publish and ask, and how fast a connection may send.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::Node;
use super::connect::Session;
use crate::app::{App, Limits, LimitsScope};
use crate::limits::TokenBucket;
use crate::registry::AppRate;

/// The requests of an app come faster than one of its limits allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", match rate {
    AppRate::Events => match share {
        None => format!(
            "Too many events: this app may publish {limit} per second (events_per_second in its limits)"
        ),
        Some(share) => format!(
            "Too many events: this app may publish {limit} per second in the whole cluster, {share} of them at this moment \
             through this node (events_per_second in its limits, limits_scope)"
        ),
    },
    AppRate::Reads => format!(
        "Too many reads: this app may ask for channels and users {limit} times per second (reads_per_second in its limits)"
    ),
})]
pub struct TooFast {
    /// Which of them.
    pub rate: AppRate,
    /// The limit.
    pub limit: NonZeroU32,
    /// This node's share of it, if it is the whole cluster's.
    pub share: Option<u32>,
    /// When it is worth trying again.
    pub wait: Duration,
}

impl Node {
    /// Counts events against the app's rate before any of them is published: all or none. An event counts once,
    /// however many channels it goes to.
    ///
    /// # Errors
    /// They come too fast.
    pub fn admit_events(&self, app: &App, events: usize) -> Result<(), TooFast> {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.admit(AppRate::Events, app, events)
            .inspect_err(|_| self.metrics.events_limited.inc())
    }

    /// Counts one authenticated request that reads against the app's rate.
    ///
    /// # Errors
    /// They come too fast.
    pub fn admit_read(&self, app: &App) -> Result<(), TooFast> {
        self.admit(AppRate::Reads, app, 1)
    }

    fn admit(&self, rate: AppRate, app: &App, count: u32) -> Result<(), TooFast> {
        let Some(limit) = rate.limit(&app.limits) else {
            return Ok(());
        };
        let share = match (rate, app.limits_scope) {
            (AppRate::Events, LimitsScope::Cluster) => {
                self.registry.share_of_events(&app.id, limit, count)
            }
            (AppRate::Events, LimitsScope::Node) | (AppRate::Reads, _) => None,
        };
        let taken = match NonZeroU32::new(share.unwrap_or(limit.get())) {
            Some(limit) => {
                let now = Instant::now();
                self.registry.take(rate, &app.id, (count, limit), now)
            }
            // By then it has been asked for.
            None => Err(Duration::from_secs(1)),
        };
        taken.map_err(|wait| TooFast {
            rate,
            limit,
            share,
            wait,
        })
    }
}

/// What one connection may do so many times a second.
#[derive(Debug, Clone, Copy)]
pub(super) enum ConnectionRate {
    ClientEvents,
    Subscribes,
    /// Each frame that it sends.
    Frames,
    /// The same, at [`FLOOD`] times the rate.
    Flood,
}

/// How fast it has done each of them, by [`ConnectionRate`]; none: not at all.
pub(super) type ConnectionRates = [Option<TokenBucket>; 4];

/// At so many times `messages_per_second` a connection is ended.
const FLOOD: u32 = 10;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameRate {
    /// It is taken.
    Within,
    /// It is dropped, as more came than this many in a second.
    Over(NonZeroU32),
    /// Its connection is ended.
    Flood,
}

impl Session {
    /// Counts one against a rate of this connection; false if it is too fast.
    pub(super) fn take(&mut self, rate: ConnectionRate, limit: u32) -> bool {
        let now = Instant::now();
        let rates = self.rates.get_or_insert_default();
        rates[rate as usize]
            .get_or_insert_with(|| TokenBucket::new(limit, now))
            .take(1, limit, now)
            .is_ok()
    }

    /// Counts a frame of any kind against `messages_per_second`.
    pub fn take_frame(&mut self, limits: &Limits) -> FrameRate {
        let Some(limit) = limits.messages_per_second else {
            return FrameRate::Within;
        };
        if !self.take(ConnectionRate::Flood, limit.get() * FLOOD) {
            return FrameRate::Flood;
        }
        match self.take(ConnectionRate::Frames, limit.get()) {
            true => FrameRate::Within,
            false => FrameRate::Over(limit),
        }
    }
}
