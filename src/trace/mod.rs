//! Where each request's time went: the names of all spans and fields, and [`Timings`].
//!
//! Spans and timings are fed from the same clock readings: a phase that ends at an instant ends there in both.
//! Knows nothing of sockets, pools or codecs. Invariants: every span that starts ends once; the phases of
//! [`Timings`] sum to its total; a phase that did not happen is absent, not zero.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Uri};
use tracing::Span;
use tracing::field::Empty;

use crate::error::{ErrorKind, Phase, without_credentials};
use crate::time;

/// Where the time of one request went.
///
/// The phases are one interval cut at milestones, so they sum to `total`:
/// `previous + queued + dns + connect + proxy + tls + send + wait + receive`.
/// A connection that was dialed for this request (or whose dial this request waited for) contributes `dns`,
/// `connect`, `proxy` and `tls`, clipped to the time this request waited; on a reused connection they are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Waiting for a connection, outside the phases of a dial: zero where one was idle (and not found dead).
    pub queued: Duration,
    /// Resolving the name.
    pub dns: Option<Duration>,
    /// From the first SYN until TCP was up: all raced attempts.
    pub connect: Option<Duration>,
    /// Speaking with a proxy.
    pub proxy: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// Making the request ready and writing it: until its last byte was written or the response's head was seen, whichever
    /// came first.
    pub send: Duration,
    /// From then until the response's head was complete: mostly the server's time.
    pub wait: Duration,
    /// From the head to the end of the content; `None` until the content has ended.
    pub receive: Option<Duration>,
    /// Earlier attempts of this request.
    pub previous: Duration,
    /// From the call until the latest milestone.
    pub total: Duration,
}

impl fmt::Display for Timings {
    /// The total, and the phases that took part in it: `12.3ms: queued 10.0µs, DNS 1.2ms, TCP 2.0ms, wait 9.1ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1?}", self.total)?;
        let took = |time: Duration| Some(time).filter(|time| !time.is_zero());
        let phases = [
            ("earlier attempts", took(self.previous)),
            ("queued", took(self.queued)),
            ("DNS", self.dns),
            ("TCP", self.connect),
            ("proxy", self.proxy),
            ("TLS", self.tls),
            ("send", took(self.send)),
            ("wait", took(self.wait)),
            ("receive", self.receive),
        ];
        let phases = phases.into_iter().filter_map(|(name, took)| Some((name, took?)));
        phases.enumerate().try_for_each(|(nth, (name, took))| {
            write!(f, "{}{name} {took:.1?}", if nth == 0 { ": " } else { ", " })
        })
    }
}

/// The milestones of one request, from which its [`Timings`] are cut.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    call: Instant,
    attempt: Instant,
    dial: Option<Arc<Milestones>>,
    assigned: Option<Instant>,
    written: Option<Instant>,
    head: Option<Instant>,
    end: Option<Instant>,
}

impl Timeline {
    pub(crate) fn new(now: Instant) -> Self {
        Self { call: now, attempt: now, dial: None, assigned: None, written: None, head: None, end: None }
    }

    /// When the running attempt began.
    pub(crate) fn attempt_at(&self) -> Instant {
        self.attempt
    }

    /// A new attempt begins: what came before is `previous`.
    pub(crate) fn restart(&mut self, now: Instant) {
        *self = Self { attempt: now, ..Self::new(self.call) };
    }

    /// The dial that this request waited for, as far as it has come.
    pub(crate) fn dial(&mut self, dial: Milestones) {
        self.dial = Some(Arc::new(dial));
    }

    pub(crate) fn assigned(&mut self, now: Instant) {
        self.assigned = Some(now);
    }

    pub(crate) fn written(&mut self, now: Instant) {
        self.written.get_or_insert(now);
    }

    pub(crate) fn head(&mut self, now: Instant) {
        self.head = Some(now);
    }

    pub(crate) fn head_at(&self) -> Option<Instant> {
        self.head
    }

    pub(crate) fn end(&mut self, now: Instant) {
        self.end.get_or_insert(now);
    }

    /// The interval cut at the milestones, as of `now` where it is still running.
    pub(crate) fn timings(&self, now: impl FnOnce() -> Instant) -> Timings {
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
        // Mostly there was none: the connection was kept.
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

/// The timings of a request that has come to a response: cut from its milestones when somebody asks.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    timeline: Timeline,
    timings: OnceLock<Box<Timings>>,
}

impl Measured {
    pub(crate) fn new(timeline: &Timeline) -> Self {
        Self { timeline: timeline.clone(), timings: OnceLock::new() }
    }

