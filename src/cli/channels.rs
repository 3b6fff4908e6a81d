//! `tidewire channels`: the occupied channels of an app, and the rule of a channel.

use clap::Args;
use serde_json::{Map, Value};

use super::Error;
use super::api::{Answer, Api, ApiArgs};
use super::request::encoded;
use super::target::Configuration;
use super::text::{printable_json, table};
use crate::protocol::ChannelName;

const AFTER_HELP: &str = "\
Examples:
  tidewire channels
  tidewire channels --prefix presence- --info user_count
  tidewire channels --rule invoice.7
      which of its [[apps.channels]] the running server follows there
  tidewire channels --app 3 --key 278d425bdf --secret-file s
      without a configuration here: of the server on this machine
  tidewire channels --cluster mt1 --app 3 --key 278d425bdf --secret-file s

Exit codes: 0 done, 1 the server refused it or did not answer, 2 wrong usage, 78 wrong
configuration.

See also: tidewire members, tidewire tail.";

/// The longest name that a server can be set to take.
const NAME_CHARS: usize = 1024;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Channels {
    /// Only those whose names begin so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// What to tell of each, with commas between: `subscription_count`, and `user_count` with a prefix of presence-
    /// [default: what the server knows]
    #[arg(long, value_name = "LIST")]
    info: Option<String>,
    /// Tell instead which of the app's rules holds for this channel on the server, and what follows
    #[arg(long, value_name = "NAME", conflicts_with_all = ["prefix", "info"])]
    rule: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Channels {
    /// The answer.
    pub(super) fn list(self, configuration: &Configuration) -> Result<String, Error> {
        let rule_of = self.rule.as_deref().map(name).transpose()?;
        let api = self.api.api(configuration)?;
        let answer = match &rule_of {
            Some(channel) => {
                let path = format!("channels/{}?info=rule", encoded(channel.as_str()));
                api.ask("GET", &path, None)?
            }
            None => self.asked(&api)?,
        };
        if self.api.json {
            return Ok(printable_json(&answer.text));
        }
        let answer = answer.json()?;
        if rule_of.is_some() {
            return match &answer["rule"] {
                Value::Null => Err(Error::Usage("this server knows no rules".to_owned())),
                report => Ok(policy_table(report)),
            };
        }
        let none = Map::new();
        let channels = answer["channels"].as_object().unwrap_or(&none);
        if channels.is_empty() {
            return Ok("No channel is occupied.".to_owned());
        }
        Ok(counts_table(channels))
    }

    fn asked(&self, api: &Api) -> Result<Answer, Error> {
        if let Some(info) = &self.info {
            return api.ask("GET", &self.path(info), None);
        }
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let all = if prefix.starts_with("presence-") {
            "subscription_count,user_count"
        } else {
            "subscription_count"
        };
        match api.ask("GET", &self.path(all), None) {
            // Some servers count subscriptions only for those who have asked for the feature.
            Err(Error::Refused { status: 400, .. }) => api.ask("GET", &self.path(""), None),
            answer => answer,
        }
    }

    fn path(&self, info: &str) -> String {
        let pairs = [
            (
                "filter_by_prefix",
                self.prefix.as_deref().unwrap_or_default(),
            ),
            ("info", info),
        ];
        let query: Vec<String> = pairs
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| format!("{key}={}", encoded(value)))
            .collect();
        format!("channels?{}", query.join("&"))
    }
}

/// A channel's name, as any server would take it.
pub(super) fn name(text: &str) -> Result<ChannelName, Error> {
    ChannelName::parse(text, NAME_CHARS).map_err(|error| Error::Usage(error.to_string()))
}

/// What holds for a channel, from the report of it: a line for each of its fields that has a value.
pub(super) fn policy_table(report: &Value) -> String {
    let keys = [
        "app",
        "channel",
        "kind",
        "rule",
        "match",
        "subscribe",
        "cache",
        "history",
        "rewind",
        "client_events",
        "subscription_count",
    ];
    let rows = keys.iter().map(|key| {
        let cell = match &report[key] {
            Value::Null => "none".to_owned(),
            Value::String(text) => text.clone(),
            Value::Object(kept) => format!("{} events, {} s", kept["events"], kept["seconds"]),
            value => value.to_string(),
        };
        vec![(*key).to_owned(), cell]
    });
    table(&["SETTING", "VALUE"], &rows.collect::<Vec<_>>())
}

/// Channels with the counts that an answer has of them.
pub(super) fn counts_table(channels: &Map<String, Value>) -> String {
    let has = |key: &str| channels.values().any(|channel| !channel[key].is_null());
    let counts = [
        ("SUBSCRIPTIONS", "subscription_count"),
        ("USERS", "user_count"),
    ];
    let (mut head, mut keys) = (vec!["CHANNEL"], Vec::new());
    for (title, key) in counts.into_iter().filter(|(_, key)| has(key)) {
        head.push(title);
        keys.push(key);
    }
    let rows = channels.iter().map(|(name, channel)| {
        let cells = keys.iter().map(|key| match &channel[*key] {
            Value::Null => String::new(),
            value => value.to_string(),
        });
        std::iter::once(name.clone()).chain(cells).collect()
    });
    table(&head, &rows.collect::<Vec<_>>())
}
