//! Dials. Each dial runs in its own task, so that the handshake is not wasted if the request stops waiting.
//!
//! This file uses the policy's actions and the dialer, and knows nothing of HTTP. Invariants: the policy and the
//! waiters concerned are told of every end of a dial, including a panic and the end of its runtime. A dial that the
//! pool gave up reports nothing, and its socket is closed at once even if its runtime does not run.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::AbortHandle;

use super::connection::{Connection, contained};
use super::events::PoolEventKind;
use super::key::Route;
use super::policy::dials::DialId;
use super::policy::places::Place;
use super::policy::reasons::DropReason;
use super::{Actions, Decider, PoolInner, Runtime, Waiter, WarmCell};
use crate::connect::{Destination, DialError, Dialed};
use crate::time;
use crate::trace::Setup;

impl PoolInner {
    /// Starts the task of a dial.
    pub(super) fn dial(
        self: &Arc<Self>,
        route: Arc<Route>,
        runtime: &Runtime,
        place: Place,
        dial_id: DialId,
        wanted_by: Option<&Waiter>,
        warm: Option<Arc<WarmCell>>,
    ) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let setup = Arc::new(Setup::new(id, route.scheme(), route.host(), route.port(), time::now()));
        if let Some(waiter) = wanted_by {
            *waiter.dial.lock().unwrap_or_else(PoisonError::into_inner) = Some(setup.clone());
        }
        let destination =
            Destination::new(route.is_https(), route.host(), route.port()).by(route.via().clone());
        let (dialer, traced, tag) = (self.dialer.clone(), setup.clone(), route.tag().cloned());
        // Only one request can use a connection whose SYN carries this request. So the SYN carries a request only while
        // no other request waits.
        let request = wanted_by.and_then(|waiter| waiter.request.clone());
        let request = request.filter(|_| self.lock().policy.is_alone_at(place));
        let work = async move { dialer.dial(&destination, tag.as_ref(), &traced, request).await };
        let work = Arc::new(Work::new(work));
        let dial = Dial {
            inner: Arc::downgrade(self),
            runtime: runtime.clone(),
            route: route.clone(),
            setup: setup.clone(),
            id,
            place,
            dial_id,
            epoch: self.epoch.load(Ordering::Relaxed),
            over: false,
        };
        let mut state = self.lock();
        if !state.policy.has_dial(dial_id) {
            // The policy gave the dial up before it began.
            drop(state);
            return dial.given_up(warm);
        }
        let is_stopped = state.is_stopped;
        state.dials.insert(dial_id, Dialing { id, place, route, setup, work: work.clone(), warm });
        drop(state);
        if is_stopped {
            return dial.refuse();
        }
        work.runs_as(runtime.handle.spawn(dial.run(work.clone())).abort_handle());
    }

    /// Cancels a dial that the policy gave up, and closes the dial's socket.
    pub(super) fn abort_dial(&self, dial_id: DialId) {
        let given_up = self.lock().dials.remove(&dial_id);
        let Some(Dialing { setup, work, warm, .. }) = given_up else { return };
        if work.cut() {
            setup.cancel(time::now());
        }
        tell_warm(warm, Ok(()));
    }

    /// Gives up the dials that are overdue because their runtimes do not run, and fails the requests that wait on those
    /// runtimes.
    pub(super) fn reclaim(self: &Arc<Self>, now: Instant) {
        loop {
            let state = self.lock();
            let Some((dial_id, runtime)) = state.policy.overdue(now) else { return };
            let dial = state.dials.get(&dial_id);
            let dial = dial.map(|dial| (dial.setup.clone(), dial.work.clone(), dial.warm.clone()));
            drop(state);
            let error = DialError::stalled(self.config.limits.connect_timeout.unwrap_or_default());
            // A dial that is missing in the state has not begun. The thread that will start the dial was delayed, and
            // will find that the policy gave the dial up.
            if let Some((setup, work, warm)) = dial {
                let mut slot = Some(0);
                while let Some(from) = slot {
                    let mut actions = Actions::new();
                    slot = self.decide(&mut actions, |policy, _, actions| {
                        policy.refuse_waiters(Some(&runtime), from, actions)
                    });
                    self.perform_all(actions, &[], Some((&error, &setup)));
                }
                if work.cut() {
                    setup.end(Some(error.kind()), now);
                }
                tell_warm(warm, Err(error));
            }
            let mut actions = Actions::new();
            self.decide(&mut actions, |policy, now, actions| policy.reclaim(dial_id, now, actions));
            self.perform(actions);
        }
    }
}

