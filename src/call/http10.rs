//! Which servers were seen to speak HTTP/1.0: they understand neither chunks nor expectations.
//!
//! It knows origins by their keyed hashes alone, and no requests; the time is told to it. Invariant: it holds a bounded
//! number of them, each for a bounded time; of a server that it has forgotten, the next response tells again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use http::{StatusCode, Version};

/// Origins whose latest response was of HTTP/1.0, and when that came; the latest at the back.
#[derive(Debug, Default)]
pub(crate) struct OldServers {
    origins: VecDeque<(u64, Instant)>,
}

/// What a response tells of its server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tells {
    Old,
    New,
    /// An error page that closes the connection often comes from a proxy or balancer in front of the
    /// server.
    Nothing,
}

/// What the head of a response tells of the server's version.
pub(crate) fn tells(version: Version, status: StatusCode, closes: bool) -> Tells {
    let is_error = status.is_client_error() || status.is_server_error();
    match version {
        Version::HTTP_10 if is_error && closes => Tells::Nothing,
        Version::HTTP_10 => Tells::Old,
        _ => Tells::New,
    }
}

impl OldServers {
    /// The server answered in HTTP/1.0.
    pub(crate) fn insert(&mut self, origin: u64, now: Instant) {
        self.remove(origin, now);
        if self.origins.len() == MOST {
            self.origins.pop_front();
        }
        self.origins.push_back((origin, now));
    }

    /// Forgets the origin, because it answered in HTTP/1.1 or because the next request has to ask it again.
    pub(crate) fn remove(&mut self, origin: u64, now: Instant) {
        self.origins.retain(|(known, since)| *known != origin && is_fresh(*since, now));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    pub(crate) fn contains(&self, origin: u64, now: Instant) -> bool {
        self.origins.iter().any(|(known, since)| *known == origin && is_fresh(*since, now))
    }
}

fn is_fresh(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < LIFETIME
}

/// Few enough to be looked through.
const MOST: usize = 256;

/// How long an answer is believed.
const LIFETIME: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spoke_longest_ago_is_forgotten_first() {
        let (mut servers, now) = (OldServers::default(), Instant::now());
        for origin in 0..MOST as u64 {
            servers.insert(origin, now);
        }
        servers.insert(0, now);
        servers.insert(1000, now);
        assert_eq!(servers.origins.len(), MOST);
        assert!(servers.contains(0, now) && !servers.contains(1, now) && servers.contains(2, now));
        servers.remove(2, now);
        assert!(!servers.contains(2, now) && servers.contains(3, now) && !servers.is_empty());
    }

    #[test]
    fn an_answer_is_believed_for_ten_minutes() {
        let (mut servers, now) = (OldServers::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        servers.insert(1, now);
        servers.insert(2, at(300));
        assert!(servers.contains(1, at(599)) && !servers.contains(1, at(600)));
        assert!(servers.contains(2, at(600)));
        servers.insert(1, at(700));
        assert!(servers.contains(1, at(1299)) && !servers.contains(1, at(1300)));
        servers.remove(3, at(2000));
        assert!(servers.is_empty(), "what is not believed any more takes no room");
    }

    #[test]
    fn what_a_response_tells() {
        for (version, status, closes, expected) in [
            (Version::HTTP_11, 200, false, Tells::New),
            (Version::HTTP_11, 503, true, Tells::New),
            (Version::HTTP_10, 200, true, Tells::Old),
            (Version::HTTP_10, 200, false, Tells::Old),
            (Version::HTTP_10, 302, true, Tells::Old),
            (Version::HTTP_10, 404, false, Tells::Old),
            (Version::HTTP_10, 400, true, Tells::Nothing),
            (Version::HTTP_10, 408, true, Tells::Nothing),
            (Version::HTTP_10, 417, true, Tells::Nothing),
            (Version::HTTP_10, 502, true, Tells::Nothing),
            (Version::HTTP_10, 503, false, Tells::Old),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(tells(version, status, closes), expected, "{version:?} {status} {closes}");
        }
    }
}
