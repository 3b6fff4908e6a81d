//! What a delivery allocates: the same for one subscriber as for a thousand. Every allocation of this process is
//! counted, so it is a test program of its own.

#[path = "../benches/worker/mod.rs"]
mod worker;

use worker::Worker;

const SUBSCRIBERS: usize = 1000;

/// What one event may allocate in all, whoever gets it: its share of the inbox's memory.
const PER_EVENT: u64 = 2;

/// Allocations of delivering one event to `count` subscribers.
fn allocations(count: usize) -> u64 {
    let system = actix_rt::System::new();
    let (worker, audience) = system.block_on(async {
        let worker = Worker::new().await;
        let audience = worker.subscribe(count);
        // The first one finds queues that have no memory yet.
        worker.deliver(&audience).await;
        (worker, audience)
    });
    let info = allocation_counter::measure(|| system.block_on(worker.deliver(&audience)));
    worker.drain();
    info.count_total
}

#[test]
fn a_delivery_allocates_nothing_for_a_subscriber() {
    let control = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(control.count_total, 1, "allocations are counted");
    for count in [1, SUBSCRIBERS] {
        let allocations = allocations(count);
        assert!(
            allocations <= PER_EVENT,
            "{allocations} allocations for {count} subscribers"
        );
    }
}
