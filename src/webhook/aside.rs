//! Requests that have stepped aside: an endpoint refuses them again and again and may take others. They are retried
//! beside everything else, one at a time, until their time is over; later events of their channels wait behind them.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::queue::QueuedEvent;
use super::request::Request;
use super::sender::{Failure, Sender};

/// Requests that may be aside at a time; the next one that is refused holds up everything until one has ended.
const MAX: usize = 16;

/// A request of one channel, and what waits behind it.
struct Parked {
    request: Request,
    behind: WaitingBehind,
    due: Instant,
}

/// Later events of a channel.
pub(super) struct WaitingBehind {
    pub(super) channel: u64,
    pub(super) events: VecDeque<QueuedEvent>,
}

/// An attempt under way.
struct InFlight {
    channel: u64,
    begun: Instant,
    sending: Pin<Box<dyn Future<Output = Result<u16, Failure>>>>,
}

/// How an attempt ended.
pub(super) struct Attempted {
    pub(super) request: Request,
    pub(super) behind: WaitingBehind,
    pub(super) result: Result<u16, Failure>,
    pub(super) took: Duration,
}

/// All of one endpoint.
#[derive(Default)]
pub(super) struct Aside {
    parked: Vec<Parked>,
    in_flight: Option<InFlight>,
}

impl Aside {
    pub(super) fn has_room(&self) -> bool {
        self.parked.len() < MAX
    }

    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    /// All events, those that wait behind requests too.
    pub(super) fn iter(&self) -> impl Iterator<Item = &QueuedEvent> {
        self.parked
            .iter()
            .flat_map(|parked| parked.request.events.iter().chain(&parked.behind.events))
    }

    /// Adds a request, to be tried after a pause.
    pub(super) fn add(&mut self, request: Request, behind: WaitingBehind, pause: Duration) {
        self.parked.push(Parked {
            request,
            behind,
            due: Instant::now() + pause,
        });
    }

    /// Where an event waits, if a request of its channel is here.
    pub(super) fn line(&mut self, channel: u64) -> Option<&mut VecDeque<QueuedEvent>> {
        let mut parked = self.parked.iter_mut();
        let found = parked.find(|parked| parked.behind.channel == channel)?;
        Some(&mut found.behind.events)
    }

    /// All are due: the server is about to end.
    pub(super) fn retry_now(&mut self) {
        let now = Instant::now();
        for parked in &mut self.parked {
            parked.due = now;
        }
    }

    /// The next attempt, when it is due and over. May be dropped and called again at any time.
    pub(super) async fn next(&mut self, sender: &Rc<Sender>) -> Attempted {
        loop {
            let in_flight = match &mut self.in_flight {
                Some(in_flight) => in_flight,
                None => {
                    let next = self.parked.iter().min_by_key(|parked| parked.due);
                    let Some(next) = next else {
                        std::future::pending::<()>().await;
                        continue;
                    };
                    sleep_until(next.due).await;
                    let (sender, body) = (Rc::clone(sender), next.request.body.clone());
                    self.in_flight.insert(InFlight {
                        channel: next.behind.channel,
                        begun: Instant::now(),
                        sending: Box::pin(async move { sender.send(body).await }),
                    })
                }
            };
            let result = in_flight.sending.as_mut().await;
            let (channel, took) = (in_flight.channel, in_flight.begun.elapsed());
            self.in_flight = None;
            let mut parked = self.parked.iter();
            let at = parked.position(|parked| parked.behind.channel == channel);
            if let Some(at) = at {
                let Parked {
                    request, behind, ..
                } = self.parked.swap_remove(at);
                return Attempted {
                    request,
                    behind,
                    result,
                    took,
                };
            }
        }
    }
}
