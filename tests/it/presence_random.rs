//! Presence against a model: after random joins and leaves from several threads, the members that the server tells a
//! newcomer, the HTTP API, and everybody's own view out of snapshot, added and removed are the same set.

use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Config, Members, Observer, Server, listed};

const THREADS: u64 = 4;
const CONNECTIONS: usize = 8;
const STEPS: usize = 300;
const USERS: usize = 12;

#[test]
fn every_view_agrees_with_the_model() {
    let server = Server::start(&config());
    wander_and_compare(std::slice::from_ref(&server));
}

/// What the servers need for this.
pub(crate) fn config() -> Config {
    Config::new().limit("presence_members", "100")
}

/// Connections of each thread are spread over the servers, which are one.
pub(crate) fn wander_and_compare(servers: &[Server]) {
    let mut observers: Vec<Observer> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|seed| scope.spawn(move || wander(servers, seed)))
            .collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.flat_map(|observers| observers.expect("a consistent view"))
            .collect()
    });
    let mut model: Members = observers.iter().filter_map(|o| o.user.clone()).collect();
    for observer in observers.iter_mut().filter(|o| o.user.is_some()) {
        observer.sees(&model);
    }
    for server in servers {
        assert_eq!(listed(server), model);
    }
    model.insert("newcomer".to_owned());
    for server in servers {
        assert_eq!(Observer::joined(server, "newcomer").view, model);
    }
}

/// Random joins, leaves, deaths, on connections of its own.
fn wander(servers: &[Server], seed: u64) -> Vec<Observer> {
    let mut random = StdRng::seed_from_u64(seed);
    let anywhere = |random: &mut StdRng| {
        let at = random.random_range(0..servers.len());
        Observer::connect(&servers[at])
    };
    let mut observers: Vec<Observer> = (0..CONNECTIONS).map(|_| anywhere(&mut random)).collect();
    for _ in 0..STEPS {
        let at = random.random_range(0..observers.len());
        let user = format!("u{}", random.random_range(0..USERS));
        if random.random_ratio(1, 10) {
            observers[at] = anywhere(&mut random);
        } else if observers[at].user.is_some() {
            observers[at].leave();
        } else {
            observers[at].join(&user);
        }
    }
    observers
}
