//! What clients without a library ask for, in their query and headers: channels, and a token or a backend's API token;
//! and how they are told why they do not get it. Server-Sent Events and plain WebSockets have it in common.

use std::collections::HashSet;

use actix_http::RequestHead;
use actix_http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;

use super::commands::Commands;
use crate::auth;
use crate::metrics::RequestRefused;
use crate::net::Client;
use crate::node::{
    ApiTokenRefused, ApiTokens, Refusal, SigninError, SubscribeError, Token, TokenFault,
};
use crate::protocol::{CloseCode, ErrorCode, SseStyle, excerpt};

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Unchecked, each once.
    pub(super) channels: Vec<String>,
    pub(super) style: SseStyle,
    /// Where to go on: the header `Last-Event-ID`, else the parameter.
    pub(super) last_event_id: Option<String>,
    token: Option<String>,
    bearer: Option<String>,
}

impl Wish {
    /// Reads it.
    ///
    /// # Errors
    /// Says what was expected.
    pub(super) fn of(head: &RequestHead) -> Result<Self, String> {
        let mut wish = Self::default();
        let read = |text| percent_decode_str(text).decode_utf8_lossy();
        let query = head.uri.query().unwrap_or_default();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = read(value);
            match &*read(key) {
                "channels" => {
                    let names = value.split(',').filter(|name| !name.is_empty());
                    wish.channels.extend(names.map(str::to_owned));
                }
                // As it is: a name may hold a comma.
                "channel" => wish.channels.push(value.into_owned()),
                "token" => wish.token = Some(value.into_owned()),
                "last_event_id" => wish.last_event_id = Some(value.into_owned()),
                "wrap" => {
                    wish.style = match &*value {
                        "1" => SseStyle::Wrapped,
                        "0" => SseStyle::Named,
                        _ => return Err("wrap should be 1 or 0".to_owned()),
                    }
                }
                _ => {}
            }
        }
        let mut seen = HashSet::new();
        if let Some(twice) = wish.channels.iter().find(|name| !seen.insert(*name)) {
            return Err(format!("The channel {:?} is named twice", excerpt(twice)));
        }
        let header = |name: &str| head.headers.get(name)?.to_str().ok();
        if let Some(id) = header("last-event-id").filter(|id| !id.is_empty()) {
            wish.last_event_id = Some(id.to_owned());
        }
        let bearer = header(AUTHORIZATION.as_str()).and_then(auth::bearer_token);
        wish.bearer = bearer.map(str::to_owned);
        Ok(wish)
    }

    /// Whether it comes with anything that proves something.
    pub(super) fn has_credentials(&self) -> bool {
        self.token.is_some() || self.bearer.is_some()
    }
}

/// Why somebody does not get what is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// As an HTTP status.
    pub(super) status: u16,
    /// What to do about it.
    pub(super) text: String,
}

impl Refused {
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    /// Whether it may be otherwise in a moment.
    pub(super) fn is_temporary(&self) -> bool {
        self.status == 503
    }

    /// The close code of a WebSocket that nothing can be done with.
    pub(super) fn close_code(&self) -> CloseCode {
        match self.is_temporary() {
            true => CloseCode::TooFast,
            false => CloseCode::Unauthorized,
        }
    }
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Self {
        let status = match refusal.code {
            CloseCode::UnknownApp | CloseCode::PathNotFound => 404,
            CloseCode::OverQuota => 429,
            CloseCode::AppDisabled | CloseCode::TlsOnly | CloseCode::OriginRefused => 403,
            // Whoever ends a connection before it has begun wants it to come back, but for the codes above.
            code if matches!(code.number(), 4100..4300) => 503,
            _ => 400,
        };
        Self::new(status, refusal.text.clone())
    }
}

impl From<&SubscribeError> for Refused {
    fn from(error: &SubscribeError) -> Self {
        use SubscribeError as Error;
        match error {
            Error::AuthRequired(channel) => Self::new(
                401,
                format!(
                    "{channel} needs a token: token= or Authorization: Bearer with a JWT that names it, or Authorization: Bearer with one of the app's api_tokens"
                ),
            ),
            Error::TokenChannel(_) | Error::OtherUser(_) | Error::Nobody(_) => {
                Self::new(403, error.to_string())
            }
            Error::Existing(_) | Error::NotSubscribed(_) | Error::TooManyChannels(_) => {
                Self::new(400, error.to_string())
            }
            Error::Name { .. } => Self::new(400, error.to_string()),
            _ => Self::new(
                error.kind().map_or(400, |(_, status)| status),
                error.to_string(),
            ),
        }
    }
}

impl From<&SigninError> for Refused {
    fn from(error: &SigninError) -> Self {
        match error {
            SigninError::Token(TokenFault::Format(why)) => {
                Self::new(401, format!("The token is no JWT: {why}"))
            }
            SigninError::Token(fault @ TokenFault::NoKeys) => Self::new(503, fault.to_string()),
            SigninError::Token(fault) => Self::new(401, format!("Invalid token: {fault}")),
            SigninError::AlreadySignedIn(_) => Self::new(403, error.to_string()),
            SigninError::TooManyConnections(_) => Self::new(429, error.to_string()),
            SigninError::Overloaded(_) => Self::new(503, error.to_string()),
            _ => Self::new(401, error.to_string()),
        }
    }
}

