//! Tests of `lookups.rs`: what several tasks and runtimes get that ask for one name.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::super::Resolving;

use super::*;

type Item = Result<Answer, BoxError>;

const LONG: Duration = Duration::from_secs(60);

/// A resolver whose lookups yield what the test sends.
#[derive(Default)]
struct Scripted {
    lookups: Mutex<Vec<Option<UnboundedSender<Item>>>>,
    dropped: Arc<AtomicUsize>,
    changes: AtomicUsize,
    /// Whether the drop of a lookup panics.
    drop_panics: Arc<AtomicBool>,
}

struct Sent {
    items: UnboundedReceiver<Item>,
    dropped: Arc<AtomicUsize>,
    drop_panics: Arc<AtomicBool>,
}

impl Stream for Sent {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let item = self.items.poll_recv(cx);
        if let Poll::Ready(Some(Err(error))) = &item {
            assert_ne!(error.to_string(), "panic");
        }
        item
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
        assert!(!self.drop_panics.load(Ordering::SeqCst), "the drop panics");
    }
}

impl Resolve for Scripted {
    fn resolve(&self, _: &str, _: Family) -> Resolving {
        unreachable!("the client asks for the parts")
    }

    fn resolve_stream(&self, _: &str, _: Family) -> Parts {
        let (sender, items) = unbounded_channel();
        self.lookups.lock().unwrap().push(Some(sender));
        Box::pin(Sent { items, dropped: self.dropped.clone(), drop_panics: self.drop_panics.clone() })
    }

    fn network_changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

impl Scripted {
    /// Returns the number of lookups that were begun and dropped.
    fn counts(&self) -> (usize, usize) {
        (self.lookups.lock().unwrap().len(), self.dropped.load(Ordering::SeqCst))
    }

    /// Yields an item in the lookup with this number.
    fn send(&self, lookup: usize, item: Item) {
        drop(self.lookups.lock().unwrap()[lookup].as_ref().unwrap().send(item));
    }

    /// Yields the address 192.0.2.`last` in the lookup with this number.
    fn found(&self, lookup: usize, last: u8) {
        let answer = Answer::new([([192, 0, 2, last], 0).into()]);
        self.send(lookup, Ok(answer.valid_for(Duration::from_secs(60))));
    }

