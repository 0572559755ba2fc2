//! A check of the order of a pool's own events, in debug builds: a connection is opened before the connection
//! is given to a request, idle before it is taken from the shelf, and in no event after it was closed.
//!
//! The check sees the events that [`events`](super::events) sees. Invariant: after an illegal order, the check panics
//! at once and at every later use of the pool, so that no test can miss the illegal order.

use std::collections::HashMap;

use super::events::PoolEventKind;

/// State of each connection according to the events so far.
#[derive(Debug, Default)]
pub(super) struct Order {
    steps: HashMap<u64, Step>,
    idle: usize,
    broken: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The connection is in use, or granted to a request.
    Busy,
    Idle,
}

impl Order {
    /// Applies an event. Panics if the event cannot follow the earlier events.
    pub(super) fn note(&mut self, kind: PoolEventKind) {
        let was_idle = match kind {
            PoolEventKind::Assigned { id, .. } | PoolEventKind::Closed { id, .. } => {
                self.steps.get(&id) == Some(&Step::Idle)
            }
            _ => false,
        };
        self.idle -= usize::from(was_idle);
        let is_legal = match kind {
            PoolEventKind::Opened { id } => self.steps.insert(id, Step::Busy).is_none(),
            PoolEventKind::DialFailed { id } => !self.steps.contains_key(&id),
            PoolEventKind::Assigned { id, reused } => {
                let was = self.steps.insert(id, Step::Busy);
                was == Some(Step::Busy) || (was == Some(Step::Idle) && reused)
            }
            PoolEventKind::Kept { id } => {
                self.idle += 1;
                self.steps.insert(id, Step::Idle) == Some(Step::Busy)
            }
            PoolEventKind::Closed { id, .. } => self.steps.remove(&id).is_some(),
            PoolEventKind::TooSoon { id, .. } => self.steps.get(&id) == Some(&Step::Busy),
            PoolEventKind::Waited | PoolEventKind::Refused(_) => true,
        };
        if !is_legal {
            self.broken = Some(format!("{kind:?} cannot follow what happened before"));
        }
        self.check();
    }

    /// Panics if an earlier event was illegal.
    pub(super) fn check(&self) {
        if let Some(broken) = &self.broken
            && !std::thread::panicking()
        {
            panic!("the pool's events are out of order: {broken}");
        }
    }

    /// Returns the number of idle connections and the number of busy connections.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.idle, self.steps.len() - self.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::DropReason;

    fn is_legal(events: &[PoolEventKind]) -> bool {
        let mut order = Order::default();
        let events = events.to_vec();
        let noted = std::thread::spawn(move || events.into_iter().for_each(|event| order.note(event)));
        noted.join().is_ok()
    }

    #[test]
    fn an_illegal_order_of_events_is_noticed() {
        use PoolEventKind::{Assigned, Closed, DialFailed, Kept, Opened};
        let id = 1;
        let (opened, kept) = (Opened { id }, Kept { id });
        let (used, reused) = (Assigned { id, reused: false }, Assigned { id, reused: true });
        let closed = Closed { id, reason: DropReason::Failed, why: None };
        assert!(is_legal(&[opened, used, kept, reused, reused, kept, closed]));
        assert!(is_legal(&[opened, kept, closed]), "dialed ahead");
        for wrong in [
            &[used][..],
            &[opened, opened],
            &[opened, kept, used],
            &[opened, kept, kept],
            &[opened, closed, kept],
            &[opened, closed, closed],
            &[opened, DialFailed { id }],
            &[closed],
        ] {
            assert!(!is_legal(wrong), "{wrong:?}");
        }
    }
}
