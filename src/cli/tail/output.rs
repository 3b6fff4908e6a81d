//! Where things are printed: events on stdout, everything else on stderr. Nothing that a server sends reaches a
//! terminal as it is.

use std::io;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::text::{printable, printable_json, time_of_day};
use crate::cli::{Error, complain, is_read};
use crate::client::Frame;
use crate::clock;
use crate::protocol::{ChannelKind, ChannelName};

/// What a line of JSON says.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
}

/// The two ends of a run, as the flags want them.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Print events as JSON, one object a line: time, event, channel, data, and `user_id` of client events
    #[arg(long)]
    json: bool,
    /// Print on stdout what the protocol itself says too: members, counts, misses of caches. --count counts none of it
    #[arg(long)]
    all: bool,
    /// Write nothing to stderr but errors
    #[arg(long, short)]
    quiet: bool,
    /// End after that many events
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// How many there were.
    #[arg(skip)]
    pub(super) events: u64,
    /// Whether it was said what data of encrypted channels looks like.
    #[arg(skip)]
    said_encrypted: bool,
}

impl Output {
    /// Prints an event, which counts. False: there have been enough, or nobody reads them any more.
    pub(super) fn event(&mut self, frame: &Frame) -> Result<bool, Error> {
        let is_encrypted = frame.channel.as_deref().is_some_and(is_encrypted);
        if is_encrypted && !self.said_encrypted {
            self.said_encrypted = true;
            self.note(
                "data of encrypted channels is encrypted: only who has the master key can read it",
            );
        }
        let is_read = self.line(frame)?;
        self.events += 1;
        let is_enough = self.count.is_some_and(|count| self.events >= count);
        Ok(is_read && !is_enough)
    }

    /// Tells what the protocol itself says. False: nobody reads it any more.
    pub(super) fn notice(&mut self, frame: &Frame) -> Result<bool, Error> {
        if self.all {
            return self.line(frame);
        }
        self.note(&in_words(frame));
        Ok(true)
    }

    fn line(&self, frame: &Frame) -> Result<bool, Error> {
        let now = clock::date(SystemTime::now());
        let time = time_of_day(now);
        let line = if self.json {
            let line = Line {
                time: format!("{}T{time}Z", now.date()),
                event: &frame.event,
                channel: frame.channel.as_deref(),
                data: frame.raw(),
                user_id: frame.user_id(),
            };
            // What was read as JSON can be written as JSON; and a raw value may hold line ends between its parts.
            let json = serde_json::to_string(&line).map_err(io::Error::other);
            let json = json.map_err(Error::Output)?;
            printable_json(&json.replace(['\n', '\r'], " "))
        } else {
            let channel = printable(frame.channel.as_deref().unwrap_or("-"));
            let user = frame
                .user_id()
                .map(|id| format!(" (from {})", printable(&id)));
            format!(
                "{time}  {channel}  {}{}  {}",
                printable(&frame.event),
                user.unwrap_or_default(),
                printable(&frame.text())
            )
        };
        is_read(&line)
    }

    /// Says something by the way.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }
}

fn is_encrypted(channel: &str) -> bool {
    ChannelName::parse(channel, usize::MAX)
        .is_ok_and(|channel| channel.kind() == ChannelKind::Encrypted)
}

fn in_words(frame: &Frame) -> String {
    let channel = frame.channel.as_deref().unwrap_or("-");
    let data: Value = frame.read().unwrap_or_default();
    let text = |key: &str| match &data[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match frame.event.as_str() {
        "pusher_internal:member_added" => {
            let info = match &data["user_info"] {
                Value::Null => String::new(),
                info => format!(" ({info})"),
            };
            format!("{channel}: member {} came{info}", text("user_id"))
        }
        "pusher_internal:member_removed" => format!("{channel}: member {} left", text("user_id")),
        "pusher_internal:subscription_count" => {
            format!(
                "{channel}: subscription count {}",
                text("subscription_count")
            )
        }
        "pusher:cache_miss" => format!("{channel}: no event is cached"),
        name => format!("{channel}: {name} {}", frame.text()),
    }
}
