//! What the queue needs to know of an event: its channel, whose it is, and which other event takes it back.

use std::hash::{BuildHasher as _, RandomState};

use serde::Deserialize;

use crate::protocol::{ChannelKind, ChannelName, SocketId, UserId, WebhookEvent, WebhookKind};

/// Of one event. Names are hashed with a key that nobody knows, so nobody makes two of them equal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    pub(super) kind: WebhookKind,
    pub(super) channel: u64,
    /// Whether anybody may subscribe to the channel.
    pub(super) is_public: bool,
    /// Who made it so, of public channels; all that nobody is known of count as one.
    source: u64,
    /// What is occupied and vacated, or added and removed.
    pub(super) pair: Option<u64>,
}

impl Tag {
    /// Whose line it waits in.
    pub(super) fn line(&self) -> (bool, u64) {
        match self.is_public {
            true => (true, self.source),
            false => (false, self.channel),
        }
    }
}

/// Makes tags, the same for the same names as long as the process runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Tagger(RandomState);

/// What of an event is read again.
#[derive(Deserialize)]
struct Written {
    name: String,
    channel: String,
    user_id: Option<String>,
}

impl Tagger {
    pub(super) fn tag(
        &self,
        channel: &ChannelName,
        event: &WebhookEvent<'_>,
        source: Option<SocketId>,
    ) -> Tag {
        let user = match event {
            WebhookEvent::MemberAdded(user) | WebhookEvent::MemberRemoved(user) => {
                Some(user.as_str())
            }
            _ => None,
        };
        let is_public = channel.kind() == ChannelKind::Public;
        self.of(event.kind(), (channel.as_str(), is_public), user, source)
    }

    fn of(
        &self,
        kind: WebhookKind,
        (channel, is_public): (&str, bool),
        user: Option<&str>,
        source: Option<SocketId>,
    ) -> Tag {
        let pair = match kind {
            WebhookKind::ChannelOccupied | WebhookKind::ChannelVacated => Some(None),
            WebhookKind::MemberAdded | WebhookKind::MemberRemoved => Some(user),
            _ => None,
        };
        Tag {
            kind,
            channel: self.0.hash_one(channel),
            is_public,
            source: self.0.hash_one(source),
            pair: pair.map(|user| self.0.hash_one((channel, user))),
        }
    }

    /// Of an event that was written down; none of a text that is none.
    pub(super) fn read(&self, json: &str) -> Option<Tag> {
        let written: Written = serde_json::from_str(json).ok()?;
        let kind = WebhookKind::ALL
            .into_iter()
            .find(|kind| kind.name() == written.name)?;
        let channel = ChannelName::parse(&written.channel, usize::MAX).ok()?;
        let is_public = channel.kind() == ChannelKind::Public;
        let user = written.user_id.and_then(|id| UserId::new(&id));
        let user = user.as_ref().map(UserId::as_str);
        Some(self.of(kind, (channel.as_str(), is_public), user, None))
    }
}
