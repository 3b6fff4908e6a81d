//! The adapter of a single node: the registry answers everything, and no method awaits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fanout::{Fanout, Outgoing};
use super::{
    Claims, Counts, DeliveryScope, Deps, Error, Event, PositionChange, Published, Subscribed,
    Subscriber, Watched, count_frame,
};
use crate::app::{App, AppId};
use crate::channel_log::LogId;
use crate::metrics::Metrics;
use crate::protocol::{
    ChannelName, PositionKey, ServerFrame, SocketId, User, UserId, WebhookEvent,
};
use crate::registry::{
    self, Audience, EndedSubscription, NewSubscription, Registry, ToKeep, UserState, Vacated,
};
use crate::webhook::Webhooks;

/// How often subscription counts that were held back are sent.
const COUNT_TICK: Duration = Duration::from_secs(1);

/// How many [`COUNT_TICK`]s pass between two looks for kept events that have expired.
const EXPIRY_TICKS: u64 = 10;

/// How often leavings are checked against the vacate delay. It delays `channel_vacated` and `member_removed` by at most
/// this much.
const VACATED_TICK: Duration = Duration::from_millis(250);

/// The adapter of a node without a cluster.
pub struct Local {
    pub(super) registry: Arc<Registry>,
    fanout: Fanout,
    webhooks: Webhooks,
    metrics: Metrics,
}

