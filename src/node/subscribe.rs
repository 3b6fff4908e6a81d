//! Subscribe and unsubscribe: the order of checks of protocol §3.14; a refusal leaves no trace.

use std::sync::Arc;

use super::connect::{Session, Subscription};
use super::held::Authorized;
use super::resume::Resuming;
use super::subscribe_error::SubscribeError;
use super::{AuthFault, Node};
use crate::adapter::{self, Subscribed, Subscriber};
use crate::app::{App, AppId};
use crate::auth;
use crate::channel_log::{LogId, Past, PastWanted};
use crate::feed::{Entry, Kind};
use crate::hub::Peer;
use crate::protocol::client::Subscribe;
use crate::protocol::{ChannelKind, ChannelName, Encoded, Member, Resumed, ServerFrame, excerpt};
use crate::rules::{Admission, WhoMaySubscribe};
use crate::token::{Fault, Token};

impl Node {
    /// Subscribes a connection: checks, registers, then sends `subscription_succeeded` and what it is to get
    /// of the channel's past (or `cache_miss`) in one step with the beginning of delivery.
    ///
    /// If a rule asks for a user or a token and none has signed in, the subscription is held: [`Node::review`] decides it
    /// later.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub async fn subscribe(
        &self,
        session: &mut Session,
        command: &Subscribe,
    ) -> Result<(), SubscribeError> {
        // Whatever comes of it: to refuse one costs as much as a signature does.
        session.take_subscribe()?;
        let channel = session.channel_name(&command.channel)?;
        session.check_new(&channel)?;
        let (member, token) = self.authorize(session, &channel, command).await?;
        session.check_room()?;
        let member = member.map(Box::new);
        let subscription = Authorized {
            channel,
            member,
            token,
        };
        let has_token = subscription.token.is_some();
        match session.admission(&subscription.channel, has_token) {
            Admission::NeedsUser => {
                session.hold(subscription);
                Ok(())
            }
            _ => self.subscribe_authorized(session, subscription).await,
        }
    }

    /// Carries out what was held and can be decided, and ends what other rules forbid. Returns the next channel that is
    /// refused, until nothing is left to do: its text is for the client.
    pub async fn review(&self, session: &mut Session) -> Option<(ChannelName, SubscribeError)> {
        if session.peer.is_to_be_reviewed() {
            let hub = session.peer.hub();
            let has_lost_place = |one: &Subscription| {
                let member = one.member.as_ref();
                member.is_some_and(|member| hub.has_lost_place(&one.slot, &member.id))
            };
            if let Some(at) = session.subscriptions.iter().position(has_lost_place) {
                let channel = session.subscriptions[at].slot.channel().clone();
                self.unsubscribe_at(session, at);
                let most = session.app().limits.presence_members;
                return Some((channel, SubscribeError::PresenceFull(most)));
            }
            let is_muted = |one: &Subscription| session.peer.hub().is_muted(&one.slot);
            if let Some(at) = session.subscriptions.iter().position(is_muted) {
                let channel = session.subscriptions[at].slot.channel().clone();
                self.unsubscribe_at(session, at);
                let error = match session.peer.transport().is_listeners() {
                    true => self.may_listen(session, &channel, None).err(),
                    false => admit(session, &channel, false).err(),
                };
                let error = error.unwrap_or_else(|| SubscribeError::RulesChanged(channel.clone()));
                return Some((channel, error));
            }
            session.peer.set_reviewed();
        }
        while let Some(held) = session.take_decidable() {
            let channel = held.channel.clone();
            if let Err(error) = self.subscribe_authorized(session, held).await {
                return Some((channel, error));
            }
        }
        None
    }

    /// Registers a subscription that its prefix allows, if its rule does.
    async fn subscribe_authorized(
        &self,
        session: &mut Session,
        Authorized {
            channel,
            member,
            token,
        }: Authorized,
    ) -> Result<(), SubscribeError> {
        admit(session, &channel, token.is_some())?;
        let member = match (channel.kind(), member, &session.user) {
            (ChannelKind::Presence, None, Some(signed_in)) => {
                Some(Box::new(signed_in.user.member.clone()))
            }
            (ChannelKind::Presence, None, None) => return Err(SubscribeError::NoMember(channel)),
            (_, member, _) => member,
        };
        let app = session.app();
        let resuming = self.resuming(session, &app, &channel).await;
        let after = resuming.as_ref().and_then(|resuming| resuming.after);
        let past = past_wanted(&app, &channel, room(&session.peer), after);
        let (at, subscribed) = self
            .register(session, &channel, (member, token.as_ref()), past)
            .await?;
        let subscription = &session.subscriptions[at];
        self.activate(session, subscription, subscribed, resuming);
        Ok(())
    }

    /// Registers a subscription with the hub and the adapter, without beginning delivery. Where it is among those of the
    /// session, and what it is to be sent first.
    pub(super) async fn register(
        &self,
        session: &mut Session,
        channel: &ChannelName,
        (member, token): (Option<Box<Member>>, Option<&Token>),
        past: PastWanted,
    ) -> Result<(usize, Subscribed), SubscribeError> {
        let app = session.app();
        self.inboxes.wait_for_capacity().await?;
        let slot = session.peer.hub().subscribe(channel, &session.peer);
        if session.subscriptions.is_empty() {
            // Many have no other.
            session.subscriptions.reserve_exact(1);
        }
        // In the list before anything is awaited: whatever ends the connection then finds it there.
        session.subscriptions.push(Subscription {
            slot,
            active: false,
            member,
        });
        let at = session.subscriptions.len() - 1;
        let subscription = &mut session.subscriptions[at];
        let subscriber = Subscriber {
            past,
            ..subscription.subscriber(&session.peer)
        };
        let subscribed = match self.adapter.subscribe(&app, channel, subscriber).await {
            Ok(subscribed) => subscribed,
            Err(error) => {
                let subscription = session.subscriptions.remove(at);
                session.peer.hub().unsubscribe(&subscription.slot);
                return Err(refused(error, &app));
            }
        };
        // After a reload meanwhile other rules hold.
        if !Arc::ptr_eq(&app, &session.app())
            && let Err(error) = admit(session, channel, token.is_some())
        {
            self.unsubscribe_at(session, at);
            return Err(error);
        }
        let subscription = &mut session.subscriptions[at];
        subscription.active = true;
        if let Some(token) = token {
            session.update_tokens(|tokens| tokens.subscribed(channel, token));
        }
        if channel.kind().needs_auth() || token.is_some() {
            session.peer.authorize();
        }
        let subscription = &session.subscriptions[at];
        self.record_in_feed(Kind::Subscribed, &app.id, session, subscription);
        Ok((at, subscribed))
    }

    /// Begins delivery to a subscription, with what it is to be told first.
    fn activate(
        &self,
        session: &Session,
        subscription: &Subscription,
        mut subscribed: Subscribed,
        mut resuming: Option<Resuming>,
    ) {
        let resumed = resuming
            .as_mut()
            .map(|resuming| resuming.outcome(&mut subscribed));
        let slot = &subscription.slot;
        let first = welcome(slot.channel(), &subscribed, resumed);
        session.peer.hub().activate(slot, subscribed.since, &first);
        if let Some(resuming) = &resuming {
            self.follow(session, slot, subscribed.at, resuming);
        }
    }

    /// Unsubscribes a connection. Never acknowledged.
    ///
    /// # Errors
    /// It was not subscribed.
    pub async fn unsubscribe(
        &self,
        session: &mut Session,
        channel: &str,
    ) -> Result<(), SubscribeError> {
        if session.forget_held(channel) {
            return Ok(());
        }
        let at = session
            .position(channel)
            .ok_or_else(|| SubscribeError::NotSubscribed(excerpt(channel).to_owned()))?;
        self.inboxes.wait_for_capacity().await?;
        self.unsubscribe_at(session, at);
        Ok(())
    }

    /// Ends one subscription: the only way there is, for a command and for a connection's end.
    pub(super) fn unsubscribe_at(&self, session: &mut Session, at: usize) {
        let subscription = session.subscriptions.swap_remove(at);
        self.let_go(session, &subscription);
        session.peer.hub().unsubscribe(&subscription.slot);
        if session.peer.has_tokens() {
            session.update_tokens(|tokens| tokens.unsubscribed(subscription.slot.channel()));
        }
        let (app, subscriber) = (session.app(), subscription.subscriber(&session.peer));
        self.record_in_feed(Kind::Unsubscribed, &app.id, session, &subscription);
        // A node that cannot tell the cluster now is reaped by the others or tells it later: nobody waits here.
        self.adapter
            .unsubscribe(&app, subscription.slot.channel(), subscriber);
    }
}

