//! The soft limit of open files is no limit: the server raises it to the hard one and says how many connections that
//! is.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::config::{APPS, Folder, stderr};

#[test]
fn the_soft_limit_of_files_is_raised_to_the_hard_one() {
    let settings = "[server]\nport = 0\n[admin]\nport = 0\n";
    let folder = Folder::with(&format!("{settings}{APPS}"));
    let mut server = Command::new("sh")
        // Lowers both limits, so that the raised one is known.
        .args([
            "-c",
            "ulimit -S -n 200; ulimit -H -n 700; exec \"$0\" serve",
        ])
        .arg(env!("CARGO_BIN_EXE_tidewire"))
        .current_dir(folder.path())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id()));
    server.kill().unwrap();
    let log = stderr(&server.wait_with_output().unwrap());
    let limits = limits.unwrap();
    let files = limits
        .lines()
        .find_map(|limit| limit.strip_prefix("Max open files"))
        .expect("the limit of open files");
    let values: Vec<&str> = files.split_ascii_whitespace().take(2).collect();
    assert_eq!(values, ["700", "700"], "{log}");
    assert!(log.contains("files=700 connections=600"), "{log}");
}
