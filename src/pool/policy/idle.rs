//! Idle connections, linked by shelf and by age over all hosts, and findable by deadline.
//!
//! The lists are linked by index, so that the cost of removing a connection does not depend on the number of idle
//! connections. The lists know nothing of limits.
//!
//! Invariants: an entry is in exactly one of two lists of ages. The first list has the entries that stay for the pool's
//! own timeout: their order of age is their order of deadlines. The second list has the entries that stay for less time:
//! the set of deadlines has these entries too. An entry whose connection is being looked at stays in its lists.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::places::Place;
use super::reasons::DropReason;
use super::slots::{Rows, Slots};
use super::touched::touch;

/// Identifies an idle connection by the slot of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdleId(NonZeroU32);

impl IdleId {
    fn of(slot: u32) -> Self {
        let number = slot.checked_add(1).and_then(NonZeroU32::new);
        Self(number.expect("fewer than 2^32 idle connections: each takes hundreds of bytes"))
    }

    fn slot(self) -> u32 {
        self.0.get() - 1
    }
}

/// All idle connections of a pool.
#[derive(Debug)]
pub(crate) struct IdleList<T> {
    slots: Slots<Entry<T>>,
    /// Neighbours in age, by slot. These rows are stored apart from the entries, because an update of neighbours
    /// touches fewer cache lines in small rows than in entries.
    neighbours: Rows<Neighbours>,
    len: usize,
    /// Number of idle connections that are being looked at.
    lent: usize,
    next_stamp: u32,
    ages: [Age; 2],
    deadlines: BTreeSet<(u64, IdleId)>,
    /// Time at which the first connection was added. Times in entries count from this time.
    began: Option<Instant>,
}

/// An entry that was removed, with the neighbours that its shelf needs to close the gap.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    /// The connection, or the stamp of its loan if the connection is being looked at.
    pub(crate) conn: Result<T, u32>,
    pub(crate) place: Place,
    /// The next newer connection of the shelf.
    pub(crate) above: Option<IdleId>,
    /// Next older connection of the shelf.
    pub(crate) below: Option<IdleId>,
}

/// The facts of an entry that a search for a connection needs. The facts are read together, so that the entry is touched
/// once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Next older connection of the shelf.
    pub(crate) below: Option<IdleId>,
    pub(crate) is_lent: bool,
    /// Time since the connection was last used.
    pub(crate) age: Duration,
    /// Whether the deadline has passed.
    pub(crate) is_over: bool,
}

/// Time that an entry may stay idle, and the reason for the bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stay {
    /// The pool's own idle timeout. `None` means without a limit.
    Ours(Option<Duration>),
    /// A time with another bound than the idle timeout, such as the server's `Keep-Alive: timeout` or the maximum
    /// lifetime, and the reason for closing the connection after that time.
    Less(Duration, DropReason),
}

/// An idle connection, in one cache line. Times are nanoseconds since the first connection was added.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Entry<T> {
    above: Option<IdleId>,
    below: Option<IdleId>,
    /// The connection, unless it is being looked at.
    conn: Option<T>,
    place: Place,
    since: u64,
    deadline: u64,
    /// Number that tells this entry from a later entry in the same slot, so that a loan ends at the right entry.
    stamp: u32,
    /// Reason for which the entry stays for less than the idle timeout ([`Stay::Less`]). `None` if the entry stays for
    /// the idle timeout.
    less: Option<DropReason>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Neighbours {
    older: Option<IdleId>,
    newer: Option<IdleId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Age {
    oldest: Option<IdleId>,
    newest: Option<IdleId>,
}

impl Stay {
    /// Returns the time that the entry may stay. `None` means without a limit.
    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Self::Ours(duration) => duration,
            Self::Less(duration, _) => Some(duration),
        }
    }

    /// Returns a stay that begins `ago` before now. The end of a stay of [`Stay::Less`] does not change.
    pub(crate) fn since(self, ago: Duration) -> Self {
        match self {
            Self::Ours(duration) => Self::Ours(duration),
            Self::Less(duration, reason) => Self::Less(duration.saturating_add(ago), reason),
        }
    }

    fn less(self) -> Option<DropReason> {
        match self {
            Self::Ours(_) => None,
            Self::Less(_, reason) => Some(reason),
        }
    }
}

impl<T> Entry<T> {
    /// Whether the connection is being looked at.
    fn is_lent(&self) -> bool {
        self.conn.is_none()
    }

    /// Returns which of the two lists of ages the entry is in.
    fn list(&self) -> usize {
        usize::from(self.less.is_some())
    }
}

