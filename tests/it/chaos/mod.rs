//! Chaos: two nodes over Redis under load, while a random schedule of faults runs (`faults`). Clients note what they are
//! told (`client`), and afterwards it is judged by what ARCHITECTURE.md promises: no connection ends that its node could
//! keep, no event comes twice or out of order, none that was accepted is missing, and in the end everybody agrees. So it
//! is with those that come back with a token, and with what a backend is told (`hooks`).
//!
//! A seed makes the schedule; the moments are the machine's. `TIDEWIRE_CHAOS_SEEDS=500` runs so many seeds,
//! `TIDEWIRE_CHAOS_FIRST=42` begins at another one.

mod client;
mod faults;
mod hooks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Members, Observer, PATIENCE, eventually, listed};
use client::{Accepted, Life, Shared, TURN, Wish};
use faults::{Loss, Scene};
use hooks::Backend;

/// Without a wish of another number.
const SEEDS: u64 = 10;

/// Schedules that run side by side: they mostly wait.
const AT_A_TIME: u64 = 5;

const SUBSCRIBERS: usize = 4;
const RESUMING: usize = 2;
const MEMBERS: usize = 4;
const PASSING: usize = 2;
const CLIENTS: usize = SUBSCRIBERS + RESUMING + MEMBERS + PASSING;

#[test]
fn what_is_promised_holds_in_random_failures() {
    let number = |name: &str, default: u64| {
        let value = std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        value.map_or(default, |value| value.parse().expect("a number"))
    };
    let seeds = number("TIDEWIRE_CHAOS_SEEDS", SEEDS);
    let first = number("TIDEWIRE_CHAOS_FIRST", 1);
    let mut failed = Vec::new();
    let all: Vec<u64> = (first..first + seeds).collect();
    for some in all.chunks(AT_A_TIME as usize) {
        let runs: Vec<_> = some
            .iter()
            .map(|seed| {
                (
                    *seed,
                    thread::spawn({
                        let seed = *seed;
                        move || run(seed)
                    }),
                )
            })
            .collect();
        for (seed, run) in runs {
            if run.join().is_err() {
                failed.push(seed);
            }
        }
    }
    assert!(
        failed.is_empty(),
        "broken promises with the seeds {failed:?}"
    );
}

fn run(seed: u64) {
    let shared = Arc::new(Shared::default());
    let mut scene = Scene::start(seed, &shared);
    let clients: Vec<_> = wishes()
        .into_iter()
        .enumerate()
        .map(|(number, wish)| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || client::run(&shared, number, &wish))
        })
        .collect();
    await_satisfied(&shared, "all have come");
    let publisher = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || client::publish(&shared))
    };
    let losses = scene.play();
    scene.heal();
    shared.ends.store(true, SeqCst);
    let accepted = publisher.join().expect("it only notes");
    shared
        .last
        .store(accepted.last().map_or(0, |last| last.number), SeqCst);
    await_satisfied(
        &shared,
        &format!("all agree after seed {seed}: {:?}", scene.played),
    );
    agreed(&scene);
    let untold = told(&scene);
    shared.leaves.store(true, SeqCst);
    let lives: Vec<Life> = clients
        .into_iter()
        .flat_map(|client| client.join().expect("it only notes"))
        .collect();
    let broken = [judge(&lives, &accepted, &losses), untold].concat();
    assert!(
        broken.is_empty(),
        "seed {seed}, {} events accepted, faults {:#?}: {broken:#?}",
        accepted.len(),
        scene.played
    );
}

/// What each client is there for.
fn wishes() -> Vec<Wish> {
    let mut wishes: Vec<Wish> = (0..SUBSCRIBERS).map(|_| Wish::Events).collect();
    wishes.extend((0..RESUMING).map(|number| Wish::Resumed(format!("a-token-of-client-{number}"))));
    wishes.extend((0..MEMBERS).map(|number| Wish::Member(format!("m{number}"))));
    wishes.extend((0..PASSING).map(|number| Wish::Passing(format!("presence-{number}"))));
    wishes
}

fn await_satisfied(shared: &Shared, what: &str) {
    let mut waits = Vec::new();
    eventually(2 * PATIENCE, what, || {
        let now: Vec<usize> = (0..CLIENTS)
            .filter(|number| !shared.satisfied[*number].load(SeqCst))
            .collect();
        if now != waits {
            eprintln!("{what}: clients {now:?} are not there yet");
            waits = now;
        }
        waits.is_empty().then_some(())
    });
}

/// All nodes tell the same, and that is right.
fn agreed(scene: &Scene) {
    let members: Members = (0..MEMBERS).map(|member| format!("m{member}")).collect();
    for node in scene.nodes() {
        eventually(PATIENCE, "the node counts right", || {
            let count = crate::cluster::subscriptions(node, client::CHANNEL);
            let right = listed(node) == members && count == (SUBSCRIBERS + RESUMING) as u64;
            right.then_some(())
        });
        assert_eq!(node.admin("/ready").status(), 200);
    }
}

