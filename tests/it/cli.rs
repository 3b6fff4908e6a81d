//! The commands beside `serve` and `check-config`, and the help of all: what is signed is checked by hand, what is sent
//! by a socket that listens.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use percent_encoding::percent_decode_str;
use tidewire::auth::{Secret, body_md5, request_string};

use crate::config::{APPS, Folder, run, stderr, stdout};
use crate::harness::{Config, PATIENCE, Server, TestCertificates, Ws, eventually};

/// Checks the signature of a URL's query as a server does, and returns the query without it.
#[track_caller]
fn verified(method: &str, path: &str, query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut query: Vec<(String, String)> = query
        .split('&')
        .map(|pair| pair.split_once('=').expect("a pair"))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect();
    let signed = request_string(method, path, &query);
    let (name, signature) = query.pop().expect("a signature");
    assert_eq!(name, "auth_signature");
    let secret = Secret::new("7ad3773142a6692b25b8");
    assert!(secret.verifies(signed.as_bytes(), &signature), "{signed}");
    query
}

fn value<'a>(query: &'a [(String, String)], key: &str) -> Option<&'a str> {
    let pair = query.iter().find(|(name, _)| name == key)?;
    Some(&pair.1)
}

/// The words that a shell makes of a command line, without running curl.
fn words(line: &str) -> Vec<String> {
    let script = format!("curl() {{ for word; do printf '%s\\0' \"$word\"; done; }}; {line}");
    let output = run(Command::new("sh").args(["-c", &script]));
    let text = stdout(&output);
    let words = text.split_terminator('\0');
    words.map(str::to_owned).collect()
}

#[test]
fn sign_prints_one_line_for_a_shell() {
    let folder = Folder::with(APPS);
    let body = r#"{"name":"it's","channel":"a","data":"$HOME \" @ü"}"#;
    let arguments = ["sign", "post", "/apps/3/events", "--body", body];
    let output = run(&mut folder.tidewire(&arguments));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line = stdout(&output);
    assert_eq!(line.lines().count(), 1);
    let words = words(&line);
    assert_eq!(words[..4], ["-sS", "-g", "-X", "POST"]);
    assert_eq!(
        words[5..],
        ["-H", "Content-Type: application/json", "--data-raw", body]
    );
    let (base, query) = words[4].split_once('?').expect("a query");
    assert_eq!(base, "http://127.0.0.1:6001/apps/3/events");
    let query = verified("POST", "/apps/3/events", query);
    let md5 = body_md5(body.as_bytes());
    assert_eq!(value(&query, "body_md5"), Some(md5.as_str()));
    assert_eq!(value(&query, "auth_key"), Some("278d425bdf160c739803"));
    assert_eq!(value(&query, "auth_version"), Some("1.0"));
}

#[test]
fn sign_keeps_the_query_and_leaves_the_prefix_unsigned() {
    let folder = Folder::with(APPS);
    let path = "/apps/3/channels?filter_by_prefix=presence-%C3%BC&info=user_count%2Ca+b";
    for (flags, prefix, base) in [
        (&[][..], "", "http://127.0.0.1:6001"),
        (&["--path-prefix", "x"], "", "http://127.0.0.1:6001/x"),
        (&["--path-prefix", "x"], "/x", "http://127.0.0.1:6001/x"),
        (&["--host", "::", "--port", "7"], "", "http://[::1]:7"),
        (&["--host", "example.com"], "", "http://example.com:6001"),
    ] {
        let path = format!("{prefix}{path}");
        let mut command = folder.tidewire(flags);
        let output = run(command.args(["sign", "GET", &path]));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let words = words(&stdout(&output));
        let (url, query) = words[4].split_once('?').expect("a query");
        assert_eq!(url, format!("{base}/apps/3/channels"));
        let query = verified("GET", "/apps/3/channels", query);
        assert_eq!(value(&query, "filter_by_prefix"), Some("presence-ü"));
        assert_eq!(value(&query, "info"), Some("user_count,a b"));
        assert_eq!(value(&query, "body_md5"), None);
    }
}

/// The listener without TLS is the one for backends.
#[test]
fn sign_goes_where_backends_go() {
    let certificates = TestCertificates::new();
    certificates.sign_server("server");
    let (cert, key) = (
        certificates.quoted("server.crt"),
        certificates.quoted("server.key"),
    );
    let folder = Folder::with(&format!("[server.tls]\ncert = {cert}\nkey = {key}\n{APPS}"));
    let signed = |flags: &[&str], plain: Option<&str>| {
        let mut command = folder.tidewire(flags);
        command.args(["sign", "GET", "/apps/3/channels"]);
        run(command.envs(plain.map(|port| ("TIDEWIRE_SERVER__TLS__PLAIN_PORT", port))))
    };
    for (flags, plain, base) in [
        (&[][..], Some("7000"), "http://127.0.0.1:7000"),
        (&["--host", "localhost"], None, "https://localhost:6001"),
        (&[], None, "https://127.0.0.1:6001"),
    ] {
        let output = signed(flags, plain);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let line = stdout(&output);
        assert!(
            line.contains(&format!(" '{base}/apps/3/channels?")),
            "{line}"
        );
    }
}

