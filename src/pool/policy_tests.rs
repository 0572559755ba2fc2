//! The policy's timelines.

use std::collections::{HashMap, VecDeque};

use super::super::hosts::MAX_EMPTIES;
use super::*;

pub(super) const S: Duration = Duration::from_secs(1);

pub(super) type Act = Action<&'static str, u32, u32, u32>;

/// A policy, and the shell's part played by hand: what it was told to do is kept until a test does it.
pub(super) struct Play {
    pub(super) policy: Policy<&'static str, u32, u32, u32>,
    pub(super) now: Instant,
    /// Dials under way, oldest first.
    dials: VecDeque<(Place, u64)>,
    /// Connections that are used or being closed.
    pub(super) places: HashMap<u32, Place>,
    pub(super) tickets: HashMap<u32, Ticket>,
}

/// A failure that says something about the host.
pub(super) fn failed() -> DialError {
    DialError::refused()
}

pub(super) fn config() -> PoolConfig {
    PoolConfig::default()
}

impl Play {
    pub(super) fn new(config: PoolConfig) -> Self {
        Self {
            policy: Policy::new(config, 1),
            now: Instant::now(),
            dials: VecDeque::new(),
            places: HashMap::new(),
            tickets: HashMap::new(),
        }
    }

    /// Notes what is to be done, and says it.
    fn say(&mut self, actions: Vec<Act>) -> Vec<String> {
        let mut said = Vec::new();
        for action in actions {
            said.push(match action {
                Action::Forget { .. } => continue,
                Action::Cut { id } => format!("cut {id}"),
                Action::Grant { waiter, conn, place } => {
                    self.places.insert(conn, place);
                    format!("grant {conn} to {waiter}")
                }
                Action::Fail { waiter } => format!("fail {waiter}"),
                Action::Dial { key, partition, place, began, .. } => {
                    self.dials.push_back((place, began));
                    format!("dial {key}/{partition}")
                }
                Action::Bury { conn, place, reason } => {
                    self.places.insert(conn, place);
                    format!("bury {conn} {reason:?}")
                }
            });
        }
        said
    }

    fn want(&mut self, host: &'static str, runtime: u32, waiter: u32) -> Vec<String> {
        let mut out = Vec::new();
        let checkout = self.policy.checkout(
            hash(host),
            |key| *key == host,
            || host,
            &runtime,
            None,
            None,
            self.now,
            || waiter,
            &mut out,
        );
        self.answer(&checkout, waiter, out)
    }

    pub(super) fn place(&mut self, host: &'static str, runtime: u32) -> Place {
        self.policy.place(hash(host), |key| *key == host, || host, &runtime)
    }

    fn answer(&mut self, checkout: &Checkout<u32>, waiter: u32, out: Vec<Act>) -> Vec<String> {
        let mut said = self.say(out);
        match *checkout {
            Checkout::Reuse(conn, place) => {
                self.places.insert(conn, place);
                said.push(format!("reuse {conn}"));
            }
            Checkout::Queued(ticket) => {
                self.tickets.insert(waiter, ticket);
            }
            Checkout::Full(waiting) => said.push(format!("full {waiting}")),
            Checkout::Failing(ref failing) => said.push(format!("refused after {}", failing.dials)),
            Checkout::Shut => said.push("shut".to_owned()),
        }
        said
    }

    /// The oldest dial succeeds.
    fn dialed(&mut self, conn: u32) -> Vec<String> {
        let (place, _) = self.dials.pop_front().unwrap();
        let mut out = Vec::new();
        self.places.insert(conn, place);
        self.policy.dialed(place, conn, Terms::default(), self.now, &mut out);
        self.say(out)
    }

    /// The oldest dial succeeds, with a connection that is not used from `until` on.
    fn dialed_until(&mut self, conn: u32, until: Instant) -> Vec<String> {
        let (place, _) = self.dials.pop_front().unwrap();
        let mut out = Vec::new();
        self.places.insert(conn, place);
        let terms = Terms { until: Some(until), ..Terms::default() };
        self.policy.dialed(place, conn, terms, self.now, &mut out);
        self.say(out)
    }

    fn checkin_until(&mut self, conn: u32, until: Instant) -> Vec<String> {
        let place = self.places[&conn];
        let mut out = Vec::new();
        let terms = Terms { until: Some(until), is_used: true, ..Terms::default() };
        self.policy.checkin(place, conn, terms, Served::default(), self.now, &mut out);
        self.say(out)
    }

    /// The oldest dial fails.
    fn fails(&mut self, concerns_host: bool) -> Vec<String> {
        let (place, began) = self.dials.pop_front().unwrap();
        let mut out = Vec::new();
        let decides = self.policy.note_failure(place, began, failed(), self.now);
        while self.policy.fail_waiters(place, began, concerns_host || decides, &mut out) {}
        while self.policy.fail_unserved(place, true, &mut out) {}
        self.policy.dial_failed(place, self.now, &mut out);
        self.say(out)
    }

    /// As if the last dial to the host had not failed.
    fn forgive(&mut self, host: &str) {
        let slot = (0..self.policy.hosts.slots())
            .find(|slot| self.policy.hosts.get(*slot).is_some_and(|known| known.key == host));
        self.policy.hosts.host_mut(slot.unwrap() as u32).failing = None;
    }

    fn checkin(&mut self, conn: u32) -> Vec<String> {
        self.checkin_for(conn, None)
    }

    fn checkin_for(&mut self, conn: u32, stay: Option<Duration>) -> Vec<String> {
        let place = self.places[&conn];
        let mut out = Vec::new();
        let terms = Terms { stay, ..Terms::default() };
        self.policy.checkin(place, conn, terms, Served::default(), self.now, &mut out);
        self.say(out)
    }

    fn release(&mut self, conn: u32) -> Vec<String> {
        let place = self.places.remove(&conn).unwrap();
        let mut out = Vec::new();
        self.policy.release(place, Served::default(), Some(DropReason::Failed), self.now, &mut out);
        self.say(out)
    }

    fn buried(&mut self, conn: u32) -> Vec<String> {
        let place = self.places.remove(&conn).unwrap();
        let mut out = Vec::new();
        self.policy.buried(place, self.now, &mut out);
        self.say(out)
    }

    fn replace(&mut self, conn: u32, waiter: u32) -> Vec<String> {
        let place = self.places.remove(&conn).unwrap();
        let mut out = Vec::new();
        let checkout =
            self.policy.replace(place, 2, DropReason::PeerClosed, None, self.now, || waiter, &mut out);
        self.answer(&checkout, waiter, out)
    }

    fn redial(&mut self, conn: u32, waiter: u32) -> Vec<String> {
        let place = self.places.remove(&conn).unwrap();
        let mut out = Vec::new();
        let ticket =
            self.policy.redial(place, Served::default(), DropReason::PeerClosed, waiter, self.now, &mut out);
        self.tickets.insert(waiter, ticket);
        self.say(out)
    }

    fn warm(&mut self, host: &'static str, runtime: u32, wanted: usize) -> Vec<String> {
        let mut out = Vec::new();
        let place = self.place(host, runtime);
        self.policy.warm(place, wanted, usize::MAX, &mut out);
        self.say(out)
    }

    fn min_idle(&mut self, host: &'static str, runtime: u32, wanted: usize) -> Vec<String> {
        let mut out = Vec::new();
        let now = self.now;
        let place = self.place(host, runtime);
        self.policy.set_min_idle(place, wanted, now, &mut out);
        self.say(out)
    }

    /// Lends what is idle on a runtime.
    fn lend(&mut self, runtime: u32) -> Vec<Lent<u32>> {
        let mut lent = Vec::new();
        assert_eq!(self.policy.lend(&runtime, 0, &mut lent), None);
        lent
    }

    fn give_back(&mut self, lent: Lent<u32>, reason: Option<DropReason>) -> Vec<String> {
        let mut out = Vec::new();
        self.policy.give_back(lent, reason, self.now, &mut out);
        self.say(out)
    }

    /// Whether an active connection may drain.
    fn drain(&mut self, conn: u32, terms: Terms) -> bool {
        self.policy.begin_drain(self.places[&conn], conn.into(), terms, self.now)
    }

    /// A connection that has drained is closed, or comes back.
    fn drained(&mut self, conn: u32, is_kept: bool) -> Vec<String> {
        let (place, now) = (self.places[&conn], self.now);
        let served = Served { drained: Some(conn.into()), ..Served::default() };
        let mut out = Vec::new();
        if is_kept {
            self.policy.checkin(place, conn, Terms::default(), served, now, &mut out);
        } else {
            self.policy.release(place, served, Some(DropReason::Abandoned), now, &mut out);
        }
        self.say(out)
    }

