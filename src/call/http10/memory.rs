//! The origins whose servers were seen to speak HTTP/1.0, in a bounded list.
//!
//! This module knows an origin only as its keyed hash, and the time only as an argument. Invariant: the list holds a
//! bounded number of origins, each for a bounded time. The first response of a forgotten origin tells the version
//! again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use http::{StatusCode, Version};

/// Origins whose latest response was HTTP/1.0, each with the time of that response. The back of the queue holds the
/// origin that answered last.
#[derive(Debug, Default)]
pub(super) struct Memory {
    origins: VecDeque<(u64, Instant)>,
}

/// The information that a response gives about its server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tells {
    Http10,
    Http11,
    /// The response may come from a proxy or balancer in front of the server.
    Nothing,
}

/// Returns the information that the head of a response gives about the server's version. An HTTP/1.0 error page that
/// closes the connection gives no information, because such a page often comes from a proxy or balancer.
pub(super) fn tells(version: Version, status: StatusCode, closes: bool) -> Tells {
    let is_error = status.is_client_error() || status.is_server_error();
    match version {
        Version::HTTP_10 if is_error && closes => Tells::Nothing,
        Version::HTTP_10 => Tells::Http10,
        _ => Tells::Http11,
    }
}

impl Memory {
    /// Notes that the origin answered in HTTP/1.0.
    pub(super) fn insert(&mut self, origin: u64, now: Instant) {
        self.remove(origin, now);
        if self.origins.len() == CAPACITY {
            self.origins.pop_front();
        }
        self.origins.push_back((origin, now));
    }

    /// Forgets the origin, and every origin that has been in the list for [`LIFETIME`].
    pub(super) fn remove(&mut self, origin: u64, now: Instant) {
        self.origins.retain(|(known, since)| *known != origin && is_fresh(*since, now));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Whether the origin answered in HTTP/1.0 within [`LIFETIME`].
    pub(super) fn contains(&self, origin: u64, now: Instant) -> bool {
        self.origins.iter().any(|(known, since)| *known == origin && is_fresh(*since, now))
    }
}

fn is_fresh(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < LIFETIME
}

/// Largest number of origins that are remembered: small enough for a linear scan.
const CAPACITY: usize = 256;

/// Time for which an origin is remembered.
const LIFETIME: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_origin_is_forgotten_first() {
        let (mut servers, now) = (Memory::default(), Instant::now());
        for origin in 0..CAPACITY as u64 {
            servers.insert(origin, now);
        }
        servers.insert(0, now);
        servers.insert(1000, now);
        assert_eq!(servers.origins.len(), CAPACITY);
        assert!(servers.contains(0, now) && !servers.contains(1, now) && servers.contains(2, now));
        servers.remove(2, now);
        assert!(!servers.contains(2, now) && servers.contains(3, now) && !servers.is_empty());
    }

    #[test]
    fn an_origin_is_remembered_for_ten_minutes() {
        let (mut servers, now) = (Memory::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        servers.insert(1, now);
        servers.insert(2, at(300));
        assert!(servers.contains(1, at(599)) && !servers.contains(1, at(600)));
        assert!(servers.contains(2, at(600)));
        servers.insert(1, at(700));
        assert!(servers.contains(1, at(1299)) && !servers.contains(1, at(1300)));
        servers.remove(3, at(2000));
        assert!(servers.is_empty(), "an origin whose time is over takes no room");
    }

    #[test]
    fn a_closing_error_page_tells_nothing() {
        for (version, status, closes, expected) in [
            (Version::HTTP_11, 200, false, Tells::Http11),
            (Version::HTTP_11, 503, true, Tells::Http11),
            (Version::HTTP_10, 200, true, Tells::Http10),
            (Version::HTTP_10, 200, false, Tells::Http10),
            (Version::HTTP_10, 302, true, Tells::Http10),
            (Version::HTTP_10, 404, false, Tells::Http10),
            (Version::HTTP_10, 400, true, Tells::Nothing),
            (Version::HTTP_10, 408, true, Tells::Nothing),
            (Version::HTTP_10, 417, true, Tells::Nothing),
            (Version::HTTP_10, 502, true, Tells::Nothing),
            (Version::HTTP_10, 503, false, Tells::Http10),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(tells(version, status, closes), expected, "{version:?} {status} {closes}");
        }
    }
}
