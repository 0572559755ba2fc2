//! The hand-off cell, through which a connection is delivered to a waiting request.
//!
//! The hand-off is direct: a connection that is put into the cell belongs to that request. The cell knows nothing of the
//! policy or of sockets. Invariant: each gift has exactly one owner. The owner is the waiter that took the gift, or the
//! giver whose delivery failed or that withdrew the gift.
//!
//! The timeline shows one order of events that the cell has to settle (`tests/loom` plays all orders):
//!
//! ```text
//! giver   policy pops the waiter ......... deliver(conn): the waiter is gone, conn comes back to the giver
//! waiter  ............ leave(): nothing yet ..................................................
//! ```

use std::task::{Context, Poll, Waker};

use super::sync::{Mutex, MutexGuard, PoisonError};

/// The cell of one waiter, into which a connection is delivered.
#[derive(Debug)]
pub(crate) struct Cell<G> {
    content: Mutex<Content<G>>,
}

/// Outcome of [`Cell::withdraw`].
#[derive(Debug, PartialEq)]
pub(crate) enum Withdrawn<G> {
    /// The gift, which was delivered and not taken.
    Gift(G),
    /// Nothing was delivered yet.
    NotYet,
    /// The gift was taken, or the waiter has left.
    Over,
}

/// Content of a cell.
#[derive(Debug)]
enum Content<G> {
    Waiting(Option<Waker>),
    Given(G),
    /// The gift was taken, or the waiter has left.
    Over,
}

impl<G> Cell<G> {
    pub(crate) fn new() -> Self {
        Self { content: Mutex::new(Content::Waiting(None)) }
    }

    /// Puts `gift` into the cell and wakes the waiter. Returns the gift if the waiter has left or has a gift already.
    pub(crate) fn deliver(&self, gift: G) -> Result<(), G> {
        let mut content = self.lock();
        let waker = match &mut *content {
            Content::Waiting(waker) => waker.take(),
            Content::Given(_) | Content::Over => return Err(gift),
        };
        *content = Content::Given(gift);
        drop(content);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes the gift, or stores the task's waker until a gift is delivered. The waker is cloned and dropped without the
    /// lock, because a waker is the caller's code.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<G> {
        let mut new = None;
        let mut content = self.lock();
        let is_known =
            |waker: &Option<Waker>| waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if matches!(&*content, Content::Waiting(waker) if !is_known(waker)) {
            drop(content);
            new = Some(cx.waker().clone());
            content = self.lock();
        }
        let polled = match &mut *content {
            Content::Waiting(waker) if new.is_some() => {
                std::mem::swap(waker, &mut new);
                Poll::Pending
            }
            Content::Waiting(_) | Content::Over => Poll::Pending,
            Content::Given(_) => match std::mem::replace(&mut *content, Content::Over) {
                Content::Given(gift) => Poll::Ready(gift),
                Content::Waiting(_) | Content::Over => Poll::Pending,
            },
        };
        drop(content);
        drop(new);
        polled
    }

    /// Whether the gift was taken, or the waiter has left.
    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.lock(), Content::Over)
    }

    /// Takes back a gift that was delivered and not taken. The waiter gets the gift `instead`.
    pub(crate) fn withdraw(&self, instead: G) -> Withdrawn<G> {
        let mut content = self.lock();
        match &mut *content {
            Content::Given(gift) => Withdrawn::Gift(std::mem::replace(gift, instead)),
            Content::Waiting(_) => Withdrawn::NotYet,
            Content::Over => Withdrawn::Over,
        }
    }

    /// Ends the wait. Returns a gift that was delivered and not taken.
    pub(crate) fn leave(&self) -> Option<G> {
        let was = std::mem::replace(&mut *self.lock(), Content::Over);
        // A waker is the caller's code, so the waker is dropped without the lock.
        match was {
            Content::Given(gift) => Some(gift),
            Content::Waiting(_) | Content::Over => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content<G>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gift_is_taken_once() {
        let cell = Cell::new();
        assert_eq!(cell.deliver(1), Ok(()));
        assert_eq!(cell.deliver(2), Err(2));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(cell.poll_take(&mut cx), Poll::Ready(1));
        assert_eq!(cell.leave(), None);
    }

    /// The waker of this test checks that the cell's lock is free when the waker is dropped.
    #[test]
    fn no_waker_is_dropped_under_the_lock() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::task::Wake;

        struct Nosy(Arc<Cell<u8>>, Arc<AtomicUsize>);
        impl Wake for Nosy {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Nosy {
            fn drop(&mut self) {
                assert!(self.0.content.try_lock().is_ok(), "a waker is dropped under the lock");
                self.1.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (cell, dropped) = (Arc::new(Cell::new()), Arc::new(AtomicUsize::new(0)));
        for polls in 1..=3 {
            // Each waker replaces the previous waker, whose last handle is in the cell.
            let waker = Waker::from(Arc::new(Nosy(cell.clone(), dropped.clone())));
            assert!(cell.poll_take(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            assert_eq!(dropped.load(Ordering::SeqCst), polls - 1);
        }
        cell.leave();
        assert_eq!(dropped.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_gift_that_was_not_taken_can_be_withdrawn() {
        let cell = Cell::new();
        assert_eq!(cell.withdraw(9), Withdrawn::NotYet);
        assert_eq!(cell.deliver(1), Ok(()));
        assert_eq!(cell.withdraw(9), Withdrawn::Gift(1));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(cell.poll_take(&mut cx), Poll::Ready(9));
        assert_eq!(cell.withdraw(9), Withdrawn::Over);
    }

    #[test]
    fn a_waiter_that_leaves_gets_an_earlier_gift_and_a_later_one_goes_back() {
        let cell = Cell::new();
        assert_eq!(cell.deliver(1), Ok(()));
        assert_eq!(cell.leave(), Some(1));
        assert_eq!(cell.deliver(2), Err(2));
        let cell = Cell::<u8>::new();
        assert_eq!(cell.leave(), None);
        assert_eq!(cell.deliver(3), Err(3));
    }
}
