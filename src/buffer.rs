//! The buffers of each thread, which exchanges borrow.
//!
//! Each thread keeps five buffers: one for writing heads, one for reading, a slab from which small responses are cut,
//! one for content, and one for TLS records. An exchange takes a buffer within a poll and gives the buffer back. The
//! exchange keeps a buffer across polls only while the buffer holds bytes, or while content is being read. An idle
//! connection owns no buffer. Invariant: a buffer that is taken is empty, or its bytes have no meaning.

use std::cell::RefCell;

use bytes::BytesMut;

/// Largest size, in bytes, of a response that is copied into the slab: the head, with the content that came with the
/// head. A header value that the caller keeps pins at most one slab.
pub(crate) const SMALL: usize = 4 * 1024;

/// Size of the first read of a response, in bytes, unless a large response came before on the same connection.
pub(crate) const READ: usize = 16 * 1024;

/// Takes an empty buffer for encoding a request head.
pub(crate) fn take_write() -> BytesMut {
    with(|buffers| buffers.write.take()).flatten().unwrap_or_default()
}

/// Gives back a buffer from which a request was written.
#[inline]
pub(crate) fn put_write(mut buffer: BytesMut) {
    if buffer.capacity() <= LARGEST {
        buffer.clear();
        with(|buffers| buffers.write = Some(buffer));
    }
}

/// Takes an empty buffer with space for [`READ`] bytes.
pub(crate) fn take_read() -> BytesMut {
    let mut buffer = with(|buffers| buffers.read.take()).flatten().unwrap_or_default();
    buffer.reserve(READ);
    buffer
}

/// Gives back a buffer into which a response was read.
pub(crate) fn put_read(mut buffer: BytesMut) {
    if buffer.capacity() <= LARGEST {
        buffer.clear();
        with(|buffers| buffers.read = Some(buffer));
    }
}

/// Takes a buffer for TLS records. Its length and its bytes are left over from earlier uses.
#[cfg(feature = "rustls")]
pub(crate) fn take_wire() -> Vec<u8> {
    with(|buffers| std::mem::take(&mut buffers.wire)).unwrap_or_default()
}

/// Gives back a buffer for TLS records.
#[cfg(feature = "rustls")]
pub(crate) fn put_wire(buffer: Vec<u8>) {
    if buffer.capacity() <= MOST_WIRE {
        with(|buffers| buffers.wire = buffer);
    }
}

/// Takes an empty buffer with space for at least `size` bytes of content. Reuses the thread's buffer, unless the caller
/// still holds content that was read into this buffer.
pub(crate) fn take_content(size: usize) -> BytesMut {
    let mut buffer = with(|buffers| std::mem::take(&mut buffers.content)).unwrap_or_default();
    if buffer.capacity() >= size || buffer.try_reclaim(size) { buffer } else { BytesMut::with_capacity(size) }
}

/// Gives back a buffer for content, whose capacity was `size` bytes.
pub(crate) fn put_content(mut buffer: BytesMut, size: usize) {
    if size <= LARGEST_CONTENT {
        buffer.clear();
        with(|buffers| {
            if buffers.content.capacity() < size {
                buffers.content = buffer;
            }
        });
    }
}

/// Copies `bytes` into the thread's slab and returns the copy. `bytes` has at most [`SMALL`] bytes.
pub(crate) fn copy(bytes: &[u8]) -> BytesMut {
    let mut slab = take_slab(bytes.len());
    slab.extend_from_slice(bytes);
    let copy = slab.split();
    put_slab(slab);
    copy
}

/// Takes the unused part of the thread's slab, or a new slab if that part has no space for `size` bytes. `size` is at
/// most [`SMALL`]. The returned slab is empty.
pub(crate) fn take_slab(size: usize) -> BytesMut {
    let slab = with(|buffers| buffers.slab.take()).flatten();
    slab.filter(|slab| slab.capacity() >= size).unwrap_or_else(|| BytesMut::with_capacity(SLAB))
}

/// Gives back the unused part of a slab. All bytes that were written into the slab must have been split off.
pub(crate) fn put_slab(slab: BytesMut) {
    debug_assert!(slab.is_empty(), "the rest of a slab is empty");
    with(|buffers| buffers.slab = Some(slab));
}

#[derive(Default)]
struct Buffers {
    // A buffer that was taken is `None` instead of empty, because creating and dropping an empty `BytesMut` costs
    // instructions.
    write: Option<BytesMut>,
    read: Option<BytesMut>,
    slab: Option<BytesMut>,
    content: BytesMut,
    #[cfg(feature = "rustls")]
    wire: Vec<u8>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// Runs `act` on the thread's buffers and returns its result. Returns `None` while the thread is ending, because the
/// buffers of the thread no longer exist.
fn with<T>(act: impl FnOnce(&mut Buffers) -> T) -> Option<T> {
    BUFFERS.try_with(|buffers| act(&mut buffers.borrow_mut())).ok()
}

/// Size of a slab, in bytes: the memory that one kept header value pins.
const SLAB: usize = 8 * 1024;

/// Largest capacity of a buffer for content that is kept, in bytes.
pub(crate) const LARGEST_CONTENT: usize = 128 * 1024;

/// Largest capacity of any other buffer that is kept, in bytes.
const LARGEST: usize = 64 * 1024;

/// Largest capacity of a buffer for TLS that is kept, in bytes: four records of 16 KiB each, with their framing.
#[cfg(feature = "rustls")]
pub(crate) const MOST_WIRE: usize = 4 * 17 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty() {
        let mut buffer = take_write();
        buffer.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        put_write(buffer);
        assert!(take_write().is_empty());
        let mut buffer = take_read();
        assert!(buffer.capacity() >= READ);
        buffer.extend_from_slice(b"secret");
        put_read(buffer);
        assert!(take_read().is_empty());
    }

    #[test]
    fn copies_share_a_slab_and_not_their_bytes() {
        let a = copy(b"one");
        let b = copy(b"two");
        assert_eq!((&a[..], &b[..]), (&b"one"[..], &b"two"[..]));
        assert_eq!(copy(&[7; SMALL]).len(), SMALL);
    }
}
