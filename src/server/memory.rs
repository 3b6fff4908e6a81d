//! Gives memory back after a burst. The allocator keeps what was freed for the next burst, which may never come: 232 MiB
//! where 3 were in use, after 300,000 channels had come and gone (`(measured)`, benches/README.md).
//!
//! Every few seconds it is looked whether the process holds much more than it uses; only then are the arenas trimmed,
//! as workers may have to wait for that. What a trim leaves, as pieces that are in use are on its pages, is not asked
//! for again.

use std::time::{Duration, Instant};

use tracing::debug;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(5);

/// Less than this is never worth a trim.
const LEAST_BYTES: u64 = 8 << 20;

/// What is held beyond what is in use must also exceed this share of that: a large server lives with more.
const SHARE: u64 = 4;

/// Looks after the process's memory for as long as it runs.
pub(super) async fn give_back_now_and_then() {
    let mut interval = tokio::time::interval(INTERVAL);
    // The program itself is resident too.
    let mut left = None;
    loop {
        interval.tick().await;
        // Not on this thread, which webhooks leave from. A look that failed is no reason to end.
        let looked = tokio::task::spawn_blocking(move || look(left)).await;
        left = looked.unwrap_or(left);
    }
}

/// Trims if it is worth it. What was held beyond what is in use when that was least, or after the last trim.
fn look(left: Option<u64>) -> Option<u64> {
    let held = held()?;
    let left = left.map_or(held.unused, |left| left.min(held.unused));
    if held.unused <= left + LEAST_BYTES.max(held.in_use / SHARE) {
        return Some(left);
    }
    let begun = Instant::now();
    tidewire_system::give_back();
    let duration = begun.elapsed();
    let after = self::held()?;
    debug!(
        before_bytes = held.in_use + held.unused,
        after_bytes = after.in_use + after.unused,
        duration_ms = duration.as_millis(),
        "memory was given back to the system"
    );
    Some(after.unused)
}

/// Bytes of memory that the process has.
struct Held {
    in_use: u64,
    unused: u64,
}

fn held() -> Option<Held> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let resident = pages * rustix::param::page_size() as u64;
    let in_use = unwrapped(tidewire_system::in_use()?, resident);
    Some(Held {
        in_use,
        unused: resident - in_use,
    })
}

/// The greatest number up to `most` whose lowest 32 bits these are: nothing is in use that is not there.
fn unwrapped(low: u32, most: u64) -> u64 {
    const WRAP: u64 = 1 << 32;
    let low = u64::from(low);
    match most.checked_sub(low) {
        Some(room) => low + room / WRAP * WRAP,
        // Asked for and not touched yet.
        None => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_numbers_are_put_right_by_what_is_resident() {
        const GIB: u64 = 1 << 30;
        for (in_use, resident, expected) in [
            (GIB, 2 * GIB, GIB),
            (5 * GIB, 6 * GIB, 5 * GIB),
            (9 * GIB, 9 * GIB, 9 * GIB),
            (3 * GIB, 2 * GIB, 2 * GIB),
            (0, 0, 0),
        ] {
            let low = u32::try_from(in_use % (1 << 32)).unwrap();
            assert_eq!(unwrapped(low, resident), expected, "{in_use} {resident}");
        }
    }
}
