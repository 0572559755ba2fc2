//! A cache of response field names, per thread.
//!
//! A server sends the same few names in each response. `HeaderName::from_bytes` lowers the case of a name, looks for a
//! standard name, and copies a name that is not standard. These steps cost more than all other work on the field. The
//! cache knows no meaning of any name. Invariants: the cache returns the value that `HeaderName::from_bytes` returns,
//! and holds a limited number of names of limited length.

use std::cell::Cell;

use http::HeaderName;

use super::error::ProtocolError;

/// The cached names of one thread.
pub(super) struct Names([Known; SLOTS]);

impl Names {
    /// Takes the thread's cache while `read` reads a section of fields. Returns the result of `read`.
    pub(super) fn with<R>(read: impl FnOnce(&mut Self) -> R) -> R {
        let known = NAMES.try_with(Cell::take).ok().flatten();
        // While the thread ends, its cache no longer exists, so a new cache is used.
        let mut names = known.unwrap_or_else(|| Box::new(Self(std::array::from_fn(|_| Known::NOTHING))));
        let read = read(&mut names);
        let _ = NAMES.try_with(|known| known.set(Some(names)));
        read
    }

    /// Returns the name that the bytes spell.
    pub(super) fn name(&mut self, bytes: &[u8]) -> Result<HeaderName, ProtocolError> {
        let read = || HeaderName::from_bytes(bytes).map_err(|_| ProtocolError::BadFieldName);
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return read() };
        if bytes.len() > LONGEST {
            return read();
        }
        let place = usize::from(*first) + 5 * usize::from(*last) + 17 * bytes.len();
        let known = &mut self.0[place % SLOTS];
        match &known.name {
            Some(name) if known.spelling[..usize::from(known.length)] == *bytes => Ok(name.clone()),
            _ => Ok(known.learn(bytes, read()?)),
        }
    }
}

/// A cached name and its spelling.
struct Known {
    spelling: [u8; LONGEST],
    length: u8,
    name: Option<HeaderName>,
}

impl Known {
    const NOTHING: Self = Self { spelling: [0; LONGEST], length: 0, name: None };

    #[cold]
    fn learn(&mut self, bytes: &[u8], name: HeaderName) -> HeaderName {
        self.spelling[..bytes.len()].copy_from_slice(bytes);
        self.length = bytes.len() as u8;
        self.name.insert(name).clone()
    }
}

thread_local! {
    static NAMES: Cell<Option<Box<Names>>> = const { Cell::new(None) };
}

/// Number of names that the cache holds.
const SLOTS: usize = 64;

/// Length of the longest name that is cached.
const LONGEST: usize = 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_names_equal_names_read_anew() {
        let long = "x".repeat(LONGEST + 1);
        let names =
            ["Content-Type", "content-type", "CONTENT-TYPE", "X-a", "x-A", "x-b", "Date", "etag", &*long];
        let bad = ["", "a b", "a:", "\u{e9}", "a\0", "[", "@"];
        for _ in 0..3 {
            for name in names.iter().chain(&bad) {
                let expected =
                    HeaderName::from_bytes(name.as_bytes()).map_err(|_| ProtocolError::BadFieldName);
                assert_eq!(Names::with(|names| names.name(name.as_bytes())), expected, "{name:?}");
            }
        }
    }

    /// Checks names that share a slot, and more names than the cache can hold.
    #[test]
    fn names_that_share_a_slot_are_told_apart() {
        for _ in 0..2 {
            for number in 0..20_000_u32 {
                let name = format!("X-{number:08}-y");
                assert_eq!(
                    Names::with(|names| names.name(name.as_bytes())).unwrap().as_str(),
                    name.to_ascii_lowercase()
                );
            }
        }
        for (one, other) in [("a^b", "a~b"), ("x_", "x\u{7f}"), ("q`", "q@")] {
            let name = |text: &str| Names::with(|names| names.name(text.as_bytes())).ok();
            assert!(name(one).is_some());
            assert_ne!(name(one), name(other));
        }
    }
}
