//! One topic as this node sees it: what is held here, what Redis has been told of that, and what the clients here have
//! been told of the others.
//!
//! The last is the key to calm: members and states are told as differences to what was told before, so that a member
//! who is registered again after a crash of Redis is no news, and every client sees additions and removals alternate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::request::{LocalChange, LocalState, MemberChange, Waiter};
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::redis::wire::message::Position;
use crate::app::AppId;
use crate::protocol::{Member, UserId};

/// Changes of members that wait to be said one by one; beyond it all members are said at once.
const MAX_CHANGES: usize = 1024;

/// Members and their `user_info`.
pub(super) type Members = BTreeMap<UserId, Option<Arc<str>>>;

pub(super) struct Topic {
    pub(super) app: AppId,
    pub(super) subject: Subject,
    pub(super) local: LocalState,
    /// This node's members.
    local_members: Members,
    /// What of them has not been said yet.
    changes: Vec<MemberChange>,
    /// Whether something of it has changed since it was said.
    pub(super) dirty: bool,
    /// Who waits until it has been said.
    pub(super) waiters: Vec<Waiter>,
    /// All members that clients here know.
    pub(super) members: Members,
    /// Whether those are all there are; else they have to be asked for.
    pub(super) members_complete: bool,
    /// Whether watchers here believe the user to be signed in.
    pub(super) online: bool,
    /// The last event that was delivered here.
    pub(super) position: Option<Position>,
    /// Since when there have been subscribers here whom Redis knows nothing of.
    pub(super) degraded_since: Option<Instant>,
    /// Since when nobody here is interested any more.
    pub(super) idle_since: Option<Instant>,
    /// Whether it stands in the link's queue.
    pub(super) queued: bool,
    /// Whether a registration is under way: one at a time.
    pub(super) registering: bool,
    /// Whether Redis sends its messages on this connection.
    pub(super) subscribed: bool,
    /// Whether a message follows upon what was delivered last. If not, it is in the log that is being asked for.
    pub(super) synced: bool,
    /// Whether everything has to be said again, not only what changed.
    pub(super) full_resync: bool,
    /// Whether Redis knows that this node is interested.
    pub(super) registered: bool,
    /// Whether Redis has forgotten what was registered.
    pub(super) restored: bool,
    /// Whether it is given up for good.
    pub(super) released: bool,
}

/// What is to be said of members.
pub(super) struct MemberChanges {
    pub(super) changes: Vec<MemberChange>,
    /// Whether these are all members of this node.
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
            waiters: Vec::new(),
            members: Members::new(),
            members_complete: false,
            online: false,
            position: None,
            degraded_since: None,
            idle_since: None,
            queued: false,
            registering: false,
            subscribed: false,
            synced: false,
            full_resync: false,
            registered: false,
            restored: false,
            released: false,
        }
    }

    /// Takes a change in.
    pub(super) fn apply(&mut self, local_change: LocalChange, now: Instant) {
        self.dirty = true;
        self.local = local_change.local;
        self.idle_since = if local_change.local.interested {
            None
        } else {
            Some(now)
        };
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
        self.waiters.extend(local_change.waiter);
    }

    /// Whether there is something to be said.
    pub(super) fn needs_registration(&self) -> bool {
        self.dirty || self.full_resync || self.released
    }

    /// A member that is held here.
    pub(super) fn local_member(&self, user: &UserId) -> Option<Member> {
        let info = self.local_members.get(user)?.clone();
        Some(Member {
            id: user.clone(),
            info,
        })
    }

    /// What is to be said of members now.
    pub(super) fn take_changes(&mut self) -> MemberChanges {
        self.dirty = false;
        let changes = std::mem::take(&mut self.changes);
        let whole = std::mem::take(&mut self.full_resync);
        if !whole {
            return MemberChanges { changes, whole };
        }
        // What is there now includes every change.
        let here = self.local_members.iter().map(|(id, info)| {
            let (id, info) = (id.clone(), info.clone());
            MemberChange::Joined(Member { id, info })
        });
        MemberChanges {
            changes: here.collect(),
            whole,
        }
    }

    /// Everybody that clients here know, in the order of their ids.
    pub(super) fn snapshot(&self) -> Vec<Member> {
        let member = |(id, info): (&UserId, &Option<Arc<str>>)| Member {
            id: id.clone(),
            info: info.clone(),
        };
        self.members.iter().map(member).collect()
    }

    /// Whether the member is news to clients here.
    pub(super) fn add_member(&mut self, member: &Member) -> bool {
        let (id, info) = (member.id.clone(), member.info.clone());
        self.members.insert(id, info).is_none()
    }

    /// Whether the member's going is news to clients here.
    pub(super) fn remove_member(&mut self, user: &UserId) -> bool {
        self.members.remove(user).is_some()
    }

    /// Forgets what was true of a connection that is gone.
    pub(super) fn on_disconnected(&mut self) {
        self.registering = false;
        self.subscribed = false;
        self.synced = false;
        self.full_resync = true;
        self.members_complete = false;
        self.queued = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ChannelName;

    const LOCAL: LocalState = LocalState {
        count: 1,
        interested: true,
        tells_count: false,
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
            waiter: None,
        };
        topic.apply(local_change, Instant::now());
    }

    #[test]
    fn changes_are_said_in_their_order_and_once() {
        let mut topic = topic();
        changed(&mut topic, MemberChange::Joined(member("a")));
        changed(&mut topic, MemberChange::Left(member("a").id));
        changed(&mut topic, MemberChange::Joined(member("b")));
        let said = topic.take_changes();
        assert_eq!((said.changes.len(), said.whole), (3, false));
        assert!(topic.take_changes().changes.is_empty());
        topic.on_disconnected();
        let said = topic.take_changes();
        assert!(
            said.whole
                && matches!(&said.changes[..], [MemberChange::Joined(m)] if m.id == member("b").id)
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
        let said = topic.take_changes();
        assert_eq!((said.changes.len(), said.whole), (3, true));
    }

    #[test]
    fn news_is_what_was_not_told_before() {
        let mut topic = topic();
        assert!(topic.add_member(&member("a")) && !topic.add_member(&member("a")));
        assert!(topic.remove_member(&member("a").id) && !topic.remove_member(&member("a").id));
    }
}
