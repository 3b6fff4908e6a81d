//! `[[apps.channels]]`: what an app says of channels by their names. [`Rules`] finds the rule of a name;
//! [`ChannelPolicy`] is what holds for one channel, by its rule, its prefix and its app.
//!
//! Knows no connection, no user and no file: `config` builds the rules, `node` asks for the policy once in a verb.

mod index;
mod pattern;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::bounded::{Whole, section};
use crate::protocol::ChannelName;
use index::PatternIndex;
pub use pattern::{ChannelPattern, InvalidPattern};

/// The placeholder for the id of the user who may subscribe.
pub const USER_ID: &str = "user_id";

/// Who may subscribe to a channel, beside what its prefix asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhoMaySubscribe {
    /// As if there were no rule.
    #[default]
    Anyone,
    /// A connection that has signed in.
    SignedIn,
    /// A connection that has signed in as the user whose id stands in the channel's name, in the place of `{user_id}`.
    User,
    /// A connection that has shown a token that names the channel: for the subscription, or to sign in.
    Token,
    /// Nobody: it is published to and read over HTTP.
    Nobody,
}

/// How much is kept of a channel: its latest events, up to this many and this old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ events = …, seconds = … }")]
pub struct Retention {
    /// The most events.
    #[serde(with = "Whole::<1, 10_000>")]
    pub events: NonZeroU32,
    /// Seconds after which an event is forgotten.
    #[serde(with = "Whole::<1, 604_800>")]
    pub seconds: NonZeroU32,
}

impl Retention {
    /// What a cache channel keeps: one event, for half an hour.
    pub const LAST_EVENT: Self = Self {
        events: NonZeroU32::MIN,
        seconds: NonZeroU32::new(30 * 60).unwrap(),
    };
}

section! {
    /// One entry of `[[apps.channels]]`.
    #[derive(PartialEq, Eq)]
    pub struct Rule {
        /// The names that it is for. A rule that names none is refused.
        #[serde(rename = "match")]
        pub pattern: ChannelPattern = ChannelPattern::default(),
        /// Who may subscribe.
        pub subscribe: WhoMaySubscribe = WhoMaySubscribe::Anyone,
        /// Whether the last event is kept for whoever subscribes, as on a cache channel.
        pub cache: bool = false,
        /// What can be read of the channel's past.
        pub history: Option<Retention> = None,
        /// What is sent to every new subscription.
        pub rewind: Option<Retention> = None,
        /// Instead of the app's switch.
        pub client_events: Option<bool> = None,
        /// Instead of the app's switch.
        pub subscription_count: Option<bool> = None,
    }
}

/// An app's rules, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    rules: Box<[Rule]>,
    index: PatternIndex,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl WhoMaySubscribe {
    /// As the configuration says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::SignedIn => "signed-in",
            Self::User => "user",
            Self::Token => "token",
            Self::Nobody => "nobody",
        }
    }
}

/// What a rule says of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nothing against it.
    Admitted,
    /// It depends on who will have signed in, or by which token.
    NeedsUser,
    /// It is for another user.
    OtherUser,
    /// It needs a token that names the channel.
    NeedsToken,
    /// It is for nobody.
    Nobody,
}

impl Rules {
    /// Takes the rules in their order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self {
            index: PatternIndex::new(rules.iter().map(|rule| &rule.pattern)),
            rules: rules.into(),
        }
    }

    /// The rule of a channel: the first whose pattern fits the whole name, its prefix included. The server's own
    /// channels have none.
    pub fn of(&self, channel: &ChannelName) -> Option<&Rule> {
        self.rules.get(self.number(channel)?)
    }

    /// How many rules are before that of a channel.
    pub fn number(&self, channel: &ChannelName) -> Option<usize> {
        if self.rules.is_empty() || !channel.kind().is_listed() {
            return None;
        }
        self.index.first(channel.as_str())
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }
}

impl ChannelPolicy<'_> {
    /// How much of the channel is kept by its rule for whoever reads it back; none if it keeps nothing. `cache` keeps one
    /// event to be read as well.
    pub fn kept(&self) -> Option<Retention> {
        let cache = self.rule.is_some_and(|rule| rule.cache);
        let cache = cache.then_some(Retention::LAST_EVENT);
        let all = [self.history, self.rewind, cache];
        all.into_iter().flatten().reduce(|a, b| Retention {
            events: a.events.max(b.events),
            seconds: a.seconds.max(b.seconds),
        })
    }
}

/// What holds for one channel of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ChannelPolicy<'a> {
    /// Its rule, if there is one.
    #[serde(skip)]
    pub rule: Option<&'a Rule>,
    /// Who may subscribe, beside what the prefix asks for.
    pub subscribe: WhoMaySubscribe,
    /// Whether its last event is kept and sent to whoever subscribes.
    pub cache: bool,
    /// What can be read of its past.
    pub history: Option<Retention>,
    /// What is sent to every new subscription.
    pub rewind: Option<Retention>,
    /// Whether clients may send `client-` events on it.
    pub client_events: bool,
    /// Whether its subscribers are told how many they are.
    pub subscription_count: bool,
}

/// Which rule a channel has and what holds for it, for people who ask.
#[derive(Debug, Serialize)]
pub struct PolicyReport<'a> {
    /// The app's id.
    pub app: &'a str,
    /// The channel's name.
    pub channel: &'a str,
    /// What its prefix makes of it.
    pub kind: &'static str,
    /// The number of its rule among the app's, from 1; none: no rule fits.
    pub rule: Option<usize>,
    /// The pattern of that rule.
    pub r#match: Option<&'a str>,
    /// What holds, with the app's switches where no rule says otherwise.
    #[serde(flatten)]
    pub policy: ChannelPolicy<'a>,
}

impl ChannelPolicy<'_> {
    /// What the rule says of a subscription to the channel, of a connection that has signed in as `user`, or not yet, and
    /// that has shown a token for the channel, or not.
    pub fn admission(
        &self,
        channel: &ChannelName,
        user: Option<&str>,
        has_token: impl Fn() -> bool,
    ) -> Admission {
        match (self.subscribe, user) {
            (WhoMaySubscribe::Anyone, _) => Admission::Admitted,
            (WhoMaySubscribe::Nobody, _) => Admission::Nobody,
            (WhoMaySubscribe::Token, _) if has_token() => Admission::Admitted,
            (WhoMaySubscribe::Token, Some(_)) => Admission::NeedsToken,
            (_, None) => Admission::NeedsUser,
            (WhoMaySubscribe::SignedIn, Some(_)) => Admission::Admitted,
            (WhoMaySubscribe::User, user) if user == self.owner(channel) => Admission::Admitted,
            (WhoMaySubscribe::User, Some(_)) => Admission::OtherUser,
        }
    }

    /// The id of the user whom the channel is for, if its rule says so.
    pub fn owner<'n>(&self, channel: &'n ChannelName) -> Option<&'n str> {
        let rule = self
            .rule
            .filter(|rule| rule.subscribe == WhoMaySubscribe::User)?;
        rule.pattern.value_of(USER_ID, channel.as_str())
    }
}
