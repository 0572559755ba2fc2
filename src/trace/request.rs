//! The trace of one request: its spans, and the milestones from which its [`Timings`] are cut.
//!
//! [`RequestTrace::begin`] enters a trace, and the private function `leave` leaves it. A hook for whole requests
//! belongs in these two functions. Invariants: each method uses one clock reading for the spans and for the milestones.
//! A trace that is dropped is left as cancelled.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Uri};
use tracing::Span;
use tracing::field::Empty;

use super::dial::{Interval, Milestones, Setup};
use super::{TARGET, record_elapsed};
use crate::error::{Error, without_credentials};
use crate::time;
use crate::timings::Timings;

/// The trace of one request, over all its attempts.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    timeline: Timeline,
    /// The spans. `None` if no subscriber wants the spans, and after the trace was left. The spans are boxed because most
    /// requests have no subscriber, so that the exchange stays small.
    spans: Option<Box<Spans>>,
}

/// The outcome of a request.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    /// The response was read to its end. `received` is the number of bytes of its content. `close` is the reason that
    /// forbids the reuse of the connection, if there is one.
    Complete { received: u64, close: Option<&'static str> },
    /// The request failed or was cancelled. `kind` is the `error.type` of the span.
    Failed { kind: &'a str },
}

impl RequestTrace {
    /// Begins the trace of a request, whose first attempt asks for a connection.
    #[inline]
    pub(crate) fn begin(method: &Method, uri: &Uri, port: u16, now: Instant) -> Self {
        let mut trace = Self { timeline: Timeline::new(now), spans: Spans::begin(method, uri, port, now) };
        trace.enter(Spans::queue, now);
        trace
    }

    /// Returns the time at which the current attempt began.
    pub(crate) fn attempt_started(&self) -> Instant {
        self.timeline.attempt
    }

    /// Returns the time at which the current attempt got its connection.
    pub(crate) fn assigned_at(&self) -> Option<Instant> {
        self.timeline.assigned
    }

    /// Notes that the first byte of a response has come. Most response heads are complete with the first read, so that
    /// this time is taken for the time of the head until [`head`](Self::head) is called.
    pub(crate) fn first_byte(&mut self, now: Instant) {
        self.timeline.head = Some(now);
    }

    /// Returns the time at which the response head was complete. Before that, returns the time of the first byte of
    /// the response, or `None` if no byte has come.
    pub(crate) fn head_at(&self) -> Option<Instant> {
        self.timeline.head
    }

    /// Notes that the caller's body was read into memory before the attempt asks for a connection. The time of this
    /// step counts as `previous`.
    pub(crate) fn body_gathered(&mut self, now: Instant) {
        self.timeline.restart(now);
    }

    /// Notes that the request is sent again: a new attempt asks for a connection.
    pub(crate) fn resent(&mut self, now: Instant) {
        self.timeline.restart(now);
        if let Some(spans) = &mut self.spans {
            spans.resends += 1;
            spans.request.record("http.request.resend_count", spans.resends);
        }
        self.enter(Spans::queue, now);
    }

    /// Begins the trace of the next hop of a call. The time before `now` counts as [`Timings::previous`].
    #[cfg(feature = "url")]
    pub(crate) fn next_hop(&self, method: &Method, uri: &Uri, port: u16, now: Instant) -> Self {
        let mut timeline = self.timeline.clone();
        timeline.restart(now);
        let mut next = Self { timeline, spans: Spans::begin(method, uri, port, now) };
        if let Some(spans) = &mut next.spans {
            spans.resends = self.spans.as_ref().map_or(0, |spans| spans.resends) + 1;
            spans.request.record("http.request.resend_count", spans.resends);
        }
        next.enter(Spans::queue, now);
        next
    }

    /// Runs `work` within the span `http.request`, if a subscriber wants it.
    pub(crate) fn entered(&self, work: impl FnOnce()) {
        match &self.spans {
            Some(spans) => spans.request.in_scope(work),
            None => work(),
        }
    }

    /// Notes that the attempt must wait for a dial, or for another request to end.
    pub(crate) fn waits(&self) {
        if let Some(spans) = &self.spans {
            spans.phase.record("waited", true);
        }
    }

    /// Notes that the dial for which the attempt waited has ended. Links the request's span to the dial's span. The
    /// dial's span is a root, because a dial may serve another request.
    pub(crate) fn dial_ended(&mut self, setup: &Setup) {
        self.dial_seen(setup.milestones());
        if let Some(spans) = &self.spans
            && let Some(id) = setup.span().id()
        {
            spans.request.follows_from(id);
        }
    }

    /// Notes that the attempt stops waiting for a dial. `milestones` holds the milestones that the dial has reached.
    pub(crate) fn dial_seen(&mut self, milestones: Milestones) {
        self.timeline.dial = Some(Arc::new(milestones));
    }

    /// Notes that the attempt has a connection. The first write of the attempt follows.
    #[inline]
    pub(crate) fn assigned(&mut self, connection: u64, is_reused: bool, now: Instant) {
        self.timeline.assigned = Some(now);
        if let Some(spans) = &mut self.spans {
            spans.assigned(connection, is_reused, now);
        }
    }

    /// Notes that the request's last byte was written before the response head was complete. `sent` is the number of
    /// bytes written.
    #[inline]
    pub(crate) fn written(&mut self, sent: u64, now: Instant) {
        self.timeline.written.get_or_insert(now);
        self.sent(sent, now);
    }

    /// Notes that the response head is complete. `unwritten` is the number of bytes written so far, if the request is
    /// still being written.
    #[inline]
    pub(crate) fn head(&mut self, status: StatusCode, unwritten: Option<u64>, now: Instant) {
        self.timeline.head = Some(now);
        if let Some(sent) = unwritten {
            self.sent(sent, now);
        }
        if let Some(spans) = &mut self.spans {
            spans.head(status, now);
        }
    }

    /// Ends the trace of a request whose response was read to its end. `received` is the number of bytes of the
    /// content. `close` is the reason that forbids the reuse of the connection, as a sentence, or `None`.
    #[inline]
    pub(crate) fn complete(&mut self, received: u64, close: Option<&'static str>, now: Instant) {
        self.timeline.end.get_or_insert(now);
        self.leave(Outcome::Complete { received, close }, now);
    }

    /// Ends the trace of a request that failed. Returns `error` with the timings until the failure. `is_head_received`
    /// tells whether the error ended the content of the response.
    pub(crate) fn fail(&mut self, error: Error, is_head_received: bool, now: Instant) -> Error {
        match is_head_received {
            true => _ = self.timeline.end.get_or_insert(now),
            false => self.timeline.head = None,
        }
        if self.spans.is_some() {
            self.leave(Outcome::Failed { kind: &format!("{:?}", error.kind()) }, now);
        }
        error.with_timings(self.timeline.timings(|| now))
    }

    /// Ends the trace of a request whose response the caller no longer wants. The milestones stay open, because the
    /// content may still be drained.
    pub(crate) fn cancel(&mut self, now: Instant) {
        self.leave(Outcome::Failed { kind: "cancelled" }, now);
    }

    /// Returns the timings of a request whose response head is complete. The timings are final once the trace was left.
    pub(crate) fn measured(&self) -> Measured {
        Measured { timeline: self.timeline.clone(), timings: OnceLock::new() }
    }

    /// Ends the phase `send` of the spans.
    #[inline]
    fn sent(&mut self, sent: u64, now: Instant) {
        if let Some(spans) = &mut self.spans {
            spans.sent(sent, now);
        }
    }

    fn enter(&mut self, phase: fn(&mut Spans, Instant), now: Instant) {
        if let Some(spans) = &mut self.spans {
            phase(spans, now);
        }
    }

    /// Leaves the trace and closes all spans. Does nothing if the trace was already left.
    #[inline]
    fn leave(&mut self, outcome: Outcome<'_>, now: Instant) {
        if let Some(spans) = self.spans.take() {
            spans.close(outcome, now);
        }
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        if self.spans.is_some() {
            self.cancel(time::now());
        }
    }
}

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

    pub(crate) fn timings(&self) -> &Timings {
        self.timings.get_or_init(|| Box::new(self.timeline.timings(|| self.timeline.call)))
    }
}

