//! This node's share of a limit that several nodes have together: what it asks for, and what it was given. Whoever
//! decides (a script in Redis) gives no more than the others leave.
//!
//! What is in use stays where it is. Of the rest each node keeps a small part for whoever comes first, and the larger
//! part goes where the demand is. A node lowers its share before it says so, and raises it after it was told, so the
//! shares of all nodes never exceed the limit.

use std::time::{Duration, Instant};

/// How often a share is asked for of which nobody wants more.
const REST: Duration = Duration::from_secs(5);

/// How long what is known of the other nodes is good enough to send a client away for good.
const FRESH: Duration = Duration::from_secs(1);

/// What a node, or several of them, have to do with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// What is in use until it is given back: connections. Nothing, of a rate.
    pub used: u32,
    /// What came lately, whether there was room for it or not. It halves with each call of [`Share::ask`].
    pub demand: u32,
}

/// What a node says of a limit, and asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The whole limit; 0: the node gives its share back for good.
    pub limit: u32,
    /// The share that it would like to have.
    pub share: u32,
    /// Its own usage.
    pub usage: Usage,
}

/// A node's share of one limit. Without a lease it is 0.
#[derive(Debug, Default)]
pub struct Share {
    limit: u32,
    share: u32,
    /// What came since the last call of [`Share::ask`].
    arrivals: u32,
    others: Usage,
    /// What was asked for last, of how many nodes, and when.
    last: Option<(Ask, u32, Instant)>,
}

impl Share {
    /// Follows a change of the limit; 0: there is none any more.
    pub fn set_limit(&mut self, limit: u32) {
        if limit != self.limit {
            (self.limit, self.last) = (limit, None);
        }
    }

    /// Whether it is only kept until it is given back.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.limit == 0
    }

    /// Notes that so much came, whether there is room for it or not.
    pub fn note(&mut self, count: u32) {
        self.arrivals = self.arrivals.saturating_add(count);
    }

    /// How much of the limit is this node's.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.share.min(self.limit)
    }

    /// Whether the nodes use the whole limit, of which `used` is this one's. It is not known if nothing came lately.
    #[must_use]
    pub fn is_exhausted(&self, used: u32, now: Instant) -> bool {
        let is_fresh = |(_, _, at)| now.saturating_duration_since(at) < FRESH;
        self.last.is_some_and(is_fresh) && self.others.used.saturating_add(used) >= self.limit
    }

    /// The lease has ended, and others may have what this node had.
    pub fn lose(&mut self) {
        (self.share, self.last) = (0, None);
    }

    /// The answer to [`Share::ask`] was that this node has no lease.
    pub fn ask_again(&mut self) {
        self.last = None;
    }

    /// What to ask for, twice a second; `None`: nothing new. The share is lowered already if it asks for less.
    pub fn ask(&mut self, used: u32, nodes: u32, now: Instant) -> Option<Ask> {
        let before = self.last.map_or(0, |(ask, ..)| ask.usage.demand);
        let demand = std::mem::take(&mut self.arrivals).saturating_add(before / 2);
        let usage = Usage { used, demand };
        let is_at_rest = demand == 0 && self.others.demand == 0;
        let is_told = |(ask, of, at): (Ask, u32, Instant)| {
            let has_it = self.share >= ask.share && (usage, nodes) == (ask.usage, of);
            has_it && now.saturating_duration_since(at) < REST
        };
        if is_at_rest && self.last.is_some_and(is_told) {
            return None;
        }
        let share = match self.limit {
            0 => 0,
            limit => wanted(limit, nodes.max(1), usage, self.others),
        };
        self.share = self.share.min(share.max(used));
        let ask = Ask {
            limit: self.limit,
            share,
            usage,
        };
        self.last = Some((ask, nodes, now));
        Some(ask)
    }

    /// Takes what was given to an [`Ask`], and how the others use the limit.
    pub fn grant(&mut self, share: u32, others: Usage) {
        (self.share, self.others) = (share, others);
    }
}

