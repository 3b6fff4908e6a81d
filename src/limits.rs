//! Rates over a given `now`: a token bucket, without a clock of its own, and failed attempts by address; and how many of
//! something there may be: a limit for connections, and the gate that lets WebSockets in.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

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

    /// Takes `count` at once. More than fit in the bucket are taken when it is full, and the next ones wait for them.
    ///
    /// # Errors
    /// How long until there are enough.
    pub fn take(&mut self, count: u32, per_second: u32, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f32();
        let (rate, count) = (rate(per_second), rate(count));
        self.tokens = (self.tokens + elapsed * rate).min(rate);
        self.at = now;
        let missing = count.min(rate) - self.tokens;
        if missing > 0.0 {
            return Err(Duration::from_secs_f32(missing / rate));
        }
        self.tokens -= count;
        Ok(())
    }
}

/// Exact for every number below 65,536 a second; above, nobody can tell.
fn rate(number: u32) -> f32 {
    f32::from(u16::try_from(number).unwrap_or(u16::MAX))
}

/// Failed attempts of one address within [`FAILURE_WINDOW`], beyond which it is told to wait.
const FAILURES: u64 = 10;

/// What the failures of an address are counted over, in seconds.
const FAILURE_WINDOW: u64 = 10;

/// The half of a slot that counts.
const COUNT: u64 = u32::MAX as u64;

/// How many addresses are told apart. Two of them may share a count, which nobody can choose or foresee.
const FAILURE_SLOTS: usize = 1024;

/// Counts failed attempts to prove something, by address; shared by all workers. Whoever proves it is never asked about
/// others' failures nor their own, so that nobody can be locked out: it is the failures that are made costly.
#[derive(Debug)]
pub struct Failures {
    began: Instant,
    hasher: RandomState,
    /// Each the number of its window and, in the lower half, the failures in it.
    slots: Box<[AtomicU64]>,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            hasher: RandomState::new(),
            slots: (0..FAILURE_SLOTS).map(|_| AtomicU64::default()).collect(),
        }
    }
}

impl Failures {
    /// Counts one failure. An address that is not known is one of its own; those of one network of IPv6 are one.
    ///
    /// # Errors
    /// How long the address should wait: it has failed too often.
    pub fn record(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let network = address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        });
        let at = usize::try_from(self.hasher.hash_one(network) % FAILURE_SLOTS as u64);
        let slot = &self.slots[at.unwrap_or_default()];
        let elapsed = now.saturating_duration_since(self.began).as_secs();
        let window = elapsed / FAILURE_WINDOW;
        let with_this = |slot: u64| {
            let (then, count) = (slot >> 32, slot & COUNT);
            let count = if then == window { count } else { 0 };
            window << 32 | (count + 1).min(COUNT)
        };
        let next = |slot| Some(with_this(slot));
        let before = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        // There is always a next value, so either is what was there before.
        let count = with_this(before.unwrap_or_else(|before| before)) & COUNT;
        if count <= FAILURES {
            return Ok(());
        }
        Err(Duration::from_secs(
            FAILURE_WINDOW - elapsed % FAILURE_WINDOW,
        ))
    }
}

/// Counts how many of something there are and bounds it; shared by all workers.
#[derive(Debug, Default)]
pub struct ConcurrencyLimit {
    in_use: AtomicUsize,
    max: Option<usize>,
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
        let taken = self.in_use.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(Arc::clone(self));
        self.max.is_none_or(|max| taken < max).then_some(permit)
    }
}

/// One permit, given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<ConcurrencyLimit>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether upgrades are taken, and how many there are; shared by all workers.
#[derive(Debug)]
pub struct AdmissionGate {
    draining: watch::Sender<bool>,
    sockets: Arc<ConcurrencyLimit>,
    /// What is in the way when they are as many as may be.
    full: AdmissionRefused,
}

impl AdmissionGate {
    /// Lets so many WebSockets in at a time as both the setting and the limit of open files allow; none: any number.
    #[must_use]
    pub fn new(max_connections: Option<usize>, files: Option<usize>) -> Self {
        let is_set = max_connections.is_some_and(|max| files.is_none_or(|files| max <= files));
        let (max, full) = if is_set {
            (max_connections, AdmissionRefused::Full)
        } else {
            (files, AdmissionRefused::NoFiles)
        };
        Self {
            draining: watch::Sender::default(),
            sockets: Arc::new(ConcurrencyLimit::new(max)),
            full,
        }
    }

    /// From now on refuses every upgrade.
    pub fn close(&self) {
        self.draining.send_replace(true);
    }

    /// Ends when the gate is closed; for whoever comes later, after a while that suffices for one request.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        const LATE: Duration = Duration::from_secs(1);
        let late = if self.is_closed() {
            LATE
        } else {
            Duration::ZERO
        };
        let mut draining = self.draining.subscribe();
        async move {
            // An error means that the gate is gone, and with it the server.
            let _ = draining.wait_for(|draining| *draining).await;
            tokio::time::sleep(late).await;
        }
    }

    /// Whether the server takes no new connections.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        *self.draining.borrow()
    }

    /// How many WebSockets are in, those included that are being closed.
    #[must_use]
    pub fn open(&self) -> usize {
        self.sockets.in_use()
    }

    /// Lets one more WebSocket in, for as long as the permit is kept.
    ///
    /// # Errors
    /// None is taken now.
    pub fn acquire(&self) -> Result<Permit, AdmissionRefused> {
        if self.is_closed() {
            return Err(AdmissionRefused::ShuttingDown);
        }
        self.sockets.acquire().ok_or(self.full)
    }
}

/// Why no WebSocket is let in; the texts are for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionRefused {
    /// The gate was closed.
    #[error("The server is shutting down; connect to another one")]
    ShuttingDown,
    /// There are as many as may be.
    #[error("The server has max_connections connections; try again later")]
    Full,
    /// What is left of the limit of open files is for backends.
    #[error("The server's limit of open files leaves room for no more clients; try again later")]
    NoFiles,
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
    fn an_address_fails_a_few_times_in_a_window_and_no_other_pays_for_it() {
        let failures = Failures::default();
        let now = failures.began;
        let address = |text: &str| Some(text.parse().unwrap());
        let failed = |address, at| {
            (0..100)
                .filter(|_| failures.record(address, at).is_ok())
                .count()
        };
        assert_eq!(failed(address("192.0.2.1"), now), 10);
        // Some other address has a slot of its own, and those who are not known share one.
        let others = (2..20).map(|last| address(&format!("192.0.2.{last}")));
        let others = others.chain([None, address("2001:db8::1")]);
        let untouched = others.filter(|other| failed(*other, now) == 10).count();
        assert!(untouched > 15, "{untouched}");
        assert_eq!(failed(address("2001:db8::2"), now), 0, "the same network");
        assert_eq!(
            failed(address("::ffff:192.0.2.1"), now),
            0,
            "the same address"
        );
        let wait = failures.record(address("192.0.2.1"), now + Duration::from_secs(7));
        assert_eq!(wait, Err(Duration::from_secs(3)));
        assert_eq!(
            failed(address("192.0.2.1"), now + Duration::from_secs(10)),
            10
        );
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