/// The milestones of one request, from which its [`Timings`] are cut.
#[derive(Clone, Debug)]
struct Timeline {
    /// Time at which the caller sent the request.
    call: Instant,
    /// Time at which the current attempt began.
    attempt: Instant,
    /// Milestones that the dial of this attempt has reached, if the attempt waited for a dial.
    dial: Option<Arc<Milestones>>,
    assigned: Option<Instant>,
    written: Option<Instant>,
    head: Option<Instant>,
    end: Option<Instant>,
}

impl Timeline {
    fn new(now: Instant) -> Self {
        Self { call: now, attempt: now, dial: None, assigned: None, written: None, head: None, end: None }
    }

    /// Begins a new attempt. The time before `now` counts as [`Timings::previous`].
    fn restart(&mut self, now: Instant) {
        *self = Self { attempt: now, ..Self::new(self.call) };
    }

    /// Computes the timings by cutting the time of the request at the milestones. `now` is called only if neither the
    /// response head nor the end of the content was reached.
    fn timings(&self, now: impl FnOnce() -> Instant) -> Timings {
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
        let [dns, connect, proxy, tls] =
            self.dial.as_ref().map_or([None; 4], |dial| [dial.dns, dial.tcp, dial.proxy, dial.tls].map(clip));
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

/// The span `http.request`, and the span of the phase that is running.
#[derive(Debug)]
struct Spans {
    request: Span,
    started: Instant,
    phase: Span,
    phase_started: Instant,
    /// Number of attempts and hops of the call before the current one.
    resends: u64,
}

impl Spans {
    /// Starts the span `http.request`. Returns `None` if no subscriber wants the span.
    fn begin(method: &Method, uri: &Uri, port: u16, now: Instant) -> Option<Box<Self>> {
        let request = tracing::debug_span!(
            target: TARGET,
            "http.request",
            http.request.method = method.as_str(),
            url.full = %without_credentials(uri),
            server.address = uri.host().unwrap_or_default(),
            server.port = port,
            http.response.status_code = Empty,
            error.type = Empty,
            http.request.resend_count = Empty,
            handclasp.connection.id = Empty,
            handclasp.connection.reused = Empty,
            handclasp.connection.close_reason = Empty,
            elapsed_ns = Empty,
        );
        let spans =
            |request| Self { request, started: now, phase: Span::none(), phase_started: now, resends: 0 };
        let is_heard = !request.is_disabled();
        is_heard.then(|| Box::new(spans(request)))
    }

    fn queue(&mut self, now: Instant) {
        let span = tracing::debug_span!(
            target: TARGET, parent: &self.request, "queue", waited = false, elapsed_ns = Empty,
        );
        self.next(span, now);
    }

    fn assigned(&mut self, connection: u64, is_reused: bool, now: Instant) {
        self.request
            .record("handclasp.connection.id", connection)
            .record("handclasp.connection.reused", is_reused);
        let span = tracing::debug_span!(
            target: TARGET, parent: &self.request, "send", bytes = Empty, elapsed_ns = Empty,
        );
        self.next(span, now);
    }

    fn sent(&mut self, sent: u64, now: Instant) {
        self.phase.record("bytes", sent);
        let span = tracing::debug_span!(target: TARGET, parent: &self.request, "wait", elapsed_ns = Empty);
        self.next(span, now);
    }

    fn head(&mut self, status: StatusCode, now: Instant) {
        self.request.record("http.response.status_code", status.as_u16());
        let span = tracing::debug_span!(
            target: TARGET, parent: &self.request, "receive", bytes = Empty, elapsed_ns = Empty,
        );
        self.next(span, now);
    }

    fn close(mut self, outcome: Outcome<'_>, now: Instant) {
        match outcome {
            Outcome::Complete { received, close } => {
                self.phase.record("bytes", received);
                if let Some(close) = close {
                    self.request.record("handclasp.connection.close_reason", close);
                }
            }
            Outcome::Failed { kind } => {
                self.request.record("error.type", kind);
            }
        }
        self.next(Span::none(), now);
        record_elapsed(&self.request, self.started, now);
    }

    /// Ends the running phase and begins the next phase.
    fn next(&mut self, span: Span, now: Instant) {
        if !self.phase.is_none() {
            record_elapsed(&self.phase, self.phase_started, now);
        }
        self.phase = span;
        self.phase_started = now;
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
        line.dial = Some(Arc::new(Milestones {
            dns: interval(t0, 1, 4),
            tcp: interval(t0, 4, 9),
            proxy: None,
            tls: interval(t0, 9, 20),
        }));
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
        line.dial = Some(Arc::new(Milestones {
            dns: interval(t0, 1, 4),
            tcp: interval(t0, 4, 9),
            proxy: None,
            tls: None,
        }));
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
