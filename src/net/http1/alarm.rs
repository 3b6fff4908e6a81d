//! A deadline that moves: a timer is armed once for many of them.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// Wakes a task when a deadline is over. A deadline that is put off costs nothing: the timer goes off at the old one
/// and is set anew. So a busy connection, whose every request has a deadline, sets one timer a minute.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when it is `end`; otherwise the context's task is woken by then.
    pub(super) fn poll(&mut self, end: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if end < sleep.deadline() {
            sleep.as_mut().reset(end);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if end <= sleep.deadline() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(end);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_at_the_last_deadline_that_it_was_given() {
        let seconds = |n| Duration::from_secs(n);
        let begun = Instant::now();
        let mut alarm = Alarm::default();
        // Whether it is pending at the first look.
        let is_pending = async |alarm: &mut Alarm, end| {
            poll_fn(|cx| Poll::Ready(alarm.poll(end, cx).is_pending())).await
        };
        assert!(is_pending(&mut alarm, begun + seconds(10)).await);
        assert!(is_pending(&mut alarm, begun + seconds(75)).await);
        poll_fn(|cx| alarm.poll(begun + seconds(75), cx)).await;
        assert_eq!(begun.elapsed(), seconds(75));
        // An earlier one than the timer is set to.
        let begun = Instant::now();
        assert!(is_pending(&mut alarm, begun + seconds(75)).await);
        poll_fn(|cx| alarm.poll(begun + seconds(10), cx)).await;
        assert_eq!(begun.elapsed(), seconds(10));
        // One that is over already.
        poll_fn(|cx| alarm.poll(begun, cx)).await;
        assert_eq!(begun.elapsed(), seconds(10));
    }
}