    pub(super) fn cancel(&mut self, waiter: u32) -> bool {
        self.policy.cancel(self.tickets[&waiter], &mut Vec::new())
    }

    fn reap(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        while self.policy.reap(self.now, &mut out) {}
        self.say(out)
    }

    fn abandon(&mut self, runtime: u32) -> Vec<String> {
        let mut out = Vec::new();
        let mut slot = Some(0);
        let mut said = Vec::new();
        while let Some(from) = slot {
            slot = self.policy.abandon(&runtime, from, &mut out);
            said.extend(self.say(std::mem::take(&mut out)));
        }
        said
    }

    fn counts(&self) -> [usize; 4] {
        let counts = self.policy.total().1;
        [counts.idle, counts.active, counts.dialing, counts.waiting]
    }

    /// Opens these connections to the host and lets them all be idle, in this order.
    fn open(&mut self, host: &'static str, runtime: u32, conns: &[u32]) {
        for _ in conns {
            self.want(host, runtime, 0);
        }
        for conn in conns {
            self.dialed(*conn);
        }
        for conn in conns {
            self.checkin(*conn);
        }
    }
}

/// Bad on purpose: hosts of equal length collide.
pub(super) fn hash(host: &str) -> u64 {
    host.len() as u64
}

/// Nothing was said.
const NOTHING: [&str; 0] = [];

#[test]
fn idle_connections_are_taken_newest_first() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2, 3]);
    assert_eq!(play.counts(), [3, 0, 0, 0]);
    assert_eq!(play.want("a", 0, 9), ["reuse 3"]);
    assert_eq!(play.want("a", 0, 9), ["reuse 2"]);
    assert_eq!(play.checkin(3), NOTHING);
    assert_eq!(play.want("a", 0, 9), ["reuse 3"]);
    assert_eq!(play.want("a", 0, 9), ["reuse 1"]);
    assert_eq!(play.want("a", 0, 9), ["dial a/0"]);
}

#[test]
fn hosts_and_runtimes_share_nothing() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1]);
    assert_eq!(play.want("b", 0, 1), ["dial b/0"], "of equal hash");
    assert_eq!(play.want("a", 1, 2), ["dial a/1"]);
    assert_eq!(play.want("a", 0, 3), ["reuse 1"]);
    assert_eq!(play.dialed(2), ["grant 2 to 1"]);
    assert_eq!(play.checkin(2), NOTHING);
    assert_eq!(play.dialed(3), ["grant 3 to 2"]);
}

#[test]
fn waiters_are_served_oldest_first_by_direct_hand_off() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 1, ..config() });
    assert_eq!(play.want("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 2), NOTHING);
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.dialed(7), ["grant 7 to 1"]);
    assert_eq!(play.checkin(7), ["grant 7 to 2"]);
    assert_eq!(play.want("a", 0, 4), NOTHING, "a newcomer does not overtake");
    assert_eq!(play.checkin(7), ["grant 7 to 3"]);
    assert_eq!(play.release(7), ["dial a/0"]);
    assert_eq!(play.dialed(8), ["grant 8 to 4"]);
    assert_eq!(play.checkin(8), NOTHING);
    assert_eq!(play.counts(), [1, 0, 0, 0]);
}

#[test]
fn whichever_comes_first_serves_and_the_late_dial_becomes_idle() {
    let mut play = Play::new(config());
    assert_eq!(play.want("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 1"]);
    assert_eq!(play.want("a", 0, 2), ["dial a/0"]);
    assert_eq!(play.checkin(1), ["grant 1 to 2"], "freed before the dial was done");
    assert_eq!(play.want("a", 0, 3), NOTHING, "the dial under way is enough for one");
    assert_eq!(play.dialed(2), ["grant 2 to 3"]);
    assert_eq!(play.want("a", 0, 4), ["dial a/0"]);
    assert!(play.cancel(4));
    assert!(!play.cancel(4));
    assert_eq!(play.counts(), [0, 2, 1, 0]);
    assert_eq!(play.dialed(3), NOTHING);
    assert_eq!(play.counts(), [1, 2, 0, 0]);
    assert_eq!(play.want("a", 0, 5), ["reuse 3"]);
}

#[test]
fn dials_never_exceed_waiters() {
    let mut play = Play::new(config());
    for waiter in 1..=3 {
        assert_eq!(play.want("a", 0, waiter), ["dial a/0"]);
    }
    assert!(play.cancel(1));
    assert!(play.cancel(2));
    assert_eq!(play.want("a", 0, 4), NOTHING);
    assert_eq!(play.want("a", 0, 5), NOTHING);
    assert_eq!(play.want("a", 0, 6), ["dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 3"]);
    assert_eq!(play.dialed(2), ["grant 2 to 4"]);
}

/// So that a request that gives up can say how far its dial had come.
#[test]
fn each_of_many_dials_is_for_the_waiter_that_began_it() {
    let mut policy: Policy<u32, u32, u32, u32> = Policy::new(config(), 1);
    for waiter in 0..200 {
        let mut out = Vec::new();
        policy.checkout(0, |_| true, || 0, &0, None, None, Instant::now(), || waiter, &mut out);
        let [Action::Dial { wanted_by, .. }] = out[..] else { panic!("{out:?}") };
        assert_eq!(wanted_by, Some(waiter));
    }
}

#[test]
fn the_queue_is_bounded() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 1, max_waiters_per_host: 2, ..config() });
    play.want("a", 0, 1);
    play.want("a", 1, 2);
    assert_eq!(play.want("a", 0, 3), ["full 2"]);
    assert_eq!(play.want("b", 0, 3), ["dial b/0"], "another host's is another queue");
    assert!(play.cancel(1));
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.want("a", 0, 4), ["full 2"]);
}

#[test]
fn the_limit_per_host_counts_what_is_still_closing() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    play.now += 61 * S;
    assert_eq!(play.want("a", 0, 1), ["bury 2 IdleTimeout", "bury 1 IdleTimeout"], "expired, not yet closed");
    assert_eq!(play.counts(), [0, 2, 0, 1]);
    assert_eq!(play.buried(1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 2), NOTHING);
    assert_eq!(play.buried(2), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.counts(), [0, 0, 2, 3]);
}

#[test]
fn the_total_limit_evicts_the_longest_idle_of_any_host() {
    let mut play = Play::new(PoolConfig { max_connections: 2, ..config() });
    play.open("a", 0, &[1]);
    play.now += S;
    play.open("b", 0, &[2]);
    assert_eq!(play.want("c", 0, 9), ["bury 1 Evicted"]);
    assert_eq!(play.counts(), [1, 1, 0, 1]);
    assert_eq!(play.buried(1), ["dial c/0"], "only now, so the limit is kept");
    assert_eq!(play.dialed(3), ["grant 3 to 9"]);
    assert_eq!(play.counts(), [1, 1, 0, 0]);
}

#[test]
fn a_connection_of_an_unwanted_host_is_not_kept_while_another_host_is_blocked() {
    let mut play = Play::new(PoolConfig { max_connections: 1, ..config() });
    play.want("a", 0, 1);
    play.dialed(1);
    assert_eq!(play.want("b", 0, 2), NOTHING);
    assert_eq!(play.checkin(1), ["bury 1 Evicted"]);
    assert_eq!(play.buried(1), ["dial b/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 2"]);
    assert_eq!(play.checkin(2), NOTHING);
}

#[test]
fn blocked_hosts_take_turns() {
    let mut play = Play::new(PoolConfig { max_connections: 1, ..config() });
    play.want("z", 0, 0);
    for (host, waiter) in [("a", 1), ("a", 2), ("b", 3), ("c", 4)] {
        assert_eq!(play.want(host, 0, waiter), NOTHING);
    }
    play.dialed(1);
    assert_eq!(play.release(1), ["dial a/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 1"]);
    // Closed, its place goes to its own host's next first; kept, it would have as well.
    assert_eq!(play.release(2), ["dial a/0"]);
    assert_eq!(play.dialed(3), ["grant 3 to 2"]);
    assert_eq!(play.release(3), ["dial b/0"]);
    assert_eq!(play.dialed(4), ["grant 4 to 3"]);
    assert_eq!(play.release(4), ["dial c/0"]);
}

