//! `SubscribeError`: why a subscription is refused or an unsubscription, as clients, metrics and logs are told.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::hub::inbox::InboxFull;
use crate::metrics::SubscriptionRefused;
use crate::protocol::channel::InvalidChannelName;
use crate::protocol::user::InvalidUser;
use crate::protocol::{ChannelName, ErrorCode};
use crate::rules::WhoMaySubscribe;
use crate::token::Fault;

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
    /// `auth` is a token, which is not valid.
    #[error("Invalid token in subscription auth data: {0}")]
    Token(Fault),
    /// The token is valid, for other channels.
    #[error("The token does not name {0}")]
    TokenChannel(ChannelName),
    /// The token of a subscription has ended, and the subscription with it.
    #[error("The token of the subscription to {0} has ended: subscribe again with a new one")]
    TokenEnded(ChannelName),
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
            Self::Token(fault @ Fault::NoKeys) => (token_reason!(Refused, fault), SERVER),
            Self::Token(fault) => (token_reason!(Refused, fault), AUTH),
            Self::TokenChannel(_) => (Refused::TokenChannel, AUTH),
            Self::TokenEnded(_) => (Refused::TokenEnded, AUTH),
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