impl<T> IdleList<T> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slots::new(),
            neighbours: Rows::new(),
            len: 0,
            lent: 0,
            next_stamp: 0,
            ages: [Age::default(); 2],
            deadlines: BTreeSet::new(),
            began: None,
        }
    }

    /// Returns the number of idle connections, including lent connections.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds the newest connection of a shelf and returns its id. `below` was the newest connection of the shelf.
    #[inline]
    pub(crate) fn push(
        &mut self,
        place: Place,
        conn: T,
        since: Instant,
        stay: Stay,
        below: Option<IdleId>,
    ) -> IdleId {
        touch();
        self.began.get_or_insert(since);
        let less = stay.less();
        let list = usize::from(less.is_some());
        let newest = self.ages[list].newest;
        let stamp = self.next_stamp;
        self.next_stamp = stamp.wrapping_add(1);
        let since = self.nanos(since);
        let deadline = stay.duration().map_or(NEVER, |stay| since.saturating_add(nanos(stay)));
        let slot = self.slots.insert(Entry {
            above: None,
            below,
            conn: Some(conn),
            place,
            since,
            deadline,
            stamp,
            less,
        });
        let (id, neighbours) = (IdleId::of(slot), Neighbours { older: newest, newer: None });
        match self.neighbours.get_mut(slot) {
            Some(vacant) => *vacant = neighbours,
            None => _ = self.neighbours.push(neighbours),
        }
        self.len += 1;
        if let Some(below) = below {
            self.entry_mut(below).above = Some(id);
        }
        if let Some(newest) = newest {
            self.neighbours_mut(newest).newer = Some(id);
        }
        let age = &mut self.ages[list];
        age.newest = Some(id);
        age.oldest.get_or_insert(id);
        if less.is_some() {
            touch();
            self.deadlines.insert((deadline, id));
        }
        id
    }

    /// Removes an entry from all lists and returns its content.
    #[inline]
    pub(crate) fn remove(&mut self, id: IdleId) -> Taken<T> {
        touch();
        let entry = self.slots.remove(id.slot()).expect(STALE_ID);
        self.len -= 1;
        if let Some(above) = entry.above {
            self.entry_mut(above).below = entry.below;
        }
        if let Some(below) = entry.below {
            self.entry_mut(below).above = entry.above;
        }
        let Neighbours { older, newer } = *self.neighbours_mut(id);
        match newer {
            Some(newer) => self.neighbours_mut(newer).older = older,
            None => self.ages[entry.list()].newest = older,
        }
        match older {
            Some(older) => self.neighbours_mut(older).newer = newer,
            None => self.ages[entry.list()].oldest = newer,
        }
        if entry.less.is_some() {
            touch();
            self.deadlines.remove(&(entry.deadline, id));
        }
        self.lent -= usize::from(entry.is_lent());
        let conn = entry.conn.ok_or(entry.stamp);
        Taken { conn, place: entry.place, above: entry.above, below: entry.below }
    }

    /// Returns the number of connections that are being looked at.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn lent(&self) -> usize {
        self.lent
    }

    /// Returns the number of slots, including vacant slots.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns the connection in a slot, unless the slot is vacant or the connection is being looked at.
    pub(crate) fn at(&self, slot: usize) -> Option<IdleId> {
        let slot = u32::try_from(slot).ok()?;
        (!self.slots.get(slot)?.is_lent()).then(|| IdleId::of(slot))
    }

    /// Takes a connection out to be looked at, and returns it with the stamp of the loan. The entry stays. Returns
    /// `None` if the connection is being looked at already.
    pub(crate) fn lend(&mut self, id: IdleId) -> Option<(T, u32)> {
        let entry = self.entry_mut(id);
        let conn = entry.conn.take()?;
        let stamp = entry.stamp;
        self.lent += 1;
        Some((conn, stamp))
    }

    /// Puts a connection that was looked at back into its entry. Returns the connection if the entry was removed since
    /// the loan began.
    pub(crate) fn put_back(&mut self, id: IdleId, stamp: u32, conn: T) -> Option<T> {
        match self.slots.get_mut(id.slot()) {
            Some(entry) if entry.stamp == stamp && entry.is_lent() => {
                entry.conn = Some(conn);
                self.lent -= 1;
                None
            }
            _ => Some(conn),
        }
    }

    /// Returns the facts of an entry that a search needs.
    #[inline]
    pub(crate) fn seen(&self, id: IdleId, now: Instant) -> Seen {
        let (entry, now) = (self.entry(id), self.nanos(now));
        Seen {
            below: entry.below,
            is_lent: entry.is_lent(),
            age: Duration::from_nanos(now.saturating_sub(entry.since)),
            is_over: entry.deadline <= now,
        }
    }

    /// Returns the connection that has been idle for longest.
    pub(crate) fn oldest(&self) -> Option<IdleId> {
        let heads = self.ages.iter().filter_map(|age| age.oldest);
        heads.min_by_key(|id| self.entry(*id).since)
    }

    /// Returns a connection whose deadline has passed, if there is one.
    pub(crate) fn expired(&self, now: Instant) -> Option<IdleId> {
        let now = self.nanos(now);
        let ours = self.ages[0].oldest.filter(|id| self.entry(*id).deadline <= now);
        ours.or_else(|| self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id))
    }

    /// Returns the earliest deadline.
    pub(crate) fn due(&self) -> Option<Instant> {
        let ours = self.ages[0].oldest.and_then(|id| self.deadline(id));
        let theirs = self.deadlines.first().and_then(|(deadline, _)| self.instant(*deadline));
        ours.into_iter().chain(theirs).min()
    }

    /// Returns the time at which the reaper closes a connection, or `None` if the connection has no deadline.
    pub(crate) fn deadline(&self, id: IdleId) -> Option<Instant> {
        self.instant(self.entry(id).deadline)
    }

    /// Returns why a connection is closed when its deadline has passed.
    pub(crate) fn reason(&self, id: IdleId) -> DropReason {
        self.entry(id).less.unwrap_or(DropReason::IdleTimeout)
    }

    /// Returns the time since which a connection is idle, as a number. The numbers order connections by age.
    pub(crate) fn since(&self, id: IdleId) -> u64 {
        self.entry(id).since
    }

    /// Returns the time at which the connection will have been idle for `long`.
    pub(crate) fn idle_for(&self, id: IdleId, long: Duration) -> Option<Instant> {
        self.instant(self.entry(id).since.saturating_add(nanos(long)))
    }

    /// Returns the place of a connection.
    pub(crate) fn place(&self, id: IdleId) -> Place {
        self.entry(id).place
    }

    /// Returns a time in nanoseconds since the first connection was added. A time that does not fit becomes the nearest
    /// number.
    fn nanos(&self, at: Instant) -> u64 {
        self.began.map_or(0, |began| nanos(at.saturating_duration_since(began)))
    }

    fn instant(&self, nanos: u64) -> Option<Instant> {
        let nanos = Some(nanos).filter(|nanos| *nanos != NEVER)?;
        self.began?.checked_add(Duration::from_nanos(nanos))
    }

    fn entry(&self, id: IdleId) -> &Entry<T> {
        touch();
        self.slots.get(id.slot()).expect(STALE_ID)
    }

    fn neighbours_mut(&mut self, id: IdleId) -> &mut Neighbours {
        touch();
        self.neighbours.get_mut(id.slot()).expect(STALE_ID)
    }

    fn entry_mut(&mut self, id: IdleId) -> &mut Entry<T> {
        touch();
        self.slots.get_mut(id.slot()).expect(STALE_ID)
    }
}