#[test]
fn sign_says_what_is_wrong() {
    let two = format!("{APPS}[[apps]]\nid = \"4\"\nkey = \"k\"\nsecret = \"s\"");
    let folder = Folder::with(&two);
    for (arguments, expected) in [
        (
            &["POST", "/events"][..],
            "which app? Name one with --app: 3, 4",
        ),
        (
            &["POST", "/apps/5/events"],
            "no app has the id \"5\". The configuration has: 3, 4",
        ),
        (&["POST", "apps"], "expected a path like /apps/1001/events"),
        (&["GET", "/apps/3/channels/#a"], "expected a path like"),
        (
            &["P T", "/apps/3"],
            "expected GET or POST, which the HTTP API takes, found \"P T\"",
        ),
        (
            &["PUT", "/apps/3/events", "--body", "{}"],
            "expected GET or POST, which the HTTP API takes, found \"PUT\"",
        ),
        (
            &["POST", "/apps/3/events", "--body", "{\"name\":"],
            "--body is not JSON: EOF while parsing a value at line 1 column 8",
        ),
        (
            &["GET", "/apps/3/channels", "--body", "{}"],
            "a GET has no --body",
        ),
        (
            &["GET", "/apps/3?auth_key=x"],
            "the path's query has auth_key already",
        ),
        (
            &["GET", "/apps/3", "--url", "ftp://x"],
            "--url: expected a URL like",
        ),
        (
            &["GET", "/apps/3", "--port", "7"],
            "unexpected argument '--port'",
        ),
        (&["GET"], "required arguments"),
    ] {
        let mut command = folder.tidewire(&["sign"]);
        let output = run(command.args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = stderr(&output);
        assert!(text.contains(expected), "{text}");
    }
}

/// What the help shows is taken as it stands there, with the configuration that is shipped.
#[test]
fn the_examples_of_sign_can_be_pasted() {
    let folder = Folder::with(include_str!("../../apps.toml"));
    let help = stdout(&run(&mut folder.tidewire(&["sign", "--help"])));
    let (_, examples) = help.split_once("\nExamples:\n").expect("examples");
    let (examples, _) = examples.split_once("\n\n").expect("an end");
    let lines = examples.lines().filter(|line| !line.starts_with("   "));
    let script: Vec<&str> = lines.collect();
    let binary = env!("CARGO_BIN_EXE_tidewire");
    let script = format!("tidewire() {{ {binary} \"$@\"; }}\n{}", script.join("\n"));
    let mut shell = Command::new("sh");
    let output = run(shell
        .args(["-eu", "-c", &script])
        .current_dir(folder.path()));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let signed = stdout(&output);
    assert_eq!(signed.lines().count(), 3, "{signed}");
    assert!(
        signed.lines().all(|line| line.starts_with("curl ")),
        "{signed}"
    );
}

/// Whoever names an app asks the server on this machine, as with a configuration.
#[test]
fn an_app_that_flags_name_is_asked_for_where_a_server_listens_by_default() {
    let folder = Folder::new();
    folder.write("secret", "7ad3773142a6692b25b8");
    let app = ["--app", "3", "--key", "278d425bdf160c739803"];
    let sign = ["sign", "GET", "/apps/3/channels"];
    for (before, variable, base) in [
        (&[][..], None, "http://127.0.0.1:6001"),
        (&["--port", "7"], None, "http://127.0.0.1:7"),
        (&[], Some("8"), "http://127.0.0.1:8"),
    ] {
        let mut command = folder.tidewire(before);
        command
            .args(sign)
            .args(app)
            .args(["--secret-file", "secret"]);
        // Beside others it is half of an app, which serve would refuse.
        command.env("TIDEWIRE_APP_SECRET", "another");
        let output = run(command.envs(variable.map(|port| ("TIDEWIRE_SERVER__PORT", port))));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let line = stdout(&output);
        assert!(
            line.contains(&format!(" '{base}/apps/3/channels?")),
            "{line}"
        );
    }
    let mut command = folder.tidewire(&["--port", "1", "channels", "--secret", "s"]);
    let output = run(command.args(app));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("no answer from http://127.0.0.1:1: "),
        "{text}"
    );
    // A configuration that is there and broken is no reason to ask elsewhere.
    folder.write("apps.toml", "[server]\nprot = 1\n");
    let output = run(folder.tidewire(&["channels", "--secret", "s"]).args(app));
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("did you mean \"port\"?"));
}

