//! Subscribe and unsubscribe: the order of checks of protocol §3.14; a refusal leaves no trace.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::connect::{Session, Subscription};
use super::held::Authorized;
use super::rates::ConnectionRate;
use super::{AuthFault, Node, check_auth};
use crate::adapter::{self, Subscribed};
use crate::app::AppId;
use crate::auth;
use crate::feed::{Entry, Kind};
use crate::hub::inbox::InboxFull;
use crate::metrics::SubscriptionRefused;
use crate::protocol::channel::InvalidChannelName;
use crate::protocol::client::Subscribe;
use crate::protocol::user::InvalidUser;
use crate::protocol::{ChannelKind, ChannelName, Encoded, ErrorCode, Member, ServerFrame, excerpt};
use crate::rules::{Admission, WhoMaySubscribe};

/// Why a subscription is refused, or an unsubscription. The texts are the real service's where they are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// Not a channel name.
    #[error("Invalid channel name {name:?}: {reason}")]
    Name {
        /// The text, cut.
        name: String,
        /// The rule.
        reason: InvalidChannelName,
    },
    /// Subscribed already; the first subscription stays.
    #[error("Existing subscription to channel {0}")]
    Existing(ChannelName),
    /// Nothing to unsubscribe from.
    #[error("No current subscription to channel {0}, or subscription in progress")]
    NotSubscribed(String),
    /// A private or presence channel without `auth`.
    #[error("Auth info required to subscribe to {0}")]
    AuthRequired(ChannelName),
    /// `auth` has no colon.
    #[error("Auth value for subscription to {0} is invalid: should be of format 'key:signature'")]
    AuthFormat(ChannelName),
    /// `auth` names another app's key.
    #[error("Invalid key in subscription auth data: '{0}'")]
    AuthKey(String),
    /// `auth` is signed wrongly.
    #[error("Invalid signature: Expected HMAC SHA256 hex digest of {expected}, but got {got}")]
    Signature {
        /// What should have been signed, cut.
        expected: String,
        /// What came.
        got: String,
    },
    /// A presence channel without member data, on a connection that is not signed in.
    #[error("{0} is a presence channel and subscription must include channel_data")]
    NoMember(ChannelName),
    /// Member data that is no member's.
    #[error(transparent)]
    Member(#[from] InvalidUser),
    /// A rule lets only those in who have signed in, and the connection has not.
    #[error(
        "{channel} is for connections that have signed in (subscribe = \"{}\" in the app's channel rules), and this one has not",
        subscribe.name()
    )]
    NotSignedIn {
        /// The channel.
        channel: ChannelName,
        /// What the rule says.
        subscribe: WhoMaySubscribe,
    },
    /// A rule lets only those in who have a token.
    #[error(
        "{0} needs a token (subscribe = \"token\" in the app's channel rules): a JWT that names the channel, not key:signature"
    )]
    NeedsToken(ChannelName),
    /// A rule lets nobody in.
    #[error("{0} takes no subscriptions (subscribe = \"nobody\" in the app's channel rules)")]
    Nobody(ChannelName),
    /// The rules forbade it for a moment.
    #[error("The app's rules for {0} have changed meanwhile: subscribe again")]
    RulesChanged(ChannelName),
    /// Another user's `#server-to-user-` channel, or one that is another user's by a rule.
    #[error("{0} is only for the connections signed in as that user")]
    OtherUser(ChannelName),
    /// The presence channel has as many members as the app allows.
    #[error("The presence channel is full: the limit is {0} members")]
    PresenceFull(usize),
    /// The connection has as many subscriptions as the app allows.
    #[error("The connection has too many subscriptions: the limit is {0} channels")]
    TooManyChannels(usize),
    /// Too many in a second.
    #[error("Too many subscriptions: the connection may subscribe {0} times per second")]
    TooFast(NonZeroU32),
    /// The server cannot take it now.
    #[error(transparent)]
    Overloaded(#[from] InboxFull),
    /// The cluster cannot take it now.
    #[error("{0}")]
    Unreachable(Arc<str>),
}

