//! Rates over a given `now`, without a clock of their own, and how many of something there may be: a token bucket, permits,
//! what one network may do (`networks`), the gate that lets WebSockets in (`gate`), and a node's share of a limit (`share`).

mod gate;
mod networks;
mod share;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use gate::{Admission, AdmissionGate, AdmissionRefused};
pub use networks::{Failures, NetworkLimits};
pub use share::{Ask, Share, Usage};

/// Lets `per_second` things through each second, with a burst of as many.
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self {
            tokens: per_second.into(),
            at: now,
        }
    }

    /// Takes `count` at once. More than fit in the bucket are taken when it is full, and the next ones wait for them.
    ///
    /// # Errors
    /// How long until there are enough.
    pub fn take(&mut self, count: u32, per_second: u32, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        let (rate, count) = (f64::from(per_second), f64::from(count));
        self.tokens = (self.tokens + elapsed * rate).min(rate);
        self.at = now;
        let missing = count.min(rate) - self.tokens;
        if missing > 0.0 {
            return Err(Duration::from_secs_f64(missing / rate));
        }
        self.tokens -= count;
        Ok(())
    }
}

/// Counts how many of something there are and bounds it; shared by all workers.
#[derive(Debug, Default)]
pub struct ConcurrencyLimit {
    in_use: AtomicUsize,
    max: Option<usize>,
    /// Where a part is counted and bounded as well.
    whole: Option<Arc<Self>>,
}

impl ConcurrencyLimit {
    /// For up to `max` at a time.
    #[must_use]
    pub fn new(max: Option<usize>) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    /// Counts a part of what another one bounds.
    #[must_use]
    pub fn part_of(whole: Arc<Self>) -> Self {
        Self {
            whole: Some(whole),
            ..Self::default()
        }
    }

    /// How many there are.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// How many there may be; none: any number.
    #[must_use]
    pub fn max(&self) -> Option<usize> {
        self.max
    }

    /// Takes a permit, unless there is none.
    pub fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let fits = self.add();
        let permit = Permit(Arc::clone(self));
        fits.then_some(permit)
    }

    /// Counts one more. Whether there may be so many.
    fn add(&self) -> bool {
        let taken = self.in_use.fetch_add(1, Ordering::Relaxed);
        let whole_fits = self.whole.as_ref().is_none_or(|whole| whole.add());
        whole_fits && self.max.is_none_or(|max| taken < max)
    }

    fn remove(&self) {
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.remove();
        }
    }
}

/// One permit, given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<ConcurrencyLimit>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refills_with_time_up_to_a_second_s_worth() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, start);
        let taken = |bucket: &mut TokenBucket, now| {
            let attempts = (0..100).map(|_| bucket.take(1, 10, now));
            attempts.filter(Result::is_ok).count()
        };
        assert_eq!(taken(&mut bucket, start), 10);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(300)), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(60)), 10);
    }

    #[test]
    fn a_place_that_is_given_back_can_be_taken_again() {
        let limit = Arc::new(ConcurrencyLimit::new(Some(2)));
        let permits = [limit.acquire(), limit.acquire()];
        assert!(permits.iter().all(Option::is_some));
        assert!(limit.acquire().is_none());
        assert_eq!(limit.in_use(), 2, "a refusal takes nothing");
        drop(permits);
        assert_eq!(limit.in_use(), 0);
        assert!(limit.acquire().is_some());
    }

    #[test]
    fn parts_share_what_the_whole_has() {
        let whole = Arc::new(ConcurrencyLimit::new(Some(2)));
        let [one, other] =
            [(); 2].map(|()| Arc::new(ConcurrencyLimit::part_of(Arc::clone(&whole))));
        let permits = [one.acquire(), other.acquire()];
        assert!(permits.iter().all(Option::is_some));
        assert!(one.acquire().is_none());
        let counts = || [&one, &other, &whole].map(|limit| limit.in_use());
        assert_eq!(counts(), [1, 1, 2], "a refusal takes nothing");
        drop(permits);
        assert_eq!(counts(), [0, 0, 0]);
    }

    #[test]
    fn many_at_once_are_all_taken_or_none() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let mut bucket = TokenBucket::new(10, start);
        assert_eq!(bucket.take(7, 10, start), Ok(()));
        let wait = bucket.take(5, 10, start).unwrap_err();
        assert!((0.19..0.21).contains(&wait.as_secs_f32()), "{wait:?}");
        assert_eq!(bucket.take(3, 10, start), Ok(()));
        // More than a second's worth waits for a full bucket and leaves a debt.
        assert!(bucket.take(25, 10, at(9)).is_err());
        assert_eq!(bucket.take(25, 10, at(10)), Ok(()));
        let wait = bucket.take(1, 10, at(10)).unwrap_err();
        assert!((1.59..1.61).contains(&wait.as_secs_f32()), "{wait:?}");
        assert!(bucket.take(1, 10, at(25)).is_err());
        assert_eq!(bucket.take(1, 10, at(27)), Ok(()));
    }
}
