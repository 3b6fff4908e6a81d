//! A server of somebody else, which nothing outlives.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::signal;

/// The process, through a shell that waits for the end of its own input: that comes when this is dropped, and when
/// the tests' process ends in whatever way. Then it kills the server and removes its folder.
pub(crate) struct Daemon {
    shell: Child,
    pids: BufReader<ChildStdout>,
    pid: u32,
}

/// For each line of its input it waits for the end of the server and starts it once more.
const SHELL: &str = r#"
trap '' HUP INT TERM
folder=$1; shift
while
    "$@" >> "$folder/log" 2>&1 &
    echo $!
    read -r _
do wait; done
kill -KILL $! 2> /dev/null
wait
rm -rf "$folder"
"#;

impl Daemon {
    /// Runs a command. Its folder is there already; its log is in it.
    pub(crate) fn spawn(folder: &Path, command: &[String]) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", SHELL, "sh"])
            .arg(folder)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join("shell.log")).unwrap())
            .spawn()
            .expect("sh exists");
        let stdout = shell.stdout.take().expect("it is piped");
        let mut daemon = Self {
            shell,
            pids: BufReader::new(stdout),
            pid: 0,
        };
        daemon.read_pid();
        daemon
    }

    fn read_pid(&mut self) {
        let mut pid = String::new();
        self.pids.read_line(&mut pid).unwrap();
        self.pid = pid.trim().parse().expect("a process id");
    }

    /// Starts the server once more as soon as it has ended.
    pub(crate) fn again(&mut self) {
        let mut stdin = self.shell.stdin.as_ref().expect("it is piped");
        stdin.write_all(b"again\n").unwrap();
        self.read_pid();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    /// Whether there is no process any more; its shell does not collect it before its own end.
    pub(crate) fn ended(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.map_or(true, |stat| stat.contains(") Z "))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It is killed if the shell cannot be waited for, too.
        let _ = self.shell.wait();
    }
}
