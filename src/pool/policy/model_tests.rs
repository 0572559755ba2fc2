//! A random walk of the policy next to a simple model of the policy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::hosts::Host;
use super::play::{Act, FAILED, Named, Play, S, config, hash};
use super::*;

#[path = "model_check_tests.rs"]
mod check;
#[path = "model_steps_tests.rs"]
mod steps;

/// A generator of pseudo-random numbers: xorshift64*.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.below(all.len())]) }
    }
}

/// The model of one shelf: the connections and waiters of one host on one runtime.
#[derive(Default)]
struct Shelved {
    idle: Vec<u32>,
    /// Requests whose dead connection was replaced. These requests are served before those in `waiting`.
    first: VecDeque<u32>,
    waiting: VecDeque<u32>,
    resending: VecDeque<u32>,
}

struct Model {
    play: Play,
    shelves: BTreeMap<(usize, u32), Shelved>,
    leased: Vec<(u32, usize, u32)>,
    graves: Vec<(u32, usize, u32)>,
    dials: Vec<(Place, u64, usize, u32)>,
    /// Failed dials about which the policy has to be called again.
    failures: Vec<Failure>,
    /// Idle connections that are being looked at.
    lent: Vec<Lent<u32>>,
    /// Lent connections that were buried during the look.
    doomed: BTreeSet<u32>,
    /// Draining connections.
    draining: BTreeSet<u32>,
    cut: BTreeSet<u32>,
    /// Waiters that accept only a connection that was used lately.
    picky: BTreeSet<u32>,
    /// Time at which each waiter joined its queue.
    since: BTreeMap<u32, Instant>,
    /// Connections that came from a dial or came back unused, and may go to a waiter of their own shelf first.
    unused: BTreeSet<u32>,
    /// Number of requests that came.
    requests: usize,
    /// Number of dials that were begun.
    begun: usize,
    /// Number of dials ahead.
    ahead: usize,
    /// Whether a dial may begin in the room of a dead connection.
    has_freed_room: bool,
    /// Time since the latest use of the connection that was given to the policy last.
    age: Duration,
    /// Whether the reaper has run at the current time.
    is_reaped: bool,
    next: u32,
}

struct Failure {
    place: Place,
    dial_id: u64,
    host: usize,
    runtime: u32,
    concerns_host: bool,
    stage: u8,
}

const HOSTS: [&str; 5] = ["a", "b", "c", "dd", "ee"];
const RUNTIMES: u32 = 3;

