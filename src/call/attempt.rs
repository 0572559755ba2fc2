//! The attempts of a request to one URL. Each attempt tries the request on one connection, in named steps. [`Attempts`]
//! holds the state that later attempts need.
//!
//! [`Call::run`] calls the steps in their order: [`prepare`](Attempts::prepare), [`acquire`](Attempts::acquire),
//! [`exchange`](Attempts::exchange), [`finish`](Attempts::finish). This module decides nothing about resending.
//! Invariant: each step leaves the exchange either ready for the next step or with its trace ended.

use std::future::poll_fn;
use std::task::Context;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::EXPECT;
use http::{Method, StatusCode, Uri, Version};

use super::head::{Names, binds_connection};
use super::hop::Next;
use super::resend::{self, Decision, End, Facts};
use super::{Call, Environment, Hop, Settings, UrlTemplate, http10, reserve};
use crate::body::Body;
use crate::codec::{RequestHead, ResponseHead};
use crate::connect::{FirstBytes, Via};
use crate::error::{Error, ErrorKind, Phase, ResendCause, Result};
use crate::exchange::timeout::Deadline;
use crate::exchange::{Exchange, Failure, Upload};
use crate::pool::key::RouteRef;
use crate::pool::lease::Lease;
use crate::pool::{Doubted, DropReason, Early, Wait};
use crate::record::{Ended, RequestTrace, Sending};
use crate::redirect::History;
use crate::response::{Head, Requested, Response};
use crate::time;
use crate::upgraded::Upgraded;

/// The attempts of a request to one URL.
pub(super) struct Attempts<'a> {
    /// The hop of the call that is tried.
    pub(super) call: Hop<'a>,
    pub(super) route: RouteRef<'a>,
    pub(super) names: Names<'a>,
    is_idempotent: bool,
    /// Longest time for which a connection may have been idle. Set only for a request that must not be sent twice.
    pub(super) fresh: Option<Duration>,
    /// Whether the request says `Connection: close`.
    pub(super) closes: bool,
    /// Length of content, in bytes, from which the request gets an expectation.
    expect_above: Option<u64>,
    /// Whether the request was sent again.
    is_repeated: bool,
    /// Whether the server answered 417 in HTTP/1.0. If it did, the request is prepared as for an HTTP/1.0 server.
    as_http10: bool,
    /// Wait of the next attempt. This wait reserves the place of the closed connection in the pool for that attempt.
    waiting: Option<Wait>,
    /// The connection whose answer came too soon, until the request is answered on another connection.
    doubted: Option<Box<Doubted>>,
}

/// The outcome of an attempt's exchange.
pub(super) enum Outcome {
    /// The response head came.
    Answered(ResponseHead),
    /// The connection was closed or reset.
    Lost(Error),
    /// Bytes came before the request head was written.
    Premature(Error),
    /// The answer came too soon.
    TooSoon(Early),
    /// The attempt failed in any other way.
    Failed(Error),
}

/// The step that follows an attempt.
#[allow(clippy::large_enum_variant, reason = "the caller takes the value apart at once")]
pub(super) enum Finished {
    /// Another attempt sends the request again.
    Resend,
    /// The response is a redirect, and another hop follows.
    #[cfg_attr(not(feature = "url"), allow(dead_code, reason = "no redirect is followed"))]
    Redirected(Next),
    /// The response is complete, and its connection was given back or closed.
    Complete(Response),
    /// The content continues after `ready`, and the exchange reads it.
    Open {
        head: Box<Head>,
        ready: Bytes,
    },
    Failed(Error),
}

