//! Merging concurrent lookups of one name into a single lookup.
//!
//! The first task that asks for a name is the leader, which polls the lookup. Tasks that ask during the lookup are
//! followers, which wait for the leader's outcome. If the leader is dropped, one follower becomes the leader and
//! continues to poll the same lookup. No task is spawned, and no answer is kept once it was delivered. Invariants: a
//! lookup is only polled on the runtime on which it began. While a lock is held, no code of the resolver runs and no
//! value of the resolver is dropped.
//!
//! ```text
//! leader      asks ---- polls ---- dropped: leaves the lookup, wakes one follower
//! follower         asks ---- waits ......... leads: polls ---- answer: all are woken
//! newcomer                                        asks: leads a lookup of its own
//! ```
//!
//! A task that asks after the leader was dropped begins a new lookup, because the leader may have been dropped for
//! waiting too long, and the old lookup may never end.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

use super::{Answer, Family, Resolve, Resolving};

/// A resolver that merges concurrent lookups of the same name into one lookup of another resolver.
pub(super) struct SingleFlight {
    resolver: Arc<dyn Resolve>,
    lookups: Mutex<HashMap<Question, Arc<Lookup>>>,
}

/// Outcome of a lookup, shared by all tasks that waited for the lookup.
pub(super) type Outcome = Result<Answer, Arc<dyn StdError + Send + Sync>>;

/// Key of a lookup: equal questions share one lookup.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    /// Runtime of the task that asks. Tasks of different runtimes share no lookup, because the leader's runtime may not
    /// be running.
    runtime: Option<Id>,
    name: Box<str>,
    family: Family,
}

/// A lookup, and the tasks that wait for the lookup.
#[derive(Default)]
struct Lookup {
    progress: Mutex<Progress>,
    changed: Notify,
}

#[derive(Default)]
struct Progress {
    /// Whether a task is the leader, or was woken to become the leader.
    has_leader: bool,
    /// Unfinished lookup of a leader that was dropped.
    left: Option<Resolving>,
    outcome: Option<Outcome>,
}

