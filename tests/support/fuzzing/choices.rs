//! Choices that the bytes of a fuzz input make.
//!
//! This module does not know what the choices are used for. Invariant: every input is valid, because missing bytes
//! count as zero.

use handclasp::codec::{Leniency, Limits};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::random::Rng;

/// Bytes of the input that are not used yet. Each choice takes bytes from the front, and bytes past the end count as
/// zero.
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl<'a> Choices<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(super) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Takes one byte as a length, and returns that many of the bytes after it.
    pub(super) fn counted(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.take(length.into())
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    pub(super) fn method(&mut self) -> Method {
        match self.byte() {
            0..=99 => Method::GET,
            100..=139 => Method::HEAD,
            140..=169 => Method::POST,
            170..=199 => Method::PUT,
            200..=219 => Method::OPTIONS,
            220..=239 => Method::CONNECT,
            240..=247 => Method::TRACE,
            _ => Method::from_bytes(b"x-Own").unwrap(),
        }
    }

    /// Returns the default limits, or limits that short inputs reach.
    pub(super) fn limits(&mut self) -> Limits {
        let mut limits = Limits::default();
        let choice = self.byte();
        if choice >= 128 {
            let rng = &mut Rng::new(choice.into());
            let mut limit = |least: u64, most: u64| (least + rng.below(most - least + 1)) as usize;
            limits.head = limit(0, 120);
            limits.fields = limit(0, 6);
            limits.informational = limit(0, 3);
            limits.informational_bytes = limit(0, 120);
            limits.chunk_extensions = limit(0, 12);
            limits.trailers = limit(0, 40);
            limits.chunk_line = limit(0, 12);
        }
        if choice & 8 != 0 {
            limits.leniency = Leniency::default();
            limits.leniency.bare_lf_in_head = choice & 1 == 0;
            limits.leniency.obs_fold = choice & 2 == 0;
            limits.leniency.length_with_transfer_encoding = choice & 4 != 0;
            limits.leniency.empty_chunk_extensions = choice & 16 == 0;
            limits.leniency.blanks_after_chunk_size = choice & 32 == 0;
            limits.leniency.blanks_before_colon = choice & 64 != 0 && choice & 1 == 0;
            limits.leniency.invalid_lines = choice & 64 != 0 && choice & 2 == 0;
        }
        limits
    }

    pub(super) fn headers(&mut self) -> HeaderMap {
        const NAMES: [&str; 20] = [
            "content-length",
            "transfer-encoding",
            "host",
            "connection",
            "trailer",
            "expect",
            "te",
            "upgrade",
            "keep-alive",
            "accept",
            "cookie",
            "x-a",
            "x-b",
            "proxy-connection",
            "http2-settings",
            "content-type",
            "authorization",
            "user-agent",
            "x-b",
            "connection",
        ];
        const VALUES: [&str; 25] = [
            "0",
            "1",
            "7",
            "50",
            "+7",
            "7, 7",
            "chunked",
            "Chunked",
            "gzip, chunked",
            "close",
            "x-hop, Close",
            "100-continue",
            "h.test",
            "u@h.test",
            "trailers",
            "Trailers, trailers",
            "",
            "te, Upgrade",
            "keep-alive",
            "upgrade, te,x-hop ,close",
            "echo/1, other",
            "x-a",
            "X-B , etag",
            "x-a, content-length",
            "text/plain",
        ];
        let mut headers = HeaderMap::new();
        for _ in 0..self.byte() % 12 {
            let name = match self.byte() {
                own @ 200.. => HeaderName::from_bytes(self.take(usize::from(own) - 199))
                    .unwrap_or(HeaderName::from_static("x-c")),
                known => HeaderName::from_static(NAMES[usize::from(known) % NAMES.len()]),
            };
            let value = match self.byte() {
                own @ 128.. => HeaderValue::from_bytes(self.take(usize::from(own) - 128)),
                known => Ok(HeaderValue::from_static(VALUES[usize::from(known) % VALUES.len()])),
            };
            // The codec cannot get a value that `HeaderValue` refuses, so such a field is left out.
            if let Ok(value) = value {
                headers.append(name, value);
            }
        }
        headers
    }
}
