//! `PatternIndex`: which of many patterns fits a name first, without trying one after the other.

use std::collections::{HashMap, HashSet};

use super::pattern::{ChannelPattern, Part};

/// Patterns as a tree of their parts, so that what many have in common is looked at once. Placeholders are alike here,
/// whatever their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PatternIndex {
    /// The first is the root.
    nodes: Vec<Node>,
}

/// What may come behind the same parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    /// The first of the patterns that end here.
    pattern: Option<usize>,
    literals: HashMap<Box<str>, usize>,
    /// The lengths of the literals.
    lengths: Vec<usize>,
    /// A bit for each ASCII character that a literal begins with.
    beginnings: u128,
    placeholder: Option<usize>,
    any: Option<usize>,
}

impl PatternIndex {
    /// Takes patterns in the order in which they are tried.
    pub(super) fn new<'p>(patterns: impl Iterator<Item = &'p ChannelPattern>) -> Self {
        let mut index = Self {
            nodes: vec![Node::default()],
        };
        for (number, pattern) in patterns.enumerate() {
            let mut at = 0;
            for part in pattern.parts() {
                at = index.behind(at, part);
            }
            index.nodes[at].pattern.get_or_insert(number);
        }
        index
    }

    /// The node behind a part, made if it is not there.
    fn behind(&mut self, at: usize, part: &Part) -> usize {
        let new = self.nodes.len();
        let node = &mut self.nodes[at];
        let next = match part {
            Part::Placeholder(_) => *node.placeholder.get_or_insert(new),
            Part::Any => *node.any.get_or_insert(new),
            Part::Literal(text) => {
                if !node.lengths.contains(&text.len()) {
                    node.lengths.push(text.len());
                }
                node.beginnings |= bit(text);
                *node.literals.entry(text.clone()).or_insert(new)
            }
        };
        if next == new {
            self.nodes.push(Node::default());
        }
        next
    }

    /// The number of the first pattern that fits the whole name.
    pub(super) fn first(&self, name: &str) -> Option<usize> {
        // Names are ASCII; a user id that is not is no channel that a rule is for.
        if !name.is_ascii() {
            return None;
        }
        let mut walk = Walk {
            nodes: &self.nodes,
            name,
            seen: HashSet::new(),
            first: None,
        };
        walk.go_on(0, 0);
        walk.first
    }
}

/// The bit of the character that a text begins with; none for an empty one.
fn bit(text: &str) -> u128 {
    let first = text.as_bytes().first();
    first.map_or(0, |&byte| 1_u128.checked_shl(byte.into()).unwrap_or(0))
}

/// One search.
struct Walk<'a> {
    nodes: &'a [Node],
    name: &'a str,
    /// The nodes that wildcards led to, with the place in the name. No second visit to them finds more, so names cannot
    /// be made to cost more than nodes times characters.
    seen: HashSet<(usize, usize)>,
    first: Option<usize>,
}

impl Walk<'_> {
    /// Looks at all that may come behind a node, for the rest of the name from a place on.
    fn go_on(&mut self, node: usize, at: usize) {
        let node = &self.nodes[node];
        let rest = &self.name[at..];
        if rest.is_empty() {
            self.first = [self.first, node.pattern].into_iter().flatten().min();
        }
        if node.beginnings & bit(rest) != 0 {
            for &length in &node.lengths {
                let literal = rest.get(..length);
                if let Some(&next) = literal.and_then(|literal| node.literals.get(literal)) {
                    self.go_on(next, at + length);
                }
            }
        }
        if let Some(next) = node.placeholder {
            let most = rest.find('.').unwrap_or(rest.len());
            self.enter(next, at + 1..=at + most);
        }
        if let Some(next) = node.any {
            self.enter(next, at..=self.name.len());
        }
    }

    /// Goes on behind a wildcard that may end at any of these places.
    fn enter(&mut self, next: usize, ends: std::ops::RangeInclusive<usize>) {
        let node = &self.nodes[next];
        for end in ends {
            let rest = &self.name[end..];
            let may_fit = match rest.is_empty() {
                true => node.pattern.is_some() || node.any.is_some(),
                false => {
                    node.placeholder.is_some()
                        || node.any.is_some()
                        || node.beginnings & bit(rest) != 0
                }
            };
            if may_fit && self.seen.insert((next, end)) {
                self.go_on(next, end);
            }
        }
    }
}
