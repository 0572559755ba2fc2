//! Which servers were seen to speak HTTP/1.0: they understand neither chunks nor expectations.
//!
//! It knows origins by their keyed hashes alone, and neither requests nor time. Invariant: it holds a bounded number of
//! them; of a server that it has forgotten, the next response tells again.

use std::collections::VecDeque;

/// Origins whose last response was of HTTP/1.0, the one that spoke last at the back.
#[derive(Debug, Default)]
pub(crate) struct OldServers {
    origins: VecDeque<u64>,
}

impl OldServers {
    /// The server answered in HTTP/1.0.
    pub(crate) fn insert(&mut self, origin: u64) {
        self.remove(origin);
        if self.origins.len() == MOST {
            self.origins.pop_front();
        }
        self.origins.push_back(origin);
    }

    /// It answered in HTTP/1.1.
    pub(crate) fn remove(&mut self, origin: u64) {
        if let Some(at) = self.origins.iter().position(|known| *known == origin) {
            self.origins.remove(at);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    pub(crate) fn contains(&self, origin: u64) -> bool {
        self.origins.contains(&origin)
    }
}

/// Few enough to be looked through.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spoke_longest_ago_is_forgotten_first() {
        let mut servers = OldServers::default();
        for origin in 0..MOST as u64 {
            servers.insert(origin);
        }
        servers.insert(0);
        servers.insert(1000);
        assert_eq!(servers.origins.len(), MOST);
        assert!(servers.contains(0) && !servers.contains(1) && servers.contains(2));
        servers.remove(2);
        assert!(!servers.contains(2) && servers.contains(3) && !servers.is_empty());
    }
}
