//! The state of the links, for health checks, metrics and the start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::BUDGET_KIB;
use super::link::node_directory::LiveNode;

/// How long Redis may be unreachable before the node stops being ready.
const READY_GRACE: Duration = Duration::from_secs(5);

/// The state of one link.
#[derive(Debug, Clone)]
pub(super) struct LinkState {
    /// Whether the link is connected and Redis has answered its heartbeat.
    pub(super) is_up: bool,
    /// When `is_up` last changed.
    pub(super) since: Instant,
    /// Why the link is down.
    pub(super) reason: Arc<str>,
    /// Why the link stays down until an operator acts.
    pub(super) refused: Option<Arc<str>>,
    /// The round trip of the last heartbeat.
    pub(super) round_trip: Duration,
    /// Live nodes of the cluster, this one included.
    pub(super) nodes: usize,
    /// How they introduced themselves; empty for a link that does not ask.
    pub(super) live: Arc<[LiveNode]>,
}

impl LinkState {
    pub(super) fn new() -> Self {
        Self {
            is_up: false,
            since: Instant::now(),
            reason: "not connected yet".into(),
            refused: None,
            round_trip: Duration::ZERO,
            nodes: 0,
            live: Arc::default(),
        }
    }

    pub(super) fn goes_down(&mut self, reason: &str) {
        if self.is_up {
            self.is_up = false;
            self.since = Instant::now();
        }
        self.reason = reason.into();
    }

    pub(super) fn goes_up(&mut self, round_trip: Duration, nodes: usize) {
        if !self.is_up {
            self.is_up = true;
            self.since = Instant::now();
        }
        self.refused = None;
        (self.round_trip, self.nodes) = (round_trip, nodes);
    }
}

/// The cluster as this node sees it.
#[derive(Debug, Clone)]
pub struct ClusterState {
    pub(super) links: Arc<[watch::Receiver<LinkState>]>,
    pub(super) budget: Arc<Semaphore>,
}

impl ClusterState {
    /// Why this node is cut off from the cluster, once that has lasted for 5 s.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.links.iter().find_map(|link| {
            let link = link.borrow();
            let seconds = link.since.elapsed();
            (!link.is_up && seconds >= READY_GRACE).then(|| {
                format!(
                    "Redis has been away for {} s: {}",
                    seconds.as_secs(),
                    link.reason
                )
            })
        })
    }

    /// Whether all links are up at this moment.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.links.iter().all(|link| link.borrow().is_up)
    }

    /// The longest round trip of the links' last heartbeats.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        let trips = self.links.iter().map(|link| link.borrow().round_trip);
        trips.max().unwrap_or_default()
    }

    /// Bytes of events that Redis has not acknowledged, in steps of 1 KiB.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        let taken = (BUDGET_KIB as usize).saturating_sub(self.budget.available_permits());
        taken * 1024
    }

    /// Live nodes, this one included; 0 if no link knows.
    #[must_use]
    pub fn nodes(&self) -> usize {
        let nodes = self.links.iter().map(|link| link.borrow().nodes);
        nodes.max().unwrap_or_default()
    }

    /// The live nodes as they last introduced themselves, this one included, sorted by name.
    #[must_use]
    pub fn live(&self) -> Arc<[LiveNode]> {
        let live = self
            .links
            .iter()
            .map(|link| Arc::clone(&link.borrow().live));
        live.max_by_key(|live| live.len()).unwrap_or_default()
    }

    /// Waits until all links are up or `timeout` has passed.
    ///
    /// # Errors
    /// Why a link is refused for good.
    pub(super) async fn settled(&self, timeout: Duration) -> Result<(), Arc<str>> {
        let all = async {
            for link in self.links.iter() {
                let mut link = link.clone();
                // The senders live as long as the process.
                if let Ok(state) = link.wait_for(|s| s.is_up || s.refused.is_some()).await
                    && let Some(refused) = &state.refused
                {
                    return Err(Arc::clone(refused));
                }
            }
            Ok(())
        };
        // Redis may come later. The server serves without it and is not ready until then.
        tokio::time::timeout(timeout, all).await.unwrap_or(Ok(()))
    }
}
