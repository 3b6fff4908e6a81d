//! What the tokens of resumable connections have confirmed, on a single node: bounded in number and in time.
//!
//! A position belongs to the connection that last took it over. What another one says of it, which is a dead one in most
//! cases, is not heard.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{Lock, lock};
use crate::channel_log::LogId;
use crate::protocol::{PositionKey, SocketId};
use crate::slack::Slack as _;

/// Parts that are locked by themselves.
const PARTS: usize = 64;

/// The most positions of one part. With 100 bytes each, all of them take some 100 MiB. Tests need not fill as many.
const MAX_POSITIONS: usize = if cfg!(test) { 64 } else { 16 * 1024 };

/// Parts that are searched for expired positions at a time.
const SWEEP: usize = 4;

/// What a token has confirmed of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The last entry of the channel's log that the client has received.
    pub log_id: LogId,
    /// The connection that it belongs to, then earlier ones of the token.
    pub connections: SmallVec<[SocketId; 1]>,
}

/// What a connection says of its token's position on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionChange {
    /// The connection, then earlier ones of the token.
    pub connections: SmallVec<[SocketId; 1]>,
    /// The new position; none: as it was.
    pub log_id: Option<LogId>,
    /// Whether the connection takes the position over from whichever had it.
    pub takes: bool,
    /// How long it is remembered; zero: it is forgotten.
    pub life: Duration,
}

/// All positions.
#[derive(Debug)]
pub(super) struct Positions {
    parts: Box<[Lock<Part>]>,
    begun: Instant,
}

type Part = HashMap<PositionKey, Entry>;

#[derive(Debug)]
struct Entry {
    position: Position,
    /// Seconds since `begun`, at whose end it is forgotten.
    until: u32,
}

impl Default for Positions {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Lock::default()).collect(),
            begun: Instant::now(),
        }
    }
}