impl Node {
    /// Tells those who watch.
    fn record_in_feed(
        &self,
        kind: Kind,
        app: &AppId,
        session: &Session,
        subscription: &Subscription,
    ) {
        self.feed.record(Some(app), kind, || {
            let member = subscription.member.as_ref().map(|member| &member.id);
            let user = member.or_else(|| session.user_id());
            let ends = kind == Kind::Unsubscribed && session.peer.is_ending();
            Entry {
                socket_id: Some(session.peer.socket_id()),
                user_id: user.map(|user| user.as_str()),
                reason: ends.then(|| "the connection ended".into()),
                ..Entry::on(subscription.slot.channel().as_str())
            }
        });
    }
}

/// What a subscription is sent of its channel's past, in so many bytes; behind `after`, if it is resumed.
pub(super) fn past_wanted(
    app: &App,
    channel: &ChannelName,
    most_bytes: usize,
    after: Option<LogId>,
) -> PastWanted {
    let policy = app.policy(channel);
    PastWanted {
        cache: policy.cache,
        rewind: policy.rewind,
        after,
        most_bytes,
    }
}

/// How many bytes of the past a connection has room for. The rest is for what comes meanwhile.
pub(super) fn room(peer: &Peer) -> usize {
    let limit = peer.hub().outbox_limit();
    limit.saturating_sub(peer.outbox_bytes()) / 2
}

