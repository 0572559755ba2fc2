//! What becomes of a response that nobody reads to its end: what has come is taken in, a small rest is read in the
//! background, and then the connection can be kept.
//!
//! It knows the exchange alone. Invariants: what is read is bounded in bytes and in time; nothing is drained while somebody
//! waits for the slot, and whoever comes to wait for it takes it away (see `Fixed::cut`), also from a runtime that is not
//! running; and however it ends, the slot is free then.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Exchange;
use crate::codec::{Event, Framing};
use crate::pool::Runtime;
use crate::time;

impl Exchange {
    /// The response is not wanted any more.
    pub(crate) fn abandon(mut self) {
        if std::thread::panicking() || self.take_what_came() || !self.is_worth_draining() {
            return;
        }
        // For the caller, it is over.
        self.trace.cancel(time::now());
        let upto = self.wire + DRAINED;
        // Reading sets timers, which belong to the connection's own runtime: the caller may be on another one, or on none.
        let is_at_home = match (Runtime::current(), &mut self.lease) {
            (Ok(here), Some(lease)) => *lease.conn().runtime() == here,
            _ => false,
        };
        if is_at_home && self.poll_drained(upto, &mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        // On the connection's own runtime, whatever thread drops the response. If that runtime has ended, what it is
        // given is dropped, and the connection closed.
        let runtime = self.lease.as_mut().and_then(|lease| lease.begin_drain());
        if let Some(runtime) = runtime {
            runtime.spawn(drain(self, upto));
        }
    }

    /// Takes in what was read already; `true`: that was all, and the connection went where it belongs.
    pub(super) fn take_what_came(&mut self) -> bool {
        let Some(lease) = &mut self.lease else { return false };
        if lease.resume().is_err() || !self.machine.is_head_received() {
            return false;
        }
        self.incoming.scatter();
        while let Ok(Some(event)) = self.machine.decode(self.incoming.bytes()) {
            if let Event::End = event {
                self.conclude(time::now());
                return true;
            }
        }
        false
    }

    /// Whether the connection could be kept after a small rest.
    fn is_worth_draining(&self) -> bool {
        let is_sent = self.machine.is_send_done() && self.out.is_empty() && self.write_error.is_none();
        let is_small = match self.machine.framing() {
            Some(Framing::Chunked) => true,
            Some(Framing::Length(_)) => self.remaining().is_some_and(|rest| rest <= DRAINED),
            _ => false,
        };
        is_sent && is_small && self.machine.close_reasons().is_empty()
    }

    /// Reads on. Ready when there is nothing more to read: the connection is given back, or to be closed.
    fn poll_drained(&mut self, upto: u64, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.poll_data(cx) {
                Poll::Ready(Some(Ok(_))) if self.wire <= upto => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

async fn drain(mut exchange: Exchange, upto: u64) {
    // Too late or too much: dropping it closes the connection. (A runtime that connections are made on has timers.)
    let _ = tokio::time::timeout(PATIENCE, poll_fn(|cx| exchange.poll_drained(upto, cx))).await;
}

/// The most that is read of a response that nobody wants.
const DRAINED: u64 = 64 * 1024;

/// The longest that is waited for it.
const PATIENCE: Duration = Duration::from_millis(100);
