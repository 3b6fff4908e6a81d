//! A worker's connections for people who look: who they are, what they are subscribed to, what waits for them.
//!
//! Nothing is kept for this: the answer is put together by a walk over the app's connections and channels, in slices
//! between which the worker does everything else. What changes meanwhile may be in the answer or not.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::sync::oneshot;

use super::Hub;
use super::channel::LocalChannel;
use super::peer::Peer;
use crate::app::AppId;
use crate::protocol::{ChannelKind, SocketId, UserId};

/// How many connections or subscriptions are looked at in one turn of the worker.
const WALK_SLICE: usize = 1024;

/// How many of a connection's channels are named.
const MAX_CHANNELS: usize = 50;

/// Which connections.
#[derive(Debug, Clone)]
pub struct ConnectionQuery {
    /// Of this app.
    pub app: AppId,
    /// Whose socket id, user or address contains this; empty: all.
    pub find: String,
    /// How many, the youngest first.
    pub limit: usize,
}

/// Some connections.
#[derive(Debug, Default)]
pub struct ConnectionList {
    /// The youngest first.
    pub connections: Vec<ConnectionInfo>,
    /// How many there are in all.
    pub total: usize,
}

/// One connection.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Its public name.
    pub socket_id: SocketId,
    /// Who is signed in on it.
    pub user_id: Option<UserId>,
    /// Where its client is.
    pub address: Option<IpAddr>,
    /// The `Origin` of its page.
    pub origin: Option<String>,
    /// Its library and version.
    pub client: Option<String>,
    /// The protocol version that it speaks.
    pub protocol: u8,
    /// Some of the channels that it is subscribed to.
    pub subscriptions: Vec<String>,
    /// How many channels that are.
    pub subscription_count: usize,
    /// Bytes that wait for its socket.
    pub outbox_bytes: usize,
    /// For how long it has been there.
    pub age_seconds: u32,
}

impl ConnectionList {
    /// Those of several workers.
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
    let mut users = HashMap::new();
    for channel in &channels {
        if let Some(user) = channel.name().connected_user() {
            channel.for_each(|peer| drop(users.insert(peer.socket_id(), user.clone())));
        }
    }
    let mut matching = Vec::new();
    for peers in hub.peers_of(&query.app).chunks(WALK_SLICE) {
        let matches = |peer: &&Rc<Peer>| query.matches(peer, users.get(&peer.socket_id()));
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
            user_id: users.get(&peer.socket_id()).cloned(),
            address: peer.address(),
            origin: client_info.and_then(|info| info.origin.clone()),
            client: client_info.and_then(|info| info.client.clone()),
            protocol: peer.protocol(),
            subscriptions: names,
            subscription_count: count,
            outbox_bytes: peer.outbox_bytes(),
            age_seconds: peer.age(),
        }
    });
    let connections = connections.collect();
    // Who asked may have gone.
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
    fn matches(&self, peer: &Peer, user: Option<&UserId>) -> bool {
        let find = self.find.as_str();
        find.is_empty()
            || user.is_some_and(|user| user.as_str().contains(find))
            || peer.socket_id().to_string().contains(find)
            || peer
                .address()
                .is_some_and(|address| address.to_string().contains(find))
    }
}

impl Hub {
    fn channels_of(&self, app: &AppId) -> Vec<Rc<LocalChannel>> {
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
