//! How fast each app publishes and reads through this process's HTTP API, counted for all workers together.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::{Lock, Registry, lock};
use crate::app::{AppId, Limits};
use crate::limits::TokenBucket;

/// What an app may do so many times a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppRate {
    /// Publish an event: `events_per_second`.
    Events,
    /// Ask for channels or users: `reads_per_second`.
    Reads,
}

impl AppRate {
    /// All of them, each at its index.
    pub const ALL: [Self; 2] = [Self::Events, Self::Reads];

    /// An app's limit.
    #[must_use]
    pub fn limit(self, limits: &Limits) -> Option<NonZeroU32> {
        match self {
            Self::Events => limits.events_per_second,
            Self::Reads => limits.reads_per_second,
        }
    }
}

/// By [`AppRate`], the apps that have a limit and have done it.
pub(super) type Rates = [Lock<HashMap<AppId, TokenBucket>>; AppRate::ALL.len()];

impl Registry {
    /// Counts `count` times against an app's limit, all or none of them.
    ///
    /// # Errors
    /// How long until they would be taken.
    pub fn take(
        &self,
        rate: AppRate,
        app: &AppId,
        (count, limit): (u32, NonZeroU32),
        now: Instant,
    ) -> Result<(), Duration> {
        let mut rates = lock(&self.rates[rate as usize]);
        let bucket = match rates.get_mut(app) {
            Some(bucket) => bucket,
            None => rates
                .entry(app.clone())
                .or_insert_with(|| TokenBucket::new(limit.get(), now)),
        };
        bucket.take(count, limit.get(), now)
    }

    /// Forgets the rates of apps that have no limit any more, or are no more.
    pub fn keep_rates(&self, is_limited: impl Fn(AppRate, &AppId) -> bool) {
        for rate in AppRate::ALL {
            lock(&self.rates[rate as usize]).retain(|app, _| is_limited(rate, app));
        }
    }
}
