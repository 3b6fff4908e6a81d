//! What is published when: by a schedule that waits for nobody, or each request after the answer to one before.

use std::ops::Range;
use std::time::Duration;

use super::Client;
use crate::payload::{Stamp, data};
use crate::requests::{Requests, Signer};

/// Events of a kind.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// Events in a second.
    pub(crate) rate: f64,
    /// To which channels, in turn.
    pub(crate) channels: Range<u32>,
    /// Over which publishers; a channel's events keep to one.
    pub(crate) publishers: Range<usize>,
    /// Bytes of data.
    pub(crate) bytes: usize,
}

impl Stream {
    /// Events for the first channel over the first publisher.
    pub(crate) fn of_one(rate: f64, bytes: usize) -> Self {
        Self {
            rate,
            channels: 0..1,
            publishers: 0..1,
            bytes,
        }
    }
}

/// Nothing, or one of the two ways.
#[derive(Default)]
pub(super) enum Feed {
    #[default]
    None,
    Open(Schedule),
    Closed(Cycle),
}

/// Every request has its time.
pub(crate) struct Schedule {
    pub(super) events: Vec<Planned>,
    pub(super) requests: Requests,
    pub(super) next: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) due: u64,
    pub(super) channel: u32,
    pub(super) publisher: usize,
}

/// Requests that are sent over and over, each as soon as a publisher is free.
pub(crate) struct Cycle {
    pub(super) requests: Requests,
    /// The channel of each.
    pub(super) channels: Vec<u32>,
    pub(super) next: usize,
    /// How many are still to be sent.
    pub(super) left: u64,
    /// When to stop.
    pub(super) until: u64,
}

impl Schedule {
    /// Signs `seconds` of events, the first of which is due when that is done.
    pub(crate) fn new(
        client: &mut Client,
        signer: &Signer,
        streams: &[Stream],
        seconds: f64,
    ) -> Self {
        /// What signing takes at most.
        const EACH: Duration = Duration::from_micros(20);
        const ALL: Duration = Duration::from_millis(100);
        let total: f64 = streams.iter().map(|stream| stream.rate * seconds).sum();
        let begin = client.clock() + nanos(ALL.as_secs_f64() + EACH.as_secs_f64() * total);
        let mut events: Vec<(Planned, usize)> = Vec::new();
        for stream in streams {
            let channels = stream.channels.clone().cycle();
            let times = (0_u32..).map(|number| f64::from(number) / stream.rate);
            for (time, channel) in times.take_while(|time| *time < seconds).zip(channels) {
                let publishers = stream.publishers.len().max(1);
                let planned = Planned {
                    due: begin + nanos(time),
                    channel,
                    publisher: stream.publishers.start + channel as usize % publishers,
                };
                events.push((planned, stream.bytes));
            }
        }
        events.sort_by_key(|(planned, _)| planned.due);
        let mut requests = Requests::default();
        for (planned, bytes) in &events {
            let number = client.next_number(planned.channel);
            let due = planned.due;
            let data = data(Stamp { due, number }, *bytes);
            let name = client.channel_name(planned.channel);
            let seconds = due.saturating_sub(begin) / 1_000_000_000;
            requests.push(&signer.publish(&name, &data, seconds));
        }
        Self {
            events: events.into_iter().map(|(planned, _)| planned).collect(),
            requests,
            next: 0,
        }
    }

    /// When its next event is due.
    pub(super) fn due(&self) -> Option<u64> {
        self.events.get(self.next).map(|planned| planned.due)
    }
}

impl Cycle {
    /// Any requests, `count` times at most and for `time` at most.
    pub(crate) fn new(client: &Client, requests: Requests, count: u64, time: Duration) -> Self {
        Self {
            channels: vec![0; requests.len()],
            requests,
            next: 0,
            left: count,
            until: client.clock() + nanos(time.as_secs_f64()),
        }
    }

    /// Says to which channels the requests go.
    pub(crate) fn to(mut self, channels: Vec<u32>) -> Self {
        self.channels = channels;
        self
    }

    /// The next request's index, if there is to be one.
    pub(super) fn take(&mut self, now: u64) -> Option<usize> {
        if self.left == 0 || now >= self.until || self.requests.len() == 0 {
            return None;
        }
        self.left -= 1;
        let index = self.next;
        self.next = (index + 1) % self.requests.len();
        Some(index)
    }
}

/// Seconds of the future in nanoseconds.
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