impl Local {
    /// Makes an adapter over this process's registry and workers.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        Self {
            registry: deps.registry,
            fanout: Fanout::new(deps.inboxes),
            webhooks: deps.webhooks,
            metrics: deps.metrics,
        }
    }

    /// Sends the counts of busy channels that were held back, and drops kept events and keys that have expired. Runs as
    /// long as the server.
    pub async fn send_due_counts(self: Arc<Self>) {
        let mut interval = tokio::time::interval(COUNT_TICK);
        for ticks in 1_u64.. {
            interval.tick().await;
            let now = Instant::now();
            self.registry
                .due_counts(now, |app, channel, count, audience| {
                    self.send_count(app, channel, (count, None), audience);
                });
            if ticks.is_multiple_of(EXPIRY_TICKS) {
                self.registry.expire_kept(now);
                self.registry.expire_keys(now);
            }
            self.registry.expire_positions(now);
        }
    }

    /// Posts a webhook for each channel and member that has stayed away for `delay`. Runs as long as the server.
    pub async fn post_vacated(self: Arc<Self>, delay: Duration) {
        let mut interval = tokio::time::interval(VACATED_TICK);
        loop {
            interval.tick().await;
            self.post_left(delay);
        }
    }

    /// Posts a webhook for each channel and member that left at least `delay` ago. A delay of zero includes all of them,
    /// for the shutdown.
    pub fn post_left(&self, delay: Duration) {
        let now = Instant::now();
        self.registry
            .due_vacated(delay, now, |app, channel, vacated, last| {
                let event = match vacated {
                    Vacated::Channel => WebhookEvent::ChannelVacated,
                    Vacated::Member(user) => WebhookEvent::MemberRemoved(user),
                };
                self.webhooks.post(app, channel, &event, last);
            });
    }

    /// Sends a count to the subscribers and to webhooks.
    fn send_count(
        &self,
        app: &AppId,
        channel: &ChannelName,
        (count, source): (usize, Option<SocketId>),
        audience: &Audience<'_>,
    ) {
        if let Some(frame) = count_frame(channel, count) {
            self.fanout
                .send(app, channel, Outgoing::all(&frame), audience);
        }
        let event = WebhookEvent::SubscriptionCount(count);
        self.webhooks.post(app, channel, &event, source);
    }

    /// Delivers an event. Returns the channel's subscriptions.
    fn deliver(&self, app: &App, event: &Event<'_>) -> usize {
        let mut subscriptions = 0;
        let channel = event.channel;
        let to_keep = ToKeep {
            app: &app.id,
            channel,
            accepted: event.accepted,
            last_event: event.keep.as_ref(),
            kept: event.kept,
            frame: &event.frame,
            except: event.except,
        };
        let outgoing = Outgoing {
            except: event.except,
            accepted: Some(event.accepted),
            ..Outgoing::all(&event.frame)
        };
        let tell = |audience: &Audience<'_>| {
            subscriptions = audience.subscriptions();
            self.fanout.send(&app.id, channel, outgoing, audience);
        };
        let evicted = self.registry.publish(&to_keep, tell);
        let metrics = &self.metrics;
        metrics.cache_evictions.inc_by(evicted.last_events as u64);
        metrics.history_evictions.inc_by(evicted.log_events as u64);
        subscriptions
    }

    /// Posts the webhooks that a subscription causes. The channel's lock is held, so they are in the order of the changes.
    fn post_webhooks(
        &self,
        new: &NewSubscription<'_>,
        outcome: &registry::SubscribeOutcome,
        source: SocketId,
    ) {
        let member = new.member.filter(|_| outcome.member_appeared);
        let events = [
            outcome.occupied.then_some(WebhookEvent::ChannelOccupied),
            member.map(|member| WebhookEvent::MemberAdded(&member.id)),
            outcome.cache_miss.then_some(WebhookEvent::CacheMiss),
        ];
        for event in events.into_iter().flatten() {
            self.webhooks
                .post(new.app, new.channel, &event, Some(source));
        }
    }

    pub(super) fn subscribe(
        &self,
        app: &App,
        channel: &ChannelName,
        subscriber: Subscriber<'_>,
    ) -> Result<Subscribed, Error> {
        let new = NewSubscription {
            app: &app.id,
            channel,
            worker: subscriber.worker,
            member: subscriber.member,
            max_members: app.limits.presence_members,
            tell_count: app.policy(channel).subscription_count,
            past: subscriber.past,
            resumable: subscriber.resumable,
        };
        let outcome = self
            .registry
            .subscribe(&new, Instant::now(), |outcome, audience| {
                self.post_webhooks(&new, outcome, subscriber.socket_id);
                if let Some(member) = subscriber.member.filter(|_| outcome.member_added) {
                    let frame = ServerFrame::MemberAdded { channel, member }.encode();
                    let outgoing = Outgoing {
                        except: Some(subscriber.socket_id),
                        ..Outgoing::all(&frame)
                    };
                    self.fanout.send(&app.id, channel, outgoing, audience);
                }
                if outcome.tell_count {
                    let count = (outcome.subscriptions, Some(subscriber.socket_id));
                    self.send_count(&app.id, channel, count, audience);
                }
            });
        let outcome = outcome.map_err(|_| Error::PresenceFull)?;
        Ok(Subscribed {
            since: outcome.since,
            at: LogId(outcome.since),
            members: outcome.members,
            past: outcome.past,
        })
    }

    pub(super) fn unsubscribe(&self, app: &App, channel: &ChannelName, subscriber: Subscriber<'_>) {
        let user = subscriber.member.map(|member| &member.id);
        let ended = EndedSubscription {
            app: &app.id,
            channel,
            worker: subscriber.worker,
            user,
            tell_count: app.policy(channel).subscription_count,
            lingers: Some(subscriber.socket_id),
            resumable: subscriber.resumable,
        };
        self.registry
            .unsubscribe(&ended, Instant::now(), |outcome, audience| {
                if let Some(user_id) = user.filter(|_| outcome.member_removed) {
                    let frame = ServerFrame::MemberRemoved { channel, user_id }.encode();
                    self.fanout
                        .send(&app.id, channel, Outgoing::all(&frame), audience);
                }
                if outcome.tell_count {
                    let count = (outcome.subscriptions, Some(subscriber.socket_id));
                    self.send_count(&app.id, channel, count, audience);
                }
            });
    }

    pub(super) fn publish(&self, app: &App, event: &Event<'_>) -> Result<Published, Error> {
        let taken = event.once.map(|once| {
            let channel = event.channel;
            let take = || Counts {
                subscriptions: self.deliver(app, event),
                users: self.registry.counts(&app.id, channel).users,
            };
            self.registry
                .take_once(&app.id, (once, channel), Instant::now(), take)
        });
        let taken = taken.transpose().map_err(|why| Error::Key(0, why))?;
        let subscriptions = match taken {
            Some(taken) => taken.counts.subscriptions,
            None => self.deliver(app, event),
        };
        Ok(Published {
            scope: DeliveryScope::Everywhere,
            subscriptions: Some(subscriptions),
            taken,
        })
    }

    pub(super) fn claim(&self, app: &App, claims: &Claims<'_>) -> Result<(), Error> {
        let claimed = self
            .registry
            .claim_keys(&app.id, &claims.keys, Instant::now());
        claimed.map_err(|(index, why)| Error::Key(index, why))
    }

    pub(super) fn sign_in(&self, app: &App, user: &User, worker: u16) -> Option<Vec<Watched>> {
        let id = &user.member.id;
        let place = (worker, app.limits.connections_per_user);
        let is_counted = self.registry.sign_in(&app.id, id, place, |user| {
            if user.connections == 1 {
                self.fanout
                    .notify_watchers(&app.id, id, true, &user.watchers);
            }
        });
        let watch = |watched: &UserId| {
            let mut online = false;
            let tell = |state: &UserState<'_>| online = state.connections > 0;
            let since = self.registry.watch(&app.id, watched, worker, tell);
            Watched { since, online }
        };
        is_counted.then(|| user.watchlist.iter().map(watch).collect())
    }

    pub(super) fn sign_out(&self, app: &App, user: &User, worker: u16) {
        for watched in &user.watchlist {
            self.registry.unwatch(&app.id, watched, worker, |_| {});
        }
        let id = &user.member.id;
        self.registry.sign_out(&app.id, id, worker, |user| {
            if user.connections == 0 {
                self.fanout
                    .notify_watchers(&app.id, id, false, &user.watchers);
            }
        });
    }

    pub(super) fn remember(&self, key: PositionKey, change: PositionChange) {
        let dropped = self.registry.remember(key, change, Instant::now());
        self.metrics.positions_dropped.inc_by(dropped as u64);
    }

    pub(super) fn terminate(&self, app: &App, user: &UserId) {
        self.registry.with_user_state(&app.id, user, |state| {
            self.fanout.terminate(&app.id, user, &state.signed_in);
        });
    }
}
