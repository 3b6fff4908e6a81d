//! The names of keys and topics, and the buckets that they are in.
//!
//! Everything about one topic lives in one bucket. The bucket's hash tag (`{…}`) puts all its keys into one slot of a
//! Redis Cluster, so a script may use them in one step. A single server is one bucket. The wire version fixes all names,
//! so nodes of one version agree on them without talking.

use crate::adapter::NodeId;
use crate::app::AppId;
use crate::protocol::{ChannelKind, ChannelName, PositionKey, UserId};

/// The buckets of a Redis Cluster. Each has a connection of its own, so this also bounds how many primaries one
/// Tidewire cluster uses.
const CLUSTER_BUCKETS: u16 = 16;

/// The slots of a Redis Cluster.
const SLOTS: u16 = 16384;

/// The longest name of a channel or user that is read back from Redis.
const MAX_NAME: usize = 64 * 1024;

/// A share of all topics: the keys that its topics have in common.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// What all keys of the bucket begin with: `tidewire:{0}:`.
    prefix: String,
    /// The bucket's slot in a Redis Cluster.
    pub(crate) slot: u16,
    /// Node ids, by the end of their leases (ms).
    pub(crate) nodes: String,
    /// The wire version of the live nodes.
    pub(crate) wire: String,
    /// The current life of Redis' memory: a random name and when it began (ms).
    pub(crate) epoch: String,
    /// Topic ids whose count was held back, by the time at which it is due (ms).
    pub(crate) due: String,
    /// Channels and members that were left, by the time at which webhooks report it (ms).
    pub(crate) linger: String,
    /// Node ids, with what each says of itself. Only the first bucket uses it and the next two.
    pub(crate) who: String,
    /// What the consoles of each node watch.
    pub(crate) watch: String,
    /// The topic on which nodes send feed entries to other nodes' consoles.
    pub(crate) feed: String,
}

/// What a topic is about: a channel, or a user that is signed in or watched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Channel(ChannelName),
    User(UserId),
}

/// The id and the keys of one topic.
#[derive(Debug, Clone)]
pub(crate) struct TopicKeys {
    /// `app:channel` or `app:#user-id`. It is unambiguous because no app's id has a colon.
    pub(crate) topic_id: String,
    pub(crate) topic: String,
    pub(crate) state: String,
    pub(crate) log: String,
    pub(crate) event: String,
}

impl Bucket {
    /// All buckets of a single server or of a Redis Cluster.
    pub(crate) fn all(prefix: &str, is_cluster: bool) -> Vec<Self> {
        let buckets = if is_cluster { CLUSTER_BUCKETS } else { 1 };
        (0..buckets)
            .map(|n| Self::new(prefix, n, buckets))
            .collect()
    }

    /// Makes the bucket whose slot is in the given share of all slots. Its tag is the smallest number with such a slot,
    /// so the buckets are spread evenly.
    fn new(prefix: &str, number: u16, of: u16) -> Self {
        let share = SLOTS / of;
        let mut tags = (0_u32..).map(|tag| (tag, slot(tag.to_string().as_bytes())));
        let (tag, slot) = tags
            .find(|(_, slot)| slot / share == number)
            .unwrap_or_default();
        let prefix = format!("{prefix}:{{{tag}}}:");
        let key = |name: &str| format!("{prefix}{name}");
        Self {
            slot,
            nodes: key("nodes"),
            wire: key("wire"),
            epoch: key("epoch"),
            due: key("due"),
            linger: key("linger"),
            watch: key("watch"),
            who: key("who"),
            feed: key("feed"),
            prefix,
        }
    }

    /// The number of the bucket, of `buckets`, that a topic is in.
    pub(crate) fn index(topic_id: &str, buckets: usize) -> usize {
        usize::from(slot(topic_id.as_bytes())) % buckets
    }

    /// The key of the set of topic ids that a node has registered.
    pub(crate) fn owned_topics(&self, node: &str) -> String {
        format!("{}own:{node}", self.prefix)
    }

    /// The key of what a node alone is told, until it knows.
    pub(crate) fn untold(&self, node: &str) -> String {
        format!("{}untold:{node}", self.prefix)
    }

    /// The key of the number of a node's latest connection.
    pub(crate) fn connection(&self, node: &str) -> String {
        format!("{}connection:{node}", self.prefix)
    }

    /// The keys of `scripts/register.lua`, in its order, of what `node` holds. The caller is told what one node alone is.
    pub(crate) fn register_keys(
        &self,
        app: &AppId,
        topic_keys: &TopicKeys,
        node: &str,
        caller: &str,
    ) -> [String; 11] {
        [
            self.nodes.clone(),
            topic_keys.state.clone(),
            self.members(&topic_keys.topic_id),
            self.channel_index(app),
            self.owned_topics(node),
            self.linger.clone(),
            self.due.clone(),
            topic_keys.log.clone(),
            topic_keys.event.clone(),
            self.untold(caller),
            self.connection(caller),
        ]
    }

