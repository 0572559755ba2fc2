//! The spans of one attempt: the span `http.request`, and its child for each phase.
//!
//! The names of the fields follow the conventions of OpenTelemetry for HTTP clients,
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>. Names that the conventions do not have begin with
//! `handclasp.`. Invariants: no field holds the value of a header or a secret of a URL. A phase begins when the phase
//! before it ends.

use std::time::Instant;

use http::{StatusCode, Version};
use tracing::field::Empty;

use super::exchange::{ExchangeOutcome, error_type, server_address};
use super::methods::OTHER;
use super::request::Sending;
use crate::error::redacted;
use crate::pool::ConnectionInfo;
use crate::trace::{OwnSpan, SpanLink, TARGET, contained, int, record_elapsed};

/// The span `http.request`, and the span of the phase that is running.
#[derive(Debug)]
pub(super) struct Spans {
    request: OwnSpan,
    /// Whether the attempt's span was entered.
    was_entered: bool,
    started: Instant,
    phase: OwnSpan,
    phase_started: Instant,
    /// Numbers of the connections to whose dials the attempt's span is linked.
    links: Vec<u64>,
}

impl Spans {
    /// Starts the span `http.request` and the phase `queue`. Returns `None` if no subscriber wants the span.
    pub(super) fn begin(sending: &Sending<'_>, resends: u32, now: Instant) -> Option<Self> {
        let Sending { method, uri, port, template, known, .. } = *sending;
        let known = known.has(method).then(|| method.as_str());
        let request = tracing::info_span!(
            target: TARGET,
            "http.request",
            otel.kind = "client",
            otel.name = name(known, template),
            otel.status_code = Empty,
            http.request.method = known.unwrap_or(OTHER),
            http.request.method_original = known.is_none().then(|| method.as_str()),
            url.full = redacted(uri),
            url.template = template,
            server.address = server_address(uri),
            server.port = int(port),
            network.peer.address = Empty,
            network.peer.port = Empty,
            network.protocol.version = Empty,
            http.response.status_code = Empty,
            error.type = Empty,
            http.request.resend_count = (resends > 0).then(|| int(resends)),
            handclasp.cancelled = Empty,
            handclasp.connection.id = Empty,
            handclasp.connection.reused = Empty,
            handclasp.connection.close_reason = Empty,
            elapsed_ns = Empty,
        );
        if request.is_disabled() {
            return None;
        }
        let mut spans = Self {
            request: OwnSpan::new(request),
            was_entered: false,
            started: now,
            phase: OwnSpan::none(),
            phase_started: now,
            links: Vec::new(),
        };
        let queue = spans.request.child(|above| {
            tracing::debug_span!(target: TARGET, parent: above, "queue", waited = false, elapsed_ns = Empty)
        });
        spans.next(queue, now);
        Some(spans)
    }

    pub(super) fn entered(&mut self, work: impl FnOnce()) {
        self.was_entered = true;
        self.request.in_scope(work);
    }

    pub(super) fn waits(&self) {
        self.phase.record("waited", true);
    }

    /// Links the attempt's span to the span of the dial of a connection.
    pub(super) fn follow(&mut self, connection: u64, dial: Option<&SpanLink>) {
        if let Some(dial) = dial.filter(|_| !self.links.contains(&connection)) {
            let _ = contained(|| dial.add_to(&self.request));
            self.links.push(connection);
        }
    }

    pub(super) fn assigned(&mut self, connection: &ConnectionInfo, now: Instant) {
        self.follow(connection.id(), connection.setup_link());
        self.request
            .record("handclasp.connection.id", int(connection.id()))
            .record("handclasp.connection.reused", connection.is_reused());
        if let Some(peer) = connection.peer_addr() {
            self.request
                .record("network.peer.address", tracing::field::display(peer.ip()))
                .record("network.peer.port", int(peer.port()));
        }
        let span = self.request.child(|above| {
            tracing::debug_span!(target: TARGET, parent: above, "send", bytes = Empty, elapsed_ns = Empty)
        });
        self.next(span, now);
    }

    pub(super) fn sent(&mut self, sent: u64, now: Instant) {
        self.phase.record("bytes", int(sent));
        let span = self
            .request
            .child(|above| tracing::debug_span!(target: TARGET, parent: above, "wait", elapsed_ns = Empty));
        self.next(span, now);
    }

    pub(super) fn head(&mut self, status: StatusCode, version: Version, now: Instant) {
        let version = if version == Version::HTTP_10 { "1.0" } else { "1.1" };
        self.request
            .record("http.response.status_code", int(status.as_u16()))
            .record("network.protocol.version", version);
        let span = self.request.child(|above| {
            tracing::debug_span!(target: TARGET, parent: above, "receive", bytes = Empty, elapsed_ns = Empty)
        });
        self.next(span, now);
    }

    /// Ends all spans. `received` is the number of bytes of the response's content.
    pub(super) fn close(
        mut self,
        status: Option<StatusCode>,
        outcome: ExchangeOutcome,
        close: Option<&'static str>,
        received: u64,
        now: Instant,
    ) {
        if status.is_some() {
            self.phase.record("bytes", int(received));
        }
        if let Some(close) = close {
            self.request.record("handclasp.connection.close_reason", close);
        }
        if outcome == ExchangeOutcome::Cancelled {
            self.request.record("handclasp.cancelled", true);
        }
        if let Some(error) = error_type(status, outcome) {
            self.request.record("error.type", &*error).record("otel.status_code", "ERROR");
        }
        self.next(OwnSpan::none(), now);
        record_elapsed(&self.request, self.started, now);
        if self.was_entered {
            // tracing-opentelemetry takes the latest exit of an entered span for its end.
            self.request.in_scope(|| ());
        }
    }

    /// Ends the running phase and begins the next phase.
    fn next(&mut self, span: OwnSpan, now: Instant) {
        if !self.phase.is_none() {
            record_elapsed(&self.phase, self.phase_started, now);
        }
        self.phase = span;
        self.phase_started = now;
    }
}

/// Returns the name that OpenTelemetry shows for the span.
fn name(method: Option<&str>, template: Option<&str>) -> String {
    let method = method.unwrap_or("HTTP");
    template.map_or_else(|| method.to_owned(), |template| format!("{method} {template}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_has_the_method_and_the_template() {
        for (known, template, expected) in [
            (Some("GET"), None, "GET"),
            (Some("PATCH"), Some("/users/{id}"), "PATCH /users/{id}"),
            (None, None, "HTTP"),
            (None, Some("/x"), "HTTP /x"),
        ] {
            assert_eq!(name(known, template), expected);
        }
    }
}
