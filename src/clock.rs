//! The system's clock, whatever it shows: one before 1970 counts as 1970, and no text or certificate makes it a panic.
//!
//! The only place that reads the time of day for anything but a difference.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use time::OffsetDateTime;

/// A time in milliseconds since 1970; 0 for one before it.
pub fn epoch_ms(time: SystemTime) -> u64 {
    u64::try_from(since_epoch(time).as_millis()).unwrap_or(u64::MAX)
}

/// Now, in seconds since 1970.
pub fn now_seconds() -> u64 {
    since_epoch(SystemTime::now()).as_secs()
}

/// Now, in microseconds since 1970.
pub fn now_micros() -> u64 {
    u64::try_from(since_epoch(SystemTime::now()).as_micros()).unwrap_or(u64::MAX / 2)
}

/// A time since 1970; nothing for one before it.
pub fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time as a date. What has none, before 1970 or after 9999, is shown as 1970.
pub fn date(time: SystemTime) -> OffsetDateTime {
    let nanoseconds = i128::try_from(since_epoch(time).as_nanos()).unwrap_or_default();
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The clock by which certificates are judged: the library's own panics before 1970.
#[derive(Debug)]
pub struct Certified;

impl TimeProvider for Certified {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(since_epoch(SystemTime::now())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_a_panic() {
        let early = UNIX_EPOCH - Duration::from_secs(300_000_000);
        let late = UNIX_EPOCH + Duration::from_secs(300_000_000_000);
        assert_eq!((epoch_ms(early), since_epoch(early)), (0, Duration::ZERO));
        assert_eq!(epoch_ms(late), 300_000_000_000_000);
        for time in [early, late] {
            assert_eq!(date(time), OffsetDateTime::UNIX_EPOCH);
        }
        assert_eq!(
            date(UNIX_EPOCH + Duration::from_millis(1500)).millisecond(),
            500
        );
    }
}
