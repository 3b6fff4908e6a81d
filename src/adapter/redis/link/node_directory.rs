//! The directory of the cluster's nodes. Each node regularly introduces itself with its name and fingerprints of its apps,
//! and reads the introductions of the others.
//!
//! Nodes whose apps have the same id but other keys or secrets belong to two clusters that share a prefix by mistake, and
//! their events mix. Nothing else would reveal it, so a warning names the other nodes. A fingerprint is a part of an HMAC
//! under a secret, which is less than every client sees in each `auth`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::Link;
use super::commands::millis;
use super::in_flight::PendingReply;
use crate::adapter::redis::connection::{Connection, ConnectionError, ValueExt as _};
use crate::adapter::redis::wire::scripts::Script;
use crate::app::{App, CurrentApps};

/// Apps whose fingerprints a node sends, the first in the order of their ids.
const MAX_APPS: usize = 100;

/// Nodes that a warning names; further ones are counted.
const MAX_NAMED: usize = 8;

/// Hex digits of a fingerprint: enough that two secrets hardly ever share one, too few to sign anything.
const FINGERPRINT_DIGITS: usize = 8;

/// A live node of the cluster, as it introduced itself.
#[derive(Debug, Clone)]
pub struct LiveNode {
    /// The host name of its machine or container, and its public port.
    pub name: String,
    /// Its local address towards Redis; `None` if it could not be determined.
    pub address: Option<IpAddr>,
    /// When its last heartbeat was.
    pub heard: Instant,
    /// Whether it is this node.
    pub is_this: bool,
    /// Ids of apps that it has under another key, or of which it shares no secret with this node.
    pub strange_apps: Vec<String>,
}

/// What this node sends of itself, and the last warning of others.
pub(super) struct NodeDirectory {
    name: String,
    apps: Arc<CurrentApps>,
    /// The nodes that the last warning named.
    warned: Vec<String>,
}

/// The JSON in which a node introduces itself.
#[derive(Debug, Serialize, Deserialize)]
struct Introduction {
    name: String,
    address: Option<IpAddr>,
    /// The node's lease in milliseconds.
    lease: u64,
    apps: Fingerprints,
}

/// By app id: one fingerprint for each of the app's secrets.
type Fingerprints = BTreeMap<String, Vec<String>>;

impl NodeDirectory {
    pub(super) fn new(name: &str, apps: Arc<CurrentApps>) -> Self {
        Self {
            name: name.to_owned(),
            apps,
            warned: Vec::new(),
        }
    }

    fn introduction(&self, address: Option<IpAddr>, lease: Duration) -> Introduction {
        let apps = self.apps.get();
        let mut apps: Fingerprints = apps.iter().map(|app| fingerprints(app)).collect();
        while apps.len() > MAX_APPS {
            apps.pop_last();
        }
        Introduction {
            name: self.name.clone(),
            address,
            lease: millis(lease),
            apps,
        }
    }

    /// Logs a warning when the set of nodes with other apps changes.
    fn warn(&mut self, live: &[LiveNode], prefix: &str) {
        let mismatched = live.iter().filter(|node| !node.strange_apps.is_empty());
        let found: Vec<String> = mismatched.map(LiveNode::describe).collect();
        if found == self.warned {
            return;
        }
        if found.is_empty() {
            info!("all nodes under the prefix {prefix:?} have the same apps now");
        } else {
            let more = match found.len().saturating_sub(MAX_NAMED) {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            let named = &found[..found.len().min(MAX_NAMED)];
            warn!(
                "other nodes under the prefix {prefix:?} of this Redis have apps of the same ids with other keys or \
                 secrets, and their events, counts and members mix with this node's: {}{more}. If they are another \
                 cluster, give one of the two another prefix in [redis]; if they are of this one, give all nodes the \
                 same apps",
                named.join(", ")
            );
        }
        self.warned = found;
    }
}

impl LiveNode {
    fn read(value: Value, this: &str, own: &Fingerprints) -> Result<Option<Self>, ConnectionError> {
        let mut parts = value.list()?.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Nil);
        let (id, text, left) = (next().text()?, next().text()?, next().number()?);
        // A later version may introduce itself in other words.
        let Ok(introduction) = serde_json::from_str::<Introduction>(&text) else {
            return Ok(None);
        };
        let left = u64::try_from(left).unwrap_or_default();
        let ago = Duration::from_millis(introduction.lease.saturating_sub(left));
        let now = Instant::now();
        Ok(Some(Self {
            name: introduction.name,
            address: introduction.address,
            heard: now.checked_sub(ago).unwrap_or(now),
            is_this: id == this,
            strange_apps: mismatched(own, &introduction.apps),
        }))
    }

