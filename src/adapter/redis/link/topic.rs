//! One topic as this node sees it: what this node holds, what it has registered of that, and what it has sent its clients
//! about the other nodes.
//!
//! Clients receive members and states as differences to what they received before. A member that is registered again
//! after a crash of Redis is therefore not sent again, and every client sees additions and removals alternate.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::request::{LocalChange, LocalState, MemberChange, Waiter};
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::redis::wire::message::Position;
use crate::app::AppId;
use crate::channel_log::LogId;
use crate::protocol::{Member, UserId};

/// Changes of members that wait to be registered one by one. Beyond it all members are registered at once.
const MAX_CHANGES: usize = 1024;

/// Members of a presence channel, with their `user_info`.
pub(super) type Members = BTreeMap<UserId, Option<Arc<str>>>;

pub(super) struct Topic {
    pub(super) app: AppId,
    pub(super) subject: Subject,
    pub(super) local: LocalState,
    /// The members that are connected to this node.
    local_members: Members,
    /// Changes of `local_members` that are not registered yet.
    changes: Vec<MemberChange>,
    /// Whether `local` or `local_members` has changed since the last registration was sent.
    pub(super) dirty: bool,
    /// How long an event is kept for subscriptions that may be resumed, if there ever was one since the topic came here.
    pub(super) resumable: Option<NonZeroU32>,
    /// Requests that wait for the next registration.
    pub(super) waiters: Vec<Waiter>,
    /// The cluster's members, as this node's clients know them.
    pub(super) members: Members,
    /// Whether `members` is complete; if not, the next registration asks for all of them.
    pub(super) members_complete: bool,
    /// The cluster's subscriptions, as clients here were told last.
    pub(super) count_sent: usize,
    /// Whether the user is signed in anywhere, as this node's watchers know it.
    pub(super) online: bool,
    /// The last event that this node delivered.
    pub(super) position: Option<Position>,
    /// When the first subscriber was answered without Redis; `None` once Redis knows all of them.
    pub(super) degraded_since: Option<Instant>,
    /// When the last client lost interest.
    pub(super) idle_since: Option<Instant>,
    /// Where its next registration is.
    pub(super) turn: Turn,
    /// Whether this connection is subscribed to the topic.
    pub(super) subscribed: bool,
    /// Whether the next message follows the last delivered one. If not, the registration in flight fetches what is between
    /// them.
    pub(super) synced: bool,
    /// Whether the next registration must contain everything, not only the changes.
    pub(super) full_resync: bool,
    /// Whether Redis may have a registration of this node.
    pub(super) registered: bool,
    /// Whether Redis lost its memory after the last registration.
    pub(super) restored: bool,
    /// Whether the topic is to be released.
    pub(super) released: bool,
}

/// Where the registration of a topic is. A topic has one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Idle,
    /// In the link's `register_queue`.
    Queued,
    InFlight,
}

/// The members that a registration contains.
pub(super) struct MemberChanges {
    pub(super) changes: Vec<MemberChange>,
    /// Whether `changes` lists all members of this node.
    pub(super) whole: bool,
}

impl Topic {
    pub(super) fn new(app: AppId, subject: Subject, local: LocalState) -> Self {
        Self {
            app,
            subject,
            local,
            local_members: Members::new(),
            changes: Vec::new(),
            dirty: false,
            resumable: None,
            waiters: Vec::new(),
            members: Members::new(),
            members_complete: false,
            count_sent: 0,
            online: false,
            position: None,
            degraded_since: None,
            idle_since: None,
            turn: Turn::Idle,
            subscribed: false,
            synced: false,
            full_resync: false,
            registered: false,
            restored: false,
            released: false,
        }
    }

    /// Applies a change of this node's clients.
    pub(super) fn apply(&mut self, local_change: LocalChange, now: Instant) {
        self.dirty = true;
        self.local = local_change.local;
        self.idle_since = (!local_change.local.interested).then_some(now);
        self.released &= !local_change.local.interested;
        if let Some(change) = local_change.change {
            match &change {
                MemberChange::Joined(member) => {
                    self.local_members
                        .insert(member.id.clone(), member.info.clone());
                }
                MemberChange::Left(user) => {
                    self.local_members.remove(user);
                }
            }
            self.changes.push(change);
            if self.changes.len() > MAX_CHANGES {
                self.full_resync = true;
                self.changes.clear();
            }
        }
        self.resumable = self.resumable.max(local_change.resumable);
        self.waiters.extend(local_change.waiter);
    }

    /// What the requests that wait want of the log: its latest events, and what is behind a place.
    pub(super) fn past_wanted(&self) -> (u32, Option<LogId>) {
        let wanted = self.waiters.iter().map(|waiter| waiter.past);
        let latest = wanted.clone().filter_map(|past| past.rewind);
        let latest = latest.map(|rewind| rewind.events.get()).max();
        let after = wanted.filter_map(|past| past.after).min();
        (latest.unwrap_or_default(), after)
    }