#[test]
fn only_what_listens_has_flags_for_it() {
    let folder = Folder::new();
    for command in commands(&folder) {
        let help = stdout(&run(&mut folder.tidewire(&[&command, "--help"])));
        let listens = ["serve", "check-config"].contains(&&*command);
        for flag in ["--host", "--port", "--path-prefix", "--workers"] {
            assert_eq!(
                help.contains(&format!("{flag} <")),
                listens,
                "{command} {flag}"
            );
        }
        assert!(help.contains("--config <"), "{command}");
    }
}

/// Runs `trigger` against a listener that answers once, and returns the request and what the command said.
fn triggered(answer: &str, arguments: &[&str]) -> (String, std::process::Output) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = answer.to_owned();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        // The body is an object that ends with the request.
        while !request.ends_with(b"}") {
            let mut part = [0; 1024];
            let count = stream.read(&mut part).expect("a request");
            assert_ne!(count, 0, "the request broke off");
            request.extend_from_slice(&part[..count]);
        }
        stream.write_all(answer.as_bytes()).expect("a reader");
        String::from_utf8(request).expect("text")
    });
    let folder = Folder::with(APPS);
    let mut command = folder.tidewire(&["trigger", "--url", &url]);
    let output = run(command.args(arguments));
    (server.join().expect("a request"), output)
}

#[test]
fn trigger_publishes_and_prints_the_answer() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let data = "{\"status\": \"päid\"}";
    let arguments = ["invoice.7", "payment.received", data, "--socket-id", "1.2"];
    let (request, output) = triggered(answer, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "{}\n");
    let (head, body) = request.split_once("\r\n\r\n").expect("a body");
    let line = head.lines().next().expect("a request line");
    let url = line.strip_prefix("POST ").expect("POST");
    let url = url.strip_suffix(" HTTP/1.1").expect("HTTP/1.1");
    let (path, query) = url.split_once('?').expect("a query");
    assert_eq!(path, "/apps/3/events");
    let query = verified("POST", path, query);
    let md5 = body_md5(body.as_bytes());
    assert_eq!(value(&query, "body_md5"), Some(md5.as_str()));
    assert!(
        head.to_ascii_lowercase()
            .contains("content-type: application/json")
    );
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        body,
        serde_json::json!({
            "name": "payment.received", "channels": ["invoice.7"], "data": data, "socket_id": "1.2"
        })
    );
}

#[test]
fn trigger_passes_a_refusal_on() {
    let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 21\r\n\r\nInvalid channel name\n";
    let (_, output) = triggered(answer, &["a b", "c", "d"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    assert_eq!(
        stderr(&output),
        "tidewire: the server answered 400: Invalid channel name\n"
    );
}

#[test]
fn trigger_says_what_to_check_when_nobody_answers() {
    // While a socket is bound and does not listen, nobody else is given its port.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let loopback = "127.0.0.1:0".parse().expect("an address");
    socket.bind(loopback).expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));
    let folder = Folder::with(APPS);
    let output = run(&mut folder.tidewire(&["trigger", "a", "b", "c", "--url", &url]));
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains(&format!("no answer from {url}: ")), "{text}");
    assert!(text.contains("Is the server running there?"), "{text}");
}

/// The commands that `--help` lists.
fn commands(folder: &Folder) -> Vec<String> {
    let output = run(&mut folder.tidewire(&["--help"]));
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    let list = text
        .split("Commands:\n")
        .nth(1)
        .expect("a list of commands");
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.len() >= 6, "{names:?}");
    names
}

