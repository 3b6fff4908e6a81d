//! Leases this node's shares of the limits that all nodes have together. They last as long as the node's lease, so only
//! changes are sent: behind a heartbeat, and nobody waits for them.

use std::time::Instant;

use redis::Value;

use super::Link;
use super::in_flight::PendingReply;
use crate::adapter::redis::connection::{Connection, ConnectionError, ValueExt as _};
use crate::adapter::redis::wire::scripts::Script;
use crate::limits::Usage;
use crate::registry::{ShareAsk, ShareGrant};

/// Shares in one call.
const BATCH: usize = 100;

/// Shares that were asked for.
pub(super) struct AskedShares {
    /// The end of the lease that they are given under.
    until: Instant,
    asks: Vec<ShareAsk>,
}

impl Link {
    /// Asks for shares after a heartbeat that was sent at `sent`. `is_lost`: the others may have what this node had.
    pub(super) fn lease_shares(
        &mut self,
        (nodes, sent): (usize, Instant),
        is_lost: bool,
        connection: &mut Connection,
    ) {
        let Some(apps) = &self.deps.apps else {
            return;
        };
        let (until, now) = (sent + self.deps.settings.lease, Instant::now());
        let registry = &self.deps.delivery.registry;
        let lease = (!is_lost).then_some(until);
        let mut asks = registry.ask_for_shares(&apps.get(), nodes, lease, now);
        while !asks.is_empty() {
            let later = asks.split_off(asks.len().min(BATCH));
            self.share_calls += 1;
            let bucket = &self.deps.bucket;
            let mut keys = vec![bucket.nodes.clone()];
            keys.extend(
                asks.iter()
                    .map(|ask| bucket.shares(&ask.app, ask.limit.key())),
            );
            let mut command = connection.script(Script::LeaseShares, &keys);
            command.arg(&self.deps.node).arg(self.share_calls);
            for ShareAsk { ask, .. } in &asks {
                let numbers = [ask.limit, ask.share, ask.usage.used, ask.usage.demand];
                command.arg(&numbers);
            }
            connection.queue(&command);
            let asked = AskedShares { until, asks };
            self.in_flight.push(PendingReply::Shares(asked));
            asks = later;
        }
    }

    pub(super) fn on_shares(
        &mut self,
        asked: AskedShares,
        reply: Vec<Value>,
    ) -> Result<(), ConnectionError> {
        let numbers = reply.into_iter().map(|value| value.number());
        let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
        let number = |at: usize| u32::try_from(numbers.get(at).copied()?).ok();
        let grant = |at: usize| {
            let (share, used, demand) = (number(at)?, number(at + 1)?, number(at + 2)?);
            let others = Usage { used, demand };
            Some(ShareGrant { share, others })
        };
        let grants = asked.asks.into_iter().enumerate();
        let grants: Vec<_> = grants.map(|(at, ask)| (ask, grant(3 * at))).collect();
        let registry = &self.deps.delivery.registry;
        registry.take_shares(asked.until, &grants);
        Ok(())
    }
}
