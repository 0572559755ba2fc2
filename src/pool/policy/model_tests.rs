//! A random walk of the policy, beside a simple model of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::hosts::Host;
use super::play::{Act, FAILED, Named, Play, S, config, hash};
use super::*;

/// A generator of numbers that look random: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.below(all.len())]) }
    }
}

/// Where the model thinks that connections and waiters are. A shelf is a host and a runtime.
#[derive(Default)]
struct Shelved {
    idle: Vec<u32>,
    /// Replaced requests, then the others.
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
    /// Dials that failed, and of which the policy has not been told everything yet.
    failures: Vec<Failure>,
    /// Idle connections that are being looked at.
    lent: Vec<Lent<u32>>,
    /// Of these, such as were buried meanwhile.
    doomed: BTreeSet<u32>,
    /// Leased connections that read what nobody wants, and of these, such as are to be closed.
    draining: BTreeSet<u32>,
    cut: BTreeSet<u32>,
    /// Waiters that wanted a fresh connection.
    picky: BTreeSet<u32>,
    /// Since when each waiter has waited.
    since: BTreeMap<u32, Instant>,
    /// Connections that have come from a dial or unused, and may go to whoever waits beside them.
    unused: BTreeSet<u32>,
    /// Requests that came, dials that were begun, and of these, such as nobody waited for.
    requests: usize,
    begun: usize,
    ahead: usize,
    /// The dead connection of a request has left it its slot.
    has_slot: bool,
    /// How long ago the connection was used that was given to the policy last.
    age: Duration,
    /// The reaper has run, and no time has passed since.
    is_reaped: bool,
    next: u32,
}

struct Failure {
    place: Place,
    dial_id: DialId,
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
            has_slot: false,
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

    /// Whose connection or dial it is.
    fn owner(&self, place: Place) -> (usize, u32) {
        let host = self.play.policy.hosts.host(place.host);
        let runtime = host.shelves[place.shelf as usize].partition.unwrap();
        (HOSTS.iter().position(|known| *known == host.key).unwrap(), runtime)
    }

