//! One timer for each connection, kept across its requests.
//!
//! The timer is told its deadline with every poll. It reads the clock through [`crate::time`] only when its alarm has
//! rung.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use tokio::runtime::{Handle, Id};

use crate::time::{now, sleep_until};

/// One timer that is kept across requests and re-armed only to an earlier deadline.
///
/// Most deadlines never come: a request that ends leaves the timer as it is, and the next one, whose deadline is
/// later, only asks whether it has rung. When it rings early for the deadline asked about, it is armed again.
///
/// An alarm rings while its runtime is driven. A timer that is polled on another runtime than its alarm's makes a new
/// alarm there: the first runtime may be gone, or parked.
///
/// The runtime's timer wakes a [`Bell`], not the task, so that a kept connection does not keep the task of its last
/// request, and so that to forget it needs no runtime (which may be gone by then).
#[derive(Default)]
pub(crate) struct Timer {
    alarm: Option<Alarm>,
}

struct Alarm {
    sleep: Pin<Box<tokio::time::Sleep>>,
    /// The runtime whose timer rings.
    runtime: Id,
    /// The runtime knows whom to wake: the sleep was polled since it was armed.
    is_set: bool,
    bell: Arc<Bell>,
    waker: Waker,
}

#[derive(Default)]
struct Bell {
    state: Mutex<BellState>,
}

#[derive(Default)]
struct BellState {
    has_rung: bool,
    task: Option<Waker>,
}

/// There is no runtime with timers here: the deadline will never come.
#[derive(Debug)]
pub(crate) struct RuntimeGone;

/// Returns the runtime that polls us, if there is one.
fn here() -> Option<Id> {
    Handle::try_current().map(|handle| handle.id()).ok()
}

impl Timer {
    /// Ready once `deadline` has passed; the task is woken then.
    pub(crate) fn poll_until(
        &mut self,
        deadline: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), RuntimeGone>> {
        self.poll_until_on(here(), deadline, cx)
    }

    /// Polls as [`poll_until`](Self::poll_until) does, for a caller that knows which runtime polls it. Avoids
    /// `Handle::try_current`, which costs two atomic operations on shared memory.
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

    /// Makes an alarm on the runtime that polls us.
    #[cold]
    fn move_to(&mut self, here: Id, deadline: Instant) {
        match Alarm::new(here, deadline) {
            Some(alarm) => self.alarm = Some(alarm),
            // This runtime has no timers. Keeps the alarm of the other runtime, and does not try here again.
            None => {
                if let Some(alarm) = &mut self.alarm {
                    alarm.runtime = here;
                }
            }
        }
    }

    /// Lets go of the task.
    pub(crate) fn forget_task(&mut self) {
        if let Some(alarm) = &self.alarm {
            let task = alarm.bell.lock().task.take();
            drop(task);
        }
    }
}

impl Alarm {
    /// `here` is the runtime that polls us. `None`: it has no timers.
    fn new(here: Id, deadline: Instant) -> Option<Self> {
        // (Tokio has no way to ask: to make a sleep panics there.)
        let sleep = Box::pin(catch_unwind(|| sleep_until(deadline)).ok()?);
        let bell = Arc::new(Bell::default());
        Some(Self { sleep, runtime: here, is_set: false, waker: bell.clone().into(), bell })
    }

    fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<Result<(), RuntimeGone>> {
        if deadline < self.armed() {
            self.arm(deadline);
        }
        // The task is known before the sleep is asked, so that a ring in between is not lost. It may come at once:
        // a sleep that is asked too often within one poll of a task puts the task off, and wakes it.
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

    fn armed(&self) -> Instant {
        self.sleep.deadline().into_std()
    }

    fn arm(&mut self, deadline: Instant) {
        self.sleep.as_mut().reset(deadline.into());
        self.is_set = false;
    }

    /// A sleep panics where its runtime has ended.
    fn poll(&mut self) -> Result<Poll<()>, RuntimeGone> {
        let (sleep, waker) = (self.sleep.as_mut(), &self.waker);
        let poll = move || sleep.poll(&mut Context::from_waker(waker));
        let polled = catch_unwind(AssertUnwindSafe(poll)).map_err(|_| RuntimeGone)?;
        self.is_set = polled.is_pending();
        Ok(polled)
    }
}

impl Bell {
    /// Wakes `task` when it rings. Answers whether it has rung since it was last asked.
    ///
    /// (A waker is the caller's code: it is cloned and dropped without the lock.)
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
        assert_eq!(pass(start + Duration::from_secs(9)).await, Duration::from_secs(9), "later: armed again");
        assert_eq!(pass(start + Duration::from_secs(2)).await, Duration::from_secs(9), "past: at once");
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
        assert_eq!(Arc::strong_count(&task), 1, "and lets it go");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(task.0.load(std::sync::atomic::Ordering::Relaxed), 0);
        let waker = Waker::from(task.clone());
        assert!(timer.poll_until(deadline, &mut Context::from_waker(&waker)).is_ready());
    }

    /// Within one poll of a task, tokio puts off what asks too often, and outside of a worker it wakes at once.
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
    fn a_runtime_that_is_gone_is_an_answer() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut timer = Timer::default();
        let deadline = now() + Duration::from_secs(9);
        assert!(
            matches!(timer.poll_until(deadline, &mut cx), Poll::Ready(Err(RuntimeGone))),
            "outside of any"
        );
        let first = runtime();
        first.block_on(async { assert!(timer.poll_until(deadline, &mut cx).is_pending()) });
        drop(first);
        let earlier = deadline - Duration::from_secs(1);
        let polled = timer.poll_until(earlier, &mut cx);
        assert!(matches!(polled, Poll::Ready(Err(RuntimeGone))), "outside of any again");
        let second = runtime();
        second.block_on(async { assert!(timer.poll_until(earlier, &mut cx).is_pending(), "on another") });
        drop(second);
        let third = runtime();
        third.block_on(async { assert!(timer.poll_until(deadline, &mut cx).is_pending(), "and another") });
    }

    /// The runtime is there, and nobody drives it.
    #[test]
    fn a_timer_that_moves_rings_where_it_is_polled() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (parked, other) = (runtime(), runtime());
        let mut timer = Timer::default();
        let deadline = now() + Duration::from_millis(30);
        let mut cx = Context::from_waker(Waker::noop());
        parked.block_on(async { assert!(timer.poll_until(deadline, &mut cx).is_pending()) });
        other.block_on(async {
            let rings = std::future::poll_fn(|cx| timer.poll_until(deadline, cx));
            tokio::time::timeout(Duration::from_secs(20), rings).await.expect("it rings").unwrap();
        });
        let deadline = now() + Duration::from_millis(30);
        parked.block_on(async {
            let rings = std::future::poll_fn(|cx| timer.poll_until(deadline, cx));
            tokio::time::timeout(Duration::from_secs(20), rings).await.expect("and back").unwrap();
        });
    }

    /// A runtime without timers has those of another that was there before, and without any is told so.
    #[test]
    fn a_runtime_without_timers_relies_on_another() {
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