    /// Whether something is not registered yet.
    pub(super) fn needs_registration(&self) -> bool {
        self.dirty || self.full_resync || self.released
    }

    /// Returns a member that is connected to this node.
    pub(super) fn local_member(&self, user: &UserId) -> Option<Member> {
        let info = self.local_members.get(user)?.clone();
        Some(Member {
            id: user.clone(),
            info,
        })
    }

    /// Takes the members for the next registration.
    pub(super) fn take_changes(&mut self) -> MemberChanges {
        self.dirty = false;
        let changes = std::mem::take(&mut self.changes);
        let whole = std::mem::take(&mut self.full_resync);
        if !whole {
            return MemberChanges { changes, whole };
        }
        // The members as they are now include every change.
        let here = self.local_members.iter().map(|(id, info)| {
            let (id, info) = (id.clone(), info.clone());
            MemberChange::Joined(Member { id, info })
        });
        MemberChanges {
            changes: here.collect(),
            whole,
        }
    }

    /// All members that clients here know, in the order of their ids.
    pub(super) fn snapshot(&self) -> Vec<Member> {
        let member = |(id, info): (&UserId, &Option<Arc<str>>)| Member {
            id: id.clone(),
            info: info.clone(),
        };
        self.members.iter().map(member).collect()
    }

    /// The members of this node that are not among `now`, although a registration contained them.
    pub(super) fn displaced<'a>(&'a self, now: &Members) -> impl Iterator<Item = &'a UserId> {
        let is_later = |user: &UserId| {
            self.changes.iter().any(|change| match change {
                MemberChange::Joined(member) => member.id == *user,
                MemberChange::Left(left) => left == user,
            })
        };
        // If everything is to be registered again, the changes may not be all there are.
        let users = self.local_members.keys().filter(|_| !self.full_resync);
        users.filter(move |user| !now.contains_key(*user) && !is_later(user))
    }

    /// Adds a member. Returns whether clients here did not know it.
    pub(super) fn add_member(&mut self, member: &Member) -> bool {
        let (id, info) = (member.id.clone(), member.info.clone());
        self.members.insert(id, info).is_none()
    }

    /// Removes a member. Returns whether clients here knew it.
    pub(super) fn remove_member(&mut self, user: &UserId) -> bool {
        self.members.remove(user).is_some()
    }

    /// Resets what depended on the connection that broke.
    pub(super) fn on_disconnected(&mut self) {
        self.turn = Turn::Idle;
        self.subscribed = false;
        self.synced = false;
        self.full_resync = true;
        self.members_complete = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ChannelName;

    const LOCAL: LocalState = LocalState {
        count: 1,
        interested: true,
        sends_count: false,
        max_members: 100,
    };

    fn topic() -> Topic {
        let (app, channel) = (
            AppId::new("1"),
            ChannelName::parse("presence-x", 200).unwrap(),
        );
        let subject = Subject::Channel(channel);
        Topic::new(app, subject, LOCAL)
    }

    fn member(id: &str) -> Member {
        Member {
            id: UserId::new(id).unwrap(),
            info: None,
        }
    }

    fn changed(topic: &mut Topic, change: MemberChange) {
        let local_change = LocalChange {
            app: topic.app.clone(),
            subject: topic.subject.clone(),
            local: LOCAL,
            change: Some(change),
            resumable: None,
            waiter: None,
        };
        topic.apply(local_change, Instant::now());
    }

    #[test]
    fn changes_are_registered_in_order_and_once() {
        let mut topic = topic();
        changed(&mut topic, MemberChange::Joined(member("a")));
        changed(&mut topic, MemberChange::Left(member("a").id));
        changed(&mut topic, MemberChange::Joined(member("b")));
        let registered = topic.take_changes();
        assert_eq!((registered.changes.len(), registered.whole), (3, false));
        assert!(topic.take_changes().changes.is_empty());
        topic.on_disconnected();
        let registered = topic.take_changes();
        assert!(
            registered.whole
                && matches!(&registered.changes[..], [MemberChange::Joined(m)] if m.id == member("b").id)
        );
    }

    #[test]
    fn too_many_changes_become_all_there_is() {
        let mut topic = topic();
        for i in 0..=MAX_CHANGES {
            changed(
                &mut topic,
                MemberChange::Joined(member(&(i % 3).to_string())),
            );
        }
        let registered = topic.take_changes();
        assert_eq!((registered.changes.len(), registered.whole), (3, true));
    }

    #[test]
    fn only_unknown_members_are_added() {
        let mut topic = topic();
        assert!(topic.add_member(&member("a")) && !topic.add_member(&member("a")));
        assert!(topic.remove_member(&member("a").id) && !topic.remove_member(&member("a").id));
    }
}