/// A hundred hosts waited for the slot and gave up: the one behind them still does.
/// A host whose requests never cease holds no other back for ever.
#[test]
fn rule_05_a_busy_host_lets_another_in_after_a_while() {
    let mut play = Play::new(PoolConfig { max_connections: 1, ..config() });
    play.want("a", 0, 1);
    play.dialed(1);
    for waiter in 2..=9 {
        play.want("a", 0, waiter);
    }
    play.want("b", 0, 20);
    play.want("c", 0, 30);
    play.now += S - Duration::from_nanos(1);
    assert_eq!(play.checkin(1), ["grant 1 to 2"], "a moment is its own");
    play.now += Duration::from_nanos(1);
    assert_eq!(play.checkin(1), ["bury 1 Evicted"]);
    assert_eq!(play.buried(1), ["dial b/0"]);
    play.dialed(2);
    // One that is closed is no other case.
    assert_eq!(play.release(2), ["dial c/0"]);
    play.dialed(3);
    // The first has been held back for as long by then as it may be.
    play.want("c", 0, 31);
    assert_eq!(play.checkin(3), ["grant 3 to 31"]);
    play.now += S;
    assert_eq!(play.checkin(3), ["bury 3 Evicted"]);
    assert_eq!(play.buried(3), ["dial a/0"]);
}

#[test]
fn hosts_that_gave_up_hide_nobody() {
    let mut play = Play::new(PoolConfig { max_connections: 1, ..config() });
    play.want("z", 0, 0);
    play.dialed(1);
    for n in 1..=100 {
        assert_eq!(play.want(format!("host-{n}").leak(), 0, n), NOTHING);
    }
    assert_eq!(play.want("a", 0, 101), NOTHING);
    for n in 1..=100 {
        assert!(play.cancel(n));
    }
    assert_eq!(play.release(1), ["dial a/0"]);
}

/// Host a evicts b's connection; before it is closed, b wants one again and gets the slot: then the next idle one,
/// of c, has to give way to a.
#[test]
fn who_evicts_is_not_forgotten_when_another_takes_the_slot() {
    let mut play = Play::new(PoolConfig { max_connections: 2, ..config() });
    play.open("b", 0, &[1]);
    play.now += S;
    play.open("c", 0, &[2]);
    assert_eq!(play.want("a", 0, 7), ["bury 1 Evicted"]);
    let mut said = play.want("b", 0, 8);
    said.extend(play.buried(1));
    if said.contains(&"bury 2 Evicted".to_owned()) {
        said.extend(play.buried(2));
    }
    said.sort();
    assert_eq!(said, ["bury 2 Evicted", "dial a/0", "dial b/0"]);
}

#[test]
fn at_the_hosts_limit_the_idle_of_other_runtimes_give_way() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 2, ..config() });
    play.open("a", 0, &[1]);
    play.now += S;
    play.open("a", 1, &[2]);
    assert_eq!(play.want("a", 2, 9), ["bury 1 Evicted"]);
    assert_eq!(play.want("a", 2, 8), ["bury 2 Evicted"]);
    assert_eq!(play.buried(2), ["dial a/2"]);
    assert_eq!(play.buried(1), ["dial a/2"]);
    assert_eq!(play.dialed(3), ["grant 3 to 9"]);
    assert_eq!(play.want("a", 0, 7), NOTHING);
    assert_eq!(play.dialed(4), ["grant 4 to 8"]);
    assert_eq!(play.checkin(4), ["bury 4 Evicted"], "wanted by a waiter whom it cannot serve");
    assert_eq!(play.buried(4), ["dial a/0"]);
}

#[test]
fn a_dial_that_concerns_the_host_fails_all_who_queued_before_it_began() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 2, ..config() });
    assert_eq!(play.want("a", 0, 1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 2), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.want("a", 1, 4), NOTHING, "another runtime's dials are another matter");
    // The first dial began before 2 and 3 queued; its slot becomes a dial for who is left.
    assert_eq!(play.fails(true), ["fail 1", "dial a/0"]);
    assert_eq!(play.want("a", 0, 5), NOTHING);
    play.forgive("a");
    // The second began before 3 queued.
    assert_eq!(play.fails(true), ["fail 2", "dial a/0"]);
    play.forgive("a");
    // The third began after 3 queued and before 5 did.
    assert_eq!(play.fails(true), ["fail 3", "dial a/1"]);
    assert_eq!(play.counts(), [0, 0, 2, 2]);
}

#[test]
fn a_dial_that_concerns_nobody_else_fails_exactly_one() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 1, ..config() });
    for waiter in 1..=3 {
        play.want("a", 0, waiter);
    }
    assert_eq!(play.fails(false), ["fail 1", "dial a/0"]);
    play.forgive("a");
    assert_eq!(play.fails(false), ["fail 2", "dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 3"]);
    // Nobody who queued before it began is left: it fails nobody, and who queued later gets a dial of its own.
    assert_eq!(play.release(1), NOTHING);
    assert_eq!(play.want("a", 0, 4), ["dial a/0"]);
    assert!(play.cancel(4));
    assert_eq!(play.want("a", 0, 5), NOTHING);
    assert_eq!(play.fails(true), ["dial a/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 5"]);
}

/// The dial that a request began fails, but another, begun for one that left, is under way for it.
#[test]
fn rule_11_who_has_another_dial_is_not_failed() {
    let mut play = Play::new(config());
    play.want("a", 0, 1);
    play.want("a", 0, 2);
    assert!(play.cancel(1));
    let other = play.dials.pop_front().unwrap();
    assert_eq!(play.fails(false), NOTHING);
    play.dials.push_back(other);
    assert_eq!(play.dialed(1), ["grant 1 to 2"]);
    play.want("a", 0, 3);
    play.want("a", 0, 4);
    assert_eq!(play.fails(false), ["fail 3"], "4 has the other dial, and 3 none");
    assert_eq!(play.dialed(2), ["grant 2 to 4"]);
}

/// When the next dial of the host may begin.
fn next_dial(play: &Play) -> Instant {
    play.policy.hosts.get(0).unwrap().failing.as_ref().unwrap().until
}

#[test]
fn rule_13_two_failures_in_a_row_are_remembered() {
    let mut play = Play::new(config());
    play.want("a", 0, 1);
    assert_eq!(play.fails(false), ["fail 1"]);
    assert_eq!(play.want("a", 0, 2), ["dial a/0"], "one failure is nothing");
    assert_eq!(play.want("a", 0, 3), ["dial a/0"]);
    assert_eq!(play.fails(false), ["fail 2", "fail 3"], "the dial of 3 began after the first failure");
    let until = next_dial(&play);
    play.now = until - Duration::from_nanos(1);
    assert_eq!(play.want("a", 0, 4), ["refused after 2"]);
    assert_eq!(play.fails(false), NOTHING);
    assert_eq!(next_dial(&play), until, "dials that were under way together fail as one");
    assert_eq!(play.want("b", 0, 9), ["dial b/0"], "another host is another matter");
    play.dialed(9);
    play.now = until;
    assert_eq!(play.want("a", 0, 5), ["dial a/0"], "the probe");
    assert_eq!(play.want("a", 1, 6), ["refused after 2"], "there is one probe");
    assert_eq!(play.fails(false), ["fail 5"]);
    play.now = next_dial(&play);
    assert_eq!(play.want("a", 0, 7), ["dial a/0"]);
    // Its runtime does nothing: that is not for ever the others' loss.
    play.now = next_dial(&play) - Duration::from_nanos(1);
    assert_eq!(play.want("a", 1, 8), ["refused after 3"]);
    play.now = next_dial(&play);
    assert_eq!(play.want("a", 1, 8), ["dial a/1"]);
    assert_eq!(play.dialed(1), ["grant 1 to 7"]);
    assert_eq!(play.dialed(2), ["grant 2 to 8"]);
    assert_eq!(play.want("a", 0, 10), ["dial a/0"], "all is forgiven");
    assert_eq!(play.fails(true), ["fail 10"]);
    assert_eq!(play.want("a", 0, 11), ["dial a/0"], "and counted anew");
}

/// However the steps of several dials that fail together are mixed, nobody is left waiting without a dial.
#[test]
fn rule_13_dials_that_fail_together_leave_nobody_behind() {
    for (limit, waiters, resending) in [(2, 5, false), (3, 3, false), (4, 100, false), (2, 2, true)] {
        let mut play = Play::new(PoolConfig { max_connections_per_host: limit, ..config() });
        if resending {
            play.open("a", 0, &[1, 2]);
            for (conn, waiter) in [(1, 11), (2, 12)] {
                assert_eq!(play.want("a", 0, waiter), [format!("reuse {}", 3 - conn)]);
                play.redial(3 - conn, waiter);
            }
        } else {
            for waiter in 0..waiters {
                play.want("a", 0, waiter);
            }
        }
        let dials: Vec<_> = play.dials.drain(..).collect();
        let (mut out, now) = (Vec::new(), play.now);
        for (place, began) in &dials {
            play.policy.note_failure(*place, *began, failed(), now);
        }
        for (place, began) in &dials {
            while play.policy.fail_waiters(*place, *began, false, &mut out) {}
        }
        for (place, _) in &dials {
            while play.policy.fail_unserved(*place, true, &mut out) {}
        }
        for (place, _) in &dials {
            play.policy.dial_failed(*place, now, &mut out);
        }
        let failed = out.iter().filter(|action| matches!(action, Action::Fail { .. })).count();
        assert_eq!((failed, play.counts()), (waiters as usize, [0; 4]), "{limit}, {waiters}, {resending}");
    }
}

