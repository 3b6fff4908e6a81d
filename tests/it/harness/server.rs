//! One running `tidewire serve`: its ports, its end, and what may be left in it when a test is over.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use super::{APP, Config, Http, PATIENCE, Response, eventually, signal};

/// A server that is stopped at the end of the test, after a check that no connection, channel, subscription, member
/// or user is left. Declare it before its clients, so that they are dropped first.
pub(crate) struct Server {
    /// The public listener.
    pub(crate) public: SocketAddr,
    /// The listener beside TLS.
    pub(crate) plain: Option<SocketAddr>,
    /// The admin listener.
    pub(crate) admin: SocketAddr,
    process: Process,
    stopped: bool,
    killed: bool,
}

/// The child process with its files; never outlives the test.
struct Process {
    child: Child,
    config: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Starts the binary and waits for its startup line.
    pub(crate) fn start(config: &Config) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with environment variables.
    pub(crate) fn start_with(config: &Config, environment: &[(&str, &str)]) -> Self {
        Self::start_toml(&config.toml(), environment)
    }

    /// The same with a file of any text.
    pub(crate) fn start_toml(toml: &str, environment: &[(&str, &str)]) -> Self {
        let mut process = Process::spawn(toml, environment);
        let line = process.first_line();
        let addresses: Vec<SocketAddr> = line
            .split("://")
            .skip(1)
            .filter_map(|rest| rest.split([',', ' ', '/']).next()?.trim().parse().ok())
            .collect();
        let [public, ref plain @ .., admin] = addresses[..] else {
            panic!("two addresses expected in the startup line: {line:?}");
        };
        Self {
            public,
            plain: plain.first().copied(),
            admin,
            process,
            stopped: false,
            killed: false,
        }
    }

    /// Starts one that must refuse to: how it ends, and its log.
    pub(crate) fn refused(config: &Config) -> (ExitStatus, String) {
        let mut process = Process::spawn(&config.toml(), &[]);
        let child = &mut process.child;
        let status = eventually(PATIENCE, "the process ends", || child.try_wait().unwrap());
        (status, process.log())
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// A signed POST on a connection of its own.
    pub(crate) fn post(&self, target: &str, body: &str) -> Response {
        Http::connect(self.public).signed(&APP, "POST", target, body)
    }

    /// A signed GET on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Response {
        Http::connect(self.public).signed(&APP, "GET", target, "")
    }

    /// Publishes one event and checks the answer.
    pub(crate) fn trigger(&self, channel: &str, event: &str, data: &str) {
        let body = event_body(channel, event, data);
        let response = self.post("/apps/app-id/events", &body);
        assert_eq!((response.status(), response.body.as_str()), (200, "{}"));
    }

    /// `GET` on the admin port, unsigned.
    pub(crate) fn admin(&self, target: &str) -> Response {
        Http::connect(self.admin).request("GET", target, &[], "")
    }

    /// One number of `/health`.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let health = self.admin("/health").json();
        health[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no number {name:?} in {health}"))
    }

    /// Waits until a number of `/health` has a value.
    pub(crate) fn await_count(&self, name: &str, value: u64) {
        eventually(PATIENCE, &format!("{name} = {value} at /health"), || {
            (self.count(name) == value).then_some(())
        });
    }