    /// The key of the set of an app's occupied channels.
    pub(crate) fn channel_index(&self, app: &AppId) -> String {
        format!("{}index:{app}", self.prefix)
    }

    /// The key of the nodes' shares of an app's limit.
    pub(crate) fn shares(&self, app: &AppId, limit: &str) -> String {
        format!("{}shares:{limit}:{app}", self.prefix)
    }

    /// The key of a session's owner.
    pub(crate) fn session(&self, session: &str) -> String {
        format!("{}session:{session}", self.prefix)
    }

    /// The topic of messages to one node.
    pub(crate) fn node_topic(&self, node: NodeId) -> String {
        format!("{}node:{node}", self.prefix)
    }

    /// The record of a key of publishes.
    pub(crate) fn once(&self, app: &AppId, key: &str) -> String {
        format!("{}once:{app}:{key}", self.prefix)
    }

    /// The key of a topic's state.
    pub(crate) fn state(&self, topic_id: &str) -> String {
        format!("{}state:{topic_id}", self.prefix)
    }

    /// The key of a presence channel's members.
    pub(crate) fn members(&self, topic_id: &str) -> String {
        format!("{}members:{topic_id}", self.prefix)
    }

    /// The key of what a token has confirmed of a topic.
    pub(crate) fn position(&self, key: &PositionKey) -> String {
        format!("{}resume:{key}", self.prefix)
    }

    pub(crate) fn topic(&self, topic_id: &str) -> String {
        format!("{}topic:{topic_id}", self.prefix)
    }

    pub(crate) fn topic_keys(&self, topic_id: String) -> TopicKeys {
        TopicKeys {
            topic: self.topic(&topic_id),
            state: self.state(&topic_id),
            log: format!("{}log:{topic_id}", self.prefix),
            event: format!("{}event:{topic_id}", self.prefix),
            topic_id,
        }
    }
}

impl Subject {
    pub(crate) fn topic_id(&self, app: &AppId) -> String {
        match self {
            Self::Channel(channel) => topic_id_of(app, channel.as_str()),
            Self::User(user) => format!("{app}:#user-{user}"),
        }
    }

    pub(crate) fn is_presence(&self) -> bool {
        self.channel()
            .is_some_and(|channel| channel.kind() == ChannelKind::Presence)
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.channel()
            .is_some_and(|channel| channel.kind().is_listed())
    }

    pub(crate) fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::Channel(channel) => Some(channel),
            Self::User(_) => None,
        }
    }

    /// Parses a topic id; `None` if no node of ours wrote it.
    pub(crate) fn parse(topic_id: &str) -> Option<(AppId, Self)> {
        let (app, name) = topic_id.split_once(':')?;
        let subject = match name.strip_prefix("#user-") {
            Some(user) => Self::User(UserId::new(user)?),
            None => Self::Channel(ChannelName::parse(name, MAX_NAME).ok()?),
        };
        (!app.is_empty()).then(|| (AppId::new(app), subject))
    }
}

/// The topic id of a channel.
pub(crate) fn topic_id_of(app: &AppId, channel: &str) -> String {
    format!("{app}:{channel}")
}

/// CRC-16/XMODEM, modulo the number of slots (Redis Cluster specification, "Key distribution model").
fn slot(key: &[u8]) -> u16 {
    let crc = key.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            (crc << 1) ^ (0x1021 * (crc >> 15))
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(slot(b"123456789"), 0x31c3 % SLOTS);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b""), 0);
    }

    #[test]
    fn buckets_are_spread_evenly_and_tagged() {
        let buckets = Bucket::all("p", true);
        let shares: Vec<u16> = buckets.iter().map(|b| b.slot / (SLOTS / 16)).collect();
        assert_eq!(shares, (0..16).collect::<Vec<_>>());
        for bucket in &buckets {
            let tag = bucket.nodes.split(['{', '}']).nth(1).unwrap();
            assert_eq!(slot(tag.as_bytes()), bucket.slot);
            assert_eq!(bucket.nodes, format!("p:{{{tag}}}:nodes"));
        }
        assert_eq!(Bucket::all("p", false).len(), 1);
    }

    #[test]
    fn tokens_are_read_back() {
        let app = AppId::new("a.b");
        let channel = ChannelName::parse("presence-x", 200).unwrap();
        let user = UserId::new("x:y\0z").unwrap();
        for subject in [Subject::Channel(channel), Subject::User(user)] {
            let topic_id = subject.topic_id(&app);
            assert_eq!(Subject::parse(&topic_id), Some((app.clone(), subject)));
        }
        for strange in ["", "a", ":x", "a:", "a:b c", "a:#user-", "a:#watchers-x"] {
            assert_eq!(Subject::parse(strange), None, "{strange}");
        }
    }
}
