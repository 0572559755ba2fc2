//! The drain of a response that the caller does not read to its end, so that the connection can be kept. A drain decodes
//! the content that has come, and reads a small remainder in the background.
//!
//! This module knows only the exchange. Invariants: the bytes and the time of a drain are bounded. No response is
//! drained while a request waits for the connection's room in the pool. If a request begins to wait for this room
//! during a drain, the pool cuts the connection (see `Fixed::cut`), even if the drain's runtime is not running. However a
//! drain ends, the room is free after the drain or the connection is idle.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Exchange;
use crate::codec::{Event, Framing};
use crate::pool::Runtime;
use crate::time;
#[cfg(feature = "url")]
use crate::{exchange::timeout::NEVER, pool::DropReason, timer::Timer};

impl Exchange {
    /// Ends the exchange, because the caller does not want any more of the response.
    pub(crate) fn abandon(mut self) {
        if std::thread::panicking() || self.take_what_came() || !self.is_worth_draining() {
            return;
        }
        if self.trace.is_watched() {
            self.cancel(None);
        }
        let upto = self.attempt.wire + DRAINED;
        // Reading sets timers, which belong to the connection's own runtime. The caller may be on another runtime, or
        // on no runtime.
        let is_at_home = match (Runtime::current(), self.lease_mut()) {
            (Ok(here), Some(lease)) => *lease.conn().runtime() == here,
            _ => false,
        };
        if is_at_home && self.poll_drained(upto, &mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        // The task runs on the connection's own runtime, whichever thread drops the response. If that runtime has
        // ended, the runtime drops the task, which closes the connection.
        let runtime = self.lease_mut().and_then(|lease| lease.begin_drain());
        if let Some(runtime) = runtime {
            runtime.spawn(drain(self, upto));
        }
    }

    /// Reads the remainder of a redirect, so that the next hop of the call can use the connection. Closes the connection
    /// if the remainder is too long or does not come in time. A reserved connection is not closed for being slow, because
    /// the next hop needs it: only the timeouts of the request end its drain. The next hop waits for this drain, and the
    /// time of the drain counts as [`Timings::previous`](crate::Timings::previous).
    #[cfg(feature = "url")]
    pub(crate) async fn drain_here(&mut self, is_reserved: bool) {
        if self.take_what_came() || !self.is_worth_draining() {
            return;
        }
        let upto = self.attempt.wire + DRAINED;
        if self.lease_mut().and_then(|lease| lease.begin_drain()).is_some() {
            let patience = if is_reserved { NEVER } else { PATIENCE };
            let (until, mut timer) = (time::after(time::now(), patience), Timer::default());
            let drained = poll_fn(|cx| match self.poll_drained(upto, cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => timer.poll_until(until, cx).map(|_| ()),
            });
            drained.await;
        }
        // The drain has ended here, so no background task must continue it.
        self.bury(DropReason::Abandoned);
    }

    /// Whether the remainder of the response can be read for sure: the remainder has come, or its length is known and
    /// small.
    #[cfg(feature = "url")]
    pub(crate) fn ends_soon(&mut self) -> bool {
        let attempt = &mut self.attempt;
        let is_sent = attempt.is_all_written() && attempt.sending.error().is_none();
        let has_come = attempt.machine.ends_within(attempt.incoming.bytes());
        is_sent && (has_come || self.remaining().is_some_and(|rest| rest <= DRAINED))
    }

    /// Decodes the bytes that were read. Returns whether these bytes complete the response. If they do, the connection
    /// was given back or closed.
    pub(super) fn take_what_came(&mut self) -> bool {
        let Some(lease) = self.lease_mut() else { return false };
        if lease.resume().is_err() || !self.attempt.machine.is_head_received() {
            return false;
        }
        self.attempt.incoming.scatter();
        while let Ok(Some(event)) = self.attempt.machine.decode(self.attempt.incoming.bytes()) {
            match event {
                Event::Data(data) => self.attempt.received += data.len() as u64,
                Event::End => {
                    self.conclude(time::now());
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// Whether so little of the response remains that reading the remainder is cheaper than a new connection.
    pub(super) fn is_worth_draining(&self) -> bool {
        let attempt = &self.attempt;
        let is_sent = attempt.is_all_written() && attempt.sending.error().is_none();
        let is_small = match attempt.machine.framing() {
            Some(Framing::Chunked) => true,
            Some(Framing::Length(_)) => self.remaining().is_some_and(|rest| rest <= DRAINED),
            _ => false,
        };
        is_sent && is_small && attempt.machine.close_reasons().is_empty()
    }

    /// Reads the remainder of the response. Returns ready once the response has ended or failed, or once more than
    /// `upto` bytes of the response were read.
    fn poll_drained(&mut self, upto: u64, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.poll_data(cx) {
                Poll::Ready(Some(Ok(_))) if self.attempt.wire <= upto => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

async fn drain(mut exchange: Exchange, upto: u64) {
    // Dropping the exchange closes the connection if the drain took too long or read too much. The connection was made
    // on this runtime, so that this runtime has timers.
    let _ = tokio::time::timeout(PATIENCE, poll_fn(|cx| exchange.poll_drained(upto, cx))).await;
}

/// Largest number of bytes that are read from a response that the caller does not want.
const DRAINED: u64 = 64 * 1024;

/// Longest time that a drain spends on reading a response that the caller does not want.
const PATIENCE: Duration = Duration::from_millis(100);
