//! The cache of answers, as a state machine: the time goes in as an argument, and what to do comes out.
//!
//! An answer goes through these stages. Only an answer with addresses becomes stale. An answer that says that there is no
//! address is forgotten instead.
//!
//! ```text
//! kept ---- fresh ---- ttl ---- stale, used at once ---- stale, used if no other answer comes ---- forgotten
//! ```
//!
//! Invariants: at most [`CAPACITY`] answers are kept, and for each name at most one refresh is under way. A failure is
//! never kept in place of an answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Bounds of the time for which an answer is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ttl {
    pub(crate) min: Duration,
    /// Zero switches the cache off.
    pub(crate) max: Duration,
}

impl Default for Ttl {
    fn default() -> Self {
        Self { min: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}

/// Answers by question.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    ttl: Ttl,
    /// Answers that were used or kept lately: `len <= CAPACITY / 2`.
    young: HashMap<K, Entry<V>>,
    /// Answers that were not used since `young` was full last: `len <= CAPACITY / 2`.
    old: HashMap<K, Entry<V>>,
    /// Number of times that the cache was cleared.
    epoch: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    fresh_until: Instant,
    /// Until this time, the stale answer is used at once.
    handy_until: Instant,
    /// Until this time, the stale answer is used if no other answer comes. Equal to `fresh_until` for an answer without
    /// addresses.
    stale_until: Instant,
    /// Time before which no refresh begins, because a refresh has failed.
    rest_until: Option<Instant>,
    /// Start of the refresh that is under way.
    refreshing: Option<Instant>,
}

/// Kind of an answer that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Addresses.
    Whole,
    /// Addresses of which some are missing, because a part of the lookup failed.
    Partial,
    /// No address: the name does not exist, or has no addresses.
    Nothing,
}

/// Outcome of a search in the cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<V> {
    /// A new lookup is needed.
    Nothing,
    /// The answer is valid.
    Fresh(V),
    /// The answer is no longer valid.
    Stale {
        value: V,
        /// Whether the caller has to begin the refresh of the answer.
        begin: bool,
        /// Time to wait for another answer before the stale answer is used.
        wait: Duration,
    },
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    pub(super) fn new(ttl: Ttl) -> Self {
        Self { ttl, young: HashMap::new(), old: HashMap::new(), epoch: 0 }
    }

    /// Returns the number of times that the cache was cleared. A lookup takes this number along, so that an answer from
    /// before a change of the network is not kept after the change.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the answer for `key`, and how the answer may be used at `now`.
    pub(super) fn find(&mut self, key: &K, now: Instant) -> Found<V>
    where
        K: Clone,
    {
        // An answer that is used moves to the young answers.
        if let Some(entry) = self.old.remove(key) {
            self.put(key.clone(), entry);
        }
        let Some(entry) = self.young.get_mut(key) else { return Found::Nothing };
        if now < entry.fresh_until {
            return Found::Fresh(entry.value.clone());
        }
        if now >= entry.stale_until {
            self.young.remove(key);
            return Found::Nothing;
        }
        let is_resting = entry.rest_until.is_some_and(|until| now < until);
        let is_refreshing =
            entry.refreshing.is_some_and(|since| now.saturating_duration_since(since) < REFRESH_LIMIT);
        let begin = !is_resting && !is_refreshing;
        if begin {
            entry.refreshing = Some(now);
        }
        let is_handy = now < entry.handy_until || is_resting;
        let wait = if is_handy { Duration::ZERO } else { STALE_AFTER };
        Found::Stale { value: entry.value.clone(), begin, wait }
    }

    /// Whether an answer for `key` can be used at once at `now`.
    pub(super) fn is_known(&self, key: &K, now: Instant) -> bool {
        self.young.get(key).or_else(|| self.old.get(key)).is_some_and(|entry| {
            let is_resting = entry.rest_until.is_some_and(|until| now < until);
            now < entry.fresh_until || now < entry.handy_until || is_resting && now < entry.stale_until
        })
    }

    /// Keeps an answer, which replaces an earlier answer. `valid_for` is the time that the resolver has told. Does nothing
    /// if the cache was cleared since `epoch`, or if the cache is off.
    pub(super) fn keep(
        &mut self,
        key: K,
        value: V,
        content: Content,
        valid_for: Option<Duration>,
        epoch: u64,
        now: Instant,
    ) {
        if epoch != self.epoch || self.ttl.max.is_zero() {
            return;
        }
        let Ttl { min, max } = self.ttl;
        let ttl = match content {
            Content::Whole => valid_for.unwrap_or(UNKNOWN_TTL).max(min),
            Content::Partial => valid_for.unwrap_or(PARTIAL_TTL).min(PARTIAL_TTL).max(SHORTEST),
            Content::Nothing => valid_for.unwrap_or(SHORTEST).clamp(SHORTEST, NOTHING_TTL),
        };
        let fresh_until = now + ttl.min(max).min(LONGEST);
        let (handy, stale) = match content {
            Content::Nothing => (Duration::ZERO, Duration::ZERO),
            Content::Whole | Content::Partial => (ttl.min(max).min(HANDY), STALE),
        };
        let entry = Entry {
            value,
            fresh_until,
            handy_until: fresh_until + handy,
            stale_until: fresh_until + stale,
            rest_until: None,
            refreshing: None,
        };
        self.old.remove(&key);
        self.put(key, entry);
    }

    /// Notes that a lookup failed or was given up. A stale answer is then used for a while without another lookup.
    pub(super) fn fail(&mut self, key: &K, epoch: u64, now: Instant) {
        let entry = self.young.get_mut(key).or_else(|| self.old.get_mut(key));
        if let Some(entry) = entry.filter(|_| epoch == self.epoch) {
            entry.refreshing = None;
            entry.rest_until = Some(now + REST);
        }
    }

    /// Forgets all answers, and the answers of lookups that are under way.
    pub(super) fn clear(&mut self) {
        *self = Self { epoch: self.epoch + 1, ..Self::new(self.ttl) };
    }

    /// Adds an entry to the young entries. If there is no room, the young entries become the old ones, and the old ones
    /// are dropped.
    fn put(&mut self, key: K, entry: Entry<V>) {
        if self.young.len() >= CAPACITY / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }
}

