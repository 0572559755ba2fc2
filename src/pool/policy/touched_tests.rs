//! Tests of the number of entries that a checkout with its checkin, and a hand-off, touch. The number does not depend on
//! the size of the pool.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::actions::{Action, Checkout, Served, Terms, Ticket};
use super::super::limits::Limits;
use super::super::places::Place;
use super::super::play::Numbered;
use super::super::{BATCH, Policy};

thread_local! {
    pub(super) static TOUCHED: Cell<usize> = const { Cell::new(0) };
}

type Decider = Policy<Numbered>;
type Act = Action<Numbered>;

/// Hosts of one runtime, and a shell that the test plays.
struct Play {
    policy: Decider,
    hash: fn(u32) -> u64,
    now: Instant,
    out: Vec<Act>,
    /// Largest number of entries that one call touched since the start of a measurement.
    longest: usize,
    /// Number of entries that all calls touched since the start of a measurement.
    sum: usize,
    dials: Vec<(Place, u64)>,
}

impl Play {
    fn new(config: Limits) -> Self {
        let (now, out, dials) = (Instant::now(), Vec::new(), Vec::new());
        Self { policy: Policy::new(config, 1), hash, now, out, longest: 0, sum: 0, dials }
    }

    /// Opens `idle` connections to each of `hosts` hosts, and makes all connections idle.
    fn open(&mut self, hosts: u32, idle: u32, stay: Option<Duration>) {
        for host in 0..hosts {
            for waiter in 0..idle {
                assert!(matches!(self.checkout(host, waiter), Checkout::Queued(_)));
            }
        }
        for dial in std::mem::take(&mut self.dials) {
            self.dialed(dial);
        }
        for act in std::mem::take(&mut self.out) {
            let Action::Grant { conn, place, .. } = act else { panic!("{act:?}") };
            self.checkin(place, conn, stay);
        }
        let counts = self.policy.total().1;
        assert_eq!((counts.idle, self.out.len()), ((hosts * idle) as usize, 0), "all connections are idle");
    }

    /// Makes one call of the policy, which stands for one hold of the pool's lock.
    fn call<R>(&mut self, call: impl FnOnce(&mut Decider, Instant, &mut Vec<Act>) -> R) -> R {
        // Time moves on with each call, so that no two connections have the same age.
        self.now += Duration::from_micros(1);
        TOUCHED.set(0);
        let mut out = Vec::new();
        let answer = call(&mut self.policy, self.now, &mut out);
        self.longest = self.longest.max(TOUCHED.get());
        self.sum += TOUCHED.get();
        for act in out {
            match act {
                Action::Dial { place, dial_id, .. } => self.dials.push((place, dial_id)),
                Action::Forget { .. } => {}
                act => self.out.push(act),
            }
        }
        answer
    }

    fn checkout(&mut self, host: u32, waiter: u32) -> Checkout<Numbered> {
        let hash = (self.hash)(host);
        self.call(|policy, now, out| {
            let place = policy.place(hash, |key| *key == host, || host, &0);
            policy.checkout(place, None, None, now, || waiter, out)
        })
    }

    fn dialed(&mut self, (place, dial_id): (Place, u64)) {
        self.call(|policy, now, out| policy.dialed(place, dial_id, 0, Terms::default(), now, out));
    }

    fn checkin(&mut self, place: Place, conn: u32, stay: Option<Duration>) {
        let served = Served { request: true, reused: true, saved: true, answered: 2, ..Served::default() };
        let terms = Terms { stay, is_used: true, ..Terms::default() };
        self.call(|policy, now, out| policy.checkin(place, conn, terms, served, now, out));
    }

    fn cancel(&mut self, ticket: Ticket) {
        assert!(self.call(|policy, _, out| policy.cancel(ticket, out)), "the request waited");
    }

    /// Returns how many entries all calls of `work` together touch. No single call may touch more than a batch.
    fn touched(&mut self, work: impl FnOnce(&mut Self)) -> usize {
        (self.longest, self.sum) = (0, 0);
        work(self);
        assert!(self.longest > 0, "the visits are counted");
        assert!(self.longest <= BATCH, "one call touched {} entries", self.longest);
        self.sum
    }

    /// Takes an idle connection of the host, and gives it back.
    fn pair(&mut self, host: u32, stay: Option<Duration>) {
        let Checkout::Reuse(conn, place) = self.checkout(host, 0) else { panic!("a connection is idle") };
        self.checkin(place, conn, stay);
    }
}

/// Returns a hash that gives each host its own position in the table, so that a lookup visits no other host. With a
/// real hash, chance decides how many other hosts a lookup visits.
fn hash(host: u32) -> u64 {
    u64::from(host) | u64::from(host % 128) << 57
}

/// Returns limits without a bound on idle connections.
fn config() -> Limits {
    Limits { max_idle_per_host: usize::MAX, max_idle: Some(usize::MAX), ..Limits::default() }
}

/// Returns some of the hosts in a mixed order, each once, and not the last host.
fn visited(hosts: u32) -> impl Iterator<Item = u32> {
    // The factor has no divisor in common with any number of hosts here.
    let hosts = u64::from(hosts);
    (0..hosts.min(500))
        .map(move |at| (at * 7_919 % hosts) as u32)
        .filter(move |host| hosts == 1 || u64::from(*host) + 1 < hosts)
}

