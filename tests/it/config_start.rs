//! What a server serves that nobody gave a file: the environment's app, with Soketi's names too, or a random one; and
//! what becomes of that when a file comes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use crate::config::{APPS, Folder, run, stderr, stdout};
use crate::harness::{Credentials, Http, PATIENCE, Wire, Ws, event_body, eventually, signal};

/// `tidewire serve` in a folder, on free ports of loopback. Killed at the end.
struct Running<'a> {
    folder: &'a Folder,
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
}

impl<'a> Running<'a> {
    fn start(folder: &'a Folder, variables: &[(&str, &str)]) -> Self {
        let log = File::create(folder.path().join("log")).expect("a writable directory");
        let mut child = folder
            .tidewire(&["serve", "--workers", "1"])
            .env("TIDEWIRE_SERVER__HOST", "127.0.0.1")
            .env("TIDEWIRE_SERVER__PORT", "0")
            .env("TIDEWIRE_ADMIN__PORT", "0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        // A server that cannot start ends, and with it the pipe.
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let addresses = line.split("http://").skip(1);
        let addresses: Vec<SocketAddr> = addresses
            .filter_map(|rest| rest.split([',', ' ', '/']).next()?.trim().parse().ok())
            .collect();
        let [public, admin] = addresses[..] else {
            panic!("no startup line: {line:?}");
        };
        Self {
            folder,
            child,
            public,
            admin,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    /// The lines that tell a secret.
    fn told(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains("_APP_SECRET"));
        lines.map(str::to_owned).collect()
    }

    fn publish(&self, app: &Credentials) -> u16 {
        let target = format!("/apps/{}/events", app.id);
        let body = event_body("x", "e", "{}");
        let mut http = Http::connect(self.public);
        http.signed(app, "POST", &target, &body).status()
    }

    fn admin(&self, target: &str) -> String {
        let mut http = Http::connect(self.admin);
        http.request("GET", target, &[], "").body
    }

    /// Reads the configuration again, and waits until that is done.
    fn reload(&self) {
        let done = |count: u64| {
            self.admin("/metrics")
                .contains(&format!("tidewire_reloads_total {count}\n"))
        };
        let before = (0..).find(|count| done(*count)).expect("a counter");
        signal(self.child.id(), "HUP");
        eventually(PATIENCE, "the configuration is read", || {
            done(before + 1).then_some(())
        });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // One that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `NAME=value` words say of an app.
fn credentials(line: &str) -> Credentials {
    let value = |name: &str| -> &'static str {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name));
        word.unwrap_or_else(|| panic!("no {name} in {line}"))
            .to_owned()
            .leak()
    };
    Credentials {
        id: value("TIDEWIRE_APP_ID="),
        key: value("TIDEWIRE_APP_KEY="),
        secret: value("TIDEWIRE_APP_SECRET="),
    }
}

const OF_FILE: Credentials = Credentials {
    id: "3",
    key: "278d425bdf160c739803",
    secret: "7ad3773142a6692b25b8",
};

#[test]
fn without_any_app_a_random_one_is_served_and_told_once() {
    let folder = Folder::new();
    // The secret is no log line, which a filter could hide.
    let server = Running::start(&folder, &[("TIDEWIRE_LOG", "error")]);
    let [line] = &server.told()[..] else {
        panic!("{:?}", server.told());
    };
    let app = credentials(line);
    assert_eq!(server.publish(&app), 200);
    let log = server.log();
    assert!(
        log.contains("set these three variables, or put [[apps]] into apps.toml"),
        "{log}"
    );
    server.reload();
    assert_eq!(server.publish(&app), 200);
    assert_eq!(server.told().len(), 1, "{}", server.log());
    assert_eq!(server.publish(&OF_FILE), 404);

    let others = Folder::new();
    let other = Running::start(&others, &[]);
    let other = credentials(&other.told()[0]);
    assert_ne!((other.key, other.secret), (app.key, app.secret));
}

#[test]
fn a_file_that_comes_takes_the_random_apps_place_for_good() {
    let folder = Folder::new();
    let server = Running::start(&folder, &[]);
    let app = credentials(&server.told()[0]);
    folder.write("new", APPS);
    std::fs::rename(folder.path().join("new"), folder.path().join("apps.toml")).expect("a rename");
    eventually(PATIENCE, "the file is found", || {
        (server.publish(&OF_FILE) == 200).then_some(())
    });
    assert_eq!(server.publish(&app), 404);
    std::fs::remove_file(folder.path().join("apps.toml")).expect("a file");
    eventually(PATIENCE, "the missing file is an error", || {
        server
            .admin("/health")
            .contains("no apps: there is no apps.toml")
            .then_some(())
    });
    assert_eq!(server.publish(&OF_FILE), 200);
    assert_eq!(server.publish(&app), 404);
}

#[test]
fn a_log_for_machines_stays_one() {
    let folder = Folder::new();
    let server = Running::start(&folder, &[("TIDEWIRE_LOG_FORMAT", "json")]);
    let mut secrets = 0;
    for line in server.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(line["fields"]["message"].is_string(), "{line}");
        secrets += usize::from(line["fields"]["TIDEWIRE_APP_SECRET"].is_string());
    }
    assert_eq!(secrets, 1, "{}", server.log());
}

#[test]
fn an_app_that_somebody_names_is_the_only_one() {
    let folder = Folder::new();
    let variables = [
        ("TIDEWIRE_APP_ID", OF_FILE.id),
        ("TIDEWIRE_APP_KEY", OF_FILE.key),
        ("TIDEWIRE_APP_SECRET", OF_FILE.secret),
    ];
    let server = Running::start(&folder, &variables);
    assert_eq!(server.publish(&OF_FILE), 200);
    assert_eq!(server.told(), Vec::<String>::new());
    assert!(!server.log().contains(OF_FILE.secret));
}

#[test]
fn no_app_is_made_up_for_a_file_a_cluster_or_half_an_app() {
    for (file, variables, expected) in [
        (
            Some("[server]\nport = 0\n"),
            &[][..],
            "no apps: add [[apps]] with id, key and secret to the file",
        ),
        (
            None,
            &[("TIDEWIRE_REDIS__URL", "redis://127.0.0.1:1")],
            "no apps, and none is made up, because all nodes over one Redis must have the same",
        ),
        (
            None,
            &[("TIDEWIRE_APP_ID", "1")],
            "TIDEWIRE_APP_ID: TIDEWIRE_APP_KEY and TIDEWIRE_APP_SECRET must be set too",
        ),
    ] {
        let folder = Folder::new();
        if let Some(file) = file {
            folder.write("apps.toml", file);
        }
        let mut command = folder.tidewire(&["serve", "--port", "0"]);
        let output = run(command.envs(variables.iter().copied()));
        assert_eq!(output.status.code(), Some(78));
        let text = stderr(&output);
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("APP_SECRET="), "{text}");
    }
}

#[test]
fn the_other_commands_say_what_to_do_without_an_app() {
    let folder = Folder::new();
    for arguments in [
        &["check-config"][..],
        &["sign", "GET", "/apps/1/channels"],
        &["trigger", "a", "b", "c"],
    ] {
        let output = run(&mut folder.tidewire(arguments));
        assert_eq!(output.status.code(), Some(78));
        let expected = "no apps: there is no apps.toml and no /etc/tidewire/apps.toml. Name a file with --config (or \
                        TIDEWIRE_CONFIG), or set TIDEWIRE_APP_ID, TIDEWIRE_APP_KEY and TIDEWIRE_APP_SECRET\n";
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

/// As `docker run` of a Soketi image is mostly found in the wild.
const SOKETI: [(&str, &str); 9] = [
    ("SOKETI_DEFAULT_APP_ID", OF_FILE.id),
    ("SOKETI_DEFAULT_APP_KEY", OF_FILE.key),
    ("SOKETI_DEFAULT_APP_SECRET", OF_FILE.secret),
    ("SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "true"),
    ("SOKETI_SHUTDOWN_GRACE_PERIOD", "1000"),
    ("SOKETI_DEBUG", "1"),
    ("SOKETI_METRICS_ENABLED", "1"),
    ("SOKETI_DB_MYSQL_PASSWORD", "hidden"),
    ("SOKETI_PATH_PREFIX", "/ws"),
];

#[test]
fn soketis_environment_is_served_and_each_of_its_names_is_in_the_log() {
    let folder = Folder::new();
    let server = Running::start(&folder, &SOKETI);
    assert_eq!(server.publish(&OF_FILE), 200);
    let log = server.log();
    for (name, text) in SOKETI {
        assert!(log.contains(name), "{name} is not in {log}");
        assert!(text.len() < 6 || !log.contains(text), "{text} is in {log}");
    }
    // A frame of no kind that there is.
    let target = format!("/ws/app/{}?protocol=7", OF_FILE.key);
    let wire = Wire::connect(server.public);
    let mut client = Ws::over(wire, &target, &[]).expect("a connection");
    client.write(&[0x8f, 0x80, 0, 0, 0, 0]).expect("a reader");
    eventually(PATIENCE, "more is logged", || {
        server.log().contains(" DEBUG ").then_some(())
    });
}

#[test]
fn check_config_shows_what_became_of_soketis_names() {
    let folder = Folder::with("[server]\nport = 1\n");
    let mut command = folder.tidewire(&["check-config"]);
    let output = run(command.envs(SOKETI).env("SOKETI_PORT", "7001"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("# file: apps.toml\n"), "{text}");
    let settings: toml::Table = text.parse().expect("TOML");
    assert_eq!(settings["server"]["port"].as_integer(), Some(7001));
    assert_eq!(settings["server"]["path_prefix"].as_str(), Some("/ws"));
    assert_eq!(settings["apps"][0]["client_events"].as_bool(), Some(true));
    let told = stderr(&output);
    let expected = "notice: SOKETI_PORT is understood as port in [server]; the name here is TIDEWIRE_SERVER__PORT\n";
    assert!(told.contains(expected), "{told}");
    assert!(
        told.contains("because SOKETI_APP_MANAGER_DRIVER is not mysql: SOKETI_DB_MYSQL_PASSWORD"),
        "{told}"
    );
    assert!(!told.contains("hidden"), "{told}");
    let output = run(command.env("SOKETI_PORT", "x"));
    assert_eq!(output.status.code(), Some(78));
    let expected = "SOKETI_PORT: port in [server]: expected a whole number from 0 to 65535, found the text \"x\"\n";
    assert!(stderr(&output).ends_with(expected), "{}", stderr(&output));
    let output = run(command
        .env("TIDEWIRE_SERVER__PORT", "7002")
        .env("SOKETI_PORT", "7001"));
    assert!(
        stdout(&output).contains("\nport = 7002\n"),
        "{}",
        stdout(&output)
    );
}
