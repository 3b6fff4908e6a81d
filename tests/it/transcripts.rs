//! Plays `tests/transcripts/*.txt`: conversations of named connections with one server, frame by frame; with a server
//! on its own (`local`), with one over Redis (`redis`), and with two over Redis that are one (`two_nodes`).
//!
//! A transcript is text, one step a line; empty lines and lines that start with `#` are skipped. It begins with the
//! settings that differ from the harness' defaults, `server KEY = VALUE`, `app KEY = VALUE`, `limits KEY = VALUE`,
//! and goes on with steps (`a` stands for any name of a connection):
//!
//! | step | does |
//! | --- | --- |
//! | `a: connect` | connects to the app and reads `pusher:connection_established` |
//! | `a: open TARGET [Header: value] …` | upgrades on any target, with headers, and reads nothing |
//! | `a: header NAME = VALUE`, `a: header NAME absent` | checks the response to that upgrade |
//! | `a> TEXT` | sends a text frame |
//! | `a: subscribe CHANNEL CHANNEL_DATA?` | sends a subscribe frame, signed if the channel needs it |
//! | `a: join CHANNEL CHANNEL_DATA?` | the same, and reads `subscription_succeeded` whatever its data |
//! | `a: signin USER_DATA` | sends a signed sign-in |
//! | `a< TEXT` | the next frame must be this text, byte for byte |
//! | `a< refused CHANNEL TYPE STATUS MESSAGE` | the next three frames must be the refusal of a subscription |
//! | `a< close CODE REASON` | the next frame must be this close, and the connection must end |
//! | `a: silent` | sends a ping: its pong must be the next frame |
//! | `a: ping PAYLOAD` | sends a WebSocket ping: its WebSocket pong must be the next frame |
//! | `a: close` | the closing handshake from the client |
//! | `a: drop` | ends the TCP connection without one |
//! | `http METHOD TARGET BODY? -> STATUS BODY?` | a signed request and its answer, without a final newline |
//! | `wait http …` | the same, repeated until the answer fits |
//! | `health NAME = N` | waits until that number at `/health` is N |
//! | `repeat N STEP` | the step N times, `$i` being 1, 2, … |
//!
//! With two nodes connections go to each of them in turn, in the order of `connect` and `open`, and so do the requests
//! of `http` and `wait`; `health` is the sum. Two things differ over Redis, where what one node does reaches another
//! through a third:
//!
//! - `a: silent` first has an event published that `a` alone is subscribed to, on a presence channel of its own: what
//!   Redis took before it arrives before it.
//! - A transcript about something that each node counts for itself says `single REASON` among its settings, and is
//!   played with one node instead of two.
//!
//! In what is received `*` stands for any run of characters. Everywhere `$a.socket_id` is that connection's id,
//! `$auth(a, CHANNEL)` and `$auth(a, CHANNEL, CHANNEL_DATA)` are `key:signature` of a subscription, `$userauth(a,
//! USER_DATA)` of a sign-in, `$jwt(SECONDS, CLAIMS)` is a token of the secret `jwt-secret` that expires in so many
//! seconds (it has a claim beside `exp`), and `$times(N, TEXT)` is a text N times over.

use std::collections::BTreeMap;

use crate::harness::{
    APP, Config, Message, Nodes, Opcode, PATIENCE, RedisServer, Response, Server, Ws, eventually,
    hs256, now,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");

/// Who the other side of the conversation is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SetUp {
    Local,
    Redis,
    TwoNodes,
}

