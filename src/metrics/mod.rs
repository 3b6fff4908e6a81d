//! Everything that is counted, each number declared once; a counter's doc comment is its help text. Gauges are not
//! here: they are read from the structure that owns the number when somebody asks.
//!
//! What is counted for each reason is a [`Tally`], of which a bounded number of lines may be logged. Labels come from
//! closed sets (`reasons`) and from the configured apps ([`AppMetrics`]), never from what a peer says.

mod app;
mod histogram;
mod reasons;
mod tally;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use app::{AppCounters, AppMetrics};
pub use histogram::{BOUNDS, Histogram, Observed};
pub use reasons::{
    AcceptRefused, ClientEventRefused, Closed, Lifecycle, MessageRefused, OperatorRefused, Reason,
    RequestRefused, SessionRefused, SigninRefused, SubscriptionRefused, UpgradeRefused,
};
pub use tally::{AnyTally, Tally};

use crate::protocol::{CloseCode, Transport};

/// Over how long the lines for one reason are counted; what was not logged is told at its end.
const WINDOW: Duration = Duration::from_secs(10);

/// A number that only rises. On a cache line of its own: workers that count different things do not disturb each
/// other.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds `count`.
    pub fn inc_by(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter of a set: its name, its help, and how to read it.
pub struct Field<T: 'static> {
    /// The name without prefix and without `_total`.
    pub name: &'static str,
    /// The help text: a sentence without its full stop.
    pub help: &'static str,
    /// Finds the counter in its set.
    pub of: fn(&T) -> &Counter,
}

macro_rules! counters {
    ($(#[$about:meta])* $set:ident { $(#[doc = $help:literal] $field:ident,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $set {
            $(#[doc = $help] pub $field: $crate::metrics::Counter,)+
        }

        impl $set {
            /// All of them.
            pub const FIELDS: &'static [$crate::metrics::Field<Self>] = &[
                $($crate::metrics::Field {
                    name: stringify!($field),
                    help: $help.trim_ascii(),
                    of: |set| &set.$field,
                },)+
            ];
        }
    };
}
use counters;

counters! {
    /// What this process has counted since its start, of all apps together.
    Counters {
        /// Commands of clients answered with an error.
        commands_refused,
        /// Publishes refused because their app's events came too fast.
        events_limited,
        /// Client events dropped because they came too fast.
        client_events_limited,
        /// Frames handed to sockets or their outboxes by fan-out.
        deliveries,
        /// Connections closed because their outbox was full, or too many events waited for a subscription of theirs.
        slow_consumers,
        /// Connections closed because they were silent after a ping.
        silent_connections,
        /// Publishes and commands refused because a worker's inbox stayed full.
        inbox_overflows,
        /// Last events of cache channels dropped before their time, to stay within their bytes.
        cache_evictions,
        /// Positions of resumable connections dropped because there were too many.
        positions_dropped,
        /// Events of channels' logs dropped before their time, to stay within their bytes.
        history_evictions,
        /// Messages of channels and users that this node got from Redis: of those that its clients are interested in.
        cluster_messages_received,
        /// Messages of channels that no node of this version could have sent.
        cluster_messages_refused,
        /// Events taken from a channel's log after a lost connection to Redis.
        cluster_events_recovered,
        /// Channels of which events may be lost: the log did not reach far enough, or Redis lost its memory.
        cluster_gaps,
        /// Connections to Redis that were lost.
        cluster_reconnects,
        /// Events that Redis did not take in time or refused, answered with an error.
        cluster_publish_refused,
        /// Subscriptions and sign-ins accepted on this node's own knowledge, because Redis did not answer in time.
        cluster_degraded,
        /// Questions to other nodes about sessions of theirs.
        cluster_questions,
        /// Those of them without an answer: the node has gone, is too slow, or has too many questions.
        cluster_questions_unanswered,
        /// Topics of dead nodes given up by this node.
        cluster_reaped,
        /// Webhook requests that were answered with 2xx.
        webhook_deliveries,
        /// Attempts at webhook requests that failed: no connection, no answer in time, or another status than 2xx.
        webhook_failures,
        /// Webhook events dropped because their endpoint's queue was full.
        webhook_dropped,
        /// Those of them that were of public channels, to which anybody may subscribe.
        webhook_dropped_public,
        /// Webhook events put on a dead-letter list after all attempts failed.
        webhook_dead,
        /// Dead letters dropped, the oldest first, because their list was full.
        webhook_dead_dropped,
        /// Deliveries to sources that were taken.
        source_deliveries,
        /// Those of them that no route was for.
        source_ignored,
        /// Those of them, and stored deliveries, whose events had been published for the same id before.
        source_repeated,
        /// Stored deliveries put on a dead-letter list because they could not be published in time.
        source_dead,
        /// Dead letters of sources dropped, the oldest first, because their list was full.
        source_dead_dropped,
        /// Configurations that were read while running and are in effect.
        reloads,
        /// Configurations that were read while running and could not be used.
        reloads_failed,
        /// Requests under the paths of the HTTP API, whatever came of them.
        http_requests,
        /// Times that the keys of a `jwks_url` were asked for.
        jwks_reads,
        /// Those of them that failed.
        jwks_failures,
        /// Entries made for the console's feed, which is done only while somebody watches.
        feed_entries,
        /// Entries of the feed that were not made, as there were more than it tells in a second.
        feed_skipped,
    }
}

