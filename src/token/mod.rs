//! `[apps.jwt]`: tokens (JWT, RFC 7519) that an application gives to its users, and that clients show as the `auth` of
//! a subscription or a sign-in. [`Tokens`] verifies one, [`Token`] is what it lets do.
//!
//! Knows no connection and no app. A token is never logged or sent back. Verification takes no longer than a signature
//! does, unless keys must be read first, for which only the caller waits.

mod claims;
mod crypto;
mod in_use;
mod jwks;
mod keys;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use claims::ClaimRules;
pub use in_use::TokensInUse;
pub use jsonwebtoken::{Algorithm, AlgorithmFamily};
pub use jwks::Jwks;
pub use keys::Key;

use crate::clock;
use crate::metrics::Metrics;
use crate::protocol::excerpt;
use crate::rules::ChannelPattern;
use claims::Claims;

/// The longest token, in bytes. It bounds the work for one as well, that of its patterns included.
const MAX_BYTES: usize = 8192;

/// What becomes of a connection when the token that it signed in with ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExpiry {
    /// It is closed with 4200: the client comes back at once, with a new token if it has one.
    #[default]
    Reconnect,
    /// It is closed with 4009: the client stays away.
    Close,
}

/// The keys that tokens are verified with.
#[derive(Debug)]
pub enum Keys {
    /// These.
    Fixed(Arc<[Key]>),
    /// Those at a URL.
    Fetched(Arc<Jwks>),
}

/// The tokens that an app accepts.
#[derive(Debug)]
pub struct Tokens {
    keys: Keys,
    algorithms: Vec<Algorithm>,
    claims: ClaimRules,
    /// What becomes of a connection when its token ends.
    pub on_expiry: OnExpiry,
}

/// What a verified token lets do.
pub struct Token {
    channels: Vec<ChannelPattern>,
    /// Who the user is; else what is missing.
    user: Result<Box<RawValue>, Fault>,
    info: Option<Box<RawValue>>,
    watchlist: Option<Box<RawValue>>,
    /// When it was verified.
    verified: Instant,
    /// How long from then on it counts; none: for ever.
    lasts: Option<Duration>,
}

/// What is wrong with a token. The texts are told to whoever sent it, and show nothing that is not in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a JWT.
    #[error("auth has no colon, as key:signature has, and is no JWT either: {0}")]
    Format(String),
    /// More than any token needs.
    #[error("the token has {0} bytes, allowed are {MAX_BYTES}")]
    TooLong(usize),
    /// `none`, one that is not known, or one that the app does not allow.
    #[error("the token's algorithm {given} is not allowed: expected one of {allowed}")]
    Algorithm {
        /// What its header says, cut.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// No key of the app has its key id and is for its algorithm; how many seconds ago the keys of `jwks_url` were read.
    #[error(
        "no key of the app has the key id and the algorithm of the token{}",
        .0.map(|age| format!(": the keys were read {age} s ago, for an unknown one at most once a minute")).unwrap_or_default()
    )]
    UnknownKey(Option<u64>),
    /// The keys could not be read, for which the server's log has the reason.
    #[error("the keys that verify tokens cannot be read now")]
    NoKeys,
    /// Signed with another key, or changed.
    #[error("the token's signature is not of a key of the app")]
    Signature,
    /// Seconds since its `exp`.
    #[error("the token expired {0} s ago")]
    Expired(u64),
    /// Seconds until its `nbf`.
    #[error("the token is valid only in {0} s")]
    NotYet(u64),
    /// A claim is missing, or not as the app expects it.
    #[error("{0}")]
    Claim(String),
}

impl Fault {
    /// What came along names somebody else.
    pub fn another_user(field: &str) -> Self {
        Self::Claim(format!("{field} names another user than the token"))
    }
}

/// The part of a token's header that decides how it is verified.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
}

impl Tokens {
    /// Takes keys, the algorithms that are allowed, and what is expected of the claims.
    pub fn new(
        keys: Keys,
        algorithms: Vec<Algorithm>,
        claims: ClaimRules,
        on_expiry: OnExpiry,
    ) -> Self {
        crypto::install();
        Self {
            keys,
            algorithms,
            claims,
            on_expiry,
        }
    }

