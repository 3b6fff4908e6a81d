//! Sign-in: a connection says who it is; then server-to-user events, termination and watchlists know it.

use std::num::NonZeroU32;

use tracing::warn;

use super::connect::{Session, SignedIn};
use super::{AuthFault, Node};
use crate::adapter::Watched;
use crate::app::App;
use crate::auth;
use crate::hub::inbox::InboxFull;
use crate::metrics::SigninRefused;
use crate::protocol::user::{InvalidUser, MAX_WATCHLIST};
use crate::protocol::{ChannelName, Encoded, ErrorCode, ServerFrame, User, UserId};
use crate::rules::{Rule, WhoMaySubscribe};
use crate::token::{Fault, Token};

/// Why a sign-in is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigninError {
    /// `auth` has no colon.
    #[error("Invalid format: auth must have the format key:signature")]
    AuthFormat,
    /// `auth` names another app's key.
    #[error("Invalid key in signin auth data: '{0}'")]
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
    #[error("Invalid token in signin auth data: {0}")]
    Token(Fault),
    /// `auth` is a token, and the app takes none.
    #[error("This app takes no tokens (JWT): it has no [apps.jwt]")]
    NoTokens,
    /// A signature without what it is of.
    #[error("Missing parameter: data.user_data")]
    NoUserData,
    /// `user_data` is nobody's.
    #[error(transparent)]
    User(#[from] InvalidUser),
    /// Somebody else is signed in here.
    #[error("The connection is already signed in as user {0}")]
    AlreadySignedIn(UserId),
    /// As many connections are signed in as the user as the app allows.
    #[error("The user has too many signed-in connections: the limit is {0}")]
    TooManyConnections(u32),
    /// The server cannot take it now.
    #[error(transparent)]
    Overloaded(#[from] InboxFull),
}

impl SigninError {
    /// The same as metrics and logs name it.
    #[must_use]
    pub fn reason(&self) -> SigninRefused {
        match self {
            Self::AuthFormat | Self::NoTokens => SigninRefused::AuthFormat,
            Self::AuthKey(_) => SigninRefused::AuthKey,
            Self::Signature { .. } => SigninRefused::Signature,
            Self::Token(fault) => token_reason!(SigninRefused, fault),
            Self::NoUserData | Self::User(_) => SigninRefused::User,
            Self::AlreadySignedIn(_) => SigninRefused::AlreadySignedIn,
            Self::TooManyConnections(_) => SigninRefused::TooManyConnections,
            Self::Overloaded(_) => SigninRefused::Overloaded,
        }
    }
}

/// What a sign-in is confirmed with beside `signin_success`.
const WATCHLIST_CUT: &str = "Only the first 100 user IDs are accepted";

impl Node {
    /// Signs a connection in and answers it; the same user again is a success without further effect, but that the
    /// sign-in then rests on the token that came with it, or on none.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub async fn sign_in(
        &self,
        session: &mut Session,
        given: &str,
        user_data: Option<String>,
    ) -> Result<(), SigninError> {
        let user_data = user_data.as_deref();
        let (user, token) = self.verify(session, given, user_data).await?;
        let of_token;
        let user_data = match (user_data, &token) {
            (Some(user_data), _) => user_data,
            (None, Some(token)) => {
                of_token = token.user_data().map_err(SigninError::Token)?;
                &of_token
            }
            (None, None) => return Err(SigninError::NoUserData),
        };
        self.sign_in_as(session, user, user_data, token).await
    }

    /// Signs a listener in as the user of its token. It is told of no other users.
    pub(super) async fn sign_in_listener(
        &self,
        session: &mut Session,
        token: Token,
        user_data: &str,
    ) -> Result<(), SigninError> {
        let mut user = User::parse(user_data, max_id_len(&session.app()))?;
        user.watchlist.clear();
        self.sign_in_as(session, user, user_data, Some(token)).await
    }

    async fn sign_in_as(
        &self,
        session: &mut Session,
        user: User,
        user_data: &str,
        token: Option<Token>,
    ) -> Result<(), SigninError> {
        let is_first = session.user.is_none();
        match &session.user {
            Some(known) if known.user.member.id == user.member.id => {
                session.peer.send(&success(user_data));
            }
            Some(other) => return Err(SigninError::AlreadySignedIn(other.user.member.id.clone())),
            None => {
                self.inboxes.wait_for_capacity().await?;
                self.sign_in_first(session, user, user_data).await?;
            }
        }
        session.update_tokens(|tokens| tokens.signed_in(token));
        if !is_first {
            session.mute_forbidden();
        }
        Ok(())
    }

    /// Signs in a connection as which nobody is signed in yet.
    async fn sign_in_first(
        &self,
        session: &mut Session,
        mut user: User,
        user_data: &str,
    ) -> Result<(), SigninError> {
        let app = session.app();
        let cut = app.watchlist && std::mem::take(&mut user.watchlist_cut);
        if !app.watchlist {
            user.watchlist.clear();
        }
        let (peer, hub) = (&session.peer, session.peer.hub());
        let connections = hub.subscribe(&ChannelName::connections_of(&user.member.id), peer);
        let watches: Vec<_> = user
            .watchlist
            .iter()
            .map(|watched| hub.subscribe(&ChannelName::watchers_of(watched), peer))
            .collect();
        // Known before anything is awaited, so that a connection's end undoes it.
        let slots = std::iter::once(connections).chain(watches).collect();
        let signed_in = session.user.insert(Box::new(SignedIn { user, slots }));
        let user = &signed_in.user;
        let Some(watched) = self.adapter.sign_in(&app, user, hub.index()).await else {
            take_user(session);
            let most = app.limits.connections_per_user.map_or(0, NonZeroU32::get);
            return Err(SigninError::TooManyConnections(most));
        };

        session.peer.set_user_id(&signed_in.user.member.id);
        session.peer.authorize();
        if signed_in.user.member.id.as_str().contains('.') {
            log_dotted_id(&app);
        }
        let mut frames = vec![success(user_data)];
        frames.extend(cut.then(watchlist_cut));
        frames.extend(watchlist_states(&signed_in.user, &watched));
        let since = |at: usize| watched.get(at).map_or(0, |state| state.since);
        for (at, slot) in signed_in.slots.iter().enumerate() {
            // The first slot is the user's own and gets the frames; the others follow the watchlist.
            let first = if at == 0 {
                std::mem::take(&mut frames)
            } else {
                Vec::new()
            };
            hub.activate(slot, at.checked_sub(1).map_or(0, since), &first);
        }
        Ok(())
    }

    /// Undoes a sign-in at the end of a connection.
    pub(super) fn sign_out(&self, session: &mut Session) {
        let Some(signed_in) = take_user(session) else {
            return;
        };
        let hub = session.peer.hub();
        // As with a subscription: the cluster learns it or reaps it.
        self.adapter
            .sign_out(&session.app(), &signed_in.user, hub.index());
    }
}