/// A shelf that is left empty keeps no runtime.
#[test]
fn rule_13_a_failing_host_keeps_nothing_of_other_runtimes() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 1, ..config() });
    play.want("a", 0, 1);
    assert_eq!(play.fails(false), ["fail 1"]);
    play.want("a", 0, 2);
    assert_eq!(play.want("a", 1, 3), NOTHING);
    let told = play.fails(false);
    assert!(told.contains(&"fail 3".to_owned()), "{told:?}");
    let host = play.policy.hosts.get(0).unwrap();
    assert!(host.shelves.iter().all(|shelf| shelf.partition.is_none()));
}

#[test]
fn rule_13_a_failing_host_fails_who_has_no_dial() {
    let limited = PoolConfig { max_connections_per_host: 8, ..config() };
    let mut play = Play::new(limited);
    for waiter in 0..200 {
        let said = play.want("a", 0, waiter);
        assert_eq!(said.len(), usize::from(waiter < 8), "a dial for each of the first eight");
    }
    assert_eq!(play.fails(true), ["fail 0", "dial a/0"], "one failure is nothing");
    let told = play.fails(true);
    assert_eq!(told.len(), 1 + 200 - 8, "1, and all for whom no dial is under way: {told:?}");
    assert!(told.iter().all(|said| said.starts_with("fail ")), "{told:?}");
    for waiter in 2..8 {
        assert_eq!(play.fails(true), [format!("fail {waiter}")]);
    }
    assert_eq!(
        play.counts(),
        [0, 0, 1, 0],
        "the dial that began after the first failure, for which nobody waits"
    );
    assert_eq!(play.fails(true), NOTHING);
    assert_eq!(play.counts(), [0; 4]);
}

/// The time to the next probe is drawn, never beyond twice what it was, nor beyond half a minute.
#[test]
fn rule_13_backoff_doubles_up_to_a_bound() {
    let mut longest = Vec::new();
    for seed in 1..200u64 {
        let mut play = Play::new(config());
        play.policy = Policy::new(config(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for failure in 0..12usize {
            play.want("a", 0, 1);
            play.fails(true);
            let wait = next_dial(&play) - play.now;
            let bound = Duration::from_millis(250 << failure.saturating_sub(1).min(7)).min(30 * S);
            assert!(wait <= bound, "failure {failure}: {wait:?}");
            longest.resize(longest.len().max(failure + 1), Duration::ZERO);
            longest[failure] = longest[failure].max(wait);
            play.now += wait;
        }
    }
    for (failure, longest) in longest.iter().enumerate().skip(1) {
        let bound = Duration::from_millis(250 << (failure - 1).min(7)).min(30 * S);
        assert!(*longest > bound * 9 / 10, "failure {failure}: {longest:?} of {bound:?}");
    }
}

#[test]
fn rule_28_a_host_that_closes_after_one_response_is_not_kept() {
    let mut play = Play::new(config());
    let answered = |answered| Served { request: true, answered, ..Served::default() };
    let used = |play: &mut Play, conn: u32, times: u64| {
        let mut out = Vec::new();
        let terms = Terms { is_used: true, ..Terms::default() };
        play.policy.checkin(play.places[&conn], conn, terms, answered(times), play.now, &mut out);
        play.say(out)
    };
    let dead = |play: &mut Play, conn: u32, times: u64| {
        let mut out = Vec::new();
        let place = play.places.remove(&conn).unwrap();
        play.policy.release(place, answered(times), Some(DropReason::PeerClosed), play.now, &mut out);
        play.say(out)
    };
    for conn in 1..=3 {
        assert_eq!(play.want("a", 0, conn), ["dial a/0"]);
        play.dialed(conn);
        assert_eq!(used(&mut play, conn, 1), NOTHING, "kept");
        assert_eq!(play.want("a", 0, conn), [format!("reuse {conn}")]);
        dead(&mut play, conn, 1);
    }
    assert_eq!(play.want("a", 0, 4), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 5), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 6), ["dial a/0"]);
    assert_eq!(play.dialed(4), ["grant 4 to 4"], "what is fresh is handed over");
    assert_eq!(used(&mut play, 4, 1), ["bury 4 NotKept"], "not to who waits either");
    play.dialed(5);
    play.dialed(6);
    play.now += 60 * S;
    assert_eq!(used(&mut play, 5, 1), NOTHING, "kept again, on trial");
    assert_eq!(play.want("a", 0, 7), ["reuse 5"]);
    dead(&mut play, 5, 1);
    assert_eq!(used(&mut play, 6, 1), ["bury 6 NotKept"], "one more is enough");
    play.now += 60 * S;
    for (conn, times) in [(7, 1), (8, 2), (9, 1), (10, 1)] {
        assert_eq!(play.want("b", 0, conn), ["dial b/0"]);
        play.dialed(conn);
        dead(&mut play, conn, times);
    }
    assert_eq!(play.want("b", 0, 11), ["dial b/0"]);
    play.dialed(11);
    assert_eq!(used(&mut play, 11, 1), NOTHING, "not three in a row: one had answered twice");
}

#[test]
fn rule_27_an_unsafe_request_takes_only_what_is_fresh() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 2, ..config() });
    let fresh = |play: &mut Play, waiter: u32| {
        let mut out = Vec::new();
        let (hash, now) = (hash("a"), play.now);
        let checkout = play.policy.checkout(
            hash,
            |key| *key == "a",
            || "a",
            &0,
            Some(2 * S),
            None,
            now,
            || waiter,
            &mut out,
        );
        play.answer(&checkout, waiter, out)
    };
    play.open("a", 0, &[1, 2]);
    play.now += 2 * S;
    assert_eq!(fresh(&mut play, 1), ["reuse 2"], "the newest is fresh");
    play.now += S;
    assert_eq!(fresh(&mut play, 2), ["bury 1 Evicted"], "at the limit, the stale one gives way");
    assert_eq!(play.buried(1), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.checkin(2), ["grant 2 to 2"], "what comes back is as fresh as can be");
    assert_eq!(play.dialed(4), ["grant 4 to 3"]);
    play.checkin(2);
    play.now += 3 * S;
    assert_eq!(play.want("a", 0, 5), ["reuse 2"], "a safe request takes it all the same");
}

#[test]
fn a_thousand_fail_in_batches() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 1, ..config() });
    for waiter in 0..1000 {
        play.want("a", 0, waiter);
    }
    // Those who queued behind the first dial have the second, which began when it failed.
    assert_eq!(play.fails(true), ["fail 0", "dial a/0"]);
    let (place, began) = play.dials.pop_front().unwrap();
    let mut failed = 0;
    loop {
        let mut out = Vec::new();
        let more = play.policy.fail_waiters(place, began, true, &mut out);
        assert!(out.len() <= BATCH);
        failed += out.len();
        if !more {
            break;
        }
    }
    assert_eq!(failed, 999);
}

#[test]
fn replace_keeps_the_place_at_the_head() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    assert_eq!(play.want("a", 0, 11), ["reuse 2"]);
    assert_eq!(play.replace(2, 11), ["reuse 1"], "the next idle one");
    assert_eq!(play.counts(), [0, 1, 0, 0]);
    assert_eq!(play.want("a", 0, 12), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 13), NOTHING);
    assert_eq!(play.replace(1, 11), ["dial a/0"], "its slot becomes a dial");
    assert_eq!(play.counts(), [0, 0, 2, 3]);
    assert_eq!(play.dialed(3), ["grant 3 to 11"], "before those who came later");
    assert_eq!(play.dialed(4), ["grant 4 to 12"]);
    assert_eq!(play.checkin(3), ["grant 3 to 13"]);
}

#[test]
fn redial_keeps_the_slot_and_takes_only_fresh_connections() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    play.want("a", 0, 11);
    play.want("a", 0, 12);
    assert_eq!(play.want("a", 0, 13), NOTHING);
    assert_eq!(play.redial(1, 11), ["dial a/0"]);
    assert_eq!(play.counts(), [0, 1, 1, 2], "never more than the limit");
    assert_eq!(play.checkin(2), ["grant 2 to 13"], "not 11: 2 is no fresh one");
    assert_eq!(play.want("a", 0, 14), NOTHING);
    assert_eq!(play.dialed(3), ["grant 3 to 11"], "not 14: it was dialed for 11");
    assert_eq!(play.checkin(3), ["grant 3 to 14"]);
}

