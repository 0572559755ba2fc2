//! The closing of idle connections before their deadline: because the caller's `evict_if` asks for the close, because
//! the client's TLS identity has changed, because the server has closed the connection, or because the machine was
//! suspended.
//!
//! Connections are looked at without the lock. Invariant: the caller's function runs without the lock, and a
//! connection that the function rejects carries no further request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Conn, Connection, Fixed, contained};
use super::lease::Lease;
use super::policy::Lent;
use super::{Actions, PoolInner, Runtime, Wait};
use crate::connect::{Generation, Look, Seat, TlsInfo};
use crate::pool::DropReason;
use crate::pool::policy::actions::Served;
use crate::time;

/// A connection that is about to be kept or used again. The pool passes this value to the function of
/// [`ClientBuilder::evict_if`](crate::ClientBuilder::evict_if).
pub struct IdleConnection<'a> {
    conn: &'a Conn,
    fixed: &'a Fixed,
}

impl fmt::Debug for IdleConnection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleConnection")
            .field("origin", &self.origin())
            .field("id", &self.id())
            .field("peer_addr", &self.peer_addr())
            .field("local_addr", &self.local_addr())
            .field("tls", &self.tls())
            .field("age", &self.age())
            .field("requests", &self.requests())
            .finish()
    }
}

impl IdleConnection<'_> {
    /// Returns the origin, such as `https://example.org:8443`.
    pub fn origin(&self) -> String {
        self.fixed.route.to_string()
    }

    /// Returns the connection's number: see [`ConnectionInfo::id`](crate::ConnectionInfo::id).
    pub fn id(&self) -> u64 {
        self.fixed.id
    }

    /// Returns the address of the other end. `None` for a connection that a custom connector made, and for a unix
    /// socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.fixed.peer
    }

    /// Returns the address of this end. `None` for a connection that a custom connector made, and for a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.fixed.local
    }

    /// Returns the parameters of the TLS handshake: see [`ConnectionInfo::tls`](crate::ConnectionInfo::tls).
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.fixed.tls.as_deref()
    }

    /// Returns how long ago the connection was made.
    pub fn age(&self) -> Duration {
        time::now().saturating_duration_since(self.fixed.made)
    }

    /// Returns how many requests the connection has carried.
    pub fn requests(&self) -> u64 {
        self.conn.requests
    }
}

type Predicate = dyn Fn(&IdleConnection<'_>) -> bool + Send + Sync;

/// Conditions, other than deadlines, under which a connection is closed.
#[derive(Clone, Default)]
pub(crate) struct EvictIf {
    /// The caller's function.
    pub(crate) predicate: Option<Arc<Predicate>>,
    /// Generation of the client's TLS identity, if the identity can change.
    pub(crate) generation: Option<Generation>,
}

impl EvictIf {
    /// Returns the reason to close a connection, or `None` if it may be used.
    fn reason(&self, conn: &Conn, fixed: &Fixed) -> Option<DropReason> {
        if self.has_old_identity(fixed) {
            return Some(DropReason::IdentityChanged);
        }
        if fixed.seat.as_ref().is_some_and(Seat::has_left) {
            return Some(DropReason::AddressLeft);
        }
        let is_unwanted = self.predicate.as_ref()?(&IdleConnection { conn, fixed });
        is_unwanted.then_some(DropReason::Evicted)
    }

    /// Whether the client has another TLS identity than the one with which the connection was made.
    fn has_old_identity(&self, fixed: &Fixed) -> bool {
        matches!((&self.generation, &fixed.tls), (Some(generation), Some(tls)) if generation.has_passed(tls))
    }
}

impl fmt::Debug for EvictIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EvictIf")
    }
}

impl PoolInner {
    /// Returns the reason to close a connection that the caller's function rejects, whose address has left, or whose TLS
    /// identity is not the latest. `None` if the connection may be used.
    #[inline]
    pub(super) fn unwanted(&self, conn: &Conn, fixed: &Fixed) -> Option<DropReason> {
        self.config.evict_if.as_ref().and_then(|evict_if| evict_if.reason(conn, fixed))
    }

