//! What is kept of a channel, read over HTTP while events come. The shape of answers and what is refused are in
//! `tests/transcripts/history.txt`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use crate::harness::{Config, Http, Nodes, PATIENCE, RedisServer, Server, Ws, eventually};

const CHANNEL: &str = "log.1";
const TOKEN: &str = "token-of-the-api-0123456789";

/// One node alone, one and two over Redis, with a rule that keeps so many events.
fn keeping(events: u32) -> [Nodes; 3] {
    let rule =
        format!(r#"[{{ match = "log.*", history = {{ events = {events}, seconds = 600 }} }}]"#);
    let config = Config::new()
        .app("channels", &rule)
        .app("api_tokens", &format!("[{TOKEN:?}]"));
    [
        Nodes::without_redis(&config),
        Nodes::over(RedisServer::shared(), 1, &config),
        Nodes::over(RedisServer::shared(), 2, &config),
    ]
}

/// A page: the numbers in its events, where to go on, and whether it is complete.
struct Page {
    numbers: Vec<u64>,
    next: Option<u64>,
    is_complete: bool,
}

fn read(server: &Server, query: &str) -> Page {
    let answer = server.get(&format!("/apps/app-id/channels/{CHANNEL}/events?{query}"));
    assert_eq!(answer.status(), 200, "{answer:?}");
    page(&answer.json())
}

fn page(answer: &Value) -> Page {
    let number = |event: &Value| event["data"].as_str().unwrap().parse().unwrap();
    let events = answer["events"].as_array().unwrap();
    let next = answer["next"].as_u64();
    assert!(events.last().is_none_or(|last| last["id"].as_u64() == next));
    Page {
        numbers: events.iter().map(number).collect(),
        next,
        is_complete: answer["complete"].as_bool().unwrap(),
    }
}

/// The query of what is behind a page.
fn behind(page: Option<&Page>) -> String {
    let next = page.and_then(|page| page.next);
    next.map_or_else(String::new, |next| format!("&after={next}"))
}

#[test]
fn pages_have_each_event_once_while_others_are_published() {
    const EVENTS: u64 = 120;
    for nodes in keeping(1000) {
        let published = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..EVENTS {
                    nodes.for_request().trigger(CHANNEL, "e", &n.to_string());
                    published.store(n + 1, Ordering::SeqCst);
                }
            });
            // From the oldest on, until all that will be published is read; each page from another node.
            let (mut numbers, mut last) = (Vec::<u64>::new(), None);
            eventually(PATIENCE, "all is read", || {
                let before = published.load(Ordering::SeqCst);
                let page = read(
                    nodes.for_connection(),
                    &format!("limit=7{}", behind(last.as_ref())),
                );
                assert!(page.is_complete);
                let has_more = before as usize > numbers.len();
                assert!(
                    !has_more || !page.numbers.is_empty(),
                    "a published event is missing"
                );
                numbers.extend(&page.numbers);
                last = Some(page);
                (numbers.len() as u64 == EVENTS).then_some(())
            });
            assert_eq!(numbers, (0..EVENTS).collect::<Vec<_>>());
            // Who has all asks again in the same place.
            let end = behind(last.as_ref());
            let empty = read(&nodes[0], &end[1..]);
            assert!(empty.numbers.is_empty() && empty.is_complete);
            assert_eq!(behind(Some(&empty)), end);
        });
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in EVENTS..2 * EVENTS {
                    nodes.for_request().trigger(CHANNEL, "e", &n.to_string());
                }
            });
            // From the newest back: what comes meanwhile is not in the way.
            let (mut numbers, mut last) = (Vec::<u64>::new(), None);
            loop {
                let query = format!("order=desc&limit=7{}", behind(last.as_ref()));
                let page = read(nodes.for_connection(), &query);
                assert!(page.is_complete);
                if page.numbers.is_empty() {
                    break;
                }
                numbers.extend(&page.numbers);
                last = Some(page);
            }
            let newest = numbers[0];
            assert!(newest >= EVENTS - 1);
            assert_eq!(numbers, (0..=newest).rev().collect::<Vec<_>>());
        });
    }
}

#[test]
fn a_log_that_has_lost_what_comes_next_says_so() {
    for nodes in keeping(5) {
        let publish = |numbers: std::ops::Range<u64>| {
            for n in numbers {
                nodes.for_request().trigger(CHANNEL, "e", &n.to_string());
            }
        };
        let first = read(&nodes[0], "");
        assert!(first.next.is_none() && first.is_complete);
        publish(0..3);
        let read_two = read(&nodes[0], "limit=2");
        assert_eq!(read_two.numbers, [0, 1]);
        publish(3..7);
        let reader = nodes.for_connection();
        let place = behind(Some(&read_two));
        let page = read(reader, &place[1..]);
        assert_eq!(
            (&page.numbers[..], page.is_complete),
            (&[2, 3, 4, 5, 6][..], true)
        );
        publish(7..9);
        let page = read(reader, &place[1..]);
        assert_eq!(
            (&page.numbers[..], page.is_complete),
            (&[4, 5, 6, 7, 8][..], false)
        );
        let rest = read(reader, &behind(Some(&page))[1..]);
        assert!(rest.numbers.is_empty() && rest.is_complete);
    }
}

/// Without a rule: what is kept for who may resume.
#[test]
fn a_channel_that_may_be_resumed_is_read() {
    let path = "/apps/app-id/channels/plain/events";
    for nodes in keeping(5) {
        let target = "/resume/0123456789abcdef/app/app-key?protocol=7";
        let mut ws = Ws::open(nodes.for_connection(), target, &[]);
        ws.established();
        assert_eq!(nodes.for_request().get(path).status(), 404);
        ws.subscribe("plain", None);
        for n in 0..9 {
            nodes.for_request().trigger("plain", "e", &n.to_string());
        }
        let answer = nodes.for_request().get(path);
        assert_eq!(answer.status(), 200, "{answer:?}");
        let read = page(&answer.json());
        assert_eq!(read.numbers, (0..9).collect::<Vec<_>>());
    }
}

#[test]
fn a_token_of_the_api_reads_too() {
    for nodes in keeping(5) {
        nodes.for_request().trigger(CHANNEL, "e", "1");
        let path = format!("/apps/app-id/channels/{CHANNEL}/events");
        let bearer = |token: &str| {
            let header = format!("Bearer {token}");
            let mut http = Http::connect(nodes.for_connection().public);
            http.request("GET", &path, &[("Authorization", &header)], "")
        };
        let answer = bearer(TOKEN);
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(page(&answer.json()).numbers, [1]);
        assert_eq!(bearer("another").status(), 401);
    }
}
