//! What resumable connections of this node have confirmed, on its way to Redis: the latest of each position, many in one
//! call, and one call at a time.
//!
//! Nobody waits for it. While Redis is away, or if there is too much of it, a position in Redis is older than it could
//! be: a client that resumes then gets more events twice, and misses none.

use std::collections::HashMap;

use redis::Value;

use super::Link;
use super::commands::millis;
use super::in_flight::PendingReply;
use crate::adapter::redis::connection::Connection;
use crate::adapter::redis::wire::scripts::Script;
use crate::adapter::{Position, PositionChange};
use crate::metrics::Metrics;
use crate::protocol::{PositionKey, SocketId};
use crate::slack::Slack as _;

/// The most positions of one call, so that no call holds up Redis.
const BATCH: usize = 256;

/// The most positions that wait.
const MAX_WAITING: usize = 64 * 1024;

/// Some positions, and what is said of them.
pub(super) type PositionChanges = Vec<(PositionKey, PositionChange)>;

/// The changes that wait to be sent, the last one of each position.
#[derive(Default)]
pub(super) struct WaitingPositions(HashMap<PositionKey, PositionChange>);

impl WaitingPositions {
    pub(super) fn add(&mut self, key: PositionKey, mut change: PositionChange, metrics: &Metrics) {
        if let Some(earlier) = self.0.remove(&key) {
            change.follow(&earlier);
        } else if self.0.len() >= MAX_WAITING {
            metrics.positions_dropped.inc();
            return;
        }
        self.0.insert(key, change);
    }

    /// Takes changes back that may not have arrived.
    pub(super) fn take_back(&mut self, changes: PositionChanges) {
        for (key, earlier) in changes {
            if let Some(change) = self.0.get_mut(&key) {
                change.follow(&earlier);
            } else if self.0.len() < MAX_WAITING {
                self.0.insert(key, earlier);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PositionChange {
    /// Makes this change include one of the same position that came before it.
    fn follow(&mut self, earlier: &Self) {
        self.takes |= earlier.takes;
        self.log_id = self.log_id.or(earlier.log_id);
    }
}

impl Link {
    /// Sends what waits, unless a call is under way: what comes meanwhile waits for the next one.
    pub(super) fn send_positions(&mut self, connection: &mut Connection) {
        let is_sending = |reply: &PendingReply| matches!(reply, PendingReply::Remember(_));
        if self.positions.is_empty() || connection.is_full() || self.in_flight.has(is_sending) {
            return;
        }
        let waiting = &mut self.positions.0;
        let changes: PositionChanges = waiting.extract_if(|_, _| true).take(BATCH).collect();
        waiting.give_back();
        let bucket = &self.deps.bucket;
        let keys: Vec<String> = changes
            .iter()
            .map(|(key, _)| bucket.position(key))
            .collect();
        let mut command = connection.script(Script::Remember, &keys);
        for (_, change) in &changes {
            command
                .arg(list(&change.connections))
                .arg(change.log_id.map(|id| id.0.to_string()).unwrap_or_default())
                .arg(millis(change.life))
                .arg(u8::from(change.takes));
        }
        connection.queue(&command);
        self.in_flight.push(PendingReply::Remember(changes));
    }
}

/// Connections as Redis keeps them.
fn list(connections: &[SocketId]) -> String {
    let mut list = ",".to_owned();
    for id in connections {
        list.push_str(&id.to_string());
        list.push(',');
    }
    list
}

/// Reads a position; none if no node of ours wrote it.
pub(crate) fn read_position(value: Value) -> Option<Position> {
    let Value::BulkString(bytes) = value else {
        return None;
    };
    let (number, connections) = std::str::from_utf8(&bytes).ok()?.split_once(' ')?;
    let connections = connections.split(',').filter(|id| !id.is_empty());
    Some(Position {
        log_id: crate::channel_log::LogId(number.parse().ok()?),
        connections: connections
            .map(|id| id.parse().ok())
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::channel_log::LogId;
    use crate::protocol::{ChannelName, ResumeToken};

    fn key(token: u32) -> PositionKey {
        let token = ResumeToken::parse(&format!("token-{token:016}")).unwrap();
        token.position_key("1", &ChannelName::parse("c", 200).unwrap())
    }

    fn change(log_id: Option<u64>, takes: bool, seconds: u64) -> PositionChange {
        PositionChange {
            connections: vec!["1.2".parse().unwrap()].into(),
            log_id: log_id.map(LogId),
            takes,
            life: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn the_last_change_of_a_position_includes_those_before_it() {
        let (mut waiting, metrics) = (WaitingPositions::default(), Metrics::default());
        waiting.add(key(1), change(Some(5), true, 20), &metrics);
        waiting.add(key(1), change(Some(7), false, 20), &metrics);
        waiting.add(key(1), change(None, false, 10), &metrics);
        assert_eq!(waiting.0[&key(1)], change(Some(7), true, 10));
        let sent = waiting.0.drain().collect();
        waiting.add(key(1), change(Some(9), false, 20), &metrics);
        waiting.take_back(sent);
        assert_eq!(waiting.0[&key(1)], change(Some(9), true, 20));
    }

    #[test]
    fn so_many_positions_wait_and_the_others_stay_older() {
        let (mut waiting, metrics) = (WaitingPositions::default(), Metrics::default());
        for token in 0..MAX_WAITING as u32 + 3 {
            waiting.add(key(token), change(Some(1), false, 20), &metrics);
        }
        assert_eq!(
            (waiting.0.len(), metrics.positions_dropped.get()),
            (MAX_WAITING, 3)
        );
        waiting.add(key(0), change(Some(2), false, 20), &metrics);
        assert_eq!(waiting.0[&key(0)].log_id, Some(LogId(2)));
    }

    #[test]
    fn what_redis_keeps_is_read_back() {
        let ids: Vec<SocketId> = ["1.2", "33.4"].map(|id| id.parse().unwrap()).into();
        let text = format!("17 {}", list(&ids));
        assert_eq!(text, "17 ,1.2,33.4,");
        let read = |text: &str| read_position(Value::BulkString(text.into()));
        let position = read(&text).unwrap();
        assert_eq!(
            (position.log_id, &position.connections[..]),
            (LogId(17), &ids[..])
        );
        for strange in ["", "17", "x ,1.2,", "17 ,1.2,x,"] {
            assert_eq!(read(strange), None, "{strange}");
        }
        assert_eq!(read_position(Value::Nil), None);
    }
}
