//! Sources that store: what was answered with 200 is published, whatever happens meanwhile. The kinds of signatures are in
//! `tests/clients/suites/sources.test.js`, with the packages of those who sign.

use serde_json::json;

use crate::config::Folder;
use crate::harness::{
    Config, Http, PATIENCE, Proxy, RedisServer, Response, Server, Ws, eventually,
};
use crate::reload::change_now;

/// A source that takes a token, with more lines of its table, and one route.
fn source(name: &str, lines: &str) -> String {
    format!(
        "\n[[apps.sources]]\nname = \"{name}\"\nkind = \"token\"\ntoken = \"t\"\n{lines}\n\
         [[apps.sources.routes]]\nchannels = [\"cache-{name}\"]\nevent = \"e\"\n"
    )
}

fn deliver(server: &Server, name: &str, body: &str) -> Response {
    let target = format!("/apps/app-id/sources/{name}");
    Http::connect(server.public).request("POST", &target, &[("Authorization", "Bearer t")], body)
}

/// The data of the next event.
fn delivered(ws: &mut Ws) -> String {
    let event = ws.json();
    assert_eq!(event["event"], "e", "{event}");
    event["data"].as_str().unwrap().to_owned()
}

fn await_queue(server: &Server, deliveries: u64) {
    eventually(PATIENCE, "so many deliveries wait", || {
        (server.metric("source_queue") == deliveries).then_some(())
    });
}

fn over(proxy: &Proxy, prefix: &str, toml: &str) -> Config {
    Config::new()
        .redis("url", &format!("{:?}", proxy.url()))
        .redis("prefix", &format!("{prefix:?}"))
        .redis("publish_timeout", "1")
        .more(toml)
}

#[test]
fn what_is_stored_is_published_in_order_when_redis_is_back() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.address());
    let toml = source("kept", "store = true") + &source("direct", "");
    let server = Server::start(&over(&proxy, "order", &toml));
    let mut ws = Ws::subscribed(&server, "cache-kept");
    assert!(ws.text().contains("cache_miss"));
    proxy.cut();
    let refused = deliver(&server, "direct", "x");
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert!(refused.head.header("retry-after").is_some());
    for number in 0..3 {
        assert_eq!(deliver(&server, "kept", &number.to_string()).status(), 200);
    }
    await_queue(&server, 3);
    proxy.pass();
    let mut heard: Vec<String> = Vec::new();
    while heard.last().is_none_or(|last| last != "2") {
        let data = delivered(&mut ws);
        // One whose answer was lost may come twice, but not after a later one.
        if heard.last() != Some(&data) {
            heard.push(data);
        }
    }
    assert_eq!(heard, ["0", "1", "2"]);
    await_queue(&server, 0);
    ws.close();
}

/// The sender gets 503, tries again until it gets 200, and once more because that answer was lost.
#[test]
fn a_delivery_that_is_tried_again_is_published_once_on_whichever_node() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.address());
    let toml = source("direct", "id_header = \"X-Id\"")
        + "[[apps.sources.routes]]\nchannels = [\"cache-direct\"]\nevent = \"also\"\n";
    let servers = [(); 2].map(|()| Server::start(&over(&proxy, "again", &toml)));
    let mut ws = Ws::subscribed(&servers[0], "cache-direct");
    assert!(ws.text().contains("cache_miss"));
    let deliver = |server: &Server, id: &str, body: &str| {
        let headers = [("Authorization", "Bearer t"), ("X-Id", id)];
        let mut http = Http::connect(server.public);
        http.request("POST", "/apps/app-id/sources/direct", &headers, body)
    };
    proxy.cut();
    assert_eq!(deliver(&servers[0], "one", "first").status(), 503);
    proxy.pass();
    eventually(PATIENCE, "Redis is back", || {
        (deliver(&servers[0], "one", "first").status() == 200).then_some(())
    });
    for server in &servers {
        eventually(PATIENCE, "Redis is back", || {
            (deliver(server, "one", "other bytes").status() == 200).then_some(())
        });
    }
    assert_eq!(deliver(&servers[1], "two", "second").status(), 200);
    for (name, data) in [
        ("e", "first"),
        ("also", "first"),
        ("e", "second"),
        ("also", "second"),
    ] {
        let event = ws.json();
        assert_eq!(
            (event["event"].as_str(), event["data"].as_str()),
            (Some(name), Some(data))
        );
    }
    let repeats = servers
        .iter()
        .map(|server| server.counter("source_repeated"));
    assert!(repeats.sum::<u64>() >= 2);
    ws.close();
}

#[test]
fn what_is_stored_survives_kill_9_with_a_spool() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.address());
    let folder = Folder::new();
    let spool = folder.path().join("spool");
    let config = over(&proxy, "kill", &source("kept", "store = true"))
        .webhooks("spool", &format!("{spool:?}"));
    let server = Server::start(&config);
    proxy.cut();
    assert_eq!(deliver(&server, "kept", "paid").status(), 200);
    await_queue(&server, 1);
    server.kill();
    proxy.pass();
    let server = Server::start(&config);
    await_queue(&server, 0);
    let mut ws = Ws::subscribed(&server, "cache-kept");
    assert_eq!(delivered(&mut ws), "paid");
    ws.close();
}

