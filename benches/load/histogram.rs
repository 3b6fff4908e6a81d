//! How long things took, in bounded memory: buckets that are 1/128 of their value wide.

/// Values below it have a bucket each; above it every doubling has half as many.
const EXACT: u64 = 1 << (BITS + 1);
const BITS: u32 = 7;
const BUCKETS: usize = ((64 - BITS as usize) << BITS) + (1 << BITS);

/// Counts of durations in nanoseconds.
pub(crate) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; BUCKETS].into(),
            count: 0,
            max: 0,
        }
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value that this share of all values does not exceed, up to 1/128 too high; 0 when there are none.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        // Counts stay far below the 2^52 that a float holds.
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut passed = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            passed += count;
            if passed >= rank.max(1) {
                return highest(index).min(self.max);
            }
        }
        self.max
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.max = 0;
    }
}

/// Values of one length in bits are told apart by the `BITS` bits that follow their first one.
fn bucket(value: u64) -> usize {
    if value < EXACT {
        return usize::try_from(value).unwrap_or(usize::MAX);
    }
    let shift = value.ilog2() - BITS;
    // The first one makes it at least 2^BITS, which continues the row of the length before.
    let row = (shift as usize) << BITS;
    row + usize::try_from(value >> shift).unwrap_or(0)
}

/// The highest value of a bucket.
fn highest(bucket: usize) -> u64 {
    let index = bucket as u64;
    if index < EXACT {
        return index;
    }
    let shift = (index >> BITS) - 1;
    let top = index - (shift << BITS);
    // The last bucket ends where u64 does.
    ((u128::from(top) + 1) << shift)
        .saturating_sub(1)
        .try_into()
        .unwrap_or(u64::MAX)
}