    fn end(&self, lookup: usize) {
        self.lookups.lock().unwrap()[lookup] = None;
    }
}

type Asked = Pin<Box<dyn Stream<Item = Outcome> + Send>>;

fn lookups() -> (Arc<Scripted>, Arc<Lookups>) {
    let resolver = Arc::new(Scripted::default());
    (resolver.clone(), Arc::new(Lookups::new(resolver, Ttl::default())))
}

/// Asks, and polls once.
fn ask_for(lookups: &Lookups, name: &str, family: Family) -> Asked {
    let mut asked: Asked = Box::pin(lookups.ask(name, family, LONG));
    assert_eq!(poll(&mut asked), None, "the lookup has not ended");
    asked
}

fn ask(lookups: &Lookups) -> Asked {
    ask_for(lookups, "a.test", Family::Both)
}

/// Polls once. Returns the last octets of a part, "end" or the error.
fn poll(asked: &mut Asked) -> Option<String> {
    let mut cx = Context::from_waker(Waker::noop());
    match asked.as_mut().poll_next(&mut cx) {
        Poll::Pending => None,
        Poll::Ready(item) => Some(shown(item)),
    }
}

fn shown(item: Option<Outcome>) -> String {
    match item {
        None => "end".to_owned(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(answer)) => {
            let last = |address: &std::net::SocketAddr| {
                address.ip().to_string().rsplit('.').next().unwrap_or_default().to_owned()
            };
            answer.addresses.iter().map(last).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Asks and waits until the end. Returns all parts.
async fn all(lookups: &Lookups) -> Vec<String> {
    let mut asked: Asked = Box::pin(lookups.ask("a.test", Family::Both, LONG));
    let mut parts = Vec::new();
    loop {
        match stream::next(&mut asked).await {
            None => return parts,
            item => parts.push(shown(item)),
        }
    }
}

/// Lets the tasks of the runtime run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
    settle().await;
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn rule_36_concurrent_lookups_share_the_answer_and_later_ones_the_cache() {
    let (resolver, lookups) = lookups();
    let mut all_asked: Vec<_> = (0..100).map(|_| ask(&lookups)).collect();
    assert_eq!(resolver.counts().0, 1);
    resolver.found(0, 1);
    assert_eq!(poll(&mut all_asked[50]), None, "only the leader polls the lookup");
    for asked in &mut all_asked {
        assert_eq!(poll(asked), some("1"));
    }
    // A task that comes between two parts gets the earlier part at once.
    let mut late: Asked = Box::pin(lookups.ask("a.test", Family::Both, LONG));
    assert_eq!((poll(&mut late), poll(&mut late)), (some("1"), None));
    resolver.found(0, 2);
    resolver.end(0);
    all_asked.push(late);
    for asked in &mut all_asked {
        assert_eq!((poll(asked), poll(asked), poll(asked)), (some("2"), some("end"), some("end")));
    }
    assert!(lookups.shared.lock().running.is_empty(), "no lookup is kept");
    assert!(lookups.is_known("a.test", Family::Both) && !lookups.is_known("a.test", Family::V4));
    assert_eq!(all(&lookups).await, ["1 2"]);
    pass(59).await;
    assert_eq!((all(&lookups).await, resolver.counts()), (vec!["1 2".to_owned()], (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn rule_36_a_stale_answer_is_used_while_one_task_refreshes_it() {
    let (resolver, lookups) = lookups();
    let mut asked = ask(&lookups);
    resolver.found(0, 1);
    resolver.end(0);
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("1"), some("end")));
    pass(60).await;
    for _ in 0..10 {
        assert_eq!(all(&lookups).await, ["1"]);
    }
    settle().await;
    assert_eq!(resolver.counts(), (2, 1));
    resolver.found(1, 2);
    resolver.end(1);
    settle().await;
    assert_eq!((all(&lookups).await, resolver.counts()), (vec!["2".to_owned()], (2, 2)));
}

#[tokio::test(start_paused = true)]
async fn rule_36_a_stale_answer_is_used_when_lookups_fail_or_take_long() {
    let (resolver, lookups) = lookups();
    let mut asked = ask(&lookups);
    resolver.found(0, 1);
    resolver.end(0);
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("1"), some("end")));
    pass(1_000).await;
    // The refresh fails at once.
    let mut asked = ask(&lookups);
    settle().await;
    resolver.send(1, Err("broken".into()));
    settle().await;
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("1"), some("end")));
    // Nobody waits for a while, and nothing is asked.
    pass(9).await;
    assert_eq!((all(&lookups).await, resolver.counts().0), (vec!["1".to_owned()], 2));
    // The refresh takes long.
    pass(1).await;
    let begun = time::now();
    assert_eq!(all(&lookups).await, ["1"]);
    assert_eq!((time::now() - begun).as_millis(), 1_800);
    // The refresh goes on, and its answer is used.
    resolver.found(2, 3);
    resolver.end(2);
    settle().await;
    assert_eq!((all(&lookups).await, resolver.counts()), (vec!["3".to_owned()], (3, 3)));
    // A refresh that never ends is given up.
    pass(1_000).await;
    assert_eq!(all(&lookups).await, ["3"]);
    pass(10).await;
    assert_eq!(resolver.counts(), (4, 4));
    // An answer that comes in time replaces the stale answer.
    pass(100).await;
    let mut asked = ask(&lookups);
    settle().await;
    resolver.found(4, 5);
    resolver.end(4);
    settle().await;
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("5"), some("end")));
    // After an hour, there is no stale answer.
    pass(3_700).await;
    let mut asked = ask(&lookups);
    resolver.send(5, Err("broken".into()));
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("broken"), some("end")));
}

