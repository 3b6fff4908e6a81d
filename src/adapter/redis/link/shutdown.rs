//! Takes this node out of the cluster: releases what it holds, posts what lingers to webhooks if it is the last node, and
//! gives its lease back.

use tokio::sync::oneshot;

use super::Link;
use crate::adapter::redis::connection::Connection;

/// How far the shutdown has come. The sender answers the request for it.
pub(super) enum Shutdown {
    NotStarted,
    /// Topics are being released.
    Releasing(oneshot::Sender<()>),
    /// A heartbeat collects everything that lingers, if this is the last node.
    Flushing(oneshot::Sender<()>),
    /// The lease is being given back.
    RemovingNode(oneshot::Sender<()>),
    Done,
}

impl Link {
    pub(super) fn remove_self(&mut self, connection: &mut Connection) {
        match std::mem::replace(&mut self.shutdown, Shutdown::Done) {
            Shutdown::Flushing(answer) => {
                self.shutdown = Shutdown::RemovingNode(answer);
                self.remove_node(self.deps.node.clone(), true, connection);
            }
            other => self.shutdown = other,
        }
    }

    /// Starts the next step of the shutdown when the one before is done.
    pub(super) fn advance_shutdown(&mut self, connection: &mut Connection) {
        let has_sent = self.waiting_calls.is_empty() && self.positions.is_empty();
        let is_quiet = self.topics.is_empty() && has_sent && !self.paused;
        match std::mem::replace(&mut self.shutdown, Shutdown::Done) {
            Shutdown::Releasing(answer) if is_quiet => {
                self.shutdown = Shutdown::Flushing(answer);
                self.heartbeat(connection);
            }
            other => self.shutdown = other,
        }
    }
}
