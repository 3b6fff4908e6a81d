//! Clocks that nobody should have: before 1970, at the start or while running. Nothing panics, and what keeps a worker's
//! time goes on.

use std::path::PathBuf;

use crate::config::Folder;
use crate::harness::{Config, Http, PATIENCE, Receiver, Reply, Server, Ws, eventually};

/// The time of day of a server, which libfaketime takes from a file. What has passed stays as it is.
pub(crate) struct Clock {
    file: PathBuf,
    _folder: Folder,
}

const YEARS_AGO: &str = "-70y";
const NOW: &str = "+0";

impl Clock {
    pub(crate) fn at(text: &str) -> Self {
        let folder = Folder::new();
        let clock = Self {
            file: folder.path().join("clock"),
            _folder: folder,
        };
        clock.set(text);
        clock
    }

    pub(crate) fn set(&self, text: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    pub(crate) fn start(&self, config: &Config) -> Server {
        let file = self.file.to_str().unwrap();
        let environment = [
            ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1"),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        Server::start_with(config, &environment)
    }
}

/// Waits until both ports name this year.
#[track_caller]
fn await_year(server: &Server, year: &str) {
    for port in [server.admin, server.public] {
        eventually(PATIENCE, "a date", || {
            let answer = Http::connect(port).request("GET", "/", &[], "");
            let date = answer.head.header("date").unwrap_or_default().to_owned();
            date.contains(&format!(" {year} ")).then_some(())
        });
    }
}

fn config(receiver: &Receiver) -> Config {
    let nowhere = receiver.webhook("").replace("http:", "https:");
    Config::new()
        .server("drain_seconds", "0")
        .webhooks("linger_seconds", "0")
        .webhooks("retry_seconds", "0")
        .webhook(&receiver.webhook(""))
        // The library of TLS asks for the time by itself.
        .webhook(&nowhere)
}

fn this_year() -> String {
    let seconds = u64::try_from(crate::harness::now()).unwrap();
    let date = actix_http::header::HttpDate::from(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds),
    );
    date.to_string().split(' ').nth(3).unwrap().to_owned()
}

#[test]
fn a_clock_that_falls_behind_1970_for_a_while() {
    let receiver = Receiver::start(&[Reply::Status(200)]);
    let clock = Clock::at(NOW);
    let server = clock.start(&config(&receiver));
    let mut ws = Ws::subscribed(&server, "before");
    assert_eq!(receiver.event()["channel"], "before");
    clock.set(YEARS_AGO);
    await_year(&server, "1970");
    ws.subscribe("within", None);
    let body: serde_json::Value = serde_json::from_str(&receiver.next().body).unwrap();
    assert_eq!(
        (&body["time_ms"], &body["events"][0]["channel"]),
        (&0.into(), &"within".into())
    );
    assert_eq!(server.admin("/ready").status(), 200);
    let refused = server.get("/apps/app-id/channels");
    assert_eq!(refused.status(), 401, "{}", refused.body);
    clock.set(NOW);
    await_year(&server, &this_year());
    ws.subscribe("after", None);
    assert_eq!(receiver.event()["channel"], "after");
    server.trigger("after", "e", "1");
    assert!(ws.text().contains(r#""event":"e""#));
}

#[test]
fn a_clock_that_begins_before_1970() {
    let receiver = Receiver::start(&[Reply::Status(200)]);
    let clock = Clock::at(YEARS_AGO);
    let server = clock.start(&config(&receiver));
    await_year(&server, "1970");
    let mut ws = Ws::subscribed(&server, "within");
    receiver.next();
    assert_eq!(server.admin("/health").status(), 200);
    clock.set(NOW);
    await_year(&server, &this_year());
    ws.subscribe("after", None);
    assert_eq!(receiver.event()["channel"], "after");
}