/// The pool's record of a dial under way.
#[derive(Debug)]
pub(super) struct Dialing {
    pub(super) id: u64,
    pub(super) place: Place,
    pub(super) route: Arc<Route>,
    pub(super) setup: Arc<Setup>,
    work: Arc<Work>,
    warm: Option<Arc<WarmCell>>,
}

type Working = Pin<Box<dyn Future<Output = Result<Dialed, DialError>> + Send>>;

/// The work of a dial's task. The work can be dropped from outside, even while the task's runtime does not run.
struct Work {
    future: Mutex<Option<Working>>,
    is_cut: AtomicBool,
    task: OnceLock<AbortHandle>,
}

impl Work {
    fn new(future: impl Future<Output = Result<Dialed, DialError>> + Send + 'static) -> Self {
        Self {
            future: Mutex::new(Some(Box::pin(future))),
            is_cut: AtomicBool::new(false),
            task: OnceLock::new(),
        }
    }

    /// Polls the dial. Returns `None` if the dial was cut.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Dialed, DialError>>> {
        let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = future.as_mut().map(|future| future.as_mut().poll(cx));
        let is_over = !matches!(polled, Some(Poll::Pending));
        drop(future);
        if is_over || self.is_cut.load(Ordering::SeqCst) {
            self.drop_future();
        }
        match polled {
            Some(Poll::Ready(outcome)) => Poll::Ready(Some(outcome)),
            Some(Poll::Pending) if !self.is_cut.load(Ordering::SeqCst) => Poll::Pending,
            _ => Poll::Ready(None),
        }
    }

    /// Drops the dial's future. If a task is polling the future at this moment, that task drops it, and this function
    /// returns `false`. The dial can begin a phase until its future is dropped.
    fn cut(&self) -> bool {
        self.is_cut.store(true, Ordering::SeqCst);
        let is_dropped = self.drop_future();
        self.wake();
        is_dropped
    }

    /// Stores the handle of the task that runs the dial, so that a cut ends the task.
    fn runs_as(&self, task: AbortHandle) {
        _ = self.task.set(task);
        if self.is_cut.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Drops the future, unless a task is polling it at this moment. Returns whether the future is dropped.
    fn drop_future(&self) -> bool {
        // Dropping the future may run the caller's code, so panics are caught below.
        let future = match self.future.try_lock() {
            Ok(mut future) => future.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            Err(TryLockError::WouldBlock) => return false,
        };
        contained(|| drop(future));
        true
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Work")
    }
}

/// The task of a dial. A dial that is dropped before its end counts as failed, because its runtime has stopped or the
/// dial has panicked.
struct Dial {
    inner: Weak<PoolInner>,
    runtime: Runtime,
    route: Arc<Route>,
    setup: Arc<Setup>,
    id: u64,
    place: Place,
    dial_id: DialId,
    epoch: u64,
    over: bool,
}

impl Dial {
    async fn run(mut self, work: Arc<Work>) {
        if !time::has_timers() {
            return self.fail(&DialError::no_timers());
        }
        match poll_fn(|cx| work.poll(cx)).await {
            Some(Ok(dialed)) => self.succeed(dialed),
            Some(Err(error)) => self.fail(&error),
            None => {
                self.over = true;
                self.setup.cancel(time::now());
            }
        }
    }

