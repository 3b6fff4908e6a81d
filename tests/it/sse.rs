//! Server-Sent Events: what a stream looks like, who may have one, where it goes on, and how it ends.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Config, Events, Http, Nodes, PATIENCE, RedisServer, Server, Ws, event_body, eventually, hs256,
    now,
};

fn with_jwt(config: Config) -> Config {
    config
        .app("jwt.secret", "\"jwt-secret\"")
        .app("jwt.leeway_seconds", "0")
}

/// A token of user 7 for some channels, which ends so many seconds from now.
fn token(seconds: i64, channels: &[&str]) -> String {
    let claims = json!({"sub": "7", "exp": now() + seconds, "channels": channels});
    hs256("jwt-secret", &claims.to_string())
}

/// The same without a user.
fn nobodys(seconds: i64, channels: &[&str]) -> String {
    let claims = json!({"exp": now() + seconds, "channels": channels});
    hs256("jwt-secret", &claims.to_string())
}

/// Plays a test alone, over Redis, and with two nodes.
fn everywhere(config: &Config, test: impl Fn(&Nodes)) {
    test(&Nodes::without_redis(config));
    for many in [1, 2] {
        test(&Nodes::over(RedisServer::shared(), many, config));
    }
}

#[test]
fn a_stream_is_what_the_standard_says() {
    let server = Server::start(&Config::new());
    let mut stream = Events::open(&server, "channels=orders");
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
        ("access-control-allow-origin", "*"),
        ("connection", "close"),
    ] {
        assert_eq!(stream.head.header(name), Some(value));
    }
    assert_eq!(
        stream.opened(),
        json!({"resumed": false, "missed": 0, "anew": ["orders"]})
    );
    assert_eq!(stream.retry.as_deref(), Some("1000"));
    server.trigger("orders", "paid", "a\nb\r\n{\"é\": 1}");
    let event = stream.event();
    assert_eq!(event.name, "paid");
    assert_eq!(event.data, "a\nb\n{\"é\": 1}");

    let mut wrapped = Events::open(&server, "channels=orders,news&wrap=1");
    let opened = wrapped.event();
    assert_eq!(opened.name, "");
    assert_eq!(
        opened.json(),
        json!({"event": "tidewire:opened", "data": {"resumed": false, "missed": 0, "anew": ["orders", "news"]}})
    );
    for data in ["{\"id\": 7}", "a\r\nb", "\"7\""] {
        server.trigger("news", "published", data);
        let expected = serde_json::from_str(data).unwrap_or(json!(data));
        let event = wrapped.event();
        assert_eq!(event.name, "");
        let expected = json!({"channel": "news", "event": "published", "data": expected});
        assert_eq!(event.json(), expected);
    }
}

