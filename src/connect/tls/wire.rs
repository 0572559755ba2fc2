//! Buffers of TLS bytes, and a meter that finds the ends of records.
//!
//! This file knows nothing of the content of records. Invariant: a buffer that is empty and was freed owns no memory.

use tokio::io::ReadBuf;

use crate::buffer;

/// A buffer of TLS bytes, incoming or outgoing. An empty buffer owns no memory: the memory belongs to the thread.
#[derive(Debug, Default)]
pub(super) struct Wire {
    bytes: Vec<u8>,
    /// Start of the bytes that the buffer holds: `0 <= start <= end <= bytes.len()`.
    start: usize,
    /// End of the bytes that the buffer holds.
    end: usize,
}

impl Wire {
    /// Returns the number of bytes that the buffer holds.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns the bytes that the buffer holds.
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns the bytes that the buffer holds, mutably.
    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Returns space for exactly `size` bytes after the bytes that the buffer holds.
    pub(super) fn room(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = buffer::take_wire();
        }
        if self.bytes.len() - self.end < size {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.len());
        }
        let needed = self.end + size;
        if self.bytes.len() < needed {
            self.bytes.reserve_exact(needed - self.bytes.len());
            self.bytes.resize(needed, 0);
        }
        self.bytes.get_mut(self.end..needed).unwrap_or_default()
    }

    /// Adds `count` bytes to the bytes that the buffer holds. The caller has written these bytes into
    /// [`room`](Self::room).
    pub(super) fn fill(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Appends `bytes` to the bytes that the buffer holds.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    /// Moves bytes into `buf` until `buf` is full or this buffer is empty.
    pub(super) fn pour(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.len().min(buf.remaining());
        buf.put_slice(self.filled().get(..count).unwrap_or_default());
        self.consume(count);
    }

    /// Removes the first `count` bytes, or all bytes if the buffer holds fewer.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives the memory back to the thread, if the buffer is empty.
    pub(super) fn free(&mut self) {
        if self.is_empty() && self.bytes.capacity() > 0 {
            (self.start, self.end) = (0, 0);
            buffer::put_wire(std::mem::take(&mut self.bytes));
        }
    }

    /// Gives all spare memory back to the thread. The bytes that the buffer holds are copied into memory of their exact
    /// size.
    pub(super) fn shrink(&mut self) {
        self.free();
        if self.bytes.len() > self.len() {
            let held = self.filled().to_vec();
            (self.start, self.end) = (0, held.len());
            buffer::put_wire(std::mem::replace(&mut self.bytes, held));
        }
    }

    /// Shrinks the buffer if it holds few bytes in much memory, because few bytes are cheap to copy.
    pub(super) fn shrink_if_little(&mut self) {
        if self.len() < LITTLE && self.bytes.len() > 4 * LITTLE {
            self.shrink();
        }
    }

    #[cfg(test)]
    /// Returns the capacity of the buffer in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Number of bytes that are cheap to copy.
const LITTLE: usize = 4 * 1024;

/// Meter that follows the headers of TLS records. A record has one byte of type, two bytes of version, two bytes of
/// length, and as many further bytes as its length says.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Number of bytes of the current header that have passed: `0 <= header < 5`.
    header: u8,
    /// Number of bytes that the record still needs. Before the end of the header, this field holds the part of the length
    /// that has passed.
    left: u16,
}

impl Meter {
    /// Notes the next bytes of the stream, and advances the header and the record by these bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.header == 0 && self.left > 0 {
                let body = bytes.len().min(self.left.into());
                self.left -= u16::try_from(body).unwrap_or(self.left);
                bytes = bytes.get(body..).unwrap_or_default();
                continue;
            }
            match self.header {
                0..3 => self.header += 1,
                3 => {
                    self.left = u16::from(byte) << 8;
                    self.header += 1;
                }
                _ => {
                    self.left |= u16::from(byte);
                    self.header = 0;
                }
            }
            bytes = rest;
        }
    }

    /// Whether the last byte ended a record, or no byte has passed.
    pub(super) fn is_between_records(&self) -> bool {
        self.header == 0 && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_however_they_are_split() {
        let all: Vec<u8> = (0..1_000u32).map(|at| at as u8).collect();
        for (put, take) in [(1, 1), (7, 3), (100, 99), (1_000, 1), (3, 1_000)] {
            let (mut wire, mut seen) = (Wire::default(), Vec::new());
            for part in all.chunks(put) {
                wire.extend(part);
                if wire.len() > 50 {
                    let part = wire.filled()[..take.min(wire.len())].to_vec();
                    wire.consume(part.len());
                    seen.extend(part);
                }
            }
            wire.shrink();
            assert_eq!(wire.memory(), wire.len(), "{put} and {take}");
            seen.extend_from_slice(wire.filled_mut());
            assert_eq!(seen, all, "{put} and {take}");
            wire.consume(usize::MAX);
            wire.free();
            assert_eq!((wire.len(), wire.memory()), (0, 0));
        }
    }

    #[test]
    fn the_meter_gives_the_same_answer_however_the_bytes_arrive() {
        let mut bytes = vec![22, 3, 3, 1, 2];
        bytes.extend([7; 0x102]);
        bytes.extend([23, 3, 3, 0, 0, 21, 3, 3, 0, 2, 1, 0]);
        let ends = [0, 5 + 0x102, 5 + 0x102 + 5, bytes.len()];
        for chunk in [1, 2, 3, 7, bytes.len()] {
            let mut meter = Meter::default();
            let mut passed = 0;
            for part in bytes.chunks(chunk) {
                meter.pass(part);
                passed += part.len();
                assert_eq!(
                    meter.is_between_records(),
                    ends.contains(&passed),
                    "{passed} in chunks of {chunk}"
                );
            }
        }
    }
}
