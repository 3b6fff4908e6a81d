//! Logs the events that a full queue drops: the first at once, then a sum at most every ten seconds.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::tag::Tag;
use crate::metrics::Metrics;
use crate::protocol::WebhookKind;

/// The shortest time between two lines.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts since the last line.
#[derive(Debug, Default)]
pub(super) struct DropLog {
    /// When the next line is due. None if a line may be logged at once.
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

    /// Logs the drops since the last line, if there were any.
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
