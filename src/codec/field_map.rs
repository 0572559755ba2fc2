//! Field maps that are reused: each thread keeps a few empty maps.
//!
//! This module knows no meaning of any field. Invariants: a map is empty when it is taken from the thread. The number
//! of maps that a thread keeps and the size of each map are limited.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use http::HeaderMap;

/// A field map that goes back to the thread when the `FieldMap` is dropped. The first write takes a map from the
/// thread.
#[derive(Clone, Default)]
pub(crate) struct FieldMap(Option<Box<HeaderMap>>);

impl FieldMap {
    /// Returns the map, which does not go back to the thread any more.
    pub(crate) fn take(mut self) -> HeaderMap {
        self.0.take().map_or_else(HeaderMap::new, |map| *map)
    }
}

impl From<HeaderMap> for FieldMap {
    fn from(map: HeaderMap) -> Self {
        Self(Some(Box::new(map)))
    }
}

impl Deref for FieldMap {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        static EMPTY: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        self.0.as_deref().unwrap_or_else(|| &EMPTY)
    }
}

impl DerefMut for FieldMap {
    fn deref_mut(&mut self) -> &mut HeaderMap {
        self.0.get_or_insert_with(take_kept)
    }
}

impl Drop for FieldMap {
    fn drop(&mut self) {
        if let Some(map) = self.0.take() {
            keep(map);
        }
    }
}

/// Returns an empty map with capacity for the fields of a common request or response.
fn take_kept() -> Box<HeaderMap> {
    let kept = KEPT.try_with(|kept| kept.borrow_mut().pop()).ok().flatten();
    // While the thread ends, its maps no longer exist, so a new map is made.
    kept.unwrap_or_else(|| Box::new(HeaderMap::with_capacity(FIELDS)))
}

/// Keeps a map for the next request of this thread, unless the map is too large or the thread keeps enough maps
/// already.
fn keep(mut map: Box<HeaderMap>) {
    // The capacity does not count the second and later lines of a name, so that the length is also checked.
    if (FIELDS..=MOST_FIELDS).contains(&map.capacity()) && map.len() <= MOST_FIELDS {
        // The map is cleared before the thread's maps are borrowed, because clearing drops values of the caller.
        map.clear();
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < MAPS {
                kept.push(map);
            }
        });
    }
}

thread_local! {
    #[allow(clippy::vec_box, reason = "a box is handed out and comes back, so that a map is never moved")]
    static KEPT: RefCell<Vec<Box<HeaderMap>>> = const { RefCell::new(Vec::new()) };
}

/// Number of fields for which a new map has capacity.
const FIELDS: usize = 12;

/// Capacity in fields beyond which a map is not kept. A map of this capacity takes 3 KiB.
const MOST_FIELDS: usize = 32;

/// Number of maps that a thread keeps.
const MAPS: usize = 16;

#[cfg(test)]
mod tests {
    use http::header::{HeaderValue, SERVER};

    use super::*;

    #[test]
    fn kept_maps_are_empty_and_limited_in_number_and_size() {
        let mut first = FieldMap::default();
        assert!(first.is_empty() && first.capacity() == 0, "no map is taken before the first write");
        first.insert(SERVER, HeaderValue::from_static("x"));
        let room = first.capacity();
        drop(first);
        let mut again = FieldMap::default();
        again.insert(SERVER, HeaderValue::from_static("y"));
        assert_eq!(
            (again.len(), again.capacity(), &again[SERVER]),
            (1, room, &HeaderValue::from_static("y"))
        );
        assert_eq!(KEPT.with(|kept| kept.borrow().len()), 0, "the kept map was taken");
        assert_eq!(again.take().len(), 1, "a map that is taken keeps its fields");
        let mut lines = FieldMap::default();
        for _ in 0..1_000 {
            lines.append(SERVER, HeaderValue::from_static("z"));
        }
        drop(lines);
        assert_eq!(
            KEPT.with(|kept| kept.borrow().len()),
            0,
            "many lines of one name take more than the capacity says"
        );
        for _ in 0..100 {
            drop([(); 3].map(|()| FieldMap::from(HeaderMap::with_capacity(FIELDS))));
        }
        drop([(); 30].map(|()| FieldMap::from(HeaderMap::with_capacity(FIELDS))));
        drop(FieldMap::from(HeaderMap::with_capacity(1_000)));
        let maps = KEPT.with(|kept| kept.take());
        assert!(maps.len() == MAPS && maps.iter().all(|map| map.capacity() <= MOST_FIELDS), "{}", maps.len());
    }
}