/// Maximum number of answers.
pub(super) const CAPACITY: usize = 1024;

/// Time for which an answer is fresh if the resolver does not say.
const UNKNOWN_TTL: Duration = Duration::from_secs(10);

/// Longest time for which an answer with missing parts is fresh.
const PARTIAL_TTL: Duration = Duration::from_secs(5);

/// Longest time for which the answer that there is no address is fresh.
const NOTHING_TTL: Duration = Duration::from_secs(10);

/// Shortest time for which answers other than whole ones are fresh.
const SHORTEST: Duration = Duration::from_secs(1);

/// Longest time for which any answer is fresh, whatever the settings say. RFC 8767, section 4, recommends seven days.
const LONGEST: Duration = Duration::from_secs(604_800);

/// Longest time for which a stale answer is used at once. An answer is also not used at once for longer than it was
/// fresh, so that an answer of a second is not used after half a minute.
const HANDY: Duration = Duration::from_secs(30);

/// Time for which a stale answer is used while lookups fail.
const STALE: Duration = Duration::from_secs(3_600);

/// Time after which a stale answer is used although a lookup is under way. RFC 8767, section 5, recommends this time.
const STALE_AFTER: Duration = Duration::from_millis(1_800);

/// Time after a failed lookup in which a stale answer is used without another lookup.
const REST: Duration = Duration::from_secs(10);