    pub(crate) fn timings(&self) -> &Timings {
        // (Where there was no head, nothing has passed.)
        self.timings.get_or_init(|| Box::new(self.timeline.timings(|| self.timeline.call)))
    }
}

/// The milestones of a dial.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Milestones {
    pub(crate) dns: Option<Interval>,
    pub(crate) tcp: Option<Interval>,
    pub(crate) proxy: Option<Interval>,
    pub(crate) tls: Option<Interval>,
}

impl Milestones {
    /// What the handshake cost: everything between the first SYN and a usable connection. Names are not part of it.
    pub(crate) fn handshake(&self) -> Duration {
        [self.tcp, self.proxy, self.tls].into_iter().flatten().map(|phase| phase.length()).sum()
    }

    /// The phase that runs, or ran last.
    pub(crate) fn latest(&self) -> Option<Phase> {
        let phases = [
            (self.tls, Phase::Tls),
            (self.proxy, Phase::Proxy),
            (self.tcp, Phase::Tcp),
            (self.dns, Phase::Dns),
        ];
        phases.into_iter().find(|(interval, _)| interval.is_some()).map(|(_, phase)| phase)
    }
}

/// A phase of a dial: begun, and perhaps ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) start: Instant,
    pub(crate) end: Option<Instant>,
}

impl Interval {
    fn length(&self) -> Duration {
        self.end.map_or(Duration::ZERO, |end| end.saturating_duration_since(self.start))
    }
}

/// The making of one connection: its root span, and its milestones.
#[derive(Debug)]
pub(crate) struct Setup {
    span: Span,
    started: Instant,
    milestones: Mutex<Milestones>,
}

impl Setup {
    /// Starts the span `connection.setup`, a root of its own, linked from the request that asked for it.
    pub(crate) fn new(id: u64, scheme: &str, host: &str, port: u16, now: Instant) -> Self {
        let span = tracing::debug_span!(
            target: TARGET,
            parent: None,
            "connection.setup",
            network.connection.id = id,
            url.scheme = scheme,
            server.address = host,
            server.port = port,
            error.type = Empty,
            elapsed_ns = Empty,
        );
        Self { span, started: now, milestones: Mutex::default() }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Time at which the dial was asked for.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn milestones(&self) -> Milestones {
        *self.lock()
    }

    /// A name is being resolved. The phase ends when the guard is told so, or is dropped.
    pub(crate) fn dns(&self, name: &str) -> SetupPhase<'_> {
        let span = tracing::debug_span!(
            target: TARGET, parent: &self.span, "dns",
            dns.question.name = name, cached = Empty, addresses = Empty, error.type = Empty, elapsed_ns = Empty,
        );
        self.begin(Phase::Dns, span)
    }

    /// The first address is about to be connected to: the phase covers all attempts and has no span of its own.
    pub(crate) fn tcp(&self) -> SetupPhase<'_> {
        self.begin(Phase::Tcp, Span::none())
    }

    /// One attempt to connect to one address.
    pub(crate) fn attempt(&self, peer: SocketAddr, number: usize) -> Attempt {
        let span = tracing::debug_span!(
            target: TARGET, parent: &self.span, "tcp",
            network.peer.address = %peer.ip(), network.peer.port = peer.port(), attempt = number,
            outcome = Empty, elapsed_ns = Empty,
        );
        Attempt { span, started: time::now(), over: false }
    }

    /// A TLS handshake is under way.
    pub(crate) fn tls(&self, name: &str) -> SetupPhase<'_> {
        let span = tracing::debug_span!(
            target: TARGET, parent: &self.span, "tls",
            server.address = name, tls.protocol.version = Empty, tls.resumed = Empty,
            error.type = Empty, elapsed_ns = Empty,
        );
        self.begin(Phase::Tls, span)
    }

    /// The setup is over: its span is told how it ended, and closes with its last handle.
    pub(crate) fn end(&self, error: Option<ErrorKind>, now: Instant) {
        if self.span.is_disabled() {
            return;
        }
        if let Some(kind) = error {
            self.span.record("error.type", tracing::field::debug(kind));
        }
        record_elapsed(&self.span, self.started, now);
    }

    fn begin(&self, phase: Phase, span: Span) -> SetupPhase<'_> {
        let start = time::now();
        *self.lock().slot(phase) = Some(Interval { start, end: None });
        SetupPhase { setup: self, phase, span, start, over: false }
    }

    fn lock(&self) -> MutexGuard<'_, Milestones> {
        self.milestones.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Milestones {
    fn slot(&mut self, phase: Phase) -> &mut Option<Interval> {
        match phase {
            Phase::Dns => &mut self.dns,
            Phase::Proxy => &mut self.proxy,
            Phase::Tls => &mut self.tls,
            _ => &mut self.tcp,
        }
    }
}

