//! Names of files under which something else is: a pipe that nobody writes to, a device that never ends. Opening one
//! may take for ever, so nothing that matters waits for it.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::cost::Cost;
use crate::config::{APPS, Folder};
use crate::harness::{Config, PATIENCE, Receiver, Reply, Server, Ws, eventually};

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

/// A process that is killed with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command that must end by itself: how, and what it said.
fn ended(command: &mut Command) -> (ExitStatus, String) {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(Stdio::piped()).spawn();
    let mut process = Process(child.expect("the binary starts"));
    let status = eventually(PATIENCE, "the process ends", || {
        process.0.try_wait().expect("a child")
    });
    let mut text = String::new();
    let mut stderr = process.0.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut text).expect("text");
    (status, text)
}

#[test]
fn a_configuration_that_is_no_file_stops_the_start() {
    let folder = Folder::new();
    make_pipe(&folder.path().join("pipe"));
    folder.write("real", "");
    for (file, kind) in [
        ("pipe", "a pipe"),
        (".", "a directory"),
        ("/dev/zero", "a device"),
        ("/dev/null", "a device"),
    ] {
        for command in ["serve", "check-config"] {
            let (status, text) = ended(&mut folder.tidewire(&[command, "--config", file]));
            assert_eq!(status.code(), Some(78), "{file}: {text}");
            let expected = format!(
                "cannot read the configuration file {file}: it is {kind}: expected a regular file"
            );
            assert!(text.contains(&expected), "{text}");
        }
    }
}

#[test]
fn no_file_that_it_names_may_be_a_pipe() {
    for (settings, key) in [
        ("secret_file = \"pipe\"\n", "secret_file in [[apps]]"),
        (
            "[server.tls]\ncert = \"pipe\"\nkey = \"pipe\"\n",
            "cert in [server.tls]",
        ),
        (
            "[redis]\nurl = \"rediss://h\"\nca_file = \"pipe\"\n",
            "ca_file in [redis]",
        ),
        (
            "[redis]\nurl = \"redis://h\"\npassword_file = \"pipe\"\n",
            "password_file in [redis]",
        ),
    ] {
        let folder = Folder::with(&format!("{APPS}{settings}"));
        make_pipe(&folder.path().join("pipe"));
        let (status, text) = ended(&mut folder.tidewire(&["serve"]));
        assert_eq!(status.code(), Some(78), "{key}: {text}");
        let expected = format!("{key}: cannot read pipe: it is a pipe: expected a regular file");
        assert!(text.contains(&expected), "{text}");
    }
}

/// What is wrong with the newest configuration, as operators are told.
fn problem(server: &Server) -> Option<String> {
    let health = server.admin("/health").json();
    health["config"]["error"].as_str().map(str::to_owned)
}

#[test]
fn a_file_that_becomes_a_pipe_holds_nothing_up() {
    let receiver = Receiver::start(&[Reply::Status(200)]);
    let secrets = Folder::new();
    secrets.write("secret", "of-the-file");
    let secret = secrets.path().join("secret");
    let config = Config::new()
        .server("drain_seconds", "0")
        .webhooks("linger_seconds", "0")
        .webhook(&receiver.webhook(""))
        .more(&format!(
            "[[apps]]\nid = \"2\"\nkey = \"two\"\nsecret_file = {secret:?}\n"
        ));
    let mut server = Server::start(&config);
    let mut bystander = Ws::subscribed(&server, "x");
    assert_eq!(receiver.event()["channel"], "x");
    let before = Cost::of(&server);
    let apps_toml = server.config_file().to_owned();
    for path in [&apps_toml, &secret] {
        let kept = std::fs::read_to_string(path).expect("a file");
        std::fs::remove_file(path).expect("a file");
        make_pipe(path);
        let told = eventually(PATIENCE, "the pipe is found", || {
            problem(&server).filter(|problem| problem.contains("it is a pipe"))
        });
        assert!(told.contains(&*path.to_string_lossy()), "{told}");
        server.hang_up();
        server.trigger("x", "e", "1");
        assert!(bystander.text().contains(r#""event":"e""#));
        let channel = path.file_name().expect("a name").to_string_lossy();
        bystander.subscribe(&channel, None);
        assert_eq!(receiver.event()["channel"], *channel);
        std::fs::remove_file(path).expect("a pipe");
        std::fs::write(path, kept).expect("a file");
        eventually(PATIENCE, "the file is read again", || {
            problem(&server).is_none().then_some(())
        });
    }
    before.await_descriptors(&server);
    // SIGTERM ends it with a pipe in place, too.
    std::fs::remove_file(&apps_toml).expect("a file");
    make_pipe(&apps_toml);
    eventually(PATIENCE, "the pipe is found", || problem(&server));
    server.terminate();
    assert!(server.exit_status().success());
}

/// A container whose configuration hangs is not restarted for it.
#[test]
fn health_passes_over_what_is_no_file() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    make_pipe(&folder.path().join("apps.toml"));
    let port = server.admin.port().to_string();
    let mut command = folder.tidewire(&["health"]);
    let (status, text) = ended(command.env("TIDEWIRE_ADMIN__PORT", port));
    assert_eq!(status.code(), Some(0), "{text}");
}