    fn succeed(&mut self, dialed: Dialed) {
        self.over = true;
        self.setup.end(None, time::now());
        let Dialed { stream, peer, local, round_trip, seat, tls } = dialed;
        let inner = self.inner.upgrade();
        let lifetime = inner.as_ref().and_then(|inner| inner.lifetime(self.id));
        let connection = Connection::new(
            self.inner.clone(),
            self.id,
            stream,
            peer,
            local,
            tls,
            self.runtime.clone(),
            &self.setup,
            lifetime,
            self.epoch,
            self.place,
            self.route.clone(),
            seat,
        );
        let Some(inner) = inner else {
            let _ = connection.close(DropReason::Shutdown);
            return;
        };
        let mut actions = Vec::new();
        let (now, epoch) = (connection.used_at, inner.epoch());
        let mut state = inner.lock();
        if inner.dialer.holds_acks() && !state.policy.is_awaited_at(self.place) {
            drop(state);
            inner.dialer.send_held_ack(&connection.stream);
            state = inner.lock();
        }
        let Some(dialing) = state.take_dial(self.dial_id) else {
            // The pool gave the dial up, so another connection may have its room.
            drop(state);
            let _ = connection.close(DropReason::Abandoned);
            return;
        };
        inner.keep(state, connection, now, &mut actions, |state, connection, now, actions| {
            state.live.insert(self.id, connection.fixed.clone());
            state.note(self.place, PoolEventKind::Opened { id: self.id });
            state.policy.note_handshake(self.place, connection.fixed.handshake);
            state.policy.note_connect(self.place, round_trip);
            if connection.stream.is_unclaimed() && !state.policy.is_awaited_at(self.place) {
                state.policy.dialed_in_vain(self.place, self.dial_id, connection, now, actions);
                return None;
            }
            let terms = connection.terms(None, epoch);
            state.policy.dialed(self.place, self.dial_id, connection, terms, now, actions)
        });
        inner.perform(actions);
        tell_warm(dialing.warm, Ok(()));
    }

    /// Fails the dial because the pool was shut down.
    fn refuse(mut self) {
        self.fail(&DialError::shutdown());
    }

    /// Ends a dial that the pool gave up before it began.
    fn given_up(mut self, warm: Option<Arc<WarmCell>>) {
        self.over = true;
        self.setup.cancel(time::now());
        tell_warm(warm, Ok(()));
    }

    fn fail(&mut self, error: &DialError) {
        self.over = true;
        let Some(inner) = self.inner.upgrade() else {
            return self.setup.end(Some(error.kind()), time::now());
        };
        let (place, dial_id) = (self.place, self.dial_id);
        let remembered = error.to_keep();
        let mut state = inner.lock();
        // A dial that the pool gave up reports nothing.
        let Some(dialing) = state.take_dial(dial_id) else {
            drop(state);
            return self.setup.cancel(time::now());
        };
        state.note(place, PoolEventKind::DialFailed { id: self.id });
        // A failure in an earlier network says nothing about the current network.
        let is_of_now = self.epoch == inner.epoch();
        let now = time::now();
        // Only a failure of the host is remembered and shared.
        let is_of_host = error.is_of_host() && is_of_now;
        let noted = if is_of_host { Some(remembered) } else { None };
        let decides = state.policy.note_failure(place, dial_id, noted, now);
        let known = state.policy.failure(place);
        drop(state);
        self.setup.end(Some(error.kind()), now);
        tell_warm(dialing.warm, Err(error.clone()));
        let told = |error: &DialError, tell: &dyn Fn(&mut Decider, &mut Actions) -> bool| {
            loop {
                let mut actions = Vec::new();
                let more = inner.decide(&mut actions, |policy, _, actions| tell(policy, actions));
                inner.perform_all(actions, &[], Some((error, &self.setup)));
                if !more {
                    return;
                }
            }
        };
        let concerns_host = error.concerns_host() || decides;
        told(error, &|policy, out| policy.fail_waiters(place, dial_id, concerns_host, out));
        if error.is_of_runtime() {
            // A runtime that is gone or cannot dial has no minimum of idle connections any more.
            let mut actions = Vec::new();
            inner.decide(&mut actions, |policy, _, actions| policy.forget_min_idle(place, actions));
            inner.perform(actions);
        }
        // Waiters in other partitions get the host's latest failure.
        let known = known.as_ref().unwrap_or(error);
        if is_of_host {
            told(known, &|policy, out| policy.fail_unserved(place, true, out));
        }
        let mut actions = Vec::new();
        inner.decide(&mut actions, |policy, now, actions| {
            policy.dial_failed(place, is_of_host, now, actions);
        });
        inner.perform_all(actions, &[], Some((known, &self.setup)));
        inner.ensure_timer(&self.runtime);
    }
}

