//! The wait for a connection: the connection that the pool hands over, or the timeout that ends the wait.
//!
//! This module knows the pool's waits and the clocks, but no HTTP. Invariant: a wait that ends without a connection
//! leaves the pool's queue.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::attempt::Attempts;
use crate::connect::DialError;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::exchange::Exchange;
use crate::exchange::timeout::{self, NEVER};
use crate::pool::key::RouteRef;
use crate::pool::lease::Lease;
use crate::pool::{NotGranted, Pool, Wait};
use crate::time;
use crate::timer::{RuntimeGone, Timer};
use crate::timings::Rounded;

/// The outcome of a wait for a connection.
pub(super) enum Waited {
    Granted(Lease),
    Refused(NotGranted),
    /// The limit has passed.
    TimedOut,
    /// The runtime has no timers.
    NoTimers,
}

/// A wait and the exchange that waits. When the wait ends, or is dropped, the trace learns which dial the request has
/// begun, and the progress of the dial that the request waited for.
struct Waiting<'a> {
    wait: Wait,
    exchange: &'a mut Exchange,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self { wait, exchange } = self;
        let trace = exchange.trace();
        if !trace.is_watched() {
            return;
        }
        if let Some(setup) = wait.begun() {
            trace.began_dial(&setup);
        }
        if !wait.is_over()
            && let Some(setup) = wait.dial()
        {
            trace.dial_seen(&setup);
        }
    }
}

/// The timeout that passes first and that ends the wait.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) at: Instant,
    pub(super) after: Duration,
    by: LimitedBy,
}

#[derive(Clone, Copy)]
pub(super) enum LimitedBy {
    Acquire,
    Connect,
    Total,
}

impl Attempts<'_> {
    /// Waits for a connection from the pool and returns it.
    ///
    /// # Errors
    ///
    /// If the dial that this attempt waited for failed, if a timeout has passed, or if the pool was shut down.
    pub(super) async fn wait(&mut self, wait: Wait, exchange: &mut Exchange) -> Result<Lease> {
        exchange.trace().waits();
        // The limits count from the start of the attempt, so that the replacement of a dead connection does not extend
        // them.
        let since = exchange.trace().attempt_started();
        let limit = self.limit(since, exchange);
        let (pool, route, fresh) = (&self.call.env.pool, self.route, self.fresh);
        let mut waiting = Waiting { wait, exchange };
        let waited = wait_until(pool, route, fresh, limit.at, &mut waiting.wait, |cx| self.close_overdue(cx));
        match waited.await? {
            Waited::Granted(lease) => {
                if let Some(milestones) = lease.dial() {
                    waiting.exchange.trace().dial_made(*milestones);
                }
                Ok(lease)
            }
            Waited::Refused(NotGranted::Shutdown | NotGranted::Withdrawn) => Err(Error::shutdown()),
            Waited::Refused(NotGranted::Failed(error, setup)) => {
                waiting.exchange.trace().dial_seen(&setup);
                Err(error.into_error())
            }
            Waited::NoTimers => Err(DialError::no_timers().into_error()),
            Waited::TimedOut => Err(timed_out(&waiting.wait, limit, waiting.exchange)),
        }
    }

    /// Returns the limit of a wait for a connection that began at `since`.
    pub(super) fn limit(&self, since: Instant, exchange: &Exchange) -> Limit {
        let pool = &self.call.env.pool;
        let own = self.call.settings.timeouts.as_ref();
        let (total, connect) = (exchange.deadline(), own.and_then(|own| own.connect));
        let has_own = total.is_some() || connect.is_some();
        let acquire = timeout::acquire(pool.acquire_timeout(), pool.acquire_default(), has_own);
        let limit = |after, by| Limit::new(Some(after), since, by);
        let limits = [
            acquire.map(|after| limit(after, LimitedBy::Acquire)),
            connect.map(|after| limit(after, LimitedBy::Connect)),
            total.map(|total| Limit { at: total.at, after: total.after, by: LimitedBy::Total }),
        ];
        let earliest = limits.into_iter().flatten().min_by_key(|limit| limit.at);
        earliest.unwrap_or_else(|| limit(NEVER, LimitedBy::Acquire))
    }
}

