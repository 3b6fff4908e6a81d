//! How this node leaves the cluster: it gives up what it holds, tells webhooks what lingers if it is the last node, and
//! gives its lease back.

use super::{Finishing, Link};
use crate::adapter::redis::connection::Connection;

impl Link {
    pub(super) fn retire_itself(&mut self, connection: &mut Connection) {
        match std::mem::replace(&mut self.finishing, Finishing::Done) {
            Finishing::Flushing(answer) => {
                self.finishing = Finishing::Retiring(answer);
                self.retire(self.deps.node.clone(), true, connection);
            }
            other => self.finishing = other,
        }
    }

    /// The steps of the end, each when the one before is done.
    pub(super) fn finish(&mut self, connection: &mut Connection) {
        let is_quiet = self.topics.is_empty() && self.waiting.is_empty() && !self.paused;
        match std::mem::replace(&mut self.finishing, Finishing::Done) {
            Finishing::Releasing(answer) if is_quiet => {
                self.finishing = Finishing::Flushing(answer);
                self.tick(connection);
            }
            other => self.finishing = other,
        }
    }
}