impl SingleFlight {
    pub(super) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, lookups: Mutex::default() }
    }

    /// Looks up `name`, or waits for a lookup of `name` that is already under way on this runtime. Returns the outcome.
    pub(super) async fn resolve(&self, name: &str, family: Family) -> Outcome {
        let runtime = Handle::try_current().map(|handle| handle.id()).ok();
        let question = Question { runtime, name: name.into(), family };
        let lookup = self.lock().entry(question.clone()).or_default().clone();
        loop {
            let mut changed = pin!(lookup.changed.notified());
            // The notification is enabled before the role is read, so that a change which comes right after the read
            // still wakes the task.
            changed.as_mut().enable();
            match lookup.role() {
                Role::Done(outcome) => return outcome,
                Role::Follower => changed.await,
                Role::Leader(left) => {
                    let mut leader = Leader { flights: self, question, lookup: &lookup, resolving: left };
                    leader.resolving.get_or_insert_with(|| self.resolver.resolve(name, family));
                    return poll_fn(|cx| leader.poll(cx)).await;
                }
            }
        }
    }

    /// Tells the resolver that the machine is in another network now.
    pub(super) fn network_changed(&self) {
        self.resolver.network_changed();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Arc<Lookup>>> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Role of a task that asks for a name.
enum Role {
    /// Poll the lookup that an earlier leader left or, with `None`, a new lookup.
    Leader(Option<Resolving>),
    /// Wait until the lookup changes.
    Follower,
    /// Return the outcome.
    Done(Outcome),
}

impl Lookup {
    fn role(&self) -> Role {
        let mut progress = self.lock();
        if let Some(outcome) = &progress.outcome {
            return Role::Done(outcome.clone());
        }
        if std::mem::replace(&mut progress.has_leader, true) {
            return Role::Follower;
        }
        Role::Leader(progress.left.take())
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that polls the lookup. Its drop delivers the outcome, or leaves the lookup to a follower.
struct Leader<'a> {
    flights: &'a SingleFlight,
    question: Question,
    lookup: &'a Arc<Lookup>,
    resolving: Option<Resolving>,
}

impl Leader<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        // The lookup is taken out while it is polled, so that a lookup that panics is not polled again. After a panic,
        // a follower begins a new lookup.
        let Some(mut resolving) = self.resolving.take() else { return Poll::Pending };
        let polled = resolving.as_mut().poll(cx);
        if polled.is_pending() {
            self.resolving = Some(resolving);
        }
        let outcome = ready!(polled).map_err(Arc::from);
        self.lookup.lock().outcome = Some(outcome.clone());
        Poll::Ready(outcome)
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut lookups = self.flights.lock();
        // The map may hold a newer lookup of the same name, because this lookup was removed from the map earlier.
        if lookups.get(&self.question).is_some_and(|lookup| Arc::ptr_eq(lookup, self.lookup)) {
            lookups.remove(&self.question);
        }
        drop(lookups);
        let mut progress = self.lookup.lock();
        let is_done = progress.outcome.is_some();
        if !is_done {
            progress.has_leader = false;
            progress.left = self.resolving.take();
        }
        drop(progress);
        if is_done {
            self.lookup.changed.notify_waiters();
        } else {
            self.lookup.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use super::*;

    /// A resolver whose lookups end when the test says so. The answer of each lookup is the lookup's number.
    #[derive(Default)]
    struct Scripted {
        begun: AtomicUsize,
        dropped: Arc<AtomicUsize>,
        verdict: Arc<Mutex<Option<Verdict>>>,
        go: Arc<Notify>,
    }

    #[derive(Clone, Copy)]
    enum Verdict {
        Found,
        Fails,
        Panics,
    }

    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Scripted {
        fn end_with(&self, verdict: Verdict) {
            *self.verdict.lock().unwrap() = Some(verdict);
            self.go.notify_one();
        }

        fn counts(&self) -> (usize, usize) {
            (self.begun.load(Ordering::SeqCst), self.dropped.load(Ordering::SeqCst))
        }
    }

    impl Resolve for Scripted {
        fn resolve(&self, _: &str, _: Family) -> Resolving {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let (dropped, verdict, go) = (self.dropped.clone(), self.verdict.clone(), self.go.clone());
            Box::pin(async move {
                let _counted = Counted(dropped);
                go.notified().await;
                let verdict =
                    verdict.lock().unwrap().take().expect("the test sets a verdict before it notifies");
                match verdict {
                    Verdict::Found => Ok(Answer::new([address(number)])),
                    Verdict::Fails => Err(format!("lookup {number} failed").into()),
                    Verdict::Panics => panic!("the test asked for a panic"),
                }
            })
        }
    }

    fn address(number: usize) -> std::net::SocketAddr {
        ([192, 0, 2, number as u8], 0).into()
    }

    fn flights() -> (Arc<Scripted>, Arc<SingleFlight>) {
        let resolver = Arc::new(Scripted::default());
        (resolver.clone(), Arc::new(SingleFlight::new(resolver)))
    }

    type Asking = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

    /// Asks for `name` and polls the lookup once. Returns the task.
    fn ask(flights: &Arc<SingleFlight>, name: &'static str, family: Family) -> Asking {
        let flights = flights.clone();
        let mut asking: Asking = Box::pin(async move { flights.resolve(name, family).await });
        assert!(poll(&mut asking).is_none());
        asking
    }

    fn poll(asking: &mut Asking) -> Option<Result<usize, String>> {
        match asking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => None,
            Poll::Ready(Ok(answer)) => {
                let number = (1..10).find(|number| answer.addresses == [address(*number)]);
                Some(Ok(number.expect("the answer names its lookup")))
            }
            Poll::Ready(Err(error)) => Some(Err(error.to_string())),
        }
    }

    #[tokio::test]
    async fn concurrent_lookups_share_the_answer_and_later_ones_begin_anew() {
        let (resolver, flights) = flights();
        for verdict in [Verdict::Found, Verdict::Fails] {
            let begun = resolver.counts().0;
            let mut all: Vec<_> = (0..100).map(|_| ask(&flights, "a.test", Family::Both)).collect();
            assert_eq!(resolver.counts().0, begun + 1);
            resolver.end_with(verdict);
            assert!(poll(&mut all[50]).is_none(), "only the leader polls the lookup");
            for asking in &mut all {
                let expected = match verdict {
                    Verdict::Found => Ok(begun + 1),
                    _ => Err(format!("lookup {} failed", begun + 1)),
                };
                assert_eq!(poll(asking), Some(expected));
            }
        }
        assert_eq!(resolver.counts(), (2, 2));
        assert!(flights.lock().is_empty(), "no lookup is kept");
    }

    #[tokio::test]
    async fn other_names_and_families_are_other_lookups() {
        let (resolver, flights) = flights();
        let asked = [("a.test", Family::Both), ("b.test", Family::Both), ("a.test", Family::V4)];
        let _all = asked.map(|(name, family)| ask(&flights, name, family));
        assert_eq!(resolver.counts(), (3, 0));
    }

    #[tokio::test]
    async fn a_follower_polls_the_lookup_of_a_dropped_leader() {
        let (resolver, flights) = flights();
        let mut all: Vec<_> = (0..4).map(|_| ask(&flights, "a.test", Family::Both)).collect();
        // The loop drops a follower, the leader, and the follower that was chosen to lead and not yet polled.
        for at in [2, 0, 0] {
            drop(all.remove(at));
        }
        assert_eq!(resolver.counts(), (1, 0), "the lookup goes on");
        resolver.end_with(Verdict::Found);
        assert_eq!(poll(&mut all[0]), Some(Ok(1)));
        assert_eq!(resolver.counts(), (1, 1));
    }

    /// The lookup of a leader that was dropped may never end.
    #[tokio::test]
    async fn a_task_that_asks_after_the_leader_was_dropped_begins_a_new_lookup() {
        let (resolver, flights) = flights();
        let leader = ask(&flights, "a.test", Family::Both);
        let mut follower = ask(&flights, "a.test", Family::Both);
        drop(leader);
        let mut newcomer = ask(&flights, "a.test", Family::Both);
        assert!(poll(&mut follower).is_none());
        assert_eq!(resolver.counts(), (2, 0));
        resolver.end_with(Verdict::Found);
        assert_eq!(poll(&mut follower), Some(Ok(1)));
        // The newcomer's lookup is still under way, and a later task still joins it.
        let mut another = ask(&flights, "a.test", Family::Both);
        resolver.end_with(Verdict::Found);
        assert_eq!((poll(&mut newcomer), poll(&mut another)), (Some(Ok(2)), Some(Ok(2))));
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn a_lookup_that_nobody_waits_for_is_dropped() {
        let (resolver, flights) = flights();
        let all = [0; 3].map(|_| ask(&flights, "a.test", Family::Both));
        drop(all);
        assert_eq!(resolver.counts(), (1, 1));
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn followers_are_woken() {
        let (resolver, flights) = flights();
        let spawn = || {
            let flights = flights.clone();
            tokio::spawn(async move { flights.resolve("a.test", Family::Both).await.is_ok() })
        };
        let leader = spawn();
        tokio::task::yield_now().await;
        let followers = [spawn(), spawn(), spawn()];
        tokio::task::yield_now().await;
        leader.abort();
        assert!(leader.await.unwrap_err().is_cancelled());
        resolver.end_with(Verdict::Found);
        for follower in followers {
            let woken = tokio::time::timeout(std::time::Duration::from_secs(20), follower).await;
            assert!(woken.expect("a follower is woken").unwrap());
        }
        assert_eq!(resolver.counts(), (1, 1));
    }

    #[tokio::test]
    async fn a_panic_reaches_only_the_leader() {
        let (resolver, flights) = flights();
        let mut leader = ask(&flights, "a.test", Family::Both);
        let mut follower = ask(&flights, "a.test", Family::Both);
        resolver.end_with(Verdict::Panics);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut leader))).unwrap_err();
        drop(leader);
        assert!(poll(&mut follower).is_none());
        resolver.end_with(Verdict::Found);
        assert_eq!(poll(&mut follower), Some(Ok(2)), "the follower began a new lookup");
    }

    /// No task waits for a lookup of another runtime, because that runtime may be parked.
    #[test]
    fn different_runtimes_never_share() {
        let (resolver, flights) = flights();
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (one, other) = (runtime(), runtime());
        let ask_on = |runtime: &tokio::runtime::Runtime| {
            let _inside = runtime.enter();
            ask(&flights, "a.test", Family::Both)
        };
        let (leader, mut second, _third) = (ask_on(&one), ask_on(&other), ask_on(&other));
        assert_eq!(resolver.counts().0, 2);
        drop(leader);
        resolver.end_with(Verdict::Found);
        let _inside = other.enter();
        assert_eq!(poll(&mut second), Some(Ok(2)));
    }
}
