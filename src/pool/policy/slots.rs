//! Tables of numbered slots, and of numbered rows, which grow without moving their content.
//!
//! The tables know nothing of their content. Invariant: a value stays at its address until it is removed, so that a
//! growing table copies nothing.

/// Numbered slots, of which some may be vacant.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Rows<Option<T>>,
    vacant: Vec<u32>,
}

/// Numbered rows, in chunks whose size doubles up to a limit, so that little memory is reserved for future rows.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    chunks: Vec<Vec<T>>,
    len: u32,
}

impl<T> Slots<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Rows::new(), vacant: Vec::new() }
    }

    /// Returns the number of slots, including vacant slots.
    pub(super) fn len(&self) -> usize {
        self.slots.len as usize
    }

    /// Puts a value into the slot that became vacant last, or into a new slot. Returns the number of the slot.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let Some(slot) = self.vacant.pop() else { return self.slots.push(Some(value)) };
        if let Some(vacant) = self.slots.get_mut(slot) {
            *vacant = Some(value);
        }
        slot
    }

    /// Takes the value out of a slot and returns it. Returns `None` if the slot is vacant.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let taken = self.slots.get_mut(slot)?.take()?;
        self.vacant.push(slot);
        Some(taken)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot)?.as_mut()
    }
}

impl<T> Rows<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }

    /// Adds a row and returns its number.
    pub(super) fn push(&mut self, value: T) -> u32 {
        let number = self.len;
        self.len = number.checked_add(1).expect("fewer than 2^32 entries: each takes tens of bytes");
        let (chunk, at) = locate(number);
        if at == 0 {
            self.chunks.push(Vec::with_capacity(size(chunk)));
        }
        self.chunks[chunk].push(value);
        number
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let (chunk, at) = locate(number);
        self.chunks.get(chunk)?.get(at)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (chunk, at) = locate(number);
        self.chunks.get_mut(chunk)?.get_mut(at)
    }
}

/// Returns the chunk of a row, and its position in the chunk.
fn locate(number: u32) -> (usize, usize) {
    // After the addition of `SMALLEST`, the highest bit of a number names the chunk.
    let number = (number as usize).saturating_add(SMALLEST);
    if number >= LARGEST {
        return (number / LARGEST + LAST_TO_GROW, number % LARGEST);
    }
    let chunk = number.ilog2();
    ((chunk - SMALLEST.ilog2()) as usize, number - (1 << chunk))
}

/// Returns the size of a chunk.
fn size(chunk: usize) -> usize {
    if chunk > LAST_TO_GROW { LARGEST } else { SMALLEST << chunk }
}

/// Size of the first chunk, a power of two.
const SMALLEST: usize = 4;
/// Size of the largest chunks, a power of two.
const LARGEST: usize = 1024;

/// The last chunk that is smaller than the chunk after it.
const LAST_TO_GROW: usize = (LARGEST.ilog2() - SMALLEST.ilog2() - 1) as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_next_to_each_other() {
        let mut expected = (0, 0);
        for slot in 0..100_000 {
            assert_eq!(locate(slot), expected, "{slot}");
            assert!(
                size(expected.0) <= LARGEST.min(slot as usize + SMALLEST),
                "few rows of a chunk are vacant"
            );
            expected.1 += 1;
            if expected.1 == size(expected.0) {
                expected = (expected.0 + 1, 0);
            }
        }
    }

    /// Compares the table with a plain map.
    #[test]
    fn a_value_stays_where_it_was_put() {
        let (mut slots, mut model) = (Slots::new(), std::collections::BTreeMap::new());
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for value in 0..20_000_u32 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // The table grows and shrinks in phases, so that the table is sometimes empty.
            if seed % 100 < if value / 1_000 % 2 == 0 { 70 } else { 20 } {
                let slot = slots.insert(value);
                assert_eq!(model.insert(slot, (value, slots.get(slot).unwrap() as *const u32)), None);
            } else if let Some(slot) = model.keys().nth(seed as usize % model.len().max(1)).copied() {
                assert_eq!(slots.remove(slot), model.remove(&slot).map(|(value, _)| value));
                assert_eq!(slots.get(slot), None);
                assert_eq!(slots.remove(slot), None);
            }
            for (slot, (value, place)) in &model {
                assert_eq!(
                    slots.get(*slot).map(|found| (*found, found as *const u32)),
                    Some((*value, *place))
                );
            }
            assert!(slots.len() >= model.len());
        }
        assert_eq!(slots.get(u32::MAX), None);
        assert_eq!(slots.get_mut(u32::MAX), None);
    }
}
