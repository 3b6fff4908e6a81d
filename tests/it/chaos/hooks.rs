//! What the backend is told by webhooks: channels are occupied and vacated in turn, members added and removed, and in the
//! end all are there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Received, Receiver};

/// How late a node may tell on a loaded machine, when all is well with it.
const LATE: Duration = Duration::from_secs(2);

/// A channel or a member comes or goes.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: Instant,
    /// The earliest that it may have happened: a node that was cut off or stood still tells late.
    since: Instant,
    comes: bool,
}

/// From when to when.
pub(super) type Span = (Instant, Instant);

/// When what was told may be wrong, and when it may be late.
#[derive(Default)]
pub(super) struct Disturbances {
    /// When a webhook may have been lost: with a node, or with what Redis knew.
    pub(super) losses: Vec<Span>,
    /// When a node did not hear of Redis, or was not heard of, and until it had told what it had to tell.
    pub(super) delays: [Vec<Span>; 2],
}

impl Disturbances {
    /// The earliest that may have happened what a node tells at a moment.
    pub(super) fn since(&self, node: usize, at: Instant) -> Instant {
        let spans = self.delays[node].iter().rev();
        let since = spans.fold(at, |since, (begin, end)| match *end >= since {
            true => since.min(*begin),
            false => since,
        });
        since - LATE
    }

    /// Whether something may have been lost between two of what was told.
    fn excuses(&self, one: &Told, other: &Told) -> bool {
        let (from, to) = (one.since.min(other.since), one.at.max(other.at));
        let mut losses = self.losses.iter();
        losses.any(|(begin, end)| *begin <= to && *end >= from)
    }
}

/// What each node has told of a channel or a member.
type OfNodes = [Vec<Told>; 2];

/// What was told of each channel, and of each member by `channel member`.
#[derive(Default)]
pub(super) struct Backend {
    told: BTreeMap<String, [Vec<(Instant, bool)>; 2]>,
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
            let comes = matches!(text("name"), "channel_occupied" | "member_added");
            let of_it = self.told.entry(subject.trim_end().to_owned());
            of_it.or_default()[node].push((request.at, comes));
        }
        self.last[node] = request.body;
    }

    /// What a backend must not be told, if all of these are there in the end.
    pub(super) fn judge(
        &self,
        there: &[String],
        disturbances: &Disturbances,
        begun: Instant,
    ) -> Vec<String> {
        let mut all = self.told.clone();
        for subject in there {
            all.entry(subject.clone()).or_default();
        }
        let mut broken = Vec::new();
        for (subject, told) in all {
            let told = [0, 1].map(|node| {
                let of_node = told[node].iter().map(|&(at, comes)| Told {
                    at,
                    since: disturbances.since(node, at),
                    comes,
                });
                of_node.collect()
            });
            let wrong = judge_one(&told, disturbances, (begun, Instant::now()));
            broken.extend(wrong.iter().map(|wrong| format!("{subject}: {wrong}")));
            if !wrong.is_empty() {
                broken.push(format!("{subject}: {}", written(&told, begun)));
            }
        }
        broken
    }
}

