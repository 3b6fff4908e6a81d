//! `tidewire trigger`: publishes one event through the HTTP API, as any backend would.

use std::time::Duration;

use awc::error::SendRequestError;
use clap::Args;
use serde_json::json;

use super::Error;
use super::request::{Request, Target, now};
use crate::config::Settings;

const AFTER_HELP: &str = "\
Examples:
  tidewire trigger invoice.7 payment.received '{\"status\":\"paid\"}'
  tidewire trigger private-user-7 note 'just a text' --app app-id --url https://realtime.example.com

DATA reaches subscribers as the very text given here. The credentials are the configured app's,
which need not be this machine's server: name another with --url.

Exit codes: 0 the server took the event, 1 it refused it or did not answer, 2 wrong usage,
78 wrong configuration.

See also: tidewire sign, for requests of any other kind; tidewire health.";

/// How long the server may take. It answers at once, unless its cluster is away.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer that is read.
const ANSWER_BYTES: usize = 1024 * 1024;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Trigger {
    /// The channel
    channel: String,
    /// The event's name
    event: String,
    /// The event's data
    data: String,
    /// The connection that does not get the event
    #[arg(long, value_name = "ID")]
    socket_id: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Trigger {
    /// Publishes and returns the server's answer.
    pub(super) fn send(self, settings: &Settings) -> Result<String, Error> {
        let app = self.target.app(&settings.apps, None)?;
        let base = self.target.base(&settings.server)?;
        let mut body = json!({"name": self.event, "channels": [self.channel], "data": self.data});
        if let Some(socket_id) = self.socket_id {
            body["socket_id"] = json!(socket_id);
        }
        let path = format!("/apps/{}/events", app.id);
        let request = Request::new("POST", &path, Some(body.to_string()))?;
        let url = request.signed_url(&base, app, now());
        actix_rt::System::new().block_on(post(&base, url, body.to_string()))
    }
}

async fn post(base: &str, url: String, body: String) -> Result<String, Error> {
    let client = awc::Client::builder().timeout(PATIENCE).finish();
    let sent = client
        .post(url)
        .insert_header(("Content-Type", "application/json"))
        .send_body(body)
        .await;
    let mut response = sent.map_err(|error| Error::NoAnswer {
        url: base.to_owned(),
        reason: error.to_string(),
        hint: hint(&error),
    })?;
    let status = response.status();
    let text = response.body().limit(ANSWER_BYTES).await;
    let text = text.map_err(|error| Error::NoAnswer {
        url: base.to_owned(),
        reason: error.to_string(),
        hint: "The answer broke off, the event may have been published.",
    })?;
    let text = String::from_utf8_lossy(&text).trim_end().to_owned();
    if status.is_success() {
        Ok(text)
    } else {
        let status = status.as_u16();
        Err(Error::Refused { status, text })
    }
}

fn hint(error: &SendRequestError) -> &'static str {
    match error {
        SendRequestError::Connect(_) => {
            "Is the server running there? Check --url, or host and port in [server], and that nothing between here and \
             there blocks the port. An https server needs a certificate of a public authority."
        }
        SendRequestError::Timeout => {
            "The server took too long, the event may have been published. Its log says more."
        }
        _ => "Is it a tidewire server that answers there, and is http:// or https:// right?",
    }
}
