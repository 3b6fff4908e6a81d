//! The adapter of several nodes that share a Redis.
//!
//! A node registers what it holds (subscriptions, members, signed-in users) under a lease that it keeps renewing. It
//! subscribes to one topic for each channel or user that its clients are interested in, and learns there what the other
//! nodes do. Scripts in Redis change the state and publish the consequences in one step, so exactly one node learns that
//! a channel became occupied or a member left. Redis numbers every event and keeps it in a log for a moment, which closes
//! the gap after a lost connection.
//!
//! | folder | what it holds |
//! | --- | --- |
//! | `wire` | what all nodes share: keys, messages, scripts |
//! | `connection` | one connection to one Redis server, and finding that server |
//! | `link` | the task behind a bucket: what this node has registered, and what it delivers here |
//! | `ops` | what the rest of the server asks for: membership, publishes, queries |
//!
//! This module knows neither sockets nor HTTP, and no module outside it knows Redis.

mod cluster_state;
mod connection;
pub(crate) mod fuzzing;
mod link;
mod ops;
mod settings;
mod wire;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use cluster_state::ClusterState;
pub use link::node_directory::LiveNode;
pub use settings::{Address, LogLimits, Login, OnOutage, Settings, Tls, Topology};

use super::{Answerer, Deps, NodeId};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::supervise::spawn_critical;
use cluster_state::LinkState;
use link::local_delivery::LocalDelivery;
use link::request::Request;
use link::{Link, LinkDeps};
use ops::peers::MAX_QUESTIONS;
use wire::keys::Bucket;

/// KiB of events that may wait for Redis, in all links together. Publishers wait beyond it.
const BUDGET_KIB: u32 = 64 * 1024;

/// How long the start waits for Redis. After it the node serves without Redis and is not ready.
const START_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the shutdown waits until Redis has forgotten this node.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The same, if Redis is already unreachable.
const SHUTDOWN_TIMEOUT_WHEN_DOWN: Duration = Duration::from_millis(500);

/// Why a node cannot be part of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Live nodes under the same prefix speak another wire version.
    #[error("{0}")]
    Refused(Arc<str>),
    /// The system refused a thread.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The adapter of one node of a cluster.
pub struct Redis {
    settings: Arc<Settings>,
    registry: Arc<Registry>,
    metrics: Metrics,
    links: Vec<Handle>,
    state: ClusterState,
    budget: Arc<Semaphore>,
    node: u64,
    events: AtomicU64,
    questions: Semaphore,
    answerer: Arc<OnceLock<Answerer>>,
}

/// A link's bucket and the queue of its requests.
struct Handle {
    bucket: Bucket,
    requests: mpsc::UnboundedSender<Request>,
}

