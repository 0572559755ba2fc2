//! A request that waits for a connection: what it is handed, how it leaves, and what it tells when it took too long.
//!
//! It knows the policy's tickets and the cell, no HTTP. Invariant: a request that leaves, at whatever moment, leaves
//! neither a place in the queue nor a connection behind.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::action::{Served, Ticket};
use super::conn::Conn;
use super::hosts::Place;
use super::lease::Lease;
use super::{Shared, Waiter, wait};
use crate::connect::DialError;
use crate::error::{Error, ErrorKind, Phase};
use crate::trace::{Milestones, Setup};

/// What is delivered to a waiter.
#[derive(Debug)]
pub(crate) enum Granted {
    Conn(Box<Conn>, Place),
    Failed(DialError, Arc<Setup>),
}

/// A request's wait for a connection. Dropping it leaves the queue; a connection that had been handed over unseen
/// goes to the next.
#[derive(Debug)]
pub(crate) struct Wait {
    shared: Arc<Shared>,
    ticket: Ticket,
    waiting: Waiter,
    over: bool,
}

impl Wait {
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket, waiting: Waiter) -> Self {
        Self { shared, ticket, waiting, over: false }
    }

    /// The connection, or the failure of the dial it waited for.
    pub(crate) async fn granted(&mut self) -> Result<Lease, (DialError, Arc<Setup>)> {
        let granted = std::future::poll_fn(|cx| self.waiting.cell.poll_take(cx)).await;
        self.over = true;
        match granted {
            Granted::Conn(conn, place) => Ok(Lease::new(conn, place, Arc::downgrade(&self.shared))),
            Granted::Failed(error, setup) => Err((error, setup)),
        }
    }

    /// How far the dial has come that was begun for this request.
    pub(crate) fn dial(&self) -> Option<Milestones> {
        let dial = self.waiting.dial.lock().unwrap_or_else(PoisonError::into_inner);
        dial.as_ref().map(|setup| setup.milestones())
    }

    /// The story of a wait that took too long.
    pub(crate) fn timed_out(&self, after: Duration) -> Error {
        let state = self.shared.lock();
        let Some((key, counts, is_blocked, failed)) = state.policy.of_ticket(self.ticket) else {
            let message = format!("no connection became free within {after:?}");
            return Error::new(ErrorKind::PoolTimeout, message).in_phase(Phase::Queue);
        };
        let limit = self.shared.config.max_connections;
        let advice = if is_blocked {
            format!("all {limit} connections of max_connections are taken")
        } else {
            "read response bodies to their end, or raise max_connections_per_host".to_owned()
        };
        let message = format!(
            "no connection to {key} became free within {after:?}: {} active, {} idle, {} dialing, {} waiting ({advice})",
            counts.active, counts.idle, counts.dialing, counts.waiting
        );
        let error = Error::new(ErrorKind::PoolTimeout, message).in_phase(Phase::Queue);
        match failed.cloned() {
            Some(failed) => error.because(failed.into_error()),
            None => error,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let given = self.waiting.cell.leave();
        let mut actions = Vec::new();
        self.shared.lock().policy.cancel(self.ticket, &mut actions);
        self.shared.perform(actions);
        if let Some(Granted::Conn(conn, place)) = given {
            self.shared.checkin(place, conn, None, Served::default());
        }
    }
}

/// A request in the queue.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) cell: wait::Cell<Granted>,
    /// The dial that was begun for it, whoever gets its connection.
    pub(super) dial: Mutex<Option<Arc<Setup>>>,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { cell: wait::Cell::new(), dial: Mutex::new(None) }
    }
}
