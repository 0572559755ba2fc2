//! The time limits of the steps of a dial: the limit of the whole dial, and the limits of single steps.
//!
//! Invariant: a step never ends later than the whole dial.

use std::fmt;
use std::time::{Duration, Instant};

use crate::time;
use crate::timings::Rounded;

/// Time at which a step of a dial must end, and the setting that sets this time. `Display` writes the time and the
/// setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    end: Instant,
    after: Duration,
    /// Name of the setting that limits the step alone. With `None`, the limit of the whole dial applies.
    own: Option<&'static str>,
}

impl Limit {
    /// Returns the limit of a dial that began at `started`.
    pub(crate) fn of_dial(started: Instant, connect_timeout: Duration) -> Self {
        Self { end: time::after(started, connect_timeout), after: connect_timeout, own: None }
    }

    /// Returns the limit of a step that begins now. `own` is the time that the step may take, if a setting limits the
    /// step.
    pub(super) fn of_step(self, own: Option<Duration>, setting: &'static str) -> Self {
        let Some(after) = own else { return self };
        let end = time::after(time::now(), after);
        if end < self.end { Self { end, after, own: Some(setting) } } else { self }
    }

    /// Returns the time at which the step ends.
    pub(crate) fn end(self) -> Instant {
        self.end
    }

    /// Runs `work` until its end or the limit. Returns `None` if the time has passed.
    pub(super) async fn run<T>(self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.end.into(), work).await.ok()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = Rounded(self.after);
        match self.own {
            Some(setting) => write!(f, "{after} ({setting})"),
            None => write!(f, "{after} of the start of the dial (connect_timeout)"),
        }
    }
}