#[test]
fn a_redial_that_fails_fails_the_request_it_was_for() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 1, ..config() });
    play.open("a", 0, &[1]);
    play.want("a", 0, 11);
    play.want("a", 0, 12);
    assert_eq!(play.redial(1, 11), ["dial a/0"]);
    assert_eq!(play.fails(false), ["fail 11", "dial a/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 12"]);
    assert_eq!(play.redial(2, 12), ["dial a/0"]);
    assert!(play.cancel(12));
    assert_eq!(play.dialed(3), NOTHING);
    assert_eq!(play.counts(), [1, 0, 0, 0]);
}

#[test]
fn idle_timeout_just_before_at_and_after() {
    for (after, reaped) in [(60 * S - Duration::from_nanos(1), false), (60 * S, true), (61 * S, true)] {
        let mut play = Play::new(config());
        play.open("a", 0, &[1]);
        assert_eq!(play.policy.due(), Some(play.now + 60 * S));
        play.now += after;
        let told = if reaped { vec!["bury 1 IdleTimeout"] } else { vec![] };
        assert_eq!(play.reap(), told, "{after:?}");
        assert_eq!(play.reap(), NOTHING);
        // A checkout sees it as the reaper does.
        let mut play = Play::new(config());
        play.open("a", 0, &[1]);
        play.now += after;
        let told = play.want("a", 0, 9);
        assert_eq!(told[0], if reaped { "bury 1 IdleTimeout" } else { "reuse 1" }, "{after:?}");
    }
}

#[test]
fn the_servers_stay_shortens_and_never_lengthens() {
    for (ours, theirs, until) in [
        (Some(60 * S), Some(5 * S), Some(5 * S)),
        (Some(60 * S), Some(600 * S), Some(60 * S)),
        (None, Some(5 * S), Some(5 * S)),
        (None, None, None),
    ] {
        let mut play = Play::new(PoolConfig { idle_timeout: ours, ..config() });
        play.want("a", 0, 1);
        play.dialed(1);
        assert_eq!(play.checkin_for(1, theirs), NOTHING);
        assert_eq!(play.policy.due(), until.map(|until| play.now + until), "{ours:?} {theirs:?}");
    }
    // Zero: not kept at all.
    let mut play = Play::new(config());
    play.want("a", 0, 1);
    play.dialed(1);
    assert_eq!(play.checkin_for(1, Some(Duration::ZERO)), ["bury 1 IdleTimeout"]);
}

#[test]
fn rule_16_a_lifetime_ends_idle_connections_and_those_that_come_back() {
    let mut play = Play::new(config());
    let until = play.now + 30 * S;
    play.want("a", 0, 1);
    assert_eq!(play.dialed_until(1, until), ["grant 1 to 1"]);
    play.want("a", 0, 2);
    assert_eq!(play.dialed_until(2, until + S), ["grant 2 to 2"]);
    assert_eq!(play.checkin_until(1, until), NOTHING);
    assert_eq!(play.policy.due(), Some(until), "before the idle timeout");
    play.now = until - Duration::from_millis(1);
    assert_eq!(play.reap(), NOTHING);
    play.now = until;
    assert_eq!(play.want("a", 0, 3), ["bury 1 MaxLifetime", "dial a/0"], "not used from then on");
    play.now = until + S;
    assert_eq!(play.checkin_until(2, until + S), ["bury 2 MaxLifetime"], "not handed to who waits");
    assert_eq!(play.dialed_until(3, until + 60 * S), ["grant 3 to 3"]);
    play.checkin_until(3, until + 90 * S);
    play.now += 60 * S;
    assert_eq!(play.reap(), ["bury 3 IdleTimeout"], "idle for too long, and young");
}

#[test]
fn the_next_deadline_is_the_earliest_of_both_kinds() {
    let mut play = Play::new(config());
    for conn in 1..=3 {
        play.want("a", 0, conn);
        play.dialed(conn);
    }
    play.checkin(1);
    play.checkin_for(2, Some(30 * S));
    play.checkin_for(3, Some(10 * S));
    for (after, conn) in [(10, 3), (30, 2), (60, 1)] {
        let due = play.policy.due().unwrap();
        play.now = due;
        assert_eq!(play.reap(), [format!("bury {conn} IdleTimeout")], "after {after} s");
    }
    assert_eq!(play.policy.due(), None);
}

#[test]
fn one_too_many_idle_evicts_the_oldest() {
    let mut play = Play::new(PoolConfig { max_idle_per_host: 2, ..config() });
    play.open("a", 0, &[1]);
    play.now += S;
    play.open("b", 0, &[9]);
    play.now += S;
    for conn in [2, 3] {
        play.want("a", 1, conn);
        play.dialed(conn);
    }
    assert_eq!(play.checkin(2), NOTHING);
    assert_eq!(play.checkin(3), ["bury 1 Evicted"], "the host's oldest, of whatever runtime");

    let mut play = Play::new(PoolConfig { max_idle: 2, ..config() });
    play.open("a", 0, &[1]);
    play.now += S;
    play.open("b", 0, &[2]);
    play.want("c", 0, 3);
    play.now += S;
    assert_eq!(play.dialed(3), ["grant 3 to 3"]);
    assert_eq!(play.checkin(3), ["bury 1 Evicted"], "the oldest of all");
    for limits in [PoolConfig { max_idle: 0, ..config() }, PoolConfig { max_idle_per_host: 0, ..config() }] {
        let mut play = Play::new(limits);
        play.want("a", 0, 1);
        play.dialed(1);
        assert_eq!(play.checkin(1), ["bury 1 IdleTimeout"]);
    }
}

#[test]
fn warm_dials_what_is_missing_within_the_limits() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 3, ..config() });
    play.open("a", 0, &[1]);
    assert_eq!(play.warm("a", 0, 1), NOTHING);
    assert_eq!(play.warm("a", 0, 2), ["dial a/0"]);
    assert_eq!(play.warm("a", 0, 2), NOTHING, "it is under way");
    assert_eq!(play.warm("a", 0, 9), ["dial a/0"]);
    assert_eq!(play.dialed(2), NOTHING);
    assert_eq!(play.want("a", 0, 1), ["reuse 2"]);
    assert_eq!(play.counts(), [1, 1, 1, 0]);
}

#[test]
fn rule_14_so_many_are_idle_always() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 4, ..config() });
    assert_eq!(play.min_idle("a", 0, 2), ["dial a/0", "dial a/0"]);
    assert_eq!(play.min_idle("a", 0, 2), NOTHING, "they are under way");
    play.dialed(1);
    play.dialed(2);
    assert_eq!(play.counts(), [2, 0, 0, 0]);
    // What is taken is dialed again, within the limit.
    assert_eq!(play.want("a", 0, 1), ["dial a/0", "reuse 2"]);
    assert_eq!(play.want("a", 0, 2), ["dial a/0", "reuse 1"]);
    play.dialed(3);
    play.dialed(4);
    assert_eq!(play.want("a", 0, 3), ["reuse 4"], "four is the limit");
    // What is closed is dialed again.
    assert_eq!(play.release(1), ["dial a/0"]);
    // Who waits has priority over what is to be idle.
    play.want("a", 0, 4);
    assert_eq!(play.want("a", 0, 5), NOTHING);
    assert_eq!(play.dialed(5), ["grant 5 to 5"]);
    // No more than is kept.
    let mut play = Play::new(PoolConfig { max_idle_per_host: 3, max_idle: 2, ..config() });
    assert_eq!(play.min_idle("a", 0, 9), ["dial a/0", "dial a/0"]);
    let mut play = Play::new(PoolConfig { idle_timeout: Some(Duration::ZERO), ..config() });
    assert_eq!(play.min_idle("a", 0, 9), NOTHING);
    // Not too many at a time.
    let mut play = Play::new(config());
    assert_eq!(play.min_idle("a", 0, 20).len(), AHEAD);
    assert_eq!(play.dialed(1), NOTHING);
    play.now += S;
    assert_eq!(play.warm("a", 0, 20), vec!["dial a/0"; AHEAD]);
}

/// Without room, or where dials fail, it is thought about again later; and nothing is evicted for it.
#[test]
fn rule_14_what_cannot_be_dialed_now_is_dialed_later() {
    let mut play = Play::new(PoolConfig { max_connections: 1, ..config() });
    play.open("b", 0, &[1]);
    assert_eq!(play.min_idle("a", 0, 1), NOTHING, "b keeps its idle connection");
    assert!(play.policy.needs_reaper());
    let due = play.now + 5 * S;
    assert_eq!(play.policy.due(), Some(due));
    play.want("b", 0, 1);
    assert_eq!(play.release(1), NOTHING);
    play.now = due - Duration::from_nanos(1);
    assert_eq!(play.reap(), NOTHING);
    play.now = due;
    assert_eq!(play.reap(), ["dial a/0"]);
    assert_eq!(play.fails(true), ["dial a/0"], "one failure is none");
    assert_eq!(play.fails(true), NOTHING);
    play.now = play.policy.due().unwrap();
    assert_eq!(play.reap(), ["dial a/0"], "the probe");
    play.dialed(2);
    assert_eq!(play.counts(), [1, 0, 0, 0]);
    // Nobody wants it any more.
    play.min_idle("a", 0, 0);
    play.now += 60 * S;
    assert_eq!(play.reap(), ["bury 2 IdleTimeout"]);
    assert_eq!(play.buried(2), NOTHING);
    assert!(!play.policy.needs_reaper());
}

