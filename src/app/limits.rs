//! `Limits`: `[apps.limits]`, and what follows from them for the sizes of messages and bodies; `LimitsScope`.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::bounded::{Whole, section};

/// What the last event of a cache channel costs beside its texts, in bytes: its places in two maps.
pub const LAST_EVENT_OVERHEAD: usize = 320;

/// Whose `connections` and `events_per_second` are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitsScope {
    /// Each node's.
    Node,
    /// Those of all nodes over one Redis.
    Cluster,
}

section! {
    /// `[apps.limits]`: what one app may use. Defaults are Pusher's documented values.
    #[derive(PartialEq, Eq)]
    pub struct Limits {
        /// Connections at a time, within [`LimitsScope`]; none: unlimited. Beyond it 4004.
        pub connections: Option<NonZeroU32> as "Whole::<1, { u32::MAX }>" = None,
        /// Connections that are signed in as one user, in the cluster; none: unlimited. Beyond it the sign-in is refused.
        pub connections_per_user: Option<NonZeroU32> as "Whole::<1, 1_000_000>" = None,
        /// Events per second through the HTTP API, within [`LimitsScope`], whatever their channels; none: unlimited. Beyond it
        /// 429.
        pub events_per_second: Option<NonZeroU32> as "Whole::<1, 65_535>" = None,
        /// Requests of the HTTP API that read, per second. Beyond it 429.
        pub reads_per_second: Option<NonZeroU32> as "Whole::<1, 65535>" = None,
        /// Client events per second and connection. Beyond it 4301, the event is dropped.
        pub client_events_per_second: u32 as "Whole::<1, 1_000_000>" = 10,
        /// Messages per second and connection, everything that it sends. Beyond it 4301, the message is dropped; at ten
        /// times as many the connection is closed with 4100.
        pub messages_per_second: Option<NonZeroU32> as "Whole::<1, 1_000_000>" = None,
        /// Subscriptions per second and connection. Beyond it 4301, the subscription is refused.
        pub subscribes_per_second: Option<NonZeroU32> as "Whole::<1, 1_000_000>" = None,
        /// Subscriptions per connection. Beyond it the subscription is refused.
        pub channels_per_connection: usize as "Whole::<1, 1_000_000>" = 1000,
        /// Distinct users on a presence channel. Beyond it the subscription is refused.
        pub presence_members: usize as "Whole::<1, 1_000_000>" = 100,
        /// Bytes of one member's `channel_data`.
        pub presence_member_bytes: usize as "Whole::<1, 1_048_576>" = 1024,
        /// Bytes of an event's `data`. Beyond it 413.
        pub event_bytes: usize as "Whole::<1, 16_777_216>" = 10240,
        /// Channels of one publish.
        pub channels_per_event: usize as "Whole::<1, 10_000>" = 100,
        /// Events of one batch.
        pub batch_events: usize as "Whole::<1, 1000>" = 10,
        /// Characters of a channel name.
        pub channel_name_length: usize as "Whole::<1, 1024>" = 200,
        /// Characters of an event name.
        pub event_name_length: usize as "Whole::<1, 1024>" = 200,
    }
}

impl Limits {
    /// The longest WebSocket message that is read (a longer one closes with 1009): room for an event, a presence
    /// member or a full watchlist in their JSON escapes.
    pub fn message_bytes(&self) -> usize {
        const LEAST: usize = 64 * 1024;
        (2 * self.event_bytes.max(self.presence_member_bytes) + 4096).max(LEAST)
    }

    /// The most that the last event of a cache channel takes of `cache_bytes`. A character of an event's name has up
    /// to four bytes, one of a channel's name is ASCII.
    pub fn last_event_bytes(&self) -> usize {
        LAST_EVENT_OVERHEAD
            + self.event_bytes
            + self.channel_name_length
            + 4 * self.event_name_length
    }

    /// The longest body of one publish that is read (a longer one is refused with 413): `data` in the costliest
    /// JSON escapes, and the names.
    pub fn event_body_bytes(&self) -> usize {
        6 * self.event_bytes
            + (self.channel_name_length + 4) * self.channels_per_event
            + 6 * self.event_name_length
            + 1024
    }

    /// The same for a batch.
    pub fn batch_body_bytes(&self) -> usize {
        let event =
            6 * self.event_bytes + self.channel_name_length + 6 * self.event_name_length + 1024;
        event * self.batch_events
    }
}
