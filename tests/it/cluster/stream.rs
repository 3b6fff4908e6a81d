//! Steady publishing while something goes wrong, and what each subscriber must have got of it: everything that was
//! accepted, once, in the order of its publisher.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{APP, Http, Message, PATIENCE, Server, Ws, event_body};

use super::{EVENTS, assert_refused};

/// Two hundred a second.
const INTERVAL: Duration = Duration::from_millis(5);

/// What one publisher has published: numbers from 0 on, by their answers.
pub(super) struct Sent {
    publisher: usize,
    accepted: BTreeSet<usize>,
    pub(super) refused: BTreeSet<usize>,
}

/// One publisher on each of these nodes for that long, to channel `x`; what they have sent.
pub(super) fn publish_from(nodes: &[&Server], time: Duration) -> Vec<Sent> {
    publish_meanwhile(nodes, time, |_| ())
}

/// The same while something is done, which is told whether they still publish.
pub(super) fn publish_meanwhile(
    nodes: &[&Server],
    time: Duration,
    meanwhile: impl FnOnce(&dyn Fn() -> bool),
) -> Vec<Sent> {
    thread::scope(|scope| {
        let publishing: Vec<_> = (0..)
            .zip(nodes)
            .map(|(number, node)| scope.spawn(move || publish(node, number, time)))
            .collect();
        meanwhile(&|| !publishing.iter().all(thread::ScopedJoinHandle::is_finished));
        let done = publishing.into_iter().map(thread::ScopedJoinHandle::join);
        done.map(|sent| sent.expect("it publishes")).collect()
    })
}

/// One number after the other. What is refused is not tried again.
fn publish(node: &Server, publisher: usize, time: Duration) -> Sent {
    let mut sent = Sent {
        publisher,
        accepted: BTreeSet::new(),
        refused: BTreeSet::new(),
    };
    let mut http = Http::connect(node.public);
    let mut due = Instant::now();
    let end = due + time;
    for number in 0.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if Instant::now() >= end {
            break;
        }
        due += INTERVAL;
        let body = event_body("x", "e", &format!("{publisher} {number}"));
        let response = http.signed(&APP, "POST", EVENTS, &body);
        if response.status() == 200 {
            sent.accepted.insert(number);
        } else {
            assert_refused(&response);
            sent.refused.insert(number);
        }
    }
    let [accepted, refused] = [&sent.accepted, &sent.refused].map(BTreeSet::len);
    eprintln!("publisher {publisher}: {accepted} accepted, {refused} refused");
    assert!(accepted > 0, "nothing is accepted");
    sent
}

/// Reads until all that was accepted is there, and checks that nothing comes twice or out of order.
pub(super) fn assert_complete(ws: &mut Ws, sent: &[Sent]) {
    /// For doubles that come late.
    const MORE: Duration = Duration::from_millis(200);
    let mut seen = Seen::default();
    let end = Instant::now() + PATIENCE;
    while !seen.has_all(sent) && Instant::now() < end {
        seen.note(ws.try_next(PATIENCE));
    }
    while let Some(message) = ws.try_next(MORE) {
        seen.note(Some(message));
    }
    for sent in sent {
        let seen = seen.of(sent.publisher);
        let missing: Vec<_> = sent.accepted.difference(&seen).collect();
        let publisher = sent.publisher;
        assert!(
            missing.is_empty(),
            "of publisher {publisher}: lost {missing:?}"
        );
        let known: BTreeSet<usize> = sent.accepted.union(&sent.refused).copied().collect();
        assert!(
            seen.is_subset(&known),
            "of publisher {publisher}: never sent"
        );
    }
}

/// What a subscriber has got, by publisher.
#[derive(Default)]
struct Seen(BTreeMap<usize, Vec<usize>>);

impl Seen {
    fn note(&mut self, message: Option<Message>) {
        let Some(Message::Text(text)) = message else {
            let counts: Vec<_> = self.0.values().map(Vec::len).collect();
            panic!("{message:?} after {counts:?}");
        };
        let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
        let data = frame["data"].as_str().expect("data is a string");
        let (publisher, number) = data.split_once(' ').expect("a publisher and a number");
        let [publisher, number] = [publisher, number].map(|text| text.parse().expect("a number"));
        let numbers = self.0.entry(publisher).or_default();
        let last = numbers.last().copied();
        assert!(
            last < Some(number),
            "of publisher {publisher}: {number} after {last:?}"
        );
        numbers.push(number);
    }

    fn of(&self, publisher: usize) -> BTreeSet<usize> {
        let numbers = self.0.get(&publisher).into_iter().flatten();
        numbers.copied().collect()
    }

    fn has_all(&self, sent: &[Sent]) -> bool {
        let count = |sent: &Sent| self.0.get(&sent.publisher).map_or(0, Vec::len);
        // Counts first: they decide most of the time.
        sent.iter().all(|sent| {
            count(sent) >= sent.accepted.len() && sent.accepted.is_subset(&self.of(sent.publisher))
        })
    }
}
