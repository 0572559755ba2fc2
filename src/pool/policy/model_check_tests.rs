//! The checks of a random walk: the invariants are compared with the private state of the policy and the counts of the
//! model. This file contains the end of a walk too.

use super::*;

impl Model {
    /// Checks all invariants against the private state of the policy and the counts of the model.
    pub(super) fn check(&self) {
        let policy = &self.play.policy;
        let config = &policy.limits;
        let (mut counted, mut idle, mut dialing, mut waiting) = (0, 0, 0, 0);
        let has_graves = !self.graves.is_empty() || !self.cut.is_empty() || !self.doomed.is_empty();
        for host in (0..policy.hosts.slots()).filter_map(|slot| policy.hosts.get(slot as u32)) {
            let at = HOSTS.iter().position(|known| *known == host.key).unwrap();
            let (mut host_counted, mut host_waiting) = (0, 0);
            for shelf in host.shelves.iter() {
                let none = Shelved::default();
                assert_eq!(
                    shelf.partition.is_none(),
                    shelf.is_vacant(),
                    "an empty shelf keeps its partition, or a shelf in use has none"
                );
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
                    "a request waits although a connection is idle"
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
                    // The waiters may wait for an event that the policy was not told yet, or for a connection that is
                    // about to be closed.
                } else if shelf.demand() > 0 && is_failing {
                    // A dial to the host is under way and decides for all waiters, or a dial will begin.
                    let is_dialed = host.counts().dialing > 0;
                    assert!(
                        is_dialed || config.wait_for_failing,
                        "a request waits for a failing host without a dial"
                    );
                    assert!(
                        is_dialed || has_wake || is_full || is_host_full,
                        "no dial will begin for the request"
                    );
                } else if shelf.demand() > 0 {
                    // No request waits without a dial, unless a limit forbids the dial and no idle connection takes up
                    // the room.
                    assert!(
                        is_host_full || is_full || has_wake,
                        "a request waits without a dial although the limits allow one: {:?} {:?} {:?} lent {} dialing {} graves {}",
                        host.failing,
                        host.not_kept_until,
                        self.play.now,
                        shelf.lent,
                        shelf.dialing,
                        self.graves.len()
                    );
                    if !has_wake && !has_graves && is_host_full {
                        let others: usize = host.shelves.iter().map(|shelf| shelf.idle).sum();
                        assert_eq!(
                            others, 0,
                            "a request waits for room that an idle connection of another runtime takes"
                        );
                        let draining =
                            self.draining.iter().filter(|conn| self.owner(self.play.places[conn]).0 == at);
                        assert_eq!(
                            draining.count(),
                            0,
                            "a request waits for room that a draining connection takes"
                        );
                    } else if !has_wake && !has_graves {
                        assert_eq!(
                            policy.idle.len(),
                            0,
                            "a request waits for room that an idle connection of another host takes"
                        );
                        assert!(
                            self.draining.is_empty(),
                            "a request waits for room that a draining connection takes"
                        );
                    }
                } else if shelf.idle + shelf.ahead() < shelf.min_idle {
                    let is_dialing = shelf.ahead() >= AHEAD || shelf.lent > 0;
                    assert!(
                        is_dialing || has_wake || has_graves || policy.shut,
                        "too few connections are idle"
                    );
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
        assert!(counted <= config.max_connections, "the total limit is exceeded");
        let is_cold = |id| policy.idle.seen(id, self.play.now).age >= S;
        let is_reaped = !policy.idle.oldest().is_some_and(is_cold) || !self.is_reaped;
        assert!(
            idle <= config.idle_room() || is_reaped,
            "too many connections are idle after the reaper has run"
        );
        // Every connection is in exactly one of these groups: idle, used, being closed, or doomed.
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

    /// Ends all requests, dials and looks, and checks that no request is left waiting.
    pub(super) fn drain(&mut self, random: &mut Random) {
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
                self.play.now = self.play.policy.due().expect("a request waits for ever").max(self.play.now);
                self.play.policy.reap(self.play.now, &mut out);
                self.follow(out, None, false);
                self.reclaim();
            } else {
                assert!(!is_shut || self.play.policy.is_quiet(), "the pool is not empty after a shutdown");
                return;
            }
        }
        panic!("the pool does not become quiet");
    }
}

impl Host<Named> {
    /// Returns the number of requests that may be in the queue beyond its limit, because these requests were admitted
    /// before.
    fn resending_and_replaced(&self, model: &Model, at: usize) -> usize {
        let ours = model.shelves.iter().filter(|((host, _), _)| *host == at);
        ours.map(|(_, shelf)| shelf.first.len() + shelf.resending.len()).sum()
    }
}
