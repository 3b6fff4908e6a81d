//! What an app expects of the claims of a token, and what becomes of them. Pure: the time is a parameter.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Fault, Token};
use crate::protocol::excerpt;
use crate::rules::ChannelPattern;

/// The most patterns in one token.
const MAX_PATTERNS: usize = 100;

/// The claims by their names, each as its JSON text.
pub(super) type Claims = HashMap<String, Box<RawValue>>;

/// What the claims of a token must be, and which of them are used.
#[derive(Debug)]
pub struct ClaimRules {
    /// What `aud` must be or contain; none: `aud` is not checked.
    pub audience: Option<String>,
    /// What `iss` must be; none: `iss` is not checked.
    pub issuer: Option<String>,
    /// The name of the claim that holds the user.
    pub user_claim: String,
    /// The name of the claim that holds the patterns of channels.
    pub channels_claim: String,
    /// How far the clock of the issuer may differ.
    pub leeway: Duration,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
}

impl ClaimRules {
    /// What a token with these claims lets do, at a time since 1970.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn read(&self, mut claims: Claims, now: Duration) -> Result<Token, Fault> {
        claims.retain(|_, value| value.get() != "null");
        let lasts = self.lasts(&claims, now)?;
        if let Some(expected) = &self.audience {
            let found: OneOrMany = required(&claims, "aud")?;
            if !found.contains(expected) {
                return Err(differs("aud", &claims, expected));
            }
        }
        if let Some(expected) = &self.issuer {
            let found: String = required(&claims, "iss")?;
            if found != *expected {
                return Err(differs("iss", &claims, expected));
            }
        }
        Ok(Token {
            channels: self.channels(&claims)?,
            user: claims
                .remove(&self.user_claim)
                .ok_or_else(|| missing(&self.user_claim)),
            info: claims.remove("info"),
            watchlist: claims.remove("watchlist"),
            verified: Instant::now(),
            lasts,
        })
    }

    /// How long from now on it counts; none: for ever.
    fn lasts(&self, claims: &Claims, now: Duration) -> Result<Option<Duration>, Fault> {
        let now = now.as_secs_f64();
        let leeway = self.leeway.as_secs_f64();
        if let Some(begin) = optional::<f64>(claims, "nbf")?
            && begin > now + leeway
        {
            return Err(Fault::NotYet(whole_seconds(begin - now)));
        }
        let Some(end) = optional::<f64>(claims, "exp")? else {
            return match self.require_exp {
                true => Err(missing("exp")),
                false => Ok(None),
            };
        };
        if end + leeway <= now {
            return Err(Fault::Expired(whole_seconds(now - end)));
        }
        // What is further away than a duration can say is no end.
        Ok(Duration::try_from_secs_f64(end + leeway - now).ok())
    }

    fn channels(&self, claims: &Claims) -> Result<Vec<ChannelPattern>, Fault> {
        let name = &self.channels_claim;
        let given: Vec<String> = optional(claims, name)?.unwrap_or_default();
        if given.len() > MAX_PATTERNS {
            let text = format!(
                "the token's {name} has {} patterns, allowed are {MAX_PATTERNS}",
                given.len()
            );
            return Err(Fault::Claim(text));
        }
        let pattern = |text: &String| {
            ChannelPattern::parse(text).map_err(|problem| {
                let text = excerpt(text);
                Fault::Claim(format!("the token's {name}: {text:?}: {problem}"))
            })
        };
        given.iter().map(pattern).collect()
    }
}

/// `aud` is a text or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn contains(&self, text: &str) -> bool {
        match self {
            Self::One(one) => one == text,
            Self::Many(many) => many.iter().any(|one| one == text),
        }
    }
}

fn whole_seconds(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds).map_or(u64::MAX, |seconds| seconds.as_secs())
}

fn optional<T: for<'de> Deserialize<'de>>(claims: &Claims, name: &str) -> Result<Option<T>, Fault> {
    let Some(raw) = claims.get(name) else {
        return Ok(None);
    };
    let value = serde_json::from_str(raw.get());
    value.map_err(|problem| Fault::Claim(format!("the token's {name}: {problem}")))
}

fn required<T: for<'de> Deserialize<'de>>(claims: &Claims, name: &str) -> Result<T, Fault> {
    optional(claims, name)?.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Fault {
    Fault::Claim(format!("the token has no {name}"))
}

fn differs(name: &str, claims: &Claims, expected: &str) -> Fault {
    let found = claims.get(name).map_or("", |raw| raw.get());
    let found = excerpt(found);
    Fault::Claim(format!(
        "the token's {name} is {found}, expected is {expected:?}"
    ))
}
