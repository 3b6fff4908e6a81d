//! Relays the console's feed between nodes. A node that has consoles sends what they watch with its heartbeat, and the
//! other nodes send it their feed entries as long as it does.
//!
//! A heartbeat has `NODE:APP` for each app that consoles watch, and `NODE/{"app":"…","filter":{…}}` for each filter.
//!
//! One link of a node relays the feed. Entries are not kept: those in flight are lost with a connection, and nothing waits
//! for them. While no node has consoles, the relay costs one `EXISTS` in each heartbeat.
//!
//! A message is the version, the sending node (16), and JSON: `{"app":"…","skipped":3,"entries":[{…},…]}`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Link;
use super::in_flight::PendingReply;
use crate::adapter::redis::connection::Connection;
use crate::adapter::redis::wire::message::VERSION_BYTE;
use crate::app::AppId;
use crate::feed::{Feed, Filter, Seen, Watch};

/// Bytes of entries in one message. Further entries are only counted.
const MESSAGE_BYTES: usize = 128 * 1024;

/// Bytes of the longest message that is accepted.
const MAX_MESSAGE: usize = 4 * MESSAGE_BYTES;

/// The bytes of a node's id.
const NODE_BYTES: usize = 16;

/// Apps whose entries are sent to other nodes.
const MAX_APPS: usize = 64;

/// Filters of other nodes that are applied to one app.
const MAX_FILTERS: usize = 16;

/// The relay's state.
pub(super) struct FeedRelay {
    feed: Feed,
    /// The apps that consoles of other nodes watch.
    remote_watches: Vec<Watch>,
    /// Whether this node is subscribed to the feed of other nodes.
    subscribed: bool,
}

/// A console's filter, as a heartbeat has it.
#[derive(Serialize, Deserialize)]
struct WatchedFilter<'a> {
    #[serde(borrow)]
    app: Cow<'a, str>,
    #[serde(borrow)]
    filter: &'a RawValue,
}

/// The apps that other nodes watch, and their filters.
type Watches = BTreeMap<AppId, Vec<Filter>>;

/// The JSON of a message.
#[derive(Serialize, Deserialize)]
struct FeedMessage<'a> {
    #[serde(borrow)]
    app: Cow<'a, str>,
    skipped: u64,
    #[serde(borrow)]
    entries: Vec<&'a RawValue>,
}

impl FeedRelay {
    pub(super) fn new(feed: Feed) -> Self {
        Self {
            feed,
            remote_watches: Vec::new(),
            subscribed: false,
        }
    }

    /// What this node's consoles watch, for the heartbeat.
    pub(super) fn watched(&self, node: &str) -> Vec<String> {
        let apps = self.feed.watched_by_consoles().into_iter();
        let apps = apps.map(|app| format!("{node}:{app}"));
        let filters = self.feed.sought_by_consoles().into_iter();
        let filters = filters.filter_map(|(app, filter)| {
            let filter = serde_json::value::to_raw_value(&filter).ok()?;
            let watched = WatchedFilter {
                app: app.as_str().into(),
                filter: &filter,
            };
            let json = serde_json::to_string(&watched).ok()?;
            Some(format!("{node}/{json}"))
        });
        apps.chain(filters).collect()
    }

    /// Forgets other nodes' watches, which come again with the next heartbeat.
    pub(super) fn on_disconnected(&mut self) {
        self.remote_watches.clear();
        self.subscribed = false;
    }

    /// Replaces the apps and filters that other nodes watch.
    fn set_remote_watches(&mut self, watches: Watches) {
        self.remote_watches
            .retain(|watch| watches.contains_key(watch.app()));
        for (app, mut filters) in watches.into_iter().take(MAX_APPS) {
            let known = self
                .remote_watches
                .iter()
                .position(|watch| *watch.app() == app);
            let at = known.unwrap_or_else(|| {
                self.remote_watches.push(self.feed.relay(&app));
                self.remote_watches.len() - 1
            });
            filters.truncate(MAX_FILTERS);
            self.remote_watches[at].look_for(filters);
        }
    }

