//! The milestones of one request, and the timings that are cut from them.
//!
//! This module reads no clock, except for responses that did not come over a connection. Invariant: the phases sum to
//! the total, because they are cut from one interval.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{EarlierAttempt, Phase};
use crate::time;
use crate::timings::Timings;
use crate::trace::{Interval, Milestones};

/// The timings of a request whose response head has come. The first call that needs the timings computes the
/// timings from the milestones.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    timeline: Timeline,
    timings: OnceLock<Box<Timings>>,
}

impl Measured {
    /// Creates the record of a response that did not come over a connection.
    pub(crate) fn made(timings: Timings) -> Self {
        Self { timeline: Timeline::new(time::now()), timings: OnceLock::from(Box::new(timings)) }
    }

    pub(super) fn new(timeline: Timeline) -> Self {
        Self { timeline, timings: OnceLock::new() }
    }

    pub(crate) fn timings(&self) -> &Timings {
        self.timings.get_or_init(|| Box::new(self.timeline.timings(|| self.timeline.call)))
    }

    /// Returns the attempts before the attempt that was answered.
    pub(crate) fn earlier(&self) -> &[EarlierAttempt] {
        self.timeline.earlier()
    }
}

/// The milestones of one request, from which its [`Timings`] are cut.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    /// Time at which the caller sent the request.
    pub(super) call: Instant,
    /// Time at which the current attempt began.
    pub(super) attempt: Instant,
    /// The parts that few requests have. Behind one pointer: keeps the timeline small, because most requests neither
    /// wait for a dial nor are sent again.
    past: Option<Arc<Past>>,
    pub(super) assigned: Option<Instant>,
    pub(super) written: Option<Instant>,
    pub(super) head: Option<Instant>,
    pub(super) end: Option<Instant>,
}

/// The dial that the attempt waited for, and the events before the attempt asked for a connection.
#[derive(Clone, Debug, Default)]
struct Past {
    /// Time at which the attempt began to read the caller's body into memory, if the attempt did so.
    gathered_since: Option<Instant>,
    /// Milestones that the dial of this attempt has reached, if the attempt waited for a dial.
    dial: Option<Milestones>,
    earlier: Vec<EarlierAttempt>,
}

impl Timeline {
    pub(super) fn new(now: Instant) -> Self {
        Self { call: now, attempt: now, past: None, assigned: None, written: None, head: None, end: None }
    }

    /// Begins a new attempt. The time before `now` counts as [`Timings::previous`].
    #[cold]
    pub(super) fn restart(&mut self, now: Instant) {
        let mut past = self.past.take();
        if let Some(shared) =
            past.as_mut().filter(|past| past.dial.is_some() || past.gathered_since.is_some())
        {
            let past = Arc::make_mut(shared);
            (past.dial, past.gathered_since) = (None, None);
        }
        *self = Self { attempt: now, past, ..Self::new(self.call) };
    }

    /// Notes that the attempt has read the caller's body into memory, and asks for a connection now.
    #[cold]
    pub(super) fn gathered(&mut self, now: Instant) {
        let since = self.attempt;
        self.restart(now);
        Arc::make_mut(self.past.get_or_insert_default()).gathered_since = Some(since);
    }

    /// Sets the milestones of the dial for which this attempt waited.
    pub(super) fn set_dial(&mut self, milestones: Milestones) {
        Arc::make_mut(self.past.get_or_insert_default()).dial = Some(milestones);
    }

    /// Adds an attempt that another attempt follows.
    #[cold]
    pub(super) fn push_earlier(&mut self, attempt: EarlierAttempt) {
        Arc::make_mut(self.past.get_or_insert_default()).earlier.push(attempt);
    }

    /// Returns the attempts before the current one.
    pub(super) fn earlier(&self) -> &[EarlierAttempt] {
        self.past.as_ref().map_or(&[], |past| &past.earlier)
    }

    /// Returns the phase in which the current attempt is.
    pub(super) fn phase(&self) -> Phase {
        let dial = || self.past.as_ref().and_then(|past| past.dial?.latest());
        match (self.assigned, self.head, self.written) {
            (None, ..) => dial().unwrap_or(Phase::Queue),
            (Some(_), Some(_), _) => Phase::Receive,
            (Some(_), None, Some(_)) => Phase::Wait,
            (Some(_), None, None) => Phase::Send,
        }
    }

    /// Computes the timings of the current attempt alone. The time until the attempt asked for a connection counts as
    /// previous.
    pub(super) fn of_attempt(&self, now: impl FnOnce() -> Instant) -> Timings {
        let gathered_since = self.past.as_ref().and_then(|past| past.gathered_since);
        Self { call: gathered_since.unwrap_or(self.attempt), ..self.clone() }.timings(now)
    }