/// Why the adapter does not take a subscription.
fn refused(error: adapter::Error, app: &App) -> SubscribeError {
    match error {
        adapter::Error::PresenceFull => SubscribeError::PresenceFull(app.limits.presence_members),
        adapter::Error::Overloaded(full) => SubscribeError::Overloaded(full),
        adapter::Error::Unreachable(why) => SubscribeError::Unreachable(why),
        // Subscriptions have none.
        adapter::Error::Key(_, why) => SubscribeError::Unreachable(why.to_string().into()),
    }
}

/// What the joiner is told before anything else of the channel.
fn welcome(
    channel: &ChannelName,
    subscribed: &Subscribed,
    resumed: Option<Resumed>,
) -> Vec<Encoded> {
    let succeeded = match channel.kind() {
        ChannelKind::Presence => ServerFrame::PresenceSucceeded {
            channel,
            members: &subscribed.members,
            resumed,
        },
        _ => ServerFrame::SubscriptionSucceeded { channel, resumed },
    };
    let mut frames = vec![succeeded.encode()];
    frames.extend(cached(channel, &subscribed.past));
    let events = &subscribed.past.events;
    frames.extend(events.iter().map(|event| event.frame.clone()));
    frames
}

/// What a cache channel repeats, or that there is nothing to repeat.
pub(super) fn cached(channel: &ChannelName, past: &Past) -> Option<Encoded> {
    let last_event = past.last_event.as_ref().map(|last| ServerFrame::Event {
        channel,
        event: &last.event,
        data: &last.data,
        user_id: None,
    });
    let is_miss = past.is_cache_miss && channel.is_cache();
    let cached = last_event.or_else(|| is_miss.then_some(ServerFrame::CacheMiss { channel }));
    cached.map(|frame| frame.encode())
}

impl Session {
    /// Refuses a channel that the connection is subscribed to, or waits for.
    pub(super) fn check_new(&self, channel: &ChannelName) -> Result<(), SubscribeError> {
        let name = channel.as_str();
        match self.position(name).is_some() || self.holds(name) {
            true => Err(SubscribeError::Existing(channel.clone())),
            false => Ok(()),
        }
    }

    /// Refuses one more than the app allows.
    pub(super) fn check_room(&self) -> Result<(), SubscribeError> {
        let most = self.app().limits.channels_per_connection;
        match self.subscriptions_and_held() >= most {
            true => Err(SubscribeError::TooManyChannels(most)),
            false => Ok(()),
        }
    }

    /// What the rule of a channel says to the connection now; `has_token`: it shows a token for the channel, on which
    /// nothing rests yet.
    pub(super) fn admission(&self, channel: &ChannelName, has_token: bool) -> Admission {
        let app = self.app();
        self.peer
            .admission(channel, &app.policy(channel), has_token)
    }

    /// After another sign-in: has what its token does not name any more ended by [`Node::review`].
    pub(super) fn mute_forbidden(&self) {
        for Subscription { slot, .. } in &self.subscriptions {
            let is_admitted = self.admission(slot.channel(), false) == Admission::Admitted;
            if !is_admitted || !may_stay(&self.peer, slot.channel()) {
                self.peer.hub().mute(slot);
                self.peer.set_to_be_reviewed();
            }
        }
    }
}

/// Whether the prefix of a channel lets a connection stay after another sign-in. A listener's tokens are all that lets it
/// in; other subscriptions rest on an `auth` of their own.
fn may_stay(peer: &Peer, channel: &ChannelName) -> bool {
    let rests_on_tokens = peer.transport().is_listeners() && channel.kind().needs_auth();
    !rests_on_tokens || peer.is_trusted() || peer.with_tokens(|tokens| tokens.names(channel))
}