/// Takes the user off a connection, with its places in the hub.
fn take_user(session: &mut Session) -> Option<Box<SignedIn>> {
    let signed_in = session.user.take()?;
    for slot in &signed_in.slots {
        session.peer.hub().unsubscribe(slot);
    }
    Some(signed_in)
}

fn watchlist_cut() -> Encoded {
    ServerFrame::Error {
        code: ErrorCode::WatchlistTooLong,
        message: WATCHLIST_CUT,
    }
    .encode()
}

/// Who of the watchlist is online; none without a watchlist.
fn watchlist_states(user: &User, watched: &[Watched]) -> Option<Encoded> {
    let (mut online, mut offline) = (Vec::new(), Vec::new());
    for (id, state) in user.watchlist.iter().zip(watched) {
        let ids = if state.online {
            &mut online
        } else {
            &mut offline
        };
        ids.push(id.clone());
    }
    let states = ServerFrame::WatchlistEvents {
        online: &online,
        offline: &offline,
    };
    (!watched.is_empty()).then(|| states.encode())
}

fn success(user_data: &str) -> Encoded {
    let user_data = &User::read_back(user_data);
    ServerFrame::SigninSuccess { user_data }.encode()
}

/// Says once that rules for users are not for everybody who signs in.
fn log_dotted_id(app: &App) {
    let is_for_a_user = |rule: &Rule| rule.subscribe == WhoMaySubscribe::User;
    if app.rules.iter().any(is_for_a_user) {
        app.dotted_id_logged.call_once(|| {
            warn!(app.id = %app.id, "a user whose id has a \".\" has signed in: {{user_id}} in the rules of channels fits no such id");
        });
    }
}

/// How many characters `#server-to-user-` leaves of a channel's name for the id of a user.
fn max_id_len(app: &App) -> usize {
    let prefix = "#server-to-user-".len();
    app.limits.channel_name_length.saturating_sub(prefix)
}

impl Node {
    /// Who it is; the token, if one says so. `user_data` that comes with a token says nothing beyond it.
    async fn verify(
        &self,
        session: &Session,
        given: &str,
        user_data: Option<&str>,
    ) -> Result<(User, Option<Token>), SigninError> {
        let app = session.app();
        if user_data.is_none() && app.tokens_for(given).is_none() {
            return Err(SigninError::NoUserData);
        }
        let signed = || auth::user_string(session.peer.socket_id(), user_data.unwrap_or_default());
        let checked = self.check_auth(&app, given, signed).await;
        let token = checked.map_err(|fault| match fault {
            AuthFault::Format => SigninError::AuthFormat,
            AuthFault::Key(key) => SigninError::AuthKey(key),
            AuthFault::Signature { expected, got } => SigninError::Signature { expected, got },
            AuthFault::Token(fault) => SigninError::Token(fault),
        })?;
        let max = max_id_len(&app);
        let said = user_data.map(|text| User::parse(text, max)).transpose()?;
        let Some(token) = token else {
            return Ok((said.ok_or(SigninError::NoUserData)?, None));
        };
        let user_data = token.user_data().map_err(SigninError::Token)?;
        let user = User::parse(&user_data, max)?;
        match said {
            Some(other) if other.member.id != user.member.id => {
                Err(SigninError::Token(Fault::another_user("user_data")))
            }
            _ => Ok((user, Some(token))),
        }
    }
}

const _: () = assert!(MAX_WATCHLIST == 100, "WATCHLIST_CUT names the number");