    /// Returns a message for each watched app in which something happened.
    fn next_messages(&mut self, node: &str) -> Vec<Vec<u8>> {
        let messages = self.remote_watches.iter_mut().filter_map(next_message);
        messages
            .map(|json| [&[VERSION_BYTE], node.as_bytes(), json.as_bytes()].concat())
            .collect()
    }
}

/// Returns the entries of an app since the last call as JSON; `None` if there are none.
fn next_message(watch: &mut Watch) -> Option<String> {
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
    // This node made the entries, so they are valid JSON.
    let raw = entries
        .iter()
        .filter_map(|entry| serde_json::from_str(entry).ok());
    let feed_message = FeedMessage {
        app: watch.app().as_str().into(),
        skipped,
        entries: raw.collect(),
    };
    serde_json::to_string(&feed_message).ok()
}

/// Reads what nodes other than this one watch.
fn watches_of_others(watched: &[String], node: &str) -> Watches {
    let mut watches = Watches::new();
    for entry in watched.iter().filter(|entry| !entry.starts_with(node)) {
        let Some((_, rest)) = entry.split_at_checked(NODE_BYTES) else {
            continue;
        };
        if let Some(app) = rest.strip_prefix(':') {
            watches.entry(AppId::new(app)).or_default();
        } else if let Some((app, filter)) = rest.strip_prefix('/').and_then(read_filter) {
            let filters = watches.entry(app).or_default();
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
    }
    watches
}

/// Reads another node's filter; `None` if this version cannot.
fn read_filter(json: &str) -> Option<(AppId, Filter)> {
    let watched: WatchedFilter<'_> = serde_json::from_str(json).ok()?;
    let filter = Filter::parse(watched.filter.get()).ok()??;
    Some((AppId::new(&watched.app), filter))
}

impl Link {
    /// Handles what a heartbeat returned of consoles, and subscribes to the feed if this node has some.
    pub(super) fn update_feed_watches(&mut self, watched: &[String], connection: &mut Connection) {
        let Some(feed_relay) = &mut self.feed_relay else {
            return;
        };
        feed_relay.set_remote_watches(watches_of_others(watched, &self.deps.node));
        let wants = !feed_relay.feed.watched_by_consoles().is_empty();
        if std::mem::replace(&mut feed_relay.subscribed, wants) == wants {
            return;
        }
        let (verb, reply) = match wants {
            true => ("SUBSCRIBE", PendingReply::Subscribe),
            false => ("UNSUBSCRIBE", PendingReply::Unsubscribe),
        };
        connection.queue(&self.deps.pubsub(verb, &self.deps.bucket.feed));
        self.in_flight.push(reply);
    }

    /// Sends this node's feed entries to other nodes' consoles.
    pub(super) fn send_feed(&mut self, connection: &mut Connection) {
        // Entries wait for the next call; if they are too many, the oldest are dropped and counted.
        if self.paused || connection.is_full() {
            return;
        }
        let verb = self.publish_verb();
        let Some(feed_relay) = &mut self.feed_relay else {
            return;
        };
        for message in feed_relay.next_messages(&self.deps.node) {
            let mut command = redis::cmd(verb);
            connection.queue(command.arg(&self.deps.bucket.feed).arg(&message[..]));
            self.in_flight.push(PendingReply::FeedMessage);
        }
    }

    /// Handles a message of another node.
    pub(super) fn on_feed_message(&self, message: &[u8]) {
        let read = || {
            let (version, rest) = message.split_first()?;
            let (node, json) = rest.split_at_checked(NODE_BYTES)?;
            let is_ours = *version == VERSION_BYTE && message.len() <= MAX_MESSAGE;
            let feed_message = is_ours.then(|| serde_json::from_slice::<FeedMessage<'_>>(json));
            Some((node, feed_message?.ok()?))
        };
        let Some((node, feed_message)) = read() else {
            self.deps.delivery.metrics.cluster_messages_refused.inc();
            return;
        };
        if let Some(feed_relay) = &self.feed_relay
            && node != self.deps.node.as_bytes()
        {
            let entries = feed_message.entries.iter().map(|entry| entry.get().into());
            feed_relay
                .feed
                .arrived(&feed_message.app, entries, feed_message.skipped);
        }
    }
}
