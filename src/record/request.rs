//! The trace of one request: the milestones, the spans and the record.
//!
//! [`RequestTrace::begin`] enters the trace of an attempt, and the private function `leave` leaves it. Spans end, and
//! the record of the attempt is given to the caller's functions, in `leave` alone. Invariants: each method uses one
//! clock reading for the spans, the milestones and the record. A trace that is dropped is left as cancelled. If nothing
//! watches a request, its trace allocates nothing until the request waits for a dial or is sent again.

use std::net::SocketAddr;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode, Uri};
use tracing::level_filters::LevelFilter;

use super::exchange::{Amounts, ExchangeOutcome, ExchangeRecord, OnExchange};
use super::methods::KnownMethods;
use super::spans::Spans;
use super::timeline::{Measured, Timeline};
use crate::codec::ResponseHead;
use crate::error::{EarlierAttempt, Error, ErrorKind, Phase, ResendCause};
use crate::pool::ConnectionInfo;
use crate::time;
use crate::trace::{Milestones, Setup, contained};

/// The trace of one request, over all its attempts.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    timeline: Timeline,
    /// The spans and the record of the current attempt. `None` if there are neither spans nor a record, and after the
    /// attempt was left. Boxed because most requests have neither: keeps the exchange small.
    watched: Option<Box<Watch>>,
}

/// The spans and the record of one attempt.
#[derive(Debug)]
struct Watch {
    status: Option<StatusCode>,
    /// `None` if no subscriber wants the spans.
    spans: Option<Spans>,
    /// `None` if the client has no function that gets records.
    recording: Option<(OnExchange, ExchangeRecord)>,
}

/// The request of an attempt, and the functions that get its record.
#[derive(Clone, Copy)]
pub(crate) struct Sending<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) port: u16,
    /// Template of the URL.
    pub(crate) template: Option<&'a str>,
    pub(crate) known: &'a KnownMethods,
    pub(crate) hook: Option<&'a OnExchange>,
}

/// The facts about an attempt that another attempt follows.
pub(crate) struct Ended<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) status: Option<StatusCode>,
    /// The failure, unless the attempt was answered.
    pub(crate) failure: Option<(ErrorKind, Option<Phase>)>,
    pub(crate) cause: ResendCause,
    pub(crate) connection: u64,
    pub(crate) peer: Option<SocketAddr>,
}

/// The end of an attempt.
struct End {
    outcome: ExchangeOutcome,
    /// The phase of a failure. `None` if the milestones tell the phase.
    phase: Option<Phase>,
    /// The reason that forbids the reuse of the connection, as a sentence.
    close: Option<&'static str>,
}

impl RequestTrace {
    /// Whether a subscriber may want the spans of requests.
    #[inline]
    pub(crate) fn has_subscriber() -> bool {
        LevelFilter::current() >= LevelFilter::INFO
    }

    /// Begins the trace of a request that nothing watches.
    #[inline]
    pub(crate) fn unwatched(now: Instant) -> Self {
        Self { timeline: Timeline::new(now), watched: None }
    }

    /// Begins the trace of a request, whose first attempt asks for a connection.
    pub(crate) fn begin(sending: &Sending<'_>, now: Instant) -> Self {
        Self { timeline: Timeline::new(now), watched: Watch::begin(sending, 0, None, now) }
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

    /// Whether a span is open or a record is written, so that the attempt must be left.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.is_some()
    }

    /// Notes that the caller's body was read into memory before the attempt asks for a connection. The time of this
    /// step counts as `previous`.
    pub(crate) fn body_gathered(&mut self, now: Instant) {
        self.timeline.gathered(now);
    }

    /// Notes that the head of the request was encoded. `fields` are the fields from which the head was encoded.
    #[cold]
    pub(crate) fn encoded(&mut self, head: &[u8], fields: &HeaderMap) {
        if let Some((_, record)) = self.watched.as_mut().and_then(|watched| watched.recording.as_mut()) {
            record.set_head(head, fields);
        }
    }

