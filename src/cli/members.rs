//! `tidewire members`: who is on a presence channel.

use clap::Args;
use serde_json::Value;

use super::Error;
use super::api::Api;
use super::request::encoded;
use super::target::{Authorities, Configuration, Identity, ServerTarget};
use super::text::{printable_json, table};
use crate::protocol::{ChannelKind, ChannelName};

const AFTER_HELP: &str = "\
Examples:
  tidewire members presence-chat
  tidewire members presence-chat --url https://realtime.example.com --json

The server tells the ids of the users, each once. To see them come and go:
tidewire tail presence-chat.

Exit codes: 0 done, 1 the server refused it or did not answer, 2 wrong usage, 78 wrong
configuration.

See also: tidewire channels, tidewire tail.";

/// The longest name that any server takes.
const NAME_CHARS: usize = 200;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Members {
    /// The presence channel
    channel: String,
    /// Print the server's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    target: ServerTarget,
    #[command(flatten)]
    authorities: Authorities,
}

impl Members {
    /// The answer.
    pub(super) fn list(self, configuration: &Configuration) -> Result<String, Error> {
        let channel = ChannelName::parse(&self.channel, NAME_CHARS)
            .map_err(|error| Error::Usage(error.to_string()))?;
        if channel.kind() != ChannelKind::Presence {
            return Err(Error::Usage(format!(
                "only presence channels have members: expected a name that begins with presence-, found \"{channel}\""
            )));
        }
        let app = self.identity.credentials(configuration, None)?;
        let address = self.target.address(configuration)?;
        let api = Api::new(&address, app, self.authorities.trust()?);
        let path = format!("channels/{}/users", encoded(channel.as_str()));
        let answer = api.ask("GET", &path, None)?;
        if self.json {
            return Ok(printable_json(&answer.text));
        }
        let answer = answer.json()?;
        let rows: Vec<[String; 1]> = answer["users"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|user| match &user["id"] {
                Value::String(id) => [id.clone()],
                other => [other.to_string()],
            })
            .collect();
        if rows.is_empty() {
            return Ok(format!("Nobody is on {channel}."));
        }
        Ok(table(["USER"], &rows))
    }
}
