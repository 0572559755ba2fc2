//! The trace of one dial: its root span, the spans of its phases, and its milestones.
//!
//! A dial has a trace of its own, because a dial may serve another request than the request that began the dial.
//! Invariant: each phase that begins ends once. If the guard of a phase is dropped, the phase ends as cancelled.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;
use tracing::field::Empty;

use super::{OwnSpan, SpanLink, TARGET, contained, int, record_elapsed, server_address};
use crate::error::{ErrorKind, Phase};
use crate::time;

/// The milestones of a dial.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Milestones {
    pub(crate) dns: Option<Interval>,
    pub(crate) tcp: Option<Interval>,
    pub(crate) proxy: Option<Interval>,
    pub(crate) tls: Option<Interval>,
}

impl Milestones {
    /// Returns the time between the first SYN and a usable connection. This time does not include the name lookup.
    pub(crate) fn handshake(&self) -> Duration {
        [self.tcp, self.proxy, self.tls].into_iter().flatten().map(|phase| phase.length()).sum()
    }

    /// Returns the phase that is running, or the phase that ran last.
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

/// The time of one phase of a dial. `end` is `None` while the phase is running.
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

/// The trace of one dial: its root span and its milestones.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Number of the connection that the dial is to make.
    id: u64,
    span: OwnSpan,
    started: Instant,
    milestones: Mutex<Milestones>,
    is_over: AtomicBool,
}

impl Setup {
    /// Starts the span `connection.setup`. The span is a root, because a dial may serve another request than the
    /// request that began the dial. The span of each request that began the dial or uses its connection is linked to the
    /// span.
    pub(crate) fn new(id: u64, scheme: &str, host: &str, port: u16, now: Instant) -> Self {
        let span = OwnSpan::made(|| {
            tracing::debug_span!(
                target: TARGET,
                parent: None,
                "connection.setup",
                handclasp.connection.id = int(id),
                url.scheme = scheme,
                server.address = server_address(host),
                server.port = int(port),
                error.type = Empty,
                otel.status_code = Empty,
                elapsed_ns = Empty,
            )
        });
        Self { id, span, started: now, milestones: Mutex::default(), is_over: AtomicBool::new(false) }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns the link to the span of the dial. `None` if no subscriber wants the span.
    pub(crate) fn link(&self) -> Option<SpanLink> {
        contained(|| SpanLink::to(&self.span)).flatten()
    }

    /// Returns the time at which a request asked for the dial.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn milestones(&self) -> Milestones {
        *self.lock()
    }

