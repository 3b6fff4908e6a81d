//! What a publisher sent as `data` arrives as the same string, whatever is in it and however it was escaped.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{APP, Config, Http, Server, Ws};

const TEXTS: usize = 300;

#[test]
fn published_data_arrives_as_the_same_string() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    ws.subscribe("x", None);
    let mut http = Http::connect(server.public);
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..TEXTS {
        let (name, data) = (text(&mut random, 20) + "n", text(&mut random, 400));
        let body = format!(
            r#"{{"name":{},"channel":"x","data":{}}}"#,
            literal(&name, &mut random),
            literal(&data, &mut random)
        );
        let response = http.signed(&APP, "POST", "/apps/app-id/events", &body);
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(received(&mut ws), (name, data));
    }
}

#[test]
fn client_events_arrive_as_the_same_string() {
    let config = Config::new()
        .app("client_events", "true")
        .limit("client_events_per_second", "10000");
    let server = Server::start(&config);
    let mut sender = Ws::connect(&server);
    let mut receiver = Ws::connect(&server);
    sender.subscribe("private-x", None);
    receiver.subscribe("private-x", None);
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..TEXTS {
        let name = format!("client-{}", text(&mut random, 20));
        let data = text(&mut random, 400);
        sender.send(&format!(
            r#"{{"event":{},"channel":"private-x","data":{}}}"#,
            literal(&name, &mut random),
            literal(&data, &mut random)
        ));
        assert_eq!(received(&mut receiver), (name, data));
    }
}

fn received(ws: &mut Ws) -> (String, String) {
    let frame = ws.json();
    let value = |key: &str| frame[key].as_str().expect("a string").to_owned();
    (value("event"), value("data"))
}

/// Characters of every length in UTF-8, among them those that JSON must or may escape.
fn text(random: &mut StdRng, most: usize) -> String {
    const SPECIAL: [char; 12] = [
        '"', '\\', '/', '\n', '\0', '\u{7f}', '\u{2028}', '\u{feff}', '{', '}', '$', 'é',
    ];
    (0..random.random_range(0..most))
        .map(|_| match random.random_range(0..4) {
            0 => SPECIAL[random.random_range(0..SPECIAL.len())],
            1 => random.random_range('\0'..'\u{80}'),
            2 => random.random_range('\u{80}'..'\u{800}'),
            _ => random.random_range('\u{800}'..=char::MAX),
        })
        .collect()
}

/// A JSON string for a text, each character escaped or not as JSON permits.
fn literal(text: &str, random: &mut StdRng) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        let must = matches!(c, '"' | '\\' | '\0'..='\u{1f}');
        if must || random.random_ratio(1, 4) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out + "\""
}
