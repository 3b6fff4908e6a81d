//! Reload: other apps from now on.

use std::sync::Arc;

use super::Node;
use crate::app::Apps;
use crate::hub::inbox::WorkerCommand;

impl Node {
    /// Swaps all apps in one step, then has the workers look at their connections; returns when all have.
    ///
    /// Whoever read the former snapshot goes on with it: a request that is under way, or a command. A connection is
    /// admitted in the same turn of its worker in which its app was read, so it is either there when the worker gets
    /// the command, or its app was read after the swap.
    pub async fn reload(&self, apps: Apps) {
        let apps = Arc::new(apps);
        self.apps.swap(Arc::clone(&apps));
        self.registry.keep_rates(|rate, id| {
            apps.by_id(id.as_str())
                .is_some_and(|app| rate.limit(&app.limits).is_some())
        });
        self.inboxes
            .post_all(|| WorkerCommand::ReloadApps(Arc::clone(&self.apps)));
        // A worker answers this when it has done what it was told before.
        self.inboxes.reports().await;
    }
}
