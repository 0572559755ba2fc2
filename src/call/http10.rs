//! Servers that speak HTTP/1.0, which understand neither chunks nor expectations. This module remembers these servers
//! and prepares requests for them.
//!
//! This module writes nothing to a connection. Invariant: a server that was seen to speak HTTP/1.0 gets neither chunks
//! nor an expectation.

mod memory;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, EXPECT, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode, Version};

use self::memory::{Memory, Tells, tells};
use super::head::has;
use crate::codec::BodyLength;
use crate::connect::DialError;
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::exchange::Upload;
use crate::exchange::timeout::Deadline;
use crate::time;
use crate::timer::{RuntimeGone, Timer};

/// The servers that were seen to speak HTTP/1.0. Each server is known by the keyed hash of its origin.
#[derive(Debug, Default)]
pub(super) struct Http10Servers {
    memory: Mutex<Memory>,
    /// Fast path: false until a server has answered in HTTP/1.0. Changed under the lock.
    is_any: AtomicBool,
}

impl Http10Servers {
    /// Whether a response of this version changes nothing. This is so if the version is HTTP/1.1 and no server is known
    /// to speak HTTP/1.0.
    #[inline]
    pub(super) fn is_usual(&self, version: Version) -> bool {
        version != Version::HTTP_10 && !self.is_any.load(Ordering::Relaxed)
    }

    /// Learns the server's version from a response: remembers a server that speaks HTTP/1.0, and forgets a server that
    /// now speaks HTTP/1.1. `closes` tells whether the connection closes after the response.
    pub(super) fn learn(
        &self,
        origin: u64,
        version: Version,
        status: StatusCode,
        closes: bool,
        now: Instant,
    ) {
        match tells(version, status, closes) {
            Tells::Http10 => self.change(|memory| memory.insert(origin, now)),
            Tells::Http11 => self.forget(origin, now),
            Tells::Nothing => {}
        }
    }

    /// Whether the server is known to speak HTTP/1.0.
    pub(super) fn contains(&self, origin: u64, now: Instant) -> bool {
        self.is_any.load(Ordering::Relaxed) && self.lock().contains(origin, now)
    }

    fn forget(&self, origin: u64, now: Instant) {
        self.change(|memory| memory.remove(origin, now));
    }

    fn change(&self, change: impl FnOnce(&mut Memory)) {
        let mut memory = self.lock();
        change(&mut memory);
        self.is_any.store(!memory.is_empty(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a body of unknown length into memory, for a server that needs the length before the content. The write
    /// timeout `after` limits the time of this step, because nothing of the request is written during it.
    ///
    /// # Errors
    ///
    /// If the body fails, is too large, has trailers, or does not end in time.
    pub(super) async fn gather(
        &self,
        origin: u64,
        upload: &mut Upload,
        total: Option<Deadline>,
        after: Duration,
    ) -> Result<()> {
        let mut doubt = Doubt { servers: self, origin: Some(origin) };
        let write = Deadline { at: time::after(time::now(), after), after };
        let is_total = total.is_some_and(|total| total.at <= write.at);
        let deadline = total.filter(|_| is_total).unwrap_or(write);
        let (mut gathered, mut timer) = (BytesMut::new(), Timer::default());
        let is_whole = poll_fn(|cx| {
            if let Poll::Ready(outcome) = upload.poll_gather(&mut gathered, GATHERED, cx) {
                return Poll::Ready(outcome.map_err(|error| {
                    // A failure of the caller's body says nothing about the server's version.
                    doubt.origin = None;
                    failed("the request's body failed while the client read the body").because(error)
                }));
            }
            timer.poll_until(deadline.at, cx).map(|rung| {
                Err(match rung {
                    Ok(()) => out_of_time(deadline, is_total),
                    Err(RuntimeGone) => DialError::no_timers().into_error(),
                })
            })
        })
        .await?;
        if !is_whole {
            return Err(failed(format!(
                "the server speaks HTTP/1.0, which takes no body of unknown length beyond {GATHERED} bytes; \
                 give it a content-length"
            )));
        }
        if upload.trailers().is_some() {
            return Err(failed("the server speaks HTTP/1.0, which has no trailers"));
        }
        doubt.origin = None;
        Ok(())
    }
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Body, message.into()).in_phase(Phase::Send)
}

fn out_of_time(deadline: Deadline, is_total: bool) -> Error {
    let (message, setting) = if is_total {
        ("the request did not complete", "timeout")
    } else {
        let message = "the server speaks HTTP/1.0 and needs the length of the body beforehand, but the body did not end";
        (message, "write_timeout")
    };
    Error::timeout(Phase::Send, deadline.after, message, setting)
}

/// Prepares the fields that announce the request's body: chunks, expectation and trailers. Returns whether the body
/// must be read into memory before the head is encoded. `expect_above` is the length of content from which the request
/// gets an expectation. `is_http10` tells whether the server speaks HTTP/1.0, and is called only if the version may
/// change the fields.
///
/// > A client MUST NOT send a request containing Transfer-Encoding unless it knows the server will handle HTTP/1.1
/// > requests (or later minor revisions)
///
/// <https://www.rfc-editor.org/rfc/rfc9112#section-6.1>.
#[inline]
pub(super) fn announce(
    headers: &mut HeaderMap,
    upload: &mut Upload,
    expect_above: Option<u64>,
    is_http10: impl FnOnce() -> bool,
) -> bool {
    let is_coded = has(headers, &TRANSFER_ENCODING);
    let is_announced = || has(headers, &EXPECT) || has(headers, &TRAILER);
    match upload.length() {
        BodyLength::None if !is_coded => return false,
        BodyLength::Known(_) if !is_coded && expect_above.is_none() && !is_announced() => return false,
        _ => {}
    }
    let has_length = headers.contains_key(CONTENT_LENGTH);
    if headers.contains_key(TRAILER) && !has_length {
        upload.expect_trailers();
    }
    if is_http10() {
        return announce_http10(headers, upload, is_coded, has_length);
    }
    let is_long = match upload.length() {
        BodyLength::None => false,
        BodyLength::Known(length) => expect_above.is_some_and(|above| length > 0 && length >= above),
        _ => expect_above.is_some(),
    };
    if is_long && !headers.contains_key(EXPECT) {
        headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
    }
    false
}

fn announce_http10(headers: &mut HeaderMap, upload: &Upload, is_coded: bool, has_length: bool) -> bool {
    headers.remove(EXPECT);
    let codings = headers.get(TRANSFER_ENCODING);
    let is_chunked = codings.is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    // The codec refuses fields that contradict each other, whichever version the server speaks.
    if has_length || (is_coded && !is_chunked) {
        return false;
    }
    headers.remove(TRANSFER_ENCODING);
    if upload.has_known_length() {
        return false;
    }
    headers.remove(TRAILER);
    true
}

/// Guard of a body that is being read into memory. If the guard is dropped before the body is complete, the client
/// forgets that the origin speaks HTTP/1.0, because a request that is never sent cannot learn a new version. The next
/// request is sent as to an HTTP/1.1 server, and learns the version again.
struct Doubt<'a> {
    servers: &'a Http10Servers,
    /// Keyed hash of the origin, or `None` once the body is in memory.
    origin: Option<u64>,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(origin) = self.origin {
            self.servers.forget(origin, time::now());
        }
    }
}

/// Largest body, in bytes, that is read into memory for a server that needs the length before the content.
const GATHERED: usize = 1 << 20;
