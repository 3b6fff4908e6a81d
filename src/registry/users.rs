//! Who is signed in, and who watches them: the registry's second family of shards, one entry per user.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::channel::Workers;
use super::{Audience, Registry, lock};
use crate::app::AppId;
use crate::protocol::UserId;

pub(super) type Users = HashMap<AppId, HashMap<UserId, Presence>>;

/// One user: who is signed in as them, and who watches them.
#[derive(Debug, Default)]
pub(super) struct Presence {
    connections: Workers,
    watchers: Workers,
}

impl Registry {
    /// Counts a signed-in connection; `tell` gets the watchers if it is the user's first.
    pub fn sign_in(
        &self,
        app: &AppId,
        user: &UserId,
        worker: u16,
        tell: impl FnOnce(&Audience<'_>),
    ) {
        self.with_user(app, user, |presence| {
            presence.connections.add(worker);
            if presence.connections.total() == 1 {
                tell(&Audience {
                    workers: &presence.watchers,
                    sequence: &self.sequence,
                });
            }
        });
    }

    /// Uncounts a signed-in connection; `tell` gets the watchers if it was the user's last.
    pub fn sign_out(
        &self,
        app: &AppId,
        user: &UserId,
        worker: u16,
        tell: impl FnOnce(&Audience<'_>),
    ) {
        self.with_user(app, user, |presence| {
            presence.connections.remove(worker);
            if presence.connections.total() == 0 {
                tell(&Audience {
                    workers: &presence.watchers,
                    sequence: &self.sequence,
                });
            }
        });
    }

    /// Counts a watcher. Says since which number it hears of changes and whether the user is there now.
    #[must_use]
    pub fn watch(&self, app: &AppId, user: &UserId, worker: u16) -> (u64, bool) {
        self.with_user(app, user, |presence| {
            presence.watchers.add(worker);
            let since = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
            (since, presence.connections.total() > 0)
        })
    }

    /// Undoes [`Registry::watch`].
    pub fn unwatch(&self, app: &AppId, user: &UserId, worker: u16) {
        self.with_user(app, user, |presence| presence.watchers.remove(worker));
    }

    /// Lets `tell` reach the workers that own connections signed in as the user.
    pub fn reach(&self, app: &AppId, user: &UserId, tell: impl FnOnce(&Audience<'_>)) {
        self.with_user(app, user, |presence| {
            tell(&Audience {
                workers: &presence.connections,
                sequence: &self.sequence,
            });
        });
    }

    /// Finds or makes a user's entry, and forgets it when nothing is left in it.
    fn with_user<T>(&self, app: &AppId, user: &UserId, act: impl FnOnce(&mut Presence) -> T) -> T {
        let mut users = lock(&self.users[self.index((app, user))]);
        let of_app = users.entry(app.clone()).or_default();
        let presence = of_app.entry(user.clone()).or_default();
        let result = act(presence);
        if presence.connections.0.is_empty() && presence.watchers.0.is_empty() {
            of_app.remove(user);
            if of_app.is_empty() {
                users.remove(app);
            }
        }
        result
    }
}
