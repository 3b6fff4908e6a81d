//! Rates: how fast the backends of an app may publish and ask.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::Node;
use crate::app::App;
use crate::registry::AppRate;

/// The requests of an app come faster than one of its limits allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", match rate {
    AppRate::Events => format!(
        "Too many events: this app may publish {limit} per second (events_per_second in its limits)"
    ),
    AppRate::Reads => format!(
        "Too many reads: this app may ask for channels and users {limit} times per second (reads_per_second in its limits)"
    ),
})]
pub struct TooFast {
    /// Which of them.
    pub rate: AppRate,
    /// The limit.
    pub limit: NonZeroU32,
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
        self.registry
            .take(rate, &app.id, (count, limit), Instant::now())
            .map_err(|wait| TooFast { rate, limit, wait })
    }
}
