//! Posts frames to the workers' inboxes. Both adapters reach subscribers through [`Fanout`], and nothing else does.

use std::sync::Arc;
use std::time::Instant;

use crate::app::AppId;
use crate::channel_log::LogId;
use crate::hub::inbox::{Delivery, Inboxes, WorkerCommand};
use crate::protocol::{ChannelName, CloseCode, Encoded, ServerFrame, SocketId, UserId};
use crate::registry::Audience;

/// The inboxes of all workers.
#[derive(Debug, Clone)]
pub(super) struct Fanout {
    inboxes: Inboxes,
}

/// A frame to deliver.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) frame: &'a Encoded,
    pub(super) except: Option<SocketId>,
    /// When this node accepted the event; `None` for frames that no publisher sent.
    pub(super) accepted: Option<Instant>,
    /// The event's place in the log, if Redis gave it one. The registry's is the audience's.
    pub(super) log_id: Option<LogId>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn all(frame: &'a Encoded) -> Self {
        Self {
            frame,
            except: None,
            accepted: None,
            log_id: None,
        }
    }
}

impl Fanout {
    pub(super) fn new(inboxes: Inboxes) -> Self {
        Self { inboxes }
    }

    /// Posts a frame to every worker that holds subscribers of the channel.
    pub(super) fn send(
        &self,
        app: &AppId,
        channel: &ChannelName,
        outgoing: Outgoing<'_>,
        audience: &Audience<'_>,
    ) {
        if audience.is_empty() {
            return;
        }
        let Outgoing {
            frame,
            except,
            accepted,
            log_id,
        } = outgoing;
        let delivery = Delivery {
            number: audience.next_sequence(),
            log_id: log_id.or(audience.logged()),
            frame: frame.clone(),
            except,
            accepted,
        };
        for worker in audience.workers() {
            let (app, channel, delivery) = (app.clone(), channel.clone(), delivery.clone());
            self.inboxes.post(
                worker,
                WorkerCommand::Deliver {
                    app,
                    channel,
                    delivery,
                },
            );
        }
    }

    /// Sends `watchlist_events` to a user's watchers.
    pub(super) fn notify_watchers(
        &self,
        app: &AppId,
        user: &UserId,
        online: bool,
        watchers: &Audience<'_>,
    ) {
        if watchers.is_empty() {
            return;
        }
        let users = std::slice::from_ref(user);
        let (online, offline) = if online {
            (users, &[][..])
        } else {
            (&[][..], users)
        };
        let frame = ServerFrame::WatchlistEvents { online, offline }.encode();
        let channel = ChannelName::watchers_of(user);
        self.send(app, &channel, Outgoing::all(&frame), watchers);
    }

    /// Closes the connections that are signed in as a user.
    pub(super) fn terminate(&self, app: &AppId, user: &UserId, connections: &Audience<'_>) {
        for worker in connections.workers() {
            let (app, channel) = (app.clone(), ChannelName::connections_of(user));
            let code = CloseCode::Terminated;
            self.inboxes.post(
                worker,
                WorkerCommand::CloseSubscribers { app, channel, code },
            );
        }
    }

    /// Ends the subscriptions of members for whom a channel has no place any more.
    pub(super) fn refuse_members(
        &self,
        app: &AppId,
        channel: &ChannelName,
        users: &Arc<[UserId]>,
        audience: &Audience<'_>,
    ) {
        let number = audience.next_sequence();
        for worker in audience.workers() {
            let (app, channel, users) = (app.clone(), channel.clone(), Arc::clone(users));
            let command = WorkerCommand::RefuseMembers(app, channel, users, number);
            self.inboxes.post(worker, command);
        }
    }

    /// Waits until the inboxes have room; see [`Inboxes::wait_for_capacity`].
    pub(super) async fn wait_for_capacity(&self) {
        while self.inboxes.wait_for_capacity().await.is_err() {}
    }
}
