//! The pool, which keeps connections and hands them to requests.
//!
//! The [`policy`] makes the pool's decisions. The other files of this folder are the shell around the policy: one lock
//! (`state.rs`), and the code that carries out the decisions once the lock is released (`inner.rs`). The pool knows
//! nothing of HTTP. Invariant: while the lock is held, the pool awaits, closes, wakes, spawns and sends nothing.

mod config;
mod connection;
mod dial;
mod doubt;
mod events;
mod evict;
mod handoff;
mod inner;
pub(crate) mod key;
pub(crate) mod lease;
mod observer;
#[cfg(debug_assertions)]
mod order;
pub(crate) mod policy;
mod reaper;
pub(crate) mod reserved;
mod runtime;
mod shutdown;
mod state;
pub(crate) mod stats;
mod sync;
mod waiter;
mod warm;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(crate) use self::config::PoolConfig;
use self::connection::Connection;
pub use self::connection::ConnectionInfo;
pub(crate) use self::connection::Direction;
pub(crate) use self::doubt::{Doubted, Early};
use self::events::Log;
pub use self::events::{PoolEvent, PoolEventKind, PoolEvents, Refusal};
pub use self::evict::IdleConnection;
use self::inner::PoolInner;
use self::key::{Key, RouteRef};
use self::lease::Lease;
#[cfg_attr(not(feature = "otel"), allow(unused_imports, reason = "nothing measures a pool"))]
pub(crate) use self::observer::{Counted, Observer};
use self::policy::actions::{Action, Checkout};
use self::policy::kinds::Kinds;
pub use self::policy::reasons::DropReason;
use self::policy::{Failing, Policy};
pub(crate) use self::runtime::Runtime;
use self::state::State;
pub use self::stats::{HostStats, PoolStats};
use self::waiter::Waiter;
pub(crate) use self::waiter::{NotGranted, Wait};
use crate::connect::{DialError, Dialer, FirstBytes};
use crate::error::{Error, ErrorKind, Phase};