impl Call<'_> {
    /// Begins the request's trace. Returns the exchange that all attempts and hops share.
    #[inline]
    pub(super) fn open(&self, body: Body, port: u16) -> Exchange {
        let Call { env, settings, .. } = self;
        let now = time::now();
        let trace = match env.request.on_exchange.is_some() || RequestTrace::has_subscriber() {
            false => RequestTrace::unwatched(now),
            true => self.begin_watched(port, now),
        };
        let total = settings.timeout.or(env.request.timeout).flatten();
        let deadline = total.map(|after| Deadline { at: time::after(now, after), after });
        let has_total = deadline.is_some();
        let timeouts = match &settings.timeouts {
            None => env.timeouts[usize::from(has_total)],
            Some(own) => own.exchange.or(env.exchange.timeouts, has_total),
        };
        Exchange::new(Upload::new(body), env.exchange, timeouts, deadline, trace)
    }

    /// Begins the trace of a request that a subscriber or a function of the caller may watch.
    #[cold]
    fn begin_watched(&self, port: u16, now: Instant) -> RequestTrace {
        RequestTrace::begin(&self.sending(port), now)
    }

    /// Returns the request of the current hop, for its trace.
    pub(super) fn sending(&self, port: u16) -> Sending<'_> {
        let Call { env, method, uri, settings, history, .. } = self;
        sending(env, method, uri, port, settings, history)
    }
}

/// Returns the request of an attempt, for its trace.
fn sending<'a>(
    env: &'a Environment,
    method: &'a Method,
    uri: &'a Uri,
    port: u16,
    settings: &'a Settings,
    history: &History,
) -> Sending<'a> {
    // The template describes the first URL of the call.
    let template = settings.template.as_ref().filter(|_| !history.is_followed());
    let (known, hook) = (&env.request.known_methods, env.request.on_exchange.as_ref());
    Sending { method, uri, port, template: template.map(UrlTemplate::as_str), known, hook }
}

impl<'a> Attempts<'a> {
    #[inline]
    pub(super) fn new(call: Hop<'a>, route: RouteRef<'a>, via: &'a Via) -> Self {
        let Hop { env, method, uri, settings, .. } = call;
        let is_idempotent = resend::is_idempotent(method, call.headers);
        let is_shared = settings.pinned.is_none();
        let binds = settings.isolation.is_none() && binds_connection(call.headers);
        Self {
            names: Names::new(method, uri, route, settings),
            route: route.by(via),
            is_idempotent,
            fresh: env.pool.fresh_for_unsafe().filter(|_| !is_idempotent),
            closes: (env.request.closes || binds) && is_shared,
            expect_above: env.request.expect_continue_above,
            is_repeated: false,
            as_http10: false,
            waiting: None,
            doubted: None,
            call,
        }
    }

    /// Encodes the request head. For a server that speaks HTTP/1.0, first reads a body of unknown length into memory.
    ///
    /// # Errors
    ///
    /// If the request cannot be sent.
    #[inline]
    pub(super) async fn prepare(&mut self, exchange: &mut Exchange) -> Result<()> {
        let Self { call: Hop { env, headers, .. }, route, as_http10, .. } = self;
        let began = exchange.trace().attempt_started();
        // The memory is asked in each attempt, because an earlier attempt may have learned the server's version.
        let is_http10 = || *as_http10 || env.http10.contains(env.pool.key(*route), began);
        if http10::announce(headers, exchange.upload(), self.expect_above, is_http10) {
            let (total, write) = (exchange.deadline(), exchange.write_timeout());
            let gather = env.http10.gather(env.pool.key(*route), exchange.upload(), total, write);
            if let Err(error) = Box::pin(gather).await {
                return Err(exchange.error(error));
            }
            exchange.trace().body_gathered(time::now());
        }
        if self.call.env.request.shapes_heads() | self.route.by_proxy().is_some() {
            return self.prepare_shaped(exchange);
        }
        let host = self.names.host();
        let target = self.names.target();
        let mut head = RequestHead::new(self.call.method, target, Some(host.as_bytes()), self.call.headers);
        head.close = self.closes;
        exchange.prepare(head).map_err(|error| exchange.error(error))
    }

