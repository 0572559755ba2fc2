//! Who owns buffers: nobody for long.
//!
//! An idle connection has none. Each thread keeps one buffer to write heads from, one to read into, a slab from which
//! small responses are cut, one that content goes through, a few maps for fields, and one buffer for what TLS reads and
//! writes; an exchange takes buffers for as long as it needs them within a poll, and keeps one across polls only while
//! it holds bytes, or reads content. Invariant: what is taken out is empty, or of no meaning.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use bytes::BytesMut;
use http::HeaderMap;

/// Up to this size, a head and the body bytes that came with it are copied into the slab, so that a header value
/// that somebody keeps pins no more than one slab.
pub(crate) const SMALL: usize = 4 * 1024;

/// What a read can take at once, before the length of a body is known.
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
    let cut = with(|buffers| {
        let slab = &mut buffers.slab;
        if slab.capacity() - slab.len() < bytes.len() {
            *slab = BytesMut::with_capacity(SLAB);
        }
        slab.extend_from_slice(bytes);
        slab.split()
    });
    cut.unwrap_or_else(|| BytesMut::from(bytes))
}

/// A map with room for the fields of a common request, and of a common response.
pub(crate) fn take_fields() -> HeaderMap {
    let kept = with(|buffers| buffers.fields.pop()).flatten();
    kept.unwrap_or_else(|| HeaderMap::with_capacity(FIELDS))
}

fn put_fields(mut fields: HeaderMap) {
    // (Lines of one name beyond its first are not in its capacity.)
    if (FIELDS..=MOST_FIELDS).contains(&fields.capacity()) && fields.len() <= MOST_FIELDS {
        // Outside: values are dropped.
        fields.clear();
        with(|buffers| {
            if buffers.fields.len() < MAPS {
                buffers.fields.push(fields);
            }
        });
    }
}

/// Fields whose map is used again when nobody wants them any more.
pub(crate) struct Fields(HeaderMap);

impl Fields {
    pub(crate) fn new(fields: HeaderMap) -> Self {
        Self(fields)
    }

    /// The map is the caller's from now on.
    pub(crate) fn take(mut self) -> HeaderMap {
        std::mem::take(&mut self.0)
    }
}

impl Deref for Fields {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        &self.0
    }
}

impl DerefMut for Fields {
    fn deref_mut(&mut self) -> &mut HeaderMap {
        &mut self.0
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        put_fields(std::mem::take(&mut self.0));
    }
}

#[derive(Default)]
struct Buffers {
    write: BytesMut,
    read: BytesMut,
    slab: BytesMut,
    content: BytesMut,
    fields: Vec<HeaderMap>,
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

/// Fields that a map has room for without growing.
const FIELDS: usize = 12;

/// A map that grew beyond this is not kept: 3 KiB.
const MOST_FIELDS: usize = 32;

/// Maps that a thread keeps.
const MAPS: usize = 16;

/// The largest buffer for content that is kept.
pub(crate) const MOST_CONTENT: usize = 256 * 1024;

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
    fn maps_come_back_empty_and_are_few() {
        use http::header::{HeaderValue, SERVER};
        let mut first = take_fields();
        first.insert(SERVER, HeaderValue::from_static("x"));
        let room = first.capacity();
        drop(Fields::new(first));
        let again = take_fields();
        assert!(again.is_empty() && again.capacity() == room);
        let mut kept = Fields::new(again);
        kept.insert(SERVER, HeaderValue::from_static("y"));
        assert_eq!(kept.take().len(), 1, "whoever takes it has it");
        let mut lines = Fields::new(take_fields());
        for _ in 0..1_000 {
            lines.append(SERVER, HeaderValue::from_static("z"));
        }
        drop(lines);
        assert!(
            with(|buffers| buffers.fields.is_empty()).unwrap(),
            "its lines take more than its capacity says"
        );
        for _ in 0..100 {
            drop([(); 3].map(|()| Fields::new(HeaderMap::with_capacity(FIELDS))));
        }
        drop(Fields::new(HeaderMap::with_capacity(1_000)));
        let maps: Vec<_> = (0..100).map_while(|_| with(|buffers| buffers.fields.pop()).flatten()).collect();
        assert!(maps.len() == MAPS && maps.iter().all(|map| map.capacity() <= MOST_FIELDS), "{}", maps.len());
    }

    #[test]
    fn copies_share_a_slab_and_not_their_bytes() {
        let a = copy(b"one");
        let b = copy(b"two");
        assert_eq!((&a[..], &b[..]), (&b"one"[..], &b"two"[..]));
        assert_eq!(copy(&[7; SMALL]).len(), SMALL);
    }
}