#[tokio::test(start_paused = true)]
async fn rule_36_no_such_name_is_kept_for_a_short_time_and_a_failure_is_not_kept() {
    let (resolver, lookups) = lookups();
    let mut asked = ask(&lookups);
    resolver.send(0, Ok(Answer::default().valid_for(Duration::from_secs(900))));
    resolver.end(0);
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some(""), some("end")));
    pass(9).await;
    assert_eq!((all(&lookups).await, resolver.counts().0), (vec![String::new()], 1));
    pass(1).await;
    // All tasks that wait get the failure. The next task asks again.
    let mut both = [ask(&lookups), ask(&lookups)];
    resolver.send(1, Err("broken".into()));
    for asked in &mut both {
        assert_eq!((poll(asked), poll(asked)), (some("broken"), some("end")));
    }
    let _asked = ask(&lookups);
    assert_eq!(resolver.counts().0, 3);
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_is_used_and_kept_for_a_short_time() {
    let (resolver, lookups) = lookups();
    let mut asked = ask(&lookups);
    resolver.found(0, 1);
    resolver.send(0, Err("the other half is broken".into()));
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("1"), some("the other half is broken")));
    // The cache tells that it has a half, so that nobody takes the half for the whole.
    let half = ["1", "a part of the answer is missing"].map(str::to_owned).to_vec();
    pass(4).await;
    assert_eq!((all(&lookups).await, resolver.counts().0), (half.clone(), 1));
    pass(1).await;
    assert_eq!((all(&lookups).await, resolver.counts().0), (half, 2));
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_an_answer_that_nobody_waits_for_reaches_the_cache() {
    let (resolver, lookups) = lookups();
    let mut both = vec![ask(&lookups), ask(&lookups)];
    resolver.found(0, 1);
    assert_eq!(poll(&mut both[0]), some("1"));
    drop(both);
    settle().await;
    assert_eq!(resolver.counts(), (1, 0), "a task goes on");
    // A newcomer joins the task.
    let mut asked: Asked = Box::pin(lookups.ask("a.test", Family::Both, LONG));
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("1"), None));
    resolver.found(0, 2);
    resolver.end(0);
    settle().await;
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("2"), some("end")));
    assert_eq!((all(&lookups).await, resolver.counts()), (vec!["1 2".to_owned()], (1, 1)));

    // If the rest never comes, the task ends, and what was found is kept for a short time.
    let mut asked = ask_for(&lookups, "b.test", Family::Both);
    resolver.found(1, 1);
    assert_eq!(poll(&mut asked), some("1"));
    drop(asked);
    pass(11).await;
    assert_eq!(resolver.counts(), (2, 2));
    assert!(lookups.is_known("b.test", Family::Both));
    assert!(lookups.shared.lock().running.is_empty());
}

#[tokio::test]
async fn a_task_that_completes_a_lookup_ends_with_its_runtime() {
    let (resolver, lookups) = lookups();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let inside = runtime.enter();
    let mut asked = ask(&lookups);
    resolver.found(0, 1);
    assert_eq!(poll(&mut asked), some("1"));
    drop(asked);
    drop(inside);
    runtime.shutdown_background();
    assert_eq!(resolver.counts(), (1, 1));
    assert!(lookups.shared.lock().running.is_empty());
}

#[tokio::test]
async fn other_names_and_families_are_other_lookups() {
    let (resolver, lookups) = lookups();
    let asked = [("a.test", Family::Both), ("b.test", Family::Both), ("a.test", Family::V4)];
    let _all = asked.map(|(name, family)| ask_for(&lookups, name, family));
    assert_eq!(resolver.counts(), (3, 0));
}

#[tokio::test]
async fn a_follower_polls_the_lookup_of_a_dropped_leader() {
    let (resolver, lookups) = lookups();
    let mut all: Vec<_> = (0..4).map(|_| ask(&lookups)).collect();
    // The loop drops a follower, the leader, and a follower.
    for at in [2, 0, 0] {
        drop(all.remove(at));
    }
    assert_eq!(resolver.counts(), (1, 0), "the lookup goes on");
    resolver.found(0, 1);
    resolver.end(0);
    assert_eq!((poll(&mut all[0]), poll(&mut all[0])), (some("1"), some("end")));
    assert_eq!(resolver.counts(), (1, 1));
}

/// The lookup of a leader that was dropped may never end.
#[tokio::test]
async fn a_task_that_asks_after_the_leader_was_dropped_begins_a_new_lookup() {
    let (resolver, lookups) = lookups();
    let leader = ask(&lookups);
    let mut follower = ask(&lookups);
    drop(leader);
    let mut newcomer = ask(&lookups);
    assert_eq!((poll(&mut follower), resolver.counts()), (None, (2, 0)));
    resolver.found(0, 1);
    resolver.end(0);
    assert_eq!((poll(&mut follower), poll(&mut follower)), (some("1"), some("end")));
    resolver.found(1, 2);
    resolver.end(1);
    assert_eq!((poll(&mut newcomer), poll(&mut newcomer)), (some("2"), some("end")));
    assert!(lookups.shared.lock().running.is_empty());
}

#[tokio::test]
async fn a_lookup_that_nobody_waits_for_is_dropped() {
    let (resolver, lookups) = lookups();
    let all = [0; 3].map(|_| ask(&lookups));
    drop(all);
    assert_eq!(resolver.counts(), (1, 1));
    assert!(lookups.shared.lock().running.is_empty());
}

