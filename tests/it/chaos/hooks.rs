//! What the backend is told by webhooks: channels are occupied and vacated in turn, members added and removed, and in the
//! end all are there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::LEASE;
use crate::harness::{Received, Receiver};

/// What two nodes tell may come in the other order, if one of them stands still before it tells.
const OVERTAKES: Duration = LEASE.saturating_mul(2);

/// A channel or a member comes or goes.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: Instant,
    node: usize,
    comes: bool,
}

/// A time in which what was to be told may have been lost.
pub(super) type Excuse = (Instant, Instant);

/// What was told of each channel, and of each member by `channel member`.
#[derive(Default)]
pub(super) struct Backend {
    told: BTreeMap<String, Vec<Told>>,
    last: [String; 2],
}

impl Backend {
    /// Takes what has come from each node.
    pub(super) fn read(&mut self, receivers: &[Receiver; 2]) {
        for (node, receiver) in receivers.iter().enumerate() {
            while let Some(request) = receiver.within(Duration::ZERO) {
                self.note(node, request);
            }
        }
    }

    fn note(&mut self, node: usize, request: Received) {
        // A node that stood still has not seen the answer, and says it again.
        if self.last[node] == request.body {
            return;
        }
        let body: Value = serde_json::from_str(&request.body).expect("JSON");
        for event in body["events"].as_array().expect("events") {
            let text = |key: &str| event[key].as_str().unwrap_or_default();
            let subject = format!("{} {}", text("channel"), text("user_id"));
            let told = Told {
                at: request.at,
                node,
                comes: matches!(text("name"), "channel_occupied" | "member_added"),
            };
            let of_it = self.told.entry(subject.trim_end().to_owned());
            of_it.or_default().push(told);
        }
        self.last[node] = request.body;
    }

    /// What a backend must not be told, if all of these are there in the end.
    pub(super) fn judge(
        &self,
        there: &[String],
        excuses: &[Excuse],
        begun: Instant,
    ) -> Vec<String> {
        let mut all = self.told.clone();
        for subject in there {
            all.entry(subject.clone()).or_default();
        }
        let judged = all.into_iter();
        judged
            .flat_map(|(subject, told)| {
                let wrong = judge_one(told, excuses, begun);
                wrong
                    .into_iter()
                    .map(move |wrong| format!("{subject}: {wrong}"))
            })
            .collect()
    }
}

fn judge_one(mut told: Vec<Told>, excuses: &[Excuse], begun: Instant) -> Vec<String> {
    let is_excused = |one: Instant, other: Instant| {
        let (from, to) = (one.min(other), one.max(other));
        excuses
            .iter()
            .any(|(begin, end)| *begin <= to && *end >= from)
    };
    let mut wrong = Vec::new();
    let (mut is_there, mut since) = (false, begun);
    told.sort_by_key(|told| told.at);
    for at in 0..told.len() {
        if let Some(next) = told.get(at + 1)
            && told[at].comes == is_there
            && next.comes != is_there
            && next.node != told[at].node
            && next.at - told[at].at < OVERTAKES
        {
            told.swap(at, at + 1);
        }
        let now = told[at];
        if now.comes == is_there && !is_excused(since, now.at) {
            let after = now.at - begun;
            let what = if is_there { "comes" } else { "goes" };
            wrong.push(format!(
                "{what} twice, {after:.1?} after the start, says node {}",
                now.node
            ));
        }
        (is_there, since) = (now.comes, now.at);
    }
    if !is_there && !is_excused(since, Instant::now()) {
        wrong.push("is there, and nobody says so".to_owned());
    }
    wrong
}

/// The judge sees what is wrong.
#[test]
fn what_a_backend_cannot_believe_is_found() {
    let begun = Instant::now();
    let after = |seconds| begun + Duration::from_secs(seconds);
    let found = |told: &[(usize, bool)], excuses: &[Excuse]| {
        let told = (1..).zip(told).map(|(second, &(node, comes))| Told {
            at: after(second),
            node,
            comes,
        });
        judge_one(told.collect(), excuses, begun).len()
    };
    assert_eq!(found(&[(0, true)], &[]), 0);
    assert_eq!(found(&[(0, true), (1, false), (0, true)], &[]), 0);
    assert_eq!(found(&[], &[]), 1);
    assert_eq!(found(&[(0, true), (0, false)], &[]), 1);
    assert_eq!(found(&[(0, true), (0, true)], &[]), 1);
    assert_eq!(found(&[(0, false), (0, true)], &[]), 1);
    // Of two nodes one may be late.
    assert_eq!(found(&[(0, true), (0, true), (1, false)], &[]), 0);
    assert_eq!(found(&[(0, true), (0, true), (0, false)], &[]), 2);
    let excuse = (after(1), after(2));
    assert_eq!(found(&[(0, true), (0, true)], &[excuse]), 0);
    assert_eq!(found(&[(0, true), (0, false)], &[excuse]), 0);
    assert_eq!(
        found(&[(0, true), (0, false), (0, true), (0, true)], &[excuse]),
        1
    );
}
