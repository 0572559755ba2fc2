//! One timer for each connection, kept across its requests.
//!
//! The caller passes the deadline with every poll. This module reads the clock through [`crate::time`], and only after
//! its alarm has rung.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use tokio::runtime::{Handle, Id};

use crate::time::{now, sleep_until};

/// A timer that is kept across requests and armed again only for an earlier deadline.
///
/// Most deadlines never come. A request that ends leaves the timer armed, and the next request, whose deadline is
/// later, only checks whether the alarm has rung. An alarm that rings before the polled deadline is armed again.
///
/// An alarm rings only while its runtime is driven. A timer that is polled on another runtime makes a new alarm on that
/// runtime, because the first runtime may be gone or parked.
///
/// The runtime's timer wakes a [`Bell`] instead of the task. A kept connection can then forget the task of its last
/// request without a call to the runtime, which may be gone.
#[derive(Default)]
pub(crate) struct Timer {
    alarm: Option<Alarm>,
}

/// A sleep on one runtime, and the bell that the sleep wakes.
struct Alarm {
    sleep: Pin<Box<tokio::time::Sleep>>,
    /// Runtime that polls the timer. If this runtime has timers, the sleep also belongs to this runtime.
    runtime: Id,
    /// Whether the sleep was polled since it was armed, so that the runtime wakes the bell.
    is_set: bool,
    bell: Arc<Bell>,
    /// Waker of the bell.
    waker: Waker,
}

/// A bell passes the wake-up of a sleep on to the task that waits.
#[derive(Default)]
struct Bell {
    state: Mutex<BellState>,
}

#[derive(Default)]
struct BellState {
    /// Whether the sleep has ended since the last [`Bell::listen`].
    has_rung: bool,
    /// Task that is woken next.
    task: Option<Waker>,
}

/// The error of a timer that no runtime drives, so that its deadline never comes.
#[derive(Debug)]
pub(crate) struct RuntimeGone;

/// Returns the runtime that polls the timer, or `None` outside of a runtime.
fn here() -> Option<Id> {
    Handle::try_current().map(|handle| handle.id()).ok()
}

impl Timer {
    /// Becomes ready once `deadline` has passed, and wakes the task then.
    pub(crate) fn poll_until(
        &mut self,
        deadline: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), RuntimeGone>> {
        self.poll_until_on(here(), deadline, cx)
    }

    /// Becomes ready once `deadline` has passed, like [`poll_until`](Self::poll_until). The caller says which runtime
    /// polls the timer, which avoids the two atomic operations of `Handle::try_current`.
    #[inline]
    pub(crate) fn poll_until_on(
        &mut self,
        here: Option<Id>,
        deadline: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), RuntimeGone>> {
        if let Some(here) = here
            && self.alarm.as_ref().is_none_or(|alarm| alarm.runtime != here)
        {
            self.move_to(here, deadline);
        }
        let Some(alarm) = &mut self.alarm else { return Poll::Ready(Err(RuntimeGone)) };
        let polled = alarm.poll_until(deadline, cx);
        if let Poll::Ready(Err(RuntimeGone)) = polled {
            self.alarm = None;
        }
        polled
    }

    /// Makes an alarm on the runtime that polls the timer.
    #[cold]
    fn move_to(&mut self, here: Id, deadline: Instant) {
        match Alarm::new(here, deadline) {
            Some(alarm) => self.alarm = Some(alarm),
            // This runtime has no timers. The alarm of the other runtime stays, and this runtime is not tried again.
            None => {
                if let Some(alarm) = &mut self.alarm {
                    alarm.runtime = here;
                }
            }
        }
    }

    /// Forgets the task that the timer wakes, so that a kept connection does not keep that task alive.
    pub(crate) fn forget_task(&mut self) {
        if let Some(alarm) = &self.alarm {
            let task = alarm.bell.lock().task.take();
            drop(task);
        }
    }
}

