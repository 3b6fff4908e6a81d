//! The events that wait for one endpoint, in a queue that is fair to their sources.
//!
//! Anybody may subscribe to public channels and so cause webhooks. Each connection therefore has its own line for the
//! events it causes on public channels. Every other channel has its own line too, since the app's backend authorizes its
//! subscribers. Lines take turns, so a long one delays no other. At the bound the longest line loses its newest event.
//! It is a line of public channels as long as at least half of the events are of them, so a flood loses its own events.
//!
//! *Invariant:* the events of one channel stay in order: as long as one waits, its channel's next ones join its line.
//! *Invariant:* the opposite of a dropped event is dropped too, so delivered events alternate.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use tokio::time::Instant;

use super::tag::Tag;
use crate::spool::SpooledEvent;

/// Events that one line may take in a turn.
const TURN: usize = 32;

/// Dropped events whose opposite is still to be dropped: enough for a flood of 20,000 a second for three seconds.
const MAX_DROPPED_PAIRS: usize = 64 * 1024;

/// A waiting event.
#[derive(Debug, Clone)]
pub(super) struct QueuedEvent {
    pub(super) spooled: SpooledEvent,
    pub(super) tag: Tag,
    pub(super) since: Instant,
    /// Its position among all events. None before it was queued.
    at: Option<u64>,
}

impl QueuedEvent {
    pub(super) fn new(spooled: SpooledEvent, tag: Tag) -> Self {
        Self {
            spooled,
            tag,
            since: Instant::now(),
            at: None,
        }
    }
}

/// Whether the line is of public channels, and its connection or channel.
type LineKey = (bool, u64);

#[derive(Debug)]
pub(super) struct Queue {
    max_events: usize,
    max_bytes: usize,
    bytes: usize,
    /// All events in the order of arrival.
    events: BTreeMap<u64, QueuedEvent>,
    next: u64,
    /// The number of each line's turn, and its events.
    lines: HashMap<LineKey, (i64, VecDeque<u64>)>,
    /// The lines in the order of their turns, and how many events were taken in the current turn.
    turns: BTreeMap<i64, LineKey>,
    taken: usize,
    /// Lines by their length: of channels that need an authorization, and of public ones.
    lengths: [BTreeSet<(usize, LineKey)>; 2],
    counts: [usize; 2],
    /// The line in which a channel's events wait, and their number.
    homes: HashMap<u64, (LineKey, usize)>,
    owed: DroppedPairs,
}

