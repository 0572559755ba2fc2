//! One lookup for all who ask for the same name at the same time.
//!
//! Knows nothing of what is asked for the addresses, nor of how long an answer is valid: what has been answered is
//! forgotten. Nothing is spawned: the lookup runs within the future of whoever asked first, its leader; if that is
//! dropped, the next one goes on with the lookup where it stands. Invariants: a lookup is only ever polled on the runtime
//! it began on; no resolver's code runs, and nothing of a resolver's is dropped, under a lock.
//!
//! ```text
//! leader      asks ---- polls ---- dropped: the lookup is left, one follower is told
//! follower         asks ---- waits ......... leads: polls ---- answered: all are told
//! newcomer                                        asks: leads a lookup of its own
//! ```
//!
//! Whoever comes after the leader left begins anew: the leader had perhaps waited as long as one waits for an answer.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

use super::{Answer, Family, Resolve, Resolving};

/// A resolver that is asked once for what is asked of it several times at once.
pub(super) struct SingleFlight {
    resolver: Arc<dyn Resolve>,
    under_way: Mutex<HashMap<Question, Arc<Lookup>>>,
}

/// What those who share a lookup are told.
pub(super) type Outcome = Result<Answer, Arc<dyn StdError + Send + Sync>>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    /// Of the runtime: another one may not be running, and would be waited for.
    runtime: Option<Id>,
    name: Box<str>,
    family: Family,
}

/// A lookup that may have several who wait for it.
#[derive(Default)]
struct Lookup {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    is_led: bool,
    /// The lookup of a leader that was dropped.
    left: Option<Resolving>,
    outcome: Option<Outcome>,
}