    /// Follows what the policy asks for. `offered` is a connection that was just given to it, `is_fresh` from a dial.
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
                        "only what was offered is granted"
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
                            found.expect("one waits who accepts it")
                        }
                    };
                    assert_eq!(waiter, oldest, "oldest first, of those who accept it");
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
                    let at = self.dials.iter().position(|dial| dial.1 == dial_id).expect("it is under way");
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
                        let at = idle.iter().position(|known| *known == conn).expect("it is idle");
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

    /// A dial for which nobody waits begins only where no request waits for the room.
    fn note_dial(&mut self, host: usize, runtime: u32) {
        self.begun += 1;
        let is_here = |at: usize, on: u32| (at, on) == (host, runtime);
        let under_way = self.dials.iter().filter(|dial| is_here(dial.2, dial.3)).count()
            + self.failures.iter().filter(|failed| is_here(failed.host, failed.runtime)).count();
        let none = Shelved::default();
        let shelf = self.shelves.get(&(host, runtime)).unwrap_or(&none);
        let waiters = shelf.first.len() + shelf.waiting.len() + shelf.resending.len();
        if waiters <= under_way && !self.has_slot {
            self.ahead += 1;
            assert!(self.play.policy.blocked.is_empty(), "a request waits for the total limit");
            let slots = 0..self.play.policy.hosts.slots();
            let hosts = slots.filter_map(|slot| self.play.policy.hosts.get(slot as u32));
            for known in hosts.filter(|known| known.key == HOSTS[host]) {
                assert!(!known.is_wanting(), "a request waits for the host's limit");
            }
        }
    }

    /// Whoever has waited for a turn on another runtime comes before those who came later, once a connection comes back.
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

    /// Idle connections that were buried while they were looked at are told of when they come back.
    fn note_doomed(&mut self) {
        for (stamp, _) in self.play.policy.doomed.clone() {
            let lent =
                self.lent.iter().find(|lent| lent.stamp == stamp).expect("only what is lent is doomed");
            let conn = lent.conn;
            if self.doomed.insert(conn) {
                let (host, runtime) = self.owner(lent.place);
                self.shelf(host, runtime).idle.retain(|known| *known != conn);
            }
        }
    }

    /// What a lease's end adds to the ledger.
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
                let newest = idle.iter().rposition(|known| !lent.contains(known)).expect("one is there");
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

    fn step(&mut self, random: &mut Random) {
        let mut out = Vec::new();
        match random.below(100) {
            0..30 => {
                let (host, runtime) = (random.below(HOSTS.len()), random.below(RUNTIMES as usize) as u32);
                let waiter = self.fresh();
                let name = HOSTS[host];
                let now = self.play.now;
                self.requests += 1;
                self.since.insert(waiter, now);
                self.shelf(host, runtime).waiting.push_back(waiter);
                let fresh = (random.below(8) == 0).then_some(S);
                if fresh.is_some() {
                    self.picky.insert(waiter);
                }
                let policy = &mut self.play.policy;
                let place = policy.place(hash(name), |key| *key == name, || name, &runtime);
                let checkout = policy.checkout(place, fresh, None, now, || waiter, &mut out);
                self.follow(out, None, false);
                self.took(&checkout, host, runtime, waiter, false);
            }
            30..45 => {
                let Some(lease) = self.take_lease(random) else { return };
                let place = self.play.places[&lease.0];
                let now = self.play.now;
                let (terms, served) = (self.terms(random), self.served(lease.0, random));
                self.age = terms.used.map_or(Duration::ZERO, |used| now - used);
                if terms.is_used {
                    self.unused.remove(&lease.0)
                } else {
                    self.unused.insert(lease.0)
                };
                self.play.policy.checkin(place, lease.0, terms, served, now, &mut out);
                self.follow(out, Some(lease), false);
            }
            45..52 => {
                let Some((conn, ..)) = self.take_lease(random) else { return };
                let place = self.play.places[&conn];
                let now = self.play.now;
                let served = self.served(conn, random);
                let reason = [DropReason::Failed, DropReason::PeerClosed][random.below(2)];
                self.play.policy.release(place, served, Some(reason), now, &mut out);
                self.follow(out, None, false);
            }
            52..56 => {
                let Some((conn, host, runtime)) = self.take_user(random) else { return };
                let waiter = self.fresh();
                let place = self.play.places[&conn];
                let now = self.play.now;
                self.requests += 1;
                self.since.insert(waiter, now);
                self.shelf(host, runtime).first.push_back(waiter);
                let checkout = self.play.policy.replace(
                    place,
                    2,
                    DropReason::PeerClosed,
                    None,
                    now,
                    || waiter,
                    &mut out,
                );
                self.has_slot = true;
                self.follow(out, None, false);
                self.has_slot = false;
                self.took(&checkout, host, runtime, waiter, true);
            }
            56..60 => {
                let Some((conn, host, runtime)) = self.take_user(random) else { return };
                let waiter = self.fresh();
                let place = self.play.places[&conn];
                self.requests += 1;
                self.since.insert(waiter, self.play.now);
                self.shelf(host, runtime).resending.push_back(waiter);
                let served =
                    Served { request: true, reused: true, saved: true, answered: 2, ..Served::default() };
                let ticket = self.play.policy.redial(
                    place,
                    served,
                    DropReason::PeerClosed,
                    waiter,
                    self.play.now,
                    &mut out,
                );
                self.play.tickets.insert(waiter, ticket);
                self.has_slot = true;
                self.follow(out, None, false);
                self.has_slot = false;
            }
            60..72 => self.dial_ends(random, true),
            72..76 => self.dial_ends(random, false),
            76..79 => self.failure_goes_on(random),
            79..86 => self.close_one(random),
            86..93 => {
                let Some(waiter) = self.any_waiter(random) else { return };
                let ticket = self.play.tickets[&waiter];
                assert!(self.forget_waiter(waiter));
                assert!(self.play.policy.cancel(ticket, &mut out), "it waits");
                self.follow(std::mem::take(&mut out), None, false);
                assert!(!self.play.policy.cancel(ticket, &mut out), "it is gone");
                assert!(out.is_empty());
            }
            93..95 => {
                let (host, runtime) = (random.below(HOSTS.len()), random.below(RUNTIMES as usize) as u32);
                let name = HOSTS[host];
                let place = self.play.place(name, runtime);
                match random.below(3) {
                    0 => {
                        let (wanted, now) = (random.below(4), self.play.now);
                        self.play.policy.set_min_idle(place, wanted, now, &mut out);
                    }
                    _ => self.play.policy.warm(place, 2, 2, self.play.now, &mut out),
                }
                self.follow(out, None, false);
            }
            95 => {
                let Some((conn, ..)) = random.pick(&self.leased) else { return };
                let place = self.play.places[&conn];
                let (terms, now) = (Terms::default(), self.play.now);
                let is_draining = self.draining.contains(&conn) || self.cut.contains(&conn);
                if !is_draining && self.play.policy.begin_drain(place, conn.into(), terms, now) {
                    let host = self.play.policy.hosts.host(place.host);
                    assert_eq!(host.waiting, 0, "it is wanted");
                    self.draining.insert(conn);
                }
            }
            96 => {
                if random.below(2) == 0 {
                    let mut lent = Vec::new();
                    self.play.policy.lend(&(random.below(RUNTIMES as usize) as u32), 0, &mut lent);
                    self.lent.append(&mut lent);
                } else {
                    for _ in 0..3 {
                        self.give_back(random);
                    }
                }
            }
            97 => {
                self.play.now += S * random.below(4) as u32;
                let more = self.play.policy.reap(self.play.now, &mut out);
                self.follow(out, None, false);
                self.is_reaped = !more;
                self.reclaim();
            }
            98 => {
                let runtime = random.below(RUNTIMES as usize) as u32;
                let mut slot = Some(0);
                while let Some(from) = slot {
                    slot = self.play.policy.abandon(&runtime, from, &mut out);
                }
                self.follow(out, None, false);
            }
            _ => {
                if random.below(20) == 0 {
                    self.play.policy.bury_oldest(random.below(9), DropReason::Shutdown, &mut out);
                    self.follow(out, None, false);
                } else if random.below(20) == 0 {
                    let now = self.play.now;
                    assert_eq!(self.play.policy.forgive(0, now, &mut out), None);
                    self.follow(out, None, false);
                }
            }
        }
    }

    /// What is overdue is given up.
    fn reclaim(&mut self) {
        loop {
            let (mut out, now) = (Vec::new(), self.play.now);
            let Some((dial_id, runtime)) = self.play.policy.overdue(now) else { break };
            let mut slot = Some(0);
            while let Some(from) = slot {
                slot = self.play.policy.refuse_waiters(Some(&runtime), from, &mut out);
                self.follow(std::mem::take(&mut out), None, false);
            }
            self.play.policy.reclaim(dial_id, now, &mut out);
            self.follow(out, None, false);
        }
        let due = self.play.policy.next_overdue();
        assert!(due.is_none_or(|due| due > self.play.now), "an overdue dial keeps its slot");
    }

    fn take_lease(&mut self, random: &mut Random) -> Option<(u32, usize, u32)> {
        if self.leased.is_empty() {
            return None;
        }
        let at = random.below(self.leased.len());
        Some(self.leased.swap_remove(at))
    }

    /// The lease of a request that is under way.
    fn take_user(&mut self, random: &mut Random) -> Option<(u32, usize, u32)> {
        let lease = self.take_lease(random)?;
        if self.draining.contains(&lease.0) || self.cut.contains(&lease.0) {
            self.leased.push(lease);
            return None;
        }
        Some(lease)
    }

    fn give_back(&mut self, random: &mut Random) {
        if self.lent.is_empty() {
            return;
        }
        let lent = self.lent.swap_remove(random.below(self.lent.len()));
        let (host, runtime) = self.owner(lent.place);
        let reason = [None, None, Some(DropReason::PeerClosed)][random.below(3)];
        let (conn, was_doomed) = (lent.conn, self.doomed.contains(&lent.conn));
        let mut out = Vec::new();
        self.age =
            if was_doomed { Duration::ZERO } else { self.play.policy.idle.seen(lent.id, self.play.now).age };
        self.unused.insert(conn);
        let before = self.shelf(host, runtime).idle.clone();
        self.play.policy.give_back(lent, reason, self.play.now, &mut out);
        let stays = out.iter().all(|action| match action {
            Action::Grant { conn: other, .. } | Action::Bury { conn: other, .. } => *other != conn,
            _ => true,
        });
        if !was_doomed {
            self.shelf(host, runtime).idle.retain(|known| *known != conn);
        }
        self.follow(out, (!was_doomed).then_some((conn, host, runtime)), false);
        if stays {
            // In its old place.
            assert!(!was_doomed && reason.is_none());
            let gone = |known: &u32| {
                self.doomed.contains(known) || self.graves.iter().any(|grave| grave.0 == *known)
            };
            let left: Vec<_> = before.into_iter().filter(|known| !gone(known)).collect();
            self.shelf(host, runtime).idle = left;
        }
    }

    /// The policy is told the next thing about a dial that failed.
    fn failure_goes_on(&mut self, random: &mut Random) {
        if self.failures.is_empty() {
            return;
        }
        let at = random.below(self.failures.len());
        let Failure { place, dial_id, concerns_host, stage, .. } = self.failures[at];
        let mut out = Vec::new();
        let policy = &mut self.play.policy;
        match stage {
            0 => {
                let more = policy.fail_waiters(place, dial_id, concerns_host, &mut out);
                assert!(concerns_host || out.len() <= 1);
                self.failures[at].stage += u8::from(!more);
            }
            1 => {
                let more = policy.fail_unserved(place, true, &mut out);
                self.failures[at].stage += u8::from(!more);
            }
            _ => {
                self.failures.swap_remove(at);
                policy.dial_failed(place, true, self.play.now, &mut out);
            }
        }
        self.follow(out, None, false);
    }

    fn dial_ends(&mut self, random: &mut Random, is_ok: bool) {
        if self.dials.is_empty() {
            return;
        }
        let at = random.below(self.dials.len());
        let (place, dial_id, host, runtime) = self.dials.swap_remove(at);
        let mut out = Vec::new();
        if is_ok {
            let conn = self.fresh();
            let (now, terms) = (self.play.now, Terms { used: None, is_used: false, ..self.terms(random) });
            self.age = Duration::ZERO;
            self.unused.insert(conn);
            self.play.policy.dialed(place, dial_id, conn, terms, now, &mut out);
            self.follow(out, Some((conn, host, runtime)), true);
        } else {
            let decides = self.play.policy.note_failure(place, dial_id, Some(FAILED), self.play.now);
            let concerns_host = decides || random.below(2) == 0;
            self.failures.push(Failure { place, dial_id, host, runtime, concerns_host, stage: 0 });
        }
    }

    fn close_one(&mut self, random: &mut Random) {
        if self.graves.is_empty() {
            return;
        }
        let at = random.below(self.graves.len());
        let (conn, ..) = self.graves.swap_remove(at);
        let mut out = Vec::new();
        let place = self.play.places.remove(&conn).unwrap();
        let now = self.play.now;
        self.play.policy.buried(place, now, &mut out);
        self.follow(out, None, false);
    }

    fn any_waiter(&self, random: &mut Random) -> Option<u32> {
        let all = self
            .shelves
            .values()
            .flat_map(|shelf| shelf.first.iter().chain(&shelf.waiting).chain(&shelf.resending).copied());
        random.pick(&all.collect::<Vec<_>>())
    }

    /// All invariants, against the policy's insides and the model's count.
    fn check(&self) {
        let policy = &self.play.policy;
        let config = &policy.limits;
        let (mut counted, mut idle, mut dialing, mut waiting) = (0, 0, 0, 0);
        let has_graves = !self.graves.is_empty() || !self.cut.is_empty() || !self.doomed.is_empty();
        for host in (0..policy.hosts.slots()).filter_map(|slot| policy.hosts.get(slot as u32)) {
            let at = HOSTS.iter().position(|known| *known == host.key).unwrap();
            let (mut host_counted, mut host_waiting) = (0, 0);
            for shelf in host.shelves.iter() {
                let none = Shelved::default();
                assert_eq!(shelf.partition.is_none(), shelf.is_vacant(), "a partition is kept for nothing");
                let Some(partition) = shelf.partition else { continue };
                let ours = self.shelves.get(&(at, partition)).unwrap_or(&none);
                let is_ours = |(_, host, runtime): &&(u32, usize, u32)| (*host, *runtime) == (at, partition);
                let active =
                    self.leased.iter().filter(is_ours).count() + self.graves.iter().filter(is_ours).count();
                let dials = self.dials.iter().filter(|dial| (dial.2, dial.3) == (at, partition)).count();
                let is_failed = |failed: &&Failure| (failed.host, failed.runtime) == (at, partition);
                let dials = dials + self.failures.iter().filter(is_failed).count();
                let is_lent = |lent: &&Lent<u32>| self.owner(lent.place) == (at, partition);
                let lent: Vec<_> = self.lent.iter().filter(is_lent).map(|lent| lent.conn).collect();
                let doomed = lent.iter().filter(|conn| self.doomed.contains(conn)).count();
                let active = active + doomed;
                assert_eq!(shelf.lent, (lent.len() - doomed) as u32);
                assert_eq!((shelf.idle, shelf.active, shelf.dialing), (ours.idle.len(), active, dials));
                assert_eq!(shelf.waiting.len(), ours.first.len() + ours.waiting.len());
                assert_eq!(shelf.resending.len(), ours.resending.len());
                let mut waiters = ours.first.iter().chain(&ours.waiting);
                let is_idle = shelf.idle > shelf.lent as usize;
                assert!(
                    !is_idle || waiters.all(|w| self.picky.contains(w)),
                    "one waits beside an idle connection"
                );
                let now = self.play.now;
                let is_due =
                    |f: &Failing<&'static str>| (f.is_failing() && now < f.until) || host.dialing() > 0;
                let is_failing = host.failing.as_ref().is_some_and(|f| is_due(f));
                let is_in_between = self.failures.iter().any(|failed| failed.host == at);
                let is_host_full = host.counted >= config.max_connections_per_host;
                let is_full = policy.counted >= config.max_connections;
                let has_wake = host.wake.is_some();
                let is_closing = self.graves.iter().any(|grave| grave.1 == at)
                    || self
                        .lent
                        .iter()
                        .any(|lent| self.owner(lent.place).0 == at && self.doomed.contains(&lent.conn));
                if is_in_between || is_closing {
                    // What is not said yet, or will be closed next, may be all that they wait for.
                } else if shelf.demand() > 0 && is_failing {
                    // A dial of the host is under way, which decides for all; or one will be made.
                    let is_dialed = host.counts().dialing > 0;
                    assert!(
                        is_dialed || config.wait_for_failing,
                        "one waits for a failing host without a dial"
                    );
                    assert!(is_dialed || has_wake || is_full || is_host_full, "nobody will dial for it");
                } else if shelf.demand() > 0 {
                    // Nobody waits without a dial unless a limit is in the way, and nothing idle fills it.
                    assert!(
                        is_host_full || is_full || has_wake,
                        "one starves within the limits: {:?} {:?} {:?} lent {} dialing {} graves {}",
                        host.failing,
                        host.not_kept_until,
                        self.play.now,
                        shelf.lent,
                        shelf.dialing,
                        self.graves.len()
                    );
                    if !has_wake && !has_graves && is_host_full {
                        let others: usize = host.shelves.iter().map(|shelf| shelf.idle).sum();
                        assert_eq!(others, 0, "one starves beside another runtime's idle connection");
                        let draining =
                            self.draining.iter().filter(|conn| self.owner(self.play.places[conn]).0 == at);
                        assert_eq!(draining.count(), 0, "one starves beside a draining connection");
                    } else if !has_wake && !has_graves {
                        assert_eq!(policy.idle.len(), 0, "one starves beside another host's idle connection");
                        assert!(self.draining.is_empty(), "one starves beside a draining connection");
                    }
                } else if shelf.idle + shelf.ahead() < shelf.min_idle {
                    let is_dialing = shelf.ahead() >= AHEAD || shelf.lent > 0;
                    assert!(is_dialing || has_wake || has_graves || policy.shut, "too few are idle");
                }
                host_counted += shelf.idle + shelf.active + shelf.dialing;
                host_waiting += shelf.waiting.len() + shelf.resending.len();
                idle += shelf.idle;
                dialing += shelf.dialing;
            }
            assert_eq!((host.counted, host.waiting as usize), (host_counted, host_waiting));
            assert!(host.counted <= config.max_connections_per_host, "the host's limit");
            let host_idle: usize = host.shelves.iter().map(|shelf| shelf.idle).sum();
            assert!(host_idle <= config.max_idle_per_host);
            assert!(
                host.waiting as usize <= config.max_waiters_per_host + host.resending_and_replaced(self, at)
            );
            counted += host_counted;
            waiting += host_waiting;
        }
        assert_eq!((policy.counted, policy.dialing, policy.waiting), (counted, dialing, waiting));
        assert_eq!(policy.idle.len(), idle);
        assert_eq!(policy.evicting, self.graves.len() + self.cut.len() + self.doomed.len());
        assert_eq!(policy.draining.len(), self.draining.len());
        let wakes = (0..policy.hosts.slots())
            .filter_map(|slot| Some((policy.hosts.get(slot as u32)?.wake?, slot as u32)));
        assert_eq!(policy.wakes, wakes.collect());
        assert!(counted <= config.max_connections, "the total limit");
        let is_cold = |id| policy.idle.seen(id, self.play.now).age >= S;
        let is_reaped = !policy.idle.oldest().is_some_and(is_cold) || !self.is_reaped;
        assert!(idle <= config.idle_room() || is_reaped, "too many are idle, and not only warm ones");
        // Every connection is in one place.
        let shelved = self.shelves.values().flat_map(|shelf| shelf.idle.iter().copied());
        let mut all: Vec<_> = shelved
            .chain(self.leased.iter().map(|l| l.0))
            .chain(self.graves.iter().map(|g| g.0))
            .chain(self.doomed.iter().copied())
            .collect();
        let before = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), before), (counted - dialing, counted - dialing));
    }

    /// Everything ends: nobody may be left waiting.
    fn drain(&mut self, random: &mut Random) {
        let mut out = Vec::new();
        for name in HOSTS {
            for runtime in 0..RUNTIMES {
                let (place, now) = (self.play.place(name, runtime), self.play.now);
                self.play.policy.set_min_idle(place, 0, now, &mut out);
            }
        }
        self.follow(out, None, false);
        let is_shut = random.below(2) == 0;
        if is_shut {
            self.play.policy.shut();
            let mut slot = Some(0);
            while let Some(from) = slot {
                let mut out = Vec::new();
                slot = self.play.policy.refuse_waiters(None, from, &mut out);
                self.follow(out, None, false);
            }
            assert_eq!(self.play.policy.waiting, 0);
            while self.play.policy.idle.len() > 0 {
                let mut out = Vec::new();
                self.play.policy.bury_oldest(usize::MAX, DropReason::Shutdown, &mut out);
                self.follow(out, None, false);
            }
        }
        for _ in 0..1_000_000 {
            self.check();
            let mut out = Vec::new();
            if !self.graves.is_empty() {
                self.close_one(random);
            } else if !self.failures.is_empty() {
                self.failure_goes_on(random);
            } else if !self.dials.is_empty() {
                self.dial_ends(random, true);
            } else if !self.lent.is_empty() {
                self.give_back(random);
            } else if let Some(lease) = self.take_lease(random) {
                let place = self.play.places[&lease.0];
                let now = self.play.now;
                let served = self.served(lease.0, random);
                self.age = Duration::ZERO;
                self.unused.insert(lease.0);
                self.play.policy.checkin(place, lease.0, Terms::default(), served, now, &mut out);
                self.follow(out, Some(lease), false);
            } else if self.play.policy.waiting > 0 {
                self.play.now = self.play.policy.due().expect("somebody waits for ever").max(self.play.now);
                self.play.policy.reap(self.play.now, &mut out);
                self.follow(out, None, false);
                self.reclaim();
            } else {
                assert!(!is_shut || self.play.policy.is_quiet(), "something is left");
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

impl Host<Named> {
    /// Those who may stand in the queue beyond its bound: they had been let in before.
    fn resending_and_replaced(&self, model: &Model, at: usize) -> usize {
        let ours = model.shelves.iter().filter(|((host, _), _)| *host == at);
        ours.map(|(_, shelf)| shelf.first.len() + shelf.resending.len()).sum()
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
