//! What survives a restart, and a disk that takes no more.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{assert_in_order, config, occupied, occupy};
use crate::config::Folder;
use crate::harness::{PATIENCE, Receiver, Reply, Server, Ws, eventually};

#[test]
fn undelivered_events_survive_kill_9_in_the_spool() {
    let receiver = Receiver::start(&[Reply::Status(200), Reply::Status(503)]);
    let folder = Folder::new();
    let spool = format!("{:?}", folder.path().join("spool"));
    let config = config(&receiver).webhooks("spool", &spool);
    let server = Server::start(&config);
    let ws = occupy(&server, 0..5);
    assert_eq!(receiver.event(), occupied("0"));
    assert_eq!(receiver.event(), occupied("1"));
    eventually(PATIENCE, "the others wait", || {
        (server.metric("webhook_queue") == 4).then_some(())
    });
    server.kill();
    drop(ws);
    while receiver.within(Duration::from_millis(200)).is_some() {}
    receiver.heal();
    for file in std::fs::read_dir(folder.path().join("spool")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(
            !text.contains("app-secret") && !text.contains("token"),
            "{text}"
        );
    }

    let server = Server::start(&config);
    folder.write("second.toml", &config.toml());
    let second = folder
        .tidewire(&["serve", "--config", "second.toml"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && error.contains("another server uses it"),
        "{error}"
    );
    let ws = occupy(&server, 5..6);
    assert_in_order(&receiver, 1..6);
    drop(ws);
}

/// The spool's only file.
fn file(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let mut spools = files.map(|file| file.path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "spool")
    });
    spools.next().expect("a spool")
}

fn problem(server: &Server) -> Option<String> {
    let health = server.admin("/health").json();
    health["spool_problem"].as_str().map(ToOwned::to_owned)
}

fn errors(server: &Server) -> usize {
    let log = server.log();
    let about = |line: &&str| line.contains("ERROR") && line.contains("spool");
    log.lines().filter(about).count()
}

/// `/dev/full` takes nothing, as a disk without room.
#[test]
fn a_full_disk_at_the_start_is_said_and_comes_back() {
    let receiver = Receiver::start(&[Reply::Status(503)]);
    let folder = Folder::new();
    let place = folder.path().join("spool");
    let config = config(&receiver).webhooks("spool", &format!("{place:?}"));
    let server = Server::start(&config);
    let ws = occupy(&server, 0..3);
    eventually(PATIENCE, "they wait", || {
        (server.metric("webhook_queue") == 3).then_some(())
    });
    assert_eq!(problem(&server), None);
    server.kill();
    drop(ws);
    std::os::unix::fs::symlink("/dev/full", file(&place).with_extension("new")).unwrap();

    let server = Server::start(&config);
    assert!(problem(&server).is_some_and(|problem| problem.contains("No space left")));
    assert_eq!(server.metric("webhook_queue"), 3, "what was there waits");
    let ws = occupy(&server, 3..6);
    eventually(PATIENCE, "it can be written again", || {
        problem(&server).is_none().then_some(())
    });
    assert_eq!(errors(&server), 1, "{}", server.log());
    server.kill();
    drop(ws);
    while receiver.within(Duration::from_millis(200)).is_some() {}

    receiver.heal();
    let server = Server::start(&config);
    assert_in_order(&receiver, 0..6);
    drop(server);
}

/// A limit of files' sizes is as good as a full disk, and can be set and taken away while a server runs.
#[test]
fn a_disk_that_gets_full_is_said_once_and_comes_back() {
    /// More than the log needs.
    const ROOM: &str = "--fsize=131072:unlimited";
    let receiver = Receiver::start(&[Reply::Status(503)]);
    let folder = Folder::new();
    let place = folder.path().join("spool");
    let config = config(&receiver).webhooks("spool", &format!("{place:?}"));
    let server = Server::start(&config);
    let limit = |limit: &str| {
        let pid = server.pid().to_string();
        let done = Command::new("prlimit")
            .args(["--pid", &pid, limit])
            .status();
        assert!(done.expect("prlimit, of util-linux").success());
    };
    limit(ROOM);
    let mut ws = Ws::connect(&server);
    let channel = |number: usize| format!("{number:0>199}");
    for number in 0..950 {
        ws.subscribe(&channel(number), None);
    }
    eventually(PATIENCE, "it cannot be written", || problem(&server));
    assert_eq!(server.metric("webhook_queue"), 950, "they go on in memory");
    assert_eq!(errors(&server), 1, "{}", server.log());
    limit("--fsize=unlimited:unlimited");
    eventually(PATIENCE, "it can be written again", || {
        problem(&server).is_none().then_some(())
    });
    assert_eq!(errors(&server), 1, "{}", server.log());
    server.kill();
    drop(ws);
    while receiver.within(Duration::from_millis(200)).is_some() {}

    receiver.heal();
    let server = Server::start(&config);
    for number in 0..950 {
        assert_eq!(receiver.event(), occupied(&channel(number)));
    }
    drop(server);
}
