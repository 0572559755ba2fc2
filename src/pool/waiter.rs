//! A request that waits for a connection: how the request receives a connection, how the request leaves the queue,
//! and the error of a wait that took too long.
//!
//! This file uses the policy's tickets and the hand-off cell, and knows nothing of HTTP. Invariant: when a request
//! leaves, at whatever moment, its ticket leaves the queue and a connection granted to the request goes back to the pool.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::connection::{Connection, contained};
use super::events::{PoolEventKind, Refusal};
use super::handoff::{self, Withdrawn};
use super::lease::Lease;
use super::policy::BATCH;
use super::policy::actions::{Again, Served, Ticket};
use super::policy::places::Place;
use super::{CLAIM, PoolInner, State};
use crate::connect::{DialError, FirstBytes};
use crate::error::{Error, ErrorKind, Phase};
use crate::time;
use crate::timings::Rounded;
use crate::trace::Setup;

/// The gift that is delivered to a waiter: a connection, or the news that no connection comes.
#[derive(Debug)]
pub(crate) enum Granted {
    Conn(Connection),
    Failed(DialError, Arc<Setup>),
    /// A connection was granted to the request, and withdrawn because the request was not polled in time.
    Withdrawn,
    /// The pool was shut down.
    Shutdown,
}

/// Reason for which a wait ended without a connection.
#[derive(Debug)]
pub(crate) enum NotGranted {
    Failed(DialError, Arc<Setup>),
    /// The grant was withdrawn. The request has to ask for a connection again.
    Withdrawn,
    Shutdown,
}

/// A request's wait for a connection. Dropping the wait removes the request from the queue. A connection that was
/// delivered and not taken goes back to the pool.
#[derive(Debug)]
pub(crate) struct Wait {
    inner: Arc<PoolInner>,
    ticket: Ticket,
    waiter: Arc<Waiter>,
    /// Whether the request waits for a new connection, because its reused connection died.
    is_resending: bool,
    over: bool,
}

impl Wait {
    pub(super) fn new(inner: Arc<PoolInner>, ticket: Ticket, waiter: Arc<Waiter>) -> Self {
        Self { inner, ticket, waiter, is_resending: false, over: false }
    }

    /// Returns the wait, marked as the wait of a request whose reused connection died.
    pub(super) fn resending(self) -> Self {
        let mut this = self;
        this.is_resending = true;
        this
    }

    /// Returns the request's turn in the queue, for another checkout after a withdrawal.
    pub(super) fn again(&self) -> Again {
        Again { turn: self.ticket.turn, since: self.ticket.since, is_resending: self.is_resending }
    }

    /// Waits for the connection, or for the failure of the dial.
    pub(crate) async fn granted(&mut self) -> Result<Lease, NotGranted> {
        let granted = std::future::poll_fn(|cx| self.waiter.cell.poll_take(cx)).await;
        self.over = true;
        match granted {
            Granted::Conn(connection) => Ok(Lease::new(connection)),
            Granted::Failed(error, setup) => Err(NotGranted::Failed(error, setup)),
            Granted::Withdrawn => Err(NotGranted::Withdrawn),
            Granted::Shutdown => Err(NotGranted::Shutdown),
        }
    }

    /// Returns the dial that was begun for this request, or the dial whose outcome the request shares.
    pub(crate) fn dial(&self) -> Option<Arc<Setup>> {
        self.begun().or_else(|| self.inner.dial_shared_by(self.ticket))
    }

    /// Returns the dial that was begun for this request. The connection of the dial may go to another request.
    pub(crate) fn begun(&self) -> Option<Arc<Setup>> {
        self.waiter.dial.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the wait has ended with a connection or without one.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Returns the error of a wait that took too long. The message of the error says what holds the connections and
    /// what to do.
    pub(crate) fn timed_out(&self, after: Duration) -> Error {
        let place = self.ticket.place;
        let mut state = self.inner.lock();
        let Some(host) = state.policy.of_ticket(self.ticket) else {
            let message = format!("no connection became free within {} (acquire_timeout)", Rounded(after));
            return Error::new(ErrorKind::PoolTimeout, message).in_phase(Phase::Queue);
        };
        let (counts, is_blocked, failed) = (host.counts, host.is_blocked, host.failure.cloned());
        state.note(place, PoolEventKind::Refused(Refusal::TimedOut));
        drop(state);
        let config = &self.inner.config;
        let made = counts.active + counts.idle;
        let advice = if is_blocked {
            format!(
                "max_connections allows {}, and all of these connections are taken: raise max_connections, or the acquire_timeout",
                config.limits.max_connections
            )
        } else if made > 0 && made + counts.dialing >= config.limits.max_connections_per_host {
            let held = match self.inner.held(place) {
                (0, 0) => String::new(),
                (0, reserved) => format!("{reserved} reserved; "),
                (unread, 0) => format!("{unread} active until the response is read to its end; "),
                (unread, reserved) => {
                    format!("{unread} active until the response is read to its end, {reserved} reserved; ")
                }
            };
            match &*held {
                "" => "raise max_connections_per_host, or the acquire_timeout".to_owned(),
                held => format!("{held}or raise max_connections_per_host"),
            }
        } else if counts.dialing > 0 {
            "a connection is still being made: raise the acquire_timeout".to_owned()
        } else {
            "raise the acquire_timeout".to_owned()
        };
        let message = format!(
            "no connection became free within {}: {} active, {} idle, {} dialing, {} waiting ({advice})",
            Rounded(after),
            counts.active,
            counts.idle,
            counts.dialing,
            counts.waiting
        );
        let error = Error::new(ErrorKind::PoolTimeout, message).in_phase(Phase::Queue);
        match failed {
            Some(failed) => error.because(failed.into_error()),
            None => error,
        }
    }
}

impl PoolInner {
    /// Returns the oldest dial to the host of a request, if the request has to wait for a dial: no connection to the
    /// host is in use, or the host is failing.
    fn dial_shared_by(&self, ticket: Ticket) -> Option<Arc<Setup>> {
        let mut from = 0;
        // Only the oldest 16 batches of dials are searched.
        for _ in 0..16 {
            let state = self.lock();
            let host = state.policy.of_ticket(ticket)?;
            if host.counts.active > 0 && host.failure.is_none() {
                return None;
            }
            let mut last = None;
            for (dial_id, dial) in state.dials.range(from..).take(BATCH) {
                if dial.place.host == ticket.place.host {
                    return Some(dial.setup.clone());
                }
                last = Some(*dial_id);
            }
            from = last? + 1;
        }
        None
    }