#[test]
fn help_is_a_manual_page() {
    let folder = Folder::new();
    let text = stdout(&run(&mut folder.tidewire(&["--help"])));
    for expected in [
        "Examples:\n",
        "Settings: default < file < environment < flag",
        "Files:\n",
        "/etc/tidewire/apps.toml",
        "Ports:\n",
        "Signals:\n",
        "SIGTERM, SIGINT",
        "a second one",
        "SIGHUP",
        "Exit codes: 0 done, 1 it went wrong, 2 wrong usage, 78 wrong configuration.",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    let short = stdout(&run(&mut folder.tidewire(&["-h"])));
    assert!(short.lines().count() < 40, "{short}");
    for command in commands(&folder) {
        let output = run(&mut folder.tidewire(&[&command, "--help"]));
        assert_eq!(output.status.code(), Some(0));
        let text = stdout(&output);
        let (_, examples) = text.split_once("\nExamples:\n").expect("examples");
        assert!(
            examples.contains(&format!("  tidewire {command}")),
            "{text}"
        );
        assert!(text.contains("\nExit codes: 0 "), "{text}");
        assert!(text.contains("\nSee also: tidewire "), "{text}");
        // A longer one is broken in a terminal of 80 columns, and cannot be copied.
        let (block, _) = examples.split_once("\n\n").expect("an end");
        assert!(block.lines().all(|line| line.len() < 80), "{block}");
        let long: Vec<&str> = text
            .lines()
            .filter(|line| line.chars().count() > 130)
            .collect();
        assert_eq!(long, Vec::<&str>::new());
    }
}

#[test]
fn completions_know_every_command() {
    let folder = Folder::new();
    let commands = commands(&folder);
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&mut folder.tidewire(&["completions", shell]));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let script = stdout(&output);
        for word in commands
            .iter()
            .map(String::as_str)
            .chain(["config", "ready"])
        {
            assert!(script.contains(word), "{word} is not completed in {shell}");
        }
    }
    let output = run(&mut folder.tidewire(&["completions", "tcsh"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("[possible values: bash, zsh, fish]"));
}

#[test]
fn bash_completes_what_was_begun() {
    let folder = Folder::new();
    let script = stdout(&run(&mut folder.tidewire(&["completions", "bash"])));
    folder.write("completions", &script);
    let ask = "source ./completions; COMP_WORDS=(tidewire he); COMP_CWORD=1; _tidewire tidewire he tidewire; \
               printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    let output = run(bash.current_dir(folder.path()).args(["--norc", "-c", ask]));
    let found = stdout(&output);
    assert!(
        found.lines().any(|line| line == "health"),
        "{found}{}",
        stderr(&output)
    );
}

/// A listener that gives every connection the same answer, or none.
fn answering(answer: Option<&'static str>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            if let Some(answer) = answer {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head);
                let _ = stream.write_all(answer.as_bytes());
            }
            kept.push(stream);
        }
    });
    address
}

const WELL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nlive\n";

#[test]
fn health_asks_a_running_server() {
    let mut server = Server::start(&Config::new().server("drain_seconds", "3"));
    let folder = Folder::new();
    let url = format!("http://{}", server.admin);
    let health = |more: &[&str]| {
        let mut command = folder.tidewire(&["health", "--url", &url]);
        run(command.args(more))
    };
    for (more, answer) in [(&[][..], "live\n"), (&["--ready"], "ready\n")] {
        let output = health(more);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output), answer);
        assert_eq!(stderr(&output), "");
    }
    // Clients that do not answer the close hold the drain up for a while.
    let connections: Vec<Ws> = (0..50).map(|_| Ws::connect(&server)).collect();
    server.terminate();
    let output = eventually(PATIENCE, "it is not ready", || {
        let output = health(&["--ready"]);
        (output.status.code() == Some(1)).then_some(output)
    });
    let expected = format!("tidewire: {url}/ready answers 503: not ready: shutting down\n");
    assert_eq!(stderr(&output), expected);
    assert_eq!(stdout(&output), "");
    assert_eq!(health(&[]).status.code(), Some(0));
    drop(connections);
    server.exit_status();
    let output = health(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.starts_with(&format!("tidewire: no answer from {url}/live: ")),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// Only where the admin port is matters: neither an app is needed, nor a file without mistakes.
#[test]
fn health_finds_the_server_of_its_configuration() {
    let port = answering(Some(WELL)).port();
    let of_file = format!("[server]\nprot = 1\n[admin]\nhost = \"0.0.0.0\"\nport = {port}\n");
    for (file, variable) in [
        (of_file.as_str(), None),
        ("[admin]\nport = 1\n", Some(port)),
        ("[admin", Some(port)),
        ("", Some(port)),
    ] {
        let folder = Folder::with(file);
        let mut command = folder.tidewire(&["health"]);
        let port = variable.map(|port| port.to_string());
        let output = run(command.envs(port.map(|port| ("TIDEWIRE_ADMIN__PORT", port))));
        assert_eq!(output.status.code(), Some(0), "{file}: {}", stderr(&output));
    }
    let folder = Folder::new();
    let mut command = folder.tidewire(&["health"]);
    let output = run(command.env("SOKETI_METRICS_SERVER_PORT", port.to_string()));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn health_gives_one_reason_in_one_line() {
    let folder = Folder::new();
    let silent = answering(None);
    let sick = answering(Some(
        "HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\none\ntwo\n\n",
    ));
    for (url, code, expected) in [
        (format!("http://{silent}"), 1, "within 2 seconds\n"),
        (format!("http://{sick}/"), 1, "/live answers 500: one\n"),
        ("ftp://x".to_owned(), 2, "found \"ftp://x\"\n"),
    ] {
        let output = run(&mut folder.tidewire(&["health", "--url", &url]));
        assert_eq!(output.status.code(), Some(code));
        let text = stderr(&output);
        assert!(text.ends_with(expected), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let mut command = folder.tidewire(&["health"]);
    let output = run(command.env("TIDEWIRE_ADMIN__PORT", "0"));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).ends_with("any free one: name it with --url\n"));
}
