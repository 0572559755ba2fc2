//! The happy-eyeballs race, which decides which address is tried next, and when.
//!
//! The race knows neither sockets nor the clock. The caller passes the time and gets the next step. The caller reports
//! the addresses that the lookup finds, starts and ends the attempts that the steps name, reports the attempts that fail,
//! and drops the race when an attempt succeeds. Invariants: each address is started at most once; at most
//! [`MAX_IN_FLIGHT`] attempts run; the race is exhausted only when the lookup is complete and every address was started and
//! has failed; and the race waits only for something that will come: a time, the end of an attempt, or the lookup.
//!
//! In this example the lookup finds two IPv4 addresses first, and an IPv6 address 20 ms later. The second attempt is refused
//! at 280 ms, while the first attempt runs:
//!
//! ```text
//! ms        0              20              270             280
//! lookup    4a 4b          6a, complete
//! 6a                       start ----------------------------------->
//! 4a                                       start           refused
//! 4b                                                       start --->
//! step      WaitUntil(50)  Start           Start           Start
//!                          WaitUntil(270)  WaitUntil(520)  Wait
//! ```
//!
//! > connection attempts SHOULD NOT be made simultaneously. Instead, one connection attempt to a single address is
//! > started first, followed by the others in the list, one at a time.
//!
//! <https://www.rfc-editor.org/rfc/rfc8305#section-5>

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A race between addresses.
#[derive(Debug)]
pub(crate) struct Race {
    /// Addresses without an attempt, in the order of their attempts.
    waiting: VecDeque<Entrant>,
    /// Attempts that were started, in this order.
    started: Vec<Attempt>,
    /// Time from which the next attempt may start while other attempts run. `None` means at once.
    due: Option<Instant>,
    /// Whether the lookup has ended, so that no address will come.
    is_complete: bool,
    /// Time for which IPv4 addresses that came first wait for IPv6 addresses.
    resolution_delay: Duration,
    /// Time at which the first address came.
    answered: Option<Instant>,
}

/// An address that is to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entrant {
    pub(crate) address: SocketAddr,
    /// Addresses of a smaller class are tried first, whatever their family is. Within one class the families take turns.
    pub(crate) class: u32,
    /// Time from the start of this attempt to the start of the next one, unless an attempt fails earlier.
    pub(crate) delay: Duration,
}

#[derive(Debug)]
struct Attempt {
    address: SocketAddr,
    is_running: bool,
}

/// Next step of a race. An attempt is named by its number: the first attempt is number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start this attempt, and ask again at once.
    Start(usize, SocketAddr),
    /// End this attempt, which is the oldest that runs, and ask again at once. The attempt has failed.
    GiveWay(usize),
    /// Ask again at this time, when an attempt has failed, or when the lookup has found an address or has ended.
    WaitUntil(Instant),
    /// Ask again when an attempt has failed, or when the lookup has found an address or has ended.
    Wait,
    /// The lookup has ended, and every attempt has failed.
    Exhausted,
}

impl Race {
    /// Returns a race without addresses, whose lookup is under way. If the lookup finds IPv4 addresses first, the race waits
    /// `resolution_delay` for IPv6 addresses.
    pub(crate) fn new(resolution_delay: Duration) -> Self {
        let (waiting, started) = (VecDeque::new(), Vec::new());
        Self { waiting, started, due: None, is_complete: false, resolution_delay, answered: None }
    }

    /// Takes the addresses that were found so far: the new ones, and the ones that were not started yet. `order` lists each
    /// address once, by class and then by preference. Addresses that were started already are left out.
    pub(crate) fn enter(&mut self, mut order: Vec<Entrant>, now: Instant) {
        order.retain(|entrant| self.started.iter().all(|started| started.address != entrant.address));
        if !order.is_empty() {
            self.answered.get_or_insert(now);
        }
        self.waiting = take_turns(order, self.started.last().map(|last| last.address.is_ipv6()));
    }

    /// Notes that the lookup has ended.
    pub(crate) fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Returns the next step at the time `now`.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        let running = self.started.iter().filter(|attempt| attempt.is_running).count();
        if self.waiting.is_empty() {
            return if running == 0 && self.is_complete { Step::Exhausted } else { Step::Wait };
        }
        if let Some(due) = self.held_until().or(self.due).filter(|&due| now < due) {
            return Step::WaitUntil(due);
        }
        if running >= MAX_IN_FLIGHT
            && let Some(oldest) = self.started.iter().position(|attempt| attempt.is_running)
        {
            self.end(oldest);
            return Step::GiveWay(oldest);
        }
        let Some(Entrant { address, delay, .. }) = self.waiting.pop_front() else { return Step::Wait };
        self.started.push(Attempt { address, is_running: true });
        self.due = now.checked_add(delay);
        Step::Start(self.started.len() - 1, address)
    }

    /// Notes that an attempt has failed, so that the next attempt may start at once.
    pub(crate) fn failed(&mut self, number: usize) {
        if self.end(number) {
            self.due = None;
        }
    }

    /// Whether the lookup has ended and an attempt was started for every address.
    pub(crate) fn has_started_all(&self) -> bool {
        self.is_complete && self.waiting.is_empty()
    }

    /// Returns the time until which the first attempt waits for IPv6 addresses.
    ///
    /// > If a positive A response is received first due to reordering, the client SHOULD wait a short time for the AAAA
    /// > response to ensure that preference is given to IPv6
    ///
    /// <https://www.rfc-editor.org/rfc/rfc8305#section-3>
    fn held_until(&self) -> Option<Instant> {
        let may_come = self.started.is_empty() && !self.is_complete;
        let is_missing = || self.waiting.iter().all(|entrant| entrant.address.is_ipv4());
        let since = self.answered.filter(|_| may_come && is_missing())?;
        since.checked_add(self.resolution_delay)
    }

    /// Ends an attempt. Returns whether the attempt was running.
    fn end(&mut self, number: usize) -> bool {
        self.started.get_mut(number).is_some_and(|attempt| std::mem::take(&mut attempt.is_running))
    }
}

/// Orders the addresses of each class so that the families take turns, beginning with the family that was not tried last.
/// If none was tried, the first address stays first. The order within a family does not change.
///
/// > Whichever address family is first in the list should be followed by an address of the other address family
///
/// <https://www.rfc-editor.org/rfc/rfc8305#section-4>
fn take_turns(order: Vec<Entrant>, mut last_was_v6: Option<bool>) -> VecDeque<Entrant> {
    if order.len() < 2 {
        return order.into();
    }
    let mut turns = VecDeque::with_capacity(order.len());
    for class in order.chunk_by(|one, next| one.class == next.class) {
        let of = |is_v6: bool| class.iter().filter(move |entrant| entrant.address.is_ipv6() == is_v6);
        let (mut v4, mut v6) = (of(false), of(true));
        let first_is_v6 = class.first().is_some_and(|first| first.address.is_ipv6());
        for _ in class {
            let is_v6 = last_was_v6.map_or(first_is_v6, |last| !last);
            let next = match is_v6 {
                true => v6.next().or_else(|| v4.next()),
                false => v4.next().or_else(|| v6.next()),
            };
            last_was_v6 = next.map(|next| next.address.is_ipv6());
            turns.extend(next);
        }
    }
    turns
}

/// Maximum number of attempts that run at once, so that a host with hundreds of dead addresses does not cost hundreds of
/// sockets.
const MAX_IN_FLIGHT: usize = 6;

#[cfg(test)]
#[path = "race_tests.rs"]
mod tests;
