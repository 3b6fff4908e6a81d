//! `tidewire terminate`: ends all connections of a signed-in user.

use clap::Args;

use super::Error;
use super::api::ApiArgs;
use super::request::encoded;
use super::target::Configuration;
use super::text::{printable, printable_json};

const AFTER_HELP: &str = "\
Examples:
  tidewire terminate 7
  tidewire terminate 7 --url https://realtime.example.com --app 1001

The connections are closed with 4009, after which clients do not come back by themselves. Only
connections that have signed in (pusher.signin()) are a user's; members of presence channels
that did not sign in stay.

Exit codes: 0 done, 1 the server refused it or did not answer, 2 wrong usage, 78 wrong
configuration.

See also: tidewire members, tidewire channels.";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Terminate {
    /// The user's id, as in the sign-in
    user: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Terminate {
    /// The answer.
    pub(super) fn send(self, configuration: &Configuration) -> Result<String, Error> {
        if self.user.is_empty() {
            return Err(Error::Usage("the user's id is empty".to_owned()));
        }
        let api = self.api.api(configuration)?;
        let path = format!("users/{}/terminate_connections", encoded(&self.user));
        let answer = api.ask("POST", &path, Some("{}".to_owned()))?;
        if self.api.json {
            return Ok(printable_json(&answer.text));
        }
        let user = printable(&self.user);
        Ok(format!(
            "The connections of user {user}, if there are any, are being closed."
        ))
    }
}
