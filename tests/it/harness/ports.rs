//! Ports for what must be able to come back on the same one.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Listens on a port below those that the system gives away by itself: while the server that had it is away, nobody
/// gets it by chance, and no connection to it finds itself at the other end.
pub(crate) fn free_listener() -> TcpListener {
    const FIRST: u16 = 20_000;
    const MANY: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    let free = (0..MANY).find_map(|_| {
        let next = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into());
        let offset = u16::try_from(next % u32::from(MANY)).unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST + offset)).ok()
    });
    free.expect("a free port")
}

/// The same for somebody else, who may find it taken after all.
pub(crate) fn free_port() -> u16 {
    free_listener().local_addr().unwrap().port()
}