/// Returns a duration in nanoseconds, or the largest number if the duration does not fit.
fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

/// The value that stands for no deadline: 584 years after the first connection.
const NEVER: u64 = u64::MAX;

const STALE_ID: &str = "an IdleId is held only while its slot is taken";

#[cfg(test)]
mod tests {
    use super::*;

    /// Places of three hosts.
    const PLACES: [Place; 3] =
        [Place { host: 0, shelf: 0 }, Place { host: 1, shelf: 0 }, Place { host: 2, shelf: 0 }];

    /// Compares the list with a plain vector whose last entry is the newest.
    #[test]
    fn a_random_walk_agrees_with_a_list() {
        const TIMEOUT: Duration = Duration::from_secs(60);
        let mut list = IdleList::new();
        let mut model: Vec<(IdleId, u32, Place, Instant, Option<Instant>)> = Vec::new();
        let mut now = Instant::now();
        let mut random = crate::random::generator();
        for conn in 0..20_000 {
            now += Duration::from_millis(random(900) as u64 + 1);
            // The list grows and shrinks in phases, so that the list is sometimes empty and sometimes long.
            if random(100) < if conn / 1_000 % 2 == 0 { 70 } else { 30 } {
                let place = PLACES[random(PLACES.len())];
                let stay = match random(3) {
                    0 => Stay::Less(Duration::from_secs(random(50) as u64), DropReason::MaxLifetime),
                    _ => Stay::Ours(Some(TIMEOUT)),
                };
                let below = model.iter().rfind(|entry| entry.2 == place).map(|entry| entry.0);
                let id = list.push(place, conn, now, stay, below);
                model.push((id, conn, place, now, stay.duration().map(|stay| now + stay)));
            } else if !model.is_empty() {
                let (id, conn, place, since, deadline) = model.remove(random(model.len()));
                assert_eq!(
                    (list.place(id), list.seen(id, now).age, list.deadline(id)),
                    (place, now - since, deadline)
                );
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
