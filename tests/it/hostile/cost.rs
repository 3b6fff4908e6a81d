//! What an attack cost the server: CPU, memory, descriptors, read from `/proc`.

use std::time::Duration;

use crate::harness::{PATIENCE, Server, eventually};

/// The server's figures at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// CPU time of all its threads, user and system.
    pub(super) cpu: Duration,
    pub(super) resident_kib: u64,
    pub(super) descriptors: usize,
}

impl Cost {
    pub(super) fn of(server: &Server) -> Self {
        // The startup line may come before the workers, each of which has files of its own. What a first request makes is
        // no attack's cost either.
        eventually(PATIENCE, "all workers answer", || {
            let metrics = server.admin("/metrics").body;
            let workers = |name| {
                let samples = format!("\ntidewire_worker_{name}{{");
                metrics.matches(&samples).count()
            };
            (workers("connections") == workers("inbox_bytes")).then_some(())
        });
        Self {
            cpu: cpu(server.pid()),
            resident_kib: server.resident_kib(),
            descriptors: settled_descriptors(server),
        }
    }

    /// CPU that the server used since then.
    pub(super) fn cpu_since(&self, server: &Server) -> Duration {
        cpu(server.pid()).saturating_sub(self.cpu)
    }

    /// Resident memory that the server has more than then, in KiB.
    pub(super) fn grown_kib(&self, server: &Server) -> u64 {
        server.resident_kib().saturating_sub(self.resident_kib)
    }

    /// Waits until the server has no more descriptors than then.
    pub(super) fn await_descriptors(&self, server: &Server) {
        eventually(PATIENCE, "the descriptors come back", || {
            (server.descriptors() <= self.descriptors).then_some(())
        });
    }
}

/// Once nothing has come or gone for a moment: the last request's own connection, for one.
fn settled_descriptors(server: &Server) -> usize {
    const LOOKS: usize = 5;
    let mut last = Vec::new();
    eventually(PATIENCE, "the descriptors settle", || {
        last.push(server.descriptors());
        let latest = &last[last.len().saturating_sub(LOOKS)..];
        let is_settled = latest.len() == LOOKS && latest.iter().all(|count| *count == latest[0]);
        is_settled.then_some(latest[0])
    })
}

fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running server");
    // The name of the program, in parentheses, may contain blanks.
    let fields = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = |field: usize| -> u64 {
        let text = fields.split_ascii_whitespace().nth(field);
        text.and_then(|text| text.parse().ok()).expect("a number")
    };
    // Fields 14 and 15 of the whole line: user and system time, in ticks of 10 ms.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
