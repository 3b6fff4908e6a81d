//! The commands that are clients (`tail`, `channels`, `history`, `members`, `trigger`, `terminate`, `doctor`), each as a process of
//! its own against a real server, or against a stand-in for what can go wrong in between.

mod api;
mod doctor;
mod fakes;
mod tail;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use crate::config::{Folder, run, stderr, stdout};
use crate::harness::{APP, Config, PATIENCE, Server, eventually};

/// A command with the credentials of [`APP`], in a folder without a configuration; the server is up to the caller.
fn with_credentials(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = folder.tidewire(arguments);
    command.args(["--app", APP.id, "--key", APP.key]);
    command.env("TIDEWIRE_APP_SECRET", APP.secret);
    command
}

/// The same for a server.
fn asking(folder: &Folder, server: &Server, arguments: &[&str]) -> Command {
    let mut command = with_credentials(folder, arguments);
    command.args(["--url", &format!("http://{}", server.public)]);
    command
}

/// A command that runs while the test goes on. Ends with the test.
struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    lines: Receiver<String>,
    notes: Receiver<String>,
    /// The lines of stderr so far, and which of them were found by a test.
    said: Vec<String>,
    seen: Vec<bool>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut running = Self::with_silent_stdout(command);
        let stdout = running.stdout.take().unwrap();
        running.lines = lines(stdout);
        running
    }

    /// One whose stdout nobody reads until the test does.
    fn with_silent_stdout(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let notes = lines(child.stderr.take().unwrap());
        let stdout = child.stdout.take();
        Self {
            child,
            stdout,
            lines: mpsc::channel().1,
            notes,
            said: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// The next line of stdout.
    fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        line.unwrap_or_else(|_| panic!("no line; stderr so far: {:#?}", self.all_notes()))
    }

    /// The next line as JSON.
    fn json(&mut self) -> serde_json::Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Waits for a line of stderr that contains a text, and returns it. Others may come before it or have come; no
    /// line is found twice.
    fn note(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let unseen = self.said.len() - self.seen.len();
            self.seen.extend(std::iter::repeat_n(false, unseen));
            let found = self.said.iter().zip(&mut self.seen);
            let mut found = found.filter(|(line, seen)| !**seen && line.contains(text));
            if let Some((line, seen)) = found.next() {
                *seen = true;
                return line.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.notes.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{text:?} was not said: {:#?}", self.said);
                }
            }
        }
    }

    /// All lines of stderr so far.
    fn all_notes(&mut self) -> Vec<String> {
        self.said.extend(self.notes.try_iter());
        self.said.clone()
    }

    /// Waits for its end: the status, and all of stderr.
    fn ended(&mut self) -> (ExitStatus, String) {
        let child = &mut self.child;
        let status = eventually(PATIENCE, "the command ends", || child.try_wait().unwrap());
        self.said.extend(self.notes.iter());
        (status, self.said.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // A test that is over reads no more.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// RFC 9110 §15.2: every client here passes over what comes before the answer.
#[test]
fn interim_answers_are_passed_over() {
    let server = Server::start(&Config::new());
    let hinting = fakes::hinting(server.public);
    let folder = Folder::new();
    let doctor = run(&mut with_credentials(
        &folder,
        &["doctor", &format!("ws://{hinting}")],
    ));
    assert_eq!(doctor.status.code(), Some(0), "{}", stdout(&doctor));
    let url = format!("http://{hinting}");
    let mut trigger = with_credentials(&folder, &["trigger", "x", "e", "1", "--url", &url]);
    let trigger = run(&mut trigger);
    assert_eq!(trigger.status.code(), Some(0), "{}", stderr(&trigger));
    let admin = format!("http://{}", fakes::hinting(server.admin));
    let health = run(&mut folder.tidewire(&["health", "--url", &admin]));
    assert_eq!(stdout(&health), "live\n", "{}", stderr(&health));
}