    /// Computes the timings by cutting the time of the request at the milestones. `now` is called only if neither the
    /// response head nor the end of the content was reached.
    pub(super) fn timings(&self, now: impl FnOnce() -> Instant) -> Timings {
        let until = self.end.or(self.head).unwrap_or_else(now);
        let assigned = self.assigned.unwrap_or(until);
        let clip = |phase: Option<Interval>| {
            let phase = phase?;
            let end = phase.end.unwrap_or(assigned).min(assigned);
            if end < self.attempt || phase.start > assigned {
                return None;
            }
            Some(end.saturating_duration_since(phase.start.max(self.attempt)))
        };
        let dial = self.past.as_ref().and_then(|past| past.dial);
        let [dns, connect, proxy, tls] =
            dial.map_or([None; 4], |dial| [dial.dns, dial.tcp, dial.proxy, dial.tls].map(clip));
        let setup: Duration = [dns, connect, proxy, tls].into_iter().flatten().sum();
        let head = self.head.unwrap_or(until);
        let sent = self.written.unwrap_or(head).min(head).max(assigned);
        Timings {
            queued: assigned.saturating_duration_since(self.attempt).saturating_sub(setup),
            dns,
            connect,
            proxy,
            tls,
            send: sent - assigned,
            wait: head.saturating_duration_since(sent),
            receive: self.end.map(|end| end.saturating_duration_since(head)),
            previous: self.attempt - self.call,
            total: until.saturating_duration_since(self.call),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn sum(t: &Timings) -> Duration {
        let setup: Duration = [t.dns, t.connect, t.proxy, t.tls].into_iter().flatten().sum();
        t.previous + t.queued + setup + t.send + t.wait + t.receive.unwrap_or_default()
    }

    fn interval(t0: Instant, from: u32, to: u32) -> Option<Interval> {
        Some(Interval { start: t0 + MS * from, end: Some(t0 + MS * to) })
    }

    #[test]
    fn phases_sum_to_the_total_on_a_cold_connection() {
        let t0 = Instant::now();
        let mut line = Timeline::new(t0);
        line.set_dial(Milestones {
            dns: interval(t0, 1, 4),
            tcp: interval(t0, 4, 9),
            proxy: None,
            tls: interval(t0, 9, 20),
        });
        line.assigned = Some(t0 + MS * 21);
        line.written = Some(t0 + MS * 22);
        line.head = Some(t0 + MS * 30);
        line.end = Some(t0 + MS * 33);
        let t = line.timings(|| t0 + MS * 99);
        assert_eq!((t.queued, t.dns, t.connect, t.tls), (MS * 2, Some(MS * 3), Some(MS * 5), Some(MS * 11)));
        assert_eq!((t.send, t.wait, t.receive, t.total), (MS, MS * 8, Some(MS * 3), MS * 33));
        assert_eq!(sum(&t), t.total);
    }

    #[test]
    fn a_dial_that_began_earlier_is_clipped_to_the_wait() {
        let t0 = Instant::now();
        let mut line = Timeline::new(t0 + MS * 6);
        line.set_dial(Milestones {
            dns: interval(t0, 1, 4),
            tcp: interval(t0, 4, 9),
            proxy: None,
            tls: None,
        });
        line.assigned = Some(t0 + MS * 10);
        line.head = Some(t0 + MS * 12);
        let t = line.timings(|| t0 + MS * 12);
        assert_eq!((t.dns, t.connect, t.queued), (None, Some(MS * 3), MS));
        assert_eq!(sum(&t), t.total);
    }

    #[test]
    fn an_early_response_ends_the_send_phase() {
        let t0 = Instant::now();
        let mut line = Timeline::new(t0);
        line.assigned = Some(t0 + MS);
        line.head = Some(t0 + MS * 5);
        line.written = Some(t0 + MS * 9);
        line.end = Some(t0 + MS * 10);
        let t = line.timings(|| t0 + MS * 10);
        assert_eq!((t.send, t.wait, t.receive), (MS * 4, Duration::ZERO, Some(MS * 5)));
        assert_eq!(sum(&t), t.total);
    }

    #[test]
    fn the_time_of_an_earlier_attempt_counts_as_previous() {
        let t0 = Instant::now();
        let mut line = Timeline::new(t0);
        line.assigned = Some(t0 + MS);
        line.restart(t0 + MS * 3);
        let t = line.timings(|| t0 + MS * 7);
        assert_eq!((t.previous, t.queued, t.total), (MS * 3, MS * 4, MS * 7));
        assert_eq!(sum(&t), t.total);
    }
}
