//! What the keys of `[[apps.channels]]` say together.

use super::raw;
use super::wrong::{Wrong, each, ensure};
use crate::rules::{ChannelPattern, Rule, Rules, USER_ID, WhoMaySubscribe};

/// The rules of an app.
pub(super) fn checked(app: &raw::App) -> Result<Rules, Wrong> {
    let has_tokens = app.jwt.is_some();
    let rules = each("channels", &app.channels, |rule| check(rule, has_tokens));
    rules.map(|_| Rules::new(app.channels.clone()))
}

fn check(rule: &Rule, has_tokens: bool) -> Result<(), Wrong> {
    let Rule {
        pattern, subscribe, ..
    } = rule;
    ensure(
        *pattern != ChannelPattern::default(),
        "match",
        || "a rule needs a match: the names that it is for, like \"invoice.{id}\"",
    )?;
    match subscribe {
        WhoMaySubscribe::User => user_is_definite(pattern),
        WhoMaySubscribe::Token => ensure(
            has_tokens,
            "subscribe",
            || "\"token\" needs [apps.jwt], which says how tokens are verified, and the app has none",
        ),
        WhoMaySubscribe::Anyone | WhoMaySubscribe::SignedIn | WhoMaySubscribe::Nobody => Ok(()),
    }
}

/// Whoever may subscribe to a user's channel must be the one user whom its name can mean.
fn user_is_definite(pattern: &ChannelPattern) -> Result<(), Wrong> {
    ensure(pattern.has_placeholder(USER_ID), "subscribe", || {
        format!(
            "\"user\" needs {{{USER_ID}}} in match, where \"{pattern}\" has none: it stands for the id of the user who may \
             subscribe"
        )
    })?;
    ensure(pattern.is_definite(USER_ID), "subscribe", || {
        format!(
            "\"user\" needs a match that names one user, and in \"{pattern}\" one name can be read as several: put a . \
             between {{{USER_ID}}} and other wildcards, and * on one side of it only"
        )
    })
}
