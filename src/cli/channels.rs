//! `tidewire channels`: the occupied channels of an app.

use clap::Args;
use serde_json::{Map, Value};

use super::Error;
use super::api::{Answer, Api, ApiArgs};
use super::request::encoded;
use super::target::Configuration;
use super::text::{printable_json, table};

const AFTER_HELP: &str = "\
Examples:
  tidewire channels
  tidewire channels --prefix presence- --info user_count
  tidewire channels --app 3 --key 278d425bdf --secret-file s
      without a configuration here: of the server on this machine
  tidewire channels --cluster mt1 --app 3 --key 278d425bdf --secret-file s

Exit codes: 0 done, 1 the server refused it or did not answer, 2 wrong usage, 78 wrong
configuration.

See also: tidewire members, tidewire tail.";

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
    #[command(flatten)]
    api: ApiArgs,
}

impl Channels {
    /// The answer.
    pub(super) fn list(self, configuration: &Configuration) -> Result<String, Error> {
        let api = self.api.api(configuration)?;
        let answer = self.asked(&api)?;
        if self.api.json {
            return Ok(printable_json(&answer.text));
        }
        let answer = answer.json()?;
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