impl Queue {
    pub(super) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            max_events,
            max_bytes,
            bytes: 0,
            events: BTreeMap::new(),
            next: 0,
            lines: HashMap::new(),
            turns: BTreeMap::new(),
            taken: 0,
            lengths: Default::default(),
            counts: [0; 2],
            homes: HashMap::new(),
            owed: DroppedPairs::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Events, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.events.len(), self.bytes)
    }

    /// Sets the spool number of the newest event.
    pub(super) fn name_newest(&mut self, id: u64) {
        if let Some(mut newest) = self.events.last_entry() {
            newest.get_mut().spooled.id = id;
        }
    }

    /// When the oldest event was queued.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.events.first_key_value().map(|(_, event)| event.since)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &QueuedEvent> {
        self.events.values()
    }

    /// Adds an event. Returns what is dropped for it, perhaps itself; `elsewhere` and their bytes count as well, and are
    /// with the task already.
    pub(super) fn push(
        &mut self,
        event: QueuedEvent,
        elsewhere: (usize, usize),
    ) -> Vec<QueuedEvent> {
        if event.tag.pair.is_some_and(|pair| self.owed.settle(pair)) {
            return vec![event];
        }
        self.insert(event, false);
        let mut dropped = Vec::new();
        while !self.events.is_empty()
            && (self.events.len() + elsewhere.0 > self.max_events
                || self.bytes + elsewhere.1 > self.max_bytes)
        {
            dropped.extend(self.drop_one());
        }
        dropped
    }

    /// Puts events back, before the other events of their channels.
    pub(super) fn put_back(&mut self, events: impl DoubleEndedIterator<Item = QueuedEvent>) {
        for event in events.rev() {
            self.insert(event, true);
        }
    }

    /// Takes up to `max` events and `max_bytes`, but at least one event if there is any.
    pub(super) fn take(&mut self, max: usize, max_bytes: usize) -> Vec<QueuedEvent> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < max {
            if self.taken >= TURN {
                self.end_turn();
            }
            let Some(line) = self.turns.first_key_value().map(|(_, line)| *line) else {
                break;
            };
            let first = self.lines.get(&line).and_then(|(_, line)| line.front());
            let first = first.copied();
            let Some(event) = first.and_then(|at| self.events.get(&at)) else {
                break;
            };
            bytes += event.spooled.json.len();
            if bytes > max_bytes && !taken.is_empty() {
                break;
            }
            self.taken += 1;
            taken.extend(first.and_then(|at| self.remove(line, at)));
        }
        taken
    }

    /// Takes all events of a channel.
    pub(super) fn take_channel(&mut self, channel: u64) -> Vec<QueuedEvent> {
        let Some((line, _)) = self.homes.get(&channel).copied() else {
            return Vec::new();
        };
        let is_of = |at: &u64| {
            let event = self.events.get(at);
            event.is_some_and(|event| event.tag.channel == channel)
        };
        let all = self.lines.get(&line).into_iter().flat_map(|(_, line)| line);
        let of_channel: Vec<u64> = all.copied().filter(is_of).collect();
        let taken = of_channel
            .into_iter()
            .filter_map(|at| self.remove(line, at));
        taken.collect()
    }

    /// Adds an event to the line in which its channel's events wait, or else to its own.
    fn insert(&mut self, mut event: QueuedEvent, first: bool) {
        let own = event.tag.line();
        let home = self.homes.entry(event.tag.channel).or_insert((own, 0));
        home.1 += 1;
        let line = home.0;
        let at = event.at.unwrap_or(self.next);
        self.next = self.next.max(at + 1);
        event.at = Some(at);
        self.bytes += event.spooled.json.len();
        self.counts[usize::from(line.0)] += 1;
        self.events.insert(at, event);
        let turn = match first {
            true => self.turns.first_key_value().map_or(0, |(turn, _)| turn - 1),
            false => self.turns.last_key_value().map_or(0, |(turn, _)| turn + 1),
        };
        let (turn, waiting) = self.lines.entry(line).or_insert((turn, VecDeque::new()));
        let length = waiting.len();
        if first {
            waiting.push_front(at);
        } else {
            waiting.push_back(at);
        }
        if length == 0 {
            self.turns.insert(*turn, line);
            if first {
                self.taken = 0;
            }
        }
        self.resize(line, length, length + 1);
    }

    fn remove(&mut self, line: LineKey, at: u64) -> Option<QueuedEvent> {
        let event = self.events.remove(&at)?;
        self.bytes -= event.spooled.json.len();
        self.counts[usize::from(line.0)] -= 1;
        if let Some(home) = self.homes.get_mut(&event.tag.channel) {
            home.1 -= 1;
            if home.1 == 0 {
                self.homes.remove(&event.tag.channel);
            }
        }
        let (turn, waiting) = self.lines.get_mut(&line)?;
        let (turn, length) = (*turn, waiting.len());
        if waiting.front() == Some(&at) {
            waiting.pop_front();
        } else if waiting.back() == Some(&at) {
            waiting.pop_back();
        } else {
            waiting.retain(|other| *other != at);
        }
        if waiting.is_empty() {
            if self
                .turns
                .first_key_value()
                .is_some_and(|(first, _)| *first == turn)
            {
                self.taken = 0;
            }
            self.turns.remove(&turn);
            self.lines.remove(&line);
        }
        self.resize(line, length, length - 1);
        Some(event)
    }

    /// Moves the first line to the end.
    fn end_turn(&mut self) {
        self.taken = 0;
        let Some((_, line)) = self.turns.pop_first() else {
            return;
        };
        let last = self.turns.last_key_value().map_or(0, |(turn, _)| turn + 1);
        if let Some((turn, _)) = self.lines.get_mut(&line) {
            *turn = last;
            self.turns.insert(last, line);
        }
    }

    fn resize(&mut self, line: LineKey, from: usize, to: usize) {
        let lengths = &mut self.lengths[usize::from(line.0)];
        lengths.remove(&(from, line));
        if to > 0 {
            lengths.insert((to, line));
        }
    }

    /// Drops the newest event of the longest line.
    fn drop_one(&mut self) -> Option<QueuedEvent> {
        let [guarded, public] = self.counts;
        let class = usize::from(public >= guarded);
        let (_, line) = self.lengths[class].last().copied()?;
        let at = self.lines.get(&line)?.1.back().copied()?;
        let event = self.remove(line, at)?;
        if let Some(pair) = event.tag.pair {
            self.owed.add(pair);
        }
        Some(event)
    }
}

