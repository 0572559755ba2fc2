//! The bytes of a response that are read and not yet decoded.
//!
//! This module decides into which buffer bytes are read, and how many bytes each read asks for. The module knows
//! whether a head or content is expected, but knows no other meaning of the bytes. Invariants: a small response lies in
//! the thread's slab, and is copied there at most once. Content that does not come with its head is not copied, unless
//! all of the content is wanted in one piece. Between responses no buffer is held.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::buffer;

/// The bytes of one response that are read and not yet decoded.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Bytes to be decoded next.
    bytes: BytesMut,
    /// All bytes of a large first read, until the head is decoded. When the read ended, `bytes` was a copy of the first
    /// `copied` bytes of this buffer.
    overflow: BytesMut,
    copied: usize,
    /// Number of bytes for which the next read of content asks. The number follows the sizes of earlier reads.
    size: usize,
    /// Capacity of the buffer in use, or 0 if the buffer does not belong to the thread.
    room: usize,
    /// Whether the content is wanted in one piece, so that nothing is decoded until all of the content has come.
    is_one: bool,
}

/// The part of a response that the exchange expects from the next read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// A head, and content with the head. The number is the size of the previous response on this connection, in bytes.
    Head(usize),
    /// Content. The value is the number of bytes that are still to come, if this number is known.
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
    /// Returns the bytes to be decoded next.
    pub(crate) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Reads from the stream once. Returns the number of bytes that came, or 0 at the end of the stream.
    #[inline]
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
                // The buffer grows slowly, so that a header value that the caller keeps pins little more than its head,
                // and so that an endless head is not read far beyond its limit.
                (Expected::Head(_), _) => self.bytes.len().min(buffer::READ),
                // The read asks for a few bytes more, so that bytes after the end of the content are seen at once.
                (_, Some(rest)) => {
                    let rest = usize::try_from(rest).unwrap_or(usize::MAX).saturating_add(BEYOND);
                    if rest <= AT_ONCE { rest } else { rest.min(self.size) }
                }
                (_, None) => self.size,
            };
            self.make_room(size);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let read = ready!(pin!(stream.read_buf(&mut self.bytes)).poll(cx))?;
        if has_room {
            // A read into a buffer of the exact size tells nothing about the size of the next read.
        } else if read == room {
            // If the length is known, the size grows in fewer steps.
            let more = if rest.is_some() { 4 } else { 2 };
            self.size = (self.size * more).min(LARGEST_READ);
        } else if read < self.size / 4 {
            self.size = (self.size / 2).max(SMALLEST_READ);
        }
        Poll::Ready(Ok(read))
    }

    /// Makes the next reads collect the remaining `rest` bytes of the content in one piece. These bytes are read into a
    /// buffer that is just large enough for them.
    pub(crate) fn gather(&mut self, rest: usize) {
        if self.bytes.len() < rest {
            let mut whole = BytesMut::with_capacity(rest + BEYOND);
            whole.extend_from_slice(&self.bytes);
            self.let_go();
            (self.bytes, self.is_one) = (whole, true);
        }
    }

    /// Undoes [`gather`](Self::gather): the bytes that have come can be decoded at once.
    pub(crate) fn scatter(&mut self) {
        self.is_one = false;
    }

    /// Whether the content is wanted in one piece, and a part of the content has not come yet. `rest` is the number of
    /// bytes of content that are not decoded.
    pub(crate) fn is_gathering(&self, rest: Option<u64>) -> bool {
        self.is_one && rest.is_some_and(|rest| (self.bytes.len() as u64) < rest)
    }

    /// Makes space for `size` bytes. Reuses the buffer if no earlier piece of content is still held.
    fn make_room(&mut self, size: usize) {
        if !self.bytes.is_empty() {
            // The buffer holds a part of a line or of a head, which must not be lost.
            return self.bytes.reserve(size);
        }
        if self.bytes.capacity() < size && !self.bytes.try_reclaim(size) {
            self.let_go();
            if size < SHARED_FROM {
                self.bytes = BytesMut::with_capacity(size);
            } else {
                self.bytes = buffer::take_content(size);
                self.room = self.bytes.capacity();
            }
        }
    }

    /// Gives the buffer back to the thread.
    fn let_go(&mut self) {
        let (bytes, overflow) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.overflow));
        let buffer = if overflow.is_empty() { bytes } else { overflow };
        give_back(buffer, std::mem::take(&mut self.room));
    }

    /// Makes the first read of a response, with space for as many bytes as the previous response had. Most responses
    /// need only this read.
    fn poll_first(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        size: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if (1..=buffer::SMALL / 2).contains(&size) {
            // Reads directly into the slab. The slab has space for at least twice the size of the previous response.
            let mut slab = buffer::take_slab(buffer::SMALL);
            let read = pin!(stream.read_buf(&mut slab)).poll(cx);
            if !slab.is_empty() {
                self.bytes = slab.split();
            }
            buffer::put_slab(slab);
            return read;
        }
        // The read asks for a few bytes more, because a read that fills its buffer may leave bytes unread.
        let size = size.saturating_add(BEYOND).min(LARGEST_READ);
        let is_large = size >= SHARED_FROM;
        let mut buffer = if is_large { buffer::take_content(size) } else { buffer::take_read() };
        let mut room = if is_large { buffer.capacity() } else { buffer::READ };
        let read = pin!(stream.read_buf(&mut buffer)).poll(cx);
        if is_large && (buffer::SMALL + 1..SHARED_FROM.min(room / 2 + 1)).contains(&buffer.len()) {
            // The response is much smaller than the previous response, so that its bytes move to a buffer of their own
            // size.
            let less = BytesMut::from(&buffer[..]);
            give_back(std::mem::replace(&mut buffer, less), room);
            room = 0;
        }
        self.copy_head(buffer, room);
        read
    }

    /// Reads more of a head that has come in part. Joins the new bytes with the earlier bytes, so that a small response
    /// lies in the slab however many segments it comes in.
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

    /// Copies the head, or all of a small response, into the slab. `buffer` holds all bytes that came. `room` is the
    /// capacity of `buffer` if `buffer` belongs to the thread, and 0 otherwise.
    fn copy_head(&mut self, buffer: BytesMut, room: usize) {
        if buffer.len() > buffer::SMALL {
            if room > 0 && buffer.len() > room / 2 {
                self.size = room.min(LARGEST_READ);
            }
            // At least as many bytes as before are copied, because the codec has already scanned these bytes.
            self.copied = self.bytes.len().max(HEAD_COPY);
            self.bytes = buffer::copy(&buffer[..self.copied]);
            (self.overflow, self.room) = (buffer, room);
        } else {
            if !buffer.is_empty() {
                self.bytes = buffer::copy(&buffer);
            }
            give_back(buffer, room);
        }
    }

    /// Notes that the head was decoded. Content is decoded from the buffer of the first read, from the index at which
    /// decoding of the copy stopped.
    pub(crate) fn end_head(&mut self) {
        if !self.overflow.is_empty() {
            let used = self.copied - self.bytes.len();
            self.bytes = self.overflow.split_off(used);
            self.overflow = BytesMut::new();
        }
    }

    /// Appends more of the first read to the copy, because the head is longer than the copy. Returns false if the copy
    /// already has all bytes of that read.
    #[inline]
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

