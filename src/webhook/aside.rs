//! Requests that have stepped aside because the endpoint refuses them again and again. They are retried beside the
//! others, one at a time, until their time is over. Later events of their channels wait behind them.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::queue::QueuedEvent;
use super::request::Request;
use super::sender::{Failure, Sender};

/// Requests that may be aside at a time. Beyond it a refused request blocks the endpoint until one has ended.
const MAX: usize = 16;

/// A request of one channel, and the events behind it.
struct Parked {
    request: Request,
    behind: WaitingBehind,
    due: Instant,
}

/// Later events of a request's channel.
pub(super) struct WaitingBehind {
    pub(super) channel: u64,
    pub(super) events: VecDeque<QueuedEvent>,
}

/// An attempt in progress.
struct InFlight {
    channel: u64,
    begun: Instant,
    sending: Pin<Box<dyn Future<Output = Result<u16, Failure>>>>,
}

/// A finished attempt.
pub(super) struct Attempted {
    pub(super) request: Request,
    pub(super) behind: WaitingBehind,
    pub(super) result: Result<u16, Failure>,
    pub(super) took: Duration,
}

/// The requests of one endpoint that have stepped aside.
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

    /// The events of all requests and those behind them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &QueuedEvent> {
        self.parked
            .iter()
            .flat_map(|parked| parked.request.events.iter().chain(&parked.behind.events))
    }

    /// Adds a request, whose next attempt is after `pause`.
    pub(super) fn add(&mut self, request: Request, behind: WaitingBehind, pause: Duration) {
        self.parked.push(Parked {
            request,
            behind,
            due: Instant::now() + pause,
        });
    }

    /// The events behind the request of a channel, if there is one.
    pub(super) fn line(&mut self, channel: u64) -> Option<&mut VecDeque<QueuedEvent>> {
        let mut parked = self.parked.iter_mut();
        let found = parked.find(|parked| parked.behind.channel == channel)?;
        Some(&mut found.behind.events)
    }

    /// Makes all requests due: the server is about to end.
    pub(super) fn retry_now(&mut self) {
        let now = Instant::now();
        for parked in &mut self.parked {
            parked.due = now;
        }
    }

    /// Waits for the next attempt to be due and finished. Cancel-safe.
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
