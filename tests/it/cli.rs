//! `tidewire sign` and `tidewire trigger`: what is signed is checked by hand, what is sent by a socket that listens.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use percent_encoding::percent_decode_str;
use tidewire::auth::{Secret, body_md5, request_string};

use crate::config::{APPS, Folder, run, stderr, stdout};

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
        (
            &["--url", "https://a.b/x/", "--port", "0"],
            "",
            "https://a.b/x",
        ),
    ] {
        let path = format!("{prefix}{path}");
        let mut command = folder.tidewire(&["sign", "GET", &path]);
        let output = run(command.args(flags));
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
        (
            &["POST", "apps"],
            "expected a path like /apps/app-id/events",
        ),
        (&["GET", "/apps/3/channels/#a"], "expected a path like"),
        (&["P T", "/apps/3"], "not an HTTP method: \"P T\""),
        (
            &["GET", "/apps/3?auth_key=x"],
            "the path's query has auth_key already",
        ),
        (
            &["GET", "/apps/3", "--url", "ftp://x"],
            "--url: expected a URL like",
        ),
        (
            &["GET", "/apps/3", "--port", "0"],
            "name the server with --url",
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

#[test]
fn help_shows_examples() {
    let folder = Folder::new();
    for (arguments, expected) in [
        (&["--help"][..], "Exit codes: 0 done"),
        (
            &["sign", "--help"],
            "tidewire sign POST /apps/app-id/events",
        ),
        (
            &["trigger", "--help"],
            "tidewire trigger invoice.7 payment.received",
        ),
    ] {
        let output = run(&mut folder.tidewire(arguments));
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains(expected), "{}", stdout(&output));
    }
}
