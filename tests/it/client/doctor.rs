//! `tidewire doctor`: a healthy server, and every class of failure with its exit code and what it says to do.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use actix_http::header::HttpDate;
use serde_json::Value;

use super::fakes::{Authority, answering, greeting, instead_of_posts, web_socket};
use super::with_credentials;
use crate::config::{Folder, run, stderr, stdout};
use crate::harness::{APP, Config, Server};

fn examine(url: &str, flags: &[&str]) -> Output {
    let folder = Folder::new();
    run(with_credentials(&folder, &["doctor", url]).args(flags))
}

/// The first step that failed must be this one, with this exit code, and the report must say all these.
#[track_caller]
fn fails(output: &Output, exit_code: i32, step: &str, expected: &[&str]) {
    let text = stdout(output);
    assert_eq!(
        output.status.code(),
        Some(exit_code),
        "{text}{}",
        stderr(output)
    );
    assert_eq!(
        stderr(output),
        format!("tidewire: the first step that failed is {step}\n")
    );
    let last = text.lines().rfind(|line| !line.starts_with(' ')).unwrap();
    assert!(last.starts_with(&format!("{step:<10} FAILED")), "{text}");
    // Advice is broken into lines anywhere between words.
    let words: Vec<&str> = text.split_whitespace().collect();
    let on_one_line = words.join(" ");
    for expected in expected {
        assert!(
            on_one_line.contains(expected),
            "not said: {expected}\n{text}"
        );
    }
    assert!(!text.contains(APP.secret), "{text}");
}

fn plain(address: SocketAddr) -> String {
    format!("ws://{address}")
}

fn secure(address: SocketAddr) -> String {
    format!("wss://{address}")
}

#[test]
fn a_healthy_server_passes_every_step() {
    let server = Server::start(&Config::new());
    let output = examine(&plain(server.public), &[]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    let steps: Vec<(&str, &str)> = text
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect();
    let ok = |step| (step, "ok");
    assert_eq!(
        steps,
        [
            ok("resolve"),
            ok("tcp"),
            ("tls", "skipped"),
            ok("upgrade"),
            ok("protocol"),
            ok("subscribe"),
            ok("publish"),
            ok("event"),
        ]
    );
    assert_eq!(stderr(&output), "");
    // Nothing is left behind there: the harness looks when the server goes.
}

#[test]
fn findings_for_machines() {
    let server = Server::start(&Config::new().server("path_prefix", "\"/realtime\""));
    let url = format!("http://{}/realtime/", server.public);
    let output = examine(&url, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["url"], format!("ws://{}/realtime", server.public));
    assert_eq!(
        (&report["ok"], &report["exit_code"]),
        (&true.into(), &0.into())
    );
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 8);
    for step in steps.iter().filter(|step| step["step"] != "tls") {
        assert!(step["status"] == "ok" && step["ms"].is_number(), "{step}");
    }

    let output = examine(&url, &["--json", "--key", "unknown", "--secret", "x"]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "a flag twice: {}",
        stderr(&output)
    );
    let folder = Folder::new();
    let mut command = folder.tidewire(&["doctor", &url, "--json", "--key", "unknown"]);
    let output = run(command.args(["--secret", "x", "--app", APP.id]));
    assert_eq!(output.status.code(), Some(14));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&report["ok"], &report["failed"]),
        (&false.into(), &"protocol".into())
    );
    assert_eq!(report["exit_code"], 14);
    assert_eq!(report["steps"][4]["status"], "failed");
    assert!(
        report["steps"][4]["advice"]
            .as_str()
            .unwrap()
            .contains("[[apps]]")
    );
    assert_eq!(report["steps"][5]["status"], "not reached");
}

#[test]
fn without_a_secret_it_goes_as_far_as_it_can() {
    let server = Server::start(&Config::new());
    let folder = Folder::new();
    let mut command = folder.tidewire(&["doctor", &plain(server.public), "--key", APP.key]);
    let output = run(&mut command);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("publish    skipped"), "{text}");
    assert!(text.contains("TIDEWIRE_APP_SECRET"), "{text}");
}

