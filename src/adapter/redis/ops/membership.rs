//! Subscriptions, members and signed-in users of this node. The registry counts them first, and the link registers the
//! changes in the order in which they were counted.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::adapter::redis::Redis;
use crate::adapter::redis::link::request::{
    LocalChange, LocalState, MemberChange, Request, TopicSnapshot, Waiter,
};
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::{Error, Subscribed, Subscriber, Watched};
use crate::app::App;
use crate::channel_log::PastWanted;
use crate::protocol::{ChannelName, User, UserId};
use crate::registry::{self, EndedSubscription, NewSubscription, UserState};

impl Redis {
    fn post_change(&self, change: LocalChange) {
        let topic_id = change.subject.topic_id(&change.app);
        self.link(&topic_id).post(Request::LocalChange(change));
    }

    pub(in crate::adapter) async fn subscribe(
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
            // Redis enforces the limit for the cluster.
            max_members: usize::MAX,
            tell_count: false,
            // The log is in Redis.
            past: PastWanted::default(),
            resumable: None,
        };
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter {
            member: subscriber.member.map(|member| member.id.clone()),
            source: Some(subscriber.socket_id),
            past: subscriber.past,
            since: Instant::now(),
            signs_in: false,
            answer,
        };
        let counted = self.registry.subscribe(&new, Instant::now(), |outcome, _| {
            self.post_change(LocalChange {
                app: app.id.clone(),
                subject: Subject::Channel(channel.clone()),
                local: local_state(app, channel, outcome.subscriptions),
                change: subscriber.member.cloned().map(MemberChange::Joined),
                resumable: subscriber.resumable,
                waiter: Some(waiter),
            });
        });
        counted.map_err(|registry::PresenceFull| Error::PresenceFull)?;
        match answered.await {
            Ok(Ok(snapshot)) => Ok(snapshot.subscribed),
            refused => {
                self.unsubscribe(app, channel, subscriber);
                // A link ends only with the process.
                let stopping = || Error::Unreachable("the server is stopping".into());
                Err(refused.ok().and_then(Result::err).unwrap_or_else(stopping))
            }
        }
    }

    // No need to wait: the link registers later changes of the same channel after this one.
    pub(in crate::adapter) fn unsubscribe(
        &self,
        app: &App,
        channel: &ChannelName,
        subscriber: Subscriber<'_>,
    ) {
        let ended = EndedSubscription {
            app: &app.id,
            channel,
            worker: subscriber.worker,
            user: subscriber.member.map(|member| &member.id),
            tell_count: false,
            lingers: None,
            resumable: None,
        };
        self.registry
            .unsubscribe(&ended, Instant::now(), |outcome, _| {
                let gone = ended.user.filter(|_| outcome.member_removed);
                self.post_change(LocalChange {
                    app: app.id.clone(),
                    subject: Subject::Channel(channel.clone()),
                    local: local_state(app, channel, outcome.subscriptions),
                    change: gone.cloned().map(MemberChange::Left),
                    resumable: None,
                    waiter: None,
                });
            });
    }

    /// Posts a user's state on this node. The waiter is answered when Redis knows it.
    fn post_user_change(
        &self,
        app: &App,
        user: &UserId,
        state: &UserState<'_>,
        waiter: Option<Waiter>,
    ) {
        let watched = !state.watchers.is_empty();
        self.post_change(LocalChange {
            app: app.id.clone(),
            subject: Subject::User(user.clone()),
            local: LocalState {
                count: state.connections,
                interested: state.connections > 0 || watched,
                sends_count: false,
                max_members: app
                    .limits
                    .connections_per_user
                    .map_or(0, |most| most.get() as usize),
            },
            change: None,
            resumable: None,
            waiter,
        });
    }

    pub(in crate::adapter) async fn sign_in(
        &self,
        app: &App,
        user: &User,
        worker: u16,
    ) -> Option<Vec<Watched>> {
        let waiter = |signs_in| {
            let (answer, answered) = oneshot::channel();
            let waiter = Waiter {
                member: None,
                source: None,
                past: PastWanted::default(),
                since: Instant::now(),
                signs_in,
                answer,
            };
            (Some(waiter), answered)
        };
        let id = &user.member.id;
        let (own_waiter, confirmed) = waiter(true);
        // What this node has alone may be too many; the rest is for Redis to say.
        let place = (worker, app.limits.connections_per_user);
        let is_counted = self.registry.sign_in(&app.id, id, place, |state| {
            self.post_user_change(app, id, state, own_waiter);
        });
        if !is_counted {
            return None;
        }
        let mut watching = Vec::new();
        for watched in &user.watchlist {
            let (waiter, answered) = waiter(false);
            // The link's answer has the sequence number that counts: the one drawn when Redis knew of the watch.
            let _ = self.registry.watch(&app.id, watched, worker, |state| {
                self.post_user_change(app, watched, state, waiter);
            });
            watching.push(answered);
        }
        let mut known = Vec::new();
        for answered in watching {
            known.push(match answered.await {
                Ok(Ok(snapshot)) => Watched {
                    since: snapshot.subscribed.since,
                    online: snapshot.online,
                },
                Ok(Err(_)) | Err(_) => Watched {
                    since: self.registry.next_sequence(),
                    online: false,
                },
            });
        }
        // A client that receives its sign-in must be reachable for events to its user.
        if let Ok(Ok(TopicSnapshot { refused: true, .. })) = confirmed.await {
            self.sign_out(app, user, worker);
            return None;
        }
        Some(known)
    }

    pub(in crate::adapter) fn sign_out(&self, app: &App, user: &User, worker: u16) {
        for watched in &user.watchlist {
            self.registry.unwatch(&app.id, watched, worker, |state| {
                self.post_user_change(app, watched, state, None);
            });
        }
        let id = &user.member.id;
        self.registry.sign_out(&app.id, id, worker, |state| {
            self.post_user_change(app, id, state, None);
        });
    }
}

fn local_state(app: &App, channel: &ChannelName, subscriptions: usize) -> LocalState {
    LocalState {
        count: subscriptions,
        interested: subscriptions > 0,
        sends_count: app.policy(channel).subscription_count,
        max_members: app.limits.presence_members,
    }
}
