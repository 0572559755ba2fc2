//! Lookups that many tasks share, and the cache in front of the lookups.
//!
//! The first task that asks for a name that is not in the cache is the leader, which polls the lookup. Tasks that ask
//! during the lookup are followers, which get each part of the answer when the leader does. If the leader is dropped, one
//! follower becomes the leader. Tasks of all runtimes share a lookup, but a lookup is only polled on the runtime on which
//! it began, and a follower of another runtime waits for at most a second, because the leader's runtime may be parked. The
//! followers of one runtime then share a lookup of their own.
//!
//! ```text
//! leader      asks ---- polls ---- dropped: leaves the lookup, wakes the followers
//! follower         asks ---- waits ......... leads: polls ---- answer: all are woken, the cache keeps the answer
//! newcomer                                        asks: leads a lookup of its own, if nothing was found yet
//! ```
//!
//! A task that asks after the leader was dropped begins a new lookup, because the leader may have been dropped for
//! waiting too long, and the old lookup may never end. If a part of the answer was found and nobody waits for the rest,
//! a task of its own completes the lookup within a time limit, so that the cache gets the whole answer. A task of its own
//! also refreshes a stale answer. There is at most one such task for each lookup. When the client is dropped, these tasks
//! end.
//!
//! Invariants: while a lock is held, no code of the resolver runs and no value of the resolver is dropped. No two locks
//! are held at the same time.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_core::Stream;
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::cache::{Cache, Content, Found, REFRESH_LIMIT, Ttl};
use super::{Answer, Family, OnLookup, Parts, Resolve, stream};
use crate::error::BoxError;
use crate::time;

/// A resolver in front of which stands a cache, and which looks the same name up only once at a time.
pub(super) struct Lookups {
    shared: Arc<Shared>,
}

/// A part of an answer, or the failure of a lookup. All tasks that wait for a lookup get the same failure.
pub(super) type Outcome = Result<Answer, Failure>;

type Failure = Arc<dyn StdError + Send + Sync>;

/// An answer in the cache. The cache does not have the error of the resolver, because the cache drops answers while a lock
/// is held.
#[derive(Clone)]
struct Known {
    answer: Answer,
    /// Whether a part of the answer is missing.
    is_half: bool,
}

struct Shared {
    resolver: Arc<dyn Resolve>,
    /// Function that measures the lookups.
    on_lookup: Option<OnLookup>,
    state: Mutex<State>,
    /// Whether the [`Lookups`] were dropped, so that nobody asks the cache any more.
    is_over: AtomicBool,
    /// Wakes the tasks of lookups when the [`Lookups`] are dropped.
    ended: Notify,
}

struct State {
    cache: Cache<Question, Known>,
    /// Lookups under way, which newcomers join.
    running: HashMap<Question, Arc<Lookup>>,
}

/// Key of a lookup: equal questions share one lookup and one answer.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    name: Box<str>,
    family: Family,
}

/// A lookup, and the tasks that wait for the lookup.
struct Lookup {
    /// Epoch of the cache in which the lookup began.
    epoch: u64,
    progress: Mutex<Progress>,
    changed: Notify,
}

#[derive(Default)]
struct Progress {
    /// Time at which the lookup began, until its end is reported.
    began: Option<Instant>,
    /// Number of tasks that take part, including the leader.
    members: usize,
    /// Runtime of the leader. The inner `None` stands for no runtime.
    leader: Option<Option<Id>>,
    /// Unfinished stream of a leader that was dropped, and the leader's runtime.
    left: Option<(Option<Id>, Parts)>,
    /// Parts of the answer that were found so far.
    parts: Vec<Answer>,
    /// The end of the lookup.
    end: Option<Result<(), Failure>>,
}

impl Lookups {
    pub(super) fn new(resolver: Arc<dyn Resolve>, ttl: Ttl) -> Self {
        Self::of(resolver, ttl, None)
    }

    /// Returns the resolver with an empty cache that has these bounds, and with the function that measures its lookups.
    pub(super) fn with(self, ttl: Ttl, on_lookup: Option<OnLookup>) -> Self {
        Self::of(Arc::clone(&self.shared.resolver), ttl, on_lookup)
    }

