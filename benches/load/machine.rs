//! Where the figures come from: the machine, the commit, and how many files this process may open.

use std::fs;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Result, note};

/// Files that are no connections: standard streams, epoll, publishers, what is read of `/proc`.
const OTHER_FILES: u64 = 128;

/// What every line of results names.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |key: &str| {
            let line = info.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let unknown = || "unknown".to_owned();
        Self {
            // Arm names none.
            cpu: value("model name").unwrap_or_else(unknown),
            cores: info.lines().filter(|l| l.starts_with("processor")).count(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |release| release.trim().to_owned()),
        }
    }
}

/// The commit of this checkout, with a mark if it is not all of what was built.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments);
        let output = command.output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed = git(&[
        "status",
        "--porcelain",
        "--",
        "src",
        "benches",
        "Cargo.lock",
    ]);
    match changed {
        Some(changes) if changes.is_empty() => commit,
        _ => commit + "+changes",
    }
}

/// Raises the soft file limit to the hard one, which the servers started from here inherit.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        note(&format!("the file limit stays as it is: {error}"));
    }
    note(&format!(
        "file limit {}: room for {} connections",
        text(getrlimit(Resource::Nofile).current),
        text(room())
    ));
}

/// Sees to it that this process, and a server that it starts, can have that many connections.
pub(crate) fn need_connections(count: usize) -> Result<()> {
    let wanted = count as u64 + OTHER_FILES;
    if room().is_none_or(|room| room >= count as u64) {
        return Ok(());
    }
    // Beyond the hard limit only a privileged process can go.
    let raised = Rlimit {
        current: Some(wanted),
        maximum: Some(wanted),
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        format!(
            "{count} connections need a file limit of {wanted}, and the hard one is {}: {error}. \
             Raise it (ulimit -Hn) or ask for fewer",
            text(getrlimit(Resource::Nofile).maximum)
        )
    })?;
    note(&format!("file limit raised to {wanted}"));
    Ok(())
}

fn room() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map(|limit| limit.saturating_sub(OTHER_FILES))
}

fn text(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}
