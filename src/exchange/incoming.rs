//! What was read and not yet decoded.
//!
//! It decides where bytes are read to, and how many at a time; it knows nothing of what they mean, except whether a
//! head or content is expected. Invariants: a small response is in the slab, and was copied there once at the most;
//! content that does not come with its head is not copied, unless all is wanted as one; between responses nothing is held.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::buffer;

/// The bytes of one response, as they come.
#[derive(Debug)]
pub(crate) struct Incoming {
    bytes: BytesMut,
    /// While the head is open: all of a large first read, of which `bytes` began as a copy of the first `copied` bytes.
    overflow: BytesMut,
    copied: usize,
    /// How much a read of content asks for: grows and shrinks with what comes.
    size: usize,
    /// How large the buffer is that content is read into, if others may use it afterwards.
    room: usize,
    /// The content is wanted as one: it is decoded when all of it is there.
    is_one: bool,
}

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// A head, and with it what it brings: as much as this, by what the response before it took.
    Head(usize),
    /// Content, and how much of it is still to come if that is known.
    Body(Option<u64>),
}

impl Default for Incoming {
    fn default() -> Self {
        Self {
            bytes: BytesMut::new(),
            overflow: BytesMut::new(),
            copied: 0,
            size: buffer::READ,
            room: 0,
            is_one: false,
        }
    }
}

impl Incoming {
    /// What is to be decoded next.
    pub(crate) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Reads once. `Ok(0)` is the end.
    pub(crate) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        expected: Expected,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let rest = match expected {
            Expected::Head(size) if self.bytes.is_empty() => return self.poll_first(stream, size, cx),
            Expected::Head(_) if self.bytes.len() <= buffer::SMALL => return self.poll_more(stream, cx),
            Expected::Head(_) => None,
            Expected::Body(rest) => rest,
        };
        let has_room = self.is_one && self.bytes.capacity() > self.bytes.len();
        if !has_room {
            let size = match (expected, rest) {
                // So that a head of which somebody keeps a value pins little more than itself, and an endless one is not
                // read far beyond its limit.
                (Expected::Head(_), _) => self.bytes.len().min(buffer::READ),
                // A few bytes more: what comes behind the end is seen at once.
                (_, Some(rest)) => {
                    let rest = usize::try_from(rest).unwrap_or(usize::MAX).saturating_add(BEYOND);
                    if rest <= SOON { rest } else { rest.min(self.size) }
                }
                (_, None) => self.size,
            };
            self.make_room(size);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let read = ready!(pin!(stream.read_buf(&mut self.bytes)).poll(cx))?;
        if has_room {
            // Its size says nothing of what comes.
        } else if read == room {
            // Where it is known that there is much, there are fewer steps.
            let more = if rest.is_some() { 4 } else { 2 };
            self.size = (self.size * more).min(MOST);
        } else if read < self.size / 4 {
            self.size = (self.size / 2).max(LEAST);
        }
        Poll::Ready(Ok(read))
    }

    /// The `rest` of the content is wanted as one: it is read into a buffer that is just large enough.
    pub(crate) fn gather(&mut self, rest: usize) {
        if self.bytes.len() < rest {
            let mut whole = BytesMut::with_capacity(rest + BEYOND);
            whole.extend_from_slice(&self.bytes);
            self.let_go();
            (self.bytes, self.is_one) = (whole, true);
        }
    }

    /// Nobody wants it as one any more: what is there is decoded.
    pub(crate) fn scatter(&mut self) {
        self.is_one = false;
    }

    /// Whether content that is wanted as one, and of which `rest` was not decoded, is not all there yet.
    pub(crate) fn is_gathering(&self, rest: Option<u64>) -> bool {
        self.is_one && rest.is_some_and(|rest| (self.bytes.len() as u64) < rest)
    }

    /// Whoever was given what was read before has mostly let go of it, and it is written over.
    fn make_room(&mut self, size: usize) {
        if !self.bytes.is_empty() {
            // Part of a line, or of a head.
            return self.bytes.reserve(size);
        }
        if self.bytes.capacity() < size && !self.bytes.try_reclaim(size) {
            self.let_go();
            if size < SHARED {
                self.bytes = BytesMut::with_capacity(size);
            } else {
                self.bytes = buffer::take_content(size);
                self.room = self.bytes.capacity();
            }
        }
    }

