//! Draining a response that the caller does not read to its end, so that its connection can be kept: takes the content
//! that has come, and reads a small rest in the background.
//!
//! This module knows only the exchange. Invariants: the bytes and the time of a drain are bounded. Nothing is drained
//! while a request waits for the connection's place in the pool, and a request that comes to wait for that place cuts
//! the drain off (see `Fixed::cut`), even if the drain's runtime is not running. However a drain ends, the place is
//! free afterwards.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Exchange;
use crate::codec::{Event, Framing};
use crate::pool::Runtime;
use crate::time;

impl Exchange {
    /// Ends the exchange, because the caller does not want the rest of the response.
    pub(crate) fn abandon(mut self) {
        if std::thread::panicking() || self.take_what_came() || !self.is_worth_draining() {
            return;
        }
        self.trace.cancel(time::now());
        let upto = self.attempt.wire + DRAINED;
        // Reading sets timers, which belong to the connection's own runtime. The caller may be on another one, or on none.
        let is_at_home = match (Runtime::current(), self.lease_mut()) {
            (Ok(here), Some(lease)) => *lease.conn().runtime() == here,
            _ => false,
        };
        if is_at_home && self.poll_drained(upto, &mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        // The task runs on the connection's own runtime, whatever thread drops the response. If that runtime has ended, it
        // drops the task, which closes the connection.
        let runtime = self.lease_mut().and_then(|lease| lease.begin_drain());
        if let Some(runtime) = runtime {
            runtime.spawn(drain(self, upto));
        }
    }

    /// Decodes the bytes that were read. Returns whether they complete the response. If they do, the connection was
    /// given back or closed.
    pub(super) fn take_what_came(&mut self) -> bool {
        let Some(lease) = self.lease_mut() else { return false };
        if lease.resume().is_err() || !self.attempt.machine.is_head_received() {
            return false;
        }
        self.attempt.incoming.scatter();
        while let Ok(Some(event)) = self.attempt.machine.decode(self.attempt.incoming.bytes()) {
            if let Event::End = event {
                self.conclude(time::now());
                return true;
            }
        }
        false
    }

    /// Whether so little of the response is left that reading it is cheaper than a new connection.
    fn is_worth_draining(&self) -> bool {
        let attempt = &self.attempt;
        let is_sent = attempt.is_all_written() && attempt.sending.error().is_none();
        let is_small = match attempt.machine.framing() {
            Some(Framing::Chunked) => true,
            Some(Framing::Length(_)) => self.remaining().is_some_and(|rest| rest <= DRAINED),
            _ => false,
        };
        is_sent && is_small && attempt.machine.close_reasons().is_empty()
    }

    /// Reads the rest of the response. Ready once it has ended or failed, or once more than `upto` bytes of the
    /// response were read.
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
    // Dropping the exchange closes the connection if the drain took too long or read too much. The runtime has timers, because
    // the connection was made on it.
    let _ = tokio::time::timeout(PATIENCE, poll_fn(|cx| exchange.poll_drained(upto, cx))).await;
}

/// Largest number of bytes that are read of a response that the caller does not want.
const DRAINED: u64 = 64 * 1024;

/// Longest time that is spent on reading the rest of a response that the caller does not want.
const PATIENCE: Duration = Duration::from_millis(100);