/// Reports the dial's outcome to `warm`. A dial that was given up to make room for a request reports `Ok`.
fn tell_warm(warm: Option<Arc<WarmCell>>, outcome: Result<(), DialError>) {
    if let Some(warm) = warm {
        // A caller that stopped waiting is not told.
        let _ = contained(|| warm.deliver(outcome));
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        if !self.over {
            self.fail(&DialError::interrupted());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;
    use crate::{Client, Transport};

    /// The policy gives a dial up under the lock, and the shell aborts the dial later. A dial that ends before it is
    /// aborted, with or without success, is not counted.
    #[tokio::test]
    async fn a_dial_that_ends_while_it_is_given_up_counts_nowhere() {
        for succeeds in [true, false] {
            let (go, tried) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
            let (gone, counted) = (go.clone(), tried.clone());
            let connect = move |_| {
                let (gone, counted) = (gone.clone(), counted.clone());
                async move {
                    counted.fetch_add(1, Ordering::SeqCst);
                    gone.notified().await;
                    match succeeds {
                        true => {
                            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                            let tcp = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
                            Ok(Box::new(tcp) as Box<dyn Transport>)
                        }
                        false => Err("no line".into()),
                    }
                }
            };
            let client = Client::builder().connector(connect).build().unwrap();
            client.min_idle("http://h.test/", 1).unwrap();
            while tried.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            client.min_idle("http://h.test/", 0).unwrap();
            let inner = client.pool().inner.clone();
            let (task, mut actions) =
                (inner.lock().dials.first_key_value().unwrap().1.work.clone(), Vec::new());
            inner.decide(&mut actions, |policy, _, actions| policy.give_up_all(actions));
            go.notify_one();
            while task.task.get().is_some_and(|task| !task.is_finished()) {
                tokio::task::yield_now().await;
            }
            inner.perform(actions);
            let total = client.pool().stats().total;
            assert_eq!((total.idle, total.active, total.dialing, total.opened), (0, 0, 0, 0), "{total}");
            assert!(inner.lock().dials.is_empty());
        }
    }

    /// A layer that keeps each `error.type`.
    #[derive(Clone, Default)]
    struct Errors(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Errors {
        fn on_record(
            &self,
            _: &tracing::span::Id,
            values: &tracing::span::Record<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            values.record(&mut |field: &tracing::field::Field, value: &dyn fmt::Debug| {
                if field.name() == "error.type" {
                    self.0.lock().unwrap().push(format!("{value:?}").replace('"', ""));
                }
            });
        }
    }

    /// The task of a dial that is given up may end, on another thread, before the thread that gives the dial up has ended
    /// the span.
    #[tokio::test]
    async fn a_dial_that_is_given_up_is_cancelled_whichever_thread_ends_its_span() {
        use tracing_subscriber::layer::SubscriberExt;

        // Another test may be the first to make this span, and tracing asks only the subscriber of the first thread then.
        drop(Setup::new(0, "http", "h.test", 80, time::now()));
        let errors = Errors::default();
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(errors.clone()));
        let connect = |_| std::future::pending::<Result<Box<dyn Transport>, crate::BoxError>>();
        let client = Client::builder().connector(connect).build().unwrap();
        client.min_idle("http://h.test/", 1).unwrap();
        let inner = client.pool().inner.clone();
        // The steps of `abort_dial`.
        let mut actions = Vec::new();
        inner.decide(&mut actions, |policy, _, actions| policy.give_up_all(actions));
        let (_, dialing) = inner.lock().dials.pop_first().unwrap();
        assert!(dialing.work.cut());
        while dialing.work.task.get().is_some_and(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
        dialing.setup.cancel(time::now());
        assert_eq!(*errors.0.lock().unwrap(), ["cancelled"]);
    }
}