    /// Whether a given text is one of the shared secrets.
    pub fn include(&self, given: &str) -> bool {
        let Keys::Fixed(keys) = &self.keys else {
            return false;
        };
        let secrets = keys.iter().filter_map(|key| key.secret.as_ref());
        secrets.filter(|secret| secret.equals(given)).count() > 0
    }

    /// Keeps what an earlier configuration has read.
    pub fn continue_from(&self, former: &Self) {
        if let (Keys::Fetched(now), Keys::Fetched(former)) = (&self.keys, &former.keys) {
            now.continue_from(former);
        }
    }

    /// Verifies a token. Must be called on a worker, which may read keys for it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub async fn verify(&self, token: &str, metrics: &Metrics) -> Result<Token, Fault> {
        let (algorithm, id) = self.header(token)?;
        let fits = |key: &Key| key.fits(algorithm, id.as_deref());
        let keys = match &self.keys {
            Keys::Fixed(keys) => Arc::clone(keys),
            Keys::Fetched(jwks) => jwks.keys(fits, metrics).await?,
        };
        // The library checks the signature. Its own checks of claims cannot say what they found.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let mut fault = Fault::UnknownKey(None);
        for key in keys.iter().filter(|key| fits(key)) {
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(verified) => {
                    let now = clock::since_epoch(SystemTime::now());
                    return self.claims.read(verified.claims, now);
                }
                Err(error) => fault = Fault::from(error.kind()),
            }
        }
        Err(fault)
    }

    /// Its algorithm, if it is allowed, and its key id.
    fn header(&self, token: &str) -> Result<(Algorithm, Option<String>), Fault> {
        if token.len() > MAX_BYTES {
            return Err(Fault::TooLong(token.len()));
        }
        let no_header = || Fault::Format("it does not begin with the header of one".to_owned());
        let (header, _) = token.split_once('.').ok_or_else(no_header)?;
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| no_header())?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| no_header())?;
        let algorithm = header.alg.parse().ok();
        match algorithm.filter(|algorithm| self.algorithms.contains(algorithm)) {
            Some(algorithm) => Ok((algorithm, header.kid.map(Cow::into_owned))),
            None => Err(Fault::Algorithm {
                given: excerpt(&header.alg).to_owned(),
                allowed: listed(&self.algorithms),
            }),
        }
    }
}

/// The algorithms for people.
pub fn listed(algorithms: &[Algorithm]) -> String {
    let names = algorithms.iter().map(|algorithm| format!("{algorithm:?}"));
    names.collect::<Vec<_>>().join(", ")
}

impl From<&ErrorKind> for Fault {
    fn from(kind: &ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::Json(problem) => Self::Format(format!("its JSON is damaged: {problem}")),
            ErrorKind::Base64(_) => Self::Format("its Base64 is damaged".to_owned()),
            _ => Self::Format("it does not have three parts, or has a critical header".to_owned()),
        }
    }
}

impl Token {
    /// When it ends; none: never.
    pub fn end(&self) -> Option<Instant> {
        self.verified.checked_add(self.lasts?)
    }

    /// Whether its `channels` name a channel.
    pub fn names(&self, channel: &str) -> bool {
        self.channels.iter().any(|pattern| pattern.fits(channel))
    }

    /// Its user as `channel_data` says one: `{"user_id":"7","user_info":{…}}`.
    ///
    /// # Errors
    /// It has none.
    pub fn channel_data(&self) -> Result<String, Fault> {
        let user = self.user.as_ref().map_err(Clone::clone)?;
        Ok(object(&[
            ("user_id", Some(user)),
            ("user_info", self.info.as_deref()),
        ]))
    }

    /// Its user as `user_data` says one: `{"id":"7","user_info":{…},"watchlist":[…]}`.
    ///
    /// # Errors
    /// It has none.
    pub fn user_data(&self) -> Result<String, Fault> {
        let user = self.user.as_ref().map_err(Clone::clone)?;
        Ok(object(&[
            ("id", Some(user)),
            ("user_info", self.info.as_deref()),
            ("watchlist", self.watchlist.as_deref()),
        ]))
    }
}

/// The text of a JSON object of the members that are there.
fn object(members: &[(&str, Option<&RawValue>)]) -> String {
    let members = members
        .iter()
        .filter_map(|(key, value)| value.map(|value| format!(r#""{key}":{value}"#)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
