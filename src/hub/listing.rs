//! Lists a worker's connections for operators: identity, subscriptions, outbox.
//!
//! Nothing is kept for this: each list comes from a walk over the app's connections and channels, in slices between
//! which the worker does its other work. A change during the walk may be in the list or not.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::Hub;
use super::channel::LocalChannel;
use super::peer::Peer;
use crate::app::AppId;
use crate::protocol::{ChannelKind, SocketId, Transport, UserId};

/// How many connections or subscriptions the walk visits in one turn of the worker.
const WALK_SLICE: usize = 1024;

/// How many channels of a connection are named.
const MAX_CHANNELS: usize = 50;

/// A search for connections.
#[derive(Debug, Clone)]
pub struct ConnectionQuery {
    /// The app of the connections.
    pub app: AppId,
    /// A part of the socket id, user id or address. Empty: all connections.
    pub find: String,
    /// The most connections to return, the youngest first.
    pub limit: usize,
}

/// The result of a [`ConnectionQuery`].
#[derive(Debug, Default)]
pub struct ConnectionList {
    /// The youngest first.
    pub connections: Vec<ConnectionInfo>,
    /// How many connections match.
    pub total: usize,
}

/// One connection.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// The connection's public name.
    pub socket_id: SocketId,
    /// The signed-in user.
    pub user_id: Option<UserId>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The `Origin` of its page.
    pub origin: Option<String>,
    /// The client's library and version.
    pub client: Option<String>,
    /// What carries it.
    pub transport: Transport,
    /// The protocol version of the client.
    pub protocol: u8,
    /// Up to 50 of its channels.
    pub subscriptions: Vec<String>,
    /// The number of its channels.
    pub subscription_count: usize,
    /// The memory cost of its outbox, in bytes.
    pub outbox_bytes: usize,
    /// Its age in seconds.
    pub age_seconds: u32,
}

impl ConnectionList {
    /// Merges the lists of several workers.
    #[must_use]
    pub fn merged(parts: impl Iterator<Item = Self>, limit: usize) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.total += part.total;
            all.connections.extend(part.connections);
        }
        all.connections.sort_by_key(|c| c.age_seconds);
        all.connections.truncate(limit);
        all
    }
}

/// Lists the connections of one worker.
pub(super) async fn list(
    hub: Rc<Hub>,
    query: ConnectionQuery,
    answer: oneshot::Sender<ConnectionList>,
) {
    let channels = hub.channels_of(&query.app);
    let mut matching = Vec::new();
    for peers in hub.peers_of(&query.app).chunks(WALK_SLICE) {
        let matches = |peer: &&Rc<Peer>| query.matches(peer);
        matching.extend(peers.iter().filter(matches).cloned());
        tokio::task::yield_now().await;
    }
    let total = matching.len();
    matching.sort_by_key(|peer| Reverse(peer.pulse.since()));
    matching.truncate(query.limit);
    let mut subscriptions = subscriptions(&channels, &matching, &answer).await;
    let connections = matching.iter().map(|peer| {
        let client_info = peer.client_info();
        let (names, count) = subscriptions.remove(&peer.socket_id()).unwrap_or_default();
        ConnectionInfo {
            socket_id: peer.socket_id(),
            user_id: peer.user_id().cloned(),
            address: peer.address(),
            origin: client_info.and_then(|info| info.origin.clone()),
            client: client_info.and_then(|info| info.client.clone()),
            transport: peer.transport(),
            protocol: peer.protocol(),
            subscriptions: names,
            subscription_count: count,
            outbox_bytes: peer.outbox_bytes(),
            age_seconds: peer.age(),
        }
    });
    let connections = connections.collect();
    // The receiver may be gone.
    let _ = answer.send(ConnectionList { connections, total });
}

/// The names of some channels of each of these connections, and how many they are subscribed to, by their ids.
async fn subscriptions(
    channels: &[Rc<LocalChannel>],
    peers: &[Rc<Peer>],
    answer: &oneshot::Sender<ConnectionList>,
) -> HashMap<SocketId, (Vec<String>, usize)> {
    let mut found: HashMap<SocketId, (Vec<String>, usize)> = peers
        .iter()
        .map(|peer| (peer.socket_id(), (Vec::new(), 0)))
        .collect();
    let mut looked_at = 0;
    for channel in channels {
        if channel.name().kind() == ChannelKind::Internal {
            continue;
        }
        channel.for_each(|peer| {
            if let Some((names, count)) = found.get_mut(&peer.socket_id()) {
                *count += 1;
                if names.len() < MAX_CHANNELS {
                    names.push(channel.name().to_string());
                }
            }
        });
        looked_at += channel.slots();
        if looked_at >= WALK_SLICE {
            looked_at = 0;
            tokio::task::yield_now().await;
            if answer.is_closed() {
                break;
            }
        }
    }
    for (names, _) in found.values_mut() {
        names.sort_unstable();
    }
    found
}

impl ConnectionQuery {
    fn matches(&self, peer: &Peer) -> bool {
        let find = self.find.as_str();
        find.is_empty()
            || peer
                .user_id()
                .is_some_and(|user| user.as_str().contains(find))
            || peer.socket_id().to_string().contains(find)
            || peer
                .address()
                .is_some_and(|address| address.to_string().contains(find))
    }
}

impl Hub {
    pub(super) fn channels_of(&self, app: &AppId) -> Vec<Rc<LocalChannel>> {
        let channels = self.channels.borrow();
        let channels = channels.get(app).into_iter();
        channels
            .flat_map(|of_app| of_app.values().cloned())
            .collect()
    }

    fn peers_of(&self, app: &AppId) -> Vec<Rc<Peer>> {
        let peers = self.peers.borrow();
        let of_app = peers.iter().map(|(_, peer)| peer);
        of_app.filter(|peer| peer.is_of(app)).cloned().collect()
    }
}