/// One test for each file and set-up, so that they run in parallel and fail by name.
macro_rules! transcripts {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        mod local {
            use super::{SetUp, play};
            $(#[test] fn $name() { play(stringify!($name), SetUp::Local); })*
        }
        mod redis {
            use super::{SetUp, play};
            $(#[test] fn $name() { play(stringify!($name), SetUp::Redis); })*
        }
        mod two_nodes {
            use super::{SetUp, play};
            $(#[test] fn $name() { play(stringify!($name), SetUp::TwoNodes); })*
        }
    };
}

transcripts! {
    authorize_within
    cache_channels
    client_events
    client_events_off
    client_event_rate
    connection_established
    connection_quota
    disabled_app
    duplicate_subscription
    encrypted_channels
    exclude_socket
    history
    malformed
    message_rate
    origins
    origins_any
    path_prefix
    path_prefix_short
    ping_dialects
    presence
    presence_limits
    private_channels
    public_channels
    refused_subscriptions
    rule_cache
    rule_rewind
    rule_client_events
    rule_held
    rule_kinds
    rule_switches
    rule_time_out
    rule_token
    rule_token_order
    rule_user
    server_to_user
    sign_in
    subscription_count
    subscription_limits
    subscribe_rate
    sub_protocol
    terminate
    tls_only
    tokens
    tokens_refused
    user_connections
    user_ids
    versions
    watchlist
    watchlist_off
}

#[test]
fn every_file_is_played() {
    let mut files: Vec<String> = std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(files, names);
}

/// A conversation. Its connections are dropped before the servers.
struct Play {
    connections: BTreeMap<String, Ws>,
    nodes: Nodes,
    set_up: SetUp,
    silences: usize,
}

fn play(name: &str, set_up: SetUp) {
    let text = std::fs::read_to_string(format!("{FOLDER}/{name}.txt")).unwrap();
    let lines: Vec<(usize, &str)> = (1..)
        .zip(text.lines().map(str::trim_end))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let settings = lines
        .iter()
        .take_while(|(_, line)| is_setting(line))
        .count();
    let (settings, steps) = lines.split_at(settings);
    let is_single = |line: &str| line.starts_with("single ");
    let config = settings
        .iter()
        .filter(|(_, line)| !is_single(line))
        .fold(Config::new(), |config, (_, line)| {
            with_setting(config, line)
        });
    let single = settings.iter().any(|(_, line)| is_single(line));
    let mut play = Play {
        connections: BTreeMap::new(),
        nodes: match set_up {
            SetUp::Local => Nodes::without_redis(&config),
            SetUp::TwoNodes if !single => Nodes::over(RedisServer::shared(), 2, &config),
            SetUp::Redis | SetUp::TwoNodes => Nodes::over(RedisServer::shared(), 1, &config),
        },
        set_up,
        silences: 0,
    };
    for (number, line) in steps {
        // Shown when the test fails: the last one is where.
        eprintln!("{name}.txt:{number}: {line}");
        play.step(line);
    }
}

fn is_setting(line: &str) -> bool {
    ["server ", "app ", "limits ", "single "]
        .iter()
        .any(|section| line.starts_with(section))
}

fn with_setting(config: Config, line: &str) -> Config {
    let (name, value) = line.split_once(" = ").expect("KEY = VALUE");
    match name.split_once(' ').expect("SECTION KEY") {
        ("server", key) => config.server(key, value),
        ("app", key) => config.app(key, value),
        (_, key) => config.limit(key, value),
    }
}

impl Play {
    fn step(&mut self, line: &str) {
        let (subject, rest) = line.split_once(' ').unwrap_or((line, ""));
        if subject == "repeat" {
            return self.repeat(rest);
        }
        let rest = self.expand(rest);
        match (subject, subject.split_at(subject.len() - 1)) {
            ("http", _) => self.http(&rest),
            ("wait", _) => self.wait(&rest),
            ("health", _) => self.health(&rest),
            (_, (name, ":")) => self.act(name, &rest),
            (_, (name, ">")) => self.connection(name).send(&rest),
            (_, (name, "<")) => self.receive(name, &rest),
            _ => panic!("not a step"),
        }
    }

    fn repeat(&mut self, rest: &str) {
        let (times, step) = rest.split_once(' ').expect("repeat N STEP");
        for i in 1..=times.parse::<u32>().expect("a number") {
            self.step(&step.replace("$i", &i.to_string()));
        }
    }

    fn connection(&mut self, name: &str) -> &mut Ws {
        self.connections
            .get_mut(name)
            .unwrap_or_else(|| panic!("{name} is not connected"))
    }

    fn act(&mut self, name: &str, action: &str) {
        let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
        match verb {
            "connect" => self.insert(name, Ws::connect(self.nodes.for_connection())),
            "open" => self.insert(name, open(self.nodes.for_connection(), rest)),
            "header" => self.check_header(name, rest),
            "subscribe" => {
                let (channel, data) = channel_and_data(rest);
                self.connection(name).send_subscribe(channel, data);
            }
            "join" => {
                let (channel, data) = channel_and_data(rest);
                self.connection(name).subscribe(channel, data);
            }
            "signin" => self.connection(name).sign_in(rest),
            "silent" => self.silent(name),
            "ping" => self.ping(name, rest),
            "close" => self.remove(name).close(),
            "drop" => drop(self.remove(name)),
            _ => panic!("not an action: {verb}"),
        }
    }

    fn silent(&mut self, name: &str) {
        if self.set_up != SetUp::Local {
            self.silences += 1;
            let marker = format!("presence-silence-{}", self.silences);
            let ws = self.connection(name);
            ws.subscribe(&marker, Some(r#"{"user_id":"silent"}"#));
            self.nodes.for_request().trigger(&marker, "marker", "");
            let ws = self.connection(name);
            let expected = format!(r#"{{"event":"marker","channel":"{marker}","data":""}}"#);
            assert_eq!(ws.text(), expected);
            ws.unsubscribe(&marker);
        }
        self.connection(name).silent();
    }

    fn insert(&mut self, name: &str, ws: Ws) {
        let previous = self.connections.insert(name.to_owned(), ws);
        assert!(previous.is_none(), "{name} is connected already");
    }

    fn remove(&mut self, name: &str) -> Ws {
        self.connections.remove(name).expect("a connected name")
    }

    fn check_header(&mut self, name: &str, check: &str) {
        let ws = self.connection(name);
        match check.split_once(" = ") {
            Some((header, value)) => assert_eq!(ws.handshake_header(header), Some(value)),
            None => {
                let header = check.strip_suffix(" absent").expect("NAME absent");
                assert_eq!(ws.handshake_header(header), None);
            }
        }
    }

    fn ping(&mut self, name: &str, payload: &str) {
        let ws = self.connection(name);
        ws.send_frame(true, Opcode::Ping, payload.as_bytes());
        assert_eq!(ws.next(), Message::Pong(payload.as_bytes().to_vec()));
    }

    fn receive(&mut self, name: &str, expected: &str) {
        if let Some(refusal) = expected.strip_prefix("refused ") {
            return self.receive_refusal(name, refusal);
        }
        let ws = self.connection(name);
        if let Some(close) = expected.strip_prefix("close ") {
            let Message::Close(code, reason) = ws.next() else {
                panic!("expected a close frame");
            };
            assert_fits(close, &format!("{code} {reason}"));
            ws.answer_close(code);
            assert_eq!(ws.next(), Message::Ended);
            self.remove(name);
            return;
        }
        let text = ws.text();
        assert_fits(expected, &text);
        ws.note_socket_id(&text);
    }

    /// Protocol §3.4: for everybody, for Echo, for .NET.
    fn receive_refusal(&mut self, name: &str, refusal: &str) {
        let parts: Vec<&str> = refusal.splitn(4, ' ').collect();
        let [channel, kind, status, message] = parts[..] else {
            panic!("refused CHANNEL TYPE STATUS MESSAGE");
        };
        let channel = quoted(channel);
        let data = format!(
            r#"{{"type":"{kind}","error":{},"status":{status}}}"#,
            quoted(message)
        );
        let message = quoted(message);
        for expected in [
            format!(r#"{{"event":"pusher:error","data":{{"code":null,"message":{message}}}}}"#),
            format!(
                r#"{{"event":"pusher:subscription_error","channel":{channel},"data":{}}}"#,
                quoted(&data)
            ),
            format!(
                r#"{{"event":"pusher_internal:subscription_error","channel":{channel},"data":"{{}}"}}"#
            ),
        ] {
            assert_fits(&expected, &self.connection(name).text());
        }
    }

    fn http(&self, step: &str) {
        let (request, expected) = step.split_once(" -> ").expect("REQUEST -> RESPONSE");
        assert_fits(expected, &answer(&self.request(request)));
    }

    fn wait(&self, step: &str) {
        let step = step.strip_prefix("http ").expect("wait http …");
        let (request, expected) = step.split_once(" -> ").expect("REQUEST -> RESPONSE");
        eventually(PATIENCE, step, || {
            fits(expected, &answer(&self.request(request))).then_some(())
        });
    }

    fn health(&self, check: &str) {
        let (name, number) = check.split_once(" = ").expect("NAME = N");
        let number: u64 = number.parse().expect("a number");
        eventually(PATIENCE, check, || {
            (self.nodes.count(name) == number).then_some(())
        });
    }

    fn request(&self, request: &str) -> Response {
        let (method, rest) = request.split_once(' ').expect("METHOD TARGET");
        let (target, body) = rest.split_once(' ').unwrap_or((rest, ""));
        match method {
            "GET" => self.nodes.for_request().get(target),
            "POST" => self.nodes.for_request().post(target, body),
            _ => panic!("not a method: {method}"),
        }
    }

    /// Replaces the placeholders.
    fn expand(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once('$') else {
            return text.to_owned();
        };
        let (value, length) = self
            .placeholder(rest)
            .unwrap_or_else(|| ("$".to_owned(), 0));
        format!("{before}{value}{}", self.expand(&rest[length..]))
    }

    /// The value of what starts after a `$`, and how long that text is.
    fn placeholder(&self, text: &str) -> Option<(String, usize)> {
        let name_end = text.find(|c: char| !c.is_ascii_alphanumeric())?;
        let (name, rest) = text.split_at(name_end);
        if rest.starts_with(".socket_id") {
            let id = self.connections.get(name)?.socket_id().to_owned();
            return Some((id, name_end + ".socket_id".len()));
        }
        let arguments = rest.strip_prefix('(')?;
        let (first, second) = arguments.split_once(", ")?;
        let second_length = argument_length(second);
        let used = name_end + 1 + first.len() + 2 + second_length + 1;
        let second = &second[..second_length];
        let value = match name {
            "times" => second.repeat(first.parse().ok()?),
            "auth" => {
                let (channel, data) = match second.split_once(", ") {
                    Some((channel, data)) => (channel, Some(data)),
                    None => (second, None),
                };
                APP.channel_auth(self.connections.get(first)?.socket_id(), channel, data)
            }
            "jwt" => {
                let exp = now() + first.parse::<i64>().ok()?;
                let claims = second.strip_prefix('{')?;
                hs256("jwt-secret", &format!(r#"{{"exp":{exp},{claims}"#))
            }
            "userauth" => APP.user_auth(self.connections.get(first)?.socket_id(), second),
            _ => return None,
        };
        Some((value, used))
    }
}

/// Up to the parenthesis that closes the call, over those of the argument itself.
fn argument_length(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return at,
            ')' => depth -= 1,
            _ => {}
        }
    }
    panic!("no closing parenthesis in {text}");
}

fn open(server: &Server, spec: &str) -> Ws {
    let mut parts = spec.split(" [");
    let target = parts.next().unwrap_or_default();
    let headers: Vec<(&str, &str)> = parts
        .map(|part| part.trim_end_matches(']'))
        .map(|header| header.split_once(": ").expect("[Header: value]"))
        .collect();
    Ws::open(server, target, &headers)
}

fn channel_and_data(rest: &str) -> (&str, Option<&str>) {
    match rest.split_once(' ') {
        Some((channel, data)) => (channel, Some(data)),
        None => (rest, None),
    }
}

/// Status and body, as a step spells them.
fn answer(response: &Response) -> String {
    let body = response.body.trim_end_matches('\n');
    format!("{} {body}", response.status())
        .trim_end()
        .to_owned()
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn assert_fits(pattern: &str, text: &str) {
    assert!(
        fits(pattern, text),
        "\nexpected: {pattern}\nreceived: {text}"
    );
}

/// Whether the text is the pattern, in which `*` stands for any run of characters.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("abc", "abc", true),
        ("abc", "abcd", false),
        ("a*c", "abbc", true),
        ("a*c", "ac", true),
        ("a*", "a", true),
        ("*", "", true),
        ("a*b*c", "axbxc", true),
        ("a*b*c", "axc", false),
        ("ab*ba", "aba", false),
    ] {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}