    /// Names the node and its apps for a warning: `web-2:6001 (10.0.0.8: app 1, app 2)`.
    fn describe(&self) -> String {
        let address = self.address.map(|address| format!("{address}: "));
        let apps = self.strange_apps.join(", app ");
        format!("{} ({}app {apps})", self.name, address.unwrap_or_default())
    }
}

fn fingerprints(app: &App) -> (String, Vec<String>) {
    let message = format!("tidewire: an app's key\n{}", app.key);
    let signatures = app.secrets.sign_with_each(message.as_bytes());
    let short = signatures.map(|signature| signature[..FINGERPRINT_DIGITS].to_owned());
    (app.id.to_string(), short.collect())
}

/// The ids of apps that both have, but without a common fingerprint.
fn mismatched(own: &Fingerprints, others: &Fingerprints) -> Vec<String> {
    let differs = |(id, theirs): (&String, &Vec<String>)| {
        let ours = own.get(id)?;
        let is_known = theirs.iter().any(|one| ours.contains(one));
        (!is_known).then(|| id.clone())
    };
    others.iter().filter_map(differs).collect()
}

impl Link {
    /// Sends this node's introduction. The reply has those of all live nodes.
    pub(super) fn introduce(&mut self, connection: &mut Connection) {
        let Some(directory) = &self.directory else {
            return;
        };
        let introduction = directory.introduction(connection.address, self.deps.settings.lease);
        // Serializing texts and numbers cannot fail.
        let introduction = serde_json::to_string(&introduction).unwrap_or_default();
        let bucket = &self.deps.bucket;
        let mut command = connection.script(Script::Introduce, &[&bucket.nodes, &bucket.who]);
        connection.queue(command.arg(&self.deps.node).arg(introduction));
        self.in_flight.push(PendingReply::Introduce);
    }

    pub(super) fn on_introduced(&mut self, reply: Vec<Value>) -> Result<(), ConnectionError> {
        let Some(directory) = &mut self.directory else {
            return Ok(());
        };
        let own = directory.introduction(None, Duration::ZERO).apps;
        let mut live = Vec::new();
        for value in reply {
            live.extend(LiveNode::read(value, &self.deps.node, &own)?);
        }
        live.sort_by(|a, b| a.name.cmp(&b.name));
        directory.warn(&live, &self.deps.settings.prefix);
        let live: Arc<[LiveNode]> = live.into();
        self.deps.state.send_modify(|state| state.live = live);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps(list: &[(&str, &[&str])]) -> Fingerprints {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let apps = list.iter();
        apps.map(|(id, known)| ((*id).to_owned(), owned(known)))
            .collect()
    }

    #[test]
    fn an_app_is_strange_that_has_one_s_id_and_no_secret_of_it() {
        let own = apps(&[("1", &["a", "b"]), ("2", &["c"]), ("3", &["d"])]);
        for (others, expected) in [
            (apps(&[]), &[][..]),
            (apps(&[("1", &["a", "b"]), ("2", &["c"])]), &[]),
            // In the middle of a rotation.
            (apps(&[("1", &["b", "e"])]), &[]),
            (apps(&[("4", &["f"])]), &[]),
            (
                apps(&[("1", &["e"]), ("2", &["c"]), ("3", &["a"])]),
                &["1", "3"],
            ),
        ] {
            assert_eq!(mismatched(&own, &others), expected, "{others:?}");
        }
    }
}
