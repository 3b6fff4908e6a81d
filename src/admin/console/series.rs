//! The last quarter of an hour in numbers: a ring of points, one every five seconds, from counters that are there
//! anyway. What it costs does not depend on how much there is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::clock::epoch_ms;
use crate::metrics::{BOUNDS, Observed};
use crate::node::Node;

/// From point to point.
const STEP: Duration = Duration::from_secs(5);

/// A quarter of an hour.
const POINTS: usize = 180;

/// How long a worker may take to say what it has measured.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The points. Clones share them.
#[derive(Clone, Default)]
pub(in crate::admin) struct Series(Arc<watch::Sender<VecDeque<Point>>>);

/// What was between two moments.
#[derive(Serialize)]
struct Point {
    #[serde(rename = "t")]
    time_ms: u64,
    connections: usize,
    /// Each in a second.
    messages_in: f64,
    messages_out: f64,
    deliveries: f64,
    p99_ms: Option<f64>,
}

/// Counters at one moment.
struct Sample {
    at: Instant,
    messages_in: u64,
    messages_out: u64,
    deliveries: u64,
    /// Of each worker; none of one that did not answer.
    publish_to_socket: Vec<Option<Observed>>,
}

impl Series {
    /// Adds a point every five seconds, for as long as the server.
    pub(in crate::admin) async fn keep(&self, node: &Node) {
        let mut before = Sample::take(node).await;
        let mut interval = tokio::time::interval(STEP);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.tick().await;
        loop {
            interval.tick().await;
            let now = Sample::take(node).await;
            let point = now.since(&before, node);
            before = now;
            self.0.send_modify(|points| {
                if points.len() >= POINTS {
                    points.pop_front();
                }
                points.push_back(point);
            });
        }
    }

    /// All points, the oldest first.
    pub(super) fn json(&self) -> Value {
        json!({ "step_seconds": STEP.as_secs(), "points": *self.0.borrow() })
    }
}

impl Sample {
    async fn take(node: &Node) -> Self {
        let publish_to_socket = node.publish_to_socket(TIMEOUT).await;
        let (mut messages_in, mut messages_out) = (0, 0);
        for app in node.apps().iter() {
            messages_in += app.metrics.messages_received.get();
            messages_out += app.metrics.messages_sent.get();
        }
        Self {
            at: Instant::now(),
            messages_in,
            messages_out,
            deliveries: node.metrics().deliveries.get(),
            publish_to_socket,
        }
    }

    fn since(&self, before: &Self, node: &Node) -> Point {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64();
        // The numbers of an app that is taken away go with it.
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.max(1e-3);
        let mut buckets = [0; BOUNDS.len() + 1];
        for (now, before) in self.publish_to_socket.iter().zip(&before.publish_to_socket) {
            if let (Some(now), Some(before)) = (now, before) {
                for (at, sum) in buckets.iter_mut().enumerate() {
                    *sum += now.buckets[at].saturating_sub(before.buckets[at]);
                }
            }
        }
        Point {
            time_ms: epoch_ms(SystemTime::now()),
            connections: node.connections().values().sum(),
            messages_in: rate(self.messages_in, before.messages_in),
            messages_out: rate(self.messages_out, before.messages_out),
            deliveries: rate(self.deliveries, before.deliveries),
            p99_ms: quantile(&buckets, 0.99).map(|p99| p99.as_secs_f64() * 1000.0),
        }
    }
}

/// As Prometheus' `histogram_quantile`: within a bucket all are taken to be spread evenly, and those above the last
/// bound to be at it.
fn quantile(buckets: &[u64; BOUNDS.len() + 1], quantile: f64) -> Option<Duration> {
    let all: u64 = buckets.iter().sum();
    let rank = all as f64 * quantile;
    let mut below = 0.0;
    for (at, count) in buckets.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= rank {
            let lower = at.checked_sub(1).map_or(0.0, |at| BOUNDS[at]);
            let upper = BOUNDS.get(at).copied().unwrap_or(lower);
            let seconds = lower + (upper - lower) * (rank - below) / count;
            return Some(Duration::from_secs_f64(seconds));
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut buckets = [0; BOUNDS.len() + 1];
        assert_eq!(quantile(&buckets, 0.99), None);
        buckets[3] = 100;
        let millis = |p: Option<Duration>| p.unwrap().as_secs_f64() * 1000.0;
        let p99 = millis(quantile(&buckets, 0.99));
        assert!((p99 - 0.995).abs() < 1e-6, "{p99}");
        buckets[BOUNDS.len()] = 100;
        let p99 = millis(quantile(&buckets, 0.99));
        assert!((p99 - 5000.0).abs() < 1e-6, "above all bounds: {p99}");
    }
}