    /// Takes an idle connection from the pool or waits for a connection, and attaches it to the exchange.
    ///
    /// # Errors
    ///
    /// If the pool refuses the request, or if the wait for a connection fails.
    #[inline]
    pub(super) async fn acquire(&mut self, exchange: &mut Exchange) -> Result<()> {
        let began = exchange.trace().attempt_started();
        if let Some(pinned) = &self.call.settings.pinned {
            // Boxed because few connections are reserved: keeps the request future small.
            let taken = Box::pin(self.take_pinned(pinned, exchange)).await;
            return taken.map_err(|error| exchange.error(error));
        }
        let found = match self.waiting.take() {
            Some(wait) => Ok(Err(wait)),
            None => {
                let request = || self.early(exchange);
                self.call.env.pool.checkout_with(self.route, self.fresh, None, began, &request)
            }
        };
        let acquired = match found {
            Ok(Ok(lease)) => {
                exchange.attach(lease, Some(began));
                return Ok(());
            }
            Ok(Err(wait)) => self.attach_granted(wait, exchange).await,
            Err(error) => Err(error),
        };
        acquired.map_err(|error| exchange.error(error))
    }

    /// Sends the request and waits for the response head. Replaces connections that are found dead before the first
    /// write.
    #[inline]
    pub(super) async fn exchange(&mut self, exchange: &mut Exchange) -> Outcome {
        let informed = self.call.env.request.on_informational.as_ref().map(|hook| &*hook.0);
        loop {
            let polled = poll_fn(|cx| {
                let polled = exchange.poll_head(informed, cx);
                if polled.is_pending() {
                    self.close_overdue(cx);
                }
                polled
            });
            match polled.await {
                Ok(head) => return Outcome::Answered(head),
                Err(Failure::Stale(reason)) => {
                    if self.is_pinned() {
                        return Outcome::Failed(reserve::lost(exchange, reason));
                    }
                    let Some(dead) = exchange.detach() else { continue };
                    if let Err(error) = self.replace(dead, reason, exchange).await {
                        return Outcome::Failed(error);
                    }
                }
                Err(Failure::Lost(error)) => return Outcome::Lost(error),
                Err(Failure::Premature(error)) => return Outcome::Premature(error),
                Err(Failure::TooSoon(early)) => match resend::decide(&self.facts(End::TooSoon, exchange)) {
                    Decision::Done => exchange.believe(),
                    _ => return Outcome::TooSoon(early),
                },
                Err(Failure::Other(error)) => return Outcome::Failed(error),
            }
        }
    }

    /// Closes a connection that was found dead, and attaches another connection. Nothing was written, so that the
    /// encoded head and the pieces of the body can be sent on the new connection.
    async fn replace(&mut self, dead: Lease, reason: DropReason, exchange: &mut Exchange) -> Result<()> {
        match dead.replace(reason, self.fresh) {
            Ok(lease) => {
                exchange.attach(lease, None);
                Ok(())
            }
            Err(wait) => self.attach_granted(wait, exchange).await,
        }
    }

    /// Waits for a connection and attaches it to the exchange.
    async fn attach_granted(&mut self, wait: Wait, exchange: &mut Exchange) -> Result<()> {
        // Boxed because most requests do not wait: keeps the request future small.
        let mut lease = Box::pin(self.wait(wait, exchange)).await?;
        while !lease.conn().stream.takes(exchange.first_bytes()) {
            let wait = lease.redial(DropReason::Abandoned, Some("another request was sent with its SYN"));
            lease = Box::pin(self.wait(wait, exchange)).await?;
        }
        exchange.attach(lease, None);
        Ok(())
    }

    /// Returns the request if it may be sent with the SYN of its connection. Such a request has no content, may be
    /// repeated, and goes directly to its server without TLS.
    #[cold]
    fn early(&self, exchange: &Exchange) -> Option<FirstBytes> {
        let is_plain = !self.route.is_https() && self.route.is_direct();
        let may_be_sent =
            self.call.env.pool.opens_fast() && is_plain && self.is_idempotent && exchange.is_head_only();
        may_be_sent.then(|| Bytes::copy_from_slice(exchange.first_bytes()).into())
    }

    /// Closes the doubted connection of the earlier attempt, if that connection was kept for long enough.
    #[inline]
    pub(super) fn close_overdue(&mut self, cx: &mut Context<'_>) {
        if let Some(doubted) = &mut self.doubted
            && doubted.poll_over(cx).is_ready()
        {
            drop(self.doubted.take());
        }
    }

