//! Delivers events to this node's clients, sends them changes as differences to what they received before, and posts
//! webhooks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::catch_up::Missed;
use super::request::{LocalOnlyEvent, MemberChange, TopicSnapshot, Waiter};
use super::topic::{Members, Topic};
use crate::adapter::fanout::{Fanout, Outgoing};
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::redis::wire::message::{Content, EventId, Logged};
use crate::adapter::{Deps, Error, Subscribed, count_frame};
use crate::app::AppId;
use crate::channel_log::{LastEvent, LogBounds, LogEvent, LogId, Past, PastWanted};
use crate::metrics::Metrics;
use crate::protocol::{ChannelName, Member, ServerFrame, SocketId, UserId, WebhookEvent};
use crate::registry::Registry;
use crate::webhook::Webhooks;

/// Ids of [`LocalOnlyEvent`]s that are remembered, so that none is delivered twice.
const MAX_LOCAL_ONLY: usize = 1024;

/// What a registration returned of a channel's past; nothing by default.
#[derive(Default)]
pub(super) struct KnownPast {
    pub(super) last_event: Option<(LogId, LastEvent)>,
    /// The oldest first.
    pub(super) events: Vec<LogEvent>,
    pub(super) bounds: LogBounds,
}

/// The way from a link to this node's clients and webhooks.
pub(crate) struct LocalDelivery {
    pub(super) registry: Arc<Registry>,
    pub(super) fanout: Fanout,
    pub(super) webhooks: Webhooks,
    pub(super) metrics: Metrics,
    delivered_local_only: VecDeque<EventId>,
}

impl LocalDelivery {
    pub(crate) fn new(deps: &Deps) -> Self {
        Self {
            registry: Arc::clone(&deps.registry),
            fanout: Fanout::new(deps.inboxes.clone()),
            webhooks: deps.webhooks.clone(),
            metrics: deps.metrics.clone(),
            delivered_local_only: VecDeque::new(),
        }
    }

    /// Waits until the workers' inboxes have room.
    pub(super) async fn wait_for_capacity(&self) {
        self.fanout.wait_for_capacity().await;
    }

    /// Delivers an event that Redis has numbered.
    pub(super) fn deliver(&self, topic: &Topic, logged: &Logged) {
        if self.delivered_local_only.contains(&logged.id) {
            return;
        }
        match (&topic.subject, &logged.content) {
            (Subject::Channel(channel), Content::Event { except, frame }) => {
                let outgoing = Outgoing {
                    frame,
                    except: *except,
                    accepted: Some(Instant::now()),
                    log_id: Some(LogId(logged.at.seq)),
                };
                self.send(&topic.app, channel, outgoing);
            }
            (Subject::User(user), Content::Terminate) => {
                self.registry.with_user_state(&topic.app, user, |state| {
                    self.fanout.terminate(&topic.app, user, &state.signed_in);
                });
            }
            // No node sends these combinations.
            (Subject::Channel(_), Content::Terminate)
            | (Subject::User(_), Content::Event { .. }) => {}
        }
    }

    /// Delivers missed events, and counts a gap that the log did not cover.
    pub(super) fn deliver_missed(&self, topic: &Topic, missed: &Missed<'_>) {
        for logged in &missed.events {
            self.deliver(topic, logged);
        }
        let recovered = missed.events.len() as u64;
        self.metrics.cluster_events_recovered.inc_by(recovered);
        self.metrics
            .cluster_gaps
            .inc_by(u64::from(!missed.is_complete));
    }

    /// Delivers an event that Redis did not take.
    pub(super) fn deliver_local_only(&mut self, event: &LocalOnlyEvent) {
        let outgoing = Outgoing {
            frame: &event.frame,
            except: event.except,
            accepted: Some(Instant::now()),
            log_id: None,
        };
        self.send(&event.app, &event.channel, outgoing);
        self.delivered_local_only.push_back(event.id);
        if self.delivered_local_only.len() > MAX_LOCAL_ONLY {
            self.delivered_local_only.pop_front();
        }
    }

    fn send(&self, app: &AppId, channel: &ChannelName, outgoing: Outgoing<'_>) {
        self.registry.with_audience(app, channel, |audience| {
            self.fanout.send(app, channel, outgoing, audience);
        });
    }

    pub(super) fn member_added(&self, topic: &mut Topic, member: &Member) {
        if topic.add_member(member)
            && let Some(channel) = topic.subject.channel()
        {
            let frame = ServerFrame::MemberAdded { channel, member }.encode();
            self.send(&topic.app, channel, Outgoing::all(&frame));
        }
    }

    pub(super) fn member_removed(&self, topic: &mut Topic, user_id: &UserId) {
        if topic.remove_member(user_id)
            && let Some(channel) = topic.subject.channel()
        {
            let frame = ServerFrame::MemberRemoved { channel, user_id }.encode();
            self.send(&topic.app, channel, Outgoing::all(&frame));
        }
    }

