//! The only clock of the crate.
//!
//! Everything that needs to know the time is told it as an argument, or asks here. The readings come from tokio's
//! clock, so that paused time works in tests, and travel as [`std::time::Instant`], so that the pure files need no
//! tokio to hold them. Invariant: no other file of `src` calls an `Instant::now`.

use std::future::Future;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What the clock shows now.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Completes at `deadline`.
pub(crate) fn sleep_until(deadline: Instant) -> tokio::time::Sleep {
    tokio::time::sleep_until(deadline.into())
}

/// Whether the runtime that polls us has timers. One that has none panics where the first is made: better here.
pub(crate) fn has_timers() -> bool {
    catch_unwind(|| drop(sleep_until(now()))).is_ok()
}

/// `start + after`, or a point so far away that it never comes, where the sum cannot be represented.
pub(crate) fn after(start: Instant, after: Duration) -> Instant {
    start.checked_add(after).unwrap_or_else(|| start + FAR)
}

/// About thirty years: what "never" means to a timer.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// One timer that is kept across requests and re-armed only to an earlier deadline.
///
/// Most deadlines never come: a request that ends leaves the timer as it is, and the next one, whose deadline is
/// later, only asks whether it has fired. When it fires early for the deadline asked about, it is armed again.
#[derive(Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Timer {
    /// Ready once `deadline` has passed; the task is woken then.
    pub(crate) fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < sleep.deadline().into_std() {
            sleep.as_mut().reset(deadline.into());
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline().into_std() >= deadline || now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").field("armed", &self.sleep.as_ref().map(|sleep| sleep.deadline())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_serves_one_deadline_after_another() {
        let start = now();
        let mut timer = Timer::default();
        let mut pass = async |deadline: Instant| {
            std::future::poll_fn(|cx| timer.poll_until(deadline, cx)).await;
            now() - start
        };
        assert_eq!(pass(start + Duration::from_secs(5)).await, Duration::from_secs(5));
        assert_eq!(pass(start + Duration::from_secs(9)).await, Duration::from_secs(9), "later: armed again");
        assert_eq!(pass(start + Duration::from_secs(2)).await, Duration::from_secs(9), "past: at once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_re_arms_and_a_later_one_waits_for_the_old_arming() {
        let start = now();
        let mut timer = Timer::default();
        let once = |timer: &mut Timer, after: u64| {
            timer.poll_until(
                start + Duration::from_secs(after),
                &mut Context::from_waker(std::task::Waker::noop()),
            )
        };
        assert!(once(&mut timer, 10).is_pending());
        assert!(once(&mut timer, 20).is_pending());
        std::future::poll_fn(|cx| timer.poll_until(start + Duration::from_secs(20), cx)).await;
        assert_eq!(now() - start, Duration::from_secs(20));
    }
}