#[test]
fn a_name_that_leads_nowhere() {
    // Reserved for this (RFC 6761).
    let output = examine("wss://realtime.invalid", &[]);
    fails(
        &output,
        10,
        "resolve",
        &["realtime.invalid", "A or AAAA record"],
    );
}

#[test]
fn a_port_that_nobody_listens_on() {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let loopback = "127.0.0.1:0".parse().expect("an address");
    socket.bind(loopback).expect("a free port");
    let address = socket.local_addr().expect("an address");
    let output = examine(&plain(address), &[]);
    let nothing = format!("Nothing listens on {address}");
    fails(&output, 11, "tcp", &[&nothing, "[server] port"]);
}

#[test]
fn certificates_that_are_not_trusted() {
    let server = Server::start(&Config::new());
    let authority = Authority::new();
    let ca_file = authority.file();
    let trusting = ["--ca-file", &ca_file];
    authority.sign("good", "IP:127.0.0.1", "20200101000000Z", "20990101000000Z");
    authority.sign("old", "IP:127.0.0.1", "20200101000000Z", "20210101000000Z");
    authority.sign(
        "early",
        "IP:127.0.0.1",
        "20980101000000Z",
        "20990101000000Z",
    );
    authority.sign(
        "other",
        "DNS:other.example",
        "20200101000000Z",
        "20990101000000Z",
    );
    authority.self_sign("alone");
    let url = |name: &str| secure(authority.in_front_of(server.public, name));

    let output = examine(&url("good"), &trusting);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(
        text.contains("TLS 1.3, the certificate is good for 127.0.0.1, until 2099-01-01"),
        "{text}"
    );
    assert!(!text.contains('→'), "{text}");

    let output = examine(&url("good"), &[]);
    fails(
        &output,
        12,
        "tls",
        &[
            "--ca-file",
            "self-signed or a private authority's",
            "fullchain.pem",
        ],
    );
    let output = examine(&url("alone"), &trusting);
    fails(&output, 12, "tls", &["self-signed"]);
    let output = examine(&url("old"), &trusting);
    fails(
        &output,
        12,
        "tls",
        &[
            "expired",
            "Renew the certificate of 127.0.0.1",
            "certbot renew",
        ],
    );
    let output = examine(&url("early"), &trusting);
    fails(&output, 12, "tls", &["set the clock"]);
    let output = examine(&url("other"), &trusting);
    fails(&output, 12, "tls", &["other.example", "subjectAltName"]);
}

#[test]
fn a_certificate_that_ends_soon_is_a_word_worth() {
    let server = Server::start(&Config::new());
    let authority = Authority::new();
    let soon = Command::new("date")
        .args(["-u", "-d", "+5 days 12 hours", "+%Y%m%d%H%M%SZ"])
        .output()
        .expect("date exists");
    let soon = stdout(&soon);
    authority.sign("soon", "IP:127.0.0.1", "20200101000000Z", soon.trim());
    let url = secure(authority.in_front_of(server.public, "soon"));
    let output = examine(&url, &["--ca-file", &authority.file()]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("(5 days left)"), "{text}");
    assert!(
        text.contains("→ The certificate, or one above it, ends within two weeks"),
        "{text}"
    );
}

#[test]
fn tls_where_there_is_none_and_none_where_there_is() {
    let server = Server::start(&Config::new());
    let output = examine(&secure(server.public), &[]);
    fails(&output, 12, "tls", &["does not speak TLS", "Use ws://"]);

    let authority = Authority::new();
    authority.self_sign("alone");
    let address = authority.in_front_of(server.public, "alone");
    let output = examine(&plain(address), &[]);
    fails(&output, 13, "upgrade", &["use wss://"]);
}

