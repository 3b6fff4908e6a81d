//! The scripts that run in Redis: each changes the state and publishes what follows from it in one step.

/// A script that runs in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    Tick,
    Register,
    Publish,
    Tell,
    Retire,
    Introduce,
}

impl Script {
    pub(crate) const ALL: [Self; 6] = [
        Self::Tick,
        Self::Register,
        Self::Publish,
        Self::Tell,
        Self::Retire,
        Self::Introduce,
    ];

    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Tick => include_str!("scripts/heartbeat.lua"),
            Self::Register => include_str!("scripts/register.lua"),
            Self::Publish => include_str!("scripts/publish.lua"),
            Self::Tell => include_str!("scripts/flush_count.lua"),
            Self::Retire => include_str!("scripts/remove_node.lua"),
            Self::Introduce => include_str!("scripts/introduce.lua"),
        }
    }
}
