//! Idle connections: each in the stack of its shelf, in the order of age over all hosts, and findable by deadline.
//!
//! Index-linked, so that taking the newest of a shelf, the oldest of all, or any one in the middle costs the same
//! however many there are. Knows nothing of limits. Invariants: an entry is in exactly one age list (those that
//! stay for the pool's own timeout, whose age is also the order of their deadlines; those whose time is shorter) and, of
//! the second kind, in the set of deadlines; and an entry whose connection is being looked at keeps its place in all of
//! them.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::places::Place;
use super::reasons::DropReason;
use super::slots::{Rows, Slots};
use super::touched::touch;

/// An idle connection's slot.
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
    /// By slot: its neighbours in age. Apart, because they are other hosts' connections, anywhere in memory: so all of them
    /// take little of it.
    neighbours: Rows<Neighbours>,
    len: usize,
    /// Of these, how many are being looked at.
    lent: usize,
    next_stamp: u32,
    ages: [Age; 2],
    deadlines: BTreeSet<(u64, IdleId)>,
    /// When the first connection came.
    began: Option<Instant>,
}

/// What a shelf needs to know to close the gap.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    /// The connection, or the stamp of the loan if it is being looked at.
    pub(crate) conn: Result<T, u32>,
    pub(crate) place: Place,
    /// The next newer one on the shelf.
    pub(crate) above: Option<IdleId>,
    /// The next older one on the shelf.
    pub(crate) below: Option<IdleId>,
}

/// What whoever looks for a connection wants to know of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The next older one on the shelf.
    pub(crate) below: Option<IdleId>,
    pub(crate) is_lent: bool,
    /// How long it has been idle.
    pub(crate) age: Duration,
    /// Whether its deadline has passed.
    pub(crate) is_over: bool,
}

/// How long an entry stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stay {
    /// As long as the pool's own timeout says.
    Ours(Option<Duration>),
    /// Less long than that, for a reason of its own: as long as the server said, or as it may live.
    Less(Duration, DropReason),
}

/// One cache line: with many connections, each line costs what the memory takes. Times are nanoseconds since the list began.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Entry<T> {
    above: Option<IdleId>,
    below: Option<IdleId>,
    /// `None` while it is being looked at.
    conn: Option<T>,
    place: Place,
    since: u64,
    deadline: u64,
    /// Not of any other while it is being looked at, where the slot's number may be.
    stamp: u32,
    /// Why it stays less long than the pool's own timeout says, if it does.
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
    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Self::Ours(duration) => duration,
            Self::Less(duration, _) => Some(duration),
        }
    }

    /// The same end, counted from a moment that lies so long ago.
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
    fn is_lent(&self) -> bool {
        self.conn.is_none()
    }

    /// Of the two lists of ages.
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

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Enters the newest connection of a shelf, above `below`.
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

    /// Takes an entry out, wherever it stands.
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
        let slot = u32::try_from(slot).ok()?;
        (!self.slots.get(slot)?.is_lent()).then(|| IdleId::of(slot))
    }

    /// Takes a connection out to be looked at, with the stamp of the loan; its entry stays. Returns `None` if it is being
    /// looked at already.
    pub(crate) fn lend(&mut self, id: IdleId) -> Option<(T, u32)> {
        let entry = self.entry_mut(id);
        let conn = entry.conn.take()?;
        let stamp = entry.stamp;
        self.lent += 1;
        Some((conn, stamp))
    }

    /// Puts a connection that was looked at back into its entry. Returns the connection if the entry was removed
    /// meanwhile.
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

    /// An entry at one glance.
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

    /// The one idle for longest.
    pub(crate) fn oldest(&self) -> Option<IdleId> {
        let heads = self.ages.iter().filter_map(|age| age.oldest);
        heads.min_by_key(|id| self.entry(*id).since)
    }

    /// One whose deadline has passed.
    pub(crate) fn expired(&self, now: Instant) -> Option<IdleId> {
        let now = self.nanos(now);
        let ours = self.ages[0].oldest.filter(|id| self.entry(*id).deadline <= now);
        ours.or_else(|| self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id))
    }

    /// The next deadline of all.
    pub(crate) fn due(&self) -> Option<Instant> {
        let ours = self.ages[0].oldest.and_then(|id| self.deadline(id));
        let theirs = self.deadlines.first().and_then(|(deadline, _)| self.instant(*deadline));
        ours.into_iter().chain(theirs).min()
    }

    pub(crate) fn deadline(&self, id: IdleId) -> Option<Instant> {
        self.instant(self.entry(id).deadline)
    }

    /// Why it goes when its deadline has passed.
    pub(crate) fn reason(&self, id: IdleId) -> DropReason {
        self.entry(id).less.unwrap_or(DropReason::IdleTimeout)
    }

    /// Since when it is idle: the earlier, the smaller.
    pub(crate) fn since(&self, id: IdleId) -> u64 {
        self.entry(id).since
    }

    /// Returns the time at which the connection will have been idle for `long`.
    pub(crate) fn idle_for(&self, id: IdleId, long: Duration) -> Option<Instant> {
        self.instant(self.entry(id).since.saturating_add(nanos(long)))
    }

    pub(crate) fn place(&self, id: IdleId) -> Place {
        self.entry(id).place
    }

    /// Since the list began. (Whatever is before or after what fits is as good as then.)
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

/// As many as fit.
fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

/// In place of a deadline. (It is 584 years from the beginning.)
const NEVER: u64 = u64::MAX;

const STALE_ID: &str = "an IdleId is held only while its slot is taken";

#[cfg(test)]
mod tests {
    use super::*;

    /// Places of three hosts.
    const PLACES: [Place; 3] =
        [Place { host: 0, shelf: 0 }, Place { host: 1, shelf: 0 }, Place { host: 2, shelf: 0 }];

    /// Beside a plain list, newest last.
    #[test]
    fn a_random_walk_agrees_with_a_list() {
        const TIMEOUT: Duration = Duration::from_secs(60);
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