    /// The buffer is the thread's again.
    fn let_go(&mut self) {
        let (bytes, overflow) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.overflow));
        let buffer = if overflow.is_empty() { bytes } else { overflow };
        give_back(buffer, std::mem::take(&mut self.room));
    }

    /// The first read of a response, which is mostly the only one: it has room for as much as came before it.
    fn poll_first(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        size: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if (1..=buffer::SMALL / 2).contains(&size) {
            // Straight into the slab, where twice as much may come.
            let mut slab = buffer::take_slab(buffer::SMALL);
            let read = pin!(stream.read_buf(&mut slab)).poll(cx);
            if !slab.is_empty() {
                self.bytes = slab.split();
            }
            buffer::put_slab(slab);
            return read;
        }
        // (With a few bytes more: what fills its buffer may not be all that is there.)
        let size = size.saturating_add(BEYOND).min(MOST);
        let is_large = size >= SHARED;
        let mut buffer = if is_large { buffer::take_content(size) } else { buffer::take_read() };
        let mut room = if is_large { buffer.capacity() } else { buffer::READ };
        let read = pin!(stream.read_buf(&mut buffer)).poll(cx);
        if is_large && (buffer::SMALL + 1..SHARED.min(room / 2 + 1)).contains(&buffer.len()) {
            // It is less this time.
            let less = BytesMut::from(&buffer[..]);
            give_back(std::mem::replace(&mut buffer, less), room);
            room = 0;
        }
        self.copy_head(buffer, room);
        read
    }

    /// Reads on where a head has begun. What came is put behind what is there, as if all of it had come at once: a small
    /// response is in the slab, in however many segments it comes.
    fn poll_more(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = buffer::take_read();
        buffer.extend_from_slice(&self.bytes);
        let read = pin!(stream.read_buf(&mut buffer)).poll(cx);
        if buffer.len() > self.bytes.len() {
            self.copy_head(buffer, buffer::READ);
        } else {
            give_back(buffer, buffer::READ);
        }
        read
    }

    /// Copies the head, or all of a small response, into the slab. `buffer` holds all that came; with `room`, others may
    /// use it afterwards.
    fn copy_head(&mut self, buffer: BytesMut, room: usize) {
        if buffer.len() > buffer::SMALL {
            if room > 0 && buffer.len() > room / 2 {
                self.size = room.min(MOST);
            }
            // (What was looked through already is there again.)
            self.copied = self.bytes.len().max(HEAD);
            self.bytes = buffer::copy(&buffer[..self.copied]);
            (self.overflow, self.room) = (buffer, room);
        } else {
            if !buffer.is_empty() {
                self.bytes = buffer::copy(&buffer);
            }
            give_back(buffer, room);
        }
    }

    /// The head was decoded: content goes on in the buffer that it was read into, where the copy was left.
    pub(crate) fn end_head(&mut self) {
        if !self.overflow.is_empty() {
            let used = self.copied - self.bytes.len();
            self.bytes = self.overflow.split_off(used);
            self.overflow = BytesMut::new();
        }
    }

    /// The head is longer than the copy: more of what was read is appended. `false`: there is no more.
    pub(crate) fn has_more(&mut self) -> bool {
        if self.overflow.is_empty() {
            return false;
        }
        let upto = self.overflow.len().min(4 * self.copied);
        self.bytes.extend_from_slice(&self.overflow[self.copied..upto]);
        self.copied = upto;
        if self.copied == self.overflow.len() {
            give_back(std::mem::take(&mut self.overflow), std::mem::take(&mut self.room));
        }
        true
    }
}