#[test]
fn what_proxies_answer_to_an_upgrade() {
    let head = "Server: nginx/1.24.0\r\nContent-Type: text/html\r\n";
    let page = |status: &str, more: &str| {
        let body =
            format!("<html><head><title>{status}</title></head><body>\u{1b}[2J</body></html>");
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{head}{more}Content-Length: {length}\r\n\r\n{body}")
    };
    for (answer, expected) in [
        (
            page("404 Not Found", ""),
            &["404 Not Found", "Server: nginx/1.24.0", "path_prefix in [server]", "/x/app/…"][..],
        ),
        (
            page("301 Moved Permanently", "Location: https://a.example/x\r\n"),
            &["Location: https://a.example/x", "WebSockets follow no redirection", "forceTLS: true"],
        ),
        (
            page("502 Bad Gateway", "Via: 1.1 varnish\r\n"),
            &["Via: 1.1 varnish", "cannot reach the server behind it", "proxy_pass"],
        ),
        (
            page("503 Service Unavailable", "Retry-After: 15\r\n"),
            &["max_connections in [server]"],
        ),
        (
            page("426 Upgrade Required", ""),
            &["proxy_set_header Upgrade $http_upgrade"],
        ),
        (
            page("400 The plain HTTP request was sent to HTTPS port", ""),
            &["use wss://"],
        ),
        (page("401 Unauthorized", ""), &["basic authentication"]),
        (page("200 OK", ""), &["answered as a web site does"]),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n".to_owned(),
            &["does not fit the request"],
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), &["SSH-2.0-OpenSSH_9.2", "Another service answers"]),
        (String::new(), &["without an answer", "PROXY protocol"]),
    ] {
        let url = format!("{}/x", plain(answering(answer)));
        let output = examine(&url, &[]);
        fails(&output, 13, "upgrade", expected);
        assert!(!stdout(&output).contains('\u{1b}'), "{:?}", stdout(&output));
    }
    let output = examine(&plain(greeting(b"\x15\x03\x03\x00\x02\x02\x0a")), &[]);
    fails(&output, 13, "upgrade", &["use wss://"]);
}

/// What the real server answers when a proxy does not pass the upgrade on.
#[test]
fn an_upgrade_that_a_proxy_has_taken_off() {
    let server = Server::start(&Config::new());
    let answer =
        crate::harness::Http::connect(server.public).request("GET", "/app/app-key", &[], "");
    let answer = format!("HTTP/1.1 {} X\r\n\r\n{}", answer.status(), answer.body);
    let output = examine(&plain(answering(answer)), &[]);
    fails(
        &output,
        13,
        "upgrade",
        &["This is the WebSocket endpoint", "proxy_http_version 1.1"],
    );
}