impl Model {
    fn new(config: Limits) -> Self {
        Self {
            play: Play::new(config),
            shelves: BTreeMap::new(),
            leased: Vec::new(),
            graves: Vec::new(),
            dials: Vec::new(),
            failures: Vec::new(),
            lent: Vec::new(),
            doomed: BTreeSet::new(),
            draining: BTreeSet::new(),
            cut: BTreeSet::new(),
            picky: BTreeSet::new(),
            since: BTreeMap::new(),
            unused: BTreeSet::new(),
            requests: 0,
            begun: 0,
            ahead: 0,
            has_freed_room: false,
            age: Duration::ZERO,
            is_reaped: false,
            next: 0,
        }
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn shelf(&mut self, host: usize, runtime: u32) -> &mut Shelved {
        self.shelves.entry((host, runtime)).or_default()
    }

    /// Returns the host and the runtime of a place.
    fn owner(&self, place: Place) -> (usize, u32) {
        let host = self.play.policy.hosts.host(place.host);
        let runtime = host.shelves[place.shelf as usize].partition.unwrap();
        (HOSTS.iter().position(|known| *known == host.key).unwrap(), runtime)
    }

    /// Applies the policy's actions to the model. `offered` is a connection that was just given to the policy, and
    /// `is_fresh` says that this connection came from a dial.
    fn follow(&mut self, actions: Vec<Act>, offered: Option<(u32, usize, u32)>, is_fresh: bool) {
        let mut offered = offered;
        self.note_doomed();
        for action in actions {
            match action {
                Action::Grant { waiter, conn, place } => {
                    let (host, runtime) = self.owner(place);
                    assert_eq!(
                        offered.take(),
                        Some((conn, host, runtime)),
                        "only a connection that was offered is granted"
                    );
                    let is_old = self.age > S;
                    let picky = self.picky.clone();
                    let accepts = |waiter: &u32| !is_old || !picky.contains(waiter);
                    let shelf = self.shelf(host, runtime);
                    let oldest = match is_fresh.then(|| shelf.resending.pop_front()).flatten() {
                        Some(resent) => resent,
                        None => {
                            let mut queues = [&mut shelf.first, &mut shelf.waiting].into_iter();
                            let found = queues.find_map(|queue| {
                                let at = queue.iter().position(accepts)?;
                                queue.remove(at)
                            });
                            found.expect("a waiter accepts the connection")
                        }
                    };
                    assert_eq!(waiter, oldest, "the oldest waiter that accepts the connection comes first");
                    self.check_turn(conn, waiter, place);
                    self.picky.remove(&waiter);
                    self.leased.push((conn, host, runtime));
                    self.play.places.insert(conn, place);
                }
                Action::Fail { waiter } => {
                    let found = self.forget_waiter(waiter);
                    assert!(found, "{waiter} did not wait");
                }
                Action::Dial { key, partition, place, dial_id, .. } => {
                    let host = HOSTS.iter().position(|known| *known == key).unwrap();
                    assert_eq!(self.owner(place), (host, partition));
                    self.note_dial(host, partition);
                    self.dials.push((place, dial_id, host, partition));
                }
                Action::Forget { .. } => {}
                Action::Abort { dial_id } => {
                    let at =
                        self.dials.iter().position(|dial| dial.1 == dial_id).expect("the dial is under way");
                    self.dials.swap_remove(at);
                }
                Action::Cut { id } => {
                    let conn = u32::try_from(id).unwrap();
                    assert!(self.draining.remove(&conn), "{conn} does not drain");
                    self.cut.insert(conn);
                }
                Action::Bury { conn, place, .. } => {
                    let (host, runtime) = self.owner(place);
                    if offered == Some((conn, host, runtime)) {
                        offered = None;
                    } else if !self.doomed.remove(&conn) {
                        let idle = &mut self.shelf(host, runtime).idle;
                        let at =
                            idle.iter().position(|known| *known == conn).expect("the connection is idle");
                        idle.remove(at);
                    }
                    self.graves.push((conn, host, runtime));
                    self.play.places.insert(conn, place);
                }
            }
        }
        if let Some((conn, host, runtime)) = offered {
            self.shelf(host, runtime).idle.push(conn);
        }
    }

    /// Checks that a dial ahead begins only if no request waits for the room of the dial.
    fn note_dial(&mut self, host: usize, runtime: u32) {
        self.begun += 1;
        let is_here = |at: usize, on: u32| (at, on) == (host, runtime);
        let under_way = self.dials.iter().filter(|dial| is_here(dial.2, dial.3)).count()
            + self.failures.iter().filter(|failed| is_here(failed.host, failed.runtime)).count();
        let none = Shelved::default();
        let shelf = self.shelves.get(&(host, runtime)).unwrap_or(&none);
        let waiters = shelf.first.len() + shelf.waiting.len() + shelf.resending.len();
        if waiters <= under_way && !self.has_freed_room {
            self.ahead += 1;
            assert!(self.play.policy.blocked.is_empty(), "a request waits for the total limit");
            let slots = 0..self.play.policy.hosts.slots();
            let hosts = slots.filter_map(|slot| self.play.policy.hosts.get(slot as u32));
            for known in hosts.filter(|known| known.key == HOSTS[host]) {
                assert!(!known.is_wanting(), "a request waits for the host's limit");
            }
        }
    }

    /// Checks that, when a connection comes back, a request that has waited for a turn on another runtime comes before
    /// later requests.
    fn check_turn(&self, conn: u32, granted: u32, place: Place) {
        let host = self.play.policy.hosts.host(place.host);
        let ours = host.shelves[place.shelf as usize].waiting.oldest();
        let since = ours.into_iter().chain([self.since[&granted]]).min();
        let is_full = host.counted >= self.play.policy.limits.max_connections_per_host;
        let may_dial = self.play.policy.dials_allowed(place.host, self.play.now) > 0;
        if !is_full || !may_dial || host.evicting > 0 || self.unused.contains(&conn) {
            return;
        }
        for (at, shelf) in host.shelves.iter().enumerate().filter(|(at, _)| *at != place.shelf as usize) {
            let Some(oldest) = shelf.oldest().filter(|_| shelf.demand() > 0) else { continue };
            let is_older = oldest + S <= self.play.now && Some(oldest) < since;
            assert!(!is_older, "shelf {at} has waited for longer than a turn");
        }
    }

    /// Notes idle connections that were buried while they were being looked at. The policy asks for their closing when
    /// the look ends.
    fn note_doomed(&mut self) {
        for (stamp, _) in self.play.policy.doomed.clone() {
            let lent =
                self.lent.iter().find(|lent| lent.stamp == stamp).expect("only a lent connection is doomed");
            let conn = lent.conn;
            if self.doomed.insert(conn) {
                let (host, runtime) = self.owner(lent.place);
                self.shelf(host, runtime).idle.retain(|known| *known != conn);
            }
        }
    }

    /// Returns the counts that the end of a lease adds to the ledger.
    fn served(&mut self, conn: u32, random: &mut Random) -> Served {
        let is_draining = self.draining.remove(&conn) || self.cut.remove(&conn);
        let answered = random.below(4) as u64;
        Served { answered, drained: is_draining.then_some(u64::from(conn)), ..Served::default() }
    }

    fn terms(&self, random: &mut Random) -> Terms {
        Terms {
            used: [None, Some(self.play.now - 2 * S)][random.below(2)],
            stay: [None, Some(Duration::ZERO), Some(3 * S), Some(500 * S)][random.below(4)],
            until: [None, None, Some(self.play.now), Some(self.play.now + 5 * S)][random.below(4)],
            is_used: random.below(3) > 0,
            is_of_old_network: random.below(50) == 0,
        }
    }

    fn forget_waiter(&mut self, waiter: u32) -> bool {
        self.picky.remove(&waiter);
        self.shelves.values_mut().any(|shelf| {
            [&mut shelf.first, &mut shelf.waiting, &mut shelf.resending].into_iter().any(|queue| {
                let before = queue.len();
                queue.retain(|known| *known != waiter);
                queue.len() < before
            })
        })
    }

    fn took(&mut self, checkout: &Checkout<Named>, host: usize, runtime: u32, waiter: u32, is_first: bool) {
        match *checkout {
            Checkout::Reuse(conn, place) => {
                assert_eq!(self.owner(place), (host, runtime));
                let lent: Vec<_> = self.lent.iter().map(|lent| lent.conn).collect();
                let idle = &mut self.shelf(host, runtime).idle;
                let newest = idle
                    .iter()
                    .rposition(|known| !lent.contains(known))
                    .expect("a connection is idle and not lent");
                assert_eq!(idle.remove(newest), conn, "newest first");
                self.leased.push((conn, host, runtime));
                self.play.places.insert(conn, place);
            }
            Checkout::Queued(ticket) => {
                self.play.tickets.insert(waiter, ticket);
            }
            Checkout::Full(_) | Checkout::Failing(_) | Checkout::Shut => {
                self.picky.remove(&waiter);
                let shelf = self.shelf(host, runtime);
                shelf.waiting.retain(|known| *known != waiter);
                return;
            }
        }
        if matches!(checkout, Checkout::Reuse(..)) {
            let shelf = self.shelf(host, runtime);
            let queue = if is_first { &mut shelf.first } else { &mut shelf.waiting };
            assert_eq!(queue.pop_back(), Some(waiter));
            self.picky.remove(&waiter);
        }
    }
}

#[test]
fn rule_40_a_random_walk_keeps_every_invariant() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_2024);
    println!("SEED={seed}");
    let limits = [
        (usize::MAX, usize::MAX, 32, 512),
        (1, usize::MAX, 32, 512),
        (2, 3, 2, 3),
        (3, 4, 1, 2),
        (usize::MAX, 1, 32, 512),
        (4, 6, 3, 4),
        (2, 100, 32, 512),
        (5, 2, 0, 9),
    ];
    let mut operations = 0;
    let rounds = std::env::var("HANDCLASP_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200);
    for round in 0..rounds {
        let (per_host, total, idle_per_host, idle) = limits[round % limits.len()];
        let mut model = Model::new(Limits {
            max_connections_per_host: per_host,
            max_connections: total,
            max_idle_per_host: idle_per_host,
            max_idle: Some(idle),
            max_waiters_per_host: 12,
            idle_timeout: [Some(10 * S), None][round / limits.len() % 2],
            connect_timeout: [Some(3 * S), None][round / 3 % 2],
            failing_host_backoff: [None, Some(4 * S)][round / 2 % 2],
            wait_for_failing: round % 3 == 0,
            ..config()
        });
        let mut random = Random(seed + round as u64);
        for _ in 0..5_000 {
            operations += 1;
            model.step(&mut random);
            model.check();
        }
        model.drain(&mut random);
        let Model { requests, begun, ahead, .. } = model;
        assert!(
            begun <= 2 * requests + ahead,
            "{begun} dials, {ahead} of them ahead, for {requests} requests"
        );
    }
    assert_eq!(operations, rounds * 5_000);
}