/// Gives a buffer back to the thread. `room` is the capacity of a buffer that belongs to the thread. If `room` is 0,
/// the buffer is dropped.
fn give_back(mut buffer: BytesMut, room: usize) {
    match room {
        0 => {}
        // This size marks the buffer of a first read.
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

/// Number of bytes of a large first read that are copied for the head. Most heads are shorter than this.
const HEAD_COPY: usize = 1024;

/// Number of bytes for which a read asks beyond the end of a body, so that bytes after the body are seen at once.
const BEYOND: usize = 64;

/// Number of bytes up to which the remainder of a body is read by one read.
const AT_ONCE: usize = 64 * 1024;

/// Size, in bytes, from which a read uses the thread's buffer for content. A smaller read has a buffer of its own, so
/// that a small piece that the caller keeps does not pin a large buffer.
const SHARED_FROM: usize = 32 * 1024;

/// Size, in bytes, below which the reads of content do not shrink.
const SMALLEST_READ: usize = 8 * 1024;
/// Maximum size of one read, in bytes.
const LARGEST_READ: usize = buffer::LARGEST_CONTENT;

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

    /// Returns `length` bytes in which no two parts are alike.
    fn distinct(length: u32) -> Vec<u8> {
        (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
    }

    /// Checks that all bytes come through once and in order, for all sizes of the head, of the read, and of the
    /// previous response.
    #[test]
    fn a_large_first_read_is_split_after_the_head() {
        const S: usize = buffer::SMALL;
        for (length, size, at_once) in [
            (10_000, 0, 10_000),
            (10_000, LARGEST_READ, 10_000),
            (50_000, 0, buffer::READ),
            (50_000, 50_000, 50_000),
            (50_000, LARGEST_READ, 50_000),
            (2_000, 2_000, 2_000),
        ] {
            let all = distinct(length);
            for head in [1, 100, HEAD_COPY, HEAD_COPY + 1, S - 1, S, S + 1, 9_000, 4 * S + 1, 40_000] {
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

    /// Checks that after an interim head, the copy continues with the next head.
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

    /// Checks that a response that is as large as the previous response is read by one read. The remainder of a larger
    /// response is read in steps of that size.
    #[test]
    fn a_read_is_as_large_as_the_response_before() {
        let all = distinct(200_000);
        for (come, expected, at_once) in [
            (50_000, 0, buffer::READ),
            (50_000, 50_000, 50_000),
            (50_060, 50_000, 50_060),
            (200_000, usize::MAX, LARGEST_READ),
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

    /// Checks that, after a response that is shorter than the previous response, a piece that the caller keeps pins
    /// little memory, and the next reads are small.
    #[test]
    fn a_short_response_keeps_no_large_buffer() {
        for come in [100, buffer::SMALL, buffer::SMALL + 1, SHARED_FROM - 1] {
            let mut incoming = Incoming::default();
            let all = distinct(come as u32);
            assert_eq!(read(&mut incoming, &all, Expected::Head(LARGEST_READ)), come);
            let head = incoming.bytes().split_to(10);
            incoming.end_head();
            assert!(head == all[..10] && incoming.bytes()[..] == all[10..]);
            assert!(incoming.bytes.capacity() <= come, "{} for {come}", incoming.bytes.capacity());
            assert_eq!((incoming.room, incoming.size), (0, buffer::READ));
        }
    }

    /// Checks that a header value that the caller keeps pins only its share of a slab, however many segments the head
    /// came in.
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

    /// Checks that, wherever segments end, all bytes come through once and in order, and bytes that the codec has
    /// scanned do not move.
    #[test]
    fn a_head_in_segments_is_read_like_a_head_in_one_piece() {
        const S: usize = buffer::SMALL;
        let all = distinct(40_000);
        for head in [100, HEAD_COPY - 1, HEAD_COPY, HEAD_COPY + 1, 3_000, S, S + 1, 6_000, 20_000] {
            for first in [1, 99, HEAD_COPY - 1, HEAD_COPY, HEAD_COPY + 1, S - 1, S, S + 1, 5_999, 19_999] {
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
                        assert!(incoming.len() >= before, "bytes that were scanned stay");
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
    fn bytes_after_a_known_length_are_seen() {
        let mut incoming = Incoming::default();
        assert_eq!(read(&mut incoming, b"12345678", Expected::Body(Some(5))), 8);
        assert_eq!(&incoming.bytes()[..], b"12345678");
        assert_eq!(read(&mut incoming, b"", Expected::Body(None)), 0);
    }

    /// Checks that, however many bytes come with the head and with each read, the content is one piece in one buffer,
    /// and bytes after the content are seen.
    #[test]
    fn content_wanted_in_one_piece_is_read_into_one_buffer() {
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
            assert!(!incoming.is_gathering(Some(0)), "the rest can be decoded");
            assert_eq!(read(&mut incoming, b"surplus", Expected::Body(Some(0))), 7);
        }
        let mut incoming = Incoming::default();
        read(&mut incoming, b"all and more", Expected::Head(0));
        incoming.gather(3);
        assert!(
            !incoming.is_gathering(Some(3)) && incoming.len() == 12,
            "all of the content is there already"
        );
    }
}