#[test]
fn what_is_a_web_socket_of_another_protocol() {
    for (frame, expected) in [
        ("{\"hello\":1}", "not of the Pusher protocol"),
        ("hello", "not of the Pusher protocol"),
        (
            "{\"event\":\"other\"}",
            "expected pusher:connection_established first",
        ),
        (
            "{\"event\":\"pusher:connection_established\",\"data\":\"{}\"}",
            "without a socket_id",
        ),
    ] {
        let output = examine(&plain(web_socket(frame)), &[]);
        fails(&output, 14, "protocol", &[expected, "not this protocol"]);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_the_server_refuses() {
    let folder = Folder::new();
    for (config, flags, code, step, expected) in [
        (
            Config::new(),
            &["--key", "unknown", "--app", APP.id, "--secret", "x"][..],
            14,
            "protocol",
            &["4001", "key in [[apps]]"][..],
        ),
        (
            Config::new().app("enabled", "false"),
            &["--key", APP.key, "--app", APP.id, "--secret", "x"],
            14,
            "protocol",
            &["4003", "Set enabled = true"],
        ),
        (
            Config::new().app("tls_only", "true"),
            &["--key", APP.key, "--app", APP.id, "--secret", "x"],
            14,
            "protocol",
            &["4000", "use wss://"],
        ),
        (
            Config::new().app("allowed_origins", "[\"https://a.example\"]"),
            &[
                "--key",
                APP.key,
                "--app",
                APP.id,
                "--secret",
                "x",
                "--origin",
                "https://b.example",
            ],
            14,
            "protocol",
            &["4009", "allowed_origins"],
        ),
        (
            Config::new(),
            &["--key", APP.key, "--app", APP.id, "--secret", "wrong"],
            15,
            "subscribe",
            &[
                "Invalid signature",
                "secret in [[apps]]",
                "authorisation endpoint",
            ],
        ),
        (
            Config::new(),
            &["--key", APP.key, "--app", "other", "--secret", APP.secret],
            16,
            "publish",
            &["404", "id in [[apps]]"],
        ),
        (
            Config::new().limit("event_bytes", "1"),
            &["--key", APP.key, "--app", APP.id, "--secret", APP.secret],
            16,
            "publish",
            &["413", "event_bytes in [apps.limits]"],
        ),
    ] {
        let server = Server::start(&config);
        let mut command = folder.tidewire(&["doctor", &plain(server.public)]);
        let output = run(command.args(flags));
        fails(&output, code, step, expected);
    }
}

#[test]
fn a_full_app() {
    let server = Server::start(&Config::new().limit("connections", "1"));
    let _other = crate::harness::Ws::connect(&server);
    let output = examine(&plain(server.public), &[]);
    fails(
        &output,
        14,
        "protocol",
        &["4004", "connections in [apps.limits]"],
    );
}

#[test]
fn what_can_happen_to_a_publish() {
    let server = Server::start(&Config::new());
    let answer = |status: &str, more: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n{body}",
            body.len()
        )
    };
    let late = SystemTime::now() + Duration::from_secs(3600);
    let date = format!("Date: {}\r\n", HttpDate::from(late));
    for (answer, expected) in [
        (
            answer(
                "401 Unauthorized",
                &date,
                "Timestamp expired: Given timestamp",
            ),
            &["401", "s behind the server's", "timedatectl"][..],
        ),
        (
            answer("401 Unauthorized", "", "Timestamp expired: Given timestamp"),
            &["clocks differ"],
        ),
        (
            answer("401 Unauthorized", "", "Invalid signature: you"),
            &["a proxy changes the path"],
        ),
        (
            answer("403 Forbidden", "Server: nginx\r\n", ""),
            &["Server: nginx", "allow POST"],
        ),
        (
            answer("404 Not Found", "", "<h1>404</h1>"),
            &["passes on /apps/ as well as /app/"],
        ),
        (
            answer(
                "308 Permanent Redirect",
                "Location: https://a.example\r\n",
                "",
            ),
            &["it redirects to: https://a.example", "useTLS"],
        ),
        (answer("413 Too Large", "", ""), &["client_max_body_size"]),
        (
            answer("502 Bad Gateway", "", ""),
            &["compare the two locations"],
        ),
        (String::new(), &["--api-url"]),
    ] {
        let address = instead_of_posts(server.public, answer);
        fails(&examine(&plain(address), &[]), 16, "publish", expected);
    }
}

#[test]
fn an_event_that_does_not_come_back() {
    let server = Server::start(&Config::new());
    let other = Server::start(&Config::new());
    let api = format!("http://{}", other.public);
    let output = examine(&plain(server.public), &["--api-url", &api]);
    fails(&output, 17, "event", &["different servers", "[redis]"]);
}

#[test]
fn a_secret_without_an_id_cannot_publish() {
    let folder = Folder::new();
    let mut command = folder.tidewire(&["doctor", "ws://127.0.0.1:1", "--key", "k"]);
    let output = run(command.args(["--secret", "s"]));
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("the publish needs the app's id"), "{text}");
}

#[test]
fn the_exit_codes_are_documented() {
    let folder = Folder::new();
    let help = stdout(&run(&mut folder.tidewire(&["doctor", "--help"])));
    let words: Vec<&str> = help.split_whitespace().collect();
    let expected =
        "10 resolve, 11 tcp, 12 tls, 13 upgrade, 14 protocol, 15 subscribe, 16 publish, 17 event";
    assert!(words.join(" ").contains(expected), "{help}");
}

#[test]
fn a_wrong_url() {
    for (url, expected) in [
        ("realtime.example.com", "expected a URL like"),
        ("ws://127.0.0.1:6001/app/app-key", "ends before /app"),
    ] {
        let output = examine(url, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