impl Redis {
    /// Starts the links on a thread of their own, and waits 3 s for Redis at most.
    ///
    /// # Errors
    /// Live nodes speak another wire version, or the system refused a thread.
    pub async fn start(settings: Settings, deps: Deps) -> Result<Arc<Self>, Error> {
        let settings = Arc::new(settings);
        let node: u64 = rand::random();
        let (id, answerer) = (NodeId::of(node), Arc::default());
        let is_cluster = matches!(settings.topology, Topology::Cluster(_));
        let (mut links, mut states, mut link_deps) = (Vec::new(), Vec::new(), Vec::new());
        for bucket in Bucket::all(&settings.prefix, is_cluster) {
            #[expect(
                clippy::disallowed_methods,
                reason = "bounded by who posts, see the head of `request`"
            )]
            let (sender, requests) = mpsc::unbounded_channel();
            let (state, states_end) = watch::channel(LinkState::new());
            link_deps.push(LinkDeps {
                settings: Arc::clone(&settings),
                node: id.to_string(),
                id,
                answerer: Arc::clone(&answerer),
                linger: deps.linger,
                bucket: bucket.clone(),
                delivery: LocalDelivery::new(&deps),
                // One link of a node relays the feed and introduces the node.
                feed: link_deps.is_empty().then(|| deps.feed.clone()),
                apps: link_deps.is_empty().then(|| Arc::clone(&deps.apps)),
                requests,
                state,
            });
            links.push(Handle {
                bucket,
                requests: sender,
            });
            states.push(states_end);
        }
        deps.registry.share_limits(Instant::now() + settings.lease);
        run(link_deps)?;
        let budget = Arc::new(Semaphore::new(BUDGET_KIB as usize));
        let state = ClusterState {
            links: states.into(),
            budget: Arc::clone(&budget),
        };
        state.settled(START_TIMEOUT).await.map_err(Error::Refused)?;
        Ok(Arc::new(Self {
            settings,
            registry: deps.registry,
            metrics: deps.metrics,
            links,
            state,
            budget,
            node,
            events: AtomicU64::new(0),
            questions: Semaphore::new(MAX_QUESTIONS),
            answerer,
        }))
    }

    /// The state of the links, for health checks and metrics.
    #[must_use]
    pub fn state(&self) -> ClusterState {
        self.state.clone()
    }

    /// Leaves the cluster: releases everything that this node holds, posts the webhooks that still wait if it is the last
    /// node, and gives its lease back.
    pub async fn finish(&self) {
        let timeout = if self.state.is_up() {
            SHUTDOWN_TIMEOUT
        } else {
            SHUTDOWN_TIMEOUT_WHEN_DOWN
        };
        let finished: Vec<_> = self
            .links
            .iter()
            .map(|link| {
                let (answer, finished) = oneshot::channel();
                link.post(Request::Shutdown(answer));
                finished
            })
            .collect();
        let all = async {
            for link in finished {
                let _ = link.await;
            }
        };
        if tokio::time::timeout(timeout, all).await.is_err() {
            tracing::warn!(
                "Redis was not told in time that this node goes: its lease will end by itself"
            );
        }
    }

    fn link(&self, topic_id: &str) -> &Handle {
        &self.links[Bucket::index(topic_id, self.links.len())]
    }

    fn link_state(&self, topic_id: &str) -> watch::Ref<'_, LinkState> {
        self.state.links[Bucket::index(topic_id, self.links.len())].borrow()
    }

    /// Whether a topic's Redis has been away for longer than `publish_timeout`.
    fn is_away(&self, topic_id: &str) -> bool {
        let link = self.link_state(topic_id);
        !link.is_up && link.since.elapsed() >= self.settings.publish_timeout
    }

    /// If a topic's Redis has been away for longer than it is waited for, nobody waits again.
    fn check_here(&self, topic_id: &str) -> Result<(), super::Error> {
        match self.is_away(topic_id) {
            true => Err(super::Error::Unreachable(self.outage(topic_id).into())),
            false => Ok(()),
        }
    }

    fn outage(&self, topic_id: &str) -> String {
        let seconds = self.settings.publish_timeout.as_secs();
        let link = self.link_state(topic_id);
        let reason = match link.is_up {
            true => "it is slow or overloaded",
            false => &*link.reason,
        };
        format!("Redis did not take it within {seconds} s: {reason}")
    }
}

/// Runs the links as long as the process, on a thread of their own: webhooks, which could hold them up, use another.
fn run(links: Vec<LinkDeps>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        tokio::task::LocalSet::new().block_on(&runtime, async {
            for deps in links {
                spawn_critical("link", Link::new(deps).run());
            }
            std::future::pending::<()>().await;
        });
    };
    std::thread::Builder::new()
        .name("redis".to_owned())
        .spawn(run)?;
    Ok(())
}

impl Handle {
    /// A link ends only with the process, so a request that it no longer takes is dropped.
    fn post(&self, request: Request) {
        let _ = self.requests.send(request);
    }
}

impl From<connection::ConnectionError> for super::Error {
    fn from(connection::ConnectionError(why): connection::ConnectionError) -> Self {
        Self::Unreachable(why.into())
    }
}
