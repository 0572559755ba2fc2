//! The only clock of the crate.
//!
//! Everything that needs to know the time is told it as an argument, or asks here. The readings come from tokio's
//! clock, so that paused time works in tests, and travel as [`std::time::Instant`], so that the pure files need no
//! tokio to hold them. Invariant: no other file of `src` calls an `Instant::now`.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;

/// What the clock shows now.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Completes at `deadline`.
pub(crate) fn sleep_until(deadline: Instant) -> tokio::time::Sleep {
    tokio::time::sleep_until(deadline.into())
}

/// Whether there is a runtime here, and it has timers. A runtime that was built without timers panics where the first is
/// made, and tokio has no other way to ask it.
pub(crate) fn has_timers() -> bool {
    Handle::try_current().is_ok() && catch_unwind(|| drop(sleep_until(now()))).is_ok()
}

/// `start + after`, or a point so far away that it never comes, where the sum cannot be represented.
pub(crate) fn after(start: Instant, after: Duration) -> Instant {
    start.checked_add(after).unwrap_or_else(|| start + FAR)
}

/// About thirty years: what "never" means to a timer.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// The time of day: only to notice that the machine was suspended.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Notices that the machine was suspended: the time of day went on, and the clock stood still.
#[derive(Debug)]
pub(crate) struct Awake {
    clock: Instant,
    wall: SystemTime,
}

impl Awake {
    pub(crate) fn new() -> Self {
        Self { clock: now(), wall: wall() }
    }

    #[cfg(test)]
    pub(crate) fn an_hour_ago() -> Self {
        Self { clock: now(), wall: wall() - Duration::from_secs(3_600) }
    }

    /// Whether it was, since the last time this was asked. (That somebody set the time of day looks the same.)
    pub(crate) fn has_slept(&mut self, now: Instant, wall: SystemTime) -> bool {
        let lived = now.saturating_duration_since(self.clock);
        let passed = wall.duration_since(self.wall).unwrap_or_default();
        (self.clock, self.wall) = (now, wall);
        passed > lived.saturating_add(NAP)
    }
}

/// A suspension that connections survive.
const NAP: Duration = Duration::from_secs(5);

/// One timer that is kept across requests and re-armed only to an earlier deadline.
///
/// Most deadlines never come: a request that ends leaves the timer as it is, and the next one, whose deadline is
/// later, only asks whether it has rung. When it rings early for the deadline asked about, it is armed again.
///
/// The runtime's timer wakes a [`Bell`], not the task, so that a kept connection does not keep the task of its last
/// request, and so that to forget it needs no runtime (which may be gone by then).
#[derive(Default)]
pub(crate) struct Timer {
    alarm: Option<Alarm>,
}

struct Alarm {
    sleep: Pin<Box<tokio::time::Sleep>>,
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

impl Timer {
    /// Ready once `deadline` has passed; the task is woken then.
    pub(crate) fn poll_until(
        &mut self,
        deadline: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), RuntimeGone>> {
        let is_kept = self.alarm.is_some();
        let polled = self.poll_alarm(deadline, cx);
        if let Poll::Ready(Err(RuntimeGone)) = polled {
            self.alarm = None;
            if is_kept {
                // It was made on another runtime, which is gone: this one may have timers.
                return self.poll_alarm(deadline, cx);
            }
        }
        polled
    }

    fn poll_alarm(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<Result<(), RuntimeGone>> {
        let alarm = match &mut self.alarm {
            Some(alarm) => alarm,
            none => {
                // Outside of any runtime this is asked, not tried: a panic may abort the process.
                Handle::try_current().map_err(|_| RuntimeGone)?;
                none.insert(catch_unwind(|| Alarm::new(deadline)).map_err(|_| RuntimeGone)?)
            }
        };
        if deadline < alarm.armed() {
            alarm.arm(deadline);
        }
        // The task is known before the sleep is asked, so that a ring in between is not lost. It may come at once:
        // a sleep that is asked too often within one poll of a task puts the task off, and wakes it.
        let has_rung = alarm.bell.listen(cx.waker());
        if alarm.is_set && !has_rung {
            return Poll::Pending;
        }
        while alarm.poll()?.is_ready() {
            if alarm.armed() >= deadline || now() >= deadline {
                return Poll::Ready(Ok(()));
            }
            alarm.arm(deadline);
        }
        Poll::Pending
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
    fn new(deadline: Instant) -> Self {
        let bell = Arc::new(Bell::default());
        Self { sleep: Box::pin(sleep_until(deadline)), is_set: false, waker: bell.clone().into(), bell }
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
    fn listen(&self, task: &Waker) -> bool {
        let mut state = self.lock();
        match &mut state.task {
            Some(known) => known.clone_from(task),
            none => *none = Some(task.clone()),
        }
        std::mem::take(&mut state.has_rung)
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
    use super::*;

    #[test]
    fn rule_17_a_suspension_is_time_that_only_the_wall_has_seen() {
        let (now, wall, s) = (now(), wall(), Duration::from_secs);
        let mut awake = Awake { clock: now, wall };
        // Time passes, on both; the wall a little ahead.
        assert!(!awake.has_slept(now + s(1_000), wall + s(1_005)));
        // From then on: again a little ahead, and then too much.
        assert!(!awake.has_slept(now + s(2_000), wall + s(2_010)));
        assert!(awake.has_slept(now + s(2_001), wall + s(2_017)));
        assert!(!awake.has_slept(now + s(2_002), wall + s(2_018)), "told once");
        // The time of day was set back, and forth again (which looks the same).
        assert!(!awake.has_slept(now + s(2_003), wall));
        assert!(awake.has_slept(now + s(2_004), wall + s(2_000)));
        // The clock is ahead, as where a test has paused it.
        assert!(!awake.has_slept(now + s(9_000), wall + s(2_001)));
    }

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
}
