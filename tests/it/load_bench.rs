//! The load bench measures a server that runs already, and leaves it as it found it.

use std::fs;
use std::process::Command;

use crate::harness::{Config, Server};

#[test]
fn a_running_server_is_measured_and_stays_on_its_cpus() {
    let server = Server::start(&Config::new());
    let cpus = allowed_cpus(server.pid());
    let (url, pid) = (format!("ws://{}", server.public), server.pid().to_string());
    let output = Command::new(env!("CARGO"))
        .args(["test", "--quiet", "--bench", "load", "--"])
        .args(["fanout", "--subscribers", "20", "--seconds", "0.5"])
        .args(["--url", &url, "--pid", &pid])
        .args(["--app-id", "app-id", "--key", "app-key"])
        .args(["--secret", "app-secret"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    let figure = |name: &str| line["figures"][name].as_f64();
    assert_eq!(figure("lost"), Some(0.0), "{line}");
    assert!(figure("deliveries").is_some_and(|n| n >= 20.0), "{line}");
    assert_eq!(allowed_cpus(server.pid()), cpus);
}

/// Those that its threads have, each once: threads may still be starting.
fn allowed_cpus(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let mut found: Vec<String> = threads
        .map(|thread| {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("Cpus_allowed_list"));
            line.expect("a list of CPUs").to_owned()
        })
        .collect();
    found.sort();
    found.dedup();
    found
}
