//! How fast each app publishes through this process's HTTP API, counted for all workers together.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::{Lock, Registry, lock};
use crate::app::AppId;
use crate::limits::TokenBucket;

/// Apps that have a limit and have published.
pub(super) type Rates = Lock<HashMap<AppId, TokenBucket>>;

impl Registry {
    /// Counts `events` against an app's limit, all or none of them.
    ///
    /// # Errors
    /// How long until they would be taken.
    pub fn take_events(
        &self,
        app: &AppId,
        events: u32,
        limit: NonZeroU32,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut rates = lock(&self.rates);
        let bucket = match rates.get_mut(app) {
            Some(bucket) => bucket,
            None => rates
                .entry(app.clone())
                .or_insert_with(|| TokenBucket::new(limit.get(), now)),
        };
        bucket.take(events, limit.get(), now)
    }

    /// Forgets the rates of apps that have no limit any more, or are no more.
    pub fn keep_rates(&self, is_limited: impl Fn(&AppId) -> bool) {
        lock(&self.rates).retain(|app, _| is_limited(app));
    }
}
