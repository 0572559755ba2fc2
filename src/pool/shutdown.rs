//! The shutdown of a pool: requests under way may finish, and connections that are still in use at the deadline are
//! closed.
//!
//! This file knows nothing of HTTP. Invariant: after a shutdown the pool holds no socket, even if callers still hold
//! requests and responses, and no request waits.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::connection::{Connection, Cut};
use super::policy::BATCH;
use super::{Actions, Decider, Pool, PoolInner};
use crate::pool::DropReason;
use crate::pool::policy::actions::Served;
use crate::time;
use crate::timer::Timer;

impl Pool {
    /// Shuts the pool down, and returns when no connection is left.
    ///
    /// From now on, new requests fail with [`ErrorKind::Shutdown`](crate::ErrorKind::Shutdown). Idle connections
    /// are closed at once. Requests under way have `patience` to finish. After that, their connections are closed,
    /// and the requests and unread responses fail with the same error. The shutdown cancels dials that no request waits
    /// for. The shutdown holds for all clones of the client, because they share the pool.
    ///
    /// The future completes at the latest one second after `patience`. In that second the shutdown waits for
    /// connections that another runtime is polling.
    ///
    /// Dropping the future leaves the pool shut, and lets the requests under way finish without a time limit.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # use std::time::Duration;
    /// let client = handclasp::Client::new();
    /// client.pool().shutdown(Duration::from_secs(5)).await;
    /// let error = client.get("http://127.0.0.1/").send().await.unwrap_err();
    /// assert_eq!(error.kind(), handclasp::ErrorKind::Shutdown);
    /// # });
    /// ```
    pub async fn shutdown(&self, patience: Duration) {
        let inner = &self.inner;
        let emptied = inner.shut();
        inner.bury_idle(DropReason::Shutdown);
        inner.wait_until(Decider::is_done, &emptied, time::after(time::now(), patience)).await;
        // The stop also ends the dials that no request waits for.
        inner.stop();
        inner.wait_until(Decider::is_quiet, &emptied, time::after(time::now(), LAST_WAIT)).await;
    }
}

impl PoolInner {
    /// Stops new work and returns the `Notify` that fires once no request waits and no connection is left.
    fn shut(&self) -> Arc<Notify> {
        let mut state = self.lock();
        state.policy.shut();
        state.emptied.get_or_insert_with(Arc::<Notify>::default).clone()
    }

    /// Waits until `is_so` is true, but no longer than until `by`.
    async fn wait_until(&self, is_so: fn(&Decider) -> bool, emptied: &Notify, by: Instant) {
        let mut timer = Timer::default();
        loop {
            let mut news = pin!(emptied.notified());
            news.as_mut().enable();
            if is_so(&self.lock().policy) {
                return;
            }
            let is_late = std::future::poll_fn(|cx| match news.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(false),
                Poll::Pending => timer.poll_until(by, cx).map(|_| true),
            });
            if is_late.await {
                return;
            }
        }
    }

    /// Gives up all dials, refuses all waiting requests, and closes all connections in use.
    fn stop(self: &Arc<Self>) {
        self.lock().is_stopped = true;
        // All dials end before the waiters are refused, because every request with a dial is still among the waiters. A
        // dial that begins later is refused.
        self.give_up_dials();
        let mut slot = Some(0);
        while let Some(from) = slot {
            let mut actions = Actions::new();
            slot = self.decide(&mut actions, |policy, _, actions| policy.refuse_waiters(None, from, actions));
            self.perform(actions);
        }
        self.withdraw(time::after(time::now(), super::CLAIM));
        let mut from = 0;
        loop {
            let state = self.lock();
            let live: Vec<_> = state.live.range(from..).take(BATCH).map(|(_, fixed)| fixed.clone()).collect();
            drop(state);
            let Some(last) = live.last() else { break };
            from = last.id + 1;
            for fixed in live {
                if let Cut::Taken(conn, served) = fixed.cut(DropReason::Shutdown) {
                    let mut actions = Actions::new();
                    self.close_cut(Connection { conn, fixed }, served, DropReason::Shutdown, &mut actions);
                    self.perform(actions);
                }
            }
        }
    }

    /// Gives up all dials, and closes their sockets.
    pub(super) fn give_up_dials(self: &Arc<Self>) {
        loop {
            let mut actions = Actions::new();
            let more = self.decide(&mut actions, |policy, _, actions| policy.give_up_all(actions));
            self.perform(actions);
            if !more {
                return;
            }
        }
    }

    /// Closes a draining connection, because a request needs a connection and the limit is reached.
    pub(super) fn cut_draining(&self, id: u64, actions: &mut Actions) {
        let fixed = self.lock().live.get(&id).cloned();
        // If a task is polling the connection, that task closes the connection after the poll.
        if let Some(fixed) = fixed
            && let Cut::Taken(conn, served) = fixed.cut(DropReason::Abandoned)
        {
            self.close_cut(Connection { conn, fixed }, served, DropReason::Abandoned, actions);
        }
    }

    /// Closes a connection that a cut took from its lease.
    fn close_cut(&self, connection: Connection, served: Served, reason: DropReason, actions: &mut Actions) {
        let (id, place) = (connection.id(), connection.place());
        let _ = connection.close(reason);
        let noted = actions.len();
        let now = time::now();
        let mut state = self.lock();
        state.note(place, super::PoolEventKind::Closed { id, reason, why: None });
        state.policy.release(place, served, Some(reason), now, actions);
        state.note_actions(&mut actions[noted..], now);
    }
}

/// Time for which a shutdown waits for connections that another runtime is polling.
const LAST_WAIT: Duration = Duration::from_secs(1);
