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

use super::fanout::Fanout;
use super::{
    Adapter, AdapterFuture, Answerer, Claims, Counts, DeliveryScope, Event, KeyRefused, NodeId,
    Peers, Position, PositionChange, Published, Subscribed, Subscriber, Watched,
};
use crate::app::{App, CurrentApps};
use crate::channel_log::{HistoryPage, HistoryQuery, LastEvent};
use crate::feed::Feed;
use crate::hub::inbox::Inboxes;
use crate::metrics::Metrics;
use crate::protocol::{ChannelName, Member, ResumeToken, User, UserId};
use crate::registry::Registry;
use crate::supervise::spawn_critical;
use crate::webhook::Webhooks;
use cluster_state::LinkState;
use link::local_delivery::LocalDelivery;
use link::request::{LocalOnlyEvent, PublishReply, Request};
use link::{Link, LinkDeps};
use ops::peers::MAX_QUESTIONS;
use ops::publish::{Extras, Unsent};
use ops::queries::try_all;
use wire::keys::{Bucket, Subject};
use wire::message::Content;

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

/// What the adapter needs of the server.
pub struct Deps {
    /// This node's counts and members.
    pub registry: Arc<Registry>,
    /// The inboxes of this node's workers.
    pub inboxes: Inboxes,
    /// Receives the webhook events that this node is the one to report.
    pub webhooks: Webhooks,
    /// The process's metrics.
    pub metrics: Metrics,
    /// How long a leaving waits for a return before webhooks report it.
    pub linger: Duration,
    /// The console's feed.
    pub feed: Feed,
    /// The configured apps, which nodes compare with each other.
    pub apps: Arc<CurrentApps>,
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
                delivery: deps.delivery(),
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

    /// Whether a topic's Redis has been away for longer than `publish_timeout`.
    fn is_away(&self, topic_id: &str) -> bool {
        let at = Bucket::index(topic_id, self.links.len());
        self.state.links.get(at).is_some_and(|link| {
            let link = link.borrow();
            !link.is_up && link.since.elapsed() >= self.settings.publish_timeout
        })
    }

    fn outage(&self, topic_id: &str) -> String {
        let at = Bucket::index(topic_id, self.links.len());
        let seconds = self.settings.publish_timeout.as_secs();
        let reason = self.state.links.get(at).map(|link| {
            let link = link.borrow();
            match link.is_up {
                true => "it is slow or overloaded".to_owned(),
                false => link.reason.to_string(),
            }
        });
        format!(
            "Redis did not take it within {seconds} s: {}",
            reason.unwrap_or_default()
        )
    }
}

impl Deps {
    fn delivery(&self) -> LocalDelivery {
        LocalDelivery::new(
            Arc::clone(&self.registry),
            Fanout::new(self.inboxes.clone()),
            self.webhooks.clone(),
            self.metrics.clone(),
        )
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

impl Adapter for Redis {
    fn subscribe<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        subscriber: Subscriber<'a>,
    ) -> AdapterFuture<'a, Subscribed> {
        Box::pin(self.join(app, channel, subscriber))
    }