#[test]
fn a_stream_counts_as_a_connection_and_is_told_no_counts() {
    let config = Config::new().app("subscription_count", "true");
    let server = Server::start(&config);
    let mut stream = Events::open(&server, "channels=a,cache-b");
    stream.opened();
    assert_eq!(stream.event().name, "pusher:cache_miss");
    server.await_count("connections", 1);
    server.await_count("subscriptions", 2);
    let by_transport = [("transport", "sse")];
    let opened = "transport_connections_opened_total";
    assert_eq!(server.labelled(opened, &by_transport), 1);
    let counts = server.get("/apps/app-id/channels/a?info=subscription_count");
    assert_eq!(counts.json()["subscription_count"], 1);
    server.trigger("a", "e", "1");
    stream.gets(["1"]);
    drop(stream);
    server.await_count("connections", 0);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_refused_is_refused_by_its_status() {
    let config = with_jwt(Config::new())
        .app("api_tokens", "[\"an-api-token\"]")
        .limit("channels_per_connection", "3");
    let server = Server::start(&config);
    let expired = token(-60, &["private-*"]);
    let other = token(60, &["private-b"]);
    let wrong = hs256("wrong", &json!({"exp": now() + 60}).to_string());
    let by = |query: &str, token: &str| format!("{query}&token={token}");
    for (query, status, text) in [
        (String::new(), 400, "Missing parameter: channels"),
        ("channels=,".into(), 400, "Missing parameter: channels"),
        ("channels=a,b,a".into(), 400, "\"a\" is named twice"),
        ("channels=a%20b".into(), 400, "Invalid channel name"),
        ("channels=a&wrap=2".into(), 400, "wrap should be 1 or 0"),
        ("channels=a,b,c,d".into(), 400, "the limit is 3"),
        (
            "channels=a,private-a".into(),
            401,
            "private-a needs a token",
        ),
        (
            "channels=presence-a".into(),
            401,
            "presence-a needs a token",
        ),
        (by("channels=private-a", &expired), 401, "the token expired"),
        (by("channels=a", &wrong), 401, "signature is not of a key"),
        (by("channels=a", "no-jwt"), 401, "The token is no JWT"),
        (
            by("channels=a", "an-api-token"),
            401,
            "in the header Authorization only",
        ),
        (
            by("channels=a", "app-secret"),
            401,
            "A secret must never be sent",
        ),
        (
            by("channels=private-a", &other),
            403,
            "does not name private-a",
        ),
        (
            by("channels=%23server-to-user-8", &other),
            403,
            "only for the connections signed in",
        ),
    ] {
        let refused = Events::refused(&server, &query, &[]);
        assert_eq!(refused.status(), status, "{query}: {refused:?}");
        assert!(refused.body.contains(text), "{query}: {refused:?}");
        assert_eq!(
            refused.head.header("access-control-allow-origin"),
            Some("*")
        );
        let json = Events::refused(&server, &query, &[("Accept", "application/json")]).json();
        assert_eq!(json["status"], status);
        assert!(json["error"].as_str().unwrap().contains(text), "{json}");
    }
    let bearer = ("Authorization", "Bearer unknown");
    let refused = Events::refused(&server, "channels=a", &[bearer]);
    assert_eq!(refused.status(), 401);
    assert!(refused.body.contains("neither a JWT nor"), "{refused:?}");
    assert_eq!(server.count("connections"), 0);
}

#[test]
fn other_paths_apps_and_methods_are_refused_by_their_status() {
    let config = Config::new().more(concat!(
        "\n[[apps]]\nid = \"off\"\nkey = \"off-key\"\nsecret = \"off-secret\"\nenabled = false\n",
        "\n[[apps]]\nid = \"tls\"\nkey = \"tls-key\"\nsecret = \"tls-secret\"\ntls_only = true\n",
    ));
    let server = Server::start(&config);
    for (target, status) in [
        ("/sse/no-key?channels=a", 404),
        ("/sse/?channels=a", 404),
        ("/sse/app-key/x?channels=a", 404),
        ("/sse/off-key?channels=a", 403),
        ("/sse/tls-key?channels=a", 403),
    ] {
        let refused = Events::request(server.public, target, &[]).err().unwrap();
        assert_eq!(refused.status(), status, "{target}: {refused:?}");
    }
    let mut http = Http::connect(server.public);
    http.write("HEAD /sse/app-key?channels=a HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = http.read_bodiless();
    assert_eq!(head.status(), 405);
    assert_eq!(head.head.header("allow"), Some("GET, OPTIONS"));
    for method in ["POST", "DELETE"] {
        let refused =
            Http::connect(server.public).request(method, "/sse/app-key?channels=a", &[], "");
        assert_eq!(refused.status(), 405, "{method}");
    }
    assert_eq!(server.count("connections"), 0);
}

#[test]
fn pages_of_other_origins_are_refused_and_preflights_are_answered() {
    let config = Config::new().app("allowed_origins", "[\"https://good.example\"]");
    let server = Server::start(&config);
    let origin = |origin| [("Origin", origin)];
    let stream = Events::open_with(&server, "channels=a", &origin("https://good.example"));
    let allowed = stream.head.header("access-control-allow-origin");
    assert_eq!(allowed, Some("https://good.example"));
    assert_eq!(stream.head.header("vary"), Some("Origin"));
    let refused = Events::refused(&server, "channels=a", &origin("https://evil.example"));
    assert_eq!(refused.status(), 403);
    assert!(refused.body.contains("allowed_origins"), "{refused:?}");
    Events::open(&server, "channels=a");
    let preflight = Http::connect(server.public).request(
        "OPTIONS",
        "/sse/app-key?channels=a",
        &origin("https://good.example"),
        "",
    );
    assert_eq!(preflight.status(), 204);
    let headers = preflight
        .head
        .header("access-control-allow-headers")
        .unwrap();
    assert!(headers.contains("Authorization") && headers.contains("Last-Event-ID"));
}

#[test]
fn a_stream_goes_on_behind_its_id_on_any_node() {
    everywhere(&Config::new(), |nodes| {
        let next = || nodes.for_connection();
        let publish = |channel: &str, data: &str| nodes.for_request().trigger(channel, "e", data);
        let mut stream = Events::open(next(), "channels=a,b");
        stream.opened();
        let at_first = stream.last_id.clone();
        publish("a", "1");
        publish("b", "2");
        stream.gets(["1", "2"]);
        let id = stream.last_id.clone();
        assert_ne!(id, at_first);
        drop(stream);
        publish("b", "3");
        publish("a", "4");
        publish("b", "5");

        let mut resumed = Events::resume(next(), "channels=a,b", &id);
        let missed = |count| json!({"resumed": true, "missed": count, "anew": []});
        assert_eq!(resumed.opened(), missed(3));
        assert_eq!(resumed.last_id, id, "until it has the first of them");
        resumed.gets(["4", "3", "5"]);
        publish("a", "6");
        resumed.gets(["6"]);
        let newest = resumed.last_id.clone();

        // A place for each channel: what came on one says nothing about the other.
        let mut again = Events::resume(next(), "channels=a,b", &at_first);
        assert_eq!(again.opened(), missed(6));
        again.gets(["1", "4", "6", "2", "3", "5"]);
        assert_eq!(again.last_id, newest);
        let by_query = format!("channels=a,b&last_event_id={newest}");
        assert_eq!(Events::open(next(), &by_query).opened(), missed(0));

        // Of one channel, the id is its place in the channel's log.
        let place = newest.split_once('-').unwrap().0;
        assert_eq!(
            Events::resume(next(), "channels=a", place).opened(),
            missed(0)
        );
        for foreign in ["1", "7-8-9", "x", "99999999999999999999", "-", place] {
            let mut anew = Events::resume(next(), "channels=a,b", foreign);
            let opened = anew.opened();
            assert_eq!(opened["resumed"], false, "{foreign}");
            assert_eq!(opened["anew"], json!(["a", "b"]));
        }
    });
}

#[test]
fn a_stream_goes_on_after_a_restart_of_its_node() {
    let config = Config::new()
        .server("drain_seconds", "1")
        .redis("url", &format!("{:?}", RedisServer::shared().url()))
        .redis("prefix", &format!("\"tests-sse-{}\"", std::process::id()));
    let mut server = Server::start(&config);
    let mut stream = Events::open(&server, "channels=a,b");
    stream.opened();
    server.trigger("a", "e", "1");
    stream.gets(["1"]);
    server.terminate();
    let text = "Server is shutting down, reconnect immediately".to_owned();
    assert_eq!(stream.closed(), (4200, text));
    assert!(server.exit_status().success());
    let id = stream.last_id.clone();
    let server = Server::start(&config);
    server.trigger("b", "e", "2");
    let mut resumed = Events::resume(&server, "channels=a,b", &id);
    assert_eq!(
        resumed.opened(),
        json!({"resumed": true, "missed": 1, "anew": []})
    );
    resumed.gets(["2"]);
}

#[test]
fn what_is_beyond_the_log_is_told() {
    let alone = Config::new().server("history_bytes", "65536");
    let small = Config::new().redis("log_events", "3");
    let redis = RedisServer::shared();
    for nodes in [
        Nodes::without_redis(&alone),
        Nodes::over(redis, 1, &small),
        Nodes::over(redis, 2, &small),
    ] {
        let mut stream = Events::open(nodes.for_connection(), "channels=a,b");
        stream.opened();
        let id = stream.last_id.clone();
        drop(stream);
        nodes.for_request().trigger("b", "e", "kept");
        for number in 0..80 {
            let data = format!("{number:01000}");
            nodes.for_request().trigger("a", "e", &data);
        }
        nodes.for_request().trigger("b", "e", "kept too");
        let mut resumed = Events::resume(nodes.for_connection(), "channels=a,b", &id);
        let opened = resumed.opened();
        assert_eq!(opened["resumed"], false);
        assert_eq!(opened["anew"][0], "a", "{opened}");
        nodes.for_request().trigger("a", "e", "newer");
        while resumed.event().data != "newer" {}
    }
}

#[test]
fn a_past_that_is_too_long_begins_anew() {
    let server = Server::start(&Config::new().server("outbox_bytes", "65536"));
    let mut stream = Events::open(&server, "channels=a,b");
    stream.opened();
    let id = stream.last_id.clone();
    drop(stream);
    let data = "x".repeat(9000);
    for channel in ["a", "b"].repeat(3) {
        server.trigger(channel, "e", &data);
    }
    let mut resumed = Events::resume(&server, "channels=a,b", &id);
    assert_eq!(
        resumed.opened(),
        json!({"resumed": false, "missed": 3, "anew": ["b"]})
    );
    resumed.gets([data.as_str(); 3]);
    server.trigger("b", "e", "newer");
    resumed.gets(["newer"]);
}

#[test]
fn without_resume_seconds_there_are_no_ids() {
    let server = Server::start(&Config::new().app("resume_seconds", "0"));
    let mut stream = Events::open(&server, "channels=a");
    stream.opened();
    server.trigger("a", "e", "1");
    stream.gets(["1"]);
    assert_eq!(stream.last_id, "");
    let mut stream = Events::resume(&server, "channels=a", "7");
    assert_eq!(stream.opened()["anew"], json!(["a"]));
}

#[test]
fn a_cache_channel_and_a_rule_tell_of_the_past_first() {
    let rules = "\n[[apps.channels]]\nmatch = \"log\"\nrewind = { events = 2, seconds = 60 }\n";
    let server = Server::start(&Config::new().more(rules));
    server.trigger("cache-a", "e", "last");
    for data in ["1", "2", "3"] {
        server.trigger("log", "e", data);
    }
    let mut stream = Events::open(&server, "channels=cache-a,log");
    stream.opened();
    stream.gets(["last", "2", "3"]);
}

#[test]
fn a_token_lets_in_as_its_user_and_an_api_token_everywhere() {
    let rules = concat!(
        "\n[[apps.channels]]\nmatch = \"invoice.{id}\"\nsubscribe = \"token\"\n",
        "\n[[apps.channels]]\nmatch = \"user.{user_id}\"\nsubscribe = \"user\"\n",
        "\n[[apps.channels]]\nmatch = \"members\"\nsubscribe = \"signed-in\"\n",
        "\n[[apps.channels]]\nmatch = \"closed\"\nsubscribe = \"nobody\"\n",
    );
    let config = with_jwt(Config::new()).app("api_tokens", "[\"an-api-token\"]");
    let server = Server::start(&config.more(rules));
    let all = "channels=private-a,presence-a,private-encrypted-a,invoice.7,user.7,members,%23server-to-user-7";
    let names = ["private-*", "presence-*", "invoice.7"];
    let good = token(60, &names);
    let mut by_query = Events::open(&server, &format!("{all}&token={good}"));
    let bearer = format!("Bearer {good}");
    let mut by_header = Events::open_with(&server, all, &[("Authorization", &bearer)]);
    let backend = [("Authorization", "Bearer an-api-token")];
    let mut by_api_token = Events::open_with(&server, all, &backend);
    // Nobody is a member for listening.
    let members = server.get("/apps/app-id/channels/presence-a/users").json();
    assert_eq!(members, json!({"users": []}));
    let mut member = Ws::connect(&server);
    member.subscribe("presence-a", Some(r#"{"user_id":"8"}"#));
    for stream in [&mut by_query, &mut by_header, &mut by_api_token] {
        stream.opened();
        let event = stream.event();
        assert_eq!(
            (event.name.as_str(), event.data.as_str()),
            ("pusher:member_added", r#"{"user_id":"8"}"#)
        );
        for channel in [
            "private-a",
            "invoice.7",
            "user.7",
            "members",
            "#server-to-user-7",
        ] {
            server.trigger(channel, "e", channel);
            stream.gets([channel]);
        }
        drop(std::mem::replace(
            stream,
            Events::open(&server, "channels=a"),
        ));
    }
    for (query, token, status) in [
        ("channels=user.8", &good, 403),
        ("channels=invoice.8", &good, 403),
        ("channels=members", &nobodys(60, &names), 401),
        ("channels=closed", &good, 403),
    ] {
        let refused = Events::refused(&server, &format!("{query}&token={token}"), &[]);
        assert_eq!(refused.status(), status, "{query}: {refused:?}");
    }
    assert_eq!(
        Events::refused(&server, "channels=closed", &backend).status(),
        403
    );
}

#[test]
fn the_end_of_a_token_ends_the_stream() {
    let server = Server::start(&with_jwt(Config::new()));
    let names = ["private-*"];
    let makers: [fn(i64, &[&str]) -> String; 2] = [token, nobodys];
    let texts = [
        "The token has expired",
        "The token of the subscription to private-a has ended",
    ];
    for (make, text) in makers.into_iter().zip(texts) {
        let query = format!("channels=private-a,b&token={}", make(2, &names));
        let mut stream = Events::open(&server, &query);
        stream.opened();
        let (code, reason) = stream.closed();
        assert_eq!(code, 4200);
        assert!(reason.starts_with(text), "{reason}");
        assert_eq!(Events::refused(&server, &query, &[]).status(), 401);
    }
}

#[test]
fn api_tokens_come_over_tls_or_loopback_and_guesses_are_slowed_down() {
    let config = Config::new()
        .app("api_tokens", "[\"an-api-token\"]")
        .server("trusted_proxies", "[\"127.0.0.1\"]");
    let server = Server::start(&config);
    let from = |proto, token| {
        [
            ("Authorization", token),
            ("X-Forwarded-For", "192.0.2.7"),
            ("X-Forwarded-Proto", proto),
        ]
    };
    Events::open_with(
        &server,
        "channels=private-a",
        &from("https", "Bearer an-api-token"),
    );
    let plain = from("http", "Bearer an-api-token");
    let refused = Events::refused(&server, "channels=private-a", &plain);
    assert_eq!(refused.status(), 403);
    assert!(refused.body.contains("allow_plain_tokens"), "{refused:?}");
    let guess = from("https", "Bearer guess");
    let guesses: Vec<u16> = (0..11)
        .map(|_| Events::refused(&server, "channels=a", &guess).status())
        .collect();
    assert!(guesses.contains(&429) && guesses[0] == 401, "{guesses:?}");
    Events::open_with(
        &server,
        "channels=private-a",
        &from("https", "Bearer an-api-token"),
    );
}

#[test]
fn an_app_that_wants_authorized_clients_gets_them() {
    let config = with_jwt(Config::new()).app("authorize_within", "5");
    let server = Server::start(&config);
    assert_eq!(Events::refused(&server, "channels=a", &[]).status(), 401);
    let token = token(60, &[]);
    Events::open(&server, &format!("channels=a&token={token}")).opened();
}

#[test]
fn rules_and_apps_that_change_end_streams() {
    let rule = |subscribe: &str| {
        format!("\n[[apps.channels]]\nmatch = \"a\"\nsubscribe = \"{subscribe}\"\n")
    };
    let config = with_jwt(Config::new());
    let server = Server::start(&config.clone().more(&rule("anyone")));
    let mut stream = Events::open(&server, "channels=a,b");
    stream.opened();
    server.rewrite(&config.clone().more(&rule("nobody")).toml());
    server.hang_up();
    let (code, text) = stream.closed();
    assert_eq!(code, 4009);
    assert!(text.contains("takes no subscriptions"), "{text}");

    let mut stream = Events::open(&server, "channels=b");
    stream.opened();
    server.rewrite(&config.app("enabled", "false").toml());
    server.hang_up();
    assert_eq!(stream.closed().0, 4003);
    assert_eq!(Events::refused(&server, "channels=b", &[]).status(), 403);
    let none = Config::new().toml().replace("app-key", "other-key");
    server.rewrite(&none);
    server.hang_up();
    eventually(PATIENCE, "the app is gone", || {
        let refused = Events::request(server.public, "/sse/app-key?channels=b", &[]).err()?;
        (refused.status() == 404).then_some(())
    });
}

#[test]
fn limits_hold_for_streams() {
    let config = Config::new()
        .limit("connections", "1")
        .server("max_connections", "2");
    let server = Server::start(&config.other_app(crate::harness::OTHER_APP));
    let mut first = Events::open(&server, "channels=a");
    first.opened();
    let refused = Events::refused(&server, "channels=a", &[]);
    assert_eq!(refused.status(), 429);
    assert!(
        refused.body.contains("over connection quota"),
        "{refused:?}"
    );
    let other = format!("/sse/{}?channels=a", crate::harness::OTHER_APP.key);
    let mut second = Events::request(server.public, &other, &[]).ok().unwrap();
    second.opened();
    let refused = Events::refused(&server, "channels=a", &[]);
    assert_eq!(refused.status(), 503);
    assert!(refused.head.header("retry-after").is_some());
    // An `EventSource` would never come back after another status than 200.
    let accept = [("Accept", "text/event-stream")];
    let mut told = Events::open_with(&server, "channels=a", &accept);
    let error = told.event();
    assert_eq!(error.name, "pusher:error");
    assert_eq!(error.json()["code"], 503);
    assert_eq!(told.retry.as_deref(), Some("15000"));
    assert_eq!(told.next(), None);
    drop(first);
    server.await_count("connections", 1);
    eventually(PATIENCE, "there is room again", || {
        Events::request(server.public, "/sse/app-key?channels=a", &[]).ok()
    });
}

#[test]
fn hostile_requests_cost_little() {
    let server = Server::start(&with_jwt(Config::new()));
    let names: Vec<String> = (0..10_000).map(|n| format!("c{n}")).collect();
    let refused = Events::refused(&server, &format!("channels={}", names.join(",")), &[]);
    assert_eq!(refused.status(), 414);
    let short: Vec<String> = (0..1500).map(|n| format!("{n}")).collect();
    let refused = Events::refused(&server, &format!("channels={}", short.join(",")), &[]);
    assert_eq!(refused.status(), 400);
    let huge = "x".repeat(9000);
    let bearer = format!("Bearer a.{huge}.c");
    let refused = Events::refused(&server, "channels=a", &[("Authorization", &bearer)]);
    assert_eq!(refused.status(), 401);
    assert!(
        refused.body.contains("the token has 9004 bytes"),
        "{refused:?}"
    );
    let id = "1".repeat(20_000);
    let mut stream = Events::resume(&server, "channels=a", &id);
    assert_eq!(stream.opened()["resumed"], false);
    // Nothing is taken behind the request.
    while stream.write(&[b'x'; 1024]).is_ok() && server.count("connections") > 0 {}
    server.await_count("connections", 0);
}

#[test]
fn a_slow_reader_ends() {
    let server = Server::start(&Config::new().server("outbox_bytes", "65536"));
    let mut slow = Events::open(&server, "channels=x");
    let mut publisher = Http::connect(server.public);
    let data = "x".repeat(10_000);
    let mut published = 0;
    while server.count("connections") > 0 {
        assert!(published < 4000, "it is still connected");
        for _ in 0..50 {
            let body = event_body("x", "e", &data);
            publisher.signed(&crate::harness::APP, "POST", "/apps/app-id/events", &body);
            published += 1;
        }
    }
    assert_eq!(server.counter("slow_consumers"), 1);
    slow.opened();
    // What the kernel holds, and the reason if there was room to say it.
    let told = std::iter::from_fn(|| slow.next()).take_while(|event| event.name == "e");
    assert!(told.count() < published);
}

#[test]
fn streams_share_what_is_sent_and_get_all_of_it_in_order() {
    const EVENTS: usize = 500;
    everywhere(&Config::new(), |nodes| {
        let queries = [
            "channels=x",
            "channels=x,y",
            "channels=x&wrap=1",
            "channels=y,x&wrap=1",
        ];
        let mut streams: Vec<Events> = queries
            .iter()
            .cycle()
            .take(20)
            .map(|query| Events::open(nodes.for_connection(), query))
            .collect();
        let mut socket = Ws::subscribed(nodes.for_connection(), "x");
        for number in 0..EVENTS {
            nodes.for_request().trigger("x", "e", &number.to_string());
        }
        for number in 0..EVENTS {
            assert!(socket.text().contains(&format!("\"data\":\"{number}\"")));
        }
        for (at, stream) in streams.iter_mut().enumerate() {
            stream.event();
            for number in 0..EVENTS {
                let event = stream.event();
                let data = match at % 4 < 2 {
                    true => json!(event.data.parse::<usize>().unwrap()),
                    false => event.json()["data"].clone(),
                };
                assert_eq!(data, json!(number));
            }
        }
    });
}

#[test]
fn a_comment_comes_when_nothing_else_does() {
    let server = Server::start(&Config::new().server("activity_timeout", "1"));
    let mut stream = Events::open(&server, "channels=a");
    stream.opened();
    let mut published = 0;
    eventually(Duration::from_secs(60), "a comment", || {
        server.trigger("a", "e", "x");
        published += 1;
        stream.gets(["x"]);
        (stream.comments > 0).then_some(())
    });
    assert_eq!(server.count("connections"), 1);
    assert!(published > 0);
}
