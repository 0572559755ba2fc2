//! Idle connections: each in the stack of its shelf, in the order of age over all hosts, and findable by deadline.
//!
//! Index-linked, so that taking the newest of a shelf, the oldest of all, or any one in the middle costs the same
//! however many there are. Knows nothing of limits. Invariant: an entry is in exactly one age list (those that
//! stay for the pool's own timeout, whose age is also the order of their deadlines; those whose time is shorter) and, of
//! the second kind, in the set of deadlines. A connection that is being looked at keeps its place in all of them.

use std::collections::BTreeSet;
use std::time::Instant;

use super::hosts::Place;
use super::stats::DropReason;
use super::touched::touch;

/// An idle connection's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdleId(u32);

/// All idle connections of a pool.
#[derive(Debug)]
pub(crate) struct IdleList<T> {
    slots: Vec<Option<Entry<T>>>,
    vacant: Vec<u32>,
    len: usize,
    /// Of these, how many are being looked at.
    lent: usize,
    next_stamp: u64,
    ages: [Age; 2],
    deadlines: BTreeSet<(Instant, IdleId)>,
}

/// What a shelf needs to know to close the gap.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    /// `Err`: it is being looked at, and knows itself by this stamp.
    pub(crate) conn: Result<T, u64>,
    pub(crate) place: Place,
    /// The next newer one on the shelf.
    pub(crate) above: Option<IdleId>,
    /// The next older one on the shelf.
    pub(crate) below: Option<IdleId>,
}

/// How long an entry stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stay {
    /// As long as the pool's own timeout says.
    Ours(Option<Instant>),
    /// Less long than that, for a reason of its own: as long as the server said, or as it may live.
    Less(Instant, DropReason),
}

#[derive(Debug)]
struct Entry<T> {
    /// `None` while it is being looked at.
    conn: Option<T>,
    /// Unique over the pool's life, where the slot's number is not.
    stamp: u64,
    place: Place,
    since: Instant,
    stay: Stay,
    older: Option<IdleId>,
    newer: Option<IdleId>,
    above: Option<IdleId>,
    below: Option<IdleId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Age {
    oldest: Option<IdleId>,
    newest: Option<IdleId>,
}

impl Stay {
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Ours(deadline) => deadline,
            Self::Less(deadline, _) => Some(deadline),
        }
    }

    fn list(self) -> usize {
        matches!(self, Self::Less(..)) as usize
    }
}

impl<T> IdleList<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            len: 0,
            lent: 0,
            next_stamp: 0,
            ages: [Age::default(); 2],
            deadlines: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts a connection on top of its shelf, above `below`.
    pub(crate) fn push(
        &mut self,
        conn: T,
        place: Place,
        since: Instant,
        stay: Stay,
        below: Option<IdleId>,
    ) -> IdleId {
        touch();
        let newest = self.ages[stay.list()].newest;
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let entry = Entry {
            conn: Some(conn),
            stamp,
            place,
            since,
            stay,
            older: newest,
            newer: None,
            above: None,
            below,
        };
        let id = match self.vacant.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(entry);
                IdleId(slot)
            }
            None => {
                self.slots.push(Some(entry));
                IdleId((self.slots.len() - 1) as u32)
            }
        };
        self.len += 1;
        if let Some(below) = below {
            self.entry_mut(below).above = Some(id);
        }
        if let Some(newest) = newest {
            self.entry_mut(newest).newer = Some(id);
        }
        let age = &mut self.ages[stay.list()];
        age.newest = Some(id);
        age.oldest.get_or_insert(id);
        if let Stay::Less(deadline, _) = stay {
            touch();
            self.deadlines.insert((deadline, id));
        }
        id
    }

    /// Takes a connection out, wherever it stands.
    pub(crate) fn remove(&mut self, id: IdleId) -> Taken<T> {
        touch();
        let entry = self.slots[id.0 as usize].take().expect("an IdleId is held only while its slot is taken");
        self.vacant.push(id.0);
        self.len -= 1;
        if let Some(above) = entry.above {
            self.entry_mut(above).below = entry.below;
        }
        if let Some(below) = entry.below {
            self.entry_mut(below).above = entry.above;
        }
        match entry.newer {
            Some(newer) => self.entry_mut(newer).older = entry.older,
            None => self.ages[entry.stay.list()].newest = entry.older,
        }
        match entry.older {
            Some(older) => self.entry_mut(older).newer = entry.newer,
            None => self.ages[entry.stay.list()].oldest = entry.newer,
        }
        if let Stay::Less(deadline, _) = entry.stay {
            touch();
            self.deadlines.remove(&(deadline, id));
        }
        if self.len == 0 && self.slots.len() > KEPT_SLOTS {
            // A burst leaves no table behind.
            self.slots.clear();
            self.slots.shrink_to(KEPT_SLOTS);
            self.vacant.clear();
            self.vacant.shrink_to(KEPT_SLOTS);
        }
        self.lent -= usize::from(entry.conn.is_none());
        let conn = entry.conn.ok_or(entry.stamp);
        Taken { conn, place: entry.place, above: entry.above, below: entry.below }
    }

    /// How many are being looked at.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn lent(&self) -> usize {
        self.lent
    }

    /// How many slots there are, taken or not.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The one in a slot, if there is one and it is not being looked at.
    pub(crate) fn at(&self, slot: usize) -> Option<IdleId> {
        let entry = self.slots.get(slot)?.as_ref()?;
        entry.conn.is_some().then_some(IdleId(slot as u32))
    }

    /// Lends a connection, to be looked at, with its stamp.
    pub(crate) fn lend(&mut self, id: IdleId) -> Option<(T, u64)> {
        let entry = self.entry_mut(id);
        let lent = (entry.conn.take()?, entry.stamp);
        self.lent += 1;
        Some(lent)
    }

    /// Takes back what was lent, to the place that it had; it comes back if it was removed meanwhile.
    pub(crate) fn give_back(&mut self, id: IdleId, stamp: u64, conn: T) -> Result<(), T> {
        match self.slots.get_mut(id.0 as usize) {
            Some(Some(entry)) if entry.stamp == stamp && entry.conn.is_none() => {
                entry.conn = Some(conn);
                self.lent -= 1;
                Ok(())
            }
            _ => Err(conn),
        }
    }

    pub(crate) fn is_lent(&self, id: IdleId) -> bool {
        self.entry(id).conn.is_none()
    }

    /// The next older one on the shelf.
    pub(crate) fn below(&self, id: IdleId) -> Option<IdleId> {
        self.entry(id).below
    }

    /// The one idle for longest.
    pub(crate) fn oldest(&self) -> Option<IdleId> {
        let heads = self.ages.iter().filter_map(|age| age.oldest);
        heads.min_by_key(|id| self.since(*id))
    }

    /// One whose deadline has passed.
    pub(crate) fn expired(&self, now: Instant) -> Option<IdleId> {
        let ours =
            self.ages[0].oldest.filter(|id| self.deadline(*id).is_some_and(|deadline| deadline <= now));
        ours.or_else(|| self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id))
    }

    /// The next deadline of all.
    pub(crate) fn due(&self) -> Option<Instant> {
        let ours = self.ages[0].oldest.and_then(|id| self.deadline(id));
        let theirs = self.deadlines.first().map(|(deadline, _)| *deadline);
        ours.into_iter().chain(theirs).min()
    }

    pub(crate) fn deadline(&self, id: IdleId) -> Option<Instant> {
        self.entry(id).stay.deadline()
    }

    /// Why it goes when its deadline has passed.
    pub(crate) fn reason(&self, id: IdleId) -> DropReason {
        match self.entry(id).stay {
            Stay::Ours(_) => DropReason::IdleTimeout,
            Stay::Less(_, reason) => reason,
        }
    }

    pub(crate) fn since(&self, id: IdleId) -> Instant {
        self.entry(id).since
    }

    pub(crate) fn place(&self, id: IdleId) -> Place {
        self.entry(id).place
    }

    fn entry(&self, id: IdleId) -> &Entry<T> {
        touch();
        self.slots[id.0 as usize].as_ref().expect("an IdleId is held only while its slot is taken")
    }

    fn entry_mut(&mut self, id: IdleId) -> &mut Entry<T> {
        touch();
        self.slots[id.0 as usize].as_mut().expect("an IdleId is held only while its slot is taken")
    }
}

