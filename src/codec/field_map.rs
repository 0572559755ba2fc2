//! Maps of fields that are used again when nobody wants them any more: each thread keeps some.
//!
//! It knows no meaning of any field. Invariants: a map that is taken out is empty; the maps that are kept are few, and
//! each is of a bounded size.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use http::HeaderMap;

/// Fields, in a map that goes back to the thread. It has none as long as nothing was written to it.
#[derive(Clone, Default)]
pub(crate) struct FieldMap(Option<Box<HeaderMap>>);

impl FieldMap {
    /// The map is the caller's from now on.
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

/// A map with room for the fields of a common request, and of a common response.
fn take_kept() -> Box<HeaderMap> {
    let kept = KEPT.try_with(|kept| kept.borrow_mut().pop()).ok().flatten();
    // (While the thread ends, nothing is kept.)
    kept.unwrap_or_else(|| Box::new(HeaderMap::with_capacity(FIELDS)))
}

fn keep(mut map: Box<HeaderMap>) {
    // (Lines of one name beyond its first are not in its capacity.)
    if (FIELDS..=MOST_FIELDS).contains(&map.capacity()) && map.len() <= MOST_FIELDS {
        // Outside: values are dropped.
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
    #[allow(clippy::vec_box, reason = "the boxes are handed out and come back: a map is never moved")]
    static KEPT: RefCell<Vec<Box<HeaderMap>>> = const { RefCell::new(Vec::new()) };
}

/// Fields that a map has room for without growing.
const FIELDS: usize = 12;

/// A map that grew beyond this is not kept: 3 KiB.
const MOST_FIELDS: usize = 32;

/// Maps that a thread keeps.
const MAPS: usize = 16;

#[cfg(test)]
mod tests {
    use http::header::{HeaderValue, SERVER};

    use super::*;

    #[test]
    fn maps_come_back_empty_and_are_few() {
        let mut first = FieldMap::default();
        assert!(first.is_empty() && first.capacity() == 0, "nothing is taken for nothing");
        first.insert(SERVER, HeaderValue::from_static("x"));
        let room = first.capacity();
        drop(first);
        let mut again = FieldMap::default();
        again.insert(SERVER, HeaderValue::from_static("y"));
        assert_eq!(
            (again.len(), again.capacity(), &again[SERVER]),
            (1, room, &HeaderValue::from_static("y"))
        );
        assert_eq!(KEPT.with(|kept| kept.borrow().len()), 0, "it is the same map");
        assert_eq!(again.take().len(), 1, "whoever takes it has it");
        let mut lines = FieldMap::default();
        for _ in 0..1_000 {
            lines.append(SERVER, HeaderValue::from_static("z"));
        }
        drop(lines);
        assert_eq!(KEPT.with(|kept| kept.borrow().len()), 0, "its lines take more than its capacity says");
        for _ in 0..100 {
            drop([(); 3].map(|()| FieldMap::from(HeaderMap::with_capacity(FIELDS))));
        }
        drop([(); 30].map(|()| FieldMap::from(HeaderMap::with_capacity(FIELDS))));
        drop(FieldMap::from(HeaderMap::with_capacity(1_000)));
        let maps = KEPT.with(|kept| kept.take());
        assert!(maps.len() == MAPS && maps.iter().all(|map| map.capacity() <= MOST_FIELDS), "{}", maps.len());
    }
}