impl Positions {
    fn second(&self, at: Instant) -> u32 {
        let seconds = at.saturating_duration_since(self.begun).as_secs();
        // 136 years.
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    pub(super) fn recall(&self, key: &PositionKey, now: Instant) -> Option<Position> {
        let part = lock(&self.parts[key.part(PARTS)]);
        let entry = part.get(key)?;
        (entry.until >= self.second(now)).then(|| entry.position.clone())
    }

    /// Returns how many positions had to go for it before their time.
    pub(super) fn remember(&self, key: PositionKey, change: PositionChange, now: Instant) -> usize {
        let until = self.second(now + change.life);
        let mut part = lock(&self.parts[key.part(PARTS)]);
        let known = part.get_mut(&key);
        let is_anothers = |entry: &Entry| {
            let owner = entry.position.connections.first();
            !owner.is_some_and(|owner| change.connections.contains(owner))
        };
        if !change.takes && known.as_deref().is_some_and(is_anothers) {
            return 0;
        }
        if change.life.is_zero() {
            part.remove(&key);
            part.give_back();
            return 0;
        }
        match (change.log_id, known) {
            (None, None) => return 0,
            (None, Some(entry)) => {
                entry.until = until;
                return 0;
            }
            (Some(_), _) => {}
        }
        let evicted = match part.len() >= MAX_POSITIONS && !part.contains_key(&key) {
            true => evict(&mut part, self.second(now)),
            false => 0,
        };
        let position = Position {
            log_id: change.log_id.unwrap_or_default(),
            connections: change.connections,
        };
        part.insert(key, Entry { position, until });
        evicted
    }

    /// Drops expired positions of some parts. Each call takes the next ones.
    pub(super) fn expire(&self, now: Instant) {
        let now = self.second(now);
        let first = now as usize * SWEEP % PARTS;
        for part in self.parts.iter().cycle().skip(first).take(SWEEP) {
            let mut part = lock(part);
            part.retain(|_, entry| entry.until >= now);
            part.give_back();
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.parts.iter().map(|part| lock(part).len()).sum()
    }
}

/// Drops the quarter that would expire first: those of connections that have ended. Returns how many had not expired.
fn evict(part: &mut Part, now: u32) -> usize {
    let mut ends: Vec<u32> = part.values().map(|entry| entry.until).collect();
    let at = ends.len() / 4;
    let (_, &mut end, _) = ends.select_nth_unstable(at);
    let mut evicted = 0;
    part.retain(|_, entry| {
        let stays = entry.until > end;
        evicted += usize::from(!stays && entry.until >= now);
        stays
    });
    evicted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, ResumeToken};
    use smallvec::smallvec;

    const LIFE: Duration = Duration::from_secs(10);

    fn key(token: usize) -> PositionKey {
        let token = ResumeToken::parse(&format!("token-{token:016}")).unwrap();
        token.position_key("1", &ChannelName::parse("c", 200).unwrap())
    }

    fn id(number: u64) -> SocketId {
        format!("{number}.1").parse().unwrap()
    }

    fn change(connections: &[u64], log_id: Option<u64>) -> PositionChange {
        PositionChange {
            connections: connections.iter().map(|n| id(*n)).collect(),
            log_id: log_id.map(LogId),
            takes: false,
            life: LIFE,
        }
    }

    #[test]
    fn a_position_follows_its_connection_until_another_takes_it() {
        let (positions, now) = (Positions::default(), Instant::now());
        let log_id = || positions.recall(&key(1), now).map(|at| at.log_id.0);
        assert_eq!(log_id(), None);
        positions.remember(key(1), change(&[1], Some(5)), now);
        positions.remember(key(1), change(&[1], Some(7)), now);
        assert_eq!(log_id(), Some(7));
        let takes = PositionChange {
            takes: true,
            ..change(&[2, 1], Some(6))
        };
        positions.remember(key(1), takes, now);
        positions.remember(key(1), change(&[1], Some(9)), now);
        let forgets = PositionChange {
            life: Duration::ZERO,
            ..change(&[1], None)
        };
        positions.remember(key(1), forgets.clone(), now);
        let kept = positions.recall(&key(1), now).unwrap();
        assert_eq!(
            kept.connections,
            SmallVec::<[SocketId; 1]>::from_vec(vec![id(2), id(1)])
        );
        assert_eq!(log_id(), Some(6));
        // One that follows upon the owner need not have been heard when it took over.
        positions.remember(key(1), change(&[3, 2], Some(8)), now);
        assert_eq!(log_id(), Some(8));
        let forgets = PositionChange {
            connections: smallvec![id(3)],
            ..forgets
        };
        positions.remember(key(1), forgets, now);
        assert_eq!((log_id(), positions.len()), (None, 0));
    }

    #[test]
    fn a_position_is_forgotten_in_time() {
        let (positions, now) = (Positions::default(), Instant::now());
        positions.remember(key(1), change(&[1], Some(5)), now);
        let second = Duration::from_secs(1);
        assert!(positions.recall(&key(1), now + LIFE).is_some());
        assert!(positions.recall(&key(1), now + LIFE + second).is_none());
        positions.remember(key(1), change(&[1], None), now + LIFE);
        assert!(positions.recall(&key(1), now + LIFE + second).is_some());
        for tick in 0..PARTS as u32 {
            positions.expire(now + 3 * LIFE + second * tick);
        }
        assert_eq!(positions.len(), 0);
    }

    #[test]
    fn there_are_so_many_and_the_oldest_go() {
        let (positions, now) = (Positions::default(), Instant::now());
        let (mut evicted, mut number) = (0, 0);
        while evicted == 0 {
            let at = now + Duration::from_secs(number as u64 / 1000);
            evicted = positions.remember(key(number), change(&[1], Some(1)), at);
            number += 1;
        }
        assert!(positions.len() < PARTS * MAX_POSITIONS);
        assert_eq!(evicted + positions.len(), number);
        let is_known = |token: usize| positions.recall(&key(token), now).is_some();
        assert!(is_known(number - 1), "the latest stays");
        assert_eq!(
            (0..number).filter(|token| is_known(*token)).count(),
            positions.len()
        );
    }
}