/// A phase of a setup that is running; it ends by [`end`](Self::end), or as cancelled when dropped.
#[derive(Debug)]
pub(crate) struct SetupPhase<'a> {
    setup: &'a Setup,
    phase: Phase,
    span: Span,
    start: Instant,
    over: bool,
}

impl SetupPhase<'_> {
    /// For fields that are known only later: `cached`, `addresses`, `tls.protocol.version`, `tls.resumed`.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn end(mut self) {
        self.finish(None);
    }

    pub(crate) fn fail(mut self, error: &str) {
        self.finish(Some(error));
    }

    fn finish(&mut self, error: Option<&str>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let now = time::now();
        if let Some(interval) = self.setup.lock().slot(self.phase) {
            interval.end = Some(now);
        }
        if let Some(error) = error {
            self.span.record("error.type", error);
        }
        record_elapsed(&self.span, self.start, now);
    }
}

impl Drop for SetupPhase<'_> {
    fn drop(&mut self) {
        self.finish(Some("cancelled"));
    }
}

/// One attempt to connect; its outcome is `won`, `failed`, or `cancelled` when dropped.
#[derive(Debug)]
pub(crate) struct Attempt {
    span: Span,
    started: Instant,
    over: bool,
}

impl Attempt {
    pub(crate) fn won(mut self) {
        self.finish("won");
    }

    pub(crate) fn failed(mut self) {
        self.finish("failed");
    }

    fn finish(&mut self, outcome: &'static str) {
        if !std::mem::replace(&mut self.over, true) && !self.span.is_disabled() {
            self.span.record("outcome", outcome);
            record_elapsed(&self.span, self.started, time::now());
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.finish("cancelled");
    }
}

/// The spans of one request: `http.request`, and under it the phase that is running.
/// Nothing where nobody listens.
#[derive(Debug)]
pub(crate) struct RequestSpans(Option<Box<Spans>>);

#[derive(Debug)]
struct Spans {
    request: Span,
    started: Instant,
    phase: Span,
    phase_started: Instant,
}

impl RequestSpans {
    pub(crate) fn new(method: &Method, uri: &Uri, port: u16, now: Instant) -> Self {
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
            network.connection.id = Empty,
            reused = Empty,
            elapsed_ns = Empty,
        );
        let spans = |request| Spans { request, started: now, phase: Span::none(), phase_started: now };
        let is_heard = !request.is_disabled();
        Self(is_heard.then(|| Box::new(spans(request))))
    }

    /// The request asks for a connection.
    pub(crate) fn queue(&mut self, now: Instant) {
        if let Some(spans) = &mut self.0 {
            let span = tracing::debug_span!(target: TARGET, parent: &spans.request, "queue", waited = false, elapsed_ns = Empty);
            spans.next(span, now);
        }
    }

    /// The request has to wait, for a dial or for another request to end.
    pub(crate) fn waits(&self) {
        if let Some(spans) = &self.0 {
            spans.phase.record("waited", true);
        }
    }

    pub(crate) fn send(&mut self, connection: u64, reused: bool, now: Instant) {
        if let Some(spans) = &mut self.0 {
            spans.request.record("network.connection.id", connection).record("reused", reused);
            let span = tracing::debug_span!(target: TARGET, parent: &spans.request, "send", bytes = Empty, elapsed_ns = Empty);
            spans.next(span, now);
        }
    }

    pub(crate) fn wait(&mut self, sent: u64, now: Instant) {
        if let Some(spans) = &mut self.0 {
            spans.phase.record("bytes", sent);
            let span =
                tracing::debug_span!(target: TARGET, parent: &spans.request, "wait", elapsed_ns = Empty);
            spans.next(span, now);
        }
    }

    pub(crate) fn receive(&mut self, status: StatusCode, now: Instant) {
        if let Some(spans) = &mut self.0 {
            spans.request.record("http.response.status_code", status.as_u16());
            let span = tracing::debug_span!(target: TARGET, parent: &spans.request, "receive", bytes = Empty, elapsed_ns = Empty);
            spans.next(span, now);
        }
    }

    /// The setup of the connection that serves this request: a root of its own, so it is linked, not a child.
    pub(crate) fn link(&self, setup: &Setup) {
        if let Some(spans) = &self.0
            && let Some(id) = setup.span().id()
        {
            spans.request.follows_from(id);
        }
    }

