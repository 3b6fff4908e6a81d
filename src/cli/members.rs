//! `tidewire members`: who is on a presence channel.

use clap::Args;
use serde_json::Value;

use super::api::ApiArgs;
use super::request::encoded;
use super::target::Configuration;
use super::text::{printable_json, table};
use super::{Error, channels};
use crate::protocol::ChannelKind;

const AFTER_HELP: &str = "\
Examples:
  tidewire members presence-chat
  tidewire members presence-chat --url https://realtime.example.com --json

The server tells the ids of the users, each once. To see them come and go:
tidewire tail presence-chat.

Exit codes: 0 done, 1 the server refused it or did not answer, 2 wrong usage, 78 wrong
configuration.

See also: tidewire channels, tidewire tail.";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Members {
    /// The presence channel
    channel: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Members {
    /// The answer.
    pub(super) fn list(self, configuration: &Configuration) -> Result<String, Error> {
        let channel = channels::name(&self.channel)?;
        if channel.kind() != ChannelKind::Presence {
            return Err(Error::Usage(format!(
                "only presence channels have members: expected a name that begins with presence-, found \"{channel}\""
            )));
        }
        let api = self.api.api(configuration)?;
        let path = format!("channels/{}/users", encoded(channel.as_str()));
        let answer = api.ask("GET", &path, None)?;
        if self.api.json {
            return Ok(printable_json(&answer.text));
        }
        let answer = answer.json()?;
        let rows: Vec<Vec<String>> = answer["users"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|user| match &user["id"] {
                Value::String(id) => vec![id.clone()],
                other => vec![other.to_string()],
            })
            .collect();
        if rows.is_empty() {
            return Ok(format!("Nobody is on {channel}."));
        }
        Ok(table(&["USER"], &rows))
    }
}
