//! `tidewire check-config`, the exit codes and the order of layers, asked of the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new directory that goes when its test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tidewire-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    /// One that holds a configuration.
    pub(crate) fn with(apps_toml: &str) -> Self {
        let folder = Self::new();
        folder.write("apps.toml", apps_toml);
        folder
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a writable directory");
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The binary in this folder, with an environment that holds nothing of ours.
    pub(crate) fn tidewire(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
        command.current_dir(&self.0).args(arguments).env_clear();
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind in the temporary directory does not change what the test found.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) const APPS: &str = r#"
[[apps]]
id = "3"
key = "278d425bdf160c739803"
secret = "7ad3773142a6692b25b8"
"#;

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("the binary starts")
}

/// A value of the printed settings.
#[track_caller]
fn printed(output: &Output, section: &str, key: &str) -> toml::Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let settings: toml::Table = stdout(output).parse().expect("TOML");
    settings[section][key].clone()
}

#[test]
fn effective_settings_are_printed_with_secrets_masked() {
    let folder = Folder::with(&format!(
        "[admin]\ntoken = \"operator-token\"\n{APPS}api_tokens = [\"api-token\"]"
    ));
    let output = run(&mut folder.tidewire(&["check-config"]));
    assert_eq!(printed(&output, "admin", "token").as_str(), Some("***"));
    assert_eq!(stderr(&output), "");
    let text = stdout(&output);
    for secret in ["operator-token", "7ad3773142a6692b25b8", "api-token"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("secret = \"***\"\n"), "{text}");
    assert!(text.contains("api_tokens = [\"***\"]\n"), "{text}");
}

#[test]
fn the_password_in_the_url_of_redis_is_masked() {
    let folder = Folder::with(&format!("[redis]\nurl = \"redis://of-the-file\"\n{APPS}"));
    let mut command = folder.tidewire(&["check-config"]);
    command.env("TIDEWIRE_REDIS__URL", "rediss://me:hidden@redis:6380/1");
    let output = run(&mut command);
    let expected = Some("rediss://me:***@redis:6380/1");
    assert_eq!(printed(&output, "redis", "url").as_str(), expected);
    assert!(!stdout(&output).contains("hidden"), "{}", stdout(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn file_then_environment_then_flag() {
    let folder = Folder::with(&format!("[server]\nport = 1\nhost = \"::1\"\n{APPS}"));
    let check = |arguments: &[&str], variable: Option<&str>| {
        let mut command = folder.tidewire(arguments);
        command.arg("check-config");
        command.envs(variable.map(|port| ("TIDEWIRE_SERVER__PORT", port)));
        let output = run(&mut command);
        assert_eq!(printed(&output, "server", "host").as_str(), Some("::1"));
        printed(&output, "server", "port").as_integer()
    };
    assert_eq!(check(&[], None), Some(1));
    assert_eq!(check(&[], Some("2")), Some(2));
    assert_eq!(check(&["--port", "3"], Some("2")), Some(3));
}

#[test]
fn flags_stand_before_and_behind_the_command() {
    let folder = Folder::with(APPS);
    let flags = ["--path-prefix", "/x", "--workers", "5", "--host", "::1"];
    for arguments in [
        [&["check-config"], &flags[..]].concat(),
        [&flags[..], &["check-config"]].concat(),
    ] {
        let output = run(&mut folder.tidewire(&arguments));
        assert_eq!(
            printed(&output, "server", "path_prefix").as_str(),
            Some("/x")
        );
        assert_eq!(printed(&output, "server", "workers").as_integer(), Some(5));
        assert_eq!(printed(&output, "server", "host").as_str(), Some("::1"));
    }
}

#[test]
fn the_file_is_named_by_flag_or_variable() {
    let folder = Folder::with("not = \"read\"");
    folder.write("one.toml", &format!("[server]\nport = 1\n{APPS}"));
    folder.write("two.toml", &format!("[server]\nport = 2\n{APPS}"));
    let mut command = folder.tidewire(&["check-config"]);
    command.env("TIDEWIRE_CONFIG", folder.path().join("one.toml"));
    assert_eq!(
        printed(&run(&mut command), "server", "port").as_integer(),
        Some(1)
    );
    command.args(["--config", "two.toml"]);
    assert_eq!(
        printed(&run(&mut command), "server", "port").as_integer(),
        Some(2)
    );
}

#[test]
fn an_app_without_any_file() {
    let folder = Folder::new();
    let mut command = folder.tidewire(&["check-config"]);
    command.env("TIDEWIRE_APP_ID", "1");
    command.env("TIDEWIRE_APP_KEY", "k");
    command.env("TIDEWIRE_APP_SECRET", "s");
    let output = run(&mut command);
    assert_eq!(printed(&output, "server", "port").as_integer(), Some(6001));
    assert!(stdout(&output).contains("id = \"1\""));
}

/// A wrong configuration stops every command alike, also the one without a name: serve.
#[test]
fn a_wrong_configuration_exits_with_78() {
    let folder = Folder::with("[server]\nprot = 1\n");
    let expected = "tidewire: the configuration cannot be used:\napps.toml:2: unknown key \"prot\" in [server]; did \
                    you mean \"port\"? Valid: host, port, ";
    for arguments in [
        &["check-config"][..],
        &["serve"],
        &[],
        &["sign", "GET", "/apps/1/channels"],
        &["trigger", "a", "b", "c"],
    ] {
        let output = run(&mut folder.tidewire(arguments));
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        assert!(stderr(&output).starts_with(expected), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
    for (arguments, expected) in [
        (
            &["check-config", "--config", "absent.toml"][..],
            "cannot read the configuration file absent.toml: ",
        ),
        (
            &["check-config", "--config", "."],
            "cannot read the configuration file .: ",
        ),
    ] {
        let output = run(&mut folder.tidewire(arguments));
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let empty = Folder::new();
    let output = run(&mut empty.tidewire(&["check-config"]));
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("no apps: there is no apps.toml and no /etc/tidewire/apps.toml")
    );
}

/// As Docker and Kubernetes hand them out. What is not set stops the start.
#[test]
fn secrets_of_the_environment_and_of_files() {
    let folder = Folder::with(
        "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"${INVOICE_SECRET}\"\nsecret_file = \"app.secret\"\n",
    );
    folder.write("app.secret", "of-the-file\n");
    for command in ["check-config", "serve"] {
        let output = run(&mut folder.tidewire(&[command]));
        assert_eq!(output.status.code(), Some(78));
        let expected =
            "apps.toml:4: secret in [[apps]]: the environment variable INVOICE_SECRET is not set\n";
        assert!(stderr(&output).ends_with(expected), "{}", stderr(&output));
    }
    let mut command = folder.tidewire(&["check-config"]);
    let output = run(command.env("INVOICE_SECRET", "of-the-environment"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.contains("secret = \"***\"\nsecret_file = \"app.secret\"\n"),
        "{text}"
    );
    assert!(!text.contains("of-the"), "{text}");
}

#[test]
fn the_shipped_configuration_is_good_and_warns_of_its_secret() {
    let folder = Folder::with(include_str!("../../apps.toml"));
    let output = run(&mut folder.tidewire(&["check-config"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("warning: app 1001 uses the shipped development secret"));
    let output = run(&mut folder.tidewire(&["check-config", "--host", "127.0.0.1"]));
    assert_eq!(stderr(&output), "");
}