impl SingleFlight {
    pub(super) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, under_way: Mutex::default() }
    }

    /// As [`Resolve::resolve`].
    pub(super) async fn resolve(&self, name: &str, family: Family) -> Outcome {
        let runtime = Handle::try_current().map(|handle| handle.id()).ok();
        let question = Question { runtime, name: name.into(), family };
        let lookup = self.lock().entry(question.clone()).or_default().clone();
        loop {
            let mut changed = pin!(lookup.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            match lookup.role() {
                Role::Told(outcome) => return outcome,
                Role::Follower => changed.await,
                Role::Leader(left) => {
                    let mut leader = Leader { shared: self, question, lookup: &lookup, resolving: left };
                    leader.resolving.get_or_insert_with(|| self.resolver.resolve(name, family));
                    return poll_fn(|cx| leader.poll(cx)).await;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Arc<Lookup>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one who asked has to do.
enum Role {
    /// Poll the lookup; the one that was left, if there is one.
    Leader(Option<Resolving>),
    Follower,
    Told(Outcome),
}

impl Lookup {
    fn role(&self) -> Role {
        let mut state = self.lock();
        if let Some(outcome) = &state.outcome {
            return Role::Told(outcome.clone());
        }
        if std::mem::replace(&mut state.is_led, true) {
            return Role::Follower;
        }
        Role::Leader(state.left.take())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who polls the lookup.
struct Leader<'a> {
    shared: &'a SingleFlight,
    question: Question,
    lookup: &'a Arc<Lookup>,
    resolving: Option<Resolving>,
}

impl Leader<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        // Should it panic, nobody polls it again: it is not put back, and the next begins anew.
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
        let mut under_way = self.shared.lock();
        // (After an earlier leader was dropped, another lookup may stand here.)
        if under_way.get(&self.question).is_some_and(|lookup| Arc::ptr_eq(lookup, self.lookup)) {
            under_way.remove(&self.question);
        }
        drop(under_way);
        let mut state = self.lookup.lock();
        let is_over = state.outcome.is_some();
        if !is_over {
            state.is_led = false;
            state.left = self.resolving.take();
        }
        drop(state);
        if is_over {
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

    /// Lookups that end when they are told to; each answers with its number.
    #[derive(Default)]
    struct Told {
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

    impl Told {
        fn tell(&self, verdict: Verdict) {
            *self.verdict.lock().unwrap() = Some(verdict);
            self.go.notify_one();
        }

        fn counts(&self) -> (usize, usize) {
            (self.begun.load(Ordering::SeqCst), self.dropped.load(Ordering::SeqCst))
        }
    }

    impl Resolve for Told {
        fn resolve(&self, _: &str, _: Family) -> Resolving {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let (dropped, verdict, go) = (self.dropped.clone(), self.verdict.clone(), self.go.clone());
            Box::pin(async move {
                let _counted = Counted(dropped);
                go.notified().await;
                let told = verdict.lock().unwrap().take().expect("a verdict comes with the word to go");
                match told {
                    Verdict::Found => Ok(Answer { addresses: vec![address(number)], valid_for: None }),
                    Verdict::Fails => Err(format!("lookup {number} failed").into()),
                    Verdict::Panics => panic!("as the test wants it"),
                }
            })
        }
    }

    fn address(number: usize) -> std::net::IpAddr {
        [192, 0, 2, number as u8].into()
    }

    fn shared() -> (Arc<Told>, Arc<SingleFlight>) {
        let told = Arc::new(Told::default());
        (told.clone(), Arc::new(SingleFlight::new(told)))
    }

    type Asking = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

    /// Polled once.
    fn ask(shared: &Arc<SingleFlight>, name: &'static str, family: Family) -> Asking {
        let shared = shared.clone();
        let mut asking: Asking = Box::pin(async move { shared.resolve(name, family).await });
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
    async fn those_who_ask_at_once_share_the_answer_and_later_ones_ask_anew() {
        let (told, shared) = shared();
        for verdict in [Verdict::Found, Verdict::Fails] {
            let begun = told.counts().0;
            let mut all: Vec<_> = (0..100).map(|_| ask(&shared, "a.test", Family::Both)).collect();
            assert_eq!(told.counts().0, begun + 1);
            told.tell(verdict);
            assert!(poll(&mut all[50]).is_none(), "only the leader polls the lookup");
            for asking in &mut all {
                let expected = match verdict {
                    Verdict::Found => Ok(begun + 1),
                    _ => Err(format!("lookup {} failed", begun + 1)),
                };
                assert_eq!(poll(asking), Some(expected));
            }
        }
        assert_eq!(told.counts(), (2, 2));
        assert!(shared.lock().is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn other_names_and_families_are_other_lookups() {
        let (told, shared) = shared();
        let asked = [("a.test", Family::Both), ("b.test", Family::Both), ("a.test", Family::V4)];
        let _all = asked.map(|(name, family)| ask(&shared, name, family));
        assert_eq!(told.counts(), (3, 0));
    }

    #[tokio::test]
    async fn a_follower_goes_on_where_a_dropped_leader_stood() {
        let (told, shared) = shared();
        let mut all: Vec<_> = (0..4).map(|_| ask(&shared, "a.test", Family::Both)).collect();
        // A follower, the leader, and then the one that was told to lead, before it was polled.
        for at in [2, 0, 0] {
            drop(all.remove(at));
        }
        assert_eq!(told.counts(), (1, 0), "the lookup goes on");
        told.tell(Verdict::Found);
        assert_eq!(poll(&mut all[0]), Some(Ok(1)));
        assert_eq!(told.counts(), (1, 1));
    }

    /// A leader that gives up may have waited for an answer that never comes.
    #[tokio::test]
    async fn who_comes_after_a_leader_left_asks_anew() {
        let (told, shared) = shared();
        let leader = ask(&shared, "a.test", Family::Both);
        let mut follower = ask(&shared, "a.test", Family::Both);
        drop(leader);
        let mut newcomer = ask(&shared, "a.test", Family::Both);
        assert!(poll(&mut follower).is_none());
        assert_eq!(told.counts(), (2, 0));
        told.tell(Verdict::Found);
        assert_eq!(poll(&mut follower), Some(Ok(1)));
        // The newcomer's is still under way, and still found.
        let mut another = ask(&shared, "a.test", Family::Both);
        told.tell(Verdict::Found);
        assert_eq!((poll(&mut newcomer), poll(&mut another)), (Some(Ok(2)), Some(Ok(2))));
        assert!(shared.lock().is_empty());
    }

    #[tokio::test]
    async fn a_lookup_that_nobody_waits_for_ends() {
        let (told, shared) = shared();
        let all = [0; 3].map(|_| ask(&shared, "a.test", Family::Both));
        drop(all);
        assert_eq!(told.counts(), (1, 1));
        assert!(shared.lock().is_empty());
    }

    #[tokio::test]
    async fn followers_are_woken() {
        let (told, shared) = shared();
        let spawn = || {
            let shared = shared.clone();
            tokio::spawn(async move { shared.resolve("a.test", Family::Both).await.is_ok() })
        };
        let leader = spawn();
        tokio::task::yield_now().await;
        let followers = [spawn(), spawn(), spawn()];
        tokio::task::yield_now().await;
        leader.abort();
        assert!(leader.await.unwrap_err().is_cancelled());
        told.tell(Verdict::Found);
        for follower in followers {
            let woken = tokio::time::timeout(std::time::Duration::from_secs(20), follower).await;
            assert!(woken.expect("a follower is woken").unwrap());
        }
        assert_eq!(told.counts(), (1, 1));
    }

    #[tokio::test]
    async fn a_panic_is_the_leaders_alone() {
        let (told, shared) = shared();
        let mut leader = ask(&shared, "a.test", Family::Both);
        let mut follower = ask(&shared, "a.test", Family::Both);
        told.tell(Verdict::Panics);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut leader))).unwrap_err();
        drop(leader);
        assert!(poll(&mut follower).is_none());
        told.tell(Verdict::Found);
        assert_eq!(poll(&mut follower), Some(Ok(2)), "it began anew");
    }

    /// A lookup is never awaited across runtimes: the other one may be parked.
    #[test]
    fn different_runtimes_never_share() {
        let (told, shared) = shared();
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (one, other) = (runtime(), runtime());
        let ask_on = |runtime: &tokio::runtime::Runtime| {
            let _inside = runtime.enter();
            ask(&shared, "a.test", Family::Both)
        };
        let (leader, mut second, _third) = (ask_on(&one), ask_on(&other), ask_on(&other));
        assert_eq!(told.counts().0, 2);
        drop(leader);
        told.tell(Verdict::Found);
        let _inside = other.enter();
        assert_eq!(poll(&mut second), Some(Ok(2)));
    }
}