#[test]
fn rule_14_a_runtime_that_is_gone_wants_nothing() {
    let mut play = Play::new(config());
    play.min_idle("a", 0, 1);
    play.dialed(1);
    assert_eq!(play.abandon(0), ["bury 1 RuntimeGone"]);
    assert_eq!(play.buried(1), NOTHING);
    assert_eq!(play.counts(), [0, 0, 0, 0]);
}

#[test]
fn rule_13_who_waits_for_a_failing_host_has_one_dial_at_its_time() {
    let mut play = Play::new(PoolConfig { wait_for_failing: true, ..config() });
    for waiter in 1..=2 {
        play.want("a", 0, waiter);
        assert_eq!(play.fails(false), [format!("fail {waiter}")]);
    }
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.want("a", 0, 4), NOTHING);
    let due = play.policy.due().unwrap();
    assert_eq!(due, next_dial(&play));
    play.now = due;
    assert_eq!(play.reap(), ["dial a/0"]);
    assert_eq!(play.want("a", 0, 5), NOTHING, "the next is far away");
    // It decides for those who were there when it began, and not for the one who came later.
    assert_eq!(play.fails(false), ["fail 3", "fail 4"]);
    play.now = play.policy.due().unwrap();
    assert_eq!(play.reap(), ["dial a/0"]);
    assert_eq!(play.dialed(1), ["grant 1 to 5"]);
    // Another network: at once.
    for waiter in 6..=7 {
        play.want("a", 0, waiter);
        play.fails(false);
    }
    play.want("a", 0, 8);
    let mut out = Vec::new();
    assert_eq!(play.policy.forgive(0, play.now, &mut out), None);
    assert_eq!(play.say(out), ["dial a/0"]);
}

/// Hundreds wait for a host that comes back: they do not dial all at once, and none is forgotten.
#[test]
fn rule_13_a_host_that_comes_back_is_not_overrun() {
    let mut play = Play::new(PoolConfig { wait_for_failing: true, ..config() });
    for waiter in 1..=2 {
        play.want("a", 0, waiter);
        play.fails(false);
    }
    for waiter in 3..=502 {
        assert_eq!(play.want("a", 0, waiter), NOTHING);
    }
    play.now = play.policy.due().unwrap();
    assert_eq!(play.reap(), ["dial a/0"]);
    let mut most = 0;
    for conn in 3..=502 {
        let said = play.dialed(conn);
        assert_eq!(said[0], format!("grant {conn} to {conn}"));
        assert!(said.len() <= 1 + BATCH);
        most = most.max(play.dials.len());
    }
    // Twice a batch at the most: each that ends may begin more.
    assert!((BATCH..500).contains(&most), "{most} dials at once");
    assert_eq!(play.counts(), [0, 500, 0, 0]);
}

/// What is looked at keeps its place; whoever asks meanwhile takes the next, or waits for it and dials nothing.
#[test]
fn rule_22_what_is_looked_at_is_in_sight() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2, 3]);
    play.open("b", 1, &[4]);
    let mut lent = play.lend(0);
    assert_eq!(lent.iter().map(|lent| lent.conn).collect::<Vec<_>>(), [1, 2, 3], "of this runtime");
    assert!(play.lend(0).is_empty());
    let three = lent.pop().unwrap();
    assert_eq!(play.give_back(three, None), NOTHING);
    assert_eq!(play.want("a", 0, 1), ["reuse 3"]);
    assert_eq!(play.want("a", 0, 2), NOTHING, "two are in sight");
    assert_eq!(play.want("a", 0, 3), NOTHING);
    assert_eq!(play.want("a", 0, 4), ["dial a/0"]);
    let two = lent.pop().unwrap();
    assert_eq!(play.give_back(two, None), ["grant 2 to 2"]);
    // The other one is dead: its slot becomes a dial.
    let one = lent.pop().unwrap();
    assert_eq!(play.give_back(one, Some(DropReason::PeerClosed)), ["bury 1 PeerClosed", "dial a/0"]);
    assert_eq!(play.counts(), [1, 3, 2, 2]);
    assert_eq!(play.policy.total().0.closed[DropReason::PeerClosed as usize], 1);
}

/// What is buried while it is looked at is closed when it comes back, whatever the look saw, and counts until then.
#[test]
fn rule_22_what_is_looked_at_can_be_buried() {
    let mut play = Play::new(PoolConfig { max_connections: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    let mut lent = play.lend(0);
    assert!(play.policy.is_swept());
    assert_eq!(play.want("b", 0, 1), NOTHING, "the oldest is evicted as soon as it is back");
    assert_eq!(play.counts(), [1, 1, 0, 1]);
    let two = lent.pop().unwrap();
    assert_eq!(play.give_back(two, None), NOTHING, "one is enough");
    let one = lent.pop().unwrap();
    assert_eq!(play.give_back(one, Some(DropReason::PeerClosed)), ["bury 1 Evicted"]);
    assert!(!play.policy.is_swept());
    assert_eq!(play.buried(1), ["dial b/0"]);
    assert_eq!(play.policy.total().0.closed.iter().sum::<u64>(), 1, "counted once");
    // Another one in its slot is not taken for it.
    let mut play = Play::new(config());
    play.open("a", 0, &[1]);
    let lent = play.lend(0).pop().unwrap();
    let mut out = Vec::new();
    play.policy.bury_oldest(usize::MAX, DropReason::Shutdown, &mut out);
    assert_eq!(play.say(out), NOTHING);
    play.open("a", 0, &[2]);
    assert_eq!(play.give_back(lent, None), ["bury 1 Shutdown"]);
    assert_eq!(play.want("a", 0, 1), ["reuse 2"]);
}

#[test]
fn rule_22_a_sweep_takes_a_few_at_a_time() {
    let mut play = Play::new(PoolConfig { max_idle_per_host: 1_000, ..config() });
    let conns: Vec<_> = (1..=100).collect();
    play.open("a", 0, &conns);
    play.open("a", 1, &[101]);
    let (mut next, mut seen) = (Some(0), Vec::new());
    while let Some(from) = next {
        let mut lent = Vec::new();
        next = play.policy.lend(&0, from, &mut lent);
        assert!(lent.len() <= 16);
        for lent in lent {
            seen.push(lent.conn);
            play.give_back(lent, None);
        }
    }
    assert_eq!(seen, conns);
}

#[test]
fn rule_30_who_needs_the_slot_of_a_draining_connection_gets_it() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 1, ..config() });
    play.open("a", 0, &[1]);
    play.want("a", 0, 1);
    assert!(play.drain(1, Terms::default()));
    assert_eq!(play.want("a", 1, 2), ["cut 1"], "also from another runtime");
    assert_eq!(play.want("a", 1, 3), NOTHING);
    assert_eq!(play.counts(), [0, 1, 0, 2]);
    assert_eq!(play.drained(1, false), ["dial a/1"]);
    // It was done before it could be cut: its slot is needed all the same.
    play.dialed(2);
    play.checkin(2);
    assert!(play.drain(2, Terms::default()));
    assert_eq!(play.want("a", 0, 4), ["cut 2"]);
    assert_eq!(play.drained(2, true), ["bury 2 Evicted"]);
    assert_eq!(play.buried(2), ["dial a/0"]);
    assert_eq!(play.policy.evicting, 0);
}

#[test]
fn rule_30_the_total_limit_takes_any_draining_connection() {
    let mut play = Play::new(PoolConfig { max_connections: 2, ..config() });
    play.open("a", 0, &[1, 2]);
    play.want("a", 0, 1);
    play.want("a", 0, 2);
    assert!(play.drain(1, Terms::default()) && play.drain(2, Terms::default()));
    assert_eq!(play.want("b", 0, 3), ["cut 1"], "one is enough");
    assert!(!play.drain(2, Terms::default()), "somebody waits");
    assert_eq!(play.drained(1, false), ["dial b/0"]);
    assert_eq!(play.drained(2, true), NOTHING);
    assert_eq!(play.counts(), [1, 0, 1, 1]);
}