/// `type` and `status` of a `pusher:subscription_error`.
type ErrorFrame = Option<(&'static str, u16)>;

const AUTH: ErrorFrame = Some(("AuthError", 401));
const INVALID: ErrorFrame = Some(("InvalidRequest", 400));
const LIMIT: ErrorFrame = Some(("LimitReached", 403));
const TOO_FAST: ErrorFrame = Some(("LimitReached", 429));
const TOO_LARGE: ErrorFrame = Some(("LimitReached", 413));
const SERVER: ErrorFrame = Some(("ServerError", 503));
/// Nothing failed that anybody waits for.
const NOBODY_WAITS: ErrorFrame = None;

impl SubscribeError {
    /// The same as metrics and logs name it.
    #[must_use]
    pub fn reason(&self) -> SubscriptionRefused {
        self.named().0
    }

    /// `type` and `status` of a `pusher:subscription_error`; none where nothing failed that anybody waits for.
    #[must_use]
    pub fn kind(&self) -> Option<(&'static str, u16)> {
        self.named().1
    }

    /// `pusher:error` code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooFast(_) => ErrorCode::TooFast,
            _ => ErrorCode::None,
        }
    }

    fn named(&self) -> (SubscriptionRefused, ErrorFrame) {
        use InvalidUser::{IdTooLong, MemberTooLarge};
        use SubscriptionRefused as Refused;
        match self {
            Self::Name {
                reason: InvalidChannelName::TooLong { .. },
                ..
            } => (Refused::ChannelName, TOO_LARGE),
            Self::Name { .. } => (Refused::ChannelName, INVALID),
            Self::Existing(_) => (Refused::Existing, NOBODY_WAITS),
            Self::NotSubscribed(_) => (Refused::NotSubscribed, NOBODY_WAITS),
            Self::AuthRequired(_) => (Refused::AuthMissing, AUTH),
            Self::AuthFormat(_) => (Refused::AuthFormat, AUTH),
            Self::AuthKey(_) => (Refused::AuthKey, AUTH),
            Self::Signature { .. } => (Refused::Signature, AUTH),
            Self::NoMember(_) => (Refused::NoMember, AUTH),
            Self::Member(MemberTooLarge { .. } | IdTooLong { .. }) => {
                (Refused::MemberTooLarge, TOO_LARGE)
            }
            Self::Member(_) => (Refused::Member, INVALID),
            Self::NotSignedIn { .. } => (Refused::NotSignedIn, AUTH),
            Self::NeedsToken(_) => (Refused::NeedsToken, AUTH),
            Self::Nobody(_) => (Refused::Nobody, AUTH),
            Self::RulesChanged(_) => (Refused::RulesChanged, AUTH),
            Self::OtherUser(_) => (Refused::OtherUser, AUTH),
            Self::PresenceFull(_) => (Refused::PresenceFull, LIMIT),
            Self::TooManyChannels(_) => (Refused::TooManyChannels, LIMIT),
            Self::TooFast(_) => (Refused::TooFast, TOO_FAST),
            Self::Overloaded(_) => (Refused::Overloaded, SERVER),
            Self::Unreachable(_) => (Refused::Unreachable, SERVER),
        }
    }
}