/// The connections of a [`Client`](crate::Client), and the ledger of the handshakes that reuse saved.
/// [`Client::pool`](crate::Client::pool) returns the pool.
///
/// All clones of a client share one pool, and a request under way holds a clone. When the last clone is dropped, idle
/// connections are closed, dials and lookups under way are cancelled, and connections in use are closed when their
/// responses end. Neither a response nor a subscription to [events](Self::subscribe) keeps the pool.
///
/// The page on [reuse](crate::manual::reuse) says when a connection is kept, and the page on the
/// [pool's rules](crate::manual::pool_rules) names the tests of each rule.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let client = handclasp::Client::new();
/// println!("{}", client.pool().stats());
/// client.pool().close_idle();
/// # });
/// ```
pub struct Pool {
    inner: Arc<PoolInner>,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig, dialer: Dialer) -> Self {
        let inner = Arc::new(PoolInner::new(config, dialer));
        if let Some(observer) = &inner.config.observer {
            observer.began(Counted::new(&inner));
        }
        Self { inner }
    }

    /// Returns a copy of the ledger, per host and in total.
    ///
    /// The hosts, and the connections whose requests are under way, are copied in small groups, so that requests are
    /// not delayed. The groups are copied one after another, so the copy does not show one single moment.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let client = handclasp::Client::new();
    /// let stats = client.pool().stats();
    /// assert_eq!((stats.total.opened, stats.total.idle), (0, 0));
    /// # });
    /// ```
    pub fn stats(&self) -> PoolStats {
        let mut hosts = Vec::new();
        let slots = self.inner.lock().policy.host_slots();
        for from in (0..slots).step_by(policy::BATCH) {
            let state = self.inner.lock();
            let found = (from..from + policy::BATCH).filter_map(|slot| state.policy.host_at(slot));
            let copied: Vec<_> =
                found.map(|(key, counters, counts)| (key.clone(), counters.clone(), counts)).collect();
            drop(state);
            hosts.extend(copied);
        }
        let (total, counts) = self.inner.total_with_open(&mut hosts);
        let hosts = hosts.iter().map(|(key, counters, counts)| {
            let mut host = HostStats::new(key.route.to_string(), counters, *counts);
            host.isolation = key.route.tag().cloned();
            host
        });
        PoolStats { total: HostStats::new(String::new(), &total, counts), hosts: hosts.collect() }
    }

    /// Closes all idle connections. Connections in use stay open.
    pub fn close_idle(&self) {
        self.inner.bury_idle(DropReason::Shutdown);
    }

    /// Tells the pool that the machine is in another network now. The pool closes all idle connections at once, and
    /// connections in use when their responses end.
    ///
    /// Hosts to which dials failed are dialed again at once, because the failures say nothing about the new network. For the
    /// same reason, the client forgets the addresses of names, which addresses failed, and how long connecting took. The
    /// client tells the resolver ([`Resolve::network_changed`](crate::Resolve::network_changed)).
    pub fn on_network_change(&self) {
        let inner = &self.inner;
        inner.epoch.fetch_add(1, Ordering::Relaxed);
        inner.dialer.network_changed();
        inner.bury_idle(DropReason::NetworkChanged);
        let mut slot = Some(0);
        while let Some(from) = slot {
            let mut actions = Vec::new();
            slot = inner.decide(&mut actions, |policy, now, actions| policy.forgive(from, now, actions));
            inner.perform(actions);
        }
    }

    /// Subscribes to the events of the pool from now on. Without a subscriber, no event is recorded.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let client = handclasp::Client::new();
    /// let mut events = client.pool().subscribe();
    /// # client.pool().close_idle();
    /// while let Some(event) = events.try_recv() {
    ///     println!("{event}");
    /// }
    /// # });
    /// ```
    pub fn subscribe(&self) -> PoolEvents {
        let mut state = self.inner.lock();
        let log = state.log.get_or_insert_with(Arc::<Log>::default).clone();
        // The subscription is created under the lock, because another subscriber that leaves now may be the last
        // subscriber and would drop the log.
        PoolEvents::new(log, Arc::downgrade(&self.inner))
    }

    /// Returns the lease of an idle connection, or a wait in the queue. Fails if the request may not wait.
    ///
    /// `fresh` is the time within which the connection must have been used. `again` is the request's earlier turn
    /// in the queue, if a connection was granted to the request and withdrawn.
    pub(crate) fn checkout(
        &self,
        route: RouteRef<'_>,
        fresh: Option<Duration>,
        again: Option<&Wait>,
        now: Instant,
    ) -> Result<Result<Lease, Wait>, Error> {
        self.checkout_with(route, fresh, again, now, &|| None)
    }

    /// Returns a lease or a wait, as [`checkout`](Self::checkout) does. If the request has to wait, `request` is
    /// called. `request` returns the whole request, or `None` if the request must not be sent before the connection is
    /// made or must not be repeated.
    pub(crate) fn checkout_with(
        &self,
        route: RouteRef<'_>,
        fresh: Option<Duration>,
        again: Option<&Wait>,
        now: Instant,
        request: &dyn Fn() -> Option<FirstBytes>,
    ) -> Result<Result<Lease, Wait>, Error> {
        let runtime = Runtime::current()?;
        let mut made = None;
        let mut actions = Vec::new();
        let inner = &self.inner;
        let mut state = inner.lock();
        let place = inner.place(&mut state.policy, route, &runtime);
        let mut checkout = state.policy.checkout(
            place,
            fresh,
            again.map(Wait::again),
            now,
            || made.insert(Arc::new(Waiter::with(request()))).clone(),
            &mut actions,
        );
        state.set_believed_after(&mut checkout);
        state.note_checkout(&checkout, route);
        state.note_actions(&mut actions, now);
        let due = match checkout {
            Checkout::Queued(ticket) => state.due_for(ticket.place, now),
            _ => None,
        };
        match due {
            Some(due) => inner.ensure_reaper(state, runtime.id(), |_| Some(runtime.clone()), due),
            None => drop(state),
        }
        inner.perform(actions);
        match checkout {
            Checkout::Full(waiting) => {
                let message = format!(
                    "the queue for connections is full: {waiting} waiting (raise max_waiters_per_host)"
                );
                Err(Error::new(ErrorKind::PoolFull, message).in_phase(Phase::Queue))
            }
            Checkout::Failing(failing) => {
                let Failing { dials, error, until, .. } = failing;
                Err(error.into_error().not_attempted(dials, until, now))
            }
            Checkout::Shut => Err(Error::shutdown()),
            checkout => {
                let settled = inner.settle(checkout, made);
                let is_resending = again.is_some_and(|wait| wait.again().is_resending);
                let settled = if is_resending { settled.map_err(Wait::resending) } else { settled };
                Ok(inner.admit(settled, fresh, now))
            }
        }
    }

    /// Returns the hash of a route.
    pub(crate) fn key(&self, route: RouteRef<'_>) -> u64 {
        route.hash(&self.inner.hasher)
    }

    /// Returns the time within which a connection must have been used for a request that must not be sent twice.
    pub(crate) fn fresh_for_unsafe(&self) -> Option<Duration> {
        self.inner.config.fresh_for_unsafe
    }

    /// Whether the first bytes of a connection may go with its SYN.
    pub(crate) fn opens_fast(&self) -> bool {
        self.inner.dialer.opens_fast()
    }

    pub(crate) fn acquire_timeout(&self) -> Option<Option<Duration>> {
        self.inner.config.acquire_timeout
    }

    pub(crate) fn acquire_default(&self) -> Duration {
        self.inner.config.acquire_default
    }
}

impl fmt::Debug for Pool {
    /// Writes the current counts and the ledger in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.stats().total)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.policy.shut();
        state.is_stopped = true;
        let reapers = std::mem::take(&mut state.reapers);
        let log = state.log.clone();
        drop(state);
        for reaper in reapers {
            reaper.wake.notify_one();
        }
        self.inner.bury_idle(DropReason::Shutdown);
        // A waiting request borrows the pool, so that no request waits for the dials any more.
        self.inner.give_up_dials();
        if let Some(log) = log {
            log.close();
        }
    }
}

type WarmCell = handoff::Cell<Result<(), DialError>>;
type Act = Action<Shell>;
type Actions = policy::actions::Actions<Shell>;
type Decider = Policy<Shell>;

/// The types of keys, connections, waiters, partitions and failures that the pool gives to the policy.
#[derive(Debug)]
pub(crate) struct Shell;

impl Kinds for Shell {
    type Key = Key;
    type Connection = Connection;
    type Waiter = Arc<Waiter>;
    type Partition = Runtime;
    type Failure = DialError;
}

/// Time after a grant within which the request has to be polled to claim the connection.
const CLAIM: Duration = Duration::from_millis(50);
