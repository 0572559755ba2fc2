//! The happy-eyeballs race, which decides which address is tried next, and when.
//!
//! The race knows neither sockets nor the clock. The caller passes the time and gets the next step. The caller starts
//! the attempts that the steps name, reports the attempts that fail, and drops the race when an attempt succeeds.
//! Invariants: each address is started at most once, in order; at most [`MAX_IN_FLIGHT`] attempts run; and the race is
//! exhausted only when every address was started and has failed.
//!
//! This example has three addresses and a delay of 250 ms. The second attempt is refused at 280 ms, while the first
//! attempt runs:
//!
//! ```text
//! ms        0              250   280         530
//! first     start ------------------------------------->
//! second                   start refused
//! third                          start ----------------->
//! step      Start(0)       Start(1)          Wait
//!           WaitUntil(250) WaitUntil(500)
//!                                Start(2), Wait
//! ```
//!
//! There are four steps: start an attempt (`Start`), ask again at a time or when an attempt fails (`WaitUntil`), ask
//! again when an attempt fails (`Wait`), and end the race without a connection (`Exhausted`).
//!
//! > connection attempts SHOULD NOT be made simultaneously. Instead, one connection attempt to a single address is
//! > started first, followed by the others in the list, one at a time.
//!
//! <https://www.rfc-editor.org/rfc/rfc8305#section-5>

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A race between addresses.
#[derive(Debug)]
pub(crate) struct Race {
    /// All addresses, in the order of their attempts.
    order: Vec<SocketAddr>,
    /// Number of attempts that were started: `started <= order.len()`.
    started: usize,
    /// Indexes of the attempts that run: `len <= MAX_IN_FLIGHT`.
    running: Vec<usize>,
    /// Time from which the next attempt may start while other attempts run. `None` means at once.
    due: Option<Instant>,
    /// Time between the starts of two attempts.
    delay: Duration,
}

/// Next step of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start this attempt, and ask again at once.
    Start(usize, SocketAddr),
    /// Ask again at this time, or when an attempt has failed.
    WaitUntil(Instant),
    /// Ask again when an attempt has failed.
    Wait,
    /// Every attempt has failed.
    Exhausted,
}

impl Race {
    /// Returns a race between `addresses` in their order of preference, except that the families take turns.
    pub(crate) fn new(addresses: Vec<SocketAddr>, delay: Duration) -> Self {
        Self { order: interleave(addresses), started: 0, running: Vec::new(), due: None, delay }
    }

    /// Returns the next step at the time `now`.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        let Some(&address) = self.order.get(self.started) else {
            return if self.running.is_empty() { Step::Exhausted } else { Step::Wait };
        };
        if self.running.len() >= MAX_IN_FLIGHT {
            return Step::Wait;
        }
        if let Some(due) = self.due.filter(|&due| now < due) {
            return Step::WaitUntil(due);
        }
        let index = self.started;
        self.started += 1;
        self.running.push(index);
        self.due = now.checked_add(self.delay);
        Step::Start(index, address)
    }

    /// Notes that an attempt has failed, so that the next attempt may start at once.
    pub(crate) fn failed(&mut self, index: usize) {
        self.running.retain(|&running| running != index);
        self.due = None;
    }

    /// Whether an attempt was started for every address.
    pub(crate) fn has_started_all(&self) -> bool {
        self.started == self.order.len()
    }
}

/// Orders addresses so that the families take turns. The first address stays first, and the order within a family does
/// not change.
///
/// > Whichever address family is first in the list should be followed by an address of the other address family
///
/// <https://www.rfc-editor.org/rfc/rfc8305#section-4>
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut order = Vec::with_capacity(addresses.len());
    let (ours, theirs): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let (mut ours, mut theirs) = (ours.into_iter(), theirs.into_iter());
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return order,
            (our, their) => order.extend(our.into_iter().chain(their)),
        }
    }
}

