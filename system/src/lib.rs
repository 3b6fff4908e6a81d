//! The calls of the system that have no safe form, apart from the server, which forbids unsafe code: what the C
//! library's allocator holds, giving it back, and one option of listeners.
//!
//! The allocator is asked through glibc. Linked statically or not, it is the same. With another C library there is
//! nothing to ask and nothing is done.

#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd as _;
use std::{io, os::fd::AsFd, time::Duration};

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

/// Has connections of a TCP listener accepted when their first byte is there, or after `timeout`, in whole seconds.
///
/// # Errors
/// The system cannot, as all but Linux.
pub fn defer_accept(listener: &impl AsFd, timeout: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let seconds = libc::c_int::try_from(timeout.as_secs()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the descriptor is open as long as it is borrowed, and the value is read during the call only.
        let result = unsafe {
            libc::setsockopt(
                listener.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_DEFER_ACCEPT,
                (&raw const seconds).cast(),
                size_of_val(&seconds) as libc::socklen_t,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (listener, timeout);
        Err(io::ErrorKind::Unsupported.into())
    }
}