    /// Settles the doubt about the answer of the earlier attempt. If the request was not answered in this attempt
    /// either, the doubt cannot be settled.
    #[cold]
    fn settle(&mut self, outcome: &Outcome) {
        let Some(doubted) = self.doubted.take() else { return };
        match outcome {
            Outcome::Answered(_) => doubted.settle(),
            _ => drop(doubted),
        }
    }

    /// Decides what follows the attempt: another attempt, the response, or an error.
    #[inline]
    pub(super) fn finish(&mut self, outcome: Outcome, exchange: &mut Exchange) -> Finished {
        if self.doubted.is_some() {
            self.settle(&outcome);
        }
        if let Outcome::Answered(head) = &outcome
            && !self.call.env.http10.is_usual(head.version)
        {
            self.learn_version(head, exchange);
        }
        if let Outcome::Answered(head) = &outcome
            && self.call.env.request.cookies.is_on()
        {
            self.keep_cookies(head);
        }
        let end = self.end(&outcome, exchange);
        let decision = resend::decide(&self.facts(end, exchange));
        if decision != Decision::Done
            && let Some(cause) = cause(end)
        {
            if let End::Lost | End::Premature = end {
                exchange.set_failed();
            }
            if let Some(dead) = exchange.detach() {
                self.end_attempt(&outcome, cause, &dead, exchange);
                let early = match outcome {
                    Outcome::TooSoon(early) => Some(early),
                    _ => None,
                };
                self.start_again(decision, drop_reason(end), early, dead, exchange);
                return Finished::Resend;
            }
        }
        let error = match outcome {
            Outcome::Answered(head) if head.status.is_redirection() => return self.redirect(head, exchange),
            Outcome::Answered(head) => return self.answer(head, exchange),
            Outcome::TooSoon(early) => early.into_error(),
            Outcome::Lost(error) | Outcome::Premature(error) | Outcome::Failed(error) => error,
        };
        exchange.set_failed();
        let error = exchange.error(error);
        if error.kind() != ErrorKind::Body {
            exchange.note_unanswered();
        }
        exchange.bury(drop_reason(end));
        Finished::Failed(error)
    }

    #[cold]
    fn learn_version(&self, head: &ResponseHead, exchange: &mut Exchange) {
        let Environment { pool, http10, .. } = self.call.env;
        let now = exchange.trace().head_at().unwrap_or_else(time::now);
        http10.learn(pool.key(self.route), head.version, head.status, exchange.closes(), now);
    }

    #[inline]
    fn end(&self, outcome: &Outcome, exchange: &Exchange) -> End {
        match outcome {
            Outcome::Answered(head) => match head.status {
                StatusCode::REQUEST_TIMEOUT if exchange.says_close() => End::RequestTimeout,
                StatusCode::EXPECTATION_FAILED => End::ExpectationFailed {
                    is_expected: self.call.headers.contains_key(EXPECT),
                    is_head_alone: exchange.is_head_alone(),
                    is_http10: head.version == Version::HTTP_10,
                },
                _ => End::Answered,
            },
            Outcome::Lost(_) => End::Lost,
            Outcome::Premature(_) => End::Premature,
            Outcome::TooSoon(_) => End::TooSoon,
            Outcome::Failed(_) => End::Failed,
        }
    }

    #[inline]
    fn facts(&self, end: End, exchange: &Exchange) -> Facts {
        Facts {
            end,
            is_reused: exchange.is_reused(),
            is_repeated: self.is_repeated,
            written: exchange.attempt_written(),
            is_answered: exchange.is_answered(),
            is_replayable: exchange.is_replayable(),
            is_idempotent: self.is_idempotent,
            is_pinned: self.is_pinned(),
        }
    }