impl Alarm {
    /// Makes an alarm on `here`, the current runtime. Returns `None` if the runtime has no timers.
    fn new(here: Id, deadline: Instant) -> Option<Self> {
        // Tokio panics when a sleep is made on a runtime without timers, and offers no other way to check for timers.
        let sleep = Box::pin(catch_unwind(|| sleep_until(deadline)).ok()?);
        let bell = Arc::new(Bell::default());
        Some(Self { sleep, runtime: here, is_set: false, waker: bell.clone().into(), bell })
    }

    /// Becomes ready once `deadline` has passed, and wakes the task then.
    fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<Result<(), RuntimeGone>> {
        if deadline < self.armed() {
            self.arm(deadline);
        }
        // The bell gets the task before the sleep is polled, so that no ring is lost. The bell may ring at once,
        // because a sleep that is polled too often within one poll of a task yields and wakes the task.
        let has_rung = self.bell.listen(cx.waker());
        if self.is_set && !has_rung {
            return Poll::Pending;
        }
        while self.poll()?.is_ready() {
            if self.armed() >= deadline || now() >= deadline {
                return Poll::Ready(Ok(()));
            }
            self.arm(deadline);
        }
        Poll::Pending
    }

    /// Returns the time at which the sleep ends.
    fn armed(&self) -> Instant {
        self.sleep.deadline().into_std()
    }

    /// Arms the sleep, so that it ends at `deadline`.
    fn arm(&mut self, deadline: Instant) {
        self.sleep.as_mut().reset(deadline.into());
        self.is_set = false;
    }

    /// Polls the sleep. Tokio panics if the runtime of the sleep has ended.
    fn poll(&mut self) -> Result<Poll<()>, RuntimeGone> {
        let (sleep, waker) = (self.sleep.as_mut(), &self.waker);
        let poll = move || sleep.poll(&mut Context::from_waker(waker));
        let polled = catch_unwind(AssertUnwindSafe(poll)).map_err(|_| RuntimeGone)?;
        self.is_set = polled.is_pending();
        Ok(polled)
    }
}

