//! pusher-js over HTTP: frames, roll-overs, receivers that replace each other, sends that overtake each other, the end of
//! sessions, and what is refused.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    APP, Config, Http, PATIENCE, ROLL_OVER, Server, Ws, Xhr, eventually, messages, request,
    xhr_lines,
};

/// A client event of the message, for order.
fn numbered(number: usize) -> String {
    json!({"event": "client-n", "channel": "private-c", "data": number.to_string()}).to_string()
}

/// A listener of `private-c`, and a session that is subscribed to it.
fn pair(config: &Config) -> (Server, Ws, Xhr, crate::harness::XhrStream) {
    let server = Server::start(&config.clone().app("client_events", "true"));
    let mut ws = Ws::connect(&server);
    ws.subscribe("private-c", None);
    let mut page = Xhr::new(&server);
    let mut stream = page.open();
    page.subscribe("private-c");
    stream.told("pusher_internal:subscription_succeeded");
    (server, ws, page, stream)
}

#[test]
fn a_stream_carries_the_protocol() {
    let (server, mut ws, mut page, mut stream) = pair(&Config::new());
    for (name, value) in [
        ("content-type", "application/javascript; charset=UTF-8"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
        ("access-control-allow-origin", "*"),
        ("transfer-encoding", "chunked"),
    ] {
        assert_eq!(stream.head.header(name), Some(value), "{name}");
    }
    server.trigger("private-c", "e", "héé \u{1F600} \"quoted\"\n");
    assert_eq!(stream.message()["data"], "héé \u{1F600} \"quoted\"\n");
    assert_eq!(ws.json()["event"], "e");
    page.send(&numbered(1));
    assert_eq!(ws.json()["data"], "1");
    ws.send(&numbered(2));
    assert_eq!(stream.message()["data"], "2");
    assert_eq!(page.send_body("[]").status(), 204);
    assert_eq!(stream.line(), "a[]");
    page.send(r#"{"event":"pusher:ping"}"#);
    assert_eq!(stream.message()["event"], "pusher:pong");
    page.send("nonsense");
    assert_eq!(stream.message()["event"], "pusher:error");
    let labels = [("transport", "xhr_streaming")];
    assert_eq!(server.labelled("transport_connections", &labels), 1);
    let opened = "transport_connections_opened_total";
    assert_eq!(server.labelled(opened, &labels), 1);
}

#[test]
fn a_poll_gets_what_waits_and_leaves_its_connection_for_the_next() {
    let server = Server::start(&Config::new());
    let mut page = Xhr::new(&server);
    let mut http = Http::connect(server.public);
    let first = page.poll_on(&mut http);
    assert_eq!(first[0], "o");
    assert_eq!(
        messages(&first[1])[0]["event"],
        "pusher:connection_established"
    );
    page.subscribe("c");
    let lines = page.poll_on(&mut http);
    let event = "pusher_internal:subscription_succeeded";
    assert_eq!(messages(&lines[0])[0]["event"], event);
    // What comes between two polls waits.
    for number in 0..3 {
        server.trigger("c", "e", &number.to_string());
    }
    let data: Vec<_> = page
        .poll_on(&mut http)
        .iter()
        .map(|line| messages(line)[0]["data"].clone())
        .collect();
    assert_eq!(data, ["0", "1", "2"]);
    // One that comes first waits.
    page.ask_on(&mut http);
    server.trigger("c", "e", "3");
    assert_eq!(messages(&xhr_lines(&http.read())[0])[0]["data"], "3");
    // Another kind of request on the same connection.
    assert_eq!(http.request("GET", "/", &[], "").status(), 200);
    let labels = [("transport", "xhr_polling")];
    assert_eq!(server.labelled("transport_connections", &labels), 1);
}

#[test]
fn whoever_knows_no_chunks_is_sent_none() {
    let server = Server::start(&Config::new());
    let mut wire = crate::harness::Wire::connect(server.public);
    let text = "POST /pusher/app/app-key/7/oldclient/xhr_streaming?protocol=7 HTTP/1.0\r\nContent-Length: 0\r\n\r\n";
    wire.write(text.as_bytes()).unwrap();
    let mut stream = crate::harness::XhrStream::read(wire);
    assert_eq!(stream.head.header("transfer-encoding"), None);
    assert_eq!(stream.line(), "o");
    assert_eq!(stream.message()["event"], "pusher:connection_established");
}

/// Exactly behind the line with which the client has enough nothing more is written, and nothing is lost.
#[test]
fn a_stream_stops_where_the_client_comes_back() {
    let server = Server::start(&Config::new());
    let mut page = Xhr::new(&server);
    let mut stream = page.open();
    page.subscribe("c");
    stream.told("pusher_internal:subscription_succeeded");
    // Two units for four bytes, and one for two or three.
    let data = "\u{1F600}é€x".repeat(400);
    let mut sent = 0;
    let mut got = 0;
    while stream.units <= ROLL_OVER {
        server.trigger("c", &sent.to_string(), &data);
        sent += 1;
        assert_eq!(stream.message()["event"], got.to_string());
        got += 1;
    }
    for _ in 0..3 {
        server.trigger("c", &sent.to_string(), &data);
        sent += 1;
    }
    assert_eq!(stream.try_line(Duration::from_millis(300)), None);
    assert!(
        !stream.is_complete,
        "an end would be an error to the client"
    );
    drop(stream);
    let mut next = page.stream();
    for number in got..sent {
        assert_eq!(next.message()["event"], number.to_string(), "no `o` before");
    }
}

#[test]
fn a_receiver_replaces_the_one_before() {
    let server = Server::start(&Config::new());
    let mut page = Xhr::new(&server);
    let mut first = page.open();
    page.subscribe("c");
    first.told("pusher_internal:subscription_succeeded");
    let mut second = page.stream();
    // The first one ends, and what comes goes to the second.
    assert!(first.has_ended(PATIENCE));
    server.trigger("c", "e", "1");
    assert_eq!(second.message()["data"], "1");
    // A poll replaces a stream, and a stream a poll.
    let mut http = Http::connect(server.public);
    page.ask_on(&mut http);
    assert!(second.has_ended(PATIENCE));
    let mut third = page.stream();
    let replaced = http.read();
    assert_eq!((replaced.status(), replaced.body.as_str()), (200, ""));
    server.trigger("c", "e", "2");
    assert_eq!(third.message()["data"], "2");
}

#[test]
fn sends_that_overtake_each_other_are_put_right() {
    let (_server, mut ws, mut page, _stream) = pair(&Config::new());
    let next = page.n + 1;
    for offset in [2, 1, 3, 0] {
        page.send_as(next + offset, &numbered(offset as usize));
    }
    for number in 0..4 {
        assert_eq!(ws.json()["data"], number.to_string());
    }
    // A number that never comes is the page's other session's: it is waited for a moment only.
    let begun = Instant::now();
    page.send_as(next + 9, &numbered(9));
    assert_eq!(ws.json()["data"], "9");
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(190), "{waited:?}");
    // One that is too late is late, and not lost.
    page.send_as(next + 5, &numbered(5));
    assert_eq!(ws.json()["data"], "5");
}

/// Many sends that all overtake the first one.
#[test]
fn so_many_sends_are_held_for_a_missing_one() {
    let config = Config::new().limit("client_events_per_second", "100");
    let (_server, mut ws, mut page, _stream) = pair(&config);
    let next = page.n + 1;
    let begun = Instant::now();
    for offset in 1..=65 {
        page.send_as(next + offset, &numbered(offset as usize));
    }
    for number in 1..=65 {
        assert_eq!(ws.json()["data"], number.to_string());
    }
    // The last one ends the wait; on a slow machine the time does.
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_session_without_a_receiver_ends() {
    let server = Server::start(&Config::new());
    let mut streaming = Xhr::new(&server);
    let stream = streaming.open();
    let mut polling = Xhr::new(&server);
    let polled = Instant::now();
    polling.open_by_poll();
    server.await_count("connections", 2);
    let begun = Instant::now();
    // Who hangs up a stream that is not full does not come back; who polls may.
    drop(stream);
    server.await_count("connections", 1);
    assert!(begun.elapsed() < Duration::from_secs(3));
    server.await_count("connections", 0);
    assert!(polled.elapsed() >= Duration::from_secs(3));
    assert_eq!(polling.send_body("[]").status(), 404);
    // It is another session then, which its client closes by itself.
    assert_eq!(polling.poll()[0], "o");
    server.await_count("connections", 0);
}

/// Takes the 25 s after which a silent answer is sent a heartbeat.
#[test]
fn a_silent_session_is_sent_a_heartbeat_and_nobody_else_is() {
    let server = Server::start(&Config::new());
    let mut page = Xhr::new(&server);
    let mut stream = page.open();
    let mut polling = Xhr::new(&server);
    polling.open_by_poll();
    let begun = Instant::now();
    let mut http = Http::connect(server.public);
    polling.ask_on(&mut http);
    assert_eq!(
        stream.try_line(Duration::from_secs(35)).as_deref(),
        Some("h")
    );
    assert!(begun.elapsed() > Duration::from_secs(20));
    assert_eq!(page.send_body("[]").status(), 204);
    assert_eq!(stream.line(), "a[]");
    assert_eq!(xhr_lines(&http.read()), ["h"]);
    // A client that does not answer is gone after 30 s more.
    assert_eq!(
        stream.try_line(Duration::from_secs(35)).as_deref(),
        Some("h")
    );
    let closed = stream.try_line(Duration::from_secs(45));
    assert_eq!(
        closed.as_deref(),
        Some("c[4201,\"Pong reply not received\"]")
    );
    assert_eq!(stream.try_line(PATIENCE), None);
    assert!(stream.is_complete, "a clean end");
}

#[test]
fn refusals_open_a_session_only_to_close_it() {
    let config = Config::new().app("allowed_origins", r#"["https://good.example"]"#);
    let server = Server::start(&config);
    for (target, origin, line) in [
        ("/app/nobody/1/aaaaaaaa/xhr?protocol=7", None, "c[4001,"),
        ("/app/app-key/1/aaaaaaab/xhr", None, "c[4008,"),
        (
            "/app/app-key/1/aaaaaaac/xhr_streaming?protocol=3",
            None,
            "c[4007,",
        ),
        (
            "/app/app-key/1/aaaaaaad/xhr_streaming?protocol=7",
            Some("https://evil.example"),
            "c[4009,",
        ),
    ] {
        let headers: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
        let mut http = Http::connect(server.public);
        let answer = http.request("POST", target, &headers, "");
        let lines = xhr_lines(&answer);
        assert_eq!((lines[0].as_str(), lines.len()), ("o", 2), "{target}");
        assert!(lines[1].starts_with(line), "{lines:?}");
        let allowed = answer.head.header("access-control-allow-origin");
        // The page can read why.
        assert_eq!(allowed, Some(origin.unwrap_or("*")));
    }
    assert_eq!(server.counter("connections_refused"), 4);
    assert_eq!(server.count("sockets"), 0);
    let full = Server::start(&Config::new().server("max_connections", "1"));
    let mut page = Xhr::new(&full);
    let _stream = page.open();
    let mut http = Http::connect(full.public);
    let answer = http.request("POST", "/app/app-key/1/bbbbbbbb/xhr?protocol=7", &[], "");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.head.header("retry-after"), Some("15"));
    assert_eq!(answer.head.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn a_browser_may_ask_before_each_request() {
    let config = Config::new().app("allowed_origins", r#"["https://good.example"]"#);
    let server = Server::start(&config);
    let mut http = Http::connect(server.public);
    for kind in ["xhr_streaming", "xhr", "xhr_send"] {
        for (key, origin, vary) in [
            ("app-key", "https://good.example", Some("Origin")),
            ("nobody", "*", None),
        ] {
            let target = format!("/pusher/app/{key}/1/aaaaaaaa/{kind}?t=1&n=2");
            let headers = [
                ("Origin", "https://good.example"),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "content-type"),
            ];
            http.write(&request("OPTIONS", &target, &headers, ""));
            let answer = http.read_bodiless();
            assert_eq!(answer.status(), 204);
            let header = |name| answer.head.header(name);
            assert_eq!(header("access-control-allow-origin"), Some(origin));
            assert_eq!(header("vary"), vary);
            assert_eq!(header("access-control-allow-methods"), Some("POST"));
            assert_eq!(header("access-control-allow-headers"), Some("content-type"));
            assert_eq!(header("access-control-max-age"), Some("86400"));
        }
    }
    assert_eq!(server.count("connections"), 0);
}

#[test]
fn what_is_not_served_says_what_is() {
    let server = Server::start(&Config::new().server("path_prefix", "\"/rt\""));
    let mut http = Http::connect(server.public);
    for (method, target, status, text) in [
        ("GET", "/rt/app/app-key/info", 404, "enabledTransports"),
        ("GET", "/rt/pusher/info", 404, "enabledTransports"),
        ("GET", "/rt/pusher/iframe.html", 404, "enabledTransports"),
        (
            "POST",
            "/rt/app/app-key/1/aaaaaaaa/jsonp_send",
            404,
            "enabledTransports",
        ),
        (
            "GET",
            "/rt/app/app-key/1/aaaaaaaa/eventsource",
            404,
            "enabledTransports",
        ),
        ("GET", "/rt/app/app-key/1/aaaaaaaa/xhr", 405, "POST"),
        (
            "POST",
            "/rt/app/app-key/1/aaaaaaaa/xhr_send",
            404,
            "no such session",
        ),
        (
            "POST",
            "/rt/app/nobody/1/aaaaaaaa/xhr_send",
            404,
            "no such session",
        ),
    ] {
        let answer = http.request(method, target, &[], "");
        assert_eq!(answer.status(), status, "{target}: {answer:?}");
        assert!(answer.body.contains(text), "{target}: {answer:?}");
    }
    assert_eq!(
        server.labelled(
            "session_requests_refused_total",
            &[("reason", "not_served")]
        ),
        5
    );
    // A session behind the prefix.
    let mut page = Xhr::named(server.public, "/rt/pusher/app/app-key/1/aaaaaaaa");
    page.open();
}

#[test]
fn bodies_are_arrays_of_messages_and_not_too_large() {
    let (server, _ws, mut page, mut stream) = pair(&Config::new());
    for body in ["", "x", "{}", "[1]", "\"a\"", "[\"a\""] {
        let answer = page.send_body(body);
        assert_eq!(answer.status(), 400, "{body}: {answer:?}");
    }
    let several = json!([r#"{"event":"pusher:ping"}"#, r#"{"event":"pusher:ping"}"#]);
    assert_eq!(page.send_body(&several.to_string()).status(), 204);
    for _ in 0..2 {
        assert_eq!(stream.message()["event"], "pusher:pong");
    }
    // An empty body in chunks is none.
    let mut http = Http::connect(server.public);
    let target = "/app/app-key/1/cccccccc/xhr?protocol=7";
    http.write(&format!(
        "POST {target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ));
    assert_eq!(xhr_lines(&http.read())[0], "o");
    let answer = page.send_body(&json!(["x".repeat(300_000)]).to_string());
    assert_eq!(answer.status(), 413);
    let line = stream.line();
    assert!(line.starts_with("c[1009,\"Message too big"), "{line}");
    // Who has no session may not send much either.
    let mut stranger = Xhr::named(server.public, "/app/app-key/1/dddddddd");
    assert_eq!(stranger.send_body(&"x".repeat(10_000)).status(), 404);
}

#[test]
fn rates_are_those_of_any_connection() {
    let (_server, _ws, mut page, mut stream) =
        pair(&Config::new().limit("messages_per_second", "5"));
    let pings: Vec<&str> = [r#"{"event":"pusher:ping"}"#; 20].to_vec();
    assert_eq!(page.send_body(&json!(pings).to_string()).status(), 204);
    let error = stream.told("pusher:error");
    assert_eq!(error["data"]["code"], 4301);
    let many = vec![""; 60];
    page.send_body(&json!(many).to_string());
    let closed = eventually(PATIENCE, "it is closed", || {
        let line = stream.line();
        line.starts_with('c').then_some(line)
    });
    assert!(closed.starts_with("c[4100,"), "{closed}");
}

#[test]
fn a_drain_closes_sessions() {
    let mut server = Server::start(&Config::new());
    let mut page = Xhr::new(&server);
    let mut stream = page.open();
    let mut polling = Xhr::new(&server);
    polling.open_by_poll();
    let mut http = Http::connect(server.public);
    polling.ask_on(&mut http);
    server.terminate();
    let closed = "c[4200,";
    let line = stream.line();
    assert!(line.starts_with(closed), "{line}");
    assert_eq!(stream.try_line(PATIENCE), None);
    assert!(stream.is_complete, "a clean end");
    let line = xhr_lines(&http.read()).remove(0);
    assert!(line.starts_with(closed), "{line}");
    assert!(server.exit_status().success());
}

#[test]
fn a_slow_reader_is_closed() {
    let server = Server::start(&Config::new().server("outbox_bytes", "1048576"));
    let mut page = Xhr::new(&server);
    let mut stream = page.open();
    page.subscribe("c");
    stream.told("pusher_internal:subscription_succeeded");
    let data = "x".repeat(9000);
    // Nothing is read beyond a stream's end.
    eventually(PATIENCE, "it is closed", || {
        server.trigger("c", "e", &data);
        (server.counter("slow_consumers") == 1).then_some(())
    });
    server.await_count("connections", 0);
}

/// Whoever comes back with the token gets what it has not confirmed, however it was connected.
#[test]
fn a_session_with_a_token_resumes() {
    let server = Server::start(&Config::new().app("resume_seconds", "60"));
    let base = |n: u32| format!("/resume/0123456789abcdef/app/app-key/{n}/aaaaaaaa");
    let mut page = Xhr::named(server.public, &base(1));
    let mut stream = page.open();
    page.subscribe("c");
    // Its answer says that all before it has been read.
    stream.told("pusher:ping");
    page.send(r#"{"event":"pusher:pong","data":{}}"#);
    server.trigger("c", "e", "1");
    assert_eq!(stream.told("e")["data"], "1");
    drop(stream);
    for number in 2..5 {
        server.trigger("c", "e", &number.to_string());
    }
    let mut page = Xhr::named(server.public, &base(2));
    let mut stream = page.open();
    page.subscribe("c");
    let told = stream.told("pusher_internal:subscription_succeeded");
    assert!(
        told["data"].as_str().unwrap().contains("\"resumed\":true"),
        "{told}"
    );
    // What was not confirmed comes again, and the rest behind it.
    let mut data = Vec::new();
    while data.last().is_none_or(|last| last != "4") {
        let message = stream.message();
        if message["event"] == "e" {
            data.push(message["data"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(data, ["1", "2", "3", "4"]);
}

/// Publishes on a thread and checks what a page gets meanwhile.
pub(crate) fn none_lost(
    bytes: usize,
    count: usize,
    mut receive: impl FnMut(&mut Xhr) -> Vec<String>,
    page: &mut Xhr,
    server: &Server,
) {
    let address = server.public;
    let data = "x".repeat(bytes);
    let published = thread::spawn(move || {
        let mut http = Http::connect(address);
        for first in (0..count).step_by(10) {
            let batch: Vec<_> = (first..first + 10)
                .map(|n| json!({"name": n.to_string(), "channel": "c", "data": data}))
                .collect();
            let body = json!({ "batch": batch }).to_string();
            let answer = http.signed(&APP, "POST", "/apps/app-id/batch_events", &body);
            assert_eq!(answer.status(), 200, "{answer:?}");
        }
    });
    let mut next = 0;
    while next < count {
        for line in receive(page) {
            if line == "h" {
                continue;
            }
            for message in messages(&line) {
                assert_eq!(message["event"], next.to_string());
                next += 1;
            }
        }
    }
    published.join().unwrap();
}

fn page_on(server: &Server) -> (Xhr, crate::harness::XhrStream) {
    let mut page = Xhr::new(server);
    let mut stream = page.open();
    page.subscribe("c");
    stream.told("pusher_internal:subscription_succeeded");
    (page, stream)
}

/// With roll-overs, a receiver that is replaced while lines wait, and a client that sleeps.
fn streams_lose_nothing(bytes: usize) {
    let server = Server::start(&Config::new().server("outbox_bytes", "134217728"));
    let (mut page, stream) = page_on(&server);
    let (mut stream, mut lines, mut streams) = (Some(stream), 0, 1);
    let receive = |page: &mut Xhr| {
        lines += 1;
        if lines == 500 {
            thread::sleep(Duration::from_secs(2));
        }
        let current = stream.get_or_insert_with(|| {
            streams += 1;
            page.stream()
        });
        let line = current.line();
        if current.units > ROLL_OVER {
            stream = None;
        }
        vec![line]
    };
    none_lost(bytes, 10_000, receive, &mut page, &server);
    assert!(
        streams > 10_000 * bytes / ROLL_OVER / 2,
        "{streams} streams"
    );
}

#[test]
fn streams_of_short_events_lose_nothing() {
    streams_lose_nothing(1000);
}

#[test]
fn streams_of_long_events_lose_nothing() {
    streams_lose_nothing(9000);
}

fn polls_lose_nothing(bytes: usize) {
    let server = Server::start(&Config::new().server("outbox_bytes", "134217728"));
    let mut page = Xhr::new(&server);
    page.open_by_poll();
    page.subscribe("c");
    let mut http = Http::connect(server.public);
    let subscribed = messages(&page.poll_on(&mut http)[0]).remove(0);
    assert_eq!(subscribed["channel"], "c");
    let mut polls = 0;
    let receive = |page: &mut Xhr| {
        polls += 1;
        if polls == 20 {
            // Late, but not so late that it counts as gone.
            thread::sleep(Duration::from_secs(2));
        }
        page.poll_on(&mut http)
    };
    none_lost(bytes, 10_000, receive, &mut page, &server);
}

#[test]
fn polls_of_short_events_lose_nothing() {
    polls_lose_nothing(1000);
}

#[test]
fn polls_of_long_events_lose_nothing() {
    polls_lose_nothing(9000);
}

/// A receiver is replaced in the middle of events, without having been aborted: what the old one was given it has, and
/// the rest goes to the new one.
#[test]
fn a_replaced_receiver_and_the_new_one_have_everything_between_them() {
    let server = Server::start(&Config::new());
    let (mut page, mut first) = page_on(&server);
    let address = server.public;
    let published = thread::spawn(move || {
        let mut http = Http::connect(address);
        for number in 0..200 {
            let body = json!({"name": number.to_string(), "channel": "c", "data": "x"}).to_string();
            let answer = http.signed(&APP, "POST", "/apps/app-id/events", &body);
            assert_eq!(answer.status(), 200);
        }
    });
    let mut got = vec![first.message()];
    let mut second = page.stream();
    while let Some(line) = first.try_line(PATIENCE) {
        got.extend(messages(&line));
    }
    while got.len() < 200 {
        got.push(second.message());
    }
    published.join().unwrap();
    for (number, message) in got.iter().enumerate() {
        assert_eq!(message["event"], number.to_string());
    }
}

/// Strangers that guess, come with many receivers, or send without end cost their own session at most.
#[test]
fn strangers_harm_nobody_else() {
    let (server, mut ws, mut page, mut stream) = pair(&Config::new());
    // Many receivers of one session: each replaces the one before.
    let mut stranger = Xhr::new(&server);
    let mut last = stranger.open();
    for _ in 0..100 {
        let next = stranger.stream();
        // The head of a stream may come before it is the session's receiver, which another worker makes it.
        assert!(last.has_ended(PATIENCE));
        last = next;
    }
    stranger.subscribe("x");
    // What is sent has been taken, and not yet carried out, when its request is answered.
    last.told("pusher_internal:subscription_succeeded");
    server.trigger("x", "e", "1");
    assert_eq!(last.told("e")["data"], "1");
    // Other names find nothing.
    for guess in 0..50 {
        let mut guessed = Xhr::named(server.public, &format!("/app/app-key/7/guess{guess:03}"));
        assert_eq!(guessed.send_body("[]").status(), 404);
    }
    // The name is of the app's key as well.
    let mut other = Xhr::named(server.public, &page.base.replace("app-key", "other-key"));
    assert_eq!(other.send_body("[]").status(), 404);
    page.send(&numbered(7));
    assert_eq!(ws.json()["data"], "7");
    ws.send(&numbered(8));
    assert_eq!(stream.message()["data"], "8");
    assert_eq!(server.count("connections"), 3);
}