    /// Ends the trace of an attempt that another attempt follows.
    #[cold]
    fn end_attempt(&self, outcome: &Outcome, cause: ResendCause, lease: &Lease, exchange: &mut Exchange) {
        let (method, uri) = (self.call.method, self.call.uri);
        let (status, failure) = match outcome {
            Outcome::Answered(head) => (Some(head.status), None),
            Outcome::TooSoon(_) => (None, Some((ErrorKind::Protocol, Some(Phase::Wait)))),
            Outcome::Lost(error) | Outcome::Premature(error) | Outcome::Failed(error) => {
                (None, Some((error.kind(), error.phase())))
            }
        };
        let (connection, peer) = lease.id_and_peer();
        exchange.end_attempt(&Ended { method, uri, status, failure, cause, connection, peer });
    }

    /// Returns the request of the attempt, for its trace.
    fn sending(&self) -> Sending<'_> {
        let Hop { env, method, uri, settings, history, .. } = &self.call;
        sending(env, method, uri, self.route.port(), settings, history)
    }

    /// Closes the connection of this attempt, and makes the exchange ready for the next one. If the answer came too
    /// soon, keeps the connection instead, until the request is answered on another connection.
    #[cold]
    fn start_again(
        &mut self,
        decision: Decision,
        reason: DropReason,
        early: Option<Early>,
        dead: Lease,
        exchange: &mut Exchange,
    ) {
        match decision {
            Decision::Done => return,
            Decision::Repeat => self.is_repeated = true,
            Decision::WithoutExpectation { as_http10 } => {
                self.call.headers.remove(EXPECT);
                self.expect_above = None;
                self.as_http10 |= as_http10;
            }
        }
        let why = exchange.close_reason();
        exchange.begin_again(&self.sending());
        exchange.restart();
        let (waiting, doubted) = match early {
            Some(early) => dead.redial_in_doubt(early, why),
            None => (dead.redial(reason, why), None),
        };
        (self.waiting, self.doubted) = (Some(waiting), doubted);
    }

    /// Makes the response and takes the content that came with the head. If this content is all of the content, gives
    /// the connection back.
    #[inline]
    pub(super) fn answer(&self, received: ResponseHead, exchange: &mut Exchange) -> Finished {
        exchange.set_answered();
        let content_length = exchange.announced_length();
        let connection = exchange.take_info().expect("a response came on a connection");
        let tunnel = exchange.take_tunnel();
        let upgraded =
            tunnel.map(|(lease, leftover)| Box::new(Upgraded::new(lease, leftover, connection.clone())));
        let (ready, is_complete) = match upgraded {
            Some(_) => (Bytes::new(), true),
            None => exchange.take_ready(),
        };
        let head = Box::new(Head {
            received,
            sent: None,
            requested: Requested::default(),
            connection,
            measured: exchange.measured(),
            content_length,
            written: exchange.written(),
            upload: exchange.upload_progress(),
            upgraded,
            max_collected: self.call.env.request.max_collected_body,
        });
        if !is_complete {
            exchange.set_unread();
            return Finished::Open { head, ready };
        }
        let body = match exchange.take_trailers() {
            None => Body::from(ready),
            Some(trailers) => {
                let upload = head.upload;
                Body::received(ready, None, Some(trailers), upload)
            }
        };
        Finished::Complete(Response::new(head, body))
    }
}

/// Returns the reason for which another attempt follows an attempt that ended by `end`.
fn cause(end: End) -> Option<ResendCause> {
    Some(match end {
        End::Lost => ResendCause::ConnectionLost,
        End::Premature => ResendCause::Unsolicited,
        End::TooSoon => ResendCause::TooSoon,
        End::RequestTimeout => ResendCause::RequestTimeout,
        End::ExpectationFailed { .. } => ResendCause::ExpectationFailed,
        End::Answered | End::Failed => return None,
    })
}

/// Returns the reason for which an attempt that ended by `end` closes its connection.
fn drop_reason(end: End) -> DropReason {
    match end {
        End::Lost | End::RequestTimeout => DropReason::PeerClosed,
        End::Premature => DropReason::Unsolicited,
        End::TooSoon => DropReason::TooSoon,
        End::ExpectationFailed { .. } => DropReason::NotReusable,
        End::Answered | End::Failed => DropReason::Failed,
    }
}