    fn unsubscribe<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        subscriber: Subscriber<'a>,
    ) -> AdapterFuture<'a, ()> {
        // No need to wait: the link registers later changes of the same channel after this one.
        self.leave(app, channel, subscriber);
        Box::pin(std::future::ready(Ok(())))
    }

    fn publish<'a>(&'a self, app: &'a App, event: Event<'a>) -> AdapterFuture<'a, Published> {
        Box::pin(async move {
            let Event {
                channel,
                frame,
                except,
                keep,
                kept,
                // The delivery is measured from the moment when the event has come back from Redis.
                accepted: _,
                once,
            } = event;
            let subject = Subject::Channel(channel.clone());
            let topic_id = subject.topic_id(&app.id);
            let content = Content::Event {
                except,
                frame: frame.clone(),
            };
            let once = once.map(|once| self.once_record(&app.id, channel, &topic_id, once));
            let has_key = once.is_some();
            let keep = keep.as_ref();
            let sent = self
                .publish_to_link(&app.id, &subject, content, Extras { keep, kept, once })
                .await;
            let published = |subscriptions, taken| Published {
                scope: DeliveryScope::Everywhere,
                subscriptions,
                taken,
            };
            let Unsent { id, why } = match sent {
                Ok(PublishReply::Taken(subscriptions)) => {
                    return Ok(published(subscriptions, None));
                }
                Ok(PublishReply::Once(taken)) => {
                    return Ok(published(Some(taken.counts.subscriptions), Some(taken)));
                }
                Ok(PublishReply::OtherContent) => {
                    return Err(super::Error::Key(0, KeyRefused::Reused));
                }
                Err(unsent) => unsent,
            };
            // Nobody would know of a repeat that it is one.
            if has_key || self.settings.on_outage == OnOutage::Error {
                self.metrics.cluster_publish_refused.inc();
                return Err(super::Error::Unreachable(why.into()));
            }
            self.link(&topic_id)
                .post(Request::LocalOnlyEvent(LocalOnlyEvent {
                    app: app.id.clone(),
                    channel: channel.clone(),
                    frame,
                    except,
                    id,
                }));
            Ok(Published {
                scope: DeliveryScope::ThisNode,
                subscriptions: None,
                taken: None,
            })
        })
    }

    fn claim<'a>(&'a self, app: &'a App, claims: &'a Claims<'a>) -> AdapterFuture<'a, ()> {
        Box::pin(self.claim_keys(&app.id, claims))
    }

    fn release(&self, app: &App, claims: &Claims<'_>) {
        self.release_keys(&app.id, claims);
    }

    fn counts<'a>(&'a self, app: &'a App, channel: &'a ChannelName) -> AdapterFuture<'a, Counts> {
        Box::pin(self.channel_counts(&app.id, channel))
    }

    fn channels<'a>(
        &'a self,
        app: &'a App,
        prefix: &'a str,
    ) -> AdapterFuture<'a, Vec<(ChannelName, Counts)>> {
        Box::pin(async move {
            let buckets = self.links.iter();
            let lists = buckets.map(|link| self.list_bucket(link, &app.id, prefix));
            Ok(try_all(lists).await?.concat())
        })
    }

    fn members<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        with_info: bool,
    ) -> AdapterFuture<'a, Vec<Member>> {
        Box::pin(self.channel_members(&app.id, channel, with_info))
    }

    fn last_event<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
    ) -> AdapterFuture<'a, Option<LastEvent>> {
        Box::pin(self.kept_event(&app.id, channel))
    }

    fn history<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        query: HistoryQuery,
    ) -> AdapterFuture<'a, Option<HistoryPage>> {
        Box::pin(self.read_log(&app.id, channel, query))
    }

    fn sign_in<'a>(
        &'a self,
        app: &'a App,
        user: &'a User,
        worker: u16,
    ) -> AdapterFuture<'a, Option<Vec<Watched>>> {
        Box::pin(async move { Ok(self.sign_in_user(app, user, worker).await) })
    }

    fn sign_out<'a>(&'a self, app: &'a App, user: &'a User, worker: u16) -> AdapterFuture<'a, ()> {
        self.sign_out_user(app, user, worker);
        Box::pin(std::future::ready(Ok(())))
    }

    fn recall<'a>(
        &'a self,
        app: &'a App,
        channel: &'a ChannelName,
        token: ResumeToken,
    ) -> AdapterFuture<'a, Option<Position>> {
        Box::pin(self.kept_position(&app.id, channel, token))
    }

    fn remember(
        &self,
        app: &App,
        channel: &ChannelName,
        token: ResumeToken,
        change: PositionChange,
    ) {
        let topic_id = wire::keys::topic_id_of(&app.id, channel.as_str());
        let key = token.position_key(app.id.as_str(), channel);
        self.link(&topic_id).post(Request::Remember(key, change));
    }

    fn peers(&self) -> Option<&dyn Peers> {
        Some(self)
    }

    fn terminate<'a>(&'a self, app: &'a App, user: &'a UserId) -> AdapterFuture<'a, ()> {
        Box::pin(async move {
            let subject = Subject::User(user.clone());
            let sent = self
                .publish_to_link(&app.id, &subject, Content::Terminate, Extras::default())
                .await;
            sent.map(drop).map_err(|Unsent { why, .. }| {
                self.metrics.cluster_publish_refused.inc();
                super::Error::Unreachable(why.into())
            })
        })
    }
}