#[test]
fn rule_30_what_would_not_be_kept_is_not_drained() {
    let mut play = Play::new(config());
    let conns: Vec<_> = (1..=40).collect();
    for conn in &conns {
        play.want("a", 0, *conn);
    }
    for conn in &conns {
        play.dialed(*conn);
    }
    let terms = Terms::default();
    assert!(!play.drain(1, Terms { is_of_old: true, ..terms }));
    assert!(!play.drain(1, Terms { until: Some(play.now), ..terms }));
    assert!(play.drain(1, Terms { until: Some(play.now + S), ..terms }));
    assert_eq!(conns[1..].iter().filter(|conn| play.drain(**conn, terms)).count(), 31, "32 at a time");
    play.drained(1, true);
    assert!(play.drain(40, terms));
    play.want("a", 0, 99);
    play.want("a", 0, 41);
    play.drained(40, false);
    assert!(!play.drain(39, terms), "somebody waits");
    let mut play = Play::new(PoolConfig { max_idle: 0, ..config() });
    play.want("a", 0, 1);
    play.dialed(1);
    assert!(!play.drain(1, terms));
    let mut play = Play::new(config());
    play.want("a", 0, 1);
    play.dialed(1);
    play.policy.shut();
    assert!(!play.drain(1, terms));
}

/// Everyone is sent away, a batch at a time, on all runtimes.
#[test]
fn shut_and_refused_nobody_waits() {
    let mut play = Play::new(PoolConfig { max_connections: 1, ..config() });
    for waiter in 0..100 {
        play.want(["a", "b"][waiter as usize % 2], waiter % 3, waiter);
    }
    play.policy.shut();
    assert_eq!(play.want("a", 0, 100), ["shut"]);
    let (mut slot, mut refused, mut calls) = (Some(0), 0, 0);
    while let Some(from) = slot {
        let mut out = Vec::new();
        slot = play.policy.refuse_waiters(from, &mut out);
        refused += out.iter().filter(|action| matches!(action, Action::Fail { .. })).count();
        assert!(out.len() <= BATCH + 1);
        calls += 1;
    }
    assert_eq!((refused, play.counts()), (100, [0, 0, 1, 0]));
    assert_eq!(play.policy.hosts.listed(), 1, "of b, nothing is left");
    assert!(calls >= 2 && !play.policy.is_quiet());
    assert_eq!(play.dialed(1), ["bury 1 Shutdown"]);
    assert_eq!(play.buried(1), NOTHING);
    assert!(play.policy.is_quiet());
}

/// Who had been served, and was not polled in time, comes back to its old place, whatever has become of the rest.
#[test]
fn rule_09_who_comes_again_has_its_old_turn() {
    let mut play = Play::new(PoolConfig { max_connections_per_host: 1, max_waiters_per_host: 1, ..config() });
    let again = |play: &mut Play, waiter: u32, is_resending: bool| {
        let (turn, now, mut out) = (play.tickets[&waiter].turn, play.now, Vec::new());
        let again = Some(Again { turn, is_resending });
        let is_a = |key: &&'static str| *key == "a";
        let policy = &mut play.policy;
        let checkout = policy.checkout(hash("a"), is_a, || "a", &0, None, again, now, || waiter, &mut out);
        play.answer(&checkout, waiter, out)
    };
    play.want("a", 0, 1);
    play.dialed(1);
    play.want("a", 0, 2);
    // 1 did not claim it: 2 gets it, and another waits.
    assert_eq!(play.checkin(1), ["grant 1 to 2"]);
    play.want("a", 0, 3);
    assert_eq!(play.want("a", 0, 4), ["full 1"]);
    assert_eq!(again(&mut play, 1, false), NOTHING, "it was let in before");
    assert_eq!(play.checkin(1), ["grant 1 to 1"], "before 3");
    assert_eq!(play.checkin(1), ["grant 1 to 3"]);
    assert_eq!(play.checkin(1), NOTHING);
    assert_eq!(again(&mut play, 1, false), ["reuse 1"]);
    // One that lost its connection takes no idle one, and waits for a dial of its own.
    play.checkin(1);
    let mut play = Play::new(config());
    play.open("a", 0, &[1]);
    play.want("a", 0, 1);
    assert_eq!(play.redial(1, 2), ["dial a/0"]);
    assert_eq!(play.dialed(2), ["grant 2 to 2"]);
    assert_eq!(play.checkin(2), NOTHING);
    assert_eq!(again(&mut play, 2, true), ["dial a/0"]);
    play.policy.shut();
    assert_eq!(play.want("a", 0, 9), ["shut"]);
    assert_eq!(play.dialed(3), ["grant 3 to 2"]);
}

/// A connection is taken back from whoever does not claim it where somebody, or the shelf, gains by that.
#[test]
fn rule_09_to_take_back_is_to_gain() {
    let gains = |play: &Play| play.policy.gains_by(play.places[&1]);
    let granted = |config: PoolConfig| {
        let mut play = Play::new(config);
        play.want("a", 0, 1);
        play.dialed(1);
        play
    };
    assert!(gains(&granted(config())), "the shelf");
    let nothing = PoolConfig { max_idle: 0, max_connections_per_host: 1, ..config() };
    let mut play = granted(nothing.clone());
    assert!(!gains(&play), "it would be closed");
    play.want("a", 0, 2);
    assert!(gains(&play), "the next of the host");
    let mut play = granted(PoolConfig { max_connections: 1, ..nothing.clone() });
    play.want("b", 0, 2);
    assert!(gains(&play), "another host");
    let mut play = granted(nothing);
    play.policy.shut();
    assert!(gains(&play), "the end");
}

/// Two runtimes want more than the host's idle connections may be: nothing is dialed to be closed again.
#[test]
fn rule_14_what_would_not_be_kept_is_not_dialed() {
    let mut play = Play::new(PoolConfig { max_idle_per_host: 3, ..config() });
    assert_eq!(play.min_idle("a", 0, 2).len(), 2);
    assert_eq!(play.min_idle("a", 1, 2), ["dial a/1"]);
    for conn in 1..=3 {
        assert_eq!(play.dialed(conn), NOTHING);
    }
    for _ in 0..10 {
        play.now += 6 * S;
        assert!(play.reap().iter().all(|said| !said.starts_with("dial")));
    }
    // One is taken and comes back, again and again.
    let mut play = Play::new(PoolConfig { max_idle_per_host: 3, ..config() });
    play.min_idle("a", 0, 3);
    (1..=3).for_each(|conn| assert_eq!(play.dialed(conn), NOTHING));
    for _ in 0..3 {
        assert_eq!(play.want("a", 0, 1), ["reuse 3"]);
        assert_eq!(play.checkin(3), NOTHING);
    }
}

/// A lifetime that is over at once is no reason to dial for ever: who waits gets what was made.
#[test]
fn rule_16_who_waits_gets_a_connection_however_short_its_life() {
    let mut play = Play::new(PoolConfig { max_lifetime: Some(Duration::ZERO), ..config() });
    play.want("a", 0, 1);
    let now = play.now;
    assert_eq!(play.dialed_until(1, now), ["grant 1 to 1"]);
    assert_eq!(play.checkin_until(1, now), ["bury 1 MaxLifetime"]);
    assert_eq!(play.min_idle("a", 0, 3), NOTHING);
}

/// What is being closed already for a host that waits its turn is enough: no more is closed for it.
#[test]
fn rule_05_one_is_closed_for_one() {
    let mut play = Play::new(PoolConfig { max_connections: 3, ..config() });
    for waiter in 1..=3 {
        play.want("a", 0, waiter);
        play.dialed(waiter);
    }
    for waiter in 4..=9 {
        play.want("a", 0, waiter);
    }
    play.want("b", 0, 20);
    play.now += S;
    let said: Vec<_> = (1..=3).map(|conn| play.checkin(conn)).collect();
    let closed = said.iter().flatten().filter(|said| said.starts_with("bury")).count();
    // (The first in the row may be the busy host itself.)
    assert!((1..=2).contains(&closed), "{said:?}");
}

#[test]
fn what_is_counted_is_told() {
    let mut play = Play::new(config());
    assert!(play.policy.is_empty() && play.policy.is_quiet() && !play.policy.needs_reaper());
    play.want("a", 0, 1);
    assert!(!play.policy.is_empty() && !play.policy.needs_reaper());
    play.dialed(1);
    play.checkin(1);
    assert!(!play.policy.is_empty() && play.policy.needs_reaper());
    play.want("a", 0, 2);
    assert!(!play.policy.needs_reaper());
    for _ in 0..2 {
        play.want("b", 0, 3);
        play.fails(true);
    }
    assert_eq!(play.want("b", 0, 3), ["refused after 2"]);
    let counters = play.policy.total().0;
    assert_eq!((counters.opened, counters.failed_dials), (1, 2));
    assert!(!play.policy.is_shut());
    play.policy.shut();
    assert!(play.policy.is_shut());
    play.release(1);
    assert!(play.policy.is_empty());
}