    /// Begins the lookup of a name. The phase lasts until the first address is tried, even if the lookup goes on. A method
    /// of the returned guard ends the phase. If the guard is dropped before the end of the phase, the phase ends as
    /// cancelled.
    pub(crate) fn dns(&self, name: &str) -> SetupPhase<'_> {
        let span = self.span.child(|above| {
            tracing::debug_span!(
                target: TARGET, parent: above, "dns",
                dns.question.name = name, cached = Empty, addresses = Empty,
                error.type = Empty, otel.status_code = Empty, elapsed_ns = Empty,
            )
        });
        self.begin(Phase::Dns, span)
    }

    /// Begins the phase that covers all attempts to connect by TCP. This phase has no span of its own.
    pub(crate) fn tcp(&self) -> SetupPhase<'_> {
        self.begin(Phase::Tcp, OwnSpan::none())
    }

    /// Begins the phase that connects to a unix socket. This phase replaces the TCP phase.
    #[cfg(unix)]
    pub(crate) fn unix(&self, path: &dyn std::fmt::Display) -> SetupPhase<'_> {
        let span = self.span.child(|above| {
            tracing::debug_span!(
                target: TARGET, parent: above, "unix",
                network.transport = "unix", network.peer.address = %path,
                error.type = Empty, otel.status_code = Empty, elapsed_ns = Empty,
            )
        });
        self.begin(Phase::Tcp, span)
    }

    /// Begins one attempt to connect to one address. `number` counts the attempts of the dial.
    pub(crate) fn attempt(&self, peer: SocketAddr, number: usize) -> Attempt {
        let span = self.span.child(|above| {
            tracing::debug_span!(
                target: TARGET, parent: above, "tcp",
                network.peer.address = %peer.ip(), network.peer.port = int(peer.port()), attempt = int(number),
                outcome = Empty, error.type = Empty, otel.status_code = Empty, elapsed_ns = Empty,
            )
        });
        Attempt { span, started: time::now(), over: false }
    }

    /// Begins the dialog with a proxy, which includes the TLS handshake with the proxy.
    #[cfg_attr(not(feature = "proxy"), allow(dead_code, reason = "there are no proxies"))]
    pub(crate) fn proxy(&self, host: &str, port: u16) -> SetupPhase<'_> {
        let span = self.span.child(|above| {
            tracing::debug_span!(
                target: TARGET, parent: above, "proxy",
                server.address = host, server.port = int(port),
                error.type = Empty, otel.status_code = Empty, elapsed_ns = Empty,
            )
        });
        self.begin(Phase::Proxy, span)
    }

    /// Begins the TLS handshake.
    pub(crate) fn tls(&self, name: &str) -> SetupPhase<'_> {
        let span = self.span.child(|above| {
            tracing::debug_span!(
                target: TARGET, parent: above, "tls",
                server.address = name, tls.protocol.version = Empty, tls.resumed = Empty,
                error.type = Empty, otel.status_code = Empty, elapsed_ns = Empty,
            )
        });
        self.begin(Phase::Tls, span)
    }

    /// Ends the dial, with `error` if the dial failed. The span closes when its last handle is dropped. Only the first
    /// end of a dial has an effect: if the pool gives a dial up, the task of the dial also reports an end.
    pub(crate) fn end(&self, error: Option<ErrorKind>, now: Instant) {
        match error {
            Some(kind) => self.finish(Some(&tracing::field::debug(kind)), now),
            None => self.finish(None, now),
        }
    }

    /// Ends a dial that the pool gave up.
    pub(crate) fn cancel(&self, now: Instant) {
        self.finish(Some(&"cancelled"), now);
    }

    fn finish(&self, error: Option<&dyn tracing::Value>, now: Instant) {
        if self.span.is_disabled() || self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        let _ = contained(|| {
            if let Some(error) = error {
                self.span.record("error.type", error).record("otel.status_code", "ERROR");
            }
            record_elapsed(&self.span, self.started, now);
            // The span closes later if the request that began the dial is not polled. tracing-opentelemetry takes the
            // latest exit of a span for its end.
            self.span.in_scope(|| ());
        });
    }

    fn begin(&self, phase: Phase, span: OwnSpan) -> SetupPhase<'_> {
        let start = time::now();
        // A dial through a proxy may look up two names, one after the other. Both lookups are one phase.
        self.lock().slot(phase).get_or_insert(Interval { start, end: None }).end = None;
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

/// A running phase of a dial. [`end`](Self::end) or [`fail`](Self::fail) ends the phase. If the guard is dropped before
/// the end of the phase, the phase ends as cancelled.
#[derive(Debug)]
pub(crate) struct SetupPhase<'a> {
    setup: &'a Setup,
    phase: Phase,
    span: OwnSpan,
    start: Instant,
    over: bool,
}

impl SetupPhase<'_> {
    /// Returns the span, for the fields that are known only after the start of the phase: `cached`, `addresses`,
    /// `tls.protocol.version`, `tls.resumed`.
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
        let _ = contained(|| {
            if let Some(error) = error {
                self.span.record("error.type", error).record("otel.status_code", "ERROR");
            }
            record_elapsed(&self.span, self.start, now);
        });
    }
}

impl Drop for SetupPhase<'_> {
    fn drop(&mut self) {
        self.finish(Some("cancelled"));
    }
}

/// One attempt to connect. Its outcome is `won`, `lost` or `failed`. If the guard is dropped before the end, the outcome
/// is `cancelled`.
#[derive(Debug)]
pub(crate) struct Attempt {
    span: OwnSpan,
    started: Instant,
    over: bool,
}

impl Attempt {
    /// Returns the time at which the attempt began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn won(mut self) {
        self.finish("won");
    }

    /// Ends the attempt in favor of another address, which has connected or takes the attempt's place.
    pub(crate) fn lost(mut self) {
        self.finish("lost");
    }

    pub(crate) fn failed(mut self, kind: io::ErrorKind) {
        self.span.record("error.type", tracing::field::debug(kind)).record("otel.status_code", "ERROR");
        self.finish("failed");
    }

    fn finish(&mut self, outcome: &'static str) {
        if !std::mem::replace(&mut self.over, true) && !self.span.is_disabled() {
            let _ = contained(|| {
                self.span.record("outcome", outcome);
                record_elapsed(&self.span, self.started, time::now());
            });
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.finish("cancelled");
    }
}