    /// Returns the reason to close a reserved connection before its next request: the connection belongs to an earlier
    /// network, or to an earlier TLS identity. Rules about idle connections do not apply.
    pub(super) fn outdated(&self, fixed: &Fixed) -> Option<DropReason> {
        if fixed.epoch != self.epoch() {
            return Some(DropReason::NetworkChanged);
        }
        let evict_if = self.config.evict_if.as_ref()?;
        evict_if.has_old_identity(fixed).then_some(DropReason::IdentityChanged)
    }

    /// Returns the lease of an idle connection that a request has just taken, if the connection may still be used.
    /// Swaps the connection for another connection if the machine was suspended since the last use or the caller's
    /// function rejects the connection.
    #[inline]
    pub(super) fn admit(
        self: &Arc<Self>,
        taken: Result<Lease, Wait>,
        fresh: Option<Duration>,
        now: Instant,
    ) -> Result<Lease, Wait> {
        match taken.as_ref().ok().and_then(|lease| self.unfit(lease, now)) {
            None => taken,
            Some(reason) => self.admit_another(taken?, reason, fresh, now),
        }
    }

    /// Swaps a connection that may not be used any more, until a connection may be used.
    #[cold]
    fn admit_another(
        self: &Arc<Self>,
        mut lease: Lease,
        mut reason: DropReason,
        fresh: Option<Duration>,
        now: Instant,
    ) -> Result<Lease, Wait> {
        loop {
            lease = lease.swap(reason, fresh)?;
            match self.unfit(&lease, now) {
                None => return Ok(lease),
                Some(next) => reason = next,
            }
        }
    }

    /// Returns the reason for which a connection may not be used any more, or `None` if it may be used.
    #[inline]
    fn unfit(self: &Arc<Self>, lease: &Lease, now: Instant) -> Option<DropReason> {
        let (conn, fixed) = lease.held()?;
        if conn.has_dozed(now) && self.has_slept_since(conn.used_at, now) {
            return Some(DropReason::Suspended);
        }
        self.unwanted(conn, fixed)
    }

    /// Whether the machine was suspended since the last call. After a suspension, closes the idle connections, because
    /// their servers may have closed them without this machine noticing.
    pub(super) fn has_slept(self: &Arc<Self>, now: Instant) -> bool {
        let slept = self.awake.lock().unwrap_or_else(PoisonError::into_inner).has_slept(now, time::wall());
        if slept {
            self.bury_idle(DropReason::Suspended);
        }
        slept
    }

    /// Whether the machine was suspended after a connection was last `used`. Every request that takes a connection which
    /// was idle for a while makes this check, even if another request noticed the suspension earlier.
    fn has_slept_since(self: &Arc<Self>, used: Instant, now: Instant) -> bool {
        self.has_slept(now) || {
            let woke = self.awake.lock().unwrap_or_else(PoisonError::into_inner).woke();
            woke.is_some_and(|woke| used < woke)
        }
    }

    /// Looks at the idle connections of a runtime in small groups, and closes the connections that their server has
    /// closed. Yields to other tasks after each group.
    pub(super) async fn sweep(self: &Arc<Self>, runtime: &Runtime, now: Instant) {
        if self.has_slept(now) {
            return;
        }
        let mut next = Some(0);
        while let Some(from) = next {
            let mut lent = Vec::new();
            next = self.lock().policy.lend(runtime, from, &mut lent);
            self.look_at(lent);
            tokio::task::yield_now().await;
        }
    }

