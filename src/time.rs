//! The only clock of the crate.
//!
//! Everything that needs to know the time is told it as an argument, or asks here. The readings come from tokio's
//! clock, so that paused time works in tests, and travel as [`std::time::Instant`], so that the pure files need no
//! tokio to hold them. Invariant: no other file of `src` calls an `Instant::now`.

use std::panic::catch_unwind;
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
    /// Time at which the latest suspension was noticed.
    woke: Option<Instant>,
}

impl Awake {
    pub(crate) fn new() -> Self {
        Self { clock: now(), wall: wall(), woke: None }
    }

    #[cfg(test)]
    pub(crate) fn an_hour_ago() -> Self {
        Self { clock: now(), wall: wall() - Duration::from_secs(3_600), woke: None }
    }

    /// Whether it was, since the last time this was asked. (That somebody set the time of day looks the same.)
    pub(crate) fn has_slept(&mut self, now: Instant, wall: SystemTime) -> bool {
        let lived = now.saturating_duration_since(self.clock);
        let passed = wall.duration_since(self.wall).unwrap_or_default();
        (self.clock, self.wall) = (now, wall);
        let has_slept = passed > lived.saturating_add(NAP);
        if has_slept {
            self.woke = Some(now);
        }
        has_slept
    }

    /// Time at which the latest suspension was noticed.
    pub(crate) fn woke(&self) -> Option<Instant> {
        self.woke
    }
}

/// A suspension that connections survive.
const NAP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_17_a_suspension_is_time_that_only_the_wall_has_seen() {
        let (now, wall, s) = (now(), wall(), Duration::from_secs);
        let mut awake = Awake { clock: now, wall, woke: None };
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
}