#[tokio::test]
async fn followers_are_woken() {
    let (resolver, lookups) = lookups();
    let spawn = || {
        let lookups = lookups.clone();
        tokio::spawn(async move { all(&lookups).await })
    };
    let leader = spawn();
    tokio::task::yield_now().await;
    let followers = [spawn(), spawn(), spawn()];
    tokio::task::yield_now().await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    resolver.found(0, 1);
    resolver.end(0);
    for follower in followers {
        let woken = tokio::time::timeout(Duration::from_secs(20), follower).await;
        assert_eq!(woken.expect("a follower is woken").unwrap(), ["1"]);
    }
    assert_eq!(resolver.counts(), (1, 1));
}

#[tokio::test]
async fn a_panic_reaches_only_the_leader() {
    let (resolver, lookups) = lookups();
    let mut leader = ask(&lookups);
    let mut follower = ask(&lookups);
    resolver.send(0, Err("panic".into()));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(&mut leader))).unwrap_err();
    drop(leader);
    assert_eq!(poll(&mut follower), None);
    resolver.found(1, 2);
    assert_eq!(poll(&mut follower), some("2"), "the follower began a new lookup");
}

/// The stream of a lookup panics when it is dropped, at the end of the lookup.
#[tokio::test]
async fn a_panic_at_the_end_of_a_lookup_leaves_no_follower_behind() {
    let (resolver, lookups) = lookups();
    let spawn = || {
        let lookups = lookups.clone();
        tokio::spawn(async move { all(&lookups).await })
    };
    let (leader, follower) = (spawn(), spawn());
    settle().await;
    resolver.drop_panics.store(true, Ordering::SeqCst);
    resolver.found(0, 1);
    settle().await;
    resolver.end(0);
    leader.await.unwrap_err();
    let woken = tokio::time::timeout(Duration::from_secs(20), follower).await;
    assert_eq!(woken.expect("the follower is woken").unwrap(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_change_of_the_network_nothing_from_before_is_used() {
    let (resolver, lookups) = lookups();
    let mut asked = ask(&lookups);
    resolver.found(0, 1);
    resolver.end(0);
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("1"), some("end")));
    lookups.network_changed();
    assert_eq!(resolver.changes.load(Ordering::SeqCst), 1);
    let mut old = ask(&lookups);
    assert_eq!(resolver.counts().0, 2, "the cache is empty");
    lookups.network_changed();
    let mut new = ask(&lookups);
    assert_eq!(resolver.counts().0, 3, "no task joins a lookup from before");
    resolver.found(1, 2);
    resolver.end(1);
    assert_eq!((poll(&mut old), poll(&mut old)), (some("2"), some("end")));
    assert!(!lookups.is_known("a.test", Family::Both));
    resolver.found(2, 3);
    resolver.end(2);
    assert_eq!((poll(&mut new), poll(&mut new)), (some("3"), some("end")));
    assert_eq!(all(&lookups).await, ["3"]);
}

/// Returns a runtime whose clock advances when all its tasks wait.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// A runtime that is parked does not poll its lookup. The others wait for a second.
#[test]
fn a_parked_runtime_delays_others_for_a_second_at_most() {
    let (resolver, lookups) = lookups();
    let (parked, running) = (runtime(), runtime());
    let inside = parked.enter();
    let _leader = ask(&lookups);
    drop(inside);
    running.block_on(async {
        let begun = time::now();
        let both = [0; 2].map(|_| {
            let lookups = lookups.clone();
            tokio::spawn(async move { all(&lookups).await })
        });
        while resolver.counts().0 < 2 {
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let waited = (time::now() - begun).as_millis();
        assert!((1_000..1_010).contains(&waited), "{waited} ms");
        resolver.found(1, 2);
        resolver.end(1);
        for asked in both {
            assert_eq!(asked.await.unwrap(), ["2"]);
        }
        assert_eq!(resolver.counts(), (2, 1), "the tasks of one runtime share the second lookup");
        assert_eq!(all(&lookups).await, ["2"]);
    });
}

#[test]
fn runtimes_share_a_lookup_and_take_it_over() {
    let (resolver, lookups) = lookups();
    let (one, other) = (runtime(), runtime());
    let ask_on = |runtime: &tokio::runtime::Runtime| {
        let _inside = runtime.enter();
        ask(&lookups)
    };
    let (mut leader, mut follower) = (ask_on(&one), ask_on(&other));
    assert_eq!(resolver.counts().0, 1);
    resolver.found(0, 1);
    assert_eq!((poll(&mut leader), poll(&mut follower)), (some("1"), some("1")));
    // The lookup of the leader belongs to the leader's runtime, so that the follower begins a new lookup.
    drop(leader);
    let inside = other.enter();
    assert_eq!((poll(&mut follower), resolver.counts()), (None, (2, 1)));
    resolver.found(1, 2);
    resolver.end(1);
    assert_eq!((poll(&mut follower), poll(&mut follower)), (some("2"), some("end")));
    drop(inside);
    let told = one.block_on(all(&lookups));
    assert_eq!(told, ["1 2"]);
}

/// A lookup takes long. The tasks of each other runtime share one lookup.
#[test]
fn a_slow_lookup_makes_at_most_one_further_lookup_for_each_runtime() {
    let (resolver, lookups) = lookups();
    let (slow, one, other) = (runtime(), runtime(), runtime());
    let ask_on = |runtime: &tokio::runtime::Runtime| {
        let _inside = runtime.enter();
        ask(&lookups)
    };
    let _leader = ask_on(&slow);
    let mut pairs = [0; 10].map(|_| [(&one, ask_on(&one)), (&other, ask_on(&other))]);
    for seconds in 1..10 {
        for runtime in [&one, &other] {
            runtime.block_on(pass(1));
        }
        for (runtime, asked) in pairs.iter_mut().flatten() {
            let _inside = runtime.enter();
            assert_eq!(poll(asked), None);
        }
        assert!(resolver.counts().0 <= 3, "{} lookups after {seconds} s", resolver.counts().0);
    }
    assert!(resolver.counts().0 > 1);
}

/// A resolver whose stream always has another part.
struct Endless(fn(u32) -> Option<std::net::SocketAddr>);

impl Resolve for Endless {
    fn resolve(&self, _: &str, _: Family) -> Resolving {
        unreachable!("the client asks for the parts")
    }

    fn resolve_stream(&self, _: &str, _: Family) -> Parts {
        let part = self.0;
        let next = move |n| std::future::ready(Some((Ok(Answer::new(part(n))), n + 1)));
        Box::pin(stream::unfold(0, next))
    }
}

/// An answer without an end takes neither all memory nor a thread for ever.
#[tokio::test]
async fn an_endless_answer_is_cut() {
    let other = |n: u32| Some(std::net::SocketAddr::from((std::net::Ipv4Addr::from_bits(n), 0)));
    for part in [other as fn(u32) -> _, |_| None] {
        let lookups = Lookups::new(Arc::new(Endless(part)), Ttl::default());
        let mut parts = all(&lookups).await;
        let last = "the resolver's answer is too long: more than 1024 addresses or parts";
        assert_eq!((parts.pop().as_deref(), parts.len()), (Some(last), 1_024));
    }
}

/// A lookup that may take less than two seconds leaves time for a stale answer, and for a lookup of its own.
#[tokio::test(start_paused = true)]
async fn a_short_time_limit_leaves_time_for_what_comes_after_the_wait() {
    let (resolver, lookups) = lookups();
    let mut asked = ask(&lookups);
    resolver.found(0, 1);
    resolver.end(0);
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some("1"), some("end")));
    pass(1_000).await;
    let begun = time::now();
    let mut asked: Asked = Box::pin(lookups.ask("a.test", Family::Both, Duration::from_secs(1)));
    assert_eq!(shown(stream::next(&mut asked).await), "1");
    assert_eq!((time::now() - begun).as_millis(), 500);
}

/// Addresses of the other family are no answer: they are not kept as long as one.
#[tokio::test(start_paused = true)]
async fn an_answer_of_the_other_family_is_kept_for_a_short_time() {
    let (resolver, lookups) = lookups();
    let mut asked = ask_for(&lookups, "a.test", Family::V6);
    resolver.found(0, 1);
    resolver.end(0);
    assert_eq!((poll(&mut asked), poll(&mut asked)), (some(""), some("end")));
    assert!(lookups.is_known("a.test", Family::V6));
    pass(10).await;
    assert!(!lookups.is_known("a.test", Family::V6));
}

/// The cache holds a number of names, so that a name must not be of any length.
#[tokio::test]
async fn a_name_that_is_too_long_for_dns_is_not_kept() {
    let (resolver, lookups) = lookups();
    for (at, length, is_kept) in [(0, 255, true), (1, 256, false)] {
        let name = "a".repeat(length);
        let mut asked = ask_for(&lookups, &name, Family::Both);
        resolver.found(at, 1);
        resolver.end(at);
        assert_eq!((poll(&mut asked), poll(&mut asked)), (some("1"), some("end")));
        assert_eq!(lookups.is_known(&name, Family::Both), is_kept, "{length}");
    }
}