/// Slots that stay allocated when the list is empty.
const KEPT_SLOTS: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::PoolConfig;
    use super::super::action::Action;
    use super::super::policy::Policy;
    use super::*;

    /// Places of three hosts.
    fn places() -> Vec<Place> {
        let mut policy: Policy<u32, u32, u32, u32> = Policy::new(PoolConfig::default(), 1);
        let mut out = Vec::new();
        for host in 0..3 {
            let place = policy.place(u64::from(host), |key| *key == host, || host, &0);
            policy.warm(place, 1, 1, &mut out);
        }
        let places = out.into_iter().filter_map(|action| match action {
            Action::Dial { place, .. } => Some(place),
            _ => None,
        });
        places.collect()
    }

    /// Beside a plain list, newest last.
    #[test]
    fn a_random_walk_agrees_with_a_list() {
        const TIMEOUT: Duration = Duration::from_secs(60);
        let places = places();
        let mut list = IdleList::new();
        let mut model: Vec<(IdleId, u32, Place, Instant, Option<Instant>)> = Vec::new();
        let mut now = Instant::now();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        for conn in 0..20_000 {
            now += Duration::from_millis(random(900) as u64 + 1);
            // In phases, so that it is empty now and then, and sometimes full.
            if random(100) < if conn / 1_000 % 2 == 0 { 70 } else { 30 } {
                let place = places[random(places.len())];
                let stay = match random(3) {
                    0 => Stay::Less(now + Duration::from_secs(random(50) as u64), DropReason::MaxLifetime),
                    _ => Stay::Ours(Some(now + TIMEOUT)),
                };
                let below = model.iter().rfind(|entry| entry.2 == place).map(|entry| entry.0);
                let id = list.push(conn, place, now, stay, below);
                model.push((id, conn, place, now, stay.deadline()));
            } else if !model.is_empty() {
                let (id, conn, place, since, deadline) = model.remove(random(model.len()));
                assert_eq!((list.place(id), list.since(id), list.deadline(id)), (place, since, deadline));
                let taken = list.remove(id);
                let shelf = || model.iter().filter(|entry| entry.2 == place);
                let above = shelf().find(|entry| entry.3 > since).map(|entry| entry.0);
                let below = shelf().rfind(|entry| entry.3 < since).map(|entry| entry.0);
                assert_eq!(
                    (taken.conn, taken.place, taken.above, taken.below),
                    (Ok(conn), place, above, below)
                );
            }
            assert_eq!(list.len(), model.len());
            assert_eq!(list.oldest(), model.first().map(|entry| entry.0));
            assert_eq!(list.due(), model.iter().filter_map(|entry| entry.4).min());
            let is_expired = |entry: &&(IdleId, u32, Place, Instant, Option<Instant>)| {
                entry.4.is_some_and(|deadline| deadline <= now)
            };
            let expired = list.expired(now);
            assert_eq!(expired.is_some(), model.iter().any(|entry| is_expired(&entry)));
            assert!(expired.is_none_or(|id| model.iter().filter(is_expired).any(|entry| entry.0 == id)));
        }
    }
}
