//! Questions of a backend or an operator: who and how many.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Node;
use crate::adapter::{self, Counts};
use crate::app::{App, AppId};
use crate::channel_log::{HistoryPage, HistoryQuery, LastEvent, LogId, Order};
use crate::hub::inbox::{InboxDepth, WorkerCommand, WorkerReport};
use crate::hub::listing::{ConnectionList, ConnectionQuery};
use crate::metrics::Observed;
use crate::protocol::{ChannelName, Member, SocketId};
use crate::registry::{SharedLimit, Totals};

/// How long a worker may take to go through its connections.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

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
        let last_event = match app.policy(channel).cache {
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

    /// A page of a channel's log; none if neither a rule nor a connection that may be resumed keeps anything of it.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn history(
        &self,
        app: &App,
        channel: &ChannelName,
        (order, after, limit): (Order, Option<LogId>, usize),
    ) -> Result<Option<HistoryPage>, adapter::Error> {
        let query = HistoryQuery {
            kept: app.policy(channel).kept(),
            limit,
            order,
            after,
        };
        self.adapter.history(app, channel, query).await
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

    /// The users on a presence channel, by their ids; with their `user_info` only if it is asked for.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn members(
        &self,
        app: &App,
        channel: &ChannelName,
        with_info: bool,
    ) -> Result<Vec<Member>, adapter::Error> {
        let mut members = self.adapter.members(app, channel, with_info).await?;
        members.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(members)
    }

    /// What this process holds, by the registry's count.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.registry.totals()
    }

    /// What each worker of this process holds, by its own count.
    pub async fn worker_reports(&self) -> Vec<WorkerReport> {
        self.inboxes.reports().await
    }

    /// The same without waiting for a worker that is stuck: none for those that do not answer in time.
    pub async fn worker_reports_within(&self, timeout: Duration) -> Vec<Option<WorkerReport>> {
        self.inboxes
            .ask_within(timeout, WorkerCommand::Report)
            .await
    }

    /// How long publications took from their acceptance to the sockets, of each worker that says so in time.
    pub async fn publish_to_socket(&self, timeout: Duration) -> Vec<Option<Observed>> {
        self.inboxes
            .ask_within(timeout, WorkerCommand::ReportLatency)
            .await
    }

    /// This node's connections of an app, the youngest first, without those of workers that are stuck.
    pub async fn list_connections(&self, query: &ConnectionQuery) -> ConnectionList {
        let ask = |answer| WorkerCommand::ListConnections(Box::new(query.clone()), answer);
        let found = self.inboxes.ask_within(LIST_TIMEOUT, ask).await;
        ConnectionList::merged(found.into_iter().flatten(), query.limit)
    }

    /// Closes one of this node's connections in such a way that its client comes back; whether it is here.
    pub async fn close_connection(&self, app: &AppId, socket_id: SocketId) -> bool {
        let ask = |answer| WorkerCommand::CloseConnection {
            app: app.clone(),
            socket_id,
            answer,
        };
        let found = self.inboxes.ask_within(LIST_TIMEOUT, ask).await;
        found.contains(&Some(true))
    }

    /// What waits for each worker.
    #[must_use]
    pub fn inbox_depths(&self) -> Vec<InboxDepth> {
        self.inboxes.depths()
    }

    /// How many connections each app has that has any.
    #[must_use]
    pub fn connections(&self) -> HashMap<AppId, usize> {
        self.registry.connections()
    }

    /// This node's part of each limit that all nodes have together.
    #[must_use]
    pub fn shares(&self) -> Vec<(AppId, SharedLimit, u32)> {
        self.registry.shares()
    }

    /// Bytes of commands that wait for workers.
    #[must_use]
    pub fn inbox_bytes(&self) -> usize {
        self.inboxes.bytes()
    }
}
