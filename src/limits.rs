//! Rates over a given `now`: a token bucket. Knows no clock of its own.

use std::time::Instant;

/// Lets `per_second` things through each second, with a burst of as many.
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    tokens: f32,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self {
            tokens: rate(per_second),
            at: now,
        }
    }

    /// Takes one, or says that there is none.
    pub fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f32();
        let rate = rate(per_second);
        self.tokens = (self.tokens + elapsed * rate).min(rate);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// Exact for every rate below 65,536 a second; above, nobody can tell.
fn rate(per_second: u32) -> f32 {
    f32::from(u16::try_from(per_second).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn refills_with_time_up_to_a_second_s_worth() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, start);
        let taken =
            |bucket: &mut TokenBucket, now| (0..100).filter(|_| bucket.take(10, now)).count();
        assert_eq!(taken(&mut bucket, start), 10);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(300)), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(60)), 10);
    }
}