impl Limit {
    /// Returns the limit of a wait that began at `since`. With `None`, the wait has no limit.
    pub(super) fn new(after: Option<Duration>, since: Instant, by: LimitedBy) -> Self {
        let after = after.unwrap_or(NEVER);
        Self { at: time::after(since, after), after, by }
    }
}

/// Waits for a connection until `at`. Calls `meanwhile` at each poll without a connection. If this future holds a
/// granted connection and is not polled for a while, the pool takes that connection back, and the wait continues at the
/// same position in the queue.
pub(super) async fn wait_until(
    pool: &Pool,
    route: RouteRef<'_>,
    fresh: Option<Duration>,
    at: Instant,
    wait: &mut Wait,
    mut meanwhile: impl FnMut(&mut Context<'_>),
) -> Result<Waited> {
    let mut timer = Timer::default();
    let waited = loop {
        let granted = {
            let mut granted = pin!(wait.granted());
            poll_fn(|cx| match granted.as_mut().poll(cx) {
                Poll::Ready(granted) => Poll::Ready(Ok(granted)),
                Poll::Pending => {
                    meanwhile(cx);
                    timer.poll_until(at, cx).map(Err)
                }
            })
            .await
        };
        match granted {
            Ok(Err(NotGranted::Withdrawn)) => match pool.checkout(route, fresh, Some(wait), time::now())? {
                Ok(lease) => break Waited::Granted(lease),
                Err(next) => *wait = next,
            },
            Ok(Ok(lease)) => break Waited::Granted(lease),
            Ok(Err(refused)) => break Waited::Refused(refused),
            Err(Ok(())) => break Waited::TimedOut,
            Err(Err(RuntimeGone)) => break Waited::NoTimers,
        }
    };
    // The timer drops the caller's waker, and this drop may panic. `waited` is a local at this point, so that the
    // panic drops `waited`. As the result of the function, `waited` would leak.
    drop(timer);
    Ok(waited)
}

/// Waits until a reserved connection was taken, or until `limit` has passed. Calls `waits` at each poll without a
/// connection.
pub(super) async fn within(
    limit: Limit,
    taking: impl Future<Output = Result<Lease>>,
    mut waits: impl FnMut(),
) -> Result<Lease> {
    let (mut taking, mut timer) = (pin!(taking), Timer::default());
    let taken = poll_fn(|cx| match taking.as_mut().poll(cx) {
        Poll::Ready(taken) => Poll::Ready(taken),
        Poll::Pending => {
            waits();
            timer.poll_until(limit.at, cx).map(|passed| Err(not_free(passed, limit)))
        }
    });
    let taken = taken.await;
    // The drop of the timer may panic: see `wait_until`.
    drop(timer);
    taken
}

/// Returns the error of a wait for a reserved connection that has ended by `passed`.
fn not_free(passed: Result<(), RuntimeGone>, limit: Limit) -> Error {
    match (passed, limit.by) {
        (Err(RuntimeGone), _) => DialError::no_timers().into_error(),
        (Ok(()), LimitedBy::Acquire) => {
            let after = Rounded(limit.after);
            let message =
                format!("the reserved connection did not become free within {after} (acquire_timeout)");
            Error::new(ErrorKind::PoolTimeout, message).in_phase(Phase::Queue)
        }
        (Ok(()), LimitedBy::Connect) => {
            let what = "the reserved connection did not become free";
            Error::timeout(Phase::Queue, limit.after, what, "connect_timeout")
        }
        (Ok(()), LimitedBy::Total) => {
            Error::timeout(Phase::Queue, limit.after, "the request did not complete", "timeout")
        }
    }
}

/// Returns the error of a wait that `limit` has ended.
fn timed_out(wait: &Wait, limit: Limit, exchange: &mut Exchange) -> Error {
    let (what, setting) = match limit.by {
        LimitedBy::Acquire => return wait.timed_out(limit.after),
        LimitedBy::Connect => ("no connection was made", "connect_timeout"),
        LimitedBy::Total => ("the request did not complete", "timeout"),
    };
    let dial = wait.dial();
    if let Some(dial) = &dial {
        exchange.trace().dial_seen(dial);
    }
    let phase = dial.and_then(|dial| dial.milestones().latest()).unwrap_or(Phase::Queue);
    Error::timeout(phase, limit.after, what, setting)
}
