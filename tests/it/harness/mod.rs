//! What every suite needs: a running server, the credentials it knows, clients, and waiting with a deadline.

mod config;
mod credentials;
mod http;
mod receiver;
mod server;
mod wire;
mod ws;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use config::Config;
pub(crate) use credentials::{APP, Credentials, OTHER_APP, now, raw_query};
pub(crate) use http::{Http, Response, request};
pub(crate) use receiver::{Receiver, Reply};
pub(crate) use server::{Server, event_body};
pub(crate) use ws::{Message, Opcode, TARGET, Ws, frame, header, signin_frame, subscribe_frame};

/// How long anything that should happen at once may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `probe` yields something.
///
/// # Panics
/// When it has not by the deadline; `what` says what was awaited.
pub(crate) fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    const INTERVAL: Duration = Duration::from_millis(10);
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        thread::sleep(INTERVAL);
    }
}
