//! Watchlists against a model: while users sign in and die at random from several threads, every watcher is told
//! each change once, alternately, and ends up with the set of those who are there (protocol §3.12).

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Config, Message, PATIENCE, Server, Ws, eventually};

const THREADS: u64 = 4;
const STEPS: usize = 150;
const USERS: usize = 6;
const WATCHERS: usize = 4;

type Online = BTreeSet<String>;

/// Somebody who watches all users.
struct Watcher {
    ws: Ws,
    online: Online,
}

#[test]
fn every_watcher_agrees_with_the_model() {
    let server = Server::start(&Config::new());
    wander_and_compare(std::slice::from_ref(&server));
}

/// Watchers and users are spread over the servers, which are one.
pub(crate) fn wander_and_compare(servers: &[Server]) {
    let connect = |number: usize| Watcher::connect(&servers[number % servers.len()]);
    let mut watchers: Vec<Watcher> = (0..WATCHERS).map(connect).collect();
    let users: Vec<(String, Ws)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|seed| scope.spawn(move || wander(servers, seed)))
            .collect();
        // Some begin to watch in the middle of it.
        watchers.extend((0..WATCHERS).map(connect));
        let done = workers.into_iter().map(|worker| worker.join());
        done.flat_map(|users| users.expect("every sign-in succeeds"))
            .collect()
    });
    let model: Online = users.iter().map(|(user, _)| user.clone()).collect();
    for watcher in &mut watchers {
        eventually(PATIENCE, "a watcher agrees with the model", || {
            watcher.read_what_is_there();
            (watcher.online == model).then_some(())
        });
    }
}

/// Random sign-ins and deaths; the connections that are left, by user.
fn wander(servers: &[Server], seed: u64) -> Vec<(String, Ws)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut users: Vec<(String, Ws)> = Vec::new();
    for _ in 0..STEPS {
        if users.len() > 4 || (!users.is_empty() && random.random_bool(0.5)) {
            let at = random.random_range(0..users.len());
            users.swap_remove(at);
            continue;
        }
        let user = format!("u{}", random.random_range(0..USERS));
        let server = &servers[random.random_range(0..servers.len())];
        let ws = Ws::signed_in(server, &format!(r#"{{"id":"{user}"}}"#));
        users.push((user, ws));
    }
    users
}

impl Watcher {
    fn connect(server: &Server) -> Self {
        let watchlist: Vec<String> = (0..USERS).map(|i| format!("u{i}")).collect();
        let user_data = format!(r#"{{"id":"watcher","watchlist":{watchlist:?}}}"#);
        let mut watcher = Self {
            ws: Ws::signed_in(server, &user_data),
            online: Online::new(),
        };
        let first = events(&watcher.ws.text());
        let told: usize = first.iter().map(|(_, users)| users.len()).sum();
        assert_eq!(told, USERS, "the state of everybody watched: {first:?}");
        for (name, users) in first {
            if name == "online" {
                watcher.online.extend(users);
            }
        }
        watcher
    }

    fn read_what_is_there(&mut self) {
        while let Some(message) = self.ws.try_next(Duration::from_millis(5)) {
            let Message::Text(text) = message else {
                panic!("unexpected {message:?}");
            };
            for (name, users) in events(&text) {
                for user in users {
                    // Online and offline alternate: nothing is told twice.
                    let changed = match name.as_str() {
                        "online" => self.online.insert(user),
                        _ => self.online.remove(&user),
                    };
                    assert!(changed, "{text}");
                }
            }
        }
    }
}

/// The lists of a `pusher_internal:watchlist_events`.
fn events(text: &str) -> Vec<(String, Vec<String>)> {
    let frame: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(frame["event"], "pusher_internal:watchlist_events", "{text}");
    let data: serde_json::Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
    let lists = data["events"].as_array().unwrap().iter();
    lists
        .map(|list| {
            let users = list["user_ids"].as_array().unwrap().iter();
            let users = users.map(|user| user.as_str().unwrap().to_owned());
            (list["name"].as_str().unwrap().to_owned(), users.collect())
        })
        .collect()
}
