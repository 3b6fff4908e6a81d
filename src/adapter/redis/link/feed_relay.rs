//! The console's feed across nodes: whoever has consoles says so with its sign of life, and the others tell it what
//! happens on them, for as long as it says so.
//!
//! A node says `NODE:APP` for each app that its consoles watch, and `NODE/{"app":"…","filter":{…}}` for what they look for.
//!
//! One link of a node does this. Nothing of it is kept or said again: entries are lost with a connection, and nothing
//! else waits for them. While no node has consoles, it is one question in a tick's script whether there is a key.
//!
//! A message is the version, the node that tells (16), and JSON: `{"app":"…","skipped":3,"entries":[{…},…]}`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Link;
use super::in_flight::PendingReply;
use crate::adapter::redis::Topology;
use crate::adapter::redis::connection::Connection;
use crate::adapter::redis::wire::message::VERSION_BYTE;
use crate::app::AppId;
use crate::feed::{Feed, Filter, Seen, Watch};

/// Bytes of entries in one message; beyond it they are counted only.
const MESSAGE_BYTES: usize = 128 * 1024;

/// The longest message that is taken.
const MAX_MESSAGE: usize = 4 * MESSAGE_BYTES;

/// The bytes of a node's name.
const NODE_BYTES: usize = 16;

/// Apps that are told about at a time.
const MAX_APPS: usize = 64;

/// Filters of other nodes that are looked at for one app.
const MAX_FILTERS: usize = 16;

/// What a link does for the feed.
pub(super) struct Showing {
    feed: Feed,
    /// What is watched on other nodes.
    elsewhere: Vec<Watch>,
    /// Whether this node hears what others tell.
    subscribed: bool,
}

/// What a console looks for.
#[derive(Serialize, Deserialize)]
struct Sought<'a> {
    #[serde(borrow)]
    app: Cow<'a, str>,
    #[serde(borrow)]
    filter: &'a RawValue,
}

/// An app that other nodes watch, and what they look for.
type Wanted = BTreeMap<AppId, Vec<Filter>>;

#[derive(Serialize, Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    app: Cow<'a, str>,
    skipped: u64,
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
}

impl Showing {
    pub(super) fn new(feed: Feed) -> Self {
        Self {
            feed,
            elsewhere: Vec::new(),
            subscribed: false,
        }
    }

    /// What consoles of this node watch, for the others.
    pub(super) fn watched(&self, node: &str) -> Vec<String> {
        let apps = self.feed.watched_by_consoles().into_iter();
        let apps = apps.map(|app| format!("{node}:{app}"));
        let sought = self.feed.sought_by_consoles().into_iter();
        let sought = sought.filter_map(|(app, filter)| {
            let filter = serde_json::value::to_raw_value(&filter).ok()?;
            let sought = Sought {
                app: app.as_str().into(),
                filter: &filter,
            };
            let json = serde_json::to_string(&sought).ok()?;
            Some(format!("{node}/{json}"))
        });
        apps.chain(sought).collect()
    }

    /// Nobody can be told without a connection.
    pub(super) fn disconnected(&mut self) {
        self.elsewhere.clear();
        self.subscribed = false;
    }

    /// Tells about these apps from now on, and about no others.
    fn follow(&mut self, wanted: Wanted) {
        self.elsewhere
            .retain(|watch| wanted.contains_key(watch.app()));
        for (app, mut filters) in wanted.into_iter().take(MAX_APPS) {
            let known = self.elsewhere.iter().position(|watch| *watch.app() == app);
            let at = known.unwrap_or_else(|| {
                self.elsewhere.push(self.feed.relay(&app));
                self.elsewhere.len() - 1
            });
            filters.truncate(MAX_FILTERS);
            self.elsewhere[at].look_for(filters);
        }
    }

    /// What is to be told now.
    fn messages(&mut self, node: &str) -> Vec<Vec<u8>> {
        let told = self.elsewhere.iter_mut().filter_map(told);
        told.map(|json| [&[VERSION_BYTE], node.as_bytes(), json.as_bytes()].concat())
            .collect()
    }
}

