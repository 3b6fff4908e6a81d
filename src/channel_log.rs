//! The log of a channel as everybody sees it who reads it: its events, what of them a new subscription is sent, and a
//! page of them. Pure values and their selection.
//!
//! The log itself has two homes that know nothing of each other: the registry on one node, Redis in a cluster. Both hand
//! out [`LogEvent`]s and let [`Past::select`] and [`HistoryPage::select`] choose.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::protocol::{Encoded, SocketId};
use crate::rules::Retention;

/// How long a cache channel keeps its last event (docs: cache channels).
pub const LAST_EVENT_TTL: Duration =
    Duration::from_secs(Retention::LAST_EVENT.seconds.get() as u64);

/// What a queued frame costs beside its bytes.
const FRAME_OVERHEAD: usize = 128;

/// An event's place in the log of its channel. It rises from event to event, also over restarts, and fits a JSON number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u64);

/// An event of a log.
#[derive(Debug, Clone)]
pub struct LogEvent {
    /// Its place.
    pub id: LogId,
    /// When it was accepted, by this process's clock: for its age.
    pub at: Instant,
    /// When it was accepted: ms since 1970.
    pub time_ms: u64,
    /// The connection that did not get it.
    pub except: Option<SocketId>,
    /// What subscribers got.
    pub frame: Encoded,
}

/// What a publisher or a client said in an event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EventContent {
    /// The event's name.
    #[serde(rename = "event")]
    pub name: String,
    /// The string that subscribers got.
    pub data: String,
    /// The sender's member id, of a client event on a presence channel.
    pub user_id: Option<String>,
}

/// What a cache channel repeats to a newcomer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEvent {
    /// Its name.
    pub event: Arc<str>,
    /// The publisher's string.
    pub data: Arc<str>,
    /// When it is forgotten.
    pub expires: Instant,
}

impl LastEvent {
    /// When it was published.
    pub fn kept_at(&self) -> Instant {
        let kept = self.expires.checked_sub(LAST_EVENT_TTL);
        kept.unwrap_or(self.expires)
    }
}

/// What a new subscription wants to be sent of the past of its channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PastWanted {
    /// The last event.
    pub cache: bool,
    /// The latest events.
    pub rewind: Option<Retention>,
    /// Everything behind this place, if the log reaches back to it; then nothing else.
    pub after: Option<LogId>,
    /// As much as a connection can take at once: bytes of frames. Of `rewind` the oldest are left out beyond it; behind
    /// `after` nothing may be left out, so the log counts as one that does not reach back.
    pub most_bytes: usize,
}

/// What a new subscription is sent of the past, each event once.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// The last event, unless it is among `events` or before `after`. It is older than all of them.
    pub last_event: Option<LastEvent>,
    /// The oldest first.
    pub events: Vec<LogEvent>,
    /// Whether the last event was wanted and there is none.
    pub is_cache_miss: bool,
    /// Whether `events` is everything behind [`PastWanted::after`]; not so where nothing was to be resumed.
    pub is_complete: bool,
}

/// A log that may be read: what is kept of its channel at this moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogBounds {
    /// Everything behind this place is kept.
    pub begins: LogId,
    /// The place of the channel's last event, kept or not.
    pub end: LogId,
}

/// In which order a page goes through the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// From the oldest event on.
    #[default]
    Ascending,
    /// From the newest event back.
    Descending,
}

/// Which events of a log are asked for.
#[derive(Debug, Clone, Copy)]
pub struct HistoryQuery {
    /// What may be read by the channel's rule; none: what resume keeps.
    pub kept: Option<Retention>,
    /// How many events at most.
    pub limit: usize,
    /// From which end.
    pub order: Order,
    /// Only what is behind this place, in that order.
    pub after: Option<LogId>,
}

/// Some events of a log.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// In the order that was asked for.
    pub events: Vec<LogEvent>,
    /// Whether the log reaches back to where the page was to begin.
    pub is_complete: bool,
}