impl Bell {
    /// Sets the task that the next ring wakes. Returns whether the bell has rung since the last call.
    ///
    /// Cloning or dropping a waker runs the caller's code, so that no waker is cloned or dropped under the lock.
    fn listen(&self, task: &Waker) -> bool {
        let mut new = None;
        let mut state = self.lock();
        if !state.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            drop(state);
            new = Some(task.clone());
            state = self.lock();
            std::mem::swap(&mut state.task, &mut new);
        }
        let has_rung = std::mem::take(&mut state.has_rung);
        drop(state);
        drop(new);
        has_rung
    }

    fn lock(&self) -> MutexGuard<'_, BellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut state = self.lock();
        state.has_rung = true;
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").field("armed", &self.alarm.as_ref().map(Alarm::armed)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_serves_one_deadline_after_another() {
        let start = now();
        let mut timer = Timer::default();
        let mut pass = async |deadline: Instant| {
            std::future::poll_fn(|cx| timer.poll_until(deadline, cx)).await.unwrap();
            now() - start
        };
        assert_eq!(pass(start + Duration::from_secs(5)).await, Duration::from_secs(5));
        assert_eq!(
            pass(start + Duration::from_secs(9)).await,
            Duration::from_secs(9),
            "a later deadline arms again"
        );
        assert_eq!(
            pass(start + Duration::from_secs(2)).await,
            Duration::from_secs(9),
            "a past deadline is ready at once"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_re_arms_and_a_later_one_waits_for_the_old_arming() {
        let start = now();
        let mut timer = Timer::default();
        let once = |timer: &mut Timer, after: u64| {
            timer.poll_until(start + Duration::from_secs(after), &mut Context::from_waker(Waker::noop()))
        };
        assert!(once(&mut timer, 10).is_pending());
        assert!(once(&mut timer, 20).is_pending());
        std::future::poll_fn(|cx| timer.poll_until(start + Duration::from_secs(20), cx)).await.unwrap();
        assert_eq!(now() - start, Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_task_is_neither_kept_nor_woken() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let task = Arc::new(Count(0.into()));
        let waker = Waker::from(task.clone());
        let mut timer = Timer::default();
        let deadline = now() + Duration::from_secs(1);
        assert!(timer.poll_until(deadline, &mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&task), 2, "the timer holds the task");
        timer.forget_task();
        assert_eq!(Arc::strong_count(&task), 1, "the timer forgets the task");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(task.0.load(std::sync::atomic::Ordering::Relaxed), 0);
        let waker = Waker::from(task.clone());
        assert!(timer.poll_until(deadline, &mut Context::from_waker(&waker)).is_ready());
    }

    /// A sleep that is polled too often within one poll of a task yields. Outside of a worker, tokio wakes such a task
    /// at once.
    #[test]
    fn many_timers_in_one_poll_do_not_spin() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let deadline = now() + Duration::from_millis(5);
            let mut timers: Vec<_> = (0..500).map(|_| Timer::default()).collect();
            std::future::poll_fn(|cx| {
                timers.retain_mut(|timer| timer.poll_until(deadline, cx).is_pending());
                if timers.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
    }

    #[test]
    fn a_timer_survives_its_runtime_and_works_on_the_next() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut timer = Timer::default();
        let deadline = now() + Duration::from_secs(9);
        assert!(
            matches!(timer.poll_until(deadline, &mut cx), Poll::Ready(Err(RuntimeGone))),
            "outside of a runtime"
        );
        let first = runtime();
        first.block_on(async { assert!(timer.poll_until(deadline, &mut cx).is_pending()) });
        drop(first);
        let earlier = deadline - Duration::from_secs(1);
        let polled = timer.poll_until(earlier, &mut cx);
        assert!(matches!(polled, Poll::Ready(Err(RuntimeGone))), "outside of a runtime again");
        let second = runtime();
        second.block_on(async {
            assert!(timer.poll_until(earlier, &mut cx).is_pending(), "on another runtime")
        });
        drop(second);
        let third = runtime();
        third.block_on(async {
            assert!(timer.poll_until(deadline, &mut cx).is_pending(), "on a third runtime")
        });
    }

    /// Checks a timer whose first runtime exists, but is not driven.
    #[test]
    fn a_timer_rings_on_the_runtime_that_polls_it() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (parked, other) = (runtime(), runtime());
        let mut timer = Timer::default();
        let deadline = now() + Duration::from_millis(30);
        let mut cx = Context::from_waker(Waker::noop());
        parked.block_on(async { assert!(timer.poll_until(deadline, &mut cx).is_pending()) });
        other.block_on(async {
            let rings = std::future::poll_fn(|cx| timer.poll_until(deadline, cx));
            tokio::time::timeout(Duration::from_secs(20), rings).await.expect("the alarm rings").unwrap();
        });
        let deadline = now() + Duration::from_millis(30);
        parked.block_on(async {
            let rings = std::future::poll_fn(|cx| timer.poll_until(deadline, cx));
            tokio::time::timeout(Duration::from_secs(20), rings)
                .await
                .expect("the alarm rings on the first runtime again")
                .unwrap();
        });
    }

    /// Checks that a runtime without timers uses the alarm of an earlier runtime. Without an earlier runtime, the poll
    /// fails.
    #[test]
    fn a_runtime_without_timers_uses_an_earlier_alarm() {
        let without = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let driven =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut timer = Timer::default();
        let deadline = now() + Duration::from_millis(30);
        let mut cx = Context::from_waker(Waker::noop());
        without.block_on(async {
            assert!(matches!(timer.poll_until(deadline, &mut cx), Poll::Ready(Err(RuntimeGone))));
        });
        driven.block_on(async { assert!(timer.poll_until(deadline, &mut cx).is_pending()) });
        without.block_on(std::future::poll_fn(|cx| timer.poll_until(deadline, cx))).unwrap();
    }

    #[test]
    fn outside_of_a_runtime_nothing_panics() {
        let panics = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (counted, here) = (panics.clone(), std::thread::current().id());
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().id() == here {
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            before(panic);
        }));
        let mut timer = Timer::default();
        let polled = timer.poll_until(now(), &mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Err(RuntimeGone))));
        assert_eq!(panics.load(std::sync::atomic::Ordering::SeqCst), 0, "the panic hook was called");
    }
}