/// Channels and members of which an event was dropped, so that their next event, its opposite, is dropped too.
#[derive(Debug, Default)]
struct DroppedPairs {
    pairs: HashSet<u64>,
    order: VecDeque<u64>,
}

impl DroppedPairs {
    fn add(&mut self, pair: u64) {
        // Two dropped events of a pair take each other back.
        if !self.settle(pair) {
            self.pairs.insert(pair);
            self.order.push_back(pair);
        }
        // Settled ones stay in the order until they are the oldest: it is as long as what it bounds.
        while self.order.len() > MAX_DROPPED_PAIRS
            && let Some(oldest) = self.order.pop_front()
        {
            self.pairs.remove(&oldest);
        }
    }

    /// Returns whether the pair's next event must be dropped, and forgets the pair.
    fn settle(&mut self, pair: u64) -> bool {
        self.pairs.remove(&pair)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{ChannelName, SocketId, UserId, WebhookEvent};
    use crate::webhook::tag::Tagger;

    struct Maker {
        tagger: Tagger,
        connections: Vec<SocketId>,
    }

    impl Maker {
        fn new() -> Self {
            Self {
                tagger: Tagger::default(),
                connections: (0..4).map(|_| SocketId::random()).collect(),
            }
        }

        /// The text is `channel number`, the number one of those that count up.
        fn event(
            &self,
            channel: &str,
            comes: bool,
            connection: usize,
            number: usize,
        ) -> QueuedEvent {
            let name = ChannelName::parse(channel, 200).unwrap();
            let user = UserId::new("7").unwrap();
            let event = match (channel.starts_with("presence-"), comes) {
                (true, true) => WebhookEvent::MemberAdded(&user),
                (true, false) => WebhookEvent::MemberRemoved(&user),
                (false, true) => WebhookEvent::ChannelOccupied,
                (false, false) => WebhookEvent::ChannelVacated,
            };
            let source = Some(self.connections[connection % 4]);
            let tag = self.tagger.tag(&name, &event, source);
            let json = format!("{channel} {number}").into();
            QueuedEvent::new(SpooledEvent { id: 0, json }, tag)
        }
    }

    fn texts(events: &[QueuedEvent]) -> Vec<&str> {
        events.iter().map(|event| &*event.spooled.json).collect()
    }

    #[test]
    fn a_flood_loses_its_own_newest() {
        let maker = Maker::new();
        let mut queue = Queue::new(10, usize::MAX);
        for number in 0..1000 {
            let dropped = queue.push(maker.event(&format!("x{number}"), true, 0, 0), (0, 0));
            assert_eq!(dropped.len(), usize::from(number >= 10), "{number}");
        }
        for (number, channel) in ["private-a", "y", "z", "private-b"].iter().enumerate() {
            let connection = if number == 1 { 1 } else { 2 };
            let dropped = queue.push(maker.event(channel, true, connection, 0), (0, 0));
            assert_eq!(texts(&dropped), [format!("x{} 0", 9 - number)]);
        }
        // What was dropped is not taken back either; what was not is.
        for channel in ["x999", "x9"] {
            let dropped = queue.push(maker.event(channel, false, 0, 1), (0, 0));
            assert_eq!(texts(&dropped), [format!("{channel} 1")]);
        }
        assert_eq!(texts(&queue.take(1, usize::MAX)), ["x0 0"]);
        assert!(
            queue
                .push(maker.event("x0", false, 0, 1), (0, 0))
                .is_empty()
        );
        let left = queue.take(100, usize::MAX);
        for channel in ["private-a 0", "y 0", "z 0", "private-b 0", "x0 1"] {
            assert!(texts(&left).contains(&channel), "{channel}");
        }
    }

    #[test]
    fn of_dropped_events_so_many_opposites_are_remembered() {
        let mut owed = DroppedPairs::default();
        for pair in 0..=MAX_DROPPED_PAIRS as u64 {
            owed.add(pair);
        }
        assert!(!owed.settle(0), "the oldest is forgotten");
        assert!(owed.settle(1) && owed.settle(MAX_DROPPED_PAIRS as u64));
        assert!(owed.order.len() <= MAX_DROPPED_PAIRS && owed.pairs.len() < MAX_DROPPED_PAIRS);
    }

    #[test]
    fn lines_take_turns() {
        let maker = Maker::new();
        let mut queue = Queue::new(1000, usize::MAX);
        for number in 0..100 {
            queue.push(maker.event(&format!("x{number}"), true, 0, 0), (0, 0));
        }
        queue.push(maker.event("y", true, 1, 0), (0, 0));
        queue.push(maker.event("private-z", true, 0, 0), (0, 0));
        let taken = queue.take(TURN + 3, usize::MAX);
        assert_eq!(
            texts(&taken[TURN - 1..]),
            [
                &format!("x{} 0", TURN - 1),
                "y 0",
                "private-z 0",
                &format!("x{TURN} 0")
            ]
        );
    }

    /// What a model of one text after the other says.
    fn is_in_order(taken: &[String]) -> bool {
        let mut last: HashMap<&str, usize> = HashMap::new();
        taken.iter().all(|text| {
            let (channel, number) = text.split_once(' ').unwrap();
            let number = number.parse().unwrap();
            last.insert(channel, number)
                .is_none_or(|last| last < number)
        })
    }

    proptest! {
        /// However events come, are taken and put back: each channel's stay in order, and what is delivered of one
        /// comes and goes in turns.
        #[test]
        fn order_and_turns_are_kept(
            steps in proptest::collection::vec((0..6u8, 0..4usize, 0..4usize), 0..200),
            max in 1..20usize,
        ) {
            const CHANNELS: [&str; 4] = ["x", "y", "private-x", "presence-x"];
            let maker = Maker::new();
            let mut queue = Queue::new(max, usize::MAX);
            let mut there = [false; 4];
            let mut taken: Vec<String> = Vec::new();
            for (number, (what, channel, connection)) in steps.into_iter().enumerate() {
                if what < 3 {
                    there[channel] = !there[channel];
                    let event = maker.event(CHANNELS[channel], there[channel], connection, number);
                    let before = queue.size().0;
                    let dropped = queue.push(event, (0, 0)).len();
                    prop_assert_eq!(before + 1, queue.size().0 + dropped);
                    prop_assert!(queue.size().0 <= max);
                } else if what == 3 {
                    let events = queue.take(connection, usize::MAX);
                    taken.extend(texts(&events).into_iter().map(ToOwned::to_owned));
                } else if what == 4 {
                    let events = queue.take(connection, usize::MAX);
                    queue.put_back(events.into_iter());
                } else {
                    let name = ChannelName::parse(CHANNELS[channel], 200).unwrap();
                    let tag = maker.tagger.tag(&name, &WebhookEvent::CacheMiss, None);
                    let events = queue.take_channel(tag.channel);
                    queue.put_back(events.into_iter());
                }
                prop_assert_eq!(queue.iter().count(), queue.size().0);
            }
            let events = queue.take(1000, usize::MAX);
            taken.extend(texts(&events).into_iter().map(ToOwned::to_owned));
            prop_assert!(queue.is_empty() && queue.lines.is_empty() && queue.turns.is_empty());
            prop_assert!(queue.homes.is_empty() && queue.lengths.iter().all(BTreeSet::is_empty));
            prop_assert!(is_in_order(&taken), "{:?}", taken);
        }
    }
}
