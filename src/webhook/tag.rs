//! The queue's view of an event: its channel, its source, and its opposite.

use std::hash::{BuildHasher as _, RandomState};

use serde::Deserialize;

use crate::protocol::{ChannelKind, ChannelName, SocketId, UserId, WebhookEvent, WebhookKind};

/// The tag of an event. Names are hashed with a secret key, so nobody can construct a collision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    pub(super) kind: WebhookKind,
    pub(super) channel: u64,
    /// Whether anybody may subscribe to the channel.
    pub(super) is_public: bool,
    /// The connection that caused it, for public channels. Events without a known cause share one source.
    source: u64,
    /// The channel that is occupied or vacated, or the member that is added or removed.
    pub(super) pair: Option<u64>,
}

impl Tag {
    /// The line it waits in.
    pub(super) fn line(&self) -> (bool, u64) {
        match self.is_public {
            true => (true, self.source),
            false => (false, self.channel),
        }
    }
}

/// Makes tags. Equal names give equal tags until the process ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Tagger(RandomState);

/// The fields of a spooled event that a tag needs.
#[derive(Deserialize)]
struct Written {
    name: WebhookKind,
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

    /// The tag of a spooled event. None if the text is no event.
    pub(super) fn read(&self, json: &str) -> Option<Tag> {
        let written: Written = serde_json::from_str(json).ok()?;
        let channel = ChannelName::parse(&written.channel, usize::MAX).ok()?;
        let is_public = channel.kind() == ChannelKind::Public;
        let user = written.user_id.and_then(|id| UserId::new(&id));
        let user = user.as_ref().map(UserId::as_str);
        Some(self.of(written.name, (channel.as_str(), is_public), user, None))
    }
}