    /// Sends clients the difference between the members that they know and `now`. Members are removed only if `now` has
    /// `all` of them.
    pub(super) fn sync_members(&self, topic: &mut Topic, now: Members, all: bool) {
        if all {
            let gone: Vec<UserId> = topic
                .members
                .keys()
                .filter(|user| !now.contains_key(*user))
                .cloned()
                .collect();
            for user in &gone {
                self.member_removed(topic, user);
            }
        }
        for (id, info) in now {
            self.member_added(topic, &Member { id, info });
        }
    }

    /// Ends the subscriptions of those members of this node whom Redis has not among `now`: while the node was away, others
    /// took their places. Must be called with all members, as a registration of all of this node's returned them.
    pub(super) fn refuse_displaced(&self, topic: &Topic, now: &Members) {
        let displaced: Arc<[UserId]> = topic.displaced(now).cloned().collect();
        let Some(channel) = topic.subject.channel() else {
            return;
        };
        if displaced.is_empty() {
            return;
        }
        warn!(
            app.id = %topic.app,
            channel = channel.as_str(),
            members = displaced.len(),
            "a presence channel became full while Redis did not know this node: its members without a place are refused"
        );
        self.registry
            .with_audience(&topic.app, channel, |audience| {
                self.fanout
                    .refuse_members(&topic.app, channel, &displaced, audience);
            });
    }

    pub(super) fn send_count(&self, topic: &mut Topic, count: usize) {
        topic.count_sent = count;
        if let Some(channel) = topic.subject.channel()
            && let Some(frame) = count_frame(channel, count)
        {
            self.send(&topic.app, channel, Outgoing::all(&frame));
        }
    }

    pub(super) fn set_online(&self, topic: &mut Topic, online: bool) {
        if std::mem::replace(&mut topic.online, online) == online {
            return;
        }
        if let Subject::User(user) = &topic.subject {
            self.registry.with_user_state(&topic.app, user, |state| {
                let watchers = &state.watchers;
                self.fanout
                    .notify_watchers(&topic.app, user, online, watchers);
            });
        }
    }

    pub(super) fn post_webhook(
        &self,
        topic: &Topic,
        event: &WebhookEvent<'_>,
        source: Option<SocketId>,
    ) {
        if let Some(channel) = topic.subject.channel() {
            self.webhooks.post(&topic.app, channel, event, source);
        }
    }

    /// Sends clients a change of this node while Redis is unreachable.
    pub(super) fn apply_degraded(&self, topic: &mut Topic, change: Option<&MemberChange>) {
        match change {
            Some(MemberChange::Joined(member)) => self.member_added(topic, member),
            Some(MemberChange::Left(user)) => self.member_removed(topic, user),
            None => {}
        }
        if matches!(topic.subject, Subject::User(_)) && topic.local.count > 0 {
            self.set_online(topic, true);
        }
    }

    /// Answers the latest sign-ins, which Redis has not counted.
    pub(super) fn refuse_sign_ins(&self, topic: &Topic, waiters: &mut Vec<Waiter>, count: usize) {
        for _ in 0..count {
            let Some(at) = waiters.iter().rposition(|waiter| waiter.signs_in) else {
                return;
            };
            let refusal = TopicSnapshot {
                online: topic.online,
                refused: true,
                ..TopicSnapshot::default()
            };
            // A caller that has gone undoes its change itself.
            let _ = waiters.remove(at).answer.send(Ok(refusal));
        }
    }

    /// Answers waiters with the topic as Redis has just registered it.
    pub(super) fn answer_waiters(&self, topic: &Topic, waiters: Vec<Waiter>, known: &KnownPast) {
        if waiters.is_empty() {
            return;
        }
        let since = self.registry.next_sequence();
        let now = Instant::now();
        for waiter in waiters {
            // A user that Redis refused because the channel is full is not among the members.
            let is_there = |user: &UserId| topic.members.contains_key(user);
            let answer = match &waiter.member {
                Some(user) if !is_there(user) => Err(Error::PresenceFull),
                _ => Ok(TopicSnapshot {
                    subscribed: Subscribed {
                        since,
                        at: known.bounds.end,
                        members: topic.snapshot(),
                        past: known.past(&waiter.past, now),
                    },
                    online: topic.online,
                    refused: false,
                }),
            };
            // A caller that has gone undoes its change itself.
            let _ = waiter.answer.send(answer);
        }
    }

    /// Answers waiters that have timed out with what this node knows.
    pub(super) fn answer_waiters_degraded(&self, topic: &mut Topic, waiters: Vec<Waiter>) {
        if waiters.is_empty() {
            return;
        }
        self.metrics.cluster_degraded.inc_by(waiters.len() as u64);
        for user in waiters.iter().filter_map(|waiter| waiter.member.as_ref()) {
            if let Some(member) = topic.local_member(user) {
                self.member_added(topic, &member);
            }
        }
        if topic.position.is_none() {
            let since = waiters.iter().map(|waiter| waiter.since).min();
            topic.degraded_since = topic.degraded_since.or(since);
        }
        self.answer_waiters(topic, waiters, &KnownPast::default());
    }
}

impl KnownPast {
    fn past(&self, wanted: &PastWanted, now: Instant) -> Past {
        let newest_first = self.events.iter().rev();
        Past::select(
            wanted,
            newest_first,
            self.bounds,
            self.last_event.clone(),
            now,
        )
    }
}
