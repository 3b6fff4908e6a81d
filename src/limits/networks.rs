//! Networks: what comes from one address is counted, failed attempts to prove something and WebSockets. A network is an
//! address of IPv4 or a /64 of IPv6, which is what one client has.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::AdmissionRefused;
use crate::slack::Slack as _;

#[expect(
    clippy::disallowed_types,
    reason = "taken at an upgrade and at its connection's end, and only where networks are limited"
)]
type Lock<T> = std::sync::Mutex<T>;

/// Where a client is. Those whose address is not known are one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u64),
    Unknown,
}

impl From<Option<IpAddr>> for Network {
    fn from(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Self::V4(address.to_bits()),
            Some(IpAddr::V6(address)) => Self::V6((address.to_bits() >> 64) as u64),
            None => Self::Unknown,
        }
    }
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
    /// Counts one failure.
    ///
    /// # Errors
    /// How long the address should wait: it has failed too often.
    pub fn record(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let network = Network::from(address);
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

/// Networks that may open WebSockets in one second, with `connects_per_ip_per_second`. Further ones are refused until the
/// second is over.
const MAX_OPENING: usize = 65_536;

/// How many WebSockets a network may have, and open in a second; shared by all workers.
#[derive(Debug)]
pub struct NetworkLimits {
    connections: Option<NonZeroU32>,
    connects_per_second: Option<NonZeroU32>,
    began: Instant,
    counts: Lock<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Networks that have WebSockets, so no more of them than of WebSockets.
    open: HashMap<Network, u32>,
    /// Networks that opened some in this second, up to [`MAX_OPENING`].
    opening: HashMap<Network, u32>,
    /// The second, counted from the start.
    second: u64,
}

impl NetworkLimits {
    /// None where nothing is limited.
    #[must_use]
    pub fn new(
        connections: Option<NonZeroU32>,
        connects_per_second: Option<NonZeroU32>,
    ) -> Option<Arc<Self>> {
        let is_limited = connections.is_some() || connects_per_second.is_some();
        is_limited.then(|| {
            Arc::new(Self {
                connections,
                connects_per_second,
                began: Instant::now(),
                counts: Lock::default(),
            })
        })
    }

    /// Counts an attempt, and a WebSocket for as long as the permit is kept; no permit is needed where only attempts are
    /// limited.
    pub(super) fn acquire(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Option<Box<NetworkPermit>>, AdmissionRefused> {
        let network = Network::from(address);
        let second = now.saturating_duration_since(self.began).as_secs();
        let mut counts = lock(&self.counts);
        if let Some(most) = self.connects_per_second
            && !counts.open_in(second, network, most)
        {
            return Err(AdmissionRefused::NetworkTooFast);
        }
        let Some(most) = self.connections else {
            return Ok(None);
        };
        let open = counts.open.entry(network).or_default();
        if *open >= most.get() {
            return Err(AdmissionRefused::NetworkFull);
        }
        *open += 1;
        let limits = Arc::clone(self);
        Ok(Some(Box::new(NetworkPermit { limits, network })))
    }
}

impl Counts {
    /// Whether the network may open one more in that second.
    fn open_in(&mut self, second: u64, network: Network, most: NonZeroU32) -> bool {
        if self.second != second {
            self.second = second;
            self.opening = HashMap::new();
        }
        if self.opening.len() >= MAX_OPENING && !self.opening.contains_key(&network) {
            return false;
        }
        let opened = self.opening.entry(network).or_default();
        *opened = opened.saturating_add(1);
        *opened <= most.get()
    }
}

/// One WebSocket of a network, until it is dropped.
#[derive(Debug)]
pub(super) struct NetworkPermit {
    limits: Arc<NetworkLimits>,
    network: Network,
}

impl Drop for NetworkPermit {
    fn drop(&mut self) {
        let open = &mut lock(&self.limits.counts).open;
        if let Some(count) = open.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.network);
                open.give_back();
            }
        }
    }
}

/// Counts are changed in single steps, so they are whole whatever became of who had the lock.
fn lock<T>(lock: &Lock<T>) -> impl std::ops::DerefMut<Target = T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_fails_a_few_times_in_a_window_and_no_other_pays_for_it() {
        let failures = Failures::default();
        let now = failures.began;
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
    fn a_network_has_so_many_and_gives_them_back() {
        let limits = NetworkLimits::new(NonZeroU32::new(2), None).unwrap();
        let now = limits.began;
        let acquire = |text| limits.acquire(address(text), now);
        let both = [acquire("2001:db8::1"), acquire("2001:db8::ffff:1")];
        assert!(both.iter().all(Result::is_ok));
        let full = acquire("2001:db8::2").unwrap_err();
        assert_eq!(full, AdmissionRefused::NetworkFull);
        let others = ["2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.1"].map(acquire);
        assert!(others.iter().all(Result::is_ok));
        assert!(acquire("192.0.2.1").is_err(), "it has been in another form");
        let unknown = [(); 3].map(|()| limits.acquire(None, now).is_ok());
        assert_eq!(unknown, [true; 3], "each was given back");
        drop(both);
        assert!(acquire("2001:db8::2").is_ok());
        drop(others);
        assert!(lock(&limits.counts).open.is_empty());
    }

    #[test]
    fn a_network_opens_so_many_in_a_second() {
        let limits = NetworkLimits::new(None, NonZeroU32::new(3)).unwrap();
        let taken = |text, at| {
            let attempts = (0..10).map(|_| limits.acquire(address(text), at));
            attempts.filter(Result::is_ok).count()
        };
        let now = limits.began;
        let later = now + Duration::from_secs(1);
        assert_eq!(taken("192.0.2.1", now), 3);
        assert_eq!(taken("192.0.2.2", now), 3);
        assert_eq!(taken("192.0.2.1", now + Duration::from_millis(999)), 0);
        assert_eq!(taken("192.0.2.1", later), 3);
        assert_eq!(lock(&limits.counts).opening.len(), 1, "of this second");
    }

    #[test]
    fn so_many_networks_are_told_apart_in_a_second() {
        let limits = NetworkLimits::new(None, NonZeroU32::new(1)).unwrap();
        let now = limits.began;
        let network = |number: usize| {
            let bits = u32::try_from(number).unwrap();
            Some(IpAddr::V4(bits.into()))
        };
        let taken = (0..MAX_OPENING + 100).filter(|n| limits.acquire(network(*n), now).is_ok());
        assert_eq!(taken.count(), MAX_OPENING);
        assert!(
            limits
                .acquire(network(MAX_OPENING), now + Duration::from_secs(1))
                .is_ok()
        );
        assert!(lock(&limits.counts).opening.capacity() < 100);
    }
}
