//! `tidewire history`: what is kept of a channel, and what is published behind it.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::Value;
use tokio::time::sleep;

use super::api::{Answer, Api, ApiArgs};
use super::request::encoded;
use super::target::Configuration;
use super::text::{printable, printable_json, time_of_day};
use super::{Error, channels, complain, is_read};
use crate::clock;

const AFTER_HELP: &str = "\
Examples:
  tidewire history invoice.7
  tidewire history invoice.7 --follow
  tidewire history invoice.7 --json | jq '.events[].data'

A server keeps events of channels whose rule in [[apps.channels]] has history, rewind or
cache: tidewire channels --rule NAME. --follow looks for new ones once a second. Times are UTC.

Exit codes: 0 done, 1 the server refused it or did not answer, 2 wrong usage, 78 wrong
configuration.

See also: tidewire tail, tidewire channels.";

/// The events that one request asks for: as many as a server answers.
const PAGE: usize = 100;

/// How often the server is asked for what is new.
const PAUSE: Duration = Duration::from_secs(1);

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct History {
    /// The channel
    channel: String,
    /// Go on with what is published from then on, until stopped
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl History {
    /// Prints page after page, the oldest event first.
    pub(super) fn run(self, configuration: &Configuration) -> Result<(), Error> {
        let channel = channels::name(&self.channel)?;
        let path = format!("channels/{}/events?limit={PAGE}", encoded(channel.as_str()));
        let api = self.api.api(configuration)?;
        actix_rt::System::new().block_on(self.pages(&api, &path))
    }

    async fn pages(&self, api: &Api, path: &str) -> Result<(), Error> {
        let (mut is_first, mut after) = (true, None);
        // Behind which place it was said that something is missing: once, however often nothing new comes.
        let mut missing = None;
        loop {
            let answer = match ask(api, path, after).await {
                Err(error) if self.follow && !is_first && passes(&error) => {
                    complain(&format!("{error}\nasking again"));
                    sleep(PAUSE).await;
                    continue;
                }
                answer => answer?,
            };
            let page = answer.json()?;
            let no_events = Vec::new();
            let events = page["events"].as_array().unwrap_or(&no_events);
            if page["complete"] == false && missing != Some(after) {
                missing = Some(after);
                complain("events are missing here: the server did not keep them for so long");
            }
            let text = match self.api.json {
                true => printable_json(&answer.text),
                false if events.is_empty() => format!("No event is kept of {}.", self.channel),
                false => events.iter().map(line).collect::<Vec<_>>().join("\n"),
            };
            let is_news = !events.is_empty() || (is_first && !self.follow);
            if is_news && !is_read(&text)? {
                return Ok(());
            }
            let next = page["next"].as_u64();
            let is_last = events.len() < PAGE || next == after;
            (is_first, after) = (false, next);
            match (is_last, self.follow) {
                (false, _) => {}
                (true, true) => sleep(PAUSE).await,
                (true, false) => return Ok(()),
            }
        }
    }
}

async fn ask(api: &Api, path: &str, after: Option<u64>) -> Result<Answer, Error> {
    let after = after.map_or_else(String::new, |id| format!("&after={id}"));
    let answer = api.call("GET", &format!("{path}{after}"), None).await?;
    answer.accepted()
}

/// Whether the server may answer the next time.
fn passes(error: &Error) -> bool {
    match error {
        Error::NoAnswer { .. } => true,
        Error::Refused { status, .. } => matches!(status, 429 | 502..=504),
        _ => false,
    }
}

/// `2026-11-29 19:01:04.610  payment.received  {"status":"paid"}`
fn line(event: &Value) -> String {
    let age = Duration::from_millis(event["time_ms"].as_u64().unwrap_or_default());
    let time = clock::date(
        SystemTime::UNIX_EPOCH
            .checked_add(age)
            .unwrap_or(SystemTime::UNIX_EPOCH),
    );
    let text = |key: &str| printable(event[key].as_str().unwrap_or_default());
    let user = event["user_id"].as_str();
    let user = user.map_or_else(String::new, |id| format!(" (from {})", printable(id)));
    format!(
        "{} {}  {}{user}  {}",
        time.date(),
        time_of_day(time),
        text("name"),
        text("data")
    )
}