/// Longest time of a refresh. A refresh that takes longer is lost, because its runtime is parked or gone.
pub(super) const REFRESH_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn cache(min: u64, max: u64) -> Cache<u32, &'static str> {
        Cache::new(Ttl { min: s(min), max: s(max) })
    }

    /// Returns what is found, as one line.
    fn find(cache: &mut Cache<u32, &'static str>, now: Instant) -> String {
        let is_known = cache.is_known(&1, now);
        let (line, is_at_once) = match cache.find(&1, now) {
            Found::Nothing => ("nothing".to_owned(), false),
            Found::Fresh(value) => (format!("fresh {value}"), true),
            Found::Stale { value, begin, wait } => {
                let begin = if begin { ", begin" } else { "" };
                (format!("stale {value} after {} ms{begin}", wait.as_millis()), wait.is_zero())
            }
        };
        assert_eq!(is_known, is_at_once, "{line}");
        line
    }

    fn keep(
        cache: &mut Cache<u32, &'static str>,
        content: Content,
        valid_for: Option<Duration>,
        now: Instant,
    ) {
        cache.keep(1, "a", content, valid_for, cache.epoch(), now);
    }

    /// Returns the time for which an answer is fresh.
    fn fresh_for(bounds: (u64, u64), content: Content, valid_for: Option<u64>) -> Duration {
        let (now, mut cache) = (Instant::now(), cache(bounds.0, bounds.1));
        keep(&mut cache, content, valid_for.map(s), now);
        let Some(entry) = cache.young.get(&1) else { return Duration::ZERO };
        let until = entry.fresh_until;
        if !until.saturating_duration_since(now).is_zero() {
            assert_eq!(find(&mut cache, until - MS), "fresh a");
        }
        assert_ne!(find(&mut cache, until), "fresh a");
        until - now
    }

    #[test]
    fn rule_36_the_time_of_an_answer_is_clamped() {
        use Content::{Nothing, Partial, Whole};
        let default = (1, 300);
        assert_eq!(Ttl::default(), Ttl { min: s(default.0), max: s(default.1) });
        for (bounds, content, valid_for, expected) in [
            (default, Whole, Some(0), 1),
            (default, Whole, Some(1), 1),
            (default, Whole, Some(60), 60),
            (default, Whole, Some(301), 300),
            (default, Whole, None, 10),
            ((0, 300), Whole, Some(0), 0),
            ((20, 300), Whole, None, 20),
            ((20, 300), Whole, Some(5), 20),
            ((0, u64::MAX), Whole, Some(u64::MAX), 604_800),
            // The upper bound wins.
            ((60, 30), Whole, Some(45), 30),
            // The cache is off.
            ((0, 0), Whole, Some(60), 0),
            ((60, 0), Whole, Some(60), 0),
            // Part of the answer is missing.
            (default, Partial, Some(60), 5),
            (default, Partial, Some(2), 2),
            (default, Partial, Some(0), 1),
            (default, Partial, None, 5),
            ((60, 300), Partial, Some(60), 5),
            ((0, 2), Partial, Some(60), 2),
            // No address. The lower bound does not apply.
            (default, Nothing, None, 1),
            (default, Nothing, Some(0), 1),
            (default, Nothing, Some(4), 4),
            (default, Nothing, Some(900), 10),
            ((60, 300), Nothing, Some(4), 4),
            ((0, 2), Nothing, Some(900), 2),
        ] {
            let case = format!("{bounds:?} {content:?} {valid_for:?}");
            assert_eq!(fresh_for(bounds, content, valid_for), s(expected), "{case}");
        }
    }

    #[test]
    fn rule_36_a_stale_answer_is_used_at_once_and_later_after_a_wait() {
        let (start, mut cache) = (Instant::now(), cache(1, 300));
        assert_eq!(find(&mut cache, start), "nothing");
        for content in [Content::Whole, Content::Partial] {
            keep(&mut cache, content, Some(s(5)), start);
            let at = |ms: u64| start + Duration::from_millis(ms);
            assert_eq!(find(&mut cache, at(4_999)), "fresh a");
            assert_eq!(find(&mut cache, at(5_000)), "stale a after 0 ms, begin");
            assert_eq!(find(&mut cache, at(5_001)), "stale a after 0 ms", "one refresh is under way");
            // The answer was fresh for 5 s, and is used at once for another 5 s.
            assert_eq!(find(&mut cache, at(9_999)), "stale a after 0 ms");
            assert_eq!(find(&mut cache, at(10_000)), "stale a after 1800 ms");
            // The refresh is lost.
            assert_eq!(find(&mut cache, at(14_999)), "stale a after 1800 ms");
            assert_eq!(find(&mut cache, at(15_000)), "stale a after 1800 ms, begin");
            assert_eq!(find(&mut cache, at(15_001)), "stale a after 1800 ms");
            assert_eq!(find(&mut cache, at(3_604_999)), "stale a after 1800 ms, begin");
            assert_eq!(find(&mut cache, at(3_605_000)), "nothing");
            assert_eq!(find(&mut cache, at(3_605_000)), "nothing");
        }
        // A long time to live does not make a stale answer usable at once for as long.
        keep(&mut cache, Content::Whole, Some(s(300)), start);
        assert_eq!(find(&mut cache, start + s(330) - MS), "stale a after 0 ms, begin");
        assert_eq!(find(&mut cache, start + s(330)), "stale a after 1800 ms");
    }

    #[test]
    fn a_refresh_replaces_the_answer_and_a_failed_one_gives_it_time() {
        let (start, mut cache) = (Instant::now(), cache(1, 300));
        keep(&mut cache, Content::Whole, Some(s(1)), start);
        assert_eq!(find(&mut cache, start + s(100)), "stale a after 1800 ms, begin");
        cache.fail(&1, cache.epoch(), start + s(102));
        // For 10 s, nobody waits and nothing is looked up.
        assert_eq!(find(&mut cache, start + s(102)), "stale a after 0 ms");
        assert_eq!(find(&mut cache, start + s(112) - MS), "stale a after 0 ms");
        assert_eq!(find(&mut cache, start + s(112)), "stale a after 1800 ms, begin");
        cache.keep(1, "b", Content::Whole, Some(s(60)), cache.epoch(), start + s(113));
        assert_eq!(find(&mut cache, start + s(113)), "fresh b");
        assert_eq!(find(&mut cache, start + s(173)), "stale b after 0 ms, begin");
        // A name that no longer exists has no stale answer.
        cache.keep(1, "none", Content::Nothing, Some(s(4)), cache.epoch(), start + s(174));
        assert_eq!(find(&mut cache, start + s(177)), "fresh none");
        assert_eq!(find(&mut cache, start + s(178)), "nothing");
        // The failure of a name that is not kept changes nothing.
        cache.fail(&1, cache.epoch(), start + s(178));
        assert_eq!(find(&mut cache, start + s(178)), "nothing");
        // A failure does not outlast the answer.
        keep(&mut cache, Content::Whole, Some(s(1)), start);
        cache.fail(&1, cache.epoch(), start + s(3_600));
        assert_eq!(find(&mut cache, start + s(3_601)), "nothing");
    }

    #[test]
    fn a_cleared_cache_keeps_no_answer_of_a_lookup_from_before() {
        let (now, mut cache) = (Instant::now(), cache(1, 300));
        keep(&mut cache, Content::Whole, Some(s(60)), now);
        let before = cache.epoch();
        cache.clear();
        assert_eq!(find(&mut cache, now), "nothing");
        cache.keep(1, "old", Content::Whole, Some(s(60)), before, now);
        assert_eq!(find(&mut cache, now), "nothing");
        keep(&mut cache, Content::Whole, Some(s(60)), now);
        cache.fail(&1, before, now);
        assert_eq!(
            find(&mut cache, now + s(60)),
            "stale a after 0 ms, begin",
            "the failure was of the old network"
        );
        assert_eq!(cache.ttl, Ttl::default(), "the settings stay");
    }

    #[test]
    fn the_number_of_answers_is_bounded_and_used_ones_stay() {
        let (now, mut cache) = (Instant::now(), cache(1, 300));
        let count = |cache: &Cache<u32, &'static str>| cache.young.len() + cache.old.len();
        for key in 0..10_000 {
            cache.keep(key, "x", Content::Whole, None, 0, now);
            assert!(count(&cache) <= CAPACITY, "{}", count(&cache));
            // This answer is used all the time.
            assert_eq!(cache.find(&0, now), Found::Fresh("x"));
        }
        assert_eq!(cache.find(&9_999, now), Found::Fresh("x"));
        let kept = (0..10_000).filter(|key| cache.is_known(key, now)).count();
        assert!((CAPACITY / 2..=CAPACITY).contains(&kept), "{kept}");
        assert!(!cache.is_known(&5_000, now));
        // A key that is kept again takes no second place.
        let before = count(&cache);
        for key in 9_000..10_000 {
            if cache.is_known(&key, now) {
                cache.keep(key, "y", Content::Whole, None, 0, now);
                assert_eq!(cache.find(&key, now), Found::Fresh("y"));
            }
        }
        assert!(count(&cache) <= before);
    }
}
