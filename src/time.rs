//! The only clock of the crate.
//!
//! Code that needs the time gets it as an argument or calls this file. The clock is tokio's, so that tests can pause
//! it, and its readings are [`std::time::Instant`]s, so that the files without I/O need no tokio. Invariant: no other
//! file of `src` calls an `Instant::now`.

use std::panic::catch_unwind;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;

/// Returns the current time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns a future that completes at `deadline`.
pub(crate) fn sleep_until(deadline: Instant) -> tokio::time::Sleep {
    tokio::time::sleep_until(deadline.into())
}

/// Whether the current runtime has timers. Tokio panics when a timer is made on a runtime without timers, and offers no
/// other way to check for timers.
pub(crate) fn has_timers() -> bool {
    Handle::try_current().is_ok() && catch_unwind(|| drop(sleep_until(now()))).is_ok()
}

/// Returns `start + after`, or a time that never comes if the sum overflows.
pub(crate) fn after(start: Instant, after: Duration) -> Instant {
    start.checked_add(after).unwrap_or_else(|| start + FAR)
}

/// About thirty years. A timer treats a time so far ahead as "never".
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// Returns the time of day, which is only used to detect that the machine was suspended.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// A time of day.
pub(crate) type Wall = SystemTime;

/// Returns the number of seconds from the beginning of 1970, for dates that servers set.
#[cfg(feature = "cookies")]
pub(crate) fn unix() -> i64 {
    let since = wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Returns the time of day that is `seconds` after the beginning of 1970, or `None` if the system cannot represent it.
#[cfg(feature = "cookies")]
pub(crate) fn wall_at(seconds: i64) -> Option<Wall> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    match seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(distance),
        _ => SystemTime::UNIX_EPOCH.checked_sub(distance),
    }
}

/// Returns the number of milliseconds from the beginning of 1970 until a time of day.
#[cfg(feature = "har")]
pub(crate) fn unix_milliseconds(time: Wall) -> i128 {
    let milliseconds = |duration: Duration| i128::try_from(duration.as_millis()).unwrap_or(i128::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => milliseconds(after),
        Err(before) => -milliseconds(before.duration()),
    }
}

/// Detects that the machine was suspended: the time of day went on while the clock stood still.
#[derive(Debug)]
pub(crate) struct Awake {
    /// Time of the last check by the clock.
    clock: Instant,
    /// Time of day of the last check.
    wall: SystemTime,
    /// Time at which the latest suspension was detected.
    woke: Option<Instant>,
}

impl Awake {
    /// Returns a detector that starts now.
    pub(crate) fn new() -> Self {
        Self { clock: now(), wall: wall(), woke: None }
    }

    /// Returns a detector that will see a suspension of an hour.
    #[cfg(test)]
    pub(crate) fn an_hour_ago() -> Self {
        Self { clock: now(), wall: wall() - Duration::from_secs(3_600), woke: None }
    }

    /// Whether the machine was suspended since the last call. Setting the time of day forward has the same effect as a
    /// suspension.
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

    /// Returns the time at which the latest suspension was detected.
    pub(crate) fn woke(&self) -> Option<Instant> {
        self.woke
    }
}

/// Length of the longest suspension that connections survive.
const NAP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "har")]
    #[test]
    fn milliseconds_count_from_1970_in_both_directions() {
        let ms = Duration::from_millis(1_234);
        assert_eq!(unix_milliseconds(SystemTime::UNIX_EPOCH + ms), 1_234);
        assert_eq!(unix_milliseconds(SystemTime::UNIX_EPOCH - ms), -1_234);
    }

    #[test]
    fn rule_17_a_suspension_is_time_that_passed_on_the_wall_clock_only() {
        let (now, wall, s) = (now(), wall(), Duration::from_secs);
        let mut awake = Awake { clock: now, wall, woke: None };
        // The two clocks advance, and the wall clock is a little ahead of the other clock.
        assert!(!awake.has_slept(now + s(1_000), wall + s(1_005)));
        // The wall clock is a little ahead in the first check, and too far ahead in the second check.
        assert!(!awake.has_slept(now + s(2_000), wall + s(2_010)));
        assert!(awake.has_slept(now + s(2_001), wall + s(2_017)));
        assert!(!awake.has_slept(now + s(2_002), wall + s(2_018)), "a suspension is reported once");
        // The time of day is set back, and later set forward, which looks like a suspension.
        assert!(!awake.has_slept(now + s(2_003), wall));
        assert!(awake.has_slept(now + s(2_004), wall + s(2_000)));
        // The clock is ahead of the time of day, as when a test has paused the clock.
        assert!(!awake.has_slept(now + s(9_000), wall + s(2_001)));
    }
}