    fn of(resolver: Arc<dyn Resolve>, ttl: Ttl, on_lookup: Option<OnLookup>) -> Self {
        let state = Mutex::new(State { cache: Cache::new(ttl), running: HashMap::new() });
        let (is_over, ended) = (AtomicBool::new(false), Notify::new());
        Self { shared: Arc::new(Shared { resolver, on_lookup, state, is_over, ended }) }
    }

    /// Looks up `name` and returns the parts of the answer: from the cache, from a lookup that is under way, or from a new
    /// lookup. The caller drops the stream after the time `limit`, so that no wait takes more than half of this time.
    pub(super) fn ask(
        &self,
        name: &str,
        family: Family,
        limit: Duration,
    ) -> impl Stream<Item = Outcome> + Send + Unpin + use<> {
        let question = Question { name: name.into(), family };
        let asking = Asking::New(Arc::clone(&self.shared), question, limit);
        stream::unfold(asking, Asking::next)
    }

    /// Whether the cache has an answer that is used without waiting for a lookup.
    pub(super) fn is_known(&self, name: &str, family: Family) -> bool {
        let question = Question { name: name.into(), family };
        let now = time::now();
        self.shared.lock().cache.is_known(&question, now)
    }

    /// Empties the cache, and tells the resolver that the machine is in another network now. No task joins a lookup that
    /// began before.
    pub(super) fn network_changed(&self) {
        let mut state = self.shared.lock();
        state.cache.clear();
        let running = std::mem::take(&mut state.running);
        drop(state);
        drop(running);
        self.shared.resolver.network_changed();
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.ended.notify_waiters();
    }
}

/// A task that asks for a name.
enum Asking {
    New(Arc<Shared>, Question, Duration),
    Member(Box<Member>),
    /// The part that was returned last is all that is known, and a part is missing.
    Half,
    Ended,
}

impl Asking {
    /// Returns the next part of the answer.
    async fn next(self) -> Option<(Outcome, Self)> {
        let mut member = match self {
            Self::New(shared, question, limit) => match shared.begin(&question, limit) {
                Begun::Known(known) => return Some(Self::known(known)),
                Begun::Joined(member) => member,
            },
            Self::Member(member) => member,
            Self::Half => {
                let error = BoxError::from("a part of the answer is missing");
                return Some((Err(error.into()), Self::Ended));
            }
            Self::Ended => return None,
        };
        match member.next().await {
            Next::Part(answer) => Some((Ok(answer), Self::Member(member))),
            Next::Known(known) => Some(Self::known(known)),
            Next::Failed(error) => Some((Err(error), Self::Ended)),
            Next::End => None,
        }
    }

    fn known(Known { answer, is_half }: Known) -> (Outcome, Self) {
        (Ok(answer), if is_half { Self::Half } else { Self::Ended })
    }
}

/// First step of a task that asks.
enum Begun {
    /// The cache has the answer.
    Known(Known),
    /// The task takes part in a lookup.
    Joined(Box<Member>),
}

impl Shared {
    /// Returns the answer of the cache, or a member of a lookup.
    fn begin(self: &Arc<Self>, question: &Question, limit: Duration) -> Begun {
        let now = time::now();
        let mut state = self.lock();
        let (stale, wait) = match state.cache.find(question, now) {
            Found::Fresh(known) => return Begun::Known(known),
            Found::Nothing => (None, Duration::ZERO),
            Found::Stale { value, begin, wait } => {
                let is_running = state.running.contains_key(question);
                let refresh = (begin && !is_running).then(|| state.join(question, now));
                drop(state);
                if let Some(lookup) = refresh {
                    let mut refresh = Member::of(self, question, lookup, REFRESH_LIMIT);
                    refresh.lead();
                    refresh.complete();
                }
                state = self.lock();
                // Without a lookup to wait for, the stale answer is all there is.
                if wait.is_zero() || !state.running.contains_key(question) {
                    return Begun::Known(value);
                }
                (Some(value), wait)
            }
        };
        let lookup = state.join(question, now);
        drop(state);
        let mut member = Box::new(Member::of(self, question, lookup, limit));
        member.stale = stale.map(|known| (known, now + wait.min(limit / 2)));
        Begun::Joined(member)
    }