/// Finds out who listens, by the token or the API token of a request; the token, if it has no user who could sign in.
///
/// # Errors
/// It proves nothing.
pub(super) async fn identify(
    commands: &mut Commands,
    tokens: &ApiTokens,
    wish: &Wish,
    client: Client,
) -> Result<Option<Token>, Refused> {
    let app = commands.peer().app();
    match (&wish.bearer, &wish.token) {
        (Some(_), Some(_)) => Err(Refused::new(
            400,
            "The request has two tokens: send it as token= or as Authorization: Bearer",
        )),
        (None, None) => Ok(None),
        (Some(bearer), None) if ApiTokens::is_known(&app, bearer) || !is_like_jwt(bearer) => {
            let Err(refused) = tokens.check(&app, bearer, client) else {
                commands.peer().trust();
                return Ok(None);
            };
            Err(refuse_api_token(commands, refused, bearer))
        }
        (Some(token), None) | (None, Some(token)) => show_token(commands, token).await,
    }
}

/// Takes a JWT; the token itself, if it has no user who could sign in.
pub(super) async fn show_token(
    commands: &mut Commands,
    token: &str,
) -> Result<Option<Token>, Refused> {
    let shown = commands.node.show_token(&mut commands.session, token).await;
    shown.map_err(|error| {
        commands.log(
            |tallies| &tallies.signins,
            error.reason(),
            ErrorCode::None,
            None,
        );
        secret(commands, token).unwrap_or_else(|| Refused::from(&error))
    })
}

fn is_like_jwt(text: &str) -> bool {
    text.split('.').count() == 3
}

fn refuse_api_token(commands: &Commands, refused: ApiTokenRefused, given: &str) -> Refused {
    let (reason, status, text) = match refused {
        ApiTokenRefused::Plain => (
            RequestRefused::PlainToken,
            403,
            "API tokens are refused over plain HTTP from beyond loopback: anybody on the way could read them. Use TLS, or set allow_plain_tokens = true in [server]",
        ),
        ApiTokenRefused::Wrong => (
            RequestRefused::Token,
            401,
            "The token of Authorization is neither a JWT nor one of the app's api_tokens",
        ),
        ApiTokenRefused::TooMany(_) => (
            RequestRefused::TooManyTokens,
            429,
            "That is not an API token of the app, and too many wrong ones came from your address",
        ),
    };
    commands.log(|tallies| &tallies.requests, reason, ErrorCode::None, None);
    let told = || Refused::new(status, text);
    if refused == ApiTokenRefused::Plain {
        return told();
    }
    secret(commands, given).unwrap_or_else(told)
}

/// Says so if what was sent as a token is a secret.
fn secret(commands: &Commands, given: &str) -> Option<Refused> {
    let apps = commands.node.apps();
    let app = apps.by_secret(given)?;
    Some(Refused::new(
        401,
        format!(
            "That is a secret or an API token of app {}, not a JWT. A secret must never be sent, and an API token in the header Authorization only. Whoever saw this request may know it now: replace it",
            app.id
        ),
    ))
}

#[cfg(test)]
mod tests {
    use actix_http::Uri;
    use actix_http::header::{HeaderName, HeaderValue};

    use super::*;

    fn wish(query: &str, headers: &[(&'static str, &str)]) -> Result<Wish, String> {
        let mut head = RequestHead::default();
        head.uri = format!("/sse/k?{query}").parse::<Uri>().unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            head.headers.insert(HeaderName::from_static(name), value);
        }
        Wish::of(&head)
    }

    #[test]
    fn what_is_asked_for() {
        let names = |query| wish(query, &[]).unwrap().channels;
        assert_eq!(names("channels=a,b"), ["a", "b"]);
        assert_eq!(names("channels=a%2Cb&x=y&channels=c"), ["a", "b", "c"]);
        assert_eq!(names("channel=a%2Cb&channels=,c,"), ["a,b", "c"]);
        assert_eq!(names("channels=%23server-to-user-7"), ["#server-to-user-7"]);
        assert!(names("").is_empty());
        let error = wish("channels=a,b&channel=a", &[]).unwrap_err();
        assert_eq!(error, "The channel \"a\" is named twice");
        assert!(wish("channels=a&wrap=yes", &[]).is_err());
        let wrapped = wish("channels=a&wrap=1&last_event_id=7", &[]).unwrap();
        assert_eq!(wrapped.style, SseStyle::Wrapped);
        assert_eq!(wrapped.last_event_id.as_deref(), Some("7"));
        let headers = [("last-event-id", "8"), ("authorization", "Bearer t")];
        let newer = wish("last_event_id=7", &headers).unwrap();
        assert_eq!(newer.last_event_id.as_deref(), Some("8"));
        assert_eq!(newer.bearer.as_deref(), Some("t"));
        let empty = wish("last_event_id=7", &[("last-event-id", "")]).unwrap();
        assert_eq!(empty.last_event_id.as_deref(), Some("7"));
    }
}