#[test]
fn what_cannot_be_published_in_time_is_a_dead_letter_that_can_be_sent_again() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.address());
    let toml = source("kept", "store = true\nretry_seconds = 1");
    let server = Server::start(&over(&proxy, "dead", &toml));
    proxy.cut();
    assert_eq!(deliver(&server, "kept", "paid").status(), 200);
    let letter = eventually(PATIENCE, "a dead letter", || {
        let letters = server.admin("/dead-letters").json();
        let letter = letters["dead_letters"][0].clone();
        letter.is_object().then_some(letter)
    });
    assert_eq!(letter["url"], "/apps/app-id/sources/kept");
    let event = json!({"name": "e", "channels": ["cache-kept"], "data": "paid"});
    assert_eq!(letter["events"], json!([event]));
    assert_eq!(server.counter("source_dead"), 1);
    proxy.pass();
    eventually(PATIENCE, "Redis is back", || {
        (server.admin("/ready").status() == 200).then_some(())
    });
    let redelivered =
        Http::connect(server.admin).request("POST", "/dead-letters/redeliver", &[], "");
    assert_eq!(redelivered.json(), json!({"redelivered": 1}));
    await_queue(&server, 0);
    let mut ws = Ws::subscribed(&server, "cache-kept");
    assert_eq!(delivered(&mut ws), "paid");
    ws.close();
}

#[test]
fn so_many_deliveries_are_kept_and_the_next_one_is_refused() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.address());
    let config = over(&proxy, "full", &source("kept", "store = true"));
    let server = Server::start(&config.webhooks("queue_events", "2"));
    proxy.cut();
    for _ in 0..2 {
        assert_eq!(deliver(&server, "kept", "x").status(), 200);
    }
    let refused = deliver(&server, "kept", "x");
    assert_eq!(refused.status(), 503, "{refused:?}");
    let labels = [("reason", "source_full")];
    assert_eq!(server.labelled("http_refused_total", &labels), 1);
    proxy.pass();
    await_queue(&server, 0);
}

#[test]
fn a_delivery_is_bounded_before_it_is_read_and_tokens_cannot_be_guessed() {
    let server = Server::start(&Config::new().more(&source("direct", "")));
    let target = "/apps/app-id/sources/direct";
    let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 10485760\r\n\r\n");
    let mut http = Http::connect(server.public);
    http.write(&head);
    assert_eq!(http.read().status(), 413);
    let guess = || {
        let headers = [("Authorization", "Bearer guess")];
        Http::connect(server.public)
            .request("POST", target, &headers, "")
            .status()
    };
    let answers: Vec<u16> = (0..12).map(|_| guess()).collect();
    assert_eq!(answers[0], 401);
    assert!(answers.contains(&429), "{answers:?}");
    assert_eq!(
        deliver(&server, "direct", "x").status(),
        200,
        "the right one is never refused"
    );
    let too_long = "x".repeat(20_000);
    assert_eq!(
        deliver(&server, "direct", &too_long).status(),
        413,
        "event_bytes"
    );
}

#[test]
fn events_over_the_rate_of_the_app_are_refused() {
    let config = Config::new().limit("events_per_second", "1");
    let server = Server::start(&config.more(&source("direct", "")));
    let answers: Vec<u16> = (0..20)
        .map(|_| deliver(&server, "direct", "x").status())
        .collect();
    assert!(answers.contains(&429), "{answers:?}");
}

#[test]
fn a_reload_adds_and_removes_sources_below_a_path_prefix() {
    let config = || Config::new().server("path_prefix", "\"/live\"");
    let server = Server::start(&config().more(&source("former", "")));
    let status = |name: &str| {
        let target = format!("/live/apps/app-id/sources/{name}");
        let headers = [("Authorization", "Bearer t")];
        Http::connect(server.public)
            .request("POST", &target, &headers, "x")
            .status()
    };
    assert_eq!((status("former"), status("kept")), (200, 404));
    change_now(&server, &config().more(&source("kept", "store = true")));
    assert_eq!((status("former"), status("kept")), (404, 200));
    await_queue(&server, 0);
}

/// A mistake in a template stops the start.
#[test]
fn a_mistake_in_a_template_has_its_file_and_line() {
    let toml = source("a", "id = \"{{ body.id\"");
    let (status, log) = Server::refused(&Config::new().more(&toml));
    assert_eq!(status.code(), Some(78));
    let line = log
        .lines()
        .find(|line| line.contains("id in [[apps.sources]]"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(
        line.contains(".toml:") && line.contains("syntax error"),
        "{line}"
    );
    let wrong = "sns_test = { host = \"example.com:443\", ca_file = \"ca.pem\" }\ntopics = [\"t\"]";
    let toml = source("a", wrong).replace("kind = \"token\"\ntoken = \"t\"", "kind = \"sns\"");
    let (_, log) = Server::refused(&Config::new().more(&toml));
    assert!(log.contains("must be a loopback address"), "{log}");
    let toml = source("a", "topics = [\"t\"]");
    let (_, log) = Server::refused(&Config::new().more(&toml));
    assert!(log.contains("the kind \"token\" takes no topics"), "{log}");
}