    /// Ends the current attempt, which another attempt follows.
    #[cold]
    pub(crate) fn end_attempt(
        &mut self,
        ended: &Ended<'_>,
        close: Option<&'static str>,
        now: Instant,
        amounts: impl FnOnce() -> Amounts,
    ) {
        let Ended { method, uri, status, failure, cause, connection, peer } = *ended;
        if status.is_some() {
            self.timeline.end.get_or_insert(now);
        } else {
            self.timeline.head = None;
        }
        let (outcome, phase) = match failure {
            Some((kind, phase)) => (ExchangeOutcome::Failed(kind), phase),
            None => (ExchangeOutcome::Complete, None),
        };
        self.leave(End { outcome, phase, close }, now, amounts);
        self.timeline.push_earlier(EarlierAttempt {
            method: method.clone(),
            uri: crate::error::without_credentials(uri),
            status,
            error: failure.map(|(kind, _)| kind),
            cause,
            timings: self.timeline.of_attempt(|| now),
            connection,
            peer,
        });
    }

    /// Begins the attempt that follows the attempt that has [ended](Self::end_attempt). The time before `now` counts as
    /// [`Timings::previous`](crate::Timings::previous).
    #[cold]
    pub(crate) fn next_attempt(&self, sending: &Sending<'_>, now: Instant) -> Self {
        let mut timeline = self.timeline.clone();
        timeline.restart(now);
        let earlier = timeline.earlier();
        let resends = u32::try_from(earlier.len()).unwrap_or(u32::MAX);
        let cause = earlier.last().map(EarlierAttempt::cause);
        let watched = Watch::begin(sending, resends, cause, now);
        Self { timeline, watched }
    }

    /// Runs `work` within the span `http.request`, if a subscriber wants it.
    pub(crate) fn entered(&mut self, work: impl FnOnce()) {
        match self.spans() {
            Some(spans) => spans.entered(work),
            None => work(),
        }
    }

    /// Notes that the attempt must wait for a dial, or for another request to end.
    pub(crate) fn waits(&self) {
        if let Some(spans) = self.watched.as_ref().and_then(|watched| watched.spans.as_ref()) {
            spans.waits();
        }
    }

    /// Links the attempt's span to the span of a dial that began for this attempt. The dial may serve another request.
    pub(crate) fn began_dial(&mut self, setup: &Setup) {
        if let Some(spans) = self.spans() {
            spans.follow(setup.id(), setup.link().as_ref());
        }
    }

    /// Notes that the attempt stops waiting for a dial, which has ended or goes on.
    pub(crate) fn dial_seen(&mut self, setup: &Setup) {
        self.dial_made(setup.milestones());
        self.began_dial(setup);
    }

    /// Notes the milestones of the dial for which the attempt waited, or of the dial that made the connection of the attempt.
    pub(crate) fn dial_made(&mut self, milestones: Milestones) {
        self.timeline.set_dial(milestones);
    }

