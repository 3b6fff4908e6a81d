//! Signed-in users and their watchers: the registry's second family of shards, with one entry per user.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::channel::Workers;
use super::{Audience, Registry, lock};
use crate::app::AppId;
use crate::protocol::UserId;
use crate::slack::Slack as _;

pub(super) type Users = HashMap<AppId, HashMap<UserId, UserRecord>>;

/// One user: the workers with connections that are signed in as the user, and those with watchers.
#[derive(Debug, Default)]
pub(super) struct UserRecord {
    connections: Workers,
    watchers: Workers,
}

/// A user's state on this node after a change. The caller's closure gets it while the user is locked.
pub struct UserState<'a> {
    /// Connections that are signed in as the user.
    pub connections: usize,
    /// The workers of those connections.
    pub signed_in: Audience<'a>,
    /// The workers whose connections watch the user.
    pub watchers: Audience<'a>,
}

impl Registry {
    /// Counts a signed-in connection of a worker, unless the user has `most` of them. Returns whether it is counted.
    #[must_use]
    pub fn sign_in(
        &self,
        app: &AppId,
        user: &UserId,
        (worker, most): (u16, Option<NonZeroU32>),
        tell: impl FnOnce(&UserState<'_>),
    ) -> bool {
        self.with_user(app, user, |record| {
            let connections = record.connections.total();
            let has_room = most.is_none_or(|most| connections < most.get() as usize);
            if has_room {
                record.connections.add(worker);
                tell(&record.state(self));
            }
            has_room
        })
    }

    /// Uncounts a signed-in connection.
    pub fn sign_out(
        &self,
        app: &AppId,
        user: &UserId,
        worker: u16,
        tell: impl FnOnce(&UserState<'_>),
    ) {
        self.with_user(app, user, |record| {
            record.connections.remove(worker);
            tell(&record.state(self));
        });
    }

    /// Counts a watcher. Returns the sequence number after which it receives changes.
    pub fn watch(
        &self,
        app: &AppId,
        user: &UserId,
        worker: u16,
        tell: impl FnOnce(&UserState<'_>),
    ) -> u64 {
        self.with_user(app, user, |record| {
            record.watchers.add(worker);
            let since = self.next_sequence();
            tell(&record.state(self));
            since
        })
    }

    /// Undoes [`Registry::watch`].
    pub fn unwatch(
        &self,
        app: &AppId,
        user: &UserId,
        worker: u16,
        tell: impl FnOnce(&UserState<'_>),
    ) {
        self.with_user(app, user, |record| {
            record.watchers.remove(worker);
            tell(&record.state(self));
        });
    }

    /// Calls `tell` with a user's state.
    pub fn with_user_state(&self, app: &AppId, user: &UserId, tell: impl FnOnce(&UserState<'_>)) {
        self.with_user(app, user, |record| tell(&record.state(self)));
    }

    /// Finds or makes a user's entry, and removes it if it is empty afterwards.
    fn with_user<T>(
        &self,
        app: &AppId,
        user: &UserId,
        act: impl FnOnce(&mut UserRecord) -> T,
    ) -> T {
        let mut users = lock(&self.users[self.index((app, user))]);
        let of_app = users.entry(app.clone()).or_default();
        let record = of_app.entry(user.clone()).or_default();
        let result = act(record);
        if record.connections.0.is_empty() && record.watchers.0.is_empty() {
            of_app.remove(user);
            of_app.give_back();
            if of_app.is_empty() {
                users.remove(app);
            }
        }
        result
    }
}

impl UserRecord {
    fn state<'a>(&'a self, registry: &'a Registry) -> UserState<'a> {
        let audience = |workers| Audience {
            logged: None,
            workers,
            sequence: &registry.sequence,
        };
        UserState {
            connections: self.connections.total(),
            signed_in: audience(&self.connections),
            watchers: audience(&self.watchers),
        }
    }
}