impl LogEvent {
    /// Whether it is at most `seconds` old.
    pub fn is_within(&self, seconds: NonZeroU32, now: Instant) -> bool {
        let life = Duration::from_secs(seconds.get().into());
        now.saturating_duration_since(self.at) < life
    }

    /// What it says; none if the frame is not an event's, which no node of ours logs.
    pub fn content(&self) -> Option<EventContent> {
        serde_json::from_str(self.frame.text_payload()?).ok()
    }
}

impl PastWanted {
    /// Whether the log has to be asked.
    pub fn needs_log(&self) -> bool {
        self.rewind.is_some() || self.after.is_some()
    }
}

impl LogBounds {
    /// Whether everything behind a place is kept. A place that the log has not reached is none of its own.
    pub fn reaches(&self, after: LogId) -> bool {
        self.begins <= after && after <= self.end
    }
}

impl Past {
    /// Chooses from a log, whose events come newest first. `last` is the channel's last event and its place.
    pub fn select<'a>(
        wanted: &PastWanted,
        newest_first: impl Iterator<Item = &'a LogEvent> + Clone,
        bounds: LogBounds,
        last: Option<(LogId, LastEvent)>,
        now: Instant,
    ) -> Self {
        let resumed = wanted.after.filter(|after| bounds.reaches(*after));
        let resumed = resumed.and_then(|after| {
            let missed = newest_first.clone().take_while(|event| event.id > after);
            let (events, is_whole) = within(wanted.most_bytes, missed);
            is_whole.then_some(events)
        });
        let is_complete = resumed.is_some();
        let rewound = || {
            let rewind = wanted.rewind?;
            let is_recent = |event: &&LogEvent| event.is_within(rewind.seconds, now);
            let most = rewind.events.get() as usize;
            let latest = newest_first.take_while(is_recent).take(most);
            Some(within(wanted.most_bytes, latest).0)
        };
        let mut events = resumed.or_else(rewound).unwrap_or_default();
        events.reverse();
        let is_told = |id: LogId| is_complete || events.iter().any(|event| event.id == id);
        let is_cache_miss = wanted.cache && last.is_none();
        let last = last.filter(|(id, _)| wanted.cache && !is_told(*id));
        Self {
            last_event: last.map(|(_, event)| event),
            events,
            is_cache_miss,
            is_complete,
        }
    }
}

/// The first events that fit, and whether all do.
fn within<'a>(
    mut room: usize,
    events: impl Iterator<Item = &'a LogEvent>,
) -> (Vec<LogEvent>, bool) {
    let mut taken = Vec::new();
    for event in events {
        let cost = event.frame.bytes().len() + FRAME_OVERHEAD;
        if cost > room {
            return (taken, false);
        }
        room -= cost;
        taken.push(event.clone());
    }
    (taken, true)
}