    pub(crate) fn resent(&self, times: u32) {
        if let Some(spans) = &self.0 {
            spans.request.record("http.request.resend_count", times);
        }
    }

    pub(crate) fn finish(&mut self, received: u64, now: Instant) {
        if let Some(mut spans) = self.0.take() {
            spans.phase.record("bytes", received);
            spans.close(now);
        }
    }

    pub(crate) fn fail(&mut self, kind: &str, now: Instant) {
        if let Some(mut spans) = self.0.take() {
            spans.request.record("error.type", kind);
            spans.close(now);
        }
    }
}

impl Spans {
    fn close(&mut self, now: Instant) {
        self.next(Span::none(), now);
        record_elapsed(&self.request, self.started, now);
    }

    fn next(&mut self, span: Span, now: Instant) {
        if !self.phase.is_none() {
            record_elapsed(&self.phase, self.phase_started, now);
        }
        self.phase = span;
        self.phase_started = now;
    }
}

impl Drop for RequestSpans {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.fail("cancelled", time::now());
        }
    }
}

fn record_elapsed(span: &Span, from: Instant, to: Instant) {
    span.record(
        "elapsed_ns",
        u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX),
    );
}

/// The target of every span, for filters: `handclasp=debug`.
const TARGET: &str = "handclasp";

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
    fn timings_read_as_a_person_would_write_them() {
        let timings =
            Timings { queued: MS, send: MS / 10, wait: 9 * MS, total: 12 * MS, ..Timings::default() };
        assert_eq!(timings.to_string(), "12.0ms: queued 1.0ms, send 100.0µs, wait 9.0ms");
        let timings = Timings {
            dns: Some(MS),
            connect: Some(2 * MS),
            tls: Some(Duration::ZERO),
            receive: Some(3 * MS),
            previous: 5 * MS,
            total: 11 * MS,
            ..Timings::default()
        };
        let text = "11.0ms: earlier attempts 5.0ms, DNS 1.0ms, TCP 2.0ms, TLS 0.0ns, receive 3.0ms";
        assert_eq!(timings.to_string(), text);
        assert_eq!(Timings::default().to_string(), "0.0ns");
    }

    #[test]
    fn phases_sum_to_the_total_on_a_cold_connection() {
        let t0 = Instant::now();
        let mut line = Timeline::new(t0);
        line.dial(Milestones {
            dns: interval(t0, 1, 4),
            tcp: interval(t0, 4, 9),
            proxy: None,
            tls: interval(t0, 9, 20),
        });
        line.assigned(t0 + MS * 21);
        line.written(t0 + MS * 22);
        line.head(t0 + MS * 30);
        line.end(t0 + MS * 33);
        let t = line.timings(|| t0 + MS * 99);
        assert_eq!((t.queued, t.dns, t.connect, t.tls), (MS * 2, Some(MS * 3), Some(MS * 5), Some(MS * 11)));
        assert_eq!((t.send, t.wait, t.receive, t.total), (MS, MS * 8, Some(MS * 3), MS * 33));
        assert_eq!(sum(&t), t.total);
    }

    #[test]
    fn a_dial_that_began_earlier_is_clipped_to_the_wait() {
        let t0 = Instant::now();
        let mut line = Timeline::new(t0 + MS * 6);
        line.dial(Milestones { dns: interval(t0, 1, 4), tcp: interval(t0, 4, 9), proxy: None, tls: None });
        line.assigned(t0 + MS * 10);
        line.head(t0 + MS * 12);
        let t = line.timings(|| t0 + MS * 12);
        assert_eq!((t.dns, t.connect, t.queued), (None, Some(MS * 3), MS));
        assert_eq!(sum(&t), t.total);
    }

    #[test]
    fn an_early_response_ends_the_send_phase() {
        let t0 = Instant::now();
        let mut line = Timeline::new(t0);
        line.assigned(t0 + MS);
        line.head(t0 + MS * 5);
        line.written(t0 + MS * 9);
        line.end(t0 + MS * 10);
        let t = line.timings(|| t0 + MS * 10);
        assert_eq!((t.send, t.wait, t.receive), (MS * 4, Duration::ZERO, Some(MS * 5)));
        assert_eq!(sum(&t), t.total);
    }

    #[test]
    fn an_earlier_attempt_is_previous() {
        let t0 = Instant::now();
        let mut line = Timeline::new(t0);
        line.assigned(t0 + MS);
        line.restart(t0 + MS * 3);
        let t = line.timings(|| t0 + MS * 7);
        assert_eq!((t.previous, t.queued, t.total), (MS * 3, MS * 4, MS * 7));
        assert_eq!(sum(&t), t.total);
    }
}
