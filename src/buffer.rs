//! Who owns buffers: nobody for long.
//!
//! An idle connection has none. Each thread keeps one buffer to write heads from, one to read into, a slab from which
//! small responses are cut, one that content goes through, and one for what TLS reads and writes; an exchange takes
//! buffers for as long as it needs them within a poll, and keeps one across polls only while it holds bytes, or reads
//! content. Invariant: what is taken out is empty, or of no meaning.

use std::cell::RefCell;

use bytes::BytesMut;

/// Up to this size, a head and the body bytes that came with it are copied into the slab, so that a header value
/// that somebody keeps pins no more than one slab.
pub(crate) const SMALL: usize = 4 * 1024;

/// What a response's first read can take, where no large response came before on its connection.
pub(crate) const READ: usize = 16 * 1024;

/// An empty buffer to encode a head into.
pub(crate) fn take_write() -> BytesMut {
    with(|buffers| std::mem::take(&mut buffers.write)).unwrap_or_default()
}

/// Gives a buffer back that was written from.
pub(crate) fn put_write(mut buffer: BytesMut) {
    if buffer.capacity() <= MOST {
        buffer.clear();
        with(|buffers| buffers.write = buffer);
    }
}

/// An empty buffer with room for [`READ`] bytes.
pub(crate) fn take_read() -> BytesMut {
    let mut buffer = with(|buffers| std::mem::take(&mut buffers.read)).unwrap_or_default();
    buffer.reserve(READ);
    buffer
}

/// Gives a buffer back that was read into.
pub(crate) fn put_read(mut buffer: BytesMut) {
    if buffer.capacity() <= MOST {
        buffer.clear();
        with(|buffers| buffers.read = buffer);
    }
}

/// A buffer for records of TLS. Its length is what was used of it ever, and its bytes are anybody's.
#[cfg(feature = "rustls")]
pub(crate) fn take_wire() -> Vec<u8> {
    with(|buffers| std::mem::take(&mut buffers.wire)).unwrap_or_default()
}

/// Gives a buffer for records back.
#[cfg(feature = "rustls")]
pub(crate) fn put_wire(buffer: Vec<u8>) {
    if buffer.capacity() <= MOST_WIRE {
        with(|buffers| buffers.wire = buffer);
    }
}

/// An empty buffer with room for `size` bytes of content at least: a kept one, if nobody holds what was read into it.
pub(crate) fn take_content(size: usize) -> BytesMut {
    let mut buffer = with(|buffers| std::mem::take(&mut buffers.content)).unwrap_or_default();
    // (One that somebody still reads from is not waited for.)
    if buffer.capacity() >= size || buffer.try_reclaim(size) { buffer } else { BytesMut::with_capacity(size) }
}

/// Gives a buffer back that content was read into, whose capacity was `size`.
pub(crate) fn put_content(mut buffer: BytesMut, size: usize) {
    if size <= MOST_CONTENT {
        buffer.clear();
        with(|buffers| {
            if buffers.content.capacity() < size {
                buffers.content = buffer;
            }
        });
    }
}

/// A copy of `bytes`, of which there are at most [`SMALL`], cut from the thread's slab.
pub(crate) fn copy(bytes: &[u8]) -> BytesMut {
    let mut slab = take_slab(bytes.len());
    slab.extend_from_slice(bytes);
    let copy = slab.split();
    put_slab(slab);
    copy
}

/// What is left of the thread's slab, if that is room for `size` bytes, of which there are at most [`SMALL`]; or another
/// slab. It is empty.
pub(crate) fn take_slab(size: usize) -> BytesMut {
    let slab = with(|buffers| std::mem::take(&mut buffers.slab)).unwrap_or_default();
    if slab.capacity() < size { BytesMut::with_capacity(SLAB) } else { slab }
}

/// Gives back what is left of a slab, from which all that was put into it was cut.
pub(crate) fn put_slab(slab: BytesMut) {
    debug_assert!(slab.is_empty(), "what is somebody's is not given to another");
    with(|buffers| buffers.slab = slab);
}

#[derive(Default)]
struct Buffers {
    write: BytesMut,
    read: BytesMut,
    slab: BytesMut,
    content: BytesMut,
    #[cfg(feature = "rustls")]
    wire: Vec<u8>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// `None` while the thread is ending, when its buffers are gone.
fn with<T>(act: impl FnOnce(&mut Buffers) -> T) -> Option<T> {
    BUFFERS.try_with(|buffers| act(&mut buffers.borrow_mut())).ok()
}

/// The size of a slab: what one kept header value pins.
const SLAB: usize = 8 * 1024;

/// The largest buffer for content that is kept.
pub(crate) const MOST_CONTENT: usize = 128 * 1024;

/// A buffer that grew beyond this is not kept.
const MOST: usize = 64 * 1024;

/// Four records of TLS, each of 16 KiB and what is around them.
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
