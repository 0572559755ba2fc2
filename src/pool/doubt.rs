//! Doubted connections: an answer came too soon on the connection, and its request is sent again on another connection.
//!
//! The doubted connection stays open until the request is answered on the other connection. A look at the doubted
//! connection then settles the doubt. If more bytes came, the first bytes were not the answer. If the connection is
//! silent, the first bytes were the answer. If the request is not answered on the other connection, or if the server
//! never got the whole request on the doubted connection, silence says nothing. This file knows nothing of HTTP.
//! Invariants: a doubted connection counts as active until it is closed. A doubted connection is parked, so that a
//! shutdown can close it, and counts as draining, so that a request that needs its room gets the room.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::connection::Direction;
use super::events::PoolEventKind;
use super::lease::Lease;
use super::policy::reasons::DropReason;
use super::policy::round_trip::Doubt;
use super::{Actions, Wait, Waiter};
use crate::connect::Look;
use crate::error::{Error, ErrorKind, Phase, Written};
use crate::time;
use crate::timer::Timer;

/// Times that show that an answer came too soon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    /// Time between the start of the attempt and the first byte of the answer.
    pub(crate) after: Duration,
    /// Time between the start of the attempt and the moment from which an answer is believed.
    pub(crate) believed_after: Duration,
    /// How much of the request was written when the first byte came.
    pub(crate) written: Written,
}

impl Early {
    /// Returns the error of a request whose answer came too soon.
    pub(crate) fn into_error(self) -> Error {
        let Self { after, believed_after, .. } = self;
        let message = format!(
            "the response began {after:?} after its request, but no response of this server takes less than \
             {believed_after:?}"
        );
        Error::new(ErrorKind::Protocol, message).in_phase(Phase::Wait)
    }
}

/// A connection whose answer came too soon.
#[derive(Debug)]
pub(crate) struct Doubted {
    /// `None` once the doubt is settled.
    lease: Option<Lease>,
    early: Early,
    /// Time at which the connection is closed even if the request was not answered on another connection, because a
    /// server that serves one connection at a time may be waiting for the end of this connection.
    until: Instant,
    timer: Timer,
}

impl Lease {
    /// Notes how long the first answer on this connection took. The connection must not have been idle before, because
    /// a server may send bytes on an idle connection before it sees a request. The answer to a request that went with the
    /// SYN does not count: the request was sent before the connection was assigned.
    #[cold]
    pub(crate) fn note_first_answer(&self, took: Duration) {
        if let Some((pool, (conn, fixed))) = self.pool().zip(self.held())
            && !conn.stream.was_opened_early()
        {
            pool.lock().policy.note_first_answer(fixed.place, took);
        }
    }

    /// Notes that the answer on this connection came too soon.
    #[cold]
    pub(crate) fn note_too_soon(&self, early: Early) {
        let Some((pool, (_, fixed))) = self.pool().zip(self.held()) else { return };
        let Early { after, believed_after, .. } = early;
        pool.lock().note(fixed.place, PoolEventKind::TooSoon { id: fixed.id, after, believed_after });
    }

    /// Counts an answer that came too soon as unsolicited bytes, because the doubt cannot be settled.
    pub(crate) fn leave_doubted(&self) {
        self.note_doubt(Doubt::Unsettled);
    }

    fn note_doubt(&self, doubt: Doubt) {
        if let Some((pool, (_, fixed))) = self.pool().zip(self.held()) {
            pool.lock().policy.note_doubt(fixed.place, doubt, time::now());
        }
    }