/// What the backend was told and must not be, once it has been told all.
fn told(scene: &Scene) -> Vec<String> {
    let mut there = vec![client::CHANNEL.to_owned()];
    for wish in wishes() {
        let (channel, user) = match wish {
            Wish::Member(user) => (Observer::CHANNEL.to_owned(), user),
            Wish::Passing(name) => (name.clone(), name),
            _ => continue,
        };
        there.extend([format!("{channel} {user}"), channel]);
    }
    let mut backend = Backend::default();
    let end = Instant::now() + PATIENCE;
    loop {
        backend.read(&scene.receivers);
        let broken = backend.judge(&there, &scene.disturbances, scene.begun);
        if broken.is_empty() || Instant::now() > end {
            return broken;
        }
        thread::sleep(TURN);
    }
}

/// What was promised and did not hold.
fn judge(lives: &[Life], accepted: &[Accepted], losses: &[Loss]) -> Vec<String> {
    let mut broken: Vec<String> = lives.iter().flat_map(|life| life.broken.clone()).collect();
    let in_order: Vec<u64> = accepted.iter().map(|event| event.number).collect();
    // Of each client: since when it has been subscribed, and what it has got since.
    let mut known: BTreeMap<usize, (Instant, BTreeSet<u64>)> = BTreeMap::new();
    for life in lives.iter().filter(|life| life.is_of_events) {
        let whose = format!("client {} on node {}", life.client, life.node);
        let of_those: Vec<u64> = life
            .received
            .iter()
            .copied()
            .filter(|number| in_order.binary_search(number).is_ok())
            .collect();
        if !of_those.is_sorted() {
            broken.push(format!(
                "{whose} got accepted events out of order: {of_those:?}"
            ));
        }
        let mut all = BTreeSet::new();
        for number in &life.received {
            let is_excused = || losses.iter().any(|loss| loss.doubles(*number, accepted));
            if !all.insert(*number) && !is_excused() {
                broken.push(format!("{whose} got {number} twice: {:?}", life.received));
            }
        }
        let (since, mut seen) = match (life.is_resumed, known.remove(&life.client)) {
            (true, Some(known)) => known,
            (true, None) => {
                broken.push(format!("{whose} resumed what it had not begun"));
                continue;
            }
            (false, _) => (life.subscribed, BTreeSet::new()),
        };
        seen.extend(all);
        let last = match life.lasted {
            true => u64::MAX,
            false => of_those.last().copied().unwrap_or_default(),
        };
        for event in accepted {
            let is_owed = event.begun > since
                && event.number <= last
                && !losses.iter().any(|loss| loss.excuses(event, life));
            if is_owed && !seen.contains(&event.number) {
                broken.push(format!(
                    "{whose} missed {}, accepted by node {}, {:?} after it had subscribed",
                    event.number,
                    event.node,
                    event.begun - since
                ));
            }
        }
        known.insert(life.client, (since, seen));
    }
    broken
}

/// The judge sees what is wrong.
#[test]
fn every_broken_promise_is_found() {
    let begun = Instant::now();
    let event = |number: u64| Accepted {
        number,
        node: 0,
        begun: begun + Duration::from_secs(number),
        done: begun + Duration::from_secs(number),
    };
    let accepted = [event(1), event(2), event(4)];
    let life = |received: &[u64], lasted: bool| Life {
        client: 0,
        node: 0,
        is_of_events: true,
        is_resumed: false,
        subscribed: begun,
        lasted,
        received: received.to_vec(),
        broken: Vec::new(),
    };
    let found = |received: &[u64], lasted, losses: &[Loss]| {
        judge(&[life(received, lasted)], &accepted, losses).len()
    };
    // The third was refused and may have been taken all the same.
    assert_eq!(found(&[1, 2, 4], true, &[]), 0);
    assert_eq!(found(&[1, 2, 4, 3], true, &[]), 0);
    assert_eq!(found(&[1, 2, 2, 4], true, &[]), 1);
    assert_eq!(found(&[2, 1, 4], true, &[]), 1);
    assert_eq!(found(&[1, 4], true, &[]), 1);
    assert_eq!(found(&[1], false, &[]), 0);
    assert_eq!(found(&[2], false, &[]), 1);
    let resumed = |first: &[u64], then: &[u64]| {
        let next = Life {
            is_resumed: true,
            ..life(then, true)
        };
        judge(&[life(first, false), next], &accepted, &[]).len()
    };
    assert_eq!(resumed(&[1, 2], &[2, 4]), 0);
    assert_eq!(resumed(&[1], &[4]), 1);
    assert_eq!(resumed(&[], &[4]), 2);
    let loss = Loss::at(begun + Duration::from_secs(3));
    assert_eq!(found(&[1, 4], true, &[loss]), 0);
    assert_eq!(found(&[1, 2], true, &[loss]), 1);
    // The refused one was on its way then.
    assert_eq!(found(&[1, 2, 3, 3, 4], true, &[loss]), 0);
    assert_eq!(found(&[1, 2, 2, 4], true, &[loss]), 1);
}
