//! What a full queue has dropped, for the log: a line at once, then their sum at most every ten seconds.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::tag::Tag;
use crate::metrics::Metrics;
use crate::protocol::WebhookKind;

/// From line to line.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts since the last line.
#[derive(Debug, Default)]
pub(super) struct DropLog {
    /// When what was counted is told; none if there may be a line at once.
    until: Option<Instant>,
    public: u64,
    kinds: [u64; WebhookKind::ALL.len()],
}

impl DropLog {
    pub(super) fn record(&mut self, tag: &Tag, metrics: &Metrics, endpoint: &str) {
        metrics.webhook_dropped.inc();
        if tag.is_public {
            metrics.webhook_dropped_public.inc();
            self.public += 1;
        }
        let kind = WebhookKind::ALL.iter().position(|kind| *kind == tag.kind);
        if let Some(count) = kind.and_then(|at| self.kinds.get_mut(at)) {
            *count += 1;
        }
        if self.until.is_none() {
            self.log(endpoint);
        }
    }

    /// When [`DropLog::log`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.until
    }

    /// Says what was dropped since the last time, if anything was.
    pub(super) fn log(&mut self, endpoint: &str) {
        let total: u64 = self.kinds.iter().sum();
        let mut kinds = String::new();
        for (kind, count) in WebhookKind::ALL.iter().zip(self.kinds) {
            if count > 0 {
                let comma = if kinds.is_empty() { "" } else { ", " };
                // A string takes everything.
                let _ = write!(kinds, "{comma}{count} {}", kind.name());
            }
        }
        if total > 0 {
            warn!(
                endpoint,
                dropped = total,
                of_public_channels = self.public,
                "a webhook's queue is full, the longest line loses its newest events: {kinds}"
            );
        }
        *self = Self {
            until: (total > 0).then(|| Instant::now() + WINDOW),
            ..Self::default()
        };
    }
}
