//! Questions of a backend or an operator: who and how many.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Node;
use crate::adapter::{self, Counts, LastEvent};
use crate::app::{App, AppId};
use crate::hub::inbox::{Depth, Report};
use crate::protocol::{ChannelName, UserId};
use crate::registry::Totals;

/// What is known of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelInfo {
    /// How many are there.
    pub counts: Counts,
    /// A cache channel's last event and how long it lives on.
    pub last_event: Option<(LastEvent, Duration)>,
}

impl Node {
    /// One channel's counts.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn counts(&self, app: &App, channel: &ChannelName) -> Result<Counts, adapter::Error> {
        self.adapter.counts(app, channel).await
    }

    /// One channel's counts and last event.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn channel_info(
        &self,
        app: &App,
        channel: &ChannelName,
    ) -> Result<ChannelInfo, adapter::Error> {
        let counts = self.adapter.counts(app, channel).await?;
        let last_event = match channel.is_cache() {
            true => self.adapter.last_event(app, channel).await?,
            false => None,
        };
        let now = Instant::now();
        let last_event = last_event.map(|event| {
            let left = event.expires.saturating_duration_since(now);
            (event, left)
        });
        Ok(ChannelInfo { counts, last_event })
    }

    /// The occupied channels of an app whose names start with `prefix`, sorted by name.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn channels(
        &self,
        app: &App,
        prefix: &str,
    ) -> Result<Vec<(ChannelName, Counts)>, adapter::Error> {
        let mut channels = self.adapter.channels(app, prefix).await?;
        channels.sort_unstable_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        Ok(channels)
    }

    /// The users on a presence channel.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn members(
        &self,
        app: &App,
        channel: &ChannelName,
    ) -> Result<Vec<UserId>, adapter::Error> {
        self.adapter.members(app, channel).await
    }

    /// What this process holds, by the registry's count.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.registry.totals()
    }

    /// What each worker of this process holds, by its own count.
    pub async fn worker_reports(&self) -> Vec<Report> {
        self.inboxes.reports().await
    }

    /// The same without waiting for a worker that is stuck: none for those that do not answer in time.
    pub async fn worker_reports_within(&self, patience: Duration) -> Vec<Option<Report>> {
        self.inboxes.reports_within(patience).await
    }

    /// What waits for each worker.
    #[must_use]
    pub fn inbox_depths(&self) -> Vec<Depth> {
        self.inboxes.depths()
    }

    /// How many connections each app has that has any.
    #[must_use]
    pub fn connections(&self) -> HashMap<AppId, usize> {
        self.registry.connections()
    }

    /// Bytes of orders that wait for workers.
    #[must_use]
    pub fn inbox_bytes(&self) -> usize {
        self.inboxes.bytes()
    }
}
