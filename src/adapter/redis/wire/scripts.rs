//! The scripts that run in Redis. Each changes the state and publishes the consequences in one step.

/// The script that reads a log. It is sent as it is: the digests are a connection's, which those who ask do not know.
pub(crate) const READ_LOG: &str = include_str!("scripts/read_log.lua");

/// A script that runs in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    Heartbeat,
    Register,
    Publish,
    PublishOnce,
    FlushCount,
    RemoveNode,
    Introduce,
    LeaseShares,
    Remember,
}

impl Script {
    pub(crate) const ALL: [Self; 9] = [
        Self::Heartbeat,
        Self::Register,
        Self::Publish,
        Self::PublishOnce,
        Self::FlushCount,
        Self::RemoveNode,
        Self::Introduce,
        Self::LeaseShares,
        Self::Remember,
    ];

    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Heartbeat => include_str!("scripts/heartbeat.lua"),
            Self::Register => include_str!("scripts/register.lua"),
            Self::Publish => include_str!("scripts/publish.lua"),
            Self::PublishOnce => concat!(
                "local function publish()\n",
                include_str!("scripts/publish.lua"),
                "\nend\n",
                include_str!("scripts/publish_once.lua"),
            ),
            Self::FlushCount => include_str!("scripts/flush_count.lua"),
            Self::RemoveNode => include_str!("scripts/remove_node.lua"),
            Self::Introduce => include_str!("scripts/introduce.lua"),
            Self::LeaseShares => include_str!("scripts/lease_shares.lua"),
            Self::Remember => include_str!("scripts/remember.lua"),
        }
    }
}
