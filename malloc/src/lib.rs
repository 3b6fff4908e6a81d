//! What the C library's allocator holds, and giving it back to the system.
//!
//! Apart from the server, which forbids unsafe code: two calls of glibc have no safe form. Linked statically or not,
//! they are the same. With another C library there is nothing to ask and nothing is done.

/// Bytes that the program has asked for and not given back, modulo 2³²: glibc has counted them in wider numbers only
/// since 2.33, and older ones should do. None where that cannot be told.
///
/// Looks at every free piece of every arena: some milliseconds where there are very many.
#[must_use]
pub fn in_use() -> Option<u32> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: takes nothing and returns numbers; the arenas are locked while they are looked at.
        let info = unsafe { libc::mallinfo() };
        // Each has wrapped where it was too large.
        Some((info.uordblks as u32).wrapping_add(info.hblkhd as u32))
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

/// Gives free pages of all arenas back to the system.
///
/// Each arena is locked for as long as that takes: whoever needs memory of it then waits for some milliseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: takes a number and moves nothing that is in use; the arenas are locked while they are trimmed.
        unsafe { libc::malloc_trim(0) };
    }
}