/// What this process has counted since its start. Cheap to clone: clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counters: Counters,
    tallies: Tallies,
}

macro_rules! tallies {
    ($(#[$about:meta])* $set:ident { $(#[doc = $help:literal] $field:ident: $reasons:ty $(= $family:literal)?,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $set {
            $(#[doc = $help] pub $field: Tally<$reasons>,)+
        }

        impl $set {
            /// All of them. Most are a family of their own: its name, and its help.
            pub fn each(&self) -> Vec<(Option<&'static str>, &'static str, &dyn AnyTally)> {
                vec![$((tallies!(@ $($family)?), $help.trim_ascii(), &self.$field),)+]
            }
        }
    };
    (@ $family:literal) => { Some($family) };
    (@) => { None };
}

tallies! {
    /// What is counted by reason.
    Tallies {
        /// Connections that ended before HTTP.
        accepts: AcceptRefused = "connections_not_begun",
        /// Requests for connections answered with an HTTP error.
        upgrades: UpgradeRefused = "upgrades_refused",
        /// Requests of sessions over HTTP refused.
        sessions: SessionRefused = "session_requests_refused",
        /// Connections that ended.
        closed: Closed = "connections_closed",
        /// Subscribe and unsubscribe commands refused.
        subscriptions: SubscriptionRefused = "subscriptions_refused",
        /// Sign-ins refused.
        signins: SigninRefused = "signins_refused",
        /// Client events dropped.
        client_events: ClientEventRefused = "client_events_refused",
        /// Messages of clients that are no command, or come too fast.
        messages: MessageRefused = "messages_refused",
        /// HTTP requests refused.
        requests: RequestRefused = "http_refused",
        /// Requests to the operators' port refused for a wrong token.
        operators: OperatorRefused = "admin_refused",
        /// Connections established, by transport.
        opened: Transport,
        /// Connections accepted only to be closed with a code of the protocol.
        connections: CloseCode,
        /// Those of the HTTP requests that were to publish: only counted.
        publishes: RequestRefused,
        /// Lines of connections that come and go.
        lifecycle: Lifecycle,
    }
}

impl Deref for Metrics {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0.counters
    }
}

impl Metrics {
    /// What is counted by reason.
    pub fn by_reason(&self) -> &Tallies {
        &self.0.tallies
    }

    /// Tells once in a while how many lines were not logged; runs for as long as the server.
    pub async fn tell_suppressed_lines(self) {
        loop {
            tokio::time::sleep(WINDOW).await;
            self.end_window();
        }
    }

    /// Tells how many lines were not logged since the last time, and lets as many as at the start be logged again.
    pub fn end_window(&self) {
        for (_, _, tally) in self.by_reason().each() {
            tally.end_window();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together() {
        let metrics = Metrics::default();
        metrics.clone().deliveries.inc_by(3);
        assert_eq!(metrics.deliveries.get(), 3);
        let field = Counters::FIELDS
            .iter()
            .find(|field| field.name == "deliveries")
            .unwrap();
        assert_eq!((field.of)(&metrics).get(), 3);
        assert!(field.help.starts_with("Frames handed to sockets"));
    }
}