/// What the shell asks for its ledgers and its errors.
#[test]
fn what_is_known_of_hosts_and_waiters_is_told() {
    let mut play = Play::new(PoolConfig { max_connections: 2, ..config() });
    play.want("a", 7, 1);
    play.dialed(1);
    play.want("b", 0, 2);
    assert_eq!(play.policy.host_slots(), 2);
    let known =
        |play: &Play, slot| play.policy.host_at(slot).map(|(key, counters, _)| (*key, counters.opened));
    assert_eq!((known(&play, 0), known(&play, 1), known(&play, 2)), (Some(("a", 1)), Some(("b", 0)), None));
    assert_eq!(play.policy.partition(play.places[&1]), Some(&7));
    // Who was granted stands in no queue, who waits does, and so does who is sent again.
    assert!(play.policy.of_ticket(play.tickets[&1]).is_none());
    play.want("c", 0, 3);
    let (key, counts, is_blocked, failed) = play.policy.of_ticket(play.tickets[&3]).unwrap();
    assert_eq!((*key, counts.waiting, is_blocked, failed.is_some()), ("c", 1, true, false));
    let (_, _, is_blocked, _) = play.policy.of_ticket(play.tickets[&2]).unwrap();
    assert!(!is_blocked);
    play.redial(1, 4);
    assert!(play.policy.of_ticket(play.tickets[&4]).is_some());
    // What exchanges add up to.
    let mut play = Play::new(config());
    play.open("a", 0, &[1]);
    for (nth, (reused, saved)) in
        [(false, None), (true, Some(S)), (true, Some(2 * S))].into_iter().enumerate()
    {
        assert_eq!(play.want("a", 0, nth as u32), ["reuse 1"]);
        let served = Served { request: true, reused, saved, answered: 1, drained: None };
        let (place, now, mut out) = (play.places[&1], play.now, Vec::new());
        play.policy.checkin(place, 1, Terms::default(), served, now, &mut out);
        play.say(out);
    }
    let total = play.policy.total().0;
    assert_eq!((total.requests, total.reused, total.handshakes_saved, total.time_saved), (3, 2, 2, 3 * S));
}

/// A connection that was found dead after one answer counts as one that its host closed.
#[test]
fn rule_28_what_is_replaced_counts_as_closed() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2, 3, 4]);
    for conn in [4, 3, 2] {
        assert_eq!(play.want("a", 0, conn), [format!("reuse {conn}")]);
        let (place, now, mut out) = (play.places[&conn], play.now, Vec::new());
        let checkout = play.policy.replace(place, 1, DropReason::PeerClosed, None, now, || 99, &mut out);
        let said = play.answer(&checkout, 99, out);
        assert_eq!(said, [format!("reuse {}", conn - 1)]);
        assert_eq!(play.checkin(conn - 1), NOTHING);
    }
    play.want("a", 0, 50);
    let (place, now, mut out) = (play.places[&1], play.now, Vec::new());
    let terms = Terms { is_used: true, ..Terms::default() };
    play.policy.checkin(place, 1, terms, Served { answered: 1, ..Served::default() }, now, &mut out);
    assert_eq!(play.say(out), ["bury 1 NotKept"]);
}

#[test]
fn once_shut_nothing_is_kept() {
    let mut play = Play::new(config());
    play.open("a", 0, &[1, 2]);
    play.want("a", 0, 9);
    play.policy.shut();
    let mut out = Vec::new();
    assert!(play.policy.bury_oldest(9, DropReason::Shutdown, &mut out) < 9);
    assert_eq!(play.say(out), ["bury 1 Shutdown"]);
    assert_eq!(play.buried(1), NOTHING);
    assert_eq!(play.checkin(2), ["bury 2 Shutdown"]);
    assert_eq!(play.buried(2), NOTHING);
    assert_eq!(play.counts(), [0, 0, 0, 0]);
}

#[test]
fn an_abandoned_runtime_loses_its_idle_connections_and_no_other_does() {
    let mut play = Play::new(PoolConfig { max_idle_per_host: 200, ..config() });
    play.open("a", 0, &[1, 2]);
    play.open("a", 1, &[3]);
    play.open("b", 1, &(100..250).collect::<Vec<_>>());
    let said = play.abandon(1);
    assert_eq!(said.len(), 151);
    assert_eq!(said[..2], ["bury 3 RuntimeGone", "bury 100 RuntimeGone"]);
    assert_eq!(play.counts(), [2, 151, 0, 0]);
    assert_eq!(play.abandon(1), NOTHING);
    assert_eq!(play.want("a", 0, 1), ["reuse 2"]);
}

#[test]
fn no_call_touches_more_than_a_batch() {
    let mut play = Play::new(PoolConfig { max_idle_per_host: 1000, max_idle: 1000, ..config() });
    play.open("a", 0, &(0..300).collect::<Vec<_>>());
    play.now += 100 * S;
    let mut out = Vec::new();
    assert!(play.policy.reap(play.now, &mut out));
    assert_eq!(out.len(), BATCH);
    assert_eq!(play.policy.bury_oldest(usize::MAX, DropReason::Shutdown, &mut out), BATCH);
    assert_eq!(out.len(), 2 * BATCH);
}

/// A crawler's million hosts: entries stay bounded, and so does what a host costs after it is gone.
#[test]
fn empty_hosts_are_forgotten() {
    let mut policy: Policy<u32, u32, u32, u32> = Policy::new(config(), 1);
    let now = Instant::now();
    let mut out = Vec::new();
    for host in 0..1_000_000u32 {
        let hash = u64::from(host).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let checkout =
            policy.checkout(hash, |key| *key == host, || host, &0, None, None, now, || host, &mut out);
        let Checkout::Queued(ticket) = checkout else { panic!("nothing is idle") };
        if host % 2 == 0 {
            assert!(policy.cancel(ticket, &mut out));
        }
        let Some(Action::Dial { place, .. }) = out.pop() else { panic!("nothing else to do") };
        if host % 3 == 0 {
            policy.fail_waiters(place, u64::MAX, true, &mut out);
            policy.dial_failed(place, now, &mut out);
        } else {
            policy.dialed(place, host, Terms::default(), now, &mut out);
            out.clear();
            policy.bury_oldest(usize::MAX, DropReason::Shutdown, &mut out);
            if host % 2 == 0 {
                policy.buried(place, now, &mut out);
            } else {
                policy.release(place, Served::default(), Some(DropReason::Failed), now, &mut out);
            }
        }
        out.clear();
        assert!(policy.hosts.listed() <= MAX_EMPTIES);
        assert!(policy.host_slots() <= MAX_EMPTIES + 1, "{} hosts", policy.host_slots());
    }
    assert_eq!(policy.hosts.len(), MAX_EMPTIES);
    assert_eq!(policy.total().1, Counts::default());
}

/// A host that was empty once is listed as such; when its last connection goes while the list overflows because of
/// another, it must not be looked for after it was forgotten.
#[test]
fn a_host_is_not_forgotten_under_the_callers_feet() {
    let mut policy: Policy<u32, u32, u32, u32> =
        Policy::new(PoolConfig { max_connections: 1, ..config() }, 1);
    let now = Instant::now();
    let mut out = Vec::new();
    let want = |policy: &mut Policy<u32, u32, u32, u32>, host: u32| {
        let mut out = Vec::new();
        let checkout = policy.checkout(
            u64::from(host),
            |key| *key == host,
            || host,
            &0,
            None,
            None,
            now,
            || host,
            &mut out,
        );
        let Checkout::Queued(ticket) = checkout else { panic!("nothing is idle") };
        let dial = out.into_iter().find_map(|action| match action {
            Action::Dial { place, .. } => Some(place),
            _ => None,
        });
        (ticket, dial)
    };
    // Host 0 becomes empty first, so it is the oldest in the list; then as many others as the list holds.
    for host in 0..MAX_EMPTIES as u32 {
        let (_, place) = want(&mut policy, host);
        policy.fail_waiters(place.unwrap(), u64::MAX, true, &mut out);
        policy.dial_failed(place.unwrap(), now, &mut out);
    }
    // Host 0 lives again, and a new host is blocked by it, but leaves.
    let (_, place) = want(&mut policy, 0);
    let (ticket, dial) = want(&mut policy, 5_000);
    assert!(dial.is_none());
    assert!(policy.cancel(ticket, &mut out));
    let (ticket, _) = want(&mut policy, 5_001);
    assert!(policy.cancel(ticket, &mut out));
    // Host 0's connection is closed: hosts 5000 and 5001 are listed, and the list overflows.
    let place = place.unwrap();
    policy.dialed(place, 1, Terms::default(), now, &mut out);
    policy.release(place, Served::default(), Some(DropReason::Failed), now, &mut out);
    assert_eq!(policy.total().1, Counts::default());
}