/// What was told, for people: when each node said that it came or went, and since when that may have been so.
fn written(told: &OfNodes, begun: Instant) -> String {
    let after = |at: Instant| at.saturating_duration_since(begun);
    let of_node = |told: &Vec<Told>| {
        let one = |told: &Told| {
            let sign = if told.comes { '+' } else { '-' };
            format!("{sign}{:.2?} ({:.1?})", after(told.at), after(told.since))
        };
        told.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    format!(
        "node 0: {}; node 1: {}",
        of_node(&told[0]),
        of_node(&told[1])
    )
}

/// One order in which it may have happened: each node tells in order, but not as soon as the other.
struct Order {
    last: Told,
    /// The earliest that all this may have happened.
    since: Instant,
    wrong: Vec<String>,
}

impl Order {
    /// If `now` was next.
    fn then(&self, now: Told, node: usize, disturbances: &Disturbances, begun: Instant) -> Self {
        let mut wrong = self.wrong.clone();
        if now.comes == self.last.comes && !disturbances.excuses(&self.last, &now) {
            let after = now.at - begun;
            let what = if now.comes { "comes" } else { "goes" };
            wrong.push(format!(
                "{what} twice, {after:.1?} after the start, says node {node}"
            ));
        }
        let since = self.since.max(now.since);
        Self {
            last: now,
            since,
            wrong,
        }
    }
}

/// What is wrong in the best of all orders in which it may have happened, if it is there in the end.
fn judge_one(told: &OfNodes, disturbances: &Disturbances, (begun, ended): Span) -> Vec<String> {
    let moment = |at: Instant, comes: bool| Told {
        at,
        since: at,
        comes,
    };
    // By how much of each node's was told, and who said the last of it.
    let mut orders = BTreeMap::from([(
        (0, [0, 0], 0),
        Order {
            last: moment(begun, false),
            since: begun - LATE,
            wrong: Vec::new(),
        },
    )]);
    let mut best: Option<Vec<String>> = None;
    while let Some(((total, heard, _), mut order)) = orders.pop_first() {
        for node in [0, 1] {
            let next = told[node].get(heard[node]);
            // Nothing can have happened after it was told.
            if let Some(now) = next.filter(|now| order.since <= now.at) {
                let mut heard = heard;
                heard[node] += 1;
                let next = order.then(*now, node, disturbances, begun);
                let key = (total + 1, heard, node);
                let is_better = |known: &Order| next.wrong.len() < known.wrong.len();
                if orders.get(&key).is_none_or(is_better) {
                    orders.insert(key, next);
                }
            }
        }
        if total == told[0].len() + told[1].len() {
            let end = moment(ended, true);
            if !order.last.comes && !disturbances.excuses(&order.last, &end) {
                order.wrong.push("is there, and nobody says so".to_owned());
            }
            if best
                .as_ref()
                .is_none_or(|best| order.wrong.len() < best.len())
            {
                best = Some(order.wrong);
            }
        }
    }
    best.expect("the order in which it was told is one")
}

/// What a node tells, so many seconds after the start: that it comes, or goes.
type Said = (usize, u64, bool);

/// The judge sees what is wrong.
#[test]
fn what_a_backend_cannot_believe_is_found() {
    let begun = Instant::now();
    let after = |seconds| begun + Duration::from_secs(seconds);
    let found = |told: &[Said], disturbances: &Disturbances| {
        let of_node = |node| {
            let of_node = told.iter().filter(|told| told.0 == node);
            let told = of_node.map(|&(node, second, comes)| Told {
                at: after(second),
                since: disturbances.since(node, after(second)),
                comes,
            });
            told.collect()
        };
        judge_one(&[of_node(0), of_node(1)], disturbances, (begun, after(60))).len()
    };
    let calm = Disturbances::default();
    // One that was cut off is later, and others have gone on.
    let cut = Disturbances {
        delays: [
            Vec::new(),
            vec![(after(5), after(8)), (after(7), after(20))],
        ],
        ..Disturbances::default()
    };
    let lossy = Disturbances {
        losses: vec![(after(4), after(5))],
        ..Disturbances::default()
    };
    let (comes, goes) = (true, false);
    let late = [(0, 1, comes), (0, 9, comes), (0, 12, goes), (1, 19, goes)];
    let late = [late.as_slice(), &[(0, 30, comes)]].concat();
    let cases: [(usize, &Disturbances, &[Said]); _] = [
        (0, &calm, &[(0, 1, comes)]),
        (0, &calm, &[(0, 1, comes), (1, 9, goes), (0, 20, comes)]),
        (1, &calm, &[]),
        (1, &calm, &[(0, 1, comes), (0, 9, goes)]),
        (1, &calm, &[(0, 1, comes), (0, 9, comes)]),
        (1, &calm, &[(0, 1, goes), (0, 9, comes)]),
        // Of two nodes one may be a little late, but what one node tells is in order.
        (0, &calm, &[(0, 1, comes), (0, 9, comes), (1, 10, goes)]),
        (2, &calm, &[(0, 1, comes), (0, 9, comes), (0, 10, goes)]),
        (2, &calm, &[(0, 1, comes), (0, 9, comes), (1, 15, goes)]),
        (0, &cut, &late),
        (2, &calm, &late),
        (2, &cut, &[(0, 1, comes), (1, 2, comes), (1, 19, goes)]),
        (0, &lossy, &[(0, 1, comes), (0, 9, comes)]),
        (1, &lossy, &[(0, 1, comes), (0, 9, goes)]),
        (0, &lossy, &[(0, 1, comes), (0, 6, goes)]),
        (
            1,
            &lossy,
            &[(0, 1, comes), (0, 9, goes), (0, 15, comes), (0, 20, comes)],
        ),
    ];
    for (expected, disturbances, told) in cases {
        assert_eq!(found(told, disturbances), expected, "{told:?}");
    }
}