/// A buffer with so much room is the thread's again; with none that others may use, it is nobody's.
fn give_back(mut buffer: BytesMut, room: usize) {
    match room {
        0 => {}
        // That of a first read.
        buffer::READ => {
            buffer.clear();
            if buffer.try_reclaim(buffer::READ) {
                buffer::put_read(buffer);
            }
        }
        room => buffer::put_content(buffer, room),
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Most heads are no longer.
const HEAD: usize = 1024;

/// Bytes read beyond the end of a body, to see at once whether something follows it.
const BEYOND: usize = 64;

/// So much, if it is all that is to come, is read at once.
const SOON: usize = 64 * 1024;

/// Reads of less have a buffer of their own: of little content, a piece that somebody keeps is to keep no more in memory.
const SHARED: usize = 32 * 1024;

/// The bounds of one read of content.
const LEAST: usize = 8 * 1024;
const MOST: usize = buffer::MOST_CONTENT;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn read(incoming: &mut Incoming, mut stream: &[u8], expected: Expected) -> usize {
        match incoming.poll_read(&mut stream, expected, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => read.unwrap(),
            Poll::Pending => panic!("a slice is always ready"),
        }
    }

    /// So many bytes, of which no two stretches are alike.
    fn distinct(length: u32) -> Vec<u8> {
        (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
    }

    /// Whatever the sizes of head and read, and whatever was expected, the bytes come through once and in order.
    #[test]
    fn a_large_first_read_is_split_behind_the_head() {
        const S: usize = buffer::SMALL;
        for (length, size, at_once) in [
            (10_000, 0, 10_000),
            (10_000, MOST, 10_000),
            (50_000, 0, buffer::READ),
            (50_000, 50_000, 50_000),
            (50_000, MOST, 50_000),
            (2_000, 2_000, 2_000),
        ] {
            let all = distinct(length);
            for head in [1, 100, HEAD, HEAD + 1, S - 1, S, S + 1, 9_000, 4 * S + 1, 40_000] {
                if head > at_once {
                    continue;
                }
                let mut incoming = Incoming::default();
                assert_eq!(read(&mut incoming, &all, Expected::Head(size)), at_once);
                let mut seen = Vec::new();
                while head > incoming.len() {
                    assert!(incoming.has_more());
                }
                seen.extend_from_slice(&incoming.bytes().split_to(head));
                incoming.end_head();
                seen.extend_from_slice(incoming.bytes());
                assert!(seen == all[..at_once], "a head of {head} of {length} bytes, {size} expected");
                assert!(!incoming.has_more());
            }
        }
    }

    /// An interim head goes before: what was copied of the next is what follows it.
    #[test]
    fn several_heads_may_come_in_one_large_read() {
        let all = distinct(60_000);
        let mut incoming = Incoming::default();
        assert_eq!(read(&mut incoming, &all, Expected::Head(all.len())), all.len());
        let mut seen = incoming.bytes().split_to(700).to_vec();
        while incoming.len() < 5_000 {
            assert!(incoming.has_more());
        }
        seen.extend_from_slice(&incoming.bytes().split_to(5_000));
        incoming.end_head();
        seen.extend_from_slice(incoming.bytes());
        assert!(seen == all);
    }

    /// Of a response like the one before, all is read at once, and what comes next in steps as large.
    #[test]
    fn as_much_is_read_as_came_before() {
        let all = distinct(200_000);
        for (come, expected, at_once) in [
            (50_000, 0, buffer::READ),
            (50_000, 50_000, 50_000),
            (50_060, 50_000, 50_060),
            (200_000, usize::MAX, MOST),
        ] {
            let mut incoming = Incoming::default();
            assert_eq!(read(&mut incoming, &all[..come], Expected::Head(expected)), at_once);
            assert_eq!(incoming.bytes().split_to(100).len(), 100);
            incoming.end_head();
            assert!(incoming.bytes()[..] == all[100..at_once]);
            let rest = Expected::Body(Some(all.len() as u64));
            incoming.bytes().clear();
            let next = read(&mut incoming, &all[at_once..], rest);
            assert!(next >= at_once.min(all.len() - at_once), "{next} after {at_once}");
        }
    }

    /// Of a shorter response than the one before, what somebody keeps holds little memory; and the next reads are small.
    #[test]
    fn a_short_response_keeps_no_large_buffer() {
        for come in [100, buffer::SMALL, buffer::SMALL + 1, SHARED - 1] {
            let mut incoming = Incoming::default();
            let all = distinct(come as u32);
            assert_eq!(read(&mut incoming, &all, Expected::Head(MOST)), come);
            let head = incoming.bytes().split_to(10);
            incoming.end_head();
            assert!(head == all[..10] && incoming.bytes()[..] == all[10..]);
            assert!(incoming.bytes.capacity() <= come, "{} for {come}", incoming.bytes.capacity());
            assert_eq!((incoming.room, incoming.size), (0, buffer::READ));
        }
    }

    /// A head of which somebody keeps a value keeps a share of a slab, in however many segments it came.
    #[test]
    fn a_head_in_segments_shares_the_slab() {
        const RESPONSES: usize = 100;
        let head = distinct(150);
        let cuts: [&[usize]; 6] = [&[1], &[75], &[149], &[50, 100], &[1, 2, 3, 4], &[149, 150]];
        for cuts in cuts {
            let mut kept = Vec::new();
            let mut slabs = Vec::new();
            for _ in 0..RESPONSES {
                let mut incoming = Incoming::default();
                let mut from = 0;
                for &cut in cuts.iter().chain([&150]) {
                    if cut > from {
                        assert_eq!(read(&mut incoming, &head[from..cut], Expected::Head(0)), cut - from);
                    }
                    from = cut;
                }
                assert!(incoming.bytes()[..] == head);
                assert_eq!(incoming.bytes.capacity(), head.len(), "cut at {cuts:?}");
                slabs.push(incoming.bytes.as_ptr() as usize);
                kept.push(incoming.bytes().split().freeze());
            }
            let moves =
                slabs.windows(2).filter(|two| two[1].wrapping_sub(two[0]) > 2 * buffer::SMALL).count();
            let copied: usize = cuts.iter().sum::<usize>() + 150;
            assert!(
                moves <= 1 + RESPONSES * copied / (2 * buffer::SMALL - 150),
                "{moves} slabs, cut at {cuts:?}"
            );
        }
    }

    /// Wherever segments end, the bytes come through once and in order, and what was looked through stays where it was.
    #[test]
    fn a_head_in_segments_is_as_one_in_a_piece() {
        const S: usize = buffer::SMALL;
        let all = distinct(40_000);
        for head in [100, HEAD - 1, HEAD, HEAD + 1, 3_000, S, S + 1, 6_000, 20_000] {
            for first in [1, 99, HEAD - 1, HEAD, HEAD + 1, S - 1, S, S + 1, 5_999, 19_999] {
                for expected in [0, 100, 50_000] {
                    if first >= head {
                        continue;
                    }
                    let mut incoming = Incoming::default();
                    let mut at = 0;
                    while at < first {
                        at += read(&mut incoming, &all[at..first], Expected::Head(expected));
                        while incoming.has_more() {}
                    }
                    while incoming.len() < head {
                        let before = incoming.len();
                        if !incoming.has_more() {
                            at += read(&mut incoming, &all[at..], Expected::Head(expected));
                        }
                        assert!(incoming.len() >= before, "what was looked through is there");
                        assert!(incoming.bytes[..] == all[..incoming.len()]);
                    }
                    let pinned = incoming.bytes.capacity();
                    assert!(pinned <= (4 * head).max(2 * S), "{pinned} for a head of {head}, cut at {first}");
                    let mut seen = incoming.bytes().split_to(head).to_vec();
                    incoming.end_head();
                    seen.extend_from_slice(incoming.bytes());
                    assert!(seen == all[..at], "a head of {head}, cut at {first}, {expected} expected");
                }
            }
        }
    }

    #[test]
    fn what_follows_a_known_length_is_seen() {
        let mut incoming = Incoming::default();
        assert_eq!(read(&mut incoming, b"12345678", Expected::Body(Some(5))), 8);
        assert_eq!(&incoming.bytes()[..], b"12345678");
        assert_eq!(read(&mut incoming, b"", Expected::Body(None)), 0);
    }

    /// However much came with the head and with each read, it is one piece in one buffer, and what follows is seen.
    #[test]
    fn what_is_wanted_as_one_is_read_into_one_buffer() {
        let all: Vec<u8> = (0..50_000u32).map(|at| at as u8).collect();
        for (begun, step) in [(0, 50_000), (0, 7_000), (9_000, 50_000), (9_000, 1), (49_999, 1)] {
            let mut incoming = Incoming::default();
            if begun > 0 {
                assert_eq!(read(&mut incoming, &all[..begun], Expected::Head(0)), begun.min(buffer::READ));
                incoming.end_head();
            }
            let begun = incoming.len();
            incoming.gather(all.len());
            let at = incoming.bytes().as_ptr();
            let (mut seen, rest) = (begun, Some(all.len() as u64));
            while incoming.is_gathering(rest) {
                let next = &all[seen..all.len().min(seen + step)];
                seen += read(&mut incoming, next, Expected::Body(rest));
            }
            let whole = incoming.bytes().split();
            assert!(whole == all && whole.as_ptr() == at, "{begun} bytes, then {step} by {step}");
            assert!(!incoming.is_gathering(Some(0)), "what is left is decoded");
            assert_eq!(read(&mut incoming, b"surplus", Expected::Body(Some(0))), 7);
        }
        let mut incoming = Incoming::default();
        read(&mut incoming, b"all and more", Expected::Head(0));
        incoming.gather(3);
        assert!(!incoming.is_gathering(Some(3)) && incoming.len() == 12, "it is there already");
    }
}
