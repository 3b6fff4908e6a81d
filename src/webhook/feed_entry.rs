//! The feed entry of an attempt to deliver a webhook.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::sender::{Failure, Sender};
use crate::feed::{Entry, Feed, Kind};

/// How many event names an entry lists.
const NAMES: usize = 5;

/// One attempt at a request.
pub(super) struct Attempt<'a> {
    pub(super) body: &'a [u8],
    /// The attempt's number, from one on.
    pub(super) number: u32,
    /// The status of the answer, or why there was no success.
    pub(super) answer: Result<u16, &'a Failure>,
    pub(super) took: Duration,
}

/// The parts of a request's body that an entry shows.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    channel: Cow<'a, str>,
}

impl Attempt<'_> {
    pub(super) fn record(&self, feed: &Feed, sender: &Sender) {
        if !feed.is_watched() {
            return;
        }
        let body = std::str::from_utf8(self.body).ok();
        let parsed = body.and_then(|body| serde_json::from_str::<Body<'_>>(body).ok());
        let events = parsed.map_or_else(Vec::new, |body| body.events);
        // An entry of one channel is found under that channel.
        let first = events.first().map(|event| &*event.channel);
        let one = first.filter(|first| events.iter().all(|event| event.channel == *first));
        feed.record(Some(&sender.app().id), Kind::Webhook, || Entry {
            channel: one,
            event: Some(names(&events).into()),
            data: body,
            status: self.status(),
            reason: self.reason().map(Cow::Owned),
            url: Some(sender.url().into()),
            duration_ms: Some(u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)),
            ..Entry::default()
        });
    }

    fn status(&self) -> Option<u16> {
        match self.answer {
            Ok(status) => Some(status),
            Err(Failure::Status(status)) => Some(*status),
            Err(Failure::Exchange(_) | Failure::Timeout(_)) => None,
        }
    }

    fn reason(&self) -> Option<String> {
        let number = (self.number > 1).then(|| format!("attempt {}", self.number));
        let failure = self.answer.err().map(ToString::to_string);
        let parts: Vec<String> = number.into_iter().chain(failure).collect();
        (!parts.is_empty()).then(|| parts.join(": "))
    }
}

fn names(events: &[Event<'_>]) -> String {
    let named: Vec<&str> = events
        .iter()
        .take(NAMES)
        .map(|event| &*event.name)
        .collect();
    let more = events.len().saturating_sub(NAMES);
    match more {
        0 => named.join(", "),
        _ => format!("{} and {more} more", named.join(", ")),
    }
}
