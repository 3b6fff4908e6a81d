//! Durations in buckets, counted by one worker for itself: plain cells, nothing that other threads see.

use std::cell::Cell;
use std::time::Duration;

/// The buckets' upper bounds in seconds; above the last one there is one more.
pub const BOUNDS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Durations, counted by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Cell<u64>; BOUNDS.len() + 1],
    sum: Cell<Duration>,
}

/// The numbers of a [`Histogram`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observed {
    /// The count of each bucket: durations up to its bound and above the one before it; the last count is of those
    /// above all bounds.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// The sum of all durations.
    pub sum: Duration,
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let within = BOUNDS.partition_point(|bound| *bound < seconds);
        let bucket = &self.buckets[within];
        bucket.set(bucket.get() + 1);
        self.sum.set(self.sum.get() + duration);
    }

    /// The numbers as of now.
    pub fn observed(&self) -> Observed {
        let mut observed = Observed {
            sum: self.sum.get(),
            ..Observed::default()
        };
        for (to, from) in observed.buckets.iter_mut().zip(&self.buckets) {
            *to = from.get();
        }
        observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 5_000_000, 5_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let observed = histogram.observed();
        assert_eq!(observed.buckets[..3], [2, 1, 0]);
        assert_eq!(observed.buckets[14..], [1, 1]);
        assert_eq!(observed.sum, Duration::from_micros(10_000_202));
    }
}