    /// Looks at connections that were lent, and gives them back. A connection whose look panics is closed.
    fn look_at(self: &Arc<Self>, lent: Vec<Lent<Connection>>) {
        for mut lent in lent {
            // From this point on the connection counts as reused, because the policy may grant the connection to a
            // waiter.
            lent.conn.set_idle();
            let look = contained(|| match lent.conn.look() {
                Look::Silent => self.unwanted(&lent.conn, &lent.conn.fixed),
                Look::Closed => Some(DropReason::PeerClosed),
                Look::Spoke => Some(DropReason::Unsolicited),
            });
            let reason = look.unwrap_or(Some(DropReason::Failed));
            let mut actions = Actions::new();
            let served = Served { answered: lent.conn.requests, ..Served::default() };
            self.decide(&mut actions, |policy, now, actions| {
                if reason == Some(DropReason::Unsolicited) {
                    policy.note_end(lent.place, served, DropReason::Unsolicited, now);
                }
                policy.give_back(lent, reason, now, actions);
            });
            self.perform(actions);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::Client;
    use crate::pool::connection::DOZE;
    use crate::time::Awake;

    /// Returns a client, and the URL of a server that answers every request.
    async fn server() -> (Client, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while tcp.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                        tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                    }
                });
            }
        });
        (Client::new(), url)
    }

    #[tokio::test]
    async fn rule_17_a_connection_idle_through_a_suspension_is_not_used() {
        let (client, url) = server().await;
        let inner = client.pool().inner.clone();
        let get = async || client.get(&url).send().await.unwrap().connection().id();
        let closed = || client.pool().stats().total.closed(DropReason::Suspended);
        client.warm(&url, 3).await.unwrap();
        assert_eq!((get().await, closed()), (3, 0));
        // The machine was suspended for an hour while the connections were idle.
        let sleep = || *inner.awake.lock().unwrap() = Awake::an_hour_ago();
        sleep();
        assert_eq!((get().await, closed()), (3, 0), "the connection answered a moment ago");
        tokio::time::pause();
        tokio::time::advance(DOZE).await;
        tokio::time::resume();
        assert_eq!((get().await, closed()), (4, 3));
        // The sweep notices a suspension too, without a request.
        sleep();
        let runtime = Runtime::current().unwrap();
        inner.sweep(&runtime, time::now()).await;
        assert_eq!((closed(), client.pool().stats().total.idle), (4, 0));
        inner.sweep(&runtime, time::now()).await;
        assert_eq!((get().await, closed()), (5, 4), "once");
    }

    /// A sweep notices a suspension. Requests that took a connection before the sweep notice the same suspension, so
    /// that they do not use the connection.
    #[tokio::test]
    async fn rule_17_a_suspension_is_noticed_by_every_request_that_took_a_connection_before() {
        let (client, url) = server().await;
        let inner = client.pool().inner.clone();
        let (used, taken) = (time::now(), time::now() + DOZE);
        *inner.awake.lock().unwrap() = Awake::an_hour_ago();
        assert!(inner.has_slept(taken), "a sweep notices the suspension");
        for _ in 0..2 {
            assert!(inner.has_slept_since(used, taken));
            assert!(!inner.has_slept_since(taken, taken), "the connection was used since the suspension");
        }
        client.get(&url).send().await.unwrap();
    }

    /// A request that arrives while a sweep looks at the only idle connection gets that connection. The connection
    /// counts as reused.
    #[tokio::test]
    async fn rule_22_a_connection_granted_by_a_sweep_counts_as_kept() {
        let (client, url) = server().await;
        let inner = client.pool().inner.clone();
        client.warm(&url, 1).await.unwrap();
        let (runtime, mut lent) = (Runtime::current().unwrap(), Vec::new());
        inner.lock().policy.lend(&runtime, 0, &mut lent);
        let mut request = Box::pin(client.get(&url).send());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(request.as_mut().poll(&mut cx).is_pending());
        let counts = |total: crate::HostStats| (total.idle, total.waiting, total.dialing);
        assert_eq!(
            counts(client.pool().stats().total),
            (1, 1, 0),
            "the request waits for the connection that is being looked at"
        );
        inner.look_at(lent);
        let response = request.await.unwrap();
        assert!(response.connection().is_reused() && response.connection().ordinal() == 1);
        assert_eq!(response.timings().connect, None, "the dial belongs to no request");
    }

    #[test]
    fn rule_16_lifetimes_lie_apart() {
        let client = Client::builder().max_lifetime(Duration::from_secs(1_000)).build().unwrap();
        let inner = &client.pool().inner;
        let mut drawn: Vec<_> = (1..=100).filter_map(|id| inner.lifetime(id)).collect();
        drawn.sort();
        assert!(
            drawn.len() == 100
                && drawn[0] >= Duration::from_secs(900)
                && drawn[99] <= Duration::from_secs(1_000)
        );
        let gaps = drawn.windows(2).map(|pair| pair[1] - pair[0]);
        // Evenly spread lifetimes would be 1 s apart.
        let (least, most) =
            gaps.fold((Duration::MAX, Duration::ZERO), |(a, b), gap| (a.min(gap), b.max(gap)));
        assert!(least > Duration::from_millis(400) && most < Duration::from_secs(2), "{least:?} to {most:?}");
    }
}