    /// Dials for a request that is sent again, because its answer came too soon. Returns a wait for that dial, and the
    /// doubted connection. If a limit leaves no room for one more connection, closes the doubted connection and dials
    /// in its room.
    pub(crate) fn redial_in_doubt(
        mut self,
        early: Early,
        why: Option<&'static str>,
    ) -> (Wait, Option<Box<Doubted>>) {
        let Some((pool, (_, fixed))) = self.pool().zip(self.held()) else {
            return (self.redial(DropReason::TooSoon, why), None);
        };
        let (id, place) = (fixed.id, fixed.place);
        let waiter = Arc::new(Waiter::new());
        let mut actions = Actions::new();
        let now = time::now();
        // The flag is set before the policy counts the connection as draining, because from that moment on another
        // request may take the connection's room.
        fixed.set_draining(true);
        let mut state = pool.lock();
        let Some(ticket) = state.policy.dial_beside(place, &waiter, now, &mut actions) else {
            drop(state);
            fixed.set_draining(false);
            self.leave_doubted();
            return (self.redial(DropReason::TooSoon, why), None);
        };
        state.policy.begin_doubt(place, id);
        state.note(place, PoolEventKind::Waited);
        state.note_actions(&mut actions, now);
        drop(state);
        self.count_as_draining();
        pool.perform(actions);
        let wait = Wait::new(pool, ticket, waiter).resending();
        // Parking fails if the pool has closed the connection in the meantime.
        let is_kept = self.park(Direction::Read, None).is_ok();
        let until = time::after(now, PATIENCE + early.believed_after * ROUND_TRIPS);
        let doubted = || Box::new(Doubted { lease: Some(self), early, until, timer: Timer::default() });
        (wait, is_kept.then(doubted))
    }
}

impl Doubted {
    /// Returns ready once the connection has to be closed although the request was not answered on another connection.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll_until(self.until, cx).map(|_| ())
    }

    /// Settles the doubt by a look at the connection, because the request was answered elsewhere. Closes the connection.
    pub(crate) fn settle(mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        if lease.resume().is_err() {
            return;
        }
        let doubt = match lease.look() {
            Look::Spoke => Doubt::Right,
            // A server that has not got the whole request may be waiting for the remainder.
            Look::Silent if self.early.written != Written::All => Doubt::Unsettled,
            Look::Silent => Doubt::Wrong(self.early.after),
            // The close may follow a stray or the answer. No sign distinguishes the two cases.
            Look::Closed => Doubt::Unsettled,
        };
        lease.note_doubt(doubt);
        lease.bury(DropReason::TooSoon);
    }
}

impl Drop for Doubted {
    /// Closes the connection without a look, because the request was not answered on another connection.
    fn drop(&mut self) {
        if let Some(mut lease) = self.lease.take()
            && lease.resume().is_ok()
        {
            lease.leave_doubted();
            lease.bury(DropReason::TooSoon);
        }
    }
}

/// Maximum time for which a doubted connection stays open, in addition to [`ROUND_TRIPS`].
const PATIENCE: Duration = Duration::from_secs(1);

/// Maximum number of half round trips for which a doubted connection stays open, in addition to [`PATIENCE`].
const ROUND_TRIPS: u32 = 8;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Uri;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::Runtime;
    use super::super::connection::Connection;
    use super::super::key::RouteRef;
    use super::*;
    use crate::Client;
    use crate::connect::Stream;
    use crate::trace::Setup;

    /// The answer to a request that went with the SYN comes together with the end of the handshake, so that the time since the
    /// handshake is no round trip.
    #[tokio::test]
    async fn the_answer_to_a_request_in_the_syn_says_nothing_about_the_round_trip() {
        const TRIP: Duration = Duration::from_millis(20);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (sent, believed_after) in [(0, 2_500), (6, 10_000)] {
            let uri: Uri = "http://h.test/".parse().unwrap();
            let (route, runtime) = (RouteRef::of(&uri).unwrap(), Runtime::current().unwrap());
            let client = Client::new();
            let inner = client.pool().inner.clone();
            let mut state = inner.lock();
            let place = inner.place(&mut state.policy, route, &runtime);
            state.policy.note_connect(place, Some(TRIP));
            drop(state);
            let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let stream = Stream::opened(tcp, Some(&Bytes::from("GET / ").into()), sent);
            let setup = Setup::new(1, "http", "h.test", 80, time::now());
            let (pool, route) = (Arc::downgrade(&inner), Arc::new(route.to_route()));
            let connection = Connection::new(
                pool, 1, stream, None, None, None, runtime, &setup, None, 0, place, route, None,
            );
            let lease = Lease::new(connection);
            lease.note_first_answer(TRIP / 4);
            assert_eq!(inner.lock().policy.believed_after(place), believed_after, "{sent} bytes in the SYN");
            // The policy knows nothing of the connection, which was not dialed.
            drop((inner, client));
            drop(lease);
        }
    }
}