/// What has happened to an app since the last time; none: nothing.
fn told(watch: &mut Watch) -> Option<String> {
    let (mut skipped, mut bytes) = (watch.skipped_own(), 0);
    let mut entries: Vec<Arc<str>> = Vec::new();
    while let Some(seen) = watch.next_own() {
        match seen {
            Seen::Entry(entry) if bytes + entry.len() <= MESSAGE_BYTES => {
                bytes += entry.len();
                entries.push(entry);
            }
            Seen::Entry(_) => skipped += 1,
            Seen::Lost(count) => skipped += count,
        }
    }
    if entries.is_empty() && skipped == 0 {
        return None;
    }
    // They are JSON of this node's making.
    let raw = entries
        .iter()
        .filter_map(|entry| serde_json::from_str(entry).ok());
    let shown = Shown {
        app: watch.app().as_str().into(),
        skipped,
        entries: raw.collect(),
    };
    serde_json::to_string(&shown).ok()
}

/// What other nodes than this one watch and look for.
fn wanted(watched: &[String], node: &str) -> Wanted {
    let mut wanted = Wanted::new();
    for told in watched.iter().filter(|told| !told.starts_with(node)) {
        let Some((_, rest)) = told.split_at_checked(NODE_BYTES) else {
            continue;
        };
        if let Some(app) = rest.strip_prefix(':') {
            wanted.entry(AppId::new(app)).or_default();
        } else if let Some((app, filter)) = rest.strip_prefix('/').and_then(sought) {
            let filters = wanted.entry(app).or_default();
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
    }
    wanted
}

/// A filter of another node. What this one cannot read it does not look for.
fn sought(json: &str) -> Option<(AppId, Filter)> {
    let sought: Sought<'_> = serde_json::from_str(json).ok()?;
    let filter = Filter::parse(sought.filter.get()).ok()??;
    Some((AppId::new(&sought.app), filter))
}

impl Link {
    /// A tick has said which node's consoles watch what.
    pub(super) fn show_to(&mut self, watched: &[String], connection: &mut Connection) {
        let Some(showing) = &mut self.showing else {
            return;
        };
        showing.follow(wanted(watched, &self.deps.node));
        let wants = !showing.feed.watched_by_consoles().is_empty();
        if std::mem::replace(&mut showing.subscribed, wants) == wants {
            return;
        }
        let is_sharded = matches!(self.deps.settings.topology, Topology::Cluster(_));
        let verb = match (wants, is_sharded) {
            (true, false) => "SUBSCRIBE",
            (true, true) => "SSUBSCRIBE",
            (false, false) => "UNSUBSCRIBE",
            (false, true) => "SUNSUBSCRIBE",
        };
        connection.queue(redis::cmd(verb).arg(&self.deps.bucket.feed));
        self.in_flight.push(match wants {
            true => PendingReply::Subscribe,
            false => PendingReply::Unsubscribe,
        });
    }

    /// Tells other nodes' consoles what has happened here.
    pub(super) fn show(&mut self, connection: &mut Connection) {
        // What cannot be sent now is told later, or lost and counted.
        if self.paused || connection.is_full() {
            return;
        }
        let verb = self.publish_verb();
        let Some(showing) = &mut self.showing else {
            return;
        };
        for message in showing.messages(&self.deps.node) {
            let mut command = redis::cmd(verb);
            connection.queue(command.arg(&self.deps.bucket.feed).arg(&message[..]));
            self.in_flight.push(PendingReply::FeedMessage);
        }
    }

    /// Another node tells something.
    pub(super) fn shown(&self, message: &[u8]) {
        let read = || {
            let (version, rest) = message.split_first()?;
            let (node, json) = rest.split_at_checked(NODE_BYTES)?;
            let is_ours = *version == VERSION_BYTE && message.len() <= MAX_MESSAGE;
            let shown = is_ours.then(|| serde_json::from_slice::<Shown<'_>>(json));
            Some((node, shown?.ok()?))
        };
        let Some((node, shown)) = read() else {
            self.deps.delivery.metrics.cluster_messages_refused.inc();
            return;
        };
        if let Some(showing) = &self.showing
            && node != self.deps.node.as_bytes()
        {
            let entries = shown.entries.iter().map(|entry| entry.get().into());
            showing.feed.arrived(&shown.app, entries, shown.skipped);
        }
    }
}