/// What one of several nodes should have of a limit, as far as it knows. Roundings let the sum exceed the limit by
/// less than the number of nodes.
fn wanted(limit: u32, nodes: u32, mine: Usage, others: Usage) -> u32 {
    let free = limit.saturating_sub(mine.used.saturating_add(others.used));
    let demand = u64::from(mine.demand) + u64::from(others.demand);
    // For those who have no demand. At rest the other half is nobody's, so that who comes first has it at once.
    let kept = match (demand, nodes) {
        (0, 1) => free,
        (0, _) => free / 2,
        _ => free / 16,
    };
    let each = (kept / nodes).max(1).min(free / nodes);
    let rest = u64::from(free - each * nodes);
    let by_demand = (rest * u64::from(mine.demand)).div_ceil(demand.max(1));
    let by_demand = u32::try_from(by_demand).unwrap_or(u32::MAX);
    mine.used.saturating_add(each).saturating_add(by_demand)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use super::*;
    use proptest::prelude::*;

    fn of(used: u32, demand: u32) -> Usage {
        Usage { used, demand }
    }

    #[test]
    fn what_a_node_wants_follows_its_use_and_its_demand() {
        let none = Usage::default();
        for (limit, nodes, mine, others, expected) in [
            // Alone.
            (1000, 1, none, none, 1000),
            (1000, 1, of(300, 5), none, 1000),
            // At rest half of it is spread evenly.
            (1000, 4, none, none, 125),
            (1000, 4, of(200, 0), of(400, 0), 250),
            // All the demand is here, or elsewhere, or shared.
            (1000, 4, of(0, 900), none, 955),
            (1000, 4, none, of(0, 900), 15),
            (1000, 2, of(0, 300), of(0, 100), 735),
            // Little is left, and less than there are nodes.
            (1000, 4, of(900, 1), of(90, 0), 907),
            (1000, 4, of(900, 0), of(90, 1), 901),
            (1000, 4, of(900, 1), of(99, 0), 901),
            (1000, 4, of(900, 0), of(99, 1), 900),
            (3, 5, none, none, 0),
            (3, 5, of(0, 1), none, 3),
            // More is used than there may be.
            (10, 2, of(8, 5), of(7, 5), 8),
            (
                u32::MAX,
                2,
                of(u32::MAX, u32::MAX),
                of(u32::MAX, u32::MAX),
                u32::MAX,
            ),
        ] {
            let wanted = wanted(limit, nodes, mine, others);
            assert_eq!(wanted, expected, "{limit} {nodes} {mine:?} {others:?}");
        }
    }

    #[test]
    fn who_has_nothing_new_to_say_asks_seldom() {
        let start = Instant::now();
        let mut share = Share::default();
        share.set_limit(100);
        assert!(share.ask(0, 2, start).is_some());
        share.grant(25, Usage::default());
        assert_eq!(share.ask(0, 2, start), None);
        assert!(share.ask(0, 3, start).is_some(), "there is another node");
        share.grant(15, Usage::default());
        assert!(share.ask(0, 3, start).is_some(), "it was given less");
        share.grant(25, Usage::default());
        assert_eq!(share.ask(1, 2, start).unwrap().usage, of(1, 0));
        share.note(1);
        assert_eq!(share.ask(1, 2, start).unwrap().usage, of(1, 1));
        assert_eq!(share.ask(1, 2, start).unwrap().usage, of(1, 0));
        assert_eq!(share.ask(1, 2, start), None);
        assert!(share.ask(1, 2, start + REST).is_some());
        share.grant(25, of(0, 1));
        assert!(share.ask(1, 2, start).is_some(), "others want more");
        share.grant(25, Usage::default());
        share.set_limit(200);
        assert!(share.ask(1, 2, start).is_some(), "the limit is another");
    }

    /// What the script keeps: of each node its share and its usage.
    #[derive(Default)]
    struct Table(HashMap<usize, (u32, Usage)>);

    impl Table {
        /// As `wire/scripts/lease_shares.lua` does it.
        fn decide(&mut self, node: usize, ask: Ask) -> (u32, Usage) {
            let (mut left, mut others) = (ask.limit, Usage::default());
            for (_, (share, usage)) in self.0.iter().filter(|(id, _)| **id != node) {
                left = left.saturating_sub(*share);
                others.used += usage.used;
                others.demand += usage.demand;
            }
            let share = ask.share.min(left);
            self.0.insert(node, (share.max(ask.usage.used), ask.usage));
            (share, others)
        }
    }

    #[derive(Default)]
    struct Node {
        share: Share,
        used: u32,
        asks: VecDeque<Ask>,
        answers: VecDeque<(u32, Usage)>,
        is_dead: bool,
    }

    const NODES: usize = 4;

    proptest! {
        /// Nodes ask, are answered late or never, die, and come back as new ones; connections come and go.
        #[test]
        fn shares_never_exceed_the_limit_whatever_happens(
            limit in prop::sample::select(vec![1_u32, 3, 10, 100, 5000]),
            steps in prop::collection::vec((0..NODES, 0..100_u8, 0..200_u64), 1..1000),
        ) {
            let (mut table, mut now) = (Table::default(), Instant::now());
            let mut nodes: [Node; NODES] = Default::default();
            nodes.iter_mut().for_each(|node| node.share.set_limit(limit));
            for (at, what, pause) in steps {
                let node = &mut nodes[at];
                now += Duration::from_millis(pause);
                match what {
                    // It is dead for the others once its lease has ended: it uses nothing by then.
                    0 if node.is_dead => {
                        table.0.remove(&at);
                        *node = Node::default();
                        node.share.set_limit(limit);
                    }
                    0 => node.is_dead = true,
                    // Its connection broke: nothing of what was on its way arrives.
                    1 => (node.asks, node.answers) = Default::default(),
                    _ if node.is_dead => {}
                    2..30 if node.asks.is_empty() && node.answers.is_empty() => {
                        node.asks.extend(node.share.ask(node.used, NODES as u32, now));
                    }
                    2..50 => {
                        let ask = node.asks.pop_front();
                        node.answers.extend(ask.map(|ask| table.decide(at, ask)));
                    }
                    50..70 => {
                        if let Some((share, others)) = node.answers.pop_front() {
                            node.share.grant(share, others);
                        }
                    }
                    70..90 => {
                        node.share.note(1);
                        node.used += u32::from(node.used < node.share.get());
                    }
                    _ => node.used = node.used.saturating_sub(u32::from(what % 3)),
                }
                let shares: u32 = nodes.iter().map(|node| node.share.get()).sum();
                let used: u32 = nodes.iter().map(|node| node.used).sum();
                prop_assert!(shares <= limit && used <= limit, "{shares}, {used} of {limit}");
            }
        }
    }

    /// One node gets all there is, down to the last, while the others rest.
    #[test]
    fn a_node_with_all_the_traffic_gets_the_whole_limit() {
        for limit in [1, 7, 10, 100, 10_000] {
            let (mut table, start) = (Table::default(), Instant::now());
            let mut nodes: [Node; NODES] = Default::default();
            nodes
                .iter_mut()
                .for_each(|node| node.share.set_limit(limit));
            let mut rounds = 0..;
            while nodes[0].used < limit {
                let round = rounds.next().unwrap();
                assert!(round < 30, "{} of {limit}", nodes[0].used);
                for (at, node) in nodes.iter_mut().enumerate() {
                    if let Some(ask) =
                        node.share
                            .ask(node.used, NODES as u32, start + round * REST / 10)
                    {
                        let (share, others) = table.decide(at, ask);
                        node.share.grant(share, others);
                    }
                }
                nodes[0].share.note(limit - nodes[0].used);
                nodes[0].used = nodes[0].share.get();
            }
        }
    }
}
