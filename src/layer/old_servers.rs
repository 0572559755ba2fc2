//! Which servers were seen to speak HTTP/1.0: they understand neither chunks nor expectations.
//!
//! It knows origins as text, and neither requests nor time. Invariant: it holds a bounded number of them; of a server
//! that it has forgotten, the next response tells again.

use std::collections::VecDeque;

/// Origins whose last response was of HTTP/1.0, the one seen first in front.
#[derive(Debug, Default)]
pub(crate) struct OldServers {
    origins: VecDeque<Box<str>>,
}

impl OldServers {
    /// The server answered in HTTP/1.0.
    pub(crate) fn insert(&mut self, origin: &str) {
        if self.contains(origin) {
            return;
        }
        if self.origins.len() == MOST {
            self.origins.pop_front();
        }
        self.origins.push_back(origin.into());
    }

    /// It answered in HTTP/1.1.
    pub(crate) fn remove(&mut self, origin: &str) {
        self.origins.retain(|known| **known != *origin);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    pub(crate) fn contains(&self, origin: &str) -> bool {
        self.origins.iter().any(|known| **known == *origin)
    }
}

/// Few enough to be looked through.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut servers = OldServers::default();
        for number in 0..MOST + 2 {
            servers.insert(&format!("http://{number}"));
            servers.insert(&format!("http://{number}"));
        }
        assert_eq!(servers.origins.len(), MOST);
        assert!(!servers.contains("http://1") && servers.contains("http://2"));
        servers.remove("http://2");
        assert!(!servers.contains("http://2") && servers.contains("http://3") && !servers.is_empty());
    }
}
