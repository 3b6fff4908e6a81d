//! What every suite needs: a running server, the credentials it knows, clients, and waiting with a deadline.

mod certificates;
mod config;
mod credentials;
mod daemon;
mod databases;
mod events;
mod exposition;
mod http;
mod nodes;
mod observer;
mod ports;
mod proxy;
mod receiver;
mod redis;
mod resp;
mod server;
mod tokens;
mod wire;
mod ws;
mod xhr;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use certificates::TestCertificates;
pub(crate) use config::Config;
pub(crate) use credentials::{APP, Credentials, OTHER_APP, now, raw_query};
pub(crate) use databases::{Database, DatabaseKind, DatabaseServer};
pub(crate) use events::Events;
pub(crate) use exposition::Exposition;
pub(crate) use http::{Http, Response, request};
pub(crate) use nodes::Nodes;
pub(crate) use observer::{Members, Observer, listed, members};
pub(crate) use ports::free_port;
pub(crate) use proxy::Proxy;
pub(crate) use receiver::{Received, Receiver, Reply};
pub(crate) use redis::{RedisCluster, RedisSentinel, RedisServer, WATCHED, new_folder};
pub(crate) use resp::{Answer, Resp};
pub(crate) use server::{Server, event_body};
pub(crate) use tokens::{Jwks, Provider, ProviderKey, hs256, jwk_set, jwt};
pub(crate) use wire::{Filled, Wire, tls_client};
pub(crate) use ws::{
    Message, Opcode, TARGET, Ws, frame, header, signin_frame, subscribe_frame, upgrade,
};
pub(crate) use xhr::{ROLL_OVER, Stream as XhrStream, Xhr, lines as xhr_lines, messages};

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

/// Sends a signal to a process that the tests have started.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .expect("kill exists");
    assert!(status.success(), "kill -{name}");
}