/// Maximum number of attempts that run at once, so that a host with hundreds of dead addresses does not cost hundreds of
/// sockets.
const MAX_IN_FLIGHT: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 80))
    }

    fn v6(n: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, n], 80))
    }

    /// An event of a race, with its time in milliseconds.
    #[derive(Clone, Copy)]
    enum Event {
        Tick(u64),
        Failed(u64, usize),
    }

    use Event::{Failed, Tick};

    /// Plays `events`. Returns each start and the last step after each event, with their times.
    fn play(addresses: Vec<SocketAddr>, events: &[Event]) -> Vec<String> {
        let origin = Instant::now();
        let mut race = Race::new(addresses, Duration::from_millis(250));
        let mut log = Vec::new();
        for &event in events {
            let ms = match event {
                Tick(ms) => ms,
                Failed(ms, index) => {
                    race.failed(index);
                    ms
                }
            };
            loop {
                let step = race.step(origin + Duration::from_millis(ms));
                log.push(match step {
                    Step::Start(index, address) => format!("{ms}: start {index} {}", address.ip()),
                    Step::WaitUntil(then) => format!("{ms}: until {}", (then - origin).as_millis()),
                    Step::Wait => format!("{ms}: wait"),
                    Step::Exhausted => format!("{ms}: exhausted"),
                });
                if !matches!(step, Step::Start(..)) {
                    break;
                }
            }
        }
        log
    }

    #[test]
    fn families_take_turns_beginning_with_the_first() {
        let order = interleave(vec![v6(1), v6(2), v4(1), v6(3), v4(2)]);
        assert_eq!(order, [v6(1), v4(1), v6(2), v4(2), v6(3)], "R-8305-4-1");
        assert_eq!(interleave(vec![v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        assert_eq!(interleave(vec![]), []);
    }

    #[test]
    fn one_address_is_started_and_waited_for() {
        let log = play(vec![v4(1)], &[Tick(0), Tick(9_000), Failed(9_001, 0)]);
        assert_eq!(log, ["0: start 0 192.0.2.1", "0: wait", "9000: wait", "9001: exhausted"]);
    }

    #[test]
    fn the_next_starts_after_the_delay_and_not_before() {
        let log = play(vec![v6(1), v4(1)], &[Tick(0), Tick(249), Tick(250)]);
        assert_eq!(
            log,
            [
                "0: start 0 2001:db8::1",
                "0: until 250",
                "249: until 250",
                "250: start 1 192.0.2.1",
                "250: wait"
            ],
            "R-8305-5-1"
        );
    }

    #[test]
    fn the_next_starts_at_once_when_one_fails() {
        let log = play(vec![v4(1), v4(2), v4(3)], &[Tick(0), Tick(250), Failed(280, 1), Tick(530)]);
        assert_eq!(
            log,
            [
                "0: start 0 192.0.2.1",
                "0: until 250",
                "250: start 1 192.0.2.2",
                "250: until 500",
                "280: start 2 192.0.2.3",
                "280: wait",
                "530: wait",
            ],
            "R-8305-5-1"
        );
    }

    #[test]
    fn a_failure_restarts_the_delay_for_the_one_after_the_next() {
        let log = play(vec![v4(1), v4(2), v4(3)], &[Tick(0), Failed(100, 0), Tick(250), Tick(350)]);
        assert_eq!(
            log[2..],
            [
                "100: start 1 192.0.2.2",
                "100: until 350",
                "250: until 350",
                "350: start 2 192.0.2.3",
                "350: wait"
            ]
        );
    }

    #[test]
    fn a_race_is_exhausted_at_once_when_all_are_refused() {
        let log = play(vec![v4(1), v6(1)], &[Tick(0), Failed(1, 0), Failed(2, 1)]);
        assert_eq!(
            log,
            ["0: start 0 192.0.2.1", "0: until 250", "1: start 1 2001:db8::1", "1: wait", "2: exhausted"]
        );
    }

    #[test]
    fn six_run_at_most() {
        let addresses = (1..=8).map(v4).collect();
        let mut events: Vec<_> = (0..8).map(|n| Tick(n * 250)).collect();
        events.push(Failed(2_000, 3));
        let log = play(addresses, &events);
        let started = |log: &[String]| log.iter().filter(|line| line.contains("start")).count();
        assert_eq!(started(&log[..log.len() - 2]), 6);
        assert_eq!(log[log.len() - 2..], ["2000: start 6 192.0.2.7", "2000: wait"]);
    }

    #[test]
    fn nothing_to_race_is_exhausted_at_once() {
        assert_eq!(play(vec![], &[Tick(0)]), ["0: exhausted"]);
    }

    #[test]
    fn a_failure_that_is_reported_twice_counts_once() {
        let log = play(vec![v4(1), v4(2)], &[Tick(0), Failed(1, 0), Failed(2, 0)]);
        assert_eq!(log.last().unwrap(), "2: wait");
    }
}
