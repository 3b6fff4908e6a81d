//! `tidewire trigger`: publishes one event through the HTTP API, as any backend would.

use std::io::{self, Read as _};

use clap::Args;
use serde_json::json;

use super::api::{ApiArgs, DELIVERY};
use super::channels::counts_table;
use super::target::Configuration;
use super::text::{printable, printable_json};
use super::{Error, complain};

const AFTER_HELP: &str = "\
Examples:
  tidewire trigger invoice.7 payment.received '{\"status\":\"paid\"}'
  tidewire trigger invoice.7 payment.received - < payment.json
  tidewire trigger user.1 paid '{}' --channel admin --info subscription_count
  tidewire trigger private-user-7 note 'a text' --url https://ws.example.com
  tidewire trigger invoice.7 paid '{}' --idempotency-key invoice-7-paid

DATA reaches subscribers as the very text given here; for an encrypted channel it must be
encrypted already.

Exit codes: 0 the server took the event, 1 it refused it or did not answer, 2 wrong usage,
78 wrong configuration.

See also: tidewire tail, tidewire doctor, tidewire sign.";

/// The most that is read from stdin: more than any server takes.
const STDIN_BYTES: u64 = 64 * 1024 * 1024;

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Trigger {
    /// The channel
    channel: String,
    /// The event's name
    event: String,
    /// The event's data; -: read it from stdin, without the line end behind it
    data: String,
    /// A further channel; may be given several times
    #[arg(long = "channel", value_name = "CHANNEL")]
    channels: Vec<String>,
    /// The connection that does not get the event
    #[arg(long, value_name = "ID")]
    socket_id: Option<String>,
    /// What to tell of each channel, with commas between: `subscription_count`, `user_count`
    #[arg(long, value_name = "LIST")]
    info: Option<String>,
    /// Published once if the same is sent again with this key: 1 to 128 characters without spaces
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Trigger {
    /// Publishes and returns the server's answer.
    pub(super) fn send(self, configuration: &Configuration) -> Result<String, Error> {
        let api = self.api.api(configuration)?;
        let data = match self.data.as_str() {
            "-" => stdin()?,
            _ => self.data,
        };
        let mut channels = vec![self.channel];
        channels.extend(self.channels);
        let mut body = json!({"name": self.event, "channels": channels, "data": data});
        if let Some(socket_id) = self.socket_id {
            body["socket_id"] = json!(socket_id);
        }
        if let Some(info) = self.info {
            body["info"] = json!(info);
        }
        if let Some(key) = self.idempotency_key {
            body["idempotency_key"] = json!(key);
        }
        let answer = api.ask("POST", "events", Some(body.to_string()))?;
        let local = answer.header(DELIVERY).map(|delivery| {
            let delivery = printable(delivery);
            format!("only clients of the answering node got it ({delivery})")
        });
        let replayed = answer.header("idempotent-replayed");
        let replayed =
            replayed.map(|_| "it was published before with this key, and not again".to_owned());
        for note in local.into_iter().chain(replayed) {
            complain(&note);
        }
        let asked = answer.json().ok();
        let told = asked
            .as_ref()
            .and_then(|asked| asked["channels"].as_object());
        match told.filter(|_| !self.api.json) {
            Some(told) => Ok(counts_table(told)),
            None => Ok(printable_json(&answer.text)),
        }
    }
}

fn stdin() -> Result<String, Error> {
    let mut text = String::new();
    io::stdin()
        .take(STDIN_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| Error::Usage(format!("cannot read the data from stdin: {error}")))?;
    let end = text.strip_suffix('\n').unwrap_or(&text);
    Ok(end.strip_suffix('\r').unwrap_or(end).to_owned())
}
