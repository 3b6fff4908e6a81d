//! What `[[apps.channels]]` takes, and what becomes of it.

use serde::{Deserialize, Serialize, Serializer};

use super::check::{Check, Reported};
use super::raw;
use crate::rules::{ChannelPattern, Rule, Rules, USER_ID, WhoMaySubscribe};

/// The value of `match`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Match(ChannelPattern);

impl TryFrom<String> for Match {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let pattern = ChannelPattern::parse(&text);
        pattern.map(Self).map_err(|problem| {
            format!(
                "expected a pattern like \"user.{{user_id}}.invoices\" or \"private-*\", found {text:?}: {problem}"
            )
        })
    }
}

impl Serialize for Match {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// The rules of the app that stands `at` a path.
pub(super) fn built(
    app: &raw::App,
    at: &str,
    check: &mut Check<'_, '_>,
) -> Result<Rules, Reported> {
    let mut rules = Vec::new();
    for (index, raw) in app.channels.iter().enumerate() {
        let at = |key: &str| format!("{at}.channels.{index}.{key}");
        let pattern = raw.pattern.as_ref().ok_or_else(|| {
            let text = "a rule needs a match: the names that it is for, like \"invoice.{id}\"";
            check.report(&at("match"), text)
        })?;
        if raw.subscribe == WhoMaySubscribe::User {
            user_is_definite(&pattern.0).map_err(|text| check.report(&at("subscribe"), text))?;
        }
        if raw.subscribe == WhoMaySubscribe::Token && app.jwt.is_none() {
            let text = "\"token\" needs [apps.jwt], which says how tokens are verified, and the app has none";
            return Err(check.report(&at("subscribe"), text));
        }
        rules.push(Rule {
            pattern: pattern.0.clone(),
            subscribe: raw.subscribe,
            cache: raw.cache,
            history: raw.history,
            rewind: raw.rewind,
            client_events: raw.client_events,
            subscription_count: raw.subscription_count,
        });
    }
    Ok(Rules::new(rules))
}

/// Whoever may subscribe to a user's channel must be the one user whom its name can mean.
fn user_is_definite(pattern: &ChannelPattern) -> Result<(), String> {
    if !pattern.has_placeholder(USER_ID) {
        return Err(format!(
            "\"user\" needs {{{USER_ID}}} in match, where \"{pattern}\" has none: it stands for the id of the user who may \
             subscribe"
        ));
    }
    if !pattern.is_definite(USER_ID) {
        return Err(format!(
            "\"user\" needs a match that names one user, and in \"{pattern}\" one name can be read as several: put a . \
             between {{{USER_ID}}} and other wildcards, and * on one side of it only"
        ));
    }
    Ok(())
}
