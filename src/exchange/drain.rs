//! What becomes of a response that nobody reads to its end: a small rest is read in the background, so that the
//! connection can be kept.
//!
//! It knows the exchange alone. Invariants: what is read is bounded in bytes and in time; nothing is drained while somebody
//! waits for a connection; and however it ends, the slot is free then.

use std::future::poll_fn;
use std::time::Duration;

use super::Exchange;
use crate::codec::{Event, Framing};
use crate::time;

impl Exchange {
    /// The response is not wanted any more.
    pub(crate) fn abandon(mut self) {
        if std::thread::panicking() || self.take_what_came() || !self.is_worth_draining() {
            return;
        }
        let Some(lease) = &mut self.lease else { return };
        if !lease.is_wanted() {
            // On the connection's own runtime, whatever thread drops the response. If that runtime has ended, what it is
            // given is dropped, and the connection closed.
            let runtime = lease.conn().runtime().handle.clone();
            runtime.spawn(drain(self));
        }
    }

    /// Reads what is here already; `true`: that was all, and the connection went where it belongs.
    pub(super) fn take_what_came(&mut self) -> bool {
        if self.lease.is_none() || !self.machine.is_head_received() {
            return false;
        }
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
}

async fn drain(mut exchange: Exchange) {
    if !time::has_timers() {
        return;
    }
    let mut left = DRAINED;
    let reading = async {
        while let Some(Ok(data)) = poll_fn(|cx| exchange.poll_data(cx)).await {
            match left.checked_sub(data.len() as u64) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Too late or too much: dropping it closes the connection.
    let _ = tokio::time::timeout(PATIENCE, reading).await;
}

/// The most that is read of a response that nobody wants.
const DRAINED: u64 = 64 * 1024;

/// The longest that is waited for it.
const PATIENCE: Duration = Duration::from_millis(100);
