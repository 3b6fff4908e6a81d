//! Every counter, declared once; the doc comment is the help text. Gauges are not here: they are read from the
//! structure that owns the number when somebody asks.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

macro_rules! counters {
    ($(#[doc = $help:literal] $field:ident,)+) => {
        /// What this process has counted since its start. Cheap to clone: clones count together.
        #[derive(Debug, Clone, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: Counter,)+
        }

        impl Metrics {
            /// Registers all of them under `tidewire_`.
            pub fn register(&self, registry: &mut Registry) {
                $(registry.register(
                    concat!("tidewire_", stringify!($field)),
                    $help.trim().trim_end_matches('.'),
                    self.$field.clone(),
                );)+
            }
        }
    };
}

counters! {
    /// WebSocket connections that were established.
    connections_opened,
    /// WebSocket connections that ended.
    connections_closed,
    /// Connections closed unread because the limit of open files leaves no room for them.
    connections_without_room,
    /// Connections that ended before HTTP: no TLS handshake, or no header of a trusted proxy where one is expected.
    connections_not_begun,
    /// Connections accepted only to be closed with a code of the protocol (unknown app, quota, origin …).
    connections_refused,
    /// Upgrades answered with an HTTP error instead of a WebSocket.
    upgrades_refused,
    /// Messages that clients sent.
    messages_received,
    /// Commands of clients answered with an error.
    commands_refused,
    /// Events accepted through the HTTP API, one for each channel.
    events_published,
    /// Publishes refused because their app's events came too fast.
    events_limited,
    /// Client events relayed.
    client_events,
    /// Client events dropped because they came too fast.
    client_events_limited,
    /// Frames handed to sockets or their outboxes by fan-out.
    deliveries,
    /// Connections closed because their outbox was full.
    slow_consumers,
    /// Connections closed because they were silent after a ping.
    silent_connections,
    /// Publishes and commands refused because a worker's inbox stayed full.
    inbox_overflows,
    /// Last events of cache channels dropped before their time, to stay within their bytes.
    cache_evictions,
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
    /// Topics of dead nodes given up by this node.
    cluster_reaped,
    /// Webhook requests that were answered with 2xx.
    webhook_deliveries,
    /// Attempts at webhook requests that failed: no connection, no answer in time, or another status than 2xx.
    webhook_failures,
    /// Webhook events dropped because their endpoint's queue was full.
    webhook_dropped,
    /// Webhook events put on a dead-letter list after all attempts failed.
    webhook_dead,
    /// Dead letters dropped, the oldest first, because their list was full.
    webhook_dead_dropped,
    /// Configurations that were read while running and are in effect.
    reloads,
    /// Configurations that were read while running and could not be used.
    reloads_failed,
    /// HTTP API requests.
    http_requests,
    /// HTTP API requests answered with an error.
    http_refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_exported_with_its_help() {
        let metrics = Metrics::default();
        metrics.deliveries.inc_by(3);
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("# HELP tidewire_deliveries Frames handed to sockets"));
        assert!(text.contains("tidewire_deliveries_total 3"));
    }
}
