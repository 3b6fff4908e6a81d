//! The soft limit of open files is no limit: the server raises it to the hard one and says how many connections that
//! is. At the hard one it refuses newcomers and keeps those it has.

use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::config::{APPS, Folder};
use crate::harness::{Filled, PATIENCE, Wire, Ws, eventually};

/// A server whose limits of open files are known.
struct Limited {
    child: Child,
    public: SocketAddr,
    _folder: Folder,
}

impl Limited {
    fn start(soft: usize, hard: usize) -> Self {
        let settings = "[server]\nport = 0\nhost = \"127.0.0.1\"\nworkers = 1\n[admin]\nport = 0\n";
        let folder = Folder::with(&format!("{settings}{APPS}"));
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "ulimit -S -n {soft}; ulimit -H -n {hard}; exec \"$0\" serve"
            ))
            .arg(env!("CARGO_BIN_EXE_tidewire"))
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split(',').next());
        Self {
            child,
            public: address.expect("a startup line").parse().unwrap(),
            _folder: folder,
        }
    }

    /// Ends it; its log.
    fn kill(mut self) -> String {
        self.child.kill().unwrap();
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Ended already is fine: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_soft_limit_of_files_is_raised_to_the_hard_one() {
    // Lower than what this process has, so that the raised one is known.
    let server = Limited::start(200, 700);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.child.id()));
    let log = server.kill();
    let limits = limits.unwrap();
    let files = limits
        .lines()
        .find_map(|limit| limit.strip_prefix("Max open files"))
        .expect("the limit of open files");
    let values: Vec<&str> = files.split_ascii_whitespace().take(2).collect();
    assert_eq!(values, ["700", "700"], "{log}");
    assert!(log.contains("files=700 connections=600"), "{log}");
}

#[test]
fn beyond_it_newcomers_are_refused_and_the_others_live() {
    const ROOM: usize = 40;
    let server = Limited::start(100, 100 + ROOM);
    let target = "/app/278d425bdf160c739803?protocol=7";
    let connect = || Ws::over(Wire::connect(server.public), target, &[]).expect("an upgrade");
    let mut connections: Vec<Ws> = (0..ROOM).map(|_| connect()).collect();
    for ws in &mut connections {
        ws.established();
    }
    // More than there are files, held open by their owners.
    let mut refused: Vec<Wire> = (0..2 * ROOM)
        .map(|_| Wire::connect(server.public))
        .collect();
    for wire in &mut refused {
        assert_eq!(
            wire.fill(std::time::Instant::now() + PATIENCE),
            Filled::Ended
        );
    }
    for ws in &mut connections {
        ws.silent();
    }
    connections.pop().expect("one of them").close();
    eventually(PATIENCE, "its place is free again", || {
        let mut wire = Wire::connect(server.public);
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let answered = wire.write(request).is_ok()
            && wire.fill(std::time::Instant::now() + PATIENCE) == Filled::More;
        answered.then_some(())
    });
    let log = server.kill();
    assert!(log.contains("the limit of open files is reached"), "{log}");
}
