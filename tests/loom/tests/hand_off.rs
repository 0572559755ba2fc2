//! Models of the parties that meet at a hand-off cell. Loom plays each model in every interleaving of its threads.
//!
//! A gift cannot be copied, and the cell cannot make a gift, so two parties never have the same gift. The models
//! check that one party has the gift. A waiter sleeps until it is woken. If a wake-up is lost, the waiter sleeps for
//! ever, and loom reports a deadlock. Each model lists all outcomes that its interleavings must show, so that no
//! model passes because a race did not happen.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;
use std::sync::Arc as StdArc;
use std::sync::Mutex as StdMutex;
use std::task::{Context, Poll, Wake, Waker};

use handclasp_loom::Cell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// The value that is handed over. Each gift of a model has a different name.
#[derive(Debug, PartialEq)]
struct Gift(&'static str);

/// Plays a model in every interleaving, and fails unless the set of its outcomes equals `expected`.
#[track_caller]
fn outcomes(expected: &[&str], model: impl Fn() -> String + Send + Sync + 'static) {
    let seen = StdArc::new(StdMutex::new(Vec::new()));
    let all = seen.clone();
    loom::model(move || {
        let outcome = model();
        let mut all = all.lock().unwrap();
        if !all.contains(&outcome) {
            all.push(outcome);
        }
    });
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort();
    assert_eq!(seen, expected);
}

/// A thread that waits like a task: it polls, and sleeps until it is woken.
struct Sleeper {
    thread: thread::Thread,
    wakes: AtomicUsize,
}

impl Sleeper {
    fn new() -> StdArc<Self> {
        StdArc::new(Self { thread: thread::current(), wakes: AtomicUsize::new(0) })
    }

    fn poll<G>(self: &StdArc<Self>, cell: &Cell<G>) -> Poll<G> {
        cell.poll_take(&mut Context::from_waker(&Waker::from(self.clone())))
    }

    /// Waits for the delivered value and takes it. Returns the value, and the number of times that the thread slept.
    fn take<G>(self: &StdArc<Self>, cell: &Cell<G>) -> (G, usize) {
        let mut slept = 0;
        loop {
            match self.poll(cell) {
                Poll::Ready(gift) => return (gift, slept),
                Poll::Pending => thread::park(),
            }
            slept += 1;
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }
}

impl Wake for Sleeper {
    fn wake(self: StdArc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn give(cell: &Arc<Cell<Gift>>, name: &'static str) -> thread::JoinHandle<Option<Gift>> {
    let cell = cell.clone();
    thread::spawn(move || cell.deliver(Gift(name)).err())
}

#[test]
fn rule_07_a_gift_that_comes_while_its_waiter_leaves_is_with_one() {
    outcomes(&["the giver", "the waiter"], || {
        let cell = Arc::new(Cell::new());
        let giver = give(&cell, "a");
        let left = cell.leave();
        let back = giver.join().unwrap();
        assert_eq!(cell.leave(), None, "the cell is empty");
        match (left, back) {
            (Some(Gift("a")), None) => "the waiter".to_owned(),
            (None, Some(Gift("a"))) => "the giver".to_owned(),
            other => panic!("one of them has the gift: {other:?}"),
        }
    });
}

/// A watch withdraws a gift while its waiter takes it. Exactly one of the two has the gift. The waiter gets either
/// the gift or the value `instead`.
#[test]
fn rule_09_a_gift_that_is_withdrawn_while_it_is_taken_is_with_one() {
    outcomes(&["taken", "withdrawn"], || {
        let cell = Arc::new(Cell::new());
        assert!(cell.deliver(Gift("a")).is_ok());
        let watch = cell.clone();
        let back = thread::spawn(move || watch.withdraw(Gift("sorry")));
        let (gift, _) = Sleeper::new().take(&cell);
        assert!(cell.is_over());
        match (gift, back.join().unwrap()) {
            (Gift("a"), Err("the wait is over")) => "taken".to_owned(),
            (Gift("sorry"), Ok(Gift("a"))) => "withdrawn".to_owned(),
            other => panic!("one of them has the gift: {other:?}"),
        }
    });
}

/// One of three parties has the gift in the end: the giver, the waiter that leaves, or the watch that withdraws the
/// gift.
#[test]
fn rule_09_giver_watch_and_leaver_lose_nothing() {
    outcomes(&["the giver", "the waiter", "the watch"], || {
        let cell = Arc::new(Cell::new());
        let giver = give(&cell, "a");
        let watch = cell.clone();
        let watch = thread::spawn(move || watch.withdraw(Gift("sorry")).ok());
        let left = cell.leave();
        match (left, giver.join().unwrap(), watch.join().unwrap()) {
            (Some(Gift("a")), None, None) => "the waiter".to_owned(),
            (None, Some(Gift("a")), None) => "the giver".to_owned(),
            (Some(Gift("sorry")), None, Some(Gift("a"))) => "the watch".to_owned(),
            other => panic!("one of them has the gift: {other:?}"),
        }
    });
}

#[test]
fn rule_07_a_waiter_that_found_nothing_is_woken() {
    outcomes(&["the gift was there", "the waiter slept"], || {
        let cell = Arc::new(Cell::new());
        let giver = give(&cell, "a");
        let sleeper = Sleeper::new();
        let (gift, slept) = sleeper.take(&cell);
        assert_eq!((gift, giver.join().unwrap()), (Gift("a"), None));
        assert_eq!(sleeper.wakes(), slept, "woken once if it slept");
        assert_eq!(sleeper.poll(&cell), Poll::Pending, "the gift is taken once");
        if slept == 0 { "the gift was there".to_owned() } else { "the waiter slept".to_owned() }
    });
}

#[test]
fn rule_07_a_waiter_that_moves_to_another_task_is_woken_there() {
    outcomes(&["at first", "the first is woken", "the second is woken"], || {
        let cell = Arc::new(Cell::new());
        let giver = give(&cell, "a");
        let (first, second) = (Sleeper::new(), Sleeper::new());
        let seen = match (first.poll(&cell), second.poll(&cell)) {
            (Poll::Ready(gift), Poll::Pending) => ("at first", gift),
            (Poll::Pending, Poll::Ready(gift)) => ("the first is woken", gift),
            (Poll::Pending, Poll::Pending) => {
                thread::park();
                ("the second is woken", second.take(&cell).0)
            }
            other => panic!("there is one gift: {other:?}"),
        };
        assert_eq!((seen.1, giver.join().unwrap()), (Gift("a"), None));
        let wakes = match seen.0 {
            "at first" => (0, 0),
            "the first is woken" => (1, 0),
            _ => (0, 1),
        };
        assert_eq!((first.wakes(), second.wakes()), wakes, "{}", seen.0);
        seen.0.to_owned()
    });
}

#[test]
fn rule_07_of_two_givers_one_delivers_and_the_other_keeps_its_gift() {
    outcomes(&["a", "b"], || {
        let cell = Arc::new(Cell::new());
        let (one, other) = (give(&cell, "a"), give(&cell, "b"));
        let gift = Sleeper::new().take(&cell).0;
        match (gift, one.join().unwrap(), other.join().unwrap()) {
            (Gift("a"), None, Some(Gift("b"))) => "a".to_owned(),
            (Gift("b"), Some(Gift("a")), None) => "b".to_owned(),
            other => panic!("one each: {other:?}"),
        }
    });
}

#[test]
fn rule_07_two_givers_and_a_waiter_that_leaves_lose_nothing() {
    outcomes(&["a", "b", "neither"], || {
        let cell = Arc::new(Cell::new());
        let (one, other) = (give(&cell, "a"), give(&cell, "b"));
        let left = cell.leave();
        match (left, one.join().unwrap(), other.join().unwrap()) {
            (Some(Gift("a")), None, Some(Gift("b"))) => "a".to_owned(),
            (Some(Gift("b")), Some(Gift("a")), None) => "b".to_owned(),
            (None, Some(Gift("a")), Some(Gift("b"))) => "neither".to_owned(),
            other => panic!("one each: {other:?}"),
        }
    });
}

/// A waiter is dropped after a number of polls. The next waiter gets the gift, whether or not the dropped waiter had
/// already taken it.
#[test]
fn rule_07_a_waiter_dropped_at_any_point_passes_on_what_it_was_given() {
    for polls in 0..3 {
        let ways: &[_] = match polls {
            0 => &["back to the giver", "left"],
            _ => &["back to the giver", "left", "taken"],
        };
        outcomes(ways, move || {
            let cells = [(); 2].map(|()| Arc::new(Cell::new()));
            let giver = thread::spawn({
                let cells = cells.clone();
                move || match cells[0].deliver(Gift("a")) {
                    Ok(()) => false,
                    Err(gift) => {
                        cells[1].deliver(gift).unwrap();
                        true
                    }
                }
            });
            let quitter = thread::spawn({
                let cells = cells.clone();
                move || {
                    let waiter = Sleeper::new();
                    let taken = (0..polls).find_map(|_| match waiter.poll(&cells[0]) {
                        Poll::Ready(gift) => Some(gift),
                        Poll::Pending => None,
                    });
                    let way = if taken.is_some() { "taken" } else { "left" };
                    let gift = taken.or_else(|| cells[0].leave())?;
                    cells[1].deliver(gift).unwrap();
                    Some(way)
                }
            });
            assert_eq!(Sleeper::new().take(&cells[1]).0, Gift("a"));
            match (giver.join().unwrap(), quitter.join().unwrap()) {
                (true, None) => "back to the giver".to_owned(),
                (false, Some(way)) => way.to_owned(),
                other => panic!("one of them passed it on: {other:?}"),
            }
        });
    }
}

/// Plays a model that has a queue. Each interleaving has at most six preemptions, unless `HANDCLASP_LONG` is set.
fn play(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if std::env::var_os("HANDCLASP_LONG").is_none() {
        builder.preemption_bound = Some(6);
    }
    builder.check(model);
}

/// The part of a pool that the hand-off needs: the queue of waiters and the idle gifts, under one lock.
struct Desk {
    state: Mutex<(VecDeque<Waiter>, Vec<Gift>)>,
}

type Waiter = Arc<Cell<Gift>>;

impl Desk {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((VecDeque::new(), Vec::new())) })
    }

    /// Returns an idle gift, or a new waiter at the end of the queue.
    fn checkout(&self) -> Result<Gift, Waiter> {
        let mut state = self.state.lock().unwrap();
        if let Some(gift) = state.1.pop() {
            return Ok(gift);
        }
        let cell = Arc::new(Cell::new());
        state.0.push_back(cell.clone());
        Err(cell)
    }

    /// Gives a gift to the oldest waiter, or makes the gift idle if no waiter accepts it. The waiter is chosen under
    /// the lock, and the gift is delivered without the lock.
    fn checkin(&self, mut gift: Gift) {
        loop {
            let mut state = self.state.lock().unwrap();
            let Some(waiter) = state.0.pop_front() else { return state.1.push(gift) };
            drop(state);
            match waiter.deliver(gift) {
                Ok(()) => return,
                Err(back) => gift = back,
            }
        }
    }

    /// Removes a waiter from the queue, as a dropped request does, and passes on a gift that the waiter was given.
    fn cancel(&self, cell: &Waiter) {
        let given = cell.leave();
        self.state.lock().unwrap().0.retain(|queued| !Arc::ptr_eq(queued, cell));
        if let Some(gift) = given {
            self.checkin(gift);
        }
    }

    /// Asks for a gift, polls once, and gives up. A gift that comes with the poll is passed on.
    fn ask_and_give_up(&self) {
        match self.checkout() {
            Ok(gift) => self.checkin(gift),
            Err(cell) => {
                if let Poll::Ready(gift) = Sleeper::new().poll(&cell) {
                    return self.checkin(gift);
                }
                self.cancel(&cell);
            }
        }
    }

    /// Asks for a gift, and waits until there is one.
    fn ask(&self) -> Gift {
        match self.checkout() {
            Ok(gift) => gift,
            Err(cell) => Sleeper::new().take(&cell).0,
        }
    }

    /// Fails unless no waiter is in the queue and `kept` gifts are idle.
    fn assert_kept(&self, kept: usize) {
        let state = self.state.lock().unwrap();
        assert_eq!((state.0.len(), state.1.len()), (0, kept));
    }
}

#[test]
fn rule_07_a_gift_that_waiters_give_up_is_kept_in_the_end() {
    play(|| {
        let desk = Desk::new();
        let quitters = [(); 2].map(|()| {
            let desk = desk.clone();
            thread::spawn(move || desk.ask_and_give_up())
        });
        desk.checkin(Gift("a"));
        for quitter in quitters {
            quitter.join().unwrap();
        }
        desk.assert_kept(1);
    });
}

#[test]
fn rule_07_a_waiter_that_stays_is_served_while_another_gives_up() {
    play(|| {
        let desk = Desk::new();
        let quitter = thread::spawn({
            let desk = desk.clone();
            move || desk.ask_and_give_up()
        });
        let giver = thread::spawn({
            let desk = desk.clone();
            move || desk.checkin(Gift("a"))
        });
        let gift = desk.ask();
        quitter.join().unwrap();
        giver.join().unwrap();
        desk.assert_kept(0);
        desk.checkin(gift);
        desk.assert_kept(1);
    });
}

#[test]
fn rule_07_one_gift_serves_everyone_in_the_end() {
    play(|| {
        let desk = Desk::new();
        let others = [(); 2].map(|()| {
            let desk = desk.clone();
            thread::spawn(move || desk.checkin(desk.ask()))
        });
        desk.checkin(Gift("a"));
        for other in others {
            other.join().unwrap();
        }
        desk.assert_kept(1);
    });
}