/// Whether the rule of a channel lets the connection in now.
pub(super) fn admit(
    session: &Session,
    channel: &ChannelName,
    has_token: bool,
) -> Result<(), SubscribeError> {
    let channel = channel.clone();
    Err(match session.admission(&channel, has_token) {
        Admission::Admitted => return Ok(()),
        Admission::NeedsUser => match session.app().policy(&channel).subscribe {
            WhoMaySubscribe::Token => SubscribeError::NeedsToken(channel),
            subscribe => SubscribeError::NotSignedIn { channel, subscribe },
        },
        Admission::OtherUser => SubscribeError::OtherUser(channel),
        Admission::NeedsToken if session.peer.with_tokens(|tokens| tokens.has_sign_in()) => {
            SubscribeError::TokenChannel(channel)
        }
        Admission::NeedsToken => SubscribeError::NeedsToken(channel),
        Admission::Nobody => SubscribeError::Nobody(channel),
    })
}

impl Node {
    /// Whether the connection may; who it is on a presence channel; the token, if that is why.
    async fn authorize(
        &self,
        session: &Session,
        channel: &ChannelName,
        command: &Subscribe,
    ) -> Result<(Option<Member>, Option<Token>), SubscribeError> {
        match channel.kind() {
            // Stock clients send none for such a name; the token of the sign-in counts then.
            ChannelKind::Public if command.auth.is_none() || !needs_token(session, channel) => {
                Ok((None, None))
            }
            ChannelKind::ServerToUser => {
                let own = session
                    .user
                    .as_ref()
                    .map(|signed_in| signed_in.user.member.id.as_str());
                let is_own = own.is_some() && own == channel.server_to_user_id();
                if is_own {
                    Ok((None, None))
                } else {
                    Err(SubscribeError::OtherUser(channel.clone()))
                }
            }
            ChannelKind::Public | ChannelKind::Private | ChannelKind::Encrypted => Ok((
                None,
                self.check_subscription(session, channel, command).await?,
            )),
            ChannelKind::Presence => {
                let token = self.check_subscription(session, channel, command).await?;
                let member = match &token {
                    Some(token) => Some(member_of(session, token, command)?),
                    None => {
                        // Explicit member data wins; a signed-in connection may leave it out.
                        let data = command.channel_data.as_deref();
                        let most = session.app().limits.presence_member_bytes;
                        data.map(|data| Member::parse(data, most)).transpose()?
                    }
                };
                Ok((member, token))
            }
            // Internal names do not parse; nobody gets here with one.
            ChannelKind::Internal => Err(SubscribeError::OtherUser(channel.clone())),
        }
    }

    async fn check_subscription(
        &self,
        session: &Session,
        channel: &ChannelName,
        command: &Subscribe,
    ) -> Result<Option<Token>, SubscribeError> {
        let given = command
            .auth
            .as_deref()
            .ok_or_else(|| SubscribeError::AuthRequired(channel.clone()))?;
        if given.contains(':') && needs_token(session, channel) {
            return Err(SubscribeError::NeedsToken(channel.clone()));
        }
        let data = command.channel_data.as_deref();
        let expected = || auth::channel_string(session.peer.socket_id(), channel.as_str(), data);
        let checked = self.check_auth(&session.app(), given, expected).await;
        let token = checked.map_err(|fault| match fault {
            AuthFault::Format => SubscribeError::AuthFormat(channel.clone()),
            AuthFault::Key(key) => SubscribeError::AuthKey(key),
            AuthFault::Signature { expected, got } => SubscribeError::Signature { expected, got },
            AuthFault::Token(fault) => SubscribeError::Token(fault),
        })?;
        match token {
            Some(token) if !token.names(channel.as_str()) => {
                Err(SubscribeError::TokenChannel(channel.clone()))
            }
            token => Ok(token),
        }
    }
}

/// Whether a token is what authorises a subscription to the channel, and no signature does.
fn needs_token(session: &Session, channel: &ChannelName) -> bool {
    session.app().policy(channel).subscribe == WhoMaySubscribe::Token
}

/// The token's user. `channel_data`, which pusher-js needs to know who it is, must name the same one.
fn member_of(
    session: &Session,
    token: &Token,
    command: &Subscribe,
) -> Result<Member, SubscribeError> {
    let max_bytes = session.app().limits.presence_member_bytes;
    let user = token.channel_data().map_err(SubscribeError::Token)?;
    let member = Member::parse(&user, max_bytes)?;
    if let Some(data) = &command.channel_data
        && Member::parse(data, max_bytes)?.id != member.id
    {
        return Err(SubscribeError::Token(Fault::another_user("channel_data")));
    }
    Ok(member)
}