    /// Returns the number of connections of a host whose response the caller has not read to the end, and the number of
    /// reserved connections that no request uses. Only the oldest 16 batches of connections are counted.
    fn held(&self, place: Place) -> (usize, usize) {
        let (mut unread, mut reserved, mut from) = (0, 0, 0);
        for _ in 0..16 {
            let state = self.lock();
            let mut last = None;
            for (id, fixed) in state.live.range(from..).take(BATCH) {
                let open = fixed.open.now();
                if fixed.place.host == place.host {
                    unread += usize::from(open.is_unread());
                    reserved += usize::from(open.is_reserved());
                }
                last = Some(*id);
            }
            drop(state);
            match last {
                Some(last) => from = last + 1,
                None => break,
            }
        }
        (unread, reserved)
    }

    /// Takes granted connections back from requests that were not polled within [`CLAIM`], and checks the connections
    /// in again.
    pub(super) fn withdraw(self: &Arc<Self>, now: Instant) {
        loop {
            let mut state = self.lock();
            let State { grants, policy, .. } = &mut *state;
            let is_due = |(due, ..): &&(Instant, Place, Weak<Waiter>)| *due <= now;
            let due = grants.iter().take(BATCH).take_while(is_due).count();
            let unclaimed =
                grants.drain(..due).map(|(_, place, granted)| (place, granted, policy.gains_by(place)));
            let unclaimed: Vec<_> = unclaimed.collect();
            drop(state);
            let later = time::after(now, CLAIM);
            let mut again = Vec::new();
            for (place, granted, gains) in unclaimed {
                let Some(waiter) = granted.upgrade() else { continue };
                if !gains {
                    // No other request needs the connection, so the connection stays with the waiter.
                    if !waiter.cell.is_over() {
                        again.push((later, place, granted));
                    }
                    continue;
                }
                match waiter.cell.withdraw(Granted::Withdrawn) {
                    Withdrawn::Gift(Granted::Conn(connection)) => {
                        self.checkin(connection, None, Served::default(), time::now());
                    }
                    // The thread that delivers the connection was delayed.
                    Withdrawn::NotYet => again.push((later, place, granted)),
                    Withdrawn::Gift(_) | Withdrawn::Over => {}
                }
            }
            if !again.is_empty() {
                self.lock().grants.extend(again);
            }
            if due < BATCH {
                return;
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // If no connection was delivered, `leave` drops the caller's waker.
        let given = contained(|| self.waiter.cell.leave()).flatten();
        let mut actions = Vec::new();
        self.inner.decide(&mut actions, |policy, _, actions| policy.cancel(self.ticket, actions));
        self.inner.perform(actions);
        if let Some(Granted::Conn(connection)) = given {
            self.inner.checkin(connection, None, Served::default(), time::now());
        }
    }
}

/// The part of a waiting request that the pool shares, to deliver a connection to the request.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(super) cell: handoff::Cell<Granted>,
    /// The dial that was begun for this request. The dialed connection may go to another request.
    pub(super) dial: Mutex<Option<Arc<Setup>>>,
    /// The whole request, if the request may be repeated and may be sent while the connection is made.
    pub(super) request: Option<FirstBytes>,
}

impl Waiter {
    pub(super) fn new() -> Self {
        Self::with(None)
    }

    /// Returns a waiter whose request may be sent while the connection is made.
    pub(super) fn with(request: Option<FirstBytes>) -> Self {
        Self { cell: handoff::Cell::new(), dial: Mutex::new(None), request }
    }
}