    /// A counter of `/metrics`.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.metric(&format!("{name}_total"))
    }

    /// Any whole number of `/metrics`: the sum of all samples of that name, whatever their labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.labelled(name, &[])
    }

    /// The same of those samples that have these labels.
    pub(crate) fn labelled(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.find_labelled(name, labels)
            .unwrap_or_else(|| panic!("no number {name} with {labels:?}"))
    }

    /// The same, where there may be none.
    pub(crate) fn find_labelled(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let metrics = self.admin("/metrics").body;
        let name = format!("tidewire_{name}");
        let wanted: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let numbers: Vec<u64> = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(&name)?.rsplit_once(' '))
            .filter(|(sample, _)| sample.is_empty() || sample.starts_with('{'))
            .filter(|(sample, _)| wanted.iter().all(|label| sample.contains(label)))
            .map(|(_, number)| number.parse().unwrap())
            .collect();
        (!numbers.is_empty()).then(|| numbers.iter().sum())
    }

    /// Puts another configuration in the place of the file in one step, as a careful writer does.
    pub(crate) fn rewrite(&self, toml: &str) {
        let path = &self.process.config;
        let new = path.with_extension("new");
        std::fs::write(&new, toml).unwrap();
        std::fs::rename(&new, path).unwrap();
    }

    /// Writes another configuration over the file, as an editor may.
    pub(crate) fn write_in_place(&self, toml: &str) {
        std::fs::write(&self.process.config, toml).unwrap();
    }

    /// The configuration file.
    pub(crate) fn config_file(&self) -> &Path {
        &self.process.config
    }

    /// Takes the configuration file away.
    pub(crate) fn remove_config(&self) {
        std::fs::remove_file(&self.process.config).unwrap();
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.process.signal("HUP");
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// How many file descriptors the process has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .expect("VmRSS in /proc")
    }

    /// Sends SIGTERM and returns at once.
    pub(crate) fn terminate(&mut self) {
        self.stopped = true;
        self.signal("TERM");
    }

    /// Sends any signal.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Ends it without any warning (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.killed = true;
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        // Behind the name in parentheses: Z until its end is asked for.
        stat.is_ok_and(|stat| stat.contains(") Z "))
    }

    /// Waits for the end of the process.
    pub(crate) fn exit_status(&mut self) -> ExitStatus {
        let child = &mut self.process.child;
        eventually(PATIENCE, "the process ends", || child.try_wait().unwrap())
    }

    fn await_emptiness(&self) {
        let mut left = Vec::new();
        eventually(PATIENCE, "nothing is left in the server", || {
            let now = self.leftovers();
            if now != left {
                eprintln!("left in the server: {now:?}");
            }
            left = now;
            left.is_empty().then_some(())
        });
    }

    /// Every count at `/health` that is not zero: the server's, and each worker's own.
    fn leftovers(&self) -> Vec<String> {
        let health = self.admin("/health").json();
        let workers = health["workers"].as_array().into_iter().flatten();
        let mut left = counts_left(&health, &["members", "users", "sockets", "inbox_bytes"]);
        for counts in std::iter::once(&health).chain(workers) {
            left.extend(counts_left(
                counts,
                &["connections", "channels", "subscriptions"],
            ));
        }
        left
    }
}

fn counts_left(counts: &serde_json::Value, names: &[&str]) -> Vec<String> {
    let zero = serde_json::json!(0);
    names
        .iter()
        .filter(|name| counts[**name] != zero)
        .map(|name| format!("{name}: {}", counts[*name]))
        .collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            self.process.show_log();
            return;
        }
        if self.killed {
            return;
        }
        if !self.stopped {
            self.await_emptiness();
            self.terminate();
        }
        let status = self.exit_status();
        assert!(status.success(), "the server ended with {status}");
        // A panic in a connection's task ends only that task: nobody else would notice.
        let log = self.process.log();
        assert!(!log.contains("panicked at"), "{log}");
    }
}

impl Process {
    fn spawn(toml: &str, environment: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let stem = format!("server-{}-{number}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let config = folder.join(format!("{stem}.toml"));
        let log = folder.join(format!("{stem}.log"));
        std::fs::write(&config, toml).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidewire"))
            .args(["serve", "--config"])
            .arg(&config)
            // The machine's own TIDEWIRE_ settings must not reach the tests.
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .expect("the binary starts");
        Self { child, config, log }
    }

    fn first_line(&mut self) -> String {
        let stdout = self.child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || forward_lines(stdout, &sender));
        receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            self.show_log();
            panic!("no startup line");
        })
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn show_log(&self) {
        let log = self.log();
        let from = log.len().saturating_sub(4000);
        eprintln!("server log: {}", log.get(from..).unwrap_or(&log));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended is fine: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Reads to the end, so that the server never blocks on a full pipe; nobody listens after the first line.
fn forward_lines(stdout: ChildStdout, lines: &mpsc::Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let _ = lines.send(line);
    }
}

/// The body of a publish to one channel.
pub(crate) fn event_body(channel: &str, event: &str, data: &str) -> String {
    serde_json::json!({"name": event, "channel": channel, "data": data}).to_string()
}
