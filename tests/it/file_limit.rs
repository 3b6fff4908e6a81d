//! The soft limit of open files is no limit: the server raises it to the hard one and says how many connections that
//! is. At the hard one it refuses newcomers and keeps those it has, and clients do not use up what backends need. A limit
//! that is too low for either stops the start.

use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::config::{APPS, Folder, run, stderr};
use crate::harness::{Credentials, Filled, Http, PATIENCE, Wire, Ws, event_body, eventually};

/// The app of the configuration.
const APP: Credentials = Credentials {
    id: "3",
    key: "278d425bdf160c739803",
    secret: "7ad3773142a6692b25b8",
};

const TARGET: &str = "/app/278d425bdf160c739803?protocol=7";

const SETTINGS: &str = "[server]\nport = 0\nhost = \"127.0.0.1\"\nworkers = 1\n[admin]\nport = 0\n";

/// The server in a folder, under limits of open files.
fn limited(folder: &Folder, soft: usize, hard: usize) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "ulimit -S -n {soft}; ulimit -H -n {hard}; exec \"$0\" serve"
        ))
        .arg(env!("CARGO_BIN_EXE_tidewire"))
        .current_dir(folder.path())
        .env_clear()
        .stdin(Stdio::null());
    command
}

/// A server whose limits of open files are known.
struct Limited {
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
    _folder: Folder,
}

impl Limited {
    fn start(soft: usize, hard: usize) -> Self {
        Self::start_with(SETTINGS, soft, hard)
    }

    fn start_with(settings: &str, soft: usize, hard: usize) -> Self {
        let folder = Folder::with(&format!("{settings}{APPS}subscription_count = false\n"));
        let mut child = limited(&folder, soft, hard)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let addresses = line.split("http://").skip(1);
        let addresses: Vec<SocketAddr> = addresses
            .filter_map(|rest| rest.split([',', '\n']).next()?.parse().ok())
            .collect();
        let [public, admin] = addresses[..] else {
            panic!("no startup line: {line:?}");
        };
        Self {
            child,
            public,
            admin,
            _folder: folder,
        }
    }

    fn client(&self) -> Ws {
        let mut ws = Ws::over(Wire::connect(self.public), TARGET, &[]).expect("an upgrade");
        ws.established();
        ws
    }

    /// A publish on a new connection.
    fn publish(&self) -> u16 {
        let body = event_body("x", "e", "1");
        let mut http = Http::connect(self.public);
        http.signed(&APP, "POST", "/apps/3/events", &body).status()
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
    assert!(
        log.contains("files=700 connections=600 sockets=525"),
        "{log}"
    );
}

/// What the least limit leaves.
const CLIENTS: usize = 16;
const BACKENDS: usize = 16;
const LEAST: usize = 132;

#[test]
fn clients_leave_room_for_backends_and_operators() {
    let server = Limited::start(LEAST, LEAST);
    let mut clients: Vec<Ws> = (0..CLIENTS).map(|_| server.client()).collect();
    clients[0].subscribe("x", None);
    // Clients that come again and again, as those of a large site do.
    for _ in 0..2 * BACKENDS {
        let head = Ws::over(Wire::connect(server.public), TARGET, &[]).err();
        assert_eq!(head.expect("a refusal").status, 503);
        assert_eq!(server.publish(), 200);
        assert!(clients[0].text().contains(r#""event":"e""#));
    }
    let ready = Http::connect(server.admin).request("GET", "/ready", &[], "");
    assert_eq!(ready.status(), 200);
    let metrics = Http::connect(server.admin).request("GET", "/metrics", &[], "");
    let expected = format!(
        "tidewire_upgrades_refused_total{{reason=\"no_room\"}} {}\n",
        2 * BACKENDS
    );
    assert!(metrics.body.contains(&expected), "{}", metrics.body);
    clients.pop().expect("one of them").close();
    eventually(PATIENCE, "its place is another client's", || {
        Ws::over(Wire::connect(server.public), TARGET, &[]).ok()
    });
}

#[test]
fn beyond_it_newcomers_are_refused_and_the_others_live() {
    let server = Limited::start(LEAST, LEAST);
    let mut clients: Vec<Ws> = (0..CLIENTS).map(|_| server.client()).collect();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answered = |wire: &mut Wire| {
        wire.write(request).is_ok()
            && wire.fill(std::time::Instant::now() + PATIENCE) == Filled::More
    };
    // Kept alive.
    let mut backends: Vec<Wire> = (0..BACKENDS)
        .map(|_| Wire::connect(server.public))
        .collect();
    assert!(backends.iter_mut().all(answered));
    // More than there are files, held open by their owners.
    let mut refused: Vec<Wire> = (0..2 * LEAST)
        .map(|_| Wire::connect(server.public))
        .collect();
    for wire in &mut refused {
        assert_eq!(
            wire.fill(std::time::Instant::now() + PATIENCE),
            Filled::Ended
        );
    }
    for ws in &mut clients {
        ws.silent();
    }
    assert!(backends.iter_mut().all(answered));
    clients.pop().expect("one of them").close();
    eventually(PATIENCE, "its place is free again", || {
        answered(&mut Wire::connect(server.public)).then_some(())
    });
    let log = server.kill();
    assert!(log.contains("the limit of open files is reached"), "{log}");
}

/// From too few for the runtime to enough for itself but not for anybody else.
#[test]
fn a_limit_that_leaves_no_room_for_clients_stops_the_start() {
    let folder = Folder::with(&format!("{SETTINGS}{APPS}"));
    for limit in [4, 10, 20, 64, LEAST - 1] {
        let output = run(&mut limited(&folder, limit, limit));
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        let expected = format!(
            "tidewire: the limit of open files is {limit}, and this configuration needs at least {LEAST}: "
        );
        let text = stderr(&output);
        assert!(text.contains(&expected), "{text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}

#[test]
fn a_limit_below_max_connections_is_told() {
    let log = Limited::start_with(
        &SETTINGS.replacen('\n', "\nmax_connections = 1000\n", 1),
        700,
        700,
    )
    .kill();
    let expected =
        "max_connections is 1000, but the limit of open files leaves room for 525 clients";
    assert!(log.contains(expected), "{log}");
}
