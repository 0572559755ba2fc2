//! Steps of the random walk. Each step is an event that can happen to a pool.

use super::*;

impl Model {
    pub(super) fn step(&mut self, random: &mut Random) {
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
                self.has_freed_room = true;
                self.follow(out, None, false);
                self.has_freed_room = false;
                self.took(&checkout, host, runtime, waiter, true);
            }
            56..60 => {
                let Some((conn, host, runtime)) = self.take_user(random) else { return };
                let waiter = self.fresh();
                let place = self.play.places[&conn];
                if random.below(2) == 0 {
                    return self.doubt((conn, host, runtime), waiter);
                }
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
                self.has_freed_room = true;
                self.follow(out, None, false);
                self.has_freed_room = false;
            }
            60..72 => self.dial_ends(random, true),
            72..76 => self.dial_ends(random, false),
            76..79 => self.failure_goes_on(random),
            79..86 => self.close_one(random),
            86..93 => {
                let Some(waiter) = self.any_waiter(random) else { return };
                let ticket = self.play.tickets[&waiter];
                assert!(self.forget_waiter(waiter));
                assert!(self.play.policy.cancel(ticket, &mut out), "the request waits");
                self.follow(std::mem::take(&mut out), None, false);
                assert!(!self.play.policy.cancel(ticket, &mut out), "the request has left the queue");
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
                    assert_eq!(host.waiting, 0, "a request waits for the dial");
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

    /// Sends the request of a connection again, because its answer came too soon. The connection stays in use.
    fn doubt(&mut self, lease: (u32, usize, u32), waiter: u32) {
        let (conn, host, runtime) = lease;
        let (place, now) = (self.play.places[&conn], self.play.now);
        let mut out = Vec::new();
        let ticket = self.play.policy.dial_beside(place, &waiter, now, &mut out);
        self.leased.push(lease);
        if let Some(ticket) = ticket {
            self.requests += 1;
            self.since.insert(waiter, now);
            self.shelf(host, runtime).resending.push_back(waiter);
            self.play.tickets.insert(waiter, ticket);
        } else {
            assert!(out.is_empty(), "no dial begins beside the limit");
        }
        self.follow(out, None, false);
    }

    /// Gives up the overdue dials.
    pub(super) fn reclaim(&mut self) {
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
        assert!(due.is_none_or(|due| due > self.play.now), "an overdue dial keeps its room");
    }

    pub(super) fn take_lease(&mut self, random: &mut Random) -> Option<(u32, usize, u32)> {
        if self.leased.is_empty() {
            return None;
        }
        let at = random.below(self.leased.len());
        Some(self.leased.swap_remove(at))
    }

    /// Removes the lease of a request that is under way from the model, and returns it.
    pub(super) fn take_user(&mut self, random: &mut Random) -> Option<(u32, usize, u32)> {
        let lease = self.take_lease(random)?;
        if self.draining.contains(&lease.0) || self.cut.contains(&lease.0) {
            self.leased.push(lease);
            return None;
        }
        Some(lease)
    }

    pub(super) fn give_back(&mut self, random: &mut Random) {
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
            // The connection is back in its entry on the shelf.
            assert!(!was_doomed && reason.is_none());
            let gone = |known: &u32| {
                self.doomed.contains(known) || self.graves.iter().any(|grave| grave.0 == *known)
            };
            let left: Vec<_> = before.into_iter().filter(|known| !gone(known)).collect();
            self.shelf(host, runtime).idle = left;
        }
    }

    /// Makes the next call to the policy about a dial that failed.
    pub(super) fn failure_goes_on(&mut self, random: &mut Random) {
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

    pub(super) fn dial_ends(&mut self, random: &mut Random, is_ok: bool) {
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

    pub(super) fn close_one(&mut self, random: &mut Random) {
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

    pub(super) fn any_waiter(&self, random: &mut Random) -> Option<u32> {
        let all = self
            .shelves
            .values()
            .flat_map(|shelf| shelf.first.iter().chain(&shelf.waiting).chain(&shelf.resending).copied());
        random.pick(&all.collect::<Vec<_>>())
    }
}
