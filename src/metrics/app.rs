//! What is counted for each app. The numbers outlive a reload of the configuration for as long as the app is in it.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

super::counters! {
    /// One app's numbers since it was first configured.
    AppCounters {
        /// Connections that were established.
        connections_opened,
        /// Connections that ended.
        connections_ended,
        /// Messages that clients sent.
        messages_received,
        /// Bytes that were read from connections.
        bytes_received,
        /// Frames of every kind that were handed to sockets or their outboxes.
        messages_sent,
        /// Bytes of these frames.
        bytes_sent,
        /// Events accepted through the HTTP API, one for each channel.
        events_published,
        /// Requests to publish, single events and batches, that were accepted.
        publishes_accepted,
        /// Those of them that repeated an earlier one with the same idempotency key, and were not published again.
        publishes_replayed,
        /// Client events relayed.
        client_events,
        /// HTTP API requests that were authenticated.
        api_requests,
        /// Bytes of their bodies.
        api_request_bytes,
        /// Bytes of the bodies of the answers to those of them that succeeded.
        api_response_bytes,
    }
}

impl AppCounters {
    /// Counts frames of one size that were handed to sockets.
    pub fn sent(&self, frames: u64, bytes_each: usize) {
        self.messages_sent.inc_by(frames);
        self.bytes_sent.inc_by(frames * bytes_each as u64);
    }
}

/// One app's counters. Clones of a snapshot share them.
#[derive(Debug, Default)]
pub struct AppMetrics(OnceLock<Arc<AppCounters>>);

impl AppMetrics {
    /// Continues the counters of the same app in an earlier snapshot. Has no effect once something was counted.
    pub fn continue_from(&self, former: &Self) {
        // An error means that these are in use already: as said.
        let _ = self.0.set(Arc::clone(former.shared()));
    }

    /// The counters, for those that outlive a snapshot.
    pub fn shared(&self) -> &Arc<AppCounters> {
        self.0.get_or_init(Arc::default)
    }
}

impl Deref for AppMetrics {
    type Target = AppCounters;

    fn deref(&self) -> &AppCounters {
        self.shared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outlive_a_snapshot() {
        let (before, after) = (AppMetrics::default(), AppMetrics::default());
        before.messages_received.inc();
        after.continue_from(&before);
        after.messages_received.inc();
        assert_eq!(before.messages_received.get(), 2);
        after.continue_from(&AppMetrics::default());
        assert_eq!(after.messages_received.get(), 2);
    }
}