    /// Notes that the attempt has a connection. The first write of the attempt follows.
    #[inline]
    pub(crate) fn assigned(&mut self, connection: &ConnectionInfo, now: Instant) {
        self.timeline.assigned = Some(now);
        if let Some(watched) = &mut self.watched {
            watched.assigned(connection, now);
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
    pub(crate) fn head(&mut self, head: &ResponseHead, unwritten: Option<u64>, now: Instant) {
        self.timeline.head = Some(now);
        if let Some(sent) = unwritten {
            self.sent(sent, now);
        }
        if let Some(watched) = &mut self.watched {
            watched.head(head, now);
        }
    }

    /// Ends the trace of a request whose response was read to its end. `close` is the reason that forbids the reuse of
    /// the connection, as a sentence, or `None`.
    #[inline]
    pub(crate) fn complete(
        &mut self,
        close: Option<&'static str>,
        now: Instant,
        amounts: impl FnOnce() -> Amounts,
    ) {
        self.timeline.end.get_or_insert(now);
        if self.watched.is_some() {
            self.leave(End { outcome: ExchangeOutcome::Complete, phase: None, close }, now, amounts);
        }
    }

    /// Ends the trace of a request that failed. Returns `error` with the timings until the failure. `is_head_received`
    /// tells whether the error ended the content of the response.
    pub(crate) fn fail(
        &mut self,
        error: Error,
        is_head_received: bool,
        close: Option<&'static str>,
        now: Instant,
        amounts: impl FnOnce() -> Amounts,
    ) -> Error {
        self.stop(is_head_received, now);
        let (outcome, phase) = (ExchangeOutcome::Failed(error.kind()), error.phase());
        self.leave(End { outcome, phase, close }, now, amounts);
        error.with_timings(self.timeline.timings(|| now)).with_earlier(self.timeline.earlier())
    }

    /// Ends the trace of a request whose response the caller no longer wants. The milestones stay open, because the
    /// content may still be drained.
    #[cold]
    pub(crate) fn cancel(
        &mut self,
        is_head_received: bool,
        close: Option<&'static str>,
        now: Instant,
        amounts: impl FnOnce() -> Amounts,
    ) {
        let open = self.timeline.clone();
        self.stop(is_head_received, now);
        self.leave(End { outcome: ExchangeOutcome::Cancelled, phase: None, close }, now, amounts);
        self.timeline = open;
    }

    /// Returns the timings of a request whose response head is complete. The timings are final once the trace was left.
    pub(crate) fn measured(&self) -> Measured {
        Measured::new(self.timeline.clone())
    }

    /// Sets the last milestone of an attempt that ends before its response is complete.
    fn stop(&mut self, is_head_received: bool, now: Instant) {
        match is_head_received {
            true => _ = self.timeline.end.get_or_insert(now),
            false => self.timeline.head = None,
        }
    }

    /// Ends the phase `send` of the spans.
    #[inline]
    fn sent(&mut self, sent: u64, now: Instant) {
        if let Some(spans) = self.spans() {
            spans.sent(sent, now);
        }
    }

    #[inline]
    fn spans(&mut self) -> Option<&mut Spans> {
        self.watched.as_mut()?.spans.as_mut()
    }

    /// Leaves the trace of the attempt: closes all spans, and gives the record to the caller's functions. Does nothing
    /// if the trace was already left.
    #[cold]
    fn leave(&mut self, end: End, now: Instant, amounts: impl FnOnce() -> Amounts) {
        let Some(watched) = self.watched.take() else { return };
        let Watch { status, spans, recording } = *watched;
        let (End { outcome, phase, close }, amounts) = (end, amounts());
        if let Some(spans) = spans {
            let _ = contained(|| spans.close(status, outcome, close, amounts.content_received, now));
        }
        if let Some((hook, mut record)) = recording {
            let phase = phase.unwrap_or_else(|| self.timeline.phase());
            record.end(outcome, phase, close, amounts, self.timeline.of_attempt(|| now));
            hook.call(&record);
        }
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        if self.watched.is_some() {
            self.cancel(self.timeline.end.is_some(), None, time::now(), Amounts::default);
        }
    }
}

impl Watch {
    /// Begins the spans and the record of an attempt. Returns `None` if neither a subscriber nor a function of the
    /// caller wants them.
    #[cold]
    fn begin(
        sending: &Sending<'_>,
        resends: u32,
        cause: Option<ResendCause>,
        now: Instant,
    ) -> Option<Box<Self>> {
        let spans = Spans::begin(sending, resends, now);
        let record = |hook: &OnExchange| {
            let record = ExchangeRecord::new(sending, resends, cause);
            hook.begin(&record);
            (hook.clone(), record)
        };
        let recording = sending.hook.map(record);
        let is_wanted = spans.is_some() || recording.is_some();
        is_wanted.then(|| Box::new(Self { status: None, spans, recording }))
    }

    #[cold]
    fn assigned(&mut self, connection: &ConnectionInfo, now: Instant) {
        if let Some(spans) = &mut self.spans {
            spans.assigned(connection, now);
        }
        if let Some((_, record)) = &mut self.recording {
            record.set_connection(connection);
        }
    }

    #[cold]
    fn head(&mut self, head: &ResponseHead, now: Instant) {
        self.status = Some(head.status);
        if let Some(spans) = &mut self.spans {
            spans.head(head.status, head.version, now);
        }
        if let Some((_, record)) = &mut self.recording {
            record.set_response(head);
        }
    }
}