    /// Reports the end of a lookup. `began` is `None` if the end was reported before.
    fn report(&self, question: &Question, began: Option<Instant>, now: Instant, error: Option<&'static str>) {
        if let (Some(on_lookup), Some(began)) = (&self.on_lookup, began) {
            on_lookup.call(&question.name, now.saturating_duration_since(began), error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the lookup of `question` that is under way, or a new one.
    fn join(&mut self, question: &Question, now: Instant) -> Arc<Lookup> {
        let epoch = self.cache.epoch();
        Arc::clone(self.running.entry(question.clone()).or_insert_with(|| Lookup::new(epoch, now)))
    }

    fn is_running(&self, question: &Question, lookup: &Arc<Lookup>) -> bool {
        self.running.get(question).is_some_and(|known| Arc::ptr_eq(known, lookup))
    }
}

impl Lookup {
    fn new(epoch: u64, now: Instant) -> Arc<Self> {
        let progress = Progress { began: Some(now), ..Progress::default() };
        Arc::new(Self { epoch, progress: Mutex::new(progress), changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that takes part in a lookup. Its drop leaves the lookup to the other members.
struct Member {
    shared: Arc<Shared>,
    question: Question,
    lookup: Arc<Lookup>,
    /// Number of parts of the answer that this task has returned.
    read: usize,
    is_leader: bool,
    /// Stream that the leader polls.
    parts: Option<Parts>,
    /// Time within which this task has to have an answer.
    limit: Duration,
    /// Time until which this task waits for a leader of another runtime.
    patience: Option<Instant>,
    /// Answer that is used if no other answer comes until this time.
    stale: Option<(Known, Instant)>,
    /// Whether the member is a task that completes or refreshes.
    is_completing: bool,
}

/// What a member returns next.
enum Next {
    Part(Answer),
    /// The stale answer.
    Known(Known),
    Failed(Failure),
    End,
}

/// What a member does next.
enum Turn {
    Part(Answer),
    End(Result<(), Failure>),
    Poll,
    Wait { is_foreign: bool },
}

impl Member {
    fn of(shared: &Arc<Shared>, question: &Question, lookup: Arc<Lookup>, limit: Duration) -> Self {
        lookup.lock().members += 1;
        Self {
            shared: Arc::clone(shared),
            question: question.clone(),
            lookup,
            read: 0,
            is_leader: false,
            parts: None,
            limit,
            patience: None,
            stale: None,
            is_completing: false,
        }
    }

    async fn next(&mut self) -> Next {
        let Some((_, deadline)) = self.stale else { return self.next_part().await };
        match timeout_at(deadline.into(), self.next_part()).await {
            Err(_) | Ok(Next::Failed(_)) => match self.stale.take() {
                Some((stale, _)) => Next::Known(stale),
                None => Next::End,
            },
            Ok(next) => {
                if matches!(&next, Next::Part(part) if !part.addresses.is_empty()) {
                    self.stale = None;
                }
                next
            }
        }
    }

    /// Returns the next part of the answer, as the leader or as a follower.
    async fn next_part(&mut self) -> Next {
        loop {
            let lookup = Arc::clone(&self.lookup);
            let mut changed = pin!(lookup.changed.notified());
            // The notification is enabled before the turn is read, so that a change which comes right after the read
            // still wakes the task.
            changed.as_mut().enable();
            match self.turn() {
                Turn::Part(answer) => return Next::Part(answer),
                Turn::End(Ok(())) => return Next::End,
                Turn::End(Err(error)) => return Next::Failed(error),
                Turn::Poll => match self.poll_part().await {
                    Some(Ok(part)) => self.publish(part),
                    Some(Err(error)) => self.end(Err(error.into())),
                    None => self.end(Ok(())),
                },
                Turn::Wait { is_foreign: false } => changed.await,
                Turn::Wait { is_foreign: true } => {
                    let wait = PATIENCE.min(self.limit / 2);
                    let until = *self.patience.get_or_insert_with(|| time::after(time::now(), wait));
                    if timeout_at(until.into(), changed).await.is_err() {
                        self.move_on();
                    }
                }
            }
        }
    }

    /// Decides what this task does next. If the lookup has no leader, this task becomes the leader.
    fn turn(&mut self) -> Turn {
        let progress = self.lookup.lock();
        if let Some(part) = progress.parts.get(self.read) {
            self.read += 1;
            return Turn::Part(part.clone());
        }
        if let Some(end) = &progress.end {
            return Turn::End(end.clone());
        }
        match progress.leader {
            Some(_) if self.is_leader => Turn::Poll,
            Some(runtime) => Turn::Wait { is_foreign: runtime != here() },
            None => {
                drop(progress);
                self.lead();
                if self.is_leader { Turn::Poll } else { Turn::Wait { is_foreign: false } }
            }
        }
    }

    /// Makes this task the leader if there is none, and takes over the stream that an earlier leader left.
    fn lead(&mut self) {
        let mut progress = self.lookup.lock();
        if progress.leader.is_some() || progress.end.is_some() {
            return;
        }
        progress.leader = Some(here());
        let left = progress.left.take();
        drop(progress);
        self.is_leader = true;
        // A stream of another runtime is dropped.
        self.parts = left.filter(|(runtime, _)| *runtime == here()).map(|(_, parts)| parts);
        if self.parts.is_none() {
            self.parts = Some(self.shared.resolver.resolve_stream(&self.question.name, self.question.family));
        }
    }

    /// Polls the stream of the leader.
    async fn poll_part(&mut self) -> Option<Result<Answer, BoxError>> {
        poll_fn(|cx| {
            // The stream is taken out while it is polled, so that a stream that panics is not polled again. After a panic,
            // a follower begins a new lookup.
            let Some(mut parts) = self.parts.take() else { return Poll::Pending };
            let polled = parts.as_mut().poll_next(cx);
            self.parts = Some(parts);
            polled
        })
        .await
    }

    /// Adds a part to the answer. Ends a lookup whose answer is too long.
    fn publish(&mut self, mut part: Answer) {
        part.addresses.retain(|address| self.question.family.includes(address.ip()));
        let mut progress = self.lookup.lock();
        let found: usize = progress.parts.iter().map(|part| part.addresses.len()).sum();
        let is_too_long = found + part.addresses.len() > LONGEST_ANSWER;
        part.addresses.truncate(LONGEST_ANSWER - found);
        progress.parts.push(part);
        let has_too_many = progress.parts.len() >= LONGEST_ANSWER;
        drop(progress);
        self.lookup.changed.notify_waiters();
        if is_too_long || has_too_many {
            let error =
                format!("the resolver's answer is too long: more than {LONGEST_ANSWER} addresses or parts");
            self.end(Err(BoxError::from(error).into()));
        }
    }

    /// Ends the lookup, and gives the answer to the cache.
    fn end(&mut self, end: Result<(), Failure>) {
        let has_failed = end.is_err();
        let parts = self.parts.take();
        let mut progress = self.lookup.lock();
        progress.end = Some(end);
        let began = progress.began.take();
        let mut whole = Answer::default();
        progress.parts.iter().for_each(|part| whole.add(part.clone()));
        drop(progress);
        // A later leader may have found the same addresses again.
        let mut known = Vec::with_capacity(whole.addresses.len());
        whole.addresses.retain(|address| {
            !known.contains(address) && {
                known.push(*address);
                true
            }
        });

        let now = time::now();
        let epoch = self.lookup.epoch;
        let question = self.question.clone();
        let mut state = self.shared.lock();
        let ended = state.is_running(&question, &self.lookup).then(|| state.running.remove(&question));
        let error = match (whole.addresses.is_empty(), has_failed) {
            (true, true) => Some(OnLookup::FAILED),
            (true, false) => Some(OnLookup::NOT_FOUND),
            (false, _) => None,
        };
        let content = match (whole.addresses.is_empty(), has_failed) {
            (true, true) => None,
            (true, false) => Some(Content::Nothing),
            (false, true) => Some(Content::Partial),
            (false, false) => Some(Content::Whole),
        };
        let valid_for = whole.valid_for;
        let known = Known { answer: whole, is_half: has_failed };
        match content {
            None => state.cache.fail(&question, epoch, now),
            Some(_) if question.name.len() > LONGEST_NAME => {}
            Some(content) => state.cache.keep(question, known, content, valid_for, epoch, now),
        }
        drop(state);
        // The followers are woken first, because the drop of a stream may panic.
        self.lookup.changed.notify_waiters();
        self.shared.report(&self.question, began, now, error);
        drop((ended, parts));
    }

    /// Leaves a lookup whose leader is on another runtime and does not answer, for a lookup of this runtime.
    fn move_on(&mut self) {
        let now = time::now();
        let mut state = self.shared.lock();
        let is_same = state.is_running(&self.question, &self.lookup);
        let old = is_same.then(|| state.running.remove(&self.question));
        let lookup = state.join(&self.question, now);
        drop(state);
        let mut member = Self::of(&self.shared, &self.question, lookup, self.limit);
        member.stale = self.stale.take();
        drop(old);
        // The replaced member leaves the earlier lookup.
        *self = member;
    }

    /// Completes the lookup in a task of its own. The task ends early if the owner of the lookups is dropped, because
    /// nobody asks the cache any more.
    fn complete(mut self) {
        self.is_completing = true;
        self.read = 0;
        let deadline = time::after(time::now(), REFRESH_LIMIT);
        drop(tokio::spawn(async move {
            let shared = Arc::clone(&self.shared);
            let mut ended = pin!(shared.ended.notified());
            // The notification is enabled before the flag is read, so that no end is missed.
            ended.as_mut().enable();
            if shared.is_over.load(Ordering::SeqCst) {
                return;
            }
            let is_late = {
                let all = async { while let Next::Part(_) = self.next_part().await {} };
                let mut all = pin!(timeout_at(deadline.into(), all));
                poll_fn(|cx| match ended.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(false),
                    Poll::Pending => all.as_mut().poll(cx).map(|in_time| in_time.is_err()),
                })
                .await
            };
            if is_late && self.is_leader {
                let error = BoxError::from(format!("the lookup did not end within {REFRESH_LIMIT:?}"));
                self.end(Err(error.into()));
            }
        }));
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut progress = self.lookup.lock();
        progress.members -= 1;
        let has_ended = progress.end.is_some();
        if self.is_leader && !has_ended {
            let runtime = progress.leader.take().flatten();
            progress.left = self.parts.take().map(|parts| (runtime, parts));
        }
        let has_found = progress.parts.iter().any(|part| !part.addresses.is_empty());
        let is_last = progress.members == 0;
        let can_complete =
            progress.left.as_ref().is_some_and(|(runtime, _)| runtime.is_some() && *runtime == here());
        let left = if is_last && !(has_found && can_complete) { progress.left.take() } else { None };
        drop(progress);
        if has_ended {
            return;
        }
        if is_last && has_found && can_complete && !self.is_completing {
            let mut member = Self::of(&self.shared, &self.question, Arc::clone(&self.lookup), REFRESH_LIMIT);
            member.lead();
            return member.complete();
        }
        if is_last || self.is_leader && !has_found {
            let now = time::now();
            let mut state = self.shared.lock();
            let is_running = state.is_running(&self.question, &self.lookup);
            let removed = is_running.then(|| state.running.remove(&self.question));
            if is_last {
                state.cache.fail(&self.question, self.lookup.epoch, now);
            }
            drop(state);
            drop((removed, left));
            if is_last {
                let began = self.lookup.lock().began.take();
                self.shared.report(&self.question, began, now, Some(OnLookup::CANCELLED));
            }
        }
        if self.is_leader {
            self.lookup.changed.notify_waiters();
        }
    }
}

/// Returns the current runtime.
fn here() -> Option<Id> {
    Handle::try_current().map(|handle| handle.id()).ok()
}

/// Maximum number of addresses of an answer, and maximum number of its parts. A resolver that never ends would otherwise
/// take all memory, and a dial could try very many addresses of one host.
const LONGEST_ANSWER: usize = 1024;

/// Maximum length of a name that the cache keeps. DNS has no longer names.
const LONGEST_NAME: usize = 255;

/// Longest time for which a task waits for a lookup of another runtime. A runtime that runs polls its lookup all the time, so
/// that a longer wait means a slow lookup or a runtime that does not run.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "lookups_tests.rs"]
mod tests;
