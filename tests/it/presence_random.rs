//! Presence against a model: after random joins and leaves from several threads, the members that the server tells a
//! newcomer, the HTTP API, and everybody's own view out of snapshot, added and removed are the same set.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Config, Message, PATIENCE, Server, Ws, eventually};

const CHANNEL: &str = "presence-x";
const THREADS: u64 = 4;
const CONNECTIONS: usize = 8;
const STEPS: usize = 300;
const USERS: usize = 12;

type Members = BTreeSet<String>;

/// One connection with what it believes about the channel.
struct Observer {
    ws: Ws,
    /// Who this connection is, while it is subscribed.
    user: Option<String>,
    view: Members,
    pongs: usize,
}

#[test]
fn every_view_agrees_with_the_model() {
    let server = Server::start(&Config::new().limit("presence_members", "100"));
    let mut observers: Vec<Observer> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|seed| {
                let server = &server;
                scope.spawn(move || wander(server, seed))
            })
            .collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.flat_map(|observers| observers.expect("a consistent view"))
            .collect()
    });
    let model: Members = observers.iter().filter_map(|o| o.user.clone()).collect();
    for observer in observers.iter_mut().filter(|o| o.user.is_some()) {
        eventually(PATIENCE, "a view agrees with the model", || {
            observer.read_for(Duration::from_millis(5));
            (observer.view == model).then_some(())
        });
    }
    assert_eq!(listed(&server), model);
    let mut newcomer = Observer::connect(&server);
    newcomer.join("newcomer");
    let mut with_newcomer = model;
    with_newcomer.insert("newcomer".to_owned());
    assert_eq!(newcomer.view, with_newcomer);
}

/// Random joins, leaves, deaths, on connections of its own.
fn wander(server: &Server, seed: u64) -> Vec<Observer> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut observers: Vec<Observer> = (0..CONNECTIONS)
        .map(|_| Observer::connect(server))
        .collect();
    for _ in 0..STEPS {
        let at = random.random_range(0..observers.len());
        let user = format!("u{}", random.random_range(0..USERS));
        let observer = &mut observers[at];
        if random.random_ratio(1, 10) {
            *observer = Observer::connect(server);
        } else if observer.user.is_some() {
            observer.leave();
        } else {
            observer.join(&user);
        }
    }
    observers
}

fn listed(server: &Server) -> Members {
    let response = server.get("/apps/app-id/channels/presence-x/users").json();
    let users = response["users"].as_array().unwrap().iter();
    users
        .map(|user| user["id"].as_str().unwrap().to_owned())
        .collect()
}

impl Observer {
    fn connect(server: &Server) -> Self {
        Self {
            ws: Ws::connect(server),
            user: None,
            view: Members::new(),
            pongs: 0,
        }
    }

    fn join(&mut self, user: &str) {
        self.user = Some(user.to_owned());
        self.ws
            .send_subscribe(CHANNEL, Some(&format!(r#"{{"user_id":"{user}"}}"#)));
        while self.view.is_empty() {
            let message = self.ws.next();
            self.note(message);
        }
        assert!(self.view.contains(user), "the joiner is a member");
    }

    /// Unsubscribing is not answered; the pong behind it is.
    fn leave(&mut self) {
        self.ws.unsubscribe(CHANNEL);
        self.ws.send(r#"{"event":"pusher:ping"}"#);
        let pongs = self.pongs;
        while self.pongs == pongs {
            let message = self.ws.next();
            self.note(message);
        }
        self.user = None;
        self.view.clear();
    }

    fn read_for(&mut self, patience: Duration) {
        while let Some(message) = self.ws.try_next(patience) {
            self.note(message);
        }
    }

    fn note(&mut self, message: Message) {
        let Message::Text(text) = message else {
            panic!("unexpected {message:?}");
        };
        let frame: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let data: serde_json::Value =
            serde_json::from_str(frame["data"].as_str().expect("data is a string")).unwrap();
        let user = data["user_id"].as_str().unwrap_or_default().to_owned();
        match frame["event"].as_str().unwrap() {
            "pusher:pong" => self.pongs += 1,
            "pusher_internal:subscription_succeeded" => self.begin(&data["presence"]),
            // Added and removed alternate: nothing is told twice, and nothing before the snapshot.
            "pusher_internal:member_added" => assert!(self.view.insert(user), "{text}"),
            "pusher_internal:member_removed" => assert!(self.view.remove(&user), "{text}"),
            _ => panic!("unexpected {text}"),
        }
    }

    fn begin(&mut self, presence: &serde_json::Value) {
        assert!(self.view.is_empty(), "a second snapshot");
        let ids = presence["ids"].as_array().unwrap().iter();
        self.view = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
        assert_eq!(presence["count"], self.view.len());
        assert_eq!(presence["hash"].as_object().unwrap().len(), self.view.len());
    }
}