impl Node {
    /// Subscribes a connection: checks, registers, then sends `subscription_succeeded` and a cache channel's last
    /// event (or `cache_miss`) in one step with the beginning of delivery.
    ///
    /// If a rule asks for a user and none has signed in, the subscription is held: [`Node::review`] decides it later.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub async fn subscribe(
        &self,
        session: &mut Session,
        command: &Subscribe,
    ) -> Result<(), SubscribeError> {
        let app = session.app();
        let limits = &app.limits;
        // Whatever comes of it: to refuse one costs as much as a signature does.
        if let Some(limit) = limits.subscribes_per_second
            && !session.take(ConnectionRate::Subscribes, limit.get())
        {
            return Err(SubscribeError::TooFast(limit));
        }
        let channel = parse_name(&command.channel, limits.channel_name_length)?;
        if session.position(channel.as_str()).is_some() || session.holds(channel.as_str()) {
            return Err(SubscribeError::Existing(channel));
        }
        let member = authorize(session, &channel, command)?;
        if session.subscriptions_and_held() >= limits.channels_per_connection {
            return Err(SubscribeError::TooManyChannels(
                limits.channels_per_connection,
            ));
        }
        let member = member.map(Box::new);
        let subscription = Authorized { channel, member };
        match admission(session, &subscription.channel) {
            Admission::NeedsUser => {
                session.hold(subscription);
                Ok(())
            }
            _ => self.enter(session, subscription).await,
        }
    }

    /// Carries out what was held and can be decided, and ends what other rules forbid. Returns the next channel that is
    /// refused, until nothing is left to do: its text is for the client.
    pub async fn review(&self, session: &mut Session) -> Option<(ChannelName, SubscribeError)> {
        if session.peer.is_to_be_reviewed() {
            let is_muted = |one: &Subscription| session.peer.hub().is_muted(&one.slot);
            if let Some(at) = session.subscriptions.iter().position(is_muted) {
                let channel = session.subscriptions[at].slot.channel().clone();
                self.unsubscribe_at(session, at).await;
                let error = admit(session, &channel).err();
                let error = error.unwrap_or_else(|| SubscribeError::RulesChanged(channel.clone()));
                return Some((channel, error));
            }
            session.peer.set_reviewed();
        }
        while let Some(held) = session.take_decidable() {
            let channel = held.channel.clone();
            if let Err(error) = self.enter(session, held).await {
                return Some((channel, error));
            }
        }
        None
    }

    /// Registers a subscription that its prefix allows, if its rule does.
    async fn enter(
        &self,
        session: &mut Session,
        Authorized { channel, member }: Authorized,
    ) -> Result<(), SubscribeError> {
        admit(session, &channel)?;
        let member = match (channel.kind(), member, &session.user) {
            (ChannelKind::Presence, None, Some(signed_in)) => {
                Some(Box::new(signed_in.user.member.clone()))
            }
            (ChannelKind::Presence, None, None) => return Err(SubscribeError::NoMember(channel)),
            (_, member, _) => member,
        };
        let app = session.app();
        self.inboxes.wait_for_capacity().await?;

        let slot = session.peer.hub().subscribe(&channel, &session.peer);
        // In the list before anything is awaited: whatever ends the connection then finds it there.
        session.subscriptions.push(Subscription {
            slot,
            active: false,
            member,
        });
        let at = session.subscriptions.len() - 1;
        let subscription = &mut session.subscriptions[at];
        let subscriber = subscription.subscriber(&session.peer);
        let subscribed = match self.adapter.subscribe(&app, &channel, subscriber).await {
            Ok(subscribed) => subscribed,
            Err(error) => {
                let subscription = session.subscriptions.remove(at);
                session.peer.hub().unsubscribe(&subscription.slot);
                return Err(match error {
                    adapter::Error::PresenceFull => {
                        SubscribeError::PresenceFull(app.limits.presence_members)
                    }
                    adapter::Error::Overloaded(full) => SubscribeError::Overloaded(full),
                    adapter::Error::Unreachable(why) => SubscribeError::Unreachable(why),
                    // Subscriptions have none.
                    adapter::Error::Key(_, why) => {
                        SubscribeError::Unreachable(why.to_string().into())
                    }
                });
            }
        };
        // After a reload meanwhile other rules hold.
        if !Arc::ptr_eq(&app, &session.app())
            && let Err(error) = admit(session, &channel)
        {
            self.unsubscribe_at(session, at).await;
            return Err(error);
        }
        let subscription = &mut session.subscriptions[at];
        subscription.active = true;
        session.peer.hub().activate(
            &subscription.slot,
            subscribed.since,
            &welcome(&channel, &subscribed),
        );
        if channel.kind().needs_auth() {
            session.peer.authorize();
        }
        let subscription = &session.subscriptions[at];
        self.record_in_feed(Kind::Subscribed, &app.id, session, subscription);
        Ok(())
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
        if session.release(channel) {
            return Ok(());
        }
        let at = session
            .position(channel)
            .ok_or_else(|| SubscribeError::NotSubscribed(excerpt(channel).to_owned()))?;
        self.inboxes.wait_for_capacity().await?;
        self.unsubscribe_at(session, at).await;
        Ok(())
    }

    /// Ends one subscription: the only way there is, for a command and for a connection's end.
    pub(super) async fn unsubscribe_at(&self, session: &mut Session, at: usize) {
        let subscription = session.subscriptions.swap_remove(at);
        session.peer.hub().unsubscribe(&subscription.slot);
        let (app, subscriber) = (session.app(), subscription.subscriber(&session.peer));
        self.record_in_feed(Kind::Unsubscribed, &app.id, session, &subscription);
        // A node that cannot tell the cluster now is reaped by the others or tells it later: nobody waits here.
        let _ = self
            .adapter
            .unsubscribe(&app, subscription.slot.channel(), subscriber)
            .await;
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

fn parse_name(text: &str, max_len: usize) -> Result<ChannelName, SubscribeError> {
    ChannelName::parse(text, max_len).map_err(|reason| SubscribeError::Name {
        name: excerpt(text).to_owned(),
        reason,
    })
}

/// What the joiner is told before anything else of the channel.
fn welcome(channel: &ChannelName, subscribed: &Subscribed) -> Vec<Encoded> {
    let succeeded = match channel.kind() {
        ChannelKind::Presence => ServerFrame::PresenceSucceeded {
            channel,
            members: &subscribed.members,
        },
        _ => ServerFrame::SubscriptionSucceeded { channel },
    };
    let mut frames = vec![succeeded.encode()];
    if channel.is_cache() {
        let cached = match &subscribed.last_event {
            Some(last) => ServerFrame::Event {
                channel,
                event: &last.event,
                data: &last.data,
                user_id: None,
            },
            None => ServerFrame::CacheMiss { channel },
        };
        frames.push(cached.encode());
    }
    frames
}

/// What the rule of a channel says to the connection now.
fn admission(session: &Session, channel: &ChannelName) -> Admission {
    let user = session.user_id().map(|user| user.as_str());
    session.app().policy(channel).admission(channel, user)
}

/// Whether the rule of a channel lets the connection in now.
fn admit(session: &Session, channel: &ChannelName) -> Result<(), SubscribeError> {
    let channel = channel.clone();
    Err(match admission(session, &channel) {
        Admission::Admitted => return Ok(()),
        Admission::NeedsUser => SubscribeError::NotSignedIn {
            subscribe: session.app().policy(&channel).subscribe,
            channel,
        },
        Admission::OtherUser => SubscribeError::OtherUser(channel),
        Admission::NeedsToken => SubscribeError::NeedsToken(channel),
        Admission::Nobody => SubscribeError::Nobody(channel),
    })
}

/// Whether the channel's prefix allows it to the connection; as whom it joins a presence channel, if it says so.
fn authorize(
    session: &Session,
    channel: &ChannelName,
    command: &Subscribe,
) -> Result<Option<Member>, SubscribeError> {
    match channel.kind() {
        ChannelKind::Public => Ok(None),
        ChannelKind::ServerToUser => {
            let own = session.user_id().map(|user| user.as_str());
            if own.is_some() && own == channel.server_to_user_id() {
                Ok(None)
            } else {
                Err(SubscribeError::OtherUser(channel.clone()))
            }
        }
        ChannelKind::Private | ChannelKind::Encrypted => {
            check(session, channel, command)?;
            Ok(None)
        }
        ChannelKind::Presence => {
            check(session, channel, command)?;
            // Explicit member data wins; a signed-in connection may leave it out.
            let data = command.channel_data.as_deref();
            let most = session.app().limits.presence_member_bytes;
            Ok(data.map(|data| Member::parse(data, most)).transpose()?)
        }
        // Internal names do not parse; nobody gets here with one.
        ChannelKind::Internal => Err(SubscribeError::OtherUser(channel.clone())),
    }
}

fn check(
    session: &Session,
    channel: &ChannelName,
    command: &Subscribe,
) -> Result<(), SubscribeError> {
    let given = command
        .auth
        .as_deref()
        .filter(|auth| !auth.is_empty())
        .ok_or_else(|| SubscribeError::AuthRequired(channel.clone()))?;
    let data = command.channel_data.as_deref();
    let expected = auth::channel_string(session.peer.socket_id(), channel.as_str(), data);
    check_auth(&session.app(), given, &expected).map_err(|fault| match fault {
        AuthFault::Format => SubscribeError::AuthFormat(channel.clone()),
        AuthFault::Key(key) => SubscribeError::AuthKey(key),
        AuthFault::Signature { expected, got } => SubscribeError::Signature { expected, got },
    })
}
