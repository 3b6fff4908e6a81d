//! What the system tells of other processes, and on which CPUs they run.

use std::fs;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{Result, note};

/// CPU time that was spent, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Usage {
    /// What processes have spent since their start, all their threads together.
    ///
    /// The kernel counts the sum exactly and splits it by what it meets at each tick, so it is the split that needs
    /// runs of seconds.
    pub(crate) fn of(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let path = format!("/proc/{pid}/stat");
            let stat = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
            // The name in parentheses may hold anything, parentheses too; utime and stime are fields 14 and 15.
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let mut ticks = fields
                .split_ascii_whitespace()
                .skip(11)
                .map(ticks_to_micros);
            let (Some(Some(user)), Some(Some(system))) = (ticks.next(), ticks.next()) else {
                return Err(format!("{path} has no times: {stat}").into());
            };
            sum.user += user;
            sum.system += system;
        }
        Ok(sum)
    }

    /// What was spent since an earlier look.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }

    pub(crate) fn micros(self) -> f64 {
        self.user + self.system
    }

    /// In percent of one CPU.
    pub(crate) fn percent(self, of: Duration) -> f64 {
        self.micros() / of.as_secs_f64() / 1e4
    }
}

fn ticks_to_micros(ticks: &str) -> Option<f64> {
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let ticks: f64 = ticks.parse().ok()?;
    Some(ticks / per_second * 1e6)
}

/// Resident memory of processes in KiB.
pub(crate) fn resident_kib(pids: &[u32]) -> Result<f64> {
    let mut sum = 0.0;
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: Option<f64> =
            line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        sum += kib.ok_or_else(|| format!("{path} has no VmRSS: is the process gone?"))?;
    }
    Ok(sum)
}

/// Entries of a folder of `/proc` of processes: `fd` are their open files, `task` their threads.
pub(crate) fn entries(pids: &[u32], folder: &str) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/{folder}");
        sum += fs::read_dir(&path)
            .map_err(|e| format!("{path}: {e}"))?
            .count() as u64;
    }
    Ok(sum)
}

/// Who runs where.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Cpus {
    /// CPUs of the servers; none: wherever the system likes.
    pub(crate) server: Option<Vec<usize>>,
    /// CPUs of this client.
    pub(crate) client: Option<Vec<usize>>,
}

impl Cpus {
    /// One CPU each, if there are two.
    pub(crate) fn apart() -> Self {
        let mut allowed = (0..CpuSet::MAX_CPU)
            .filter(|cpu| sched_getaffinity(None).is_ok_and(|set| set.is_set(*cpu)));
        let (first, second) = (allowed.next(), allowed.next());
        if second.is_none() {
            note("there is one CPU: server and client share it, and latencies tell little");
            return Self::anywhere();
        }
        Self {
            server: first.map(|cpu| vec![cpu]),
            client: second.map(|cpu| vec![cpu]),
        }
    }

    pub(crate) fn anywhere() -> Self {
        Self {
            server: None,
            client: None,
        }
    }

    /// Runs `spawn` on the servers' CPUs, so that what it starts has never been elsewhere, and returns to the client's.
    pub(crate) fn on_servers<T>(&self, spawn: impl FnOnce() -> T) -> Result<T> {
        if let Some(cpus) = &self.server {
            sched_setaffinity(None, &set(cpus))
                .map_err(|e| format!("cannot pin the server to CPUs {cpus:?}: {e}"))?;
        }
        let spawned = spawn();
        self.pin_client()?;
        Ok(spawned)
    }

    /// Pins this thread, the only one.
    pub(crate) fn pin_client(&self) -> Result<()> {
        if let Some(cpus) = &self.client {
            sched_setaffinity(None, &set(cpus))
                .map_err(|e| format!("cannot pin the client to CPUs {cpus:?}: {e}"))?;
        }
        Ok(())
    }

    /// Says where processes run that were not started here, if that may be where this client runs. They are left as
    /// they are: whoever started them places them.
    pub(crate) fn note_foreign(&self, pids: &[u32]) {
        let Some(client) = &self.client else { return };
        for pid in pids {
            let id = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            let Some(allowed) = id.and_then(|id| sched_getaffinity(Some(id)).ok()) else {
                continue;
            };
            if client.iter().any(|cpu| allowed.is_set(*cpu)) {
                note(&format!(
                    "process {pid} may run on the client's CPUs {client:?}: start it with taskset to keep them apart"
                ));
            }
        }
    }
}

fn set(cpus: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU) {
        set.set(*cpu);
    }
    set
}