impl HistoryPage {
    /// Chooses from a log, whose events come oldest first.
    pub fn select<'a>(
        query: &HistoryQuery,
        events: impl DoubleEndedIterator<Item = &'a LogEvent> + ExactSizeIterator + Clone,
        mut bounds: LogBounds,
        now: Instant,
    ) -> Self {
        let mut readable = events.peekable();
        if let Some(Retention { events, seconds }) = query.kept {
            let is_over = |event: &LogEvent, left: usize| {
                left > events.get() as usize || !event.is_within(seconds, now)
            };
            let mut left = readable.len();
            while let Some(event) = readable.next_if(|event| is_over(event, left)) {
                bounds.begins = event.id;
                left -= 1;
            }
        }
        let is_behind = |event: &&LogEvent| match (query.order, query.after) {
            (_, None) => true,
            (Order::Ascending, Some(after)) => event.id > after,
            (Order::Descending, Some(after)) => event.id < after,
        };
        let events: Vec<LogEvent> = match query.order {
            Order::Ascending => readable
                .filter(is_behind)
                .take(query.limit)
                .cloned()
                .collect(),
            Order::Descending => readable
                .rev()
                .filter(is_behind)
                .take(query.limit)
                .cloned()
                .collect(),
        };
        Self {
            events,
            is_complete: query.after.is_none_or(|after| bounds.reaches(after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, ServerFrame};

    const LAST: u64 = 13;

    fn event(id: u64, now: Instant) -> LogEvent {
        let channel = ChannelName::parse("c", 200).unwrap();
        let frame = ServerFrame::Event {
            channel: &channel,
            event: "e",
            data: &format!("{id} \"é\""),
            user_id: None,
        };
        LogEvent {
            id: LogId(id),
            at: now.checked_sub(Duration::from_secs(20 - id)).unwrap(),
            time_ms: id,
            except: None,
            frame: frame.encode(),
        }
    }

    /// What is chosen of the events 11 to 15, of which number `n` is `20 - n` seconds old and [`LAST`] the last published.
    fn chosen(
        rewind: Option<(u32, u32)>,
        after: Option<u64>,
        most_bytes: usize,
    ) -> (Vec<u64>, bool, bool) {
        let now = Instant::now();
        let events: Vec<LogEvent> = (11..16).map(|id| event(id, now)).collect();
        let wanted = PastWanted {
            cache: true,
            rewind: rewind.map(|(events, seconds)| Retention {
                events: events.try_into().unwrap(),
                seconds: seconds.try_into().unwrap(),
            }),
            after: after.map(LogId),
            most_bytes,
        };
        let bounds = LogBounds {
            begins: LogId(10),
            end: LogId(15),
        };
        let last = LastEvent {
            event: "e".into(),
            data: "last".into(),
            expires: now + LAST_EVENT_TTL,
        };
        let past = Past::select(
            &wanted,
            events.iter().rev(),
            bounds,
            Some((LogId(LAST), last)),
            now,
        );
        assert!(!past.is_cache_miss);
        let ids = past.events.iter().map(|event| event.id.0).collect();
        (ids, past.last_event.is_some(), past.is_complete)
    }

    #[test]
    fn each_event_is_chosen_once_however_it_is_asked_for() {
        let all = usize::MAX;
        for (rewind, after, ids, has_last, is_complete) in [
            (None, None, vec![], true, false),
            (Some((2, 60)), None, vec![14, 15], true, false),
            (Some((3, 60)), None, vec![13, 14, 15], false, false),
            (Some((9, 7)), None, vec![14, 15], true, false),
            // Resumed: what is behind, and nothing else.
            (Some((3, 60)), Some(14), vec![15], false, true),
            (None, Some(10), vec![11, 12, 13, 14, 15], false, true),
            (Some((3, 60)), Some(15), vec![], false, true),
            // The log does not reach back, or has not come so far: a new subscription.
            (Some((1, 60)), Some(9), vec![15], true, false),
            (None, Some(16), vec![], true, false),
        ] {
            let expected = (ids, has_last, is_complete);
            assert_eq!(chosen(rewind, after, all), expected, "{rewind:?} {after:?}");
        }
    }

    #[test]
    fn no_more_is_sent_than_a_connection_can_take() {
        let two = 2 * (event(11, Instant::now()).frame.bytes().len() + FRAME_OVERHEAD);
        let rewind = Some((5, 60));
        assert_eq!(chosen(rewind, None, two), (vec![14, 15], true, false));
        assert_eq!(chosen(rewind, Some(13), two), (vec![14, 15], false, true));
        assert_eq!(chosen(rewind, Some(12), two), (vec![14, 15], true, false));
    }

    #[test]
    fn an_event_says_what_was_published() {
        let content = event(11, Instant::now()).content().unwrap();
        let (name, data) = (content.name.as_str(), content.data.as_str());
        assert_eq!((name, data, content.user_id), ("e", "11 \"é\"", None));
    }
}
