//! The load bench measures a server that runs already, and leaves it as it found it. What it works out without one is
//! what docs/sizing.md has.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;
use std::{env, fs};

use crate::harness::{Config, Server};

#[test]
fn a_running_server_is_measured_and_stays_on_its_cpus() {
    let server = Server::start(&Config::new());
    let cpus = allowed_cpus(server.pid());
    let lines = measured(
        &server,
        &["fanout", "--subscribers", "20", "--seconds", "0.5"],
    );
    let [line] = &lines[..] else {
        panic!("one line: {lines:?}");
    };
    let figure = |name: &str| line["figures"][name].as_f64();
    assert_eq!(figure("lost"), Some(0.0), "{line}");
    assert!(figure("deliveries").is_some_and(|n| n >= 20.0), "{line}");
    assert_eq!(allowed_cpus(server.pid()), cpus);
}

#[test]
fn the_bare_framework_is_measured_beside_it() {
    let server = Server::start(&Config::new());
    let lines = measured(&server, &["http", "--bare", "--seconds", "0.5"]);
    let targets: Vec<&str> = lines.iter().filter_map(|l| l["target"].as_str()).collect();
    assert!(matches!(targets[..], [_, "bare"]), "{targets:?}");
    for line in &lines {
        let figure = |name: &str| line["figures"][name].as_f64();
        assert_eq!(figure("refused"), Some(0.0), "{line}");
        assert!(figure("published").is_some_and(|n| n >= 8.0), "{line}");
    }
}

#[test]
fn the_tables_of_the_document_are_what_it_works_out() {
    let document = include_str!("../../docs/sizing.md");
    let commands = document
        .lines()
        .filter_map(|line| line.strip_prefix("cargo bench --bench load -- plan"));
    let mut tables = 0;
    for arguments in commands {
        let arguments: Vec<&str> = std::iter::once("plan")
            .chain(arguments.split_whitespace())
            .collect();
        let table = String::from_utf8(bench(&arguments)).unwrap();
        assert!(
            table.lines().count() > 2 && document.contains(&table),
            "{arguments:?}:\n{table}"
        );
        tables += 1;
    }
    assert!(tables > 1, "{tables}");
}

/// The soak for two minutes, in which other tests go on: half an hour is for the release build, by hand.
#[test]
fn nothing_is_left_of_a_load_that_had_everything_in_it() {
    let load = ["--connections", "160", "--channels", "40", "--rate", "60"];
    let time = ["--returns", "15", "--seconds", "120", "--no-pin"];
    let output = bench(&[&["soak"], &load[..], &time[..]].concat());
    let line: serde_json::Value = serde_json::from_slice(&output).expect("a line of JSON");
    let figure = |name: &str| {
        let figure = line["figures"][name].as_f64();
        figure.unwrap_or_else(|| panic!("no {name} in {line}"))
    };
    for none in ["lost", "duplicates", "refused", "closed", "failed"] {
        assert_eq!(figure(none), 0.0, "{none} in {line}");
    }
    for left in [
        "connections",
        "webhooks",
        "redis_keys",
        "threads",
        "tasks",
        "descriptors",
    ] {
        assert!(figure(&format!("{left}_left")) <= 0.0, "{left} in {line}");
    }
    assert!(figure("returned") > 1000.0, "{line}");
    assert!(figure("webhooks_delivered") > 100.0, "{line}");
    let grown = figure("rss_kib_per_million_operations") * figure("operations") / 1e6;
    assert!(grown < 8192.0, "{grown} KiB in {line}");
}

/// What the bench prints about a running server.
fn measured(server: &Server, arguments: &[&str]) -> Vec<serde_json::Value> {
    let (url, pid) = (format!("ws://{}", server.public), server.pid().to_string());
    let of_server = ["--url", &url, "--pid", &pid];
    let of_app = [
        "--app-id",
        "app-id",
        "--key",
        "app-key",
        "--secret",
        "app-secret",
    ];
    let output = bench(&[arguments, &of_server, &of_app].concat());
    let lines = serde_json::Deserializer::from_slice(&output).into_iter();
    lines.map(|line| line.expect("a line of JSON")).collect()
}

/// What the bench prints.
fn bench(arguments: &[&str]) -> Vec<u8> {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells the tests would tell it that its build scripts have to run again.
    let told = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO") && !matches!(&*name, "CARGO_HOME" | "CARGO_TARGET_DIR")
    };
    for (name, _) in env::vars_os().filter(|(name, _)| told(name)) {
        cargo.env_remove(name);
    }
    let output = cargo
        .args(["test", "--quiet", "--bench", "load", "--"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    output.stdout
}

/// What its threads have, whichever there are by now.
fn allowed_cpus(pid: u32) -> BTreeSet<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    threads
        .map(|thread| {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("Cpus_allowed_list"));
            line.expect("a list of CPUs").to_owned()
        })
        .collect()
}