#[test]
fn a_pair_touches_as_many_entries_however_many_hosts_there_are() {
    for stay in [None, Some(Duration::from_secs(5))] {
        let mut counts = Vec::new();
        for hosts in [1, 1_000, 100_000] {
            let mut play = Play::new(config());
            play.open(hosts, 2, stay);
            let mut seen = BTreeSet::new();
            for host in visited(hosts) {
                let first = play.touched(|play| play.pair(host, stay));
                // The host's connection is now the newest connection of all hosts.
                let again = play.touched(|play| play.pair(host, stay));
                seen.insert((first, again));
            }
            assert_eq!(seen.len(), 1, "{hosts} hosts: {seen:?}");
            counts.extend(seen);
        }
        let [(first_of_1, of_1), of_1_000, of_100_000] = counts[..] else { panic!("{counts:?}") };
        assert_eq!(first_of_1, of_1, "the only host was also the last one to be used");
        assert_eq!((of_1_000, of_1_000.1), (of_100_000, of_1), "{counts:?}");
        assert!(of_100_000.0 < BATCH, "{counts:?}");
    }
}

/// A host is found in the table by its hash. Two hosts may have similar hashes, so a lookup may visit a few entries more.
#[test]
fn a_pair_touches_few_entries_wherever_chance_puts_the_hosts() {
    let mut play =
        Play { hash: |host| u64::from(host).wrapping_mul(0x9e37_79b9_7f4a_7c15), ..Play::new(config()) };
    play.open(100_000, 1, None);
    for host in 0..100_000 {
        let touched = play.touched(|play| play.pair(host, None));
        assert!(touched <= BATCH, "host {host}: {touched}");
    }
}

#[test]
fn an_eviction_touches_as_many_entries_however_many_hosts_there_are() {
    let counts = [1_000, 100_000].map(|hosts| {
        let mut play = Play::new(Limits { max_idle: Some(hosts as usize), ..config() });
        play.open(hosts, 1, None);
        let mut seen = BTreeSet::new();
        // A connection that was used in the last second is not evicted.
        play.now += Duration::from_secs(1);
        // The checkout does not visit the hosts whose connections would be evicted first.
        for host in visited(hosts / 2).take(200).map(|host| hosts / 2 + host) {
            let Checkout::Reuse(conn, place) = play.checkout(host, 0) else { panic!("a connection is idle") };
            // Another connection takes the place of the checked-out connection among the idle connections.
            assert!(matches!(play.checkout(host, 0), Checkout::Queued(_)));
            let dial = play.dials.pop().expect("nothing else is idle");
            play.dialed(dial);
            let Some(Action::Grant { conn: other, place: at, .. }) = play.out.pop() else {
                panic!("a request waits")
            };
            play.checkin(at, other, None);
            assert_eq!(play.out.len(), 0, "there was room");
            let evicted = play.touched(|play| {
                play.checkin(place, conn, None);
                let Some(Action::Bury { place, .. }) = play.out.pop() else { panic!("there is no room") };
                play.call(|policy, now, out| policy.buried(place, now, out));
            });
            seen.insert(evicted);
        }
        assert_eq!(play.policy.total().1.idle, hosts as usize);
        assert_eq!(seen.len(), 1, "{hosts} hosts: {seen:?}");
        seen
    });
    assert_eq!(counts[0], counts[1]);
}

#[test]
fn a_dial_touches_few_entries_however_many_are_under_way() {
    let mut play = Play::new(config());
    let mut longest = 0;
    for waiter in 0..5_000 {
        longest = longest.max(play.touched(|play| {
            assert!(matches!(play.checkout(0, waiter), Checkout::Queued(_)));
        }));
    }
    assert_eq!(play.dials.len(), 5_000);
    assert!(longest < BATCH / 2, "{longest}");
}

#[test]
fn a_hand_off_touches_as_many_entries_however_many_wait() {
    let mut counts = Vec::new();
    for waiters in [1, 100, 5_000] {
        // Each step of the loop leaves the length of the queue unchanged.
        let mut play = Play::new(Limits { max_connections_per_host: 1, ..config() });
        play.open(1, 1, None);
        let Checkout::Reuse(mut conn, mut place) = play.checkout(0, 0) else {
            panic!("a connection is idle")
        };
        for waiter in 0..waiters {
            assert!(matches!(play.checkout(0, waiter), Checkout::Queued(_)));
        }
        let mut seen = BTreeSet::new();
        for turn in 0..200 {
            let given = play.touched(|play| play.checkin(place, conn, None));
            let Some(Action::Grant { waiter, conn: granted, place: at }) = play.out.pop() else {
                panic!("a request waits")
            };
            assert_eq!((waiter, play.out.len()), (turn, 0), "the oldest waiter has the connection");
            (conn, place) = (granted, at);
            let asked = play.touched(|play| {
                assert!(matches!(play.checkout(0, waiters + turn), Checkout::Queued(_)));
            });
            let Checkout::Queued(ticket) = play.checkout(0, u32::MAX) else { panic!("nothing is idle") };
            let left = play.touched(|play| play.cancel(ticket));
            seen.insert((given, asked, left));
        }
        assert_eq!(play.policy.total().1.waiting, waiters as usize);
        assert_eq!(seen.len(), 1, "{waiters} waiters: {seen:?}");
        counts.extend(seen);
    }
    assert_eq!(counts, [counts[0]; 3]);
}
